//! `varde clickhouse`.

use std::process::ExitCode;
use std::time::Duration;

use aggregator::engine::{self, EngineConfig, EngineUser, Limits, Role};

use crate::place::Place;
use crate::{roles, stop};

/// Runs the engine until a signal. What is under way may end within this time.
const DRAIN: Duration = Duration::from_secs(1);

/// Runs the embedded engine with two users: the aggregator's, and the operators' that may only read.
pub async fn run(place: &Place) -> anyhow::Result<ExitCode> {
    let config = place.load()?;
    let library = super::engine::ensure().await?;
    let clickhouse = &config.events.clickhouse;
    let user = |name: &str, file: &std::path::Path, role| -> anyhow::Result<EngineUser> {
        Ok(EngineUser { name: name.to_owned(), password: config.secret(file)?, role })
    };
    let engine_config = EngineConfig {
        library,
        data_dir: config.path("clickhouse"),
        listen: clickhouse.listen,
        users: vec![
            user(&clickhouse.user, &clickhouse.password_file, Role::Full)?,
            user(&clickhouse.sql_user, &clickhouse.sql_password_file, Role::ReadOnly)?,
        ],
        limits: Limits::default(),
        drain: DRAIN,
    };
    let stop = stop::on_signal_or_orphaned(place.supervised);
    let metrics = roles::metrics(&config, "clickhouse", stop.clone());
    tokio::task::spawn_blocking(move || engine::run(engine_config, stop)).await??;
    metrics.await?;
    Ok(ExitCode::SUCCESS)
}
