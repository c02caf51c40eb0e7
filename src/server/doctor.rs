//! Is this host in order to serve? Settings, database, keys, clocks, certificates and
//! room on the disk are looked at, beside a server that runs or without one. Nothing
//! is changed, and no lock of a server's is taken. What is found never holds a secret.

mod database;
mod files;

use std::{path::Path, time::Duration};

use self::database::Opened;
use crate::{domain::time::Timestamp, settings::Settings};

/// How bad something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// It is in order.
    Ok,
    /// A server runs, and somebody should look at it.
    Warning,
    /// A server does not start, or does not keep what it promises.
    Failure,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What was looked at: a constant, such as `database.role`.
    pub check: &'static str,
    /// How bad it is.
    pub level: Level,
    /// What was found.
    pub message: String,
    /// What to do; none where there is nothing to be done.
    pub advice: Option<String>,
}

impl Finding {
    /// It is in order.
    pub fn ok(check: &'static str, message: impl Into<String>) -> Self {
        Self { check, level: Level::Ok, message: message.into(), advice: None }
    }

    /// Somebody should look at it.
    pub fn warning(check: &'static str, message: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { check, level: Level::Warning, message: message.into(), advice: Some(advice.into()) }
    }

    /// It keeps a server from what it promises.
    pub fn failure(check: &'static str, message: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { check, level: Level::Failure, message: message.into(), advice: Some(advice.into()) }
    }
}

/// Looks at all of it, as the settings have it. What ends within `soon` is warned of.
pub async fn examine(settings: &Settings, soon: Duration) -> Vec<Finding> {
    let mut findings = vec![Finding::ok("settings", "they are read, and make sense")];
    let Opened { store, schema_fits } = database::open(settings, &mut findings).await;
    if let Some(store) = &store {
        database::clock(store, &mut findings).await;
        if schema_fits {
            database::contents(store, settings, &mut findings).await;
        }
    }
    files::keys(store.as_ref().filter(|_| schema_fits), settings, &mut findings).await;
    if let Some(store) = store {
        store.close().await;
    }
    for (check, listener, listen, tls) in [
        ("tls.grpc", "grpc", settings.grpc.listen, &settings.grpc.tls),
        ("tls.http", "http", settings.http.listen, &settings.http.tls),
    ] {
        let is_local = listen.ip().to_canonical().is_loopback();
        findings.extend(files::certificates(check, listener, is_local, tls, soon).await);
    }
    findings
}

/// A time for people, to the second.
fn shown(time: Timestamp) -> String {
    let since = Duration::from_micros(time.as_micros().unsigned_abs());
    humantime::format_rfc3339_seconds(std::time::UNIX_EPOCH + since).to_string()
}

/// A span for people, to the millisecond.
fn span(micros: u64) -> String {
    humantime::format_duration(Duration::from_millis(micros / 1_000)).to_string()
}

/// This host's clock.
#[expect(clippy::disallowed_methods, reason = "it is compared with the database's, and nothing is decided by it")]
fn host_time() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_micros()).unwrap_or(i64::MAX)
}

fn path(path: &Path) -> String {
    path.display().to_string()
}
