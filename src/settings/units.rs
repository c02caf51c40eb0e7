//! Spans of time as people write them, and a URL that hides its password.

use std::{fmt, path::PathBuf, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::{
    domain::time::Lifetime,
    store::{Location, Url},
};

/// A span of time, as `30s`, `1h 30m` or `365days`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(pub Duration);

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        const DAY: u64 = 24 * 60 * 60;

        // Days as days: months and years have no one length.
        match (self.0.as_secs(), self.0.subsec_nanos()) {
            (seconds, 0) if seconds > 0 && seconds % DAY == 0 => {
                let days = seconds / DAY;
                serializer.collect_str(&format_args!("{days}day{}", if days == 1 { "" } else { "s" }))
            }
            _ => serializer.collect_str(&humantime::format_duration(self.0)),
        }
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        humantime::parse_duration(&text).map(Self).map_err(|error| {
            de::Error::custom(format!("{text:?} is not a span of time such as \"30s\" or \"365days\": {error}"))
        })
    }
}

/// A span of time, or `never`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanOrNever {
    /// So long.
    Span(Span),
    /// Without end.
    Never,
}

impl Serialize for SpanOrNever {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Span(span) => span.serialize(serializer),
            Self::Never => serializer.serialize_str("never"),
        }
    }
}

impl<'de> Deserialize<'de> for SpanOrNever {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text == "never" {
            return Ok(Self::Never);
        }
        let span = Span::deserialize(de::value::StrDeserializer::<D::Error>::new(&text))?;
        if span.0.is_zero() {
            return Err(de::Error::custom("more than nothing, or \"never\", is wanted"));
        }
        Ok(Self::Span(span))
    }
}

impl From<SpanOrNever> for Lifetime {
    fn from(span: SpanOrNever) -> Self {
        match span {
            SpanOrNever::Span(Span(span)) => Self::For(span),
            SpanOrNever::Never => Self::Never,
        }
    }
}

/// A database's URL, which prints without its password.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct DatabaseUrl(String);

impl DatabaseUrl {
    /// A URL as it was given.
    pub fn new(url: impl Into<String>) -> Self {
        Self(url.into())
    }

    pub(super) fn location(&self) -> Result<Location, String> {
        if let Some(path) = self.0.strip_prefix("sqlite:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            return if path.is_empty() || path.contains(['?', '#']) || path == ":memory:" {
                Err("sqlite:PATH is wanted, the path of a file".to_owned())
            } else {
                Ok(Location::Sqlite(PathBuf::from(path)))
            };
        }
        if self.0.starts_with("postgres://") || self.0.starts_with("postgresql://") {
            return Ok(Location::Postgres(Url::new(&self.0)));
        }
        Err("sqlite:PATH or postgres://USER:PASSWORD@HOST/DATABASE is wanted".to_owned())
    }

    /// The URL without what may be secret in it: the password, and the query's
    /// values.
    fn redacted(&self) -> String {
        let without_query = |text: &str| match text.split_once('?') {
            Some((text, _)) => format!("{text}?…"),
            None => text.to_owned(),
        };
        let Some((scheme, rest)) = self.0.split_once("://") else {
            return without_query(&self.0);
        };
        // A password may hold a question mark: what stands before the last @ is
        // looked at first.
        match rest.rsplit_once('@') {
            None => format!("{scheme}://{}", without_query(rest)),
            Some((user, host)) => {
                let user = user.split_once(':').map_or(user.to_owned(), |(user, _)| format!("{user}:…"));
                format!("{scheme}://{user}@{}", without_query(host))
            }
        }
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DatabaseUrl({})", self.redacted())
    }
}

impl Serialize for DatabaseUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.redacted())
    }
}
