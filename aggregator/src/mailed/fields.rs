//! Blocks of fields, as `message/feedback-report` (RFC 5965) and `message/delivery-status` (RFC 3464) hold them.

use super::bound::{Bound, Fault};
use super::mime::Head;

/// The blocks of a body, each up to an empty line.
pub(super) fn blocks(octets: &[u8]) -> Result<Vec<Head>, Fault> {
    let mut found = Vec::new();
    let mut rest = octets;
    while !rest.is_empty() {
        let (block, after) = Head::parse(rest)?;
        if !block.is_empty() {
            Bound::Recipients.hold(found.len() + 1)?;
            found.push(block);
        }
        rest = after;
    }
    Ok(found)
}

/// The value of a field `type; value` (RFC 3464 section 2.1.2), or the whole where there is no type. A semicolon in a
/// value without a type is told by the blank before it.
pub(super) fn typed(text: &str) -> (String, &str) {
    match text.split_once(';') {
        Some((kind, value)) if !kind.trim().contains([' ', '@', '<']) => {
            (kind.trim().to_ascii_lowercase(), value.trim())
        }
        _ => (String::new(), text.trim()),
    }
}

/// An address of a report: `rfc822; ann@example.org`, `utf-8; …` with its escapes undone (RFC 6533 section 3).
pub(super) fn address(text: &str) -> String {
    let (kind, value) = typed(text);
    let value = super::identity::address(value);
    if kind == "utf-8" { unescaped(value) } else { value.to_owned() }
}

/// `\x{3B1}` as its character.
fn unescaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("\\x{") {
        out.push_str(before);
        let escaped = after.split_once('}').filter(|(digits, _)| digits.len() <= 6);
        let character = escaped.and_then(|(digits, _)| u32::from_str_radix(digits, 16).ok()).and_then(char::from_u32);
        match (character, escaped) {
            (Some(character), Some((_, following))) => {
                out.push(character);
                rest = following;
            }
            _ => {
                out.push_str("\\x{");
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}
