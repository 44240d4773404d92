//! An open origin: where it is read on, and what its dialect should know of the lines before.

use std::io::{self, Read};
use std::os::unix::fs::FileExt;

use super::input::{Inode, Input, inode};
use super::lines::{Lines, TAIL_BYTES};
use super::origin::{HEAD_BYTES, Origins};
use super::scribe::{Place, Source};
use crate::dialect::Reader;
use crate::event::Time;

/// Octets before the place of the checkpoint that the dialect reads again, without events: who sent the messages that
/// are on their way is not on disk. At 500 lines a second these are the last minute: a large message's Message-ID is
/// logged long before the queue manager takes it, and without that line it would not be known for an arrival.
const WARM_UP_BYTES: u64 = 4 << 20;

/// How long a file must have been left alone before its last line is taken for whole without a line end.
const SETTLED_MS: u64 = 10_000;

/// An origin that is being read.
pub(super) struct Tap {
    input: Input,
    pub(super) lines: Lines,
    pub(super) place: Place,
    /// Who the file is on its disk, if it is a plain one.
    pub(super) inode: Option<Inode>,
    /// Whether it had been read before, in part or whole.
    pub(super) known: bool,
    /// Whether the last look found its end.
    ended: bool,
}

impl Tap {
    /// Finds out what `input` is and goes to where it has been read to. `reader` learns what went before. `live`: it
    /// is written while it is read. `None`: it has not one whole line yet, and nobody knows what it will be.
    pub(super) fn open(
        input: Input,
        mut reopen: impl FnMut() -> io::Result<Input>,
        origins: &mut Origins,
        name: &str,
        reader: &mut Reader,
        live: bool,
        now: Time,
    ) -> io::Result<Option<Self>> {
        if input.head().is_empty() || live && input.head().len() < HEAD_BYTES && !input.head().contains(&b'\n') {
            return Ok(None);
        }
        reader.set_reference(input.modified);
        let (mut first, mut salt, mut shorter) = (Some(input), Vec::new(), None);
        for origin in origins.find(first.as_ref().map_or(&[][..], Input::head)) {
            let mut input = first.take().map_or_else(&mut reopen, Ok)?;
            let begin = origin.offset.saturating_sub(WARM_UP_BYTES);
            let (skipped, before) = read_before(&mut input, begin, origin.offset)?;
            let read = skipped + before.len() as u64;
            if read < origin.offset {
                shorter.get_or_insert((input, origin, read));
            } else if origin.ends_as(&before) {
                // A log that is followed has others before it, which rotation has moved away.
                if live || begin > 0 {
                    reader.begins_within();
                }
                warm_up(reader, &before, begin == 0);
                return Self::at(input, Lines::new(origin.offset, &before), origin.id, name, true).map(Some);
            } else if salt.is_empty() {
                salt = before[before.len().saturating_sub(TAIL_BYTES)..].to_vec();
            }
        }
        // A shorter text with the begin of a known one is a part of it: nothing in it is new. If it still grows, what
        // comes from here on is.
        if let Some((mut input, origin, read)) = shorter {
            let at = if live { read } else { origin.offset };
            let (_, tail) = if live {
                read_before(&mut input, read.saturating_sub(TAIL_BYTES as u64), read)?
            } else {
                (0, Vec::new())
            };
            return Self::at(input, Lines::new(at, &tail), origin.id, name, true).map(Some);
        }
        if !salt.is_empty() {
            tracing::warn!(
                file = name,
                "begins as a log that was read before and goes on otherwise: it is read as a new one"
            );
        }
        let input = first.map_or_else(reopen, Ok)?;
        let id = origins.admit(input.head(), &salt, name, now);
        Self::at(input, Lines::new(0, b""), id, name, false).map(Some)
    }

    fn at(input: Input, lines: Lines, id: super::origin::Digest, name: &str, known: bool) -> io::Result<Self> {
        let inode = input.plain().map(|file| file.metadata().map(|metadata| inode(&metadata))).transpose()?;
        let source = Source { name: name.to_owned(), raw: false, last: input.modified };
        let place = Place::new(id, source);
        Ok(Self { input, lines, place, inode, known, ended: false })
    }

    /// Reads once. How many octets came; 0 at the end, for now.
    pub(super) fn fill(&mut self) -> io::Result<usize> {
        let count = self.lines.fill(&mut self.input)?;
        self.ended = count == 0;
        Ok(count)
    }

    /// Reads once from a file that others may truncate or write anew at any time. `None`: that has happened, and what
    /// was read now is not believed.
    pub(super) fn fill_live(&mut self, origins: &Origins) -> io::Result<Option<usize>> {
        let count = self.fill()?;
        if self.is_same(origins)? {
            return Ok(Some(count));
        }
        self.lines.forget(count);
        Ok(None)
    }

    /// Whether the open file is still the text that it was: not shorter than what was read, and with the same begin.
    fn is_same(&self, origins: &Origins) -> io::Result<bool> {
        let (Some(file), Some(origin)) = (self.input.plain(), origins.get(self.place.id)) else { return Ok(true) };
        if file.metadata()?.len() < self.lines.position() {
            return Ok(false);
        }
        let mut head = vec![0; origin.head_bytes()];
        match file.read_exact_at(&mut head, 0) {
            Ok(()) => Ok(origin.begins_as(&head)),
            Err(why) if why.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
            Err(why) => Err(why),
        }
    }

    /// Says in the checkpoint how far it has been read.
    pub(super) fn mark(&mut self, origins: &mut Origins, now: Time) {
        let known = self.input.head().len();
        // What cannot be learnt now is learnt next time; and nothing is learnt of a file that is another one by now.
        if known < HEAD_BYTES && (self.input.learn_more().is_err() || !self.is_same(origins).unwrap_or(false)) {
            self.input.unlearn(known);
        }
        let place = (self.lines.position(), self.lines.tail());
        origins.advance(self.place.id, self.input.head(), place, self.ended, &self.place.source.name, now);
    }

    /// Whether nobody is about to finish the last line, if it has no line end.
    pub(super) fn is_settled(&self, now: Time) -> bool {
        self.input.plain().is_none() || now.millis_since(self.input.modified) > SETTLED_MS
    }
}

/// What lies between `begin` and `end`, and how much was skipped before it; both are less at the end of the text.
fn read_before(input: &mut Input, begin: u64, end: u64) -> io::Result<(u64, Vec<u8>)> {
    let mut before = Vec::new();
    let skipped = input.skip(begin)?;
    if skipped == begin {
        input.by_ref().take(end - begin).read_to_end(&mut before)?;
    }
    Ok((skipped, before))
}

fn warm_up(reader: &mut Reader, before: &[u8], whole: bool) {
    let mut forgotten = Vec::new();
    for line in before.split_inclusive(|byte| *byte == b'\n').skip(usize::from(!whole)) {
        reader.line(line, &mut forgotten);
        forgotten.clear();
    }
}
