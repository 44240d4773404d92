//! Writing responses: strings in the form their octets allow, flags, dates (RFC 9051 section 9).

use aggregator::event::Time;

use crate::store::{Flags, MessageState};

/// Appends the decimal form.
pub(super) fn number(out: &mut Vec<u8>, number: impl Into<u64>) {
    out.extend_from_slice(number.into().to_string().as_bytes());
}

/// A string: quoted when its octets allow, a literal otherwise.
pub(super) fn string(out: &mut Vec<u8>, value: &[u8]) {
    let quotable = value.len() <= 1_000 && value.iter().all(|octet| matches!(octet, b' '..=b'~' | b'\t'));
    if !quotable {
        return literal(out, value);
    }
    out.push(b'"');
    for octet in value {
        if matches!(octet, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(*octet);
    }
    out.push(b'"');
}

/// `nstring`.
pub(super) fn nstring(out: &mut Vec<u8>, value: Option<&[u8]>) {
    match value {
        Some(value) => string(out, value),
        None => out.extend_from_slice(b"NIL"),
    }
}

pub(super) fn literal(out: &mut Vec<u8>, value: &[u8]) {
    out.push(b'{');
    number(out, value.len() as u64);
    out.extend_from_slice(b"}\r\n");
    out.extend_from_slice(value);
}

/// A mailbox name or another `astring`: an atom when it can be one.
pub(super) fn astring(out: &mut Vec<u8>, value: &str) {
    let atom = !value.is_empty()
        && !value.eq_ignore_ascii_case("NIL")
        && value.bytes().all(|octet| octet.is_ascii_graphic() && !br#"(){%*"\]"#.contains(&octet));
    match atom {
        true => out.extend_from_slice(value.as_bytes()),
        // Names are UTF-8 in quotes once the client has enabled IMAP4rev2.
        false if value.chars().all(|c| !c.is_control()) => {
            out.push(b'"');
            for c in value.bytes() {
                if matches!(c, b'"' | b'\\') {
                    out.push(b'\\');
                }
                out.push(c);
            }
            out.push(b'"');
        }
        false => literal(out, value.as_bytes()),
    }
}

/// `(\Seen $Work)`
pub(super) fn flags(out: &mut Vec<u8>, flags: Flags, keywords: &[String]) {
    let system = Flags::NAMED.into_iter().filter(|(flag, _)| flags.has(*flag)).map(|(_, name)| name);
    let names: Vec<&str> = system.chain(keywords.iter().map(String::as_str)).collect();
    out.push(b'(');
    out.extend_from_slice(names.join(" ").as_bytes());
    out.push(b')');
}

/// `FLAGS (…)` of a message.
pub(super) fn message_flags(out: &mut Vec<u8>, state: &MessageState) {
    out.extend_from_slice(b"FLAGS ");
    flags(out, state.flags, &state.keywords);
}

/// `" 1-Feb-1994 21:52:25 +0000"`
pub(super) fn date_time(out: &mut Vec<u8>, at: Time) {
    out.extend_from_slice(at.to_utc().format("\"%e-%b-%Y %H:%M:%S +0000\"").to_string().as_bytes());
}
