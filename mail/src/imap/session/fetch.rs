//! FETCH, answered in pieces: of a whole mailbox, one message and one of its items stand in memory at once.

use std::borrow::Cow;
use std::collections::{HashSet, VecDeque};

use super::selected::Expunges;
use super::{Done, Outcome, PIECE_BYTES, Session, no, ok};
use crate::imap::command::{Access, By, FetchItem, Section, SectionText};
use crate::imap::envelope::envelope;
use crate::imap::mime::Part;
use crate::imap::sequence::SequenceSet;
use crate::imap::structure::{Decoded, Detail, binary, section, structure};
use crate::imap::write;
use crate::store::{FlagChange, Flags, MessageState, StoreError, StoreFlags};

/// A FETCH that is being answered.
pub(super) struct FetchJob {
    tag: String,
    by: By,
    items: Vec<FetchItem>,
    left: VecDeque<u32>,
    /// The message that is being answered for.
    open: Option<Open>,
    /// Messages that this FETCH made seen: their flags are told too.
    seen: HashSet<u32>,
    /// Answered at the end when something could not be fetched.
    failure: Option<Done>,
}

/// A message of which some items have been answered.
struct Open {
    state: MessageState,
    octets: Vec<u8>,
    root: Part,
    /// How many items have been answered.
    answered: usize,
}

impl Session {
    pub(super) fn fetch(
        &mut self,
        tag: &str,
        by: By,
        set: &SequenceSet,
        mut items: Vec<FetchItem>,
        changed_since: Option<u64>,
    ) -> Result<Outcome, Done> {
        self.condstore |= changed_since.is_some() || items.contains(&FetchItem::ModSeq);
        if by == By::Uid && !items.contains(&FetchItem::Uid) {
            items.insert(0, FetchItem::Uid);
        }
        if changed_since.is_some() && !items.contains(&FetchItem::ModSeq) {
            items.push(FetchItem::ModSeq);
        }
        let items = once(items);
        let selected = self.selected()?;
        let mut uids = selected.resolve(by, set)?;
        if let Some(since) = changed_since {
            uids.retain(|uid| selected.position(*uid).is_some_and(|at| selected.messages[at].mod_seq > since));
        }
        let mut seen = HashSet::new();
        if items.iter().any(sets_seen) && selected.access == Access::ReadWrite {
            let unseen = uids
                .iter()
                .filter(|uid| selected.position(**uid).is_some_and(|at| !selected.messages[at].flags.has(Flags::SEEN)));
            seen.extend(unseen.copied());
            if !seen.is_empty() {
                let (id, mut uids) = (selected.mailbox.id, seen.iter().copied().collect::<Vec<_>>());
                uids.sort_unstable();
                let change =
                    StoreFlags { change: FlagChange::Add, flags: Flags::SEEN, keywords: &[], unchanged_since: None };
                self.stores.mailboxes.store(id, &uids, change)?;
                self.try_sync(Expunges::Held, &uids)?;
            }
        }
        self.fetching =
            Some(FetchJob { tag: tag.to_owned(), by, items, left: uids.into(), open: None, seen, failure: None });
        Ok(Outcome::Later)
    }

    /// Answers some more items, and ends the command after the last message.
    pub(super) fn fetch_piece(&mut self) {
        let Some(mut job) = self.fetching.take() else { return };
        while self.out.len() < PIECE_BYTES {
            if let Some(open) = job.open.take() {
                job.open = self.fetch_item(&job, open);
                continue;
            }
            let Some(uid) = job.left.pop_front() else {
                self.sync(if job.by == By::Uid { Expunges::Told } else { Expunges::Held });
                self.answer(&job.tag, &job.failure.unwrap_or_else(|| ok("FETCH done")));
                return;
            };
            match self.fetch_open(&job, uid) {
                Ok(open) => job.open = open,
                Err(failure) => job.failure = Some(failure),
            }
        }
        self.fetching = Some(job);
    }

    /// Begins the answer for a message, unless it is gone or an item of it cannot be had.
    fn fetch_open(&mut self, job: &FetchJob, uid: u32) -> Result<Option<Open>, Done> {
        let selected = self.selected()?;
        let Some(at) = selected.position(uid) else { return Ok(None) };
        let (id, state) = (selected.mailbox.id, selected.messages[at].clone());
        let octets = match job.items.iter().any(needs_octets) {
            false => Vec::new(),
            true => self.stores.mailboxes.octets(id, uid).map_err(|error| match error {
                StoreError::NotFound(_) => no("[EXPUNGEISSUED] Some of the messages are gone"),
                error => error.into(),
            })?,
        };
        let root = Part::parse(&octets);
        // Before anything is answered: what has been handed over cannot be taken back.
        if job.items.iter().any(|item| is_unknown(item, &octets, &root)) {
            return Err(no("[UNKNOWN-CTE] The part cannot be decoded"));
        }
        self.out.extend_from_slice(b"* ");
        write::number(&mut self.out, at as u64 + 1);
        self.out.extend_from_slice(b" FETCH (");
        Ok(Some(Open { state, octets, root, answered: 0 }))
    }

    /// Answers the next item of a message, or ends the answer for it.
    fn fetch_item(&mut self, job: &FetchJob, mut open: Open) -> Option<Open> {
        let out = &mut self.out;
        if let Some(item) = job.items.get(open.answered) {
            if open.answered > 0 {
                out.push(b' ');
            }
            put_item(out, item, &open.state, &open.octets, &open.root);
            open.answered += 1;
            return Some(open);
        }
        if job.seen.contains(&open.state.uid) && !job.items.contains(&FetchItem::Flags) {
            out.push(b' ');
            write::message_flags(out, &open.state);
        }
        out.extend_from_slice(b")\r\n");
        None
    }
}

/// Items without doubles: a client needs none of them twice.
fn once(items: Vec<FetchItem>) -> Vec<FetchItem> {
    let mut known = Vec::with_capacity(items.len());
    for item in items {
        if !known.contains(&item) {
            known.push(item);
        }
    }
    known
}

fn sets_seen(item: &FetchItem) -> bool {
    matches!(
        item,
        FetchItem::Rfc822
            | FetchItem::Rfc822Text
            | FetchItem::Section { peek: false, .. }
            | FetchItem::Binary { peek: false, .. }
    )
}

fn needs_octets(item: &FetchItem) -> bool {
    !matches!(item, FetchItem::Flags | FetchItem::InternalDate | FetchItem::Uid | FetchItem::ModSeq | FetchItem::Size)
}

/// Whether an item needs a part decoded whose encoding is not known.
fn is_unknown(item: &FetchItem, octets: &[u8], root: &Part) -> bool {
    match item {
        FetchItem::Binary { part, .. } | FetchItem::BinarySize(part) => {
            matches!(binary(octets, root, part), Decoded::UnknownEncoding)
        }
        _ => false,
    }
}

fn put_item(out: &mut Vec<u8>, item: &FetchItem, state: &MessageState, octets: &[u8], root: &Part) {
    let plain = |out: &mut Vec<u8>, name: &str, text: SectionText| {
        out.extend_from_slice(name.as_bytes());
        write::nstring(out, section(octets, root, &Section { part: Vec::new(), text }).as_deref());
    };
    match item {
        FetchItem::Flags => write::message_flags(out, state),
        FetchItem::Uid => {
            out.extend_from_slice(b"UID ");
            write::number(out, state.uid);
        }
        FetchItem::Size => {
            out.extend_from_slice(b"RFC822.SIZE ");
            write::number(out, state.size);
        }
        FetchItem::ModSeq => {
            out.extend_from_slice(b"MODSEQ (");
            write::number(out, state.mod_seq);
            out.push(b')');
        }
        FetchItem::InternalDate => {
            out.extend_from_slice(b"INTERNALDATE ");
            write::date_time(out, state.at);
        }
        FetchItem::Envelope => {
            out.extend_from_slice(b"ENVELOPE ");
            envelope(out, &octets[root.header.clone()]);
        }
        FetchItem::Body => {
            out.extend_from_slice(b"BODY ");
            structure(out, octets, root, Detail::Basic);
        }
        FetchItem::BodyStructure => {
            out.extend_from_slice(b"BODYSTRUCTURE ");
            structure(out, octets, root, Detail::Extended);
        }
        FetchItem::Rfc822 => plain(out, "RFC822 ", SectionText::Whole),
        FetchItem::Rfc822Header => plain(out, "RFC822.HEADER ", SectionText::Header),
        FetchItem::Rfc822Text => plain(out, "RFC822.TEXT ", SectionText::Text),
        FetchItem::Section { section: wanted, partial, .. } => {
            put_section_name(out, wanted);
            put_slice(out, section(octets, root, wanted).as_deref(), *partial);
        }
        FetchItem::Binary { part, partial, .. } => {
            out.extend_from_slice(b"BINARY");
            put_part(out, part);
            match decoded(octets, root, part) {
                Some(octets) if octets.contains(&0) => {
                    put_origin(out, *partial);
                    out.push(b'~');
                    write::literal(out, slice(&octets, *partial));
                }
                octets => put_slice(out, octets.as_deref(), *partial),
            }
        }
        FetchItem::BinarySize(part) => {
            out.extend_from_slice(b"BINARY.SIZE");
            put_part(out, part);
            out.push(b' ');
            write::number(out, decoded(octets, root, part).unwrap_or_default().len() as u64);
        }
    }
}

fn decoded<'a>(octets: &'a [u8], root: &Part, part: &[u32]) -> Option<Cow<'a, [u8]>> {
    match binary(octets, root, part) {
        Decoded::Octets(octets) => Some(octets),
        Decoded::NoSuchPart | Decoded::UnknownEncoding => None,
    }
}

fn put_part(out: &mut Vec<u8>, part: &[u32]) {
    out.push(b'[');
    out.extend_from_slice(dotted(part).as_bytes());
    out.push(b']');
}

fn dotted(part: &[u32]) -> String {
    part.iter().map(u32::to_string).collect::<Vec<_>>().join(".")
}

fn put_section_name(out: &mut Vec<u8>, section: &Section) {
    out.extend_from_slice(b"BODY[");
    out.extend_from_slice(dotted(&section.part).as_bytes());
    let (name, fields): (&str, &[Vec<u8>]) = match &section.text {
        SectionText::Whole => ("", &[]),
        SectionText::Header => ("HEADER", &[]),
        SectionText::Text => ("TEXT", &[]),
        SectionText::Mime => ("MIME", &[]),
        SectionText::Fields(fields) => ("HEADER.FIELDS", fields),
        SectionText::FieldsNot(fields) => ("HEADER.FIELDS.NOT", fields),
    };
    if !name.is_empty() && !section.part.is_empty() {
        out.push(b'.');
    }
    out.extend_from_slice(name.as_bytes());
    for (n, field) in fields.iter().enumerate() {
        out.extend_from_slice(if n == 0 { b" (" } else { b" " });
        write::astring(out, &String::from_utf8_lossy(field));
    }
    out.extend_from_slice(if fields.is_empty() { b"]" } else { b")]" });
}

/// The octets of a partial fetch (RFC 9051 section 6.4.5.1), or all.
fn slice(octets: &[u8], partial: Option<(u32, u32)>) -> &[u8] {
    let Some((first, count)) = partial else { return octets };
    let first = (first as usize).min(octets.len());
    let end = first.saturating_add(count as usize).min(octets.len());
    &octets[first..end]
}

fn put_origin(out: &mut Vec<u8>, partial: Option<(u32, u32)>) {
    if let Some((first, _)) = partial {
        out.push(b'<');
        write::number(out, first);
        out.push(b'>');
    }
    out.push(b' ');
}

fn put_slice(out: &mut Vec<u8>, octets: Option<&[u8]>, partial: Option<(u32, u32)>) {
    put_origin(out, partial);
    match octets.map(|octets| slice(octets, partial)) {
        // Clients take a body for a literal more readily than for a quoted string.
        Some(octets) if !octets.is_empty() => write::literal(out, octets),
        octets => write::nstring(out, octets),
    }
}
