//! What a run leaves to be done afterwards: messages that are still awaited, and findings that become events.
//!
//! A run that has said `missing` stands as it stands: its vote is never changed. When its message comes after all, that
//! is told beside it: an event `late` with the run's own time and identity and the true delay, and a note in the
//! history, so that it is told once.

use std::collections::{BTreeMap, VecDeque};

use aggregator::emit::Emitter;
use aggregator::event::{BlocklistHit, ProbeOutcome, ProbeRun, ProbeStep, StepResult, Time};

use super::writer::Job;
use crate::kind::{Awaited, Finding};
use crate::observation::Observation;

/// For how long a message is awaited that a run has given up: what comes later has been swept away by then.
pub const AWAITED_MS: u64 = 24 * 3_600_000;
/// Runs of one check that are awaited at most; the oldest go first.
const AWAITED_MAX: usize = 64;

/// The runs of this watcher that had said `missing`, by the seat of their check.
#[derive(Debug, Default)]
pub struct Waiting(BTreeMap<usize, VecDeque<Awaited>>);

impl Waiting {
    /// A run said `missing`.
    pub fn add(&mut self, seat: usize, run: Awaited) {
        let runs = self.0.entry(seat).or_default();
        if runs.len() == AWAITED_MAX {
            runs.pop_front();
        }
        runs.push_back(run);
    }

    /// What a check still waits for.
    pub fn of(&mut self, seat: usize, now: Time) -> Vec<Awaited> {
        let Some(runs) = self.0.get_mut(&seat) else { return Vec::new() };
        runs.retain(|run| now.millis_since(run.ts) <= AWAITED_MS);
        runs.iter().cloned().collect()
    }

    /// Whether a run was still awaited; it is not any more.
    fn take(&mut self, seat: usize, run_id: &str) -> bool {
        let Some(runs) = self.0.get_mut(&seat) else { return false };
        let before = runs.len();
        runs.retain(|run| run.run_id != run_id);
        runs.len() < before
    }

    /// Emits what a run of this seat found, and says what the history is to keep.
    pub fn settle(&mut self, seat: usize, seen: &Observation, findings: Vec<Finding>, emitter: &Emitter) -> Vec<Job> {
        if seen.outcome == ProbeOutcome::Missing {
            self.add(seat, Awaited { run_id: seen.run_id.clone(), ts: seen.ts });
        }
        let mut jobs = Vec::new();
        for finding in findings {
            match finding {
                Finding::Late { run_id, ts, delay_ms, folder } => {
                    // Two runs side by side may both have found it.
                    if self.take(seat, &run_id) {
                        emit_late(seen, &run_id, ts, delay_ms, &folder, emitter);
                        jobs.push(Job::Arrived { run_id, ts, delay_ms, folder });
                    }
                }
                Finding::Listed { subject, list, answer, reason } => {
                    emitter.emit(BlocklistHit {
                        ts: seen.ts,
                        subject,
                        list,
                        answer,
                        reason,
                        ..BlocklistHit::default()
                    });
                }
            }
        }
        jobs
    }
}

/// The follow-up has an identity of its own, made of that of the run, so that nothing counts the run twice.
fn emit_late(seen: &Observation, run_id: &str, ts: Time, delay_ms: u64, folder: &str, emitter: &Emitter) {
    let follow_up = format!("{run_id}-late");
    let seconds = delay_ms / 1_000;
    let detail = format!("run {run_id} had said missing; its message came to {folder} after {seconds} s");
    tracing::info!(target_system = %seen.target, check = %seen.check, run_id, delay_ms, "a message that was missing has come");
    emitter.emit(ProbeRun {
        ts,
        target: seen.target.clone(),
        check: seen.check.clone(),
        vantage: seen.vantage.clone(),
        run_id: follow_up.clone(),
        outcome: ProbeOutcome::Late,
        total_ms: Some(u32::try_from(delay_ms).unwrap_or(u32::MAX)),
        ..ProbeRun::default()
    });
    emitter.emit(ProbeStep {
        ts,
        run_id: follow_up,
        target: seen.target.clone(),
        check: seen.check.clone(),
        vantage: seen.vantage.clone(),
        step: "receive".to_owned(),
        result: StepResult::Ok,
        detail,
        ms: Some(delay_ms as f32),
        ..ProbeStep::default()
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_awaited_for_a_day_and_told_of_once() {
        let ts = Time::from_seconds(1_795_000_000);
        let mut waiting = Waiting::default();
        waiting.add(3, Awaited { run_id: "a".to_owned(), ts });
        assert_eq!(waiting.of(3, ts.plus_millis(86_400_000)).len(), 1);
        assert!(waiting.of(4, ts).is_empty());
        assert!(waiting.take(3, "a") && !waiting.take(3, "a"));
        waiting.add(3, Awaited { run_id: "b".to_owned(), ts });
        assert!(waiting.of(3, ts.plus_millis(86_400_001)).is_empty());
        for number in 0..100 {
            waiting.add(3, Awaited { run_id: number.to_string(), ts });
        }
        let runs = waiting.of(3, ts);
        assert_eq!((runs.len(), runs[0].run_id.as_str()), (AWAITED_MAX, "36"));
    }
}
