//! The order to restart a unit, the approvals that it carries, and how a node verifies them. Pure.

use std::collections::{BTreeMap, BTreeSet};

use aggregator::event::Time;
use serde::{Deserialize, Serialize};

use super::budget::{Budget, Restart, Spent};
use crate::signed::{Keys, NotValid, Purpose, Signed};

/// An order lives this long at most.
pub const MAX_LIFE_MS: i64 = 60_000;

/// What a node can be told to do. A closed set: there is no shell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verb {
    /// Stop the unit's process, by force if it must be, and start it again.
    Restart,
}

/// What watchers approve.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approval {
    /// The incident's key.
    pub incident: String,
    /// The mail system.
    pub target: String,
    /// Its service, which the signer sees down as well.
    pub service: String,
    /// The unit.
    pub unit: String,
    /// The hash of the evidence that was kept.
    pub evidence_hash: String,
}

/// An order to a node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// What to do.
    pub verb: Verb,
    /// To which unit.
    pub unit: String,
    /// On which host.
    pub host: String,
    /// The incident's key.
    pub incident: String,
    /// The hash of the evidence that was kept.
    pub evidence_hash: String,
    /// Never used twice.
    pub nonce: String,
    /// When it was given.
    pub issued_at: Time,
    /// After this it counts no more; [`MAX_LIFE_MS`] after `issued_at` at most.
    pub expires_at: Time,
    /// The incident's generation: an order of an older one, or a second one of the same, is refused.
    pub fence: u32,
    /// What a quorum of watchers signed.
    pub approvals: Vec<Signed>,
}

/// Why a node does not obey.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It is not signed by a watcher, or altered, or old.
    #[error("the order does not count: {0}")]
    NotValid(#[from] NotValid),
    /// It is for another host.
    #[error("the order is for the host \"{0}\"")]
    OtherHost(String),
    /// It has expired, or would live too long.
    #[error("the order is valid until {expires_at} only, and it is {now} here")]
    Expired {
        /// When it expired.
        expires_at: Time,
        /// The clock here.
        now: Time,
    },
    /// The unit is not on this host's own list.
    #[error("\"{0}\" is not in `allow_restart` of this host")]
    NotAllowed(String),
    /// Too few watchers agree.
    #[error("{have} of {need} watchers approved")]
    NoQuorum {
        /// How many approvals count.
        have: usize,
        /// How many are needed.
        need: usize,
    },
    /// The fence is not the generation of the incident that the approvals name.
    #[error("the fence {fence} is not the generation of the incident \"{incident}\" that was approved")]
    WrongFence {
        /// What the order says.
        fence: u32,
        /// What was approved.
        incident: String,
    },
    /// The nonce was used.
    #[error("this order was carried out before")]
    Replayed,
    /// An order of this incident, or of a later one, was carried out.
    #[error("a restart for generation {done} of this incident was carried out already")]
    StaleFence {
        /// The last generation that was carried out.
        done: u32,
    },
    /// Another restart is running: one unit at a time.
    #[error("another unit is being restarted")]
    Busy,
    /// The budget is spent.
    #[error(transparent)]
    Budget(#[from] Spent),
}

impl Refused {
    /// Its name in answers and events.
    pub fn name(&self) -> &'static str {
        match self {
            Self::NotValid(_) => "not_valid",
            Self::OtherHost(_) => "other_host",
            Self::Expired { .. } => "expired",
            Self::NotAllowed(_) => "not_allowed",
            Self::NoQuorum { .. } => "no_quorum",
            Self::WrongFence { .. } => "wrong_fence",
            Self::Replayed => "replayed",
            Self::StaleFence { .. } => "stale_fence",
            Self::Busy => "busy",
            Self::Budget(Spent::Unit { .. }) => "unit_budget",
            Self::Budget(Spent::Host { .. }) => "host_budget",
            Self::Budget(Spent::Pause { .. }) => "pause",
        }
    }
}

/// The rules of a host.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Its name.
    pub host: String,
    /// The units that may be restarted.
    pub allow: BTreeSet<String>,
    /// The watchers' keys.
    pub watchers: Keys,
    /// How many of them must agree.
    pub quorum: usize,
    /// How often.
    pub budget: Budget,
}

/// What a host remembers.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    /// Nonces of orders that were carried out.
    pub nonces: BTreeSet<String>,
    /// The last generation for each (incident base, unit).
    pub fences: BTreeMap<(String, String), u32>,
    /// The restarts of the last day.
    pub restarts: Vec<Restart>,
}

impl Order {
    /// The incident without its generation.
    pub fn incident_base(&self) -> &str {
        self.incident.rsplit_once('-').map_or(self.incident.as_str(), |(base, _)| base)
    }
}

impl Rules {
    /// The order in `signed`, if this host has to obey it now.
    ///
    /// # Errors
    /// The first reason against it.
    pub fn verify(&self, signed: &Signed, memory: &Memory, now: Time) -> Result<Order, Refused> {
        let order: Order = signed.open(Purpose::Order, &self.watchers, now)?;
        if order.host != self.host {
            return Err(Refused::OtherHost(order.host));
        }
        if now >= order.expires_at || order.expires_at > order.issued_at.plus_millis(MAX_LIFE_MS) {
            return Err(Refused::Expired { expires_at: order.expires_at, now });
        }
        if !self.allow.contains(&order.unit) {
            return Err(Refused::NotAllowed(order.unit));
        }
        let have = self.approvers(&order, now).len();
        if have < self.quorum {
            return Err(Refused::NoQuorum { have, need: self.quorum });
        }
        // The approvals are for the incident's key; whoever gives the order must not choose the fence himself.
        if order.incident != format!("{}-{}", order.incident_base(), order.fence) {
            return Err(Refused::WrongFence { fence: order.fence, incident: order.incident });
        }
        if memory.nonces.contains(&order.nonce) {
            return Err(Refused::Replayed);
        }
        let fence = (order.incident_base().to_owned(), order.unit.clone());
        if let Some(&done) = memory.fences.get(&fence)
            && order.fence <= done
        {
            return Err(Refused::StaleFence { done });
        }
        self.budget.allow(&memory.restarts, &order.unit, now)?;
        Ok(order)
    }

    /// The watchers whose approval of exactly this order counts, each once.
    fn approvers<'a>(&self, order: &'a Order, now: Time) -> BTreeSet<&'a str> {
        let counts = |signed: &&Signed| {
            let approval = signed.open::<Approval>(Purpose::Approval, &self.watchers, now);
            approval.is_ok_and(|approval| {
                approval.incident == order.incident
                    && approval.unit == order.unit
                    && approval.evidence_hash == order.evidence_hash
            })
        };
        order.approvals.iter().filter(counts).map(|signed| signed.from.as_str()).collect()
    }
}

#[cfg(test)]
mod tests;
