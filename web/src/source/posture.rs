//! What the watchers found in their daily audits: asked for now and then, for it changes once a day.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use probes::watcher::posture::Audited;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::watcher::WatcherClient;

/// How often the watchers are asked.
const REFRESH: Duration = Duration::from_secs(30);

/// Asks the watchers until `shutdown`. What one of them said stays until there is something newer.
pub async fn run(clients: Vec<WatcherClient>, sender: watch::Sender<Arc<Vec<Audited>>>, shutdown: CancellationToken) {
    let mut ticks = interval(REFRESH);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let heard = tokio::select! {
            () = shutdown.cancelled() => return,
            heard = join_all(clients.iter().map(WatcherClient::posture)) => heard,
        };
        // Whether a watcher answers at all is said where its status is shown.
        let heard = heard.into_iter().filter_map(Result::ok).flatten();
        let known = sender.borrow().as_ref().clone();
        let new = newest(known.into_iter().chain(heard));
        sender.send_if_modified(|old| {
            let differs = **old != new;
            if differs {
                *old = Arc::new(new);
            }
            differs
        });
    }
}

/// The newest audit of each domain, by name.
fn newest(all: impl Iterator<Item = Audited>) -> Vec<Audited> {
    let mut by_domain: BTreeMap<String, Audited> = BTreeMap::new();
    for audited in all {
        let known = by_domain.get(&audited.report.domain);
        if known.is_none_or(|known| known.report.at <= audited.report.at) {
            by_domain.insert(audited.report.domain.clone(), audited);
        }
    }
    by_domain.into_values().collect()
}
