//! A way to PostgreSQL of one replica's own, which can delay, hold, swallow and
//! cut what is sent.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
};

/// What is done with what is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Pass,
    /// Each piece is passed on so much later.
    Delay(Duration),
    /// Nothing is passed on that way, until it may pass again: then all of it.
    Hold(Way),
    /// What is sent meanwhile is lost, and with it its connection, although
    /// neither side is told.
    Swallow,
    /// Every connection is closed, new ones too.
    Cut,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    There,
    Back,
    Both,
}

/// A proxy on loopback.
pub(crate) struct Proxy {
    address: SocketAddr,
    mode: watch::Sender<Mode>,
}

impl Proxy {
    /// Forwards to what listens on `port`.
    pub(crate) async fn before(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("it has an address");
        let (mode, modes) = watch::channel(Mode::Pass);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if *modes.borrow() == Mode::Cut {
                    continue;
                }
                let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else {
                    continue;
                };
                tokio::spawn(connection(client, server, modes.clone()));
            }
        });
        Self { address, mode }
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// From now on, for connections that are open as well.
    pub(crate) fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }
}

/// Forwards both ways until either side has closed, or it is cut.
async fn connection(client: TcpStream, server: TcpStream, mut modes: watch::Receiver<Mode>) {
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
    let there = forward(from_client, to_server, Way::There, modes.clone());
    let back = forward(from_server, to_client, Way::Back, modes.clone());
    tokio::select! {
        () = there => {}
        () = back => {}
        _ = modes.wait_for(|mode| *mode == Mode::Cut) => {}
    }
}

async fn forward(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, way: Way, mut modes: watch::Receiver<Mode>) {
    let mut buffer = vec![0; 16 * 1024];
    let mut is_lost = false;
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        let mode = *modes.borrow_and_update();
        match mode {
            Mode::Delay(by) => tokio::time::sleep(by).await,
            Mode::Hold(held) if held == way || held == Way::Both => {
                if modes.wait_for(|mode| !matches!(mode, Mode::Hold(_))).await.is_err() {
                    return;
                }
            }
            Mode::Swallow => is_lost = true,
            Mode::Pass | Mode::Cut | Mode::Hold(_) => {}
        }
        // What was ever swallowed of a connection is lost for good.
        if !is_lost && to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}
