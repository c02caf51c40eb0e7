//! What runs? Everything is built here, by hand and in order: the database, the
//! keys, the policy, the use cases, the doors; then served, watched, and
//! brought to its end without dropping what is in flight.

mod audit_stream;
mod connections;
pub mod doctor;
mod doors;
mod health;
pub mod keys;
mod listener;
mod metrics;
mod peer;
mod refusals;
mod retention;
mod signing;
mod silence;
pub mod tls;
mod uses;
mod web;
mod writer;

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioTimer},
    server::conn::auto::Builder,
};
use tokio::{
    net::TcpListener,
    sync::watch,
    task::JoinHandle,
    time::{Instant, timeout_at},
};
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tower::ServiceBuilder;
use uuid::Uuid;

use self::{
    connections::{Protocol, Terms, serve},
    listener::Listener,
    tls::{Speaks, Tls},
    writer::Writer,
};

use crate::{
    authority::{Authority, Rules, bootstrap},
    caller::Callers,
    domain::{credential::Forms, keys::Keys},
    grpc, http,
    introspection::{self, Bcrypt, Introspector},
    keys::KeysAtHand,
    proto,
    settings::{self, InvalidSetting, Settings, SpanOrNever},
    store::{self, BackupError, ConnectError, MigrateError, Store},
    telemetry::{self, Calls, Confirmations, Meters, Sampling},
};

/// How often an idle connection is asked whether its client is still there, and
/// how long that may take to answer.
const KEEPALIVE_INTERVAL: Duration = Duration::from_mins(1);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);
/// How many streams a client may reset before they were accepted, and how many
/// we reset for its errors, until its connection is ended (CVE-2023-44487 and
/// its kin). Those reset later are bounded by the work that they began.
const MAX_RESETS: usize = 100;
/// How long a client of HTTP/1.1 may take to send the headers of a request, its
/// idling before them included: longer than whoever asks every minute.
const HEADER_TIMEOUT: Duration = Duration::from_secs(90);
/// How large the headers of a call may be, in bytes.
const MAX_HEADER_BYTES: u32 = 16 * 1024;
/// How long a collector may take for the last of what it is told.
const LAST_WORD: Duration = Duration::from_secs(5);
/// How long what is in flight may take when the service is to end.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(30);

/// Why the service cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A setting is refused.
    #[error(transparent)]
    Setting(#[from] InvalidSetting),
    /// The database cannot be used.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The schema does not fit.
    #[error(transparent)]
    Migrate(#[from] MigrateError),
    /// Keys, policy or the first administrator cannot be had.
    #[error(transparent)]
    Bootstrap(#[from] bootstrap::Error),
    /// The files for TLS cannot be used.
    #[error(transparent)]
    Tls(#[from] tls::Error),
    /// A listener cannot be bound.
    #[error("cannot listen on {address}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The database cannot be backed up.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// The database failed.
    #[error("the database failed")]
    Store(#[from] store::Error),
    /// Nothing can be measured, or told to the collector.
    #[error(transparent)]
    Telemetry(#[from] telemetry::Error),
    /// Reflection cannot be served.
    #[error("the contract's descriptors cannot be served")]
    Reflection(#[from] tonic_reflection::server::Error),
}

/// Why a running service ended.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Something panicked.
    #[error("a server's task failed")]
    Task(#[from] tokio::task::JoinError),
}

/// A running service.
#[derive(Debug)]
pub struct Server {
    grpc_address: SocketAddr,
    http_address: SocketAddr,
    store: Store,
    bcrypt: Bcrypt,
    leaving: CancellationToken,
    stop: CancellationToken,
    delay: Duration,
    following: JoinHandle<()>,
    uses: Writer,
    refusals: Writer,
    audit_stream: Option<audit_stream::Stream>,
    authority: Authority,
    meters: Meters,
    measured: Arc<metrics::Measured>,
    grpc: JoinHandle<()>,
    http: JoinHandle<()>,
}

/// What starting takes, and the commands on the server's host as well.
struct Foundation {
    store: Store,
    keys: Keys,
    bcrypt: Bcrypt,
}

impl Foundation {
    async fn lay(store: Store, settings: &Settings) -> Result<Self, StartError> {
        let keys = bootstrap::load_keys(&store, &settings.master_key_file()).await?;
        let credentials = &settings.credentials;
        let bcrypt = Bcrypt::new(credentials.bcrypt_cost, settings.bcrypt_threads(), credentials.bcrypt_queue);
        Ok(Self { store, keys, bcrypt })
    }
}

/// Opens the database, with its schema as this version needs it.
async fn open(settings: &Settings) -> Result<Store, StartError> {
    let store = Store::open(settings.store_config()?).await?;
    if store.is_embedded() || settings.database.migrate_on_start {
        store.migrate().await?;
    } else {
        store.check_schema().await?;
    }
    Ok(store)
}

/// Brings the database's schema up to this version; tells how many migrations
/// that took.
pub async fn migrate(settings: &Settings) -> Result<usize, StartError> {
    let store = Store::open(settings.store_config()?).await?;
    Ok(store.migrate().await?)
}

/// Replaces a lost admin token.
pub async fn reset_admin(settings: &Settings) -> Result<(), StartError> {
    let Foundation { store, keys, bcrypt } = Foundation::lay(open(settings).await?, settings).await?;
    let forms = settings.rules()?.forms;
    bootstrap::reset_admin(&store, &keys, &bcrypt, &forms, &settings.admin_token_file()).await?;
    Ok(())
}

/// Copies the embedded database, while a server is at work on it or not.
pub async fn back_up(settings: &Settings, copy: &Path) -> Result<(), StartError> {
    Ok(settings.store_config()?.back_up(copy).await?)
}

/// Begins another history after the database was restored, or lost what it had
/// acknowledged; tells its epoch.
pub async fn begin_epoch(settings: &Settings) -> Result<Uuid, StartError> {
    let store = open(settings).await?;
    let epoch = store.begin_epoch(bootstrap::event("history.begin", "")).await?;
    store.close().await;
    Ok(epoch)
}

impl Server {
    /// Starts everything; when it returns, calls are answered.
    pub async fn start(settings: &Settings) -> Result<Self, StartError> {
        let grpc_tls = Tls::load("grpc", &settings.grpc.tls, web::speaks(&settings.grpc)).await?;
        let http_tls = Tls::load("http", &settings.http.tls, Speaks::Http1).await?;
        let store = open(settings).await?;
        let audit_stream = settings.audit.stdout.then(|| audit_stream::Stream::start(&store));
        let Foundation { store, keys, bcrypt } = Foundation::lay(store, settings).await?;
        let rules = settings.rules()?;
        prepare(settings, &store, &keys, &bcrypt, &rules.forms).await?;
        let (signing_key, signing_key_lifetime) = (signing::Age::default(), settings.sessions.signing_key_lifetime.0);
        signing::ensure(&store, &keys, signing_key_lifetime, &signing_key).await?;
        let meters = Meters::new(&settings.telemetry)?;
        let calls = Calls::new(&meters, grpc::methods());
        let (sampling, keys) = (Sampling::new(&settings.telemetry), Arc::new(KeysAtHand::new(keys)));

        let (introspector, following) = introspector(settings, &store, &rules, &keys, &bcrypt, &meters);
        let (max_calls, roles) = (settings.grpc.max_calls_per_caller, settings.certificate_roles()?);
        let callers = Callers::new(introspector.clone(), max_calls, settings.openness(), roles);
        let authority = Authority::new(store.clone(), keys.clone(), bcrypt.clone(), rules);

        let (grpc_listener, grpc_address) = listen(settings.grpc.listen).await?;
        let (http_listener, http_address) = listen(settings.http.listen).await?;

        let (leaving, stop) = (CancellationToken::new(), CancellationToken::new());
        let (health, health_service) = tonic_health::server::health_reporter();
        let (ready, is_ready) = watch::channel(false);
        let board = health::Board::new(health, ready, health::ask(&store).await.is_ok()).await;
        tokio::spawn(health::watch(store.clone(), keys.clone(), board, leaving.clone(), stop.clone()));
        let (age, window) = (signing_key.clone(), settings.sign_in.window.0);
        tokio::spawn(signing::follow(store.clone(), keys.clone(), signing_key_lifetime, age, stop.clone()));
        let tls: Vec<_> = [&grpc_tls, &http_tls].into_iter().flatten().cloned().collect();
        for tls in &tls {
            tokio::spawn(tls.clone().follow(stop.clone()));
        }
        tokio::spawn(keys::follow(store.clone(), keys.clone(), settings.master_key_file(), stop.clone()));
        tokio::spawn(retention::run(store.clone(), settings.retention.clone(), window, stop.clone()));
        let uses = uses::write_down(store.clone(), introspector.uses(), settings.introspection.use_interval.0);

        let refused = authority.refusals();
        let refusals = refusals::write_down(store.clone(), refused.clone(), settings.audit.refusal_interval.0);

        let measured = Arc::new(metrics::Measured {
            store: store.clone(),
            introspector: introspector.clone(),
            bcrypt: bcrypt.clone(),
            sign_ins: authority.sign_ins(),
            keys,
            signing_key,
            tls,
            calls: calls.clone(),
            sampling: sampling.clone(),
            ready: is_ready.clone(),
            start_time: start_time(),
        });
        metrics::measure(&meters, &measured);

        let doors = doors::doors(settings, authority.clone(), introspector.clone(), callers.clone(), refused.clone())?;
        let through = doors::through(settings, &meters, sampling.clone());
        let http_routes = http::routes(is_ready, meters.clone(), doors, through);
        let (proxies, max_message_bytes) = (settings.grpc_trusted_proxies()?, settings.grpc.max_message_bytes);
        let (routes, door) =
            grpc::routes(authority.clone(), introspector, callers, proxies, refused, max_message_bytes);
        let mut routes = routes.add_service(health_service);
        if grpc_address.ip().to_canonical().is_loopback() || settings.grpc.reflection {
            routes = reflected(routes)?;
        }
        let terms = terms(&settings.grpc);
        let service = ServiceBuilder::new()
            .map_request(|request: ::http::Request<Incoming>| request.map(tonic::body::Body::new))
            .option_layer(web::layer(settings.web_origins()?))
            .layer(grpc::CallLayer { max_deadline: settings.grpc.max_deadline.0, calls, sampling })
            .layer(door)
            .service(routes.prepare());
        let grpc = Listener::new(grpc_listener, grpc_tls);
        let grpc = serve(grpc, service, grpc_protocols(&settings.grpc), terms, stop.clone());
        let http = Listener::new(http_listener, http_tls);
        let http = serve(http, http_routes, doors::http1(), Terms { protocol: Protocol::Http1, ..terms }, stop.clone());
        let server = Self {
            grpc_address,
            http_address,
            store,
            bcrypt,
            leaving,
            stop,
            delay: settings.shutdown.delay.0,
            following,
            uses,
            refusals,
            audit_stream,
            authority,
            meters,
            measured,
            grpc: tokio::spawn(grpc),
            http: tokio::spawn(http),
        };
        tracing::info!(grpc = %grpc_address, http = %http_address, "serving");
        Ok(server)
    }

    /// Where gRPC is served.
    pub fn grpc_address(&self) -> SocketAddr {
        self.grpc_address
    }

    /// Where HTTP is served.
    pub fn http_address(&self) -> SocketAddr {
        self.http_address
    }

    /// How often bcrypt ran.
    pub fn bcrypt_runs(&self) -> u64 {
        self.bcrypt.runs()
    }

    /// Runs until `ended` does, or a server fails. Then tells those who ask for its
    /// health that it goes, gives them `shutdown.delay`, and finishes what is in
    /// flight.
    pub async fn run_until(mut self, ended: impl Future<Output = ()>) -> Result<(), ServeError> {
        tokio::select! {
            () = ended => {}
            result = &mut self.grpc => return Ok(result?),
            result = &mut self.http => return Ok(result?),
            result = &mut self.following => return Ok(result?),
        }
        self.leaving.cancel();
        if !self.delay.is_zero() {
            tracing::info!(delay = ?self.delay, "ending: health checks are told first, and calls taken meanwhile");
            tokio::time::sleep(self.delay).await;
        }
        tracing::info!("ending: what is in flight is finished first");
        self.stop.cancel();
        let both = async {
            (&mut self.grpc).await?;
            Ok((&mut self.http).await?)
        };
        let grace = Instant::now() + SHUTDOWN_GRACE;
        let ended = timeout_at(grace, both).await;
        if ended.is_err() {
            tracing::warn!("calls in flight took too long, and were dropped");
            self.grpc.abort();
            self.http.abort();
        }
        self.following.abort();
        // They are told after their answers.
        if timeout_at(grace, self.authority.guesses_told()).await.is_err() {
            tracing::warn!("the audit trail was not told of the last sign-ins that failed");
        }
        // Each is bounded: side by side, so that whoever ends this process by force does
        // not come before the last of them (docs/decisions/0037-ending.md).
        tokio::join!(self.uses.end(), self.refusals.end());
        let told = async {
            if let Some(stream) = self.audit_stream {
                stream.end().await;
            }
        };
        tokio::join!(self.meters.end(LAST_WORD), told);
        drop(self.measured);
        // What was dropped may hold connections still.
        if ended.is_ok() {
            self.store.close().await;
        }
        ended.unwrap_or(Ok(()))
    }

    /// Finishes what is in flight and ends.
    pub async fn shutdown(self) -> Result<(), ServeError> {
        self.run_until(std::future::ready(())).await
    }
}

/// Begins to follow the database, for introspections.
fn introspector(
    settings: &Settings,
    store: &Store,
    rules: &Rules,
    keys: &Arc<KeysAtHand>,
    bcrypt: &Bcrypt,
    meters: &Meters,
) -> (Arc<Introspector>, JoinHandle<()>) {
    let (introspector, following) = Introspector::start(introspection::Parts {
        store: store.clone(),
        forms: rules.forms.clone(),
        keys: keys.clone(),
        bcrypt: bcrypt.clone(),
        remembered_proofs: settings.introspection.remembered_proofs,
        manage_scope: rules.manage_scope.clone(),
        staleness: settings.staleness(),
        limits: settings.introspection_limits(),
        desktop: rules.desktop,
        confirmations: Confirmations::new(meters),
    });
    (Arc::new(introspector), following)
}

/// Adds reflection, of both versions.
fn reflected(routes: Routes) -> Result<Routes, tonic_reflection::server::Error> {
    let descriptors = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(proto::DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            // The details of errors, so that grpcurl can show them.
            .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
    };
    Ok(routes.add_service(descriptors().build_v1()?).add_service(descriptors().build_v1alpha()?))
}

#[expect(clippy::disallowed_methods, reason = "this is the edge: it is told, and nothing is decided by it")]
fn start_time() -> Duration {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default()
}

/// Sees to it that the policy and an administrator are there, as the settings have
/// them.
async fn prepare(
    settings: &Settings,
    store: &Store,
    keys: &Keys,
    bcrypt: &Bcrypt,
    forms: &Forms,
) -> Result<(), StartError> {
    bootstrap::apply_policy(store, settings.policy.clone()).await?;
    let admin_token_file = settings.admin_token_file();
    if bootstrap::ensure_admin(store, keys, bcrypt, forms, &admin_token_file).await? {
        tracing::info!(file = %admin_token_file.display(), "the first administrator's token is in this file");
    }
    let current = keys.current().map_err(bootstrap::Error::from)?.id();
    tracing::info!(file = %settings.master_key_file().display(), %current, "master keys loaded");
    Ok(())
}

/// How long a connection may last.
fn terms(grpc: &settings::Grpc) -> Terms {
    let age = match grpc.max_connection_age {
        SpanOrNever::Span(age) => Some(age.0),
        SpanOrNever::Never => None,
    };
    Terms { age, grace: grpc.max_connection_age_grace.0, protocol: Protocol::Http2 { preface: grpc.preface_timeout.0 } }
}

/// Listens, and tells on which port where any would do.
async fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
    let wrong = |source| StartError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(wrong)?;
    let bound = listener.local_addr().map_err(wrong)?;
    Ok((listener, bound))
}

/// HTTP/2 alone, or HTTP/1.1 as well for gRPC-Web; with every limit set: their
/// defaults set none.
fn grpc_protocols(settings: &settings::Grpc) -> Builder<TokioExecutor> {
    let builder = Builder::new(TokioExecutor::new());
    let mut builder = match web::speaks(settings) {
        Speaks::Both => builder,
        Speaks::Http1 | Speaks::Http2 => builder.http2_only(),
    };
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(MAX_HEADER_BYTES as usize)
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(settings.max_streams_per_connection)
        .max_pending_accept_reset_streams(MAX_RESETS)
        .max_local_error_reset_streams(MAX_RESETS)
        .max_header_list_size(MAX_HEADER_BYTES)
        .keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT);
    builder
}
