//! `varde up`.

use std::process::ExitCode;

use crate::place::Place;
use crate::up;

/// Runs the suite until a signal stops it.
pub async fn run(place: &Place) -> anyhow::Result<ExitCode> {
    anyhow::ensure!(
        place.config.is_none(),
        "`varde up` keeps a whole folder: name it with --dir, its varde.toml is the configuration"
    );
    let options = up::Options { port_offset: place.port_offset.unwrap_or(0), clickhouse: place.clickhouse.clone() };
    up::run(&place.dir, options).await?;
    Ok(ExitCode::SUCCESS)
}
