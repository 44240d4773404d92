//! Cuts the client's octets into commands: a line, or lines joined by literals (RFC 9051 section 4.3, RFC 7888).
//!
//! A command is kept as it came, literals with their `{n}` heads in place, so that the grammar sees one text.

/// Octets of a command outside of its literals.
pub(crate) const LINE_BYTES: usize = 64 * 1024;
/// Octets of all literals of a command before login.
pub(crate) const EARLY_LITERAL_BYTES: u64 = 4 * 1024;
/// Literals of one command.
const LITERALS: usize = 1024;

/// What the octets hold next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    /// Nothing whole yet.
    More,
    /// The client waits for `+` before it sends a literal.
    Continue,
    /// A whole command, without its last CRLF.
    Command(Vec<u8>),
    /// A synchronising literal is too large: the command is refused, and its octets do not come.
    LiteralTooLarge(Vec<u8>),
    /// The line, or a literal that comes unasked, is too large: there is no way to go on.
    TooLong,
}

/// Collects octets. It holds one command at most, and what was read together with its end.
#[derive(Debug, Default)]
pub(crate) struct Framer {
    buffer: Vec<u8>,
    /// Octets of `buffer` known to be part of the command: up to the end of the last literal.
    taken: usize,
    /// Where the search for the end of the line goes on.
    scanned: usize,
    /// Octets of the literals so far, and their number.
    literal_bytes: u64,
    literals: usize,
    /// The literal that is coming ends here.
    literal_end: usize,
}

impl Framer {
    pub(crate) fn push(&mut self, octets: &[u8]) {
        self.buffer.extend_from_slice(octets);
    }

    /// Forgets what was received: the octets before TLS began are not to be trusted (RFC 9051 section 6.2.1).
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// The next frame; `literal_limit` bounds the octets of a command's literals.
    pub(crate) fn next(&mut self, literal_limit: u64) -> Frame {
        if self.buffer.len() < self.literal_end {
            return Frame::More;
        }
        self.taken = self.taken.max(self.literal_end);
        self.scanned = self.scanned.max(self.taken);
        let Some(end) = memchr(&self.buffer[self.scanned..]).map(|at| self.scanned + at) else {
            self.scanned = self.buffer.len();
            let line = self.buffer.len() - usize::try_from(self.literal_bytes).unwrap_or(0);
            return if line > LINE_BYTES { Frame::TooLong } else { Frame::More };
        };
        let line_end = if end > self.taken && self.buffer[end - 1] == b'\r' { end - 1 } else { end };
        if end + 1 - usize::try_from(self.literal_bytes).unwrap_or(0) > LINE_BYTES {
            return Frame::TooLong;
        }
        let Some(literal) = literal_head(&self.buffer[self.taken..line_end]) else {
            return Frame::Command(self.cut(line_end, end + 1));
        };
        let fits = self.literal_bytes.saturating_add(literal.bytes) <= literal_limit && self.literals < LITERALS;
        match (fits, literal.synchronising) {
            (false, false) => return Frame::TooLong,
            (false, true) => return Frame::LiteralTooLarge(self.cut(line_end, end + 1)),
            (true, _) => {}
        }
        self.literal_bytes += literal.bytes;
        self.literals += 1;
        self.taken = end + 1;
        self.scanned = self.taken;
        self.literal_end = self.taken.saturating_add(usize::try_from(literal.bytes).unwrap_or(usize::MAX));
        match literal.synchronising {
            true => Frame::Continue,
            false => self.next(literal_limit),
        }
    }

    /// Takes the command out that ends at `end`; the rest, from `rest`, is the beginning of the next.
    fn cut(&mut self, end: usize, rest: usize) -> Vec<u8> {
        let rest = self.buffer.split_off(rest);
        let mut command = std::mem::replace(&mut self.buffer, rest);
        command.truncate(end);
        let buffer = std::mem::take(&mut self.buffer);
        *self = Self { buffer, ..Self::default() };
        command
    }
}

/// The head of a literal at the end of a line.
struct LiteralHead {
    bytes: u64,
    synchronising: bool,
}

fn literal_head(line: &[u8]) -> Option<LiteralHead> {
    let inner = line.strip_suffix(b"}")?;
    let open = inner.iter().rposition(|octet| *octet == b'{')?;
    let number = &inner[open + 1..];
    let (number, synchronising) = match number.strip_suffix(b"+") {
        Some(number) => (number, false),
        None => (number, true),
    };
    if number.is_empty() || number.len() > 19 || !number.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let bytes = number.iter().fold(0_u64, |sum, digit| sum.saturating_mul(10).saturating_add(u64::from(digit - b'0')));
    Some(LiteralHead { bytes, synchronising })
}

fn memchr(octets: &[u8]) -> Option<usize> {
    octets.iter().position(|octet| *octet == b'\n')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frames(input: &[u8], limit: u64) -> Vec<Frame> {
        let mut framer = Framer::default();
        framer.push(input);
        let mut frames = Vec::new();
        loop {
            let frame = framer.next(limit);
            let last = matches!(frame, Frame::More | Frame::TooLong);
            frames.push(frame);
            if last {
                return frames;
            }
        }
    }

    fn command(text: &str) -> Frame {
        Frame::Command(text.as_bytes().to_vec())
    }

    #[test]
    fn literals_belong_to_their_command_whatever_they_hold() {
        assert_eq!(
            frames(b"a LOGIN {3}\r\na\nb {2+}\r\nxy\r\nb NOOP\r\nc N", 100),
            [Frame::Continue, command("a LOGIN {3}\r\na\nb {2+}\r\nxy"), command("b NOOP"), Frame::More]
        );
        assert_eq!(frames(b"a X {0}\r\n\r\n", 1), [Frame::Continue, command("a X {0}\r\n"), Frame::More]);
    }

    #[test]
    fn what_is_too_large_is_refused_before_it_comes() {
        let refused = Frame::LiteralTooLarge(b"a X {101}".to_vec());
        assert_eq!(frames(b"a X {101}\r\nb NOOP\r\n", 100), [refused, command("b NOOP"), Frame::More]);
        assert_eq!(frames(b"a X {101+}\r\n", 100), [Frame::TooLong]);
        assert_eq!(frames(&vec![b'a'; LINE_BYTES + 1], 100), [Frame::TooLong]);
    }

    proptest! {
        #[test]
        fn any_octets_in_any_pieces_give_the_same_frames(
            input in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'{'), Just(b'}'), Just(b'1'), any::<u8>()], 0..200),
            piece in 1_usize..7,
        ) {
            let whole: Vec<Frame> = frames(&input, 20);
            let mut framer = Framer::default();
            let mut pieces = Vec::new();
            'input: for chunk in input.chunks(piece) {
                framer.push(chunk);
                loop {
                    match framer.next(20) {
                        Frame::More => break,
                        Frame::TooLong => { pieces.push(Frame::TooLong); break 'input; }
                        frame => pieces.push(frame),
                    }
                }
            }
            if pieces.last() != Some(&Frame::TooLong) {
                pieces.push(Frame::More);
            }
            prop_assert_eq!(whole, pieces);
        }
    }
}
