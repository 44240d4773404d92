//! The shelf: the sealed segments of a spool that wait to be shipped, oldest first.
//!
//! The spool puts segments on it, the sender takes them off, and both may do so at once. A segment leaves it by
//! being acknowledged, by being set aside because it can never be shipped, or, past the size limit, as the oldest.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};
use tokio::sync::Notify;

use super::Error;
use super::files::Files;
use super::segment::{Fault, Segment};
use crate::event::Time;

/// Files that were set aside and are kept for a person to look at; past it the oldest is removed.
pub const SET_ASIDE_FILES: usize = 100;
/// Notes that wait to become events; past it the oldest is forgotten (it is in the log).
const NOTES: usize = 64;

/// What a spool has done since the process began.
#[derive(Debug, Default)]
pub struct Counters {
    /// Segments sealed.
    pub sealed: AtomicU64,
    /// Rows that the intake acknowledged.
    pub shipped_rows: AtomicU64,
    /// The blocks of those.
    pub shipped_blocks: AtomicU64,
    /// Segments dropped because the spool was full.
    pub dropped: AtomicU64,
    /// The rows of those.
    pub dropped_rows: AtomicU64,
    /// Segments and journal records that were damaged.
    pub corrupt: AtomicU64,
    /// Segments that the intake refused for good.
    pub refused: AtomicU64,
}

/// Why a segment is set aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aside {
    /// Its octets are not those that were written.
    Corrupt,
    /// The intake will never take it.
    Refused,
}

/// The sealed segments of a spool.
#[derive(Debug)]
pub struct Shelf {
    files: Files,
    limit: u64,
    segments: Mutex<BTreeMap<u64, u64>>,
    notes: Mutex<VecDeque<String>>,
    changed: Notify,
    /// What has been done.
    pub counters: Counters,
}

impl Shelf {
    pub(super) fn new(files: Files, limit: u64) -> Self {
        Self {
            files,
            limit,
            segments: Mutex::default(),
            notes: Mutex::default(),
            changed: Notify::new(),
            counters: Counters::default(),
        }
    }

    /// How many segments wait.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// The octets that wait.
    pub fn bytes(&self) -> u64 {
        self.lock().values().sum()
    }

    /// Whether so many octets more can be sealed without dropping what waits.
    pub fn has_room_for(&self, bytes: u64) -> bool {
        self.bytes().saturating_add(bytes) <= self.limit || self.is_empty()
    }

    /// The sequence of the oldest segment.
    pub fn oldest(&self) -> Option<u64> {
        self.lock().keys().next().copied()
    }

    /// When the oldest segment was sealed, as its file says.
    pub fn oldest_sealed_at(&self) -> Option<Time> {
        let path = self.files.path(&segment_name(self.oldest()?));
        let sealed = std::fs::metadata(path).and_then(|file| file.modified()).ok()?;
        Some(DateTime::<Utc>::from(sealed).into())
    }

    /// Whether rows of this spool may be missing in ClickHouse, in this life or before: what was set aside or dropped
    /// has left a file, which stays until a person removes it.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn has_lost(&self) -> Result<bool, Error> {
        let disk = |source| Error::Disk { path: self.files.dir().to_owned(), source };
        Ok(self.files.list().map_err(disk)?.iter().any(|(name, _)| is_aside(name) || name == DROPPED))
    }

    pub(super) fn sequences(&self) -> Vec<u64> {
        self.lock().keys().copied().collect()
    }

    /// Returns when a segment has been put on the shelf since the last call.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Opens a segment.
    ///
    /// # Errors
    /// See [`Fault`].
    pub fn open(&self, sequence: u64) -> Result<Segment, Fault> {
        Segment::open(&self.files.path(&segment_name(sequence)))
    }

    /// Takes an acknowledged segment off. Its checkpoint outlives it.
    ///
    /// # Errors
    /// The disk did not do it; the segment stays, and sending it again does no harm.
    pub fn remove(&self, sequence: u64) -> io::Result<()> {
        self.keep_checkpoint(sequence)?;
        self.files.remove(&segment_name(sequence))?;
        self.lock().remove(&sequence);
        Ok(())
    }

    fn keep_checkpoint(&self, sequence: u64) -> io::Result<()> {
        let Some(checkpoint) = self.open(sequence).ok().and_then(|segment| segment.header.checkpoint()) else {
            return Ok(());
        };
        match self.files.put(CHECKPOINT, &checkpoint).and_then(|()| self.files.sync_dir()) {
            // A full disk must not keep what makes room from leaving; a later segment has a later checkpoint.
            Err(why) if why.kind() == io::ErrorKind::StorageFull && self.has_later_checkpoint(sequence) => Ok(()),
            kept => kept,
        }
    }

    fn has_later_checkpoint(&self, sequence: u64) -> bool {
        let later = self.sequences().into_iter().filter(|other| *other > sequence);
        later.filter_map(|other| self.open(other).ok()).any(|segment| segment.header.checkpoint().is_some())
    }

    /// Takes a segment off that can never be shipped, and keeps its file under another name. Its checkpoint outlives
    /// it: its other blocks may have been shipped, and reading their lines again would double them.
    ///
    /// # Errors
    /// The disk did not do it; the segment stays.
    pub fn set_aside(&self, sequence: u64, why: Aside, said: &str) -> io::Result<()> {
        let name = segment_name(sequence);
        let (ending, counter) = match why {
            Aside::Corrupt => (CORRUPT, &self.counters.corrupt),
            Aside::Refused => (REFUSED, &self.counters.refused),
        };
        let aside = [&name, ending].concat();
        self.keep_checkpoint(sequence)?;
        self.files.rename(&name, &aside)?;
        self.lock().remove(&sequence);
        counter.fetch_add(1, Ordering::Relaxed);
        self.note(["segment ", &name, " is set aside as ", &aside, ": ", said].concat());
        self.bound_set_aside()
    }

    /// Says something that operators must know: in the log now, and as an event soon.
    pub(crate) fn note(&self, text: String) {
        tracing::warn!(spool = %self.files.dir().display(), "{text}");
        let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        if notes.len() == NOTES {
            notes.pop_front();
        }
        notes.push_back(text);
    }

    /// What was noted since the last call.
    pub(crate) fn take_notes(&self) -> Vec<String> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner).drain(..).collect()
    }

    pub(super) fn put(&self, sequence: u64, bytes: u64) {
        self.lock().insert(sequence, bytes);
        self.changed.notify_one();
    }

    /// Drops the oldest segments while all together are past the limit. The newest always stays.
    pub(super) fn enforce_limit(&self) {
        loop {
            let oldest = {
                let segments = self.lock();
                if segments.len() < 2 || segments.values().sum::<u64>() <= self.limit {
                    return;
                }
                segments.keys().next().copied()
            };
            let Some(sequence) = oldest else { return };
            let rows = self.open(sequence).map_or(0, |segment| segment.header.rows());
            if let Err(why) = self.files.put(DROPPED, b"").and_then(|()| self.remove(sequence)) {
                tracing::error!(spool = %self.files.dir().display(), %why, "the oldest segment cannot be dropped");
                return;
            }
            self.counters.dropped.fetch_add(1, Ordering::Relaxed);
            self.counters.dropped_rows.fetch_add(rows, Ordering::Relaxed);
            let (name, rows, limit) = (segment_name(sequence), rows.to_string(), self.limit.to_string());
            self.note(
                [
                    "segment ",
                    &name,
                    " with ",
                    &rows,
                    " rows is dropped unshipped: the spool is past its ",
                    &limit,
                    " octets (aggregate.spool_max_bytes)",
                ]
                .concat(),
            );
        }
    }

    pub(super) fn bound_set_aside(&self) -> io::Result<()> {
        let aside: Vec<String> =
            self.files.list()?.into_iter().map(|(name, _)| name).filter(|name| is_aside(name)).collect();
        for name in aside.iter().rev().skip(SET_ASIDE_FILES) {
            self.files.remove(name)?;
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, u64>> {
        self.segments.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) const JOURNAL: &str = ".journal";
pub(super) const SEGMENT: &str = ".segment";
pub(super) const CORRUPT: &str = ".corrupt";
const REFUSED: &str = ".refused";
/// Says that a segment was dropped unshipped.
const DROPPED: &str = "dropped";
pub(super) const CHECKPOINT: &str = "checkpoint";

/// Names sort as their numbers do.
pub(super) fn numbered(sequence: u64, ending: &str) -> String {
    let number = sequence.to_string();
    [&"0".repeat(20 - number.len()), &number, ending].concat()
}

pub(super) fn segment_name(sequence: u64) -> String {
    numbered(sequence, SEGMENT)
}

pub(super) fn is_aside(name: &str) -> bool {
    name.ends_with(CORRUPT) || name.ends_with(REFUSED)
}
