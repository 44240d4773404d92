//! Reports among what is imported: every message of a mailbox that was not read before.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::Ordering;

use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::{Import, State};
use crate::event::{EventId, Stamp};
use crate::mailed::{Context, Reader};
use crate::source::BATCH_EVENTS;
use crate::source::mailbox::{Flow, Mailbox, Message};
use crate::source::origin::Digest;
use crate::source::seen::Sort;
use crate::spool;

/// Faults that are told of one mailbox; the others are counted.
const FAULTS: usize = 20;

/// What was found in a mailbox.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Reports {
    /// Messages and documents.
    pub messages: u64,
    /// Those of them that were read before.
    pub known: u64,
    /// Those that are no reports.
    pub others: u64,
    /// New reports, by kind.
    pub kinds: BTreeMap<&'static str, u64>,
    /// Rows that they made.
    pub rows: u64,
    /// Reports that were refused whole.
    pub refused: u64,
    /// What could not be read, with the names of the messages.
    pub faults: Vec<String>,
}

/// Why a mailbox was not read to its end.
enum Broken {
    Mailbox(io::Error),
    Spool(spool::Error),
}

impl From<io::Error> for Broken {
    fn from(why: io::Error) -> Self {
        Broken::Mailbox(why)
    }
}

impl Import {
    /// Reads a mailbox.
    pub(super) fn mailbox(&mut self, mailbox: &Mailbox, stop: &CancellationToken) -> Result<State, spool::Error> {
        let mut found = Reports::default();
        let mut reader = Reader::default();
        let read: Result<(), Broken> = mailbox.each(self.now, &mut |message: Message| {
            self.progress.bytes.fetch_add(message.octets.len() as u64, Ordering::Relaxed);
            self.progress.lines.fetch_add(1, Ordering::Relaxed);
            self.message(&message, &mut reader, &mut found);
            if self.events.len() >= BATCH_EVENTS {
                self.seal(stop).map_err(Broken::Spool)?;
            }
            Ok(if stop.is_cancelled() { Flow::Stop } else { Flow::Next })
        });
        match read {
            Err(Broken::Spool(why)) => Err(why),
            Err(Broken::Mailbox(why)) => Ok(State::Failed {
                message: ["cannot be read to its end: ", &why.to_string(), "; run the import again"].concat(),
            }),
            Ok(()) if found.messages == 0 => Ok(State::Empty),
            Ok(()) if found.messages == found.known => Ok(State::Known),
            Ok(()) => Ok(State::Reports(found)),
        }
    }

    fn message(&mut self, message: &Message, reader: &mut Reader, found: &mut Reports) {
        found.messages += 1;
        let digest = Digest::of(&message.octets);
        if self.origins.mailed.get(digest).is_some() {
            found.known += 1;
            return;
        }
        let context = Context { now: self.now, received: message.received };
        let mut reading = reader.read(&message.octets, &context);
        for fault in &reading.faults {
            if found.faults.len() < FAULTS {
                found.faults.push([message.name.as_str(), ": ", &fault.to_string()].concat());
            }
        }
        let refused = reading.rows.is_empty() && !reading.faults.is_empty();
        match reading.kind {
            _ if refused => found.refused += 1,
            Some(kind) => *found.kinds.entry(kind).or_default() += 1,
            None => found.others += 1,
        }
        found.rows += reading.rows.len() as u64;
        let stamp = Stamp { tenant: "", node: &self.scribe.node, event_id: EventId(0) };
        for row in &mut reading.rows {
            row.stamp(stamp);
            self.summary.event(row);
        }
        self.events.append(&mut reading.rows);
        self.unsealed = true;
        // What was refused, wholly or in part, is looked at again: a later program may know better.
        if reading.faults.is_empty() {
            let sort = if reading.kind.is_some() { Sort::Report } else { Sort::Other };
            self.origins.mailed.put(digest, sort);
        }
    }
}
