//! Minting: a new secret, hashed before the transaction begins, and the
//! credential made of it once its id is known.

use std::convert::Infallible;

use super::{Authority, Error};
use crate::{
    domain::{
        credential::{Forms, Kind, Plaintext, Secret},
        digest::{BcryptHash, SecretHash},
        id::{CredentialId, SecretId},
        keys::MasterKey,
        record::SecretRecord,
        time::Timestamp,
    },
    random,
};

/// A secret that is hashed, and not yet anybody's.
pub(super) struct Hashed {
    secret: Secret,
    bcrypt: BcryptHash,
}

/// What was made, and the plaintext that is shown this once.
#[derive(Debug)]
pub struct Minted<T> {
    /// What was made.
    pub view: T,
    /// The whole credential.
    pub plaintext: Plaintext,
}

impl Authority {
    /// Draws a secret and hashes it, if there is a key for its fingerprint.
    pub(super) async fn hash_new_secret(&self) -> Result<Hashed, Error> {
        self.keys.now().current()?;
        let secret = draw_secret();
        let bcrypt = self.bcrypt.hash(secret.clone()).await?;
        Ok(Hashed { secret, bcrypt })
    }
}

/// Draws a secret from the operating system's generator.
pub(super) fn draw_secret() -> Secret {
    let Ok(secret) = Secret::draw(|buffer| {
        random::fill(buffer);
        Ok::<_, Infallible>(())
    });
    secret
}

impl Hashed {
    /// Makes the secret a credential's.
    pub(super) fn mint(
        self,
        forms: &Forms,
        key: &MasterKey,
        kind: Kind,
        id: CredentialId,
        now: Timestamp,
    ) -> (Plaintext, SecretRecord) {
        let plaintext = forms.encode(kind, id, &self.secret).expect("only opaque kinds are minted");
        let fingerprint = key.fingerprint(&plaintext);
        let record = SecretRecord {
            id: SecretId::at(now, random::bytes()),
            hash: SecretHash::Bcrypt(self.bcrypt),
            fingerprint: Some((key.id().clone(), fingerprint)),
            create_time: now,
            end_time: None,
        };
        (plaintext, record)
    }
}
