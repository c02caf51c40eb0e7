//! Which certificate does a listener show, and whose does it take? The files are
//! looked at again every few seconds; what they hold is used from the next
//! connection on, where it is in order, and else what was used before.

mod examine;
mod files;

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

pub(super) use self::examine::{Examined, examine};
pub use self::files::Error;
use self::files::{Digest, Files};
use crate::{domain::time::Timestamp, settings, telemetry::told_of};

/// How soon files that were replaced are noticed. They are read rather than
/// watched: an orchestrator replaces them by swapping a link to their directory.
const EVERY: Duration = Duration::from_secs(2);

/// What is spoken within TLS (RFC 7301).
#[derive(Clone, Copy, Debug)]
pub(super) enum Speaks {
    Http1,
    Http2,
    /// As the client wants it, rather the second.
    Both,
}

impl Speaks {
    fn protocols(self) -> &'static [&'static [u8]] {
        match self {
            Self::Http1 => &[b"http/1.1"],
            Self::Http2 => &[b"h2"],
            Self::Both => &[b"h2", b"http/1.1"],
        }
    }
}

/// TLS on one listener.
#[derive(Debug)]
pub(super) struct Tls {
    files: Files,
    speaks: Speaks,
    current: ArcSwap<Generation>,
    // Which authorities of clients are trusted, as a number that grows with each
    // replacement.
    trust: watch::Sender<u64>,
}

/// What the files held at one time.
#[derive(Debug)]
pub(super) struct Generation {
    /// What new connections are accepted with.
    pub(super) config: Arc<ServerConfig>,
    /// Which authorities of clients it trusts.
    pub(super) trust: u64,
    // Of all files, and of the authorities' alone.
    digest: Digest,
    authorities: Option<Digest>,
    // Of the certificate.
    expire_time: Timestamp,
}

impl Tls {
    /// Reads the files that a listener's settings name; none where they turn TLS
    /// off.
    pub(super) async fn load(
        listener: &'static str,
        settings: &settings::Tls,
        speaks: Speaks,
    ) -> Result<Option<Arc<Self>>, Error> {
        let Some(files) = Files::of(listener, settings) else {
            return Ok(None);
        };
        let first = files.read().await?;
        let config = files.understand(&first, speaks.protocols())?;
        let generation = Generation {
            config: config.server,
            trust: 0,
            digest: first.digest(),
            authorities: first.authorities_digest(),
            expire_time: config.expire_time,
        };
        tracing::info!(listener, expires_at_unix = seconds(generation.expire_time), "serving TLS");
        Ok(Some(Arc::new(Self {
            files,
            speaks,
            current: ArcSwap::from_pointee(generation),
            trust: watch::Sender::new(0),
        })))
    }

    /// What a connection that comes now is accepted with.
    pub(super) fn now(&self) -> Arc<Generation> {
        self.current.load_full()
    }

    /// Whose connections these are: `grpc` or `http`.
    pub(super) fn listener(&self) -> &'static str {
        self.files.listener()
    }

    /// Until when what is shown now is good, since 1970.
    pub(super) fn expire_time(&self) -> Duration {
        Duration::from_micros(self.now().expire_time.as_micros().max(0).unsigned_abs())
    }

    /// Tells when other authorities of clients are trusted.
    pub(super) fn trust(&self) -> watch::Receiver<u64> {
        self.trust.subscribe()
    }

    /// Uses what the files hold from when they change, until `stop`.
    pub(super) async fn follow(self: Arc<Self>, stop: CancellationToken) {
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut trouble = Trouble::default();
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            match self.look_again().await {
                Ok(()) => trouble = Trouble::default(),
                Err(error) => trouble.tell(self.listener(), &error),
            }
        }
    }

    async fn look_again(&self) -> Result<(), Error> {
        let current = self.now();
        let read = self.files.read().await?;
        let digest = read.digest();
        if digest == current.digest {
            return Ok(());
        }
        let config = self.files.understand(&read, self.speaks.protocols())?;
        let authorities = read.authorities_digest();
        let trust = if authorities == current.authorities { current.trust } else { current.trust + 1 };
        let (server, expire_time) = (config.server, config.expire_time);
        self.current.store(Arc::new(Generation { config: server, trust, digest, authorities, expire_time }));
        // Only now: whoever was accepted with the former ones finds that they changed.
        self.trust.send_replace(trust);
        tracing::info!(
            listener = self.listener(),
            expires_at_unix = seconds(expire_time),
            other_client_authorities = trust != current.trust,
            "the TLS files were replaced, and are used from now on"
        );
        Ok(())
    }
}

/// What is wrong with the files: told once, and only when it is found twice, since
/// several files are not replaced at the same instant.
#[derive(Default)]
struct Trouble {
    found: Option<String>,
    told: bool,
}

impl Trouble {
    fn tell(&mut self, listener: &str, error: &Error) {
        let text = error.to_string();
        if self.found.as_ref() != Some(&text) {
            *self = Self { found: Some(text), told: false };
            return;
        }
        if !self.told {
            self.told = true;
            tracing::warn!(
                listener,
                error = told_of(error),
                "the TLS files cannot be used: those read before stay in use"
            );
        }
    }
}

fn seconds(time: Timestamp) -> i64 {
    time.as_micros() / 1_000_000
}
