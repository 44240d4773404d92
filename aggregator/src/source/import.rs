//! Reading whole log files once: `varde import`.
//!
//! Files are read oldest first, whatever their order on the command line, because a dialect remembers from one file to
//! the next. What was read before is known by its content and skipped. A mailbox among them is searched for reports.
//! Nothing here waits for a network: batches go into the spool, and while that or its disk is full the reading waits.

mod reports;

use std::collections::HashMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use chrono_tz::Tz;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::input::Input;
use super::mailbox::{self, Mailbox};
use super::origin::Origins;
use super::room::Waiting;
use super::scribe::Scribe;
use super::tap::Tap;
use super::{BATCH_BYTES, BATCH_EVENTS, BATCH_ROOM, names};
use crate::dialect::clock::Clock;
use crate::dialect::{self, Entry, Reader, Reading};
use crate::event::{Event, Time};
use crate::ship::Shipping;
use crate::spool::{self, Shelf, Spool};
use crate::summary::Summary;

pub use reports::Reports;

/// Octets of a log from which its dialect is guessed.
const SAMPLE_BYTES: u64 = 256 << 10;
/// The dialect of a log into which several programs write.
const MIXED: &str = "mail";
/// One line in so many that looks like another dialect makes a log a mixed one.
const MIXED_SHARE: usize = 100;
/// Between two looks whether the spool has room again.
const ROOM_POLL: Duration = Duration::from_millis(50);

/// How logs are read.
#[derive(Debug, Clone)]
pub struct Options {
    /// The dialect of all of them; `None`: it is guessed for each.
    pub dialect: Option<&'static Entry>,
    /// The zone of times that do not say.
    pub zone: Tz,
    /// The node of all lines; `None`: as each line says, or the spool's node.
    pub node: Option<String>,
    /// Whether recognised lines are kept in `raw_lines` too.
    pub raw: bool,
}

/// How far the reading is, for a progress bar.
#[derive(Debug, Clone, Default)]
pub struct Progress {
    /// Octets read, as they are on the disk.
    pub bytes: Arc<AtomicU64>,
    /// Lines read.
    pub lines: Arc<AtomicU64>,
    /// The disk that the reading waits for.
    pub waiting: Waiting,
}

/// What became of one log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Done {
    /// Its name as it was given.
    pub name: String,
    /// What became of it.
    #[serde(flatten)]
    pub state: State,
}

/// What became of a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum State {
    /// It was read, or what was new in it.
    Read {
        /// The dialect.
        dialect: &'static str,
        /// New lines.
        lines: u64,
        /// Whether a part of it had been read before.
        resumed: bool,
    },
    /// Its reports were read, or what was new of them.
    Reports(Reports),
    /// Nothing in it is new.
    Known,
    /// The node of this machine follows it, and has its lines or will have them in a moment.
    Followed,
    /// There is nothing in it.
    Empty,
    /// It could not be read, or not to its end.
    Failed {
        /// Why, and what to do.
        message: String,
    },
}

/// A log or a mailbox that is ready to be read.
pub struct Log {
    name: String,
    content: Content,
    /// The time of its first line: logs are read in this order.
    first: Time,
    size: u64,
}

enum Content {
    Lines { path: Option<PathBuf>, input: Box<Input>, entry: &'static Entry },
    Mail(Mailbox),
}

/// Reads logs into a spool.
pub struct Import {
    spool: Spool,
    origins: Origins,
    followed: Option<Origins>,
    scribe: Scribe,
    options: Options,
    readers: HashMap<&'static str, Reader>,
    events: Vec<Event>,
    pending_bytes: u64,
    unsealed: bool,
    progress: Progress,
    summary: Summary,
    now: Time,
}

impl Import {
    /// Opens the spool of `shipping`. `beside` is the shipper by which the node ships the logs that it follows: what
    /// that has read is not read again.
    ///
    /// # Errors
    /// See [`spool::Error`].
    pub fn open(shipping: &Shipping, beside: &str, options: Options, now: Time) -> Result<Self, spool::Error> {
        let spool = shipping.open_spool()?;
        let mut origins = spool.checkpoint().and_then(Origins::decode).unwrap_or_default();
        let other = spool::glance(&shipping.dir, beside)?;
        let theirs = other.checkpoint.as_deref().and_then(Origins::decode).unwrap_or_default();
        if !other.in_use {
            origins.merge(&theirs);
        }
        let node = options.node.clone().unwrap_or_else(|| shipping.node.clone());
        Ok(Self {
            spool,
            origins,
            followed: other.in_use.then_some(theirs),
            scribe: Scribe { node, override_node: options.node.is_some(), mask: shipping.mask.clone() },
            options,
            readers: HashMap::new(),
            events: Vec::new(),
            pending_bytes: 0,
            unsealed: false,
            progress: Progress::default(),
            summary: Summary::default(),
            now,
        })
    }

    /// The sealed batches, for the sender.
    pub fn shelf(&self) -> Arc<Shelf> {
        self.spool.shelf()
    }

    /// What goes wrong next on the spool's disk.
    #[cfg(test)]
    pub(super) fn faults(&self) -> Arc<spool::Faults> {
        self.spool.faults()
    }

    /// How far it is.
    pub fn progress(&self) -> Progress {
        self.progress.clone()
    }

    /// Opens a file or a maildir, or standard input for `-`, and finds out what it is.
    ///
    /// # Errors
    /// What became of a file that is not going to be read.
    pub fn prepare(&self, path: &Path) -> Result<Log, Done> {
        let name = path.to_string_lossy().into_owned();
        let done = |state| Done { name: name.clone(), state };
        let failed = |message: String| done(State::Failed { message });
        if let Ok(Some(mailbox)) = mailbox::recognise(path) {
            let size = mailbox.size();
            return Ok(Log { name, content: Content::Mail(mailbox), first: self.now, size });
        }
        // A pipe, by name or as standard input, can be read only once.
        let file = std::fs::metadata(path).ok().filter(|metadata| metadata.is_file());
        let input = match path == Path::new("-") {
            true => Input::stream(io::stdin(), self.now, &self.progress.bytes),
            false => Input::open(path, &self.progress.bytes),
        };
        let input = input.map_err(|why| failed(why.to_string()))?;
        if input.head().is_empty() {
            return Err(done(State::Empty));
        }
        if self.followed.as_ref().is_some_and(|followed| !followed.find(input.head()).is_empty()) {
            return Err(done(State::Followed));
        }
        let sample = if file.is_some() { sample(path) } else { Ok(input.head().to_vec()) };
        let sample = sample.map_err(|why| failed(why.to_string()))?;
        let strange = dialect::not_a_log(&sample).filter(|_| self.options.dialect.is_none());
        let sample = String::from_utf8_lossy(&sample);
        let entry = choose(&sample, self.options.dialect).map_err(|why| match strange {
            Some(strange) => failed([strange, "; ", &why].concat()),
            None => failed(why),
        })?;
        let reader = Reader::new(entry, Clock::new(self.options.zone, input.modified));
        let first = sample.lines().take(100).find_map(|line| reader.time(line.as_bytes())).unwrap_or(input.modified);
        let size = file.as_ref().map_or(0, std::fs::Metadata::len);
        let content = Content::Lines { path: file.map(|_| path.to_owned()), input: Box::new(input), entry };
        Ok(Log { name, content, first, size })
    }

    /// Reads logs, oldest first, until `stop`. What was read is in the spool, whole batches at a time; a later import
    /// goes on after them.
    ///
    /// # Errors
    /// The spool's disk did not take a batch, for another reason than that it is full.
    pub fn read(&mut self, mut logs: Vec<Log>, stop: &CancellationToken) -> Result<Vec<Done>, spool::Error> {
        logs.sort_by_key(|log| log.first);
        let (mut done, mut before) = (Vec::new(), 0);
        for log in logs {
            before += log.size;
            let name = log.name.clone();
            let state = self.log(log, stop)?;
            done.push(Done { name, state });
            if stop.is_cancelled() {
                break;
            }
            self.progress.bytes.fetch_max(before, Ordering::Relaxed);
        }
        self.seal(stop)?;
        Ok(done)
    }

    /// Octets that will be read at most, as they are on the disk.
    pub fn size(logs: &[Log]) -> u64 {
        logs.iter().map(|log| log.size).sum()
    }

    /// What was read, in figures.
    pub fn into_summary(self) -> Summary {
        self.summary
    }

    fn log(&mut self, log: Log, stop: &CancellationToken) -> Result<State, spool::Error> {
        let (name, path, input, entry) = match log.content {
            Content::Mail(mailbox) => return self.mailbox(&mailbox, stop),
            Content::Lines { path, input, entry } => (log.name, path, *input, entry),
        };
        let clock = Clock::new(self.options.zone, input.modified);
        let mut reader = self.readers.remove(entry.name).unwrap_or_else(|| Reader::new(entry, clock));
        let bytes = self.progress.bytes.clone();
        let reopen = || match &path {
            Some(path) => Input::open(path, &bytes),
            None => Err(io::Error::other("begins as a log that was read before; give it as a file to import it")),
        };
        // By its whole name a follower finds what rotation has made of it since.
        let whole = path.as_ref().and_then(|path| std::path::absolute(path).ok());
        let name = whole.map_or(name, |path| path.to_string_lossy().into_owned());
        let opened = Tap::open(input, reopen, &mut self.origins, &name, &mut reader, false, self.now);
        let state = match opened {
            Err(why) => State::Failed { message: why.to_string() },
            Ok(None) => State::Empty,
            Ok(Some(mut tap)) => {
                tap.place.source.raw = self.options.raw;
                let lines = self.summary.lines;
                let failed = self.tap(&mut tap, &mut reader, stop)?;
                match (failed, self.summary.lines - lines) {
                    (Some(why), _) => {
                        State::Failed { message: ["cannot be read to its end: ", &why.to_string()].concat() }
                    }
                    (None, 0) if tap.known => State::Known,
                    (None, lines) => State::Read { dialect: entry.name, lines, resumed: tap.known },
                }
            }
        };
        self.readers.insert(entry.name, reader);
        Ok(state)
    }

    /// Reads an origin to its end, or to a fault of its file.
    fn tap(
        &mut self,
        tap: &mut Tap,
        reader: &mut Reader,
        stop: &CancellationToken,
    ) -> Result<Option<io::Error>, spool::Error> {
        let mut failed = None;
        while !stop.is_cancelled() {
            match tap.fill() {
                Ok(0) => {
                    let settled = tap.is_settled(self.now);
                    if let Some(line) = tap.lines.last().filter(|_| settled) {
                        self.line(reader, &mut tap.place, line);
                    }
                    break;
                }
                Ok(_) => {
                    while let Some(line) = tap.lines.next() {
                        self.line(reader, &mut tap.place, line);
                        if self.events.len() >= BATCH_EVENTS || self.pending_bytes >= BATCH_BYTES {
                            tap.mark(&mut self.origins, self.now);
                            self.seal(stop)?;
                        }
                    }
                }
                Err(why) => {
                    failed = Some(why);
                    break;
                }
            }
            self.progress.lines.store(self.summary.lines, Ordering::Relaxed);
        }
        tap.mark(&mut self.origins, self.now);
        self.unsealed = true;
        Ok(failed)
    }

    fn line(&mut self, reader: &mut Reader, place: &mut super::scribe::Place, line: super::lines::Line<'_>) {
        let before = self.events.len();
        let reading = self.scribe.line(reader, place, line, &mut self.events);
        self.pending_bytes += line.bytes.len() as u64;
        // What is shown of an unrecognised line is what is kept of it, masked.
        match self.events.last() {
            Some(Event::RawLine(row)) if reading == Reading::Unrecognised => {
                self.summary.line(row.line.as_bytes(), false);
            }
            _ => self.summary.line(line.bytes, reading == Reading::Recognised),
        }
        for event in self.events.iter().skip(before) {
            self.summary.event(event);
        }
    }

    /// Seals what was read together with the place where it ends, once there is room for it.
    fn seal(&mut self, stop: &CancellationToken) -> Result<(), spool::Error> {
        if !self.unsealed && self.events.is_empty() && self.pending_bytes == 0 {
            return Ok(());
        }
        let shelf = self.spool.shelf();
        while !shelf.has_room_for(BATCH_ROOM) {
            if stop.is_cancelled() {
                // Not sealed, so it is read again.
                return Ok(());
            }
            std::thread::sleep(ROOM_POLL);
        }
        let checkpoint = self.origins.encode();
        let sealed = self.progress.waiting.until_done(stop, || self.spool.seal(&mut self.events, Some(&checkpoint)))?;
        if sealed.is_none() {
            // As above.
            return Ok(());
        }
        self.events.clear();
        self.pending_bytes = 0;
        self.unsealed = false;
        Ok(())
    }
}

/// Lines of a log by which its dialect is guessed: from its begin, and from the middle and the end of a plain file.
fn sample(path: &Path) -> io::Result<Vec<u8>> {
    let mut input = Input::open(path, &Arc::default())?;
    let mut sample = Vec::new();
    let Some(length) = input.plain().map(|file| file.metadata().map(|metadata| metadata.len())).transpose()? else {
        // What is damaged is found out when it is read.
        let _ = input.by_ref().take(SAMPLE_BYTES).read_to_end(&mut sample);
        return Ok(sample);
    };
    let part = SAMPLE_BYTES / 4;
    for at in [0, (length / 2).saturating_sub(part), length.saturating_sub(part)] {
        input.skip(at)?;
        let mut found = Vec::new();
        input.by_ref().take(part).read_to_end(&mut found)?;
        // The first line of a part is cut.
        let from = if at == 0 { 0 } else { memchr::memchr(b'\n', &found).map_or(found.len(), |end| end + 1) };
        sample.extend_from_slice(&found[from..]);
        if length <= part {
            break;
        }
    }
    Ok(sample)
}

/// The dialect of a log: the one that is asked for, if it can be right, or the one that it looks like.
fn choose(sample: &str, asked: Option<&'static Entry>) -> Result<&'static Entry, String> {
    let guessed = dialect::guess(sample.lines());
    match (asked, guessed) {
        (Some(asked), Some(guessed)) if asked.name != MIXED && !sample.lines().any(asked.looks_like) => {
            Err(["looks like ", guessed.name, ", not like ", asked.name, "; try --dialect ", guessed.name].concat())
        }
        (Some(asked), _) => Ok(asked),
        (None, Some(guessed)) => {
            let others = |line: &str| {
                !(guessed.looks_like)(line) && dialect::DIALECTS.iter().any(|entry| (entry.looks_like)(line))
            };
            let mixed = sample.lines().filter(|line| others(line)).count() * MIXED_SHARE >= sample.lines().count();
            Ok(dialect::find(MIXED).filter(|_| mixed).unwrap_or(guessed))
        }
        (None, None) => Err(["looks like no dialect that is known; name one with --dialect: ", &names()].concat()),
    }
}
