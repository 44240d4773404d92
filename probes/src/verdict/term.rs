//! Who votes, and from when on: the number that must agree changes at one instant, never with who happens to report.

use std::sync::Arc;

use aggregator::event::Time;

/// Watchers that a term can name: a bit for each.
pub const MAX_SEATS: usize = 64;

/// From `from` on these watchers vote, until the next term.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Term {
    /// Its begin.
    pub from: Time,
    /// A bit for each watcher that is assigned, by its place.
    pub assigned: u64,
}

impl Term {
    /// A term of the watchers at these places; places from [`MAX_SEATS`] on have no vote.
    pub fn new(from: Time, places: impl IntoIterator<Item = usize>) -> Self {
        let bit = |place: usize| u32::try_from(place).ok().and_then(|place| 1_u64.checked_shl(place)).unwrap_or(0);
        Self { from, assigned: places.into_iter().fold(0, |bits, place| bits | bit(place)) }
    }

    /// N: how many watchers are assigned.
    pub fn watchers(self) -> usize {
        self.assigned.count_ones() as usize
    }

    /// q = floor(N/2) + 1: a majority of the assigned watchers, not of those that report.
    pub fn quorum(self) -> usize {
        self.watchers() / 2 + 1
    }

    /// Whether the watcher at this place votes.
    pub fn votes(self, place: usize) -> bool {
        Self::new(self.from, [place]).assigned & self.assigned != 0
    }
}

/// The terms of a service in order; before the begin of the first one it applies too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms(Arc<[Term]>);

impl Terms {
    /// Terms in the order of their begins. Without any, nobody votes.
    pub fn new(terms: impl IntoIterator<Item = Term>) -> Self {
        Self(terms.into_iter().collect())
    }

    /// The first `watchers` places vote, always.
    pub fn all(watchers: usize) -> Self {
        Self::new([Term::new(Time(i64::MIN), 0..watchers)])
    }

    /// The term at an instant.
    pub fn at(&self, at: Time) -> Term {
        let begun = self.0.partition_point(|term| term.from <= at);
        let nobody = Term { from: Time(i64::MIN), assigned: 0 };
        self.0.get(begun.saturating_sub(1)).copied().unwrap_or(nobody)
    }

    /// The first begin of a term after `after`. The first term has no begin.
    pub fn next(&self, after: Time) -> Option<Time> {
        self.0.iter().skip(1).map(|term| term.from).find(|from| *from > after)
    }

    /// The earliest instant from which on `other` says something else.
    pub fn differ_from(&self, other: &Self) -> Option<Time> {
        let begins = || self.0.iter().chain(other.0.iter()).map(|term| term.from);
        let mut instants: Vec<Time> = std::iter::once(Time(i64::MIN)).chain(begins()).collect();
        instants.sort_unstable();
        instants.into_iter().find(|at| self.at(*at).assigned != other.at(*at).assigned)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_instant_has_one_term() {
        let terms = Terms::new([Term::new(Time(10), [0, 1, 2]), Term::new(Time(20), [0, 2])]);
        let at = |at| (terms.at(Time(at)).watchers(), terms.at(Time(at)).quorum(), terms.at(Time(at)).votes(1));
        assert_eq!([at(5), at(10), at(19), at(20)], [(3, 2, true), (3, 2, true), (3, 2, true), (2, 2, false)]);
        assert_eq!((terms.next(Time(0)), terms.next(Time(20))), (Some(Time(20)), None));
        assert_eq!(terms.differ_from(&Terms::all(3)), Some(Time(20)));
        assert_eq!(terms.differ_from(&terms.clone()), None);
        assert_eq!(Terms::new([]).at(Time(0)).watchers(), 0);
        assert!(!Term::new(Time(0), [64]).votes(64));
    }
}
