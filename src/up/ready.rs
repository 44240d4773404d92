//! `ready.json`: what runs where, for people's scripts. Written when all is ready, kept true, removed at the end.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::unit::{Fleet, Status};
use crate::config::Config;
use crate::init::{Account, secrets};

/// The scrape targets, in the folder.
pub const TARGETS: &str = "run/prometheus-targets.json";
/// Between two looks at a service that is starting.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Returns when every service answers.
pub async fn wait(config: &Config, fleet: &Fleet, embedded: bool) {
    for unit in fleet.units() {
        while TcpStream::connect(&unit.spec.address).await.is_err() {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
    let mut healthy = vec![format!("http://{}/health", config.events.aggregate.listen)];
    if embedded {
        healthy.push(format!("http://{}/ping", config.events.clickhouse.listen));
    }
    for url in healthy {
        while !reqwest::get(&url).await.is_ok_and(|answer| answer.status().is_success()) {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

/// Writes the file again whenever a process changes, once it is there.
pub async fn keep(config: Arc<Config>, fleet: Fleet, accounts: Vec<Account>, stop: CancellationToken) {
    let mut changes = fleet.changes();
    loop {
        tokio::select! {
            () = changes.next() => {}
            () = stop.cancelled() => return,
        }
        let units = fleet.units();
        let all_run = units.iter().all(|unit| unit.pid.is_some());
        if all_run
            && path(&config).exists()
            && let Err(error) = write(&config, &units, &accounts)
        {
            tracing::error!("{error:#}");
        }
    }
}

/// Writes the file, whole or not at all.
///
/// # Errors
/// Names the file.
pub fn write(config: &Config, units: &[Status], accounts: &[Account]) -> anyhow::Result<()> {
    let services: Vec<_> = units
        .iter()
        .map(|unit| {
            let metrics = metrics_url(config, &unit.spec.name);
            json!({"name": unit.spec.name, "pid": unit.pid, "address": unit.spec.address, "metrics": metrics})
        })
        .collect();
    let clickhouse =
        config.events.clickhouse.url.clone().unwrap_or_else(|| format!("http://{}/", config.events.clickhouse.listen));
    let ready = json!({
        "services": services,
        "urls": {
            "operator": format!("http://{}/", config.web.operator_listen),
            "public": format!("http://{}/", config.web.public_listen),
            "webmail": format!("http://{}/", config.mail.web_listen),
            "clickhouse": clickhouse,
            "intake": format!("http://{}/", config.events.aggregate.listen),
            "metrics": metrics_url(config, "up"),
            "pager": config.pager.as_ref().map(|pager| format!("http://{}/", pager.listen)),
        },
        "accounts": accounts,
    });
    secrets::write_atomically(&path(config), format!("{ready:#}\n").as_bytes(), 0o600)
}

/// Where a process serves its metrics; `None`: nowhere.
fn metrics_url(config: &Config, process: &str) -> Option<String> {
    config.metrics.listen.get(process).map(|address| format!("http://{address}/metrics"))
}

/// The scrape targets of the suite, as Prometheus reads them (`file_sd_configs`).
///
/// # Errors
/// Names the file.
pub fn write_targets(config: &Config, units: &[Status]) -> anyhow::Result<()> {
    let running = ["up"].into_iter().chain(units.iter().map(|unit| unit.spec.name.as_str()));
    let target = |process: &str| {
        let address = config.metrics.listen.get(process)?;
        Some(json!({"targets": [address], "labels": {"process": process}}))
    };
    let targets = serde_json::Value::from(running.filter_map(target).collect::<Vec<_>>());
    secrets::write_atomically(&config.path(TARGETS), format!("{targets:#}\n").as_bytes(), 0o644)
}

/// Removes the file: nothing is ready any more.
pub fn remove(config: &Config) {
    // Not being there is as good.
    let _ = std::fs::remove_file(path(config));
}

fn path(config: &Config) -> std::path::PathBuf {
    config.path("ready.json")
}
