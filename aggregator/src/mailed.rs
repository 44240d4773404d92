//! Reports that come by mail: octets in, rows and typed faults out.
//!
//! **In**: a message, or the XML, JSON, gzip or zip that one carries. **Out**: rows of `dmarc_rows`, `tlsrpt_rows`,
//! `dmarc_failures`, `complaints`, `bounces` and `auto_replies`. **Must not know**: files, folders, IMAP, clocks.
//!
//! A kind of report is one file and one line in [`KINDS`]. Everything here is made by strangers: every size, count and
//! depth has a [`Bound`], and a report that exceeds one is refused whole. Rows are named by what the report says, never
//! by where it lay, so that the same report gives the same rows wherever it is read.

mod arf;
mod autoreply;
mod bounce;
mod bound;
mod container;
mod dmarc;
mod dsn;
mod failure;
mod fields;
mod identity;
mod json;
mod mime;
#[cfg(test)]
mod tests;
mod tlsrpt;
mod xml;
mod zip;

pub use bound::{Bound, Fault};

use crate::classify::Classifier;
use crate::event::{Event, Time};
use mime::Mail;

/// Faults of single records that are told of one report; more are only counted.
const FAULTS: usize = 8;

/// What a reader may know besides the octets.
#[derive(Debug, Clone, Copy)]
pub struct Context {
    /// Now: what lies after it is not believed.
    pub now: Time,
    /// When the report came, for those that do not say: the date of a file or of a mailbox.
    pub received: Time,
}

/// What was read.
#[derive(Debug, Default)]
pub struct Reading {
    /// The kind of report; `None`: it is none.
    pub kind: Option<&'static str>,
    /// Its rows.
    pub rows: Vec<Event>,
    /// What could not be read of it. A report that was refused whole has no rows.
    pub faults: Vec<Fault>,
    /// Faults beyond those that are told.
    pub more_faults: u64,
    /// Octets so far that reports say once and all of their rows repeat.
    repeated: usize,
}

impl Reading {
    /// Asks for room for rows of which each repeats so many octets that its report says once.
    fn make_room(&mut self, rows: usize, octets: usize) -> Result<(), Fault> {
        Bound::Records.hold(self.rows.len().saturating_add(rows))?;
        self.repeated = self.repeated.saturating_add(rows.saturating_mul(octets));
        Bound::RepeatedBytes.hold(self.repeated)
    }

    fn fault(&mut self, fault: Fault) {
        if self.faults.len() < FAULTS {
            self.faults.push(fault);
        } else {
            self.more_faults += 1;
        }
    }
}

/// One thing to be read.
enum Paper<'a> {
    Xml(&'a str),
    Json(&'a [u8]),
    Mail(&'a Mail<'a>),
}

/// Whether a reader knows a paper.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Mine,
    NotMine,
}

/// One kind of report.
pub struct Entry {
    /// What `varde parse` and messages call it.
    pub name: &'static str,
    /// What a person reads.
    pub title: &'static str,
    read: fn(&Paper<'_>, &Context, &mut Reading) -> Result<Answer, Fault>,
}

/// Every kind. The first that knows a message has it: a bounce says that it was sent automatically, too.
pub const KINDS: &[Entry] =
    &[dmarc::ENTRY, tlsrpt::ENTRY, failure::ENTRY, arf::ENTRY, dsn::ENTRY, bounce::ENTRY, autoreply::ENTRY];

/// Reads reports, and classifies what was not delivered.
#[derive(Default)]
pub struct Reader {
    classifier: Classifier,
}

impl Reader {
    /// Reads one message or one document, packed or not.
    pub fn read(&mut self, octets: &[u8], context: &Context) -> Reading {
        let mut reading = Reading::default();
        if let Err(fault) = open(octets, context, &mut reading) {
            reading.rows.clear();
            reading.fault(fault);
        }
        for row in &mut reading.rows {
            self.classifier.classify(row);
        }
        reading
    }
}

/// Whether a file that begins so may hold a report: a message, a mailbox of messages, a document, an archive.
pub fn looks_like(head: &[u8]) -> bool {
    container::looks_like_document(head) || container::is_packed(head) || mime::looks_like_mail(head)
}

fn open(octets: &[u8], context: &Context, reading: &mut Reading) -> Result<(), Fault> {
    Bound::MessageBytes.hold(octets.len())?;
    let mut left = Bound::UnpackedBytes.limit();
    if documents(octets, &mut left, context, reading)? {
        return Ok(());
    }
    if !mime::looks_like_mail(octets) {
        return Ok(());
    }
    let mail = Mail::parse(octets)?;
    for part in mail.parts.iter().filter(|part| part.may_be_a_document()) {
        documents(&part.content(), &mut left, context, reading)?;
    }
    if reading.kind.is_none() {
        ask(&Paper::Mail(&mail), context, reading)?;
    }
    Ok(())
}

/// Reads the documents that some octets are or hold; whether there was any.
fn documents(octets: &[u8], left: &mut u64, context: &Context, reading: &mut Reading) -> Result<bool, Fault> {
    let mut any = false;
    for document in container::unpack(octets, left)? {
        any = true;
        let text;
        let paper = match container::first_sign(&document) {
            Some(b'<') => {
                text = xml::decode(&document);
                Paper::Xml(&text)
            }
            _ => Paper::Json(&document),
        };
        ask(&paper, context, reading)?;
    }
    Ok(any)
}

/// Asks every kind in turn.
fn ask(paper: &Paper<'_>, context: &Context, reading: &mut Reading) -> Result<(), Fault> {
    for entry in KINDS {
        let answer = (entry.read)(paper, context, reading);
        if !matches!(answer, Ok(Answer::NotMine)) {
            reading.kind = Some(entry.name);
            return answer.map(|_| ());
        }
    }
    Ok(())
}
