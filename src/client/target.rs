//! Which URLs name a server?

use std::net::IpAddr;

use tonic::transport::Uri;

/// Why a URL does not name a server that this client can call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidUrl {
    /// Not a URL, or one without scheme or host.
    #[error("the server's URL has to look like https://HOST:PORT or http://HOST:PORT")]
    Form,
    /// A user, a path or a query: gRPC has a place for none of them, and what
    /// was meant by it would be lost in silence.
    #[error("the server's URL holds more than https://HOST:PORT")]
    More,
}

/// Whether what is sent to this URL stays on this machine, or goes through TLS. A
/// name may be anybody's, but `localhost` (RFC 6761, section 6.3).
pub(super) fn is_protected(url: &str) -> bool {
    let Ok(uri) = parse(url) else {
        return false;
    };
    if uri.scheme_str() == Some("https") {
        return true;
    }
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

/// Reads a URL that has a scheme, a host and at most a port besides.
pub(super) fn parse(url: &str) -> Result<Uri, InvalidUrl> {
    let uri: Uri = url.parse().map_err(|_| InvalidUrl::Form)?;
    match uri.scheme_str() {
        Some("http" | "https") => {}
        _ => return Err(InvalidUrl::Form),
    }
    let authority = uri.authority().ok_or(InvalidUrl::Form)?;
    if authority.host().is_empty() {
        return Err(InvalidUrl::Form);
    }
    if authority.as_str().contains('@') || !matches!(uri.path(), "" | "/") || uri.query().is_some() {
        return Err(InvalidUrl::More);
    }
    Ok(uri)
}

/// The same server for who opens connections to it without speaking TLS: tonic
/// leaves that to us, but refuses `https` then, where it is built with any TLS.
pub(super) fn plain(url: &Uri) -> Result<Uri, InvalidUrl> {
    let host = url.host().ok_or(InvalidUrl::Form)?;
    let port = url.port_u16().unwrap_or(if url.scheme_str() == Some("https") { 443 } else { 80 });
    let uri = Uri::builder().scheme("http").authority(format!("{host}:{port}")).path_and_query("/").build();
    uri.map_err(|_| InvalidUrl::Form)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scheme_host_and_port_are_taken() {
        for url in [
            "http://127.0.0.1:50051",
            "http://localhost:50051/",
            "http://[::1]:50051",
            "http://token-authority.internal",
            "https://127.0.0.1:50051",
        ] {
            assert!(parse(url).is_ok(), "{url}");
        }
    }

    #[test]
    fn loopback_and_tls_protect() {
        for url in [
            "http://127.0.0.1:50051",
            "http://localhost",
            "http://[::1]:50051",
            "http://[::ffff:127.0.0.1]",
            "https://10.0.0.1",
        ] {
            assert!(is_protected(url), "{url}");
        }
        for url in ["http://token-authority.internal", "http://10.0.0.1", "http://localhost.example", "127.0.0.1"] {
            assert!(!is_protected(url), "{url}");
        }
    }

    #[test]
    fn anything_else_is_refused_with_what_is_wrong() {
        for (url, error) in [
            ("", InvalidUrl::Form),
            ("127.0.0.1:50051", InvalidUrl::Form),
            ("localhost", InvalidUrl::Form),
            ("unix:/run/authority.sock", InvalidUrl::Form),
            ("http://", InvalidUrl::Form),
            ("http://user:password@127.0.0.1:50051", InvalidUrl::More),
            ("http://127.0.0.1:50051/prefix", InvalidUrl::More),
            ("http://127.0.0.1:50051/?a=b", InvalidUrl::More),
        ] {
            assert_eq!(parse(url).expect_err("refused"), error, "{url}");
        }
    }
}
