//! The arithmetic of uptime: labelled time, and the figures that follow from it.

use std::ops::{Add, AddAssign};

use aggregator::event::{Time, VerdictState};

use crate::verdict::{End, Outage};

/// Below this share of known time there is no headline figure.
const LEAST_COVERAGE_PERCENT: i128 = 95;

/// A stretch of time, half-open: `[from, to)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Begin.
    pub from: Time,
    /// End.
    pub to: Time,
    /// What it is called.
    pub state: VerdictState,
}

/// The labelled time of `[from, to)`, without maintenance: the steps of S(t) with the outages at their own dates.
/// Equal neighbours are one segment. Steps and outages are in order.
pub fn label<'a>(
    steps: impl IntoIterator<Item = &'a (Time, VerdictState)>,
    outages: impl IntoIterator<Item = &'a Outage>,
    from: Time,
    to: Time,
) -> Vec<Segment> {
    let mut raw = Vec::new();
    let mut current = (from, VerdictState::Unknown);
    for (at, state) in steps {
        if *at >= to {
            break;
        }
        push(&mut raw, Segment { from: current.0, to: *at, state: current.1 });
        current = ((*at).max(from), *state);
    }
    push(&mut raw, Segment { from: current.0, to, state: current.1 });
    let mut dated: Vec<Segment> = Vec::new();
    for outage in outages {
        let (begin, end) = (outage.first_bad, outage.to().unwrap_or(to));
        if let Some(before) = dated.last_mut() {
            before.to = before.to.min(begin);
        }
        dated.push(Segment { from: begin, to: end, state: VerdictState::Down });
        if let Some(End::Good { first_good, confirmed }) = outage.end {
            dated.push(Segment { from: first_good, to: confirmed, state: VerdictState::Up });
        }
    }
    overlay(&raw, &dated)
}

/// The same time with announced maintenance over every other state. Windows may overlap and need no order.
pub fn with_maintenance(segments: &[Segment], windows: &[(Time, Time)]) -> Vec<Segment> {
    let mut windows = windows.to_vec();
    windows.sort_unstable();
    let mut cover: Vec<Segment> = Vec::new();
    for (from, to) in windows {
        let from = cover.last().map_or(from, |last| from.max(last.to));
        if from < to {
            cover.push(Segment { from, to, state: VerdictState::Maintenance });
        }
    }
    overlay(segments, &cover)
}

/// The part of `segments` that lies in `[from, to)`.
pub fn clip(segments: &[Segment], from: Time, to: Time) -> impl Iterator<Item = Segment> + '_ {
    let first = segments.partition_point(|segment| segment.to <= from);
    segments[first..].iter().take_while(move |segment| segment.from < to).map(move |segment| Segment {
        from: segment.from.max(from),
        to: segment.to.min(to),
        state: segment.state,
    })
}

/// Puts `paint` over `base`; both are in order and each is without overlaps.
fn overlay(base: &[Segment], paint: &[Segment]) -> Vec<Segment> {
    let mut out = Vec::with_capacity(base.len() + 2 * paint.len());
    let mut paint = paint.iter().peekable();
    for segment in base {
        let mut at = segment.from;
        while at < segment.to {
            while paint.next_if(|over| over.to <= at).is_some() {}
            let (to, state) = match paint.peek() {
                Some(over) if over.from <= at => (over.to, over.state),
                Some(over) => (over.from, segment.state),
                None => (segment.to, segment.state),
            };
            let to = to.min(segment.to);
            push(&mut out, Segment { from: at, to, state });
            at = to;
        }
    }
    out
}

fn push(out: &mut Vec<Segment>, segment: Segment) {
    if segment.from >= segment.to {
        return;
    }
    match out.last_mut() {
        Some(last) if last.state == segment.state && last.to == segment.from => last.to = segment.to,
        _ => out.push(segment),
    }
}

/// U, D, X and M of a window, in microseconds. Longer windows add them up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// U: up, with degraded and regional.
    pub up: i64,
    /// D: down.
    pub down: i64,
    /// X: unknown.
    pub unknown: i64,
    /// M: in announced maintenance.
    pub maintenance: i64,
}

impl Tally {
    /// The sums of these segments.
    pub fn of(segments: impl IntoIterator<Item = Segment>) -> Self {
        let mut tally = Self::default();
        for segment in segments {
            let sum = match segment.state {
                VerdictState::Up | VerdictState::Degraded | VerdictState::Regional => &mut tally.up,
                VerdictState::Down => &mut tally.down,
                VerdictState::Unknown => &mut tally.unknown,
                VerdictState::Maintenance => &mut tally.maintenance,
            };
            *sum += segment.to.0 - segment.from.0;
        }
        tally
    }

    /// U / (U + D) in percent, rounded down to three decimals. `None` with less than 95 % coverage: not enough data.
    pub fn availability(&self) -> Option<f64> {
        if self.is_covered() { percent(self.up, self.up + self.down) } else { None }
    }

    /// Whether 95 % at least of the time without maintenance are known, so that there may be a headline figure.
    pub fn is_covered(&self) -> bool {
        let (known, whole) = (i128::from(self.up + self.down), i128::from(self.up + self.down + self.unknown));
        known * 100 >= LEAST_COVERAGE_PERCENT * whole
    }

    /// What it is at least and at most, whatever the unknown time was: U / (U+D+X) and (U+X) / (U+D+X), in percent,
    /// rounded down to three decimals.
    pub fn bounds(&self) -> Option<(f64, f64)> {
        let whole = self.up + self.down + self.unknown;
        Some((percent(self.up, whole)?, percent(self.up + self.unknown, whole)?))
    }

    /// (U + D) / (T - M) in percent, rounded down to three decimals. `None` when all of it was maintenance.
    pub fn coverage(&self) -> Option<f64> {
        percent(self.up + self.down, self.up + self.down + self.unknown)
    }
}

impl Add for Tally {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self {
            up: self.up + other.up,
            down: self.down + other.down,
            unknown: self.unknown + other.unknown,
            maintenance: self.maintenance + other.maintenance,
        }
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

/// The integer is exact, and its division by 1000 is the nearest number to the decimal that it is printed as.
fn percent(part: i64, whole: i64) -> Option<f64> {
    let thousandths = (i128::from(part) * 100_000).checked_div(i128::from(whole))?;
    Some(thousandths as f64 / 1_000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(from: i64, to: i64, state: VerdictState) -> Segment {
        Segment { from: Time(from), to: Time(to), state }
    }

    #[test]
    fn availability_is_rounded_down_never_up() {
        let tally = Tally { up: 999_999, down: 1, ..Tally::default() };
        assert_eq!(tally.availability(), Some(99.999));
        let tally = Tally { up: 2, down: 1, ..Tally::default() };
        assert_eq!(tally.availability(), Some(66.666));
    }

    #[test]
    fn below_95_percent_coverage_there_is_no_headline_figure_but_there_are_bounds() {
        let tally = Tally { up: 94, down: 0, unknown: 6, maintenance: 1_000 };
        assert_eq!((tally.availability(), tally.coverage()), (None, Some(94.0)));
        assert_eq!(tally.bounds(), Some((94.0, 100.0)));
        let tally = Tally { up: 95, down: 0, unknown: 5, maintenance: 0 };
        assert_eq!(tally.availability(), Some(100.0));
    }

    #[test]
    fn a_window_of_nothing_but_maintenance_has_no_figures() {
        let tally = Tally { maintenance: 5, ..Tally::default() };
        assert_eq!((tally.availability(), tally.bounds(), tally.coverage()), (None, None, None));
    }

    #[test]
    fn overlapping_maintenance_counts_once_and_covers_every_state() {
        let base = [segment(0, 10, VerdictState::Down), segment(10, 20, VerdictState::Up)];
        let windows = [(Time(12), Time(14)), (Time(5), Time(13)), (Time(30), Time(40))];
        assert_eq!(
            with_maintenance(&base, &windows),
            [
                segment(0, 5, VerdictState::Down),
                segment(5, 14, VerdictState::Maintenance),
                segment(14, 20, VerdictState::Up),
            ]
        );
    }

    #[test]
    fn clipped_days_add_up_to_the_whole() {
        let base =
            [segment(0, 7, VerdictState::Up), segment(7, 9, VerdictState::Down), segment(9, 30, VerdictState::Unknown)];
        let whole = Tally::of(base);
        let mut days = Tally::default();
        for day in 0..3 {
            days += Tally::of(clip(&base, Time(day * 10), Time(day * 10 + 10)));
        }
        assert_eq!(days, whole);
    }
}
