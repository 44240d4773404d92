//! Observations of the watchers, their steps, and the verdicts.

use super::{Time, row, word};

word! {
    /// What a probe saw.
    ProbeOutcome {
        /// All steps succeeded.
        Ok = "ok",
        /// A step failed.
        Failed = "failed",
        /// Succeeded, later than the objective.
        Late = "late",
        /// Arrived in the spam folder.
        Spam = "spam",
        /// Never arrived.
        Missing = "missing",
        /// Arrived more than once.
        Duplicate = "duplicate",
        /// The slot passed without a run.
        Missed = "missed",
        /// The watcher's own network failed: no vote.
        VantageFault = "vantage_fault",
    }
}

word! {
    /// What came of one step.
    StepResult {
        /// It succeeded.
        Ok = "ok",
        /// It failed.
        Failed = "failed",
        /// It was not tried, because an earlier one failed.
        Unknown = "unknown",
    }
}

word! {
    /// The state of a service.
    VerdictState {
        /// No quorum of fresh observations.
        Unknown = "unknown",
        /// A quorum succeeded.
        Up = "up",
        /// A quorum failed.
        Down = "down",
        /// Up, with a latency objective missed by a quorum.
        Degraded = "degraded",
        /// Up, with a fresh failure from some region.
        Regional = "regional",
        /// In an announced maintenance window.
        Maintenance = "maintenance",
    }
}

row! {
    /// One observation.
    ProbeRun => "probe_runs" {
        /// The mail system.
        target: String,
        /// The check's name.
        check: String,
        /// The region it was seen from.
        vantage: String,
        /// The identity of the run, the same in every table.
        run_id: String,
        /// The slot of the schedule that it belongs to; empty for a confirmation.
        slot: String,
        /// What was seen.
        outcome: ProbeOutcome,
        /// The first step that failed.
        failed_step: String,
        /// Its kind of failure: `refused`, `timeout`, `certificate_expired` …
        error_class: String,
        /// In words.
        error: String,
        /// From start to end.
        total_ms: Option<u32>,
    }
}

row! {
    /// One step of an observation.
    ProbeStep => "probe_steps" {
        /// The run that it belongs to.
        run_id: String,
        /// The mail system.
        target: String,
        /// The check's name.
        check: String,
        /// The region.
        vantage: String,
        /// Its place in the run, from 0.
        seq: u16,
        /// `dns`, `tcp`, `tls`, `banner`, `auth` …
        step: String,
        /// What came of it.
        result: StepResult,
        /// Its kind of failure.
        error_class: String,
        /// In words.
        detail: String,
        /// How long it took.
        ms: Option<f32>,
    }
}

row! {
    /// A change of a service's state.
    VerdictRow => "verdicts" {
        /// The mail system.
        target: String,
        /// The service of it.
        service: String,
        /// Its new state.
        state: VerdictState,
        /// Since when.
        since: Option<Time>,
        /// The first failure of this outage.
        first_bad: Option<Time>,
        /// The last success before it.
        last_good: Option<Time>,
        /// The watchers whose observations counted, comma-separated.
        voters: String,
        /// Rises with each resolved incident.
        generation: u32,
    }
}
