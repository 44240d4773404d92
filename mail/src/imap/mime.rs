//! The parts of a message with their octet ranges, as BODYSTRUCTURE and sections need them: nothing is decoded.

use std::ops::Range;

/// Parts of one message; what comes after them is one leaf.
const PARTS: usize = 1_000;
/// How deep parts may nest.
const DEPTH: usize = 50;

/// A field of a header.
#[derive(Debug, Clone, Copy)]
pub(super) struct Field<'a> {
    pub(super) name: &'a [u8],
    /// After the colon, folded as it came, without the last line end.
    pub(super) value: &'a [u8],
    /// All of it with its line end.
    pub(super) whole: &'a [u8],
}

/// A value with parameters: Content-Type, Content-Disposition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Valued {
    pub(super) value: String,
    pub(super) parameters: Vec<(String, String)>,
}

#[derive(Debug)]
pub(super) struct Part {
    /// The header with its blank line.
    pub(super) header: Range<usize>,
    pub(super) body: Range<usize>,
    pub(super) kind: String,
    pub(super) subkind: String,
    pub(super) parameters: Vec<(String, String)>,
    pub(super) content: Content,
}

#[derive(Debug)]
pub(super) enum Content {
    Leaf,
    Multipart(Vec<Part>),
    Message(Box<Part>),
}

impl Part {
    /// Reads a whole message.
    pub(super) fn parse(octets: &[u8]) -> Self {
        let mut left = PARTS;
        part(octets, 0..octets.len(), ("TEXT", "PLAIN"), DEPTH, &mut left)
    }

    /// The part of this number (RFC 9051 section 6.4.5.1); an empty number is the message.
    pub(super) fn find(&self, number: &[u32]) -> Option<&Part> {
        let Some((first, rest)) = number.split_first() else { return Some(self) };
        let index = usize::try_from(*first).ok()?.checked_sub(1)?;
        let found = match &self.content {
            Content::Multipart(parts) => parts.get(index)?,
            Content::Leaf | Content::Message(_) if index == 0 => self,
            Content::Leaf | Content::Message(_) => return None,
        };
        match (&found.content, rest) {
            (_, []) => Some(found),
            (Content::Message(message), rest) => message.find(rest),
            (Content::Multipart(_), rest) => found.find(rest),
            (Content::Leaf, _) => None,
        }
    }

    /// A field of the header, trimmed and unfolded.
    pub(super) fn field(&self, octets: &[u8], name: &str) -> Option<String> {
        field(&octets[self.header.clone()], name)
    }
}

/// The first field of this name, trimmed and unfolded.
pub(super) fn field(header: &[u8], name: &str) -> Option<String> {
    let found = fields(header).find(|field| field.name.eq_ignore_ascii_case(name.as_bytes()))?;
    Some(unfold(found.value))
}

/// A value on one line.
pub(super) fn unfold(value: &[u8]) -> String {
    let text = String::from_utf8_lossy(value);
    text.chars().filter(|c| !matches!(c, '\r' | '\n' | '\0')).collect::<String>().trim().to_owned()
}

/// The fields of a header, up to its blank line.
pub(super) fn fields(header: &[u8]) -> impl Iterator<Item = Field<'_>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        loop {
            let start = at;
            let mut end = line_end(header, start);
            if end == start || is_blank(&header[start..end]) {
                return None;
            }
            while matches!(header.get(end), Some(b' ' | b'\t')) && !is_blank(&header[end..line_end(header, end)]) {
                end = line_end(header, end);
            }
            at = end;
            let whole = &header[start..end];
            let Some(colon) = whole.iter().position(|octet| *octet == b':') else { continue };
            let value = whole[colon + 1..].strip_suffix(b"\n").unwrap_or(&whole[colon + 1..]);
            let value = value.strip_suffix(b"\r").unwrap_or(value);
            return Some(Field { name: whole[..colon].trim_ascii_end(), value, whole });
        }
    })
}

/// Reads `type/subtype; name=value; …`, with RFC 2231 parameters left as they are.
pub(super) fn valued(text: &str) -> Valued {
    let (value, mut rest) = text.split_at(text.find(';').unwrap_or(text.len()));
    let mut parameters = Vec::new();
    while let Some(after) = rest.trim_start().strip_prefix(';') {
        let Some((name, value)) = after.split_once('=') else { break };
        let name = name.trim().to_owned();
        let value = value.trim_start();
        let parsed = match value.strip_prefix('"') {
            Some(quoted) => {
                let (text, length) = unquote(quoted);
                rest = &quoted[length..];
                rest = &rest[rest.find(';').unwrap_or(rest.len())..];
                text
            }
            None => {
                let (text, after) = value.split_at(value.find(';').unwrap_or(value.len()));
                rest = after;
                text.trim().to_owned()
            }
        };
        if !name.is_empty() && !name.contains(';') {
            parameters.push((name, parsed));
        }
    }
    Valued { value: value.trim().to_owned(), parameters }
}

/// The text up to the closing quote, and how many octets that took.
fn unquote(quoted: &str) -> (String, usize) {
    let mut text = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (text, at + 1),
            '\\' => text.extend(chars.next().map(|(_, c)| c)),
            c => text.push(c),
        }
    }
    (text, quoted.len())
}

fn part(octets: &[u8], range: Range<usize>, default: (&str, &str), depth: usize, left: &mut usize) -> Part {
    *left = left.saturating_sub(1);
    let split = header_end(octets, range.clone());
    let (header, body) = (range.start..split, split..range.end);
    let content_type = field(&octets[header.clone()], "Content-Type").map(|text| valued(&text)).unwrap_or_default();
    let (kind, subkind, parameters) = match content_type.value.split_once('/') {
        Some((kind, subkind)) if !kind.trim().is_empty() && !subkind.trim().is_empty() => {
            (kind.trim().to_owned(), subkind.trim().to_owned(), content_type.parameters)
        }
        _ => (default.0.to_owned(), default.1.to_owned(), Vec::new()),
    };
    let is = |name: &str| kind.eq_ignore_ascii_case(name);
    let boundary = parameters.iter().find(|(name, _)| name.eq_ignore_ascii_case("boundary"));
    let content = match (depth.checked_sub(1), boundary) {
        (Some(depth), Some((_, boundary))) if is("multipart") && !boundary.is_empty() => {
            let inner = match subkind.eq_ignore_ascii_case("digest") {
                true => ("MESSAGE", "RFC822"),
                false => ("TEXT", "PLAIN"),
            };
            let parts = split_parts(octets, body.clone(), boundary.as_bytes(), *left);
            Content::Multipart(parts.into_iter().map(|range| part(octets, range, inner, depth, left)).collect())
        }
        (Some(depth), _) if is("message") && subkind.eq_ignore_ascii_case("rfc822") && *left > 0 => {
            Content::Message(Box::new(part(octets, body.clone(), ("TEXT", "PLAIN"), depth, left)))
        }
        _ => Content::Leaf,
    };
    Part { header, body, kind, subkind, parameters, content }
}

/// The end of the header that begins a range: after its blank line.
fn header_end(octets: &[u8], range: Range<usize>) -> usize {
    let mut at = range.start;
    while at < range.end {
        let end = line_end(octets, at).min(range.end);
        if is_blank(&octets[at..end]) {
            return end;
        }
        at = end;
    }
    range.end
}

/// The ranges between the delimiters of a multipart (RFC 2046 section 5.1.1).
fn split_parts(octets: &[u8], body: Range<usize>, boundary: &[u8], limit: usize) -> Vec<Range<usize>> {
    let mut parts = Vec::new();
    let mut open: Option<usize> = None;
    let mut at = body.start;
    while at < body.end && parts.len() < limit {
        let end = line_end(octets, at).min(body.end);
        let line = octets[at..end].trim_ascii_end();
        let rest = line.strip_prefix(b"--").and_then(|line| line.strip_prefix(boundary));
        if let Some(rest) = rest.filter(|rest| rest.is_empty() || *rest == b"--") {
            if let Some(start) = open {
                // The line end before a delimiter belongs to the delimiter.
                let mut stop = at;
                for octet in [b'\n', b'\r'] {
                    if stop > start && octets[stop - 1] == octet {
                        stop -= 1;
                    }
                }
                parts.push(start..stop);
            }
            open = Some(end);
            if !rest.is_empty() {
                return parts;
            }
        }
        at = end;
    }
    if let Some(start) = open.filter(|_| parts.len() < limit) {
        parts.push(start..body.end);
    }
    parts
}

/// The start of the next line.
fn line_end(octets: &[u8], at: usize) -> usize {
    octets[at..].iter().position(|octet| *octet == b'\n').map_or(octets.len(), |found| at + found + 1)
}

fn is_blank(line: &[u8]) -> bool {
    matches!(line, b"\n" | b"\r\n")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn parts_have_numbers_and_exact_ranges() {
        let message = b"Content-Type: multipart/mixed; boundary=\"x y\"\r\n\r\npre\r\n--x y\r\n\r\none\r\n\r\n--x y\r\nContent-Type: message/rfc822\r\n\r\nSubject: in\r\n\r\ninner\r\n--x y--\r\npost\r\n";
        let root = Part::parse(message);
        let text =
            |number: &[u32]| root.find(number).map(|part| std::str::from_utf8(&message[part.body.clone()]).unwrap());
        assert_eq!(text(&[1]), Some("one\r\n"));
        assert_eq!(text(&[2]), Some("Subject: in\r\n\r\ninner"));
        assert_eq!(text(&[2, 1]), Some("inner"));
        assert_eq!(text(&[3]), None);
        assert_eq!(text(&[1, 1]), None);
    }

    #[test]
    fn parameters_are_unquoted() {
        let value = valued("text/plain; charset=\"a;\\\"b\" ; format = flowed;bad");
        assert_eq!(value.value, "text/plain");
        let expected = [("charset", "a;\"b"), ("format", "flowed")].map(|(n, v)| (n.to_owned(), v.to_owned()));
        assert_eq!(value.parameters, expected);
    }

    proptest! {
        #[test]
        fn any_octets_have_parts_within_them(octets in proptest::collection::vec(prop_oneof![
            Just(b"--b\r\n".to_vec()), Just(b"--b--".to_vec()), Just(b"Content-Type: multipart/x; boundary=b\r\n".to_vec()),
            Just(b"Content-Type: message/rfc822\n".to_vec()), Just(b"\r\n".to_vec()), proptest::collection::vec(any::<u8>(), 0..9),
        ], 0..40)) {
            let octets = octets.concat();
            let root = Part::parse(&octets);
            let mut parts = vec![&root];
            while let Some(part) = parts.pop() {
                prop_assert!(part.header.end <= part.body.start && part.body.end <= octets.len());
                match &part.content {
                    Content::Leaf => {}
                    Content::Multipart(inner) => parts.extend(inner),
                    Content::Message(inner) => parts.push(inner),
                }
            }
        }
    }
}
