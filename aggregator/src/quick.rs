//! A quick hash for tables of short names that every line of a log asks.
//!
//! It begins with a random number, so that nobody outside can choose names that fall together; and the tables that use
//! it are bounded.

use std::hash::{BuildHasher, Hasher, RandomState};

/// An odd number with its bits well mixed: 2^64 divided by the golden ratio.
pub(crate) const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

/// Folds eight octets into a sum.
pub(crate) fn mix(sum: u64, word: u64) -> u64 {
    let product = u128::from(sum ^ word) * u128::from(FACTOR);
    (product as u64) ^ ((product >> 64) as u64)
}

/// Folds the octets of a text into a sum, and how many they are.
pub(crate) fn mix_text(sum: u64, text: &[u8]) -> u64 {
    let (words, rest) = text.as_chunks::<8>();
    let sum = words.iter().fold(sum, |sum, word| mix(sum, u64::from_le_bytes(*word)));
    mix(sum, rest.iter().rev().fold(text.len() as u64, |word, byte| word << 8 | u64::from(*byte)))
}

/// Makes the hashers of one table.
#[derive(Debug, Clone)]
pub(crate) struct Quick(u64);

impl Default for Quick {
    fn default() -> Self {
        Self(RandomState::new().hash_one(FACTOR))
    }
}

impl BuildHasher for Quick {
    type Hasher = QuickHasher;
    fn build_hasher(&self) -> QuickHasher {
        QuickHasher(self.0)
    }
}

/// The sum so far.
pub(crate) struct QuickHasher(u64);

impl Hasher for QuickHasher {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        self.0 = mix_text(self.0, bytes);
    }
    // The end of a text, which is in the sum already.
    fn write_u8(&mut self, _: u8) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_that_differ_anywhere_have_other_sums() {
        let texts = ["", "\0", "\0\0", "a", "b", "ab", "ba", "abcdefgh", "abcdefgh\0", "abcdefghi", "abcdefghabcdefgh"];
        let quick = Quick::default();
        let mut sums: Vec<_> = texts.iter().map(|text| quick.hash_one(text)).collect();
        sums.sort_unstable();
        sums.dedup();
        assert_eq!(sums.len(), texts.len());
        assert_ne!(quick.hash_one("a"), Quick::default().hash_one("a"), "another table, another order");
    }
}
