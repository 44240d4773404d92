//! The one writer of a watcher's history: a slow or full disk holds up neither probing nor judging.

use std::sync::Arc;

use aggregator::event::{Time, VerdictRow};
use tokio::sync::{Notify, mpsc};

use crate::history::{Arrived, History, HistoryError, KEEP_DAYS};
use crate::observation::Observation;
use crate::roster::Epoch;
use crate::verdict::{Cast, Vote};

use super::service::Votes;

/// What may wait for the disk. Past it an observation is judged and told to ClickHouse, but is neither in the
/// history nor told to the peers; it is counted in the log.
pub const QUEUE: usize = 8_192;
/// What goes into one transaction at most.
const TRANSACTION: usize = 256;

/// Something to be written, or to be read after all before it is written.
pub enum Job {
    /// Keep an observation.
    Keep(Observation),
    /// Keep a change of verdict.
    Announce(VerdictRow),
    /// Keep an epoch of the roster.
    Enrol(Epoch),
    /// Keep that the message of a run which had said `missing` has come after all.
    Arrived {
        /// The run.
        run_id: String,
        /// When it began.
        ts: Time,
        /// How long the message took.
        delay_ms: u64,
        /// Where it came to.
        folder: String,
    },
    /// Read all votes of a service.
    Load(Load),
}

/// A service whose votes are to be read.
#[derive(Clone)]
pub struct Load {
    /// Its place among the services.
    pub index: usize,
    /// The mail system.
    pub target: String,
    /// Its name.
    pub service: String,
    /// Its checks, in their order.
    pub checks: Vec<String>,
    /// The assigned watchers, in their order.
    pub watchers: Vec<String>,
}

impl Load {
    /// The votes of the service in the history.
    ///
    /// # Errors
    /// The database fails.
    pub fn read(&self, history: &History) -> Result<Votes, HistoryError> {
        let complete_from = history.complete_from()?;
        let seen = history.of_service(&self.target, &self.service, Time(i64::MIN), Time(i64::MAX))?;
        let place = |names: &[String], name: &str| names.iter().position(|other| other == name);
        let casts = seen.into_iter().filter_map(|seen| {
            let (watcher, check) = (place(&self.watchers, &seen.vantage)?, place(&self.checks, &seen.check)?);
            Some(Cast { at: seen.ts, watcher: watcher as u16, check: check as u16, vote: Vote::of(seen.outcome) })
        });
        Ok(Votes { casts: casts.collect(), complete_from })
    }
}

/// The writer's task: ends when the queue is closed and empty.
pub async fn run(
    history: Arc<History>,
    mut jobs: mpsc::Receiver<Job>,
    loaded: mpsc::Sender<(usize, Votes)>,
    me: String,
    news: Vec<Arc<Notify>>,
) {
    let mut batch = Vec::with_capacity(TRANSACTION);
    let mut pruned = Time(0);
    while jobs.recv_many(&mut batch, TRANSACTION).await > 0 {
        let (mut observations, mut verdicts, mut epochs, mut loads) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let mut arrivals = Vec::new();
        for job in batch.drain(..) {
            match job {
                Job::Keep(seen) => observations.push(seen),
                Job::Announce(row) => verdicts.push(row),
                Job::Enrol(epoch) => epochs.push(epoch),
                Job::Arrived { run_id, ts, delay_ms, folder } => {
                    arrivals.push(Arrived { run_id, ts, delay_ms, folder });
                }
                Job::Load(load) => loads.push(load),
            }
        }
        let own = observations.iter().any(|seen| seen.vantage == me);
        let now = Time::now();
        let prune = now.millis_since(pruned) >= 3_600_000;
        if prune {
            pruned = now;
        }
        let history = history.clone();
        let work = tokio::task::spawn_blocking(move || {
            let count = observations.len() + verdicts.len();
            if let Err(error) = history.record(&observations, &verdicts) {
                tracing::error!("{error}; {count} observations and verdicts were not kept, make room on the disk");
            }
            for epoch in epochs {
                if let Err(error) = history.enrol(&epoch) {
                    let generation = epoch.generation;
                    tracing::error!("{error}; epoch {generation} of the roster was not kept, make room on the disk");
                }
            }
            if let Err(error) = history.record_arrivals(&arrivals) {
                tracing::error!("{error}; {} late messages were not kept", arrivals.len());
            }
            if prune && let Err(error) = history.prune(now) {
                tracing::error!("{error}; observations older than {KEEP_DAYS} days could not be dropped");
            }
            loads
                .into_iter()
                .map(|load| {
                    let votes = load.read(&history).unwrap_or_else(|error| {
                        tracing::error!("{error}; {} of {} begins anew", load.service, load.target);
                        Votes { casts: Vec::new(), complete_from: Some(now) }
                    });
                    (load.index, votes)
                })
                .collect::<Vec<_>>()
        });
        for service in work.await.unwrap_or_default() {
            // Nobody wants it any more when the watcher stops; what is left to write is still written.
            let _ = loaded.send(service).await;
        }
        if own {
            news.iter().for_each(|peer| peer.notify_one());
        }
    }
}
