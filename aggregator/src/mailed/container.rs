//! What reports are packed in: gzip, zip, or nothing.

use std::borrow::Cow;
use std::io::Read;

use super::bound::{Bound, Fault};
use super::{json, xml, zip};

/// Octets by which a document is recognised before the rest of it is unpacked.
const SNIFF_BYTES: usize = 4 << 10;
/// Octets that may come out at any ratio.
const RATIO_FREE_BYTES: u64 = 1 << 20;

/// Whether octets begin as an archive that may hold a report.
pub(super) fn is_packed(head: &[u8]) -> bool {
    matches!(head, [0x1f, 0x8b, ..] | [b'P', b'K', 3, 4, ..])
}

/// Whether octets begin as a document that is a report.
pub(super) fn looks_like_document(head: &[u8]) -> bool {
    match first_sign(head) {
        Some(b'<') => xml::looks_like_report(head),
        Some(b'{') => json::looks_like_report(head),
        _ => false,
    }
}

/// The first octet that says anything: after a byte order mark and blanks.
pub(super) fn first_sign(octets: &[u8]) -> Option<u8> {
    octets
        .iter()
        .take(SNIFF_BYTES)
        .copied()
        .find(|byte| !matches!(byte, 0 | 0xef | 0xbb | 0xbf | 0xfe | 0xff) && !byte.is_ascii_whitespace())
}

/// The documents that octets are or hold; `left` is what may be unpacked of the whole message yet. What is no report is
/// left out.
pub(super) fn unpack<'a>(octets: &'a [u8], left: &mut u64) -> Result<Vec<Cow<'a, [u8]>>, Fault> {
    match octets {
        [0x1f, 0x8b, ..] => {
            let unpacked = inflate(flate2::bufread::GzDecoder::new(octets), octets.len(), left)?;
            // What follows the first member, a line end of a mail program say, is not looked at. Some senders put a zip archive or another gzip file into a gzip file.
            match unpacked {
                Unpacked::Document(document) => Ok(vec![document.into()]),
                Unpacked::Archive(inner) => members(&inner, left),
                Unpacked::Other => Ok(Vec::new()),
            }
        }
        [b'P', b'K', 3, 4, ..] => members(octets, left),
        _ if looks_like_document(octets) => Ok(vec![octets.into()]),
        _ => Ok(Vec::new()),
    }
}

/// The reports in a zip archive.
fn members<'a>(octets: &[u8], left: &mut u64) -> Result<Vec<Cow<'a, [u8]>>, Fault> {
    let mut found = Vec::new();
    for member in zip::members(octets)? {
        let unpacked = match member.method {
            zip::Method::Stored => inflate(member.packed, member.packed.len(), left)?,
            zip::Method::Deflated => {
                inflate(flate2::bufread::DeflateDecoder::new(member.packed), member.packed.len(), left)?
            }
        };
        if let Unpacked::Document(document) = unpacked {
            if crc32(&document) != member.crc32 {
                return Err(Fault::Archive("a member is not what its checksum says"));
            }
            found.push(document.into());
        }
    }
    Ok(found)
}

enum Unpacked {
    Document(Vec<u8>),
    Archive(Vec<u8>),
    Other,
}

/// Unpacks a stream if what comes out first is a report, within what is left.
fn inflate(mut stream: impl Read, packed: usize, left: &mut u64) -> Result<Unpacked, Fault> {
    let damaged = |_| Fault::Archive("it ends too soon or its checksum is wrong");
    let mut out = Vec::new();
    let mut limit = *left;
    let by_ratio = Bound::UnpackRatio.limit().saturating_mul(packed as u64).max(RATIO_FREE_BYTES);
    let bound = if by_ratio < limit { Bound::UnpackRatio } else { Bound::UnpackedBytes };
    limit = limit.min(by_ratio);
    stream.by_ref().take(SNIFF_BYTES as u64).read_to_end(&mut out).map_err(damaged)?;
    let document = looks_like_document(&out);
    if !document && !matches!(out.as_slice(), [b'P', b'K', 3, 4, ..]) {
        return Ok(Unpacked::Other);
    }
    stream.by_ref().take(limit.saturating_sub(out.len() as u64) + 1).read_to_end(&mut out).map_err(damaged)?;
    if out.len() as u64 > limit {
        return Err(Fault::Exceeds(bound));
    }
    *left -= out.len() as u64;
    Ok(if document { Unpacked::Document(out) } else { Unpacked::Archive(out) })
}

fn crc32(octets: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(octets);
    crc.sum()
}
