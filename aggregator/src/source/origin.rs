//! What has been read, and how far: the origins of a checkpoint.
//!
//! An origin is recognised by its first 4 KiB, uncompressed, or by what there was of them. A file that grew has the
//! old begin still, so it is found, and from then on known by more. Octets just before the place of the checkpoint
//! tell whether it is still the same text there: a file that was rewritten with the same begin is another origin.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::lines::TAIL_BYTES;
use super::seen::Seen;
use crate::event::Time;

/// Octets of the begin by which an origin is recognised.
pub(super) const HEAD_BYTES: usize = 4096;
/// Origins that are remembered; past it the one that was read longest ago is forgotten, and would be read again.
const ORIGINS: usize = 2_048;

/// Journals that are remembered.
const JOURNALS: usize = 256;

/// The times of files lag behind the clock, on some systems by two seconds.
pub(super) const MTIME_LAG_MS: i64 = 2_000;

/// 128 bits of BLAKE3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Digest(pub(crate) [u8; 16]);

impl Digest {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self::of_both(bytes, b"")
    }

    pub(crate) fn of_both(one: &[u8], other: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(one).update(other);
        let mut digest = [0; 16];
        hasher.finalize_xof().fill(&mut digest);
        Self(digest)
    }
}

impl Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let digits = self.0.iter().flat_map(|byte| [byte >> 4, byte & 15]);
        let text: String = digits.filter_map(|digit| char::from_digit(digit.into(), 16)).collect();
        serializer.serialize_str(&text)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let number = u128::from_str_radix(&text, 16).map_err(serde::de::Error::custom)?;
        Ok(Self(number.to_be_bytes()))
    }
}

/// One text that has been read, whatever its file is called.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Origin {
    /// Part of the identity of its events: the digest of its first line, which does not change while it grows.
    pub(super) id: Digest,
    /// How much of its begin is known.
    head_bytes: usize,
    /// The digest of that.
    head: Digest,
    /// Up to where it has been read, in octets of uncompressed text.
    pub(super) offset: u64,
    /// The digest of the octets before that.
    tail: Digest,
    /// The name under which it was read last.
    pub(super) path: String,
    /// When.
    pub(super) at: Time,
    /// Whether it had been read to its end then.
    ended: bool,
}

impl Origin {
    /// Whether a text begins as this one.
    pub(super) fn begins_as(&self, head: &[u8]) -> bool {
        head.get(..self.head_bytes).is_some_and(|begin| Digest::of(begin) == self.head)
    }

    /// Whether nothing can be new in a file of it that was last written at `modified`.
    pub(super) fn has_all_until(&self, modified: Time) -> bool {
        self.ended && modified.plus_millis(MTIME_LAG_MS) < self.at
    }

    /// How much of the begin [`begins_as`](Self::begins_as) looks at.
    pub(super) fn head_bytes(&self) -> usize {
        self.head_bytes
    }

    /// Whether `tail`, the octets before the offset, are those that were read.
    pub(super) fn ends_as(&self, tail: &[u8]) -> bool {
        Digest::of(&tail[tail.len().saturating_sub(TAIL_BYTES)..]) == self.tail
    }

    fn learn_head(&mut self, head: &[u8]) {
        if head.len() > self.head_bytes {
            (self.head_bytes, self.head) = (head.len(), Digest::of(head));
        }
    }
}

/// Everything that has been read: what a checkpoint says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Origins {
    /// The one that was read last is the last.
    origins: Vec<Origin>,
    /// The cursor of the last entry that was read of each journal, by its name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    cursors: BTreeMap<String, String>,
    /// Messages that were searched for reports.
    #[serde(default, skip_serializing_if = "Seen::is_empty")]
    pub(super) mailed: Seen,
}

impl Origins {
    /// What a checkpoint says; `None` when it is none of ours.
    pub(super) fn decode(checkpoint: &[u8]) -> Option<Self> {
        serde_json::from_slice(checkpoint).ok()
    }

    /// As a checkpoint.
    pub(super) fn encode(&self) -> Vec<u8> {
        // Nothing in it can fail to be JSON.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Takes over what another spool has read of the same node.
    pub(super) fn merge(&mut self, other: &Origins) {
        for theirs in &other.origins {
            match self.origins.iter_mut().find(|ours| ours.id == theirs.id) {
                Some(ours) if ours.offset >= theirs.offset => {}
                Some(ours) => *ours = theirs.clone(),
                None => self.origins.push(theirs.clone()),
            }
        }
        self.bound();
    }

    /// Up to where a journal has been read.
    pub(super) fn cursor(&self, journal: &str) -> Option<&str> {
        self.cursors.get(journal).map(String::as_str)
    }

    /// A journal has been read up to `cursor`.
    pub(super) fn set_cursor(&mut self, journal: &str, cursor: &str) {
        self.cursors.insert(journal.to_owned(), cursor.to_owned());
        while self.cursors.len() > JOURNALS {
            self.cursors.pop_first();
        }
    }

    /// The origin of this identity.
    pub(super) fn get(&self, id: Digest) -> Option<&Origin> {
        self.origins.iter().find(|origin| origin.id == id)
    }

    /// The origins that begin as `head`, the longest first: a text may have been copied while it grew, and two texts
    /// may begin alike.
    pub(super) fn find(&self, head: &[u8]) -> Vec<Origin> {
        let mut digests: Vec<(usize, Digest)> = Vec::new();
        let mut begins_alike = |origin: &&Origin| {
            let Some(begin) = head.get(..origin.head_bytes) else { return false };
            let known = digests.iter().find(|(length, _)| *length == begin.len()).map(|(_, digest)| *digest);
            let digest = known.unwrap_or_else(|| {
                let digest = Digest::of(begin);
                digests.push((begin.len(), digest));
                digest
            });
            digest == origin.head
        };
        let mut found: Vec<Origin> = self.origins.iter().filter(&mut begins_alike).cloned().collect();
        found.sort_by_key(|origin| std::cmp::Reverse(origin.offset));
        found
    }

    /// When a text was last read under this name.
    pub(super) fn last_read(&self, path: &str) -> Option<Time> {
        self.origins.iter().filter(|origin| origin.path == path).map(|origin| origin.at).max()
    }

    /// A new origin, read up to its begin. `salt` tells it from one that begins alike.
    pub(super) fn admit(&mut self, head: &[u8], salt: &[u8], path: &str, now: Time) -> Digest {
        let line = head.split(|byte| *byte == b'\n').next().unwrap_or(head);
        let mut id = if salt.is_empty() { Digest::of(line) } else { Digest::of_both(head, salt) };
        while self.get(id).is_some() {
            id = Digest::of_both(&id.0, head);
        }
        self.origins.push(Origin {
            id,
            head_bytes: head.len(),
            head: Digest::of(head),
            offset: 0,
            tail: Digest::of(b""),
            path: path.to_owned(),
            at: now,
            ended: false,
        });
        self.bound();
        id
    }

    /// An origin has been read up to `place`, an offset and the octets before it, and whether that was its end.
    pub(super) fn advance(&mut self, id: Digest, head: &[u8], place: (u64, &[u8]), ended: bool, path: &str, now: Time) {
        let Some(index) = self.origins.iter().position(|origin| origin.id == id) else { return };
        let mut origin = self.origins.remove(index);
        origin.learn_head(head);
        if origin.offset != place.0 {
            (origin.offset, origin.tail) = (place.0, Digest::of(place.1));
        }
        path.clone_into(&mut origin.path);
        (origin.at, origin.ended) = (now, ended);
        self.origins.push(origin);
    }

    fn bound(&mut self) {
        let excess = self.origins.len().saturating_sub(ORIGINS);
        self.origins.drain(..excess);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Time = Time(1);

    #[test]
    fn a_text_is_found_while_it_grows_and_keeps_its_identity() {
        let mut origins = Origins::default();
        let id = origins.admit(b"one\n", b"", "a", NOW);
        origins.advance(id, b"one\ntwo\n", (4, b"one\n"), false, "a", NOW);
        assert_eq!(origins.find(b"one\ntwo\nthree\n")[0].id, id);
        assert!(origins.find(b"one\nTWO\n").is_empty(), "another text with the same first line");
        let other = origins.admit(b"one\nTWO\n", b"", "a", NOW);
        assert_ne!(other, id);
        assert_eq!(origins.find(b"one\nTWO\nx")[0].id, other);
        assert_eq!(Origins::decode(&origins.encode()), Some(origins));
    }

    #[test]
    fn the_identity_of_the_first_line_does_not_depend_on_how_much_was_there() {
        let [short, long] = [&b"one\n"[..], b"one\ntwo\n"].map(|head| Origins::default().admit(head, b"", "a", NOW));
        assert_eq!(short, long);
    }

    #[test]
    fn what_was_read_longest_ago_is_forgotten_first_and_the_farthest_reader_wins() {
        let mut origins = Origins::default();
        let first = origins.admit(b"0", b"", "a", NOW);
        for number in 1..ORIGINS {
            origins.admit(number.to_string().as_bytes(), b"", "a", NOW);
        }
        origins.advance(first, b"0", (1, b"0"), true, "a", NOW);
        origins.admit(b"new", b"", "a", NOW);
        assert!(origins.find(b"1").is_empty());
        let mut other = Origins::default();
        other.merge(&origins);
        other.advance(first, b"0", (9, b"x"), true, "b", NOW);
        origins.merge(&other);
        assert_eq!(origins.get(first).map(|origin| origin.offset), Some(9));
    }
}
