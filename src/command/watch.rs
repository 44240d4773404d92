//! `varde watch`: the watching side and the alerting side, joined by a channel of judgements.
//!
//! A process lives through several configurations: SIGHUP, and certificates that were renewed, end one life of the
//! watcher and begin the next from its history, on the same socket, so that nobody finds the door closed.

mod operate;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use aggregator::emit::Emitter;
use aggregator::event::Time;
use aggregator::listen::{Bounded, IDLE};
use alerts::responder::{self, Peer, Prober, ResponderContext};
use anyhow::Context;
use axum::middleware;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use probes::config::Watcher;
use probes::exchange::listen::{Caller, Doors, watchers_only};
use probes::exchange::tls::Identity;
use probes::keys::{PublicKey, SigningKey};
use probes::observation::Observation;
use probes::roster::Change;
use probes::watcher::{self, Handle, WatcherContext};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::cli::Watch;
use crate::config::Config;
use crate::{pki, roles, stop};

/// Judgements that may wait for the responder.
const JUDGEMENTS: usize = 256;
/// How often a watcher looks whether its certificate or the authority's was renewed, or should be.
const CERTIFICATE_EVERY: Duration = Duration::from_secs(3_600);
/// How long open requests may take when a life ends.
const GRACE: Duration = Duration::from_secs(5);

/// The watcher's probes, as the responder sees them.
struct Chain(Handle);

impl Prober for Chain {
    fn run_target<'a>(&'a self, target: &'a str) -> BoxFuture<'a, Vec<Observation>> {
        self.0.run_target(target).boxed()
    }
}

/// A runtime with a thread of its own. Probing has it for itself: whatever paging has to do, no check is late for it.
struct Apart(Option<Runtime>);

impl Apart {
    fn new() -> std::io::Result<Self> {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(1).thread_name("watching").enable_all().build().map(|runtime| Self(Some(runtime)))
    }

    fn spawn<T: Send + 'static>(&self, task: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
        match &self.0 {
            Some(runtime) => runtime.spawn(task),
            None => tokio::spawn(task),
        }
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// Runs one watcher until a signal, or asks the running ones to let it vote or not.
pub async fn run(args: &Watch) -> anyhow::Result<ExitCode> {
    let mut config = Arc::new(args.place.load()?);
    let me = args.name.as_str();
    if args.join || args.drain {
        let change = if args.join { Change::Join(me.to_owned()) } else { Change::Drain(me.to_owned()) };
        return operate::ask(&config, &change).await;
    }
    let stop = stop::on_signal_or_orphaned(args.place.supervised);
    let mut hangup = signal(SignalKind::hangup()).context("SIGHUP cannot be listened for")?;
    own(&config, me)?;
    let data_dir = config.path("watch").join(me);
    std::fs::create_dir_all(&data_dir).with_context(|| format!("{} cannot be made", data_dir.display()))?;
    let shipping_stop = CancellationToken::new();
    let (emitter, shipping) = roles::emitter(&config, &format!("watch-{me}"), shipping_stop.clone()).await?;
    let metrics = roles::metrics(&config, &format!("watch-{me}"), shipping_stop.clone());
    let mut socket = listen(own(&config, me)?).await?;
    let mut identity = identified(&config, me)?;
    let begin = |config: &Arc<Config>, identity: &Option<Arc<Identity>>, socket: &std::net::TcpListener| {
        let socket = socket.try_clone();
        let (config, identity, emitter, stop) = (config.clone(), identity.clone(), emitter.clone(), stop.clone());
        async move { Life::begin(config, identity, me, socket?, emitter, &stop).await }
    };
    let mut life = begin(&config, &identity, &socket).await?;
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            () = life.ended() => break,
            _ = hangup.recv() => tracing::info!("SIGHUP: the configuration is read again"),
            () = life.certificate_renewed(me) => tracing::info!("the certificates were renewed; they are taken"),
        }
        let (next, shown) = match reload(args, me).await {
            Ok(next) => next,
            Err(error) => {
                tracing::error!("{error:#}; the watcher goes on with the configuration that it has");
                continue;
            }
        };
        let door = match own(&next, me)?.listen == own(&config, me)?.listen {
            true => socket.try_clone().map_err(anyhow::Error::from),
            false => listen(own(&next, me)?).await,
        };
        let door = match door {
            Ok(door) => door,
            Err(error) => {
                tracing::error!("{error:#}; the watcher goes on with the configuration that it has");
                continue;
            }
        };
        life.end().await?;
        life = match begin(&next, &shown, &door).await {
            Ok(life) => {
                (config, identity, socket) = (next, shown, door);
                life
            }
            Err(error) => {
                // With the certificate that it had in memory: the files may be what is at fault.
                tracing::error!("{error:#}; the watcher goes back to the configuration that it had");
                begin(&config, &identity, &socket).await?
            }
        };
    }
    life.end().await?;
    shipping_stop.cancel();
    shipping.await?;
    metrics.await?;
    Ok(ExitCode::SUCCESS)
}

/// The configuration as it is now, as far as can be told without a fault in what this watcher needs of it.
async fn reload(args: &Watch, me: &str) -> anyhow::Result<(Arc<Config>, Option<Arc<Identity>>)> {
    let place = args.place.clone();
    let next = tokio::task::spawn_blocking(move || place.load()).await??;
    let identity = identified(&next, me)?;
    for watcher in &next.probes.watch.watcher {
        PublicKey::read(&watcher.public_key_file)?;
    }
    Ok((Arc::new(next), identity))
}

/// What the watcher shows of itself, when that is a certificate and the key to it.
fn identified(config: &Config, me: &str) -> anyhow::Result<Option<Arc<Identity>>> {
    let Some(identity) = pki::identity(config, own(config, me)?, Time::now())? else { return Ok(None) };
    identity.server()?;
    for peer in config.probes.watch.watcher.iter().filter(|watcher| watcher.name != me) {
        identity.client(&peer.name)?;
    }
    Ok(Some(Arc::new(identity)))
}

fn own<'a>(config: &'a Config, me: &str) -> anyhow::Result<&'a Watcher> {
    let found = config.probes.watch.watcher.iter().find(|watcher| watcher.name == me);
    found.with_context(|| format!("there is no [[watch.watcher]] with the name \"{me}\""))
}

async fn listen(watcher: &Watcher) -> anyhow::Result<std::net::TcpListener> {
    let bound = TcpListener::bind(watcher.listen).await.and_then(TcpListener::into_std);
    bound.with_context(|| format!("watcher \"{}\" cannot listen on {}", watcher.name, watcher.listen))
}

/// A watcher with one configuration.
struct Life {
    stop: CancellationToken,
    /// What it shows of itself, with the files of the authority and of its certificate.
    identity: Option<(Arc<Identity>, PathBuf, PathBuf)>,
    server: JoinHandle<std::io::Result<()>>,
    watcher: JoinHandle<()>,
    responder: JoinHandle<()>,
    /// What the watcher runs on; dropped when it has ended.
    _apart: Apart,
}

impl Life {
    async fn begin(
        config: Arc<Config>,
        identity: Option<Arc<Identity>>,
        me: &str,
        socket: std::net::TcpListener,
        emitter: Emitter,
        stop: &CancellationToken,
    ) -> anyhow::Result<Self> {
        let stop = stop.child_token();
        // Whatever fails on the way, what was begun ends.
        let begun = Self::begin_in(config, identity, me, socket, emitter, stop.clone()).await;
        if begun.is_err() {
            stop.cancel();
        }
        begun
    }

    async fn begin_in(
        config: Arc<Config>,
        identity: Option<Arc<Identity>>,
        me: &str,
        socket: std::net::TcpListener,
        emitter: Emitter,
        stop: CancellationToken,
    ) -> anyhow::Result<Self> {
        let probes_config = Arc::new(config.probes.clone());
        let watcher = own(&config, me)?;
        let doors = identity.as_ref().map(|identity| identity.server()).transpose()?;
        let (judge, judgements) = mpsc::channel(JUDGEMENTS);
        let watching = WatcherContext {
            data_dir: config.path("watch").join(me),
            emitter: emitter.clone(),
            judgements: judge,
            time_zone: config.site.time_zone,
            identity: identity.clone(),
            shutdown: stop.clone(),
        };
        let apart = Apart::new().context("the watcher's own thread cannot be started")?;
        let (name, its_config) = (me.to_owned(), probes_config.clone());
        let started = apart.spawn(async move { watcher::start(its_config, &name, watching).await });
        let (handle, watcher_task) = started.await??;
        let responding = responding(&config, me, identity.as_deref(), &handle, (emitter, judgements), stop.clone())?;
        let (responder, responder_task) = responder::start(Arc::new(config.alerts.clone()), responding).await?;

        let mut app = handle.router().merge(responder.router()).merge(operate::router(&config, handle)?);
        if identity.is_some() {
            let names = probes_config.watch.watcher.iter().map(|watcher| watcher.name.clone());
            let known: Arc<[String]> = names.filter(|name| name != me).collect();
            app = app.layer(middleware::from_fn_with_state(known, watchers_only));
        }
        let doors = Doors::new(Bounded::new(TcpListener::from_std(socket)?, IDLE), doors);
        let app = app.into_make_service_with_connect_info::<Caller>();
        let ending = stop.clone().cancelled_owned();
        let server = tokio::spawn(async move { axum::serve(doors, app).with_graceful_shutdown(ending).await });
        let files = probes_config.watch.authority.clone().zip(watcher.certificate.clone());
        let identity = identity.zip(files).map(|(identity, (authority, own))| (identity, authority, own));
        Ok(Self { stop, identity, server, watcher: watcher_task, responder: responder_task, _apart: apart })
    }

    /// When the server has ended of itself.
    async fn ended(&self) {
        while !self.server.is_finished() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    /// When the certificate on disk is another than the one that is shown, or the authority's is another than the one
    /// that is believed. Warns while it is due.
    async fn certificate_renewed(&self, me: &str) {
        let Some((identity, authority, own)) = &self.identity else { return std::future::pending().await };
        loop {
            if identity.shown().is_due(Time::now()) {
                let days = identity.shown().days_left(Time::now());
                tracing::warn!("the certificate of watcher \"{me}\" ends in {days} days; `varde pki rotate` renews it");
            }
            tokio::time::sleep(CERTIFICATE_EVERY).await;
            let (read, authority, own) = (identity.clone(), authority.clone(), own.clone());
            let same = tokio::task::spawn_blocking(move || read.is_as_read(&authority, &own)).await;
            if matches!(same, Ok(Ok(false))) {
                return;
            }
        }
    }

    /// Ends it, and waits until everything is on disk.
    async fn end(mut self) -> anyhow::Result<()> {
        self.stop.cancel();
        if tokio::time::timeout(GRACE, &mut self.server).await.is_err() {
            self.server.abort();
        }
        self.watcher.await?;
        self.responder.await?;
        Ok(())
    }
}

fn responding(
    config: &Config,
    me: &str,
    identity: Option<&Identity>,
    handle: &Handle,
    (emitter, judgements): (Emitter, mpsc::Receiver<probes::judgement::Judgement>),
    shutdown: CancellationToken,
) -> anyhow::Result<ResponderContext> {
    let watchers = &config.probes.watch.watcher;
    let plain = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build()?;
    let peers = watchers.iter().filter(|watcher| watcher.name != me).map(|watcher| {
        Ok(Peer {
            name: watcher.name.clone(),
            url: watcher.peer_url(identity.is_some()),
            public_key: PublicKey::read(&watcher.public_key_file)?,
            http: match identity {
                Some(identity) => identity.client(&watcher.name)?,
                None => plain.clone(),
            },
        })
    });
    let watcher = own(config, me)?;
    let key_file = watcher.key_file.as_ref().with_context(|| format!("watcher \"{me}\" has no key_file"))?;
    Ok(ResponderContext {
        site: config.site.name.clone(),
        data_dir: config.path("watch").join(me),
        vantage: me.to_owned(),
        url: watcher.base_url(),
        rank: watchers.iter().position(|watcher| watcher.name == me).unwrap_or_default(),
        key: SigningKey::read(key_file)?,
        peers: peers.collect::<anyhow::Result<_>>()?,
        nodes: BTreeMap::from([(config.node.name.clone(), PublicKey::read(&config.node.public_key_file)?)]),
        emitter,
        judgements,
        prober: Arc::new(Chain(handle.clone())),
        shutdown,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_that_does_not_fit_its_key_is_told_before_a_life_ends_for_it() {
        let folder = tempfile::tempdir().unwrap();
        let (config, _) = crate::init::complete(folder.path(), 0).unwrap();
        let [one, other, ..] = &config.probes.watch.watcher[..] else { panic!() };
        assert!(identified(&config, &one.name).unwrap().is_some());
        std::fs::copy(other.certificate_key.as_ref().unwrap(), one.certificate_key.as_ref().unwrap()).unwrap();
        assert!(identified(&config, &one.name).is_err());
    }
}
