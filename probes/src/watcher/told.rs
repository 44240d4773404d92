//! What a watcher has told of a service's past, and from when on that is no longer so.
//!
//! A row of `verdicts` says a state since an instant, and stands until another is told that begins after it; one that
//! begins before it takes its place. An observation that arrives late may change what was, while what is stays: then
//! everything from the first difference on is told anew, so that whoever reads the rows has the watcher's own timeline.

use aggregator::event::{Time, VerdictState};

use crate::uptime::Segment;

/// The timeline of a service as it was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// From when on it has which state; before the first it is unknown.
    steps: Vec<(Time, VerdictState)>,
    /// What was told of the time before this stands: the history does not reach back so far.
    floor: Time,
    /// What was told of the time before this has been compared, and stands.
    compared: Time,
}

impl Default for Told {
    fn default() -> Self {
        Self { steps: Vec::new(), floor: Time(i64::MIN), compared: Time(i64::MIN) }
    }
}

impl Told {
    /// What was told so far: each state with its begin, in the order of the telling.
    pub fn so_far(rows: impl IntoIterator<Item = (Time, VerdictState)>) -> Self {
        let mut told = Self::default();
        rows.into_iter().for_each(|(since, state)| told.say(since, state));
        told
    }

    /// It is told that from `since` on the state is `state`.
    pub fn say(&mut self, since: Time, state: VerdictState) {
        self.steps.truncate(self.steps.partition_point(|(at, _)| *at < since));
        if self.steps.last().map_or(VerdictState::Unknown, |(_, last)| *last) != state {
            self.steps.push((since, state));
        }
    }

    /// From here on it may be otherwise than it was told.
    pub fn doubt(&mut self, from: Time) {
        self.compared = self.compared.min(from);
    }

    /// The service has been judged again from a history that has every vote from `complete_from` on, and what was told
    /// of the time before stands.
    pub fn judged_anew(&mut self, complete_from: Time) {
        (self.floor, self.compared) = (complete_from, Time(i64::MIN));
    }

    /// What is to be compared begins here.
    pub fn begin(&self, now: Time) -> Time {
        self.compared.max(self.floor).min(now)
    }

    /// What is told again begins here at the earliest.
    pub fn floor(&self) -> Time {
        self.floor
    }

    /// The first instant of these segments (without gaps, in order) that was told otherwise. What lies before `now` has
    /// been compared then.
    pub fn differs(&mut self, segments: &[Segment], now: Time) -> Option<Time> {
        self.compared = now;
        for segment in segments {
            let mut at = segment.from;
            while at < segment.to {
                let begun = self.steps.partition_point(|(begin, _)| *begin <= at);
                let state = begun.checked_sub(1).map_or(VerdictState::Unknown, |step| self.steps[step].1);
                if state != segment.state {
                    return Some(at);
                }
                at = self.steps.get(begun).map_or(segment.to, |(begin, _)| *begin);
            }
        }
        None
    }

    /// Drops what is no longer shown.
    pub fn forget(&mut self, before: Time) {
        let steps = self.steps.partition_point(|(at, _)| *at < before);
        self.steps.drain(..steps.saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use VerdictState::{Down, Unknown, Up};

    fn segment(from: i64, to: i64, state: VerdictState) -> Segment {
        Segment { from: Time(from), to: Time(to), state }
    }

    #[test]
    fn what_begins_before_takes_the_place_of_what_was_told_before() {
        let told = Told::so_far([(Time(5), Up), (Time(20), Down), (Time(12), Down), (Time(30), Up), (Time(40), Up)]);
        assert_eq!(told.steps, [(Time(5), Up), (Time(12), Down), (Time(30), Up)]);
    }

    #[test]
    fn the_first_instant_that_was_told_otherwise_is_found_once() {
        let mut told = Told::so_far([(Time(5), Up), (Time(20), Down)]);
        let so = [segment(0, 5, Unknown), segment(5, 20, Up), segment(20, 50, Down)];
        assert_eq!((told.begin(Time(50)), told.differs(&so, Time(50))), (Time(i64::MIN), None));
        assert_eq!(told.begin(Time(60)), Time(50));
        let otherwise = [segment(8, 15, Up), segment(15, 16, Unknown), segment(16, 20, Up), segment(20, 50, Down)];
        assert_eq!(told.differs(&otherwise, Time(50)), Some(Time(15)));
        assert_eq!(told.differs(&[segment(30, 51, Up)], Time(50)), Some(Time(30)));
        assert_eq!(told.differs(&[segment(2, 60, Up)], Time(60)), Some(Time(2)), "nothing was told before 5");
    }

    #[test]
    fn what_the_history_does_not_reach_back_to_stands() {
        let mut told = Told::so_far([(Time(5), Up)]);
        told.judged_anew(Time(30));
        assert_eq!((told.begin(Time(50)), told.begin(Time(20))), (Time(30), Time(20)));
        told.doubt(Time(10));
        assert_eq!(told.begin(Time(50)), Time(30));
    }
}
