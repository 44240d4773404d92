//! Messages that were read before: a bounded memory of digests.
//!
//! What falls out of it may be read again, which does no harm: rows of reports are named by their content, and stand
//! once however often they come.

use std::collections::{HashMap, VecDeque};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::origin::Digest;

/// Messages that are remembered; past it the one that was remembered first is forgotten.
const MESSAGES: usize = 16_384;
/// Octets of one in a checkpoint.
const PACKED_BYTES: usize = 17;

/// What a message turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sort {
    /// A report that was read wholly, and whose rows are sealed.
    Report,
    /// No report, or one that was refused, wholly or in part.
    Other,
}

/// The messages that were read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    order: VecDeque<Digest>,
    sorts: HashMap<Digest, Sort>,
}

impl Seen {
    pub(crate) fn get(&self, message: Digest) -> Option<Sort> {
        self.sorts.get(&message).copied()
    }

    pub(crate) fn put(&mut self, message: Digest, sort: Sort) {
        if self.sorts.insert(message, sort).is_none() {
            self.order.push_back(message);
        }
        while self.order.len() > MESSAGES {
            if let Some(first) = self.order.pop_front() {
                self.sorts.remove(&first);
            }
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    fn pack(&self) -> Vec<u8> {
        let mut packed = Vec::with_capacity(self.order.len() * PACKED_BYTES);
        for message in &self.order {
            packed.push(u8::from(self.get(*message) == Some(Sort::Report)));
            packed.extend_from_slice(&message.0);
        }
        packed
    }

    fn unpack(packed: &[u8]) -> Self {
        let mut seen = Self::default();
        for one in packed.chunks_exact(PACKED_BYTES) {
            if let [sort, digest @ ..] = one
                && let Ok(digest) = <[u8; 16]>::try_from(digest)
            {
                seen.put(Digest(digest), if *sort == 1 { Sort::Report } else { Sort::Other });
            }
        }
        seen
    }
}

impl Serialize for Seen {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64.encode(self.pack()))
    }
}

impl<'de> Deserialize<'de> for Seen {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        BASE64.decode(text).map(|packed| Self::unpack(&packed)).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_remembers_what_was_read_and_the_oldest_is_forgotten_first() {
        let digest = |number: usize| Digest::of(&number.to_le_bytes());
        let mut seen = Seen::default();
        for number in 0..=MESSAGES {
            seen.put(digest(number), if number % 2 == 0 { Sort::Report } else { Sort::Other });
        }
        assert_eq!(seen.get(digest(0)), None);
        assert_eq!(seen.get(digest(1)), Some(Sort::Other));
        let text = serde_json::to_string(&seen).unwrap();
        assert_eq!(serde_json::from_str::<Seen>(&text).unwrap(), seen);
    }
}
