//! Whom does the client trust, and what does it show of itself?

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use hyper_util::{client::legacy::connect::HttpConnector, rt::TokioIo};
use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tonic::{codegen::Service, transport::Uri};

use super::{BoxError, transport::Refusal};

/// What a client goes by where its server's URL begins with `https://`.
#[derive(Clone, Default)]
pub struct Tls {
    /// The authorities whose certificates are believed, in PEM; none: this system's.
    pub authorities: Option<Vec<u8>>,
    /// The client's own certificate.
    pub identity: Option<ClientIdentity>,
}

/// A client's own certificate, and its private key.
#[derive(Clone)]
pub struct ClientIdentity {
    chain: Vec<CertificateDer<'static>>,
    key: Arc<PrivateKeyDer<'static>>,
}

/// Why TLS cannot be spoken with what was given. Never says what stands in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTls {
    /// The authorities are not certificates in PEM.
    #[error("the authorities to believe are not certificates in PEM")]
    Authorities,
    /// This system names no authority.
    #[error("this system has no authorities to believe: name a file of them")]
    NoAuthorities,
    /// The client's certificate is not one, in PEM.
    #[error("the client's certificate is not one in PEM")]
    Certificate,
    /// The client's private key is not one, in PEM.
    #[error("the client's private key is not one in PEM")]
    PrivateKey,
    /// They are not of one pair.
    #[error("the client's private key does not fit its certificate")]
    OtherKey,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("authorities", &self.authorities.is_some())
            .field("identity", &self.identity)
            .finish()
    }
}

impl fmt::Debug for ClientIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientIdentity([redacted])")
    }
}

impl ClientIdentity {
    /// Takes a certificate, with those between it and its authority, and its private
    /// key, both in PEM.
    ///
    /// # Errors
    ///
    /// Where either is something else.
    pub fn from_pem(certificate: &[u8], private_key: &[u8]) -> Result<Self, InvalidTls> {
        let chain = certificates(certificate).ok_or(InvalidTls::Certificate)?;
        let key = PrivateKeyDer::from_pem_slice(private_key).map_err(|_| InvalidTls::PrivateKey)?;
        Ok(Self { chain, key: Arc::new(key) })
    }
}

impl Tls {
    fn config(&self) -> Result<ClientConfig, InvalidTls> {
        let mut roots = RootCertStore::empty();
        if let Some(pem) = &self.authorities {
            for authority in certificates(pem).ok_or(InvalidTls::Authorities)? {
                roots.add(authority).map_err(|_| InvalidTls::Authorities)?;
            }
        } else {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                return Err(InvalidTls::NoAuthorities);
            }
        }
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .expect("the provider speaks both versions")
            .with_root_certificates(roots);
        let mut config = match &self.identity {
            None => builder.with_no_client_auth(),
            Some(ClientIdentity { chain, key }) => {
                builder.with_client_auth_cert(chain.clone(), key.clone_key()).map_err(|error| match error {
                    rustls::Error::InconsistentKeys(_) => InvalidTls::OtherKey,
                    rustls::Error::InvalidCertificate(_) => InvalidTls::Certificate,
                    _ => InvalidTls::PrivateKey,
                })?
            }
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(config)
    }
}

fn certificates(pem: &[u8]) -> Option<Vec<CertificateDer<'static>>> {
    let all: Vec<_> = CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().ok()?;
    (!all.is_empty()).then_some(all)
}

/// Opens connections, with TLS or without.
#[derive(Clone)]
pub(super) struct Connector {
    tcp: HttpConnector,
    // None: plain HTTP.
    tls: Option<TlsConnector>,
    refusal: Refusal,
}

/// A connection of either kind.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

impl Connector {
    pub(super) fn new(url: &Uri, tls: &Tls, refusal: Refusal) -> Result<Self, InvalidTls> {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        let is_tls = url.scheme_str() == Some("https");
        let tls = if is_tls { Some(TlsConnector::from(Arc::new(tls.config()?))) } else { None };
        Ok(Self { tcp, tls, refusal })
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Box<dyn Stream>>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.tcp.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, url: Uri) -> Self::Future {
        let name = url.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let (tcp, tls, refusal) = (self.tcp.call(url), self.tls.clone(), self.refusal.clone());
        Box::pin(async move {
            let stream = tcp.await?.into_inner();
            let stream: Box<dyn Stream> = match tls {
                None => Box::new(stream),
                Some(tls) => Box::new(refusal.noted(tls.connect(ServerName::try_from(name)?, stream).await?)),
            };
            Ok(TokioIo::new(stream))
        })
    }
}
