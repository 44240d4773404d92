//! Shipping: from the emitter of a process to the intake of the aggregator.
//!
//! A writer puts events into the journal as they come and seals it every second; a sender posts the sealed blocks
//! in order and again until they are acknowledged. The disk lies between the two, so neither waits for the other,
//! and the process that emits waits for none.

mod sender;
#[cfg(test)]
mod tests;
mod writer;

use std::path::PathBuf;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::emit::Emitter;
use crate::mask::Mask;
use crate::metrics;
use crate::spool::{self, Owner, Spool};

pub use sender::{Sender, Shipped, Stuck};

/// How one process ships its events.
#[derive(Clone)]
pub struct Shipping {
    /// The folder of all spools; this shipper's own is below it.
    pub dir: PathBuf,
    /// The name of this shipper: unique among the processes of all nodes.
    pub shipper: String,
    /// Stamped on events that do not say.
    pub tenant: String,
    /// Stamped on events that do not say: the host, or the vantage of a watcher.
    pub node: String,
    /// The URL of the intake, `http://127.0.0.1:8024`.
    pub intake: String,
    /// The secret that intake and shippers share.
    pub key: String,
    /// Octets that the sealed segments may take.
    pub max_bytes: u64,
    /// What becomes of local parts before anything is written.
    pub mask: Mask,
}

impl std::fmt::Debug for Shipping {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shipping")
            .field("dir", &self.dir)
            .field("shipper", &self.shipper)
            .field("intake", &self.intake)
            .finish_non_exhaustive()
    }
}

impl Shipping {
    /// Opens the spool that this describes.
    ///
    /// # Errors
    /// See [`spool::Error`].
    pub fn open_spool(&self) -> Result<Spool, spool::Error> {
        let owner = Owner { shipper: self.shipper.clone(), tenant: self.tenant.clone(), node: self.node.clone() };
        Ok(Spool::open(&self.dir, owner, self.max_bytes)?.with_mask(self.mask.clone()))
    }
}

/// Why shipping could not begin.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The spool cannot be used.
    #[error(transparent)]
    Spool(#[from] spool::Error),
    /// The HTTP client could not be set up.
    #[error("shipping to {intake} cannot be set up: {source}")]
    Client {
        /// The URL.
        intake: String,
        /// Why.
        source: reqwest::Error,
    },
}

/// The paces of shipping; tests have their own.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// The age at which a journal is sealed.
    pub(crate) seal: Duration,
    /// That age while segments pile up: fewer and larger ones, because nothing moves anyway.
    pub(crate) seal_in_backlog: Duration,
    /// The pause before the first resend; it doubles.
    pub(crate) retry_first: Duration,
    /// The longest pause.
    pub(crate) retry_max: Duration,
    /// How long events are still taken after the shutdown began: services end one after the other.
    pub(crate) last_events: Duration,
    /// How long the sender may still try after the last seal; the rest stays on disk.
    pub(crate) last_ship: Duration,
}

impl Pace {
    pub(crate) const USUAL: Pace = Pace {
        seal: Duration::from_secs(1),
        seal_in_backlog: Duration::from_secs(10),
        retry_first: Duration::from_millis(100),
        retry_max: Duration::from_secs(15),
        last_events: Duration::from_millis(500),
        last_ship: Duration::from_secs(2),
    };
}

/// Starts to ship: an emitter for the process, and the task that owns writer and sender. After `shutdown` it takes
/// the last events, seals them, tries to ship for two seconds and leaves the rest on disk for the next start.
///
/// # Errors
/// See [`Error`]. A disk that is full is none: that is tried again while events wait in the emitter's channel.
pub async fn start(shipping: Shipping, shutdown: CancellationToken) -> Result<(Emitter, JoinHandle<()>), Error> {
    start_at(shipping, Pace::USUAL, shutdown).await
}

pub(crate) async fn start_at(
    shipping: Shipping,
    pace: Pace,
    shutdown: CancellationToken,
) -> Result<(Emitter, JoinHandle<()>), Error> {
    let http = sender::client(&shipping.intake)?;
    let spool = match open(&shipping).await {
        Ok(spool) => Some(spool),
        Err(why @ spool::Error::Disk { .. }) => {
            tracing::error!(%why, "the spool cannot be opened; trying again");
            None
        }
        Err(why) => return Err(why.into()),
    };
    let (emitter, receiver) = Emitter::channel();
    let lost = emitter.lost_count();
    let task = tokio::spawn(async move {
        let Some(spool) = reopen(spool, &shipping, pace, &shutdown).await else { return };
        let _telling = metrics::shipping::watch(&shipping.shipper, &spool.shelf());
        let sender = Sender::new(http, &shipping, spool.shelf(), pace);
        let writer = writer::Writer::new(spool, receiver, lost, pace);
        let sealed = CancellationToken::new();
        tokio::join!(
            async {
                writer.run(&shutdown).await;
                sealed.cancel();
            },
            sender.run(&sealed)
        );
        let left = tokio::time::timeout(pace.last_ship, sender.drain()).await;
        if !matches!(left, Ok(Ok(_))) {
            tracing::info!(shipper = shipping.shipper, "segments stay on disk for the next start");
        }
    });
    Ok((emitter, task))
}

async fn open(shipping: &Shipping) -> Result<Spool, spool::Error> {
    let (path, shipping) = (shipping.dir.clone(), shipping.clone());
    tokio::task::spawn_blocking(move || shipping.open_spool())
        .await
        .unwrap_or_else(|why| Err(spool::Error::Disk { path, source: std::io::Error::other(why) }))
}

/// Opens the spool again and again until the disk lets it, or nobody wants it any more.
async fn reopen(spool: Option<Spool>, shipping: &Shipping, pace: Pace, shutdown: &CancellationToken) -> Option<Spool> {
    if spool.is_some() {
        return spool;
    }
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return None,
            () = tokio::time::sleep(pace.seal) => {}
        }
        match open(shipping).await {
            Ok(spool) => return Some(spool),
            Err(why) => tracing::debug!(%why, "the spool still cannot be opened"),
        }
    }
}
