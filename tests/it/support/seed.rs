//! Many tokens, written straight into the database: what the service would have
//! minted, but for the time that bcrypt takes. Their fingerprints are right, so
//! that it never asks for their hashes.

use std::{convert::Infallible, fs};

use sea_orm::ConnectionTrait as _;
use token_authority::domain::{
    credential::{Kind, Plaintext, Secret},
    id::{AccountKey, CredentialId},
    keys::{KeyRing, MasterKey},
    time::Timestamp,
};

use super::{Backend, Database, forge};

/// So many tokens belong to one account.
pub(crate) const TOKENS_PER_ACCOUNT: u64 = 10;
const ROWS: u64 = 1_000;
const FIRST: i64 = 1_700_000_000_000_000;
/// A hash that no secret has.
pub(crate) const HASH: &str = "$2b$04$.....................................................";

/// How many tokens a test of many takes: `few`, unless the environment says how
/// many.
pub(crate) fn many(few: u64) -> u64 {
    match std::env::var("TOKEN_AUTHORITY_TEST_TOKENS") {
        Ok(count) => count.parse().expect("TOKEN_AUTHORITY_TEST_TOKENS is a number"),
        Err(_) => few,
    }
}

/// The label of the token of that number.
pub(crate) fn label(number: u64) -> String {
    format!("token {number}")
}

/// The token of that number, as its holder presents it; the same on every
/// database, which knows it once it was written there.
pub(crate) fn token(number: u64) -> String {
    plaintext(number).expose().to_owned()
}

/// The id of the token of that number.
pub(crate) fn id(number: u64) -> CredentialId {
    CredentialId::at(time(number), mixed(number).to_be_bytes())
}

/// A credential of that id with a secret that no record has.
pub(crate) fn forged(id: CredentialId, number: u64) -> String {
    forge::forms()
        .encode(Kind::Personal, id, &secret(u64::MAX / 512 + number))
        .expect("an opaque kind")
        .expose()
        .to_owned()
}

fn plaintext(number: u64) -> Plaintext {
    forge::forms().encode(Kind::Personal, id(number), &secret(number)).expect("an opaque kind")
}

fn secret(number: u64) -> Secret {
    let mut state = number << 8;
    let Ok(secret) = Secret::draw(|bytes| {
        for chunk in bytes.chunks_mut(8) {
            state += 1;
            chunk.copy_from_slice(&mixed(state).to_be_bytes()[..chunk.len()]);
        }
        Ok::<_, Infallible>(())
    });
    secret
}

fn time(number: u64) -> Timestamp {
    Timestamp::from_micros(FIRST + i64::try_from(number).expect("not so many")).expect("in range")
}

/// SplitMix64.
fn mixed(number: u64) -> u64 {
    let mut mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

impl Database {
    /// Writes the tokens of these numbers, whose first is a multiple of
    /// [`TOKENS_PER_ACCOUNT`], without telling anybody of a change.
    pub(crate) async fn write_tokens(&self, numbers: std::ops::Range<u64>) {
        let ring = fs::read_to_string(self.data_dir().join("master.key")).expect("the first start wrote it");
        let ring = KeyRing::parse(&ring).expect("a ring");
        let key = ring.first().expect("it has a key");
        let connection = self.connect().await;
        for first in numbers.clone().step_by(usize::try_from(ROWS).expect("small")) {
            let rows = self.rows(first..(first + ROWS).min(numbers.end), key);
            connection.execute_unprepared(&rows).await.expect("the rows are written");
        }
        connection.close().await.expect("the connection is closed");
    }

    fn rows(&self, numbers: std::ops::Range<u64>, key: &MasterKey) -> String {
        let (uuid, bytes) = match self.backend() {
            Backend::Sqlite => ("X'", "X'"),
            Backend::Postgres => ("'", r"'\x"),
        };
        let (mut accounts, mut credentials, mut secrets) = (Vec::new(), Vec::new(), Vec::new());
        for number in numbers {
            let account = number - number % TOKENS_PER_ACCOUNT;
            let account_key = AccountKey::at(time(account), mixed(account).to_be_bytes()).uuid().simple();
            let (id, micros) = (id(number).uuid().simple(), time(number).as_micros());
            if number == account {
                accounts.push(format!(
                    "({uuid}{account_key}', 'account-{account}', '', '', '', false, false, 0, 0, {micros}, {micros}, \
                     {uuid}{account_key}')"
                ));
            }
            let plaintext = plaintext(number);
            credentials.push(format!(
                "({uuid}{id}', 1, {uuid}{account_key}', '{}', false, 'read write', '', '', '{}', 0, 'service:seed', \
                 false, {micros}, 4000000000000000)",
                label(number),
                plaintext.hint()
            ));
            let fingerprint = key.fingerprint(&plaintext);
            let (high, low) = fingerprint.expose().split_at(16);
            let half = |bytes: &[u8]| u128::from_be_bytes(bytes.try_into().expect("16 bytes"));
            let fingerprint = format!("{:032x}{:032x}", half(high), half(low));
            secrets
                .push(format!("({uuid}{id}', {uuid}{id}', '{HASH}', {bytes}{fingerprint}', '{}', {micros})", key.id()));
        }
        format!(
            "INSERT INTO accounts (id, account_id, email, roles, permissions, limit_permissions, suspended, \
                 token_generation, session_generation, create_time, update_time, etag) VALUES {}; \
             INSERT INTO credentials (id, kind, account, label, inherits_permissions, scopes, roles, networks, hint, \
                 generation, created_by, imported, create_time, expire_time) VALUES {}; \
             INSERT INTO secrets (id, credential, bcrypt_hash, fingerprint, key_id, create_time) VALUES {}",
            accounts.join(", "),
            credentials.join(", "),
            secrets.join(", ")
        )
    }
}
