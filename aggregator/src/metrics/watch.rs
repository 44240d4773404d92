//! The watchers: verdicts, the schedule, the exchange, the outbox. Runs and pages are in [`super::event`].

use super::family::{Counters, Family, Gauges, Histograms};
use super::{LONG_SECONDS, SECONDS};
use crate::event::VerdictState;

/// What the watcher thinks.
pub static VERDICT: Gauges = Gauges::new(
    "varde_verdict_state",
    "1 for the state that a service is in as this watcher judges, 0 for the others.",
    &["target", "service", "state"],
);
/// The error budgets.
pub static ERROR_BUDGET: Gauges = Gauges::new(
    "varde_slo_error_budget_seconds",
    "Time that a service may be down in the window of its objective.",
    &["target", "service", "window"],
);
/// What is left of them.
pub static ERROR_BUDGET_REMAINING: Gauges = Gauges::new(
    "varde_slo_error_budget_remaining_seconds",
    "What is left of the error budget, below 0 when it is overspent; NaN: less than 95 % of the time is known.",
    &["target", "service", "window"],
);
/// How fast they are spent.
pub static BURN_RATE: Gauges = Gauges::new(
    "varde_slo_burn_rate",
    "How many times faster than the objective allows the budget was spent in the last 1h, 6h, 3d; NaN: not enough is known.",
    &["target", "service", "window", "over"],
);
/// How punctual the schedule is.
pub static START_DELAY: Histograms = Histograms::new(
    "varde_probe_start_delay_seconds",
    "How long after its slot began a scheduled run was started.",
    &[],
    SECONDS,
);
/// Runs that go on.
pub static RUNNING: Gauges = Gauges::new("varde_probe_runs_running", "Runs of checks that go on.", &[]);
/// How late peers' observations come.
pub static EXCHANGE_LAG: Histograms = Histograms::new(
    "varde_exchange_lag_seconds",
    "From the end of a peer's run to its observation's arrival here.",
    &["peer"],
    LONG_SECONDS,
);
/// When a peer was heard of last.
pub static EXCHANGE_HEARD: Gauges = Gauges::new(
    "varde_exchange_heard_time_seconds",
    "When a peer's batch was taken last, in seconds since 1970.",
    &["peer"],
);
/// Batches to a peer.
pub static EXCHANGE_SENT: Counters = Counters::new(
    "varde_exchange_batches_total",
    "Batches of observations to a peer, by what became of them.",
    &["peer", "result"],
);
/// Batches of peers that were refused.
pub static EXCHANGE_REFUSED: Counters = Counters::new(
    "varde_exchange_refused_total",
    "Batches that were refused: of unknown watchers, wrongly signed, malformed, by a wrong clock.",
    &["reason"],
);
/// Entries that the history's writer did not keep up with.
pub static HISTORY_LOST: Counters = Counters::new(
    "varde_history_lost_total",
    "Entries that are missing in the history because its writer did not keep up.",
    &[],
);
/// Judgements that the responder did not keep up with.
pub static JUDGEMENTS_DROPPED: Counters = Counters::new(
    "varde_judgements_dropped_total",
    "Judgements that were dropped because the responder did not keep up.",
    &[],
);
/// Pages that wait.
pub static OUTBOX_PAGES: Gauges =
    Gauges::new("varde_outbox_pages", "Pages in the outbox that are neither delivered nor given up.", &[]);
/// Attempts to send a page.
pub static PAGE_ATTEMPTS: Counters = Counters::new(
    "varde_page_attempts_total",
    "Attempts to send a page, by channel and what came of them.",
    &["channel", "result"],
);
/// How long sending a page took.
pub static PAGE_DURATION: Histograms = Histograms::new(
    "varde_page_attempt_duration_seconds",
    "How long attempts to send a page took.",
    &["channel"],
    SECONDS,
);
/// Incidents that are open.
pub static INCIDENTS_OPEN: Gauges = Gauges::new("varde_incidents_open", "Incidents that are not resolved.", &[]);

pub(super) static FAMILIES: &[&dyn Family] = &[
    &VERDICT,
    &ERROR_BUDGET,
    &ERROR_BUDGET_REMAINING,
    &BURN_RATE,
    &START_DELAY,
    &RUNNING,
    &EXCHANGE_LAG,
    &EXCHANGE_HEARD,
    &EXCHANGE_SENT,
    &EXCHANGE_REFUSED,
    &HISTORY_LOST,
    &JUDGEMENTS_DROPPED,
    &OUTBOX_PAGES,
    &PAGE_ATTEMPTS,
    &PAGE_DURATION,
    &INCIDENTS_OPEN,
];

/// Tells the state of a service.
pub fn verdict(target: &str, service: &str, state: VerdictState) {
    for other in VerdictState::ALL {
        VERDICT.with(&[target, service, other.as_str()]).set(if *other == state { 1.0 } else { 0.0 });
    }
}
