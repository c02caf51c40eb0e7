//! What was tried and refused? Told to the audit trail too, but counted first:
//! those alike become one row an interval, and those of too many kinds are told
//! apart by less, so that a flood of them fills no disk. Each caller has a share of
//! its own: none hides what others try.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::guesses::{Guess, Guesses};
use crate::{
    domain::{
        account::AccountId,
        caller::Call,
        id::CredentialId,
        network::{ClientAddress, Network},
    },
    store::{self, Event, Refusal, Snapshot, Store},
};

/// So many kinds of one caller's refusals are told apart in an interval by all that
/// there is to tell.
const DETAILED: usize = 8;
/// So many of one caller's in all: those beyond [`DETAILED`] by who, what and why.
const EACH: usize = 16;
/// So many of all callers together; what is beyond, or beyond [`EACH`], by what and
/// why alone.
const MAX_KINDS: usize = 128;
/// A change that was refused.
#[derive(Clone, Debug)]
pub struct RefusedChange {
    /// The change, as the trail calls it when it is made.
    pub action: &'static str,
    /// Who tried, where that is known.
    pub actor: Option<String>,
    /// Whose credential that one has.
    pub account_id: Option<AccountId>,
    /// How it called.
    pub call: Call,
    /// What the request named; whatever a caller may have written there.
    pub unverified_target: Option<String>,
    /// The reason that it was told.
    pub reason: String,
}

/// Refusals, until they are written down.
#[derive(Clone, Debug, Default)]
pub struct Refusals(Arc<Mutex<Interval>>);

/// What was refused since it was written down last.
#[derive(Debug, Default)]
struct Interval {
    kinds: HashMap<Kind, Counted>,
    guesses: Guesses,
}

/// What makes refusals alike.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Kind {
    action: &'static str,
    reason: String,
    // None: all that there was no room for.
    who: Option<Who>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Who {
    actor: Option<String>,
    account_id: Option<AccountId>,
    // Whoever has one address has many of its network. None also where several are
    // counted together, and likewise below.
    network: Option<Network>,
    target: Option<Target>,
}

/// What has the form of an id. It may be a secret in the wrong field all the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Target {
    Credential(CredentialId),
    Account(AccountId),
}

/// How often, and how the first of them called.
#[derive(Clone, Debug)]
struct Counted {
    count: u64,
    address: Option<ClientAddress>,
    request_id: Arc<str>,
}

impl Refusals {
    /// Counts one.
    pub fn note(&self, refused: RefusedChange) {
        let RefusedChange { action, actor, account_id, call, unverified_target, reason } = refused;
        let network = call.address.map(ClientAddress::counted_with);
        let who = Who { actor, account_id, network, target: unverified_target.and_then(Target::of) };
        let counted = Counted { count: 1, address: call.address, request_id: call.request_id };
        self.interval().add(Kind { action, reason, who: Some(who) }, counted);
    }

    /// Takes the room of one row for a guess at an account's password, or at nobody's;
    /// whether there was some.
    pub(super) fn take_row_for_guess(&self, account: Option<&AccountId>) -> bool {
        self.interval().guesses.take_row(account)
    }

    /// Counts a guess that there was no row for.
    pub(super) fn note_guess(&self, guess: Guess) {
        self.interval().guesses.note(guess, 1);
    }

    /// Writes down all that were counted; what cannot be written is kept.
    pub async fn write(&self, store: &Store) -> Result<(), store::Error> {
        let Interval { kinds, guesses } = std::mem::take(&mut *self.interval());
        let guesses = guesses.counted();
        if kinds.is_empty() && guesses.is_empty() {
            return Ok(());
        }
        let written = {
            let (store, kinds, guesses) = (store.clone(), kinds.clone(), guesses.clone());
            let database = store.clone();
            database.change(async move { try_write(&store, kinds, guesses).await }).await
        };
        if written.is_err() {
            let mut interval = self.interval();
            for (kind, counted) in kinds {
                interval.add(kind, counted);
            }
            for (guess, count) in guesses {
                interval.guesses.note(guess, count);
            }
        }
        written
    }

    fn interval(&self) -> MutexGuard<'_, Interval> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Interval {
    fn add(&mut self, kind: Kind, counted: Counted) {
        let count = counted.count;
        let kind = kind.fitting(&self.kinds);
        self.kinds.entry(kind).and_modify(|known| known.count += count).or_insert(counted);
    }
}

impl Kind {
    /// This one, or what there is room for instead.
    fn fitting(self, all: &HashMap<Self, Counted>) -> Self {
        let Some(who) = &self.who else {
            return self;
        };
        if all.contains_key(&self) {
            return self;
        }
        let told_apart = || all.keys().filter_map(|kind| kind.who.as_ref());
        let theirs = told_apart().filter(|other| other.shares_with(who)).count();
        let is_room = told_apart().count() < MAX_KINDS;
        if is_room && theirs < DETAILED {
            return self;
        }
        let vague = Self { who: Some(Who { network: None, target: None, ..who.clone() }), ..self.clone() };
        if all.contains_key(&vague) || (is_room && theirs < EACH) {
            return vague;
        }
        Self { who: None, ..self }
    }
}

impl Who {
    /// Whether both have one share: all that an account holds, each service, and
    /// together whoever is unknown.
    fn shares_with(&self, other: &Self) -> bool {
        match (&self.account_id, &other.account_id) {
            (None, None) => self.actor == other.actor,
            (one, other) => one == other,
        }
    }
}

impl Target {
    fn of(unverified: String) -> Option<Self> {
        let account = || unverified.parse().ok().map(Self::Account);
        unverified.parse().ok().map(Self::Credential).or_else(account)
    }
}

async fn try_write(
    store: &Store,
    kinds: HashMap<Kind, Counted>,
    guesses: Vec<(Guess, u64)>,
) -> Result<(), store::Error> {
    let transaction = store.begin().await?;
    let mut events = Vec::with_capacity(kinds.len() + guesses.len());
    for (kind, counted) in kinds {
        events.push(event(&transaction, kind, counted).await?);
    }
    events.extend(guesses.into_iter().map(|(guess, count)| guess.told(count)));
    transaction.commit_told(events).await
}

async fn event(snapshot: &Snapshot, kind: Kind, counted: Counted) -> Result<Event, store::Error> {
    let Kind { action, reason, who } = kind;
    let Counted { count, address, request_id } = counted;
    let refusal = Some(Refusal { reason, count });
    let Some(Who { actor, account_id, network, target }) = who else {
        let actor = "several".to_owned();
        return Ok(Event { refusal, ..Event::new(actor, action, String::new()) });
    };
    let (target, named) = match target {
        Some(Target::Credential(id)) => (id.to_string(), None),
        // Text is written down only where it names what is here.
        Some(Target::Account(id)) if snapshot.account(&id).await?.is_some() => (id.to_string(), Some(id)),
        Some(Target::Account(_)) | None => (String::new(), None),
    };
    Ok(Event {
        actor_address: network.and(address).map(|address| address.to_string()),
        account_id: named.or(account_id).map(|id| id.to_string()),
        request_id: Some(request_id.to_string()),
        refusal,
        ..Event::new(actor.unwrap_or_else(|| "unknown".to_owned()), action, target)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(actor: &str) -> RefusedChange {
        RefusedChange {
            action: "token.issue",
            actor: Some(actor.to_owned()),
            account_id: None,
            call: Call::default(),
            unverified_target: None,
            reason: "NOT_PERMITTED".to_owned(),
        }
    }

    #[test]
    fn those_alike_are_counted_together() {
        let refusals = Refusals::default();
        for _ in 0..3 {
            refusals.note(refused("a"));
        }
        refusals.note(refused("b"));
        let counts: Vec<_> = refusals.interval().kinds.values().map(|counted| counted.count).collect();
        assert_eq!(counts.iter().sum::<u64>(), 4);
        assert_eq!(counts.len(), 2);
    }

    #[test]
    fn many_kinds_take_no_more_than_some_rows() {
        let refusals = Refusals::default();
        for actor in 0..10_000 {
            refusals.note(refused(&actor.to_string()));
        }
        let interval = refusals.interval();
        let all = &interval.kinds;
        assert_eq!(all.len(), MAX_KINDS + 1);
        assert_eq!(all.values().map(|counted| counted.count).sum::<u64>(), 10_000);
    }

    fn naming(actor: &str, account: Option<&str>, target: usize) -> RefusedChange {
        RefusedChange {
            account_id: account.map(|id| id.parse().expect("an id")),
            unverified_target: Some(format!("account-{target}")),
            ..refused(actor)
        }
    }

    #[test]
    fn nobody_hides_what_others_try() {
        let refusals = Refusals::default();
        for number in 0..1_000 {
            // Whatever it names, and with however many tokens.
            refusals.note(naming("service:loud", None, number));
            refusals.note(naming(&format!("token:{number}"), Some("loud"), number));
        }
        refusals.note(naming("service:quiet", None, 7));
        refusals.note(naming("token:quiet", Some("quiet"), 7));

        let interval = refusals.interval();
        let all = &interval.kinds;
        assert_eq!(all.values().map(|counted| counted.count).sum::<u64>(), 2_002);
        let told = |is_one: &dyn Fn(&Who) -> bool| {
            all.keys().filter_map(|kind| kind.who.as_ref()).filter(|who| is_one(who)).count()
        };
        let quiet = |who: &Who| who.actor.as_ref().is_some_and(|actor| actor.ends_with(":quiet"));
        assert_eq!(told(&|who| quiet(who) && who.target.is_some()), 2, "they are told of in full");
        assert_eq!(told(&|who| !quiet(who) && who.target.is_some()), 2 * DETAILED);
        let service = Kind {
            who: Some(Who { actor: Some("service:loud".to_owned()), account_id: None, network: None, target: None }),
            action: "token.issue",
            reason: "NOT_PERMITTED".to_owned(),
        };
        assert_eq!(all[&service].count, 1_000 - DETAILED as u64, "who it was is told all the same");
    }
}
