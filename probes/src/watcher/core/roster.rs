//! What a change of the roster does to a watcher: who votes, and whose turn it is.

use std::collections::BTreeMap;

use aggregator::event::Time;

use super::{Action, Core, turn};
use crate::keys::{PublicKey, SigningKey};
use crate::roster::{Change, Epoch, NotChanged, NotTaken, is_settled};
use crate::watcher::service;

/// What has watched for long hears of what began long ago from a watcher that was cut off, or from one that lies.
const TOO_LATE: &str = "began more than a week ago, and this watcher has not heard of it since; if it is right, \
                        restart this watcher, and it takes it";

impl Core {
    /// Signs the epoch in which another watcher votes, or one fewer.
    ///
    /// # Errors
    /// See [`NotChanged`].
    pub fn enrol(&self, change: &Change, key: &SigningKey, now: Time) -> Result<Epoch, NotChanged> {
        let known = |name: &str| self.config.watch.watcher.iter().any(|watcher| watcher.name == name);
        let epoch = self.roster.change(change, known, (self.name(), key), now)?;
        if let Change::Drain(name) = change {
            let left: Vec<&String> = epoch.watchers.iter().filter(|voter| self.watcher(voter).is_some()).collect();
            let mut targets = self.config.target.iter().filter(|target| target.assigns(name));
            if let Some(target) = targets.find(|target| !left.iter().any(|voter| target.assigns(voter))) {
                return Err(NotChanged::LastOfTarget { name: name.clone(), target: target.name.clone() });
            }
        }
        Ok(epoch)
    }

    /// Says aloud which services nobody votes on by the latest epoch.
    pub fn tell_unwatched(&self) {
        for service in self.services.iter().filter(|service| service.term(Time(i64::MAX)).watchers() == 0) {
            tracing::error!(
                "no watcher votes on service \"{}\" of target \"{}\", and no outage of it pages: let one of the target's watchers join, or name another that votes",
                service.name,
                service.target
            );
        }
    }

    /// Epochs that were heard of, or signed here.
    pub fn learn(&mut self, epochs: Vec<Epoch>, keys: &BTreeMap<String, PublicKey>, now: Time) -> Vec<Action> {
        let mut actions = Vec::new();
        for epoch in epochs {
            let generation = epoch.generation;
            let is_new = self.roster.epochs().all(|known| known.generation != generation);
            let taken = match is_new && is_settled(epoch.from, now) && is_settled(self.started, now) {
                true => Err(NotTaken::Malformed { generation, what: TOO_LATE }),
                false => self.roster.take(epoch.clone(), keys, now),
            };
            match taken {
                Ok(true) => {
                    let (from, voters) = (epoch.from, epoch.watchers.join(", "));
                    tracing::info!(generation = epoch.generation, %from, by = %epoch.by, "these watchers vote: {voters}");
                    let stranger = epoch.watchers.iter().find(|name| !self.names.contains(name));
                    if let Some(stranger) = stranger {
                        tracing::error!(
                            "\"{stranger}\" is to vote, but the configuration here does not name it; add it and reload"
                        );
                    }
                    actions.push(Action::Enrol(epoch));
                }
                Ok(false) => {}
                Err(reason) => tracing::warn!("an epoch of the roster is not taken: {reason}"),
            }
        }
        if !actions.is_empty() {
            for index in 0..self.services.len() {
                let Some(target) = self.config.target(&self.services[index].target) else { continue };
                let terms = service::terms(target, &self.names, &self.roster);
                if self.services[index].set_terms(terms) {
                    self.judge_anew(index);
                }
            }
            self.tell_unwatched();
        }
        actions
    }

    /// Takes its turns by the epoch that has begun. What runs is finished; who has come to vote looks at once.
    pub(super) fn follow_roster(&mut self, now: Time) {
        let voters = self.roster.in_force(now).1;
        if voters == self.follows {
            return;
        }
        self.follows = voters.to_vec();
        (0..self.services.len()).for_each(|service| self.reviews.set(service, Some(now)));
        for (index, seat) in self.seats.iter_mut().enumerate() {
            let (target, term) = (&self.config.target[seat.target], self.services[seat.service].term(now));
            let check = &target.check[seat.check];
            let slots = turn(&target.name, &check.name, self.config.watch.interval(check.cadence), self.me, term);
            seat.assigned = term.votes(self.me);
            seat.turns.move_to(slots, now);
            self.turns.set(index, Some(now));
        }
    }
}
