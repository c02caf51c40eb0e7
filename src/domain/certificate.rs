//! Whom does a client certificate name, and with which roles? Names are compared
//! whole: a wildcard in a certificate names nobody.

use std::{collections::BTreeMap, fmt, str::FromStr, sync::Arc};

use super::{
    role::{Role, Roles},
    time::Timestamp,
};

/// The longest URI that is taken, as SPIFFE has it (SPIFFE ID, section 2.3).
const MAX_URI: usize = 2_048;
/// The longest DNS name (RFC 1035, section 2.3.4), and its longest label.
const MAX_DNS: usize = 253;
const MAX_LABEL: usize = 63;

/// A name in a certificate's subject alternative names (RFC 5280, section
/// 4.2.1.6). URIs come first: they are made to name services.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum San {
    /// A URI, such as a SPIFFE id, byte for byte.
    Uri(Arc<str>),
    /// A DNS name, in lower case.
    Dns(Arc<str>),
}

/// Text that names no service.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("a URI such as spiffe://example.org/service or a DNS name without wildcards is wanted")]
pub struct MalformedSan;

impl San {
    /// A URI (RFC 3986), exactly as it stands.
    pub fn uri(text: &str) -> Result<Self, MalformedSan> {
        let scheme = text.split_once(':').map_or("", |(scheme, _)| scheme);
        let has_scheme = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
            && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
        let is_visible = text.bytes().all(|byte| byte.is_ascii_graphic());
        if has_scheme && is_visible && text.len() <= MAX_URI { Ok(Self::Uri(text.into())) } else { Err(MalformedSan) }
    }

    /// A DNS name, in any case.
    pub fn dns(text: &str) -> Result<Self, MalformedSan> {
        let is_label = |label: &str| {
            (1..=MAX_LABEL).contains(&label.len())
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
        };
        if text.len() <= MAX_DNS && text.split('.').all(is_label) {
            Ok(Self::Dns(text.to_ascii_lowercase().into()))
        } else {
            Err(MalformedSan)
        }
    }

    /// The name itself.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Uri(name) | Self::Dns(name) => name,
        }
    }
}

impl FromStr for San {
    type Err = MalformedSan;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.contains(':') { Self::uri(text) } else { Self::dns(text) }
    }
}

impl fmt::Display for San {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for San {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "San({self})")
    }
}

/// What a verified client certificate says of whom it was made for.
#[derive(Clone, Debug)]
pub struct ClientCertificate {
    /// Its names; those that can name no service are left out.
    pub names: Vec<San>,
    /// When it ends.
    pub expire_time: Timestamp,
}

impl ClientCertificate {
    /// The first of its names, for the log: there may be thousands.
    pub fn shown(&self) -> &[San] {
        &self.names[..self.names.len().min(4)]
    }
}

/// Which names have which roles, as the settings say.
#[derive(Clone, Debug, Default)]
pub struct CertificateRoles(BTreeMap<San, Roles>);

impl CertificateRoles {
    /// Gives a name roles, beside those that it has.
    pub fn add(&mut self, san: San, roles: impl IntoIterator<Item = Role>) {
        let held = self.0.entry(san).or_default();
        *held = held.iter().chain(roles).collect();
    }

    /// Whom a certificate names, and all roles of its names. Where several have
    /// roles, the first in a fixed order is whom it names: records go by it, and a
    /// renewed certificate may have its names in another order.
    pub fn of(&self, certificate: &ClientCertificate) -> Option<(San, Roles)> {
        let named = |san: &San| self.0.get_key_value(san).map(|(san, roles)| (san.clone(), *roles));
        let named: BTreeMap<San, Roles> = certificate.names.iter().filter_map(named).collect();
        let roles = named.values().flat_map(|roles| roles.iter()).collect();
        named.into_keys().next().map(|first| (first, roles))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(names: &[&str]) -> ClientCertificate {
        let names = names.iter().map(|name| name.parse().expect("a name")).collect();
        ClientCertificate { names, expire_time: Timestamp::MAX }
    }

    #[test]
    fn names_are_uris_or_dns_names_without_wildcards() {
        assert_eq!("Gateway.Example".parse(), San::dns("gateway.example"));
        assert_eq!("spiffe://Example/x".parse(), San::uri("spiffe://Example/x"));
        let long = "a".repeat(64);
        for bad in ["", "*.example", "a..b", "example.", "a b", "é", "://x", "1a:x", "spiffe://a b", &long] {
            assert_eq!(bad.parse::<San>(), Err(MalformedSan), "{bad:?}");
        }
    }

    #[test]
    fn roles_of_all_names_add_up_and_the_first_name_stands_for_all() {
        let mut table = CertificateRoles::default();
        table.add("gateway.example".parse().expect("a name"), [Role::Introspector]);
        table.add("spiffe://example/gateway".parse().expect("a name"), [Role::Login]);
        table.add("spiffe://example/gateway".parse().expect("a name"), [Role::Auditor]);

        let both = ["GATEWAY.example", "other.example", "spiffe://example/gateway"];
        let (san, roles) = table.of(&certificate(&both)).expect("it is named");
        assert_eq!(san.as_str(), "spiffe://example/gateway");
        assert_eq!(roles, [Role::Introspector, Role::Login, Role::Auditor].into_iter().collect());

        let (san, roles) = table.of(&certificate(&["gateway.example"])).expect("it is named");
        assert_eq!((san.as_str(), roles), ("gateway.example", [Role::Introspector].into_iter().collect()));
    }

    #[test]
    fn a_name_is_compared_whole() {
        let mut table = CertificateRoles::default();
        table.add("spiffe://example/gateway".parse().expect("a name"), [Role::Admin]);
        table.add("gateway.example".parse().expect("a name"), [Role::Admin]);
        for other in ["spiffe://example/gateway/", "spiffe://example/Gateway", "spiffe://example", "a.gateway.example"]
        {
            assert!(table.of(&certificate(&[other])).is_none(), "{other}");
        }
        assert!(table.of(&certificate(&[])).is_none());
    }
}
