//! What happens as time goes on: what is to be run, what has changed. Only what is due is looked at, so that a watcher
//! with ten thousand checks does as little at an instant as one with ten.

use aggregator::event::{ProbeOutcome, Time, VerdictState};

use super::{Action, Core, SUSPICION, Seat};
use crate::observation::Observation;
use crate::schedule::{Class, Due};
use crate::verdict::Vote;

/// A service of which nothing is known to change is looked at this often.
const REVIEW_MS: i64 = 60_000;
/// While something may change by itself (maintenance, a lone failure), it is looked at this often.
const CLOSE_REVIEW_MS: i64 = 1_000;

impl Core {
    /// Lets time go on to `now`: what is to be run, what has changed.
    pub fn tick(&mut self, now: Time) -> Vec<Action> {
        let mut actions = Vec::new();
        if now < self.last {
            self.set_back(now);
        }
        self.last = now;
        self.follow_roster(now);
        for service in self.reviews.take_due(now) {
            self.review(service, now, &mut actions);
        }
        let services = &mut self.services;
        self.late.retain(|service| {
            let begins = services[*service].hold();
            if begins {
                actions.push(Action::Restore(*service));
            }
            !begins
        });
        for seat in self.turns.take_due(now) {
            let Seat { turns, assigned, .. } = &mut self.seats[seat];
            let pending = if *assigned { turns.pending(now) } else { turns.pending_look(now) };
            match pending {
                Some((class, since)) => {
                    let again = assigned.then(|| turns.more_urgent_at(now));
                    self.gate.ask(seat, class, since);
                    self.turns.set(seat, again);
                }
                None => {
                    self.gate.withdraw(seat);
                    self.turns.set(seat, self.wake_of(seat, now));
                }
            }
        }
        while let Some(seat) = self.gate.admit() {
            self.begin(seat, now, &mut actions);
        }
        actions
    }

    /// The clock was set back: nothing that has been may lie ahead of it, and everything is due.
    fn set_back(&mut self, now: Time) {
        self.started = self.started.min(now);
        self.contact.iter_mut().flatten().for_each(|contact| *contact = now.min(*contact));
        (0..self.services.len()).for_each(|service| self.reviews.set(service, Some(now)));
        (0..self.seats.len()).for_each(|seat| self.turns.set(seat, Some(now)));
    }

    fn review(&mut self, service: usize, now: Time, actions: &mut Vec<Action>) {
        if self.services[service].sweep(now) {
            self.judge_anew(service);
        }
        self.judge(service, now, actions);
        for place in 0..self.of_service[service].len() {
            self.watch_closely(self.of_service[service][place], now);
        }
        let next = match self.lone_failure_stands(service, now) {
            true => now.plus_millis(CLOSE_REVIEW_MS),
            false => now.plus_millis(REVIEW_MS),
        };
        let next = self.services[service].next_change(now).map_or(next, |change| change.min(next));
        self.reviews.set(service, Some(next.max(Time(now.0 + 1))));
    }

    /// Whether a failure that only this watcher has seen may still have to be told.
    fn lone_failure_stands(&self, service: usize, now: Time) -> bool {
        let bad = |last: &super::Last| Vote::of(last.seen.outcome) == Vote::Bad;
        let clear = matches!(self.services[service].state(now), VerdictState::Down | VerdictState::Maintenance);
        self.services[service].term(now).watchers() > 1
            && !clear
            && self.of_service[service].iter().any(|seat| self.seats[*seat].last[self.me].as_ref().is_some_and(bad))
    }

    /// The gate has let a seat in.
    fn begin(&mut self, seat: usize, now: Time, actions: &mut Vec<Action>) {
        if !self.seats[seat].assigned {
            // Only what was asked for by name is run; it does not vote.
            match self.seats[seat].turns.look_due(now) {
                true => actions.push(Action::Probe { seat, slot: None }),
                false => self.gate.leave(seat),
            }
            return self.turns.set(seat, self.wake_of(seat, now));
        }
        let (missed, due) = self.seats[seat].turns.due(now);
        for (slot, at) in missed {
            let seen = self.missed(seat, slot, at);
            actions.extend(self.hear(seen, now));
        }
        match due {
            Some(Due::Slot(slot)) => actions.push(Action::Probe { seat, slot: Some(slot) }),
            Some(Due::Look) => actions.push(Action::Probe { seat, slot: None }),
            None => self.gate.leave(seat),
        }
        self.watch_closely(seat, now);
        self.turns.set(seat, self.wake_of(seat, now));
    }

    /// When a seat that is not due at `now` is to be looked at: a look that is left to the slot waits for it. One that is
    /// not assigned has no slots.
    pub(super) fn wake_of(&self, seat: usize, now: Time) -> Option<Time> {
        let Seat { turns, assigned, .. } = &self.seats[seat];
        if !assigned {
            return turns.look_at();
        }
        turns.wake().map(|at| if at > now { at } else { turns.next_slot() })
    }

    /// A service that is down or suspected is looked at often, so that the verdict and the recovery come soon.
    fn watch_closely(&mut self, seat: usize, now: Time) {
        let service = &self.services[self.seats[seat].service];
        let (rules, is_down) = (service.rules, service.outage().is_some());
        let place = &mut self.seats[seat];
        let suspected = place.last.iter().flatten().any(|last| {
            Vote::of(last.seen.outcome) == Vote::Bad
                && now.millis_since(last.seen.ts) < rules.freshness.as_millis() as u64
                && now.millis_since(last.since) < SUSPICION.as_millis() as u64
        });
        if !place.assigned || (!suspected && !is_down) {
            return;
        }
        let class = if is_down { Class::Recheck } else { Class::Confirm };
        if let Some(started) = place.turns.started() {
            place.turns.look(started.plus_millis(place.recheck.as_millis() as i64), class);
            if let Some(wake) = place.turns.wake() {
                self.turns.hasten(seat, wake);
            }
        }
    }

    pub(super) fn missed(&self, seat: usize, slot: i64, at: Time) -> Observation {
        let target = &self.config.target[self.seats[seat].target];
        let check = &target.check[self.seats[seat].check];
        Observation {
            ts: at,
            target: target.name.clone(),
            service: check.service.clone(),
            check: check.name.clone(),
            vantage: self.name().to_owned(),
            run_id: format!("missed-{}-{}-{}-{slot}", self.name(), target.name, check.name),
            slot: Some(slot),
            outcome: ProbeOutcome::Missed,
            steps: Vec::new(),
            total_ms: 0,
        }
    }

    /// When [`tick`](Self::tick) is next needed.
    pub fn wake(&self) -> Option<Time> {
        [self.turns.first(), self.reviews.first()].into_iter().flatten().min()
    }
}
