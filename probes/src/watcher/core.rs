//! What a watcher decides: when it looks, what it thinks, whom it tells. No socket, no disk, no clock.

mod judge;
mod report;
mod roster;
mod time;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use aggregator::event::{Time, VerdictRow, VerdictState};

use super::service::{Put, Service, Votes};
use crate::config::{Cadence, Config};
use crate::exchange;
use crate::history::Announced;
use crate::judgement::Judgement;
use crate::observation::Observation;
use crate::roster::{Epoch, Roster};
use crate::schedule::{Agenda, Class, Gate, Limits, Slots, Turns};
use crate::verdict::{Cast, MAX_SEATS, Term, Vote};

/// While a light check's service is down or suspected, it is looked at this often.
pub const LIGHT_RECHECK: Duration = Duration::from_secs(10);
/// For how long after a first failure a service that is not down is suspected.
pub const SUSPICION: Duration = Duration::from_secs(120);
/// A confirmation comes this long after the last look at the earliest.
const LEAST_GAP: Duration = Duration::from_secs(2);
/// Confirmations of the watchers are this far apart, by rank, so that they do not knock all at once.
const RANK_JITTER: Duration = Duration::from_millis(200);
/// A failure that has been seen for this long pages when no other watcher can be reached.
pub const UNCONFIRMED_AFTER: Duration = Duration::from_secs(60);
/// A watcher that has not been heard of for this long cannot be reached.
pub const SILENCE: Duration = Duration::from_secs(30);

/// What the driver is to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Run a check.
    Probe {
        /// Its place among the seats.
        seat: usize,
        /// The slot that it belongs to.
        slot: Option<i64>,
    },
    /// Keep an observation; if it is this watcher's, tell the others.
    Keep(Observation),
    /// Keep a change of verdict.
    Announce(Box<VerdictRow>),
    /// Keep what a verdict was at some time, otherwise than it was told.
    Amend(Box<VerdictRow>),
    /// Tell the responder.
    Tell(Judgement),
    /// Judge this service again from the history: something old has come.
    Restore(usize),
    /// Keep an epoch of the roster, and tell the others.
    Enrol(Epoch),
}

/// One check of this watcher.
#[derive(Debug)]
pub struct Seat {
    /// The target's place in the configuration.
    pub target: usize,
    /// The check's place in the target.
    pub check: usize,
    service: usize,
    place: usize,
    turns: Turns,
    /// Whether this watcher is assigned to the target now, so that the check has turns.
    assigned: bool,
    recheck: Duration,
    /// The last observation of each watcher.
    last: Vec<Option<Last>>,
}

#[derive(Debug)]
struct Last {
    seen: Observation,
    /// The first of the unbroken run that it belongs to, as far as this process knows.
    since: Time,
}

#[derive(Debug, Clone, Copy)]
struct Standing {
    announced: Announced,
    /// Whether the last clear state was down: then the next success resolves an incident.
    was_down: bool,
    unconfirmed_told: bool,
    /// Whether the responder has been told of it since the start.
    told: bool,
}

/// The state of a watcher.
#[derive(Debug)]
pub struct Core {
    config: Arc<Config>,
    me: usize,
    /// Who has a place: the watchers of the configuration in their order, and those that have voted before.
    names: Vec<String>,
    roster: Roster,
    /// The watchers among whom the turns are taken.
    follows: Vec<String>,
    started: Time,
    /// Its checks.
    pub seats: Vec<Seat>,
    /// What they are about.
    pub services: Vec<Service>,
    standing: Vec<Standing>,
    contact: Vec<Option<Time>>,
    late: Vec<usize>,
    /// Where a check's seat is, by target and name.
    places: BTreeMap<String, BTreeMap<String, usize>>,
    /// The seats of each service, and of each target.
    of_service: Vec<Vec<usize>>,
    of_target: Vec<Vec<usize>>,
    /// When each seat, and each service, is to be looked at.
    turns: Agenda,
    reviews: Agenda,
    gate: Gate,
    /// The last instant that it was told.
    last: Time,
}

impl Core {
    /// A watcher that begins at `now`. `roster`, `last_slot` and `announced` are what its history says.
    pub fn new(
        config: Arc<Config>,
        me: usize,
        roster: Roster,
        now: Time,
        last_slot: impl Fn(&str, &str) -> Option<i64>,
        announced: impl Fn(&Service) -> Option<Announced>,
    ) -> Self {
        let names = places(&config, &roster);
        let services = Service::all(&config, &names, &roster);
        let watchers = names.len();
        let (mut seats, mut places) = (Vec::new(), BTreeMap::<String, BTreeMap<String, usize>>::new());
        let mut of_service = vec![Vec::new(); services.len()];
        let mut of_target = vec![Vec::new(); config.target.len()];
        let find: BTreeMap<(&str, &str), usize> =
            services.iter().enumerate().map(|(at, one)| ((one.target.as_str(), one.name.as_str()), at)).collect();
        for (target_index, target) in config.target.iter().enumerate() {
            for (check_index, check) in target.check.iter().enumerate() {
                let Some(&service) = find.get(&(target.name.as_str(), check.service.as_str())) else { continue };
                places.entry(target.name.clone()).or_default().insert(check.name.clone(), seats.len());
                of_service[service].push(seats.len());
                of_target[target_index].push(seats.len());
                let interval = config.watch.interval(check.cadence);
                let term = services[service].term(now);
                let slots = turn(&target.name, &check.name, interval, me, term);
                let recheck = match check.cadence {
                    Cadence::Light => LIGHT_RECHECK.min(Duration::from_secs(config.watch.confirm_s)),
                    Cadence::Audit => Duration::from_secs(config.watch.confirm_s),
                };
                seats.push(Seat {
                    target: target_index,
                    check: check_index,
                    service,
                    place: services[service].check(&check.name).unwrap_or(0),
                    turns: Turns::new(slots, last_slot(&target.name, &check.name), now),
                    assigned: term.votes(me),
                    recheck: recheck.min(interval),
                    last: (0..watchers).map(|_| None).collect(),
                });
            }
        }
        let nothing = Announced { state: VerdictState::Unknown, generation: 0, at: Time(i64::MIN) };
        let standing = services.iter().map(|service| {
            let announced = announced(service).unwrap_or(nothing);
            let was_down = announced.state == VerdictState::Down;
            Standing { announced, was_down, unconfirmed_told: false, told: false }
        });
        let standing = standing.collect();
        let follows = roster.in_force(now).1.to_vec();
        let targets = config.target.iter().map(|target| target.concurrency).collect();
        let limits = Limits { runs: config.watch.concurrency };
        Self {
            me,
            names,
            roster,
            follows,
            started: now,
            turns: Agenda::new(seats.len(), now),
            reviews: Agenda::new(services.len(), now),
            gate: Gate::new(limits, seats.iter().map(|seat| seat.target), targets),
            last: now,
            config,
            seats,
            services,
            standing,
            contact: vec![None; watchers],
            late: Vec::new(),
            places,
            of_service,
            of_target,
        }
    }

    /// Who has a place, in the order of places.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Who votes.
    pub fn roster(&self) -> &Roster {
        &self.roster
    }

    /// This watcher's name.
    pub fn name(&self) -> &str {
        &self.names[self.me]
    }

    /// The place of a watcher.
    pub fn watcher(&self, name: &str) -> Option<usize> {
        self.names.iter().position(|other| other == name)
    }

    /// Puts back what the history knows of the last observations, without judging.
    pub fn recall(&mut self, seen: Observation) {
        if let Some((seat, watcher)) = self.place(&seen) {
            let since = seen.ts;
            self.seats[seat].last[watcher] = Some(Last { seen, since });
        }
    }

    /// A seat's target and check, and the instant of one of its slots.
    pub fn place_of(&self, seat: usize, slot: Option<i64>) -> (usize, usize, Option<Time>) {
        let seat = &self.seats[seat];
        (seat.target, seat.check, slot.map(|slot| seat.turns.slots().at(slot)))
    }

    /// The seat that an observation belongs to, and its watcher.
    fn place(&self, seen: &Observation) -> Option<(usize, usize)> {
        let watcher = self.watcher(&seen.vantage)?;
        let seat = *self.places.get(&seen.target)?.get(&seen.check)?;
        (self.services[self.seats[seat].service].name == seen.service).then_some((seat, watcher))
    }

    /// The service that an observation votes on, and its vote.
    pub fn cast(&self, seen: &Observation) -> Option<(usize, Cast)> {
        let (seat, watcher) = self.place(seen)?;
        let Seat { service, place, .. } = self.seats[seat];
        let vote = Vote::of(seen.outcome);
        Some((service, Cast { at: seen.ts, watcher: watcher as u16, check: place as u16, vote }))
    }

    /// The peer has been heard of, or has acknowledged something.
    pub fn contact(&mut self, watcher: usize, now: Time) {
        self.contact[watcher] = Some(now);
    }

    /// The seats of a target's checks, for a look at all of it now.
    pub fn look(&mut self, target: &str, now: Time) -> Vec<usize> {
        let Some(target) = self.config.target.iter().position(|known| known.name == target) else { return Vec::new() };
        let seats = self.of_target[target].clone();
        for &seat in &seats {
            self.seats[seat].turns.look(now, Class::Confirm);
            self.turns.hasten(seat, now);
        }
        seats
    }

    /// This watcher's own run has ended.
    pub fn finish(&mut self, seat: usize, seen: Observation, now: Time) -> Vec<Action> {
        self.seats[seat].turns.finish(now);
        self.gate.leave(seat);
        // A look that was asked for while it ran may be due.
        self.turns.set(seat, Some(now));
        self.hear(seen, now)
    }

    /// The votes of a service have been read from the history, or could not be: then they are as they were.
    pub fn restore(&mut self, service: usize, votes: Option<Votes>, now: Time) {
        match votes {
            Some(votes) => self.services[service].restore(votes, now),
            None => self.services[service].release(),
        }
        self.reviews.set(service, Some(now));
    }

    /// An observation, this watcher's own or a peer's. One that is known changes nothing; one that belongs to no
    /// check of the configuration is dropped.
    pub fn hear(&mut self, seen: Observation, now: Time) -> Vec<Action> {
        let Some((seat, watcher)) = self.place(&seen) else { return Vec::new() };
        let Some((service, cast)) = self.cast(&seen) else { return Vec::new() };
        let vote = cast.vote;
        match self.services[service].put(cast) {
            Put::Known => return Vec::new(),
            Put::Late => {
                self.judge_anew(service);
                return vec![Action::Keep(seen)];
            }
            Put::New => {}
        }
        self.reviews.set(service, Some(self.last.min(now)));
        let mut actions = vec![Action::Keep(seen.clone())];
        // What lies ahead was dated by a clock that has been set back since.
        let old = self.seats[seat].last[watcher].as_ref().filter(|old| old.seen.ts <= exchange::horizon(now));
        if old.is_none_or(|old| old.seen.ts <= seen.ts) {
            let since = old.filter(|old| Vote::of(old.seen.outcome).continues(vote)).map(|old| old.since);
            let turned = match old {
                Some(_) => since.is_none() && vote != Vote::None,
                None => vote == Vote::Bad,
            };
            let since = since.unwrap_or(seen.ts);
            if turned && watcher != self.me && self.seats[seat].assigned {
                self.confirm(seat, seen.ts, now);
            }
            let quiet = matches!(self.services[service].state(now), VerdictState::Down | VerdictState::Maintenance);
            if turned && watcher == self.me && vote == Vote::Bad && !quiet {
                actions.push(Action::Tell(Judgement::Suspected(Box::new(seen.clone()))));
            }
            self.seats[seat].last[watcher] = Some(Last { seen, since });
        }
        actions
    }

    /// The service is to be judged again from the history.
    fn judge_anew(&mut self, service: usize) {
        if !self.late.contains(&service) {
            self.late.push(service);
        }
        self.reviews.set(service, Some(self.last));
    }

    /// Another watcher has seen something new: look too, unless this one has looked since.
    fn confirm(&mut self, seat: usize, seen: Time, now: Time) {
        let turns = &mut self.seats[seat].turns;
        let rank = RANK_JITTER * self.me as u32 + turns.slots().spread(RANK_JITTER);
        match turns.started() {
            Some(started) if started > seen => {}
            started => {
                let soon = now.plus_millis(rank.as_millis() as i64);
                let at = started.map_or(soon, |at| soon.max(at.plus_millis(LEAST_GAP.as_millis() as i64)));
                turns.look(at, Class::Confirm);
                if let Some(wake) = turns.wake() {
                    self.turns.hasten(seat, wake);
                }
            }
        }
    }
}

/// The watchers of the configuration, and those that have voted before: their votes still count for that time.
fn places(config: &Config, roster: &Roster) -> Vec<String> {
    let mut names: Vec<String> = config.watch.watcher.iter().map(|watcher| watcher.name.clone()).collect();
    for (_, watchers) in roster.terms().into_iter().rev() {
        for name in watchers {
            if !names.contains(name) && names.len() < MAX_SEATS {
                names.push(name.clone());
            }
        }
    }
    names
}

/// The slots of a check at a watcher: its turn is its rank among those that are assigned.
fn turn(target: &str, check: &str, interval: Duration, me: usize, term: Term) -> Slots {
    let rank = (0..me).filter(|place| term.votes(*place)).count();
    Slots::new(target, check, interval, rank, term.watchers())
}

#[cfg(test)]
mod tests;
