//! How is this server set? One struct per concern, read from a TOML file, the
//! environment and flags, and checked once.
//!
//! Precedence: flag, environment (`TOKEN_AUTHORITY__SECTION__NAME`), file,
//! default. An unknown key is an error that names it.

mod check;
mod defaults;
mod parts;
mod source;
mod units;
mod web;

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

pub use self::{
    check::InvalidSetting,
    source::{Flags, LoadError},
    units::{DatabaseUrl, Span, SpanOrNever},
    web::Web,
};
use crate::domain::policy::Document;

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
    /// How Kubernetes is answered.
    pub kubernetes: Kubernetes,
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
    /// The audit trail.
    pub audit: Audit,
    /// How the server ends.
    pub shutdown: Shutdown,
    /// The log.
    pub log: Log,
    /// Traces and metrics.
    pub telemetry: Telemetry,
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
    /// How long a client that has connected may take to begin to speak HTTP/2.
    pub preface_timeout: Span,
    /// How old a connection becomes before its client is told to open another, a
    /// tenth more or less; or `never`.
    pub max_connection_age: SpanOrNever,
    /// How long what is in flight may then take before the connection is closed.
    pub max_connection_age_grace: Span,
    /// The networks of the proxies whose word is taken for where a call, or a request
    /// that Envoy asks about, came from.
    pub trusted_proxies: Vec<String>,
    /// Calls from browsers.
    pub web: Web,
    /// TLS.
    pub tls: Tls,
    /// Which roles callers have by their certificates.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub certificate_roles: Vec<CertificateRole>,
}

/// TLS on a listener. It is on where there is a certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tls {
    /// The certificate and those between it and its authority, in PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate_file: Option<PathBuf>,
    /// Its private key, in PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub private_key_file: Option<PathBuf>,
    /// The authorities whose client certificates are taken, in PEM; absent: clients
    /// are not asked for any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_ca_file: Option<PathBuf>,
    /// Whether a client without a certificate is refused.
    pub require_client_certificate: bool,
}

/// Roles that a name in a client certificate has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertificateRole {
    /// A URI, such as `spiffe://example.org/gateway`, or a DNS name: exactly as the
    /// certificate has it.
    pub san: String,
    /// What its service may do.
    pub roles: Vec<String>,
}

/// The HTTP listener.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Http {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Whether it may listen beyond loopback without TLS.
    pub allow_plaintext: bool,
    /// The networks of the proxies whose word is taken for where a request came
    /// from.
    pub trusted_proxies: Vec<String>,
    /// TLS.
    pub tls: Tls,
    /// Which roles callers have by their certificates.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub certificate_roles: Vec<CertificateRole>,
}

/// How Kubernetes is answered that asks about tokens.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Kubernetes {
    /// What the names of users and groups begin with.
    pub name_prefix: String,
    /// For which API servers tokens are; empty: for all.
    pub audiences: Vec<String>,
    /// The scopes that a token needs.
    pub required_scopes: Vec<String>,
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
    /// The audit trail.
    pub audit: Span,
    /// How often it is looked for what to remove.
    pub interval: Span,
}

/// How the server ends.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Shutdown {
    /// How long it goes on as before once it is told to end, while health checks and
    /// `/readyz` say no already: until balancers that go by them send no more.
    pub delay: Span,
}

/// The audit trail.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Audit {
    /// How often it is told what was refused, counted, guesses of passwords beyond so
    /// many among it: a crash loses the refusals since.
    pub refusal_interval: Span,
    /// Whether each event is printed as well, a JSON object a line on standard
    /// output.
    pub stdout: bool,
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

/// Traces and metrics.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Telemetry {
    /// Where an OpenTelemetry collector takes OTLP over gRPC,
    /// `http://…` or `https://…`; absent: no traces, and metrics at `/metrics` alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub otlp_endpoint: Option<String>,
    /// Which part of the calls whose callers say nothing of a trace is traced, 0 to
    /// 1.
    pub sample_ratio: f64,
    /// How many calls a second are traced because their callers are.
    pub max_followed_per_second: u32,
    /// How often metrics are sent to the collector.
    pub metrics_interval: Span,
}

impl Settings {
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

#[cfg(test)]
mod tests;
