//! BODY and BODYSTRUCTURE (RFC 9051 section 7.5.2), and the sections of a message.

use std::borrow::Cow;
use std::collections::HashSet;

use base64::Engine;
use base64::alphabet::STANDARD as ALPHABET;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};

use super::command::{Section, SectionText};
use super::envelope::envelope;
use super::mime::{Content, Part, fields, valued};
use super::write;

/// Whether the extension data of BODYSTRUCTURE is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Detail {
    Basic,
    Extended,
}

pub(super) fn structure(out: &mut Vec<u8>, octets: &[u8], part: &Part, detail: Detail) {
    out.push(b'(');
    match &part.content {
        Content::Multipart(parts) if !parts.is_empty() => {
            for inner in parts {
                structure(out, octets, inner, detail);
            }
            out.push(b' ');
            write::string(out, part.subkind.as_bytes());
            if detail == Detail::Extended {
                out.push(b' ');
                parameters(out, &part.parameters);
                common_extension(out, octets, part);
            }
        }
        _ => single(out, octets, part, detail),
    }
    out.push(b')');
}

fn single(out: &mut Vec<u8>, octets: &[u8], part: &Part, detail: Detail) {
    let broken = matches!(part.content, Content::Multipart(_)) || part.kind.eq_ignore_ascii_case("multipart");
    let (kind, subkind) = if broken { ("TEXT", "PLAIN") } else { (part.kind.as_str(), part.subkind.as_str()) };
    write::string(out, kind.as_bytes());
    out.push(b' ');
    write::string(out, subkind.as_bytes());
    out.push(b' ');
    let text = kind.eq_ignore_ascii_case("text");
    match part.parameters.is_empty() && text {
        true => out.extend_from_slice(br#"("CHARSET" "US-ASCII")"#),
        false => parameters(out, &part.parameters),
    }
    for name in ["Content-ID", "Content-Description"] {
        out.push(b' ');
        write::nstring(out, part.field(octets, name).as_deref().map(str::as_bytes));
    }
    out.push(b' ');
    let encoding = part.field(octets, "Content-Transfer-Encoding").unwrap_or_else(|| "7BIT".to_owned());
    write::string(out, encoding.as_bytes());
    out.push(b' ');
    let body = &octets[part.body.clone()];
    write::number(out, body.len() as u64);
    let lines = body.iter().filter(|octet| **octet == b'\n').count() as u64;
    if let Content::Message(message) = &part.content {
        out.push(b' ');
        envelope(out, &octets[message.header.clone()]);
        out.push(b' ');
        structure(out, octets, message, detail);
    }
    if text || matches!(part.content, Content::Message(_)) {
        out.push(b' ');
        write::number(out, lines);
    }
    if detail == Detail::Extended {
        out.push(b' ');
        write::nstring(out, part.field(octets, "Content-MD5").as_deref().map(str::as_bytes));
        common_extension(out, octets, part);
    }
}

/// Disposition, language, location.
fn common_extension(out: &mut Vec<u8>, octets: &[u8], part: &Part) {
    out.push(b' ');
    match part.field(octets, "Content-Disposition").map(|text| valued(&text)) {
        Some(disposition) if !disposition.value.is_empty() => {
            out.push(b'(');
            write::string(out, disposition.value.as_bytes());
            out.push(b' ');
            parameters(out, &disposition.parameters);
            out.push(b')');
        }
        _ => out.extend_from_slice(b"NIL"),
    }
    out.push(b' ');
    let language = part.field(octets, "Content-Language").unwrap_or_default();
    let tags: Vec<&str> = language.split(',').map(str::trim).filter(|tag| !tag.is_empty()).collect();
    match tags.as_slice() {
        [] => out.extend_from_slice(b"NIL"),
        tags => {
            for (n, tag) in tags.iter().enumerate() {
                out.push(if n == 0 { b'(' } else { b' ' });
                write::string(out, tag.as_bytes());
            }
            out.push(b')');
        }
    }
    out.push(b' ');
    write::nstring(out, part.field(octets, "Content-Location").as_deref().map(str::as_bytes));
}

fn parameters(out: &mut Vec<u8>, parameters: &[(String, String)]) {
    if parameters.is_empty() {
        return out.extend_from_slice(b"NIL");
    }
    for (n, (name, value)) in parameters.iter().enumerate() {
        out.push(if n == 0 { b'(' } else { b' ' });
        write::string(out, name.as_bytes());
        out.push(b' ');
        write::string(out, value.as_bytes());
    }
    out.push(b')');
}

/// The octets of a section; `None` when the message has no such part.
pub(super) fn section<'a>(octets: &'a [u8], root: &Part, section: &Section) -> Option<Cow<'a, [u8]>> {
    let part = root.find(&section.part)?;
    // HEADER and TEXT of a part are those of the message in it.
    let message = || match (&part.content, section.part.is_empty()) {
        (_, true) => Some(part),
        (Content::Message(message), false) => Some(message.as_ref()),
        _ => None,
    };
    let chosen = |names: &[Vec<u8>], wanted: bool| {
        let header = &octets[message()?.header.clone()];
        let names: HashSet<Vec<u8>> = names.iter().map(|name| name.to_ascii_lowercase()).collect();
        let listed = |name: &[u8]| names.contains(&name.to_ascii_lowercase());
        let mut text: Vec<u8> = fields(header)
            .filter(|field| listed(field.name) == wanted)
            .flat_map(|field| field.whole)
            .copied()
            .collect();
        text.extend_from_slice(b"\r\n");
        Some(Cow::Owned(text))
    };
    match &section.text {
        SectionText::Whole if section.part.is_empty() => Some(Cow::Borrowed(octets)),
        SectionText::Whole => Some(Cow::Borrowed(&octets[part.body.clone()])),
        SectionText::Mime => Some(Cow::Borrowed(&octets[part.header.clone()])),
        SectionText::Header => Some(Cow::Borrowed(&octets[message()?.header.clone()])),
        SectionText::Text => Some(Cow::Borrowed(&octets[message()?.body.clone()])),
        SectionText::Fields(names) => chosen(names, true),
        SectionText::FieldsNot(names) => chosen(names, false),
    }
}

/// A part without its transfer encoding (RFC 9051 section 6.4.5.2).
pub(super) enum Decoded<'a> {
    Octets(Cow<'a, [u8]>),
    NoSuchPart,
    UnknownEncoding,
}

pub(super) fn binary<'a>(octets: &'a [u8], root: &Part, number: &[u32]) -> Decoded<'a> {
    let Some(part) = root.find(number) else { return Decoded::NoSuchPart };
    if number.is_empty() {
        return Decoded::Octets(Cow::Borrowed(octets));
    }
    let body = &octets[part.body.clone()];
    let encoding = part.field(octets, "Content-Transfer-Encoding").unwrap_or_default().to_ascii_lowercase();
    let decoded = match encoding.as_str() {
        "" | "7bit" | "8bit" | "binary" => Some(Cow::Borrowed(body)),
        "base64" => {
            let lenient = GeneralPurposeConfig::new()
                .with_decode_padding_mode(DecodePaddingMode::Indifferent)
                .with_decode_allow_trailing_bits(true);
            let text: Vec<u8> = body.iter().filter(|octet| octet.is_ascii_graphic()).copied().collect();
            GeneralPurpose::new(&ALPHABET, lenient).decode(text).ok().map(Cow::Owned)
        }
        "quoted-printable" => mail_parser::decoders::quoted_printable::quoted_printable_decode(body).map(Cow::Owned),
        _ => None,
    };
    decoded.map_or(Decoded::UnknownEncoding, Decoded::Octets)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGE: &[u8] = b"From: a@b\r\nSubject: s\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nhi\r\nyou\r\n--b\r\nContent-Type: application/pdf; name=\"x.pdf\"\r\nContent-Transfer-Encoding: base64\r\nContent-Disposition: attachment; filename=x.pdf\r\n\r\nAAEC\r\n--b--\r\n";

    #[test]
    fn a_mixed_message_is_described_exactly() {
        let root = Part::parse(MESSAGE);
        let show = |detail| {
            let mut out = Vec::new();
            structure(&mut out, MESSAGE, &root, detail);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(
            show(Detail::Basic),
            r#"(("text" "plain" ("charset" "utf-8") NIL NIL "7BIT" 7 1)("application" "pdf" ("name" "x.pdf") NIL NIL "base64" 4) "mixed")"#
        );
        assert_eq!(
            show(Detail::Extended),
            r#"(("text" "plain" ("charset" "utf-8") NIL NIL "7BIT" 7 1 NIL NIL NIL NIL)("application" "pdf" ("name" "x.pdf") NIL NIL "base64" 4 NIL ("attachment" ("filename" "x.pdf")) NIL NIL) "mixed" ("boundary" "b") NIL NIL NIL)"#
        );
    }

    #[test]
    fn sections_are_cut_exactly() {
        let root = Part::parse(MESSAGE);
        let cut = |part: &[u32], text| {
            section(MESSAGE, &root, &Section { part: part.to_vec(), text })
                .map(|text| String::from_utf8(text.into_owned()).unwrap())
        };
        assert_eq!(cut(&[1], SectionText::Whole).unwrap(), "hi\r\nyou");
        assert_eq!(cut(&[2], SectionText::Mime).unwrap().lines().count(), 4);
        assert_eq!(cut(&[1], SectionText::Header), None);
        assert_eq!(cut(&[], SectionText::Fields(vec![b"SUBJECT".to_vec()])).unwrap(), "Subject: s\r\n\r\n");
        assert!(matches!(binary(MESSAGE, &root, &[2]), Decoded::Octets(octets) if *octets == [0, 1, 2]));
    }
}
