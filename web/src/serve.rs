//! Starts the two sites and the tasks behind them, and ends them.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use aggregator::emit::Emitter;
use aggregator::event::Time;
use aggregator::listen::{Bounded, IDLE, Peer};
use aggregator::metrics::observe_requests;
use axum::Router;
use chrono_tz::Tz;
use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::auth::Auth;
use crate::config::Config;
use crate::page::{OperatorSite, PublicSite, Site, public};
use crate::routes;
use crate::source::watcher::WatcherClient;
use crate::source::{Source, mail, posture};

/// Requests under way may take this long after the stop.
const GRACE: Duration = Duration::from_secs(5);

/// What the sites need besides their own section.
pub struct WebContext {
    /// The site's name.
    pub site_name: String,
    /// The time zone of every instant and day on the pages.
    pub time_zone: Tz,
    /// Where the last known states are kept, in a folder `web`.
    pub data_dir: PathBuf,
    /// Every watcher: name, title for people, URL. In the order in which they are shown.
    pub watchers: Vec<(String, String, String)>,
    /// The read-only user of ClickHouse.
    pub clickhouse: aggregator::clickhouse::Client,
    /// What this process shows to a watcher when it acknowledges for a person.
    pub operator_key: String,
    /// Where people read their mail, if the bundled webmail runs.
    pub webmail_url: Option<String>,
    /// Where log-ins are told.
    pub emitter: Emitter,
    /// Ends everything.
    pub shutdown: CancellationToken,
}

/// Why the sites could not start, or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// An address is taken or is none of ours.
    #[error("listening on {address} ([web] {key}) failed: {source}; free the port or choose another one")]
    Listen {
        /// The configuration key.
        key: &'static str,
        /// The address.
        address: String,
        /// Why.
        source: std::io::Error,
    },
    /// The operators file cannot be used.
    #[error("reading the operators from {} failed: {reason}", file.display())]
    Operators {
        /// The file.
        file: PathBuf,
        /// Why.
        reason: String,
    },
    /// The session key cannot be used.
    #[error("reading the session key from {} failed: {reason}; put 32 random octets or more there", file.display())]
    SessionKey {
        /// The file.
        file: PathBuf,
        /// Why.
        reason: String,
    },
    /// A watcher's URL is none.
    #[error("the URL \"{url}\" of the watcher {watcher} is wrong: {reason}")]
    WatcherUrl {
        /// The watcher.
        watcher: String,
        /// The URL.
        url: String,
        /// Why.
        reason: String,
    },
    /// The HTTP client could not be set up.
    #[error("setting up the HTTP client failed: {0}")]
    Client(#[from] reqwest::Error),
    /// A site or a task ended by itself.
    #[error("{task} ended unexpectedly: {reason}")]
    Ended {
        /// Which.
        task: &'static str,
        /// Why.
        reason: String,
    },
}

/// Runs both sites until the context's `shutdown`.
///
/// # Errors
/// See [`ServeError`].
pub async fn serve(config: Config, context: WebContext) -> Result<(), ServeError> {
    let operator = listen("operator_listen", &config.operator_listen).await?;
    let public = listen("public_listen", &config.public_listen).await?;
    serve_on(config, context, operator, public).await
}

/// The same, on listeners that are already there.
pub(crate) async fn serve_on(
    config: Config,
    context: WebContext,
    operator_listener: TcpListener,
    public_listener: TcpListener,
) -> Result<(), ServeError> {
    let shutdown = context.shutdown.clone();
    let folder = context.data_dir.join("web");
    let clients = clients(&context.watchers)?;
    let auth = Auth::load(
        &config.operators_file,
        &config.session_key_file,
        folder.join("logged-out.json"),
        config.is_https(),
        context.emitter,
    )?;
    let site = Site { name: context.site_name, zone: context.time_zone, webmail_url: context.webmail_url };
    let nudge = Arc::new(Notify::new());
    let source = Source {
        clients: clients.clone(),
        operator_key: context.operator_key.clone(),
        file: folder.join("last-known.json"),
        publish: public::publisher(site.clone()),
        nudge: Arc::clone(&nudge),
    };
    let (answers, first) = source.first(Time::now()).await;
    let (snapshot_in, snapshot) = watch::channel(Arc::new(first));
    let (mail_in, mail) = watch::channel(mail::Mail::default());
    let (posture_in, posture) = watch::channel(Arc::default());
    let asked = clients.clone();
    let operator = Arc::new(OperatorSite {
        site,
        auth,
        snapshot: snapshot.clone(),
        mail,
        posture,
        watchers: clients,
        operator_key: context.operator_key,
        nudge,
    });

    let mut tasks: JoinSet<(&'static str, Result<(), String>)> = JoinSet::new();
    let token = shutdown.clone();
    tasks.spawn(async move {
        source.run(answers, snapshot_in, token).await;
        ("the task that asks the watchers", Ok(()))
    });
    let token = shutdown.clone();
    tasks.spawn(async move {
        posture::run(asked, posture_in, token).await;
        ("the task that asks the watchers for their audits", Ok(()))
    });
    let token = shutdown.clone();
    let zone = context.time_zone;
    tasks.spawn(async move {
        mail::run(context.clickhouse, zone, mail_in, token).await;
        ("the task that asks ClickHouse", Ok(()))
    });
    let operator = observe_requests(routes::operator(operator), "operator");
    tasks.spawn(run("the operator's site", operator_listener, operator, shutdown.clone()));
    let public = observe_requests(routes::public(Arc::new(PublicSite { snapshot })), "public");
    tasks.spawn(run("the public site", public_listener, public, shutdown.clone()));
    supervise(tasks, &shutdown).await
}

/// Waits for all; one that ends before the stop ends the others.
async fn supervise(
    mut tasks: JoinSet<(&'static str, Result<(), String>)>,
    shutdown: &CancellationToken,
) -> Result<(), ServeError> {
    let mut outcome = Ok(());
    while let Some(joined) = tasks.join_next().await {
        let fault = match joined {
            Ok((_, Ok(()))) if shutdown.is_cancelled() => None,
            Ok((task, Ok(()))) => Some((task, "it returned".to_owned())),
            Ok((task, Err(reason))) => Some((task, reason)),
            Err(error) => Some(("a task", error.to_string())),
        };
        if let (Some((task, reason)), Ok(())) = (fault, &outcome) {
            outcome = Err(ServeError::Ended { task, reason });
            shutdown.cancel();
        }
    }
    outcome
}

async fn run(
    name: &'static str,
    listener: TcpListener,
    router: Router,
    shutdown: CancellationToken,
) -> (&'static str, Result<(), String>) {
    let service = router.into_make_service_with_connect_info::<Peer>();
    let server =
        axum::serve(Bounded::new(listener, IDLE), service).with_graceful_shutdown(shutdown.clone().cancelled_owned());
    let late = async {
        shutdown.cancelled().await;
        tokio::time::sleep(GRACE).await;
    };
    let ended = tokio::select! {
        ended = server => ended.map_err(|error| error.to_string()),
        () = late => {
            tracing::warn!(site = name, "requests under way did not end within 5 s of the stop; they are cut off");
            Ok(())
        }
    };
    (name, ended)
}

async fn listen(key: &'static str, address: &str) -> Result<TcpListener, ServeError> {
    let listener = TcpListener::bind(address).await;
    listener.map_err(|source| ServeError::Listen { key, address: address.to_owned(), source })
}

fn clients(watchers: &[(String, String, String)]) -> Result<Vec<WatcherClient>, ServeError> {
    let http = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build()?;
    watchers
        .iter()
        .map(|(name, title, url)| {
            let wrong = |reason: String| ServeError::WatcherUrl { watcher: name.clone(), url: url.clone(), reason };
            let parsed: reqwest::Url = url.parse().map_err(|error| wrong(format!("{error}")))?;
            if parsed.cannot_be_a_base() {
                return Err(wrong("it has no host".to_owned()));
            }
            Ok(WatcherClient::new(name.clone(), title.clone(), parsed, http.clone()))
        })
        .collect()
}
