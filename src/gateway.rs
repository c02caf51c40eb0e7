//! May a request go on that a gateway holds? Whichever door a gateway asks at, the
//! request's credential stands in the same places, it is refused in the same words
//! (RFC 6750, section 3), and whoever gets it is told of its account by the same
//! headers.

use http::StatusCode;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde::Serialize;
use zeroize::Zeroizing;

use crate::{
    domain::{
        account::{Username, Word},
        credential::Kind,
        scope::Scopes,
    },
    introspection::Active,
};

/// Where a request's credential stands, with the scheme Bearer before it (RFC
/// 6750, section 2.1).
pub const AUTHORIZATION: &str = "authorization";
/// Or there, as it is.
pub const API_KEY: &str = "x-api-key";

/// What does not stand in a header as it is: only visible ASCII and spaces can be
/// relied on (RFC 9110, section 5.5).
const HIDDEN: &AsciiSet = &CONTROLS.add(b'%');

/// What a request shows of whom it is from.
#[derive(Debug)]
pub enum Subject {
    /// Nothing that is taken here.
    Nobody,
    /// More than one credential, or one twice: which of them counts is not guessed.
    Several,
    /// One credential, exactly as it was presented.
    Somebody(Zeroizing<String>),
}

impl Subject {
    /// By all values of the two headers.
    pub fn of<'a>(
        authorization: impl IntoIterator<Item = &'a [u8]>,
        api_key: impl IntoIterator<Item = &'a [u8]>,
    ) -> Self {
        let authorization = authorization.into_iter().map(|value| (value, true));
        let mut shown = authorization.chain(api_key.into_iter().map(|value| (value, false)));
        let Some((value, has_scheme)) = shown.next() else {
            return Self::Nobody;
        };
        if shown.next().is_some() {
            return Self::Several;
        }
        // What is no text is nobody's, like any other that is malformed.
        let text = str::from_utf8(value).unwrap_or_default();
        if !has_scheme {
            return Self::Somebody(Zeroizing::new(text.to_owned()));
        }
        match text.split_once(' ') {
            Some((scheme, bearer)) if scheme.eq_ignore_ascii_case("bearer") => {
                Self::Somebody(Zeroizing::new(bearer.trim_matches(' ').to_owned()))
            }
            // Of another scheme: what is taken here was not tried.
            Some(_) | None => Self::Nobody,
        }
    }
}

/// Why a request goes no further.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denial {
    /// It shows no credential.
    NoCredential,
    /// It shows several.
    SeveralCredentials,
    /// The one that it shows is not good.
    BadCredential,
    /// That lacks these of the scopes that are wanted.
    InsufficientScope(Scopes),
    /// The gateway asks what makes no sense. That is not the client's fault, and
    /// lets nobody through.
    SenselessQuestion,
}

impl Denial {
    /// The status of the answer to the client.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::NoCredential | Self::SeveralCredentials | Self::BadCredential => StatusCode::UNAUTHORIZED,
            Self::InsufficientScope(_) => StatusCode::FORBIDDEN,
            Self::SenselessQuestion => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// A constant, for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoCredential => "CREDENTIAL_REQUIRED",
            Self::SeveralCredentials => "CREDENTIAL_AMBIGUOUS",
            Self::BadCredential => "CREDENTIAL_INVALID",
            Self::InsufficientScope(_) => "INSUFFICIENT_SCOPE",
            Self::SenselessQuestion => "GATEWAY_REQUEST_MALFORMED",
        }
    }

    /// The same for people.
    pub fn message(&self) -> &'static str {
        match self {
            Self::NoCredential => "a credential is wanted",
            Self::SeveralCredentials => "one credential is wanted",
            Self::BadCredential => "the credential is not good",
            Self::InsufficientScope(_) => "Insufficient scope",
            Self::SenselessQuestion => "the gateway asks what makes no sense",
        }
    }

    /// The `WWW-Authenticate` of the answer (RFC 6750, section 3): without an error
    /// where nothing was tried.
    pub fn challenge(&self) -> Option<String> {
        const BEARER: &str = r#"Bearer realm="token-authority""#;

        let with_error = |error: &str| Some(format!(r#"{BEARER}, error="{error}""#));
        match self {
            Self::NoCredential => Some(BEARER.to_owned()),
            Self::SeveralCredentials => with_error("invalid_request"),
            Self::BadCredential => with_error("invalid_token"),
            // Scopes hold neither quotation mark nor backslash.
            Self::InsufficientScope(missing) => {
                Some(format!(r#"{BEARER}, error="insufficient_scope", scope="{missing}""#))
            }
            Self::SenselessQuestion => None,
        }
    }

    /// The body of the answer, in JSON.
    pub fn body(&self) -> String {
        #[derive(Serialize)]
        struct Body {
            error: &'static str,
            code: &'static str,
        }

        serde_json::to_string(&Body { error: self.message(), code: self.code() }).expect("it is text")
    }
}

/// What whoever gets a request is told of whose it is, by the names of headers; in
/// the place of characters that cannot stand in one, the percent-encoding of their
/// UTF-8 (RFC 3986, section 2.1). All are there each time, if empty: a client's own
/// of the same names are to be replaced or removed.
pub fn identity(active: &Active) -> [(&'static str, String); 7] {
    let Active { record, holder, scopes, missing: _, plan } = active;
    let account = &holder.account;
    let roles: Vec<_> = account.roles.iter().map(Word::as_str).collect();
    let username = account.username.as_ref().map(Username::shown).unwrap_or_default();
    [
        ("x-token-authority-account-id", account.id.to_string()),
        ("x-token-authority-username", username.to_owned()),
        ("x-token-authority-token-id", record.id.to_string()),
        ("x-token-authority-kind", kind(record.kind).to_owned()),
        ("x-token-authority-scopes", scopes.to_string()),
        ("x-token-authority-roles", roles.join(" ")),
        ("x-token-authority-plan", plan.clone().unwrap_or_default()),
    ]
    .map(|(name, value)| (name, utf8_percent_encode(&value, HIDDEN).to_string()))
}

/// A kind of credential as gateways know it.
pub fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Personal => "personal",
        Kind::Service => "service",
        Kind::DesktopSession => "desktop_session",
        Kind::WebSession => "web_session",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(authorization: &[&str], api_key: &[&str]) -> Subject {
        let bytes = |values: &[&str]| values.iter().map(|value| value.as_bytes().to_vec()).collect::<Vec<_>>();
        let (authorization, api_key) = (bytes(authorization), bytes(api_key));
        Subject::of(authorization.iter().map(Vec::as_slice), api_key.iter().map(Vec::as_slice))
    }

    #[test]
    fn one_credential_is_taken_as_it_is() {
        for (authorization, api_key, expected) in [
            (&["Bearer x"][..], &[][..], "x"),
            (&["bEARER  x "], &[], "x"),
            (&["Bearer x,Bearer y"], &[], "x,Bearer y"),
            (&[], &["x y"], "x y"),
            (&[], &["Bearer x"], "Bearer x"),
        ] {
            let Subject::Somebody(credential) = subject(authorization, api_key) else {
                panic!("{authorization:?} {api_key:?}")
            };
            assert_eq!(credential.as_str(), expected);
        }
        let Subject::Somebody(unreadable) = Subject::of([], [&b"\xff"[..]]) else { panic!("it is there") };
        assert_eq!(unreadable.as_str(), "");
    }

    #[test]
    fn what_is_no_bearer_is_nobody() {
        for authorization in [&[][..], &["Basic eDp5"], &["Bearer"], &["x"], &[""]] {
            assert!(matches!(subject(authorization, &[]), Subject::Nobody), "{authorization:?}");
        }
    }

    #[test]
    fn two_credentials_are_one_too_many() {
        for (authorization, api_key) in [
            (&["Bearer x"][..], &["x"][..]),
            (&["Basic eDp5"], &["x"]),
            (&[""], &[""]),
            (&["Bearer x", "Bearer x"], &[]),
            (&[], &["x", "x"]),
        ] {
            assert!(matches!(subject(authorization, api_key), Subject::Several), "{authorization:?} {api_key:?}");
        }
    }

    #[test]
    fn refusals_are_told_as_the_standard_has_it() {
        let missing: Scopes = "b a".parse().expect("scopes");
        for (denial, status, challenge, body) in [
            (
                Denial::NoCredential,
                401,
                Some(r#"Bearer realm="token-authority""#),
                r#"{"error":"a credential is wanted","code":"CREDENTIAL_REQUIRED"}"#,
            ),
            (
                Denial::SeveralCredentials,
                401,
                Some(r#"Bearer realm="token-authority", error="invalid_request""#),
                r#"{"error":"one credential is wanted","code":"CREDENTIAL_AMBIGUOUS"}"#,
            ),
            (
                Denial::BadCredential,
                401,
                Some(r#"Bearer realm="token-authority", error="invalid_token""#),
                r#"{"error":"the credential is not good","code":"CREDENTIAL_INVALID"}"#,
            ),
            (
                Denial::InsufficientScope(missing),
                403,
                Some(r#"Bearer realm="token-authority", error="insufficient_scope", scope="a b""#),
                r#"{"error":"Insufficient scope","code":"INSUFFICIENT_SCOPE"}"#,
            ),
            (
                Denial::SenselessQuestion,
                500,
                None,
                r#"{"error":"the gateway asks what makes no sense","code":"GATEWAY_REQUEST_MALFORMED"}"#,
            ),
        ] {
            assert_eq!(denial.status().as_u16(), status);
            assert_eq!(denial.challenge().as_deref(), challenge);
            assert_eq!(denial.body(), body);
        }
    }
}
