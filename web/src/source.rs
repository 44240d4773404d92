//! The tasks that ask the watchers and ClickHouse, so that no page ever waits for either.
//!
//! One task owns everything heard from the watchers: it asks them all every [`REFRESH`], puts the answers together
//! into a [`Snapshot`], and keeps them on disk. Another asks ClickHouse, which may be slow without harm.

pub mod keep;
pub mod mail;
pub mod merge;
pub mod posture;
pub mod watcher;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use aggregator::event::Time;
use futures_util::future::join_all;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::snapshot::Snapshot;
use watcher::{Answer, WatcherClient};

/// How often the watchers are asked.
pub const REFRESH: Duration = Duration::from_secs(2);
/// An answer older than this is not current: what it says is shown as last known, and its state as unknown.
pub const FRESH_MS: u64 = 30_000;
/// How often the answers are written to disk, at most.
const KEEP_EVERY: Duration = Duration::from_secs(30);

/// Makes the public site of a snapshot.
pub type Publish = Box<dyn Fn(&mut Snapshot) + Send + Sync>;

/// The task that owns what is heard from the watchers.
pub struct Source {
    /// How to ask each watcher, in configured order.
    pub clients: Vec<WatcherClient>,
    /// What proves to a watcher that the operators' site asks.
    pub operator_key: String,
    /// Where the last good answers are kept over a restart.
    pub file: PathBuf,
    /// Makes the public site of each snapshot.
    pub publish: Publish,
    /// Somebody wants to see the effect of what he did: ask at once.
    pub nudge: Arc<Notify>,
}

impl Source {
    /// The snapshot of what was kept on disk: what the pages show before the first round.
    pub async fn first(&self, now: Time) -> (Vec<Answer>, Snapshot) {
        let mut answers: Vec<Answer> = self.clients.iter().map(WatcherClient::nothing_yet).collect();
        for kept in keep::read(self.file.clone()).await {
            if let Some(answer) = answers.iter_mut().find(|answer| answer.name == kept.name) {
                answer.last = Some(kept.last);
            }
        }
        let snapshot = self.snapshot(&answers, now);
        (answers, snapshot)
    }

    /// Asks until `shutdown`; then keeps what was heard.
    pub async fn run(
        self,
        mut answers: Vec<Answer>,
        sender: watch::Sender<Arc<Snapshot>>,
        shutdown: CancellationToken,
    ) {
        let mut ticks = interval(REFRESH);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut kept: Option<Instant> = None;
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                _ = ticks.tick() => {}
                () = self.nudge.notified() => {}
            }
            tokio::select! {
                () = shutdown.cancelled() => break,
                () = self.round(&mut answers) => {}
            }
            sender.send_replace(Arc::new(self.snapshot(&answers, Time::now())));
            if kept.is_none_or(|at| at.elapsed() >= KEEP_EVERY) {
                keep::write(self.file.clone(), &answers).await;
                kept = Some(Instant::now());
            }
        }
        keep::write(self.file.clone(), &answers).await;
    }

    /// Asks every watcher once, all at the same time.
    async fn round(&self, answers: &mut [Answer]) {
        let heard = join_all(self.clients.iter().map(|client| client.ask(&self.operator_key))).await;
        let now = Time::now();
        for (answer, heard) in answers.iter_mut().zip(heard) {
            answer.take(heard, now);
        }
    }

    fn snapshot(&self, answers: &[Answer], now: Time) -> Snapshot {
        let mut snapshot = merge::snapshot(answers, now);
        (self.publish)(&mut snapshot);
        snapshot
    }
}
