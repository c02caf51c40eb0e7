//! Programs that the tests need and do not bring: `scripts/install-…` finds or
//! installs them.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// The path that this script of `scripts/` prints.
pub(crate) fn install(script: &str) -> PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts").join(script);
    // It says what it installs, and what to do where it cannot.
    let output = Command::new(&script).stderr(Stdio::inherit()).output().expect("it runs");
    assert!(output.status.success(), "{} failed: see what it printed", script.display());
    PathBuf::from(String::from_utf8_lossy(&output.stdout).trim_end())
}
