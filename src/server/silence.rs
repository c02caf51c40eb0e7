//! Has a client begun to speak? Whoever connects and says nothing would be kept, a
//! file descriptor and some memory, for as long as connections live.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::oneshot,
    time::timeout,
};

/// How many bytes every client of HTTP/2 says first (RFC 9113, section 3.4).
pub(super) const PREFACE: usize = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".len();

/// A connection that tells when its client has said enough.
#[derive(Debug)]
pub(super) struct Heard<T> {
    stream: T,
    // How many bytes are still to come, until somebody is told.
    wanted: usize,
    told: Option<oneshot::Sender<()>>,
}

/// Listens to a client until it has said so many bytes.
pub(super) fn hear<T>(stream: T, wanted: usize) -> (Heard<T>, oneshot::Receiver<()>) {
    let (told, begun) = oneshot::channel();
    (Heard { stream, wanted, told: Some(told) }, begun)
}

/// Waits until a client has taken longer than `limit` to begin; where it has begun,
/// or may take any time, for ever.
pub(super) async fn too_long(begun: oneshot::Receiver<()>, limit: Option<Duration>) {
    if let Some(limit) = limit
        && timeout(limit, begun).await.is_err()
    {
        return;
    }
    std::future::pending::<()>().await;
}

impl<T: AsyncRead + Unpin> AsyncRead for Heard<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        if self.told.is_some() {
            self.wanted = self.wanted.saturating_sub(buffer.filled().len() - before);
            if self.wanted == 0
                && let Some(told) = self.told.take()
            {
                // Nobody listens where the connection ends already.
                let _ = told.send(());
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Heard<T> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
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
}
