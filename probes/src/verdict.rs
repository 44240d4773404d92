//! The verdict of a service as a function of time: UPTIME.md, "Exact rules".
//!
//! [`Sweep`] goes over the votes in the order of their times and writes down a [`Record`]: the steps of S(t), and the
//! outages with the dates that the rules give them. It reads no clock: the caller says how far time has gone.
//!
//! Where the rules leave room: two observations of one watcher at the same instant count as the worse of them, so
//! that the order of arrival does not matter. A run of failures is broken by any observation that did not fail, a
//! non-vote too, and by nothing else. When neither successes nor failures have a quorum any more, the outage ends
//! there, as at an expiry. `degraded`, which a quorum says, goes before `regional`.

mod term;

use std::time::Duration;

use aggregator::event::{ProbeOutcome, Time, VerdictState};

pub use self::term::{MAX_SEATS, Term, Terms};

/// What an observation says, from best to worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Vote {
    /// `missed`, `vantage_fault`: nothing.
    None,
    /// `ok`.
    Good,
    /// `late`, `spam`, `duplicate`: it succeeded, but not as it should.
    Degraded,
    /// `failed`, `missing`.
    Bad,
}

impl Vote {
    /// The vote of an outcome.
    pub fn of(outcome: ProbeOutcome) -> Self {
        match outcome {
            ProbeOutcome::Ok => Self::Good,
            ProbeOutcome::Late | ProbeOutcome::Spam | ProbeOutcome::Duplicate => Self::Degraded,
            ProbeOutcome::Failed | ProbeOutcome::Missing => Self::Bad,
            ProbeOutcome::Missed | ProbeOutcome::VantageFault => Self::None,
        }
    }

    /// Whether it is a success.
    pub fn is_good(self) -> bool {
        matches!(self, Self::Good | Self::Degraded)
    }

    /// Whether a run of `self` goes on with `next`.
    pub fn continues(self, next: Self) -> bool {
        self == next || (self.is_good() && next.is_good())
    }
}

/// One observation as the verdict sees it. The order is that of a sweep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cast {
    /// The observation's `ts`.
    pub at: Time,
    /// The watcher: its place among the assigned ones.
    pub watcher: u16,
    /// The check: its place among those of the service.
    pub check: u16,
    /// What it says.
    pub vote: Vote,
}

/// Who may vote, and for how long. Which of the watchers are assigned is a matter of [`Terms`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// How many watchers have a place.
    pub watchers: usize,
    /// How many checks vote on the service. A watcher's vote is the worst of its fresh ones.
    pub checks: usize,
    /// Interval and grace: an observation counts while it is younger than this.
    pub freshness: Duration,
}

/// An outage with its dates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outage {
    /// Its begin: the earliest first failure of the failing voters' runs, not before the previous outage's end.
    pub first_bad: Time,
    /// The last success before it, of any assigned watcher.
    pub last_good: Option<Time>,
    /// When a quorum had failed.
    pub confirmed: Time,
    /// The last failure of it, up to its end.
    pub last_bad: Time,
    /// How it ended.
    pub end: Option<End>,
}

/// How an outage ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// A quorum succeeded.
    Good {
        /// Its end: the earliest first success of the succeeding voters' runs, not before the last failure.
        first_good: Time,
        /// When a quorum had succeeded.
        confirmed: Time,
    },
    /// Too few votes were left to say so any longer.
    Lost(Time),
}

impl End {
    /// When that was known: when a quorum had succeeded, or the votes were lost.
    pub fn at(self) -> Time {
        match self {
            Self::Good { confirmed: at, .. } | Self::Lost(at) => at,
        }
    }
}

impl Outage {
    /// When it ended.
    pub fn to(&self) -> Option<Time> {
        match self.end {
            Some(End::Good { first_good, .. }) => Some(first_good),
            Some(End::Lost(at)) => Some(at),
            None => None,
        }
    }
}

/// What a sweep writes down.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Record {
    /// The steps of S(t): from when on it has which value. Before the first it is unknown.
    pub steps: Vec<(Time, VerdictState)>,
    /// The outages that have ended, in order.
    pub outages: Vec<Outage>,
}

/// The last observation of one check from one watcher, and its run.
#[derive(Debug, Clone, Copy)]
struct Ballot {
    at: Time,
    vote: Vote,
    /// The first observation of the unbroken run.
    since: Time,
}

/// A watcher's vote at some instant.
#[derive(Debug, Clone, Copy)]
struct Voice {
    vote: Vote,
    since: Time,
}

/// How the votes stand.
#[derive(Debug, Default, Clone, Copy)]
struct Count {
    good: usize,
    degraded: usize,
    bad: usize,
    good_since: Option<Time>,
    bad_since: Option<Time>,
}

/// A sweep over the votes of one service, in the order of time. Small: cloning one is how a caller keeps a place to
/// come back to when an observation arrives late.
#[derive(Debug, Clone)]
pub struct Sweep {
    rules: Rules,
    terms: Terms,
    ballots: Vec<Option<Ballot>>,
    at: Time,
    state: VerdictState,
    open: Option<Outage>,
    previous_end: Time,
    last_bad: Option<Time>,
    /// Successes that the begin of a coming outage may have to be told from, oldest first.
    goods: Vec<Time>,
}

impl Sweep {
    /// A sweep that has seen nothing, of a service to which every watcher is assigned, always.
    pub fn new(rules: Rules) -> Self {
        Self::in_terms(rules, Terms::all(rules.watchers))
    }

    /// A sweep that has seen nothing.
    pub fn in_terms(rules: Rules, terms: Terms) -> Self {
        Self {
            rules,
            terms,
            ballots: vec![None; rules.watchers * rules.checks],
            at: Time(i64::MIN),
            state: VerdictState::Unknown,
            open: None,
            previous_end: Time(i64::MIN),
            last_bad: None,
            goods: Vec::new(),
        }
    }

    /// Other terms from now on. They must say the same as before up to the instant that the sweep has come to.
    pub fn set_terms(&mut self, terms: Terms) {
        self.terms = terms;
    }

    /// The last instant at which S was evaluated.
    pub fn reached(&self) -> Time {
        self.at
    }

    /// S at the last instant that the sweep has come to.
    pub fn state(&self) -> VerdictState {
        self.state
    }

    /// The outage that goes on.
    pub fn open(&self) -> Option<Outage> {
        self.open.map(|outage| Outage { last_bad: self.last_bad.unwrap_or(outage.last_bad), ..outage })
    }

    /// Goes over `casts`, which must be in order and not before what the sweep has seen.
    pub fn run(&mut self, casts: &[Cast], record: &mut Record) {
        for instant in casts.chunk_by(|a, b| a.at == b.at) {
            let at = instant[0].at;
            self.expire(at, record);
            for (index, cast) in instant.iter().enumerate() {
                // Casts are ordered by severity last: of one seat's, the worst stands.
                let shadowed = instant.get(index + 1).is_some_and(|next| next.seat() == cast.seat());
                if !shadowed {
                    self.put(cast);
                }
            }
            self.evaluate(at, record);
        }
        self.forget();
    }

    /// Lets time go on to `now`: votes that have expired by then no longer count.
    pub fn advance(&mut self, now: Time, record: &mut Record) {
        self.expire(Time(now.0.saturating_add(1)), record);
    }

    /// The watchers whose fresh vote at `at` is a failure, or a success.
    pub fn voters(&self, at: Time, bad: bool) -> Vec<usize> {
        let term = self.terms.at(at);
        (0..self.rules.watchers)
            .filter(|watcher| term.votes(*watcher))
            .filter(|watcher| match self.voice(*watcher, at) {
                Some(voice) if bad => voice.vote == Vote::Bad,
                Some(voice) => voice.vote.is_good(),
                None => false,
            })
            .collect()
    }

    /// When the next vote expires, after `now`.
    pub fn next_expiry(&self, now: Time) -> Option<Time> {
        let ballots = self.ballots.iter().flatten().filter(|ballot| ballot.vote != Vote::None);
        ballots.map(|ballot| self.expiry(ballot)).filter(|at| *at > now).min()
    }

    /// Evaluates at every expiry and every begin of a term before `before`.
    fn expire(&mut self, before: Time, record: &mut Record) {
        let next = |sweep: &Self| {
            let expiries = sweep.ballots.iter().flatten().filter(|ballot| ballot.vote != Vote::None);
            let changes = expiries.map(|ballot| sweep.expiry(ballot)).chain(sweep.terms.next(sweep.at));
            changes.filter(|at| *at > sweep.at && *at < before).min()
        };
        while let Some(at) = next(self) {
            self.evaluate(at, record);
        }
    }

    fn expiry(&self, ballot: &Ballot) -> Time {
        let freshness = i64::try_from(self.rules.freshness.as_micros()).unwrap_or(i64::MAX);
        Time(ballot.at.0.saturating_add(freshness))
    }

    fn put(&mut self, cast: &Cast) {
        let seat = usize::from(cast.watcher) * self.rules.checks + usize::from(cast.check);
        let Some(place) = self.ballots.get_mut(seat) else { return };
        let since = match place {
            Some(ballot) if ballot.vote.continues(cast.vote) => ballot.since,
            _ => cast.at,
        };
        *place = Some(Ballot { at: cast.at, vote: cast.vote, since });
        if !self.terms.at(cast.at).votes(usize::from(cast.watcher)) {
            // It is kept for the term in which it may come to vote, and bounds no outage of this one.
        } else if cast.vote == Vote::Bad {
            self.last_bad = Some(cast.at);
        } else if cast.vote.is_good() && self.goods.last() != Some(&cast.at) {
            self.goods.push(cast.at);
        }
    }

    /// A watcher's vote: the worst of its fresh ones. It has failed since the first of those that fail did, and it
    /// has succeeded since the last of them did.
    fn voice(&self, watcher: usize, at: Time) -> Option<Voice> {
        let seats = watcher * self.rules.checks..(watcher + 1) * self.rules.checks;
        let fresh = |ballot: &&Ballot| ballot.vote != Vote::None && self.expiry(ballot) > at;
        self.ballots[seats]
            .iter()
            .flatten()
            .filter(fresh)
            .map(|ballot| Voice { vote: ballot.vote, since: ballot.since })
            .reduce(|a, b| {
                let vote = a.vote.max(b.vote);
                let since = match (a.vote == Vote::Bad, b.vote == Vote::Bad) {
                    (true, true) => a.since.min(b.since),
                    (true, false) => a.since,
                    (false, true) => b.since,
                    (false, false) => a.since.max(b.since),
                };
                Voice { vote, since }
            })
    }

    fn count(&self, at: Time) -> Count {
        let earliest = |a: Option<Time>, b: Time| Some(a.map_or(b, |a| a.min(b)));
        let (mut count, term) = (Count::default(), self.terms.at(at));
        let voters = (0..self.rules.watchers).filter(|watcher| term.votes(*watcher));
        for voice in voters.filter_map(|watcher| self.voice(watcher, at)) {
            if voice.vote == Vote::Bad {
                count.bad += 1;
                count.bad_since = earliest(count.bad_since, voice.since);
            } else if voice.vote.is_good() {
                count.good += 1;
                count.degraded += usize::from(voice.vote == Vote::Degraded);
                count.good_since = earliest(count.good_since, voice.since);
            }
        }
        count
    }

    fn evaluate(&mut self, at: Time, record: &mut Record) {
        let (count, quorum) = (self.count(at), self.terms.at(at).quorum());
        let state = if count.bad >= quorum {
            VerdictState::Down
        } else if count.good < quorum {
            VerdictState::Unknown
        } else if count.degraded >= quorum {
            VerdictState::Degraded
        } else if count.bad > 0 {
            VerdictState::Regional
        } else {
            VerdictState::Up
        };
        self.at = at;
        if state == self.state {
            return;
        }
        if state == VerdictState::Down {
            let first_bad = count.bad_since.unwrap_or(at).max(self.previous_end);
            let before = self.goods.partition_point(|good| *good < first_bad);
            let last_good = before.checked_sub(1).map(|index| self.goods[index]);
            let last_bad = self.last_bad.unwrap_or(at);
            self.open = Some(Outage { first_bad, last_good, confirmed: at, last_bad, end: None });
        } else if let Some(mut outage) = self.open() {
            let end = if count.good >= quorum {
                let first_good = count.good_since.unwrap_or(at).max(outage.last_bad);
                self.previous_end = first_good;
                End::Good { first_good, confirmed: at }
            } else {
                self.previous_end = at;
                End::Lost(at)
            };
            outage.end = Some(end);
            record.outages.push(outage);
            self.open = None;
        }
        self.state = state;
        record.steps.push((at, state));
    }

    /// Drops the successes that no coming outage can begin after: the next one begins not before the first failure
    /// of a run that goes on, nor before the end of the last one.
    fn forget(&mut self) {
        let runs = self.ballots.iter().flatten().filter(|ballot| ballot.vote == Vote::Bad);
        let begin = match self.open {
            Some(_) => self.previous_end,
            None => runs.map(|ballot| ballot.since.max(self.previous_end)).min().unwrap_or(self.at),
        };
        let before = self.goods.partition_point(|good| *good < begin);
        self.goods.drain(..before.saturating_sub(1));
    }
}

impl Cast {
    fn seat(&self) -> (u16, u16) {
        (self.watcher, self.check)
    }
}

#[cfg(test)]
mod tests;
