//! The grammar of commands (RFC 9051 section 9): octets in, a value or a complaint out. Nothing here panics,
//! whatever the octets, and nothing recurses deeper than a named limit.

mod command;
mod cursor;
mod fetch;
mod search;

use super::command::Tagged;
use cursor::Cursor;

/// Why a command could not be understood: the tag if it had one, and what is wrong.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Complaint {
    pub(crate) tag: Option<String>,
    pub(crate) text: &'static str,
}

/// Reads a command as the framer cut it.
pub(crate) fn parse(octets: &[u8]) -> Result<Tagged, Complaint> {
    let mut cursor = Cursor::new(octets);
    let tag = cursor.tag().map_err(|text| Complaint { tag: None, text })?;
    match command::command(&mut cursor) {
        Ok(command) => Ok(Tagged { tag, command }),
        Err(text) => Err(Complaint { tag: Some(tag), text }),
    }
}

/// The tag of a command that was cut off, if it has one.
pub(crate) fn tag_of(octets: &[u8]) -> Option<String> {
    Cursor::new(octets).tag().ok()
}

#[cfg(test)]
mod tests;
