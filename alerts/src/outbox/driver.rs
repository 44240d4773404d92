//! The task that owns the outbox: takes pages in, sends what is due, keeps what came of it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use aggregator::emit::Emitter;
use aggregator::event::{PageRow, Time};
use aggregator::metrics::event::show_pages;
use aggregator::metrics::watch as metrics;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::store::{Addressee, Outcome, Store};
use crate::channel::{Channels, DEADLINE, NotSent};
use crate::page::Page;

/// Attempts that run at the same time; further pages wait until one ends.
const MAX_IN_FLIGHT: usize = 256;
/// Attempts of one way (a person and a channel) that run at the same time: a dead one leaves room for the others.
const MAX_PER_WAY: usize = 4;
/// Commands that may wait; the senders of further ones wait.
const COMMANDS: usize = 64;
/// If this process dies during an attempt, the page is sent again after this time.
const ORPHANED_MS: i64 = 15_000;
/// How long the task sleeps when nothing is due.
const IDLE: Duration = Duration::from_secs(3_600);
/// How often a database that cannot be read is tried again.
const BROKEN: Duration = Duration::from_secs(1);
/// How often the number of waiting pages is counted, at most.
const SHOW: Duration = Duration::from_secs(1);
/// Attempts for a page that the disk did not take.
const UNKEPT_ATTEMPTS: u32 = 5;

/// A provider has taken a page: what peers are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivered {
    /// The page.
    pub page_id: String,
    /// What the provider said.
    pub receipt: String,
}

enum Command {
    Append { pages: Vec<Page>, kept: oneshot::Sender<()> },
    ReceivedElsewhere { page_id: String, receipt: String },
    Acknowledged { incident: String, person: String },
    Addressee { page_id: String, reply: oneshot::Sender<Option<Addressee>> },
}

/// The way to the outbox's task.
#[derive(Debug, Clone)]
pub struct Outbox(mpsc::Sender<Command>);

impl Outbox {
    /// Puts pages in and returns when they are on the disk (or, with a broken disk, on their way).
    pub async fn append(&self, pages: Vec<Page>) {
        let (kept, wait) = oneshot::channel();
        if self.0.send(Command::Append { pages, kept }).await.is_ok() {
            let _ = wait.await;
        }
    }

    /// A peer's provider has a page.
    pub async fn received_elsewhere(&self, page_id: String, receipt: String) {
        let _ = self.0.send(Command::ReceivedElsewhere { page_id, receipt }).await;
    }

    /// A person has answered.
    pub async fn acknowledged(&self, incident: String, person: String) {
        let _ = self.0.send(Command::Acknowledged { incident, person }).await;
    }

    /// Whom a page was for.
    pub async fn addressee(&self, page_id: String) -> Option<Addressee> {
        let (reply, wait) = oneshot::channel();
        self.0.send(Command::Addressee { page_id, reply }).await.ok()?;
        wait.await.ok()?
    }
}

/// What the task works with.
pub struct Parts {
    /// The pages.
    pub store: Store,
    /// The ways to the people.
    pub channels: Channels,
    /// How long this watcher waits for the receipts of those before it.
    pub stagger_ms: i64,
    /// Where providers' receipts go for the peers. When it is full they are not told, and send a double.
    pub delivered: mpsc::Sender<Delivered>,
    /// Where the rows of `pages` go.
    pub emitter: Emitter,
}

/// Starts the task. It ends with `shutdown`; what is not sent then is sent after the next start.
pub fn start(parts: Parts, shutdown: CancellationToken) -> (Outbox, JoinHandle<()>) {
    let channels: BTreeSet<String> = parts.channels.keys().map(|(_, channel)| channel.clone()).collect();
    show_pages(channels.iter().map(String::as_str));
    for channel in &channels {
        for result in ["delivered", "again", "failed"] {
            metrics::PAGE_ATTEMPTS.with(&[channel, result]);
        }
    }
    let (sender, commands) = mpsc::channel(COMMANDS);
    let task = Task { parts, in_flight: JoinSet::new(), busy: BTreeMap::new(), shown_at: None };
    (Outbox(sender), tokio::spawn(task.run(commands, shutdown)))
}

struct Task {
    parts: Parts,
    in_flight: JoinSet<(String, Outcome)>,
    /// The pages in flight, and the way that each takes.
    busy: BTreeMap<String, Way>,
    /// When the number of waiting pages was counted last.
    shown_at: Option<Instant>,
}

/// A person and a channel.
type Way = (String, String);

fn way(page: &Page) -> Way {
    (page.person.clone(), page.channel.clone())
}

impl Task {
    async fn run(mut self, mut commands: mpsc::Receiver<Command>, shutdown: CancellationToken) {
        loop {
            let pause = self.send_due().min(self.show_waiting());
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                command = commands.recv() => match command {
                    Some(command) => self.command(command),
                    None => break,
                },
                Some(ended) = self.in_flight.join_next() => {
                    match ended {
                        Ok((page_id, outcome)) => self.finish(&page_id, &outcome),
                        // A channel that panicked told no page: whatever was on its way is tried again when due.
                        Err(_) => self.busy.clear(),
                    }
                }
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Shows how many pages wait; says how long that may stand.
    fn show_waiting(&mut self) -> Duration {
        let since = self.shown_at.map_or(SHOW, |at| at.elapsed());
        if since < SHOW {
            return SHOW - since;
        }
        self.shown_at = Some(Instant::now());
        if let Ok(waiting) = self.parts.store.waiting() {
            metrics::OUTBOX_PAGES.with(&[]).set(waiting as f64);
        }
        IDLE
    }

    fn command(&mut self, command: Command) {
        let now = Time::now();
        match command {
            Command::Append { pages, kept } => {
                self.append(pages, now);
                let _ = kept.send(());
            }
            Command::ReceivedElsewhere { page_id, receipt } => {
                let row = self.parts.store.received_elsewhere(&page_id, &receipt, now);
                self.emit(row.map(Vec::from_iter));
            }
            Command::Acknowledged { incident, person } => {
                let rows = self.parts.store.acknowledged(&incident, &person, now);
                self.emit(rows);
            }
            Command::Addressee { page_id, reply } => {
                let _ = reply.send(self.parts.store.addressee(&page_id).ok().flatten());
            }
        }
    }

    fn append(&mut self, pages: Vec<Page>, now: Time) {
        match self.parts.store.append(&pages, now, now.plus_millis(self.parts.stagger_ms)) {
            Ok(rows) => self.emit(Ok(rows)),
            Err(error) => {
                tracing::error!(%error, pages = pages.len(), "the outbox's disk does not take pages; sending them unkept");
                for page in pages {
                    self.spawn_attempts(page, UNKEPT_ATTEMPTS);
                }
            }
        }
    }

    /// Starts what is due; says how long nothing else will be.
    fn send_due(&mut self) -> Duration {
        let now = Time::now();
        let due = match self.parts.store.due(now, MAX_PER_WAY) {
            Ok(due) => due,
            Err(error) => {
                tracing::error!(%error, "the outbox cannot be read");
                return BROKEN;
            }
        };
        let mut broken = false;
        let mut full = false;
        for page in due {
            if self.in_flight.len() >= MAX_IN_FLIGHT {
                break;
            }
            if self.busy.contains_key(&page.page_id) {
                continue;
            }
            if self.busy.values().filter(|other| **other == way(&page)).count() >= MAX_PER_WAY {
                full = true;
                continue;
            }
            let row = self.parts.store.attempt(&page.page_id, now, now.plus_millis(ORPHANED_MS));
            broken |= row.is_err();
            self.emit(row.map(Vec::from_iter));
            self.spawn_attempts(page, 1);
        }
        if broken {
            return BROKEN;
        }
        if self.in_flight.len() >= MAX_IN_FLIGHT {
            return IDLE;
        }
        // What waits for a way that is full waits for the end of an attempt, which wakes this task.
        let next = if full { self.parts.store.next_after(now) } else { self.parts.store.next_at() };
        match next {
            Ok(Some(at)) => Duration::from_millis(at.millis_since(now).max(1)).min(IDLE),
            Ok(None) => IDLE,
            Err(_) => BROKEN,
        }
    }

    fn spawn_attempts(&mut self, page: Page, attempts: u32) {
        self.busy.insert(page.page_id.clone(), way(&page));
        let channel = self.parts.channels.get(&way(&page)).cloned();
        self.in_flight.spawn(async move {
            let Some(channel) = channel else {
                return (page.page_id, Outcome::Failed("this channel is no longer configured".to_owned()));
            };
            let mut outcome = Outcome::Again(String::new());
            for attempt in 1..=attempts {
                let begun = Instant::now();
                let sent = tokio::time::timeout(DEADLINE, channel.send(&page, Time::now())).await;
                metrics::PAGE_DURATION.with(&[&page.channel]).observe(begun.elapsed().as_secs_f64());
                outcome = match sent {
                    Ok(Ok(receipt)) => Outcome::Delivered(receipt.0),
                    Ok(Err(NotSent::ForGood(reason))) => Outcome::Failed(reason),
                    Ok(Err(NotSent::ForNow(reason))) => Outcome::Again(reason),
                    Err(_) => Outcome::Again("no answer within 10 s".to_owned()),
                };
                metrics::PAGE_ATTEMPTS.with(&[&page.channel, result(&outcome)]).inc();
                if attempt == attempts || !matches!(outcome, Outcome::Again(_)) {
                    break;
                }
                let wait = u64::try_from(super::back_off_ms(attempt)).unwrap_or(1_000);
                tokio::time::sleep(Duration::from_millis(wait)).await;
            }
            (page.page_id, outcome)
        });
    }

    fn finish(&mut self, page_id: &str, outcome: &Outcome) {
        self.busy.remove(page_id);
        let row = self.parts.store.finish(page_id, outcome, Time::now());
        self.emit(row.map(Vec::from_iter));
        match outcome {
            Outcome::Delivered(receipt) => {
                let delivered = Delivered { page_id: page_id.to_owned(), receipt: receipt.clone() };
                let _ = self.parts.delivered.try_send(delivered);
            }
            Outcome::Again(reason) => tracing::warn!(page_id, reason, "a page was not taken; it is sent again"),
            Outcome::Failed(reason) => tracing::error!(page_id, reason, "a page was refused for good"),
        }
    }

    fn emit(&self, rows: rusqlite::Result<Vec<PageRow>>) {
        match rows {
            Ok(rows) => rows.into_iter().for_each(|row| self.parts.emitter.emit(row)),
            Err(error) => tracing::error!(%error, "the outbox's disk did not take a change; a page may come twice"),
        }
    }
}

/// What the metrics call what came of an attempt.
const fn result(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Delivered(_) => "delivered",
        Outcome::Again(_) => "again",
        Outcome::Failed(_) => "failed",
    }
}
