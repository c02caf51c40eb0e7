//! How much may one caller have in flight? So many calls, so that no service
//! starves the others.

use std::{
    collections::hash_map::Entry,
    hash::BuildHasher as _,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use foldhash::{HashMap, quality::FixedState};
use uuid::Uuid;

use crate::domain::{
    caller::{Caller, Identity, Principal},
    network::ClientAddress,
};

/// Callers are spread over so many locks.
const SHARDS: usize = 16;

/// Counts calls in flight.
#[derive(Clone, Debug)]
pub(super) struct Places(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    each: usize,
    // Only who has calls in flight stands here.
    taken: [Mutex<HashMap<Uuid, usize>>; SHARDS],
}

/// Whose calls are counted together: a service's by its credential or the name in
/// its certificate, a holder's by its account, anybody else's by the network.
#[derive(Clone, Copy, Debug)]
pub(super) struct Who(Uuid);

impl Who {
    /// Somebody without a credential. The ids of others are random: none is an
    /// address but by a rare chance, which costs no more than places.
    pub(super) fn anybody(address: Option<ClientAddress>) -> Self {
        let network = address.map_or(0, |address| address.counted_with().as_bits());
        // The shard is told by the last bits.
        Self(Uuid::from_u128(network ^ (network >> 64)))
    }

    pub(super) fn of(caller: &Caller) -> Self {
        Self(match (&caller.principal, &caller.identity) {
            (Principal::Holder(rights), _) => rights.account.uuid(),
            (Principal::Service(_), Identity::Credential { id, secret: _ }) => id.uuid(),
            // Where two fell together, they would share their places, no more.
            (Principal::Service(_), Identity::Certificate(san)) => {
                let half = |seed| u128::from(FixedState::with_seed(seed).hash_one(san.as_str()));
                Uuid::from_u128(half(0) << 64 | half(1))
            }
        })
    }
}

/// A call in flight, for as long as this is kept.
#[derive(Debug)]
pub struct Place {
    places: Places,
    who: Who,
}

impl Places {
    /// `each` for every caller.
    pub(super) fn new(each: usize) -> Self {
        Self(Arc::new(Inner { each, taken: std::array::from_fn(|_| Mutex::default()) }))
    }

    /// A place for one more call, unless the caller has all of its own taken.
    pub(super) fn take(&self, who: Who) -> Option<Place> {
        {
            let mut shard = self.shard(who);
            let taken = shard.entry(who.0).or_default();
            if *taken >= self.0.each {
                return None;
            }
            *taken += 1;
        }
        Some(Place { places: self.clone(), who })
    }

    fn shard(&self, who: Who) -> MutexGuard<'_, HashMap<Uuid, usize>> {
        // The last bits are random in every version of UUID that is used here.
        let shard = usize::from(who.0.as_bytes()[15]) % SHARDS;
        self.0.taken[shard].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Entry::Occupied(mut taken) = self.places.shard(self.who).entry(self.who.0) {
            *taken.get_mut() -= 1;
            if *taken.get() == 0 {
                taken.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        caller::Call,
        certificate::{CertificateRoles, ClientCertificate, San},
        role::Role,
        time::Timestamp,
    };

    #[test]
    fn each_caller_has_so_many_and_gets_them_back() {
        let places = Places::new(2);
        let (one, other) = (Who(Uuid::from_u128(1)), Who(Uuid::from_u128(17)));
        let first = places.take(one).expect("there is room");
        let second = places.take(one).expect("there is room");
        assert!(places.take(one).is_none());
        assert!(places.take(other).is_some(), "others have their own");
        drop(first);
        let third = places.take(one).expect("one was given back");
        drop((second, third));
        assert!(places.shard(one).is_empty(), "nothing is left behind");
    }

    #[test]
    fn a_name_in_certificates_has_its_own() {
        let who = |name: &str| {
            let san: San = name.parse().expect("a name");
            let mut table = CertificateRoles::default();
            table.add(san.clone(), [Role::Introspector]);
            let certificate = ClientCertificate { names: vec![san], expire_time: Timestamp::MAX };
            Who::of(&Caller::named(&certificate, &table, Call::default()).expect("it is named"))
        };
        let places = Places::new(1);
        let _taken = places.take(who("gateway.example")).expect("there is room");
        assert!(places.take(who("Gateway.example")).is_none(), "whichever certificate bears it");
        assert!(places.take(who("other.example")).is_some(), "others have their own");
    }
}
