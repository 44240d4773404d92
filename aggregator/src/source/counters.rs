//! What this process has read of logs, journals and listeners, as Prometheus counts it.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::dialect::DIALECTS;

/// More dialects than there are.
const SLOTS: usize = 32;

static LINES: [AtomicU64; SLOTS] = [const { AtomicU64::new(0) }; SLOTS];
static UNRECOGNISED: [AtomicU64; SLOTS] = [const { AtomicU64::new(0) }; SLOTS];
static SYSLOG: [AtomicU64; Syslog::ALL.len()] = [const { AtomicU64::new(0) }; Syslog::ALL.len()];

/// What became of what came to a syslog listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Syslog {
    /// On disk.
    Stored,
    /// Longer than a line may be: its first part is kept.
    Cut,
    /// From an address outside `allow`: not read.
    NotAllowed,
    /// A datagram that came while neither memory nor disk had room.
    Dropped,
    /// A connection past the bound: closed.
    TooMany,
    /// A connection whose TLS handshake or framing cannot be understood: closed.
    Broken,
}

impl Syslog {
    /// All of them.
    pub const ALL: [Syslog; 6] =
        [Self::Stored, Self::Cut, Self::NotAllowed, Self::Dropped, Self::TooMany, Self::Broken];

    /// The value of the label `result`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stored => "stored",
            Self::Cut => "cut",
            Self::NotAllowed => "not_allowed",
            Self::Dropped => "dropped",
            Self::TooMany => "too_many_connections",
            Self::Broken => "broken",
        }
    }

    /// How often since the process began.
    pub fn count(self) -> u64 {
        SYSLOG[self as usize].load(Ordering::Relaxed)
    }

    pub(super) fn add(self, count: u64) {
        SYSLOG[self as usize].fetch_add(count, Ordering::Relaxed);
    }
}

/// Counts a line of a dialect.
pub(super) fn count(dialect: &str, recognised: bool) {
    let Some(slot) = DIALECTS.iter().position(|entry| entry.name == dialect).filter(|slot| *slot < SLOTS) else {
        return;
    };
    LINES[slot].fetch_add(1, Ordering::Relaxed);
    if !recognised {
        UNRECOGNISED[slot].fetch_add(1, Ordering::Relaxed);
    }
}

/// Lines that were read as this dialect since the process began, and those of them that it does not know.
pub fn lines(dialect: &str) -> (u64, u64) {
    let slot = DIALECTS.iter().position(|entry| entry.name == dialect).filter(|slot| *slot < SLOTS);
    slot.map_or((0, 0), |slot| (LINES[slot].load(Ordering::Relaxed), UNRECOGNISED[slot].load(Ordering::Relaxed)))
}

/// Everything that is counted here, in Prometheus' text format.
pub fn text() -> String {
    let mut out = String::new();
    let mut family = |name: &str, help: &str, samples: &mut dyn Iterator<Item = (&str, &str, u64)>| {
        // Writing to a String cannot fail.
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} counter");
        for (label, value, count) in samples {
            let _ = writeln!(out, "{name}{{{label}=\"{value}\"}} {count}");
        }
    };
    let mut all = DIALECTS.iter().map(|entry| ("dialect", entry.name, lines(entry.name).0));
    family("varde_lines_total", "Log lines read, by dialect.", &mut all);
    let mut unrecognised = DIALECTS.iter().map(|entry| ("dialect", entry.name, lines(entry.name).1));
    family(
        "varde_lines_unrecognised_total",
        "Log lines that their dialect does not know; raw_lines keeps them.",
        &mut unrecognised,
    );
    let mut syslog = Syslog::ALL.iter().map(|result| ("result", result.as_str(), result.count()));
    family("varde_syslog_total", "What came to syslog listeners, by what became of it.", &mut syslog);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_dialect_has_a_slot_and_a_line_that_nobody_knows_is_counted() {
        assert!(DIALECTS.len() <= SLOTS);
        let (all, unknown) = lines("kumomta");
        count("kumomta", false);
        count("kumomta", true);
        assert!(lines("kumomta").0 >= all + 2 && lines("kumomta").1 > unknown);
        assert!(text().contains("varde_lines_unrecognised_total{dialect=\"kumomta\"} "));
    }
}
