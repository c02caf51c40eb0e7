//! Are the files in order that a server reads: the embedded database, the master
//! keys, the certificates?

use std::{fs, path::Path, time::Duration};

use super::{Finding, host_time, path, shown, span};
use crate::{
    authority::bootstrap::{self, KeyState, KeyStates},
    domain::time::Timestamp,
    server::tls::{self, Examined},
    settings::{self, Settings},
    store::{SigningKeyRecord, Store},
    telemetry::told_of,
};

/// Less room than this, and the next hours may fill it.
const LITTLE_ROOM: u64 = 256 * MIB;
/// Less than this, and changes fail soon.
const NO_ROOM: u64 = 16 * MIB;
const MIB: u64 = 1024 * 1024;
/// How long after its time a key that signs may still be there: whoever runs replaces
/// it within the hour.
const SIGNING_GRACE: Duration = Duration::from_hours(24);

/// The embedded database's file, and what room it has.
pub(super) fn database(file: &Path) -> Vec<Finding> {
    let mut findings = vec![private("database.file", file)];
    let directory = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if let Ok(disk) = rustix::fs::statvfs(directory) {
        let (free, size) =
            (disk.f_bavail.saturating_mul(disk.f_frsize), fs::metadata(file).map_or(0, |file| file.len()));
        let told = format!("{} MiB are free where the database of {} MiB is", free / MIB, size / MIB);
        let advice = "make room, or move data_dir: a change that finds none fails, and nothing is lost";
        findings.push(if free < NO_ROOM {
            Finding::failure("disk", told, advice)
        } else if free < LITTLE_ROOM {
            Finding::warning("disk", told, advice)
        } else {
            Finding::ok("disk", told)
        });
    }
    findings
}

/// A file that only those may read whom it is meant for.
fn private(check: &'static str, file: &Path) -> Finding {
    match fs::metadata(file) {
        Err(error) => {
            Finding::failure(check, format!("{}: {error}", path(file)), "see that the service's user may read it")
        }
        Ok(metadata) if bootstrap::is_exposed(&metadata) => {
            let told = format!("{}: others than its owner may read it", path(file));
            Finding::warning(check, told, format!("chmod 600 {}", path(file)))
        }
        Ok(_) => Finding::ok(check, format!("{}: for its owner alone", path(file))),
    }
}

/// The ring of master keys, held against the database where that can be read.
pub(super) async fn keys(store: Option<&Store>, settings: &Settings, findings: &mut Vec<Finding>) {
    let file = settings.master_key_file();
    if file.exists() {
        findings.push(private("keys.file", &file));
    }
    let admin = settings.admin_token_file();
    if admin.exists() {
        findings.push(private("admin.file", &admin));
    }
    let Some(store) = store else {
        if !file.exists() {
            let told = format!("there is no {}", path(&file));
            let advice = "a first start makes it; every other server needs the file of one that runs";
            findings.push(Finding::warning("keys", told, advice));
        }
        return;
    };
    match bootstrap::compare_keys(store, &file).await {
        Err(error) => findings.push(Finding::failure(
            "keys",
            told_of(&error),
            "put the file of a server that runs, or its backup, in the place of this one",
        )),
        Ok(states) => compared(&states, &file, settings, findings),
    }
}

fn compared(states: &KeyStates, file: &Path, settings: &Settings, findings: &mut Vec<Finding>) {
    let named = |wanted: fn(&KeyState) -> bool| {
        let keys = states.keys.iter().filter(|(_, state)| wanted(state)).map(|(name, _)| name.as_str());
        keys.collect::<Vec<_>>()
    };
    let contradicting = named(|state| state.contradicts);
    let current = named(|state| state.current);
    let missing = named(|state| state.current && !state.in_file);
    let advice = "copy the file from a server that has the key, or name it in keys.master_key_file";
    findings.push(match (contradicting.as_slice(), missing.as_slice(), current.as_slice()) {
        ([other, ..], ..) => {
            let told = format!("the key {other} in {} is not the database's of that name", path(file));
            Finding::failure("keys", told, advice)
        }
        (_, [missing, ..], _) if !file.exists() => Finding::failure(
            "keys",
            format!("the database's key {missing} is not here: there is no {}", path(file)),
            advice,
        ),
        (_, [missing, ..], _) => {
            Finding::failure("keys", format!("{} lacks the database's current key {missing}", path(file)), advice)
        }
        (.., []) => Finding::warning("keys", "the database names none yet", "the first start of a server does"),
        (.., [current, ..]) => Finding::ok("keys", format!("the current one, {current}, is here and the database's")),
    });
    let former = named(|state| !state.current && !state.in_file && !state.contradicts);
    if !former.is_empty() {
        let told = format!("former keys that are not in the file: {}", former.join(", "));
        findings.push(Finding::ok("keys.former", format!("{told}; a secret still under one needs bcrypt once")));
    }
    if let Some(finding) = signing(states, settings) {
        findings.push(finding);
    }
}

/// The key that signs the tokens of web sessions.
fn signing(states: &KeyStates, settings: &Settings) -> Option<Finding> {
    const CHECK: &str = "keys.signing";
    let SigningKeyRecord { sealed, create_time, .. } = match states.signing.iter().find(|key| key.retired.is_none()) {
        Some(key) => key,
        None if states.keys.values().any(|state| state.current) => {
            return Some(Finding::warning(CHECK, "no key signs", "the next start of a server makes one"));
        }
        None => return None,
    };
    let opens = |name: &str| states.keys.get(name).is_some_and(|state| state.in_file && !state.contradicts);
    let under = sealed.as_ref().map(|sealed| sealed.under.to_string()).unwrap_or_default();
    let age = Duration::from_micros(host_time().saturating_sub(create_time.as_micros()).max(0).unsigned_abs());
    Some(if !opens(&under) {
        let told = format!("it is sealed under the master key {under}, which is not here");
        Finding::warning(CHECK, told, "put that key back; without it a server makes another key that signs")
    } else if age > settings.sessions.signing_key_lifetime.0 + SIGNING_GRACE {
        let told = format!("it was made at {}, longer ago than sessions.signing_key_lifetime", shown(*create_time));
        Finding::warning(CHECK, told, "a server that runs replaces it: start one, or see what its log says")
    } else {
        Finding::ok(CHECK, format!("made at {}, sealed under {under}", shown(*create_time)))
    })
}

/// The files for TLS of one listener.
pub(super) async fn certificates(
    check: &'static str,
    listener: &'static str,
    is_local: bool,
    settings: &settings::Tls,
    soon: Duration,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    let examined = match tls::examine(listener, settings).await {
        None if is_local => return vec![Finding::ok(check, "plaintext, on loopback alone")],
        None => {
            // Else the settings are refused.
            let told = format!("plaintext beyond loopback, as {listener}.allow_plaintext allows");
            return vec![Finding::ok(check, format!("{told}: something else has to protect it"))];
        }
        Some(Err(error)) => {
            let advice = "give it files that fit together; a server that runs keeps those that it read before";
            return vec![Finding::failure(check, told_of(&error), advice)];
        }
        Some(Ok(examined)) => examined,
    };
    let Examined { names, begin_time, expire_time, problems, authorities } = examined;
    let now = host_time();
    let ends = |time: Timestamp| time.as_micros().saturating_sub(now);
    let names_told = if names.is_empty() { "nobody".to_owned() } else { names.join(", ") };
    let told = format!("a certificate for {names_told}, good until {}", shown(expire_time));
    let renew = "renew it; a server takes the new files without a restart";
    findings.push(if begin_time.as_micros() > now {
        let told = format!("a certificate that is not good before {}", shown(begin_time));
        Finding::failure(check, told, "see this host's clock, or wait")
    } else if Duration::from_micros(ends(expire_time).max(0).unsigned_abs()) < soon {
        Finding::warning(check, format!("{told}: in {}", span(ends(expire_time).max(0).unsigned_abs())), renew)
    } else if names.is_empty() {
        Finding::warning(check, told, "clients go by the names (SAN), and refuse one without any")
    } else {
        Finding::ok(check, told)
    });
    findings.extend(problems.into_iter().map(|problem| {
        Finding::warning(check, problem, "put the whole chain into the file, the server's own certificate first")
    }));
    if let Some(key) = &settings.private_key_file {
        findings.extend(Some(private(check, key)).filter(|finding| finding.level != super::Level::Ok));
    }
    findings.extend(
        authorities
            .into_iter()
            .filter(|authority| Duration::from_micros(ends(authority.expire_time).max(0).unsigned_abs()) < soon)
            .map(|authority| {
                let told =
                    format!("the clients' authority {} is good until {}", authority.name, shown(authority.expire_time));
                Finding::warning(
                    check,
                    told,
                    "give its clients certificates of another, and add that to client_ca_file",
                )
            }),
    );
    findings
}
