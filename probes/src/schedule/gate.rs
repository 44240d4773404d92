//! Which of the runs that are due may begin: so many at the same time, and so many to one target. Pure.
//!
//! A run that has to wait waits here, not at a socket, and by its [`Class`]: looks again at what is known to be down
//! never keep a slot or a confirmation from its time, however many targets are black holes. Within a class, who has
//! been due the longest goes first; a target at its own limit is passed over, and holds up nobody else.

use std::collections::BTreeSet;

use aggregator::event::Time;

/// Why a run is due, from the most urgent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Its slot has come.
    Slot,
    /// Something has changed somewhere: it is to be confirmed.
    Confirm,
    /// Its slot came when it could not run.
    CatchUp,
    /// It is down, and looked at often so that the recovery comes soon.
    Recheck,
}

const CLASSES: [Class; 4] = [Class::Slot, Class::Confirm, Class::CatchUp, Class::Recheck];

/// How many runs may go on at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// All of them.
    pub runs: usize,
}

impl Limits {
    /// How many runs of a class may go on. The others together leave three eighths to the slots; an eighth is kept
    /// from the slots, so that confirmations come through when slots alone would fill the gate.
    fn of(self, class: Class) -> usize {
        let eighths = match class {
            Class::Slot => 7,
            Class::Confirm | Class::CatchUp => 2,
            Class::Recheck => 1,
        };
        (self.runs * eighths / 8).max(1)
    }
}

/// The runs that wait, and those that go on.
#[derive(Debug)]
pub struct Gate {
    limits: Limits,
    /// Runs to a target at the same time at most, by target.
    target_limits: Vec<usize>,
    waiting: BTreeSet<(Class, Time, usize)>,
    seats: Vec<Place>,
    running: [usize; CLASSES.len()],
    targets: Vec<usize>,
}

#[derive(Debug, Clone, Copy)]
struct Place {
    target: usize,
    state: State,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Idle,
    Waiting(Class, Time),
    Running(Class),
}

impl Gate {
    /// For seats of which each belongs to a target; `target_limits` has an entry for each target.
    pub fn new(limits: Limits, seats: impl Iterator<Item = usize>, target_limits: Vec<usize>) -> Self {
        Self {
            limits,
            waiting: BTreeSet::new(),
            seats: seats.map(|target| Place { target, state: State::Idle }).collect(),
            running: [0; CLASSES.len()],
            targets: vec![0; target_limits.len()],
            target_limits,
        }
    }

    /// A seat is due since `since`. One that waits already waits on, in the more urgent of the two classes.
    pub fn ask(&mut self, seat: usize, class: Class, since: Time) {
        match self.seats[seat].state {
            State::Running(_) => {}
            State::Waiting(old, _) if old <= class => {}
            State::Waiting(old, at) => {
                self.waiting.remove(&(old, at, seat));
                self.wait(seat, class, since);
            }
            State::Idle => self.wait(seat, class, since),
        }
    }

    fn wait(&mut self, seat: usize, class: Class, since: Time) {
        self.waiting.insert((class, since, seat));
        self.seats[seat].state = State::Waiting(class, since);
    }

    /// The next seat that may begin, if any; it counts as running until [`leave`](Self::leave).
    pub fn admit(&mut self) -> Option<usize> {
        if self.running.iter().sum::<usize>() >= self.limits.runs {
            return None;
        }
        let open = |class: Class| self.running[class as usize] < self.limits.of(class);
        let free = |seat: usize| {
            let target = self.seats[seat].target;
            self.targets[target] < self.target_limits[target]
        };
        // Classes that are full are jumped over as a whole.
        let next = CLASSES.into_iter().filter(|class| open(*class)).find_map(|class| {
            let (from, to) = ((class, Time(i64::MIN), 0), (class, Time(i64::MAX), usize::MAX));
            self.waiting.range(from..=to).copied().find(|(_, _, seat)| free(*seat))
        })?;
        let (class, _, seat) = next;
        self.waiting.remove(&next);
        self.seats[seat].state = State::Running(class);
        self.running[class as usize] += 1;
        self.targets[self.seats[seat].target] += 1;
        Some(seat)
    }

    /// The seat no longer wants to run. One that runs already goes on.
    pub fn withdraw(&mut self, seat: usize) {
        if let State::Waiting(class, since) = self.seats[seat].state {
            self.waiting.remove(&(class, since, seat));
            self.seats[seat].state = State::Idle;
        }
    }

    /// A run has ended.
    pub fn leave(&mut self, seat: usize) {
        if let State::Running(class) = self.seats[seat].state {
            self.running[class as usize] -= 1;
            self.targets[self.seats[seat].target] -= 1;
            self.seats[seat].state = State::Idle;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admitted(gate: &mut Gate) -> Vec<usize> {
        std::iter::from_fn(|| gate.admit()).collect()
    }

    #[test]
    fn a_target_at_its_limit_holds_up_nobody_else() {
        let mut gate = Gate::new(Limits { runs: 64 }, [0, 0, 0, 1].into_iter(), vec![2, 2]);
        (0..4).for_each(|seat| gate.ask(seat, Class::Slot, Time(seat as i64)));
        assert_eq!(admitted(&mut gate), [0, 1, 3]);
        gate.leave(1);
        assert_eq!(admitted(&mut gate), [2]);
    }

    #[test]
    fn looks_at_what_is_down_leave_room_for_slots_and_confirmations() {
        let mut gate = Gate::new(Limits { runs: 16 }, 0..60, vec![1; 60]);
        (0..20).for_each(|seat| gate.ask(seat, Class::Recheck, Time(0)));
        assert_eq!(admitted(&mut gate), [0, 1]);
        (20..40).for_each(|seat| gate.ask(seat, Class::Confirm, Time(1)));
        (40..60).for_each(|seat| gate.ask(seat, Class::Slot, Time(2)));
        let next = admitted(&mut gate);
        assert_eq!(next, (40..54).collect::<Vec<_>>(), "slots first, as many as there is room for");
        gate.leave(40);
        assert_eq!(admitted(&mut gate), [54]);
        (41..55).for_each(|seat| gate.leave(seat));
        assert_eq!(admitted(&mut gate), (55..60).chain(20..24).collect::<Vec<_>>(), "the rest, and confirmations");
    }

    #[test]
    fn confirmations_come_through_when_slots_alone_would_fill_the_gate() {
        let mut gate = Gate::new(Limits { runs: 16 }, 0..40, vec![1; 40]);
        (0..39).for_each(|seat| gate.ask(seat, Class::Slot, Time(0)));
        gate.ask(39, Class::Confirm, Time(9));
        let next = admitted(&mut gate);
        assert_eq!((next.len(), next.contains(&39)), (15, true));
        gate.leave(39);
    }

    #[test]
    fn a_slot_that_comes_while_a_look_waits_makes_it_urgent() {
        let mut gate = Gate::new(Limits { runs: 16 }, 0..3, vec![1; 3]);
        gate.ask(0, Class::Recheck, Time(0));
        gate.ask(1, Class::Slot, Time(1));
        gate.ask(0, Class::Slot, Time(2));
        gate.ask(0, Class::Recheck, Time(3));
        assert_eq!(admitted(&mut gate), [1, 0]);
        gate.leave(0);
        gate.ask(2, Class::Slot, Time(4));
        gate.withdraw(2);
        gate.withdraw(1);
        assert_eq!(admitted(&mut gate), Vec::<usize>::new());
    }
}
