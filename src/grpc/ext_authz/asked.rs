//! What does Envoy ask? Where a request came from is what Envoy itself saw, or
//! what a trusted proxy before it said; what it needs is what its route says.
//! All else in it is a client's word.

use std::collections::HashMap;

use envoy_types::pb::envoy::{
    config::core::v3::{HeaderValue, address::Address},
    service::auth::v3::{
        AttributeContext, CheckRequest,
        attribute_context::{HttpRequest, Peer},
    },
};

use crate::{
    domain::{forwarded::TrustedProxies, network::ClientAddress, scope::Scopes},
    gateway::{API_KEY, AUTHORIZATION, Subject},
};

/// The context extension that says which scopes a route wants, all of them,
/// separated by spaces.
const REQUIRED_SCOPES: &str = "required_scopes";
/// Where proxies before Envoy say where a request came from.
const FORWARDED_FOR: &str = "x-forwarded-for";

/// A question of Envoy's.
pub(super) struct Asked {
    /// Whom the request is from.
    pub(super) subject: Subject,
    /// Where it came from, if that is known.
    pub(super) client_address: Option<ClientAddress>,
    /// What it needs; or, for the log, why that cannot be told.
    pub(super) required_scopes: Result<Scopes, String>,
}

impl Asked {
    pub(super) fn of(request: CheckRequest, proxies: &TrustedProxies) -> Self {
        let AttributeContext { source, request, context_extensions, .. } = request.attributes.unwrap_or_default();
        let http = request.and_then(|request| request.http).unwrap_or_default();
        let [authorization, api_key, forwarded] =
            [AUTHORIZATION, API_KEY, FORWARDED_FOR].map(|name| values(&http, name));
        Self {
            subject: Subject::of(authorization, api_key),
            client_address: source
                .as_ref()
                .and_then(address)
                .and_then(|peer| proxies.client(peer, forwarded.into_iter())),
            required_scopes: required_scopes(&context_extensions),
        }
    }
}

/// The values of a header: Envoy has joined them in `headers`, or leaves them as
/// they came in `header_map`, where it is set to.
fn values<'a>(http: &'a HttpRequest, name: &str) -> Vec<&'a [u8]> {
    let joined = http.headers.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name));
    let raw = http.header_map.iter().flat_map(|map| &map.headers);
    let raw = raw.filter(|header| header.key.eq_ignore_ascii_case(name)).map(value);
    joined.map(|(_, value)| value.as_bytes()).chain(raw).collect()
}

fn value(header: &HeaderValue) -> &[u8] {
    if header.raw_value.is_empty() { header.value.as_bytes() } else { &header.raw_value }
}

/// Who is at the other end of Envoy's connection; none: no address of the
/// Internet's.
fn address(peer: &Peer) -> Option<ClientAddress> {
    match peer.address.as_ref()?.address.as_ref()? {
        Address::SocketAddress(socket) => socket.address.parse().ok(),
        Address::Pipe(_) | Address::EnvoyInternalAddress(_) => None,
    }
}

/// What the route wants. A name that is not known here may be a misspelt one, and
/// would open the route to every good credential.
fn required_scopes(extensions: &HashMap<String, String>) -> Result<Scopes, String> {
    if let Some(unknown) = extensions.keys().find(|name| *name != REQUIRED_SCOPES) {
        return Err(format!("{unknown:?} is not known: {REQUIRED_SCOPES} is"));
    }
    let scopes = extensions.get(REQUIRED_SCOPES).map(|scopes| scopes.parse::<Scopes>()).transpose();
    scopes.map(Option::unwrap_or_default).map_err(|error| format!("{REQUIRED_SCOPES}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extensions(pairs: &[(&str, &str)]) -> Result<Scopes, String> {
        required_scopes(&pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn a_route_says_what_it_wants() {
        assert_eq!(extensions(&[]), Ok(Scopes::NONE));
        assert_eq!(extensions(&[("required_scopes", "")]), Ok(Scopes::NONE));
        assert_eq!(extensions(&[("required_scopes", "b a  b")]), Ok("a b".parse().expect("scopes")));
        let many = (0..201).map(|number| format!("scope-{number}")).collect::<Vec<_>>().join(" ");
        for (name, value) in [
            ("required_scopes", "a\tb"),
            ("required_scopes", "\"a\""),
            ("required_scopes", "\u{e4}"),
            ("required_scopes", many.as_str()),
            ("required_scope", "a"),
            ("Required_Scopes", "a"),
            ("", ""),
        ] {
            assert!(extensions(&[(name, value)]).is_err(), "{name:?}: {value:?}");
        }
        assert!(extensions(&[("required_scopes", "a"), ("scopes", "b")]).is_err());
    }
}
