//! Check kinds: what can be watched. A kind is one file in `kind/` and one line in [`KINDS`].
//!
//! A kind walks through named steps and stops at the first that fails. Whatever the peer does, a run ends: every step
//! has the check's time-out, a run has an end of its own, and everything that is read has a limit.

mod access;
mod steps;

use std::path::PathBuf;
use std::time::Duration;

use aggregator::event::{ProbeOutcome, StepResult};
use futures_util::future::BoxFuture;
use tokio::time::Instant;

use crate::config::{Check, Target};
use crate::observation::Step;

pub use access::Probe;
pub use steps::{Steps, Stop};

/// All kinds, in the order that documentation shows them.
pub const KINDS: &[Kind] = &[];

/// A kind of check.
pub struct Kind {
    /// As the configuration names it: `kind = "imap"`.
    pub name: &'static str,
    /// What it does, for a person.
    pub title: &'static str,
    /// How many time-outs of a step a whole run may take at most.
    pub patience: u32,
    /// Walks through the steps. The outcome counts only when no step failed.
    pub run: Run,
}

/// What a kind does.
pub type Run = for<'a> fn(&'a Probe<'a>, &'a mut Steps) -> BoxFuture<'a, Result<ProbeOutcome, Stop>>;

/// What a run is told beside its check and its target.
#[derive(Debug, Clone)]
pub struct Context {
    /// The region that it looks from.
    pub vantage: String,
    /// The identity of the run, unique over all watchers; the token in a probe message's subject.
    pub run_id: String,
    /// A message that took longer to come is `late`.
    pub receive_objective: Duration,
    /// The folder that the configuration's paths are relative to.
    pub base_dir: PathBuf,
}

/// What came of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// What was seen.
    pub outcome: ProbeOutcome,
    /// The steps in order; those that were not reached are `unknown`.
    pub steps: Vec<Step>,
    /// From start to end.
    pub total_ms: u32,
}

/// The kind of that name.
pub fn find(name: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.name == name)
}

/// Runs a check once. Never fails: what goes wrong is in the report.
pub async fn run(check: &Check, target: &Target, cx: &Context) -> Report {
    let begun = Instant::now();
    let probe = Probe { check, target, cx };
    let mut steps = Steps::new(probe.timeout());
    let outcome = match find(&check.kind) {
        Some(kind) => {
            steps.end_at(begun + probe.timeout() * kind.patience);
            (kind.run)(&probe, &mut steps).await
        }
        None => Err(steps.unknown_kind(&check.kind)),
    };
    let steps = steps.into_steps();
    let failed = steps.iter().any(|step| step.result == StepResult::Failed);
    let outcome = match outcome {
        Ok(outcome) if !failed => outcome,
        Err(Stop(Some(outcome))) => outcome,
        Ok(_) | Err(Stop(None)) => ProbeOutcome::Failed,
    };
    Report { outcome, steps, total_ms: u32::try_from(begun.elapsed().as_millis()).unwrap_or(u32::MAX) }
}
