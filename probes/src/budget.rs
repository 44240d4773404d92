//! Error budgets: what an objective allows of a window, what of it is spent, and how fast.
//!
//! The time that counts is the time that is known to have been up or down, and what of the window is still to come,
//! without announced maintenance. Its lossy part is the budget; time down spends it. Time that is unknown neither spends
//! the budget nor earns any: what is left lies between the bounds that follow when all of it had been down, or up, and
//! when less than 95 % of the time that has passed is known, no figure is told. So a window that has passed has a budget
//! left exactly when its availability reaches the objective (UPTIME rules; Google SRE workbook, "Implementing SLOs").
//!
//! Pure: `now` is an argument. Lengths of time are microseconds.

use std::fmt;

use aggregator::event::{Time, VerdictState};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::objective::{Goal, Span};
use crate::uptime::{self, Segment, Tally};

/// The periods that a burn rate is told of, in microseconds: 1 h, 6 h, 3 d.
pub const BURN_PERIODS: [i64; 3] = [3_600_000_000, 6 * 3_600_000_000, 3 * 86_400_000_000];

/// The budget of a window, and what has become of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// The objective.
    pub goal: Goal,
    /// U, D, X and M of what has passed of the window.
    pub passed: Tally,
    /// What is still to come of it, without announced maintenance.
    pub ahead: i64,
}

impl Budget {
    /// The budget of `span` at `now`. `segments` are the labelled time up to `now`, with maintenance; `maintenance` are
    /// the announced windows that have a part in what is to come.
    pub fn of(segments: &[Segment], maintenance: &[(Time, Time)], span: Span, goal: Goal, now: Time) -> Self {
        let passed = Tally::of(uptime::clip(segments, span.from, span.to.min(now)));
        let to_come = Segment { from: now.max(span.from), to: span.to, state: VerdictState::Up };
        let ahead = match to_come.from < to_come.to {
            true => Tally::of(uptime::with_maintenance(&[to_come], maintenance)).up,
            false => 0,
        };
        Self { goal, passed, ahead }
    }

    /// How much time the service may be down in all of the window.
    pub fn whole(&self) -> i64 {
        self.goal.budget(self.passed.up + self.passed.down + self.ahead)
    }

    /// How long it was down.
    pub fn spent(&self) -> i64 {
        self.passed.down
    }

    /// What is left, below 0 when more was spent than there was. `None`: not enough data.
    pub fn remaining(&self) -> Option<i64> {
        self.passed.is_covered().then(|| self.whole() - self.spent())
    }

    /// What is left at least and at most, whatever the unknown time was.
    pub fn bounds(&self) -> (i64, i64) {
        let Tally { up, down, unknown, .. } = self.passed;
        let whole = self.goal.budget(up + down + unknown + self.ahead);
        (whole - down - unknown, whole - down)
    }

    /// What is left in percent of the budget, rounded down to three decimals. `None`: not enough data, or no budget.
    pub fn remaining_percent(&self) -> Option<f64> {
        let thousandths = i128::from(self.remaining()?) * 100_000;
        match i128::from(self.whole()) {
            0 => None,
            whole => Some(thousandths.div_euclid(whole) as f64 / 1_000.0),
        }
    }

    /// When nothing is left, if it goes on as in `recent`: down for the same share of the time. What was spent early in
    /// a rolling window of this `length` comes back as it leaves the window. `None`: not within the window, or nothing is
    /// left already, or that cannot be told.
    pub fn exhausted_at(
        &self,
        segments: &[Segment],
        recent: &Tally,
        span: Span,
        length: Option<i64>,
        now: Time,
    ) -> Option<Time> {
        let left = self.remaining().filter(|left| *left > 0)?;
        if !recent.is_covered() || recent.down == 0 {
            return None;
        }
        // Everything in units of 1 / known microseconds, so that nothing is rounded on the way.
        let (rate, known) = (i128::from(recent.down), i128::from(recent.up + recent.down));
        let mut left = i128::from(left) * known;
        let mut at = now;
        let spent_by = |at: Time, left: i128, until: Time| {
            let gap = i128::from(until.0.saturating_sub(at.0));
            (left <= rate * gap)
                .then(|| Time(at.0.saturating_add(i64::try_from((left + rate - 1) / rate).unwrap_or(i64::MAX))))
        };
        let Some(length) = length else { return spent_by(at, left, span.to) };
        for down in uptime::clip(segments, span.from, now).filter(|segment| segment.state == VerdictState::Down) {
            let leaves = Time(down.from.0.saturating_add(length));
            if let Some(when) = spent_by(at, left, leaves) {
                return Some(when);
            }
            let back = i128::from(down.to.0 - down.from.0);
            left += (known - rate) * back - rate * i128::from(leaves.0 - at.0);
            at = Time(leaves.0.saturating_add(down.to.0 - down.from.0));
        }
        spent_by(at, left, Time(now.0.saturating_add(length)))
    }
}

/// The last `period` before `now`. What lies before the first of `segments` is unknown.
pub fn recent(segments: &[Segment], period: i64, now: Time) -> Tally {
    let mut tally = Tally::of(uptime::clip(segments, Time(now.0.saturating_sub(period)), now));
    let told = tally.up + tally.down + tally.unknown + tally.maintenance;
    tally.unknown += (period - told).max(0);
    tally
}

/// How many times faster than the objective allows the budget was spent in `recent`: at 1 it lasts exactly for the
/// window. Rounded up to three decimals. `None`: not enough data.
pub fn burn_rate(recent: &Tally, goal: Goal) -> Option<f64> {
    let known = i128::from(recent.up + recent.down);
    if known == 0 || !recent.is_covered() {
        return None;
    }
    let allowed = known * i128::from(goal.lossy());
    let thousandths = (i128::from(recent.down) * 100_000 * 1_000 + allowed - 1) / allowed;
    Some(thousandths as f64 / 1_000.0)
}

/// A budget as it is told: seconds, percent. [`None`] is `null`: not enough data.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// How much of the time that has passed is known, in percent; without maintenance.
    pub coverage: Option<f64>,
    /// Seconds of it that are unknown.
    pub unknown_s: Seconds,
    /// Seconds that the service may be down in all of the window.
    pub budget_s: Seconds,
    /// Seconds that it was down.
    pub spent_s: Seconds,
    /// Seconds that are left, below 0 when it is overspent.
    pub remaining_s: Option<Seconds>,
    /// The same in percent of the budget.
    pub remaining_percent: Option<f64>,
    /// What is left at least: all of the unknown time was down.
    pub remaining_lower_s: Seconds,
    /// What is left at most: all of it was up.
    pub remaining_upper_s: Seconds,
}

impl From<&Budget> for Figures {
    fn from(budget: &Budget) -> Self {
        let (lower, upper) = budget.bounds();
        Self {
            coverage: budget.passed.coverage(),
            unknown_s: Seconds(budget.passed.unknown),
            budget_s: Seconds(budget.whole()),
            spent_s: Seconds(budget.spent()),
            remaining_s: budget.remaining().map(Seconds),
            remaining_percent: budget.remaining_percent(),
            remaining_lower_s: Seconds(lower),
            remaining_upper_s: Seconds(upper),
        }
    }
}

/// A length of time in microseconds; JSON: seconds, without a fraction when they are whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seconds(pub i64);

impl Serialize for Seconds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0 % 1_000_000 == 0 {
            serializer.serialize_i64(self.0 / 1_000_000)
        } else {
            serializer.serialize_f64(self.0 as f64 / 1e6)
        }
    }
}

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self((f64::deserialize(deserializer)? * 1e6).round() as i64))
    }
}

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} s", self.0 as f64 / 1e6)
    }
}

#[cfg(test)]
mod tests;
