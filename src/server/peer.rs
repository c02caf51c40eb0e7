//! Who is at the other end of a connection?

use rustls_pki_types::CertificateDer;
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use crate::domain::{
    certificate::{ClientCertificate, San},
    time::Timestamp,
};

/// What a certificate that was verified says. One that cannot be read names
/// nobody.
pub(super) fn client_certificate(verified: &CertificateDer<'_>) -> Option<ClientCertificate> {
    let (_, certificate) = X509Certificate::from_der(verified).ok()?;
    let names = certificate.subject_alternative_name().ok()?;
    let names = names.map(|names| names.value.general_names.as_slice()).unwrap_or_default();
    let named = |name: &GeneralName<'_>| match name {
        GeneralName::URI(uri) => San::uri(uri).ok(),
        GeneralName::DNSName(name) => San::dns(name).ok(),
        // Nothing else names a service.
        _ => None,
    };
    Some(ClientCertificate { names: names.iter().filter_map(named).collect(), expire_time: end(&certificate) })
}

/// When a certificate ends.
pub(super) fn expire_time(certificate: &CertificateDer<'_>) -> Option<Timestamp> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    Some(end(&certificate))
}

fn end(certificate: &X509Certificate<'_>) -> Timestamp {
    let seconds = certificate.validity().not_after.timestamp();
    // Before 1970 it ended long ago; after 9999 it does not matter.
    Timestamp::from_parts(seconds.max(0), 0).unwrap_or(Timestamp::MAX)
}
