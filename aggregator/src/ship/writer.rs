//! The writer: from the emitter's channel into the journal, and the journal into segments.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::mpsc::Receiver;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::Pace;
use crate::event::{Event, RawLine, Time};
use crate::metrics;
use crate::spool::{self, Spool};

/// Events that are written with one write.
const TAKE: usize = 1024;
/// Segments on the shelf from which on there is a backlog.
const BACKLOG: usize = 60;

pub(super) struct Writer {
    /// Not there only while a blocking task has it.
    spool: Option<Spool>,
    receiver: Receiver<Event>,
    lost: Arc<AtomicU64>,
    lost_told: u64,
    pace: Pace,
    sealed_at: Instant,
    disk_fails: bool,
}

/// The spool is gone: its blocking task died.
struct Gone;

impl Writer {
    pub(super) fn new(spool: Spool, receiver: Receiver<Event>, lost: Arc<AtomicU64>, pace: Pace) -> Self {
        let sealed_at = Instant::now();
        Self { spool: Some(spool), receiver, lost, lost_told: 0, pace, sealed_at, disk_fails: false }
    }

    /// Writes and seals until the shutdown is over or every emitter is gone; what is there is sealed at the end.
    pub(super) async fn run(mut self, shutdown: &CancellationToken) {
        if self.work(shutdown).await.is_err() {
            tracing::error!("the spool's writer has ended; events of this process are lost from now on");
        }
    }

    async fn work(&mut self, shutdown: &CancellationToken) -> Result<(), Gone> {
        let mut tick = tokio::time::interval(self.pace.seal);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let last_events = self.pace.last_events;
        let end = async {
            shutdown.cancelled().await;
            tokio::time::sleep(last_events).await;
        };
        tokio::pin!(end);
        let mut events = Vec::with_capacity(TAKE);
        loop {
            tokio::select! {
                taken = self.receiver.recv_many(&mut events, TAKE) => {
                    if taken == 0 { break }
                    self.write(&mut events, shutdown).await?;
                }
                _ = tick.tick() => self.tick(shutdown).await?,
                () = &mut end => break,
            }
        }
        self.receiver.close();
        while self.receiver.recv_many(&mut events, TAKE).await > 0 {
            self.write(&mut events, shutdown).await?;
        }
        self.seal().await
    }

    /// Once a second: seals what has its age, and turns notes into events.
    async fn tick(&mut self, shutdown: &CancellationToken) -> Result<(), Gone> {
        let mut notes = self.notes();
        if !notes.is_empty() {
            self.write(&mut notes, shutdown).await?;
        }
        let Some(spool) = &self.spool else { return Err(Gone) };
        let age = if spool.shelf().len() > BACKLOG { self.pace.seal_in_backlog } else { self.pace.seal };
        if spool.unsealed() > 0 && self.sealed_at.elapsed() >= age {
            self.seal().await?;
        }
        Ok(())
    }

    /// Writes events, trying again while the disk does not take them. Meanwhile the channel fills up, and what
    /// does not fit into it is counted: memory stays bounded.
    async fn write(&mut self, events: &mut Vec<Event>, shutdown: &CancellationToken) -> Result<(), Gone> {
        loop {
            let mut batch = std::mem::take(events);
            let (batch, done) = self
                .on_disk(move |spool| {
                    let done = spool.append(&mut batch).map(|()| spool.is_full());
                    (batch, done)
                })
                .await?;
            *events = batch;
            self.tell(done.as_ref().err());
            match done {
                Ok(true) => return self.seal().await,
                Ok(false) => return Ok(()),
                Err(_) if shutdown.is_cancelled() => {
                    self.lost.fetch_add(events.len() as u64, Ordering::Relaxed);
                    metrics::event::EVENTS_LOST.with(&[]).add(events.len() as u64);
                    tracing::error!(
                        events = events.len(),
                        "events are lost: the disk did not take them before the end"
                    );
                    events.clear();
                    return Ok(());
                }
                Err(_) => tokio::time::sleep(self.pace.seal).await,
            }
        }
    }

    async fn seal(&mut self) -> Result<(), Gone> {
        let done = self.on_disk(Spool::seal_journal).await?;
        self.tell(done.as_ref().err());
        if done.is_ok() {
            self.sealed_at = Instant::now();
        }
        Ok(())
    }

    /// What operators must know, as events: segments dropped or set aside, events lost before they were written.
    fn notes(&mut self) -> Vec<Event> {
        let mut notes = self.spool.as_ref().map(|spool| spool.shelf().take_notes()).unwrap_or_default();
        let lost = self.lost.load(Ordering::Relaxed);
        if lost > self.lost_told {
            let more = (lost - self.lost_told).to_string();
            tracing::warn!(events = more, "events are lost: the spool's writer could not keep up");
            notes.push([&more, " events are lost: the spool's writer could not keep up"].concat());
            self.lost_told = lost;
        }
        let ts = Time::now();
        let event = |line| RawLine {
            ts,
            source: "varde:spool".into(),
            dialect: "varde".into(),
            recognised: true,
            line,
            ..RawLine::default()
        };
        notes.into_iter().map(|line| event(line).into()).collect()
    }

    /// Logs that the disk began to fail, or to work again; not every failure in between.
    fn tell(&mut self, failure: Option<&spool::Error>) {
        match failure {
            Some(why) if !self.disk_fails => tracing::error!(%why, "events wait in memory; trying again"),
            None if self.disk_fails => tracing::info!("the spool's disk works again"),
            _ => {}
        }
        self.disk_fails = failure.is_some();
    }

    /// Does `work` where a disk that hangs holds nobody up.
    async fn on_disk<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Spool) -> T + Send + 'static,
    ) -> Result<T, Gone> {
        let mut spool = self.spool.take().ok_or(Gone)?;
        let task = tokio::task::spawn_blocking(move || {
            let done = work(&mut spool);
            (spool, done)
        });
        let (spool, done) = task.await.map_err(|_| Gone)?;
        self.spool = Some(spool);
        Ok(done)
    }
}
