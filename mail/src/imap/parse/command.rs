//! The commands themselves.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::cursor::{Cursor, Fault};
use super::{fetch, search};
use crate::imap::command::{Access, AppendMessage, By, Command, List, StatusItem, StoreCommand, Transfer};
use crate::store::{FlagChange, Flags};

/// Messages of one APPEND.
const APPEND_MESSAGES: usize = 100;
/// Patterns of one LIST.
const PATTERNS: usize = 100;

pub(super) fn command(cursor: &mut Cursor<'_>) -> Result<Command, Fault> {
    let word = cursor.word().map_err(|_| "a command is missing")?;
    let by = match word.as_str() {
        "UID" => {
            cursor.space()?;
            By::Uid
        }
        _ => By::Sequence,
    };
    let word = if by == By::Uid { cursor.word().map_err(|_| "a command is missing")? } else { word };
    let command = match (by, word.as_str()) {
        (By::Sequence, "CAPABILITY") => Command::Capability,
        (By::Sequence, "NOOP") => Command::Noop,
        (By::Sequence, "LOGOUT") => Command::Logout,
        (By::Sequence, "STARTTLS") => Command::StartTls,
        (By::Sequence, "NAMESPACE") => Command::Namespace,
        (By::Sequence, "IDLE") => Command::Idle,
        (By::Sequence, "CHECK") => Command::Check,
        (By::Sequence, "CLOSE") => Command::Close,
        (By::Sequence, "UNSELECT") => Command::Unselect,
        (By::Sequence, "EXPUNGE") => Command::Expunge(None),
        (_, word) => {
            cursor.space().map_err(|_| match is_known(by, word) {
                true => "its arguments are missing",
                false => "there is no such command",
            })?;
            arguments(cursor, by, word)?
        }
    };
    cursor.end()?;
    Ok(command)
}

const WITH_ARGUMENTS: [&str; 20] = [
    "ID",
    "AUTHENTICATE",
    "LOGIN",
    "ENABLE",
    "SELECT",
    "EXAMINE",
    "CREATE",
    "DELETE",
    "RENAME",
    "SUBSCRIBE",
    "UNSUBSCRIBE",
    "LIST",
    "LSUB",
    "STATUS",
    "APPEND",
    "GETQUOTA",
    "GETQUOTAROOT",
    "SEARCH",
    "FETCH",
    "STORE",
];

fn is_known(by: By, word: &str) -> bool {
    matches!(word, "SEARCH" | "FETCH" | "STORE" | "COPY" | "MOVE")
        || match by {
            By::Uid => word == "EXPUNGE",
            By::Sequence => WITH_ARGUMENTS.contains(&word),
        }
}

fn arguments(cursor: &mut Cursor<'_>, by: By, word: &str) -> Result<Command, Fault> {
    match (by, word) {
        (_, "SEARCH") => search::search(cursor, by),
        (_, "FETCH") => fetch::fetch(cursor, by),
        (_, "STORE") => store(cursor, by),
        (_, "COPY") => transfer(cursor, by, Transfer::Copy),
        (_, "MOVE") => transfer(cursor, by, Transfer::Move),
        (By::Uid, "EXPUNGE") => Ok(Command::Expunge(Some(cursor.sequence_set()?))),
        (By::Uid, _) => Err("there is no such UID command"),
        (_, "ID") => id(cursor),
        (_, "AUTHENTICATE") => authenticate(cursor),
        (_, "LOGIN") => {
            let user = cursor.astring()?;
            cursor.space()?;
            Ok(Command::Login { user, password: cursor.astring()? })
        }
        (_, "ENABLE") => {
            let mut names = vec![cursor.word()?];
            while cursor.eat(b' ') {
                names.push(cursor.word()?);
            }
            Ok(Command::Enable(names))
        }
        (_, "SELECT") => select(cursor, Access::ReadWrite),
        (_, "EXAMINE") => select(cursor, Access::ReadOnly),
        (_, "CREATE") => create(cursor),
        (_, "DELETE") => Ok(Command::Delete(cursor.astring()?)),
        (_, "RENAME") => {
            let from = cursor.astring()?;
            cursor.space()?;
            Ok(Command::Rename { from, to: cursor.astring()? })
        }
        (_, "SUBSCRIBE") => Ok(Command::Subscribe { name: cursor.astring()?, wanted: true }),
        (_, "UNSUBSCRIBE") => Ok(Command::Subscribe { name: cursor.astring()?, wanted: false }),
        (_, "LIST") => list(cursor),
        (_, "LSUB") => {
            let reference = cursor.astring()?;
            cursor.space()?;
            Ok(Command::Lsub { reference, pattern: cursor.pattern()? })
        }
        (_, "STATUS") => {
            let name = cursor.astring()?;
            cursor.space()?;
            Ok(Command::Status { name, items: status_items(cursor)? })
        }
        (_, "APPEND") => append(cursor),
        (_, "GETQUOTA") => Ok(Command::GetQuota(cursor.astring()?)),
        (_, "GETQUOTAROOT") => Ok(Command::GetQuotaRoot(cursor.astring()?)),
        _ => Err("there is no such command"),
    }
}

/// RFC 2971. What the client says of itself is read over.
fn id(cursor: &mut Cursor<'_>) -> Result<Command, Fault> {
    if !cursor.eat_word("NIL") {
        let fields = cursor.list(|cursor| match cursor.eat_word("NIL") {
            true => Ok(()),
            false => cursor.string().map(|_| ()),
        })?;
        if fields.len() > 60 || fields.len() % 2 != 0 {
            return Err("ID takes up to 30 pairs");
        }
    }
    Ok(Command::Id)
}

fn authenticate(cursor: &mut Cursor<'_>) -> Result<Command, Fault> {
    let mechanism = cursor.word()?;
    let initial = match cursor.eat(b' ') {
        false => None,
        true if cursor.eat(b'=') => Some(Vec::new()),
        true => {
            let encoded = cursor.take_while(|octet| octet.is_ascii_graphic());
            Some(STANDARD.decode(encoded).map_err(|_| "the initial response is not base64")?)
        }
    };
    Ok(Command::Authenticate { mechanism, initial })
}

fn select(cursor: &mut Cursor<'_>, access: Access) -> Result<Command, Fault> {
    let name = cursor.astring()?;
    let mut condstore = false;
    if cursor.eat(b' ') {
        for parameter in cursor.list(Cursor::word)? {
            match parameter.as_str() {
                "CONDSTORE" => condstore = true,
                _ => return Err("there is no such parameter of SELECT"),
            }
        }
    }
    Ok(Command::Select { name, access, condstore })
}

fn create(cursor: &mut Cursor<'_>) -> Result<Command, Fault> {
    let name = cursor.astring()?;
    let mut special = None;
    if cursor.eat(b' ') {
        cursor.expect(b'(', "the parameters of CREATE are a list")?;
        if !cursor.eat_word("USE ") {
            return Err("there is no such parameter of CREATE");
        }
        let uses = cursor.list(|cursor| {
            cursor.expect(b'\\', "a special use begins with a backslash")?;
            cursor.atom()
        })?;
        cursor.expect(b')', "the parameters of CREATE have no end")?;
        special = uses.into_iter().next();
    }
    Ok(Command::Create { name, special })
}

fn list(cursor: &mut Cursor<'_>) -> Result<Command, Fault> {
    let mut list = List::default();
    if cursor.peek() == Some(b'(') {
        for option in cursor.list(Cursor::word)? {
            match option.as_str() {
                "SUBSCRIBED" => list.only_subscribed = true,
                "RECURSIVEMATCH" => list.recursive_match = true,
                "SPECIAL-USE" => list.only_special = true,
                "REMOTE" => {}
                _ => return Err("there is no such selection option"),
            }
        }
        if list.recursive_match && !list.only_subscribed {
            return Err("RECURSIVEMATCH goes with SUBSCRIBED");
        }
        cursor.space()?;
    }
    list.reference = cursor.astring()?;
    cursor.space()?;
    list.patterns = match cursor.peek() {
        Some(b'(') => cursor.list(Cursor::pattern)?,
        _ => vec![cursor.pattern()?],
    };
    if list.patterns.is_empty() || list.patterns.len() > PATTERNS {
        return Err("LIST takes from 1 to 100 patterns");
    }
    if cursor.eat(b' ') {
        if !cursor.eat_word("RETURN ") {
            return Err("RETURN is missing");
        }
        let options = cursor.list(|cursor| {
            let option = cursor.word()?;
            match option.as_str() {
                "SUBSCRIBED" => Ok((true, Vec::new())),
                "CHILDREN" | "SPECIAL-USE" => Ok((false, Vec::new())),
                "STATUS" => {
                    cursor.space()?;
                    Ok((false, status_items(cursor)?))
                }
                _ => Err("there is no such return option"),
            }
        })?;
        list.return_subscribed = options.iter().any(|(subscribed, _)| *subscribed);
        list.return_status = options.into_iter().flat_map(|(_, items)| items).collect();
    }
    Ok(Command::List(list))
}

fn status_items(cursor: &mut Cursor<'_>) -> Result<Vec<StatusItem>, Fault> {
    let items = cursor.list(|cursor| {
        Ok(match cursor.word()?.as_str() {
            "MESSAGES" => StatusItem::Messages,
            "RECENT" => StatusItem::Recent,
            "UIDNEXT" => StatusItem::UidNext,
            "UIDVALIDITY" => StatusItem::UidValidity,
            "UNSEEN" => StatusItem::Unseen,
            "DELETED" => StatusItem::Deleted,
            "SIZE" => StatusItem::Size,
            "HIGHESTMODSEQ" => StatusItem::HighestModSeq,
            _ => return Err("there is no such status item"),
        })
    })?;
    match items.is_empty() || items.len() > 32 {
        true => Err("STATUS takes at least one item"),
        false => Ok(items),
    }
}

fn append(cursor: &mut Cursor<'_>) -> Result<Command, Fault> {
    let name = cursor.astring()?;
    let mut messages = Vec::new();
    while cursor.eat(b' ') {
        let (mut flags, mut keywords, mut at) = (Flags::default(), Vec::new(), None);
        if cursor.peek() == Some(b'(') {
            (flags, keywords) = cursor.flags()?;
            cursor.space()?;
        }
        if cursor.peek() == Some(b'"') {
            at = Some(cursor.date_time()?);
            cursor.space()?;
        }
        let _ = cursor.eat(b'~');
        messages.push(AppendMessage { flags, keywords, at, body: cursor.literal()? });
        if messages.len() > APPEND_MESSAGES {
            return Err("APPEND takes up to 100 messages");
        }
    }
    if messages.is_empty() { Err("a message is missing") } else { Ok(Command::Append { name, messages }) }
}

fn store(cursor: &mut Cursor<'_>, by: By) -> Result<Command, Fault> {
    let set = cursor.sequence_set()?;
    cursor.space()?;
    let mut unchanged_since = None;
    if cursor.eat_word("(UNCHANGEDSINCE ") {
        unchanged_since = Some(cursor.number64()?);
        cursor.expect(b')', "the modifiers of STORE have no end")?;
        cursor.space()?;
    }
    let change = match cursor.peek() {
        Some(b'+') => FlagChange::Add,
        Some(b'-') => FlagChange::Remove,
        _ => FlagChange::Replace,
    };
    if change != FlagChange::Replace {
        cursor.take_while(|octet| matches!(octet, b'+' | b'-'));
    }
    let silent = match cursor.word()?.as_str() {
        "FLAGS" => false,
        "FLAGS.SILENT" => true,
        _ => return Err("STORE changes FLAGS"),
    };
    cursor.space()?;
    let (flags, keywords) = cursor.flags()?;
    Ok(Command::Store { by, set, store: StoreCommand { change, silent, flags, keywords, unchanged_since } })
}

fn transfer(cursor: &mut Cursor<'_>, by: By, transfer: Transfer) -> Result<Command, Fault> {
    let set = cursor.sequence_set()?;
    cursor.space()?;
    Ok(Command::Transfer { by, set, name: cursor.astring()?, transfer })
}
