//! Which keys may be used? Those of the ring that the database's check values
//! confirm; and for new work the one that it names current, and no other.

use std::sync::Arc;

use super::{KeyId, KeyRing, MasterKey};
use crate::domain::digest::CheckValue;

/// A master key as the database knows it.
#[derive(Clone, Debug)]
pub struct KnownKey {
    /// Its name in the ring's file.
    pub id: KeyId,
    /// What [`MasterKey::check_value`] gives for the right key.
    pub check_value: CheckValue,
}

/// The master keys that the database knows: every one that is or was current.
#[derive(Clone, Debug, Default)]
pub struct KnownKeys {
    /// The one for new work; none in a new database.
    pub current: Option<KnownKey>,
    /// Those before it.
    pub former: Vec<KnownKey>,
}

impl KnownKeys {
    /// What is known of the key of that name.
    pub fn get(&self, id: &KeyId) -> Option<&KnownKey> {
        self.former.iter().chain(&self.current).find(|known| known.id == *id)
    }

    /// A key of the ring under whose name the database knows another one.
    pub fn contradicted_by<'a>(&self, ring: &'a KeyRing) -> Option<&'a KeyId> {
        let other =
            |key: &MasterKey| self.get(key.id()).is_some_and(|known| !known.check_value.matches(key.check_value()));
        ring.iter().find(|key| other(key)).map(MasterKey::id)
    }

    fn confirm(&self, key: &MasterKey) -> bool {
        self.get(key.id()).is_some_and(|known| known.check_value.matches(key.check_value()))
    }
}

/// The current key is not at hand: no new work can be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the current master key is not at hand")]
pub struct NoCurrentKey;

/// The keys in use. One that the database never named is not among them: what
/// another replica made under its name might be under another key, and would be
/// taken for wrong.
#[derive(Clone, Debug)]
pub struct Keys {
    ring: KeyRing,
    current: Option<KeyId>,
}

impl Keys {
    /// The keys of a ring that the database confirms.
    pub fn new(ring: &KeyRing, known: &KnownKeys) -> Self {
        let ring = KeyRing(ring.0.iter().filter(|key| known.confirm(key)).map(Arc::clone).collect());
        let current = known.current.as_ref().map(|current| current.id.clone()).filter(|id| ring.get(id).is_some());
        Self { ring, current }
    }

    /// The keys to use from now on, after the ring's file was read again; none:
    /// it could not be. A file that lacks the current key takes nothing away, but
    /// ends new work.
    #[must_use]
    pub fn renewed(&self, file: Option<&KeyRing>, known: &KnownKeys) -> Self {
        let Some(file) = file else {
            return Self::new(&self.ring, known);
        };
        let fresh = Self::new(file, known);
        if fresh.current.is_some() {
            return fresh;
        }
        let left = self.ring.0.iter().filter(|key| fresh.ring.get(&key.id).is_none());
        let ring = KeyRing(fresh.ring.0.iter().chain(left).map(Arc::clone).collect());
        Self { current: None, ..Self::new(&ring, known) }
    }

    /// The key for new work.
    pub fn current(&self) -> Result<&MasterKey, NoCurrentKey> {
        self.current.as_ref().and_then(|id| self.ring.get(id)).ok_or(NoCurrentKey)
    }

    /// All the keys in use.
    pub fn ring(&self) -> &KeyRing {
        &self.ring
    }

    /// Whether these are the same keys, with the same one current.
    pub fn is_same(&self, other: &Self) -> bool {
        let all = |keys: &Self| keys.ring.0.len();
        let confirms = |key: &MasterKey| {
            other.ring.get(key.id()).is_some_and(|other| other.check_value().matches(key.check_value()))
        };
        self.current == other.current && all(self) == all(other) && self.ring.iter().all(confirms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A ring of keys that are told by their bytes.
    fn ring(keys: &[(&str, u8)]) -> KeyRing {
        let lines = keys.iter().map(|(id, byte)| KeyRing::line(&id_of(id), &[*byte; 32]).to_string());
        KeyRing::parse(&lines.collect::<String>()).expect("well-formed")
    }

    fn id_of(id: &str) -> KeyId {
        KeyId::new(id).expect("well-formed")
    }

    /// A database that knows these; the last is current.
    fn known(keys: &[(&str, u8)]) -> KnownKeys {
        let of = |key: &MasterKey| KnownKey { id: key.id().clone(), check_value: key.check_value().clone() };
        let mut former: Vec<_> = ring(keys).iter().map(of).collect();
        KnownKeys { current: former.pop(), former }
    }

    fn shown(keys: &Keys) -> (Vec<&str>, Option<&str>) {
        let ids = keys.ring().iter().map(|key| key.id().as_str()).collect();
        (ids, keys.current().ok().map(|key| key.id().as_str()))
    }

    #[test]
    fn only_what_the_database_confirms_is_used() {
        let database = known(&[("a", 1), ("b", 2)]);
        let file = ring(&[("c", 3), ("b", 2), ("a", 1)]);
        assert!(database.contradicted_by(&file).is_none());
        assert_eq!(shown(&Keys::new(&file, &database)), (vec!["b", "a"], Some("b")), "c was never named");

        let file = ring(&[("a", 9), ("b", 2)]);
        assert_eq!(database.contradicted_by(&file), Some(&id_of("a")));
        assert_eq!(shown(&Keys::new(&file, &database)), (vec!["b"], Some("b")));
        assert_eq!(shown(&Keys::new(&ring(&[("b", 9)]), &database)), (vec![], None));
    }

    #[test]
    fn a_key_is_used_for_new_work_once_the_database_names_it() {
        let file = ring(&[("a", 1), ("b", 2)]);
        let before = Keys::new(&file, &known(&[("a", 1)]));
        assert_eq!(shown(&before), (vec!["a"], Some("a")));
        let after = before.renewed(Some(&file), &known(&[("a", 1), ("b", 2)]));
        assert_eq!(shown(&after), (vec!["a", "b"], Some("b")));
        assert!(!before.is_same(&after) && after.is_same(&after.clone()));
        let without = after.renewed(Some(&ring(&[("b", 2)])), &known(&[("a", 1), ("b", 2)]));
        assert_eq!(shown(&without), (vec!["b"], Some("b")), "a was removed from the file");
    }

    #[test]
    fn a_file_that_lacks_the_current_key_ends_new_work_and_takes_nothing_away() {
        let at_hand = Keys::new(&ring(&[("a", 1)]), &known(&[("a", 1)]));
        let database = known(&[("a", 1), ("b", 2)]);
        assert_eq!(shown(&at_hand.renewed(Some(&ring(&[("a", 1)])), &database)), (vec!["a"], None));
        assert_eq!(shown(&at_hand.renewed(Some(&ring(&[("c", 3)])), &database)), (vec!["a"], None));
        assert_eq!(shown(&at_hand.renewed(None, &database)), (vec!["a"], None), "nor does one that is broken");

        let both = Keys::new(&ring(&[("a", 1), ("b", 2)]), &database);
        assert_eq!(shown(&both.renewed(None, &database)), (vec!["a", "b"], Some("b")), "it goes on");
        assert_eq!(shown(&both.renewed(Some(&ring(&[("a", 1)])), &database)), (vec!["a", "b"], None));
    }
}
