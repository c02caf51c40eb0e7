//! Whose is it? What another system issued does not say which record is its own.
//! One that was proved is remembered, and then found in memory; others are
//! searched for, and those of which there is neither fingerprint nor digest are
//! tried by bcrypt, few for each hint, one at a time.
//!
//! That a record was found says nothing of whether it is still good: that is
//! judged on each call, from facts as fresh as the call wants. Where the one that
//! is remembered has ended, it is searched again: the same token may have been
//! taken over twice. That nothing was found is not remembered.

use std::sync::Arc;

use quick_cache::sync::Cache;

use super::{
    Fault, Freshness,
    cache::{Known, View},
    clock::Instant,
    engine::Engine,
    prove::{Compared, Prover},
    search::{Candidates, Search},
};
use crate::domain::{
    credential::{Form, Kind},
    id::{CredentialId, SecretId},
    judgement::is_revoked,
    legacy::{Legacy, Located},
    time::Timestamp,
};

/// Finds the records of other systems' tokens.
#[derive(Clone, Debug)]
pub(super) struct Locator {
    engine: Engine,
    prover: Prover,
    search: Search,
    // By a digest under a key that this process alone has. That a credential is
    // this record's cannot change.
    located: Arc<Cache<[u8; 32], CredentialId>>,
}

impl Locator {
    /// Remembers up to `capacity` that were found.
    pub(super) fn new(engine: Engine, prover: Prover, search: Search, capacity: usize) -> Self {
        Self { engine, prover, search, located: Arc::new(Cache::new(capacity)) }
    }

    /// The record that it was found to be last.
    pub(super) fn recall(&self, legacy: Legacy) -> Option<Form> {
        let id = self.located.get(&self.prover.digest(legacy.plaintext()))?;
        Some(Form::Legacy(Located { id, legacy }))
    }

    /// The record whose secret it is: one that is live, where there is one. None:
    /// it is nobody's.
    pub(super) async fn locate(&self, legacy: Legacy, freshness: Freshness) -> Result<Option<Form>, Fault> {
        if let Some(form) = self.recall(legacy.clone()) {
            let view = self.engine.view(&[form.id()], freshness).await?;
            if view.known.iter().flatten().any(|known| self.is_live(&form, known, view.now)) {
                return Ok(Some(form));
            }
        }
        let began = Instant::now();
        let Candidates { told, hinted } = self.search.candidates(&legacy).await?;
        let ended = match self.first(&legacy, &told, began).await? {
            Some((id, true)) => return Ok(Some(self.found(id, legacy))),
            Some((id, false)) => Some(id),
            None => None,
        };
        match self.first(&legacy, &hinted, began).await? {
            Some((id, true)) => Ok(Some(self.found(id, legacy))),
            other => Ok(ended.or(other.map(|(id, _)| id)).map(|id| Form::Legacy(Located { id, legacy }))),
        }
    }

    /// The first of these whose secret it is, rather one that is live; and whether
    /// it is.
    async fn first(
        &self,
        legacy: &Legacy,
        candidates: &[CredentialId],
        began: Instant,
    ) -> Result<Option<(CredentialId, bool)>, Fault> {
        if candidates.is_empty() {
            return Ok(None);
        }
        let view: View = self.engine.view(candidates, Freshness::Since(began)).await?;
        let mut ended = None;
        for known in view.known.iter().flatten().filter(|known| known.record.kind == Kind::Personal) {
            let form = Form::Legacy(Located { id: known.record.id, legacy: legacy.clone() });
            let Some(secret) = self.prover.prove(&form, &known.record, view.now).await? else {
                continue;
            };
            if is_live(known, secret, view.now) {
                return Ok(Some((known.record.id, true)));
            }
            ended = ended.or(Some((known.record.id, false)));
        }
        Ok(ended)
    }

    fn found(&self, id: CredentialId, legacy: Legacy) -> Form {
        self.located.insert(self.prover.digest(legacy.plaintext()), id);
        Form::Legacy(Located { id, legacy })
    }

    fn is_live(&self, form: &Form, known: &Known, now: Timestamp) -> bool {
        match self.prover.compare(form, &known.record) {
            Compared::Proved(secret) => is_live(known, secret, now),
            Compared::Disproved => false,
            // It was proved before, and its fingerprint is not stored yet.
            Compared::Open(secrets) => secrets.iter().any(|(secret, _)| is_live(known, secret.id, now)),
        }
    }
}

/// Whether a secret's use is not at its end, whatever else is in its way.
fn is_live(Known { record, holder }: &Known, secret: SecretId, now: Timestamp) -> bool {
    holder.is_some()
        && !is_revoked(record, holder.as_deref())
        && !record.has_expired(now)
        && record.is_live(secret, now)
}
