//! Certificates of the tests' own authorities, and clients that go by them.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, SanType,
    date_time_ymd,
};
use rustls::{
    AlertDescription, ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
};
use token_authority::{
    client::{BearerToken, CallError, Client, ClientIdentity, ConnectError, Timeouts, Tls},
    settings::Settings,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{Actor, server::Seen};

/// In September 2001.
const LONG_AGO: u64 = 1_000_000_000;

/// Whoever signs certificates.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its private key, in PEM.
#[derive(Clone)]
pub(crate) struct Pair {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

/// A directory that a listener's TLS files are in.
pub(crate) struct Files(pub(crate) PathBuf);

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate of a server on this machine.
    pub(crate) fn server(&self) -> Pair {
        self.server_for(3_600)
    }

    /// One that ends after so many seconds.
    pub(crate) fn server_for(&self, seconds: u64) -> Pair {
        self.sign(ExtendedKeyUsagePurpose::ServerAuth, &["localhost", "127.0.0.1"], from_now(seconds))
    }

    /// One that ended long ago.
    pub(crate) fn expired_server(&self) -> Pair {
        self.sign(ExtendedKeyUsagePurpose::ServerAuth, &["localhost", "127.0.0.1"], LONG_AGO)
    }

    /// One of a server elsewhere.
    pub(crate) fn server_called(&self, name: &str) -> Pair {
        self.sign(ExtendedKeyUsagePurpose::ServerAuth, &[name], from_now(3_600))
    }

    /// A certificate of a client with these names: URIs and DNS names.
    pub(crate) fn client(&self, names: &[&str]) -> Pair {
        self.client_for(names, 3_600)
    }

    /// One that ends after so many seconds.
    pub(crate) fn client_for(&self, names: &[&str], seconds: u64) -> Pair {
        self.sign(ExtendedKeyUsagePurpose::ClientAuth, names, from_now(seconds))
    }

    pub(crate) fn expired_client(&self, names: &[&str]) -> Pair {
        self.sign(ExtendedKeyUsagePurpose::ClientAuth, names, LONG_AGO)
    }

    fn sign(&self, usage: ExtendedKeyUsagePurpose, names: &[&str], not_after: u64) -> Pair {
        let mut params = CertificateParams::default();
        params.subject_alt_names = names
            .iter()
            .map(|name| match name.parse() {
                Ok(address) => SanType::IpAddress(address),
                Err(_) if name.contains(':') => SanType::URI((*name).try_into().unwrap()),
                Err(_) => SanType::DnsName((*name).try_into().unwrap()),
            })
            .collect();
        params.extended_key_usages = vec![usage];
        params.not_before = date_time_ymd(2000, 1, 1);
        params.not_after = date_time_ymd(1970, 1, 1) + Duration::from_secs(not_after);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        Pair { certificate: certificate.pem(), key: key.serialize_pem() }
    }

    /// What a client goes by that believes this authority, and shows this.
    pub(crate) fn tls(&self, identity: Option<&Pair>) -> Tls {
        let identity = identity
            .map(|Pair { certificate, key }| ClientIdentity::from_pem(certificate.as_bytes(), key.as_bytes()).unwrap());
        Tls { authorities: Some(self.pem().into_bytes()), identity }
    }

    /// The same for a client that looks at TLS itself.
    pub(crate) fn config(&self, identity: Option<&Pair>) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match identity {
            None => builder.with_no_client_auth(),
            Some(Pair { certificate, key }) => {
                let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
                builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap()).unwrap()
            }
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        config
    }

    /// A connection to a server, its certificate verified.
    pub(crate) async fn connect(
        &self,
        server: SocketAddr,
        identity: Option<&Pair>,
    ) -> Result<TlsStream<TcpStream>, rustls::Error> {
        connect(server, self.config(identity)).await
    }

    /// The certificate that a server shows to a client that looks at TLS itself.
    pub(crate) async fn shown_to(&self, server: SocketAddr, config: ClientConfig) -> CertificateDer<'static> {
        let stream = connect(server, config).await.unwrap();
        stream.get_ref().1.peer_certificates().unwrap()[0].clone()
    }

    /// The certificate that a server shows now.
    pub(crate) async fn shown(&self, server: SocketAddr, identity: Option<&Pair>) -> CertificateDer<'static> {
        self.shown_to(server, self.config(identity)).await
    }

    /// How a server refuses a client that shows this.
    pub(crate) async fn alert(&self, server: SocketAddr, identity: Option<&Pair>) -> AlertDescription {
        self.alert_to(server, self.config(identity)).await
    }

    /// The same, of a client with this configuration.
    pub(crate) async fn alert_to(&self, server: SocketAddr, config: ClientConfig) -> AlertDescription {
        let refusal = match connect(server, config).await {
            Err(refusal) => refusal,
            // In TLS 1.3 a client is done before the server has seen its certificate.
            Ok(mut stream) => {
                let _ = stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
                tls(&stream.read_to_end(&mut Vec::new()).await.unwrap_err())
            }
        };
        match refusal {
            rustls::Error::AlertReceived(alert) => alert,
            other => panic!("no alert, but {other}"),
        }
    }
}

impl Pair {
    pub(crate) fn der(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(self.certificate.as_bytes()).unwrap()
    }

    /// When it expires, in seconds since 1970.
    pub(crate) fn expire_time(&self) -> u64 {
        let der = self.der();
        let (_, certificate) = x509_parser::parse_x509_certificate(&der).unwrap();
        certificate.validity().not_after.timestamp().try_into().unwrap()
    }
}

impl Files {
    /// What a server shows, and whose clients it takes, in a new directory within
    /// `directory`.
    pub(crate) fn new(directory: &Path, pair: &Pair, clients: Option<&Authority>) -> Self {
        let files = Self(directory.join(uuid::Uuid::new_v4().to_string()));
        fs::create_dir(&files.0).unwrap();
        files.write(pair);
        if let Some(clients) = clients {
            files.write_clients(clients);
        }
        files
    }

    /// Puts other files in their place.
    pub(crate) fn write(&self, Pair { certificate, key }: &Pair) {
        fs::write(self.0.join("tls.crt"), certificate).unwrap();
        fs::write(self.0.join("tls.key"), key).unwrap();
    }

    pub(crate) fn write_clients(&self, clients: &Authority) {
        fs::write(self.0.join("clients.crt"), clients.pem()).unwrap();
    }

    pub(crate) fn settings(&self) -> token_authority::settings::Tls {
        let clients = self.0.join("clients.crt");
        token_authority::settings::Tls {
            certificate_file: Some(self.0.join("tls.crt")),
            private_key_file: Some(self.0.join("tls.key")),
            client_ca_file: clients.exists().then_some(clients),
            require_client_certificate: false,
        }
    }

    /// Has both ports use them.
    pub(crate) fn set(&self, settings: &mut Settings) {
        settings.grpc.tls = self.settings();
        settings.http.tls = self.settings();
    }
}

/// A connection of a client that looks at TLS itself.
pub(crate) async fn connect(server: SocketAddr, config: ClientConfig) -> Result<TlsStream<TcpStream>, rustls::Error> {
    let stream = TcpStream::connect(server).await.unwrap();
    let name = ServerName::from(server.ip());
    TlsConnector::from(Arc::new(config)).connect(name, stream).await.map_err(|error| tls(&error))
}

/// Somebody who calls over TLS.
pub(crate) async fn caller(
    server: SocketAddr,
    credential: Option<&str>,
    tls: &Tls,
    seen: &Seen,
) -> Result<Actor, ConnectError> {
    let token = credential.map(|credential| BearerToken::new(credential).unwrap());
    let timeouts = Timeouts { connect: Duration::from_secs(10), call: Duration::from_secs(30) };
    let client = Client::connect_with(&format!("https://{server}"), token, timeouts, tls).await?;
    Ok(Actor { client, seen: seen.clone() })
}

/// What TLS says is wrong, behind whatever says that there is no connection.
pub(crate) fn told(error: &(dyn std::error::Error + 'static)) -> String {
    let mut texts = vec![error.to_string()];
    let mut source = error.source();
    while let Some(error) = source {
        texts.push(error.to_string());
        source = error.source();
    }
    texts.join(": ")
}

/// The same of a call.
pub(crate) fn told_of_call(error: &CallError) -> String {
    told(&*error.source)
}

fn tls(error: &std::io::Error) -> rustls::Error {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    inner.unwrap_or_else(|| panic!("not TLS, but the connection failed: {error}")).clone()
}

/// In seconds since the epoch, as the machine's clock has it.
fn from_now(seconds: u64) -> u64 {
    rustls::pki_types::UnixTime::now().as_secs() + seconds
}
