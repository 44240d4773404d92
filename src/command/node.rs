//! `varde node`.

use std::process::ExitCode;

use alerts::node::{self, NodeContext};
use alerts::remedy::supervisor::SupervisorSocket;

use crate::place::Place;
use crate::{roles, stop, up};

/// Runs the agent until a signal.
pub async fn run(place: &Place) -> anyhow::Result<ExitCode> {
    let config = place.load()?;
    let stop = stop::on_signal_or_orphaned(place.supervised);
    let (emitter, shipping) = roles::emitter(&config, "node", stop.clone()).await?;
    let watchers = roles::watcher_keys(&config)?;
    let context = NodeContext {
        data_dir: config.path("node"),
        quorum: watchers.len() / 2 + 1,
        watchers,
        emitter,
        shutdown: stop,
    };
    std::fs::create_dir_all(&context.data_dir)?;
    let supervisor = SupervisorSocket::new(up::socket_path(&config.dir));
    node::serve(config.node, context, supervisor).await?;
    shipping.await?;
    Ok(ExitCode::SUCCESS)
}
