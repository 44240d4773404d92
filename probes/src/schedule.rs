//! When a check runs: hashed slots, staggered by watcher, and looks between them. Pure: `now` is an argument.

mod agenda;
mod gate;

use std::time::Duration;

use aggregator::event::{EventId, Time};

pub use agenda::Agenda;
pub use gate::{Class, Gate, Limits};

/// A slot that could not begin within this time of its instant, because the watcher was not there or the check's last
/// run still went on, is caught up with, behind those whose time is now.
pub const CATCH_UP_AFTER_MS: u64 = 1_000;
/// Missed slots of one check that are recorded at once; of a longer pause the latest ones.
pub const MAX_MISSED: i64 = 1_000;

/// The slots of one check on one watcher: instants that follow from its name alone, so that they are the same after
/// every restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slots {
    interval: i64,
    phase: i64,
}

impl Slots {
    /// `hash(target, check) mod interval`, moved by `interval / N` for each watcher.
    pub fn new(target: &str, check: &str, interval: Duration, watcher: usize, watchers: usize) -> Self {
        let interval = i64::try_from(interval.as_micros()).unwrap_or(i64::MAX).max(1);
        let hash = EventId::of(&[target.as_bytes(), check.as_bytes()]).0 % interval.unsigned_abs() as u128;
        let turn = i128::from(interval) * watcher as i128 / watchers.max(1) as i128;
        let phase = (hash as i128 + turn) % i128::from(interval);
        Self { interval, phase: phase as i64 }
    }

    /// The instant of a slot.
    pub fn at(&self, slot: i64) -> Time {
        Time(slot.saturating_mul(self.interval).saturating_add(self.phase))
    }

    /// The slot that `now` belongs to: the last one that has begun.
    pub fn current(&self, now: Time) -> i64 {
        now.0.saturating_sub(self.phase).div_euclid(self.interval)
    }

    /// A part of `within` that is this check's own, so that many that are asked for at once do not knock at once.
    pub fn spread(&self, within: Duration) -> Duration {
        Duration::from_micros(self.phase.unsigned_abs() % within.as_micros().max(1) as u64)
    }
}

/// Why a check runs now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// Its slot has come.
    Slot(i64),
    /// Somebody asked it to look again.
    Look,
}

/// The turns of one check. It never runs twice at the same time.
#[derive(Debug, Clone)]
pub struct Turns {
    slots: Slots,
    next: i64,
    look: Option<(Time, Class)>,
    running: bool,
    started: Option<Time>,
    /// How long the last run took.
    lasted: Duration,
}

impl Turns {
    /// `last` is the last slot that is on record. Without one, the current slot runs at once: a first start does not
    /// wait a quarter of an hour for its first audit. One that lies ahead, of a clock that was, holds nothing up.
    pub fn new(slots: Slots, last: Option<i64>, now: Time) -> Self {
        let current = slots.current(now);
        let next = last.map_or(current, |last| last.min(current).saturating_add(1));
        Self { slots, next, look: None, running: false, started: None, lasted: Duration::ZERO }
    }

    /// After the clock was set back, it goes on with the next slot, and a look that was asked for is due.
    fn settle(&mut self, now: Time) -> i64 {
        let current = self.slots.current(now);
        self.next = self.next.min(current.saturating_add(1));
        if self.started.is_some_and(|started| started > now) {
            self.started = Some(now);
            self.look = self.look.map(|(at, class)| (at.min(now), class));
        }
        current
    }

    /// Whether it is due, how urgently, and since when.
    pub fn pending(&mut self, now: Time) -> Option<(Class, Time)> {
        let current = self.settle(now);
        if self.running {
            return None;
        }
        let slot = (self.next <= current).then(|| {
            let at = self.slots.at(current);
            let class = if now.millis_since(at) > CATCH_UP_AFTER_MS { Class::CatchUp } else { Class::Slot };
            (class, at)
        });
        let look = self.look.filter(|look| look.0 <= now && self.has_room(*look, now)).map(|(at, class)| (class, at));
        slot.into_iter().chain(look).min_by_key(|(class, _)| *class)
    }

    /// When one that is due at `now`, but has to wait, may be due more urgently: at its next slot, or at a look that was
    /// asked for.
    pub fn more_urgent_at(&self, now: Time) -> Time {
        let slot = self.slots.at(self.slots.current(now).saturating_add(1));
        self.look.map(|(at, _)| at).filter(|at| *at > now).map_or(slot, |at| at.min(slot))
    }

    /// The same of a check that has no slots: whether a look that was asked for is due.
    pub fn pending_look(&mut self, now: Time) -> Option<(Class, Time)> {
        self.settle(now);
        self.look.filter(|(at, _)| !self.running && *at <= now).map(|(at, class)| (class, at))
    }

    /// When a look was asked for; `None` while it runs.
    pub fn look_at(&self) -> Option<Time> {
        self.look.filter(|_| !self.running).map(|(at, _)| at)
    }

    /// A look at what is known to be down would make its next slot late if it still went on then, to judge by the
    /// last run: it is left to the slot. A confirmation waits for nothing.
    fn has_room(&self, (_, class): (Time, Class), from: Time) -> bool {
        class != Class::Recheck || from.plus_millis(self.lasted.as_millis() as i64) <= self.slots.at(self.next)
    }

    /// What is to be done now: the slots that were missed, and why the check should run. A slot is missed when the
    /// one after it has begun before it could run. A run for a slot is also the look that was asked for.
    pub fn due(&mut self, now: Time) -> (Vec<(i64, Time)>, Option<Due>) {
        let current = self.settle(now);
        match self.pending(now) {
            None => (Vec::new(), None),
            Some(_) if self.next <= current => {
                let first = self.next.max(current.saturating_sub(MAX_MISSED));
                let missed = (first..current).map(|slot| (slot, self.slots.at(slot))).collect();
                self.next = current + 1;
                self.start(now);
                (missed, Some(Due::Slot(current)))
            }
            Some(_) => {
                self.start(now);
                (Vec::new(), Some(Due::Look))
            }
        }
    }

    /// Whether a look that was asked for is to be run now: for a check that has no turns of its own.
    pub fn look_due(&mut self, now: Time) -> bool {
        let due = !self.running && self.look.is_some_and(|(at, _)| at <= now);
        if due {
            self.start(now);
        }
        due
    }

    /// Other slots from now on. What runs goes on; of the new slots the current one is next.
    pub fn move_to(&mut self, slots: Slots, now: Time) {
        (self.slots, self.next) = (slots, slots.current(now));
    }

    fn start(&mut self, now: Time) {
        self.running = true;
        self.started = Some(now);
        self.look = None;
    }

    /// The run has ended.
    pub fn finish(&mut self, now: Time) {
        self.running = false;
        self.lasted = Duration::from_millis(self.started.map_or(0, |started| now.millis_since(started)));
    }

    /// Asks for a look at `at`, or sooner and more urgently if one has been asked for already. While a run goes on it
    /// waits for its end.
    pub fn look(&mut self, at: Time, class: Class) {
        self.look = Some(self.look.map_or((at, class), |other| (other.0.min(at), other.1.min(class))));
    }

    /// When the last run began.
    pub fn started(&self) -> Option<Time> {
        self.started
    }

    /// Its slots.
    pub fn slots(&self) -> Slots {
        self.slots
    }

    /// The instant of the next slot.
    pub fn next_slot(&self) -> Time {
        self.slots.at(self.next)
    }

    /// When there may be something to do; `None` while it runs.
    pub fn wake(&self) -> Option<Time> {
        let slot = self.next_slot();
        let look = self.look.filter(|look| self.has_room(*look, look.0));
        (!self.running).then(|| look.map_or(slot, |(at, _)| at.min(slot)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn slots() -> Slots {
        Slots { interval: 60_000_000, phase: 7_000_000 }
    }

    fn at(seconds: i64) -> Time {
        Time::from_seconds(seconds)
    }

    #[test]
    fn three_watchers_look_a_third_of_the_interval_apart() {
        let [a, b, c] = [0, 1, 2].map(|watcher| Slots::new("t", "imap", MINUTE, watcher, 3));
        assert_eq!(Slots::new("t", "imap", MINUTE, 0, 3), a);
        assert_eq!((b.phase - a.phase).rem_euclid(60_000_000), 20_000_000);
        assert_eq!((c.phase - b.phase).rem_euclid(60_000_000), 20_000_000);
    }

    #[test]
    fn checks_are_spread_over_the_interval() {
        let phases: Vec<i64> =
            (0..100).map(|n| Slots::new("t", &n.to_string(), MINUTE, 0, 1).phase / 15_000_000).collect();
        for quarter in 0..4 {
            let count = phases.iter().filter(|phase| **phase == quarter).count();
            assert!((10..=40).contains(&count), "quarter {quarter} has {count} of 100");
        }
    }

    #[test]
    fn a_first_start_runs_at_once_and_then_in_its_slots() {
        let mut turns = Turns::new(slots(), None, at(100));
        assert_eq!(turns.due(at(100)), (vec![], Some(Due::Slot(1))));
        assert_eq!((turns.due(at(101)), turns.wake()), ((vec![], None), None));
        turns.finish(at(101));
        assert_eq!((turns.due(at(126)), turns.wake()), ((vec![], None), Some(at(127))));
        assert_eq!(turns.due(at(127)), (vec![], Some(Due::Slot(2))));
    }

    #[test]
    fn slots_that_passed_while_it_was_stopped_are_missed_and_the_current_one_runs() {
        let mut turns = Turns::new(slots(), Some(1), at(250));
        assert_eq!(turns.due(at(250)), (vec![(2, at(127)), (3, at(187))], Some(Due::Slot(4))));
    }

    #[test]
    fn a_restart_within_a_slot_waits_for_the_next() {
        let mut turns = Turns::new(slots(), Some(1), at(110));
        assert_eq!((turns.due(at(110)), turns.wake()), ((vec![], None), Some(at(127))));
    }

    #[test]
    fn a_run_that_outlasts_its_slot_is_not_started_twice_and_the_slot_between_is_missed() {
        let mut turns = Turns::new(slots(), None, at(100));
        turns.due(at(100));
        assert_eq!(turns.due(at(190)), (vec![], None));
        turns.finish(at(190));
        assert_eq!(turns.due(at(190)), (vec![(2, at(127))], Some(Due::Slot(3))));
    }

    #[test]
    fn a_look_asked_for_while_it_runs_comes_after_and_only_once() {
        let mut turns = Turns::new(slots(), None, at(100));
        turns.due(at(100));
        turns.look(at(101), Class::Confirm);
        turns.look(at(105), Class::Recheck);
        turns.finish(at(102));
        assert_eq!(turns.due(at(102)), (vec![], Some(Due::Look)));
        turns.finish(at(102));
        assert_eq!(turns.due(at(106)), (vec![], None));
    }

    #[test]
    fn a_slot_on_record_that_lies_ahead_does_not_silence_a_check() {
        let mut turns = Turns::new(slots(), Some(5_000), at(110));
        assert_eq!((turns.due(at(110)), turns.wake()), ((vec![], None), Some(at(127))));
        assert_eq!(turns.due(at(127)), (vec![], Some(Due::Slot(2))));
    }

    #[test]
    fn a_clock_that_is_set_back_does_not_silence_a_check() {
        let mut turns = Turns::new(slots(), None, at(90_000));
        turns.due(at(90_000));
        turns.finish(at(90_000));
        assert_eq!((turns.due(at(110)), turns.wake()), ((vec![], None), Some(at(127))));
        assert_eq!(turns.started(), Some(at(110)));
        assert_eq!(turns.due(at(127)), (vec![], Some(Due::Slot(2))));
        turns.finish(at(128));
        turns.look(at(130), Class::Recheck);
        assert_eq!(turns.due(at(70)), (vec![], Some(Due::Look)));
    }

    #[test]
    fn a_long_pause_is_recorded_up_to_the_limit() {
        let mut turns = Turns::new(slots(), Some(0), at(60 * 5_000));
        let (missed, due) = turns.due(at(60 * 5_000));
        assert_eq!(
            (missed.len() as i64, missed.last().map(|m| m.0), due),
            (MAX_MISSED, Some(4_998), Some(Due::Slot(4_999)))
        );
    }

    #[test]
    fn a_look_at_what_hangs_does_not_make_the_next_slot_late_and_a_confirmation_waits_for_nothing() {
        let mut turns = Turns::new(slots(), Some(1), at(100));
        assert_eq!(turns.due(at(127)), (vec![], Some(Due::Slot(2))));
        turns.finish(at(132));
        turns.look(at(182), Class::Recheck);
        assert_eq!((turns.wake(), turns.pending(at(182))), (Some(at(182)), Some((Class::Recheck, at(182)))));
        assert_eq!((turns.pending(at(183)), turns.due(at(183))), (None, (vec![], None)));
        turns.look(at(185), Class::Confirm);
        assert_eq!(turns.pending(at(183)), Some((Class::Confirm, at(182))));
        let mut turns = Turns::new(slots(), Some(1), at(100));
        turns.due(at(127));
        turns.finish(at(132));
        turns.look(at(183), Class::Recheck);
        assert_eq!(turns.wake(), Some(at(187)), "left to the slot");
    }

    #[test]
    fn a_slot_whose_time_has_passed_is_caught_up_with_behind_those_whose_time_is_now() {
        let mut turns = Turns::new(slots(), Some(1), at(100));
        assert_eq!(turns.pending(at(127)), Some((Class::Slot, at(127))));
        assert_eq!(turns.pending(at(129)), Some((Class::CatchUp, at(127))));
        assert_eq!(turns.due(at(129)), (vec![], Some(Due::Slot(2))));
        assert_eq!(turns.pending(at(500)), None, "it runs");
    }

    #[test]
    fn a_slot_that_is_caught_up_with_becomes_urgent_by_a_confirmation_and_by_the_next_slot() {
        let mut turns = Turns::new(slots(), Some(1), at(100));
        assert_eq!((turns.pending(at(130)), turns.more_urgent_at(at(130))), (Some((Class::CatchUp, at(127))), at(187)));
        turns.look(at(131), Class::Confirm);
        assert_eq!((turns.pending(at(130)), turns.more_urgent_at(at(130))), (Some((Class::CatchUp, at(127))), at(131)));
        assert_eq!((turns.pending(at(131)), turns.more_urgent_at(at(131))), (Some((Class::Confirm, at(131))), at(187)));
        assert_eq!(turns.pending(at(187)), Some((Class::Slot, at(187))));
        assert_eq!(turns.due(at(131)), (vec![], Some(Due::Slot(2))), "one run is both");
        turns.finish(at(132));
        assert_eq!(turns.pending(at(133)), None);
    }
}
