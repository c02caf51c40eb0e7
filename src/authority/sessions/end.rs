//! Ending a session: by who holds its secret, or by its id.

use std::collections::BTreeSet;

use crate::{
    authority::{Authority, Error, Targets},
    domain::{
        caller::Permit,
        credential::Kind,
        id::{CredentialId, SecretId},
        judgement,
        record::{Record, Revocation, RevocationReason},
    },
    store::{Change, Subject, Transaction},
};

impl Authority {
    /// Ends the session of that kind whose live secret was presented. What is none,
    /// or one of another kind, changes nothing, and nor does one that has ended.
    pub async fn sign_out(
        &self,
        permit: Permit,
        kind: Kind,
        presented: Option<(CredentialId, SecretId)>,
    ) -> Result<(), Error> {
        let Some((id, secret)) = presented else {
            return Ok(());
        };
        let is_meant = move |record: &Record| record.kind == kind;
        match self.end(permit, id, Some(secret), is_meant, RevocationReason::OwnerRequest).await {
            Err(Error::SessionNotFound) => Ok(()),
            other => other,
        }
    }

    /// Ends a session by its id. One that has ended stays as it is.
    pub async fn end_session(&self, permit: Permit, id: CredentialId) -> Result<(), Error> {
        self.end(permit, id, None, is_session, RevocationReason::Administrative).await
    }

    async fn end(
        &self,
        permit: Permit,
        id: CredentialId,
        presented: Option<SecretId>,
        is_meant: impl Fn(&Record) -> bool + Send + 'static,
        reason: RevocationReason,
    ) -> Result<(), Error> {
        let authority = self.clone();
        self.store
            .change(async move {
                let transaction = authority.store.begin().await?;
                let known = transaction.credential(id).await?.filter(&is_meant).ok_or(Error::SessionNotFound)?;
                authority.end_session_in(transaction, &permit, &known, presented, reason).await
            })
            .await
    }

    /// Ends a session that was read already; where its secret was presented, only
    /// while that lives.
    pub(in crate::authority) async fn end_session_in(
        &self,
        transaction: Transaction,
        permit: &Permit,
        known: &Record,
        presented: Option<SecretId>,
        reason: RevocationReason,
    ) -> Result<(), Error> {
        let id = known.id;
        let targets = Targets { accounts: known.account.into_iter().collect(), credentials: BTreeSet::from([id]) };
        let opened = self.open(transaction, permit, targets).await?;
        let record = opened.record(id).ok_or(Error::SessionNotFound)?;
        let account = record.account.and_then(|key| opened.account(key)).ok_or(Error::SessionNotFound)?;
        let holder = opened.transaction.holder(account.clone(), &opened.policy, opened.now).await?;
        let is_presented = presented.is_none_or(|secret| record.is_live(secret, opened.now));
        if judgement::is_revoked(record, Some(&holder)) || !is_presented {
            return Ok(opened.transaction.abandon().await?);
        }

        opened.transaction.revoke_credential(id, Revocation { time: opened.now, reason }).await?;
        let action = if presented.is_some() { "session.sign-out" } else { "session.end" };
        let event = opened.event(action, id, Some(account));
        opened.transaction.commit(Change::new([Subject::Credential(id)], event)).await?;
        Ok(())
    }
}

fn is_session(record: &Record) -> bool {
    matches!(record.kind, Kind::DesktopSession | Kind::WebSession)
}
