//! `varde up`: every role on this machine, each service a supervised child process.
//!
//! The life cycle: complete the folder, lock it, check the ports, get the engine, start the children, say when all are
//! ready, wait for a signal, stop everything within ten seconds.

mod children;
mod clean;
mod lock;
mod ports;
mod ready;
mod socket;
mod table;
mod unit;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aggregator::event::Time;
use anyhow::Context;
use tokio_util::sync::CancellationToken;

use crate::alarm::Alarm;
use crate::config::Config;
use crate::init;
use crate::pki;
use crate::roles;
use crate::stop;

pub use socket::path as socket_path;

/// How often the certificates are looked at.
const RENEW_EVERY: Duration = Duration::from_secs(86_400);

/// What the command line said.
#[derive(Debug, Clone)]
pub struct Options {
    /// Added to every port of the configuration.
    pub port_offset: u16,
    /// A ClickHouse server instead of the embedded engine.
    pub clickhouse: Option<String>,
}

/// Runs the suite in `dir` until a signal stops it.
///
/// # Errors
/// The folder, the configuration, a port or the engine is not as it must be; each says what to do.
pub async fn run(dir: &Path, options: Options) -> anyhow::Result<()> {
    std::fs::create_dir_all(dir).with_context(|| format!("the folder {} cannot be made", dir.display()))?;
    let dir = dir.canonicalize()?;
    let _lock = lock::take(&dir)?;
    clean::stop_orphans(&dir).await;
    crate::place::keep_port_offset(&dir, options.port_offset)?;
    let (config, accounts) = init::complete(&dir, options.port_offset)?;
    let config = Arc::new(config);
    let embedded = options.clickhouse.is_none() && config.events.clickhouse.url.is_none();
    ports::check(&config, options.port_offset, embedded)?;
    if embedded {
        crate::command::engine::ensure().await?;
    }

    let stop = stop::on_signal();
    let ours = CancellationToken::new();
    let (emitter, shipping) = roles::emitter(&config, "supervisor", ours.clone()).await?;
    let history = Arc::new(unit::History::new(&config, emitter, Alarm::start(config.clone())));
    let (fleet, running) = unit::start(children::specs(&config, &dir, &options, embedded), &history);
    let _telling = unit::tell(fleet.clone());
    let metrics = roles::metrics(&config, "up", ours.clone());
    let socket = socket::serve(&dir, fleet.clone(), ours.clone())?;
    let renewing = tokio::spawn(renew(config.clone(), ours.clone()));
    let keeper = tokio::spawn(ready::keep(config.clone(), fleet.clone(), accounts.clone(), ours.clone()));

    let announced = tokio::select! {
        () = ready::wait(&config, &fleet, embedded) => true,
        () = stop.cancelled() => false,
    };
    if announced {
        ready::write_targets(&config, &fleet.units())?;
        ready::write(&config, &fleet.units(), &accounts)?;
        table::print(&config, &fleet.units(), &accounts);
        stop.cancelled().await;
    }
    tracing::info!("stopping every service");
    running.stop().await;
    ours.cancel();
    for task in [socket, keeper, renewing, shipping, metrics] {
        // A task of ours that panicked has said so already; the suite is stopping either way.
        let _ = tokio::time::timeout(Duration::from_millis(500), task).await;
    }
    ready::remove(&config);
    Ok(())
}

/// Renews the watchers' certificates before they end, for a suite that runs for years; the watchers take them.
async fn renew(config: Arc<Config>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(RENEW_EVERY) => {}
        }
        let config = config.clone();
        match tokio::task::spawn_blocking(move || pki::complete(&config, Time::now())).await {
            Ok(Ok(renewed)) if renewed.is_empty() => {}
            Ok(Ok(renewed)) => tracing::info!("new certificates for {}", renewed.join(", ")),
            Ok(Err(error)) => tracing::error!("{error:#}; the watchers' certificates are not renewed"),
            Err(error) => tracing::error!("{error}; the watchers' certificates are not renewed"),
        }
    }
}
