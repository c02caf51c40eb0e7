//! Which keys are to be used now? The ring's file and the database are looked at
//! again every now and then, and where the database was seen to name another key.

use std::{path::PathBuf, sync::Arc, time::Duration};

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::{StartError, open};
use crate::{
    authority::bootstrap::{self, Added, KeyStates, Reread},
    domain::{
        keys::{KeyId, Keys},
        signing::SigningKeyId,
    },
    keys::KeysAtHand,
    settings::Settings,
    store::Store,
    telemetry::told_of,
};

/// How soon a file that was given is noticed.
const EVERY: Duration = Duration::from_secs(2);

/// What the file and the database say of the master keys.
pub async fn list(settings: &Settings) -> Result<KeyStates, StartError> {
    Ok(bootstrap::list_keys(&open(settings).await?, &settings.master_key_file()).await?)
}

/// Adds a new master key to the file.
pub async fn add(settings: &Settings, id: Option<KeyId>) -> Result<Added, StartError> {
    Ok(bootstrap::add_key(&open(settings).await?, &settings.master_key_file(), id).await?)
}

/// Names a master key of the file current; tells whether it was another before.
pub async fn promote(settings: &Settings, id: &KeyId) -> Result<bool, StartError> {
    Ok(bootstrap::promote_key(&open(settings).await?, &settings.master_key_file(), id).await?)
}

/// Makes another signing key; tells its name.
pub async fn rotate_signing(settings: &Settings) -> Result<SigningKeyId, StartError> {
    let store = open(settings).await?;
    let keys = bootstrap::load_keys(&store, &settings.master_key_file()).await?;
    Ok(bootstrap::rotate_signing_key(&store, &keys).await?)
}

/// Keeps the keys at hand those of the file and the database, until `stop`.
pub(super) async fn follow(store: Store, keys: Arc<KeysAtHand>, path: PathBuf, stop: CancellationToken) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut told = None;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
            () = keys.outdated() => {}
        }
        let at_hand = keys.now().clone();
        // Where the database does not answer, the health check says so.
        let Ok(reread) = bootstrap::reread_keys(&store, &path, &at_hand).await else {
            continue;
        };
        let Reread { keys: renewed, problem } = reread;
        let serves = renewed.current().is_ok();
        let problem = problem.map(|problem| (serves, told_of(&problem), problem));
        let state = problem.as_ref().map(|(serves, text, _)| (*serves, text.clone()));
        if state != told {
            match &problem {
                Some((true, _, problem)) => {
                    tracing::warn!(error = told_of(problem), "the master keys at hand stay in use");
                }
                Some((false, _, problem)) => {
                    tracing::error!(error = told_of(problem), "not serving: the current master key is not here");
                }
                None => tracing::info!(file = %path.display(), "the file of master keys is in order again"),
            }
            told = state;
        }
        if !renewed.is_same(&at_hand) {
            say(&renewed);
            keys.replace(renewed);
        }
    }
}

fn say(keys: &Keys) {
    let at_hand: Vec<_> = keys.ring().iter().map(|key| key.id().as_str()).collect();
    let current = keys.current().map_or("none", |key| key.id().as_str());
    tracing::info!(current, at_hand = at_hand.join(" "), "master keys replaced");
}
