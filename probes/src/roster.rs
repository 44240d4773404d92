//! The roster: which watchers vote, in epochs that all watchers hold alike.
//!
//! An epoch names the voting watchers from one instant on. A watcher that is asked to let another join or to drain it
//! signs the next epoch, which begins [`LEAD`] later, so that it has reached everybody by then; the exchange carries it
//! with the observations. Who hears of it late, after a partition, judges again from its begin on. Because a verdict
//! is a function of observations and epochs, all watchers that hold the same come to the same.
//!
//! Two watchers may sign the same generation at once: then the one that begins first counts, for everybody. Pure: `now`
//! is an argument.

use std::collections::BTreeMap;
use std::time::Duration;

use aggregator::event::Time;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::config::{Config, MAX_WATCHERS};
use crate::keys::{PublicKey, SigningKey};

/// How long before its begin an epoch is signed: thrice a heartbeat of the exchange.
pub const LEAD: Duration = Duration::from_secs(30);
/// An epoch that begins later than this was signed by a clock that is wrong.
const FARTHEST: Duration = Duration::from_secs(86_400);
/// What began longer ago is settled: no other epoch of its number takes its place, and who has watched all the while
/// hears of no new one.
pub const SETTLED: Duration = Duration::from_secs(7 * 86_400);
/// The next epochs are numbered one by one; a number further ahead than this is none that a site came to.
const MAX_AHEAD: u64 = 4_096;
/// Epochs that are kept: far more than a site has in the days that are shown.
pub const MAX_EPOCHS: usize = 64;

/// Who votes from one instant on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Epoch {
    /// Its number; the one before it ends where it begins.
    pub generation: u64,
    /// Its begin.
    pub from: Time,
    /// The watchers that vote, in the order of their names.
    pub watchers: Vec<String>,
    /// The watcher that signed it.
    pub by: String,
    /// Ed25519 over all of the above, base64.
    pub signature: String,
}

/// What is asked of the roster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// This watcher is to vote.
    Join(String),
    /// This watcher is to vote no more.
    Drain(String),
}

/// Why an epoch that was heard of does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotTaken {
    /// Nobody of that name is known here.
    #[error(
        "epoch {generation} was signed by \"{by}\", who is no watcher here; reload the configuration that names it"
    )]
    UnknownSigner {
        /// Its number.
        generation: u64,
        /// Who signed it.
        by: String,
    },
    /// The signature is not that watcher's.
    #[error("the signature of \"{by}\" over epoch {generation} does not fit")]
    Signature {
        /// Its number.
        generation: u64,
        /// Who is said to have signed it.
        by: String,
    },
    /// It makes no sense.
    #[error("epoch {generation} {what}")]
    Malformed {
        /// Its number.
        generation: u64,
        /// What is wrong with it.
        what: &'static str,
    },
}

/// Why the roster does not change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotChanged {
    /// Nobody of that name is known here.
    #[error("\"{0}\" is no watcher of this configuration; add it to [[watch.watcher]] and reload")]
    Unknown(String),
    /// It is so already.
    #[error("\"{name}\" {so} already")]
    Already {
        /// The watcher.
        name: String,
        /// `votes` or `does not vote`.
        so: &'static str,
    },
    /// Nobody would be left.
    #[error("\"{0}\" is the last watcher that votes; let another join first")]
    Last(String),
    /// A target would be left without a voter.
    #[error(
        "\"{name}\" is the last watcher that votes on target \"{target}\"; name another in its watchers and reload, or let another of them join first"
    )]
    LastOfTarget {
        /// The watcher.
        name: String,
        /// The target.
        target: String,
    },
    /// There is no number after the latest.
    #[error("epoch {0} is the last that can be numbered")]
    Exhausted(u64),
    /// A change is on its way.
    #[error("the roster changes at {0} already; ask again after that")]
    Pending(Time),
}

impl Epoch {
    /// Signs an epoch.
    pub fn sign(generation: u64, from: Time, mut watchers: Vec<String>, by: &str, key: &SigningKey) -> Self {
        watchers.sort_unstable();
        watchers.dedup();
        let mut epoch = Self { generation, from, watchers, by: by.to_owned(), signature: String::new() };
        epoch.signature = STANDARD.encode(key.sign(&epoch.bytes()));
        epoch
    }

    /// What is signed: each part behind its length, so that no two epochs have the same bytes.
    fn bytes(&self) -> Vec<u8> {
        let mut out = b"varde-epoch-1\0".to_vec();
        out.extend_from_slice(&self.generation.to_be_bytes());
        out.extend_from_slice(&self.from.0.to_be_bytes());
        for part in std::iter::once(&self.by).chain(&self.watchers) {
            out.extend_from_slice(&(part.len() as u64).to_be_bytes());
            out.extend_from_slice(part.as_bytes());
        }
        out
    }

    fn check(&self, keys: &BTreeMap<String, PublicKey>, now: Time) -> Result<(), NotTaken> {
        let generation = self.generation;
        let malformed = |what| Err(NotTaken::Malformed { generation, what });
        if self.watchers.is_empty() || self.watchers.len() > MAX_WATCHERS {
            return malformed("names no watcher, or too many");
        }
        if !self.watchers.is_sorted_by(|a, b| a < b) {
            return malformed("does not name its watchers in order");
        }
        if self.from > now.plus_millis(FARTHEST.as_millis() as i64) {
            return malformed("begins more than a day from now; is the clock of its signer right?");
        }
        let by = || self.by.clone();
        let key = keys.get(&self.by).ok_or_else(|| NotTaken::UnknownSigner { generation, by: by() })?;
        let signature = STANDARD.decode(&self.signature).unwrap_or_default();
        if key.verify(&self.bytes(), &signature) { Ok(()) } else { Err(NotTaken::Signature { generation, by: by() }) }
    }
}

/// The epochs of a site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roster {
    epochs: BTreeMap<u64, Epoch>,
}

impl Roster {
    /// The roster of a site that begins with this configuration: all of its watchers vote.
    pub fn begin(config: &Config, me: &str, key: &SigningKey, now: Time) -> Self {
        let all = config.watch.watcher.iter().map(|watcher| watcher.name.clone()).collect();
        Self::kept(vec![Epoch::sign(0, now, all, me, key)])
    }

    /// The same where nobody signs: in simulated time.
    pub fn unsigned(config: &Config, now: Time) -> Self {
        let mut watchers: Vec<String> = config.watch.watcher.iter().map(|watcher| watcher.name.clone()).collect();
        watchers.sort();
        Self::kept(vec![Epoch { generation: 0, from: now, watchers, by: String::new(), signature: String::new() }])
    }

    /// The roster that was kept.
    pub fn kept(epochs: Vec<Epoch>) -> Self {
        Self { epochs: epochs.into_iter().map(|epoch| (epoch.generation, epoch)).collect() }
    }

    /// The epochs, oldest first.
    pub fn epochs(&self) -> impl Iterator<Item = &Epoch> {
        self.epochs.values()
    }

    /// From when on who votes. An epoch begins no earlier than the one before it.
    pub fn terms(&self) -> Vec<(Time, &[String])> {
        let begun = self.epochs.values().scan(Time(i64::MIN), |latest, epoch| {
            *latest = epoch.from.max(*latest);
            Some((*latest, epoch.watchers.as_slice()))
        });
        begun.collect()
    }

    /// The epoch at `now`: its number and its watchers. Before the first it is the first.
    pub fn in_force(&self, now: Time) -> (u64, &[String]) {
        let begun = self.terms().partition_point(|(from, _)| *from <= now).max(1) - 1;
        self.epochs.values().nth(begun).map_or((0, &[][..]), |epoch| (epoch.generation, &epoch.watchers))
    }

    /// From when on the epoch of this number counts, as [`terms`](Self::terms) has it.
    pub fn begin_of(&self, generation: u64) -> Option<Time> {
        let begun = self.epochs.keys().zip(self.terms()).find(|(number, _)| **number == generation);
        begun.map(|(_, (from, _))| from)
    }

    /// Takes an epoch that was heard of. True: it is news.
    ///
    /// # Errors
    /// See [`NotTaken`].
    pub fn take(&mut self, epoch: Epoch, keys: &BTreeMap<String, PublicKey>, now: Time) -> Result<bool, NotTaken> {
        let rank = |epoch: &Epoch| (epoch.from, epoch.by.clone(), epoch.watchers.clone());
        if self.epochs.get(&epoch.generation).is_some_and(|known| rank(known) <= rank(&epoch)) {
            return Ok(false);
        }
        epoch.check(keys, now)?;
        self.check(&epoch, keys, now)?;
        self.epochs.insert(epoch.generation, epoch);
        while self.epochs.len() > MAX_EPOCHS {
            self.epochs.pop_first();
        }
        Ok(true)
    }

    /// Whether an epoch can stand among these: one watcher's key alone rewrites nothing that is settled, lets no stranger
    /// vote and uses up no numbers. Nothing is asked of the epoch before it, which may be on its way still, or lose its
    /// place to another that began sooner.
    fn check(&self, epoch: &Epoch, keys: &BTreeMap<String, PublicKey>, now: Time) -> Result<(), NotTaken> {
        let generation = epoch.generation;
        let malformed = |what| Err(NotTaken::Malformed { generation, what });
        let latest = self.epochs.keys().next_back().copied().unwrap_or(0);
        if generation > latest.saturating_add(MAX_AHEAD) {
            return malformed("is numbered too far ahead");
        }
        if self.epochs.get(&generation).is_some_and(|known| is_settled(known.from, now)) {
            return malformed("would take the place of one that began more than a week ago");
        }
        let voted = |name: &String| self.epochs.values().any(|known| known.watchers.contains(name));
        if !epoch.watchers.iter().all(|name| keys.contains_key(name) || voted(name)) {
            return malformed("names a voter who is no watcher here; reload the configuration that names it");
        }
        Ok(())
    }

    /// The epoch that makes the change, signed by `me`; it is still to be taken.
    ///
    /// # Errors
    /// See [`NotChanged`].
    pub fn change(
        &self,
        change: &Change,
        known: impl Fn(&str) -> bool,
        (me, key): (&str, &SigningKey),
        now: Time,
    ) -> Result<Epoch, NotChanged> {
        let Some(latest) = self.epochs.values().next_back() else { return Err(NotChanged::Pending(now)) };
        if latest.generation > 0 && latest.from > now {
            return Err(NotChanged::Pending(latest.from));
        }
        let votes = |name: &String| latest.watchers.contains(name);
        let mut watchers = latest.watchers.clone();
        match change {
            Change::Join(name) if !known(name) => return Err(NotChanged::Unknown(name.clone())),
            Change::Join(name) if votes(name) => {
                return Err(NotChanged::Already { name: name.clone(), so: "votes" });
            }
            Change::Join(name) => watchers.push(name.clone()),
            Change::Drain(name) if !votes(name) && !known(name) => return Err(NotChanged::Unknown(name.clone())),
            Change::Drain(name) if !votes(name) => {
                return Err(NotChanged::Already { name: name.clone(), so: "does not vote" });
            }
            Change::Drain(name) if watchers.len() == 1 => return Err(NotChanged::Last(name.clone())),
            Change::Drain(name) => watchers.retain(|other| other != name),
        }
        let from = now.plus_millis(LEAD.as_millis() as i64);
        let generation = latest.generation.checked_add(1).ok_or(NotChanged::Exhausted(latest.generation))?;
        Ok(Epoch::sign(generation, from, watchers, me, key))
    }
}

/// Whether what began at `from` is settled.
pub fn is_settled(from: Time, now: Time) -> bool {
    from < now.plus_millis(-(SETTLED.as_millis() as i64))
}

#[cfg(test)]
mod tests;
