//! What do the files of a listener hold, and does it fit together?

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use aws_lc_rs::digest;
use rustls::{
    RootCertStore, ServerConfig,
    crypto::{self, CryptoProvider},
    server::{NoServerSessionStorage, WebPkiClientVerifier, danger::ClientCertVerifier},
    sign::{CertifiedKey, SingleCertAndKey},
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime, pem::PemObject as _};
use zeroize::Zeroizing;

use crate::{domain::time::Timestamp, server::peer, settings};

/// What is wrong with the files that a listener's settings name.
#[derive(Debug, thiserror::Error)]
#[error("{setting}: {file}: {problem}", file = file.display())]
pub struct Error {
    setting: String,
    file: PathBuf,
    problem: Problem,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum Problem {
    #[error("cannot be read: {0}")]
    Unreadable(std::io::ErrorKind),
    #[error("is not PEM")]
    NotPem,
    #[error("holds no certificate")]
    NoCertificate,
    #[error("holds no private key")]
    NoKey,
    #[error("holds a certificate that cannot be read")]
    BadCertificate,
    #[error("holds a private key that cannot be used")]
    BadKey,
    #[error("the private key does not fit the certificate")]
    OtherKey,
    #[error("the certificate has expired")]
    Expired,
}

/// A name for what a file holds: its digest.
pub(super) type Digest = [u8; digest::SHA256_OUTPUT_LEN];

/// The files of a listener.
#[derive(Debug)]
pub(super) struct Files {
    listener: &'static str,
    certificate: PathBuf,
    private_key: PathBuf,
    client_ca: Option<PathBuf>,
    requires_certificate: bool,
}

/// What they held when they were read.
pub(super) struct Read {
    certificate: Vec<u8>,
    private_key: Zeroizing<Vec<u8>>,
    client_ca: Option<Vec<u8>>,
}

/// What they come to.
pub(super) struct Config {
    pub(super) server: Arc<ServerConfig>,
    pub(super) expire_time: Timestamp,
}

impl Files {
    pub(super) fn of(listener: &'static str, settings: &settings::Tls) -> Option<Self> {
        let settings::Tls { certificate_file, private_key_file, client_ca_file, require_client_certificate } = settings;
        Some(Self {
            listener,
            certificate: certificate_file.clone()?,
            private_key: private_key_file.clone()?,
            client_ca: client_ca_file.clone(),
            requires_certificate: *require_client_certificate,
        })
    }

    pub(super) fn listener(&self) -> &'static str {
        self.listener
    }

    pub(super) async fn read(&self) -> Result<Read, Error> {
        let client_ca = match &self.client_ca {
            None => None,
            Some(path) => Some(self.read_one("client_ca_file", path).await?),
        };
        Ok(Read {
            certificate: self.read_one("certificate_file", &self.certificate).await?,
            private_key: Zeroizing::new(self.read_one("private_key_file", &self.private_key).await?),
            client_ca,
        })
    }

    async fn read_one(&self, name: &str, path: &Path) -> Result<Vec<u8>, Error> {
        let read = tokio::fs::read(path).await;
        read.map_err(|error| self.error(name, path, Problem::Unreadable(error.kind())))
    }

    /// Checks that all of it can be used, and fits together.
    pub(super) fn understand(&self, read: &Read, protocols: &[&[u8]]) -> Result<Config, Error> {
        let in_certificate = |problem| self.error("certificate_file", &self.certificate, problem);
        let in_key = |problem| self.error("private_key_file", &self.private_key, problem);
        let provider = Arc::new(crypto::aws_lc_rs::default_provider());

        let chain = certificates(&read.certificate).map_err(in_certificate)?;
        let expire_time = peer::expire_time(&chain[0]).ok_or_else(|| in_certificate(Problem::BadCertificate))?;
        if expire_time <= now() {
            return Err(in_certificate(Problem::Expired));
        }
        let key = PrivateKeyDer::from_pem_slice(&read.private_key).map_err(|error| {
            in_key(match error {
                rustls_pki_types::pem::Error::NoItemsFound => Problem::NoKey,
                _ => Problem::NotPem,
            })
        })?;
        let pair = CertifiedKey::from_der(chain, key, &provider).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => in_key(Problem::OtherKey),
            rustls::Error::InvalidCertificate(_) => in_certificate(Problem::BadCertificate),
            _ => in_key(Problem::BadKey),
        })?;

        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .expect("the provider speaks both versions");
        let builder = match (&read.client_ca, &self.client_ca) {
            (Some(authorities), Some(path)) => {
                let verifier = self.verifier(authorities, provider);
                let verifier = verifier.map_err(|problem| self.error("client_ca_file", path, problem))?;
                builder.with_client_cert_verifier(verifier)
            }
            _ => builder.with_no_client_auth(),
        };
        let mut server = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(pair)));
        server.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        if self.client_ca.is_some() {
            // A session that is resumed brings the certificate that was verified when it
            // began: it would outlive its authority, and itself.
            server.session_storage = Arc::new(NoServerSessionStorage {});
            server.send_tls13_tickets = 0;
        }
        Ok(Config { server: Arc::new(server), expire_time })
    }

    fn verifier(
        &self,
        authorities: &[u8],
        provider: Arc<CryptoProvider>,
    ) -> Result<Arc<dyn ClientCertVerifier>, Problem> {
        let mut roots = RootCertStore::empty();
        for authority in certificates(authorities)? {
            roots.add(authority).map_err(|_| Problem::BadCertificate)?;
        }
        let mut verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        if !self.requires_certificate {
            verifier = verifier.allow_unauthenticated();
        }
        verifier.build().map_err(|_| Problem::BadCertificate)
    }

    fn error(&self, name: &str, file: &Path, problem: Problem) -> Error {
        Error { setting: format!("{}.tls.{name}", self.listener), file: file.to_owned(), problem }
    }
}

impl Read {
    pub(super) fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    pub(super) fn authorities(&self) -> Option<&[u8]> {
        self.client_ca.as_deref()
    }

    /// Tells apart what was read at other times.
    pub(super) fn digest(&self) -> Digest {
        let Self { certificate, private_key, client_ca } = self;
        let parts = [certificate, &**private_key, client_ca.as_ref().unwrap_or(&Vec::new())].map(|part| digest(part));
        digest(parts.as_flattened())
    }

    pub(super) fn authorities_digest(&self) -> Option<Digest> {
        self.client_ca.as_ref().map(|authorities| digest(authorities))
    }
}

fn digest(bytes: &[u8]) -> Digest {
    let digest = digest::digest(&digest::SHA256, bytes);
    digest.as_ref().try_into().expect("SHA-256 has so many bytes")
}

/// At least one.
pub(super) fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Problem> {
    let all: Vec<_> = CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(|_| Problem::NotPem)?;
    if all.is_empty() { Err(Problem::NoCertificate) } else { Ok(all) }
}

/// This machine's time, as TLS goes by it: certificates are verified before
/// anything of a call is known.
fn now() -> Timestamp {
    let micros = i64::try_from(UnixTime::now().as_secs().saturating_mul(1_000_000));
    micros.ok().and_then(|micros| Timestamp::from_micros(micros).ok()).unwrap_or(Timestamp::MAX)
}
