//! Tokens as another system issued them: `utm_` and 40 more characters, of which
//! it kept the first twelve beside a hash.

use token_authority::{
    client::CallError,
    proto::v1::{ImportTokensRequest, ImportTokensResponse, ImportedToken, imported_token::Hash},
    settings::{Legacy, Settings},
};

use super::Actor;

/// How many of its first characters the other system kept.
const HINT: usize = 12;

/// Lets such tokens be imported.
pub(crate) fn take_over(settings: &mut Settings) {
    settings.credentials.legacy = vec![Legacy { prefix: "utm_".to_owned(), hint_length: HINT }];
}

/// A token that the other system issued.
#[derive(Clone, Debug)]
pub(crate) struct LegacyToken(pub(crate) String);

impl LegacyToken {
    /// One that differs from those of other numbers from the first on.
    pub(crate) fn new(number: usize) -> Self {
        Self(format!("utm_{number:08x}{:032x}", uuid::Uuid::new_v4().as_u128()))
    }

    /// Another one that begins as this one does.
    pub(crate) fn neighbour(&self) -> Self {
        Self(format!("{}{:032x}", self.hint(), uuid::Uuid::new_v4().as_u128()))
    }

    pub(crate) fn hint(&self) -> &str {
        &self.0[..HINT]
    }

    /// As it is imported by a bcrypt hash.
    pub(crate) fn by_bcrypt(&self, account: &str) -> ImportedToken {
        self.by_version(account, "2b")
    }

    /// The same, by a hash that another of bcrypt's programs wrote.
    pub(crate) fn by_version(&self, account: &str, version: &str) -> ImportedToken {
        let hash = bcrypt::hash(&self.0, 4).expect("a hash").replacen("2b", version, 1);
        ImportedToken { hash: Some(Hash::Bcrypt(hash)), lookup_hint: self.hint().to_owned(), ..token_of(account) }
    }

    /// As it is imported by its digest.
    pub(crate) fn by_sha256(&self, account: &str) -> ImportedToken {
        ImportedToken { hash: Some(Hash::Sha256(sha256_of(&self.0))), ..token_of(account) }
    }
}

fn token_of(account: &str) -> ImportedToken {
    ImportedToken { account_id: account.to_owned(), label: "legacy".to_owned(), ..Default::default() }
}

fn sha256_of(text: &str) -> Vec<u8> {
    aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes()).as_ref().to_vec()
}

impl Actor {
    pub(crate) async fn try_import(&self, tokens: Vec<ImportedToken>) -> Result<ImportTokensResponse, CallError> {
        let request = ImportTokensRequest { tokens, validate_only: false };
        self.call(self.client.tokens().import_tokens(request)).await
    }

    /// Imports tokens; tells their ids.
    pub(crate) async fn import(&self, tokens: Vec<ImportedToken>) -> Vec<String> {
        self.try_import(tokens).await.expect("they are imported").token_ids
    }

    /// Imports a token by its bcrypt hash, and looks for it at the end where it may
    /// not be; tells its id.
    pub(crate) async fn import_one(&self, account: &str, token: &LegacyToken) -> String {
        self.seen.legacy(&token.0, token.hint());
        self.import(vec![token.by_bcrypt(account)]).await.remove(0)
    }
}
