//! Certificates of our listeners: loaded from files, and again when the files change.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// Why certificate and key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or is not PEM of its kind.
    #[error("reading the {what} {path}: {source}; check the path, its mode and that it is PEM", path = path.display())]
    Read {
        /// `certificate` or `key`.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: rustls_pki_types::pem::Error,
    },
    /// The certificate file holds no certificate.
    #[error("the certificate {path} holds no certificate; put the chain there, the server's own first", path = .0.display())]
    Empty(PathBuf),
    /// They do not belong together, or the provider refuses them.
    #[error("using the certificate {certificate} with the key {key}: {source}", certificate = certificate.display(), key = key.display())]
    Use {
        /// The certificate file.
        certificate: PathBuf,
        /// The key file.
        key: PathBuf,
        /// Why.
        source: rustls::Error,
    },
}

/// The TLS side of our listeners. Shared by every session of a process.
#[derive(Debug)]
pub struct ServerTls {
    certificate: PathBuf,
    key: PathBuf,
    current: Mutex<Loaded>,
}

#[derive(Debug)]
struct Loaded {
    /// When the two files were last changed, as far as the file system tells.
    changed: [Option<SystemTime>; 2],
    config: Arc<ServerConfig>,
}

impl ServerTls {
    /// Loads certificate and key.
    ///
    /// # Errors
    /// The file that cannot be used, and why.
    pub fn load(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let changed = [changed(certificate), changed(key)];
        let config = load(certificate, key)?;
        Ok(Self {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
            current: Mutex::new(Loaded { changed, config }),
        })
    }

    /// The configuration for the next handshake. When a file changed it is loaded again; while the new files cannot
    /// be used the old ones stay.
    pub fn config(&self) -> Arc<ServerConfig> {
        let changed = [changed(&self.certificate), changed(&self.key)];
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.changed != changed {
            current.changed = changed;
            match load(&self.certificate, &self.key) {
                Ok(config) => {
                    tracing::info!(certificate = %self.certificate.display(), "the certificate was loaded again");
                    current.config = config;
                }
                Err(error) => tracing::error!(%error, "the new certificate cannot be used, the old one stays"),
            }
        }
        Arc::clone(&current.config)
    }
}

fn changed(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).and_then(|metadata| metadata.modified()).ok()
}

fn load(certificate: &Path, key: &Path) -> Result<Arc<ServerConfig>, TlsError> {
    let read = |what, path: &Path| {
        let path = path.to_owned();
        move |source| TlsError::Read { what, path, source }
    };
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect)
        .map_err(read("certificate", certificate))?;
    if chain.is_empty() {
        return Err(TlsError::Empty(certificate.to_owned()));
    }
    let private = PrivateKeyDer::from_pem_file(key).map_err(read("key", key))?;
    ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, private))
        .map(Arc::new)
        .map_err(|source| TlsError::Use { certificate: certificate.to_owned(), key: key.to_owned(), source })
}
