//! What a dialect remembers: the most recent entries, at most so many.

use std::borrow::Borrow;
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, Hash, RandomState};

/// Values by key, for example by queue id. When it is full, the entry that was put in first goes.
#[derive(Debug)]
pub struct Recent<V, const LIMIT: usize, K = Box<str>, S = RandomState> {
    values: HashMap<K, Entry<V>, S>,
    order: VecDeque<(u64, K)>,
    entered: u64,
}

/// The number tells an entry from an earlier one of the same key, whose place in the order is still there.
#[derive(Debug)]
struct Entry<V> {
    number: u64,
    value: V,
}

impl<V, const LIMIT: usize, K, S: Default> Default for Recent<V, LIMIT, K, S> {
    fn default() -> Self {
        Self { values: HashMap::default(), order: VecDeque::new(), entered: 0 }
    }
}

impl<V, const LIMIT: usize, K: Eq + Hash + Clone, S: BuildHasher> Recent<V, LIMIT, K, S> {
    /// Puts a value in, over one that is there.
    pub fn insert(&mut self, key: impl Into<K>, value: V) {
        let key = key.into();
        match self.values.get_mut(&key) {
            Some(entry) => entry.value = value,
            None => self.enter(key, value),
        }
    }

    fn enter(&mut self, key: K, value: V) {
        self.entered += 1;
        self.order.push_back((self.entered, key.clone()));
        self.values.insert(key, Entry { number: self.entered, value });
        // Removed keys stay in the order until they come to its front; twice the limit bounds them too.
        while self.values.len() > LIMIT || self.order.len() > 2 * LIMIT {
            let Some((number, oldest)) = self.order.pop_front() else { break };
            if self.values.get(&oldest).is_some_and(|entry| entry.number == number) {
                self.values.remove(&oldest);
            }
        }
    }

    /// The value of a key.
    pub fn get<Q: Eq + Hash + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.values.get(key).map(|entry| &entry.value)
    }

    /// The value of a key, to change it.
    pub fn get_mut<Q: Eq + Hash + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        self.values.get_mut(key).map(|entry| &mut entry.value)
    }

    /// Takes a value out.
    pub fn remove<Q: Eq + Hash + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        self.values.remove(key).map(|entry| entry.value)
    }
}

impl<V, const LIMIT: usize, K: Eq + Hash + Clone, S: BuildHasher> Recent<V, LIMIT, K, S> {
    /// The value of a key, which `make` makes if it is not there. `None` only with a limit of 0.
    pub fn entry(&mut self, key: impl Into<K>, make: impl FnOnce() -> V) -> Option<&mut V> {
        let key = key.into();
        if !self.values.contains_key(&key) {
            self.enter(key.clone(), make());
        }
        self.get_mut(&key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_goes_when_it_is_full_and_removed_keys_do_not_pile_up() {
        let mut recent = Recent::<u32, 2>::default();
        for round in 0..100 {
            recent.insert(format!("gone {round}").as_str(), round);
            recent.remove(format!("gone {round}").as_str());
        }
        for (key, value) in [("a", 1), ("b", 2), ("c", 3)] {
            recent.insert(key, value);
        }
        assert_eq!((recent.get("a"), recent.get("b"), recent.get("c")), (None, Some(&2), Some(&3)));
        assert!(recent.order.len() <= 4);
    }

    #[test]
    fn a_key_that_came_back_is_as_young_as_its_return() {
        let mut recent = Recent::<u32, 2, u64>::default();
        recent.insert(1_u64, 1);
        recent.remove(&1);
        recent.insert(2_u64, 2);
        recent.insert(1_u64, 10);
        recent.insert(3_u64, 3);
        assert_eq!((recent.get(&1), recent.get(&2), recent.get(&3)), (Some(&10), None, Some(&3)));
    }
}
