//! `varde watch`: the watching side and the alerting side, joined by a channel of judgements.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Arc;

use aggregator::listen::{Bounded, IDLE};
use alerts::responder::{self, Peer, Prober, ResponderContext};
use anyhow::Context;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use probes::keys::{PublicKey, SigningKey};
use probes::observation::Observation;
use probes::watcher::{self, Handle, WatcherContext};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::cli::Watch;
use crate::{roles, stop};

/// Judgements that may wait for the responder.
const JUDGEMENTS: usize = 256;

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

/// Runs one watcher until a signal.
pub async fn run(args: &Watch) -> anyhow::Result<ExitCode> {
    let config = args.place.load()?;
    let stop = stop::on_signal_or_orphaned(args.place.supervised);
    let me = &args.name;
    let probes_config = Arc::new(config.probes.clone());
    let watchers = &probes_config.watch.watcher;
    let rank = watchers
        .iter()
        .position(|watcher| watcher.name == *me)
        .with_context(|| format!("there is no [[watch.watcher]] with the name \"{me}\""))?;
    let data_dir = config.path("watch").join(me);
    std::fs::create_dir_all(&data_dir).with_context(|| format!("{} cannot be made", data_dir.display()))?;
    let shipping_stop = tokio_util::sync::CancellationToken::new();
    let (emitter, shipping) = roles::emitter(&config, &format!("watch-{me}"), shipping_stop.clone()).await?;
    let listener = TcpListener::bind(watchers[rank].listen)
        .await
        .with_context(|| format!("watcher \"{me}\" cannot listen on {}", watchers[rank].listen))?;

    let (judge, judgements) = mpsc::channel(JUDGEMENTS);
    let watching = WatcherContext {
        data_dir: data_dir.clone(),
        emitter: emitter.clone(),
        judgements: judge,
        time_zone: config.site.time_zone,
        shutdown: stop.clone(),
    };
    let apart = Apart::new().context("the watcher's own thread cannot be started")?;
    let (name, its_config) = (me.clone(), probes_config.clone());
    let started = apart.spawn(async move { watcher::start(its_config, &name, watching).await });
    let (handle, watcher_task) = started.await??;

    let peers = watchers.iter().filter(|watcher| watcher.name != *me).map(|watcher| {
        let public_key = PublicKey::read(&watcher.public_key_file)?;
        Ok(Peer { name: watcher.name.clone(), url: watcher.base_url(), public_key })
    });
    let key_file = watchers[rank].key_file.as_ref().with_context(|| format!("watcher \"{me}\" has no key_file"))?;
    let responding = ResponderContext {
        site: config.site.name.clone(),
        data_dir,
        vantage: me.clone(),
        url: watchers[rank].base_url(),
        rank,
        key: SigningKey::read(key_file)?,
        peers: peers.collect::<anyhow::Result<_>>()?,
        nodes: BTreeMap::from([(config.node.name.clone(), PublicKey::read(&config.node.public_key_file)?)]),
        emitter,
        judgements,
        prober: Arc::new(Chain(handle.clone())),
        shutdown: stop.clone(),
    };
    let (responder, responder_task) = responder::start(Arc::new(config.alerts), responding).await?;

    let app = handle.router().merge(responder.router());
    axum::serve(Bounded::new(listener, IDLE), app).with_graceful_shutdown(stop.cancelled_owned()).await?;
    watcher_task.await?;
    responder_task.await?;
    shipping_stop.cancel();
    shipping.await?;
    Ok(ExitCode::SUCCESS)
}
