//! The loop of a queue process: looks for what is due, hands it out fairly, keeps the leases alive.
//!
//! Fair means: each domain has at most `queue_domain_concurrency` attempts at a time, all remote domains together at
//! most `queue_concurrency`, and domains take turns. Local domains do not count among the remote ones: no dead host
//! delays mail between our own users.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use aggregator::event::{QueueSample, Time};
use aggregator::metrics::mail as metrics;
use futures_util::future::join_all;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::attempt::Courier;
use super::health::Pulse;
use super::store::{Batch, DueDomain};
use crate::store::StoreError;

/// How often the loop looks whether the queue has changed.
const POLL: Duration = Duration::from_millis(50);
/// How often depth and age are told.
const SAMPLE_MS: u64 = 60_000;
/// Messages that one attempt takes over one connection.
const MAX_BATCHES: usize = 10;

/// The loop and what it holds.
pub struct Manager {
    courier: Arc<Courier>,
    pulse: Arc<Pulse>,
    owner: String,
    attempts: JoinSet<()>,
    running: HashMap<Id, Running>,
    /// Whether a domain is local, as far as asked in this pass.
    local: HashMap<String, bool>,
    version: Option<i64>,
    next_due: Time,
    extended_at: Time,
    sampled_at: Time,
}

/// An attempt that is being made.
struct Running {
    domain: String,
    is_local: bool,
    /// What it holds: the messages, each with its recipients' numbers and fencing numbers.
    held: Vec<(String, Vec<(i64, i64)>)>,
}

impl Manager {
    /// A loop with a name that no other has, for its leases.
    pub fn new(courier: Courier, pulse: Arc<Pulse>, owner: String) -> Self {
        Self {
            courier: Arc::new(courier),
            pulse,
            owner,
            attempts: JoinSet::new(),
            running: HashMap::new(),
            local: HashMap::new(),
            version: None,
            next_due: Time(i64::MIN),
            extended_at: Time(0),
            sampled_at: Time(0),
        }
    }

    /// Runs until told to stop; attempts that are under way may end within the grace period, the others' leases are
    /// given back.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let mut tick = tokio::time::interval(POLL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut failing = false;
        loop {
            let ended = tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                Some(ended) = self.attempts.join_next_with_id(), if !self.attempts.is_empty() => Some(ended),
                _ = tick.tick() => None,
            };
            let slot_is_free = ended.is_some();
            if let Some(ended) = ended {
                self.ended(ended);
            }
            match self.turn(Time::now(), slot_is_free).await {
                Ok(()) => {
                    failing = false;
                    self.pulse.beat(Time::now());
                }
                Err(error) => {
                    if !failing {
                        tracing::error!(%error, "the queue cannot be read or written; trying again");
                    }
                    failing = true;
                }
            }
        }
        self.drain().await;
    }

    async fn turn(&mut self, now: Time, slot_is_free: bool) -> Result<(), StoreError> {
        let version = self.courier.queue.version().await?;
        if slot_is_free || self.version != Some(version) || now >= self.next_due {
            self.version = Some(version);
            self.pass(now).await?;
        }
        let lease_ms = self.courier.config.limits.lease_s * 1_000;
        if !self.running.is_empty() && now.millis_since(self.extended_at) >= lease_ms / 3 {
            let held = self.running.values().flat_map(|running| running.held.clone()).collect();
            self.courier.queue.extend(held, self.lease_end(now)).await?;
            self.extended_at = now;
        }
        if now.millis_since(self.sampled_at) >= SAMPLE_MS {
            self.sampled_at = now;
            self.sample(now).await?;
        }
        Ok(())
    }

    fn lease_end(&self, now: Time) -> Time {
        now.plus_millis(i64::try_from(self.courier.config.limits.lease_s.saturating_mul(1_000)).unwrap_or(i64::MAX))
    }

    /// Hands out what is due, in rounds of one batch a domain, until nothing more is due or may begin.
    async fn pass(&mut self, now: Time) -> Result<(), StoreError> {
        self.local.clear();
        loop {
            let mut domains = self.courier.queue.domains().await?;
            domains.sort_by_key(|domain| domain.due);
            let later = domains.iter().map(|domain| domain.due).find(|due| *due > now);
            self.next_due = later.unwrap_or(Time(i64::MAX));
            let chosen = self.choose(domains, now).await;
            if chosen.is_empty() {
                return Ok(());
            }
            let (queue, owner, until) = (&self.courier.queue, &self.owner, self.lease_end(now));
            let claims = chosen.iter().map(|(domain, _)| queue.claim(domain, MAX_BATCHES, owner, now, until));
            let mut began = false;
            for ((domain, is_local), claimed) in chosen.iter().zip(join_all(claims).await) {
                let batches = claimed?;
                if !batches.is_empty() {
                    began = true;
                    self.begin(domain.clone(), *is_local, batches);
                }
            }
            if !began {
                return Ok(());
            }
        }
    }

    /// The due domains that may have another attempt now.
    async fn choose(&mut self, domains: Vec<DueDomain>, now: Time) -> Vec<(String, bool)> {
        let limits = &self.courier.config.limits;
        let mut remote = self.running.values().filter(|running| !running.is_local).count();
        let mut chosen = Vec::new();
        for DueDomain { domain, .. } in domains.into_iter().take_while(|domain| domain.due <= now) {
            let here = self.running.values().filter(|running| running.domain == domain).count();
            if here >= limits.queue_domain_concurrency {
                continue;
            }
            let is_local = match self.local.get(&domain) {
                Some(known) => *known,
                None => self.courier.is_local(&domain).await,
            };
            self.local.insert(domain.clone(), is_local);
            if !is_local {
                if remote >= limits.queue_concurrency {
                    continue;
                }
                remote += 1;
            }
            chosen.push((domain, is_local));
        }
        chosen
    }

    fn begin(&mut self, domain: String, is_local: bool, batches: Vec<Batch>) {
        let held = batches
            .iter()
            .map(|batch| {
                let entries = batch.entries.iter().map(|entry| (entry.n, entry.fence)).collect();
                (batch.envelope.id.clone(), entries)
            })
            .collect();
        let (courier, to) = (Arc::clone(&self.courier), domain.clone());
        let id = self.attempts.spawn(async move { courier.carry(&to, batches).await }).id();
        self.running.insert(id, Running { domain, is_local, held });
        metrics::QUEUE_ATTEMPTS.with(&[]).set(self.running.len() as f64);
    }

    fn ended(&mut self, ended: Result<(Id, ()), JoinError>) {
        let id = match ended {
            Ok((id, ())) => id,
            Err(error) => {
                // What it held comes up again when its lease ends.
                tracing::error!(%error, "an attempt died");
                error.id()
            }
        };
        self.running.remove(&id);
        metrics::QUEUE_ATTEMPTS.with(&[]).set(self.running.len() as f64);
    }

    async fn sample(&self, now: Time) -> Result<(), StoreError> {
        let depth = self.courier.queue.depth().await?;
        let age_s = |since: Time| now.millis_since(since) / 1_000;
        let sample = |domain: String, messages, bytes, oldest_age_s| QueueSample {
            ts: now,
            queue: "all".to_owned(),
            rcpt_domain: domain,
            messages: Some(messages),
            bytes,
            oldest_age_s: Some(oldest_age_s),
            ..QueueSample::default()
        };
        let emitter = &self.courier.emitter;
        emitter.emit(sample(String::new(), depth.messages, Some(depth.bytes), depth.oldest.map_or(0, age_s)));
        for (domain, waiting, oldest) in depth.domains {
            emitter.emit(sample(domain, waiting, None, age_s(oldest)));
        }
        Ok(())
    }

    async fn drain(mut self) {
        let grace = self.courier.config.limits.drain();
        let _ = tokio::time::timeout(grace, async {
            while let Some(ended) = self.attempts.join_next_with_id().await {
                self.ended(ended);
            }
        })
        .await;
        self.attempts.shutdown().await;
        if self.running.is_empty() {
            return;
        }
        tracing::warn!(attempts = self.running.len(), "attempts were cut off at the end of the grace period");
        let held = self.running.values().flat_map(|running| running.held.clone()).collect();
        if let Err(error) = self.courier.queue.extend(held, Time::now()).await {
            tracing::warn!(%error, "leases could not be given back; they end by themselves");
        }
    }
}

#[cfg(test)]
mod tests;
