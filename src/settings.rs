//! How is this server set? One struct per concern, read from a TOML file, the
//! environment and flags, and checked once.
//!
//! Precedence: flag, environment (`TOKEN_AUTHORITY__SECTION__NAME`), file,
//! default. An unknown key is an error that names it.

mod defaults;
mod source;
mod units;

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};

pub use self::{
    source::{Flags, LoadError},
    units::{DatabaseUrl, Span, SpanOrNever},
};
use crate::{
    authority::{EmptyScopes, Rules, WebTokens},
    domain::{
        attempts::Throttling,
        caller::Openness,
        credential::{Forms, Prefix},
        legacy::LegacyForm,
        policy::{Document, Policy},
        scope::Scope,
        session::Sliding,
        time::Lifetime,
        web_token::{MAX_LIFETIME, Party},
    },
    introspection::{Limits, Pace, Staleness},
    store,
};

/// All settings.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Where the embedded database, `master.key` and `admin.token` are.
    pub data_dir: PathBuf,
    /// The database.
    pub database: Database,
    /// The gRPC listener.
    pub grpc: Grpc,
    /// The HTTP listener.
    pub http: Http,
    /// The master keys.
    pub keys: Keys,
    /// The first administrator.
    pub admin: Admin,
    /// The form and the hashing of credentials.
    pub credentials: Credentials,
    /// What is issued.
    pub tokens: Tokens,
    /// What account holders do for themselves.
    pub self_service: SelfService,
    /// How people sign in.
    pub sign_in: SignIn,
    /// What a sign-in hands out.
    pub sessions: Sessions,
    /// How Introspect keeps its answers fresh, and what it remembers.
    pub introspection: Introspection,
    /// How long what has ended is kept.
    pub retention: Retention,
    /// The log.
    pub log: Log,
    /// Plans and scopes, kept in the database.
    pub policy: Document,
}

/// The database.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Database {
    /// `sqlite:PATH` or `postgres://…`; absent: SQLite in the data directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<DatabaseUrl>,
    /// The most connections to PostgreSQL, at least 2: half of them are for
    /// changes, so that those that wait for locks keep no read waiting. Two more
    /// ask whether it answers and whether anything changed.
    pub max_connections: u32,
    /// How long to wait for a connection.
    pub acquire_timeout: Span,
    /// How long a change waits for another's lock.
    pub lock_timeout: Span,
    /// How long a transaction whose process went silent keeps its locks.
    pub idle_in_transaction_timeout: Span,
    /// How long one statement may run.
    pub statement_timeout: Span,
    /// How long a call waits for all that it needs of the database.
    pub call_timeout: Span,
    /// Whether `serve` migrates PostgreSQL (it always migrates SQLite).
    pub migrate_on_start: bool,
    /// Off for PgBouncer in transaction mode.
    pub prepared_statements: bool,
}

/// The gRPC listener.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Grpc {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Whether it may listen beyond loopback without TLS, because something
    /// else protects it.
    pub allow_plaintext: bool,
    /// Whether reflection is served beyond loopback.
    pub reflection: bool,
    /// How long a call may take at most.
    pub max_deadline: Span,
    /// How large a request may be, in bytes.
    pub max_message_bytes: usize,
    /// How many calls a connection may have in flight.
    pub max_streams_per_connection: u32,
    /// How many calls a caller may have in flight, over all of its connections.
    pub max_calls_per_caller: usize,
}

/// The HTTP listener.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Http {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Whether it may listen beyond loopback without TLS.
    pub allow_plaintext: bool,
}

/// The master keys.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Keys {
    /// The ring's file; absent: `master.key` in the data directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub master_key_file: Option<PathBuf>,
}

/// The first administrator.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Admin {
    /// Its token's file; absent: `admin.token` in the data directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_file: Option<PathBuf>,
}

/// The form and the hashing of credentials.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Credentials {
    /// What access tokens begin with, without the underscore.
    pub token_prefix: String,
    /// What desktop sessions begin with.
    pub desktop_prefix: String,
    /// What service credentials begin with.
    pub service_prefix: String,
    /// The cost of bcrypt, 4 to 14; each step doubles the work.
    pub bcrypt_cost: u32,
    /// How many threads may run bcrypt; 0 means half the processors.
    pub bcrypt_threads: usize,
    /// How many calls may wait for one of those threads.
    pub bcrypt_queue: usize,
    /// The forms of tokens that other systems issued, which may be imported.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub legacy: Vec<Legacy>,
}

/// The form of another system's tokens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Legacy {
    /// What they begin with, an underscore included.
    pub prefix: String,
    /// How many of their first characters, the prefix included, that system kept
    /// in the clear: an imported bcrypt hash is found by them.
    pub hint_length: usize,
}

/// What is issued.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tokens {
    /// How long a token lives where its request says nothing, or `never`.
    pub default_lifetime: SpanOrNever,
    /// How long a token may live at most, or `never`.
    pub max_lifetime: SpanOrNever,
    /// What it means to ask for neither scopes nor inheriting.
    pub empty_scopes: EmptyScopesSetting,
    /// How long an old secret may go on working beside the new one.
    pub max_rotation_overlap: Span,
}

/// What it means to ask for neither scopes nor inheriting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EmptyScopesSetting {
    /// A token without scopes.
    None,
    /// A token that inherits its account's permissions.
    Inherit,
    /// A refusal.
    Refuse,
}

/// What account holders do for themselves.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SelfService {
    /// The scope by which a token manages its account's others; absent: only
    /// inheriting tokens do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manage_scope: Option<String>,
}

/// How people sign in.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SignIn {
    /// Whether SignIn is open to callers without a credential.
    pub open: bool,
    /// How many sign-ins for one username from one address may fail in a window.
    pub max_failures_per_user_and_address: u32,
    /// How many sign-ins from one address may fail in a window.
    pub max_failures_per_address: u32,
    /// How long after a window's first attempt it ends.
    pub window: Span,
}

/// What a sign-in hands out.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Sessions {
    /// Who signs the tokens of web sessions, as they say it (`iss`).
    pub issuer: String,
    /// For whom they are, as they say it (`aud`).
    pub audience: String,
    /// How long a web session lives, at most a day.
    pub web_lifetime: Span,
    /// How old the key may become that signs them.
    pub signing_key_lifetime: Span,
    /// How long a desktop session goes on without being used.
    pub desktop_lifetime: Span,
    /// How long a desktop session goes on at most, or `never`.
    pub desktop_max_lifetime: SpanOrNever,
}

/// How Introspect keeps its answers fresh, and what it remembers.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Introspection {
    /// How many MiB the records and accounts held in memory may take.
    pub cache_mib: u64,
    /// How many proofs by bcrypt are remembered.
    pub remembered_proofs: usize,
    /// Under load, how long after one question to the database whether anything
    /// changed the next one follows; all calls that came meanwhile share it.
    pub confirm_interval: Span,
    /// How long the database may take to answer; then callers are told
    /// UNAVAILABLE.
    pub timeout: Span,
    /// How old the knowledge behind an answer may be where its request says
    /// nothing; zero: it knows all that was committed before.
    pub max_staleness: Span,
    /// What a request's own `max_staleness` is cut to.
    pub max_staleness_ceiling: Span,
    /// How often it is written down what was used: a crash loses the uses since.
    pub use_interval: Span,
}

/// How long what has ended is kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Retention {
    /// Revoked and expired credentials.
    pub ended: Span,
    /// The log of changes.
    pub changes: Span,
    /// How often it is looked for what to remove.
    pub interval: Span,
}

/// The log.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// For people or for programs.
    pub format: LogFormat,
    /// What is logged, for example `info` or `info,token_authority=debug`.
    pub filter: String,
}

/// For people or for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// A line for people.
    Text,
    /// A JSON object a line.
    Json,
}

/// Settings that contradict themselves or ask for what is not safe.
#[derive(Debug, thiserror::Error)]
#[error("{key}: {problem}")]
pub struct InvalidSetting {
    key: &'static str,
    problem: String,
}

fn invalid(key: &'static str) -> impl FnOnce(String) -> InvalidSetting {
    move |problem| InvalidSetting { key, problem }
}

impl Settings {
    /// Checks what a type cannot say.
    pub fn check(&self) -> Result<(), InvalidSetting> {
        check_listener("grpc.listen", self.grpc.listen, "grpc.allow_plaintext", self.grpc.allow_plaintext)?;
        check_listener("http.listen", self.http.listen, "http.allow_plaintext", self.http.allow_plaintext)?;
        if !(4..=14).contains(&self.credentials.bcrypt_cost) {
            return Err(invalid("credentials.bcrypt_cost")("between 4 and 14 is wanted".to_owned()));
        }
        if self.database.max_connections < 2 {
            return Err(invalid("database.max_connections")("at least 2 is wanted".to_owned()));
        }
        for (key, count) in [
            ("grpc.max_streams_per_connection", self.grpc.max_streams_per_connection as usize),
            ("grpc.max_calls_per_caller", self.grpc.max_calls_per_caller),
            ("grpc.max_message_bytes", self.grpc.max_message_bytes),
            ("credentials.bcrypt_queue", self.credentials.bcrypt_queue),
            ("introspection.remembered_proofs", self.introspection.remembered_proofs),
            ("sign_in.max_failures_per_user_and_address", self.sign_in.max_failures_per_user_and_address as usize),
            ("sign_in.max_failures_per_address", self.sign_in.max_failures_per_address as usize),
            ("introspection.cache_mib", usize::try_from(self.introspection.cache_mib).unwrap_or(usize::MAX)),
        ] {
            if count == 0 {
                return Err(invalid(key)("at least 1 is wanted".to_owned()));
            }
        }
        for (key, span) in [
            ("database.acquire_timeout", self.database.acquire_timeout),
            ("database.lock_timeout", self.database.lock_timeout),
            ("database.idle_in_transaction_timeout", self.database.idle_in_transaction_timeout),
            ("database.statement_timeout", self.database.statement_timeout),
            ("database.call_timeout", self.database.call_timeout),
            ("grpc.max_deadline", self.grpc.max_deadline),
            ("retention.interval", self.retention.interval),
            ("introspection.timeout", self.introspection.timeout),
            ("introspection.use_interval", self.introspection.use_interval),
            ("sign_in.window", self.sign_in.window),
            ("sessions.signing_key_lifetime", self.sessions.signing_key_lifetime),
            ("sessions.desktop_lifetime", self.sessions.desktop_lifetime),
        ] {
            // PostgreSQL takes 0 for "no limit", and counts in milliseconds.
            if span.0 < Duration::from_millis(1) {
                return Err(invalid(key)("at least 1ms is wanted".to_owned()));
            }
        }
        if self.database.lock_timeout.0 >= self.database.statement_timeout.0 {
            let problem = "must be shorter than database.statement_timeout, which counts the wait for a lock as well";
            return Err(invalid("database.lock_timeout")(problem.to_owned()));
        }
        if self.database.call_timeout.0 >= self.grpc.max_deadline.0 {
            let problem = "must be shorter than grpc.max_deadline, so that callers are told what was slow";
            return Err(invalid("database.call_timeout")(problem.to_owned()));
        }
        if self.introspection.timeout.0 >= self.grpc.max_deadline.0 {
            let problem = "must be shorter than grpc.max_deadline, so that callers are told what was slow";
            return Err(invalid("introspection.timeout")(problem.to_owned()));
        }
        if self.introspection.max_staleness.0 > self.introspection.max_staleness_ceiling.0 {
            let problem = "is longer than introspection.max_staleness_ceiling";
            return Err(invalid("introspection.max_staleness")(problem.to_owned()));
        }
        let (default, max) = (Lifetime::from(self.tokens.default_lifetime), Lifetime::from(self.tokens.max_lifetime));
        if default.exceeds(max) {
            return Err(invalid("tokens.default_lifetime")("is longer than tokens.max_lifetime".to_owned()));
        }
        if !(Duration::from_secs(1)..=MAX_LIFETIME).contains(&self.sessions.web_lifetime.0) {
            return Err(invalid("sessions.web_lifetime")("between 1s and 24h is wanted".to_owned()));
        }
        let Sliding { window, max } = self.desktop();
        if Lifetime::For(window).exceeds(max) {
            let problem = "is longer than sessions.desktop_max_lifetime";
            return Err(invalid("sessions.desktop_lifetime")(problem.to_owned()));
        }
        self.store_config()?;
        self.rules()?;
        Policy::new(self.policy.clone()).map_err(|error| invalid("policy")(error.to_string()))?;
        Ok(())
    }

    /// Where the database is, and how long to wait for it.
    pub fn store_config(&self) -> Result<store::Config, InvalidSetting> {
        let location = match &self.database.url {
            None => store::Location::Sqlite(self.data_dir.join("token-authority.db")),
            Some(url) => url.location().map_err(invalid("database.url"))?,
        };
        Ok(store::Config {
            location,
            max_connections: self.database.max_connections,
            acquire_timeout: self.database.acquire_timeout.0,
            lock_timeout: self.database.lock_timeout.0,
            idle_in_transaction_timeout: self.database.idle_in_transaction_timeout.0,
            statement_timeout: self.database.statement_timeout.0,
            call_timeout: self.database.call_timeout.0,
            prepared_statements: self.database.prepared_statements,
        })
    }

    /// How stale an answer may be.
    pub fn staleness(&self) -> Staleness {
        let Introspection { max_staleness, max_staleness_ceiling, .. } = self.introspection;
        Staleness { default: max_staleness.0, max: max_staleness_ceiling.0 }
    }

    /// What bounds the introspection engine.
    pub fn introspection_limits(&self) -> Limits {
        let Introspection { cache_mib, confirm_interval, timeout, .. } = self.introspection;
        let pace = Pace { interval: confirm_interval.0, timeout: timeout.0 };
        Limits { cache_bytes: cache_mib.saturating_mul(1024 * 1024), pace }
    }

    /// What is issued, and within which bounds.
    pub fn rules(&self) -> Result<Rules, InvalidSetting> {
        Ok(Rules {
            forms: self.forms()?,
            default_lifetime: self.tokens.default_lifetime.into(),
            max_lifetime: self.tokens.max_lifetime.into(),
            max_overlap: self.tokens.max_rotation_overlap.0,
            empty_scopes: match self.tokens.empty_scopes {
                EmptyScopesSetting::None => EmptyScopes::None,
                EmptyScopesSetting::Inherit => EmptyScopes::Inherit,
                EmptyScopesSetting::Refuse => EmptyScopes::Refuse,
            },
            manage_scope: self.manage_scope()?,
            web: self.web()?,
            desktop: self.desktop(),
            throttling: Throttling {
                max_per_user_and_address: self.sign_in.max_failures_per_user_and_address,
                max_per_address: self.sign_in.max_failures_per_address,
                window: self.sign_in.window.0,
            },
        })
    }

    /// What is open to callers without a credential.
    pub fn openness(&self) -> Openness {
        Openness { sign_in: self.sign_in.open }
    }

    fn web(&self) -> Result<WebTokens, InvalidSetting> {
        let party = |key, text: &str| Party::new(text).map_err(|error| invalid(key)(error.to_string()));
        Ok(WebTokens {
            issuer: party("sessions.issuer", &self.sessions.issuer)?,
            audience: party("sessions.audience", &self.sessions.audience)?,
            lifetime: self.sessions.web_lifetime.0,
        })
    }

    fn desktop(&self) -> Sliding {
        Sliding { window: self.sessions.desktop_lifetime.0, max: self.sessions.desktop_max_lifetime.into() }
    }

    fn forms(&self) -> Result<Forms, InvalidSetting> {
        let prefix = |key, text: &str| Prefix::new(text).map_err(|error| invalid(key)(error.to_string()));
        let token = prefix("credentials.token_prefix", &self.credentials.token_prefix)?;
        let desktop = prefix("credentials.desktop_prefix", &self.credentials.desktop_prefix)?;
        let service = prefix("credentials.service_prefix", &self.credentials.service_prefix)?;
        let forms = Forms::new(token, desktop, service).map_err(|error| invalid("credentials")(error.to_string()))?;
        let legacy = self.credentials.legacy.iter();
        let legacy = legacy.map(|Legacy { prefix, hint_length }| LegacyForm::new(prefix, *hint_length));
        let with_legacy = legacy.collect::<Result<_, _>>().and_then(|legacy| forms.with_legacy(legacy));
        with_legacy.map_err(|error| invalid("credentials.legacy")(error.to_string()))
    }

    fn manage_scope(&self) -> Result<Option<Scope>, InvalidSetting> {
        let scope = self.self_service.manage_scope.as_deref().map(str::parse::<Scope>).transpose();
        scope.map_err(|error| invalid("self_service.manage_scope")(error.to_string()))
    }

    /// How many threads may run bcrypt.
    pub fn bcrypt_threads(&self) -> usize {
        match self.credentials.bcrypt_threads {
            0 => std::thread::available_parallelism().map_or(1, |processors| processors.get().div_ceil(2)),
            threads => threads,
        }
    }

    /// The file of the ring of master keys.
    pub fn master_key_file(&self) -> PathBuf {
        self.keys.master_key_file.clone().unwrap_or_else(|| self.data_dir.join("master.key"))
    }

    /// The file of the first administrator's token.
    pub fn admin_token_file(&self) -> PathBuf {
        self.admin.token_file.clone().unwrap_or_else(|| self.data_dir.join("admin.token"))
    }

    /// The settings in force, in TOML, secrets redacted.
    pub fn to_toml(&self) -> Result<String, toml::ser::Error> {
        toml::to_string_pretty(self)
    }

    /// Reads, merges and checks.
    pub fn load(file: Option<&Path>, flags: &Flags) -> Result<Self, LoadError> {
        let text = file
            .map(|path| fs::read_to_string(path).map_err(|source| LoadError::File { path: path.to_owned(), source }))
            .transpose()?;
        let settings = source::merge(text.as_deref(), std::env::vars_os(), flags)?;
        settings.check()?;
        Ok(settings)
    }
}

fn check_listener(key: &'static str, listen: SocketAddr, allow_key: &str, allow: bool) -> Result<(), InvalidSetting> {
    if listen.ip().to_canonical().is_loopback() || allow {
        return Ok(());
    }
    Err(invalid(key)(format!(
        "{listen} is beyond loopback, and credentials would travel in plaintext; \
         listen on loopback, or set {allow_key} = true where something else protects them"
    )))
}

#[cfg(test)]
mod tests;
