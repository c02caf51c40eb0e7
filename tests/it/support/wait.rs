//! Waiting for what another does, within a bound.

use std::{
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

/// How long a condition may take to come about.
const PATIENCE: Duration = Duration::from_secs(15);
const EVERY: Duration = Duration::from_millis(10);

/// Longer than any bound of the server's own: what takes longer hangs.
const LONGEST: Duration = Duration::from_mins(2);

/// What it comes to; fails where it does not end.
pub(crate) async fn in_time<T>(what: &str, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(LONGEST, work).await.unwrap_or_else(|_| panic!("this does not end: {what}"))
}

/// A connection on which reading and writing fail rather than wait for ever.
pub(crate) fn connect_blocking(server: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(server).expect("somebody listens");
    stream
        .set_read_timeout(Some(LONGEST))
        .and_then(|()| stream.set_write_timeout(Some(LONGEST)))
        .expect("it is bounded");
    stream
}

/// Returns once the condition holds; fails where it does not in time.
pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < deadline, "this did not come about: {what}");
        tokio::time::sleep(EVERY).await;
    }
}

/// The same, outside a runtime.
pub(crate) fn until_blocking(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "this did not come about: {what}");
        std::thread::sleep(EVERY);
    }
}
