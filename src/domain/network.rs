//! From where? Addresses and networks, always in their canonical form: an
//! IPv4-mapped IPv6 address (RFC 4291, section 2.5.5.2) is the IPv4 address,
//! so that neither way of writing it slips past a rule for the other.

use std::{fmt, net::IpAddr, str::FromStr};

use ipnet::{IpNet, Ipv4Net};

/// The most networks that one credential may be bound to.
pub const MAX_NETWORKS: usize = 100;

/// The address of a client, canonical.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClientAddress(IpAddr);

/// Text that is not one address.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("one IPv4 or IPv6 address is wanted, without port, zone or brackets")]
pub struct MalformedAddress;

impl ClientAddress {
    /// Makes an address canonical.
    pub fn new(address: IpAddr) -> Self {
        Self(address.to_canonical())
    }

    /// The network that it is counted with: an IPv4 address alone, an IPv6 one
    /// with its /64, all of which one customer has.
    pub fn counted_with(self) -> Network {
        let prefix_len = if self.0.is_ipv4() { 32 } else { 64 };
        Network(IpNet::new_assert(self.0, prefix_len).trunc())
    }
}

impl Network {
    /// Whether an address lies in it.
    pub fn contains(self, address: ClientAddress) -> bool {
        self.0.contains(&address.0)
    }

    /// Its first address, as IPv6 has it.
    pub fn as_bits(self) -> u128 {
        match self.0.network() {
            IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
            IpAddr::V6(address) => address.to_bits(),
        }
    }
}

impl FromStr for ClientAddress {
    type Err = MalformedAddress;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // The standard library's parser is strict: no leading zeros, no zones.
        text.parse().map(Self::new).map_err(|_| MalformedAddress)
    }
}

impl fmt::Display for ClientAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A network in CIDR notation (RFC 4632), canonical; a single address is its
/// own network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Network(IpNet);

/// Text that is not a network.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("an address, or a network in CIDR notation without bits behind its prefix, is wanted")]
pub struct MalformedNetwork;

impl FromStr for Network {
    type Err = MalformedNetwork;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self(IpNet::from(address.to_canonical())));
        }
        let network: IpNet = text.parse().map_err(|_| MalformedNetwork)?;
        if network.trunc() != network {
            return Err(MalformedNetwork);
        }
        Ok(Self(canonical(network)))
    }
}

fn canonical(network: IpNet) -> IpNet {
    match network {
        IpNet::V4(_) => network,
        IpNet::V6(v6) => v6
            .addr()
            .to_ipv4_mapped()
            .filter(|_| v6.prefix_len() >= 96)
            .and_then(|v4| Ipv4Net::new(v4, v6.prefix_len() - 96).ok())
            .map_or(network, IpNet::V4),
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The networks that a credential may be used from; none means from anywhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks(Vec<Network>);

impl Networks {
    /// From anywhere.
    pub const ANY: Self = Self(Vec::new());

    /// Whether a credential bound to these may be used from an address. Where
    /// the address is not known, only one that is not bound may.
    pub fn admit(&self, address: Option<ClientAddress>) -> bool {
        self.0.is_empty() || address.is_some_and(|address| self.0.iter().any(|network| network.contains(address)))
    }

    /// Whether every address that these admit is admitted by `other` too.
    pub fn within(&self, other: &Self) -> bool {
        other.0.is_empty()
            || (!self.0.is_empty() && self.0.iter().all(|own| other.0.iter().any(|network| network.0.contains(&own.0))))
    }

    /// How many bytes they take in memory.
    pub fn heap_bytes(&self) -> usize {
        self.0.len() * size_of::<Network>()
    }

    /// Whether it admits every address.
    pub fn is_any(&self) -> bool {
        self.0.is_empty()
    }

    /// Each network.
    pub fn iter(&self) -> impl Iterator<Item = &Network> {
        self.0.iter()
    }
}

impl FromIterator<Network> for Networks {
    fn from_iter<I: IntoIterator<Item = Network>>(networks: I) -> Self {
        let mut networks: Vec<Network> = networks.into_iter().collect();
        networks.sort_unstable();
        networks.dedup();
        Self(networks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(texts: &[&str]) -> Networks {
        texts.iter().map(|text| text.parse::<Network>().expect("well-formed")).collect()
    }

    #[expect(clippy::unnecessary_wraps, reason = "as admit takes it")]
    fn address(text: &str) -> Option<ClientAddress> {
        Some(text.parse().expect("well-formed"))
    }

    #[test]
    fn mapped_addresses_are_the_ipv4_ones() {
        let bound = networks(&["10.0.0.0/8"]);
        assert!(bound.admit(address("::ffff:10.1.2.3")));
        assert!(!bound.admit(address("::ffff:11.1.2.3")));
        let mapped = networks(&["::ffff:10.0.0.0/104"]);
        assert!(mapped.admit(address("10.1.2.3")));
        assert_eq!(mapped, bound);
        assert!(networks(&["::ffff:10.0.0.1"]).admit(address("10.0.0.1")));
    }

    #[test]
    fn an_address_is_its_own_network() {
        let bound = networks(&["192.0.2.7", "2001:db8::1"]);
        assert!(bound.admit(address("192.0.2.7")));
        assert!(!bound.admit(address("192.0.2.8")));
        assert!(bound.admit(address("2001:db8::1")));
        assert_eq!(bound.iter().map(ToString::to_string).collect::<Vec<_>>(), ["192.0.2.7/32", "2001:db8::1/128"]);
    }

    #[test]
    fn bound_is_closed_where_the_address_is_unknown() {
        assert!(Networks::ANY.admit(None));
        assert!(!networks(&["0.0.0.0/0"]).admit(None));
    }

    #[test]
    fn parsing_is_strict() {
        for bad in [
            "",
            " 10.0.0.1",
            "10.0.0.1 ",
            "010.0.0.1",
            "10.1",
            "10.0.0.1/8",
            "10.0.0.0/33",
            "10.0.0.0/-1",
            "::1%eth0",
            "[::1]",
            "10.0.0.0/8,11.0.0.0/8",
            "localhost",
        ] {
            assert!(bad.parse::<Network>().is_err(), "{bad:?}");
        }
        for bad in ["", "10.0.0.1:80", "[::1]:80", "fe80::1%1", "127.1", "0x7f000001", "10.0.0.0/8"] {
            assert!(bad.parse::<ClientAddress>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn an_ipv6_address_is_counted_with_its_neighbours() {
        let counted = |text| address(text).map(|address| address.counted_with().to_string()).unwrap_or_default();
        assert_eq!(counted("192.0.2.7"), "192.0.2.7/32");
        assert_eq!(counted("::ffff:192.0.2.7"), "192.0.2.7/32");
        assert_eq!(counted("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::/64");
    }

    #[test]
    fn narrower_networks_are_within() {
        let wide = networks(&["10.0.0.0/8", "2001:db8::/32"]);
        assert!(networks(&["10.1.0.0/16"]).within(&wide));
        assert!(!networks(&["10.1.0.0/16", "11.0.0.0/8"]).within(&wide));
        assert!(!Networks::ANY.within(&wide));
        assert!(wide.within(&Networks::ANY));
        assert!(Networks::ANY.within(&Networks::ANY));
    }
}
