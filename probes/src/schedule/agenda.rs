//! When each of many things is next to be looked at: what is due is found without asking all of them. Pure.

use std::collections::BTreeSet;

use aggregator::event::Time;

/// Instants of things that are known by their place. A thing has one instant at most.
#[derive(Debug, Clone)]
pub struct Agenda {
    order: BTreeSet<(Time, usize)>,
    at: Vec<Option<Time>>,
}

impl Agenda {
    /// Of so many things, each of them due at `at`.
    pub fn new(things: usize, at: Time) -> Self {
        Self { order: (0..things).map(|thing| (at, thing)).collect(), at: vec![Some(at); things] }
    }

    /// Moves a thing to another instant; `None`: it is not to be looked at until it is moved again.
    pub fn set(&mut self, thing: usize, at: Option<Time>) {
        let Some(place) = self.at.get_mut(thing) else { return };
        if *place == at {
            return;
        }
        if let Some(old) = place.take() {
            self.order.remove(&(old, thing));
        }
        if let Some(new) = at {
            self.order.insert((new, thing));
        }
        *place = at;
    }

    /// Moves a thing to `at` unless it is due sooner.
    pub fn hasten(&mut self, thing: usize, at: Time) {
        if self.at.get(thing).is_some_and(|old| old.is_none_or(|old| old > at)) {
            self.set(thing, Some(at));
        }
    }

    /// Takes the things that are due at `now`, the longest due first.
    pub fn take_due(&mut self, now: Time) -> Vec<usize> {
        let mut due = Vec::new();
        while let Some(&(at, thing)) = self.order.first()
            && at <= now
        {
            self.set(thing, None);
            due.push(thing);
        }
        due
    }

    /// The next instant.
    pub fn first(&self) -> Option<Time> {
        self.order.first().map(|(at, _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_due_comes_in_the_order_of_its_time_and_once() {
        let mut agenda = Agenda::new(3, Time(10));
        agenda.set(0, Some(Time(30)));
        agenda.set(2, Some(Time(5)));
        assert_eq!(agenda.first(), Some(Time(5)));
        assert_eq!(agenda.take_due(Time(10)), [2, 1]);
        assert_eq!(agenda.take_due(Time(29)), Vec::<usize>::new());
        agenda.hasten(0, Time(40));
        agenda.hasten(1, Time(20));
        agenda.hasten(7, Time(1));
        assert_eq!((agenda.first(), agenda.take_due(Time(30))), (Some(Time(20)), vec![1, 0]));
        assert_eq!(agenda.first(), None);
    }
}
