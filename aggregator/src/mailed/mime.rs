//! A message as its parts, within bounds.
//!
//! The tree is cut here and flattened: what reports need is the parts in their order. Enclosed messages are parts like
//! others and are not gone into, so that no message can nest without end. Header fields are decoded by `mail_parser`.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use mail_parser::parsers::MessageStream;
use mail_parser::{ContentType, HeaderValue};

use super::bound::{Bound, Fault};
use super::container;
use super::identity;
use crate::event::Time;

/// Octets in which a message shows that it is one.
const SNIFF_BYTES: usize = 4 << 10;
/// Fields by which one is known; two of them must be there.
const KNOWN_FIELDS: [&str; 10] = [
    "from",
    "date",
    "subject",
    "received",
    "return-path",
    "message-id",
    "mime-version",
    "to",
    "content-type",
    "delivered-to",
];

/// Whether octets begin as a message: with a header, in which a few fields are known.
pub(super) fn looks_like_mail(head: &[u8]) -> bool {
    let head = head.get(..head.len().min(SNIFF_BYTES)).unwrap_or_default();
    let mut known = 0;
    for (number, line) in head.split(|byte| *byte == b'\n').enumerate() {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            break;
        }
        let folded = matches!(line.first(), Some(b' ' | b'\t'));
        let is_envelope = number == 0 && (line.starts_with(b"From ") || line.starts_with(b">From "));
        if folded && number > 0 || is_envelope {
            continue;
        }
        let Some(name) = field_name(line) else {
            // The last line of a sample is cut.
            return known >= 2 && head.len() == SNIFF_BYTES;
        };
        known += usize::from(KNOWN_FIELDS.iter().any(|field| field.as_bytes().eq_ignore_ascii_case(name)));
    }
    known >= 2
}

/// The name of a field: printable and without blanks (RFC 5322 section 2.2).
fn field_name(line: &[u8]) -> Option<&[u8]> {
    let name = line.get(..memchr::memchr(b':', line)?)?.trim_ascii_end();
    (!name.is_empty() && name.iter().all(|byte| (33..127).contains(byte))).then_some(name)
}

/// A header: its fields in order, unfolded, names in lower case.
#[derive(Debug, Default)]
pub(super) struct Head {
    fields: Vec<(String, String)>,
}

impl Head {
    /// Reads a header; what is after it.
    pub(super) fn parse(octets: &[u8]) -> Result<(Self, &[u8]), Fault> {
        let mut head = Self::default();
        let (mut at, mut last_is_field) = (0, false);
        while let Some(rest) = octets.get(at..).filter(|rest| !rest.is_empty()) {
            let end = memchr::memchr(b'\n', rest).map_or(rest.len(), |end| end + 1);
            let line = rest.get(..end).unwrap_or_default().trim_ascii_end();
            if line.is_empty() {
                at += end;
                break;
            }
            let text = String::from_utf8_lossy(line);
            match (field_name(line), head.fields.last_mut()) {
                (_, Some((_, value))) if line.starts_with(b" ") || line.starts_with(b"\t") => {
                    if last_is_field {
                        value.push(' ');
                        value.push_str(text.trim());
                    }
                }
                (Some(name), _) => {
                    let value = text.split_once(':').map_or("", |(_, value)| value.trim()).to_owned();
                    head.fields.push((String::from_utf8_lossy(name).to_ascii_lowercase(), value));
                    last_is_field = true;
                }
                // `From …` of a mailbox, or a line that is none: it is left out, as other readers do.
                (None, _) => last_is_field = false,
            }
            at += end;
            Bound::HeaderBytes.hold(at)?;
        }
        Ok((head, octets.get(at..).unwrap_or_default()))
    }

    /// The first field of a name, as it stands.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str())
    }

    /// The fields of a name.
    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.fields.iter().filter(move |(field, _)| field == name).map(|(_, value)| value.as_str())
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// A field with its encoded words decoded (RFC 2047).
    pub(super) fn text(&self, name: &str) -> String {
        let value = line(self.get(name).unwrap_or_default());
        match MessageStream::new(value.as_bytes()).parse_unstructured().into_owned() {
            HeaderValue::Text(text) => text.into_owned(),
            _ => String::new(),
        }
    }

    /// The first address of a field.
    pub(super) fn address(&self, name: &str) -> String {
        let value = line(self.get(name).unwrap_or_default());
        let parsed = MessageStream::new(value.as_bytes()).parse_address();
        let first = parsed.as_address().and_then(|list| list.first()).and_then(|first| first.address());
        identity::cut(first.unwrap_or_default()).to_owned()
    }

    /// A date.
    pub(super) fn date(&self, name: &str) -> Option<Time> {
        identity::date(self.get(name)?)
    }

    /// The Message-ID of a field, without brackets.
    pub(super) fn message_id(&self, name: &str) -> String {
        self.get(name).map(identity::message_id).unwrap_or_default()
    }

    /// `type/subtype`, in lower case; of a part that does not say, `text/plain`.
    pub(super) fn media_type(&self) -> String {
        match self.content_type("content-type") {
            Some(found) => [found.ctype(), "/", found.subtype().unwrap_or_default()].concat().to_ascii_lowercase(),
            None => "text/plain".to_owned(),
        }
    }

    /// A parameter of the content type.
    pub(super) fn parameter(&self, name: &str) -> Option<String> {
        self.content_type("content-type")?.attribute(name).map(str::to_owned)
    }

    /// The name of the file that a part is.
    pub(super) fn file_name(&self) -> String {
        let disposition = self.content_type("content-disposition");
        let name = disposition.and_then(|found| found.attribute("filename").map(str::to_owned));
        name.or_else(|| self.parameter("name")).unwrap_or_default().to_ascii_lowercase()
    }

    fn content_type(&self, name: &str) -> Option<ContentType<'static>> {
        let value = line(self.get(name)?);
        match MessageStream::new(value.as_bytes()).parse_content_type().into_owned() {
            HeaderValue::ContentType(found) => Some(found),
            _ => None,
        }
    }
}

/// A field's value as its parser wants it: up to the end of its line.
fn line(value: &str) -> String {
    [value, "\r\n"].concat()
}

/// A leaf of a message.
pub(super) struct Part<'a> {
    pub(super) head: Head,
    pub(super) media_type: String,
    body: &'a [u8],
}

impl Part<'_> {
    /// What is in it, its transfer encoding undone (RFC 2045 section 6).
    pub(super) fn content(&self) -> Cow<'_, [u8]> {
        match self.head.get("content-transfer-encoding").map(|word| word.trim().to_ascii_lowercase()).as_deref() {
            Some("base64") => Cow::Owned(base64(self.body)),
            Some("quoted-printable") => Cow::Owned(quoted_printable(self.body)),
            _ => Cow::Borrowed(self.body),
        }
    }

    /// The same as text; octets that are no UTF-8 are taken for characters.
    pub(super) fn text(&self) -> String {
        match self.content() {
            Cow::Borrowed(octets) => super::xml::decode(octets).into_owned(),
            Cow::Owned(octets) => super::xml::decode(&octets).into_owned(),
        }
    }

    /// Whether a document may be in it: by its type or by the name of its file.
    pub(super) fn may_be_a_document(&self) -> bool {
        let name = self.head.file_name();
        let named = [".xml", ".xml.gz", ".gz", ".zip", ".json", ".json.gz"].iter().any(|end| name.ends_with(end));
        let typed = ["zip", "xml", "json", "octet-stream"].iter().any(|word| self.media_type.contains(word));
        let plain = self.media_type == "text/plain" && container::first_sign(self.body) == Some(b'<');
        named || typed || plain || self.media_type.contains("tlsrpt")
    }
}

/// A message.
pub(super) struct Mail<'a> {
    pub(super) octets: &'a [u8],
    pub(super) head: Head,
    /// Its leaves, in order. Enclosed messages are leaves.
    pub(super) parts: Vec<Part<'a>>,
    /// `report` of `multipart/report`, in lower case; empty for another message.
    pub(super) report_type: String,
}

impl<'a> Mail<'a> {
    pub(super) fn parse(octets: &'a [u8]) -> Result<Self, Fault> {
        let (head, body) = Head::parse(octets)?;
        let mut parts = Vec::new();
        let mut report_type = String::new();
        leaves(&head, body, 0, &mut parts, &mut report_type)?;
        Ok(Self { octets, head, parts, report_type })
    }

    /// The first leaf of one of these types.
    pub(super) fn part(&self, types: &[&str]) -> Option<&Part<'a>> {
        self.parts.iter().find(|part| types.contains(&part.media_type.as_str()))
    }

    /// The header of the message that a report returns: of an enclosed message, or headers alone.
    pub(super) fn returned(&self) -> Head {
        const RETURNED: [&str; 4] =
            ["message/rfc822", "text/rfc822-headers", "message/global", "message/global-headers"];
        let Some(part) = self.part(&RETURNED) else { return Head::default() };
        let head = Head::parse(&part.content()).map(|(head, _)| head);
        head.unwrap_or_default()
    }

    /// What a person reads: the first text.
    pub(super) fn words(&self) -> String {
        let plain = self.part(&["text/plain"]).map(Part::text);
        plain.or_else(|| self.part(&["text/html"]).map(|part| without_tags(&part.text()))).unwrap_or_default()
    }

    /// The message's own name; of one without a digest, whatever its line ends are and whatever blanks follow it.
    pub(super) fn id(&self) -> String {
        match self.head.message_id("message-id") {
            id if id.is_empty() => {
                let mut octets = self.octets.trim_ascii_end().to_vec();
                octets.retain(|byte| *byte != b'\r');
                identity::digest(&octets)
            }
            id => id,
        }
    }
}

fn leaves<'a>(
    head: &Head,
    body: &'a [u8],
    depth: usize,
    parts: &mut Vec<Part<'a>>,
    report_type: &mut String,
) -> Result<(), Fault> {
    Bound::MimeDepth.hold(depth)?;
    let media_type = head.media_type();
    if media_type == "multipart/report" && report_type.is_empty() {
        *report_type = head.parameter("report-type").unwrap_or_default().to_ascii_lowercase();
    }
    let boundary = if media_type.starts_with("multipart/") { head.parameter("boundary") } else { None };
    let Some(boundary) = boundary.filter(|boundary| !boundary.is_empty()) else {
        Bound::MimeParts.hold(parts.len() + 1)?;
        // Fields of the whole message say nothing more of its only part.
        let fields = head.fields.iter().filter(|(name, _)| depth > 0 || name.starts_with("content-")).cloned();
        parts.push(Part { head: Head { fields: fields.collect() }, media_type, body });
        return Ok(());
    };
    for part in split(body, boundary.as_bytes()) {
        let (head, body) = Head::parse(part)?;
        leaves(&head, body, depth + 1, parts, report_type)?;
        Bound::MimeParts.hold(parts.len())?;
    }
    Ok(())
}

/// The parts between the boundaries (RFC 2046 section 5.1.1).
fn split<'a>(body: &'a [u8], boundary: &[u8]) -> Vec<&'a [u8]> {
    let mark = [b"--", boundary].concat();
    let (mut parts, mut start) = (Vec::new(), None);
    for at in memchr::memmem::find_iter(body, &mark) {
        let begins_line = at == 0 || body.get(at - 1) == Some(&b'\n');
        let after = body.get(at + mark.len()..).unwrap_or_default();
        let closes = after.starts_with(b"--");
        let ends_line = closes || after.first().is_none_or(|byte| matches!(byte, b'\r' | b'\n' | b' ' | b'\t'));
        if !begins_line || !ends_line {
            continue;
        }
        if let Some(start) = start.take() {
            parts.push(without_line_end(body.get(start..at).unwrap_or_default()));
        }
        if closes || parts.len() as u64 > Bound::MimeParts.limit() {
            return parts;
        }
        start = Some(at + mark.len() + memchr::memchr(b'\n', after).map_or(after.len(), |end| end + 1));
    }
    // A message that was cut off has no closing boundary.
    if let Some(start) = start {
        parts.push(body.get(start..).unwrap_or_default());
    }
    parts
}

fn without_line_end(octets: &[u8]) -> &[u8] {
    let octets = octets.strip_suffix(b"\n").unwrap_or(octets);
    octets.strip_suffix(b"\r").unwrap_or(octets)
}

/// Base64 as it comes: line ends and padding do not matter, and it ends where it is damaged.
fn base64(body: &[u8]) -> Vec<u8> {
    const ENGINE: GeneralPurpose = GeneralPurpose::new(
        &base64::alphabet::STANDARD,
        GeneralPurposeConfig::new()
            .with_decode_allow_trailing_bits(true)
            .with_decode_padding_mode(DecodePaddingMode::Indifferent),
    );
    let mut symbols: Vec<u8> = body.to_vec();
    symbols.retain(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/'));
    if symbols.len() % 4 == 1 {
        symbols.pop();
    }
    ENGINE.decode(&symbols).unwrap_or_default()
}

/// Quoted-printable as it comes (RFC 2045 section 6.7).
fn quoted_printable(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len());
    let mut at = 0;
    while let Some(byte) = body.get(at) {
        at += 1;
        if *byte != b'=' {
            out.push(*byte);
            continue;
        }
        match (body.get(at), body.get(at + 1)) {
            (Some(b'\n'), _) => at += 1,
            (Some(b'\r'), Some(b'\n')) => at += 2,
            (Some(high), Some(low)) => match (digit(*high), digit(*low)) {
                (Some(high), Some(low)) => {
                    out.push(high << 4 | low);
                    at += 2;
                }
                _ => out.push(b'='),
            },
            _ => {}
        }
    }
    out
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// The words of a page, a line an element: enough to find addresses and reasons in it.
fn without_tags(page: &str) -> String {
    let mut out = String::with_capacity(page.len());
    let mut rest = page;
    while let Some((text, after)) = rest.split_once('<') {
        out.push_str(text);
        let Some((tag, following)) = after.split_once('>') else { return out };
        let block = ["br", "p", "/p", "div", "/div", "tr", "td", "li", "/tr"];
        let name = tag.split([' ', '/']).find(|name| !name.is_empty()).unwrap_or_default().to_ascii_lowercase();
        if block.contains(&name.as_str()) {
            out.push('\n');
        }
        rest = following;
    }
    out.push_str(rest);
    out.replace("&lt;", "<").replace("&gt;", ">").replace("&nbsp;", " ").replace("&amp;", "&")
}
