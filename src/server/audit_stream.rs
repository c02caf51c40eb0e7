//! Who follows the audit trail? Collectors that read this process's standard
//! output: each event is a line of JSON there, once it is committed.
//!
//! The trail itself is in the database. A line is missing where the process ended
//! between the commit and the line, or where nobody read standard output for so
//! long that there was no room left; the latter is told in the log.

use std::{
    io::{self, Write},
    thread,
    time::{Duration, UNIX_EPOCH},
};

use serde::Serialize;
use tokio::sync::{mpsc, oneshot};

use crate::{
    store::{Entry, Event, Store},
    telemetry::told_of,
};

/// How many events wait for standard output to be read.
const CAPACITY: usize = 10_000;
/// How long it may take at the end to print those that wait.
const END_TIMEOUT: Duration = Duration::from_secs(5);

/// Prints events, on a thread of its own, since whoever reads them may be slow.
#[derive(Debug)]
pub(super) struct Stream {
    stop: oneshot::Sender<()>,
    ended: oneshot::Receiver<()>,
}

/// An event, in the spelling of the contract's JSON.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    event_id: String,
    event_time: String,
    actor: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    actor_address: Option<&'a str>,
    action: &'a str,
    target: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    account_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    refusal_reason: Option<&'a str>,
    count: u64,
    #[serde(skip_serializing_if = "serde_json::Value::is_null")]
    detail: &'a serde_json::Value,
}

impl Stream {
    /// Prints what `store` commits from now on.
    pub(super) fn start(store: &Store) -> Self {
        let (follower, entries) = mpsc::channel(CAPACITY);
        store.follow_audit_trail(follower);
        let (stop, stopped) = oneshot::channel();
        let (end, ended) = oneshot::channel();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().build();
            match runtime {
                Ok(runtime) => runtime.block_on(print_all(entries, stopped)),
                Err(error) => tracing::error!(error = told_of(&error), "audit events are not printed"),
            }
            let _ = end.send(());
        });
        Self { stop, ended }
    }

    /// Prints those that are left. Nothing is committed any more.
    pub(super) async fn end(self) {
        let _ = self.stop.send(());
        if tokio::time::timeout(END_TIMEOUT, self.ended).await.is_err() {
            tracing::warn!("standard output was not read in time: the last audit events are in the database alone");
        }
    }
}

async fn print_all(mut entries: mpsc::Receiver<Entry>, mut stopped: oneshot::Receiver<()>) {
    loop {
        let entry = tokio::select! {
            entry = entries.recv() => entry,
            _ = &mut stopped, if !entries.is_closed() => {
                // What is in there already still comes.
                entries.close();
                continue;
            }
        };
        let Some(entry) = entry else {
            return;
        };
        if let Err(error) = print(&entry, &mut io::stdout().lock()) {
            tracing::error!(
                error = told_of(&error),
                "standard output cannot be written: audit events are in the database alone"
            );
            return;
        }
    }
}

fn print(Entry { id, time, event }: &Entry, output: &mut impl Write) -> io::Result<()> {
    let Event { actor, actor_address, action, target, account_id, request_id, detail, refusal } = event;
    let at = UNIX_EPOCH + Duration::from_micros(time.as_micros().unsigned_abs());
    let line = Line {
        event_id: id.to_string(),
        event_time: humantime::format_rfc3339_micros(at).to_string(),
        actor,
        actor_address: actor_address.as_deref(),
        action,
        target,
        account_id: account_id.as_deref(),
        request_id: request_id.as_deref(),
        outcome: if refusal.is_some() { "refused" } else { "done" },
        refusal_reason: refusal.as_ref().map(|refusal| refusal.reason.as_str()),
        count: refusal.as_ref().map_or(1, |refusal| refusal.count),
        detail,
    };
    serde_json::to_writer(&mut *output, &line)?;
    output.write_all(b"\n")?;
    output.flush()
}
