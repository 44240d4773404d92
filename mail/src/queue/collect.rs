//! Removes bodies that nothing refers to any more.
//!
//! A body is stored before the queue entry or the message that refers to it is written, and storing it again makes it
//! young again. So what may go is older than [`GRACE_MS`] and referred to by neither database. The queue is asked
//! first: a delivery writes the mailbox before its entry leaves the queue, so no body can slip from one to the other
//! unseen. Each removal is whole in itself; a crash leaves garbage for the next pass, never a gap.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use aggregator::event::Time;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::id;
use super::store::Queue;
use crate::store::{BlobId, FileBlobs, SqliteMailboxes, StoreError};

/// How long after it was last stored a body stays though nothing refers to it: far longer than any message needs from
/// its body to its entry.
pub const GRACE_MS: i64 = 3_600_000;
/// How often a pass begins.
const EVERY: Duration = Duration::from_secs(3_600);
/// Bodies that one pass looks at; the next pass goes on behind them.
pub const MAX_BODIES: usize = 100_000;

/// What a pass did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Collected {
    /// Bodies that were old enough to be looked up.
    pub looked_at: usize,
    /// Bodies that were removed.
    pub removed: usize,
}

/// The collection of a queue process. Several processes may collect at a time.
pub struct Collector {
    queue: Queue,
    blobs: Arc<FileBlobs>,
    mailboxes: Arc<SqliteMailboxes>,
    /// The part of the blob store that the next pass begins with.
    part: u16,
}

impl Collector {
    /// A collection that begins anywhere, so that processes that are often restarted reach every part.
    pub fn new(queue: Queue, blobs: Arc<FileBlobs>, mailboxes: Arc<SqliteMailboxes>) -> Self {
        Self { queue, blobs, mailboxes, part: id::random().map_or(0, u16::from_le_bytes) }
    }

    /// Makes a pass every hour until told to stop.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let mut tick = tokio::time::interval(EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                _ = tick.tick() => {}
            }
            match self.pass(Time::now(), MAX_BODIES, &shutdown).await {
                Ok(Collected { removed: 0, .. }) => {}
                Ok(Collected { looked_at, removed }) => {
                    tracing::info!(looked_at, removed, "bodies that nothing referred to were removed");
                }
                Err(error) => tracing::warn!(%error, "unreferenced bodies stay for another hour"),
            }
        }
    }

    /// Goes once through the blob store, or through the parts of it that hold `max_bodies`.
    ///
    /// # Errors
    /// `Transient`: what was removed before it is gone, everything else stays.
    pub async fn pass(
        &mut self,
        now: Time,
        max_bodies: usize,
        shutdown: &CancellationToken,
    ) -> Result<Collected, StoreError> {
        let queued = Arc::new(self.queue.bodies().await?);
        let mut collected = Collected::default();
        for _ in 0..=u16::MAX {
            if shutdown.is_cancelled() || collected.looked_at >= max_bodies {
                break;
            }
            let (blobs, mailboxes) = (Arc::clone(&self.blobs), Arc::clone(&self.mailboxes));
            let (queued, part) = (Arc::clone(&queued), self.part);
            let swept = tokio::task::spawn_blocking(move || sweep(&blobs, &mailboxes, &queued, part, now)).await;
            let swept = swept.map_err(StoreError::transient("collecting unreferenced bodies"))??;
            collected.looked_at += swept.looked_at;
            collected.removed += swept.removed;
            self.part = self.part.wrapping_add(1);
        }
        Ok(collected)
    }
}

/// Collects in one part of the blob store.
fn sweep(
    blobs: &FileBlobs,
    mailboxes: &SqliteMailboxes,
    queued: &HashSet<BlobId>,
    part: u16,
    now: Time,
) -> Result<Collected, StoreError> {
    let before = now.plus_millis(-GRACE_MS);
    let mut old = blobs.stored_before(part, before)?;
    let looked_at = old.len();
    old.retain(|id| !queued.contains(id));
    let mut removed = 0;
    for id in mailboxes.unreferenced(old)? {
        removed += usize::from(blobs.remove_stored_before(id, before)?);
    }
    Ok(Collected { looked_at, removed })
}

#[cfg(test)]
mod tests;
