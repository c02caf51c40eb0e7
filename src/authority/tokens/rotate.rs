//! Rotating: a new secret for a token, and an early end for one of its two.

use super::TokenView;
use crate::{
    authority::{
        Authority, Error, Minted,
        rotate::{Rotated, Rotation},
    },
    domain::{
        caller::Permit,
        id::{CredentialId, SecretId},
    },
};

impl Authority {
    /// Gives a token a new secret; the old one works until the overlap ends.
    pub async fn rotate_token(&self, permit: Permit, rotation: Rotation) -> Result<Minted<TokenView>, Error> {
        let hashed = self.hash_for_rotation(&rotation).await?;
        let authority = self.clone();
        self.store
            .change(async move {
                let token = authority.open_token(&permit, rotation.id).await?;
                token.refuse_unmanageable()?;
                let Rotated { record, plaintext, detail } =
                    authority.rotate(&token.opened, &token.record, &rotation, hashed).await?;
                let view = token.view(record).await?;
                token.commit("token.rotate", detail).await?;
                Ok(Minted { view, plaintext })
            })
            .await
    }

    /// Ends one of a token's two live secrets. The other one's own end stays as
    /// it is. Ending one that has ended changes nothing.
    pub async fn end_token_secret(
        &self,
        permit: Permit,
        id: CredentialId,
        secret: SecretId,
    ) -> Result<TokenView, Error> {
        let authority = self.clone();
        self.store
            .change(async move {
                let token = authority.open_token(&permit, id).await?;
                let now = token.opened.now;
                let has_ended = token.record.secret(secret).ok_or(Error::SecretNotFound)?.has_ended(now);
                if has_ended || token.has_ended() {
                    let view = token.view(token.record.clone()).await?;
                    token.opened.transaction.abandon().await?;
                    return Ok(view);
                }
                if !token.record.secrets.iter().any(|other| other.id != secret && !other.has_ended(now)) {
                    return Err(Error::LastSecret);
                }
                token.opened.transaction.end_secret(secret, now).await?;
                let record = token.opened.transaction.credential(id).await?.ok_or(Error::TokenNotFound)?;
                let view = token.view(record).await?;
                token.commit("token.end-secret", serde_json::json!({ "secret_id": secret.to_string() })).await?;
                Ok(view)
            })
            .await
    }
}
