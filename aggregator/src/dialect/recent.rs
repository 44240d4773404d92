//! What a dialect remembers: the most recent entries, at most so many.

use std::collections::{HashMap, VecDeque};

/// Values by queue id. When it is full, the entry that was put in first goes.
#[derive(Debug)]
pub struct Recent<V, const LIMIT: usize> {
    values: HashMap<Box<str>, V>,
    order: VecDeque<Box<str>>,
}

impl<V, const LIMIT: usize> Default for Recent<V, LIMIT> {
    fn default() -> Self {
        Self { values: HashMap::new(), order: VecDeque::new() }
    }
}

impl<V, const LIMIT: usize> Recent<V, LIMIT> {
    /// Puts a value in, over one that is there.
    pub fn insert(&mut self, key: &str, value: V) {
        if self.values.insert(key.into(), value).is_none() {
            self.order.push_back(key.into());
        }
        // Removed keys stay in the order until they come to its front; twice the limit bounds them too.
        while self.values.len() > LIMIT || self.order.len() > 2 * LIMIT {
            match self.order.pop_front() {
                Some(oldest) => self.values.remove(&oldest),
                None => break,
            };
        }
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&V> {
        self.values.get(key)
    }

    /// The value of a key, to change it.
    pub fn get_mut(&mut self, key: &str) -> Option<&mut V> {
        self.values.get_mut(key)
    }

    /// Takes a value out.
    pub fn remove(&mut self, key: &str) -> Option<V> {
        self.values.remove(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_goes_when_it_is_full_and_removed_keys_do_not_pile_up() {
        let mut recent = Recent::<u32, 2>::default();
        for round in 0..100 {
            recent.insert(&format!("gone {round}"), round);
            recent.remove(&format!("gone {round}"));
        }
        for (key, value) in [("a", 1), ("b", 2), ("c", 3)] {
            recent.insert(key, value);
        }
        assert_eq!((recent.get("a"), recent.get("b"), recent.get("c")), (None, Some(&2), Some(&3)));
        assert!(recent.order.len() <= 4);
    }
}
