//! What several roles need to start: shipping of their events, ClickHouse clients, keys.

use std::collections::BTreeMap;

use aggregator::clickhouse::Client;
use aggregator::emit::Emitter;
use aggregator::mask::{Mask, Masking};
use aggregator::metrics::Listener;
use aggregator::ship::{self, Shipping};
use anyhow::Context;
use probes::keys::PublicKey;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::config::Config;

/// The shipper of what the node reads of the logs that it follows.
pub const LOGS: &str = "logs";
/// The shipper of what comes by syslog.
pub const SYSLOG: &str = "syslog";
/// The shipper of imported logs.
pub const IMPORT: &str = "import";

/// What the shipper of a mailbox with reports is called, before the mailbox's name.
pub const REPORTS: &str = "reports-";

/// The full name of a shipper of this node.
pub fn shipper(config: &Config, name: &str) -> String {
    format!("{}.{name}", config.node.name)
}

/// What becomes of local parts in events.
///
/// # Errors
/// They are to be hashed, and the key cannot be read.
pub fn mask(config: &Config, masking: Masking) -> anyhow::Result<Mask> {
    let secret = match masking {
        Masking::Hash => config.secret(&config.site.mask_key_file)?,
        Masking::Off | Masking::Drop => String::new(),
    };
    anyhow::ensure!(
        masking != Masking::Hash || !secret.is_empty(),
        "the key of the hashes, {} (site.mask_key_file), is empty: everybody could undo them",
        config.site.mask_key_file.display()
    );
    Ok(Mask::new(masking, &secret))
}

/// How one process ships its events.
///
/// # Errors
/// The intake's key cannot be read.
pub fn shipping(config: &Config, name: &str) -> anyhow::Result<Shipping> {
    Ok(Shipping {
        dir: config.path("spool"),
        shipper: shipper(config, name),
        tenant: config.site.tenant.clone(),
        node: name.strip_prefix("watch-").unwrap_or(&config.node.name).to_owned(),
        intake: format!("http://{}", config.events.aggregate.listen),
        key: config.secret(&config.events.aggregate.key_file)?,
        max_bytes: config.events.aggregate.spool_max_bytes,
        mask: mask(config, config.site.mask)?,
    })
}

/// Starts the spool and the shipping of one process's events.
///
/// # Errors
/// The spool's folder cannot be used.
pub async fn emitter(
    config: &Config,
    shipper: &str,
    stop: CancellationToken,
) -> anyhow::Result<(Emitter, JoinHandle<()>)> {
    let shipping = shipping(config, shipper)?;
    ship::start(shipping, stop).await.with_context(|| format!("the events of {shipper} cannot be spooled"))
}

/// ClickHouse as the aggregator uses it: every right.
///
/// # Errors
/// The password's file cannot be read.
pub fn full_clickhouse(config: &Config) -> anyhow::Result<Client> {
    let clickhouse = &config.events.clickhouse;
    Ok(Client::new(&clickhouse_url(config), &clickhouse.user, &config.secret(&clickhouse.password_file)?)?)
}

/// ClickHouse as operators and pages use it: read-only and bounded.
///
/// # Errors
/// The password's file cannot be read.
pub fn operator_clickhouse(config: &Config) -> anyhow::Result<Client> {
    let clickhouse = &config.events.clickhouse;
    let client =
        Client::new(&clickhouse_url(config), &clickhouse.sql_user, &config.secret(&clickhouse.sql_password_file)?)?;
    Ok(client.with_database(&clickhouse.read_database))
}

fn clickhouse_url(config: &Config) -> String {
    config.events.clickhouse.url.clone().unwrap_or_else(|| format!("http://{}", config.events.clickhouse.listen))
}

/// The watchers' public keys, by name.
///
/// # Errors
/// Names the key's file.
pub fn watcher_keys(config: &Config) -> anyhow::Result<BTreeMap<String, PublicKey>> {
    let watchers = config.probes.watch.watcher.iter();
    watchers
        .map(|watcher| Ok((watcher.name.clone(), PublicKey::read(&config.path(&watcher.public_key_file))?)))
        .collect()
}

/// Serves the metrics of the process of this name where the configuration says, until `stop`.
pub fn metrics(config: &Config, process: &str, stop: CancellationToken) -> JoinHandle<()> {
    let listener = config.metrics.listen.get(process).map(|address| {
        let key = config.metrics.key_file.as_ref().map(|file| config.secret(file)).transpose();
        key.map(|key| Listener { process: process.to_owned(), address: *address, key })
    });
    tokio::spawn(async move {
        match listener {
            None => {}
            Some(Ok(listener)) => listener.serve(stop).await,
            // Neither mail nor pages wait for want of numbers; without the key nobody may read them.
            Some(Err(error)) => tracing::error!("metrics are not served: {error:#}"),
        }
    })
}
