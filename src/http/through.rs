//! What every request goes through: an id for the log, a span where it is traced,
//! a measurement, a deadline; and what every answer has.

use std::{panic::AssertUnwindSafe, time::Duration};

use axum::{
    extract::{Request, State},
    http::{
        HeaderMap, HeaderValue,
        header::{AUTHORIZATION, CACHE_CONTROL, COOKIE, PROXY_AUTHORIZATION},
    },
    middleware::Next,
    response::Response,
};
use futures_util::FutureExt as _;
use tracing::Instrument as _;

use super::{
    OPERATIONS,
    trouble::Trouble,
    verify::{API_KEY, GATEWAY_CREDENTIAL},
};
use crate::{
    caller::RequestId,
    telemetry::{self, Decision, Requests, Sampling},
};

/// What bounds, measures and traces requests.
#[derive(Clone, Debug)]
pub struct Through {
    /// How long one may take.
    pub max_deadline: Duration,
    /// What they are measured with.
    pub requests: Requests,
    /// Which are traced.
    pub sampling: Sampling,
}

pub(super) async fn through(State(through): State<Through>, mut request: Request, next: Next) -> Response {
    let Through { max_deadline, requests, sampling } = through;
    let id = RequestId::of(request.headers());
    let flight = requests.begin(request.method(), request.uri().path());
    let is_operation = flight.route().is_none_or(|route| OPERATIONS.contains(&route));
    let decision = if is_operation { Decision::untraced() } else { sampling.decide(request.headers()) };
    let span = telemetry::request_span(flight.method(), flight.route(), &id, &decision);
    let traced = decision.is_traced.then(|| span.clone());
    hide(request.headers_mut());
    request.extensions_mut().insert(id.clone());

    let answering = async {
        let answered = AssertUnwindSafe(next.run(request)).catch_unwind();
        let mut response = match tokio::time::timeout(max_deadline, answered).await {
            Ok(Ok(response)) => response,
            // The panic itself is in the log already.
            Ok(Err(_)) => Trouble::internal().plain(),
            Err(_) => {
                tracing::debug!(?max_deadline, "not answered within its deadline");
                Trouble::not_answered_in_time().plain()
            }
        };
        let status = response.status();
        flight.answered(status);
        if let Some(span) = traced {
            telemetry::request_ended(&span, status);
        }
        tracing::debug!(status = status.as_u16(), "answered");
        let headers = response.headers_mut();
        id.tell(headers);
        // Whatever is told may change at once.
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    };
    answering.instrument(span).await
}

/// So that no `Debug` of the headers shows a credential.
fn hide(headers: &mut HeaderMap) {
    let secret = [AUTHORIZATION, PROXY_AUTHORIZATION, COOKIE, API_KEY, GATEWAY_CREDENTIAL];
    for (name, value) in headers.iter_mut() {
        if secret.contains(name) {
            value.set_sensitive(true);
        }
    }
}
