//! The members of a zip archive, found by its central directory (PKWARE APPNOTE 4.3).
//!
//! Only what reports are packed with: stored or deflated, not encrypted, not split, below 4 GiB. Members whose octets
//! overlap are the mark of a bomb, and refused before anything is unpacked.

use super::bound::{Bound, Fault};

const END: &[u8] = b"PK\x05\x06";
const END_BYTES: usize = 22;
/// A comment after the end of the directory is at most this long.
const COMMENT_BYTES: usize = 65_535;
const DIRECTORY: &[u8] = b"PK\x01\x02";
const DIRECTORY_BYTES: usize = 46;
const LOCAL: &[u8] = b"PK\x03\x04";
const LOCAL_BYTES: usize = 30;
const ENCRYPTED: u16 = 1;

/// How a member is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    Stored,
    Deflated,
}

/// One file of an archive.
#[derive(Debug)]
pub(super) struct Member<'a> {
    pub(super) method: Method,
    pub(super) packed: &'a [u8],
    pub(super) crc32: u32,
}

/// The files of an archive, folders left out.
pub(super) fn members(archive: &[u8]) -> Result<Vec<Member<'_>>, Fault> {
    let damaged = Fault::Archive("its directory cannot be read");
    let end = end_of_directory(archive).ok_or(damaged.clone())?;
    let count = u16_at(archive, end + 10).ok_or(damaged.clone())?;
    Bound::ZipEntries.hold(count.into())?;
    let mut at = u32_at(archive, end + 16).ok_or(damaged.clone())? as usize;
    let mut taken: Vec<(usize, usize)> = Vec::new();
    let mut found = Vec::new();
    for _ in 0..count {
        let entry = archive.get(at..).filter(|rest| rest.starts_with(DIRECTORY)).ok_or(damaged.clone())?;
        let number = |offset| u16_at(entry, offset).map(usize::from).ok_or(damaged.clone());
        let long = |offset| u32_at(entry, offset).ok_or(damaged.clone());
        let (name, extra, comment) = (number(28)?, number(30)?, number(32)?);
        let (packed, start) = (long(20)? as usize, long(42)? as usize);
        at += DIRECTORY_BYTES + name + extra + comment;
        let is_folder =
            packed == 0 && entry.get(DIRECTORY_BYTES..DIRECTORY_BYTES + name).is_some_and(|name| name.ends_with(b"/"));
        if is_folder {
            continue;
        }
        if number(8)? as u16 & ENCRYPTED != 0 {
            return Err(Fault::Archive("a member is encrypted"));
        }
        let method = match number(10)? {
            0 => Method::Stored,
            8 => Method::Deflated,
            _ => return Err(Fault::Archive("a member is packed by another method than deflate")),
        };
        let local = archive.get(start..).filter(|rest| rest.starts_with(LOCAL)).ok_or(damaged.clone())?;
        let local_number = |offset| u16_at(local, offset).map(usize::from).ok_or(damaged.clone());
        let body = start + LOCAL_BYTES + local_number(26)? + local_number(28)?;
        let end = body.saturating_add(packed);
        let packed = archive.get(body..end).ok_or(Fault::Archive("a member ends after the archive"))?;
        if taken.iter().any(|(from, to)| start < *to && *from < end) {
            return Err(Fault::Archive("its members overlap, as those of a bomb do"));
        }
        taken.push((start, end));
        found.push(Member { method, packed, crc32: long(16)? });
    }
    Ok(found)
}

fn end_of_directory(archive: &[u8]) -> Option<usize> {
    let from = archive.len().saturating_sub(END_BYTES + COMMENT_BYTES);
    let at = memchr::memmem::rfind(archive.get(from..)?, END)?;
    Some(from + at)
}

fn u16_at(octets: &[u8], at: usize) -> Option<u16> {
    let two = octets.get(at..at.checked_add(2)?)?;
    Some(u16::from_le_bytes([*two.first()?, *two.get(1)?]))
}

fn u32_at(octets: &[u8], at: usize) -> Option<u32> {
    Some(u32::from(u16_at(octets, at)?) | u32::from(u16_at(octets, at.checked_add(2)?)?) << 16)
}
