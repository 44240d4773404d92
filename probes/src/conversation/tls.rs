//! TLS to a peer: whom to trust, what name to expect, what certificate was shown.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use aggregator::event::Time;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{Class, Fault, printable};

/// Whom to trust and what name to expect.
#[derive(Clone)]
pub struct Tls {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

/// The certificate that a peer showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// Whom it is for.
    pub subject: String,
    /// Who signed it.
    pub issuer: String,
    /// When it ends.
    pub not_after: Time,
    /// How many certificates the peer sent along.
    pub chain: usize,
    /// `TLSv1_3` and the like.
    pub protocol: String,
    /// The cipher suite that was agreed on.
    pub cipher: String,
    /// What the peer sent, leaf first, DER.
    pub der: Vec<CertificateDer<'static>>,
}

impl Certificate {
    /// Whole days until it ends; negative when it has.
    pub fn days_left(&self, now: Time) -> i64 {
        (self.not_after.seconds() - now.seconds()).div_euclid(86_400)
    }
}

impl Tls {
    /// Trusts the roots in a PEM file, or without one the system's.
    ///
    /// # Errors
    /// When the file cannot be read or holds no certificate, or the name is none.
    pub async fn new(trust: Option<&Path>, server_name: &str) -> Result<Self, Fault> {
        let name = ServerName::try_from(server_name.to_owned())
            .map_err(|_| Fault::new(Class::Config, format!("`server_name` is no name: {}", printable(server_name))))?;
        Ok(Self { config: client_config(trust).await?, name })
    }

    /// Takes any certificate, so that it can be looked at; for audits, never for anything that carries a secret.
    ///
    /// # Errors
    /// When the name is none.
    pub fn looking(server_name: &str) -> Result<Self, Fault> {
        let name = ServerName::try_from(server_name.to_owned())
            .map_err(|_| Fault::new(Class::Config, format!("this is no name: {}", printable(server_name))))?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| Fault::new(Class::Config, format!("TLS cannot be set up: {error}")))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Looking(provider)))
            .with_no_client_auth();
        Ok(Self { config: Arc::new(config), name })
    }

    pub(super) async fn connect<W>(&self, wire: W) -> Result<(TlsStream<W>, Certificate), Fault>
    where
        W: AsyncRead + AsyncWrite + Unpin,
    {
        let stream = TlsConnector::from(self.config.clone()).connect(self.name.clone(), wire).await?;
        let certificate = describe(&stream)?;
        Ok((stream, certificate))
    }
}

/// The TLS configuration that trusts the roots in a PEM file, or without one the system's.
///
/// # Errors
/// When the file cannot be read or holds no certificate.
pub(crate) async fn client_config(trust: Option<&Path>) -> Result<Arc<ClientConfig>, Fault> {
    static SYSTEM: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    if trust.is_none()
        && let Some(config) = SYSTEM.get()
    {
        return Ok(config.clone());
    }
    let config = with_roots(roots(trust).await?)?;
    Ok(if trust.is_none() { SYSTEM.get_or_init(|| config).clone() } else { config })
}

/// The roots in a PEM file, or without one the system's.
///
/// # Errors
/// When the file cannot be read or holds no certificate.
pub(crate) async fn roots(trust: Option<&Path>) -> Result<RootCertStore, Fault> {
    let mut roots = RootCertStore::empty();
    let Some(path) = trust else {
        let system = tokio::task::spawn_blocking(|| rustls_native_certs::load_native_certs().certs)
            .await
            .map_err(|error| Fault::new(Class::Config, format!("the system's root certificates: {error}")))?;
        roots.add_parsable_certificates(system);
        return Ok(roots);
    };
    // Read at each run, so that a renewed root counts at once.
    let unusable =
        |why: String| Fault::new(Class::Config, format!("the root certificates in {}: {why}", path.display()));
    let pem = tokio::fs::read(path).await.map_err(|error| unusable(error.to_string()))?;
    let found: Vec<_> =
        CertificateDer::pem_slice_iter(&pem).collect::<Result<_, _>>().map_err(|error| unusable(error.to_string()))?;
    if found.is_empty() {
        return Err(unusable("the file holds none".to_owned()));
    }
    roots.add_parsable_certificates(found);
    Ok(roots)
}

fn with_roots(roots: RootCertStore) -> Result<Arc<ClientConfig>, Fault> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Fault::new(Class::Config, format!("TLS cannot be set up: {error}")))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

fn describe<W>(stream: &TlsStream<W>) -> Result<Certificate, Fault> {
    let (_, connection) = stream.get_ref();
    let chain = connection.peer_certificates().unwrap_or_default();
    let unreadable = || Fault::new(Class::TlsProtocol, "the peer's certificate cannot be read");
    let (_, leaf) = X509Certificate::from_der(chain.first().ok_or_else(unreadable)?).map_err(|_| unreadable())?;
    Ok(Certificate {
        subject: printable(&leaf.subject().to_string()),
        issuer: printable(&leaf.issuer().to_string()),
        not_after: Time::from_seconds(leaf.validity().not_after.timestamp()),
        chain: chain.len(),
        protocol: connection.protocol_version().map(|version| format!("{version:?}")).unwrap_or_default(),
        cipher: connection.negotiated_cipher_suite().map(|suite| format!("{:?}", suite.suite())).unwrap_or_default(),
        der: chain.iter().map(|der| der.clone().into_owned()).collect(),
    })
}

/// Takes any certificate whose key the peer holds.
#[derive(Debug)]
struct Looking(Arc<CryptoProvider>);

impl ServerCertVerifier for Looking {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
