//! A reply without its variable parts: replies that differ only in addresses, hosts, ids and numbers become one.

use crate::dialect::text::{cut, enhanced_code};

/// Octets of a reply that are looked at: what follows is rarely more than a link.
const LOOKED_AT_BYTES: usize = 600;

/// A word in base64 that is shorter than this may be anything.
const ENCODED_BYTES: usize = 16;

/// Appends the template of a reply: `550 5.1.1 <ann@example.org>: no such user q12si34` becomes
/// `550 5.1.1 <*>: no such user *`.
pub fn template(response: &str, out: &mut String) {
    template_and_values(response, out, &mut |_| {});
}

/// The same, and gives what stands in the places of the asterisks, in order, and after them what follows the part of a
/// long reply that is looked at.
pub fn template_and_values<'a>(response: &'a str, out: &mut String, value: &mut impl FnMut(&'a str)) {
    let mut end = response.len().min(LOOKED_AT_BYTES);
    while !response.is_char_boundary(end) {
        end -= 1;
    }
    let text = response.get(..end).unwrap_or_default();
    out.reserve(text.len());
    let bytes = text.as_bytes();
    // What lies before `copied` is in `out`.
    let (mut at, mut copied) = (0, 0);
    let mut list_follows = false;
    while at < bytes.len() {
        let start = at;
        // What kinds of octets the word has.
        let mut kinds = 0;
        while at < bytes.len() && KINDS[usize::from(bytes[at])] & BOUNDARY == 0 {
            kinds |= KINDS[usize::from(bytes[at])];
            at += 1;
        }
        if let Some(end) = encoded(bytes, start, at) {
            out.push_str(text.get(copied..start).unwrap_or_default());
            out.push('*');
            value(text.get(start..end).unwrap_or_default());
            (at, copied) = (end, end);
        } else if at > start {
            let word = text.get(start..at).unwrap_or_default();
            let bare = word.trim_end_matches(['.', ':', '!', '?']);
            // Every asterisk of a template stands for something.
            let variable = if kinds & ASTERISK != 0 {
                true
            } else if kinds & DIGIT != 0 {
                !(is_code(bare) || list_follows && is_domain(bare))
            } else {
                let before = start.checked_sub(1).and_then(|before| bytes.get(before)).copied();
                // `http://postgrey.example/help/example.org.html`
                let names_a_domain = || {
                    bytes[..start].strip_suffix(b"/").is_some_and(|path| !path.ends_with(b"/"))
                        && bare.matches('.').count() > 1
                };
                kinds & AT != 0
                    || (before == Some(b'/') && names_a_domain())
                    || bytes.get(at) == Some(&b'[')
                    || (before == Some(b'=') && bare.contains('.'))
                    || (bare.len() >= 20 && !bare.contains(['.', '-', '_']))
            };
            if variable && !bare.is_empty() {
                out.push_str(text.get(copied..start).unwrap_or_default());
                out.push('*');
                value(bare);
                copied = start + bare.len();
            }
            list_follows = matches!(bare, "using" | "by" | "in" | "at" | "on");
        }
        while at < bytes.len() && KINDS[usize::from(bytes[at])] & BOUNDARY != 0 {
            at += 1;
            // It may begin an id, if it is no part of a path.
            if bytes.get(at) == Some(&b'/') && bytes[at - 1] != b'/' {
                break;
            }
        }
    }
    out.push_str(text.get(copied..).unwrap_or_default());
    if let Some(rest) = response.get(end..).filter(|rest| !rest.is_empty()) {
        value(rest);
    }
}

/// An octet between words.
const BOUNDARY: u8 = 1;
/// `0` to `9`.
const DIGIT: u8 = 2;
/// `@`, which an address has.
const AT: u8 = 4;
/// `*`, which stands for something.
const ASTERISK: u8 = 8;

/// The kind of every octet: a table, because every octet of every reply is asked.
const KINDS: [u8; 256] = {
    let (mut table, mut at) = ([0; 256], 0);
    let boundaries = b" \t<>()[]{},;=\"'/|";
    while at < boundaries.len() {
        table[boundaries[at] as usize] = BOUNDARY;
        at += 1;
    }
    let mut digit = b'0';
    while digit <= b'9' {
        table[digit as usize] = DIGIT;
        digit += 1;
    }
    table[b'@' as usize] = AT;
    table[b'*' as usize] = ASTERISK;
    table
};

/// Where an id in base64 ends that a slash at `slash` is part of: `oNg4OoqYBGv/6gAAtjjnDQ`. It has digits and letters of
/// both cases, which a path seldom has in words of nothing else.
fn encoded(bytes: &[u8], start: usize, slash: usize) -> Option<usize> {
    if bytes.get(slash) != Some(&b'/') || start.checked_sub(1).is_some_and(|before| bytes[before] == b'/') {
        return None;
    }
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    let word = &bytes[start..];
    let word = &word[..word.iter().position(|byte| !is_part(byte)).unwrap_or(word.len())];
    let end = start + word.len();
    let ends = bytes.get(end).is_none_or(|next| KINDS[usize::from(*next)] & BOUNDARY != 0);
    let mixed =
        [u8::is_ascii_digit, u8::is_ascii_uppercase, u8::is_ascii_lowercase].iter().all(|is| word.iter().any(is));
    (word.len() >= ENCODED_BYTES && mixed && ends).then_some(end)
}

/// `550`, `5.1.1`, `550-5.1.1`
fn is_code(word: &str) -> bool {
    let enhanced = |text: &str| !enhanced_code(text).is_empty();
    match cut(word, b'-') {
        Some((code, rest)) => is_reply_code(code) && enhanced(rest),
        None => is_reply_code(word) || enhanced(word),
    }
}

fn is_reply_code(word: &str) -> bool {
    matches!(word.as_bytes(), [b'2' | b'4' | b'5', b, c] if b.is_ascii_digit() && c.is_ascii_digit())
}

/// Names, not numbers: `dnsbl-1.uceprotect.net`.
fn is_domain(word: &str) -> bool {
    word.rsplit_once('.').is_some_and(|(_, top)| top.len() >= 2 && top.bytes().all(|byte| byte.is_ascii_alphabetic()))
}
