//! The journal: what has been emitted and is not yet sealed.
//!
//! A record is a mark, a length, a tag (the first eight octets of the payload's BLAKE3), and the event as JSON.
//! It is written with one `write` as soon as it is there, so that the death of the process loses nothing. The mark
//! holds an octet that never occurs in UTF-8: after a damaged record the next good one is found again.

use memchr::memmem;

use crate::event::Event;

const MARK: [u8; 4] = *b"\xf7VJ1";
const HEAD: usize = 16;
/// The longest event that is kept, as JSON.
pub(crate) const RECORD_MAX_BYTES: usize = 16 << 20;

/// Appends one record.
pub(crate) fn put_record(json: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(&MARK);
    out.extend_from_slice(&(json.len() as u32).to_le_bytes());
    out.extend_from_slice(&tag(json.as_bytes()));
    out.extend_from_slice(json.as_bytes());
}

/// What a journal held.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Journal {
    /// The events that can be read, in order.
    pub(crate) events: Vec<Event>,
    /// The damaged regions.
    pub(crate) corrupt: Vec<Vec<u8>>,
    /// Octets of a last record that was cut off in mid-write: nobody was told that it is kept.
    pub(crate) torn_bytes: usize,
}

/// Reads a journal, whatever has happened to it.
pub(crate) fn read(bytes: &[u8]) -> Journal {
    let mut journal = Journal::default();
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        if let Some(payload) = record(rest) {
            let end = HEAD + payload.len();
            match std::str::from_utf8(payload).ok().and_then(|json| Event::from_json(json).ok()) {
                Some(event) => journal.events.push(event),
                None => journal.corrupt.push(rest[..end].to_vec()),
            }
            at += end;
            continue;
        }
        let next =
            memmem::find_iter(&rest[1..], &MARK).map(|found| found + 1).find(|next| record(&rest[*next..]).is_some());
        match next {
            Some(next) => journal.corrupt.push(rest[..next].to_vec()),
            None if is_torn(rest) => journal.torn_bytes = rest.len(),
            None => journal.corrupt.push(rest.to_vec()),
        }
        at += next.unwrap_or(rest.len());
    }
    journal
}

/// The payload of the record that `bytes` begin with.
fn record(bytes: &[u8]) -> Option<&[u8]> {
    let (head, rest) = bytes.split_first_chunk::<HEAD>()?;
    let payload = rest.get(..length(head))?;
    (head[..4] == MARK && head[8..] == tag(payload)).then_some(payload)
}

/// Whether this is the beginning of a record that was never finished, or what a file system leaves of one.
fn is_torn(bytes: &[u8]) -> bool {
    let begins = bytes.iter().zip(MARK).all(|(byte, mark)| *byte == mark);
    let unfinished = bytes.first_chunk::<HEAD>().is_none_or(|head| length(head) > bytes.len() - HEAD);
    (begins && unfinished) || bytes.iter().all(|byte| *byte == 0)
}

fn length(head: &[u8; HEAD]) -> usize {
    u32::from_le_bytes([head[4], head[5], head[6], head[7]]) as usize
}

fn tag(payload: &[u8]) -> [u8; 8] {
    let mut tag = [0; 8];
    tag.copy_from_slice(&blake3::hash(payload).as_bytes()[..8]);
    tag
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::event::RawLine;

    fn line(text: &str) -> Event {
        RawLine { line: text.into(), ..RawLine::default() }.into()
    }

    fn written(lines: &[&str]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for text in lines {
            put_record(&line(text).to_json().unwrap(), &mut bytes);
        }
        bytes
    }

    #[test]
    fn a_damaged_record_is_set_apart_and_the_rest_is_read() {
        let (first, second) = (written(&["one"]), written(&["two"]));
        let mut bytes = [first.clone(), second.clone(), written(&["three"])].concat();
        bytes[first.len() + 20] ^= 1;
        let journal = read(&bytes);
        assert_eq!(journal.events, [line("one"), line("three")]);
        assert_eq!(journal.corrupt.len(), 1);
        assert_eq!(journal.corrupt[0].len(), second.len());
    }

    #[test]
    fn a_damaged_length_does_not_hide_the_records_after_it() {
        let first = written(&["one"]);
        let mut bytes = written(&["one", "two", "three"]);
        bytes[first.len() + 5] ^= 0x40;
        assert_eq!(read(&bytes).events, [line("one"), line("three")]);
    }

    #[test]
    fn a_last_record_that_is_whole_but_damaged_is_not_taken_for_a_torn_one() {
        let mut bytes = written(&["one", "two"]);
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        let journal = read(&bytes);
        assert_eq!((journal.events.len(), journal.corrupt.len(), journal.torn_bytes), (1, 1, 0));
    }

    proptest! {
        #[test]
        fn a_journal_cut_anywhere_gives_the_whole_records_before_the_cut(cut in 0_usize..1000) {
            let bytes = written(&["one", "two", "three"]);
            let ends: Vec<usize> = [&["one"][..], &["one", "two"], &["one", "two", "three"]].iter().map(|lines| written(lines).len()).collect();
            let cut = cut % (bytes.len() + 1);
            let journal = read(&bytes[..cut]);
            let whole = ends.iter().filter(|end| **end <= cut).count();
            prop_assert_eq!(journal.events.len(), whole);
            prop_assert!(journal.corrupt.is_empty());
            prop_assert_eq!(journal.torn_bytes, cut - ends[..whole].last().copied().unwrap_or(0));
        }

        #[test]
        fn no_octets_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut damaged = written(&["one"]);
            damaged.extend_from_slice(&bytes);
            prop_assert_eq!(&read(&damaged).events[..1], &[line("one")]);
        }
    }
}
