//! `varde parse`: a log in, one JSON object a line out.

use std::io::{self, BufRead, Write};

use crate::dialect::{Reader, Reading};
use crate::event::{RawLine, Time};

/// Octets of a line that are kept; what follows up to its end is dropped, and the line counted as cut.
const KEPT_BYTES: usize = 1 << 20;

/// What was read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    /// Lines.
    pub lines: u64,
    /// Lines that the dialect does not know.
    pub unrecognised: u64,
    /// Lines that were longer than what is kept of one.
    pub cut: u64,
    /// Events.
    pub events: u64,
}

/// Reads `input` to its end and writes every event in the order of the lines; with `all` also each unrecognised line,
/// as a row of `raw_lines`.
///
/// # Errors
/// Reading or writing failed.
pub fn parse(input: impl BufRead, reader: &mut Reader, all: bool, mut out: impl Write) -> io::Result<Summary> {
    let mut lines = Lines { input, line: Vec::new(), offset: 0 };
    let mut text = Vec::new();
    let mut summary = Summary::default();
    let mut events = Vec::new();
    // A line without a time of its own is as old as what was read before it.
    let mut last = Time::default();
    let fault = loop {
        let line = match lines.next() {
            Ok(Some(line)) => line,
            Ok(None) => break None,
            Err(why) => break Some(why),
        };
        summary.lines += 1;
        summary.cut += u64::from(line.cut);
        if reader.line(line.bytes, &mut events) == Reading::Unrecognised {
            summary.unrecognised += 1;
            if all {
                let raw = RawLine {
                    ts: reader.time(line.bytes).unwrap_or(last),
                    offset: Some(line.offset),
                    dialect: reader.dialect().to_owned(),
                    line: String::from_utf8_lossy(trimmed(line.bytes)).into_owned(),
                    ..RawLine::default()
                };
                events.push(raw.into());
            }
        }
        summary.events += events.len() as u64;
        for event in events.drain(..) {
            last = event.ts();
            event.write_json(&mut text);
            text.push(b'\n');
        }
        // Whoever follows a growing log gets what there is before we wait for more.
        if line.may_wait && !text.is_empty() {
            out.write_all(&text)?;
            out.flush()?;
            text.clear();
        }
    };
    // A file that cannot be read to its end has said something up to there.
    out.write_all(&text)?;
    out.flush()?;
    fault.map_or(Ok(summary), Err)
}

fn trimmed(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// Lines of bounded length, with their offsets.
struct Lines<R> {
    input: R,
    line: Vec<u8>,
    offset: u64,
}

struct Line<'a> {
    bytes: &'a [u8],
    offset: u64,
    cut: bool,
    /// Whether what the input had at hand is used up.
    may_wait: bool,
}

impl<R: BufRead> Lines<R> {
    fn next(&mut self) -> io::Result<Option<Line<'_>>> {
        self.line.clear();
        let offset = self.offset;
        let mut cut = false;
        loop {
            let chunk = match self.input.fill_buf() {
                Ok(chunk) => chunk,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let end = memchr::memchr(b'\n', chunk);
            let taken = end.map_or(chunk.len(), |end| end + 1);
            let may_wait = taken == chunk.len();
            let room = KEPT_BYTES - self.line.len();
            let kept = taken.min(room);
            cut |= kept < taken;
            self.line.extend_from_slice(chunk.get(..kept).unwrap_or_default());
            self.input.consume(taken);
            self.offset += taken as u64;
            if end.is_some() || taken == 0 {
                let ended = taken == 0 && self.offset == offset;
                return Ok((!ended).then_some(Line { bytes: &self.line, offset, cut, may_wait }));
            }
        }
    }
}

#[cfg(test)]
mod tests;
