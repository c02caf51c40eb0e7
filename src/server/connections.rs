//! How does a connection go on, and how does it end? Each is served in a task of
//! its own. When it is to end, its client is told (GOAWAY, RFC 9113, section 6.8;
//! `connection: close` in HTTP/1.1), what is in flight is finished, and it is
//! closed.

use std::{
    convert::Infallible,
    net::SocketAddr,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, header::CONNECTION};
use http_body::Body;
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::watch,
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt as _;

use super::{
    listener::{Agreed, Handshakes, Listener, agree},
    silence::{PREFACE, hear, too_long},
};
use crate::{
    caller::Peer,
    domain::{certificate::ClientCertificate, network::ClientAddress},
    random,
    telemetry::told_of,
};

/// How long connections last.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    /// About so long; none: as long as their clients want.
    pub(super) age: Option<Duration>,
    /// How long what is in flight may take after that.
    pub(super) grace: Duration,
    /// What is spoken.
    pub(super) protocol: Protocol,
}

/// What is spoken on a connection.
#[derive(Clone, Copy, Debug)]
pub(super) enum Protocol {
    /// HTTP/1.1, whose library sees to it that a client begins to speak. There is no
    /// telling a client that idles: what it sends at that moment would be lost (RFC
    /// 9112, section 9.5). With the next answer it is told.
    Http1,
    /// HTTP/2, which a client may take so long to begin.
    Http2 { preface: Duration },
}

impl Terms {
    /// An age of its own for each connection, a tenth more or less: those that were
    /// opened together do not all come back together.
    async fn age(self) {
        match self.age {
            None => std::future::pending().await,
            Some(age) => {
                let chance = f64::from(u32::from_ne_bytes(random::bytes())) / f64::from(u32::MAX);
                sleep(age.mul_f64(0.9 + 0.2 * chance)).await;
            }
        }
    }
}

/// What all connections of a listener share.
#[derive(Clone)]
struct Shared<S> {
    service: S,
    http: Arc<Builder<TokioExecutor>>,
    terms: Terms,
    stop: CancellationToken,
}

/// Serves whoever connects, until `stop`; then all are told, and this returns when
/// the last has ended.
pub(super) async fn serve<S, B>(
    listener: Listener,
    service: S,
    http: Builder<TokioExecutor>,
    terms: Terms,
    stop: CancellationToken,
) where
    S: tower::Service<http::Request<Incoming>, Response = http::Response<B>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let shared = Shared { service, http: Arc::new(http), terms, stop: stop.clone() };
    let connections = TaskTracker::new();
    let mut handshakes = Handshakes::default();
    while let Some((stream, address)) = stop.run_until_cancelled(listener.accept()).await {
        let shared = shared.clone();
        let Some(tls) = listener.tls() else {
            connections.spawn(shared.connection(stream, peer(address, None), std::future::pending()));
            continue;
        };
        let (generation, trust, tracker) = (tls.now(), tls.trust(), connections.clone());
        let handshake = connections.spawn(async move {
            let Some(Agreed { stream, certificate, trust: trusted }) = agree(generation, stream, address).await else {
                return;
            };
            // In a task of its own, which no longer counts as a handshake.
            let distrusted = changed(trust, trusted);
            tracker.spawn(shared.connection(stream, peer(address, certificate), distrusted));
        });
        handshakes.add(handshake.abort_handle());
    }
    // Nobody is let in any more, and it shows.
    drop(listener);
    handshakes.end();
    connections.close();
    connections.wait().await;
}

fn peer(address: SocketAddr, certificate: Option<Arc<ClientCertificate>>) -> Peer {
    Peer { address: ClientAddress::new(address.ip()), certificate }
}

/// Waits until other authorities of clients are trusted than vouched for one; where
/// none did, for ever.
async fn changed(mut trust: watch::Receiver<u64>, vouched: Option<u64>) {
    // The number may lag behind what was accepted with, never the other way round.
    if let Some(was) = vouched
        && trust.wait_for(|now| *now > was).await.is_ok()
    {
        return;
    }
    std::future::pending::<()>().await;
}

impl<S> Shared<S> {
    /// Serves a connection to its end. When its client's certificate is
    /// `distrusted`, it ends like one that is old.
    async fn connection<B>(
        self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        peer: Peer,
        distrusted: impl Future<Output = ()>,
    ) where
        S: tower::Service<http::Request<Incoming>, Response = http::Response<B>, Error = Infallible>,
        S: Clone + Send + 'static,
        S::Future: Send,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let Self { service, http, terms, stop } = self;
        let is_last = Arc::new(AtomicBool::new(false));
        let ends_with_it = is_last.clone();
        let service = service
            .map_request(move |mut request: http::Request<Incoming>| {
                request.extensions_mut().insert(peer.clone());
                request
            })
            .map_response(move |mut response: http::Response<B>| {
                if ends_with_it.load(Ordering::Relaxed) {
                    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                }
                response
            });
        let preface = match terms.protocol {
            Protocol::Http1 => None,
            Protocol::Http2 { preface } => Some(preface),
        };
        let aged = async {
            terms.age().await;
            if matches!(terms.protocol, Protocol::Http1) {
                is_last.store(true, Ordering::Relaxed);
                std::future::pending::<()>().await;
            }
        };
        let (stream, begun) = hear(stream, PREFACE);
        let mut connection = pin!(http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service)));
        let grace = tokio::select! {
            ended = &mut connection => return told(ended),
            () = too_long(begun, preface) => {
                tracing::debug!("a client did not begin to speak in time");
                return;
            }
            () = aged => Some(terms.grace),
            () = distrusted => Some(terms.grace),
            () = stop.cancelled() => None,
        };
        connection.as_mut().graceful_shutdown();
        match grace {
            None => told(connection.await),
            Some(grace) => {
                if let Ok(ended) = timeout(grace, connection).await {
                    told(ended);
                } else {
                    tracing::debug!("a connection was closed with something in flight");
                }
            }
        }
    }
}

fn told(ended: Result<(), Box<dyn std::error::Error + Send + Sync>>) {
    if let Err(error) = ended {
        tracing::debug!(error = told_of(&*error), "a connection failed");
    }
}
