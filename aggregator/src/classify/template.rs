//! A reply without its variable parts: replies that differ only in addresses, hosts, ids and numbers become one.

/// Octets of a reply that are looked at: what follows is rarely more than a link.
const LOOKED_AT_BYTES: usize = 600;

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
    let mut at = 0;
    let mut list_follows = false;
    while at < bytes.len() {
        let start = at;
        let mut digit = false;
        while at < bytes.len() && !is_boundary(bytes[at]) {
            digit |= bytes[at].is_ascii_digit();
            at += 1;
        }
        let word = text.get(start..at).unwrap_or_default();
        if !word.is_empty() {
            let bare = word.trim_end_matches(['.', ':', '!', '?']);
            let before = start.checked_sub(1).and_then(|before| bytes.get(before)).copied();
            let variable = if memchr::memchr(b'*', bare.as_bytes()).is_some() {
                // Every asterisk of a template stands for something.
                true
            } else if digit {
                !(is_code(bare) || list_follows && is_domain(bare))
            } else {
                bytes.get(at) == Some(&b'[')
                    || memchr::memchr(b'@', bare.as_bytes()).is_some()
                    || (before == Some(b'=') && bare.contains('.'))
                    || (bare.len() >= 20 && !bare.contains(['.', '-', '_']))
            };
            if variable && !bare.is_empty() {
                out.push('*');
                value(bare);
                out.push_str(word.get(bare.len()..).unwrap_or_default());
            } else {
                out.push_str(word);
            }
            list_follows = matches!(bare, "using" | "by" | "in" | "at" | "on");
        }
        let gap = at;
        while at < bytes.len() && is_boundary(bytes[at]) {
            at += 1;
        }
        out.push_str(text.get(gap..at).unwrap_or_default());
    }
    if let Some(rest) = response.get(end..).filter(|rest| !rest.is_empty()) {
        value(rest);
    }
}

/// Whether an octet lies between words: a table, because every octet of every reply is asked.
fn is_boundary(byte: u8) -> bool {
    const BOUNDARIES: [bool; 256] = {
        let (mut table, mut at) = ([false; 256], 0);
        let boundaries = b" \t<>()[]{},;=\"'/|";
        while at < boundaries.len() {
            table[boundaries[at] as usize] = true;
            at += 1;
        }
        table
    };
    BOUNDARIES[usize::from(byte)]
}

/// `550`, `5.1.1`, `550-5.1.1`
fn is_code(word: &str) -> bool {
    let enhanced = |text: &str| !crate::dialect::text::enhanced_code(text).is_empty();
    match word.split_once('-') {
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
