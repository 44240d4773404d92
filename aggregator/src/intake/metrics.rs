//! What the intake counts, as Prometheus reads it.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Verdict;

#[derive(Debug, Default)]
pub(super) struct Metrics {
    stored: AtomicU64,
    refused: AtomicU64,
    later: AtomicU64,
    bad_request: AtomicU64,
    rows: AtomicU64,
    bytes: AtomicU64,
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
        out
    }
}
