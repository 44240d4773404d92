//! Mutual TLS between watchers: each shows a certificate of the site's own authority that carries its name, and takes
//! nobody's word without one. TLS 1.3 only. Which address a peer has says nothing: its name must be in its certificate.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use aggregator::event::Time;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme};
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

/// With fewer days left a certificate is to be renewed, and a watcher says so.
pub const RENEW_DAYS: i64 = 30;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const VERSIONS: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS13];

/// Why mutual TLS cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file is not there, or not what it should be.
    #[error("{path}: {what}; `varde pki show` lists the certificates, `varde pki init` makes those that are missing")]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The certificate is another watcher's.
    #[error(
        "{path} is a certificate for {names}, not for watcher \"{watcher}\"; `varde pki issue {watcher}` makes one"
    )]
    Name {
        /// The file.
        path: PathBuf,
        /// Whom it is for.
        names: String,
        /// Whom it should be for.
        watcher: String,
    },
    /// The certificate has ended.
    #[error("{path} ended at {not_after}; `varde pki rotate` renews it")]
    Expired {
        /// The file.
        path: PathBuf,
        /// When.
        not_after: Time,
    },
    /// TLS or its HTTP client cannot be set up.
    #[error("mutual TLS between the watchers cannot be set up: {0}")]
    SetUp(String),
}

/// What a certificate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// The names that it is for.
    pub names: Vec<String>,
    /// Its begin.
    pub not_before: Time,
    /// Its end.
    pub not_after: Time,
}

impl Shown {
    /// Reads the first certificate of a PEM file.
    ///
    /// # Errors
    /// [`TlsError::File`].
    pub fn read(path: &Path) -> Result<Self, TlsError> {
        let first = certificates(path)?.into_iter().next();
        let shown = first.as_ref().and_then(Self::of);
        shown.ok_or_else(|| TlsError::File { path: path.to_owned(), what: "holds no certificate (X.509)".to_owned() })
    }

    fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
        let names = certificate.subject_alternative_name().ok().flatten().map(|names| &names.value.general_names);
        let names = names.into_iter().flatten().filter_map(|name| match name {
            GeneralName::DNSName(name) => Some((*name).to_owned()),
            _ => None,
        });
        let time = |time: x509_parser::time::ASN1Time| Time::from_seconds(time.timestamp());
        let validity = certificate.validity();
        Some(Self {
            names: names.collect(),
            not_before: time(validity.not_before),
            not_after: time(validity.not_after),
        })
    }

    /// Whole days until it ends; negative when it has.
    pub fn days_left(&self, now: Time) -> i64 {
        (self.not_after.seconds() - now.seconds()).div_euclid(86_400)
    }

    /// Whether it should be renewed.
    pub fn is_due(&self, now: Time) -> bool {
        self.days_left(now) < RENEW_DAYS
    }
}

/// The watcher whom a certificate that a peer showed is for.
pub fn watcher_of(certificates: Option<&[CertificateDer<'_>]>) -> Option<String> {
    Shown::of(certificates?.first()?)?.names.into_iter().next()
}

/// What a watcher shows of itself, and whom it believes. `Debug` shows no key.
pub struct Identity {
    roots: Arc<RootCertStore>,
    /// The authority's certificates as they were read.
    trusted: Vec<CertificateDer<'static>>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    provider: Arc<CryptoProvider>,
    shown: Shown,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("shown", &self.shown).finish_non_exhaustive()
    }
}

impl Identity {
    /// Reads the authority's certificates, the watcher's own and its key, all PEM.
    ///
    /// # Errors
    /// See [`TlsError`]; each names the file and what to do.
    pub fn read(authority: &Path, certificate: &Path, key: &Path, me: &str, now: Time) -> Result<Self, TlsError> {
        let mut roots = RootCertStore::empty();
        let trusted = certificates(authority)?;
        if roots.add_parsable_certificates(trusted.iter().cloned()).0 == 0 {
            let what = "holds no certificate of an authority".to_owned();
            return Err(TlsError::File { path: authority.to_owned(), what });
        }
        let (chain, shown) = (certificates(certificate)?, Shown::read(certificate)?);
        let path = certificate.to_owned();
        if !shown.names.iter().any(|name| name == me) {
            return Err(TlsError::Name { path, names: shown.names.join(", "), watcher: me.to_owned() });
        }
        if shown.not_after <= now {
            return Err(TlsError::Expired { path, not_after: shown.not_after });
        }
        let key = PrivateKeyDer::from_pem_file(key)
            .map_err(|error| TlsError::File { path: key.to_owned(), what: format!("no private key: {error}") })?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        Ok(Self { roots: Arc::new(roots), trusted, chain, key, provider, shown })
    }

    /// What its own certificate says.
    pub fn shown(&self) -> &Shown {
        &self.shown
    }

    /// Whether the files still hold what was read of them. Octet by octet: a certificate that is renewed on the day of
    /// its issue says the same as the one before.
    ///
    /// # Errors
    /// [`TlsError::File`].
    pub fn is_as_read(&self, authority: &Path, certificate: &Path) -> Result<bool, TlsError> {
        Ok(certificates(authority)? == self.trusted && certificates(certificate)? == self.chain)
    }

    /// For the listener: who has no certificate of the authority is refused in the handshake.
    ///
    /// # Errors
    /// [`TlsError::SetUp`]: the key is not that of the certificate.
    pub fn server(&self) -> Result<ServerConfig, TlsError> {
        let verifier = WebPkiClientVerifier::builder_with_provider(self.roots.clone(), self.provider.clone()).build();
        let verifier = verifier.map_err(set_up)?;
        ServerConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(VERSIONS)
            .map_err(set_up)?
            .with_client_cert_verifier(verifier)
            .with_single_cert(self.chain.clone(), self.key.clone_key())
            .map_err(set_up)
    }

    /// An HTTP client that talks to this peer and to nobody else, wherever it is.
    ///
    /// # Errors
    /// [`TlsError::SetUp`].
    pub fn client(&self, peer: &str) -> Result<reqwest::Client, TlsError> {
        let roots = WebPkiServerVerifier::builder_with_provider(self.roots.clone(), self.provider.clone()).build();
        let name = ServerName::try_from(peer.to_owned()).map_err(set_up)?;
        let verifier = Named { roots: roots.map_err(set_up)?, name };
        let config = ClientConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(VERSIONS)
            .map_err(set_up)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_auth_cert(self.chain.clone(), self.key.clone_key())
            .map_err(set_up)?;
        let client = reqwest::Client::builder().no_proxy().connect_timeout(CONNECT_TIMEOUT).https_only(true);
        let client = client.redirect(reqwest::redirect::Policy::none()).tls_backend_preconfigured(config);
        client.build().map_err(set_up)
    }
}

fn set_up(error: impl fmt::Display) -> TlsError {
    TlsError::SetUp(error.to_string())
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let fault = |what: String| TlsError::File { path: path.to_owned(), what };
    let found: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(path).map_err(|error| fault(error.to_string()))?.collect();
    found.map_err(|error| fault(error.to_string()))
}

/// Takes a certificate of the authority that is for this name, whatever the address was called.
#[derive(Debug)]
struct Named {
    roots: Arc<WebPkiServerVerifier>,
    name: ServerName<'static>,
}

impl ServerCertVerifier for Named {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _address: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.roots.verify_server_cert(end_entity, intermediates, &self.name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.roots.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.roots.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.roots.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests;
