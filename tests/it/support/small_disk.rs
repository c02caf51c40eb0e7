//! A directory that is a small file system of its own to one process and those that it
//! starts; it goes with them.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::postgres::Postgres;

/// Whom a command is to take itself for.
#[derive(Clone, Copy)]
pub(crate) struct Identity {
    uid: u32,
    gid: u32,
}

/// The command with such a directory of so many MiB; none: whoever may mount it.
/// Needs util-linux and, where the tests do not run as root, user namespaces.
pub(crate) fn within(directory: &Path, mib: u32, identity: Option<Identity>, command: &Command) -> Command {
    let is_root = rustix::process::geteuid().is_root();
    let mut options = format!("size={mib}m");
    let mut within = Command::new("unshare");
    if !is_root {
        within.args(["--user", "--map-root-user"]);
    }
    let become_it = match identity {
        None => Vec::new(),
        Some(Identity { uid, gid }) if is_root => {
            options = format!("{options},uid={uid},gid={gid},mode=0700");
            let [uid, gid] = [format!("--reuid={uid}"), format!("--regid={gid}")];
            vec!["setpriv".to_owned(), uid, gid, "--clear-groups".to_owned()]
        }
        Some(Identity { uid, gid }) => {
            let [uid, gid] = [format!("--map-user={uid}"), format!("--map-group={gid}")];
            vec!["unshare".to_owned(), "--user".to_owned(), uid, gid]
        }
    };
    within
        .args(["--mount", "sh", "-c", r#"mount -t tmpfs -o "$1" tmpfs "$0" && shift && exec "$@""#])
        .arg(directory)
        .arg(options)
        .args(become_it)
        .arg(command.get_program())
        .args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => within.env(name, value),
            None => within.env_remove(name),
        };
    }
    if let Some(directory) = command.get_current_dir() {
        within.current_dir(directory);
    }
    within
}

const POSTGRES_MIB: u32 = 1;

/// A cluster whose server has such a directory, and where that is.
pub(crate) fn postgres() -> (Postgres, PathBuf) {
    let cluster = Postgres::start_around(|directory, user, pg_ctl| {
        let small = directory.join("small");
        let _ = fs::create_dir(&small);
        let (uid, gid) =
            user.unwrap_or_else(|| (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw()));
        within(&small, POSTGRES_MIB, Some(Identity { uid, gid }), &pg_ctl)
    });
    let small = cluster.directory().join("small");
    (cluster, small)
}
