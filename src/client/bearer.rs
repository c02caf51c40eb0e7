//! Which strings can be sent as a bearer token, and how is one kept secret?

use std::{fmt, sync::Arc};

use zeroize::Zeroizing;

/// A credential to call with: visible ASCII, never empty.
///
/// Its form is not checked further: the server alone knows which kinds of
/// credential it takes.
#[derive(Clone)]
pub struct BearerToken(Arc<Zeroizing<String>>);

impl BearerToken {
    /// Takes a credential as it was handed out, without `Bearer `.
    ///
    /// # Errors
    ///
    /// Where it is empty, or holds a character that a header cannot carry.
    pub fn new(credential: impl Into<String>) -> Result<Self, InvalidBearerToken> {
        let credential = Zeroizing::new(credential.into());
        if credential.is_empty() {
            return Err(InvalidBearerToken::Empty);
        }
        if !credential.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(InvalidBearerToken::Character);
        }
        Ok(Self(Arc::new(credential)))
    }

    /// The credential itself, for the one header that carries it.
    pub(super) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for BearerToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BearerToken([redacted])")
    }
}

/// Why a string cannot be sent as a bearer token. Never says what it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidBearerToken {
    /// There is nothing in it.
    #[error("the credential is empty")]
    Empty,
    /// White space, a control character or something beyond ASCII.
    #[error("the credential holds white space or another character that no credential has")]
    Character,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_nothing_of_the_credential() {
        let token = BearerToken::new("dt_verysecret").expect("well-formed");
        assert_eq!(format!("{token:?}"), "BearerToken([redacted])");
        assert_eq!(format!("{token:#?}"), "BearerToken([redacted])");
    }

    #[test]
    fn what_a_header_cannot_carry_is_refused() {
        assert_eq!(BearerToken::new("").expect_err("refused"), InvalidBearerToken::Empty);
        for credential in ["dt_a b", "dt_a\n", " dt_a", "dt_\0", "dt_\u{e9}", "dt_\x7f"] {
            assert_eq!(
                BearerToken::new(credential).expect_err("refused"),
                InvalidBearerToken::Character,
                "{credential:?}"
            );
        }
    }
}
