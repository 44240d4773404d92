//! One log that is followed: the file under its name, those that were renamed, and those still to be caught up with.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::super::LogConfig;
use super::super::input::{Inode, Input, inode};
use super::super::origin::{Digest, Origins};
use super::super::tap::Tap;
use super::{Desk, Look, sibling};
use crate::dialect::clock::Clock;
use crate::dialect::{self, Reader};
use crate::event::Time;

/// How long a renamed file is still read: its writers keep it open until they are told.
const RENAMED_QUIET_MS: u64 = 60_000;
/// Renamed files that are read at once; past it the oldest is left.
const RENAMED: usize = 4;

/// A file that was renamed, and since when nothing came.
struct Renamed {
    tap: Tap,
    quiet_since: Time,
}

/// One log that is followed.
pub(super) struct Log {
    raw: bool,
    path: PathBuf,
    name: String,
    reader: Reader,
    current: Option<Tap>,
    renamed: VecDeque<Renamed>,
    /// Files beside it that may have lines which were not read, oldest first. One is open at a time.
    waiting: VecDeque<PathBuf>,
    catching_up: Option<Tap>,
    caught_up: bool,
    told: bool,
}

impl Log {
    /// `None`: there is no such dialect; the configuration's check has said so.
    pub(super) fn new(config: &LogConfig, path: PathBuf, now: Time) -> Option<Self> {
        let entry = dialect::find(&config.dialect)?;
        Some(Self {
            name: path.to_string_lossy().into_owned(),
            reader: Reader::new(entry, Clock::new(config.time_zone, now)),
            raw: config.raw,
            path,
            current: None,
            renamed: VecDeque::new(),
            waiting: VecDeque::new(),
            catching_up: None,
            caught_up: false,
            told: false,
        })
    }

    /// The origins that it has open.
    pub(super) fn open(&self) -> impl Iterator<Item = Digest> {
        self.taps().map(|tap| tap.place.id)
    }

    fn taps(&self) -> impl Iterator<Item = &Tap> {
        let renamed = self.renamed.iter().map(|renamed| &renamed.tap);
        self.catching_up.iter().chain(renamed).chain(&self.current)
    }

    /// Says in the checkpoint how far everything has been read.
    pub(super) fn mark(&mut self, origins: &mut Origins, now: Time) {
        let renamed = self.renamed.iter_mut().map(|renamed| &mut renamed.tap);
        for tap in self.catching_up.iter_mut().chain(renamed).chain(&mut self.current) {
            tap.mark(origins, now);
        }
    }

    /// Reads what is new, oldest first, until the batch is full. `others` are origins that other logs read.
    pub(super) fn look(&mut self, desk: &mut Desk, others: &[Digest], now: Time) -> Look {
        match self.try_look(desk, others, now) {
            Ok(look) => {
                self.told = false;
                look
            }
            Err(why) => {
                self.tell(&why.to_string());
                Look::Quiet
            }
        }
    }

    fn tell(&mut self, why: &str) {
        if !self.told {
            tracing::warn!(file = self.name, why, "the log cannot be read now; looking again");
            self.told = true;
        }
    }

    fn try_look(&mut self, desk: &mut Desk, others: &[Digest], now: Time) -> io::Result<Look> {
        let there = match std::fs::metadata(&self.path) {
            Ok(metadata) => Some(inode(&metadata)),
            Err(why) if why.kind() == io::ErrorKind::NotFound => None,
            Err(why) => return Err(why),
        };
        if let Some(there) = there
            && self.current.as_ref().is_some_and(|tap| tap.inode != Some(there))
            && let Some(tap) = self.current.take()
        {
            // There may have been more than one rotation since the last look.
            self.caught_up = false;
            self.renamed.push_back(Renamed { tap, quiet_since: now });
            if self.renamed.len() > RENAMED
                && let Some(mut oldest) = self.renamed.pop_front()
            {
                oldest.tap.mark(&mut desk.origins, now);
            }
        }
        if !self.caught_up {
            let open: Vec<Inode> = self.taps().filter_map(|tap| tap.inode).chain(there).collect();
            self.waiting = sibling::unread(&self.path, &self.name, &open, &desk.origins)?.into();
            self.caught_up = true;
        }
        if self.read_renamed(desk, now)? == Look::More || self.catch_up(desk, others, now) == Look::More {
            return Ok(Look::More);
        }
        let Some(there) = there else {
            if self.current.is_none() {
                self.tell("there is no such file");
            }
            return Ok(Look::Quiet);
        };
        self.read_current(there, desk, others, now)
    }

    /// Reads the files that wait. One that is damaged is left, and said.
    fn catch_up(&mut self, desk: &mut Desk, others: &[Digest], now: Time) -> Look {
        loop {
            if desk.is_full() {
                return Look::More;
            }
            if let Some(tap) = &mut self.catching_up {
                match tap.fill() {
                    Ok(1..) => {
                        desk.take(tap, &mut self.reader, false, now);
                        continue;
                    }
                    Ok(0) => desk.take(tap, &mut self.reader, true, now),
                    Err(why) => tracing::warn!(file = tap.place.source.name, %why, "cannot be read to its end"),
                }
                tap.mark(&mut desk.origins, now);
                self.catching_up = None;
            }
            let Some(path) = self.waiting.pop_front() else { return Look::Quiet };
            let open = || Input::open(&path, &Arc::default());
            let tap = open()
                .and_then(|input| Tap::open(input, open, &mut desk.origins, &self.name, &mut self.reader, false, now));
            match tap {
                Ok(tap) => {
                    let open: Vec<Digest> = self.open().chain(others.iter().copied()).collect();
                    self.catching_up = tap.filter(|tap| !open.contains(&tap.place.id));
                }
                Err(why) => tracing::warn!(file = %path.display(), %why, "cannot be read"),
            }
            if let Some(tap) = &mut self.catching_up {
                tap.place.source.raw = self.raw;
            }
        }
    }

    fn read_renamed(&mut self, desk: &mut Desk, now: Time) -> io::Result<Look> {
        for at in 0..self.renamed.len() {
            let Some(renamed) = self.renamed.get_mut(at) else { break };
            while !desk.is_full() {
                match renamed.tap.fill_live(&desk.origins)? {
                    Some(0) => break,
                    Some(_) => {
                        renamed.quiet_since = now;
                        self.reader.set_reference(now);
                        desk.take(&mut renamed.tap, &mut self.reader, false, now);
                    }
                    // It was truncated before it was renamed: what it is now, and its copy, are found beside it.
                    None => {
                        renamed.tap.mark(&mut desk.origins, now);
                        self.renamed.remove(at);
                        self.caught_up = false;
                        return Ok(Look::More);
                    }
                }
            }
        }
        if desk.is_full() {
            return Ok(Look::More);
        }
        let quiet = |renamed: &Renamed| now.millis_since(renamed.quiet_since) > RENAMED_QUIET_MS;
        while let Some(mut done) = self.renamed.pop_front_if(|renamed| quiet(renamed)) {
            desk.take(&mut done.tap, &mut self.reader, true, now);
            done.tap.mark(&mut desk.origins, now);
        }
        Ok(Look::Quiet)
    }

    fn read_current(&mut self, there: Inode, desk: &mut Desk, others: &[Digest], now: Time) -> io::Result<Look> {
        if self.current.is_none() {
            let open = || Input::open(&self.path, &Arc::default());
            let tap = Tap::open(open()?, open, &mut desk.origins, &self.name, &mut self.reader, true, now)?;
            let Some(mut tap) = tap.filter(|tap| tap.inode == Some(there)) else { return Ok(Look::Quiet) };
            if others.contains(&tap.place.id) {
                self.tell("another log of the configuration is the same file");
                return Ok(Look::Quiet);
            }
            tap.place.source.raw = self.raw;
            self.current = Some(tap);
        }
        let Some(tap) = &mut self.current else { return Ok(Look::Quiet) };
        self.reader.set_reference(now);
        while !desk.is_full() {
            match tap.fill_live(&desk.origins)? {
                Some(0) => return Ok(Look::Quiet),
                Some(_) => desk.take(tap, &mut self.reader, false, now),
                None => {
                    tracing::info!(file = self.name, "was truncated or written anew");
                    tap.mark(&mut desk.origins, now);
                    (self.current, self.caught_up) = (None, false);
                    return Ok(Look::More);
                }
            }
        }
        Ok(Look::More)
    }
}
