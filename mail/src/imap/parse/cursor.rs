//! Atoms, strings, numbers, sets, dates: the words of the grammar.

use aggregator::event::Time;
use chrono::{DateTime, NaiveDate};

use crate::imap::sequence::{Bound, SequenceSet};
use crate::store::Flags;

/// What is wrong, for the BAD response.
pub(super) type Fault = &'static str;

/// Flags of one command.
const FLAGS: usize = 128;
/// Ranges of one set.
const RANGES: usize = 20_000;

pub(super) struct Cursor<'a> {
    octets: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(octets: &'a [u8]) -> Self {
        Self { octets, at: 0 }
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.octets.get(self.at).copied()
    }

    /// Steps over `octet` if it is next.
    pub(super) fn eat(&mut self, octet: u8) -> bool {
        let found = self.peek() == Some(octet);
        if found {
            self.at += 1;
        }
        found
    }

    pub(super) fn expect(&mut self, octet: u8, fault: Fault) -> Result<(), Fault> {
        if self.eat(octet) { Ok(()) } else { Err(fault) }
    }

    pub(super) fn space(&mut self) -> Result<(), Fault> {
        self.expect(b' ', "a space is missing")
    }

    /// Steps over `word` if it is next, in any case.
    pub(super) fn eat_word(&mut self, word: &str) -> bool {
        let found = self
            .octets
            .get(self.at..self.at + word.len())
            .is_some_and(|next| next.eq_ignore_ascii_case(word.as_bytes()));
        if found {
            self.at += word.len();
        }
        found
    }

    pub(super) fn end(&self) -> Result<(), Fault> {
        if self.at == self.octets.len() { Ok(()) } else { Err("there is more than the command takes") }
    }

    pub(super) fn take_while(&mut self, accept: impl Fn(u8) -> bool) -> &'a [u8] {
        let rest = &self.octets[self.at..];
        let length = rest.iter().position(|octet| !accept(*octet)).unwrap_or(rest.len());
        self.at += length;
        &rest[..length]
    }

    pub(super) fn tag(&mut self) -> Result<String, Fault> {
        let tag = self.take_while(|octet| is_astring(octet) && octet != b'+');
        match tag.is_empty() || tag.len() > 1024 || !self.eat(b' ') {
            true => Err("a command begins with a tag and a space"),
            false => Ok(text(tag)),
        }
    }

    pub(super) fn atom(&mut self) -> Result<String, Fault> {
        let atom = self.take_while(is_atom);
        if atom.is_empty() { Err("a word is missing") } else { Ok(text(atom)) }
    }

    /// An atom in upper case: a keyword of the grammar.
    pub(super) fn word(&mut self) -> Result<String, Fault> {
        Ok(self.atom()?.to_ascii_uppercase())
    }

    /// `astring`: an atom that may hold `]`, or a string.
    pub(super) fn astring(&mut self) -> Result<Vec<u8>, Fault> {
        match self.peek() {
            Some(b'"' | b'{') => self.string(),
            _ => {
                let atom = self.take_while(is_astring);
                if atom.is_empty() { Err("a string is missing") } else { Ok(atom.to_vec()) }
            }
        }
    }

    /// `list-mailbox`: like `astring`, with wildcards.
    pub(super) fn pattern(&mut self) -> Result<Vec<u8>, Fault> {
        match self.peek() {
            Some(b'"' | b'{') => self.string(),
            _ => {
                let atom = self.take_while(|octet| is_astring(octet) || matches!(octet, b'%' | b'*'));
                if atom.is_empty() { Err("a mailbox pattern is missing") } else { Ok(atom.to_vec()) }
            }
        }
    }

    pub(super) fn string(&mut self) -> Result<Vec<u8>, Fault> {
        match self.peek() {
            Some(b'"') => self.quoted(),
            Some(b'{') => self.literal(),
            _ => Err("a string is missing"),
        }
    }

    pub(super) fn quoted(&mut self) -> Result<Vec<u8>, Fault> {
        self.expect(b'"', "a quoted string is missing")?;
        let mut value = Vec::new();
        loop {
            let octet = self.peek().ok_or("a quoted string has no end")?;
            self.at += 1;
            match octet {
                b'"' => return Ok(value),
                b'\\' => {
                    let escaped = self.peek().filter(|octet| matches!(octet, b'"' | b'\\'));
                    value.push(escaped.ok_or("only \" and \\ can be quoted with a backslash")?);
                    self.at += 1;
                }
                b'\r' | b'\n' | 0 => return Err("a quoted string holds no CR, LF or NUL"),
                _ => value.push(octet),
            }
        }
    }

    pub(super) fn literal(&mut self) -> Result<Vec<u8>, Fault> {
        self.expect(b'{', "a literal is missing")?;
        let length = self.number64()?;
        let _ = self.eat(b'+');
        self.expect(b'}', "the head of a literal has no end")?;
        let _ = self.eat(b'\r');
        self.expect(b'\n', "a literal begins on a line of its own")?;
        let length = usize::try_from(length).map_err(|_| "the literal is too large")?;
        let end = self.at.checked_add(length).ok_or("the literal is too large")?;
        let value = self.octets.get(self.at..end).ok_or("the literal is cut off")?;
        self.at = end;
        Ok(value.to_vec())
    }

    /// `astring` as UTF-8.
    pub(super) fn utf8(&mut self) -> Result<String, Fault> {
        String::from_utf8(self.astring()?).map_err(|_| "the string is not UTF-8")
    }

    pub(super) fn number(&mut self) -> Result<u32, Fault> {
        u32::try_from(self.number64()?).map_err(|_| "the number is too large")
    }

    pub(super) fn number64(&mut self) -> Result<u64, Fault> {
        let digits = self.take_while(|octet| octet.is_ascii_digit());
        if digits.is_empty() {
            return Err("a number is missing");
        }
        text(digits).parse().ok().filter(|number| *number <= i64::MAX as u64).ok_or("the number is too large")
    }

    pub(super) fn nonzero(&mut self) -> Result<u32, Fault> {
        match self.number()? {
            0 => Err("the number must not be 0"),
            number => Ok(number),
        }
    }

    pub(super) fn sequence_set(&mut self) -> Result<SequenceSet, Fault> {
        if self.eat(b'$') {
            return Ok(SequenceSet::Saved);
        }
        let mut ranges = Vec::new();
        loop {
            let first = self.bound()?;
            let last = if self.eat(b':') { self.bound()? } else { first };
            ranges.push((first, last));
            if ranges.len() > RANGES {
                return Err("the set has too many ranges");
            }
            if !self.eat(b',') {
                return Ok(SequenceSet::Ranges(ranges));
            }
        }
    }

    fn bound(&mut self) -> Result<Bound, Fault> {
        match self.eat(b'*') {
            true => Ok(Bound::Largest),
            false => self.nonzero().map(Bound::Number).map_err(|_| "a message number is missing or wrong"),
        }
    }

    /// Items between parentheses, parted by spaces; none is allowed.
    pub(super) fn list<T>(&mut self, mut item: impl FnMut(&mut Self) -> Result<T, Fault>) -> Result<Vec<T>, Fault> {
        self.expect(b'(', "a list is missing")?;
        let mut items = Vec::new();
        if self.eat(b')') {
            return Ok(items);
        }
        loop {
            items.push(item(self)?);
            if self.eat(b')') {
                return Ok(items);
            }
            self.space()?;
        }
    }

    /// `flag-list` in parentheses, or flags without them as STORE allows.
    pub(super) fn flags(&mut self) -> Result<(Flags, Vec<String>), Fault> {
        let names = match self.peek() {
            Some(b'(') => self.list(Self::flag)?,
            _ => {
                let mut names = vec![self.flag()?];
                while self.eat(b' ') {
                    names.push(self.flag()?);
                }
                names
            }
        };
        if names.len() > FLAGS {
            return Err("there are too many flags");
        }
        let (mut flags, mut keywords) = (Flags::default(), Vec::new());
        for name in names {
            match Flags::NAMED.iter().find(|(_, known)| known.eq_ignore_ascii_case(&name)) {
                Some((flag, _)) => flags |= *flag,
                // \Recent is not the client's to set; it was harmless in old clients' lists.
                None if name.eq_ignore_ascii_case("\\Recent") => {}
                None if name.starts_with('\\') => return Err("there is no such system flag"),
                None => keywords.push(name),
            }
        }
        Ok((flags, keywords))
    }

    fn flag(&mut self) -> Result<String, Fault> {
        let backslash = self.eat(b'\\');
        let name = self.atom().map_err(|_| "a flag is missing")?;
        if name.len() > 128 {
            return Err("the keyword is too long");
        }
        Ok(if backslash { ["\\", &name].concat() } else { name })
    }

    /// `date`: `1-Feb-1994`, quoted or not, as days since 1970-01-01.
    pub(super) fn date(&mut self) -> Result<i64, Fault> {
        const FAULT: Fault = "a date is written 1-Feb-1994";
        let quoted = self.eat(b'"');
        let date = text(self.take_while(|octet| octet.is_ascii_alphanumeric() || octet == b'-'));
        if quoted {
            self.expect(b'"', FAULT)?;
        }
        let date = NaiveDate::parse_from_str(&date, "%d-%b-%Y").map_err(|_| FAULT)?;
        Ok(date.signed_duration_since(NaiveDate::default()).num_days())
    }

    /// `date-time`: `" 1-Feb-1994 21:52:25 -0800"`.
    pub(super) fn date_time(&mut self) -> Result<Time, Fault> {
        const FAULT: Fault = "a date and time is written \" 1-Feb-1994 21:52:25 -0800\"";
        let value = String::from_utf8(self.quoted()?).map_err(|_| FAULT)?;
        let at = DateTime::parse_from_str(value.trim_start(), "%d-%b-%Y %H:%M:%S %z").map_err(|_| FAULT)?;
        Ok(at.to_utc().into())
    }
}

fn text(ascii: &[u8]) -> String {
    String::from_utf8_lossy(ascii).into_owned()
}

/// ATOM-CHAR, and octets over 127 as clients that send UTF-8 without asking do.
fn is_atom(octet: u8) -> bool {
    is_astring(octet) && octet != b']'
}

/// ASTRING-CHAR.
fn is_astring(octet: u8) -> bool {
    octet > b' ' && octet != 0x7f && !matches!(octet, b'(' | b')' | b'{' | b'%' | b'*' | b'"' | b'\\')
}
