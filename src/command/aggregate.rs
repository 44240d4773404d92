//! `varde aggregate`.

use std::process::ExitCode;

use aggregator::intake::Upkeep;
use aggregator::otlp::exporter::Exporter;

use crate::place::Place;
use crate::{roles, stop};

/// Takes batches in until a signal.
pub async fn run(place: &Place) -> anyhow::Result<ExitCode> {
    let config = place.load()?;
    let stop = stop::on_signal_or_orphaned(place.supervised);
    let clickhouse = roles::full_clickhouse(&config)?;
    // Its own events go the way of everybody's: over its own intake.
    let (emitter, shipping) = roles::emitter(&config, "aggregate", stop.clone()).await?;
    let metrics = roles::metrics(&config, "aggregate", stop.clone());
    let told = config.path("run/otlp-traces.json");
    let exporter = Exporter::new(&config.events.aggregate.otlp, told, clickhouse.clone())?;
    // Ends with the process's own token or with the intake, whichever is first.
    let telling = stop.child_token();
    let traces = tokio::spawn({
        let stop = telling.clone();
        async move {
            if let Some(exporter) = exporter {
                exporter.run(stop).await;
            }
        }
    });
    let (events, tenant) = (&config.events.aggregate, &config.site.tenant);
    let upkeep =
        Upkeep { lifetimes: events.ttl.clone(), emitter: Some(emitter), mask: roles::mask(&config, config.site.mask)? };
    let served = aggregator::intake::serve(events, tenant, clickhouse, upkeep, stop.clone()).await;
    telling.cancel();
    traces.await?;
    stop.cancel();
    served?;
    metrics.await?;
    shipping.await?;
    Ok(ExitCode::SUCCESS)
}
