//! Who comes in? Connections are accepted at once, whatever else goes on: TLS is
//! agreed on apart, for many at a time and within a bound.

use std::{collections::VecDeque, io, net::SocketAddr, sync::Arc, time::Duration};

use rustls::Error::{InvalidCertificate, NoCertificatesPresented};
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::AbortHandle,
    time::{sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::{
    KEEPALIVE_INTERVAL, peer,
    tls::{Generation, Tls},
};
use crate::{domain::certificate::ClientCertificate, telemetry::told_of};

/// How long agreeing on TLS may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// With how many clients TLS is being agreed on at most. One more, and the one that
/// has taken longest is dropped: clients that mean it take milliseconds.
const MAX_HANDSHAKES: usize = 1_024;
/// How long a client that was refused may take to read why.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// How soon it is tried again where the system has no room for a connection.
const BREATH: Duration = Duration::from_millis(200);

/// A listener, with TLS or without.
#[derive(Debug)]
pub(super) struct Listener {
    tcp: TcpListener,
    tls: Option<Arc<Tls>>,
}

/// A connection on which TLS was agreed.
pub(super) struct Agreed {
    pub(super) stream: TlsStream<TcpStream>,
    /// The client's certificate, verified.
    pub(super) certificate: Option<Arc<ClientCertificate>>,
    /// Which authorities of clients were trusted then, where one vouched for it.
    pub(super) trust: Option<u64>,
}

impl Listener {
    pub(super) fn new(tcp: TcpListener, tls: Option<Arc<Tls>>) -> Self {
        Self { tcp, tls }
    }

    pub(super) fn tls(&self) -> Option<&Arc<Tls>> {
        self.tls.as_ref()
    }

    /// The next connection. Nothing that goes wrong ends this: a lack of file
    /// descriptors passes.
    pub(super) async fn accept(&self) -> (TcpStream, SocketAddr) {
        loop {
            match self.tcp.accept().await {
                Ok((stream, address)) => {
                    prepare(&stream);
                    return (stream, address);
                }
                Err(error) if is_the_clients(&error) => {}
                Err(error) => {
                    tracing::warn!(error = told_of(&error), "a connection could not be accepted");
                    sleep(BREATH).await;
                }
            }
        }
    }
}

fn prepare(stream: &TcpStream) {
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_INTERVAL);
    let prepared = stream.set_nodelay(true).and_then(|()| SockRef::from(stream).set_tcp_keepalive(&keepalive));
    if let Err(error) = prepared {
        tracing::debug!(error = told_of(&error), "the connection is gone already");
    }
}

fn is_the_clients(error: &io::Error) -> bool {
    use io::ErrorKind as K;
    matches!(error.kind(), K::ConnectionAborted | K::ConnectionRefused | K::ConnectionReset | K::Interrupted)
}

/// Agrees on TLS with a client, or refuses it and says why.
pub(super) async fn agree(generation: Arc<Generation>, stream: TcpStream, address: SocketAddr) -> Option<Agreed> {
    let acceptor = TlsAcceptor::from(generation.config.clone());
    let Ok(agreed) = timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream).into_fallible()).await else {
        tracing::debug!(%address, "a client took too long to agree on TLS");
        return None;
    };
    match agreed {
        Ok(stream) => {
            let verified = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
            let trust = verified.map(|_| generation.trust);
            let certificate = verified.and_then(peer::client_certificate).map(Arc::new);
            Some(Agreed { stream, certificate, trust })
        }
        Err((error, stream)) => {
            tell(&error, address);
            let _ = timeout(LAST_WORDS, hear_out(stream)).await;
            None
        }
    }
}

fn tell(error: &io::Error, address: SocketAddr) {
    let problem = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    if let Some(InvalidCertificate(_) | NoCertificatesPresented) = problem {
        tracing::info!(%address, error = told_of(error), "a client's certificate is refused");
    } else {
        tracing::debug!(%address, error = told_of(error), "a client could not agree on TLS");
    }
}

/// Reads what is still on its way. A socket that is closed with something unread is
/// reset, and the alert that tells the client why is lost with it.
async fn hear_out(mut stream: TcpStream) {
    let mut unread = [0; 4_096];
    let _ = stream.shutdown().await;
    while let Ok(1..) = stream.read(&mut unread).await {}
}

/// With whom TLS is being agreed on.
#[derive(Debug, Default)]
pub(super) struct Handshakes(VecDeque<AbortHandle>);

impl Handshakes {
    /// Adds one, and drops the one that has taken longest where there are too many.
    pub(super) fn add(&mut self, handshake: AbortHandle) {
        if self.0.len() >= MAX_HANDSHAKES {
            self.0.retain(|handshake| !handshake.is_finished());
        }
        if self.0.len() >= MAX_HANDSHAKES
            && let Some(oldest) = self.0.pop_front()
        {
            oldest.abort();
        }
        self.0.push_back(handshake);
    }

    /// Drops them all.
    pub(super) fn end(self) {
        for handshake in self.0 {
            handshake.abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn of_too_many_the_one_that_takes_longest_is_dropped() {
        let mut handshakes = Handshakes::default();
        let never = || tokio::spawn(std::future::pending::<()>());
        let oldest = never();
        handshakes.add(oldest.abort_handle());
        let done = tokio::spawn(std::future::ready(()));
        handshakes.add(done.abort_handle());
        done.await.expect("it is done");
        let others: Vec<_> = (0..MAX_HANDSHAKES - 1).map(|_| never()).collect();
        for other in &others {
            handshakes.add(other.abort_handle());
        }
        assert!(!oldest.is_finished(), "what is done takes no place");

        let newest = never();
        handshakes.add(newest.abort_handle());
        assert!(oldest.await.expect_err("it is dropped").is_cancelled());
        assert!(others.iter().chain([&newest]).all(|other| !other.is_finished()));
    }
}
