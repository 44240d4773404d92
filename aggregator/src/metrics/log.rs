//! Log lines: what was read of them, and what was understood.

use super::family::{Counters, Family};
use crate::dialect::Reading;

static READ: Counters = Counters::new("varde_lines_read_total", "Log lines that were read, by dialect.", &["dialect"]);
static RECOGNISED: Counters =
    Counters::new("varde_lines_recognised_total", "Log lines that their dialect knows.", &["dialect"]);
static UNRECOGNISED: Counters =
    Counters::new("varde_lines_unrecognised_total", "Log lines that their dialect does not know.", &["dialect"]);
/// Octets that were read.
pub static READ_BYTES: Counters = Counters::new("varde_log_read_bytes_total", "Octets of logs that were read.", &[]);

pub(super) static FAMILIES: &[&dyn Family] = &[&READ, &RECOGNISED, &UNRECOGNISED, &READ_BYTES];

/// Counts lines that a reader of this dialect made so much of.
pub fn count(dialect: &str, reading: Reading) {
    READ.with(&[dialect]).inc();
    let family = if reading == Reading::Recognised { &RECOGNISED } else { &UNRECOGNISED };
    family.with(&[dialect]).inc();
}

/// Shows the lines of a dialect from the start on: a rate needs a zero to begin with.
pub fn show(dialect: &str) {
    for family in [&READ, &RECOGNISED, &UNRECOGNISED] {
        family.with(&[dialect]);
    }
}
