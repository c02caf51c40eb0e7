//! How are times, durations and the contract's enums written on the command
//! line and in output?
//!
//! One short name each way: what `--output json` says, an option takes.

use std::{fmt, time::Duration};

use clap::ValueEnum;
use prost_types::Timestamp;
use serde::{Serialize, Serializer};
use tonic::Code;

use crate::{proto::v1, telemetry::CallStatus};

/// Reads `90s`, `12h`, `30d`, `1d 12h`, as far as the contract's durations go.
pub(super) fn parse_duration(text: &str) -> Result<Duration, String> {
    // What the protobuf documentation allows: about 10,000 years.
    const MAX_SECONDS: u64 = 315_576_000_000;
    let duration = humantime::parse_duration(text).map_err(|error| format!("{error}; write for example 12h or 30d"))?;
    if duration.as_secs() > MAX_SECONDS {
        return Err("more than 10,000 years".to_owned());
    }
    Ok(duration)
}

/// As the contract has it.
pub(super) fn proto_duration(duration: Duration) -> prost_types::Duration {
    prost_types::Duration::try_from(duration).expect("the parser bounds durations")
}

/// Reads RFC 3339, with an offset: a time that does not say where is an hour
/// off for somebody.
pub(super) fn parse_time(text: &str) -> Result<Timestamp, String> {
    let whole = text
        .get(10..)
        .is_some_and(|time| time.starts_with(['T', 't']) && time.contains(['Z', 'z', '+', '-']) && !time.contains(' '));
    text.parse().ok().filter(|_| whole).ok_or_else(|| "write for example 2030-01-31T12:00:00Z".to_owned())
}

/// A time from the server, shown in RFC 3339.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Time(pub(super) Timestamp);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A duration as proto3's JSON has it: `1.5s`.
pub(super) fn seconds(duration: Duration) -> String {
    format!("{}s", duration.as_secs_f64())
}

/// gRPC's name of a code.
pub(super) fn code_name(code: Code) -> &'static str {
    CallStatus::of(code.into()).name()
}

/// Which tokens to list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum State {
    Active,
    Expired,
    Revoked,
    Suspended,
}

impl From<State> for v1::TokenState {
    fn from(state: State) -> Self {
        match state {
            State::Active => Self::Active,
            State::Expired => Self::Expired,
            State::Revoked => Self::Revoked,
            State::Suspended => Self::Suspended,
        }
    }
}

/// Why a credential is revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Reason {
    OwnerRequest,
    Superseded,
    Compromised,
    CeasedOperation,
    Administrative,
}

impl From<Reason> for v1::RevocationReason {
    fn from(reason: Reason) -> Self {
        match reason {
            Reason::OwnerRequest => Self::OwnerRequest,
            Reason::Superseded => Self::Superseded,
            Reason::Compromised => Self::Compromised,
            Reason::CeasedOperation => Self::CeasedOperation,
            Reason::Administrative => Self::Administrative,
        }
    }
}

/// As the contract's field has it; none leaves it to the server.
pub(super) fn reason_field(reason: Option<Reason>) -> i32 {
    reason.map_or(v1::RevocationReason::Unspecified, Into::into).into()
}

/// What a service credential may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Role {
    /// Introspects
    Introspector,
    /// Everything on tokens, for any account
    Issuer,
    /// Signs people in by password
    Login,
    /// Opens sessions for accounts that it has established itself
    TrustedLogin,
    /// Keeps accounts
    AccountWriter,
    /// Reads everything, and sees reasons
    Auditor,
    /// All of it, and service credentials
    Admin,
}

impl From<Role> for v1::ServiceRole {
    fn from(role: Role) -> Self {
        match role {
            Role::Introspector => Self::Introspector,
            Role::Issuer => Self::Issuer,
            Role::Login => Self::Login,
            Role::TrustedLogin => Self::TrustedLogin,
            Role::AccountWriter => Self::AccountWriter,
            Role::Auditor => Self::Auditor,
            Role::Admin => Self::Admin,
        }
    }
}

/// The short name of a token's state.
pub(super) fn state_name(value: i32) -> String {
    let known = v1::TokenState::try_from(value).ok();
    short_name(value, known.map(|known| known.as_str_name()), "TOKEN_STATE_")
}

/// The short name of a kind of credential.
pub(super) fn kind_name(value: i32) -> String {
    let known = v1::CredentialKind::try_from(value).ok();
    short_name(value, known.map(|known| known.as_str_name()), "CREDENTIAL_KIND_")
}

/// The short name of a service credential's role.
pub(super) fn role_name(value: i32) -> String {
    let known = v1::ServiceRole::try_from(value).ok();
    short_name(value, known.map(|known| known.as_str_name()), "SERVICE_ROLE_")
}

/// The short name of a reason to revoke; none where none was given.
pub(super) fn reason_name(value: i32) -> Option<String> {
    let known = v1::RevocationReason::try_from(value).ok();
    (known != Some(v1::RevocationReason::Unspecified))
        .then(|| short_name(value, known.map(|known| known.as_str_name()), "REVOCATION_REASON_"))
}

/// `SERVICE_ROLE_TRUSTED_LOGIN` is `trusted-login`; a value that a newer server
/// sends is shown by its number.
fn short_name(value: i32, known: Option<&'static str>, prefix: &str) -> String {
    known.map_or_else(
        || format!("unknown-{value}"),
        |name| name.strip_prefix(prefix).unwrap_or(name).to_ascii_lowercase().replace('_', "-"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        for (text, seconds) in [("30s", 30), ("12h", 43_200), ("30d", 2_592_000), ("1d 12h", 129_600), ("0s", 0)] {
            assert_eq!(parse_duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "30", "d", "-1d", "30 parsecs", "18446744073709551615s"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_longest_duration_fits_the_contract() {
        let longest = parse_duration("315576000000s").expect("10,000 years");
        assert_eq!(proto_duration(longest).seconds, 315_576_000_000);
        assert!(parse_duration("315576000001s").is_err());
    }

    #[test]
    fn times_are_read_with_their_offset() {
        for text in ["2030-01-31T12:00:00Z", "2030-01-31T14:00:00+02:00", "2030-01-31T09:30:00-02:30"] {
            let time = parse_time(text).expect("RFC 3339");
            assert_eq!(Time(time).to_string(), "2030-01-31T12:00:00Z", "{text}");
        }
        let micros = parse_time("2030-01-31T12:00:00.000001Z").expect("RFC 3339");
        assert_eq!(Time(micros).to_string(), "2030-01-31T12:00:00.000001Z");
    }

    #[test]
    fn times_that_do_not_say_where_are_refused() {
        for text in [
            "",
            "2030-01-31",
            "2030-01-31T12:00:00",
            "2030-01-31 12:00:00Z",
            "2030-02-31T12:00:00Z",
            "tomorrow",
            "2030-01-3\u{e9}T12:00:00Z",
        ] {
            assert!(parse_time(text).is_err(), "{text}");
        }
    }

    #[test]
    fn times_out_of_range_are_shown_without_a_panic() {
        let extreme = Timestamp { seconds: i64::MAX, nanos: i32::MIN };
        assert!(!Time(extreme).to_string().is_empty());
    }

    #[test]
    fn options_take_the_names_that_output_shows() {
        for state in State::value_variants() {
            let shown = state_name(v1::TokenState::from(*state).into());
            assert_eq!(shown, option_name(state));
        }
        for role in Role::value_variants() {
            let shown = role_name(v1::ServiceRole::from(*role).into());
            assert_eq!(shown, option_name(role));
        }
        for reason in Reason::value_variants() {
            let shown = reason_name(v1::RevocationReason::from(*reason).into());
            assert_eq!(shown, Some(option_name(reason)));
        }
    }

    fn option_name(value: &impl ValueEnum) -> String {
        let possible = value.to_possible_value().expect("none is hidden");
        possible.get_name().to_owned()
    }

    #[test]
    fn values_of_a_newer_server_are_shown_by_number() {
        assert_eq!(state_name(99), "unknown-99");
        assert_eq!(kind_name(2), "service");
        assert_eq!(reason_name(0), None);
        assert_eq!(reason_name(99).as_deref(), Some("unknown-99"));
    }

    #[test]
    fn seconds_are_written_as_in_proto3_json() {
        assert_eq!(seconds(Duration::from_millis(1500)), "1.5s");
        assert_eq!(seconds(Duration::from_secs(3)), "3s");
    }
}
