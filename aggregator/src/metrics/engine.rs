//! The embedded engine.

use super::SECONDS;
use super::family::{Counters, Family, Gauges, Histograms};

/// Queries that were answered.
pub static QUERIES: Counters = Counters::new(
    "varde_engine_queries_total",
    "Requests with a query to the embedded engine, by class of the status code.",
    &["status"],
);
/// How long they took.
pub static QUERY_DURATION: Histograms =
    Histograms::new("varde_engine_query_duration_seconds", "From a query to the head of its answer.", &[], SECONDS);
/// Queries that go on.
pub static QUERIES_RUNNING: Gauges =
    Gauges::new("varde_engine_queries_running", "Queries whose answer has not begun.", &[]);

pub(super) static FAMILIES: &[&dyn Family] = &[&QUERIES, &QUERY_DURATION, &QUERIES_RUNNING];
