//! OpenTelemetry's protocol: logs in, traces out.

use super::family::{Counters, Family};

/// Exports of logs.
pub static REQUESTS: Counters =
    Counters::new("varde_otlp_log_exports_total", "Exports of log records, by what became of them.", &["result"]);
/// Their records.
pub static RECORDS: Counters = Counters::new(
    "varde_otlp_log_records_total",
    "Log records of the exports that were stored: stored, or rejected for want of a line.",
    &["result"],
);

/// Exports of traces.
pub static TRACE_EXPORTS: Counters = Counters::new(
    "varde_otlp_trace_exports_total",
    "Requests with traces to the collector: taken, refused for good, or to come again later.",
    &["result"],
);
/// Their spans.
pub static SPANS: Counters =
    Counters::new("varde_otlp_spans_total", "Spans that the collector took or rejected.", &["result"]);
/// Traces that were left out.
pub static TRACE_GAPS: Counters = Counters::new(
    "varde_otlp_trace_gaps_total",
    "How often traces were left out because the collector was away for longer than a day.",
    &[],
);

pub(super) static FAMILIES: &[&dyn Family] = &[&REQUESTS, &RECORDS, &TRACE_EXPORTS, &SPANS, &TRACE_GAPS];

/// Shows the exports from the start on: a rate needs a zero to begin with.
pub fn show() {
    for result in ["stored", "refused", "later"] {
        REQUESTS.with(&[result]);
    }
    for result in ["stored", "rejected"] {
        RECORDS.with(&[result]);
    }
}

/// The same for traces.
pub fn show_traces() {
    for result in ["taken", "refused", "later"] {
        TRACE_EXPORTS.with(&[result]);
    }
    for result in ["taken", "rejected"] {
        SPANS.with(&[result]);
    }
    TRACE_GAPS.with(&[]);
}
