//! Receiving the content of a message: dot-stuffing, chunks, its size, and no bare CR or LF.

/// Receives one message's content. Memory is bounded by the limit: what goes past it is counted and thrown away.
#[derive(Debug)]
pub struct Body {
    octets: Vec<u8>,
    limit: usize,
    at: At,
    fault: Option<BodyFault>,
}

/// Why a content is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyFault {
    /// Larger than the limit.
    TooLarge,
    /// A CR without LF or a LF without CR: other systems could see the end of the message there.
    BareLineEnd,
    /// The process has no memory left for bodies.
    NoMemory,
}

/// The place in a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    LineStart,
    Dot,
    DotCr,
    Text,
    Cr,
}

impl Body {
    /// A body of at most `limit` octets.
    pub fn new(limit: usize) -> Self {
        Self { octets: Vec::new(), limit, at: At::LineStart, fault: None }
    }

    /// Octets held.
    pub fn held(&self) -> usize {
        self.octets.len()
    }

    /// What is wrong with it so far.
    pub fn fault(&self) -> Option<BodyFault> {
        self.fault
    }

    /// Gives the content up; the rest of it will be thrown away as it comes.
    pub fn give_up(&mut self, fault: BodyFault) {
        self.fault.get_or_insert(fault);
        self.octets = Vec::new();
    }

    /// Takes content that came after DATA (RFC 5321 section 4.5.2), up to its end: true when it is complete. Only
    /// CRLF `.` CRLF ends it.
    pub fn data(&mut self, input: &mut &[u8]) -> bool {
        while let [first, rest @ ..] = *input {
            match (self.at, first) {
                (At::LineStart, b'.') => {
                    self.at = At::Dot;
                    *input = rest;
                }
                (At::Dot, b'\r') => {
                    self.at = At::DotCr;
                    *input = rest;
                }
                (At::DotCr, b'\n') => {
                    *input = rest;
                    return true;
                }
                (At::DotCr, _) => {
                    self.give_up(BodyFault::BareLineEnd);
                    self.at = At::Text;
                }
                (At::LineStart | At::Dot | At::Text | At::Cr, _) => self.text(input),
            }
        }
        false
    }

    /// Takes octets of a BDAT chunk (RFC 3030).
    pub fn chunk(&mut self, mut input: &[u8]) {
        while !input.is_empty() {
            self.text(&mut input);
        }
    }

    /// The content, complete.
    ///
    /// # Errors
    /// Why it is not taken.
    pub fn finish(mut self) -> Result<Vec<u8>, BodyFault> {
        if self.at == At::Cr {
            self.give_up(BodyFault::BareLineEnd);
        }
        self.fault.map_or(Ok(self.octets), Err)
    }

    /// Takes one line end, or text up to the next one.
    fn text(&mut self, input: &mut &[u8]) {
        let end = input.iter().position(|octet| matches!(octet, b'\r' | b'\n')).unwrap_or(input.len());
        let (text, rest) = input.split_at(end);
        if !text.is_empty() {
            if self.at == At::Cr {
                self.give_up(BodyFault::BareLineEnd);
            }
            self.keep(text);
            self.at = At::Text;
            *input = rest;
            return;
        }
        let Some((octet, rest)) = rest.split_first() else { return };
        *input = rest;
        match (self.at, octet) {
            (At::Cr, b'\n') => {
                self.keep(b"\r\n");
                self.at = At::LineStart;
            }
            (At::Cr, _) => self.give_up(BodyFault::BareLineEnd),
            (_, b'\r') => self.at = At::Cr,
            (_, _) => {
                self.give_up(BodyFault::BareLineEnd);
                self.at = At::Text;
            }
        }
    }

    fn keep(&mut self, octets: &[u8]) {
        if self.fault.is_some() {
            return;
        }
        if self.octets.len() + octets.len() > self.limit {
            self.give_up(BodyFault::TooLarge);
            return;
        }
        self.octets.extend_from_slice(octets);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Content = Result<Vec<u8>, BodyFault>;

    /// The content and what follows it, with the input cut after every `size` octets.
    fn data(input: &[u8], size: usize) -> Option<(Content, Vec<u8>)> {
        let mut body = Body::new(100);
        let mut rest = input;
        while !rest.is_empty() {
            let (mut piece, later) = rest.split_at(size.min(rest.len()));
            if body.data(&mut piece) {
                return Some((body.finish(), [piece, later].concat()));
            }
            rest = later;
        }
        None
    }

    #[test]
    fn content_is_unstuffed_however_it_is_cut() {
        let cases = [
            (b".\r\n".to_vec(), Ok(b"".to_vec())),
            (b"a\r\n.\r\n".to_vec(), Ok(b"a\r\n".to_vec())),
            (b"..a\r\n...\r\n.b\r\n.\r\n".to_vec(), Ok(b".a\r\n..\r\nb\r\n".to_vec())),
            (b"\xff\x00\r\n.\r\n".to_vec(), Ok(b"\xff\x00\r\n".to_vec())),
            (b"a\nb\r\n.\r\n".to_vec(), Err(BodyFault::BareLineEnd)),
            (b"a\rb\r\n.\r\n".to_vec(), Err(BodyFault::BareLineEnd)),
            (b"a\r\r\n.\r\n".to_vec(), Err(BodyFault::BareLineEnd)),
            ([&[b'x'; 101][..], b"\r\n.\r\n"].concat(), Err(BodyFault::TooLarge)),
        ];
        for (input, expected) in cases {
            for size in [1, 2, 3, input.len()] {
                let (content, rest) = data(&input, size).unwrap();
                assert_eq!(content, expected, "{:?} by {size}", input.escape_ascii().to_string());
                assert_eq!(rest, b"");
            }
        }
    }

    #[test]
    fn only_crlf_dot_crlf_ends_the_content() {
        for smuggled in ["\n.\n", "\n.\r\n", "\r.\r", "\r\n.\n", "\r\n.\r", "\n.\r", "\r.\r\n", "\r\n.\r\r\n"] {
            let input = format!("a{smuggled}MAIL FROM:<evil@x.test>\r\n");
            assert_eq!(data(input.as_bytes(), 1), None, "{smuggled:?}");
            let whole = format!("{input}.\r\nQUIT\r\n");
            assert_eq!(
                data(whole.as_bytes(), 4),
                Some((Err(BodyFault::BareLineEnd), b"QUIT\r\n".to_vec())),
                "{smuggled:?}"
            );
        }
    }

    #[test]
    fn a_chunk_may_not_hold_or_end_with_a_bare_cr() {
        let mut body = Body::new(100);
        body.chunk(b".\r");
        body.chunk(b"\n.\r\n");
        assert_eq!(body.finish(), Ok(b".\r\n.\r\n".to_vec()));
        let mut body = Body::new(100);
        body.chunk(b"a\r");
        assert_eq!(body.finish(), Err(BodyFault::BareLineEnd));
    }
}
