//! `varde aggregate`.

use std::process::ExitCode;

use aggregator::collect::{self, SourceConfig};
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
    let sources = config.events.aggregate.reports.iter();
    let collecting = join_all(sources.map(|source| collect(&config, source, stop.clone())));
    let serving = aggregator::intake::serve(&config.events.aggregate, clickhouse, stop);
    let (served, _) = tokio::join!(serving, collecting);
    served?;
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
