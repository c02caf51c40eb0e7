//! Is the database there, can it keep what it is told, and does what it holds fit to
//! this binary and these settings?

use super::{Finding, host_time, path, shown, span};
use crate::{
    domain::{policy::Policy, time::Timestamp},
    settings::Settings,
    store::{Condition, Location, Schema, ServerCondition, Store},
    telemetry::told_of,
};

/// The oldest PostgreSQL that is known to do.
const OLDEST_POSTGRES: i64 = 140_000;
/// Two clocks that are further apart than this are told of.
const CLOCKS_APART: u64 = 1_000_000;
/// So far apart, certificates and sessions are judged wrong by one of them.
const CLOCKS_FAR_APART: u64 = 60_000_000;
/// Connections that a server has beside `database.max_connections`.
const WATCHERS: i64 = 2;

/// A database that could be opened.
pub(super) struct Opened {
    /// None where there is none, or none that may be read.
    pub(super) store: Option<Store>,
    /// Whether what it holds can be read.
    pub(super) schema_fits: bool,
}

/// Opens it, and says in which condition it is.
pub(super) async fn open(settings: &Settings, findings: &mut Vec<Finding>) -> Opened {
    let nothing = Opened { store: None, schema_fits: false };
    let config = match settings.store_config() {
        Ok(config) => config,
        Err(error) => {
            findings.push(Finding::failure("database", error.to_string(), "correct the setting"));
            return nothing;
        }
    };
    if let Location::Sqlite(file) = &config.location
        && !file.exists()
    {
        findings.push(Finding::warning(
            "database",
            format!("there is none yet at {}", path(file)),
            "the first start makes one; where there should be one, data_dir or database.url leads elsewhere",
        ));
        return nothing;
    }
    let file = match &config.location {
        Location::Sqlite(file) => Some(file.clone()),
        Location::Postgres(_) => None,
    };
    let looked = async {
        let store = Store::open_to_look(config).await.map_err(|error| told_of(&error))?;
        let condition = store.condition().await.map_err(|error| told_of(&error))?;
        Ok::<_, String>((store, condition))
    };
    let (store, condition) = match looked.await {
        Ok(looked) => looked,
        Err(problem) => {
            let advice = "see that it runs, that database.url leads to it, and that the role may log in";
            findings.push(Finding::failure("database", problem, advice));
            return nothing;
        }
    };
    let Condition { version, server } = condition;
    let is_primary = server.as_ref().is_none_or(|server| !server.standby);
    match server {
        None => {
            findings.push(Finding::ok("database", format!("SQLite {version}, embedded")));
            if let Some(file) = file {
                findings.extend(super::files::database(&file));
            }
        }
        Some(server) => self::server(&version, &server, settings, findings),
    }
    let schema_fits = is_primary && schema(&store, settings, findings).await;
    Opened { store: is_primary.then_some(store), schema_fits }
}

fn server(version: &str, server: &ServerCondition, settings: &Settings, findings: &mut Vec<Finding>) {
    let ServerCondition {
        version_number,
        standby,
        fsync,
        full_page_writes,
        synchronous_commit,
        synchronous_standbys,
        max_connections,
        connections,
        own_connections,
        encrypted,
        local,
    } = server;
    findings.push(if *version_number < OLDEST_POSTGRES {
        Finding::warning("database", format!("PostgreSQL {version}"), "version 14 or later is what this is tested with")
    } else {
        Finding::ok("database", format!("PostgreSQL {version}"))
    });
    if *standby {
        findings.push(Finding::failure(
            "database.role",
            "a standby (in recovery): revocation cannot be immediate there",
            "lead database.url to the primary, or promote this one once the former primary is fenced off",
        ));
        return;
    }
    findings.push(Finding::ok("database.role", "a primary"));
    findings.push(match (fsync, full_page_writes) {
        (false, _) => {
            let advice = "set fsync = on: a server does not start without it";
            Finding::failure("database.durability", "fsync is off: what was acknowledged can be lost", advice)
        }
        (true, false) => {
            let advice = "set full_page_writes = on, unless the file system never writes half a page";
            Finding::warning("database.durability", "full_page_writes is off: a crash can leave half a page", advice)
        }
        (true, true) => {
            let standbys = match synchronous_standbys.as_str() {
                "" => "no synchronous standby: a failover loses what was committed last",
                _ => "commits wait for a synchronous standby",
            };
            let raised = match synchronous_commit.as_str() {
                "on" | "remote_apply" => "",
                _ => ", which changes raise to on",
            };
            let told = format!("fsync is on, synchronous_commit is {synchronous_commit}{raised}; {standbys}");
            Finding::ok("database.durability", told)
        }
    });
    findings.push(connections_left(settings, *max_connections, *connections, *own_connections));
    findings.push(if *encrypted || *local {
        let how = if *encrypted { "encrypted" } else { "within this machine" };
        Finding::ok("database.transport", how)
    } else {
        let advice = "add sslmode=verify-full and sslrootcert to database.url";
        Finding::warning("database.transport", "hashes and fingerprints travel in plaintext", advice)
    });
}

/// Whether one more server finds room for its connections.
fn connections_left(settings: &Settings, max: i64, all: i64, own: i64) -> Finding {
    const CHECK: &str = "database.connections";
    let wanted = i64::from(settings.database.max_connections) + WATCHERS;
    let told = format!("a server may open {wanted}; {max} are granted, {all} are open, {own} of them this service's");
    let advice = "lower database.max_connections, or raise max_connections or the role's or database's limit";
    if wanted > max {
        Finding::failure(CHECK, told, advice)
    } else if wanted > max - (all - own) {
        Finding::warning(CHECK, told, advice)
    } else {
        let fit = (max - (all - own)) / wanted;
        Finding::ok(CHECK, format!("{told}: there is room for {fit} server(s)"))
    }
}

/// Tells whether what the database holds can be read.
async fn schema(store: &Store, settings: &Settings, findings: &mut Vec<Finding>) -> bool {
    const CHECK: &str = "database.schema";
    let Schema { pending, unknown, is_new } = match store.schema().await {
        Ok(schema) => schema,
        Err(error) => {
            let advice = "see that the role owns the database's tables";
            findings.push(Finding::failure(CHECK, told_of(&error), advice));
            return false;
        }
    };
    let applies = store.is_embedded() || settings.database.migrate_on_start;
    let lacks = match (is_new, pending.as_slice()) {
        (true, _) => Some("there are no tables yet".to_owned()),
        (false, []) => None,
        (false, [first, ..]) => {
            Some(format!("it lacks {} migration(s) of this version, from {first} on", pending.len()))
        }
    };
    findings.push(match lacks {
        Some(lacks) if applies => Finding::warning(CHECK, lacks, "the next start applies them; back up first"),
        Some(lacks) => {
            let advice = "back up, then run `token-authority migrate`; servers of the version before go on meanwhile";
            Finding::failure(CHECK, lacks, advice)
        }
        None if unknown.is_empty() => Finding::ok(CHECK, "it is this version's"),
        None => Finding::warning(
            CHECK,
            format!("a newer version applied {} migration(s) that this one does not know", unknown.len()),
            "this version goes on with it; finish the upgrade, or the way back, so that all servers are of one version",
        ),
    });
    pending.is_empty()
}

/// How far this host's clock and the database's are apart. Tokens are judged by the
/// database's, certificates by this host's.
pub(super) async fn clock(store: &Store, findings: &mut Vec<Finding>) {
    const CHECK: &str = "clock";
    let times = async {
        let snapshot = store.snapshot().await?;
        // The connection is open now.
        let before = host_time();
        let time = snapshot.now().await?;
        let after = host_time();
        let last = snapshot.last_change_time().await.unwrap_or_default();
        snapshot.end().await?;
        Ok::<_, crate::store::Error>((before, time, after, last))
    };
    let (before, time, after, last) = match times.await {
        Ok(times) => times,
        Err(error) => {
            let advice = "see database; the log of PostgreSQL says more";
            findings.push(Finding::failure(CHECK, told_of(&error), advice));
            return;
        }
    };
    let database = time.as_micros();
    // What the answer took, nobody knows better.
    let apart = if database < before {
        before.abs_diff(database)
    } else {
        database.saturating_sub(after).max(0).unsigned_abs()
    };
    let advice = "synchronise both hosts' clocks (NTP)";
    findings.push(if apart >= CLOCKS_FAR_APART {
        let told = format!("this host's and the database's are {} apart", span(apart));
        Finding::failure(CHECK, told, advice)
    } else if apart >= CLOCKS_APART {
        let told = format!("this host's and the database's are {} apart", span(apart));
        Finding::warning(CHECK, told, advice)
    } else {
        let (of, took) = if store.is_embedded() {
            ("", String::new())
        } else {
            (" and the database's", span(after.abs_diff(before)))
        };
        let within = if took.is_empty() { String::new() } else { format!(" (asked within {took})") };
        Finding::ok(CHECK, format!("this host's{of}: {}{within}", shown(time)))
    });
    findings.extend(last.filter(|last| *last > time).map(future));
}

fn future(last: Timestamp) -> Finding {
    Finding::failure(
        "clock.history",
        format!("the last change was committed at {}, which is still to come", shown(last)),
        "the clock went back, or the database was moved here from a host whose clock was ahead: correct it before a \
         server starts, or tokens live longer than they should",
    )
}

/// The policy, and who may administer.
pub(super) async fn contents(store: &Store, settings: &Settings, findings: &mut Vec<Finding>) {
    let read = async {
        let snapshot = store.snapshot().await?;
        let read = (snapshot.policy().await?, snapshot.admins().await?.len());
        snapshot.end().await?;
        Ok::<_, crate::store::Error>(read)
    };
    let (in_force, admins) = match read.await {
        Ok(read) => read,
        Err(error) => {
            findings.push(Finding::failure("database.contents", told_of(&error), "see the log of a server on it"));
            return;
        }
    };
    findings.push(policy(settings, &in_force));
    findings.push(match admins {
        0 => Finding::warning(
            "administrators",
            "no service credential has the role admin",
            "the next start makes one; beside servers that run: `token-authority admin reset`",
        ),
        count => Finding::ok("administrators", format!("{count} service credential(s) with the role admin")),
    });
}

fn policy(settings: &Settings, in_force: &Policy) -> Finding {
    const CHECK: &str = "policy";
    let theirs = in_force.document().version;
    let own = match Policy::new(settings.policy.clone()) {
        Ok(own) => own,
        Err(error) => return Finding::failure(CHECK, error.to_string(), "correct the settings' policy"),
    };
    let version = own.document().version;
    if version == theirs && own.document() != in_force.document() {
        let told = format!("the settings' has version {version}, as the database's has, and differs from it");
        Finding::failure(CHECK, told, "raise policy.version: a server does not start before that")
    } else if version > theirs {
        let told = format!("the settings' version {version} is newer than the database's {theirs}");
        Finding::warning(CHECK, told, "the next start of a server applies it")
    } else if version < theirs {
        let told = format!("the settings' version {version} is older than the database's {theirs}, which is in force");
        Finding::warning(CHECK, told, "give this server the settings that the others have")
    } else {
        Finding::ok(CHECK, format!("version {version} is in force"))
    }
}
