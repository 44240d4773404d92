//! Log lines: what was read of them, and what was understood.

use super::family::{Counter, Counters, Family};
use crate::dialect::Reading;

static READ: Counters = Counters::new("varde_lines_read_total", "Log lines that were read, by dialect.", &["dialect"]);
static RECOGNISED: Counters =
    Counters::new("varde_lines_recognised_total", "Log lines that their dialect knows.", &["dialect"]);
static UNRECOGNISED: Counters =
    Counters::new("varde_lines_unrecognised_total", "Log lines that their dialect does not know.", &["dialect"]);
/// Octets that were read.
pub static READ_BYTES: Counters = Counters::new("varde_log_read_bytes_total", "Octets of logs that were read.", &[]);

static SYSLOG: Counters =
    Counters::new("varde_syslog_total", "What came to syslog listeners, by what became of it.", &["result"]);

pub(super) static FAMILIES: &[&dyn Family] = &[&READ, &RECOGNISED, &UNRECOGNISED, &READ_BYTES, &SYSLOG];

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
    const ALL: [Syslog; 6] = [Self::Stored, Self::Cut, Self::NotAllowed, Self::Dropped, Self::TooMany, Self::Broken];

    /// The value of the label `result`.
    fn as_str(self) -> &'static str {
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
        SYSLOG.with(&[self.as_str()]).get()
    }

    /// So many more.
    pub fn add(self, count: u64) {
        SYSLOG.with(&[self.as_str()]).add(count);
    }

    /// Shows all of them from the start on.
    pub fn show() {
        for result in Self::ALL {
            SYSLOG.with(&[result.as_str()]);
        }
    }
}

/// The lines of one dialect: a reader asks for their counters once, and not for every line.
#[derive(Debug, Clone, Copy)]
pub struct Lines {
    read: &'static Counter,
    recognised: &'static Counter,
    unrecognised: &'static Counter,
}

impl Lines {
    /// The counters of a dialect. They are shown from now on: a rate needs a zero to begin with.
    pub fn of(dialect: &str) -> Self {
        let [read, recognised, unrecognised] =
            [&READ, &RECOGNISED, &UNRECOGNISED].map(|family| family.with(&[dialect]));
        Self { read, recognised, unrecognised }
    }

    /// Counts a line of which so much was made.
    pub fn count(&self, reading: Reading) {
        self.read.inc();
        match reading {
            Reading::Recognised => self.recognised.inc(),
            Reading::Unrecognised => self.unrecognised.inc(),
        }
    }
}

/// Shows the lines of a dialect from the start on.
pub fn show(dialect: &str) {
    Lines::of(dialect);
}
