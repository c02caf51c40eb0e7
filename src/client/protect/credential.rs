//! Which credential does a request present? (RFC 6750, section 2.1)

use http::{HeaderMap, header::AUTHORIZATION};

use super::refusal::Refusal;

const API_KEY: &str = "x-api-key";

/// Longer ones are none: a session's token, the longest, has some 600 bytes.
const MAX_BYTES: usize = 4096;

/// The one credential, from `Authorization: Bearer` or `X-API-Key`.
///
/// # Errors
///
/// Where there is none, more than one, or something that can be none.
pub(super) fn of(headers: &HeaderMap) -> Result<&str, Refusal> {
    let (mut bearers, mut keys) = (headers.get_all(AUTHORIZATION).iter(), headers.get_all(API_KEY).iter());
    let presented = match (bearers.next(), bearers.next(), keys.next(), keys.next()) {
        (None, _, None, _) => return Err(Refusal::CredentialRequired),
        (None, _, Some(key), None) => key.as_bytes(),
        (Some(bearer), None, None, _) => bearer_token(bearer.as_bytes()).ok_or(Refusal::CredentialRequired)?,
        // Not more than one (RFC 6750, section 2), and which to believe is not ours to guess.
        _ => return Err(Refusal::SeveralCredentials),
    };
    let well_formed = (1..=MAX_BYTES).contains(&presented.len()) && presented.iter().all(u8::is_ascii_graphic);
    match str::from_utf8(presented) {
        Ok(credential) if well_formed => Ok(credential),
        _ => Err(Refusal::CredentialInvalid),
    }
}

/// What follows the scheme, whose case does not matter (RFC 9110, section 11.1).
fn bearer_token(value: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = value.split_at_checked("bearer".len())?;
    let is_bearer = scheme.eq_ignore_ascii_case(b"bearer") && matches!(rest, [] | [b' ', ..]);
    let spaces = rest.iter().take_while(|byte| **byte == b' ').count();
    is_bearer.then_some(&rest[spaces..])
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn presented(headers: &[(&'static str, &[u8])]) -> HeaderMap {
        headers
            .iter()
            .map(|(name, value)| {
                let value = HeaderValue::from_bytes(value).expect("a header can hold it");
                (name.parse::<http::HeaderName>().expect("a name"), value)
            })
            .collect()
    }

    #[test]
    fn either_header_presents_one() {
        for headers in
            [("authorization", &b"Bearer dt_x"[..]), ("authorization", b"bEARER   dt_x"), ("x-api-key", b"dt_x")]
        {
            assert_eq!(of(&presented(&[headers])).expect("there is one"), "dt_x", "{headers:?}");
        }
    }

    #[test]
    fn nothing_and_another_scheme_are_none() {
        for headers in [&[][..], &[("authorization", &b"Basic eA=="[..])], &[("authorization", b"Bearerish dt_x")]] {
            assert_eq!(of(&presented(headers)).expect_err("none"), Refusal::CredentialRequired, "{headers:?}");
        }
    }

    #[test]
    fn two_are_refused_whatever_they_are() {
        let (bearer, key) = (("authorization", &b"Bearer dt_x"[..]), ("x-api-key", &b"dt_x"[..]));
        let other = ("authorization", &b"Basic eA=="[..]);
        for headers in [[bearer, key], [bearer, bearer], [key, key], [other, key], [bearer, ("x-api-key", b"")]] {
            assert_eq!(of(&presented(&headers)).expect_err("two"), Refusal::SeveralCredentials, "{headers:?}");
        }
    }

    #[test]
    fn what_no_credential_looks_like_is_not_asked_for() {
        let long = [&b"Bearer "[..], &[b'x'; MAX_BYTES + 1]].concat();
        for value in [&b"Bearer"[..], b"Bearer ", b"Bearer a b", b"Bearer \xc3\xa9", b"Bearer \tx", &long] {
            let refused = of(&presented(&[("authorization", value)])).expect_err("refused");
            assert_eq!(refused, Refusal::CredentialInvalid, "{value:?}");
        }
        assert!(of(&presented(&[("authorization", &long[..long.len() - 1])])).is_ok());
    }
}
