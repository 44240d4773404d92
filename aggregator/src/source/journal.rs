//! systemd's journal as text: its export format (systemd's "Journal Export Formats") in, syslog lines out.
//!
//! An entry is `NAME=value` lines up to an empty line; a value with line ends or control characters is `NAME`, a line
//! end, its length in 64 bits (little-endian), the value, a line end. Each entry becomes one line
//! `2026-11-22T10:16:48.000123Z host program[pid]: message`, which every dialect reads.
//!
//! What is no such format becomes a line of its own, so that it is counted and kept; reading goes on at the next entry.

mod decode;
#[cfg(test)]
mod tests;

use std::io::{self, BufRead, Read};

pub(super) use decode::{Decoder, Entry, Piece};

/// With this every entry that `journalctl` exports begins.
pub const MAGIC: &[u8] = b"__CURSOR=";

/// The lines of an export, as a stream.
pub struct Text<R> {
    input: R,
    decoder: Decoder,
    line: Vec<u8>,
    given: usize,
    ended: bool,
}

impl<R: BufRead> Text<R> {
    /// The lines of `input`.
    pub fn new(input: R) -> Self {
        Self { input, decoder: Decoder::default(), line: Vec::new(), given: 0, ended: false }
    }

    fn next_line(&mut self) -> io::Result<bool> {
        self.given = 0;
        self.line.clear();
        loop {
            if let Some(piece) = self.decoder.next() {
                piece.write_line(&mut self.line);
                return Ok(true);
            }
            if self.ended {
                return Ok(false);
            }
            let chunk = match self.input.fill_buf() {
                Err(why) if why.kind() == io::ErrorKind::Interrupted => continue,
                other => other?,
            };
            let length = chunk.len();
            self.decoder.push(chunk);
            self.input.consume(length);
            if length == 0 {
                self.ended = true;
                if self.decoder.is_within_entry() {
                    return Err(io::Error::new(
                        io::ErrorKind::UnexpectedEof,
                        "the journal export is cut off in mid-entry; export it again, and what is new will be read",
                    ));
                }
            }
        }
    }
}

impl<R: BufRead> Read for Text<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.given == self.line.len() && !self.next_line()? {
            return Ok(0);
        }
        let rest = self.line.get(self.given..).unwrap_or_default();
        let count = rest.len().min(out.len());
        out[..count].copy_from_slice(&rest[..count]);
        self.given += count;
        Ok(count)
    }
}
