//! `varde parse`: a log in, one JSON object a line out, or the figures of the whole.

use std::io::{self, Read, Write};

use crate::dialect::{Reader, Reading};
use crate::event::{Event, RawLine, Time};
use crate::source::lines::{Line, Lines};
use crate::summary;

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
pub fn parse(mut input: impl Read, reader: &mut Reader, all: bool, out: impl Write) -> io::Result<Summary> {
    let mut lines = Lines::new(0, b"");
    let mut printer = Printer {
        reader,
        all,
        out,
        text: Vec::new(),
        events: Vec::new(),
        last: Time::default(),
        summary: Summary::default(),
    };
    let fault = loop {
        match lines.fill(&mut input) {
            Ok(0) => break None,
            Ok(_) => {}
            Err(why) => break Some(why),
        }
        while let Some(line) = lines.next() {
            printer.line(line)?;
        }
        // Whoever follows a growing log gets what there is before we wait for more.
        printer.flush()?;
    };
    // A file that cannot be read to its end has said something up to there; where it broke off is no end of a line.
    if fault.is_none()
        && let Some(line) = lines.last()
    {
        printer.line(line)?;
        printer.flush()?;
    }
    printer.summary.cut = lines.cut();
    fault.map_or(Ok(printer.summary), Err)
}

/// Reads `input` to its end and counts what it says.
///
/// # Errors
/// Reading failed.
pub fn figures(mut input: impl Read, reader: &mut Reader) -> io::Result<summary::Figures> {
    let mut lines = Lines::new(0, b"");
    let mut summary = summary::Summary::default();
    let mut events = Vec::new();
    let mut count = |line: Line<'_>| {
        let recognised = reader.line_to_count(line.bytes, &mut events) == Reading::Recognised;
        summary.line(line.bytes, recognised);
        events.iter().for_each(|event| summary.event(event));
        reader.take_back(&mut events);
    };
    while lines.fill(&mut input)? > 0 {
        while let Some(line) = lines.next() {
            count(line);
        }
    }
    if let Some(line) = lines.last() {
        count(line);
    }
    Ok(summary.figures())
}

/// Writes the events of lines.
struct Printer<'a, W> {
    reader: &'a mut Reader,
    all: bool,
    out: W,
    /// What is not written yet.
    text: Vec<u8>,
    events: Vec<Event>,
    /// A line without a time of its own is as old as what was read before it.
    last: Time,
    summary: Summary,
}

impl<W: Write> Printer<'_, W> {
    fn line(&mut self, line: Line<'_>) -> io::Result<()> {
        self.summary.lines += 1;
        if self.reader.line(line.bytes, &mut self.events) == Reading::Unrecognised {
            self.summary.unrecognised += 1;
            if self.all {
                let raw = RawLine {
                    ts: self.reader.time(line.bytes).unwrap_or(self.last),
                    offset: Some(line.offset),
                    dialect: self.reader.dialect().to_owned(),
                    line: String::from_utf8_lossy(line.bytes).into_owned(),
                    ..RawLine::default()
                };
                self.events.push(raw.into());
            }
        }
        self.summary.events += self.events.len() as u64;
        for event in &self.events {
            self.last = event.ts();
            event.write_json(&mut self.text);
            self.text.push(b'\n');
        }
        self.reader.take_back(&mut self.events);
        if self.text.len() >= OUT_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.write_all(&self.text)?;
        self.text.clear();
        self.out.flush()
    }
}

#[cfg(test)]
mod tests;
