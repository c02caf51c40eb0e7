//! How does a Rust program call this service?
//!
//! [`Client::connect`] takes a URL and a credential and gives the generated
//! clients, with the credential on every request and a deadline on every call.
//! [`Client::call`] runs one of them and turns what went wrong into a
//! [`CallError`], which carries the reason, the field violations and the delay
//! before a retry that the contract promises.
//!
//! ```no_run
//! # async fn example(credential: String) -> Result<(), Box<dyn std::error::Error>> {
//! use token_authority::client::{BearerToken, Client, Timeouts};
//! use token_authority::proto::v1;
//!
//! let client = Client::connect(
//!     "http://127.0.0.1:50051",
//!     BearerToken::new(credential)?,
//!     Timeouts::default(),
//! )
//! .await?;
//! let me = client.call(client.accounts().who_am_i(v1::WhoAmIRequest {})).await?;
//! println!("{}", me.label);
//! # Ok(())
//! # }
//! ```
//!
//! A service that protects an API of its own puts an [`IntrospectLayer`] before it
//! (`protect/`).
//!
//! Invariant: the credential is held in memory that is wiped when it is let go,
//! and no `Debug` or error text of this module shows it.

mod authenticate;
mod bearer;
mod error;
mod protect;
mod target;
mod tls;
mod transport;

use std::time::Duration;

use tonic::{Response, Status, service::interceptor::InterceptedService, transport::Endpoint};

use crate::proto::v1::{
    account_service_client::AccountServiceClient, audit_service_client::AuditServiceClient,
    service_credential_service_client::ServiceCredentialServiceClient, session_service_client::SessionServiceClient,
    token_authority_service_client::TokenAuthorityServiceClient,
};

use self::transport::Refusal;
pub use self::{
    authenticate::Authenticate,
    bearer::{BearerToken, InvalidBearerToken},
    error::{CallError, ConnectError, FieldViolation},
    protect::{Introspect, IntrospectLayer, Subject},
    target::InvalidUrl,
    tls::{ClientIdentity, InvalidTls, Tls},
    transport::Reopening,
};

/// How long nothing may come before the server is asked whether it is there, and
/// how long it may take to say so.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(20);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(5);

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Whether what is sent to this URL stays on this machine, or is protected by TLS.
/// Elsewhere the credential travels in the clear.
pub fn is_protected(url: &str) -> bool {
    target::is_protected(url)
}

/// What the generated clients send through: one HTTP/2 connection, which another
/// follows when its server ends it, the credential on each request.
pub type Transport = InterceptedService<Reopening, Authenticate>;

/// How long the client waits before it gives up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// For the connection to open.
    pub connect: Duration,
    /// For one call, from sending it to the whole of its reply. The server is
    /// told, so that it does not work on for nobody.
    pub call: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { connect: Duration::from_secs(5), call: Duration::from_secs(10) }
    }
}

/// A connection to a server, and whom to be there.
///
/// Cloning is cheap and shares the connection, which opens again by itself when
/// it was lost.
#[derive(Clone, Debug)]
pub struct Client {
    channel: Reopening,
    authenticate: Authenticate,
    call_timeout: Duration,
}

impl Client {
    /// Opens a connection to `url`, for example `http://127.0.0.1:50051`, or
    /// `https://` to a server whose certificate this system believes. Without a
    /// credential, only what is open to all can be called.
    ///
    /// # Errors
    ///
    /// [`ConnectError::Url`] where `url` names no server,
    /// [`ConnectError::Unreachable`] where nobody answers in time.
    pub async fn connect(
        url: &str,
        token: impl Into<Option<BearerToken>>,
        timeouts: Timeouts,
    ) -> Result<Self, ConnectError> {
        Self::connect_with(url, token, timeouts, &Tls::default()).await
    }

    /// The same with authorities to believe, or a certificate to show, of one's own.
    /// What the certificate may do, it may without a credential.
    ///
    /// # Errors
    ///
    /// As [`Self::connect`], and [`ConnectError::Tls`] where `tls` cannot be used.
    pub async fn connect_with(
        url: &str,
        token: impl Into<Option<BearerToken>>,
        timeouts: Timeouts,
        tls: &Tls,
    ) -> Result<Self, ConnectError> {
        let (endpoint, connector, refusal) = prepare(url, timeouts, tls)?;
        let channel = endpoint.connect_with_connector(connector).await?;
        Ok(Self::over(Reopening::new(channel, refusal), token.into(), timeouts))
    }

    /// The same for a service that is to start whether or not its authority is there:
    /// connects with the first call. Is called within a Tokio runtime.
    ///
    /// # Errors
    ///
    /// As [`Self::connect_with`], but [`ConnectError::Unreachable`]: then it is the
    /// calls that fail.
    pub fn connect_lazily(
        url: &str,
        token: impl Into<Option<BearerToken>>,
        timeouts: Timeouts,
        tls: &Tls,
    ) -> Result<Self, ConnectError> {
        let (endpoint, connector, refusal) = prepare(url, timeouts, tls)?;
        let channel = endpoint.connect_with_connector_lazy(connector);
        Ok(Self::over(Reopening::new(channel, refusal), token.into(), timeouts))
    }

    fn over(channel: Reopening, token: Option<BearerToken>, timeouts: Timeouts) -> Self {
        Self { channel, authenticate: Authenticate::new(token, timeouts.call), call_timeout: timeouts.call }
    }

    /// Tells whether the server answers (`grpc.health.v1`).
    pub fn health(&self) -> tonic_health::pb::health_client::HealthClient<Transport> {
        tonic_health::pb::health_client::HealthClient::new(self.transport())
    }

    /// Issues, lists, revokes and introspects tokens.
    pub fn tokens(&self) -> TokenAuthorityServiceClient<Transport> {
        TokenAuthorityServiceClient::new(self.transport())
    }

    /// Keeps accounts, and tells a caller who it is.
    pub fn accounts(&self) -> AccountServiceClient<Transport> {
        AccountServiceClient::new(self.transport())
    }

    /// Signs people in and out.
    pub fn sessions(&self) -> SessionServiceClient<Transport> {
        SessionServiceClient::new(self.transport())
    }

    /// Keeps the credentials that services call with.
    pub fn services(&self) -> ServiceCredentialServiceClient<Transport> {
        ServiceCredentialServiceClient::new(self.transport())
    }

    /// Reads the audit trail.
    pub fn audit(&self) -> AuditServiceClient<Transport> {
        AuditServiceClient::new(self.transport())
    }

    /// Waits for a call of one of the generated clients, whole reply included,
    /// and for no longer than the deadline.
    ///
    /// # Errors
    ///
    /// What the server refused with, or `DEADLINE_EXCEEDED`.
    pub async fn call<T>(&self, call: impl Future<Output = Result<Response<T>, Status>>) -> Result<T, CallError> {
        // The transport's own deadline ends with the reply's headers; a server
        // that stalls after them would hold the caller for ever.
        match tokio::time::timeout(self.call_timeout, call).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(status.into()),
            Err(_elapsed) => Err(Status::deadline_exceeded("no reply in time").into()),
        }
    }

    fn transport(&self) -> Transport {
        InterceptedService::new(self.channel.clone(), self.authenticate.clone())
    }
}

/// What connects, and by which way.
fn prepare(url: &str, timeouts: Timeouts, tls: &Tls) -> Result<(Endpoint, tls::Connector, Refusal), ConnectError> {
    let url = target::parse(url)?;
    let refusal = Refusal::default();
    let connector = tls::Connector::new(&url, tls, refusal.clone())?;
    let endpoint = Endpoint::from(target::plain(&url)?)
        .origin(url)
        .connect_timeout(timeouts.connect)
        // A connection that fell silent is noticed, and another opened.
        .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .user_agent(concat!("token-authority/", env!("CARGO_PKG_VERSION")))?;
    Ok((endpoint, connector, refusal))
}

#[cfg(test)]
mod tests;
