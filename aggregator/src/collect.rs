//! Collecting reports from mailboxes: `[[aggregate.reports]]`.
//!
//! **In**: messages of a maildir or of a folder over IMAP, the bundled mail system's among them. **Out**: rows, shipped
//! like all others. A message is marked, moved or deleted only when ClickHouse has its rows: they are sealed in a spool
//! together with the memory of what was read, sent until the intake acknowledges them, and only then is the mailbox
//! touched. What is no report stays as it is, and so does what was refused.

mod config;
mod imap;
mod maildir;
mod place;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

pub use config::{Done, ImapConfig, SourceConfig, Tls};

use crate::event::{Event, EventId, Stamp, Time};
use crate::mailed::{Context, Reader};
use crate::ship::{self, Sender, Shipping};
use crate::source::origin::Digest;
use crate::source::seen::{Seen, Sort};
use crate::source::{BATCH_EVENTS, BATCH_ROOM, mailbox::Message};
use crate::spool::{self, Shelf, Spool};
use place::{Item, Place};

/// How long rows are waited for to be acknowledged before the mailbox is left as it is until the next round.
const ACKNOWLEDGED: Duration = Duration::from_secs(60);
/// Between two looks whether they are, or whether the spool has room.
const LOOK: Duration = Duration::from_millis(100);
/// The longest pause after failures.
const LONGEST_PAUSE: Duration = Duration::from_secs(3_600);
/// How long the sender may still try after the end; the rest stays on disk.
const LAST_SHIP: Duration = Duration::from_secs(2);
/// Messages of a mailbox that are handled in one round; the next round has the others.
pub const ROUND_MESSAGES: usize = 10_000;

/// Why a round was broken off.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The mailbox.
    #[error("{0}")]
    Place(#[from] place::Fault),
    /// Our own disk.
    #[error(transparent)]
    Spool(#[from] spool::Error),
    /// Rows were set aside, and may be missing in ClickHouse.
    #[error(
        "rows of reports were set aside in the spool {0}, so no message is marked; see its *.refused and *.corrupt files, import the mailbox anew, remove these files and the file named dropped, and restart"
    )]
    Aside(String),
    /// Nobody took the rows.
    #[error("the intake has not acknowledged the rows yet; the messages are marked once it has")]
    Unacknowledged,
    /// The reading itself.
    #[error("the reading of a message broke off: {0}")]
    Broken(String),
}

/// What a round did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Round {
    /// Messages that were read for the first time.
    pub read: u64,
    /// Of them, reports.
    pub reports: u64,
    /// Of them, refused.
    pub refused: u64,
    /// Messages that were marked, moved or deleted.
    pub done: u64,
}

/// Collects from one mailbox until `shutdown`, and ships what it finds.
///
/// # Errors
/// The spool cannot be used, or the HTTP client not set up. A mailbox that is away is none: it is tried again.
pub async fn run(
    source: SourceConfig,
    password: String,
    shipping: Shipping,
    shutdown: CancellationToken,
) -> Result<(), ship::Error> {
    let mut collector = Collector::open(source, password, &shipping)?;
    let sender = Sender::of_shelf(&shipping, collector.spool_shelf())?;
    let sealed = CancellationToken::new();
    tokio::join!(
        async {
            collector.rounds(&shutdown).await;
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

/// One mailbox and the spool that its rows go into.
struct Collector {
    source: SourceConfig,
    password: String,
    node: String,
    spool: Option<Spool>,
    shelf: Arc<Shelf>,
    seen: Seen,
    reader: Option<Reader>,
}

impl Collector {
    fn open(source: SourceConfig, password: String, shipping: &Shipping) -> Result<Self, spool::Error> {
        let spool = shipping.open_spool()?;
        let seen = spool.checkpoint().and_then(|checkpoint| serde_json::from_slice(checkpoint).ok());
        Ok(Self {
            source,
            password,
            node: shipping.node.clone(),
            shelf: spool.shelf(),
            spool: Some(spool),
            seen: seen.unwrap_or_default(),
            reader: Some(Reader::default()),
        })
    }

    fn spool_shelf(&self) -> Arc<Shelf> {
        self.shelf.clone()
    }

    async fn rounds(&mut self, shutdown: &CancellationToken) {
        let usual = Duration::from_secs(self.source.poll_s);
        let mut pause = usual;
        let mut told = String::new();
        loop {
            let round = tokio::select! {
                () = shutdown.cancelled() => return,
                round = self.round() => round,
            };
            match round {
                Ok(round) => {
                    if round != Round::default() {
                        tracing::info!(
                            source = self.source.name,
                            read = round.read,
                            reports = round.reports,
                            refused = round.refused,
                            done = round.done,
                            "reports were collected"
                        );
                    }
                    (pause, told) = (usual, String::new());
                }
                Err(why) => {
                    let why = why.to_string();
                    if why != told {
                        tracing::warn!(
                            source = self.source.name,
                            why,
                            "reports wait in their mailbox; nothing is lost"
                        );
                        told = why;
                    }
                    pause = (pause * 2).min(LONGEST_PAUSE).max(usual);
                }
            }
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Reads what is new, waits until it is acknowledged, and then does with every report what the configuration says.
    async fn round(&mut self) -> Result<Round, Error> {
        let mut place = Place::open(&self.source, &self.password).await?;
        let mut round = Round::default();
        let items = place.list().await?;
        let mut batch = Batch::default();
        // The newest first: what is forgotten and read again must not keep them waiting.
        let new: Vec<&Item> = items.iter().rev().filter(|item| self.seen.get(item.key).is_none()).collect();
        for item in new.into_iter().take(ROUND_MESSAGES) {
            // Somebody has removed it meanwhile.
            let Some(message) = place.fetch(item).await? else { continue };
            self.read(item, message, &mut batch, &mut round).await?;
            if batch.rows.len() >= BATCH_EVENTS {
                self.seal(&mut batch).await?;
            }
        }
        self.seal(&mut batch).await?;
        if self.source.done == Done::Keep {
            return Ok(round);
        }
        let ready: Vec<Item> = items.into_iter().filter(|item| self.seen.get(item.key) == Some(Sort::Report)).collect();
        if !ready.is_empty() {
            self.acknowledged().await?;
            place.done(&ready).await?;
            round.done = ready.len() as u64;
        }
        place.close().await;
        Ok(round)
    }

    /// Reads a message on a thread that may take long.
    async fn read(&mut self, item: &Item, message: Message, batch: &mut Batch, round: &mut Round) -> Result<(), Error> {
        let mut reader = self.reader.take().unwrap_or_default();
        let context = Context { now: Time::now(), received: message.received };
        let read = tokio::task::spawn_blocking(move || {
            let reading = reader.read(&message.octets, &context);
            (reader, reading, message.name)
        });
        let (reader, mut reading, name) = read.await.map_err(|why| Error::Broken(why.to_string()))?;
        self.reader = Some(reader);
        for fault in &reading.faults {
            tracing::warn!(source = self.source.name, message = name, %fault, "a report cannot be read; it is left where it is");
        }
        round.read += 1;
        round.refused += u64::from(reading.rows.is_empty() && !reading.faults.is_empty());
        let is_report = reading.kind.is_some() && !reading.rows.is_empty();
        round.reports += u64::from(is_report);
        let stamp = Stamp { tenant: "", node: &self.node, event_id: EventId(0) };
        reading.rows.iter_mut().for_each(|row| row.stamp(stamp));
        batch.rows.append(&mut reading.rows);
        // What was not read of it, a later program may know to read.
        let is_whole = is_report && reading.faults.is_empty();
        batch.read.insert(item.key, if is_whole { Sort::Report } else { Sort::Other });
        Ok(())
    }

    /// Seals rows together with the memory of the messages that they are from, once there is room.
    async fn seal(&mut self, batch: &mut Batch) -> Result<(), Error> {
        if batch.read.is_empty() {
            return Ok(());
        }
        let waited = tokio::time::timeout(ACKNOWLEDGED, async {
            while !self.shelf.has_room_for(BATCH_ROOM) {
                tokio::time::sleep(LOOK).await;
            }
        });
        waited.await.map_err(|_| Error::Unacknowledged)?;
        let mut seen = self.seen.clone();
        for (key, sort) in batch.read.drain() {
            seen.put(key, sort);
        }
        let mut rows = std::mem::take(&mut batch.rows);
        let Some(mut spool) = self.spool.take() else { return Err(Error::Broken("the spool is gone".to_owned())) };
        let sealed = tokio::task::spawn_blocking(move || {
            // Nothing in it can fail to be JSON.
            let checkpoint = serde_json::to_vec(&seen).unwrap_or_default();
            let mut done = Ok(());
            // More rows than may be sealed at once can come of many reports at the bounds.
            let last = rows.len().saturating_sub(1) / spool::BATCH_EVENTS;
            for (at, part) in rows.chunks_mut(spool::BATCH_EVENTS).enumerate() {
                done = done.and_then(|()| spool.seal(part, (at == last).then_some(checkpoint.as_slice())));
            }
            if rows.is_empty() {
                done = spool.seal(&mut [], Some(&checkpoint));
            }
            (spool, seen, done)
        });
        let (spool, seen, done) = sealed.await.map_err(|why| Error::Broken(why.to_string()))?;
        self.spool = Some(spool);
        done?;
        self.seen = seen;
        Ok(())
    }

    /// Returns when ClickHouse has every row that was sealed.
    async fn acknowledged(&mut self) -> Result<(), Error> {
        let waited = tokio::time::timeout(ACKNOWLEDGED, async {
            while !self.shelf.is_empty() {
                tokio::time::sleep(LOOK).await;
            }
        });
        waited.await.map_err(|_| Error::Unacknowledged)?;
        let shelf = self.shelf.clone();
        let before = tokio::task::spawn_blocking(move || shelf.has_lost());
        let before = before.await.map_err(|why| Error::Broken(why.to_string()))??;
        let counters = &self.shelf.counters;
        let lost = [&counters.dropped, &counters.corrupt, &counters.refused];
        // Which messages they were of is not known, so none is marked until a person has looked.
        if before || lost.iter().any(|count| count.load(Ordering::Relaxed) > 0) {
            return Err(Error::Aside(self.source.name.clone()));
        }
        Ok(())
    }
}

/// What was read and is not sealed yet.
#[derive(Default)]
struct Batch {
    rows: Vec<Event>,
    read: HashMap<Digest, Sort>,
}
