//! Desktop sessions, written straight into PostgreSQL: of times of the test's own,
//! and without a fingerprint.

use token_authority::domain::{credential::Kind, id::CredentialId, time::Timestamp};

use super::{TestServer, forge};

/// A desktop session, and the credential that its application holds.
pub(crate) struct DesktopSession {
    pub(crate) id: String,
    pub(crate) secret: String,
}

impl TestServer {
    /// Opens a desktop session for an account. `number` tells sessions apart;
    /// a higher one is newer.
    pub(crate) fn open_desktop_session(&self, account: &str, number: u8) -> DesktopSession {
        let opened = Timestamp::from_micros(1_700_000_000_000_000 + i64::from(number) * 1_000_000).expect("in range");
        let id = CredentialId::at(opened, [number; 8]);
        let secret = forge::secret();
        let plaintext = forge::forms().encode(Kind::DesktopSession, id, &secret).expect("an opaque kind");
        let hash = bcrypt::hash(secret.expose(), 4).expect("a hash");
        let micros = opened.as_micros();
        self.seen.secret(plaintext.expose());
        self.database.sql(&format!(
            "INSERT INTO credentials (id, kind, account, label, inherits_permissions, scopes, roles, networks, hint, \
                 generation, created_by, imported, create_time) \
             SELECT '{id}', 3, id, 'Laptop {number}', true, '', '', '', 'ds_…', session_generation, 'service:desktop', \
                 false, {micros} \
             FROM accounts WHERE account_id = '{account}'; \
             INSERT INTO secrets (id, credential, bcrypt_hash, create_time) VALUES ('{id}', '{id}', '{hash}', {micros}); \
             INSERT INTO desktop_sessions (id, device_name, platform, app_version) \
             VALUES ('{id}', 'Laptop {number}', 'linux', '1.{number}')"
        ));
        DesktopSession { id: id.to_string(), secret: plaintext.expose().to_owned() }
    }

    /// Lets a desktop session expire, or signs it out.
    pub(crate) fn end_desktop_session(&self, session: &DesktopSession, column: &str) {
        self.database.sql(&format!("UPDATE credentials SET {column} = 1700000001000000 WHERE id = '{}'", session.id));
    }
}
