//! The fields of Exim's lines: `H=mx.example.org [192.0.2.1]:25 P=esmtp X=TLS1.3:…:256 id=… T="…"` (Exim
//! specification, section 53.13).

use crate::dialect::text::host_and_address;
use crate::event::Address;

/// The fields that a text begins with. What a line does not say is empty.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Fields<'a> {
    /// `H=`: the other host.
    pub host: Host<'a>,
    /// `I=`: our address.
    pub interface: Option<Address>,
    /// `P=`: the protocol of an arrival, the return path of a delivery.
    pub p: &'a str,
    /// `A=`: authenticator and user.
    pub auth: &'a str,
    /// `X=`: version and cipher of TLS.
    pub tls: &'a str,
    /// `CV=`: whether the certificate was verified.
    pub trust: &'a str,
    /// `S=`: octets.
    pub size: Option<u64>,
    /// `id=`, `id*=`: the Message-ID.
    pub message_id: &'a str,
    /// `F=`: the sender, in angle brackets.
    pub sender: &'a str,
    /// `T=`: the subject of an arrival, the transport of a delivery.
    pub t: &'a str,
    /// `C=`: the reply of the other side, with its escapes.
    pub confirmation: &'a str,
    /// `QT=`: time in the queue.
    pub queue_time: &'a str,
    /// `DT=`: time of this attempt.
    pub delivery_time: &'a str,
    /// `DKIM=`: a domain whose signature is good.
    pub dkim: &'a str,
    /// What comes behind the fields; behind the colon when one ends them.
    pub rest: &'a str,
}

/// `name (helo) [address]:port`.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Host<'a> {
    pub name: &'a str,
    pub helo: &'a str,
    pub ip: Option<Address>,
}

impl<'a> Fields<'a> {
    /// Reads fields up to the colon that ends them, or to a word that is none.
    pub(super) fn parse(text: &'a str) -> Self {
        let mut fields = Self { rest: text, ..Self::default() };
        while !fields.ends_here() {
            let text = fields.rest.trim_start_matches(' ');
            if let Some((key, value)) = key(text) {
                fields.set(key, value);
            } else if let Some(after) = flag(text) {
                fields.rest = after;
            } else {
                fields.rest = text;
                break;
            }
        }
        fields
    }

    fn set(&mut self, key: &str, value: &'a str) {
        if key == "H" {
            (self.host, self.rest) = host(value);
            return;
        }
        let (value, rest) = self::value(value);
        self.rest = rest;
        match key {
            "I" => self.interface = host_and_address(value).1,
            "P" => self.p = value,
            "A" => self.auth = value,
            "X" => self.tls = value,
            "CV" => self.trust = value,
            "S" => self.size = value.parse().ok(),
            "id" | "id*" => self.message_id = value,
            "F" => self.sender = value,
            "T" => self.t = value,
            "C" => self.confirmation = value,
            "QT" => self.queue_time = value,
            "DT" => self.delivery_time = value,
            "DKIM" => self.dkim = value,
            _ => {}
        }
    }

    /// Takes the colon that ends the fields.
    fn ends_here(&mut self) -> bool {
        match self.rest.strip_prefix(':') {
            Some(reason) if reason.is_empty() || reason.starts_with(' ') => {
                self.rest = reason.trim_start_matches(' ');
                true
            }
            _ => self.rest.is_empty(),
        }
    }

    /// Who logged in: `A=authenticator:user:sender`.
    pub(super) fn auth_user(&self) -> &'a str {
        self.auth.split(':').nth(1).unwrap_or_default()
    }
}

/// `KEY=`, and the text behind it.
fn key(text: &str) -> Option<(&str, &str)> {
    let end = text.bytes().take(6).position(|byte| byte == b'=')?;
    let (key, value) = text.split_at(end);
    // `Ci`: the number of the connection, since 4.98.
    let known = matches!(key, "id" | "id*" | "Ci")
        || (key.starts_with(|c: char| c.is_ascii_uppercase())
            && key.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit()));
    known.then(|| (key, value.get(1..).unwrap_or_default()))
}

/// A word that stands among fields without a value: `L`, `L.-`, `K`, `DS`, `TFO*`, `PRDR`, `defer (-44)`,
/// `routing defer (-52)`. The rest behind it.
fn flag(text: &str) -> Option<&str> {
    for mark in ["routing defer (", "defer ("] {
        if let Some(after) = text.strip_prefix(mark) {
            return after.split_once(')').map(|(_, rest)| rest);
        }
    }
    let end = text.find([' ', ':']).unwrap_or(text.len());
    let (word, rest) = text.split_at(end);
    matches!(word.trim_end_matches(['.', '-', '*']), "L" | "K" | "DS" | "TFO" | "PRDR" | "SMTPUTF8").then_some(rest)
}

/// A value and what is behind it: in quotes, in angle brackets, or up to the next space. A colon before the space is
/// not part of it.
fn value(text: &str) -> (&str, &str) {
    if let Some(inner) = text.strip_prefix('"') {
        let end = closing_quote(inner);
        return (inner.get(..end).unwrap_or_default(), inner.get(end + 1..).unwrap_or_default());
    }
    if text.starts_with('<') {
        return bracketed(text);
    }
    let end = text.find(' ').unwrap_or(text.len());
    let (value, rest) = text.split_at(end);
    match value.strip_suffix(':') {
        Some(value) => text.split_at(value.len()),
        None => (value, rest),
    }
}

/// Where the quote ends that `inner` is in; its length when nothing ends it.
fn closing_quote(inner: &str) -> usize {
    let mut escaped = false;
    inner
        .bytes()
        .position(|byte| {
            let end = byte == b'"' && !escaped;
            escaped = byte == b'\\' && !escaped;
            end
        })
        .unwrap_or(inner.len())
}

/// `<"a b"@example.org>` and what is behind it. Without an end: up to the next space.
pub(super) fn bracketed(text: &str) -> (&str, &str) {
    let mut quoted = false;
    let end = text.bytes().position(|byte| {
        quoted ^= byte == b'"';
        byte == b'>' && !quoted
    });
    match end.or_else(|| text.find('>')) {
        Some(end) => text.split_at(end + 1),
        None => text.split_at(text.find(' ').unwrap_or(text.len())),
    }
}

/// An address and what is behind it: a quoted local part may hold spaces.
pub(super) fn address(text: &str) -> (&str, &str) {
    if text.starts_with('<') {
        return bracketed(text);
    }
    let from = match text.strip_prefix('"') {
        Some(inner) => (closing_quote(inner) + 2).min(text.len()),
        None => 0,
    };
    let end = text.get(from..).and_then(|after| after.find(' ')).map_or(text.len(), |space| from + space);
    text.split_at(end)
}

/// `name (helo) [address]:port` and what is behind it. Only the address in brackets is certain: a HELO can be
/// anything, `([192.0.2.1])` too.
pub(super) fn host(text: &str) -> (Host<'_>, &str) {
    let mut host = Host::default();
    let mut rest = text;
    if !rest.starts_with(['(', '[', ' ']) {
        (host.name, rest) = value(rest);
    }
    let next = rest.trim_start_matches(' ');
    if let Some(inner) = next.strip_prefix('(')
        && let Some(end) = inner.find(") [").or_else(|| inner.find(')'))
    {
        host.helo = inner.get(..end).unwrap_or_default();
        rest = inner.get(end + 1..).unwrap_or_default();
    }
    let next = rest.trim_start_matches(' ');
    if next.starts_with('[')
        && let Some(end) = next.find(']')
    {
        let (address, after) = next.split_at(end + 1);
        host.ip = host_and_address(address).1;
        rest = after_port(after);
    }
    (host, rest)
}

/// `:25*`: the port, and the mark of a connection that was used before.
fn after_port(text: &str) -> &str {
    let after = match text.strip_prefix(':') {
        Some(port) if port.starts_with(|c: char| c.is_ascii_digit()) => {
            port.trim_start_matches(|c: char| c.is_ascii_digit())
        }
        _ => text,
    };
    after.strip_prefix('*').unwrap_or(after)
}

/// A quoted value with its escapes undone. A line end in it stays `\n`.
pub(super) fn unescaped(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(escaped @ ('"' | '\\')) => plain.push(escaped),
                Some(other) => plain.extend(['\\', other]),
                None => plain.push('\\'),
            },
            _ => plain.push(c),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_values_hold_spaces_quotes_and_other_fields() {
        let fields = Fields::parse(
            r#"H=(c.ex) [192.0.2.7]:4 I=[192.0.2.1]:25 Ci=19687 P=esmtp L.- S=270 id*=a@b T="say \"for you\" S=1" from <x@y> for z@y"#,
        );
        assert_eq!(fields.host, Host { name: "", helo: "c.ex", ip: "192.0.2.7".parse().ok() });
        assert_eq!((fields.p, fields.size, fields.message_id), ("esmtp", Some(270), "a@b"));
        assert_eq!((fields.t, fields.rest), (r#"say \"for you\" S=1"#, "from <x@y> for z@y"));
    }

    #[test]
    fn a_colon_ends_the_fields_wherever_it_stands() {
        for text in [
            "R=a T=smtp: SMTP error: x",
            "F=<\"a: b\"@c>: SMTP error: x",
            "H=mx [2001:db8::1]: SMTP error: x",
            "H=mx [192.0.2.1]:25*: SMTP error: x",
            "T=smtp defer (-44) H=mx [192.0.2.1] L DT=0.1s: SMTP error: x",
            "routing defer (-52): SMTP error: x",
        ] {
            assert_eq!(Fields::parse(text).rest, "SMTP error: x", "{text}");
        }
    }

    #[test]
    fn a_helo_may_look_like_an_address() {
        let (host, rest) = host("mail.ex ([10.0.0.1]) [192.0.2.7]:9 rest");
        assert_eq!(host, Host { name: "mail.ex", helo: "[10.0.0.1]", ip: "192.0.2.7".parse().ok() });
        assert_eq!(rest, " rest");
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics_and_parsing_ends(text in "([A-Z]{1,3}=|id=|H=|[\"<(\\[:]| |L|defer \\(|.){0,40}") {
            let _ = Fields::parse(&text);
            let _ = address(&text);
            let _ = bracketed(&text);
        }
    }
}
