//! What does a request bring? Its body is read once its caller is known, up to a
//! bound, and only where it says that it is of the kind that the door takes.

use axum::{
    body::{Body, to_bytes},
    http::{
        StatusCode,
        header::{CONTENT_ENCODING, CONTENT_TYPE},
        request::Parts,
    },
};
use bytes::Bytes;
use serde::de::DeserializeOwned;

use super::trouble::Trouble;

/// More than any request of ours has to say.
const MAX_BYTES: usize = 64 * 1024;

pub(super) const FORM: &str = "application/x-www-form-urlencoded";
pub(super) const JSON: &str = "application/json";

/// The body of a request of this media type.
pub(super) async fn read(head: &Parts, body: Body, media_type: &str) -> Result<Bytes, Trouble> {
    if !is_of(head, media_type) || head.headers.contains_key(CONTENT_ENCODING) {
        let problem = format!("a body of the content type {media_type} is wanted, and no content encoding");
        return Err(Trouble::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "UNSUPPORTED_MEDIA_TYPE", problem));
    }
    to_bytes(body, MAX_BYTES).await.map_err(|error| {
        let is_too_large =
            std::error::Error::source(&error).is_some_and(|source| source.is::<http_body_util::LengthLimitError>());
        if is_too_large {
            let problem = format!("at most {MAX_BYTES} bytes are wanted");
            Trouble::new(StatusCode::PAYLOAD_TOO_LARGE, "MESSAGE_TOO_LARGE", problem)
        } else {
            Trouble::malformed("the body could not be read")
        }
    })
}

/// The same of JSON. What is wrong with it is not told: that would show it.
pub(super) async fn read_json<T: DeserializeOwned>(head: &Parts, body: Body, wanted: &str) -> Result<T, Trouble> {
    let bytes = read(head, body, JSON).await?;
    serde_json::from_slice(&bytes).map_err(|_| Trouble::malformed(format!("{wanted} is wanted, in JSON")))
}

/// Whatever its parameters.
fn is_of(head: &Parts, media_type: &str) -> bool {
    let mut values = head.headers.get_all(CONTENT_TYPE).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return false;
    };
    let named = value.to_str().ok().and_then(|value| value.split(';').next());
    named.is_some_and(|named| named.trim().eq_ignore_ascii_case(media_type))
}
