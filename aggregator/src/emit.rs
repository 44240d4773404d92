//! The way in for events of our own processes: a bounded channel that never blocks its producer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::mpsc;

use crate::event::Event;
use crate::metrics;

/// Events that may wait for the spool's writer. Past it they are counted as lost: the mail path and the
/// paging path never wait for their own story to be written down.
pub const CHANNEL_EVENTS: usize = 16_384;

/// Where a process puts its events. Cheap to clone; [`emit`](Self::emit) never blocks and never fails.
#[derive(Debug, Clone)]
pub struct Emitter {
    sender: mpsc::Sender<Event>,
    lost: Arc<AtomicU64>,
}

impl Emitter {
    /// An emitter and the end that the spool's writer (or a test) reads.
    pub fn channel() -> (Self, mpsc::Receiver<Event>) {
        let (sender, receiver) = mpsc::channel(CHANNEL_EVENTS);
        (Self { sender, lost: Arc::default() }, receiver)
    }

    /// Hands an event over, and counts what it tells. The common columns that are empty are filled in by the spool.
    pub fn emit(&self, event: impl Into<Event>) {
        let event = event.into();
        metrics::event::count(&event);
        if self.sender.try_send(event).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
            metrics::event::EVENTS_LOST.with(&[]).inc();
        }
    }

    /// The count behind [`lost`](Self::lost), for the spool's writer: an emitter there would keep the channel open.
    pub(crate) fn lost_count(&self) -> Arc<AtomicU64> {
        self.lost.clone()
    }

    /// How many events found the channel full or closed since the process began.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}
