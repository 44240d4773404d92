//! A watcher: one vantage. It runs the checks, trades observations with the other watchers, and judges.

mod afterwards;
mod budgets;
pub(crate) mod core;
mod driver;
mod judgements;
pub mod posture;
mod run;
pub(crate) mod service;
mod told;
mod writer;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aggregator::emit::Emitter;
use aggregator::event::Time;
use aggregator::metrics::watch as metrics;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use chrono_tz::Tz;
use futures_util::StreamExt as _;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use self::afterwards::Waiting;
use self::core::Core;
use self::driver::{Command, Driver};
use self::told::Told;
use crate::config::Config;
use crate::control::Health;
use crate::exchange::listen::Caller;
use crate::exchange::tls::{Identity, TlsError};
use crate::exchange::{self, Batch, Link, Refusal};
use crate::history::{History, HistoryError};
use crate::judgement::Judgement;
use crate::keys::{KeyError, PublicKey, SigningKey};
use crate::kind::Awaited;
use crate::observation::Observation;
use crate::roster::{Change, Epoch, NotChanged, Roster};
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
    /// What it shows to the other watchers; `None`: they speak plain HTTP.
    pub identity: Option<Arc<Identity>>,
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
    /// Mutual TLS with the others cannot be had.
    #[error(transparent)]
    Tls(#[from] TlsError),
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
    health: Arc<Health>,
    /// When each peer spoke last, by its own clock: what it said before is a replay.
    spoken: Arc<Spoken>,
    /// The same of what was refused because the clocks are apart: it tells of the clocks once.
    misdated: Arc<Spoken>,
    posture: watch::Receiver<Arc<Vec<posture::Audited>>>,
}

/// When each peer spoke last, by its own clock.
#[derive(Debug, Default)]
struct Spoken(Mutex<BTreeMap<String, Time>>);

impl Spoken {
    fn by(&self, watcher: &str) -> Option<Time> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(watcher).copied()
    }

    /// Whether the peer has not spoken at that time or later; from now on it has.
    fn is_news(&self, watcher: &str, sent_at: Time) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let news = last.get(watcher).is_none_or(|last| *last < sent_at);
        if news {
            last.insert(watcher.to_owned(), sent_at);
        }
        news
    }
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
    let (for_core, name, signing, now) = (config.clone(), me.to_owned(), key.clone(), Time::now());
    let restore = move || -> Result<(Arc<History>, Core, Waiting), HistoryError> {
        let (history, aside) = History::open(&path)?;
        if let Some(aside) = aside {
            let aside = aside.display();
            tracing::error!("the history was damaged; it is set aside as {aside}, and a fresh one begun");
        }
        let core = restored(for_core.clone(), (index, &name, &signing), &history, now)?;
        let waiting = waited_for(&for_core, &core, &history)?;
        Ok((Arc::new(history), core, waiting))
    };
    let (history, core, waiting) = tokio::task::spawn_blocking(restore).await??;

    let (commands, command_queue) = mpsc::channel(COMMANDS);
    let (acknowledged, acknowledgements) = mpsc::channel(COMMANDS);
    let (jobs, job_queue) = mpsc::channel(writer::QUEUE);
    let (loaded_sender, loaded) = mpsc::channel(1);
    let http = reqwest::Client::builder().no_proxy().connect_timeout(Duration::from_secs(2)).build()?;
    let epochs = watch::Sender::new(Arc::new(core.roster().epochs().cloned().collect::<Vec<_>>()));
    let (mut links, mut news) = (JoinSet::new(), Vec::new());
    for peer in watchers.iter().filter(|watcher| watcher.name != me) {
        let link = Link {
            peer: peer.name.clone(),
            url: peer.peer_url(context.identity.is_some()),
            me: me.to_owned(),
            key: key.clone(),
            history: history.clone(),
            news: Arc::new(Notify::new()),
            epochs: epochs.subscribe(),
            acknowledged: acknowledged.clone(),
            http: match &context.identity {
                Some(identity) => identity.client(&peer.name)?,
                None => http.clone(),
            },
        };
        news.push(link.news.clone());
        links.spawn(link.run(context.shutdown.clone()));
    }
    let health = Arc::new(Health::new(&config.watch));
    let clock = health.clone();
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
        waiting,
        prober,
        health: health.clone(),
        keys: keys.iter().map(|(name, key)| (name.clone(), *key)).chain([(me.to_owned(), key.public())]).collect(),
        key,
        epochs,
        emitter: context.emitter,
        judgements: context.judgements,
        jobs,
        zone: context.time_zone,
        commands: command_queue,
        acknowledged: acknowledgements,
        loaded,
        shutdown: context.shutdown.clone(),
    };
    let handle =
        Handle { commands, keys: Arc::new(keys), health, spoken: Arc::default(), misdated: Arc::default(), posture };
    let budgets = budgets::Shown::begin(&config, &handle);
    let writer = tokio::spawn(writer::run(history, job_queue, loaded_sender, me.to_owned(), news));
    let task = tokio::spawn(async move {
        // The driver owns the writer's queue: when it ends, the writer writes the rest and ends too.
        tokio::join!(driver.run(), clock.watch_clock(&context.shutdown));
        drop(budgets);
        let _ = writer.await;
        let _ = auditing.await;
        links.shutdown().await;
    });
    Ok((handle, task))
}

/// The roster on record; at the first start every watcher of the configuration votes.
fn roster(
    config: &Config,
    (me, key): (&str, &SigningKey),
    history: &History,
    now: Time,
) -> Result<Roster, HistoryError> {
    let kept = history.epochs()?;
    if !kept.is_empty() {
        let roster = Roster::kept(kept);
        let (voters, named) = (roster.in_force(now).1, config.watch.watcher.iter().map(|watcher| &watcher.name));
        for name in named.clone().filter(|name| !voters.contains(name)) {
            tracing::warn!("watcher \"{name}\" has no vote yet; `varde watch --name {name} --join` gives it one");
        }
        for name in voters.iter().filter(|name| !named.clone().any(|other| other == *name)) {
            tracing::warn!(
                "\"{name}\" still votes, but is no [[watch.watcher]]; `varde watch --name {name} --drain` ends it"
            );
        }
        return Ok(roster);
    }
    let roster = Roster::begin(config, me, key, now);
    roster.epochs().try_for_each(|epoch| history.enrol(epoch))?;
    Ok(roster)
}

/// The state that the history tells of.
fn restored(
    config: Arc<Config>,
    (index, me, key): (usize, &str, &SigningKey),
    history: &History,
    now: Time,
) -> Result<Core, HistoryError> {
    let roster = roster(&config, (me, key), history, now)?;
    let until = exchange::horizon(now);
    let slots: BTreeMap<(String, String), i64> =
        history.last_slots(me, until)?.into_iter().map(|(target, check, slot)| ((target, check), slot)).collect();
    let last_slot = |target: &str, check: &str| slots.get(&(target.to_owned(), check.to_owned())).copied();
    let announced = |service: &service::Service| history.announced(&service.target, &service.name).ok().flatten();
    let mut core = Core::new(config, index, roster, now, last_slot, announced);
    for service in 0..core.services.len() {
        let votes = driver::load(&core, service).read(history)?;
        let place = &mut core.services[service];
        let shown = now.plus_millis(-service::SHOWN_DAYS * 86_400_000);
        place.told = Told::so_far(history.told(&place.target, &place.name, shown)?);
        place.sweep(now);
        place.restore(votes, now);
    }
    core.tell_unwatched();
    history.latest(until)?.into_iter().for_each(|seen| core.recall(seen));
    Ok(core)
}

/// The messages that this watcher still waited for when it stopped.
fn waited_for(config: &Config, core: &Core, history: &History) -> Result<Waiting, HistoryError> {
    let since = Time::now().plus_millis(-(afterwards::AWAITED_MS as i64));
    let mut waiting = Waiting::default();
    for run in history.unanswered(core.name(), since)? {
        let seat = core.seats.iter().position(|seat| {
            let target = &config.target[seat.target];
            target.name == run.target && target.check[seat.check].name == run.check
        });
        if let Some(seat) = seat {
            waiting.add(seat, Awaited { run_id: run.run_id, ts: run.ts });
        }
    }
    Ok(waiting)
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

    /// Checks a batch, and keeps what it tells of the clocks.
    fn open(
        &self,
        (watcher, signature): (&str, &str),
        certificate: Option<&str>,
        body: &[u8],
        now: Time,
    ) -> Result<(Batch, usize), Refusal> {
        if let Some(certificate) = certificate.filter(|certificate| *certificate != watcher) {
            let (certificate, watcher) = (certificate.to_owned(), watcher.to_owned());
            return Err(Refusal::Certificate { certificate, watcher });
        }
        let opened = Batch::open(watcher, signature, body, &self.keys, now);
        if let Err(Refusal::Clock { watcher, offset_ms, sent_at }) = &opened
            && self.spoken.by(watcher).is_none_or(|last| last < *sent_at)
            && self.misdated.is_news(watcher, *sent_at)
        {
            self.health.heard(watcher, *offset_ms, now);
        }
        let opened = opened?;
        let sent_at = opened.0.sent_at;
        if !self.spoken.is_news(watcher, sent_at) {
            return Err(Refusal::Replayed(watcher.to_owned()));
        }
        self.health.heard(watcher, sent_at.0.saturating_sub(now.0) / 1_000, now);
        Ok(opened)
    }

    /// Lets another watcher vote, or one fewer, from a near instant on that all watchers are told.
    ///
    /// # Errors
    /// See [`NotChanged`]; `None`: the watcher has stopped or does not answer.
    pub async fn enrol(&self, change: Change) -> Option<Result<Epoch, NotChanged>> {
        let (reply, answer) = oneshot::channel();
        let ask = async {
            self.commands.send(Command::Enrol { change, reply }).await.ok()?;
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

async fn observations(
    State(handle): State<Handle>,
    caller: Option<Extension<ConnectInfo<Caller>>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (watcher, signature) = (header(exchange::WATCHER_HEADER), header(exchange::SIGNATURE_HEADER));
    let certificate = caller.and_then(|caller| caller.0.0.watcher);
    let (batch, refused) = match handle.open((watcher, signature), certificate.as_deref(), &body, Time::now()) {
        Ok(opened) => opened,
        Err(refusal) => {
            tracing::warn!("observations of a peer were refused: {refusal}");
            let status = match refusal {
                Refusal::UnknownWatcher(_) | Refusal::Signature(_) | Refusal::Certificate { .. } => {
                    StatusCode::FORBIDDEN
                }
                Refusal::Malformed(_) => StatusCode::BAD_REQUEST,
                Refusal::Clock { .. } | Refusal::Replayed(_) => StatusCode::CONFLICT,
            };
            metrics::EXCHANGE_REFUSED.with(&[refusal.word()]).inc();
            return (status, format!("{}: {refusal}\n", refusal.word())).into_response();
        }
    };
    let now = Time::now();
    metrics::EXCHANGE_HEARD.with(&[&batch.from]).set(now.0 as f64 / 1e6);
    for seen in &batch.observations {
        let lag_ms = now.millis_since(seen.ts).saturating_sub(seen.total_ms.into());
        metrics::EXCHANGE_LAG.with(&[&batch.from]).observe_ms(lag_ms);
    }
    let (reply, answer) = oneshot::channel();
    let Batch { from, observations, epochs, .. } = batch;
    let command = Command::Heard { from, observations, epochs, reply };
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
    let (prober, health) = (run::kinds(), Health::new(&config.watch));
    let targets = config.target.iter().filter(|place| target.is_none_or(|name| name == place.name));
    let chosen = targets.flat_map(|place| place.check.iter().map(move |probe| (place, probe)));
    let chosen = chosen.filter(|(_, probe)| check.is_none_or(|name| name == probe.name));
    let runs = chosen
        .map(|(place, probe)| run::observe(&prober, &health, config, place, probe, vantage, run::Turn::default()));
    futures_util::stream::iter(runs.collect::<Vec<_>>())
        .buffered(CONCURRENT_PROBES)
        .map(|observed| observed.seen)
        .collect()
        .await
}

#[cfg(test)]
mod tests;
