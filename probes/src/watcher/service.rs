//! One service as a watcher sees it: its votes, swept again whenever one arrives late.
//!
//! Observations are dated from when their run began, and arrive when it has ended, or when a partition has. The sweep
//! therefore has a settled part, which is final, and a recent one, which is swept again with every vote. What is
//! older than the settled part is judged again from the history; so is everything after the clock was set back.

use std::time::Duration;

use aggregator::event::{Time, VerdictState};
use chrono_tz::Tz;

use crate::budget::{self, BURN_PERIODS, Budget, Figures};
use crate::config::{Config, Target};
use crate::exchange;
use crate::maintenance::{self, Plan};
use crate::objective::{self, Goal, Window};
use crate::roster::Roster;
use crate::status::{DayStatus, ObjectiveStatus, OutageStatus};
use crate::uptime::{self, Segment, Tally};
use crate::verdict::{Cast, End, Outage, Record, Rules, Sweep, Term, Terms};

use super::told::Told;

/// How late a vote may come and still be swept from memory.
pub const RECENT: Duration = Duration::from_secs(3_600);
/// How much of the past is shown; no window of an objective is longer.
pub const SHOWN_DAYS: i64 = objective::MAX_DAYS as i64;
/// Votes expire without anybody saying so; it is noticed this soon.
const SWEPT_EVERY_MS: u64 = 1_000;
/// Outages that are shown at most, the newest.
const SHOWN_OUTAGES: usize = 100;

/// What became of a vote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// It is among the recent ones.
    New,
    /// It was there already.
    Known,
    /// It is older than the settled part: the service must be judged again from the history.
    Late,
}

/// The votes of a service that a history has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Votes {
    /// The votes.
    pub casts: Vec<Cast>,
    /// From when on they are all: what is older may have been dropped.
    pub complete_from: Option<Time>,
}

/// The timeline of one service.
#[derive(Debug)]
pub struct Service {
    /// The mail system.
    pub target: String,
    /// Its name.
    pub name: String,
    /// What a person reads.
    pub title: String,
    /// Its checks, in configured order.
    pub checks: Vec<String>,
    /// Who may vote, and for how long.
    pub rules: Rules,
    terms: Terms,
    maintenance: Vec<Plan>,
    objectives: Vec<(Window, Goal)>,
    settled: Sweep,
    settled_until: Time,
    record: Record,
    recent: Vec<Cast>,
    now: Sweep,
    fresh: Record,
    first: Option<Time>,
    swept: Option<Time>,
    held: bool,
    /// What was told of it.
    pub told: Told,
    /// From here on what was swept last may still change: the begin of the recent part, or of an outage in it.
    open_from: Time,
}

/// What the days of a page are made of.
pub struct Shown {
    /// The days, oldest first.
    pub days: Vec<DayStatus>,
    /// The figures of all of them.
    pub tally: Tally,
    /// The outages in them, newest first.
    pub outages: Vec<OutageStatus>,
    /// What is left of the error budgets.
    pub objectives: Vec<ObjectiveStatus>,
}

impl Service {
    /// The services of a configuration, in the order in which their checks come first. `names` are the watchers that
    /// have a place, in the order of their places.
    pub fn all(config: &Config, names: &[String], roster: &Roster) -> Vec<Self> {
        let mut services: Vec<Self> = Vec::new();
        for target in &config.target {
            for check in &target.check {
                let known =
                    services.iter_mut().find(|known| known.target == target.name && known.name == check.service);
                if let Some(known) = known {
                    known.checks.push(check.name.clone());
                    continue;
                }
                let checks = target.check.iter().filter(|other| other.service == check.service).count();
                let rules = Rules { watchers: names.len(), checks, freshness: config.watch.freshness(check.cadence) };
                let terms = terms(target, names, roster);
                services.push(Self::new(target, &check.service, check.title(), &check.name, (rules, terms)));
            }
        }
        services
    }

    fn new(target: &Target, name: &str, title: &str, check: &str, (rules, terms): (Rules, Terms)) -> Self {
        let windows = target.maintenance.iter().filter(|window| window.covers(name));
        Self {
            target: target.name.clone(),
            name: name.to_owned(),
            title: title.to_owned(),
            checks: vec![check.to_owned()],
            rules,
            maintenance: windows.filter_map(|window| window.plan().ok()).collect(),
            objectives: objective::of_service(target, name),
            settled: Sweep::in_terms(rules, terms.clone()),
            settled_until: Time(i64::MIN),
            record: Record::default(),
            recent: Vec::new(),
            now: Sweep::in_terms(rules, terms.clone()),
            terms,
            fresh: Record::default(),
            first: None,
            swept: None,
            held: false,
            told: Told::default(),
            open_from: Time(i64::MIN),
        }
    }

    /// Who votes at an instant.
    pub fn term(&self, at: Time) -> Term {
        self.terms.at(at)
    }

    /// The roster has changed. True: for a time that is settled, so that the service must be judged again from the
    /// history.
    pub fn set_terms(&mut self, terms: Terms) -> bool {
        let differ = terms.differ_from(&self.terms);
        self.settled.set_terms(terms.clone());
        (self.terms, self.swept) = (terms, None);
        differ.is_some_and(|at| at <= self.settled.reached())
    }

    /// Where a check stands in the service.
    pub fn check(&self, name: &str) -> Option<usize> {
        self.checks.iter().position(|check| check == name)
    }

    /// Puts a vote in.
    pub fn put(&mut self, cast: Cast) -> Put {
        if cast.at < self.settled_until {
            return Put::Late;
        }
        match self.recent.binary_search(&cast) {
            Ok(_) => Put::Known,
            Err(place) => {
                self.recent.insert(place, cast);
                self.swept = None;
                self.first = Some(self.first.map_or(cast.at, |first| first.min(cast.at)));
                Put::New
            }
        }
    }

    /// Keeps the settled part where it is until [`restore`](Self::restore), while the history is being read. False
    /// when it is being read already.
    pub fn hold(&mut self) -> bool {
        !std::mem::replace(&mut self.held, true)
    }

    /// Lets the settled part go on: the history could not be asked.
    pub fn release(&mut self) {
        self.held = false;
    }

    /// Judges the service again from everything that the history has of it, but for votes that lie ahead of `now`.
    pub fn restore(&mut self, votes: Votes, now: Time) {
        let Votes { mut casts, complete_from } = votes;
        // A vote that has been dropped may have counted for so long.
        let freshness = i64::try_from(self.rules.freshness.as_micros()).unwrap_or(i64::MAX);
        self.told.judged_anew(complete_from.map_or(Time(i64::MIN), |from| Time(from.0.saturating_add(freshness))));
        let horizon = exchange::horizon(now);
        casts.retain(|cast| cast.at <= horizon);
        self.recent.retain(|cast| cast.at <= horizon);
        self.settled_until = self.settled_until.min(begin_of_recent(now));
        casts.sort_unstable();
        casts.dedup();
        let settled = casts.partition_point(|cast| cast.at < self.settled_until);
        (self.settled, self.record) = (Sweep::in_terms(self.rules, self.terms.clone()), Record::default());
        self.settled.run(&casts[..settled], &mut self.record);
        for cast in &casts[settled..] {
            self.put(*cast);
        }
        self.first = casts.first().or(self.recent.first()).map(|cast| cast.at);
        (self.held, self.swept) = (false, None);
    }

    /// Sweeps up to `now`, unless it has been done within the last second and nothing has changed since. True: the clock was set
    /// back, and the service must be judged again from the history; until then it stands as it stood.
    pub fn sweep(&mut self, now: Time) -> bool {
        if self.swept.is_some_and(|swept| now >= swept && now.millis_since(swept) < SWEPT_EVERY_MS)
            && !self.changes_by_itself(now)
        {
            return false;
        }
        self.swept = Some(now);
        let until = match self.held {
            true => self.settled_until,
            false => begin_of_recent(now).max(self.settled_until),
        };
        let (before, open_from) = (self.settled_until, self.open_from);
        let final_votes = self.recent.partition_point(|cast| cast.at < until);
        self.settled.run(&self.recent[..final_votes], &mut self.record);
        self.recent.drain(..final_votes);
        self.settled_until = until;
        (self.now, self.fresh) = (self.settled.clone(), Record::default());
        let made = self.recent.partition_point(|cast| cast.at <= now);
        self.now.run(&self.recent[..made], &mut self.fresh);
        self.now.advance(now, &mut self.fresh);
        let confirmed = |outage: &Outage| outage.end.map(End::at);
        let open = self.outages().rev().take_while(|outage| confirmed(outage).is_none_or(|at| at >= before));
        self.open_from = open.map(|outage| outage.first_bad).fold(before, Time::min);
        self.told.doubt(open_from.min(self.open_from));
        self.forget(now.plus_millis(-(SHOWN_DAYS + 2) * 86_400_000));
        !self.held && until > exchange::horizon(begin_of_recent(now))
    }

    /// Whether a vote has expired since the last sweep, or another term begun.
    fn changes_by_itself(&self, now: Time) -> bool {
        let Some(swept) = self.swept else { return true };
        let changes = [self.next_change(swept), self.terms.next(swept)];
        changes.into_iter().flatten().any(|at| at <= now)
    }

    /// When it may change without a new vote: an expiry, a vote that is dated ahead, maintenance that is near.
    pub fn next_change(&self, now: Time) -> Option<Time> {
        let ahead = self.recent.partition_point(|cast| cast.at <= now);
        let ahead = self.recent.get(ahead).map(|cast| cast.at);
        let near = now.plus_millis(2 * 60_000);
        let maintenance = self.maintenance.iter().flat_map(|plan| plan.windows(now, near));
        let edges = maintenance.flat_map(|(from, to)| [from, to]).filter(|at| *at > now);
        edges.chain(ahead).chain(self.now.next_expiry(now)).min()
    }

    /// Drops what is no longer shown.
    fn forget(&mut self, before: Time) {
        let steps = self.record.steps.partition_point(|(at, _)| *at < before);
        self.record.steps.drain(..steps.saturating_sub(1));
        let outages = self.record.outages.partition_point(|outage| outage.to().is_some_and(|to| to < before));
        self.record.outages.drain(..outages);
        self.told.forget(before);
    }

    /// What is to be told: the states from the first instant on that was told otherwise. From now on it has been told.
    pub fn untold(&mut self, now: Time) -> Vec<Segment> {
        let next = Time(now.0.saturating_add(1));
        let shown = self.shown_from(now);
        let compared = self.segments(self.told.begin(now).max(shown), next);
        let Some(from) = self.told.differs(&compared, now) else { return Vec::new() };
        let mut segments = self.segments(shown.max(self.told.floor()).min(from), next);
        segments.retain(|segment| segment.to > from);
        segments.iter().for_each(|segment| self.told.say(segment.from, segment.state));
        segments
    }

    /// From when on there is something to show: the first observation, [`SHOWN_DAYS`] back at most. Without any: now.
    fn shown_from(&self, now: Time) -> Time {
        now.plus_millis(-SHOWN_DAYS * 86_400_000).max(self.first.unwrap_or(now)).min(now)
    }

    /// The state at the time of the last sweep; announced maintenance goes before all.
    pub fn state(&self, now: Time) -> VerdictState {
        let next = Time(now.0.saturating_add(1));
        if self.maintenance.iter().any(|plan| !plan.windows(now, next).is_empty()) {
            return VerdictState::Maintenance;
        }
        self.now.state()
    }

    /// The outage that goes on.
    pub fn outage(&self) -> Option<Outage> {
        self.now.open()
    }

    /// The watchers whose fresh votes fail, or succeed.
    pub fn voters(&self, now: Time, bad: bool) -> Vec<usize> {
        self.now.voters(now, bad)
    }

    /// The outages that are known, oldest first.
    pub fn outages(&self) -> impl DoubleEndedIterator<Item = Outage> + '_ {
        self.record.outages.iter().chain(&self.fresh.outages).copied().chain(self.now.open())
    }

    /// `[from, now)` in states, with maintenance.
    pub fn segments(&self, from: Time, now: Time) -> Vec<Segment> {
        // What was over before says nothing of it.
        let steps = self.record.steps.partition_point(|(at, _)| *at <= from).saturating_sub(1);
        let steps = self.record.steps[steps..].iter().chain(&self.fresh.steps);
        let over = |outage: &Outage| outage.end.is_some_and(|end| end.at() < from);
        let ended = self.record.outages.partition_point(over);
        let ended = self.record.outages[ended..].iter().chain(&self.fresh.outages).copied();
        let outages: Vec<Outage> = ended.chain(self.now.open()).collect();
        let segments = uptime::label(steps, &outages, from, now);
        uptime::with_maintenance(&segments, &self.announced(from, now))
    }

    /// The announced maintenance that has a part in `[from, to)`.
    fn announced(&self, from: Time, to: Time) -> Vec<(Time, Time)> {
        self.maintenance.iter().flat_map(|plan| plan.windows(from, to)).collect()
    }

    /// What is left of each error budget; `segments` reach back for as long as the longest window.
    fn budgets(&self, segments: &[Segment], now: Time, zone: Tz) -> Vec<ObjectiveStatus> {
        let Some(first) = self.first.filter(|first| *first < now) else { return Vec::new() };
        let recent = BURN_PERIODS.map(|period| budget::recent(segments, period, now));
        let told = |(window, goal): &(Window, Goal)| {
            let span = window.at(now, first, zone);
            let budget = Budget::of(segments, &self.announced(now, span.to), span, *goal, now);
            let [burn_rate_1h, burn_rate_6h, burn_rate_3d] = recent.map(|recent| budget::burn_rate(&recent, *goal));
            ObjectiveStatus {
                objective: goal.as_percent(),
                window: *window,
                from: span.from,
                to: span.to,
                figures: Figures::from(&budget),
                burn_rate_1h,
                burn_rate_6h,
                burn_rate_3d,
                exhausted_at: budget.exhausted_at(segments, &recent[2], span, window.length(), now),
            }
        };
        self.objectives.iter().map(told).collect()
    }

    /// Since when the present state holds, within what is shown. Without any observation: since now.
    pub fn since(&self, now: Time) -> Time {
        let next = Time(now.0.saturating_add(1));
        self.segments(self.shown_from(now), next).last().map_or(now, |segment| segment.from)
    }

    /// The days that a page shows, of its time zone, from the first observation on.
    pub fn shown(&self, now: Time, zone: Tz) -> Shown {
        let midnight = |day: chrono::NaiveDate| maintenance::instant(day.and_time(chrono::NaiveTime::MIN), zone);
        let today = now.to_utc().with_timezone(&zone).date_naive();
        let oldest = today - chrono::Duration::days(SHOWN_DAYS - 1);
        let begin = midnight(oldest).map_or(now, Time::from).max(self.first.unwrap_or(now));
        // A rolling window of so many days may begin some hours before the first of the days.
        let earliest = begin.min(now.plus_millis(-SHOWN_DAYS * 86_400_000)).max(self.first.unwrap_or(now));
        let segments = self.segments(earliest, now);
        let (mut days, mut sum) = (Vec::new(), Tally::default());
        let first = begin.to_utc().with_timezone(&zone).date_naive();
        for day in first.iter_days().take_while(|day| *day <= today) {
            let (Some(from), Some(to)) = (midnight(day), day.succ_opt().and_then(midnight)) else { continue };
            let tally = Tally::of(uptime::clip(&segments, from.into(), to.into()));
            sum += tally;
            let seconds = |micros: i64| u64::try_from(micros / 1_000_000).unwrap_or(0);
            days.push(DayStatus {
                day: day.to_string(),
                up_s: seconds(tally.up),
                down_s: seconds(tally.down),
                unknown_s: seconds(tally.unknown),
                maintenance_s: seconds(tally.maintenance),
            });
        }
        let outages = self.outages().rev().filter(|outage| outage.to().is_none_or(|to| to > begin));
        let outages = outages.take(SHOWN_OUTAGES).map(|outage| OutageStatus {
            from: outage.first_bad,
            to: outage.to(),
            last_good: outage.last_good,
            last_bad: Some(outage.last_bad),
        });
        Shown { outages: outages.collect(), days, tally: sum, objectives: self.budgets(&segments, now, zone) }
    }
}

/// Who votes on a target: of those that the roster names, those that the target does.
pub fn terms(target: &Target, names: &[String], roster: &Roster) -> Terms {
    let place = |name: &String| names.iter().position(|other| other == name).filter(|_| target.assigns(name));
    Terms::new(roster.terms().into_iter().map(|(from, watchers)| Term::new(from, watchers.iter().filter_map(place))))
}

fn begin_of_recent(now: Time) -> Time {
    now.plus_millis(-(RECENT.as_millis() as i64))
}

#[cfg(test)]
mod tests;
