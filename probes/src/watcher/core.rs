//! What a watcher decides: when it looks, what it thinks, whom it tells. No socket, no disk, no clock.

mod report;
mod roster;
mod time;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use aggregator::event::{Time, VerdictRow, VerdictState};

use super::service::{Put, Service};
use crate::config::{Cadence, Config};
use crate::exchange;
use crate::history::Announced;
use crate::judgement::{Change, Judgement};
use crate::observation::Observation;
use crate::roster::{Epoch, Roster};
use crate::schedule::{Agenda, Class, Gate, Limits, Slots, Turns};
use crate::verdict::{Cast, End, MAX_SEATS, Term, Vote};

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
    /// The date that was told for the begin or the end of an outage, while the state that began then stands.
    dated: Option<Time>,
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
        let nothing = Announced { state: VerdictState::Unknown, generation: 0 };
        let standing = services.iter().map(|service| {
            let announced = announced(service).unwrap_or(nothing);
            let was_down = announced.state == VerdictState::Down;
            Standing { announced, was_down, unconfirmed_told: false, told: false, dated: None }
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
    pub fn restore(&mut self, service: usize, casts: Option<Vec<Cast>>, now: Time) {
        match casts {
            Some(casts) => self.services[service].restore(casts, now),
            None => self.services[service].release(),
        }
        self.reviews.set(service, Some(now));
    }

    /// An observation, this watcher's own or a peer's. One that is known changes nothing; one that belongs to no
    /// check of the configuration is dropped.
    pub fn hear(&mut self, seen: Observation, now: Time) -> Vec<Action> {
        let Some((seat, watcher)) = self.place(&seen) else { return Vec::new() };
        let vote = Vote::of(seen.outcome);
        let service = self.seats[seat].service;
        let place = self.seats[seat].place;
        let cast = Cast { at: seen.ts, watcher: watcher as u16, check: place as u16, vote };
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

    fn judge(&mut self, index: usize, now: Time, actions: &mut Vec<Action>) {
        let service = &self.services[index];
        let (from, to) = (self.standing[index].announced.state, service.state(now));
        if from == to && !self.standing[index].told {
            // What was told before the restart may have been lost on its way to the responder.
            self.standing[index].told = true;
            actions.push(Action::Tell(Judgement::Changed(Box::new(self.change(index, from, to, now)))));
        } else if from != to {
            let change = self.change(index, from, to, now);
            let standing = &mut self.standing[index];
            let good = matches!(to, VerdictState::Up | VerdictState::Degraded | VerdictState::Regional);
            let resolved = standing.was_down && good;
            standing.announced =
                Announced { state: to, generation: standing.announced.generation + u32::from(resolved) };
            standing.was_down = to == VerdictState::Down || (standing.was_down && !good);
            (standing.unconfirmed_told, standing.told) = (false, true);
            let since = match from {
                // A vote that came late may show that it succeeded for longer than the last step of S says.
                VerdictState::Unknown | VerdictState::Down | VerdictState::Maintenance if good => {
                    self.services[index].good_since(now)
                }
                // An outage may be older than the maintenance that covers it: there it is told as maintenance.
                VerdictState::Maintenance => self.services[index].since(now),
                _ => change.since,
            };
            let dated = to == VerdictState::Down || (from == VerdictState::Down && good);
            self.standing[index].dated = dated.then_some(since);
            let row = self.row(index, since, now);
            actions.push(Action::Announce(Box::new(row)));
            actions.push(Action::Tell(Judgement::Changed(Box::new(change))));
        } else {
            self.date_anew(index, now, actions);
        }
        self.judge_alone(index, now, actions);
    }

    /// A vote that came late may give an outage another begin or end: the figures of ClickHouse are told.
    fn date_anew(&mut self, index: usize, now: Time, actions: &mut Vec<Action>) {
        let Some(told) = self.standing[index].dated else { return };
        let service = &self.services[index];
        let date = match service.outage() {
            Some(outage) => Some(outage.first_bad),
            None => service.outages().next_back().and_then(|outage| outage.to()),
        };
        if let Some(date) = date.filter(|date| *date != told) {
            self.standing[index].dated = Some(date);
            actions.push(Action::Announce(Box::new(self.row(index, date, now))));
        }
    }

    /// The row of what stands.
    fn row(&self, index: usize, since: Time, now: Time) -> VerdictRow {
        let (service, announced) = (&self.services[index], self.standing[index].announced);
        let last = service.outage().or_else(|| service.outages().next_back());
        VerdictRow {
            ts: now,
            target: service.target.clone(),
            service: service.name.clone(),
            state: announced.state,
            since: Some(since),
            first_bad: service.outage().map(|outage| outage.first_bad),
            last_good: last.and_then(|outage| outage.last_good),
            voters: self.voters(service, announced.state, now).join(","),
            generation: announced.generation,
            ..VerdictRow::default()
        }
    }

    /// One watcher alone still pages, when it has seen a failure for a minute and can reach no other.
    fn judge_alone(&mut self, index: usize, now: Time, actions: &mut Vec<Action>) {
        let service = &self.services[index];
        let failing = self.of_service[index].iter().map(|seat| &self.seats[*seat]).filter_map(|seat| {
            let last = seat.last[self.me].as_ref().filter(|last| Vote::of(last.seen.outcome) == Vote::Bad)?;
            (now.millis_since(last.seen.ts) < service.rules.freshness.as_millis() as u64).then_some(last)
        });
        let Some(worst) = failing.min_by_key(|last| last.since) else {
            self.standing[index].unconfirmed_told = false;
            return;
        };
        let silence = SILENCE.as_millis() as u64;
        let term = service.term(now);
        let heard = |watcher: usize| self.contact[watcher].is_some_and(|at| now.millis_since(at) < silence);
        let alone = !(0..self.names.len()).any(|watcher| term.votes(watcher) && heard(watcher));
        let long = now.millis_since(worst.since.max(self.started)) >= UNCONFIRMED_AFTER.as_millis() as u64;
        let clear = matches!(service.state(now), VerdictState::Down | VerdictState::Maintenance);
        if term.votes(self.me)
            && term.watchers() > 1
            && alone
            && long
            && !clear
            && !self.standing[index].unconfirmed_told
        {
            actions.push(Action::Tell(Judgement::Unconfirmed(Box::new(worst.seen.clone()))));
            self.standing[index].unconfirmed_told = true;
        }
    }

    fn change(&self, index: usize, from: VerdictState, to: VerdictState, now: Time) -> Change {
        let service = &self.services[index];
        let ended = service.outages().next_back().filter(|outage| outage.end.is_some());
        let since = match (service.outage(), ended.and_then(|outage| outage.end)) {
            (Some(outage), _) if to == VerdictState::Down => outage.first_bad,
            (None, Some(End::Good { first_good, .. })) if from == VerdictState::Down => first_good,
            _ => service.since(now),
        };
        let outage = service.outage().or(ended);
        let target = self.of_service[index].first().map_or(&[][..], |seat| &self.of_target[self.seats[*seat].target]);
        let observations = target.iter().map(|seat| &self.seats[*seat]);
        Change {
            target: service.target.clone(),
            service: service.name.clone(),
            title: service.title.clone(),
            from,
            to,
            at: now,
            since,
            last_good: outage.and_then(|outage| outage.last_good),
            observations: observations
                .flat_map(|seat| seat.last.iter().flatten())
                .map(|last| last.seen.clone())
                .collect(),
            voters: self.voters(service, to, now),
            assigned: service.term(now).watchers(),
        }
    }

    fn voters(&self, service: &Service, state: VerdictState, now: Time) -> Vec<String> {
        let voters = match state {
            VerdictState::Unknown | VerdictState::Maintenance => Vec::new(),
            VerdictState::Down => service.voters(now, true),
            VerdictState::Up | VerdictState::Degraded | VerdictState::Regional => service.voters(now, false),
        };
        voters.into_iter().map(|voter| self.names[voter].clone()).collect()
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
