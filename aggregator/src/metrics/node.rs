//! The node agent and the supervisor: evidence, orders, units.

use super::SECONDS;
use super::family::{Counters, Family, Gauges, Histograms};

/// Orders of the watchers.
pub static ORDERS: Counters = Counters::new(
    "varde_orders_total",
    "Orders to restart a unit, by result: done, failed, or the rule by which they were refused.",
    &["result"],
);
/// Captures of evidence.
pub static CAPTURES: Counters =
    Counters::new("varde_evidence_captures_total", "Requests for evidence, by result.", &["result"]);
/// How long captures took.
pub static CAPTURE_DURATION: Histograms =
    Histograms::new("varde_evidence_capture_duration_seconds", "How long captures of evidence took.", &[], SECONDS);
/// Units that run.
pub static UNIT_UP: Gauges =
    Gauges::new("varde_unit_up", "1 when a unit of the supervisor has a process, else 0.", &["unit"]);
/// Units that were started again.
pub static UNIT_RESTARTS: Counters = Counters::new(
    "varde_unit_restarts_total",
    "How often the supervisor has started a unit again, after a crash or by order.",
    &["unit"],
);
/// When a unit was started.
pub static UNIT_STARTED: Gauges =
    Gauges::new("varde_unit_start_time_seconds", "When a unit was started last, in seconds since 1970.", &["unit"]);

pub(super) static FAMILIES: &[&dyn Family] =
    &[&ORDERS, &CAPTURES, &CAPTURE_DURATION, &UNIT_UP, &UNIT_RESTARTS, &UNIT_STARTED];
