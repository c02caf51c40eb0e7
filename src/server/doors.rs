//! What are the HTTP doors made of, and how is HTTP spoken there?

use std::{sync::Arc, time::Duration};

use hyper_util::{
    rt::{TokioExecutor, TokioTimer},
    server::conn::auto::Builder,
};

use crate::{
    authority::{Authority, Refusals},
    caller::Callers,
    http::{Doors, Metadata, ROUTES, Through},
    introspection::Introspector,
    settings::{InvalidSetting, Settings},
    telemetry::{Meters, Requests, Sampling},
};

/// How long a client of the HTTP port may take to send the headers of a request,
/// its idling before them included: longer than whoever asks every minute.
pub(super) const HEADER_TIMEOUT: Duration = Duration::from_secs(90);
/// How large the headers of a request may be, in bytes: gateways pass on whatever
/// their clients sent, cookies included.
const MAX_HEADER_BYTES: usize = 64 * 1024;

/// What the doors work with.
pub(super) fn doors(
    settings: &Settings,
    authority: Authority,
    introspector: Arc<Introspector>,
    callers: Callers,
    refusals: Refusals,
) -> Result<Doors, InvalidSetting> {
    let takes_certificates = settings.http.tls.client_ca_file.is_some();
    Ok(Doors {
        authority,
        introspector,
        callers: callers.with_certificates(settings.http_certificate_roles()?),
        refusals,
        proxies: settings.http_trusted_proxies()?,
        metadata: Metadata::new(&settings.sessions.issuer, takes_certificates),
        kubernetes: settings.kubernetes()?,
    })
}

/// What every request goes through.
pub(super) fn through(settings: &Settings, meters: &Meters, sampling: Sampling) -> Through {
    let is_tls = settings.http.tls.certificate_file.is_some();
    let requests = Requests::new(meters, &ROUTES, is_tls);
    Through { max_deadline: settings.grpc.max_deadline.0, requests, sampling }
}

/// HTTP/1.1 alone.
pub(super) fn http1() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new()).http1_only();
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT).max_buf_size(MAX_HEADER_BYTES);
    builder
}
