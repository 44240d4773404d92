//! The services by name, and what each process of one is given.

use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use aggregator::emit::Emitter;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::listen::BindError;
use crate::store::StoreError;
use crate::tls::TlsError;

/// A service: each runs in a process of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Service {
    /// Inbound SMTP.
    Mx,
    /// Submission, with STARTTLS and with TLS.
    Submission,
    /// The queue and outbound SMTP.
    Queue,
    /// IMAP.
    Imap,
    /// POP3.
    Pop3,
    /// Webmail.
    Web,
}

impl Service {
    /// Every service.
    pub const ALL: [Service; 6] =
        [Service::Mx, Service::Submission, Service::Queue, Service::Imap, Service::Pop3, Service::Web];

    /// Its name on the command line: `mx`, `submission` …
    pub const fn as_str(self) -> &'static str {
        match self {
            Service::Mx => "mx",
            Service::Submission => "submission",
            Service::Queue => "queue",
            Service::Imap => "imap",
            Service::Pop3 => "pop3",
            Service::Web => "web",
        }
    }
}

impl FromStr for Service {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|service| service.as_str() == text)
            .ok_or_else(|| format!("\"{text}\" is not one of {}", Self::ALL.map(Service::as_str).join(", ")))
    }
}

/// What a process gives its service.
#[derive(Debug, Clone)]
pub struct Context {
    /// Where `queue.db`, `directory.db`, `mailboxes.db` and `blobs/` are.
    pub data_dir: PathBuf,
    /// Where events go.
    pub emitter: Emitter,
    /// Cancelled when the service is to stop; it returns when its sessions have drained.
    pub shutdown: CancellationToken,
}

/// Why a service could not be started or go on.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// An address could not be bound.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// Certificate or key cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The store could not be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The system refused something.
    #[error("{doing}: {source}")]
    Io {
        /// What was being done.
        doing: String,
        /// Why it failed.
        source: std::io::Error,
    },
}

/// Runs a service until it is told to stop.
///
/// # Errors
/// It could not be started.
pub async fn serve(service: Service, config: Arc<Config>, context: Context) -> Result<(), ServeError> {
    let _ = (config, context);
    match service {
        Service::Mx | Service::Submission | Service::Queue | Service::Imap | Service::Pop3 | Service::Web => Ok(()),
    }
}
