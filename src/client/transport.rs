//! What becomes of a call when its connection ends?
//!
//! Servers end connections that have become old, and tell so (GOAWAY). A call that
//! came too late for one is begun again on the next: it was never looked at (RFC
//! 9113, section 6.8). A call that may have been is not.

use std::{
    error::Error as StdError,
    future::{Future, poll_fn},
    io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use http_body_util::{BodyExt as _, Full};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tonic::{Status, body::Body, codegen::Service, transport::Channel};

use super::BoxError;

/// How often a call is begun.
const ATTEMPTS: usize = 5;

/// A channel whose calls outlive its connections.
#[derive(Clone, Debug)]
pub struct Reopening {
    channel: Channel,
    refusal: Refusal,
}

impl Reopening {
    pub(super) fn new(channel: Channel, refusal: Refusal) -> Self {
        Self { channel, refusal }
    }
}

impl Service<http::Request<Body>> for Reopening {
    type Response = http::Response<Body>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        // It is waited for with the call.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let Self { mut channel, refusal } = self.clone();
        Box::pin(async move {
            // All calls of the contract are unary: there is one message to keep.
            let (parts, body) = request.into_parts();
            let body = body.collect().await?.to_bytes();
            let mut attempt = 1;
            loop {
                let body = Body::new(Full::new(body.clone()));
                poll_fn(|context| channel.poll_ready(context)).await?;
                match channel.call(http::Request::from_parts(parts.clone(), body)).await {
                    Err(error) if was_never_looked_at(&error) => {
                        if let Some(refused) = refusal.take() {
                            return Err(refused.into());
                        }
                        if attempt == ATTEMPTS {
                            return Err(error.into());
                        }
                        attempt += 1;
                    }
                    answered => return Ok(answered?),
                }
            }
        })
    }
}

/// Whether a call failed before its server looked at it: it was not sent, or the
/// server said so.
fn was_never_looked_at(error: &(dyn StdError + 'static)) -> bool {
    let mut error = Some(error);
    while let Some(cause) = error {
        if cause.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_canceled) {
            return true;
        }
        if let Some(cause) = cause.downcast_ref::<h2::Error>() {
            let reason = cause.reason();
            return cause.is_remote()
                && (cause.is_go_away() && reason == Some(h2::Reason::NO_ERROR)
                    || cause.is_reset() && reason == Some(h2::Reason::REFUSED_STREAM));
        }
        error = cause.source();
    }
    false
}

/// Why a server refused a connection on which the client was done with TLS
/// already: in TLS 1.3 it looks at the client's certificate last, and all that the
/// calls see is that the connection was closed.
#[derive(Clone, Debug, Default)]
pub(super) struct Refusal(Arc<Mutex<Option<rustls::Error>>>);

impl Refusal {
    /// Whoever reads from `stream` leaves it here.
    pub(super) fn noted<S>(&self, stream: S) -> Noting<S> {
        Noting { stream, refusal: self.clone() }
    }

    fn note(&self, error: &io::Error) {
        let refused = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        if let Some(refused) = refused {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(refused.clone());
        }
    }

    fn take(&self) -> Option<Status> {
        let refused = self.0.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        let mut status = Status::unavailable(format!("the server refused the connection: {refused}"));
        status.set_source(Arc::new(refused));
        Some(status)
    }
}

/// See [`Refusal`].
pub(super) struct Noting<S> {
    stream: S,
    refusal: Refusal,
}

impl<S: AsyncRead + Unpin> AsyncRead for Noting<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(context, to);
        if let Poll::Ready(Err(error)) = &read {
            self.refusal.note(error);
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Noting<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
