//! Syslog from other hosts: UDP, TCP and TLS in, events on disk.
//!
//! Listeners put lines into a bounded channel; one task reads them and writes their events into the spool's journal
//! before it counts them. Neither protocol has an acknowledgement, so this is all the promise that can be made: what was
//! counted as stored survives a kill. While disk or channel have no room, connections wait, and datagrams are dropped
//! and counted.
//!
//! A line that comes by syslog has no place that could be asked for again, so its identity is where our spool wrote it:
//! shipper, epoch, sequence, place. The same line sent twice is two events.

mod frame;
mod listen;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::mpsc::{Receiver, channel};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::BATCH_ROOM;
use super::config::SyslogConfig;
use super::scribe::{Scribe, Source};
use crate::dialect::clock::Clock;
use crate::dialect::{self, Reader};
use crate::event::{Event, Time};
use crate::metrics::log::Syslog;
use crate::ship::{self, Sender, Shipping};
use crate::spool::{self, Spool};
use listen::Bound;

/// Lines that may wait to be read. With the longest line this bounds memory to 64 MiB.
const CHANNEL_LINES: usize = 1_024;
/// Lines that are written with one write.
const TAKE: usize = 1_024;
/// The age at which the journal is sealed.
const SEAL: Duration = Duration::from_secs(1);
/// Between two tries while the disk is full.
const RETRY: Duration = Duration::from_secs(1);
/// How long the sender may still try after the end; the rest stays on disk.
const LAST_SHIP: Duration = Duration::from_secs(2);
/// Senders whose name in `raw_lines` is remembered.
const SENDERS: usize = 4_096;

/// Why nothing is heard.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address cannot be had.
    #[error("the syslog listener {listen} (node.syslog.listen): {source}")]
    Listen {
        /// As it is configured.
        listen: String,
        /// Why.
        source: io::Error,
    },
    /// A file of TLS cannot be used.
    #[error("TLS of a syslog listener (node.syslog): {path}: {why}")]
    Tls {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// Shipping could not begin.
    #[error(transparent)]
    Ship(#[from] ship::Error),
}

/// A line that was heard.
#[derive(Debug)]
struct Received {
    listener: usize,
    peer: IpAddr,
    line: Vec<u8>,
}

/// Listeners that are bound, and the spool behind them.
pub struct Listeners {
    bound: Vec<Bound>,
    shipping: Shipping,
}

/// Binds every listener.
///
/// # Errors
/// See [`Error`].
pub async fn bind(configs: Vec<SyslogConfig>, shipping: Shipping) -> Result<Listeners, Error> {
    Syslog::show();
    let mut bound = Vec::new();
    for (number, config) in configs.into_iter().enumerate() {
        bound.push(Bound::new(number, config).await?);
    }
    Ok(Listeners { bound, shipping })
}

impl Listeners {
    /// Where they listen, in the order of the configuration.
    ///
    /// # Errors
    /// A socket does not say.
    pub fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        self.bound.iter().map(Bound::address).collect()
    }

    /// Hears until `shutdown`; what was heard is on disk then, and shipped as far as the intake takes it.
    ///
    /// # Errors
    /// The spool cannot be used, or the HTTP client not be set up.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), Error> {
        let shipping = self.shipping;
        let opening = shipping.clone();
        let spool = tokio::task::spawn_blocking(move || opening.open_spool()).await;
        let gone = |why: tokio::task::JoinError| spool::Error::Disk {
            path: shipping.dir.clone(),
            source: io::Error::other(why),
        };
        let spool = spool.map_err(gone).and_then(|opened| opened).map_err(ship::Error::from)?;
        let sender = Sender::of_shelf(&shipping, spool.shelf())?;
        let desks = self.bound.iter().map(|bound| Desk::new(&bound.config)).collect();
        let (out, lines) = channel(CHANNEL_LINES);
        let mut listeners = JoinSet::new();
        for bound in self.bound {
            listeners.spawn(bound.run(out.clone(), shutdown.clone()));
        }
        drop(out);
        let scribe = Scribe { node: shipping.node.clone(), override_node: false, mask: shipping.mask.clone() };
        let ingest = Ingest { spool: Some(spool), scribe, desks };
        let sealed = CancellationToken::new();
        tokio::join!(
            async {
                if ingest.run(lines, &shutdown).await.is_none() {
                    tracing::error!("what comes by syslog is not written any more");
                }
                sealed.cancel();
            },
            sender.run(&sealed),
            async { while listeners.join_next().await.is_some() {} }
        );
        if !matches!(tokio::time::timeout(LAST_SHIP, sender.drain()).await, Ok(Ok(_))) {
            tracing::info!(shipper = shipping.shipper, "batches stay on disk for the next start");
        }
        Ok(())
    }
}

/// How the lines of one listener are read.
struct Desk {
    reader: Reader,
    scheme: String,
    raw: bool,
    senders: HashMap<IpAddr, Source>,
}

impl Desk {
    fn new(config: &SyslogConfig) -> Self {
        let entry = dialect::find(&config.dialect).unwrap_or(&dialect::DIALECTS[0]);
        let scheme = config.listen.split("://").next().unwrap_or_default();
        Self {
            reader: Reader::new(entry, Clock::new(config.time_zone, Time::default())).of_a_stream(),
            scheme: ["syslog:", scheme, "://"].concat(),
            raw: config.raw,
            senders: HashMap::new(),
        }
    }

    fn read(&mut self, scribe: &Scribe, received: &Received, now: Time, out: &mut Vec<Event>) {
        self.reader.set_reference(now);
        if self.senders.len() >= SENDERS {
            self.senders.clear();
        }
        let source = self.senders.entry(received.peer).or_insert_with(|| Source {
            name: [&self.scheme, received.peer.to_string().as_str()].concat(),
            raw: self.raw,
            last: now,
        });
        source.last = now;
        let line = completed(&self.reader, &received.line, received.peer, now);
        scribe.received(&mut self.reader, source, line.as_deref().unwrap_or(&received.line), out);
    }
}

/// A line that says no time gets ours, and the address that it came from, after its priority: so a relay does it
/// (RFC 3164 section 4.3.2). `None`: it says one.
fn completed(reader: &Reader, line: &[u8], peer: IpAddr, now: Time) -> Option<Vec<u8>> {
    if reader.time(line).is_some() || line.first() == Some(&b'{') {
        return None;
    }
    let after = match line {
        [b'<', rest @ ..] => memchr::memchr(b'>', rest).filter(|end| (1..=3).contains(end)).map_or(0, |end| end + 2),
        _ => 0,
    };
    let (priority, rest) = line.split_at(after);
    Some([priority, now.to_string().as_bytes(), b" ", peer.to_string().as_bytes(), b" ", rest].concat())
}

/// From lines to the disk. One task owns it.
struct Ingest {
    /// Not there only while a blocking task has it.
    spool: Option<Spool>,
    scribe: Scribe,
    desks: Vec<Desk>,
}

impl Ingest {
    /// Runs until every listener has ended. `None`: the blocking task that had the spool died.
    async fn run(mut self, mut lines: Receiver<Received>, shutdown: &CancellationToken) -> Option<()> {
        let mut tick = tokio::time::interval(SEAL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut batch, mut events) = (Vec::with_capacity(TAKE), Vec::new());
        let mut sealed_at = Instant::now();
        let mut told = false;
        loop {
            let taken = tokio::select! {
                taken = lines.recv_many(&mut batch, TAKE) => Some(taken),
                _ = tick.tick() => None,
            };
            let now = Time::now();
            for received in &batch {
                if let Some(desk) = self.desks.get_mut(received.listener) {
                    desk.read(&self.scribe, received, now, &mut events);
                }
            }
            let count = batch.len() as u64;
            batch.clear();
            let last = taken == Some(0);
            let old = sealed_at.elapsed() >= SEAL;
            let why = loop {
                let mut pending = std::mem::take(&mut events);
                let (pending, done) = self
                    .on_disk(move |spool| {
                        let done = write(spool, &mut pending, last || old);
                        (pending, done)
                    })
                    .await?;
                events = pending;
                match done {
                    Ok(true) => break None,
                    // Nothing is taken from the listeners meanwhile.
                    Ok(false) if !shutdown.is_cancelled() => {}
                    Err(why) if shutdown.is_cancelled() => break Some(why.to_string()),
                    Err(why) => {
                        if !std::mem::replace(&mut told, true) {
                            tracing::error!(%why, "what comes by syslog waits");
                        }
                    }
                    Ok(false) => break Some("the spool is full".to_owned()),
                }
                tokio::time::sleep(RETRY).await;
            };
            match why {
                None => {
                    Syslog::Stored.add(count);
                    told = false;
                }
                Some(why) => {
                    Syslog::Dropped.add(count);
                    tracing::error!(why, lines = count, "lines are lost: the disk did not take them before the end");
                    events.clear();
                }
            }
            if last || old {
                sealed_at = Instant::now();
            }
            if last {
                return Some(());
            }
        }
    }

    /// Does `work` where a disk that hangs holds no other task up.
    async fn on_disk<T: Send + 'static>(&mut self, work: impl FnOnce(&mut Spool) -> T + Send + 'static) -> Option<T> {
        let mut spool = self.spool.take()?;
        let task = tokio::task::spawn_blocking(move || {
            let done = work(&mut spool);
            (spool, done)
        });
        let (spool, done) = task.await.ok()?;
        self.spool = Some(spool);
        Some(done)
    }
}

/// Writes events into the journal, and seals it. `false`: the spool has no room now, and nothing was written; a batch
/// that was sealed before would have to go for it.
fn write(spool: &mut Spool, events: &mut Vec<Event>, seal: bool) -> Result<bool, spool::Error> {
    if !events.is_empty() && !spool.shelf().has_room_for(BATCH_ROOM) {
        return Ok(false);
    }
    spool.append(events)?;
    if seal || spool.is_full() {
        spool.seal_journal()?;
    }
    Ok(true)
}
