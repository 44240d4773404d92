//! `varde parse`: a log in, one JSON object a line out, or the figures of the whole.

use std::io::{self, BufRead, Write};

use crate::dialect::{Reader, Reading};
use crate::event::{RawLine, Time};
use crate::summary;

/// Octets of a line that are kept; what follows up to its end is dropped, and the line counted as cut.
const KEPT_BYTES: usize = 1 << 20;

/// Octets of output that are written at once.
const OUT_BYTES: usize = 64 << 10;

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
    let mut lines = Lines::new(input);
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
        for event in &events {
            last = event.ts();
            event.write_json(&mut text);
            text.push(b'\n');
        }
        events.clear();
        // Whoever follows a growing log gets what there is before we wait for more.
        if !text.is_empty() && (line.may_wait || text.len() >= OUT_BYTES) {
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

/// Reads `input` to its end and counts what it says.
///
/// # Errors
/// Reading failed.
pub fn figures(input: impl BufRead, reader: &mut Reader) -> io::Result<summary::Figures> {
    let mut lines = Lines::new(input);
    let mut summary = summary::Summary::default();
    let mut events = Vec::new();
    while let Some(line) = lines.next()? {
        let recognised = reader.line(line.bytes, &mut events) == Reading::Recognised;
        summary.line(trimmed(line.bytes), recognised);
        for event in &events {
            summary.event(event);
        }
        events.clear();
    }
    Ok(summary.figures())
}

fn trimmed(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// Lines of bounded length, with their offsets.
struct Lines<R> {
    input: R,
    /// A line that does not lie in the input's buffer as a whole.
    line: Vec<u8>,
    offset: u64,
    /// Octets of the input's buffer that were given and are not wanted any more.
    given: usize,
}

struct Line<'a> {
    bytes: &'a [u8],
    offset: u64,
    cut: bool,
    /// Whether what the input had at hand is used up.
    may_wait: bool,
}

impl<R: BufRead> Lines<R> {
    fn new(input: R) -> Self {
        Self { input, line: Vec::new(), offset: 0, given: 0 }
    }

    fn next(&mut self) -> io::Result<Option<Line<'_>>> {
        self.input.consume(std::mem::take(&mut self.given));
        // Most lines lie in the buffer as a whole, and are given as they lie there.
        let chunk = fill(&mut self.input)?;
        if let Some(end) = memchr::memchr(b'\n', chunk).filter(|end| *end < KEPT_BYTES) {
            let (taken, offset) = (end + 1, self.offset);
            let may_wait = taken == chunk.len();
            self.given = taken;
            self.offset += taken as u64;
            let bytes = self.input.fill_buf()?.get(..taken).unwrap_or_default();
            return Ok(Some(Line { bytes, offset, cut: false, may_wait }));
        }
        self.pieced_together()
    }

    fn pieced_together(&mut self) -> io::Result<Option<Line<'_>>> {
        self.line.clear();
        let offset = self.offset;
        let mut cut = false;
        loop {
            let chunk = fill(&mut self.input)?;
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

fn fill(input: &mut impl BufRead) -> io::Result<&[u8]> {
    loop {
        match input.fill_buf() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
            // What is in the buffer now is given without another look at the input.
            Ok(_) => return input.fill_buf(),
        }
    }
}

#[cfg(test)]
mod tests;
