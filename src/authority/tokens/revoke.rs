//! Revoking: one token by its id or its secret, or all of an account's at once.

use std::collections::BTreeSet;

use super::{TokenView, reached_account, view_of};
use crate::{
    authority::{Authority, Error, Targets, reaches},
    domain::{
        account::AccountId,
        caller::Permit,
        credential::Kind,
        id::{CredentialId, SecretId},
        judgement,
        record::{Record, Revocation, RevocationReason},
    },
    store::{Change, Subject},
};

/// What is to be revoked.
#[derive(Clone, Copy, Debug)]
pub enum RevokeTarget {
    /// The token of that id.
    Token(CredentialId),
    /// The credential whose live secret the caller presented, if it was one.
    Presented(Option<(CredentialId, SecretId)>),
}

impl Authority {
    /// Ends a token for good; none where an unknown secret was presented, or
    /// one that is not a token's. Ending one that has ended changes nothing.
    pub async fn revoke_token(
        &self,
        permit: Permit,
        target: RevokeTarget,
        reason: RevocationReason,
    ) -> Result<Option<TokenView>, Error> {
        let authority = self.clone();
        self.store
            .change(async move {
                match target {
                    RevokeTarget::Token(id) => authority.revoke(&permit, id, None, reason).await,
                    RevokeTarget::Presented(Some((id, secret))) => {
                        authority.revoke(&permit, id, Some(secret), reason).await
                    }
                    RevokeTarget::Presented(None) => Ok(None),
                }
            })
            .await
    }

    async fn revoke(
        &self,
        permit: &Permit,
        id: CredentialId,
        presented: Option<SecretId>,
        reason: RevocationReason,
    ) -> Result<Option<TokenView>, Error> {
        let by_secret = presented.is_some();
        let transaction = self.store.begin().await?;
        let Some(known) = transaction.credential(id).await? else {
            return if by_secret { Ok(None) } else { Err(Error::TokenNotFound) };
        };
        if !by_secret && !reaches(permit.caller(), permit.reach(), &known) {
            return Err(Error::TokenNotFound);
        }
        match known.kind {
            Kind::Personal => {}
            Kind::DesktopSession => return Err(Error::DesktopSessionViewOnly),
            Kind::Service if by_secret => {
                self.revoke_service_in(transaction, permit, id, presented, reason).await?;
                return Ok(None);
            }
            // It is in no list: whoever finds one that leaked has no other way.
            Kind::WebSession if by_secret => {
                match self.end_session_in(transaction, permit, &known, presented, reason).await {
                    Ok(()) | Err(Error::SessionNotFound) => return Ok(None),
                    Err(error) => return Err(error),
                }
            }
            Kind::Service | Kind::WebSession => return Err(Error::TokenNotFound),
        }

        let targets = Targets { accounts: known.account.into_iter().collect(), credentials: BTreeSet::from([id]) };
        let opened = self.open(transaction, permit, targets).await?;
        let reached = |record: &&Record| by_secret || reaches(&opened.caller, opened.reach, record);
        let record = opened.record(id).filter(reached).cloned().ok_or(Error::TokenNotFound)?;
        if presented.is_some_and(|secret| !record.is_live(secret, opened.now)) {
            // A rotation ended the secret while this waited.
            opened.transaction.abandon().await?;
            return Ok(None);
        }
        let account = record.account.and_then(|key| opened.account(key)).cloned().ok_or(Error::TokenNotFound)?;
        let holder = opened.transaction.holder(account, &opened.policy, opened.now).await?;
        if judgement::is_revoked(&record, Some(&holder)) {
            let view = view_of(&opened.transaction, &holder, &opened.policy, record, opened.now).await?;
            opened.transaction.abandon().await?;
            return Ok(Some(view));
        }

        let revocation = Revocation { time: opened.now, reason };
        opened.transaction.revoke_credential(id, revocation).await?;
        let view = view_of(
            &opened.transaction,
            &holder,
            &opened.policy,
            Record { revocation: Some(revocation), ..record },
            opened.now,
        )
        .await?;
        let mut event = opened.event("token.revoke", id, Some(&holder.account));
        event.detail = serde_json::json!({ "reason": format!("{reason:?}"), "by_secret": by_secret });
        let subjects = [Subject::Credential(id), Subject::Account(holder.account.key)];
        opened.transaction.commit(Change::new(subjects, event)).await?;
        Ok(Some(view))
    }

    /// Ends every token of an account in one write, and its sessions if asked.
    /// Tells how many tokens that ended.
    pub async fn revoke_all_tokens(
        &self,
        permit: Permit,
        account: Option<AccountId>,
        reason: RevocationReason,
        include_sessions: bool,
    ) -> Result<u64, Error> {
        let authority = self.clone();
        self.store
            .change(async move {
                let transaction = authority.store.begin().await?;
                let key = reached_account(&transaction, &permit, account.as_ref()).await?.key;
                let (opened, account) = authority.open_account(transaction, &permit, key).await?;
                let ended = opened.transaction.count_live(&account, Kind::Personal, opened.now).await?;
                opened.transaction.raise_token_generation(&account, opened.now, reason).await?;
                if include_sessions {
                    opened.transaction.raise_session_generation(&account, opened.now, reason).await?;
                }
                let mut event = opened.event("token.revoke-all", &account.id, Some(&account));
                event.detail = serde_json::json!({
                    "reason": format!("{reason:?}"),
                    "include_sessions": include_sessions,
                    "ended": ended,
                });
                opened.transaction.commit(Change::new([Subject::Account(key)], event)).await?;
                Ok(ended)
            })
            .await
    }
}
