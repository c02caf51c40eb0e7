//! Who is at the door? Callers are recognized by their headers, before the body
//! of a request is read: whoever has no good credential makes this service hold
//! nothing.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use envoy_types::pb::envoy::service::auth::v3::authorization_server::AuthorizationServer;
use futures_util::FutureExt as _;
use http::{HeaderMap, HeaderName, HeaderValue, header::AUTHORIZATION};
use http_body_util::BodyExt as _;
use tonic::{Request, Status, body::Body};
use tower::{Layer, Service};

use super::{
    Door,
    refusals::{Attempt, Named, Names},
    status,
};
use crate::{
    authority::Refusals,
    caller::{Callers, Peer, Place, Presented, Refusal, RequestId},
    domain::{
        caller::{Call, Caller, Entrance, Openness, Operation, Permit},
        certificate::ClientCertificate,
        forwarded::TrustedProxies,
        network::ClientAddress,
    },
    introspection::Visitor,
    proto::v1::token_authority_service_server::TokenAuthorityServiceServer,
};

/// What every path of our own services, and of the one that Envoy asks, begins
/// with; others (health, reflection) are open.
const OURS: [&str; 2] = ["/token_authority.v1.", "/envoy.service.auth.v3.Authorization/"];
/// What Envoy asks.
const CHECK: &str = "/envoy.service.auth.v3.Authorization/Check";
/// The one RPC of ours that is open to all.
const OPEN: &str = "/token_authority.v1.SessionService/GetJwks";
/// The one that a setting opens.
const SIGN_IN: &str = "/token_authority.v1.SessionService/SignIn";

/// What proxies say of where a call came from.
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// How long the body of a call that was refused is passed over.
const PASS_OVER: Duration = Duration::from_secs(1);

/// A caller without a credential, of what is open.
#[derive(Clone, Debug)]
struct Anybody(Call);

/// Looks the operation up for the caller that was recognized.
pub(super) fn permit<T>(request: &Request<T>, operation: Operation) -> Result<Permit, Status> {
    let caller = request.extensions().get::<Caller>().ok_or_else(|| status::refused(&Refusal::NoCredential))?;
    caller.clone().permit(operation).map_err(|_| status::not_permitted())
}

/// The same for a change. What its request names is noted for the audit trail,
/// should it be refused.
pub(super) fn permit_change<T: Names>(request: &Request<T>, operation: Operation) -> Result<Permit, Status> {
    if let (Some(named), Some(target)) = (request.extensions().get::<Named>(), request.get_ref().target()) {
        named.note(target);
    }
    permit(request, operation)
}

/// Looks up whether the table lets the caller that was recognized, or else whether
/// it is open to all.
pub(super) fn entrance<T>(request: &Request<T>, operation: Operation, openness: Openness) -> Result<Entrance, Status> {
    if let Some(Anybody(call)) = request.extensions().get() {
        let permit = openness.permit(operation, call.clone());
        return permit.map(Entrance::Open).map_err(|_| status::refused(&Refusal::NoCredential));
    }
    match permit(request, operation) {
        Ok(permit) => Ok(Entrance::Permitted(permit)),
        Err(refused) => {
            let call = request.extensions().get::<Caller>().map(|caller| caller.call.clone());
            let permit = call.and_then(|call| openness.permit(operation, call).ok());
            permit.map(Entrance::Open).ok_or(refused)
        }
    }
}

/// Who asks Introspect, to be confirmed together with what it asks.
pub(super) fn visitor<T>(request: &mut Request<T>) -> Result<Visitor, Status> {
    request.extensions_mut().remove().ok_or_else(|| status::refused(&Refusal::NoCredential))
}

/// Puts `DoorService` around the routes.
#[derive(Clone, Debug)]
pub struct DoorLayer {
    pub(super) callers: Callers,
    pub(super) proxies: Arc<TrustedProxies>,
    pub(super) refusals: Refusals,
    // Two of the inner routes. Whoever is let in at once goes straight to them: most
    // calls do, and the way over all routes costs each of them.
    pub(super) introspection: Introspection,
    pub(super) authorization: Authorization,
}

impl<S> Layer<S> for DoorLayer {
    type Service = DoorService<S>;

    fn layer(&self, inner: S) -> DoorService<S> {
        DoorService { inner, layer: self.clone() }
    }
}

/// What answers Introspect and BatchIntrospect.
pub(super) type Introspection = TokenAuthorityServiceServer<Door>;
/// What answers Envoy.
pub(super) type Authorization = AuthorizationServer<Door>;

/// See the module.
#[derive(Clone, Debug)]
pub struct DoorService<S> {
    inner: S,
    layer: DoorLayer,
}

impl<S> Service<http::Request<Body>> for DoorService<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = http::Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        let path = request.uri().path();
        if !OURS.iter().any(|ours| path.starts_with(ours)) || path == OPEN {
            return Box::pin(self.inner.call(request));
        }
        let operation = asks(path);
        let call = Call { address: address(&request, &self.layer.proxies), request_id: request_id(&request) };
        let at_once = operation.and_then(|operation| {
            let certificate = certificate(&request).map(Arc::as_ref);
            self.layer.callers.admit_at_once(presented(request.headers(), certificate), &call, operation)
        });
        match at_once {
            Some(Ok((visitor, place))) => {
                let is_check = path == CHECK;
                request.extensions_mut().insert(visitor);
                let answer = if is_check {
                    self.layer.authorization.call(request)
                } else {
                    self.layer.introspection.call(request)
                };
                Box::pin(async move {
                    let Ok(response) = answer.await;
                    // It was taken until now.
                    drop(place);
                    Ok(response)
                })
            }
            Some(Err(refusal)) => Box::pin(async move { Ok(refuse(request, &refusal)) }),
            None => {
                // What was polled ready is used; the clone stays behind.
                let not_ready = self.inner.clone();
                let mut inner = std::mem::replace(&mut self.inner, not_ready);
                let (callers, refusals) = (self.layer.callers.clone(), self.layer.refusals.clone());
                let mut attempt = Attempt::of(path, &call);
                Box::pin(async move {
                    let response = match recognize(&callers, &mut request, call, operation).await {
                        // Its place is taken until it is answered.
                        Ok(_place) => {
                            if let Some(attempt) = &mut attempt {
                                begin(attempt, &mut request);
                            }
                            inner.call(request).await?
                        }
                        Err(refusal) => refuse(request, &refusal),
                    };
                    if let Some(attempt) = attempt {
                        attempt.ended(&response, &refusals);
                    }
                    Ok(response)
                })
            }
        }
    }
}

/// Tells an attempt whose it is, and has it told what its request names.
fn begin(attempt: &mut Attempt, request: &mut http::Request<Body>) {
    let extensions = request.extensions_mut();
    if let Some(caller) = extensions.get::<Caller>() {
        attempt.by(caller);
    } else {
        attempt.by_anybody();
    }
    extensions.insert(attempt.named());
}

/// Answers at once. The body is passed over as it comes, for a while: where its
/// stream was reset instead, what is on its way would be a client's error, and its
/// connection be ended for those.
fn refuse(request: http::Request<Body>, refusal: &Refusal) -> http::Response<Body> {
    let mut body = request.into_body();
    let mut pass_over = Box::pin(async move { while let Some(Ok(_)) = body.frame().await {} });
    if (&mut pass_over).now_or_never().is_none() {
        tokio::spawn(tokio::time::timeout(PASS_OVER, pass_over));
    }
    status::refused(refusal).into_http()
}

/// Recognizes the caller of a request, and puts it into its extensions.
async fn recognize(
    callers: &Callers,
    request: &mut http::Request<Body>,
    call: Call,
    operation: Option<Operation>,
) -> Result<Place, Refusal> {
    let certificate = certificate(request).map(Arc::as_ref);
    let is_named = certificate.is_some_and(|certificate| callers.knows(certificate));
    let has_header = request.headers().contains_key(AUTHORIZATION);
    if !has_header && !is_named && is_open(callers.openness(), request.uri().path()) {
        let place = callers.place_of_anybody(&call)?;
        request.extensions_mut().insert(Anybody(call));
        return Ok(place);
    }
    let presented = presented(request.headers(), certificate);
    if let Some(operation) = operation {
        let (visitor, place) = callers.admit(presented, call, operation).await?;
        request.extensions_mut().insert(visitor);
        Ok(place)
    } else {
        let (caller, place) = callers.recognize(presented, call).await?;
        request.extensions_mut().insert(caller);
        Ok(place)
    }
}

/// The RPCs whose callers are confirmed together with what they ask.
pub(super) fn asks(path: &str) -> Option<Operation> {
    match path {
        // What Envoy asks is the same question.
        "/token_authority.v1.TokenAuthorityService/Introspect" | CHECK => Some(Operation::Introspect),
        "/token_authority.v1.TokenAuthorityService/BatchIntrospect" => Some(Operation::BatchIntrospect),
        _ => None,
    }
}

/// Whether those may call it who have no credential.
fn is_open(openness: Openness, path: &str) -> bool {
    path == SIGN_IN && openness.opens(Operation::SignIn)
}

/// The caller's address: its peer's, or what a trusted proxy vouches for.
fn address(request: &http::Request<Body>, proxies: &TrustedProxies) -> Option<ClientAddress> {
    let peer = request.extensions().get::<Peer>()?.address;
    let forwarded = request.headers().get_all(FORWARDED_FOR).iter();
    proxies.client(peer, forwarded.map(HeaderValue::as_bytes))
}

/// The client's certificate, if it showed one that was verified.
fn certificate(request: &http::Request<Body>) -> Option<&Arc<ClientCertificate>> {
    request.extensions().get::<Peer>()?.certificate.as_ref()
}

/// What a caller shows of who it is: where there is an `authorization`, that
/// alone.
fn presented<'a>(headers: &'a HeaderMap, certificate: Option<&'a ClientCertificate>) -> Presented<'a> {
    if let Some(bearer) = bearer(headers) {
        return Presented::Bearer(bearer);
    }
    match certificate {
        Some(certificate) if !headers.contains_key(AUTHORIZATION) => Presented::Certificate(certificate),
        Some(_) | None => Presented::Nothing,
    }
}

fn request_id(request: &http::Request<Body>) -> Arc<str> {
    request.extensions().get::<RequestId>().map(RequestId::shared).unwrap_or_default()
}

/// The bearer credential (RFC 6750, section 2.1), if there is exactly one.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next()?.to_str().ok()?;
    if values.next().is_some() {
        return None;
    }
    let (scheme, credential) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| credential.trim_matches(' '))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer_of(values: &[&str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, value.parse().expect("ASCII"));
        }
        bearer(&headers).map(ToOwned::to_owned)
    }

    #[test]
    fn one_bearer_credential_is_wanted() {
        assert_eq!(bearer_of(&["Bearer x"]).as_deref(), Some("x"));
        assert_eq!(bearer_of(&["bearer  x"]).as_deref(), Some("x"));
        for other in [&[][..], &["Basic x"], &["Bearer"], &["x"], &["Bearer x", "Bearer y"]] {
            assert_eq!(bearer_of(other), None, "{other:?}");
        }
    }
}
