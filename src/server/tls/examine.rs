//! What do a listener's files say, beyond what keeps them from being used?

use std::{net::IpAddr, sync::Arc};

use rustls::{RootCertStore, client::WebPkiServerVerifier, client::danger::ServerCertVerifier as _, crypto};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use super::{
    Error, Speaks,
    files::{self, Files},
};
use crate::{domain::time::Timestamp, server::peer, settings};

/// What a listener's files say.
#[derive(Clone, Debug)]
pub(in crate::server) struct Examined {
    /// DNS names and addresses that the certificate is for.
    pub(in crate::server) names: Vec<String>,
    /// From when on it is good, as are those between it and its authority.
    pub(in crate::server) begin_time: Timestamp,
    /// Until when.
    pub(in crate::server) expire_time: Timestamp,
    /// Why clients may refuse it.
    pub(in crate::server) problems: Vec<String>,
    /// Whose client certificates are taken.
    pub(in crate::server) authorities: Vec<Named>,
}

/// An authority.
#[derive(Clone, Debug)]
pub(in crate::server) struct Named {
    pub(in crate::server) name: String,
    pub(in crate::server) expire_time: Timestamp,
}

/// Reads and understands the files as a server that starts does; none where TLS is
/// off.
pub(in crate::server) async fn examine(
    listener: &'static str,
    settings: &settings::Tls,
) -> Option<Result<Examined, Error>> {
    let files = Files::of(listener, settings)?;
    Some(
        async {
            let read = files.read().await?;
            files.understand(&read, Speaks::Http2.protocol())?;
            let chain = files::certificates(read.certificate()).unwrap_or_default();
            let authorities = read.authorities().map(|pem| files::certificates(pem).unwrap_or_default());
            Ok(told(&chain, &authorities.unwrap_or_default()))
        }
        .await,
    )
}

fn told(chain: &[CertificateDer<'_>], authorities: &[CertificateDer<'_>]) -> Examined {
    let parsed: Vec<_> = chain.iter().filter_map(|der| Some(X509Certificate::from_der(der).ok()?.1)).collect();
    let names = parsed.first().map(names).unwrap_or_default();
    let mut problems = Vec::new();
    if let Some(first) = parsed.first()
        && let Ok(Some(usage)) = first.extended_key_usage()
        && !(usage.value.server_auth || usage.value.any)
    {
        problems.push("the certificate is not for servers (extended key usage)".to_owned());
    }
    problems.extend(broken(chain, &names));
    let all = || parsed.iter().map(|certificate| certificate.validity());
    Examined {
        names,
        begin_time: time(all().map(|validity| validity.not_before.timestamp()).max()),
        expire_time: time(all().map(|validity| validity.not_after.timestamp()).min()),
        problems,
        authorities: authorities.iter().filter_map(named).collect(),
    }
}

fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(names)) = certificate.subject_alternative_name() else {
        return Vec::new();
    };
    let told = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => match (<[u8; 4]>::try_from(*bytes), <[u8; 16]>::try_from(*bytes)) {
            (Ok(four), _) => Some(IpAddr::from(four).to_string()),
            (_, Ok(sixteen)) => Some(IpAddr::from(sixteen).to_string()),
            _ => None,
        },
        // No client of a server goes by anything else.
        _ => None,
    };
    names.value.general_names.iter().filter_map(told).collect()
}

/// Whether those that follow the certificate vouch for it, as a client would see it
/// that believes the last one. Of one alone nothing is known.
fn broken(chain: &[CertificateDer<'_>], names: &[String]) -> Option<String> {
    let [first, between @ .., last] = chain else {
        return None;
    };
    let name = names.iter().find_map(|name| ServerName::try_from(name.replace('*', "any")).ok())?;
    let mut roots = RootCertStore::empty();
    roots.add(last.clone().into_owned()).ok()?;
    let provider = Arc::new(crypto::aws_lc_rs::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().ok()?;
    let verified = verifier.verify_server_cert(first, between, &name, &[], UnixTime::now());
    verified.err().map(|error| format!("the certificates in the file do not vouch for each other: {error}"))
}

fn named(der: &CertificateDer<'_>) -> Option<Named> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    Some(Named { name: certificate.subject().to_string(), expire_time: peer::expire_time(der)? })
}

fn time(seconds: Option<i64>) -> Timestamp {
    Timestamp::from_parts(seconds.unwrap_or_default().max(0), 0).unwrap_or(Timestamp::MAX)
}
