//! Counting in bounded memory: the most frequent names, and quantiles of delays.

use std::collections::HashMap;

use crate::quick::Quick;

/// Names that a tally holds; at twice as many the rarer half is forgotten. What is frequent stays, and is counted
/// exactly unless it was rare once.
const NAMES: usize = 4_096;

/// Values by name.
#[derive(Debug)]
pub(super) struct Tally<V> {
    values: HashMap<Box<str>, (u64, V), Quick>,
}

impl<V> Default for Tally<V> {
    fn default() -> Self {
        Self { values: HashMap::default() }
    }
}

impl<V: Default + Copy> Tally<V> {
    /// Counts something under a name.
    pub(super) fn count(&mut self, name: &str, add: impl FnOnce(&mut V)) {
        if let Some((uses, value)) = self.values.get_mut(name) {
            *uses += 1;
            return add(value);
        }
        if self.values.len() >= 2 * NAMES {
            let mut uses: Vec<u64> = self.values.values().map(|(uses, _)| *uses).collect();
            let (_, least, _) = uses.select_nth_unstable(NAMES);
            let least = *least;
            self.values.retain(|_, (uses, _)| *uses > least);
        }
        let mut value = V::default();
        add(&mut value);
        self.values.insert(name.into(), (1, value));
    }

    /// The names with the greatest values, and of equal ones the first by name.
    pub(super) fn top(&self, count: usize, by: impl Fn(&V) -> u64) -> Vec<(String, V)> {
        let mut all: Vec<_> = self.values.iter().map(|(name, (_, value))| (&**name, *value)).collect();
        all.sort_unstable_by(|(a, va), (b, vb)| by(vb).cmp(&by(va)).then_with(|| a.cmp(b)));
        all.truncate(count);
        all.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }
}

/// A bucket ends 5 % above where it begins.
const STEP: f64 = 1.05;
/// Enough buckets for 2 years in milliseconds.
const BUCKETS: usize = 512;

/// Delays in buckets of equal proportion.
#[derive(Debug)]
pub(super) struct Delays {
    buckets: [u64; BUCKETS],
    count: u64,
}

impl Default for Delays {
    fn default() -> Self {
        Self { buckets: [0; BUCKETS], count: 0 }
    }
}

impl Delays {
    pub(super) fn put(&mut self, delay_ms: Option<u64>) {
        let Some(delay) = delay_ms else { return };
        let place = ((delay as f64 + 1.0).ln() / STEP.ln()) as usize;
        if let Some(bucket) = self.buckets.get_mut(place.min(BUCKETS - 1)) {
            *bucket += 1;
        }
        self.count += 1;
    }

    /// The delay below which this share of all lies, within 5 %.
    pub(super) fn quantile(&self, share: f64) -> Option<u64> {
        let wanted = (self.count as f64 * share).ceil() as u64;
        let mut seen = 0;
        let place = self.buckets.iter().position(|bucket| {
            seen += bucket;
            seen >= wanted && wanted > 0
        })?;
        Some((STEP.powf(place as f64 + 0.5) - 1.0).round() as u64)
    }
}
