//! The aggregator: blocks in.

use super::SECONDS;
use super::family::{Counters, Family, Gauges, Histograms};

/// Blocks.
pub static BLOCKS: Counters = Counters::new("varde_intake_blocks_total", "Blocks by what became of them.", &["result"]);
/// Rows.
pub static ROWS: Counters = Counters::new("varde_intake_rows_total", "Rows that ClickHouse acknowledged.", &[]);
/// Octets.
pub static BYTES: Counters = Counters::new("varde_intake_bytes_total", "Octets of those rows, unpacked.", &[]);
/// Inserts.
pub static INSERT_DURATION: Histograms = Histograms::new(
    "varde_intake_insert_duration_seconds",
    "How long ClickHouse took for the insert of a block.",
    &[],
    SECONDS,
);
/// Requests that wait or are worked on.
pub static IN_FLIGHT: Gauges =
    Gauges::new("varde_intake_requests_in_flight", "Requests that wait for their turn or are worked on.", &[]);
/// Whether blocks are taken.
pub static READY: Gauges =
    Gauges::new("varde_intake_ready", "1 when the tables are up to date and blocks are taken, else 0.", &[]);

/// When the tables were audited.
pub static AUDIT_TIMESTAMP: Gauges =
    Gauges::new("varde_audit_timestamp_seconds", "When the last audit of the tables ended.", &[]);
/// What the audit found.
pub static AUDIT_MISMATCH: Gauges = Gauges::new(
    "varde_audit_mismatch_rows",
    "By how many rows a table or rollup was off in the last audit, all days together.",
    &["table"],
);

pub(super) static FAMILIES: &[&dyn Family] =
    &[&BLOCKS, &ROWS, &BYTES, &INSERT_DURATION, &IN_FLIGHT, &READY, &AUDIT_TIMESTAMP, &AUDIT_MISMATCH];

/// Shows the blocks from the start on: a rate needs a zero to begin with.
pub fn show() {
    for result in ["stored", "refused", "later", "bad_request"] {
        BLOCKS.with(&[result]);
    }
    for family in [&ROWS, &BYTES] {
        family.with(&[]);
    }
    READY.with(&[]);
    IN_FLIGHT.with(&[]);
}
