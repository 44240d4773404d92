//! What was told: since when nothing is missing, and the messages after that.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::event::Time;

/// Messages that are remembered; past it the half that ended first is forgotten, and may be told twice.
const REMEMBERED: usize = 200_000;

#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    /// All that ended before was told.
    from: Time,
    /// What was told of messages after that: until when.
    told: BTreeMap<String, Time>,
}

pub(super) struct Book {
    file: PathBuf,
    kept: Kept,
    failed: bool,
}

impl Book {
    /// What the file says. Without one, messages that end from `now` on are told.
    pub(super) fn open(file: PathBuf, now: Time) -> Self {
        let kept = match read(&file) {
            Ok(Some(kept)) => kept,
            Ok(None) => Kept { from: now, told: BTreeMap::new() },
            Err(why) => {
                tracing::error!(file = %file.display(), why, "what traces were told cannot be read; beginning anew");
                Kept { from: now, told: BTreeMap::new() }
            }
        };
        Self { file, kept, failed: false }
    }

    pub(super) fn from(&self) -> Time {
        self.kept.from
    }

    /// Until when a message was told, if it was.
    pub(super) fn told(&self, trace: &str) -> Option<Time> {
        self.kept.told.get(trace).copied()
    }

    pub(super) fn tell(&mut self, trace: String, last: Time) {
        self.kept.told.insert(trace, last);
        if self.kept.told.len() > REMEMBERED {
            let mut lasts: Vec<Time> = self.kept.told.values().copied().collect();
            let (_, middle, _) = lasts.select_nth_unstable(REMEMBERED / 2);
            let middle = *middle;
            self.kept.told.retain(|_, last| *last >= middle);
        }
    }

    /// All that ended before `until` was told.
    pub(super) fn done(&mut self, until: Time) {
        self.kept.from = self.kept.from.max(until);
        let from = self.kept.from;
        self.kept.told.retain(|_, last| *last >= from);
    }

    /// Leaves out what ended before `from`. True: that is a gap.
    pub(super) fn catch_up(&mut self, from: Time) -> bool {
        let gap = self.kept.from < from;
        if gap {
            self.done(from);
        }
        gap
    }

    /// Writes the file, whole or not at all. A disk that does not take it costs doubles after a restart, no more.
    pub(super) fn keep(&mut self) {
        let written = write(&self.file, &self.kept);
        if let (Err(error), false) = (&written, self.failed) {
            tracing::error!(file = %self.file.display(), %error, "what traces were told cannot be kept");
        }
        self.failed = written.is_err();
    }
}

fn read(file: &Path) -> Result<Option<Kept>, String> {
    match fs::read(file) {
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|error| error.to_string()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.to_string()),
    }
}

fn write(file: &Path, kept: &Kept) -> io::Result<()> {
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder)?;
    }
    let partial = file.with_extension("partial");
    let out = fs::File::create(&partial)?;
    serde_json::to_writer(&out, kept)?;
    out.sync_all()?;
    fs::rename(partial, file)
}
