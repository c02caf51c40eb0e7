//! Has a client begun to speak? Whoever connects and says nothing would be kept, a
//! file descriptor and some memory, for as long as connections live.

use std::time::Duration;

use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::oneshot,
    time::timeout,
};
use tokio_util::io::InspectReader;

/// How many bytes every client of HTTP/2 says first (RFC 9113, section 3.4).
pub(super) const PREFACE: usize = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".len();

/// Listens to a client until it has said so many bytes, which the receiver is told.
pub(super) fn hear<S>(stream: S, mut wanted: usize) -> (impl AsyncRead + AsyncWrite + Unpin, oneshot::Receiver<()>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (told, begun) = oneshot::channel();
    let mut told = Some(told);
    let stream = InspectReader::new(stream, move |bytes| {
        wanted = wanted.saturating_sub(bytes.len());
        if wanted == 0
            && let Some(told) = told.take()
        {
            // Nobody listens where the connection ends already.
            let _ = told.send(());
        }
    });
    (stream, begun)
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
