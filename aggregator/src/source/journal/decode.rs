//! The decoder: octets as they come in, entries out. It opens nothing and waits for nothing.

use std::collections::VecDeque;

use crate::dialect::MAX_LINE_BYTES;
use crate::event::Time;

/// What is kept of a message: enough to see that it is too long for every dialect.
const MESSAGE_BYTES: usize = MAX_LINE_BYTES + 1;
/// What is kept of every other field.
const FIELD_BYTES: usize = 1_024;
/// The longest name of a field (systemd.journal-fields(7)).
const NAME_BYTES: usize = 64;
/// The longest value that the journal itself has. A greater length is damage.
const VALUE_MAX_BYTES: u64 = 768 << 20;

/// An entry of the journal, as far as mail logs need it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Its place in the journal: `journalctl --after-cursor`.
    pub(crate) cursor: String,
    realtime: Option<i64>,
    host: String,
    identifier: String,
    command: String,
    syslog_pid: String,
    pid: String,
    message: Vec<u8>,
}

impl Entry {
    /// Its number in its journal (`i=` of the cursor, in hexadecimal); 0 when the cursor has none.
    pub(crate) fn number(&self) -> u64 {
        let number = self.cursor.split(';').find_map(|part| part.strip_prefix("i="));
        number.and_then(|digits| u64::from_str_radix(digits, 16).ok()).unwrap_or(0)
    }

    /// Appends it as a line of syslog, without a line end. Line ends of the message are written `#012`, as rsyslog
    /// writes them.
    pub(crate) fn write_line(&self, out: &mut Vec<u8>) {
        let word = |text: &str, out: &mut Vec<u8>| {
            let plain = |c: char| if c.is_whitespace() || c.is_control() || matches!(c, ':' | '[') { '_' } else { c };
            out.extend(text.chars().map(plain).collect::<String>().bytes());
        };
        if let Some(at) = self.realtime {
            out.extend_from_slice(Time(at).to_string().as_bytes());
            out.push(b' ');
        }
        if !self.host.is_empty() {
            word(&self.host, out);
            out.push(b' ');
        }
        let programs = [self.identifier.as_str(), self.command.as_str(), "unknown"];
        word(programs.into_iter().find(|name| !name.is_empty()).unwrap_or_default(), out);
        let pids = [self.syslog_pid.as_str(), self.pid.as_str()];
        if let Some(pid) = pids.into_iter().find(|pid| !pid.is_empty()) {
            out.push(b'[');
            out.extend(pid.bytes().filter(u8::is_ascii_digit));
            out.push(b']');
        }
        out.extend_from_slice(b": ");
        for byte in &self.message {
            match byte {
                b'\n' => out.extend_from_slice(b"#012"),
                byte => out.push(*byte),
            }
        }
    }

    fn set(&mut self, name: &[u8], value: &[u8]) {
        let text = || String::from_utf8_lossy(value).into_owned();
        match name {
            b"__CURSOR" => self.cursor = text(),
            b"__REALTIME_TIMESTAMP" => self.realtime = text().parse().ok(),
            b"_HOSTNAME" => self.host = text(),
            b"SYSLOG_IDENTIFIER" => self.identifier = text(),
            b"_COMM" => self.command = text(),
            b"SYSLOG_PID" => self.syslog_pid = text(),
            b"_PID" => self.pid = text(),
            b"MESSAGE" => value.clone_into(&mut self.message),
            _ => {}
        }
    }
}

/// What an export is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Piece {
    /// An entry.
    Entry(Entry),
    /// Something else, as far as it is kept.
    Foreign(Vec<u8>),
}

impl Piece {
    /// Appends it as a line with its line end.
    pub(crate) fn write_line(&self, out: &mut Vec<u8>) {
        match self {
            Self::Entry(entry) => entry.write_line(out),
            Self::Foreign(text) => out.extend_from_slice(text),
        }
        out.push(b'\n');
    }
}

/// Where in an entry the decoder stands.
#[derive(Debug, Default)]
enum State {
    /// In a line: a field, the name of a field, or the empty line after an entry.
    #[default]
    Line,
    /// In the length of a binary value.
    Length { seen: u8, length: u64 },
    /// In a binary value.
    Value { left: u64 },
    /// At the line end after a binary value.
    End,
}

/// Cuts octets into entries, in bounded memory.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    state: State,
    /// The line, or the value, as far as it is kept.
    kept: Vec<u8>,
    name: Vec<u8>,
    entry: Entry,
    /// Whether the entry has a field.
    begun: bool,
    ready: VecDeque<Piece>,
}

impl Decoder {
    /// Takes octets in. What becomes whole by them is given by [`next`](Self::next), which the caller empties before
    /// it pushes again.
    pub(crate) fn push(&mut self, mut octets: &[u8]) {
        while !octets.is_empty() {
            octets = match self.state {
                State::Line => self.line(octets),
                State::Length { seen, length } => self.length(octets, seen, length),
                State::Value { left } => self.value(octets, left),
                State::End => self.end(octets),
            };
        }
    }

    /// The next piece that is whole.
    pub(crate) fn next(&mut self) -> Option<Piece> {
        self.ready.pop_front()
    }

    /// Whether an entry has begun that has not ended.
    pub(crate) fn is_within_entry(&self) -> bool {
        self.begun || !self.kept.is_empty() || !matches!(self.state, State::Line)
    }

    fn keep(&mut self, octets: &[u8], most: usize) {
        let room = most.saturating_sub(self.kept.len());
        self.kept.extend_from_slice(&octets[..octets.len().min(room)]);
    }

    fn line<'a>(&mut self, octets: &'a [u8]) -> &'a [u8] {
        let end = memchr::memchr(b'\n', octets);
        let (part, rest) = octets.split_at(end.unwrap_or(octets.len()));
        self.keep(part, NAME_BYTES + 1 + MESSAGE_BYTES);
        if end.is_none() {
            return rest;
        }
        let line = std::mem::take(&mut self.kept);
        match memchr::memchr(b'=', &line).map(|at| line.split_at(at)) {
            _ if line.is_empty() => {
                if std::mem::take(&mut self.begun) {
                    self.ready.push_back(Piece::Entry(std::mem::take(&mut self.entry)));
                }
            }
            Some((name, value)) if is_name(name) => {
                self.begun = true;
                let value = &value[1..];
                let most = if name == b"MESSAGE" { MESSAGE_BYTES } else { FIELD_BYTES };
                self.entry.set(name, &value[..value.len().min(most)]);
            }
            None if is_name(&line) => {
                self.begun = true;
                self.name = line;
                self.state = State::Length { seen: 0, length: 0 };
            }
            _ => self.ready.push_back(Piece::Foreign(line)),
        }
        &rest[1..]
    }

    fn length<'a>(&mut self, octets: &'a [u8], seen: u8, length: u64) -> &'a [u8] {
        let Some((byte, rest)) = octets.split_first() else { return octets };
        let length = length | u64::from(*byte) << (8 * u32::from(seen));
        self.state = match seen {
            0..7 => State::Length { seen: seen + 1, length },
            _ if length > VALUE_MAX_BYTES => {
                // No length: the line before was no name, and these octets are text.
                let foreign = [&self.name[..], b"\\n", &length.to_le_bytes()].concat();
                self.ready.push_back(Piece::Foreign(foreign.into_iter().filter(|byte| *byte != b'\n').collect()));
                State::Line
            }
            _ => State::Value { left: length },
        };
        if matches!(self.state, State::Value { left: 0 }) {
            self.state = State::End;
        }
        rest
    }

    fn value<'a>(&mut self, octets: &'a [u8], left: u64) -> &'a [u8] {
        let count = usize::try_from(left).unwrap_or(usize::MAX).min(octets.len());
        let (part, rest) = octets.split_at(count);
        let most = if self.name == b"MESSAGE" { MESSAGE_BYTES } else { FIELD_BYTES };
        self.keep(part, most);
        self.state = match left - count as u64 {
            0 => State::End,
            left => State::Value { left },
        };
        rest
    }

    fn end<'a>(&mut self, octets: &'a [u8]) -> &'a [u8] {
        let (name, value) = (std::mem::take(&mut self.name), std::mem::take(&mut self.kept));
        self.entry.set(&name, &value);
        self.state = State::Line;
        // Anything but a line end is damage; it is read as a line, and said.
        octets.strip_prefix(b"\n").unwrap_or(octets)
    }
}

/// Names are upper case, digits and `_`.
fn is_name(name: &[u8]) -> bool {
    let letter = |byte: &u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || *byte == b'_';
    !name.is_empty() && name.len() <= NAME_BYTES && name.iter().all(letter)
}
