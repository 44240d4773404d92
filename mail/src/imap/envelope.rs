//! ENVELOPE (RFC 9051 section 7.5.2): header fields as they came, addresses taken apart but not decoded.

use super::mime::{field, fields, unfold};
use super::write;

/// Addresses of one field.
const ADDRESSES: usize = 1_000;

pub(super) fn envelope(out: &mut Vec<u8>, header: &[u8]) {
    let text = |out: &mut Vec<u8>, name: &str| {
        write::nstring(out, field(header, name).as_deref().map(str::as_bytes));
    };
    out.push(b'(');
    text(out, "Date");
    out.push(b' ');
    text(out, "Subject");
    let from = addresses_of(header, "From");
    for name in ["From", "Sender", "Reply-To", "To", "Cc", "Bcc"] {
        out.push(b' ');
        let own = addresses_of(header, name);
        // RFC 9051: the author stands in for a sender and a reply address that are missing.
        let stands_in = own.is_empty() && matches!(name, "Sender" | "Reply-To");
        addresses(out, if stands_in { &from } else { &own });
    }
    out.push(b' ');
    text(out, "In-Reply-To");
    out.push(b' ');
    text(out, "Message-ID");
    out.push(b')');
}

/// One address; a group begins with one whose host is missing and ends with one that has nothing.
#[derive(Debug, Default, PartialEq, Eq)]
struct Address {
    name: Option<String>,
    mailbox: Option<String>,
    host: Option<String>,
}

fn addresses(out: &mut Vec<u8>, addresses: &[Address]) {
    if addresses.is_empty() {
        return out.extend_from_slice(b"NIL");
    }
    out.push(b'(');
    for address in addresses {
        out.push(b'(');
        write::nstring(out, address.name.as_deref().map(str::as_bytes));
        out.extend_from_slice(b" NIL ");
        write::nstring(out, address.mailbox.as_deref().map(str::as_bytes));
        out.push(b' ');
        write::nstring(out, address.host.as_deref().map(str::as_bytes));
        out.push(b')');
    }
    out.push(b')');
}

fn addresses_of(header: &[u8], name: &str) -> Vec<Address> {
    let values = fields(header).filter(|field| field.name.eq_ignore_ascii_case(name.as_bytes()));
    values.flat_map(|field| parse(&unfold(field.value))).take(ADDRESSES).collect()
}

/// A word of an address list (RFC 5322 section 3.4).
#[derive(Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    Quoted(String),
    Special(char),
}

fn parse(text: &str) -> Vec<Address> {
    let mut addresses = Vec::new();
    let (mut phrase, mut route, mut in_route): (Vec<Token>, Vec<Token>, bool) = (Vec::new(), Vec::new(), false);
    let mut angled = false;
    let mut in_group = false;
    for (token, comment) in tokens(text) {
        if let Some(comment) = comment {
            // The comment after a bare address is the old way to name its owner.
            phrase.push(Token::Special('('));
            phrase.push(Token::Quoted(comment));
            continue;
        }
        match token {
            Token::Special('<') => (in_route, angled) = (true, true),
            Token::Special('>') => in_route = false,
            token if in_route => route.push(token),
            Token::Special(',') => flush(&mut addresses, &mut phrase, &mut route, &mut angled),
            Token::Special(':') => {
                let name = words(&phrase, true);
                phrase.clear();
                addresses.push(Address { mailbox: Some(name), ..Address::default() });
                in_group = true;
            }
            Token::Special(';') => {
                flush(&mut addresses, &mut phrase, &mut route, &mut angled);
                if std::mem::take(&mut in_group) {
                    addresses.push(Address::default());
                }
            }
            token => phrase.push(token),
        }
    }
    flush(&mut addresses, &mut phrase, &mut route, &mut angled);
    if in_group {
        addresses.push(Address::default());
    }
    addresses
}

fn flush(addresses: &mut Vec<Address>, phrase: &mut Vec<Token>, route: &mut Vec<Token>, angled: &mut bool) {
    let (mut phrase, route) = (std::mem::take(phrase), std::mem::take(route));
    let comment = phrase.iter().position(|token| *token == Token::Special('(')).map(|at| phrase.split_off(at));
    let comment = comment.and_then(|comment| match comment.into_iter().nth(1) {
        Some(Token::Quoted(text)) => Some(text),
        _ => None,
    });
    let angled = std::mem::take(angled);
    let (spec, name) = match angled {
        // A source route before the address (RFC 5322 section 4.4) is dropped.
        true => {
            let colon = route.iter().rposition(|token| *token == Token::Special(':'));
            let spec = words(&route[colon.map_or(0, |at| at + 1)..], false);
            (spec, Some(words(&phrase, true)).filter(|name| !name.is_empty()).or(comment))
        }
        false => (words(&phrase, false), comment),
    };
    // A comment alone is nobody's address.
    if spec.is_empty() && !angled {
        return;
    }
    let (mailbox, host) = match spec.rsplit_once('@') {
        Some((mailbox, host)) => (mailbox.to_owned(), host.to_owned()),
        None => (spec, String::new()),
    };
    addresses.push(Address { name, mailbox: Some(mailbox), host: Some(host) });
}

/// The words as one text: with the spaces of a phrase, or without those that an address may be folded with.
fn words(tokens: &[Token], spaced: bool) -> String {
    let mut text = String::new();
    let mut space = false;
    for token in tokens {
        if *token == Token::Special(' ') {
            space = spaced && !text.is_empty();
            continue;
        }
        if std::mem::take(&mut space) {
            text.push(' ');
        }
        match token {
            Token::Special(c) => text.push(*c),
            Token::Word(word) | Token::Quoted(word) => text.push_str(word),
        }
    }
    text
}

/// Tokens, and for a comment its text.
fn tokens(text: &str) -> Vec<(Token, Option<String>)> {
    let mut tokens = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            c if c.is_whitespace() => tokens.push((Token::Special(' '), None)),
            '"' => {
                let mut quoted = String::new();
                while let Some(c) = chars.next() {
                    match c {
                        '"' => break,
                        '\\' => quoted.extend(chars.next()),
                        c => quoted.push(c),
                    }
                }
                tokens.push((Token::Quoted(quoted), None));
            }
            '(' => {
                let (mut comment, mut depth) = (String::new(), 1_u32);
                while let Some(c) = chars.next() {
                    match c {
                        '(' => depth += 1,
                        ')' if depth == 1 => break,
                        ')' => depth -= 1,
                        '\\' => {
                            comment.extend(chars.next());
                            continue;
                        }
                        _ => {}
                    }
                    comment.push(c);
                }
                tokens.push((Token::Special('('), Some(comment)));
            }
            '<' | '>' | ',' | ':' | ';' | '@' | '.' => tokens.push((Token::Special(c), None)),
            c => {
                let mut word = String::from(c);
                while let Some(c) = chars.next_if(|c| !c.is_whitespace() && !"\"(<>,:;@.".contains(*c)) {
                    word.push(c);
                }
                tokens.push((Token::Word(word), None));
            }
        }
    }
    tokens
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(header: &str, expected: &str) {
        let mut out = Vec::new();
        addresses(&mut out, &addresses_of(header.as_bytes(), "To"));
        assert_eq!(String::from_utf8(out).unwrap(), expected, "{header}");
    }

    #[test]
    fn addresses_are_taken_apart_as_they_were_written() {
        check("To: ada@a.test\r\n", r#"((NIL NIL "ada" "a.test"))"#);
        check(
            "To: \"Ada, L.\" <ada@a.test>,\r\n Bob B. Bo <bob@b.test>\r\n",
            r#"(("Ada, L." NIL "ada" "a.test")("Bob B. Bo" NIL "bob" "b.test"))"#,
        );
        check("To: ada@a.test (Ada)\r\n", r#"(("Ada" NIL "ada" "a.test"))"#);
        check(
            "To: G: a@a.test, b@b.test;\r\n",
            r#"((NIL NIL "G" NIL)(NIL NIL "a" "a.test")(NIL NIL "b" "b.test")(NIL NIL NIL NIL))"#,
        );
        check("To: <@x.test:ada@a.test>\r\n", r#"((NIL NIL "ada" "a.test"))"#);
        check("To: =?utf-8?q?=C3=85?= <a@a.test>\r\n", r#"(("=?utf-8?q?=C3=85?=" NIL "a" "a.test"))"#);
        check("To: undisclosed-recipients:;\r\n", r#"((NIL NIL "undisclosed-recipients" NIL)(NIL NIL NIL NIL))"#);
        check("Subject: x\r\n", "NIL");
        check("To: \r\n", "NIL");
        check("To: ((((<<<>>>,,;;::\"\r\n", "NIL");
    }

    #[test]
    fn the_author_stands_in_for_sender_and_reply_address() {
        let mut out = Vec::new();
        envelope(&mut out, b"From: a@b\r\nSubject: q\"uote\r\nMessage-ID: <1@b>\r\n\r\n");
        let from = r#"((NIL NIL "a" "b"))"#;
        let expected = format!(r#"(NIL "q\"uote" {from} {from} {from} NIL NIL NIL NIL "<1@b>")"#);
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
