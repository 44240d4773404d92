//! `varde aggregate`.

use std::process::ExitCode;

use crate::place::Place;
use crate::{roles, stop};

/// Takes batches in until a signal.
pub async fn run(place: &Place) -> anyhow::Result<ExitCode> {
    let config = place.load()?;
    let stop = stop::on_signal_or_orphaned(place.supervised);
    let clickhouse = roles::full_clickhouse(&config)?;
    // Its own events go the way of everybody's: over its own intake.
    let (emitter, shipping) = roles::emitter(&config, "aggregate", stop.clone()).await?;
    aggregator::intake::serve(&config.events.aggregate, clickhouse, emitter, stop).await?;
    shipping.await?;
    Ok(ExitCode::SUCCESS)
}
