//! What is sought in a message's octets. Each form of them is made once, however many keys ask for it.

use std::cell::OnceCell;

use mail_parser::{Message, MessageParser, PartType};

use crate::imap::mime::{fields, unfold};

/// A message's octets, with what has been made of them so far.
pub(super) struct Text {
    octets: Vec<u8>,
    fields: OnceCell<Vec<Field>>,
    bodies: OnceCell<Vec<String>>,
    sent_day: OnceCell<Option<i64>>,
}

/// A field of the header, in lower case, with its encoded words decoded.
struct Field {
    /// `name: value`
    line: String,
    name_bytes: usize,
}

impl Text {
    pub(super) fn of(octets: Vec<u8>) -> Self {
        Self { octets, fields: OnceCell::new(), bodies: OnceCell::new(), sent_day: OnceCell::new() }
    }

    /// Whether a field (or any, or its mere presence for an empty text) holds the text, which is in lower case.
    pub(super) fn header_has(&self, field: Option<&str>, text: &str) -> bool {
        let known = self.fields.get_or_init(|| fields(&self.octets).map(Field::of).collect());
        known.iter().any(|known| match field {
            Some(name) => {
                let (its, value) = known.line.split_at(known.name_bytes);
                its.eq_ignore_ascii_case(name) && value.strip_prefix(": ").is_some_and(|value| value.contains(text))
            }
            None => known.line.contains(text),
        })
    }

    /// Whether a text part, decoded, holds the text, which is in lower case.
    pub(super) fn body_has(&self, text: &str) -> bool {
        let bodies = self.bodies.get_or_init(|| {
            let mut bodies = Vec::new();
            if let Some(message) = MessageParser::default().parse(&self.octets) {
                put_bodies(&message, &mut bodies);
            }
            bodies
        });
        bodies.iter().any(|body| body.contains(text))
    }

    /// The day of the Date field as it was written, whatever its zone (RFC 9051: "disregarding time and timezone").
    pub(super) fn sent_day(&self) -> Option<i64> {
        *self.sent_day.get_or_init(|| {
            let parsed = MessageParser::default().parse_headers(&self.octets)?;
            let date = parsed.date()?;
            let day = chrono::NaiveDate::from_ymd_opt(i32::from(date.year), date.month.into(), date.day.into())?;
            Some(day.signed_duration_since(chrono::NaiveDate::default()).num_days())
        })
    }
}

impl Field {
    fn of(field: crate::imap::mime::Field<'_>) -> Self {
        let name = String::from_utf8_lossy(field.name).to_lowercase();
        Self { name_bytes: name.len(), line: [&name, ": ", &decode(field.value).to_lowercase()].concat() }
    }
}

/// A field's value on one line, with its encoded words (RFC 2047) decoded.
fn decode(value: &[u8]) -> String {
    let plain = unfold(value);
    if !plain.contains("=?") {
        return plain;
    }
    let line = ["Subject: ", &plain, "\r\n\r\n"].concat();
    let parsed = MessageParser::default().parse_headers(line.as_bytes());
    parsed.and_then(|message| message.subject().map(str::to_owned)).unwrap_or(plain)
}

/// The text parts of a message and of those in it, in lower case.
fn put_bodies(message: &Message<'_>, bodies: &mut Vec<String>) {
    for part in &message.parts {
        match &part.body {
            PartType::Text(body) | PartType::Html(body) => bodies.push(body.to_lowercase()),
            PartType::Message(inner) => put_bodies(inner, bodies),
            PartType::Binary(_) | PartType::InlineBinary(_) | PartType::Multipart(_) => {}
        }
    }
}
