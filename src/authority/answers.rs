//! Who signs answers? A key that each master key has for that, so that all
//! replicas sign with the same one, and none of it is stored.

use crate::{
    authority::{Authority, Error},
    domain::{signed_answer, signing::PublicKey, time::Timestamp},
};

impl Authority {
    /// Signs an answer that a caller of this name was given (RFC 9701).
    pub fn sign_answer(&self, audience: &str, answer: &serde_json::Value, now: Timestamp) -> Result<String, Error> {
        let keys = self.keys.now();
        let key = keys.current()?.answers();
        Ok(signed_answer::sign(key, &self.rules.web.issuer, audience, now, answer))
    }

    /// The public keys that verify answers: under former master keys as well, for as
    /// long as those are at hand.
    pub fn answer_keys(&self) -> Vec<PublicKey> {
        self.keys.now().ring().iter().map(|key| key.answers().public().clone()).collect()
    }
}
