//! Files that only their owner may read.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, fchown},
    path::Path,
};

use zeroize::Zeroizing;

use super::Error;
use crate::random;

/// What becomes of a file that is there already.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Existing {
    Keep,
    Refuse,
    Replace,
    /// It is replaced, by one of the same owner and mode: who read it before
    /// reads it now.
    Amend,
}

pub(super) fn failed(verb: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::File { verb, path: path.to_owned(), source }
}

/// Reads a file; none where there is none.
pub(super) fn read(path: &Path) -> Result<Option<Zeroizing<String>>, Error> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(Zeroizing::new(text))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed("read", path)(error)),
    }
}

/// Reads a file, and says where others than its owner may read it.
pub(super) fn read_private(path: &Path) -> Result<Option<Zeroizing<String>>, Error> {
    let Some(text) = read(path)? else {
        return Ok(None);
    };
    let metadata = fs::metadata(path).map_err(failed("read", path))?;
    if is_exposed(&metadata) {
        let mode = format!("{:03o}", metadata.mode() & 0o777);
        tracing::warn!(path = %path.display(), mode, "others than its owner may read this file");
    }
    Ok(Some(text))
}

/// Whether others may read or write a file than those it is meant for.
pub(crate) fn is_exposed(metadata: &fs::Metadata) -> bool {
    exposes(metadata.mode(), metadata.uid() == rustix::process::geteuid().as_raw())
}

/// An orchestrator mounts a secret as a file of root's that its pod's group may
/// read, in which nobody else is. Of a file of one's own, no group needs anything.
fn exposes(mode: u32, is_own: bool) -> bool {
    mode & if is_own { 0o077 } else { 0o007 } != 0
}

/// Writes a file that only its owner may read, whole or not at all, and syncs
/// it.
pub(super) fn write_private(path: &Path, text: &str, existing: Existing) -> Result<(), Error> {
    let amended = match existing {
        // Not a link to it.
        Existing::Amend => Some(fs::canonicalize(path).map_err(failed("write", path))?),
        Existing::Keep | Existing::Refuse | Existing::Replace => None,
    };
    let path = amended.as_deref().unwrap_or(path);
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(directory).map_err(failed("write", path))?;
    let temporary = path.with_added_extension(format!("{:016x}", u64::from_ne_bytes(random::bytes())));
    let write = || {
        let mut file = File::options().write(true).create_new(true).mode(0o600).open(&temporary)?;
        if existing == Existing::Amend {
            let (before, now) = (fs::metadata(path)?, file.metadata()?);
            if (before.uid(), before.gid()) != (now.uid(), now.gid()) {
                fchown(&file, Some(before.uid()), Some(before.gid()))?;
            }
            file.set_permissions(before.permissions())?;
        }
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        match existing {
            Existing::Replace | Existing::Amend => fs::rename(&temporary, path)?,
            Existing::Refuse | Existing::Keep => match fs::hard_link(&temporary, path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && existing == Existing::Keep => {}
                other => other?,
            },
        }
        let _ = fs::remove_file(&temporary);
        File::open(directory)?.sync_all()
    };
    write().map_err(|error| {
        let _ = fs::remove_file(&temporary);
        failed("write", path)(error)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_may_read_what_is_mounted_for_it() {
        for (mode, is_own, exposed) in [
            (0o100_600, true, false),
            (0o100_400, true, false),
            (0o100_640, true, true),
            (0o100_604, true, true),
            (0o100_440, false, false),
            (0o100_640, false, false),
            (0o100_444, false, true),
        ] {
            assert_eq!(exposes(mode, is_own), exposed, "{mode:o}, its own: {is_own}");
        }
    }
}
