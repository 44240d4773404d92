//! What has become of a service: what is told of it to ClickHouse and the history, and what to the responder.

use std::time::Duration;

use aggregator::event::{Time, VerdictRow, VerdictState};

use super::{Action, Core, SILENCE, UNCONFIRMED_AFTER};
use crate::judgement::{Change, Judgement};
use crate::uptime::Segment;
use crate::verdict::{End, Outage, Vote};
use crate::watcher::service::Service;

/// A clock that is set back by less than this leaves the rows of verdicts in their order.
const SET_BACK: Duration = Duration::from_secs(86_400);

impl Core {
    pub(super) fn judge(&mut self, index: usize, now: Time, actions: &mut Vec<Action>) {
        let service = &mut self.services[index];
        let (from, to) = (self.standing[index].announced.state, service.state(now));
        let mut untold = service.untold(now);
        if from != to && untold.is_empty() {
            // The clock was set back behind the last telling.
            let since = service.since(now);
            service.told.say(since, to);
            untold.push(Segment { from: since, to: now, state: to });
        }
        // What was told before a restart may have been lost on its way to the responder.
        let change = (from != to || !self.standing[index].told).then(|| self.change(index, from, to, now));
        let standing = &mut self.standing[index];
        standing.told = true;
        if from != to {
            let good = matches!(to, VerdictState::Up | VerdictState::Degraded | VerdictState::Regional);
            let resolved = standing.was_down && good;
            standing.announced.state = to;
            standing.announced.generation += u32::from(resolved);
            standing.was_down = to == VerdictState::Down || (standing.was_down && !good);
            standing.unconfirmed_told = false;
        }
        for (place, segment) in (1..).zip(&untold) {
            let at = self.tell_at(index, now);
            let stands = place == untold.len();
            let row = Box::new(VerdictRow { ts: at, ..self.row(index, segment, stands, now) });
            actions.push(if stands && from != to { Action::Announce(row) } else { Action::Amend(row) });
        }
        actions.extend(change.map(|change| Action::Tell(Judgement::Changed(Box::new(change)))));
        self.judge_alone(index, now, actions);
    }

    /// When the next row of a service is told: after the one before it, for that is how they are read, also where the
    /// clock has been set back since. A clock that was wrong by more than [`SET_BACK`] is not followed.
    fn tell_at(&mut self, index: usize, now: Time) -> Time {
        let last = &mut self.standing[index].announced.at;
        let next = Time(last.0.saturating_add(1));
        *last = if next <= now.plus_millis(SET_BACK.as_millis() as i64) { now.max(next) } else { now };
        *last
    }

    /// The row of what was in a segment, or of what stands.
    fn row(&self, index: usize, segment: &Segment, stands: bool, now: Time) -> VerdictRow {
        let service = &self.services[index];
        let then = |outage: &Outage| outage.first_bad <= segment.from && outage.to().is_none_or(|to| to > segment.from);
        let during = service.outages().rfind(then).filter(|_| segment.state == VerdictState::Down);
        let before = service.outages().next_back().filter(|_| stands);
        VerdictRow {
            target: service.target.clone(),
            service: service.name.clone(),
            state: segment.state,
            since: Some(segment.from),
            first_bad: during.map(|outage| outage.first_bad),
            last_good: during.or(before).and_then(|outage| outage.last_good),
            voters: if stands { self.voters(service, segment.state, now).join(",") } else { String::new() },
            generation: self.standing[index].announced.generation,
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
