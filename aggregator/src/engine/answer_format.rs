//! What the formats of an answer are like: which can come in pieces, and what MIME type each has.

use bytes::Bytes;

/// Whether documents of this format, one after another, are a document of it.
pub fn has_pieces(format: &str) -> bool {
    matches!(
        format,
        "TabSeparated"
            | "TSV"
            | "TabSeparatedRaw"
            | "TSVRaw"
            | "CSV"
            | "JSONEachRow"
            | "JSONLines"
            | "NDJSON"
            | "JSONCompactEachRow"
            | "JSONStringsEachRow"
            | "RowBinary"
            | WITH_HEAD
            | "Native"
    )
}

/// The one such format whose documents begin with a head: the columns' names and types.
const WITH_HEAD: &str = "RowBinaryWithNamesAndTypes";

/// The `Content-Type` of an answer.
pub fn content_type(format: &str) -> &'static str {
    match format {
        "JSON" | "JSONStrings" | "JSONCompact" | "JSONColumns" => "application/json; charset=UTF-8",
        _ if format.starts_with("JSON") || format == "NDJSON" => "application/x-ndjson; charset=UTF-8",
        _ if format.starts_with("CSV") => "text/csv; charset=UTF-8; header=absent",
        _ if format.starts_with("TabSeparated") || format.starts_with("TSV") => {
            "text/tab-separated-values; charset=UTF-8"
        }
        "Native" | "Parquet" | "Arrow" | "ArrowStream" | "ORC" => "application/octet-stream",
        _ if format.starts_with("RowBinary") => "application/octet-stream",
        _ => "text/plain; charset=UTF-8",
    }
}

/// Keeps the head of the first piece and takes it off the others.
pub enum Heads {
    /// The format has none.
    None,
    /// The first piece has not come.
    First,
    /// So many bytes of each piece are its head.
    Length(usize),
}

impl Heads {
    /// For an answer in `format`.
    pub fn of(format: &str) -> Self {
        if format == WITH_HEAD { Self::First } else { Self::None }
    }

    /// The piece as it goes to the client.
    pub fn strip(&mut self, piece: Bytes) -> Bytes {
        match *self {
            Self::None => piece,
            Self::First => {
                *self = Self::Length(head_length(&piece).unwrap_or(0));
                piece
            }
            Self::Length(length) => piece.slice(length.min(piece.len())..),
        }
    }
}

/// The number of columns, their names, their types; each text behind its length.
fn head_length(piece: &[u8]) -> Option<usize> {
    let mut at = 0;
    let columns = varint(piece, &mut at)?;
    for _ in 0..columns.checked_mul(2)? {
        let length = usize::try_from(varint(piece, &mut at)?).ok()?;
        at = at.checked_add(length).filter(|end| *end <= piece.len())?;
    }
    Some(at)
}

fn varint(bytes: &[u8], at: &mut usize) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.get(*at)?;
        *at += 1;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_stays_on_the_first_piece_only() {
        let mut heads = Heads::of(WITH_HEAD);
        assert_eq!(heads.strip(Bytes::from_static(b"\x01\x01n\x05UInt8\x07")), &b"\x01\x01n\x05UInt8\x07"[..]);
        assert_eq!(heads.strip(Bytes::from_static(b"\x01\x01n\x05UInt8\x08\x09")), &b"\x08\x09"[..]);
        assert_eq!(Heads::of("Native").strip(Bytes::from_static(b"\x01")), &b"\x01"[..]);
    }
}
