//! Log dialects: a line in, events out.
//!
//! A dialect is one file and one line in [`DIALECTS`]. It is pure: it opens nothing, reads no clock, never panics, and
//! says of every line whether it knows it. What a line does not say is absent from its event, never guessed.

pub mod clock;
mod dovecot;
mod exim;
pub mod head;
mod kumomta;
mod mixed;
mod opendkim;
mod opensmtpd;
mod postfix;
mod postgrey;
pub mod recent;
mod repeated;
mod rspamd;
mod spare;
mod stalwart;
pub mod text;
mod varde;

use std::cell::OnceCell;

use clock::Clock;
use repeated::Repeated;

use crate::classify::Classifier;
use crate::event::{Event, Time};
use crate::metrics;

/// Longer lines are not looked into: no mail program writes them. They are unrecognised, and kept.
pub const MAX_LINE_BYTES: usize = 64 * 1024;

/// What a dialect says of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// It knows the line. Not every known line makes an event.
    Recognised,
    /// It does not know the line.
    Unrecognised,
}

/// The reader of one kind of log. It may keep a bounded state, for example the sender of each queue id.
pub trait Dialect: Send {
    /// Reads one line, without its line end, and appends the events that it makes.
    fn read(&mut self, line: &str, clock: &Clock, out: &mut Vec<Event>) -> Reading;

    /// What comes next follows a part of the log that was not read: what it goes on with may have been told already.
    fn begins_within(&mut self) {}

    /// Takes back rows that nobody wants any more, if it fills them again.
    fn take_back(&mut self, _rows: &mut Vec<Event>) {}
}

/// One entry of the registry.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// What `--dialect` and the columns `dialect` and `mta` say.
    pub name: &'static str,
    /// What a person reads.
    pub title: &'static str,
    /// A new reader.
    pub make: fn() -> Box<dyn Dialect>,
    /// Whether a line looks like this dialect: a cheap test that need not be right every time.
    pub looks_like: fn(&str) -> bool,
}

/// Every dialect.
pub const DIALECTS: &[Entry] = &[
    postfix::ENTRY,
    dovecot::ENTRY,
    exim::ENTRY,
    kumomta::ENTRY,
    opendkim::ENTRY,
    opensmtpd::ENTRY,
    postgrey::ENTRY,
    rspamd::ENTRY,
    stalwart::ENTRY,
    varde::ENTRY,
    mixed::ENTRY,
];

/// The dialect of this name.
pub fn find(name: &str) -> Option<&'static Entry> {
    DIALECTS.iter().find(|entry| entry.name == name)
}

/// What a sample is when it is no log, and what to do; `None`: it may be one.
pub fn not_a_log(sample: &[u8]) -> Option<&'static str> {
    /// One octet in so many that is 0 makes a file a binary one.
    const ZEROS: usize = 1_000;
    let zeros = memchr::memchr_iter(0, sample).count();
    match sample {
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => {
            Some("it is UTF-16, not UTF-8; try: iconv -f UTF-16 -t UTF-8 FILE, and read its output as -")
        }
        _ if zeros * ZEROS > sample.len() => Some("it is no text"),
        _ => None,
    }
}

/// The dialect that most lines of a sample look like; `None` when no dialect has a quarter of them.
pub fn guess<'a>(sample: impl Iterator<Item = &'a str> + Clone) -> Option<&'static Entry> {
    let lines = sample.clone().filter(|line| !line.is_empty()).count();
    DIALECTS
        .iter()
        .map(|entry| (entry, sample.clone().filter(|line| (entry.looks_like)(line)).count()))
        .filter(|(_, count)| *count > 0 && *count * 4 >= lines)
        .max_by_key(|(_, count)| *count)
        .map(|(entry, _)| entry)
}

/// Reads the raw lines of one source in one dialect, and classifies what was not delivered.
pub struct Reader {
    name: &'static str,
    dialect: Box<dyn Dialect>,
    clock: Clock,
    classifier: Classifier,
    /// The last line, if it made events: what `last message repeated` stands for.
    last: Vec<u8>,
    counters: OnceCell<metrics::log::Lines>,
}

impl Reader {
    /// A reader for one source; `clock` says how its times are meant.
    pub fn new(entry: &Entry, clock: Clock) -> Self {
        let (dialect, classifier) = ((entry.make)(), Classifier::default());
        Self { name: entry.name, dialect, clock, classifier, last: Vec::new(), counters: OnceCell::new() }
    }

    /// The name of its dialect.
    pub fn dialect(&self) -> &'static str {
        self.name
    }

    /// Another source, or the same at a later time: lines without a year are not later than `reference`. Whoever
    /// follows a growing file says so from time to time.
    pub fn set_reference(&mut self, reference: Time) {
        self.clock.set_reference(reference);
    }

    /// What comes next follows a part of the source that was read in another life, and not in this one.
    pub fn begins_within(&mut self) {
        self.dialect.begins_within();
    }

    /// The same for a source that has no begin: what comes first may go on with something that was told already.
    #[must_use]
    pub fn of_a_stream(mut self) -> Self {
        self.begins_within();
        self
    }

    /// The time that a line begins with, whether the dialect knows the line or not.
    pub fn time(&self, raw: &[u8]) -> Option<Time> {
        let raw = bare(raw);
        let start = raw.get(..raw.len().min(MAX_LINE_BYTES))?;
        head::split(&String::from_utf8_lossy(start), &self.clock).map(|head| head.time)
    }

    /// Reads one line, with or without its line end. Octets that are no UTF-8 are replaced.
    pub fn line(&mut self, raw: &[u8], out: &mut Vec<Event>) -> Reading {
        self.events(raw, out, Classifier::classify)
    }

    /// The same for whoever only counts: see [`Classifier::classify_to_count`].
    pub fn line_to_count(&mut self, raw: &[u8], out: &mut Vec<Event>) -> Reading {
        self.events(raw, out, Classifier::classify_to_count)
    }

    /// Counts a line in the metrics of this process.
    pub(crate) fn count(&self, reading: Reading) {
        self.counters.get_or_init(|| metrics::log::Lines::of(self.name)).count(reading);
    }

    /// Gives back rows that were written or counted: the next lines are written into their memory.
    pub fn take_back(&mut self, rows: &mut Vec<Event>) {
        self.dialect.take_back(rows);
        rows.clear();
    }

    fn events(&mut self, raw: &[u8], out: &mut Vec<Event>, classify: fn(&mut Classifier, &mut Event)) -> Reading {
        let raw = bare(raw);
        if raw.len() > MAX_LINE_BYTES {
            return Reading::Unrecognised;
        }
        let before = out.len();
        let mut reading = self.read(raw, out);
        let made = out.len() > before;
        if reading == Reading::Unrecognised {
            reading = self.repeated(raw, out);
        } else if made || !self.last.is_empty() {
            self.last.clear();
            self.last.extend_from_slice(if made { raw } else { b"" });
        }
        for event in out.iter_mut().skip(before) {
            classify(&mut self.classifier, event);
        }
        reading
    }

    fn read(&mut self, raw: &[u8], out: &mut Vec<Event>) -> Reading {
        match std::str::from_utf8(raw) {
            Ok(line) => self.dialect.read(line, &self.clock, out),
            Err(_) => self.dialect.read(&String::from_utf8_lossy(raw), &self.clock, out),
        }
    }

    /// A line that stands for the repetitions of another one is read as often as that came.
    fn repeated(&mut self, raw: &[u8], out: &mut Vec<Event>) -> Reading {
        match Repeated::read(&String::from_utf8_lossy(raw)) {
            Some(Repeated::Message(line, times)) => {
                let mut reading = Reading::Unrecognised;
                for _ in 0..times {
                    reading = self.dialect.read(&line, &self.clock, out);
                }
                reading
            }
            Some(Repeated::LineBefore(times)) => {
                let line = std::mem::take(&mut self.last);
                // An event of our own has its identity in it, and is the same however often it comes.
                if line.first().is_some_and(|first| *first != b'{') {
                    for _ in 0..times {
                        let _ = self.read(&line, out);
                    }
                }
                self.last = line;
                Reading::Recognised
            }
            None => {
                self.last.clear();
                Reading::Unrecognised
            }
        }
    }
}

/// A line without its end, and without what may stand before its first octet: a byte order mark, and the zeros that a
/// file system leaves where a crash cut a log off.
fn bare(raw: &[u8]) -> &[u8] {
    let raw = raw.strip_suffix(b"\n").unwrap_or(raw);
    let raw = raw.strip_suffix(b"\r").unwrap_or(raw);
    match raw {
        [0, ..] => raw.get(raw.iter().take_while(|byte| **byte == 0).count()..).unwrap_or_default(),
        [0xef, 0xbb, 0xbf, rest @ ..] => rest,
        _ => raw,
    }
}

#[cfg(test)]
mod every;
#[cfg(test)]
mod tests;
