//! Which pages may call?

use http::{HeaderValue, Uri};
use serde::{Deserialize, Serialize};

use super::{
    Settings,
    check::{InvalidSetting, invalid},
};

/// Calls from browsers, by gRPC-Web. They are taken where there is an origin.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Web {
    /// The origins of the pages that may call, such as `https://app.example.com`.
    pub allowed_origins: Vec<String>,
}

impl Settings {
    /// The origins of pages that may call by gRPC-Web (RFC 6454, section 6.2).
    pub fn web_origins(&self) -> Result<Vec<HeaderValue>, InvalidSetting> {
        let origin = |text: &String| {
            let value = HeaderValue::from_str(text).ok().filter(|_| is_origin(text));
            value.ok_or_else(|| {
                let problem = format!("{text:?}: an origin is wanted, as browsers send it: https://app.example.com");
                invalid("grpc.web.allowed_origins")(problem)
            })
        };
        self.grpc.web.allowed_origins.iter().map(origin).collect()
    }
}

/// Whether it is an origin in the one form that browsers send: in lower case, with
/// neither path nor default port.
fn is_origin(text: &str) -> bool {
    let Ok(uri) = text.parse::<Uri>() else {
        return false;
    };
    let (Some(scheme @ ("http" | "https")), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return false;
    };
    let default_port = if scheme == "http" { 80 } else { 443 };
    let is_whole = text == format!("{scheme}://{authority}");
    let is_plain = !authority.as_str().contains('@') && authority.port_u16() != Some(default_port);
    // A wildcard would be compared as it stands, and match nothing.
    is_whole && is_plain && !text.bytes().any(|byte| byte.is_ascii_uppercase() || byte == b'*')
}
