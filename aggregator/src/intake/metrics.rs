//! What the intake counts, as Prometheus reads it.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::Verdict;
use crate::event::Time;
use crate::schema::Audit;

/// Mismatches that are shown; the log has all of them.
const MISMATCHES: usize = 100;

#[derive(Debug, Default)]
pub(super) struct Metrics {
    stored: AtomicU64,
    refused: AtomicU64,
    later: AtomicU64,
    bad_request: AtomicU64,
    rows: AtomicU64,
    bytes: AtomicU64,
    /// The last audit, and when it ended.
    audit: Mutex<Option<(Audit, Time)>>,
}

impl Metrics {
    pub(super) fn count(&self, verdict: &Verdict) {
        let add = |counter: &AtomicU64, n| counter.fetch_add(n, Ordering::Relaxed);
        match verdict {
            Verdict::Stored { rows, bytes } => {
                add(&self.stored, 1);
                add(&self.rows, *rows);
                add(&self.bytes, *bytes);
            }
            Verdict::Refused(_) => _ = add(&self.refused, 1),
            Verdict::Later(_) => _ = add(&self.later, 1),
            Verdict::Answer(..) => _ = add(&self.bad_request, 1),
        }
    }

    /// An audit has ended.
    pub(super) fn audited(&self, audit: Audit, now: Time) {
        *self.audit.lock().unwrap_or_else(PoisonError::into_inner) = Some((audit, now));
    }

    fn audit_text(&self, out: &mut String) {
        let audit = self.audit.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((audit, at)) = &*audit else { return };
        let name = "varde_audit_timestamp_seconds";
        let _ = writeln!(out, "# HELP {name} When the last audit of the tables ended.\n# TYPE {name} gauge");
        let _ = writeln!(out, "{name} {}", at.0.div_euclid(1_000_000));
        let name = "varde_audit_mismatch_rows";
        let _ = writeln!(out, "# HELP {name} By how many rows a table or rollup is off, by day.\n# TYPE {name} gauge");
        for mismatch in audit.mismatches.iter().take(MISMATCHES) {
            let off = mismatch.rows.abs_diff(mismatch.expected);
            let _ = writeln!(out, "{name}{{table=\"{}\",day=\"{}\"}} {off}", mismatch.table, mismatch.day);
        }
    }

    pub(super) fn text(&self) -> String {
        let mut out = String::new();
        let mut family = |name: &str, help: &str, samples: &[(&str, &AtomicU64)]| {
            let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} counter");
            for (labels, counter) in samples {
                let _ = writeln!(out, "{name}{labels} {}", counter.load(Ordering::Relaxed));
            }
        };
        family(
            "varde_intake_blocks_total",
            "Blocks by what became of them.",
            &[
                ("{result=\"stored\"}", &self.stored),
                ("{result=\"refused\"}", &self.refused),
                ("{result=\"later\"}", &self.later),
                ("{result=\"bad_request\"}", &self.bad_request),
            ],
        );
        family("varde_intake_rows_total", "Rows that ClickHouse acknowledged.", &[("", &self.rows)]);
        family("varde_intake_bytes_total", "Octets of those rows, unpacked.", &[("", &self.bytes)]);
        self.audit_text(&mut out);
        out
    }
}
