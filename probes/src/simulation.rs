//! Watchers in simulated time: the schedule, the confirmations, the gate and the verdicts are the real ones; targets,
//! the network between the watchers and the clock are numbers.
//!
//! **In**: a configuration, and a world that says what a look would see and how long it would take.
//! **Out**: every start of a run, and every change of a verdict, with its instant; what a watcher tells anew of the past.
//! **Must not know**: sockets, disks, clocks. A quarter of an hour of ten thousand checks takes seconds.

pub mod dice;
pub mod trial;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;
use std::time::Duration;

use aggregator::event::{ProbeOutcome, Time, VerdictRow};

use crate::config::Config;
use crate::observation::Observation;
use crate::roster::Roster;
use crate::verdict::Cast;
use crate::watcher::core::{Action, Core};
use crate::watcher::service::Votes;

/// What is watched, and the network between the watchers.
pub trait World {
    /// What a watcher's look at a check sees that begins at `now`, and how long it takes. Watchers, targets and
    /// checks are known by their places in the configuration.
    fn look(&mut self, watcher: usize, target: usize, check: usize, now: Time) -> (ProbeOutcome, Duration);

    /// How long an observation is on its way from one watcher to another; `None`: it does not arrive.
    fn transit(&mut self, _from: usize, _to: usize, _now: Time) -> Option<Duration> {
        Some(Duration::from_millis(100))
    }
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Happening {
    /// A run began: of a slot, and how late it was, or a look between the slots.
    Began {
        /// The watcher.
        watcher: usize,
        /// The target.
        target: usize,
        /// The check.
        check: usize,
        /// How long after its slot's instant; `None` for a look.
        lateness: Option<Duration>,
    },
    /// A slot was missed.
    Missed {
        /// The watcher.
        watcher: usize,
        /// Its slot.
        slot: i64,
    },
    /// A watcher's verdict of a service has changed.
    Verdict {
        /// The watcher.
        watcher: usize,
        /// The row that says so.
        row: Box<VerdictRow>,
    },
    /// A watcher has told anew what a service's verdict was at some time.
    Amended {
        /// The watcher.
        watcher: usize,
        /// The row that says so.
        row: Box<VerdictRow>,
    },
    /// A watcher knows of an observation, its own or another's.
    Known {
        /// The watcher.
        watcher: usize,
        /// What was seen.
        seen: Box<Observation>,
    },
}

enum Event {
    Ended { watcher: usize, seat: usize, seen: Box<Observation> },
    Arrived { to: usize, from: usize, seen: Box<Observation> },
}

/// The watchers of a configuration in simulated time.
pub struct Simulation<W> {
    /// What they watch.
    pub world: W,
    now: Time,
    config: Arc<Config>,
    cores: Vec<Core>,
    /// The votes that each watcher knows of, by service.
    votes: Vec<BTreeMap<usize, Vec<Cast>>>,
    order: BinaryHeap<Reverse<(Time, u64)>>,
    events: std::collections::HashMap<u64, Event>,
    number: u64,
}

impl<W: World> Simulation<W> {
    /// All watchers begin at `now`, with empty histories.
    pub fn new(config: Config, world: W, now: Time) -> Self {
        let config = Arc::new(config);
        let watchers = 0..config.watch.watcher.len();
        let roster = Roster::unsigned(&config, now);
        let cores =
            watchers.map(|me| Core::new(config.clone(), me, roster.clone(), now, |_, _| None, |_| None)).collect();
        let (order, events) = (BinaryHeap::new(), std::collections::HashMap::new());
        let votes = vec![BTreeMap::new(); config.watch.watcher.len()];
        Self { world, now, config, cores, votes, order, events, number: 0 }
    }

    /// What time it is.
    pub fn now(&self) -> Time {
        self.now
    }

    /// Lets time go on to `end`, and tells what happened.
    pub fn run(&mut self, end: Time, mut told: impl FnMut(Time, Happening)) {
        loop {
            for watcher in 0..self.cores.len() {
                let actions = self.cores[watcher].tick(self.now);
                self.perform(watcher, actions, &mut told);
            }
            let wakes = self.cores.iter().filter_map(Core::wake);
            let next = wakes.chain(self.order.peek().map(|Reverse((at, _))| *at)).min();
            let Some(next) = next.filter(|next| *next <= end) else { break };
            self.now = self.now.max(next);
            while let Some(&Reverse((at, number))) = self.order.peek()
                && at <= self.now
            {
                self.order.pop();
                if let Some(event) = self.events.remove(&number) {
                    self.happen(event, &mut told);
                }
            }
        }
        self.now = end;
    }

    fn happen(&mut self, event: Event, told: &mut impl FnMut(Time, Happening)) {
        match event {
            Event::Ended { watcher, seat, seen } => {
                let actions = self.cores[watcher].finish(seat, *seen, self.now);
                self.perform(watcher, actions, told);
            }
            Event::Arrived { to, from, seen } => {
                self.cores[to].contact(from, self.now);
                let actions = self.cores[to].hear(*seen, self.now);
                self.perform(to, actions, told);
            }
        }
    }

    fn later(&mut self, after: Duration, event: Event) {
        let at = Time(self.now.0.saturating_add(after.as_micros() as i64));
        self.order.push(Reverse((at, self.number)));
        self.events.insert(self.number, event);
        self.number += 1;
    }

    fn perform(&mut self, me: usize, actions: Vec<Action>, told: &mut impl FnMut(Time, Happening)) {
        for action in actions {
            match action {
                Action::Probe { seat, slot } => self.begin(me, seat, slot, told),
                Action::Keep(seen) => {
                    told(self.now, Happening::Known { watcher: me, seen: Box::new(seen.clone()) });
                    if let Some((service, cast)) = self.cores[me].cast(&seen) {
                        self.votes[me].entry(service).or_default().push(cast);
                    }
                    if seen.vantage != self.config.watch.watcher[me].name {
                        continue;
                    }
                    if let (ProbeOutcome::Missed, Some(slot)) = (seen.outcome, seen.slot) {
                        told(self.now, Happening::Missed { watcher: me, slot });
                    }
                    for peer in (0..self.cores.len()).filter(|peer| *peer != me) {
                        if let Some(transit) = self.world.transit(me, peer, self.now) {
                            let seen = Box::new(seen.clone());
                            self.later(transit, Event::Arrived { to: peer, from: me, seen });
                        }
                    }
                }
                Action::Announce(row) => {
                    told(self.now, Happening::Verdict { watcher: me, row });
                }
                Action::Amend(row) => {
                    told(self.now, Happening::Amended { watcher: me, row });
                }
                Action::Restore(index) => {
                    let casts = self.votes[me].get(&index).cloned().unwrap_or_default();
                    let votes = Votes { casts, complete_from: None };
                    self.cores[me].restore(index, Some(votes), self.now);
                }
                // Nobody joins and nobody is drained.
                Action::Tell(_) | Action::Enrol(_) => {}
            }
        }
    }

    fn begin(&mut self, me: usize, seat: usize, slot: Option<i64>, told: &mut impl FnMut(Time, Happening)) {
        let (target, check, at) = self.cores[me].place_of(seat, slot);
        let lateness = at.map(|at| Duration::from_micros(self.now.0.saturating_sub(at.0).unsigned_abs()));
        told(self.now, Happening::Began { watcher: me, target, check, lateness });
        let (outcome, took) = self.world.look(me, target, check, self.now);
        let probe = &self.config.target[target].check[check];
        let seen = Observation {
            ts: self.now,
            target: self.config.target[target].name.clone(),
            service: probe.service.clone(),
            check: probe.name.clone(),
            vantage: self.config.watch.watcher[me].name.clone(),
            run_id: self.number.to_string(),
            slot,
            outcome,
            steps: Vec::new(),
            total_ms: took.as_millis() as u32,
        };
        self.later(took, Event::Ended { watcher: me, seat, seen: Box::new(seen) });
    }
}

#[cfg(test)]
mod tests;
