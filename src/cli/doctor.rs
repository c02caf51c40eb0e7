//! `doctor`: is this host in order to serve?
//!
//! Exits with 0 where nothing fails, with 1 where something does or, with
//! `--strict`, is to be warned of.

use std::time::Duration;

use clap::Args;

use super::{
    Error, Exit,
    console::Console,
    server::{ServerArgs, runtime},
    values::parse_duration,
    view::Diagnosis,
};
use crate::{
    server::doctor::{self, Finding, Level},
    telemetry::told_of,
};

/// The options of `doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Warn of certificates that end within this time, for example 12h or 30d
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "30d")]
    expires_within: Duration,

    /// Fail where there is something to warn of as well
    #[arg(long)]
    strict: bool,

    #[command(flatten)]
    server: ServerArgs,
}

/// Looks, and shows what was found.
pub(super) fn run(args: &DoctorArgs, console: Console) -> Result<Exit, Error> {
    let findings = match args.server.load() {
        Ok(settings) => runtime()?.block_on(doctor::examine(&settings, args.expires_within)),
        Err(error) => {
            let advice = "correct it: nothing else can be looked at before";
            vec![Finding::failure("settings", told_of(&error), advice)]
        }
    };
    let worst = findings.iter().map(|finding| finding.level).max().unwrap_or(Level::Ok);
    console.show(&Diagnosis::from(findings))?;
    let tolerated = if args.strict { Level::Ok } else { Level::Warning };
    Ok(if worst > tolerated { Exit::Failure } else { Exit::Done })
}
