//! Whose request did a proxy pass on? Each proxy appends to `X-Forwarded-For`
//! the address that its own request came from, so that only the last entries,
//! those that trusted proxies wrote, are worth anything: whatever stands before
//! them came from outside. The client is the rightmost entry that is no trusted
//! proxy itself.

use super::network::{ClientAddress, Network};

/// The proxies whose word is taken for where a request came from; none: nobody's
/// is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedProxies(Vec<Network>);

impl TrustedProxies {
    /// Whether an address is a proxy's whose word is taken.
    pub fn trust(&self, address: ClientAddress) -> bool {
        self.0.iter().any(|network| network.contains(address))
    }

    /// Where a request came from that `peer` passed on. `forwarded` are the values
    /// of its `X-Forwarded-For`, in the order in which they stand there: several
    /// are one list (RFC 9110, section 5.3).
    ///
    /// That is `peer` itself, whatever it says, unless it is trusted; else the
    /// rightmost entry that is not trusted; the first, where all of them are. None:
    /// a trusted proxy says nothing, or what is no address: then it is not known,
    /// and nothing is let in that is bound to networks.
    pub fn client<'a>(
        &self,
        peer: ClientAddress,
        forwarded: impl DoubleEndedIterator<Item = &'a [u8]>,
    ) -> Option<ClientAddress> {
        if !self.trust(peer) {
            return Some(peer);
        }
        let mut client = None;
        // Lists may have empty elements, which count for nothing (RFC 9110, section
        // 5.6.1).
        let entries = forwarded.rev().flat_map(|line| line.rsplit(|byte| *byte == b','));
        for entry in entries.map(<[u8]>::trim_ascii).filter(|entry| !entry.is_empty()) {
            let address: ClientAddress = str::from_utf8(entry).ok()?.parse().ok()?;
            client = Some(address);
            if !self.trust(address) {
                break;
            }
        }
        client
    }
}

impl FromIterator<Network> for TrustedProxies {
    fn from_iter<I: IntoIterator<Item = Network>>(networks: I) -> Self {
        Self(networks.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where a request came from, by the word of proxies in 10.0.0.0/8 and fd00::/8.
    fn client(peer: &str, forwarded: &[&str]) -> Option<String> {
        let trusted = ["10.0.0.0/8", "fd00::/8"].map(|network| network.parse::<Network>().expect("a network"));
        let peer = peer.parse().expect("an address");
        let lines = forwarded.iter().map(|line| line.as_bytes());
        TrustedProxies::from_iter(trusted).client(peer, lines).map(|client| client.to_string())
    }

    #[expect(clippy::unnecessary_wraps, reason = "as client gives it")]
    fn is(address: &str) -> Option<String> {
        Some(address.to_owned())
    }

    #[test]
    fn nobody_else_says_where_a_request_came_from() {
        assert_eq!(client("192.0.2.7", &["198.51.100.1"]), is("192.0.2.7"));
        assert_eq!(client("192.0.2.7", &["junk"]), is("192.0.2.7"));
        let nobody = TrustedProxies::default();
        let peer = "10.0.0.1".parse().expect("an address");
        assert_eq!(nobody.client(peer, [&b"198.51.100.1"[..]].into_iter()), Some(peer));
    }

    #[test]
    fn what_a_client_wrote_itself_changes_nothing() {
        assert_eq!(client("10.0.0.1", &["192.0.2.7"]), is("192.0.2.7"));
        assert_eq!(client("10.0.0.1", &["198.51.100.1, 192.0.2.7"]), is("192.0.2.7"));
        assert_eq!(client("10.0.0.1", &["198.51.100.1", "192.0.2.7"]), is("192.0.2.7"));
        assert_eq!(client("10.0.0.1", &["10.9.9.9, junk ,192.0.2.7"]), is("192.0.2.7"));
        assert_eq!(client("10.0.0.1", &["\u{1F511}, 192.0.2.7"]), is("192.0.2.7"));
        assert_eq!(client("10.0.0.1", &["", " , ,192.0.2.7, "]), is("192.0.2.7"));
    }

    #[test]
    fn trusted_proxies_are_passed_over() {
        assert_eq!(client("10.0.0.1", &["192.0.2.7, 10.0.0.2, fd00::3"]), is("192.0.2.7"));
        assert_eq!(client("10.0.0.1", &["192.0.2.7, 10.0.0.2", "10.0.0.3"]), is("192.0.2.7"));
        assert_eq!(client("10.0.0.1", &["10.0.0.3, 10.0.0.2"]), is("10.0.0.3"), "all are");
    }

    #[test]
    fn addresses_are_canonical_wherever_they_stand() {
        assert_eq!(client("::ffff:10.0.0.1", &["::ffff:192.0.2.7, ::ffff:10.0.0.2"]), is("192.0.2.7"));
        assert_eq!(client("10.0.0.1", &["2001:DB8:0:0::1"]), is("2001:db8::1"));
        assert_eq!(client("::ffff:192.0.2.7", &["10.0.0.9"]), is("192.0.2.7"));
    }

    #[test]
    fn a_proxy_that_does_not_say_leaves_it_unknown() {
        for silent in [&[][..], &[""], &[" , "], &["", ""]] {
            assert_eq!(client("10.0.0.1", silent), None, "{silent:?}");
        }
        for last in ["unknown", "192.0.2.7:443", "[2001:db8::1]", "_hidden", "192.0.2.7 10.0.0.1", "010.0.0.1"] {
            assert_eq!(client("10.0.0.1", &["198.51.100.1", last]), None, "{last}");
            let passed_on = format!("198.51.100.1, {last}, 10.0.0.2");
            assert_eq!(client("10.0.0.1", &[&passed_on]), None, "{passed_on}");
        }
    }
}
