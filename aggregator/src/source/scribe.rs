//! From a line to its events: identity, node, trace, and the line itself where it is kept.

use std::cell::OnceCell;

use super::lines::{KEPT, Line};
use super::origin::Digest;
use crate::dialect::{Reader, Reading};
use crate::event::{Event, EventId, RawLine, Time};
use crate::mask::Mask;

/// Octets of an unrecognised line that are kept.
const RAW_BYTES: usize = KEPT;
/// The index of a raw line among the events of its line, beside which the others are counted.
const RAW_INDEX: usize = 255;

/// What holds for all lines of a reader.
#[derive(Debug, Clone)]
pub(super) struct Scribe {
    /// The node: part of every identity, and the node of lines that do not name their host.
    pub(super) node: String,
    /// Whether it is the node of all lines.
    pub(super) override_node: bool,
    /// What becomes of local parts.
    pub(super) mask: Mask,
}

/// What holds for all lines of one origin.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// The origin.
    pub(super) id: Digest,
    /// The identity of its begin: those of its lines differ from it in their places only.
    begin: OnceCell<EventId>,
    /// What does not depend on which origin it is.
    pub(super) source: Source,
}

impl Place {
    /// An origin whose lines are read by one scribe.
    pub(super) fn new(id: Digest, source: Source) -> Self {
        Self { id, begin: OnceCell::new(), source }
    }
}

/// Where lines come from.
#[derive(Debug, Clone)]
pub(super) struct Source {
    /// Its name in `raw_lines`.
    pub(super) name: String,
    /// Whether recognised lines are kept too.
    pub(super) raw: bool,
    /// The time of a line that says none: that of the line before it.
    pub(super) last: Time,
}

impl Scribe {
    /// Reads a line of an origin; appends its events and, if it is kept, the line. Its identity is its place.
    pub(super) fn line(&self, reader: &mut Reader, place: &mut Place, line: Line<'_>, out: &mut Vec<Event>) -> Reading {
        let (id, begin, offset) = (place.id, &place.begin, line.offset);
        let identity = |index| self.identity(id, begin, offset, index);
        self.read(reader, &mut place.source, line.bytes, Some(offset), &identity, out)
    }

    /// Reads a line that has no place: the spool gives its events their identity when it writes them.
    pub(super) fn received(
        &self,
        reader: &mut Reader,
        source: &mut Source,
        line: &[u8],
        out: &mut Vec<Event>,
    ) -> Reading {
        self.read(reader, source, line, None, &|_| EventId::default(), out)
    }

    fn read(
        &self,
        reader: &mut Reader,
        source: &mut Source,
        line: &[u8],
        offset: Option<u64>,
        identity: &dyn Fn(usize) -> EventId,
        out: &mut Vec<Event>,
    ) -> Reading {
        let before = out.len();
        let reading = reader.line(line, out);
        let mut last = None;
        for (index, event) in out.iter_mut().skip(before).enumerate() {
            last = Some(event.ts());
            self.finish(event, identity(if index < RAW_INDEX { index } else { index + 1 }));
        }
        let recognised = reading == Reading::Recognised;
        reader.count(reading);
        if !recognised || source.raw {
            last = last.or_else(|| reader.time(line));
        }
        source.last = last.unwrap_or(source.last);
        if !recognised || source.raw {
            let text = &line[..line.len().min(RAW_BYTES)];
            let row = RawLine {
                ts: source.last,
                node: self.node.clone(),
                event_id: identity(RAW_INDEX),
                source: source.name.clone(),
                offset,
                dialect: reader.dialect().to_owned(),
                recognised,
                line: String::from_utf8_lossy(text).into_owned(),
                ..RawLine::default()
            };
            out.push(row.into());
        }
        self.mask.line(out.get_mut(before..).unwrap_or_default());
        reading
    }

    /// A line makes a few events, as a rule; no log is longer than 2^56 octets.
    fn identity(&self, origin: Digest, begin: &OnceCell<EventId>, offset: u64, index: usize) -> EventId {
        let make = || EventId::at(&[self.node.as_bytes(), &origin.0], 0);
        match u8::try_from(index) {
            Ok(index) => begin.get_or_init(make).moved_to(offset << 8 | u64::from(index)),
            Err(_) => {
                let place = [offset, index as u64].map(u64::to_le_bytes);
                EventId::of(&[self.node.as_bytes(), &origin.0, &place[0], &place[1]])
            }
        }
    }

    fn finish(&self, event: &mut Event, id: EventId) {
        let (node, event_id) = match event {
            Event::Delivery(row) => (&mut row.node, &mut row.event_id),
            Event::Reception(row) => (&mut row.node, &mut row.event_id),
            Event::Session(row) => (&mut row.node, &mut row.event_id),
            Event::AuthEvent(row) => (&mut row.node, &mut row.event_id),
            other => {
                other.stamp(crate::event::Stamp { tenant: "", node: &self.node, event_id: id });
                return;
            }
        };
        // Our own events come with the identity that they were given first.
        if event_id.0 == 0 {
            *event_id = id;
        }
        if self.override_node || node.is_empty() {
            self.node.clone_into(node);
        }
        match event {
            Event::Delivery(row) if row.trace_id.is_empty() => {
                row.trace_id = trace_id(&row.message_id, &row.node, &row.queue_id);
            }
            Event::Reception(row) if row.trace_id.is_empty() => {
                row.trace_id = trace_id(&row.message_id, &row.node, &row.queue_id);
            }
            _ => {}
        }
    }
}

/// What all hops of a message share. The table makes it of the Message-ID, which every host sees; where there is none,
/// of node and queue id here. Empty when a line names neither.
fn trace_id(message_id: &str, node: &str, queue_id: &str) -> String {
    if !message_id.is_empty() || queue_id.is_empty() {
        return String::new();
    }
    digits(&EventId::of(&[node.as_bytes(), queue_id.as_bytes()]).0.to_le_bytes())
}

/// What the tables make of a Message-ID, for tables that store it; empty without one.
pub(crate) fn trace_of_message(message_id: &str) -> String {
    if message_id.is_empty() {
        return String::new();
    }
    digits(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, message_id.as_bytes()).as_ref())
}

/// The first eight octets in hexadecimal.
fn digits(digest: &[u8]) -> String {
    let digits = digest.iter().take(8).flat_map(|byte| [byte >> 4, byte & 15]);
    digits.filter_map(|digit| char::from_digit(digit.into(), 16)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::{clock::Clock, find};

    #[test]
    fn every_event_of_a_line_has_an_identity_of_its_own_however_many_there_are() {
        let recipients: Vec<_> = (0..600).map(|number| format!("r{number}@example.net")).collect();
        let line = serde_json::json!({
            "type": "Delivery", "id": "1d98", "sender": "ann@example.org", "recipient": recipients, "queue": "q",
            "site": "s", "size": 9, "response": {"code": 250, "enhanced_code": null, "content": "OK", "command": "."},
            "timestamp": 1_795_342_608, "created": 1_795_342_606, "num_attempts": 1,
        })
        .to_string();
        let time = Time(1_795_342_608_000_000);
        let mut reader = Reader::new(find("kumomta").unwrap(), Clock::new(chrono_tz::Tz::UTC, time));
        let scribe = Scribe { node: "mx1".to_owned(), override_node: false, mask: Mask::default() };
        let source = Source { name: "log".to_owned(), raw: true, last: time };
        let mut place = Place::new(Digest::of(b"log"), source);
        let mut out = Vec::new();
        scribe.line(&mut reader, &mut place, Line { offset: 7, bytes: line.as_bytes() }, &mut out);
        let identity = |event: &Event| match event {
            Event::Delivery(row) => (row.event_id, row.node.clone()),
            Event::RawLine(row) => (row.event_id, row.node.clone()),
            other => panic!("{other:?}"),
        };
        let ids: std::collections::BTreeSet<_> = out.iter().map(identity).collect();
        assert_eq!((out.len(), ids.len()), (601, 601));
        assert!(ids.iter().all(|(id, node)| id.0 != 0 && node == "mx1"));
    }
}
