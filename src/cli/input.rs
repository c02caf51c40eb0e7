//! Where does a secret come from, if not from the arguments?
//!
//! From a file, from standard input, or from a person who is asked without an
//! echo. Arguments are seen by every process on the machine.

use std::{
    convert::Infallible,
    fmt, fs,
    io::{self, Read},
    path::PathBuf,
    str::FromStr,
};

use zeroize::Zeroizing;

use super::{Error, console::stdin_is_terminal};

/// More than any credential has; a device or a wrong file is not read whole.
const LIMIT: usize = 64 * 1024;

/// A file's name, or `-` for standard input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum SecretFile {
    Stdin,
    Path(PathBuf),
}

impl FromStr for SecretFile {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "-" => Self::Stdin,
            path => Self::Path(path.into()),
        })
    }
}

impl fmt::Display for SecretFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdin => f.write_str("standard input"),
            Self::Path(path) => path.display().fmt(f),
        }
    }
}

impl SecretFile {
    /// The secret, without the end of its line.
    pub(super) fn read(&self) -> Result<Zeroizing<String>, Error> {
        match self {
            // Typed, it would stand on the screen.
            Self::Stdin if stdin_is_terminal() => prompt("Secret: "),
            Self::Stdin => secret_from(io::stdin().lock()),
            Self::Path(path) => fs::File::open(path).and_then(secret_from),
        }
        .map_err(|source| Error::Read { what: self.to_string(), source })
    }
}

/// Asks without an echo.
pub(super) fn prompt(question: &str) -> io::Result<Zeroizing<String>> {
    rpassword::prompt_password(question).map(Zeroizing::new)
}

/// Asks for a new password, twice: nobody sees what was typed.
pub(super) fn new_password() -> Result<Zeroizing<String>, Error> {
    let ask = |question| prompt(question).map_err(|source| Error::Read { what: "the terminal".to_owned(), source });
    let password = ask("New password: ")?;
    if password.is_empty() {
        return Err(Error::Usage("a password is wanted; --remove leaves the account without one".to_owned()));
    }
    if password != ask("The same again: ")? {
        return Err(Error::Usage("these were two passwords; none was set".to_owned()));
    }
    Ok(password)
}

fn secret_from(source: impl Read) -> io::Result<Zeroizing<String>> {
    // Reserved whole, so that no copy is left behind by growing.
    let mut bytes = Zeroizing::new(Vec::with_capacity(LIMIT + 1));
    source.take(LIMIT as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > LIMIT {
        return Err(io::Error::other("too long for a secret"));
    }
    let text = str::from_utf8(&bytes).map_err(|_| io::Error::other("not text"))?;
    let line = text.strip_suffix('\n').unwrap_or(text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    if line.is_empty() {
        return Err(io::Error::other("there is nothing in it"));
    }
    Ok(Zeroizing::new(line.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Option<String> {
        secret_from(bytes).ok().map(|secret| secret.to_string())
    }

    #[test]
    fn one_line_end_is_taken_off() {
        for text in ["dt_x", "dt_x\n", "dt_x\r\n"] {
            assert_eq!(read(text.as_bytes()).as_deref(), Some("dt_x"), "{text:?}");
        }
        assert_eq!(read(b"dt_x\n\n").as_deref(), Some("dt_x\n"));
        assert_eq!(read(b" dt_x ").as_deref(), Some(" dt_x "));
    }

    #[test]
    fn what_holds_no_credential_is_refused() {
        assert_eq!(read(b""), None);
        assert_eq!(read(b"\n"), None);
        assert_eq!(read(b"\xff\xfe"), None);
        assert_eq!(read(&vec![b'a'; LIMIT + 1]), None);
        assert!(read(&vec![b'a'; LIMIT]).is_some());
        assert!(secret_from(io::repeat(b'a')).is_err());
    }

    #[test]
    fn a_dash_is_standard_input() {
        assert_eq!("-".parse(), Ok(SecretFile::Stdin));
        assert_eq!("./-".parse(), Ok(SecretFile::Path("./-".into())));
    }
}
