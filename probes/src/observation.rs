//! An observation: what one watcher saw of one service at one time, made of timed steps.

use aggregator::event::{ProbeOutcome, StepResult, Time};
use serde::{Deserialize, Serialize};

/// What one watcher saw of one service at one time. Watchers trade it as JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Observation {
    /// When the run began.
    pub ts: Time,
    /// The mail system.
    pub target: String,
    /// The service that it is a vote about: `mx`, `submission`, `imap`, `round_trip` …
    pub service: String,
    /// The check's name, unique within the target.
    pub check: String,
    /// The watcher's region.
    pub vantage: String,
    /// The identity of the run, unique over all watchers.
    pub run_id: String,
    /// The slot of the schedule that it belongs to; `None` for a confirmation.
    pub slot: Option<i64>,
    /// What was seen.
    pub outcome: ProbeOutcome,
    /// The steps in order.
    pub steps: Vec<Step>,
    /// From start to end.
    pub total_ms: u32,
}

/// One timed step of an observation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// `dns`, `tcp`, `tls`, `banner`, `ehlo`, `auth`, `send`, `queue`, `receive`, `login`, `select`, `search`,
    /// `fetch`, `cleanup` … and `vantage`, last, when the watcher itself is at fault.
    pub name: String,
    /// What came of it. Steps after the first failure are `unknown`.
    pub result: StepResult,
    /// Its kind of failure: `nxdomain`, `refused`, `reset`, `timeout`, `closed`, `certificate_expired`,
    /// `certificate_untrusted`, `certificate_name`, `protocol`, `auth_failed`, `rejected`, `deferred`, …
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub error_class: String,
    /// In words an operator can act on; what the peer said, shortened, with secrets taken out.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// How long it took, in milliseconds.
    pub ms: f32,
}

impl Observation {
    /// The first step that failed.
    pub fn failed_step(&self) -> Option<&Step> {
        self.steps.iter().find(|step| step.result == StepResult::Failed)
    }
}
