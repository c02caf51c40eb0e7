//! A stub in the place of the API that a gateway protects: it answers 200 to
//! everything, and keeps what came.
#![allow(dead_code, reason = "fixtures: not every one has a test at all times")]

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{Router, body::to_bytes, extract::Request};
use bytes::Bytes;
use http::HeaderMap;
use tokio::net::TcpListener;

/// The most that a request's body may be.
const MAX_BODY: usize = 1 << 20;

/// The stub, for as long as this is kept.
pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    received: Arc<Mutex<Vec<Received>>>,
    serving: tokio::task::JoinHandle<()>,
}

/// A request that came to it.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    /// Method and path, with the query.
    pub(crate) line: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Upstream {
    /// Starts one that answers with this JSON.
    pub(crate) async fn start(answer: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it has an address");
        let received = Arc::<Mutex<Vec<Received>>>::default();
        let kept = received.clone();
        let keep = move |request: Request| async move {
            let (parts, body) = request.into_parts();
            let line = format!("{} {}", parts.method, parts.uri);
            let body = to_bytes(body, MAX_BODY).await.expect("a short body");
            let request = Received { line, headers: parts.headers, body };
            kept.lock().unwrap_or_else(PoisonError::into_inner).push(request);
            ([("content-type", "application/json")], answer)
        };
        let serve = axum::serve(listener, Router::new().fallback(keep));
        let serving = tokio::spawn(async move { serve.await.expect("it serves") });
        Self { address, received, serving }
    }

    /// What came since this was last asked.
    pub(crate) fn take_received(&self) -> Vec<Received> {
        std::mem::take(&mut *self.received.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Received {
    /// The values of a header.
    pub(crate) fn header(&self, name: &str) -> Vec<&str> {
        self.headers.get_all(name).iter().map(|value| value.to_str().expect("visible ASCII")).collect()
    }

    /// Whether this text stands anywhere in it.
    pub(crate) fn holds(&self, text: &str) -> bool {
        let found = |bytes: &[u8]| memchr::memmem::find(bytes, text.as_bytes()).is_some();
        let mut headers = self.headers.iter();
        found(self.line.as_bytes()) || found(&self.body) || headers.any(|(_, value)| found(value.as_bytes()))
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.serving.abort();
    }
}
