//! What an IMAP server answers, taken apart.

use aggregator::event::Time;
use chrono::DateTime;

use crate::conversation::{Class, Fault, printable};

/// Stands in a response's line where a literal was.
pub(super) const LITERAL: &str = "\u{0}";

/// A response: its text, in which a NUL stands for each literal, and the literals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// Without the line end.
    pub line: String,
    /// In order.
    pub literals: Vec<Vec<u8>>,
}

impl Response {
    /// What follows `* NAME` in an untagged response of that name.
    pub fn data(&self, name: &str) -> Option<&str> {
        let rest = self.line.strip_prefix("* ")?;
        let (this, rest) = rest.split_once(' ').unwrap_or((rest, ""));
        this.eq_ignore_ascii_case(name).then_some(rest)
    }
}

/// Where a line ends in `{count}`, and the count.
pub(super) fn literal_at_end(line: &str) -> Option<(usize, usize)> {
    let inner = line.strip_suffix('}')?;
    let at = inner.rfind('{')?;
    Some((at, inner[at + 1..].trim_end_matches('+').parse().ok()?))
}

/// The end of a command: OK, or why not.
pub(super) fn tagged(end: &str, what: &str) -> Result<(), Fault> {
    let upper = end.to_ascii_uppercase();
    if upper == "OK" || upper.starts_with("OK ") {
        return Ok(());
    }
    let code = upper.split_once('[').and_then(|(_, rest)| rest.split([']', ' ']).next()).unwrap_or_default();
    let class = match code {
        "OVERQUOTA" => Class::Quota,
        "AUTHENTICATIONFAILED" | "AUTHORIZATIONFAILED" | "EXPIRED" => Class::AuthFailed,
        "UNAVAILABLE" | "INUSE" | "LIMIT" | "SERVERBUG" => Class::Deferred,
        _ if upper.starts_with("NO") => Class::Rejected,
        _ if upper.starts_with("BAD") => Class::Rejected,
        _ => Class::Protocol,
    };
    Err(Fault::new(class, format!("after {}, the server replied {}", printable(what), printable(end))))
}

/// The `STORAGE used limit` of a QUOTA response.
pub(super) fn storage(quota: &str) -> Option<(u64, u64)> {
    let resources = quota.rsplit_once('(')?.1.trim_end_matches(')');
    let words: Vec<&str> = resources.split_ascii_whitespace().collect();
    let of = words.chunks(3).find(|resource| resource[0].eq_ignore_ascii_case("STORAGE"))?;
    Some((of.get(1)?.parse().ok()?, of.get(2)?.parse().ok()?))
}

/// A folder as LIST shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folder {
    /// As the server writes it.
    pub name: String,
    /// `\Sent`, `\Noselect` …, in lower case.
    pub attributes: Vec<String>,
}

impl Folder {
    pub(super) fn from_response(response: &Response) -> Option<Self> {
        let (attributes, rest) = response.data("LIST")?.strip_prefix('(')?.split_once(") ")?;
        let rest = match rest.strip_prefix('"') {
            Some(_) => quoted(rest)?.1,
            None => rest.split_once(' ')?.1,
        };
        let name = match rest.trim_start() {
            LITERAL => String::from_utf8(response.literals.first()?.clone()).ok()?,
            name if name.starts_with('"') => quoted(name)?.0,
            name => name.to_owned(),
        };
        let attributes = attributes.split_ascii_whitespace().map(str::to_ascii_lowercase).collect();
        Some(Self { name, attributes })
    }
}

/// What FETCH gave of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its UID.
    pub uid: u32,
    /// INTERNALDATE, when it was asked for.
    pub received: Option<Time>,
    /// RFC822.SIZE, when it was asked for.
    pub size: Option<usize>,
    /// The part that was asked for.
    pub part: Vec<u8>,
}

impl Message {
    pub(super) fn from_response(response: Response) -> Option<Self> {
        let (_, items) = response.line.strip_prefix("* ")?.split_once(" FETCH (")?;
        let number = |item: &str| {
            let text = items.split_once(item)?.1;
            text[..text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len())].parse().ok()
        };
        let uid = number("UID ").and_then(|uid| u32::try_from(uid).ok())?;
        let size = number("RFC822.SIZE ");
        let received = items
            .split_once("INTERNALDATE ")
            .and_then(|(_, rest)| quoted(rest))
            .and_then(|(date, _)| DateTime::parse_from_str(date.trim(), "%d-%b-%Y %H:%M:%S %z").ok())
            .map(|date| Time::from_seconds(date.timestamp()));
        // A short part may come quoted instead of as a literal.
        let part = match response.literals.into_iter().next() {
            Some(part) => part,
            None => items
                .split_once("] ")
                .and_then(|(_, rest)| quoted(rest))
                .map(|(text, _)| text)
                .unwrap_or_default()
                .into_bytes(),
        };
        Some(Self { uid, received, size, part })
    }
}

/// A quoted string at the start of `text`, and what follows it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.strip_prefix('"')?.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &text[at + 2..])),
            '\\' => value.push(chars.next()?.1),
            c => value.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(line: &str, literals: &[&str]) -> Response {
        Response { line: line.to_owned(), literals: literals.iter().map(|text| text.as_bytes().to_vec()).collect() }
    }

    #[test]
    fn folders_are_read_in_every_spelling() {
        let name =
            |line: &str, literals: &[&str]| Folder::from_response(&response(line, literals)).map(|folder| folder.name);
        assert_eq!(name(r#"* LIST (\HasNoChildren) "/" "a \"b\" \\c""#, &[]), Some(r#"a "b" \c"#.to_owned()));
        assert_eq!(name(r#"* LIST () NIL INBOX"#, &[]), Some("INBOX".to_owned()));
        assert_eq!(name("* LIST (\\Sent) \"\\\\\" \u{0}", &["Ge{s}endet"]), Some("Ge{s}endet".to_owned()));
        assert_eq!(name(r#"* LIST (\Sent"#, &[]), None);
        let sent = Folder::from_response(&response(r#"* LIST (\HasNoChildren \Sent) "." Sent"#, &[])).unwrap();
        assert_eq!(sent.attributes, ["\\hasnochildren", "\\sent"]);
    }

    #[test]
    fn a_message_is_read_with_its_part_quoted_or_literal() {
        let line = "* 1 FETCH (UID 7 INTERNALDATE \" 1-Nov-2026 10:00:00 +0100\" BODY[HEADER.FIELDS (SUBJECT)] \u{0})";
        let message = Message::from_response(response(line, &["Subject: UID 9\r\n"])).unwrap();
        assert_eq!((message.uid, message.part.as_slice()), (7, b"Subject: UID 9\r\n".as_slice()));
        assert_eq!(message.received.map(|at| at.to_string()), Some("2026-11-01T09:00:00.000000Z".to_owned()));
        let quoted = Message::from_response(response("* 1 FETCH (BODY[] \"hi\" UID 8)", &[])).unwrap();
        assert_eq!((quoted.uid, quoted.part.as_slice()), (8, b"hi".as_slice()));
    }

    #[test]
    fn a_refusal_is_classed_by_its_code() {
        let class = |end| tagged(end, "LOGIN").map_err(|fault| fault.class);
        assert_eq!(class("OK done"), Ok(()));
        assert_eq!(class("NO [AUTHENTICATIONFAILED] no"), Err(Class::AuthFailed));
        assert_eq!(class("NO [UNAVAILABLE] later"), Err(Class::Deferred));
        assert_eq!(class("NO [OVERQUOTA] full"), Err(Class::Quota));
        assert_eq!(class("BAD what"), Err(Class::Rejected));
        assert_eq!(class("MAYBE"), Err(Class::Protocol));
    }

    #[test]
    fn the_storage_quota_is_found_among_the_resources() {
        assert_eq!(storage("\"User quota\" (MESSAGE 3 100 STORAGE 12 1024)"), Some((12, 1_024)));
        assert_eq!(storage("\"\" (MESSAGE 3 100)"), None);
        assert_eq!(storage("\"a (b\" (STORAGE x)"), None);
        assert_eq!(storage(""), None);
    }

    #[test]
    fn only_a_count_in_braces_at_the_end_is_a_literal() {
        assert_eq!(literal_at_end("BODY[] {12}"), Some((7, 12)));
        assert_eq!(literal_at_end("BODY[] {12+}"), Some((7, 12)));
        assert_eq!(literal_at_end("a {b}"), None);
        assert_eq!(literal_at_end("{99999999999999999999999}"), None);
    }
}
