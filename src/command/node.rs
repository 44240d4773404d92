//! `varde node`.

use std::process::ExitCode;
use std::time::Duration;

use aggregator::ship::Shipping;
use aggregator::source::{LogConfig, SyslogConfig, follow, syslog};
use alerts::node::{self, NodeContext};
use alerts::remedy::supervisor::SupervisorSocket;
use tokio_util::sync::CancellationToken;

use crate::place::Place;
use crate::{roles, stop, up};

/// Between two tries to listen.
const RETRY: Duration = Duration::from_secs(5);

/// Runs the agent until a signal.
pub async fn run(place: &Place) -> anyhow::Result<ExitCode> {
    let mut config = place.load()?;
    let stop = stop::on_signal_or_orphaned(place.supervised);
    let (emitter, shipping) = roles::emitter(&config, "node", stop.clone()).await?;
    let metrics = roles::metrics(&config, "node", stop.clone());
    let watchers = roles::watcher_keys(&config)?;
    let logs = std::mem::take(&mut config.node.log);
    let following = tokio::spawn(follow(
        logs,
        roles::shipping(&config, roles::LOGS)?,
        roles::shipper(&config, roles::IMPORT),
        stop.clone(),
    ));
    let listeners = std::mem::take(&mut config.node.syslog);
    let hearing = tokio::spawn(hear(listeners, roles::shipping(&config, roles::SYSLOG)?, stop.clone()));
    let context = NodeContext {
        data_dir: config.path("node"),
        quorum: watchers.len() / 2 + 1,
        watchers,
        mask: roles::mask(&config, config.site.mask)?,
        emitter,
        shutdown: stop,
    };
    std::fs::create_dir_all(&context.data_dir)?;
    let supervisor = SupervisorSocket::new(up::socket_path(&config.dir));
    node::serve(config.node, context, supervisor).await?;
    metrics.await?;
    shipping.await?;
    hearing.await?;
    following.await?
}

/// Follows the logs of the configuration until `stop`; without any there is nothing to do.
async fn follow(
    logs: Vec<LogConfig>,
    shipping: Shipping,
    imports: String,
    stop: CancellationToken,
) -> anyhow::Result<ExitCode> {
    if !logs.is_empty() {
        follow::run(logs, shipping, imports, stop).await?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Hears the syslog listeners of the configuration until `stop`. What does not work is said and tried again: evidence and
/// restarts do not end with it.
async fn hear(listeners: Vec<SyslogConfig>, shipping: Shipping, stop: CancellationToken) {
    while !listeners.is_empty() && !stop.is_cancelled() {
        let heard = match syslog::bind(listeners.clone(), shipping.clone()).await {
            Ok(bound) => bound.run(stop.clone()).await,
            Err(why) => Err(why),
        };
        if let Err(why) = heard {
            tracing::error!(%why, "no syslog is heard; trying again");
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(RETRY) => {}
            }
        }
    }
}
