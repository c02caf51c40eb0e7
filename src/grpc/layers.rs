//! What every call goes through: an id for the log, a span where it is traced, a
//! measurement, a deadline, and the `ErrorInfo` that refusals of the transport
//! itself lack.

use std::{
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::FutureExt as _;
use http::{HeaderMap, HeaderName};
use tonic::{Code, Status, body::Body};
use tower::{Layer, Service};
use tracing::Instrument as _;

use super::{request, status};
use crate::{
    caller::RequestId,
    telemetry::{self, CallStatus, Calls, Sampling},
};

const DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");

/// The transport gives up when the caller does, and calls that CANCELLED. This
/// layer answers a little earlier, with the right word.
const HEAD_START: Duration = Duration::from_millis(5);

/// Puts `CallService` around the routes.
#[derive(Clone, Debug)]
pub struct CallLayer {
    /// How long a call may take, whatever longer time its caller allows.
    pub max_deadline: Duration,
    /// Measures calls.
    pub calls: Calls,
    /// Picks those that are traced.
    pub sampling: Sampling,
}

impl<S> Layer<S> for CallLayer {
    type Service = CallService<S>;

    fn layer(&self, inner: S) -> CallService<S> {
        CallService { inner, layer: self.clone() }
    }
}

/// See the module.
#[derive(Clone, Debug)]
pub struct CallService<S> {
    inner: S,
    layer: CallLayer,
}

impl<S> Service<http::Request<Body>> for CallService<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>> + Send,
    S::Future: Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        let id = RequestId::of(request.headers());
        let path = request.uri().path().trim_start_matches('/');
        let flight = self.layer.calls.begin(path);
        let decision = self.layer.sampling.decide(request.headers());
        let span = telemetry::call_span(path, flight.method(), &id, &decision);
        let traced = decision.is_traced.then(|| span.clone());
        let introspects = request::asks(request.uri().path()).is_some();
        let deadline = deadline(request.headers(), self.layer.max_deadline);
        request.extensions_mut().insert(id.clone());
        if let Some(credential) = request.headers_mut().get_mut(http::header::AUTHORIZATION) {
            // So that no `Debug` of the headers shows it.
            credential.set_sensitive(true);
        }

        // Callers are recognized before there is anything to wait for: a panic there
        // ends one call, too, and not its connection.
        let inner = span.in_scope(|| catch_unwind(AssertUnwindSafe(|| self.inner.call(request))));
        let call = async move {
            let answered = async { AssertUnwindSafe(inner?).catch_unwind().await };
            let mut response = match tokio::time::timeout(deadline, answered).await {
                Ok(Ok(response)) => explained(response?),
                Ok(Err(_)) => {
                    // The panic itself is in the log already.
                    refusal(Code::Internal, "INTERNAL", "the service failed")
                }
                // What takes an introspection long is the database, or a queue:
                // the caller may try another replica.
                Err(_) if introspects => {
                    tracing::debug!(?deadline, "not answered within its deadline");
                    status::not_answered_in_time().into_http()
                }
                Err(_) => refusal(Code::DeadlineExceeded, "DEADLINE_EXCEEDED", "the call took too long"),
            };
            let status = status_of(response.headers());
            flight.answered(status);
            if let Some(span) = traced {
                telemetry::call_ended(&span, status);
            }
            tracing::debug!(
                status = response.headers().get(Status::GRPC_STATUS).and_then(|code| code.to_str().ok()),
                "answered"
            );
            id.tell(response.headers_mut());
            Ok(response)
        };
        Box::pin(call.instrument(span))
    }
}

/// How a call ended. Where its status comes after its messages, it is OK: all of
/// ours that fail send none.
fn status_of(headers: &HeaderMap) -> CallStatus {
    let code = headers.get(Status::GRPC_STATUS).map_or(Code::Ok, |code| Code::from_bytes(code.as_bytes()));
    CallStatus::of(code.into())
}

/// How long a call may take: what its caller allows (the gRPC specification's
/// `grpc-timeout`), within our own bound.
fn deadline(headers: &HeaderMap, max: Duration) -> Duration {
    let allowed = headers.get("grpc-timeout").and_then(|value| value.to_str().ok()).and_then(timeout);
    allowed.map_or(max, |allowed| allowed.saturating_sub(HEAD_START.min(allowed / 10)).min(max))
}

fn timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(count * 60 * 60)),
        "M" => Some(Duration::from_secs(count * 60)),
        "S" => Some(Duration::from_secs(count)),
        "m" => Some(Duration::from_millis(count)),
        "u" => Some(Duration::from_micros(count)),
        "n" => Some(Duration::from_nanos(count)),
        _ => None,
    }
}

fn refusal(code: Code, reason: &str, message: &str) -> http::Response<Body> {
    status::plain(code, reason, message).into_http()
}

/// Gives a refusal of the transport itself, which has no details, the reason
/// that all of ours have.
fn explained(response: http::Response<Body>) -> http::Response<Body> {
    if response.headers().contains_key(DETAILS) {
        return response;
    }
    let Some(refused) = Status::from_header_map(response.headers()).filter(|status| status.code() != Code::Ok) else {
        return response;
    };
    let (code, reason) = match refused.code() {
        Code::Unimplemented => (Code::Unimplemented, "UNKNOWN_METHOD"),
        // What the transport says of bytes that are no message of ours.
        Code::Internal => (Code::InvalidArgument, "MALFORMED_REQUEST"),
        Code::OutOfRange => (Code::InvalidArgument, "MESSAGE_TOO_LARGE"),
        Code::NotFound => (Code::NotFound, "NOT_FOUND"),
        Code::Cancelled => (Code::Cancelled, "CANCELLED"),
        Code::InvalidArgument => (Code::InvalidArgument, "INVALID_ARGUMENT"),
        other => (other, "REFUSED_BY_TRANSPORT"),
    };
    let message = match reason {
        "MALFORMED_REQUEST" => "the request is not a message of this RPC",
        _ => refused.message(),
    };
    refusal(code, reason, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_outs_are_read_as_the_specification_writes_them() {
        assert_eq!(timeout("1H"), Some(Duration::from_hours(1)));
        assert_eq!(timeout("99999999S"), Some(Duration::from_secs(99_999_999)));
        assert_eq!(timeout("250m"), Some(Duration::from_millis(250)));
        for bad in ["", "1", "S", "1x", "-1S", "100000000S", "1é", "1 S"] {
            assert_eq!(timeout(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn statuses_are_named_by_their_codes() {
        for code in 0..17 {
            let shown = format!("{:?}", Code::from_i32(code));
            assert_eq!(CallStatus::of(code).name().replace('_', "").to_lowercase(), shown.to_lowercase());
        }
        assert_eq!([CallStatus::of(17).name(), CallStatus::of(-1).name()], ["UNKNOWN"; 2]);
        let mut headers = HeaderMap::new();
        assert_eq!(status_of(&headers).name(), "OK");
        headers.insert(Status::GRPC_STATUS, http::HeaderValue::from_static("14"));
        assert_eq!(status_of(&headers).name(), "UNAVAILABLE");
    }
}
