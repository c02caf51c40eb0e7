//! The core of the freshness protocol (`src/introspection/`, `src/store/head.rs`
//! and `transaction.rs`) as a model, all of whose interleavings are looked at:
//! writers, a replica's rounds, its loads, its introspections, and a database
//! whose log is trimmed and that is restored. It is a copy by hand, and links
//! nothing of the service; each rule that the service keeps is left out once, to
//! see that the model would tell.

mod database;
mod properties;
mod protocol;
mod replica;
mod sequence_lock;

use stateright::Model;

use self::{
    database::{Bounds, Database},
    protocol::Protocol,
    replica::Replica,
};

/// What is modelled, and within which bounds.
#[derive(Clone, Copy, Debug)]
struct World {
    protocol: Protocol,
    bounds: Bounds,
    /// Whether the database is in the replica's own process.
    embedded: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct State {
    database: Database,
    replica: Replica,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Database(database::Step),
    Replica(replica::Step),
}

impl Model for World {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let database = Database::new(self.bounds);
        let evictable = self.bounds.evictable;
        let replicas = [Replica::cold(evictable), Replica::warm(evictable, &database)];
        replicas.map(|replica| State { database, replica }).to_vec()
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.replica.is_done(self.bounds.calls) {
            return;
        }
        let (mut database, mut replica) = (Vec::new(), Vec::new());
        state.database.steps(self.protocol, &mut database);
        state.replica.steps(self.bounds, self.protocol, &mut replica);
        actions.extend(database.into_iter().map(Action::Database));
        actions.extend(replica.into_iter().map(Action::Replica));
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let mut next = *state;
        match action {
            Action::Database(step) => next.database.step(step),
            Action::Replica(step) => next.replica.step(step, &state.database, self.protocol, self.embedded),
        }
        Some(next)
    }

    fn properties(&self) -> Vec<stateright::Property<Self>> {
        properties::all()
    }
}
