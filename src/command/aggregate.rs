//! `varde aggregate`.

use std::process::ExitCode;

use crate::place::Place;
use crate::{roles, stop};

/// Takes batches in until a signal.
pub async fn run(place: &Place) -> anyhow::Result<ExitCode> {
    let config = place.load()?;
    let stop = stop::on_signal_or_orphaned(place.supervised);
    let clickhouse = roles::full_clickhouse(&config)?;
    let metrics = roles::metrics(&config, "aggregate", stop.clone());
    aggregator::intake::serve(&config.events.aggregate, &config.site.tenant, clickhouse, stop).await?;
    metrics.await?;
    Ok(ExitCode::SUCCESS)
}
