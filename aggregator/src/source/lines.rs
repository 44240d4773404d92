//! Lines of bounded length out of a stream of octets, each with its offset.

use std::io::{self, Read};

use crate::dialect::MAX_LINE_BYTES;

/// How much is read at once.
const CHUNK: usize = 256 << 10;
/// What is kept of a line: no dialect reads one so long, but `raw_lines` has it whole.
pub(crate) const KEPT: usize = 1 << 20;
/// What of a line may lie in the buffer; a longer one is put together beside it.
const BUFFERED: usize = MAX_LINE_BYTES + 1;
/// Octets before the place of a checkpoint by which the origin is recognised there.
pub(super) const TAIL_BYTES: usize = 256;

/// A whole line, without its line end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Line<'a> {
    /// Octets before it in its origin.
    pub(crate) offset: u64,
    /// The line; its first part if it is too long.
    pub(crate) bytes: &'a [u8],
}

/// The begin of a line that does not fit.
#[derive(Debug)]
struct Long {
    offset: u64,
    kept: Vec<u8>,
    cut: bool,
    tail: Vec<u8>,
}

impl Long {
    fn keep(&mut self, part: &[u8]) {
        let room = KEPT - self.kept.len();
        self.cut |= part.len() > room;
        self.kept.extend_from_slice(&part[..part.len().min(room)]);
    }
}

/// Cuts a stream into lines.
#[derive(Debug)]
pub(crate) struct Lines {
    buffer: Vec<u8>,
    /// Where the next line begins in `buffer`; what lies before is kept for [`tail`](Self::tail).
    start: usize,
    /// Up to where no line end was found.
    scanned: usize,
    end: usize,
    /// Of `start` in the origin.
    offset: u64,
    long: Option<Long>,
    given: Vec<u8>,
    cut: u64,
}

impl Lines {
    /// Lines from `offset` on; `tail` is what lies before it.
    pub(crate) fn new(offset: u64, tail: &[u8]) -> Self {
        let tail = &tail[tail.len().saturating_sub(TAIL_BYTES)..];
        let mut buffer = vec![0; CHUNK];
        buffer[..tail.len()].copy_from_slice(tail);
        let at = tail.len();
        Self { buffer, start: at, scanned: at, end: at, offset, long: None, given: Vec::new(), cut: 0 }
    }

    /// Reads once. How many octets came; 0 at the end.
    pub(crate) fn fill(&mut self, input: &mut impl Read) -> io::Result<usize> {
        self.make_room();
        let count = loop {
            match input.read(&mut self.buffer[self.end..]) {
                Err(why) if why.kind() == io::ErrorKind::Interrupted => {}
                other => break other?,
            }
        };
        self.end += count;
        Ok(count)
    }

    /// Forgets the octets of the last `fill`, which turned out to be another origin's.
    pub(super) fn forget(&mut self, count: usize) {
        self.end -= count;
    }

    fn make_room(&mut self) {
        if self.end - self.start > BUFFERED && self.scanned == self.end {
            let tail = self.tail().to_vec();
            let long =
                self.long.get_or_insert_with(|| Long { offset: self.offset, kept: Vec::new(), cut: false, tail });
            long.keep(&self.buffer[self.start..self.end]);
            self.offset += (self.end - self.start) as u64;
            self.start = self.end;
        }
        let from = self.start.saturating_sub(TAIL_BYTES);
        if from > 0 && self.buffer.len() - self.end < CHUNK / 2 {
            self.buffer.copy_within(from..self.end, 0);
            self.start -= from;
            self.scanned -= from;
            self.end -= from;
        }
    }

    /// The next whole line of what was read.
    pub(crate) fn next(&mut self) -> Option<Line<'_>> {
        let Some(at) = memchr::memchr(b'\n', &self.buffer[self.scanned..self.end]) else {
            self.scanned = self.end;
            return None;
        };
        let stop = self.scanned + at;
        Some(self.take(stop, stop + 1))
    }

    /// What follows the last line end, as the last line of an origin that does not grow any more.
    pub(crate) fn last(&mut self) -> Option<Line<'_>> {
        (self.end > self.start || self.long.is_some()).then(|| self.take(self.end, self.end))
    }

    fn take(&mut self, stop: usize, next: usize) -> Line<'_> {
        let (begin, offset) = (self.start, self.offset);
        self.offset += (next - begin) as u64;
        (self.start, self.scanned) = (next, next);
        let line = &self.buffer[begin..stop];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if let Some(mut long) = self.long.take() {
            long.keep(line);
            self.cut += u64::from(long.cut);
            self.given = long.kept;
            return Line { offset: long.offset, bytes: &self.given };
        }
        Line { offset, bytes: line }
    }

    /// How many of the lines that were given are longer than what is kept of one.
    pub(crate) fn cut(&self) -> u64 {
        self.cut
    }

    /// The place after the last line that was given: where a checkpoint may stand.
    pub(super) fn position(&self) -> u64 {
        self.long.as_ref().map_or(self.offset, |long| long.offset)
    }

    /// Up to [`TAIL_BYTES`] octets before [`position`](Self::position).
    pub(super) fn tail(&self) -> &[u8] {
        match &self.long {
            Some(long) => &long.tail,
            None => &self.buffer[self.start.saturating_sub(TAIL_BYTES)..self.start],
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Gives as many octets at once as the sizes say.
    struct Dripping<'a>(&'a [u8], std::iter::Cycle<std::slice::Iter<'a, usize>>);

    impl Read for Dripping<'_> {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            let count = (*self.1.next().unwrap()).min(self.0.len()).min(out.len());
            out[..count].copy_from_slice(&self.0[..count]);
            self.0 = &self.0[count..];
            Ok(count)
        }
    }

    fn read(text: &[u8], sizes: &[usize]) -> (Vec<(u64, Vec<u8>)>, Lines) {
        let mut input = Dripping(text, sizes.iter().cycle());
        let (mut lines, mut found) = (Lines::new(0, b""), Vec::new());
        while lines.fill(&mut input).unwrap() > 0 {
            while let Some(line) = lines.next() {
                found.push((line.offset, line.bytes.to_vec()));
            }
            let at = lines.position() as usize;
            assert_eq!(lines.tail(), &text[at.saturating_sub(TAIL_BYTES)..at]);
        }
        found.extend(lines.last().map(|line| (line.offset, line.bytes.to_vec())));
        (found, lines)
    }

    fn expected(text: &[u8]) -> Vec<(u64, Vec<u8>)> {
        let mut offset = 0;
        let lines = text.split_inclusive(|byte| *byte == b'\n').map(|line| {
            let at = offset;
            offset += line.len() as u64;
            let line = line.strip_suffix(b"\n").unwrap_or(line);
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            (at, line[..line.len().min(KEPT)].to_vec())
        });
        lines.collect()
    }

    proptest! {
        #[test]
        fn however_the_octets_come_the_lines_are_the_same(
            lengths in prop::collection::vec(prop_oneof![6 => 0_usize..300, 1 => 60_000_usize..1_100_000], 0..12),
            sizes in prop::collection::vec(1_usize..300_000, 1..5),
            ended in any::<bool>(),
        ) {
            let mut text = Vec::new();
            for (number, length) in lengths.iter().enumerate() {
                text.extend(std::iter::repeat_n(b'a' + (number % 26) as u8, *length));
                text.extend_from_slice(if number % 3 == 0 { b"\r\n" } else { b"\n" });
            }
            if !ended {
                text.extend_from_slice(b"unfinished");
            }
            let sizes: Vec<usize> = sizes.into_iter().chain([70_001]).collect();
            let (found, lines) = read(&text, &sizes);
            prop_assert_eq!(found, expected(&text));
            prop_assert_eq!(lines.position(), text.len() as u64);
        }
    }

    #[test]
    fn a_line_without_end_takes_no_more_memory_than_others() {
        let mut lines = Lines::new(0, b"");
        let mut input = io::repeat(b'x').take(1 << 28);
        while lines.fill(&mut input).unwrap() > 0 {
            assert!(lines.next().is_none());
        }
        assert!(lines.buffer.len() <= CHUNK);
        assert_eq!(lines.position(), 0);
        assert_eq!(lines.last().map(|line| line.bytes.len()), Some(KEPT));
        assert_eq!(lines.position(), 1 << 28);
    }
}
