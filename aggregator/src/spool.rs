//! The spool: events on disk, from the moment they are emitted until ClickHouse has them.
//!
//! **In**: events of our own processes one by one, or whole batches of a log source. **Out**: sealed segments in
//! order, on the [`Shelf`]. **On disk**, one folder a shipper: `epoch`, one open `N.journal`, sealed `N.segment`s,
//! what was set aside (`*.corrupt`, `*.refused`), and `dropped` once a segment was.
//!
//! A number is never used for two batches, because a token that comes again with other rows would be dropped in
//! silence: the journal of the next number is on disk before a segment can be seen, shipped and removed.

mod files;
mod journal;
mod segment;
mod shelf;
#[cfg(test)]
mod tests;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::event::{Event, EventId, Stamp};
use crate::mask::Mask;
use files::{Files, PARTIAL};
use shelf::{CHECKPOINT, CORRUPT, JOURNAL, SEGMENT, numbered, segment_name};

#[cfg(test)]
pub(crate) use files::Faults;
pub use segment::{Block, Fault, Header, Segment};
pub use shelf::{Aside, Counters, SET_ASIDE_FILES, Shelf};

/// Events in a journal before it is sealed, however young it is.
pub const SEAL_EVENTS: usize = 10_000;
/// Octets in a journal before it is sealed, however young it is.
pub const SEAL_BYTES: u64 = 8 << 20;
/// The most events that may be sealed at once: one insert is one block, whatever comes.
pub const BATCH_EVENTS: usize = 500_000;
/// A place in a batch has fewer bits than this.
const PLACE_BITS: u32 = 24;

/// Whose events a spool holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// The name of the shipper: one process, or one source of a node. Letters, digits, `.`, `_`, `-`.
    pub shipper: String,
    /// Stamped on events that do not say.
    pub tenant: String,
    /// Stamped on events that do not say.
    pub node: String,
}

/// Why the spool did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The name cannot be a folder and a part of a token.
    #[error("\"{0}\" cannot name a shipper: only letters, digits, '.', '_' and '-', and no '.' at its begin")]
    Name(String),
    /// Another process has it open. Two writers would give one number to two batches.
    #[error("the spool {0} is in use by another process; stop that one first")]
    InUse(PathBuf),
    /// Too many events at once.
    #[error("a batch of {0} events is more than the {BATCH_EVENTS} that may be sealed at once")]
    Batch(usize),
    /// The disk did not do it. Trying again may help.
    #[error("the spool {path}: {source}; is the disk full?")]
    Disk {
        /// The spool's folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl Error {
    /// The folder that has no room, if that is all that is at fault: then trying again helps, once somebody makes room.
    pub fn full(&self) -> Option<&Path> {
        match self {
            Self::Disk { path, source }
                if matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) =>
            {
                Some(path)
            }
            _ => None,
        }
    }
}

/// What can be seen of a spool from outside.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Glance {
    /// Where its source stands, see [`Spool::checkpoint`].
    pub checkpoint: Option<Vec<u8>>,
    /// Whether a process has it open.
    pub in_use: bool,
}

/// Looks into the spool of `shipper` below `dir` without opening it. A spool that is not there has nothing.
///
/// # Errors
/// It is there and cannot be read.
pub fn glance(dir: &Path, shipper: &str) -> Result<Glance, Error> {
    let path = dir.join(shipper);
    let read = || -> io::Result<Glance> {
        let lock = match File::open(path.join("lock")) {
            Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(Glance::default()),
            other => other?,
        };
        let in_use = matches!(lock.try_lock_shared(), Err(fs::TryLockError::WouldBlock));
        let files = Files::new(path.clone());
        let shelf = Shelf::new(files.clone(), u64::MAX);
        for (name, bytes) in files.list()? {
            let sequence = name.strip_suffix(SEGMENT).and_then(|number| number.parse().ok());
            if let Some(sequence) = sequence {
                shelf.put(sequence, bytes);
            }
        }
        Ok(Glance { checkpoint: last_checkpoint(&files, &shelf), in_use })
    };
    read().map_err(|source| Error::Disk { path: path.clone(), source })
}

/// The writing end of a spool. One process, one owner.
#[derive(Debug)]
pub struct Spool {
    files: Files,
    owner: Owner,
    mask: Mask,
    epoch: String,
    sequence: u64,
    journal: File,
    journal_bytes: u64,
    journal_torn: bool,
    events: Vec<Event>,
    seal_unfinished: bool,
    checkpoint: Option<Vec<u8>>,
    shelf: Arc<Shelf>,
    _lock: File,
}

impl Spool {
    /// Opens the spool of `owner` below `dir`, making it if needed, and seals what a process that died had left.
    /// `max_bytes` bounds the sealed segments.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn open(dir: &Path, owner: Owner, max_bytes: u64) -> Result<Self, Error> {
        let nameable = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if owner.shipper.is_empty() || owner.shipper.starts_with('.') || !owner.shipper.chars().all(nameable) {
            return Err(Error::Name(owner.shipper));
        }
        Self::open_in(Files::new(dir.join(&owner.shipper)), owner, max_bytes)
    }

    fn open_in(files: Files, owner: Owner, max_bytes: u64) -> Result<Self, Error> {
        let path = files.dir().to_owned();
        let disk = |source| Error::Disk { path: path.clone(), source };
        fs::create_dir_all(&path).map_err(disk)?;
        let lock = File::create(files.path("lock")).map_err(disk)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Err(Error::InUse(path)),
            Err(fs::TryLockError::Error(why)) => return Err(disk(why)),
        }
        let epoch = epoch(&files).map_err(disk)?;
        let shelf = Arc::new(Shelf::new(files.clone(), max_bytes));
        let (sequence, journal) = recover(&files, &owner.shipper, &epoch, &shelf).map_err(disk)?;
        let checkpoint = last_checkpoint(&files, &shelf);
        shelf.enforce_limit();
        Ok(Self {
            files,
            owner,
            mask: Mask::default(),
            epoch,
            sequence,
            journal,
            journal_bytes: 0,
            journal_torn: false,
            events: Vec::new(),
            seal_unfinished: false,
            checkpoint,
            shelf,
            _lock: lock,
        })
    }

    /// Masks every event before it is written.
    #[must_use]
    pub fn with_mask(mut self, mask: Mask) -> Self {
        self.mask = mask;
        self
    }

    /// The sealed segments, for the sender.
    pub fn shelf(&self) -> Arc<Shelf> {
        self.shelf.clone()
    }

    /// What goes wrong next on its disk.
    #[cfg(test)]
    pub(crate) fn faults(&self) -> Arc<Faults> {
        self.files.faults.clone()
    }

    /// How many events are in the open journal.
    pub fn unsealed(&self) -> usize {
        self.events.len()
    }

    /// Whether the journal should be sealed now, however young it is.
    pub fn is_full(&self) -> bool {
        self.events.len() >= SEAL_EVENTS || self.journal_bytes >= SEAL_BYTES
    }

    /// Where the source stands: the checkpoint of the last batch that was sealed with one, in this life or before.
    pub fn checkpoint(&self) -> Option<&[u8]> {
        self.checkpoint.as_deref()
    }

    /// Stamps events and writes them into the journal: all of them, or none. Those that are taken are taken out of
    /// `events`. What was written survives the death of this process; power loss only once it is sealed.
    ///
    /// # Errors
    /// The disk did not take them; they stay in `events`.
    pub fn append(&mut self, events: &mut Vec<Event>) -> Result<(), Error> {
        self.finish_seal()?;
        if self.journal_torn {
            self.files.cut(&self.journal, self.journal_bytes).map_err(|why| self.disk(why))?;
            self.journal_torn = false;
        }
        let mut records = Vec::new();
        self.stamp(events, self.events.len());
        events.retain(|event| match event.to_json() {
            Ok(json) if json.len() <= journal::RECORD_MAX_BYTES => {
                journal::put_record(&json, &mut records);
                true
            }
            _ => {
                self.shelf.counters.corrupt.fetch_add(1, Ordering::Relaxed);
                self.shelf
                    .note(["an event of ", event.table(), " cannot be kept: it is too long, or not a value"].concat());
                false
            }
        });
        if let Err(why) = self.files.append(&mut self.journal, &records) {
            self.journal_torn = true;
            return Err(self.disk(why));
        }
        self.journal_bytes += records.len() as u64;
        self.events.append(events);
        Ok(())
    }

    /// Seals the journal: what is in it becomes a segment. Nothing happens when it is empty.
    ///
    /// # Errors
    /// The disk did not do it. The events are in the journal as before; call it again.
    pub fn seal_journal(&mut self) -> Result<(), Error> {
        self.finish_seal()?;
        if self.events.is_empty() {
            return Ok(());
        }
        let events = std::mem::take(&mut self.events);
        let done = self.commit(&events, None);
        if done.is_err() {
            self.events = events;
        }
        done
    }

    /// Seals a batch directly, with the place where its source stands after it. On success the batch will be
    /// shipped exactly once, and [`checkpoint`](Self::checkpoint) is `checkpoint` even after a crash.
    ///
    /// # Errors
    /// The batch is not sealed; call it again with the same or another one.
    pub fn seal(&mut self, events: &mut [Event], checkpoint: Option<&[u8]>) -> Result<(), Error> {
        if events.len() > BATCH_EVENTS {
            return Err(Error::Batch(events.len()));
        }
        self.seal_journal()?;
        self.stamp(events, 0);
        self.commit(events, checkpoint)?;
        if let Some(checkpoint) = checkpoint {
            self.checkpoint = Some(checkpoint.to_owned());
        }
        Ok(())
    }

    /// Seals `events` as the segment of the open journal's number. Only when everything is on disk, the journal of
    /// the next number included, the segment can be seen by the sender.
    fn commit(&mut self, events: &[Event], checkpoint: Option<&[u8]>) -> Result<(), Error> {
        self.seal_unfinished = true;
        let step = |spool: &Self| -> io::Result<(File, u64)> {
            let bytes = segment::encode(&spool.owner.shipper, &spool.epoch, spool.sequence, events, checkpoint)?;
            spool.files.put(&segment_name(spool.sequence), &bytes)?;
            let journal = spool.files.create(&numbered(spool.sequence + 1, JOURNAL))?;
            spool.files.sync_dir()?;
            spool.files.remove(&numbered(spool.sequence, JOURNAL))?;
            Ok((journal, bytes.len() as u64))
        };
        let (journal, bytes) = step(self).map_err(|why| self.disk(why))?;
        self.seal_unfinished = false;
        self.shelf.put(self.sequence, bytes);
        self.shelf.counters.sealed.fetch_add(1, Ordering::Relaxed);
        self.shelf.enforce_limit();
        self.sequence += 1;
        self.journal = journal;
        self.journal_bytes = 0;
        self.journal_torn = false;
        Ok(())
    }

    /// After a failure in mid-seal there may be a segment that nobody knows of. It must not outlive more events in
    /// the journal of its number, because a segment wins over its journal.
    fn finish_seal(&mut self) -> Result<(), Error> {
        if self.seal_unfinished {
            self.files.remove(&segment_name(self.sequence)).map_err(|why| self.disk(why))?;
            self.seal_unfinished = false;
        }
        Ok(())
    }

    /// Masks events and fills in what they do not say; `first` is the place of the first one. The identity of an event
    /// of ours is its place, so that a replay gives the same.
    fn stamp(&self, events: &mut [Event], first: usize) {
        let Owner { shipper, tenant, node } = &self.owner;
        let origin = EventId::at(&[shipper.as_bytes(), self.epoch.as_bytes()], 0);
        for (place, event) in (first..).zip(events) {
            self.mask.event(event);
            let event_id = origin.moved_to(self.sequence << PLACE_BITS | place as u64);
            event.stamp(Stamp { tenant, node, event_id });
        }
    }

    fn disk(&self, source: io::Error) -> Error {
        Error::Disk { path: self.files.dir().to_owned(), source }
    }
}

/// The life of this folder: random, written once.
fn epoch(files: &Files) -> io::Result<String> {
    if let Ok(epoch) = fs::read_to_string(files.path("epoch"))
        && epoch.len() == 16
        && epoch.bytes().all(|byte| byte.is_ascii_hexdigit())
    {
        return Ok(epoch);
    }
    let mut random = [0; 8];
    aws_lc_rs::rand::fill(&mut random).map_err(|_| io::Error::other("the system gives no random numbers"))?;
    let mut epoch = String::new();
    for byte in random {
        epoch.extend([byte >> 4, byte & 15].into_iter().filter_map(|digit| char::from_digit(digit.into(), 16)));
    }
    files.put("epoch", epoch.as_bytes())?;
    files.sync_dir()?;
    Ok(epoch)
}

/// Brings a folder back into order after any death of the process: every journal that was not sealed is sealed,
/// unless its segment is there and whole. Gives the number and the file of the new journal.
fn recover(files: &Files, shipper: &str, epoch: &str, shelf: &Shelf) -> io::Result<(u64, File)> {
    let (mut segments, mut journals, mut next) = (Vec::new(), Vec::new(), 0);
    for (name, _) in files.list()? {
        if name.ends_with(PARTIAL) {
            files.remove(&name)?;
            continue;
        }
        let Some((number, ending)) = name.split_at_checked(20) else { continue };
        let Ok(sequence) = number.parse::<u64>() else { continue };
        next = next.max(sequence + 1);
        match ending {
            SEGMENT => segments.push(sequence),
            JOURNAL => journals.push(sequence),
            _ => {}
        }
    }
    for sequence in &journals {
        if segments.contains(sequence) {
            match Segment::verify(&files.path(&segment_name(*sequence))) {
                Ok(_) => continue,
                Err(Fault::Disk(why)) => return Err(why),
                Err(fault) => {
                    shelf.set_aside(*sequence, Aside::Corrupt, &fault.to_string())?;
                    segments.retain(|segment| segment != sequence);
                }
            }
        }
        if redo(files, shipper, epoch, *sequence, shelf)? {
            segments.push(*sequence);
        }
    }
    let journal = files.create(&numbered(next, JOURNAL))?;
    files.sync_dir()?;
    for sequence in journals {
        files.remove(&numbered(sequence, JOURNAL))?;
    }
    for sequence in segments {
        let bytes = fs::metadata(files.path(&segment_name(sequence)))?.len();
        shelf.put(sequence, bytes);
    }
    Ok((next, journal))
}

/// Seals a journal that was left. Whether there was anything in it.
fn redo(files: &Files, shipper: &str, epoch: &str, sequence: u64, shelf: &Shelf) -> io::Result<bool> {
    let name = numbered(sequence, JOURNAL);
    let found = journal::read(&fs::read(files.path(&name))?);
    if found.torn_bytes > 0 {
        tracing::info!(journal = name, octets = found.torn_bytes, "the last record was cut off in mid-write");
    }
    if !found.corrupt.is_empty() {
        let aside = [&name, CORRUPT].concat();
        files.put(&aside, &found.corrupt.concat())?;
        shelf.counters.corrupt.fetch_add(found.corrupt.len() as u64, Ordering::Relaxed);
        let count = found.corrupt.len().to_string();
        shelf.note([&count, " damaged records of ", &name, " are set aside as ", &aside].concat());
        shelf.bound_set_aside()?;
    }
    if found.events.is_empty() {
        return Ok(false);
    }
    files.put(&segment_name(sequence), &segment::encode(shipper, epoch, sequence, &found.events, None)?)?;
    Ok(true)
}

/// The checkpoint of the newest segment that has one, or else the one that outlived its segment.
fn last_checkpoint(files: &Files, shelf: &Shelf) -> Option<Vec<u8>> {
    let newest = shelf.sequences().into_iter().rev();
    let waiting =
        newest.filter_map(|sequence| shelf.open(sequence).ok()).find_map(|segment| segment.header.checkpoint());
    waiting.or_else(|| fs::read(files.path(CHECKPOINT)).ok())
}
