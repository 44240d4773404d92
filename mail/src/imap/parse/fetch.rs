//! FETCH (RFC 9051 section 6.4.5).

use super::cursor::{Cursor, Fault};
use crate::imap::command::{By, Command, FetchItem, Section, SectionText};

/// Items of one FETCH.
const ITEMS: usize = 200;
/// How deep a part number may go.
const PART_DEPTH: usize = 64;
/// Names of one HEADER.FIELDS.
const FIELDS: usize = 100;

pub(super) fn fetch(cursor: &mut Cursor<'_>, by: By) -> Result<Command, Fault> {
    let set = cursor.sequence_set()?;
    cursor.space()?;
    let items = match cursor.peek() {
        Some(b'(') => cursor.list(item)?,
        _ if cursor.eat_word("ALL") => fast_and(&[FetchItem::Envelope]),
        _ if cursor.eat_word("FULL") => fast_and(&[FetchItem::Envelope, FetchItem::Body]),
        _ if cursor.eat_word("FAST") => fast_and(&[]),
        _ => vec![item(cursor)?],
    };
    if items.is_empty() || items.len() > ITEMS {
        return Err("FETCH takes from 1 to 200 items");
    }
    let mut changed_since = None;
    if cursor.eat(b' ') {
        if !cursor.eat_word("(CHANGEDSINCE ") {
            return Err("there is no such modifier of FETCH");
        }
        changed_since = Some(cursor.number64()?);
        cursor.expect(b')', "the modifiers of FETCH have no end")?;
    }
    Ok(Command::Fetch { by, set, items, changed_since })
}

fn fast_and(more: &[FetchItem]) -> Vec<FetchItem> {
    let fast = [FetchItem::Flags, FetchItem::InternalDate, FetchItem::Size];
    fast.into_iter().chain(more.iter().cloned()).collect()
}

fn item(cursor: &mut Cursor<'_>) -> Result<FetchItem, Fault> {
    let name = cursor.take_while(|octet| octet.is_ascii_alphanumeric() || octet == b'.').to_ascii_uppercase();
    let bracket = cursor.peek() == Some(b'[');
    Ok(match (name.as_slice(), bracket) {
        (b"ENVELOPE", false) => FetchItem::Envelope,
        (b"FLAGS", false) => FetchItem::Flags,
        (b"INTERNALDATE", false) => FetchItem::InternalDate,
        (b"UID", false) => FetchItem::Uid,
        (b"MODSEQ", false) => FetchItem::ModSeq,
        (b"RFC822", false) => FetchItem::Rfc822,
        (b"RFC822.HEADER", false) => FetchItem::Rfc822Header,
        (b"RFC822.SIZE", false) => FetchItem::Size,
        (b"RFC822.TEXT", false) => FetchItem::Rfc822Text,
        (b"BODY", false) => FetchItem::Body,
        (b"BODYSTRUCTURE", false) => FetchItem::BodyStructure,
        (b"BODY" | b"BODY.PEEK", true) => {
            let section = section(cursor)?;
            FetchItem::Section { peek: name.ends_with(b"PEEK"), section, partial: partial(cursor)? }
        }
        (b"BINARY" | b"BINARY.PEEK", true) => {
            let part = binary_part(cursor)?;
            FetchItem::Binary { peek: name.ends_with(b"PEEK"), part, partial: partial(cursor)? }
        }
        (b"BINARY.SIZE", true) => FetchItem::BinarySize(binary_part(cursor)?),
        _ => return Err("there is no such item of FETCH"),
    })
}

fn section(cursor: &mut Cursor<'_>) -> Result<Section, Fault> {
    cursor.expect(b'[', "a section begins with [")?;
    let part = part(cursor)?;
    let text = match cursor.peek() {
        Some(b']') if part.dot => return Err("a section does not end with a dot"),
        Some(b']') => SectionText::Whole,
        _ if !part.numbers.is_empty() && !part.dot => return Err("a part number is parted by dots"),
        _ if cursor.eat_word("HEADER.FIELDS.NOT ") => SectionText::FieldsNot(fields(cursor)?),
        _ if cursor.eat_word("HEADER.FIELDS ") => SectionText::Fields(fields(cursor)?),
        _ if cursor.eat_word("HEADER") => SectionText::Header,
        _ if cursor.eat_word("TEXT") => SectionText::Text,
        _ if !part.numbers.is_empty() && cursor.eat_word("MIME") => SectionText::Mime,
        _ => return Err("there is no such section"),
    };
    cursor.expect(b']', "a section ends with ]")?;
    Ok(Section { part: part.numbers, text })
}

fn fields(cursor: &mut Cursor<'_>) -> Result<Vec<Vec<u8>>, Fault> {
    let fields = cursor.list(Cursor::astring)?;
    match fields.len() {
        0 => Err("a header field name is missing"),
        1..=FIELDS => Ok(fields),
        _ => Err("HEADER.FIELDS takes at most 100 names"),
    }
}

fn binary_part(cursor: &mut Cursor<'_>) -> Result<Vec<u32>, Fault> {
    cursor.expect(b'[', "a section begins with [")?;
    let part = part(cursor)?;
    if part.dot {
        return Err("a section does not end with a dot");
    }
    cursor.expect(b']', "a section ends with ]")?;
    Ok(part.numbers)
}

struct Part {
    numbers: Vec<u32>,
    /// Whether a dot follows the last number.
    dot: bool,
}

fn part(cursor: &mut Cursor<'_>) -> Result<Part, Fault> {
    let mut part = Part { numbers: Vec::new(), dot: false };
    while cursor.peek().is_some_and(|octet| octet.is_ascii_digit()) {
        part.numbers.push(cursor.nonzero()?);
        if part.numbers.len() > PART_DEPTH {
            return Err("the part number is too deep");
        }
        part.dot = cursor.eat(b'.');
        if !part.dot {
            break;
        }
    }
    Ok(part)
}

fn partial(cursor: &mut Cursor<'_>) -> Result<Option<(u32, u32)>, Fault> {
    if !cursor.eat(b'<') {
        return Ok(None);
    }
    let first = cursor.number()?;
    cursor.expect(b'.', "a partial fetch is written <first.count>")?;
    let count = cursor.nonzero()?;
    cursor.expect(b'>', "a partial fetch is written <first.count>")?;
    Ok(Some((first, count)))
}
