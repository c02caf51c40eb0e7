//! By which name does the log know a request?

use std::{fmt, sync::Arc};

use http::{HeaderMap, HeaderName, HeaderValue};

/// The id of a request: the caller's own `x-request-id` if it is 1 to 128
/// visible ASCII characters, else a random one. It goes back with the reply.
#[derive(Clone, Debug)]
pub struct RequestId(Arc<str>);

impl RequestId {
    /// Where it stands.
    pub const HEADER: HeaderName = HeaderName::from_static("x-request-id");

    /// The id of a request with these headers.
    pub fn of(headers: &HeaderMap) -> Self {
        let given = headers.get(Self::HEADER).and_then(|value| value.to_str().ok());
        let given = given.filter(|id| (1..=128).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic()));
        Self(given.map_or_else(|| uuid::Uuid::new_v4().to_string().into(), Into::into))
    }

    /// The text; its copies share it.
    pub fn shared(&self) -> Arc<str> {
        self.0.clone()
    }

    /// Tells it with a reply.
    pub fn tell(&self, headers: &mut HeaderMap) {
        if let Ok(mut id) = HeaderValue::from_str(&self.0) {
            // It will not come again: the connection need not remember it (RFC
            // 7541, section 6.2.3).
            id.set_sensitive(true);
            headers.insert(Self::HEADER, id);
        }
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_request_ids_are_taken_over() {
        let id_of = |given: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(RequestId::HEADER, HeaderValue::from_str(given).expect("a header"));
            RequestId::of(&headers).to_string()
        };
        assert_eq!(id_of("abc-1"), "abc-1");
        for bad in ["", "a b", &"a".repeat(129)] {
            assert_ne!(id_of(bad), bad);
        }
    }
}
