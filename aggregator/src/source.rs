//! Where log lines come from: files, compressed or growing, and standard input.
//!
//! **In**: octets. **Out**: batches of events, sealed in a spool together with the place up to which each origin has
//! been read, so that a death at any instant loses nothing and doubles nothing.
//!
//! An [origin](origin::Origin) is known by its content, not by its name: the same log renamed, compressed, copied or
//! piped is the same origin, and another log under the same name is another one.

pub mod follow;
pub mod import;
mod input;
mod lines;
pub mod mailbox;
pub(crate) mod origin;
mod scribe;
pub(crate) mod seen;
mod tap;
#[cfg(test)]
mod tests;

pub(crate) use scribe::trace_id;

use std::path::PathBuf;

use chrono_tz::Tz;
use serde::Deserialize;

use crate::dialect;

/// Events in a batch before it is sealed: bounds what a reader holds in memory.
pub const BATCH_EVENTS: usize = 8_192;
/// Octets of log in a batch before it is sealed.
pub const BATCH_BYTES: u64 = 4 << 20;
/// What a spool must have left before another batch is sealed; a reader waits rather than see its oldest batch go.
pub const BATCH_ROOM: u64 = 8 << 20;

/// A log that the node follows: one `[[node.log]]`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogConfig {
    /// The file, by the name under which the newest lines appear.
    pub path: PathBuf,
    /// The dialect of its lines.
    pub dialect: String,
    /// The zone of times that do not say.
    #[serde(default = "utc")]
    pub time_zone: Tz,
    /// Whether recognised lines are kept in `raw_lines` too, so that they can be read again later.
    #[serde(default = "yes")]
    pub raw: bool,
}

fn utc() -> Tz {
    Tz::UTC
}

fn yes() -> bool {
    true
}

impl LogConfig {
    /// What is wrong with it: the key, and what to do.
    pub fn check(&self) -> Vec<(String, String)> {
        let mut faults = Vec::new();
        if dialect::find(&self.dialect).is_none() {
            let known = names();
            faults.push(("dialect".to_owned(), format!("\"{}\" is none of {known}", self.dialect)));
        }
        if self.path.file_name().is_none() {
            faults.push(("path".to_owned(), "names no file".to_owned()));
        }
        faults
    }
}

/// The names of all dialects, for messages.
pub fn names() -> String {
    dialect::DIALECTS.iter().map(|entry| entry.name).collect::<Vec<_>>().join(", ")
}
