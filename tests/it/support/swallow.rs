//! A way to PostgreSQL that can swallow what is sent, as a broken network does:
//! nothing is refused, nothing is closed, and nothing comes back.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};

/// A proxy on loopback.
pub(crate) struct Swallow {
    address: SocketAddr,
    swallowing: Arc<AtomicBool>,
}

impl Swallow {
    /// Forwards to what listens on `port`.
    pub(crate) async fn before(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("it has an address");
        let swallowing = Arc::new(AtomicBool::new(false));
        let swallows = swallowing.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else {
                    continue;
                };
                let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
                // What was ever swallowed of a connection is lost for good.
                let lost = Arc::new(AtomicBool::new(false));
                tokio::spawn(forward(from_client, to_server, swallows.clone(), lost.clone()));
                tokio::spawn(forward(from_server, to_client, swallows.clone(), lost));
            }
        });
        Self { address, swallowing }
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// From now on, or no longer.
    pub(crate) fn swallow(&self, swallow: bool) {
        self.swallowing.store(swallow, Ordering::SeqCst);
    }
}

async fn forward(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, swallowing: Arc<AtomicBool>, lost: Arc<AtomicBool>) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        if swallowing.load(Ordering::SeqCst) {
            lost.store(true, Ordering::SeqCst);
        }
        if !lost.load(Ordering::SeqCst) && to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
    if lost.load(Ordering::SeqCst) {
        // Neither side is told that the other has gone.
        std::future::pending::<()>().await;
    }
}
