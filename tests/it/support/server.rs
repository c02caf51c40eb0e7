//! A server in this process.

use std::sync::{Arc, Mutex, PoisonError};

use aho_corasick::AhoCorasick;
use token_authority::{
    proto::v1::{CreateServiceCredentialRequest, ServiceRole},
    server::Server,
    settings::Settings,
};

use super::{Actor, Backend, Database, log};

/// What actors were shown and told, to be looked through at the end.
#[derive(Clone, Default)]
pub(crate) struct Seen(Arc<Mutex<SeenInner>>);

#[derive(Default)]
struct SeenInner {
    // What no log, database or error may hold.
    secrets: Vec<Vec<u8>>,
    passwords: Vec<String>,
    errors: Vec<String>,
}

impl Seen {
    /// A credential. A secret's 32 digits stand in the middle of it.
    pub(crate) fn secret(&self, secret: &str) {
        self.part(&secret.as_bytes()[secret.len() - 38..secret.len() - 6]);
    }

    /// Another system's token, whose first characters that system kept.
    pub(crate) fn legacy(&self, token: &str, hint: &str) {
        self.part(token.strip_prefix(hint).expect("its hint").as_bytes());
    }

    fn part(&self, secret: &[u8]) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).secrets.push(secret.to_owned());
    }

    /// A password that was set or presented; those that are none are not looked
    /// for.
    pub(crate) fn password(&self, password: &str) {
        if password.len() >= 8 {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).passwords.push(password.to_owned());
        }
    }

    pub(crate) fn error(&self, error: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).errors.push(error);
    }

    /// Looks for every secret and password in the log, the database and the error
    /// texts. A secret's 32 digits stand in the middle of its credential; of a signed
    /// token, that is a part of the signature.
    pub(crate) fn look_for_secrets(&self, log: &[u8], database: &[u8]) {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let errors = seen.errors.join("\n");
        let secrets = AhoCorasick::new(&seen.secrets).expect("they fit into an automaton");
        let passwords = AhoCorasick::new(&seen.passwords).expect("they fit into an automaton");
        let hashes = AhoCorasick::new(["$2a$", "$2b$", "$2y$", "{SHA256}"]).expect("they fit into an automaton");
        for (name, text) in [("log", log), ("database", database), ("errors", errors.as_bytes())] {
            assert!(!secrets.is_match(text), "a secret is in the {name}");
            assert!(!passwords.is_match(text), "a password is in the {name}");
            assert!(name == "database" || !hashes.is_match(text), "a hash is in the {name}");
        }
    }
}

/// A running server.
pub(crate) struct TestServer {
    pub(crate) server: Server,
    pub(crate) database: Database,
    pub(crate) seen: Seen,
    // Where its part of the log begins.
    log: log::Mark,
}

impl TestServer {
    /// A server with the default settings on a new database.
    pub(crate) async fn start(backend: Backend) -> Self {
        Self::configured(backend, None, |_| {}).await
    }

    /// A server with the settings of a file (a path below the repository), as
    /// `change` changes them, on a new database.
    pub(crate) async fn configured(backend: Backend, file: Option<&str>, change: impl FnOnce(&mut Settings)) -> Self {
        let database = backend.database();
        let mut settings = database.settings(file);
        change(&mut settings);
        Self::on(database, &settings).await
    }

    /// A server on an existing database.
    pub(crate) async fn on(database: Database, settings: &Settings) -> Self {
        log::keep();
        let log = log::mark();
        let server = Server::start(settings).await.expect("the server starts");
        let seen = Seen::default();
        seen.secret(&database.admin_token());
        Self { server, database, seen, log }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.server.grpc_address())
    }

    /// The administrator that the first start made.
    pub(crate) async fn admin(&self) -> Actor {
        self.actor(&self.database.admin_token()).await
    }

    /// Whoever holds this credential.
    pub(crate) async fn actor(&self, credential: &str) -> Actor {
        Actor::connect(&self.url(), credential, self.seen.clone()).await
    }

    /// A new service with these roles.
    pub(crate) async fn service(&self, name: &str, roles: &[ServiceRole]) -> Actor {
        let admin = self.admin().await;
        let request = CreateServiceCredentialRequest {
            name: name.to_owned(),
            roles: roles.iter().map(|role| (*role).into()).collect(),
            ..Default::default()
        };
        let created = admin.call(admin.client.services().create_service_credential(request)).await.expect("it is made");
        self.seen.secret(&created.secret);
        self.actor(&created.secret).await
    }

    /// Ends the server, and looks for the secrets that its actors were shown
    /// where none may be.
    pub(crate) async fn end(self) {
        let Self { server, database, seen, log } = self;
        server.shutdown().await.expect("the server ends in good order");
        seen.look_for_secrets(&log::since(log), &database.dump());
    }
}
