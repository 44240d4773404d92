//! Following logs and journals that grow: the tail of `varde node`.
//!
//! Every 250 ms each path is looked at. A file that was renamed is read to its end while its successor is read on; one
//! that was truncated or written anew is left, and its copy beside it is looked for. After a time away the files that
//! rotation has made since are read first. Where reading stands is known by content, so neither names, inodes nor
//! compression matter.

mod journal;
mod log;
mod sibling;

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::origin::Origins;
use super::scribe::Scribe;
use super::{BATCH_BYTES, BATCH_EVENTS, BATCH_ROOM, LogConfig, LogPlace};
use crate::event::{Event, Time};
use crate::metrics;
use crate::ship::{self, Sender, Shipping};
use crate::spool::{self, Shelf, Spool};
use journal::Journal;
use log::Log;

/// Between two looks at the files.
const POLL: Duration = Duration::from_millis(250);
/// Between two tries to begin, while an import reads or the disk is full.
const RETRY: Duration = Duration::from_secs(1);
/// How long the sender may still try after the end; the rest stays on disk.
const LAST_SHIP: Duration = Duration::from_secs(2);
/// The age at which events are sealed.
const SEAL_MS: u64 = 1_000;
/// That age while batches pile up: fewer and larger ones, because nothing moves anyway.
const SEAL_IN_BACKLOG_MS: u64 = 10_000;
/// Batches that make a backlog.
const BACKLOG: usize = 4;
/// The age at which a place is sealed without events: what is read again after a death makes none.
const SEAL_PLACE_MS: u64 = 60_000;

/// What a look at the files found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// There is more to read at once.
    More,
    /// Everything that is there was read.
    Quiet,
}

/// Where the lines of all logs go.
pub(super) struct Desk {
    pub(super) origins: Origins,
    scribe: Scribe,
    events: Vec<Event>,
    bytes: u64,
    /// Since when something is unsealed.
    since: Option<Time>,
}

impl Desk {
    /// Whether the batch should be sealed before more is read.
    pub(super) fn is_full(&self) -> bool {
        self.events.len() >= BATCH_EVENTS || self.bytes >= BATCH_BYTES
    }
}

/// Follows logs into one spool.
pub(super) struct Follower {
    spool: Spool,
    shelf: Arc<Shelf>,
    desk: Desk,
    logs: Vec<Log>,
    journals: Vec<Journal>,
    full_told: bool,
}

impl Follower {
    /// `None`: an import reads just now. `beside` is the shipper by which imports ship.
    pub(super) fn open(
        logs: &[LogConfig],
        shipping: &Shipping,
        beside: &str,
        now: Time,
    ) -> Result<Option<Self>, spool::Error> {
        let import = spool::glance(&shipping.dir, beside)?;
        if import.in_use {
            return Ok(None);
        }
        let spool = shipping.open_spool()?;
        let mut origins = spool.checkpoint().and_then(Origins::decode).unwrap_or_default();
        origins.merge(&import.checkpoint.as_deref().and_then(Origins::decode).unwrap_or_default());
        let scribe = Scribe { node: shipping.node.clone(), override_node: false, mask: shipping.mask.clone() };
        let desk = Desk { origins, scribe, events: Vec::new(), bytes: 0, since: None };
        metrics::log::READ_BYTES.with(&[]);
        for log in logs {
            metrics::log::show(&log.dialect);
        }
        let (mut files, mut journals) = (Vec::new(), Vec::new());
        for config in logs {
            match config.place() {
                LogPlace::File(path) => files.extend(Log::new(config, path, now)),
                LogPlace::Journal(journal) => journals.extend(Journal::new(config, journal, &desk.origins, now)),
            }
        }
        Ok(Some(Self { shelf: spool.shelf(), spool, desk, logs: files, journals, full_told: false }))
    }

    /// Looks at every file once, reads what is new, and seals what is old or much enough.
    ///
    /// # Errors
    /// The spool's disk did not take a batch. It is kept; look again.
    pub(super) fn look(&mut self, now: Time) -> Result<Look, spool::Error> {
        let mut look = Look::Quiet;
        for at in 0..self.logs.len() {
            if !self.has_room() {
                break;
            }
            // One text under two names is read once.
            let others: Vec<_> = self
                .logs
                .iter()
                .enumerate()
                .filter(|(other, _)| *other != at)
                .flat_map(|(_, log)| log.open())
                .collect();
            let Some(log) = self.logs.get_mut(at) else { break };
            if log.look(&mut self.desk, &others, now) == Look::More {
                look = Look::More;
            }
            if self.desk.is_full() {
                self.seal(now)?;
            }
        }
        for at in 0..self.journals.len() {
            if !self.has_room() {
                break;
            }
            let Some(journal) = self.journals.get_mut(at) else { break };
            if journal.look(&mut self.desk, now) == Look::More {
                look = Look::More;
            }
            if self.desk.is_full() {
                self.seal(now)?;
            }
        }
        let age = self.desk.since.map_or(0, |since| now.millis_since(since));
        let due = match (self.desk.events.is_empty(), self.shelf.len() > BACKLOG) {
            (true, _) => SEAL_PLACE_MS,
            (false, false) => SEAL_MS,
            (false, true) => SEAL_IN_BACKLOG_MS,
        };
        if self.desk.since.is_some() && age >= due {
            self.seal(now)?;
        }
        Ok(look)
    }

    /// The sealed batches, for the sender.
    pub(super) fn shelf(&self) -> Arc<Shelf> {
        self.shelf.clone()
    }

    /// Whether another batch may be made. The log files keep what is not read meanwhile.
    fn has_room(&mut self) -> bool {
        let room = self.shelf.has_room_for(BATCH_ROOM) && !self.desk.is_full();
        if room == self.full_told {
            self.full_told = !room;
            match room {
                true => tracing::info!("reading of the logs goes on"),
                false => tracing::warn!("reading of the logs waits: the spool is full; the files keep what follows"),
            }
        }
        room
    }

    /// Seals what was read together with the places where it ends.
    ///
    /// # Errors
    /// The disk did not do it; nothing is lost.
    pub(super) fn seal(&mut self, now: Time) -> Result<(), spool::Error> {
        for log in &mut self.logs {
            log.mark(&mut self.desk.origins, now);
        }
        for journal in &self.journals {
            journal.mark(&mut self.desk.origins);
        }
        let desk = &mut self.desk;
        self.spool.seal(&mut desk.events, Some(&desk.origins.encode()))?;
        desk.events.clear();
        (desk.bytes, desk.since) = (0, None);
        Ok(())
    }
}

impl Desk {
    /// Takes the whole lines that a tap has; with `last` also what follows them.
    fn take(&mut self, tap: &mut super::tap::Tap, reader: &mut crate::dialect::Reader, last: bool, now: Time) {
        let before = tap.lines.position();
        while let Some(line) = tap.lines.next() {
            self.scribe.line(reader, &mut tap.place, line, &mut self.events);
        }
        if last && let Some(line) = tap.lines.last() {
            self.scribe.line(reader, &mut tap.place, line, &mut self.events);
        }
        let read = tap.lines.position() - before;
        metrics::log::READ_BYTES.with(&[]).add(read);
        if read > 0 {
            self.bytes += read;
            self.since.get_or_insert(now);
        }
    }
}

/// Follows `logs` until `shutdown` and ships what they say. What `beside`, the shipper of imports, has read is not read
/// again.
///
/// # Errors
/// The HTTP client could not be set up. A disk that is full is none: that is tried again while the files wait.
pub async fn run(
    logs: Vec<LogConfig>,
    shipping: Shipping,
    beside: String,
    shutdown: CancellationToken,
) -> Result<(), ship::Error> {
    let Some(follower) = open(logs, &shipping, beside, &shutdown).await? else { return Ok(()) };
    let _telling = metrics::shipping::watch(&shipping.shipper, &follower.shelf());
    let sender = Sender::of_shelf(&shipping, follower.shelf())?;
    let sealed = CancellationToken::new();
    tokio::join!(
        async {
            read(follower, &shutdown).await;
            sealed.cancel();
        },
        sender.run(&sealed)
    );
    let left = tokio::time::timeout(LAST_SHIP, sender.drain()).await;
    if !matches!(left, Ok(Ok(_))) {
        tracing::info!(shipper = shipping.shipper, "batches stay on disk for the next start");
    }
    Ok(())
}

async fn open(
    logs: Vec<LogConfig>,
    shipping: &Shipping,
    beside: String,
    shutdown: &CancellationToken,
) -> Result<Option<Follower>, ship::Error> {
    let mut told = false;
    loop {
        let (logs, shipping, beside) = (logs.clone(), shipping.clone(), beside.clone());
        let opened = tokio::task::spawn_blocking(move || Follower::open(&logs, &shipping, &beside, Time::now())).await;
        match opened {
            Ok(Ok(Some(follower))) => return Ok(Some(follower)),
            Ok(Err(why @ spool::Error::Name(_))) => return Err(why.into()),
            other if !told => {
                let why = match other {
                    Ok(Ok(_)) => "an import is running".to_owned(),
                    Ok(Err(why)) => why.to_string(),
                    Err(why) => why.to_string(),
                };
                tracing::warn!(why, "the logs are not followed yet; trying again");
                told = true;
            }
            _ => {}
        }
        tokio::select! {
            () = shutdown.cancelled() => return Ok(None),
            () = tokio::time::sleep(RETRY) => {}
        }
    }
}

/// Looks at the files until `shutdown`. One thread does so for good: the memory of its batches is in one arena of the
/// allocator, not in one of each thread that happened to look.
async fn read(follower: Follower, shutdown: &CancellationToken) {
    let (runtime, shutdown) = (Handle::current(), shutdown.clone());
    let reading = tokio::task::spawn_blocking(move || look_until(follower, &runtime, &shutdown));
    if let Err(why) = reading.await {
        tracing::error!(%why, "the logs are not followed any more");
    }
}

fn look_until(mut follower: Follower, runtime: &Handle, shutdown: &CancellationToken) {
    let mut told = false;
    loop {
        let stop = shutdown.is_cancelled();
        let look = if stop { follower.seal(Time::now()).map(|()| Look::Quiet) } else { follower.look(Time::now()) };
        if let Err(why) = &look
            && !told
        {
            tracing::error!(%why, "reading of the logs waits");
        }
        told = look.is_err();
        if stop {
            return;
        }
        if !matches!(look, Ok(Look::More)) {
            runtime.block_on(async {
                tokio::select! {
                    () = shutdown.cancelled() => {}
                    () = tokio::time::sleep(POLL) => {}
                }
            });
        }
    }
}
