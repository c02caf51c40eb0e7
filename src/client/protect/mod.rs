//! How does a Rust service let in whom the authority allows?
//!
//! [`IntrospectLayer`] stands before it, and asks on every request.
//!
//! Invariant: whatever the authority does not clearly allow is refused.

mod ask;
mod credential;
mod refusal;

use std::{
    fmt,
    future::Future,
    mem,
    net::IpAddr,
    ops::Deref,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::{Extensions, Request, Response};
use tower::{Layer, Service};

use crate::proto::v1::IntrospectResponse;

use super::Client;
use ask::Authority;

/// For one request, however often the authority is asked for it.
const DEADLINE: Duration = Duration::from_secs(2);

type AddressOf = Arc<dyn Fn(&Extensions) -> Option<IpAddr> + Send + Sync>;

/// For whom a request was let through; among the extensions of the request.
#[derive(Clone, Debug)]
pub struct Subject(Arc<IntrospectResponse>);

impl Deref for Subject {
    type Target = IntrospectResponse;

    fn deref(&self) -> &IntrospectResponse {
        &self.0
    }
}

/// Lets requests through whose credential the authority allows.
///
/// Stands before a service of HTTP (axum, hyper), and asks the authority on every
/// request. Whom the authority allows goes on, with the [`Subject`]
/// among the request's extensions; everybody else is answered here, as RFC 6750
/// has it, before the request's body is read:
///
/// | what happened | answer | `code` |
/// | --- | --- | --- |
/// | no credential | 401 | `CREDENTIAL_REQUIRED` |
/// | more than one | 401, `invalid_request` | `SEVERAL_CREDENTIALS` |
/// | not good | 401, `invalid_token` | `CREDENTIAL_INVALID` |
/// | short of a scope | 403, `insufficient_scope` | `INSUFFICIENT_SCOPE` |
/// | the authority could not be asked, or contradicts itself | 503 with `Retry-After` | `AUTHORITY_UNAVAILABLE` |
/// | the service's own credential may not ask | 500 | `AUTHORITY_REFUSED` |
///
/// ```no_run
/// # async fn example(credential: String) -> Result<(), Box<dyn std::error::Error>> {
/// use std::net::SocketAddr;
///
/// use axum::{Extension, Router, extract::ConnectInfo, routing::get};
/// use token_authority::client::{BearerToken, Client, IntrospectLayer, Subject, Timeouts, Tls};
///
/// let credential = BearerToken::new(credential)?;
/// let client = Client::connect_lazily("http://127.0.0.1:50051", credential, Timeouts::default(), &Tls::default())?;
/// let readers = IntrospectLayer::new(client)
///     .client_address(|request| request.get::<ConnectInfo<SocketAddr>>().map(|connection| connection.0.ip()))
///     .require(["trading:read"]);
///
/// let trades = |Extension(subject): Extension<Subject>| async move { subject.account_id.clone() };
/// let app = Router::new().route("/trades", get(trades)).route_layer(readers);
///
/// let listener = tokio::net::TcpListener::bind("127.0.0.1:8000").await?;
/// axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>()).await?;
/// # Ok(())
/// # }
/// ```
///
/// The credential is what `Authorization: Bearer` or `X-API-Key` holds. Only an
/// authority that is UNAVAILABLE is asked again, three times at most and within the
/// deadline. Cloning is cheap, and clones share the connection.
#[derive(Clone)]
pub struct IntrospectLayer {
    authority: Arc<Authority>,
    scopes: Arc<[String]>,
    address_of: AddressOf,
    deadline: Duration,
}

impl IntrospectLayer {
    /// Asks by this client, whose credential needs the role introspector. Any good
    /// credential is let in that is bound to no network, until [`Self::require`] and
    /// [`Self::client_address`] say more.
    pub fn new(client: Client) -> Self {
        Self {
            authority: Arc::new(Authority::new(client)),
            scopes: Arc::default(),
            address_of: Arc::new(|_| None),
            deadline: DEADLINE,
        }
    }

    /// Asks for all of these scopes, and no others.
    #[must_use]
    pub fn require<I>(mut self, scopes: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        self.scopes = scopes.into_iter().map(Into::into).collect();
        self
    }

    /// Says where the client's address is found: among the request's extensions,
    /// where the server put it. Never take it from a header that clients can set;
    /// behind a proxy, take that proxy's word and nobody else's. Without an address,
    /// what is bound to networks is not let in.
    #[must_use]
    pub fn client_address(mut self, find: impl Fn(&Extensions) -> Option<IpAddr> + Send + Sync + 'static) -> Self {
        self.address_of = Arc::new(find);
        self
    }

    /// How long one request may wait for its answer, however often the authority is
    /// asked; 2 seconds where nothing is said.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }
}

impl fmt::Debug for IntrospectLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IntrospectLayer")
            .field("scopes", &self.scopes)
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

impl<S> Layer<S> for IntrospectLayer {
    type Service = Introspect<S>;

    fn layer(&self, inner: S) -> Introspect<S> {
        Introspect { layer: self.clone(), inner }
    }
}

/// A service behind an [`IntrospectLayer`].
#[derive(Clone, Debug)]
pub struct Introspect<S> {
    layer: IntrospectLayer,
    inner: S,
}

impl<S, B, R> Service<Request<B>> for Introspect<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    B: Send + 'static,
    R: From<&'static str>,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<R>, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let layer = self.layer.clone();
        // The one that is ready; a clone need not be.
        let next = self.inner.clone();
        let mut inner = mem::replace(&mut self.inner, next);
        Box::pin(async move {
            let (mut parts, body) = request.into_parts();
            let address = (layer.address_of)(&parts.extensions);
            let asked = match credential::of(&parts.headers) {
                Ok(credential) => layer.authority.ask(credential, &layer.scopes, address, layer.deadline).await,
                Err(refusal) => Err(refusal),
            };
            match asked {
                Ok(answer) => {
                    parts.extensions.insert(Subject(Arc::new(answer)));
                    inner.call(Request::from_parts(parts, body)).await
                }
                Err(refusal) => Ok(refusal.response()),
            }
        })
    }
}
