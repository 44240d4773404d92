//! Where log lines come from: files, compressed or growing, standard input, systemd's journal, syslog listeners.
//!
//! **In**: octets. **Out**: batches of events, sealed in a spool together with the place up to which each origin has
//! been read, so that a death at any instant loses nothing and doubles nothing.
//!
//! An [origin](origin::Origin) is known by its content, not by its name: the same log renamed, compressed, copied or
//! piped is the same origin, and another log under the same name is another one. A journal is known by its cursors. What
//! comes by syslog can be asked for only once: it is written to disk as it comes.

mod config;
pub mod follow;
pub mod import;
mod input;
pub mod journal;
pub(crate) mod lines;
pub mod mailbox;
pub(crate) mod origin;
pub mod otlp;
pub mod room;
mod scribe;
pub(crate) mod seen;
pub mod syslog;
mod tap;
#[cfg(test)]
mod tests;

pub(crate) use scribe::trace_of_message;

use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use crate::dialect;
use crate::event::Time;

pub use config::{JournalLog, LogConfig, LogPlace, SyslogConfig, Transport};

/// Events in a batch before it is sealed: bounds what a reader holds in memory.
pub const BATCH_EVENTS: usize = 8_192;
/// Octets of log in a batch before it is sealed.
pub const BATCH_BYTES: u64 = 4 << 20;
/// What a spool must have left before another batch is sealed; a reader waits rather than see its oldest batch go.
pub const BATCH_ROOM: u64 = 8 << 20;

/// A file as a stream of uncompressed lines, and when it was last written.
///
/// # Errors
/// It cannot be read, or is compressed with something that is not read here.
pub fn open(path: &Path) -> io::Result<(impl Read + use<>, Time)> {
    let input = input::Input::open(path, &Arc::default())?;
    let modified = input.modified;
    Ok((input, modified))
}

/// The names of all dialects, for messages.
pub fn names() -> String {
    dialect::DIALECTS.iter().map(|entry| entry.name).collect::<Vec<_>>().join(", ")
}
