//! Where mail lies that may hold reports: a message, a document, an mbox file, a maildir.
//!
//! What a file is shows in its content, not in its name. Messages come out one at a time, each bounded, so that a
//! mailbox of any size is read in little memory.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use chrono::NaiveDateTime;

use super::input::modified;
use crate::event::Time;
use crate::mailed::{self, Bound};

/// Octets of a file by which it is recognised.
const HEAD_BYTES: usize = 8 << 10;
/// Files of a maildir that are looked at in one go; more are read when those are gone.
pub const MAILDIR_FILES: usize = 1_000_000;

/// A place of messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mailbox {
    /// One message or document.
    File(PathBuf),
    /// Messages one after the other, each after a line `From ` (RFC 4155).
    Mbox(PathBuf),
    /// A folder with `new` and `cur`, a file a message.
    Maildir(PathBuf),
    /// One message, document or mbox, from standard input.
    Given(Vec<u8>),
}

/// One message of a mailbox.
pub struct Message {
    /// What it is called in messages to people: the file, and the place in it.
    pub name: String,
    /// The message; cut one octet after [`Bound::MessageBytes`], so that it is refused.
    pub octets: Vec<u8>,
    /// When it came, as far as the place tells.
    pub received: Time,
}

/// What a file or folder is; `None`: nothing that holds reports.
///
/// # Errors
/// It cannot be read.
pub fn recognise(path: &Path) -> io::Result<Option<Mailbox>> {
    let metadata = fs::metadata(path)?;
    if metadata.is_dir() {
        let is_maildir = path.join("new").is_dir() && path.join("cur").is_dir();
        return Ok(is_maildir.then(|| Mailbox::Maildir(path.to_owned())));
    }
    if !metadata.is_file() {
        return Ok(None);
    }
    let mut head = Vec::new();
    File::open(path)?.take(HEAD_BYTES as u64).read_to_end(&mut head)?;
    Ok(match sort(&head) {
        Some(Shape::Mbox) => Some(Mailbox::Mbox(path.to_owned())),
        Some(Shape::One) => Some(Mailbox::File(path.to_owned())),
        None => None,
    })
}

/// The same of octets from standard input.
pub fn recognise_given(octets: Vec<u8>) -> Option<Mailbox> {
    sort(octets.get(..octets.len().min(HEAD_BYTES)).unwrap_or_default()).map(|_| Mailbox::Given(octets))
}

enum Shape {
    Mbox,
    One,
}

fn sort(head: &[u8]) -> Option<Shape> {
    if head.starts_with(b"From ") && mailed::looks_like(head) {
        return Some(Shape::Mbox);
    }
    // Logs are compressed with gzip, too: what comes out tells.
    if head.starts_with(&[0x1f, 0x8b]) {
        let mut begin = Vec::new();
        let mut unpacked = flate2::bufread::GzDecoder::new(head).take(HEAD_BYTES as u64 / 2);
        // The head is cut, so the stream ends too soon.
        let _ = unpacked.read_to_end(&mut begin);
        let is_report = !begin.starts_with(b"From ") && mailed::looks_like(&begin);
        return is_report.then_some(Shape::One);
    }
    mailed::looks_like(head).then_some(Shape::One)
}

impl Mailbox {
    /// Octets on the disk, for a progress bar.
    pub fn size(&self) -> u64 {
        match self {
            Mailbox::File(path) | Mailbox::Mbox(path) => fs::metadata(path).map_or(0, |metadata| metadata.len()),
            Mailbox::Maildir(path) => {
                files(path).unwrap_or_default().iter().filter_map(|file| fs::metadata(file).ok()).map(|m| m.len()).sum()
            }
            Mailbox::Given(octets) => octets.len() as u64,
        }
    }

    /// Gives every message to `visit`, until that says to stop.
    ///
    /// # Errors
    /// The mailbox, or a message of it, cannot be read; or what `visit` says.
    pub fn each<E: From<io::Error>>(
        &self,
        now: Time,
        visit: &mut dyn FnMut(Message) -> Result<Flow, E>,
    ) -> Result<(), E> {
        match self {
            Mailbox::File(path) => {
                visit(read_file(path)?)?;
            }
            Mailbox::Mbox(path) => {
                let file = File::open(path)?;
                let received = modified(&file.metadata()?);
                mbox(BufReader::new(file), &path.to_string_lossy(), received, visit)?;
            }
            Mailbox::Maildir(path) => {
                for file in files(path)? {
                    let message = match read_file(&file) {
                        // Somebody has read or removed it meanwhile.
                        Err(why) if why.kind() == io::ErrorKind::NotFound => continue,
                        other => other?,
                    };
                    if visit(message)? == Flow::Stop {
                        break;
                    }
                }
            }
            Mailbox::Given(octets) if octets.starts_with(b"From ") => mbox(octets.as_slice(), "-", now, visit)?,
            Mailbox::Given(octets) => {
                visit(Message { name: "-".to_owned(), octets: octets.clone(), received: now })?;
            }
        }
        Ok(())
    }
}

/// Whether to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// The next message.
    Next,
    /// No more.
    Stop,
}

/// The messages of a maildir, those that were delivered first at the begin: names begin with their time.
///
/// # Errors
/// A folder cannot be read.
pub fn files(maildir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for folder in ["new", "cur"] {
        for entry in fs::read_dir(maildir.join(folder))?.take(MAILDIR_FILES) {
            let entry = entry?;
            let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
            if !hidden && entry.file_type()?.is_file() {
                found.push(entry.path());
            }
        }
    }
    found.sort_by(|one, other| one.file_name().cmp(&other.file_name()));
    Ok(found)
}

/// Reads a file that is one message.
///
/// # Errors
/// It cannot be read.
pub fn read_file(path: &Path) -> io::Result<Message> {
    let file = File::open(path)?;
    let received = modified(&file.metadata()?);
    let mut octets = Vec::new();
    file.take(Bound::MessageBytes.limit() + 1).read_to_end(&mut octets)?;
    Ok(Message { name: path.to_string_lossy().into_owned(), octets, received })
}

/// Cuts an mbox file into its messages.
fn mbox<E: From<io::Error>>(
    mut input: impl BufRead,
    name: &str,
    written: Time,
    visit: &mut dyn FnMut(Message) -> Result<Flow, E>,
) -> Result<(), E> {
    let most = Bound::MessageBytes.limit() as usize + 1;
    let (mut octets, mut received, mut number, mut after_empty, mut open) = (Vec::new(), written, 0_u64, true, false);
    let mut line = Vec::new();
    loop {
        line.clear();
        let count = input.by_ref().take(most as u64).read_until(b'\n', &mut line)?;
        let begins = after_empty && line.starts_with(b"From ");
        if begins || count == 0 {
            if open {
                let name = [name, ", message ", &number.to_string()].concat();
                let flow = visit(Message { name, octets: std::mem::take(&mut octets), received })?;
                if flow == Flow::Stop {
                    return Ok(());
                }
            }
            if count == 0 {
                return Ok(());
            }
            number += 1;
            open = true;
            received = envelope_date(&line).unwrap_or(written);
        } else {
            // `>From ` of a body is `From `, `>>From ` is `>From `.
            let arrows = line.iter().take_while(|byte| **byte == b'>').count();
            let stuffed = arrows > 0 && line.get(arrows..).is_some_and(|rest| rest.starts_with(b"From "));
            let text = line.get(usize::from(stuffed)..).unwrap_or_default();
            let room = most.saturating_sub(octets.len());
            octets.extend_from_slice(text.get(..text.len().min(room)).unwrap_or_default());
        }
        after_empty = line.iter().all(u8::is_ascii_whitespace);
    }
}

/// The date of `From ann@example.org Tue Nov 24 12:00:00 2026`, which is UTC (RFC 4155).
fn envelope_date(line: &[u8]) -> Option<Time> {
    let text = std::str::from_utf8(line).ok()?.trim();
    let words: Vec<&str> = text.split_whitespace().collect();
    let last = words.get(words.len().checked_sub(5)?..)?.join(" ");
    NaiveDateTime::parse_from_str(&last, "%a %b %e %H:%M:%S %Y").ok().map(|at| at.and_utc().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(mailbox: &Mailbox) -> Vec<(String, String)> {
        let mut found = Vec::new();
        let visit = &mut |message: Message| -> io::Result<Flow> {
            found.push((message.received.to_string(), String::from_utf8(message.octets).unwrap()));
            Ok(Flow::Next)
        };
        mailbox.each(Time(0), visit).unwrap();
        found
    }

    #[test]
    fn an_mbox_falls_into_its_messages_with_their_dates() {
        let mbox = "From a@example.org Tue Nov 24 12:00:00 2026\nFrom: a@example.org\nTo: b\n\none\n>From here\n\n\
            From b@example.org Wed Nov 25 01:02:03 2026\nFrom: b@example.org\nTo: b\n\ntwo\nFrom here on\n";
        let given = recognise_given(mbox.as_bytes().to_vec()).unwrap();
        assert_eq!(
            messages(&given),
            [
                (
                    "2026-11-24T12:00:00.000000Z".to_owned(),
                    "From: a@example.org\nTo: b\n\none\nFrom here\n\n".to_owned()
                ),
                (
                    "2026-11-25T01:02:03.000000Z".to_owned(),
                    "From: b@example.org\nTo: b\n\ntwo\nFrom here on\n".to_owned()
                ),
            ]
        );
    }

    #[test]
    fn logs_are_no_mailboxes_whatever_they_are_packed_in() {
        use std::io::Write;
        let log = b"Nov 22 10:16:48 mx postfix/smtpd[1]: connect from unknown[192.0.2.1]\n".repeat(50);
        assert_eq!(recognise_given(log.clone()), None);
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&log).unwrap();
        assert_eq!(recognise_given(gzip.finish().unwrap()), None);
        assert_eq!(recognise_given(b"{\"table\":\"sessions\",\"ts\":\"2026-11-22T10:16:48Z\"}\n".to_vec()), None);
        assert_eq!(recognise_given(Vec::new()), None);
    }

    #[test]
    fn a_folder_is_a_maildir_when_it_has_new_and_cur() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(recognise(dir.path()).unwrap(), None);
        for (folder, name) in [("new", "2.x"), ("cur", "1.x:2,S"), ("tmp", "3.x")] {
            fs::create_dir(dir.path().join(folder)).unwrap();
            fs::write(dir.path().join(folder).join(name), name).unwrap();
        }
        let mailbox = recognise(dir.path()).unwrap().unwrap();
        let found: Vec<String> = messages(&mailbox).into_iter().map(|(_, text)| text).collect();
        assert_eq!(found, ["1.x:2,S", "2.x"]);
        assert_eq!(mailbox.size(), 10);
    }
}
