//! Lines out of a stream of octets, as RFC 6587 frames them: counted (`23 <22>1 …`), or ended by a line end or NUL.
//!
//! A frame that begins with a digit is counted, every other is ended (RFC 6587 section 3.4.1); a sender may mix them.

use crate::dialect::MAX_LINE_BYTES;

/// What is kept of a longer line: enough to see that it is too long for every dialect.
const KEPT: usize = MAX_LINE_BYTES + 1;
/// A greater count is no count.
const MAX_COUNT: usize = 16 << 20;

/// What came whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Frame {
    /// The line; its first part if it was too long.
    pub(super) line: Vec<u8>,
    /// Whether it was too long.
    pub(super) cut: bool,
}

/// The stream cannot be understood any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Broken;

#[derive(Debug, Default)]
enum State {
    /// Before a frame.
    #[default]
    Begin,
    /// In the count of a frame.
    Count(usize),
    /// In a counted frame: so many octets are left.
    Counted(usize),
    /// In a frame that has an end.
    Ended,
}

/// Cuts a stream into frames, in bounded memory.
#[derive(Debug, Default)]
pub(super) struct Framing {
    state: State,
    line: Vec<u8>,
    cut: bool,
}

impl Framing {
    /// Takes octets in and appends the frames that are whole.
    ///
    /// # Errors
    /// A count that is none. The connection cannot go on.
    pub(super) fn push(&mut self, mut octets: &[u8], out: &mut Vec<Frame>) -> Result<(), Broken> {
        while let Some((first, rest)) = octets.split_first() {
            match (&mut self.state, first) {
                (State::Begin, b'\n' | b'\r' | 0) => octets = rest,
                (State::Begin, b'1'..=b'9') => (self.state, octets) = (State::Count(usize::from(first - b'0')), rest),
                (State::Begin, _) => self.state = State::Ended,
                (State::Count(count), b'0'..=b'9') => {
                    *count = *count * 10 + usize::from(first - b'0');
                    if *count > MAX_COUNT {
                        return Err(Broken);
                    }
                    octets = rest;
                }
                (State::Count(count), b' ') => (self.state, octets) = (State::Counted(*count), rest),
                (State::Count(_), _) => return Err(Broken),
                (State::Counted(left), _) => {
                    let part;
                    (part, octets) = octets.split_at((*left).min(octets.len()));
                    *left -= part.len();
                    let whole = *left == 0;
                    self.keep(part);
                    if whole {
                        self.finish(out);
                    }
                }
                (State::Ended, _) => {
                    let end = memchr::memchr2(b'\n', 0, octets);
                    self.keep(&octets[..end.unwrap_or(octets.len())]);
                    octets = end.map_or(&[], |end| &octets[end + 1..]);
                    if end.is_some() {
                        self.finish(out);
                    }
                }
            }
        }
        Ok(())
    }

    /// What was left when the stream ended: a last line without its end.
    ///
    /// # Errors
    /// Half of a counted frame, which is none.
    pub(super) fn last(&mut self, out: &mut Vec<Frame>) -> Result<(), Broken> {
        match std::mem::take(&mut self.state) {
            State::Begin => Ok(()),
            State::Ended => {
                self.finish(out);
                Ok(())
            }
            State::Count(_) | State::Counted(_) => {
                self.line.clear();
                self.cut = false;
                Err(Broken)
            }
        }
    }

    fn keep(&mut self, part: &[u8]) {
        let room = KEPT - self.line.len();
        self.cut |= part.len() > room;
        self.line.extend_from_slice(&part[..part.len().min(room)]);
    }

    fn finish(&mut self, out: &mut Vec<Frame>) {
        let mut line = std::mem::take(&mut self.line);
        while line.last().is_some_and(|byte| matches!(byte, b'\n' | b'\r')) {
            line.pop();
        }
        out.push(Frame { line, cut: std::mem::take(&mut self.cut) });
        self.state = State::Begin;
    }
}

/// The line of a datagram.
pub(super) fn datagram(octets: &[u8]) -> Frame {
    let end = octets.iter().rposition(|byte| !matches!(byte, b'\n' | b'\r' | 0)).map_or(0, |last| last + 1);
    Frame { line: octets[..end.min(KEPT)].to_vec(), cut: end > KEPT }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frames(octets: &[u8], size: usize) -> Result<Vec<String>, Broken> {
        let (mut framing, mut out) = (Framing::default(), Vec::new());
        for part in octets.chunks(size) {
            framing.push(part, &mut out)?;
        }
        let _ = framing.last(&mut out);
        Ok(out.into_iter().map(|frame| String::from_utf8(frame.line).unwrap()).collect())
    }

    #[test]
    fn counted_and_ended_frames_may_follow_each_other() {
        let stream = b"<22>one\r\n9 <22>two\nx<22>three\0\n12 <22>fo 1234 <22>five";
        let expected = ["<22>one", "<22>two\nx", "<22>three", "<22>fo 1234 ", "<22>five"];
        for size in 1..stream.len() {
            assert_eq!(frames(stream, size).unwrap(), expected, "{size} octets at once");
        }
    }

    #[test]
    fn half_of_a_counted_frame_is_no_line() {
        for half in ["12 <22>half", "1"] {
            let (mut framing, mut out) = (Framing::default(), Vec::new());
            framing.push(half.as_bytes(), &mut out).unwrap();
            assert_eq!((framing.last(&mut out), out), (Err(Broken), Vec::new()), "{half}");
        }
    }

    #[test]
    fn a_count_that_is_none_ends_the_stream() {
        assert_eq!(frames(b"12x <22>", 3), Err(Broken));
        assert_eq!(frames(b"99999999999999999999 ", 30), Err(Broken));
    }

    #[test]
    fn a_line_that_is_too_long_keeps_its_first_part_and_the_next_is_whole() {
        for head in [&b"1000000 "[..], b""] {
            let (mut framing, mut out) = (Framing::default(), Vec::new());
            framing.push(head, &mut out).unwrap();
            for _ in 0..1000 {
                framing.push(&[b'<'; 1000], &mut out).unwrap();
            }
            framing.push(b"\n<22>next\n", &mut out).unwrap();
            assert_eq!(out.len(), 2);
            assert!(out[0].cut && out[0].line.len() == KEPT);
            assert_eq!(out[1], Frame { line: b"<22>next".to_vec(), cut: false });
        }
        assert!(datagram(&vec![b'x'; KEPT + 5]).cut);
        assert_eq!(datagram(b"<22>x\n\0"), Frame { line: b"<22>x".to_vec(), cut: false });
    }

    proptest! {
        #[test]
        fn no_octets_panic_and_memory_is_bounded(octets in prop::collection::vec(any::<u8>(), 0..300), size in 1_usize..50) {
            let (mut framing, mut out) = (Framing::default(), Vec::new());
            for part in octets.chunks(size) {
                if framing.push(part, &mut out).is_err() {
                    break;
                }
                prop_assert!(framing.line.len() <= KEPT);
            }
        }
    }
}
