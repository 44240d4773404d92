//! A journal that is followed: `journalctl --follow` in its export format, from the cursor that was sealed last.
//!
//! The cursor is sealed together with the events of the entries up to it, so a death of this process or of journalctl
//! loses nothing and doubles nothing. While the spool is full nothing is read, and the journal keeps what follows.

use std::io::{self, Read};
use std::process::{Child, Command, Stdio};

use super::super::journal::{Decoder, Entry, Piece};
use super::super::lines::Line;
use super::super::origin::{Digest, Origins};
use super::super::scribe::{Place, Source};
use super::super::{JournalLog, LogConfig};
use super::{Desk, Look};
use crate::dialect::clock::Clock;
use crate::dialect::{self, Reader};
use crate::event::Time;

/// What is read at once.
const CHUNK: usize = 64 << 10;
/// After journalctl has ended, how long until it is started again.
const RESTART_MS: i64 = 5_000;
/// What is shown of its last words.
const SAID_BYTES: u64 = 300;

/// A journalctl that runs; it ends when this is dropped.
struct Tail {
    child: Child,
    decoder: Decoder,
}

impl Drop for Tail {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One journal that is followed.
pub(super) struct Journal {
    config: JournalLog,
    /// What tells it from other journals in the checkpoint, and its name in `raw_lines`.
    name: String,
    reader: Reader,
    source: Source,
    cursor: Option<String>,
    tail: Option<Tail>,
    start_at: Time,
    told: bool,
}

impl Journal {
    /// `None`: there is no such dialect; the configuration's check has said so.
    pub(super) fn new(config: &LogConfig, journal: JournalLog, origins: &Origins, now: Time) -> Option<Self> {
        let entry = dialect::find(&config.dialect)?;
        let name = journal.name();
        Some(Self {
            reader: Reader::new(entry, Clock::new(config.time_zone, now)).of_a_stream(),
            source: Source { name: name.clone(), raw: config.raw, last: now },
            cursor: origins.cursor(&name).map(str::to_owned),
            config: journal,
            name,
            tail: None,
            start_at: now,
            told: false,
        })
    }

    /// Says in the checkpoint up to which entry it has been read.
    pub(super) fn mark(&self, origins: &mut Origins) {
        if let Some(cursor) = &self.cursor {
            origins.set_cursor(&self.name, cursor);
        }
    }

    /// Reads the entries that are there, until the batch is full.
    pub(super) fn look(&mut self, desk: &mut Desk, now: Time) -> Look {
        if self.tail.is_none() && now >= self.start_at {
            self.start_at = now.plus_millis(RESTART_MS);
            match self.start() {
                Ok(tail) => self.tail = Some(tail),
                Err(why) => self.tell(&why.to_string()),
            }
        }
        self.reader.set_reference(now);
        loop {
            let Some(tail) = &mut self.tail else { return Look::Quiet };
            while let Some(piece) = tail.decoder.next() {
                let line = take(&piece, &mut self.cursor);
                desk.take_entry(&mut self.reader, &mut self.source, line, now);
                if desk.is_full() {
                    return Look::More;
                }
            }
            let mut chunk = [0; CHUNK];
            match tail.child.stdout.as_mut().map_or(Ok(0), |stdout| stdout.read(&mut chunk)) {
                Ok(0) => {
                    let said = last_words(tail);
                    self.tail = None;
                    self.start_at = now.plus_millis(RESTART_MS);
                    self.tell(&["journalctl has ended: ", &said].concat());
                    return Look::Quiet;
                }
                Ok(count) => {
                    tail.decoder.push(&chunk[..count]);
                    self.told = false;
                }
                Err(why) if why.kind() == io::ErrorKind::WouldBlock => return Look::Quiet,
                Err(why) if why.kind() == io::ErrorKind::Interrupted => {}
                Err(why) => {
                    self.tail = None;
                    self.tell(&why.to_string());
                    return Look::Quiet;
                }
            }
        }
    }

    fn start(&self) -> io::Result<Tail> {
        let mut command = Command::new("journalctl");
        command.args(["--output=export", "--follow", "--no-tail", "--no-pager", "--quiet"]);
        let mut option = |name: &str, value: &str| _ = command.arg([name, value].concat());
        self.config.unit.iter().for_each(|unit| option("--unit=", unit));
        self.config.identifier.iter().for_each(|identifier| option("--identifier=", identifier));
        if let Some(cursor) = &self.cursor {
            option("--after-cursor=", cursor);
        }
        if let Some(directory) = &self.config.directory {
            command.arg("--directory").arg(directory);
        }
        let started = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let child = started.map_err(|why| {
            io::Error::new(
                why.kind(),
                ["journalctl cannot be started: ", &why.to_string(), "; is systemd installed?"].concat(),
            )
        })?;
        let tail = Tail { child, decoder: Decoder::default() };
        if let Some(stdout) = &tail.child.stdout {
            rustix::fs::fcntl_setfl(stdout, rustix::fs::OFlags::NONBLOCK)?;
        }
        Ok(tail)
    }

    fn tell(&mut self, why: &str) {
        if !self.told {
            tracing::warn!(journal = self.name, why, "the journal cannot be read now; trying again");
            self.told = true;
        }
    }
}

/// What journalctl said before it ended.
fn last_words(tail: &mut Tail) -> String {
    let mut said = Vec::new();
    let _ = tail.child.kill();
    if let Some(stderr) = tail.child.stderr.take() {
        // What cannot be read is not said.
        let _ = stderr.take(SAID_BYTES).read_to_end(&mut said);
    }
    let said = String::from_utf8_lossy(&said).trim().to_owned();
    if said.is_empty() { "it said nothing".to_owned() } else { said }
}

/// The line of a piece, its number and its identity: its cursor, which no other entry has.
fn take(piece: &Piece, cursor: &mut Option<String>) -> (Digest, u64, Vec<u8>) {
    let mut line = Vec::new();
    match piece {
        Piece::Entry(entry) => {
            entry.write_line(&mut line);
            if !entry.cursor.is_empty() {
                *cursor = Some(entry.cursor.clone());
            }
            (Digest::of(entry.cursor.as_bytes()), Entry::number(entry), line)
        }
        Piece::Foreign(text) => {
            let after = cursor.as_deref().unwrap_or_default();
            (Digest::of_both(after.as_bytes(), text), 0, text.clone())
        }
    }
}

impl Desk {
    fn take_entry(
        &mut self,
        reader: &mut Reader,
        source: &mut Source,
        (id, number, bytes): (Digest, u64, Vec<u8>),
        now: Time,
    ) {
        let mut place = Place::new(id, source.clone());
        self.scribe.line(reader, &mut place, Line { offset: number, bytes: &bytes }, &mut self.events);
        *source = place.source;
        self.bytes += bytes.len() as u64;
        self.since.get_or_insert(now);
    }
}

#[cfg(test)]
mod tests;
