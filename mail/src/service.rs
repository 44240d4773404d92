//! The services by name, and what each process of one is given.

use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use aggregator::emit::Emitter;
use aggregator::metrics;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::http::Bounded;
use crate::listen::{BindError, Listener, Opening};
use crate::queue::attempt::Courier;
use crate::queue::collect::Collector;
use crate::queue::health::{self, Pulse};
use crate::queue::id;
use crate::queue::manager::Manager;
use crate::queue::relay::Relay;
use crate::queue::route::SystemDns;
use crate::queue::store::Queue;
use crate::smtp::server::{Parts, Server};
use crate::smtp::session::Role;
use crate::store::{StoreError, Stores};
use crate::tls::{ServerTls, TlsError};

/// The queue's database, in the data directory.
const QUEUE: &str = "queue.db";

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
    match service {
        Service::Mx => mx(config, context).await,
        Service::Submission => submission(config, context).await,
        Service::Queue => queue(config, context).await,
        Service::Imap => crate::imap::serve(config, context).await,
        Service::Pop3 => crate::pop3::serve(config, context).await,
        Service::Web => crate::webmail::serve(config, context).await,
    }
}

/// A server of a role with the stores of the data directory.
fn server(role: Role, tls: Arc<ServerTls>, config: &Arc<Config>, context: &Context) -> Result<Arc<Server>, ServeError> {
    metrics::event::show_receptions();
    let Stores { blobs, directory, mailboxes } = Stores::open(&context.data_dir)?;
    let queue = Queue::open(&context.data_dir.join(QUEUE))?;
    let (config, emitter) = (Arc::clone(config), context.emitter.clone());
    Ok(Arc::new(Server::new(role, Parts { config, tls, directory, blobs, mailboxes, queue, emitter })))
}

async fn mx(config: Arc<Config>, context: Context) -> Result<(), ServeError> {
    let tls = Arc::new(ServerTls::load(&config.certificate, &config.key)?);
    let listener = Listener::bind("mx_listen", config.mx_listen, Opening::Plain).await?;
    let server = server(Role::Mx, tls, &config, &context)?;
    listener.run(&config.limits, server, context.shutdown).await;
    Ok(())
}

async fn submission(config: Arc<Config>, context: Context) -> Result<(), ServeError> {
    let tls = Arc::new(ServerTls::load(&config.certificate, &config.key)?);
    let plain = Listener::bind("submission_listen", config.submission_listen, Opening::Plain).await?;
    let opening = Opening::Tls(Arc::clone(&tls));
    let over_tls = Listener::bind("submissions_listen", config.submissions_listen, opening).await?;
    let server = server(Role::Submission, tls, &config, &context)?;
    tokio::join!(
        plain.run(&config.limits, Arc::clone(&server), context.shutdown.clone()),
        over_tls.run(&config.limits, server, context.shutdown.clone()),
    );
    Ok(())
}

async fn queue(config: Arc<Config>, context: Context) -> Result<(), ServeError> {
    let io = |doing: &str| {
        let doing = doing.to_owned();
        move |source| ServeError::Io { doing, source }
    };
    let health = Listener::bind("queue_listen", config.queue_listen, Opening::Plain).await?;
    let health = Bounded::new(health.name, health.socket, &config.limits);
    let Stores { blobs, directory, mailboxes } = Stores::open(&context.data_dir)?;
    let queue = Queue::open(&context.data_dir.join(QUEUE))?;
    let owner = id::trace_id().map_err(io("naming the queue process"))?;
    let dns = Arc::new(SystemDns::new().map_err(io("reading the system's resolver configuration"))?);
    let relay = Relay::new(&config.hostname, &config.limits);
    let pulse = Arc::new(Pulse::default());
    let _telling = health::tell(queue.clone(), Arc::clone(&pulse));
    metrics::event::show_deliveries();
    let routes = health::router(queue.clone(), Arc::clone(&pulse));
    let collector = Collector::new(queue.clone(), Arc::clone(&blobs), Arc::clone(&mailboxes));
    let emitter = context.emitter.clone();
    let courier = Courier { config, queue, blobs, directory, mailboxes, dns, relay, emitter };
    let stop = context.shutdown.clone().cancelled_owned();
    let manager = Manager::new(courier, pulse, owner).run(context.shutdown.clone());
    let collector = collector.run(context.shutdown);
    let served = async { axum::serve(health, routes).with_graceful_shutdown(stop).await };
    let ((), (), served) = tokio::join!(manager, collector, served);
    served.map_err(io("serving the health of the queue"))
}
