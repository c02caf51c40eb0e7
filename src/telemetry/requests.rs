//! How long do requests take at the HTTP doors, and how do they end? By the
//! semantic conventions for HTTP.

use std::{sync::Arc, time::Instant};

use http::{Method, StatusCode};
use opentelemetry::{KeyValue, metrics::Histogram};

use super::{Meters, metrics};

/// What a method is counted as that nobody knows: its name is its client's choice.
const OTHER: &str = "_OTHER";

/// Measures requests.
#[derive(Clone, Debug)]
pub struct Requests(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    durations: Histogram<f64>,
    routes: &'static [&'static str],
    scheme: &'static str,
}

/// A request in flight. Dropped before it was answered, it was given up.
#[derive(Debug)]
pub struct RequestInFlight {
    requests: Requests,
    method: &'static str,
    route: Option<&'static str>,
    began: Instant,
    status: Option<StatusCode>,
}

impl Requests {
    /// Measures requests to these paths, over TLS or not.
    pub fn new(meters: &Meters, routes: &'static [&'static str], is_tls: bool) -> Self {
        let durations = meters.histogram(&metrics::REQUEST_DURATION);
        Self(Arc::new(Inner { durations, routes, scheme: if is_tls { "https" } else { "http" } }))
    }

    /// A request begins.
    pub fn begin(&self, method: &Method, path: &str) -> RequestInFlight {
        RequestInFlight {
            requests: self.clone(),
            method: known(method),
            route: self.0.routes.iter().copied().find(|route| *route == path),
            began: Instant::now(),
            status: None,
        }
    }
}

impl RequestInFlight {
    /// Its method, or that it is none that is known.
    pub fn method(&self) -> &'static str {
        self.method
    }

    /// Its path, if it is one of ours.
    pub fn route(&self) -> Option<&'static str> {
        self.route
    }

    /// It is answered.
    pub fn answered(mut self, status: StatusCode) {
        self.status = Some(status);
    }
}

impl Drop for RequestInFlight {
    fn drop(&mut self) {
        let Inner { durations, routes: _, scheme } = &*self.requests.0;
        let mut attributes =
            vec![KeyValue::new("http.request.method", self.method), KeyValue::new("url.scheme", *scheme)];
        attributes.extend(self.route.map(|route| KeyValue::new("http.route", route)));
        let status = self.status.map(|status| i64::from(status.as_u16()));
        attributes.extend(status.map(|status| KeyValue::new("http.response.status_code", status)));
        durations.record(self.began.elapsed().as_secs_f64(), &attributes);
    }
}

fn known(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        Method::PATCH => "PATCH",
        Method::TRACE => "TRACE",
        Method::CONNECT => "CONNECT",
        _ => OTHER,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Telemetry;

    #[test]
    fn requests_are_told_apart_by_route_and_end_and_strangers_share_a_name() {
        let meters = Meters::new(&Telemetry::default()).expect("it can be set up");
        let requests = Requests::new(&meters, &["/known"], true);
        requests.begin(&Method::GET, "/known").answered(StatusCode::OK);
        let other = Method::from_bytes(b"SECRET").expect("a method");
        drop(requests.begin(&other, "/secret"));

        let told = meters.prometheus().expect("it can be told");
        let count = "http_server_request_duration_seconds_count";
        for series in [
            format!(
                r#"{count}{{http_request_method="GET",http_response_status_code="200",http_route="/known",url_scheme="https"}} 1"#
            ),
            format!(r#"{count}{{http_request_method="_OTHER",url_scheme="https"}} 1"#),
        ] {
            assert!(told.contains(&series), "{told}");
        }
    }
}
