//! SEARCH (RFC 9051 section 6.4.4).

use super::cursor::{Cursor, Fault};
use crate::imap::command::{By, Command, Key, ReturnOption, When};
use crate::store::Flags;

/// How deep keys may nest.
const DEPTH: usize = 32;
/// Keys of one command.
const KEYS: usize = 2_000;

pub(super) fn search(cursor: &mut Cursor<'_>, by: By) -> Result<Command, Fault> {
    let mut options = None;
    if cursor.eat_word("RETURN ") {
        let list = cursor.list(|cursor| match cursor.word()?.as_str() {
            "MIN" => Ok(ReturnOption::Min),
            "MAX" => Ok(ReturnOption::Max),
            "ALL" => Ok(ReturnOption::All),
            "COUNT" => Ok(ReturnOption::Count),
            "SAVE" => Ok(ReturnOption::Save),
            _ => Err("there is no such return option"),
        })?;
        options = Some(if list.is_empty() { vec![ReturnOption::All] } else { list });
        cursor.space()?;
    }
    let mut charset = None;
    if cursor.eat_word("CHARSET ") {
        charset = Some(cursor.utf8()?);
        cursor.space()?;
    }
    let mut left = KEYS;
    let mut keys = vec![key(cursor, DEPTH, &mut left)?];
    while cursor.eat(b' ') {
        keys.push(key(cursor, DEPTH, &mut left)?);
    }
    let key = if keys.len() == 1 { keys.remove(0) } else { Key::And(keys) };
    Ok(Command::Search { by, options, charset, key })
}

fn key(cursor: &mut Cursor<'_>, depth: usize, left: &mut usize) -> Result<Key, Fault> {
    let depth = depth.checked_sub(1).ok_or("the search keys are nested too deeply")?;
    *left = left.checked_sub(1).ok_or("there are too many search keys")?;
    match cursor.peek() {
        Some(b'(') => {
            let keys = cursor.list(|cursor| key(cursor, depth, left))?;
            return if keys.is_empty() { Err("a search key is missing") } else { Ok(Key::And(keys)) };
        }
        Some(b'0'..=b'9' | b'*' | b'$') => return Ok(Key::Sequence(cursor.sequence_set()?)),
        _ => {}
    }
    let word = cursor.word().map_err(|_| "a search key is missing")?;
    Ok(match word.as_str() {
        "NOT" => {
            cursor.space()?;
            not(key(cursor, depth, left)?)
        }
        "OR" => {
            cursor.space()?;
            let first = key(cursor, depth, left)?;
            cursor.space()?;
            Key::Or(Box::new((first, key(cursor, depth, left)?)))
        }
        word => simple(word).map_or_else(|| argument(cursor, word), Ok)?,
    })
}

fn not(key: Key) -> Key {
    Key::Not(Box::new(key))
}

/// Keys without an argument.
fn simple(word: &str) -> Option<Key> {
    Some(match word {
        "ALL" => Key::All,
        "ANSWERED" => Key::Flag(Flags::ANSWERED),
        "DELETED" => Key::Flag(Flags::DELETED),
        "DRAFT" => Key::Flag(Flags::DRAFT),
        "FLAGGED" => Key::Flag(Flags::FLAGGED),
        "SEEN" => Key::Flag(Flags::SEEN),
        "UNANSWERED" => not(Key::Flag(Flags::ANSWERED)),
        "UNDELETED" => not(Key::Flag(Flags::DELETED)),
        "UNDRAFT" => not(Key::Flag(Flags::DRAFT)),
        "UNFLAGGED" => not(Key::Flag(Flags::FLAGGED)),
        "UNSEEN" => not(Key::Flag(Flags::SEEN)),
        // No message is \Recent here: RFC 9051 has no such flag any more.
        "NEW" | "RECENT" => Key::Nothing,
        "OLD" => Key::All,
        _ => return None,
    })
}

/// Keys with an argument.
fn argument(cursor: &mut Cursor<'_>, word: &str) -> Result<Key, Fault> {
    const KNOWN: [&str; 25] = [
        "KEYWORD",
        "UNKEYWORD",
        "FROM",
        "TO",
        "CC",
        "BCC",
        "SUBJECT",
        "HEADER",
        "BODY",
        "TEXT",
        "BEFORE",
        "ON",
        "SINCE",
        "SENTBEFORE",
        "SENTON",
        "SENTSINCE",
        "LARGER",
        "SMALLER",
        "OLDER",
        "YOUNGER",
        "MODSEQ",
        "UID",
        "CC",
        "TO",
        "FROM",
    ];
    if !KNOWN.contains(&word) {
        return Err("there is no such search key");
    }
    cursor.space()?;
    Ok(match word {
        "KEYWORD" => Key::Keyword(cursor.atom()?),
        "UNKEYWORD" => not(Key::Keyword(cursor.atom()?)),
        "HEADER" => {
            let field = cursor.utf8()?;
            cursor.space()?;
            Key::Header { field, text: cursor.utf8()? }
        }
        "FROM" | "TO" | "CC" | "BCC" | "SUBJECT" => Key::Header { field: word.to_owned(), text: cursor.utf8()? },
        "BODY" => Key::Body(cursor.utf8()?),
        "TEXT" => Key::Text(cursor.utf8()?),
        "BEFORE" => Key::Arrived(When::Before, cursor.date()?),
        "ON" => Key::Arrived(When::On, cursor.date()?),
        "SINCE" => Key::Arrived(When::Since, cursor.date()?),
        "SENTBEFORE" => Key::Sent(When::Before, cursor.date()?),
        "SENTON" => Key::Sent(When::On, cursor.date()?),
        "SENTSINCE" => Key::Sent(When::Since, cursor.date()?),
        "LARGER" => Key::Larger(cursor.number64()?),
        "SMALLER" => Key::Smaller(cursor.number64()?),
        "OLDER" => Key::Older(u64::from(cursor.nonzero()?)),
        "YOUNGER" => Key::Younger(u64::from(cursor.nonzero()?)),
        "MODSEQ" => {
            // RFC 7162 section 3.1.5: an entry name and type may come first; all flags share one sequence here.
            if cursor.peek() == Some(b'"') {
                cursor.quoted()?;
                cursor.space()?;
                cursor.word()?;
                cursor.space()?;
            }
            Key::ModSeq(cursor.number64()?)
        }
        _ => Key::Uid(cursor.sequence_set()?),
    })
}
