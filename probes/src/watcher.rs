//! A watcher: one vantage. It runs the checks, trades observations with the other watchers, and judges.

pub(crate) mod core;
mod driver;
pub mod posture;
mod run;
mod service;
mod waiting;
mod writer;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use aggregator::emit::Emitter;
use aggregator::event::Time;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use chrono_tz::Tz;
use futures_util::StreamExt as _;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use self::core::Core;
use self::driver::{Command, Driver};
use crate::config::Config;
use crate::exchange::{self, Batch, Link, Refusal};
use crate::history::{History, HistoryError};
use crate::judgement::Judgement;
use crate::keys::{KeyError, PublicKey, SigningKey};
use crate::observation::Observation;
use crate::status::Status;

/// Requests that may wait for the watcher; further ones wait at their sender.
const COMMANDS: usize = 64;
/// How long a request waits for the watcher before it says that it does not answer.
const ANSWER: Duration = Duration::from_secs(3);
/// Checks that `probe_once` runs at the same time at most.
const CONCURRENT_PROBES: usize = 8;

/// What a watcher needs beside its configuration.
pub struct WatcherContext {
    /// Its own folder: the history is `history.sqlite` in it.
    pub data_dir: PathBuf,
    /// Where its events go.
    pub emitter: Emitter,
    /// Where its judgements go. When the responder is behind they wait in the watcher, and only suspicions are dropped.
    pub judgements: mpsc::Sender<Judgement>,
    /// The zone whose days the page shows.
    pub time_zone: Tz,
    /// When to stop.
    pub shutdown: CancellationToken,
}

/// Why a watcher did not start.
#[derive(Debug, thiserror::Error)]
pub enum WatcherError {
    /// It is not in the configuration.
    #[error("there is no [[watch.watcher]] named \"{0}\"; add it, or start one of those that are there")]
    Unknown(String),
    /// It has no key of its own.
    #[error("watcher \"{0}\" has no key_file; it needs its secret key to sign what it tells the others")]
    NoKey(String),
    /// A key could not be read.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Its history could not be opened.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// The HTTP client could not be made.
    #[error("the HTTP client of the exchange could not be made: {0}")]
    Http(#[from] reqwest::Error),
    /// A task of its start broke off.
    #[error("the watcher's start broke off: {0}")]
    Start(#[from] tokio::task::JoinError),
}

/// The way to a watcher that runs. Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    commands: mpsc::Sender<Command>,
    keys: Arc<BTreeMap<String, PublicKey>>,
    posture: watch::Receiver<Arc<Vec<posture::Audited>>>,
}

/// Starts the watcher `me`. The paths of the configuration must have been resolved. The task ends after
/// `context.shutdown`, when the history is written.
///
/// # Errors
/// See [`WatcherError`].
pub async fn start(
    config: Arc<Config>,
    me: &str,
    context: WatcherContext,
) -> Result<(Handle, JoinHandle<()>), WatcherError> {
    start_with(config, me, context, run::kinds()).await
}

async fn start_with(
    config: Arc<Config>,
    me: &str,
    context: WatcherContext,
    prober: run::Prober,
) -> Result<(Handle, JoinHandle<()>), WatcherError> {
    let watchers = &config.watch.watcher;
    let unknown = || WatcherError::Unknown(me.to_owned());
    let index = watchers.iter().position(|watcher| watcher.name == me).ok_or_else(unknown)?;
    let key_file = watchers[index].key_file.as_ref().ok_or_else(|| WatcherError::NoKey(me.to_owned()))?;
    let key = Arc::new(SigningKey::read(key_file)?);
    let mut keys = BTreeMap::new();
    for peer in watchers.iter().filter(|watcher| watcher.name != me) {
        keys.insert(peer.name.clone(), PublicKey::read(&peer.public_key_file)?);
    }
    let path = context.data_dir.join("history.sqlite");
    let (for_core, name, now) = (config.clone(), me.to_owned(), Time::now());
    let restore = move || -> Result<(Arc<History>, Core), HistoryError> {
        let (history, aside) = History::open(&path)?;
        if let Some(aside) = aside {
            let aside = aside.display();
            tracing::error!("the history was damaged; it is set aside as {aside}, and a fresh one begun");
        }
        let core = restored(for_core, index, &name, &history, now)?;
        Ok((Arc::new(history), core))
    };
    let (history, core) = tokio::task::spawn_blocking(restore).await??;

    let (commands, command_queue) = mpsc::channel(COMMANDS);
    let (acknowledged, acknowledgements) = mpsc::channel(COMMANDS);
    let (jobs, job_queue) = mpsc::channel(writer::QUEUE);
    let (loaded_sender, loaded) = mpsc::channel(1);
    let http = reqwest::Client::builder().no_proxy().connect_timeout(Duration::from_secs(2)).build()?;
    let (mut links, mut news) = (JoinSet::new(), Vec::new());
    for peer in watchers.iter().filter(|watcher| watcher.name != me) {
        let link = Link {
            peer: peer.name.clone(),
            url: peer.base_url(),
            me: me.to_owned(),
            key: key.clone(),
            history: history.clone(),
            news: Arc::new(Notify::new()),
            acknowledged: acknowledged.clone(),
            http: http.clone(),
        };
        news.push(link.news.clone());
        links.spawn(link.run(context.shutdown.clone()));
    }
    let (told, posture) = watch::channel(Arc::new(Vec::new()));
    let auditor = posture::Auditor {
        domains: posture::assigned(&config.watch, me),
        me: me.to_owned(),
        history: history.clone(),
        emitter: context.emitter.clone(),
        told,
        audit: posture::audit(),
        shutdown: context.shutdown.clone(),
    };
    let auditing = tokio::spawn(auditor.run());
    let driver = Driver {
        core,
        config: config.clone(),
        prober,
        emitter: context.emitter,
        judgements: context.judgements,
        jobs,
        zone: context.time_zone,
        commands: command_queue,
        acknowledged: acknowledgements,
        loaded,
        shutdown: context.shutdown,
    };
    let writer = tokio::spawn(writer::run(history, job_queue, loaded_sender, me.to_owned(), news));
    let task = tokio::spawn(async move {
        // The driver owns the writer's queue: when it ends, the writer writes the rest and ends too.
        driver.run().await;
        let _ = writer.await;
        let _ = auditing.await;
        links.shutdown().await;
    });
    Ok((Handle { commands, keys: Arc::new(keys), posture }, task))
}

/// The state that the history tells of.
fn restored(config: Arc<Config>, index: usize, me: &str, history: &History, now: Time) -> Result<Core, HistoryError> {
    let until = exchange::horizon(now);
    let slots: BTreeMap<(String, String), i64> =
        history.last_slots(me, until)?.into_iter().map(|(target, check, slot)| ((target, check), slot)).collect();
    let last_slot = |target: &str, check: &str| slots.get(&(target.to_owned(), check.to_owned())).copied();
    let announced = |service: &service::Service| history.announced(&service.target, &service.name).ok().flatten();
    let mut core = Core::new(config.clone(), index, now, last_slot, announced);
    for service in 0..core.services.len() {
        core.services[service].sweep(now);
        let casts = driver::load(&config, &core, service).read(history)?;
        core.services[service].restore(casts, now);
    }
    history.latest(until)?.into_iter().for_each(|seen| core.recall(seen));
    Ok(core)
}

impl Handle {
    /// `GET /api/v1/status`, `GET /api/v1/posture`, `GET /health`, and what the other watchers tell: `POST /peer/v1/observations`.
    pub fn router(&self) -> Router {
        Router::new()
            .route("/api/v1/status", get(status))
            .route("/api/v1/posture", get(audits))
            .route("/health", get(health))
            .route(exchange::PATH, post(observations))
            .layer(DefaultBodyLimit::max(exchange::MAX_BODY_BYTES))
            .with_state(self.clone())
    }

    /// How things are. `None`: the watcher has stopped or does not answer.
    pub async fn status(&self) -> Option<Arc<Status>> {
        let (reply, answer) = oneshot::channel();
        let ask = async {
            self.commands.send(Command::Status(reply)).await.ok()?;
            answer.await.ok()
        };
        tokio::time::timeout(ANSWER, ask).await.ok()?
    }

    /// Runs all checks of a target now, and answers when each has been run. They count as confirmations. Empty: no
    /// such target, or the watcher has stopped.
    pub async fn run_target(&self, target: &str) -> Vec<Observation> {
        let (reply, answer) = oneshot::channel();
        if self.commands.send(Command::RunTarget { target: target.to_owned(), reply }).await.is_err() {
            return Vec::new();
        }
        answer.await.unwrap_or_default()
    }
}

async fn status(State(handle): State<Handle>) -> Response {
    match handle.status().await {
        Some(status) => Json(status.as_ref()).into_response(),
        None => (StatusCode::SERVICE_UNAVAILABLE, "the watcher does not answer\n").into_response(),
    }
}

async fn audits(State(handle): State<Handle>) -> Response {
    let audits = handle.posture.borrow().clone();
    Json(audits.as_ref()).into_response()
}

async fn health(State(handle): State<Handle>) -> Response {
    match handle.status().await {
        Some(_) => "ok\n".into_response(),
        None => (StatusCode::SERVICE_UNAVAILABLE, "the watcher does not answer\n").into_response(),
    }
}

async fn observations(State(handle): State<Handle>, headers: HeaderMap, body: Bytes) -> Response {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (watcher, signature) = (header(exchange::WATCHER_HEADER), header(exchange::SIGNATURE_HEADER));
    let (batch, refused) = match Batch::open(watcher, signature, &body, &handle.keys, Time::now()) {
        Ok(opened) => opened,
        Err(refusal) => {
            tracing::warn!("observations of a peer were refused: {refusal}");
            let status = match refusal {
                Refusal::UnknownWatcher(_) | Refusal::Signature(_) => StatusCode::FORBIDDEN,
                Refusal::Malformed(_) => StatusCode::BAD_REQUEST,
                Refusal::Clock { .. } => StatusCode::CONFLICT,
            };
            return (status, format!("{refusal}\n")).into_response();
        }
    };
    let (reply, answer) = oneshot::channel();
    let command = Command::Heard { from: batch.from, observations: batch.observations, reply };
    let heard = async {
        handle.commands.send(command).await.ok()?;
        answer.await.ok()
    };
    match tokio::time::timeout(ANSWER, heard).await {
        Ok(Some(())) => Json(serde_json::json!({ "refused": refused })).into_response(),
        _ => (StatusCode::SERVICE_UNAVAILABLE, "the watcher does not answer\n").into_response(),
    }
}

/// Runs checks once, for `varde probe`: all of them, or those of one target, or of one name. In configured order.
pub async fn probe_once(config: &Config, vantage: &str, target: Option<&str>, check: Option<&str>) -> Vec<Observation> {
    let prober = run::kinds();
    let targets = config.target.iter().filter(|place| target.is_none_or(|name| name == place.name));
    let chosen = targets.flat_map(|place| place.check.iter().map(move |probe| (place, probe)));
    let chosen = chosen.filter(|(_, probe)| check.is_none_or(|name| name == probe.name));
    let runs = chosen.map(|(place, probe)| run::observe(&prober, config, place, probe, vantage, None));
    futures_util::stream::iter(runs.collect::<Vec<_>>()).buffered(CONCURRENT_PROBES).collect().await
}

#[cfg(test)]
mod tests;
