//! `varde aggregate`.

use std::process::ExitCode;

use aggregator::collect::{self, SourceConfig};
use aggregator::intake::Upkeep;
use aggregator::otlp::exporter::Exporter;
use futures_util::future::join_all;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::place::Place;
use crate::{roles, stop};

/// Takes batches in, and collects reports from mailboxes, until a signal.
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
    let collecting = join_all(events.reports.iter().map(|source| collect(&config, source, stop.clone())));
    let serving = aggregator::intake::serve(events, tenant, clickhouse, upkeep, stop.clone());
    let (served, _) = tokio::join!(serving, collecting);
    telling.cancel();
    traces.await?;
    stop.cancel();
    served?;
    metrics.await?;
    shipping.await?;
    Ok(ExitCode::SUCCESS)
}

/// Collects from one mailbox. The intake does not depend on it: what is wrong with a mailbox is said, no more.
async fn collect(config: &Config, source: &SourceConfig, stop: CancellationToken) {
    let collecting = async {
        let password = match &source.imap {
            Some(imap) => config.secret(&imap.password_file)?,
            None => String::new(),
        };
        let shipping = roles::shipping(config, &[roles::REPORTS, &source.name].concat())?;
        anyhow::Ok(collect::run(source.clone(), password, shipping, stop).await?)
    };
    if let Err(why) = collecting.await {
        tracing::error!(source = source.name, %why, "reports are not collected; mend it and restart");
    }
}
