//! What must always hold, what must be reachable so that it says something, and
//! which of it breaks where a rule is left out.

use stateright::{Checker as _, HasDiscoveries, Model as _, Property};

use crate::{
    State, World,
    database::Bounds,
    protocol::Protocol,
    replica::{Call, Replica, Rounds, Source},
};

const ACKNOWLEDGED: &str = "an introspection that started after a write was acknowledged shows it";
const ONE_POINT: &str = "a verdict is of one point of the history";
const MEANWHILE: &str = "an answer is what the database was while it was asked";

pub(crate) fn all() -> Vec<Property<World>> {
    vec![
        Property::always(ACKNOWLEDGED, |_, state: &State| !state.replica.broken.acknowledged),
        Property::always(ONE_POINT, |_, state: &State| !state.replica.broken.one_point),
        Property::always(MEANWHILE, |_, state: &State| !state.replica.broken.meanwhile),
        Property::sometimes("an answer from memory", |_, state: &State| answered(&state.replica, Source::Memory)),
        Property::sometimes("an answer from a load", |_, state: &State| answered(&state.replica, Source::Load)),
        Property::sometimes("a change is followed", |_, state: &State| {
            matches!(state.replica.rounds, Rounds::Writing(_, Some(_)))
        }),
        Property::sometimes("a start over", |_, state: &State| {
            matches!(state.replica.rounds, Rounds::Writing(_, None))
        }),
        Property::sometimes("everybody is answered", |world, state: &State| state.replica.is_done(world.bounds.calls)),
    ]
}

fn answered(replica: &Replica, source: Source) -> bool {
    replica.calls.contains(&Call::Answered(source))
}

/// Writers and readers in each other's way.
const BUSY: Bounds =
    Bounds { writers: 2, calls: 2, trimmable: false, restorable: false, evictable: true, refreshed: false };
/// The same, and rounds on top.
const REFRESHED: Bounds = Bounds { refreshed: true, ..BUSY };
/// A database that is not what it was.
const RESTORED: Bounds = Bounds { evictable: false, restorable: true, ..BUSY };
/// A replica that was away for long.
const LATE: Bounds = Bounds { calls: 1, trimmable: true, evictable: false, ..RESTORED };

/// Every interleaving of the protocol as it is.
fn holds(bounds: Bounds, embedded: bool) {
    let world = World { protocol: Protocol::Right, bounds, embedded };
    let begun = std::time::Instant::now();
    let checker = world.checker().spawn_bfs().join();
    let (states, depth) = (checker.unique_state_count(), checker.max_depth());
    println!("{bounds:?}, embedded: {embedded}: {states} states, depth {depth}, {:?}", begun.elapsed());
    if let Some((name, path)) = checker.discoveries().into_iter().find(|(name, _)| is_safety(name)) {
        panic!("not always: {name}\n{:?}\n{:#?}", path.last_state(), path.clone().into_actions());
    }
    checker.assert_properties();
}

/// The shortest way to break this property.
fn breaks(protocol: Protocol, bounds: Bounds, property: &'static str) {
    let embedded = protocol == Protocol::HeadNotDoubted;
    let world = World { protocol, bounds, embedded };
    let checker = world.checker().finish_when(HasDiscoveries::AnyOf([property].into())).spawn_bfs().join();
    let states = checker.unique_state_count();
    let Some(path) = checker.discovery(property) else {
        panic!("{protocol:?} breaks nothing: {property} ({states} states)");
    };
    println!("{protocol:?}: {states} states; not: {property}: {:?}", path.into_actions());
}

fn is_safety(name: &str) -> bool {
    [ACKNOWLEDGED, ONE_POINT, MEANWHILE].contains(&name)
}

#[test]
fn a_server_of_its_own_is_followed_without_a_stale_answer() {
    holds(BUSY, false);
}

#[test]
fn a_restored_database_is_followed_without_a_stale_answer() {
    holds(Bounds { calls: 1, refreshed: true, ..RESTORED }, false);
}

#[test]
fn a_log_that_was_trimmed_is_followed_without_a_stale_answer() {
    holds(LATE, false);
}

#[test]
fn the_embedded_database_is_followed_without_a_stale_answer() {
    holds(BUSY, true);
}

#[test]
fn two_writers_of_the_cache_break_it() {
    breaks(Protocol::TwoWriters, REFRESHED, ACKNOWLEDGED);
}

#[test]
fn a_confirmation_that_began_before_who_came_breaks_it() {
    breaks(Protocol::AskedBeforeTaken, BUSY, ACKNOWLEDGED);
}

#[test]
fn a_load_that_began_before_who_came_breaks_it() {
    breaks(Protocol::LoadJoined, BUSY, ACKNOWLEDGED);
}

#[test]
fn a_revision_taken_before_the_lock_breaks_it() {
    breaks(Protocol::NumberBeforeLock, BUSY, ACKNOWLEDGED);
}

#[test]
fn holding_a_fill_that_is_older_than_a_change_breaks_it() {
    breaks(Protocol::OldFillHeld, BUSY, ACKNOWLEDGED);
}

#[test]
fn holding_a_fill_before_the_round_that_reaches_it_mixes_two_points() {
    breaks(Protocol::NewFillHeld, BUSY, ONE_POINT);
}

#[test]
fn a_forked_history_with_the_same_revision_breaks_it_where_tags_are_ignored() {
    breaks(Protocol::TagsIgnored, RESTORED, ACKNOWLEDGED);
}

#[test]
fn readers_that_do_not_look_for_publications_mix_two_points() {
    breaks(Protocol::PublicationIgnored, BUSY, ONE_POINT);
}

#[test]
fn an_embedded_head_that_is_not_in_doubt_during_a_commit_lets_answers_go_back() {
    breaks(Protocol::HeadNotDoubted, BUSY, MEANWHILE);
}
