//! A block before it is inserted: read as ClickHouse would read it, so that what the engine gets is one whole block
//! of a table of ours, and a hostile or damaged one is named before it costs anything.

use crate::event::Event;

/// The most rows of a block. It is the engine's `max_insert_block_size` too: one insert is one block.
pub(super) const BLOCK_ROWS: u64 = 1_048_576;

/// A block that may be inserted.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Block {
    pub(super) table: &'static str,
    pub(super) columns: Vec<&'static str>,
}

/// Why a block can never be inserted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("there is no table \"{0}\"")]
    Table(String),
    #[error("the table has no column \"{0}\", or it comes twice")]
    Column(String),
    #[error("column {0} comes as {1}, not as {2}")]
    Type(&'static str, String, &'static str),
    #[error("the block has {found} rows, {said} were announced; {BLOCK_ROWS} are the most")]
    Rows { found: u64, said: u64 },
    #[error("the block is not whole: {0}")]
    Damaged(&'static str),
    #[error("the block is larger than {0} octets when unpacked")]
    TooLarge(u64),
}

const SHORT: Refusal = Refusal::Damaged("it ends too early");

/// Reads a whole block of ClickHouse's Native format for `table`. Columns may be fewer than the table has: a shipper
/// may be older than we are.
pub(super) fn check(table: &str, rows: u64, bytes: &[u8]) -> Result<Block, Refusal> {
    let Some((table, known)) = Event::TABLES.iter().find(|(name, _)| *name == table) else {
        return Err(Refusal::Table(table.to_owned()));
    };
    let mut reader = Reader { rest: bytes };
    let (count, found) = (reader.varint()?, reader.varint()?);
    if found != rows || rows == 0 || rows > BLOCK_ROWS {
        return Err(Refusal::Rows { found, said: rows });
    }
    let mut columns: Vec<&'static str> = Vec::new();
    for _ in 0..count {
        let name = reader.text()?;
        let column = known.iter().find(|(known, _)| known.as_bytes() == name && !columns.contains(known));
        let Some((name, kind)) = column else {
            return Err(Refusal::Column(String::from_utf8_lossy(name).into_owned()));
        };
        let sent = reader.text()?;
        if sent != kind.as_bytes() {
            return Err(Refusal::Type(name, String::from_utf8_lossy(sent).into_owned(), kind));
        }
        reader.skip_column(kind, rows)?;
        columns.push(name);
    }
    match reader.rest {
        [] => Ok(Block { table, columns }),
        _ => Err(Refusal::Damaged("something follows it")),
    }
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn varint(&mut self) -> Result<u64, Refusal> {
        let mut value = 0;
        for shift in (0..63).step_by(7) {
            let byte = self.take(1)?[0];
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Refusal::Damaged("a number is too large"))
    }

    fn text(&mut self) -> Result<&'a [u8], Refusal> {
        let length = self.varint()?;
        self.take(length)
    }

    fn take(&mut self, length: u64) -> Result<&'a [u8], Refusal> {
        let length = usize::try_from(length).map_err(|_| SHORT)?;
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(SHORT)?;
        self.rest = rest;
        Ok(taken)
    }

    fn skip_texts(&mut self, count: u64) -> Result<(), Refusal> {
        (0..count).try_for_each(|_| self.text().map(drop))
    }

    /// The ends of maps or arrays; the last is how many entries they have together.
    fn ends(&mut self, rows: u64) -> Result<u64, Refusal> {
        let ends = self.take(rows * 8)?;
        let mut last = 0;
        for end in ends.as_chunks::<8>().0 {
            let end = u64::from_le_bytes(*end);
            if end < last {
                return Err(Refusal::Damaged("the ends of a column go backwards"));
            }
            last = end;
        }
        Ok(last)
    }

    fn skip_column(&mut self, kind: &str, rows: u64) -> Result<(), Refusal> {
        let width = match kind {
            "String" => return self.skip_texts(rows),
            "Array(String)" => return self.ends(rows).and_then(|last| self.skip_texts(last)),
            "Map(String, Float32)" => {
                let last = self.ends(rows)?;
                self.skip_texts(last)?;
                return self.take(last.saturating_mul(4)).map(drop);
            }
            "UInt8" => 1,
            "UInt16" => 2,
            "UInt32" | "Float32" => 4,
            "UInt64" | "Int64" | "Float64" | "DateTime64(6, 'UTC')" => 8,
            "UInt128" | "IPv6" => 16,
            _ => return Err(Refusal::Damaged("a column of a type that cannot be read")),
        };
        self.take(rows * width).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::event::{Reception, Row, Scores};

    fn native() -> Vec<u8> {
        let reception = Reception {
            response: "é".repeat(200),
            spam_symbols: Scores([("DKIM".to_owned(), 1.5), ("URIBL".to_owned(), -2.0)].into()),
            ..Reception::default()
        };
        let rows = [reception, Reception::default()];
        let mut bytes = Vec::new();
        Reception::write_block(rows.iter(), &mut bytes);
        bytes
    }

    #[test]
    fn every_table_of_ours_can_be_read() {
        for (table, columns) in Event::TABLES {
            let event = Event::from_json(&["{\"table\":\"", table, "\"}"].concat()).unwrap();
            let mut bytes = Vec::new();
            Event::write_block(table, &[&event], &mut bytes);
            let names: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
            assert_eq!(check(table, 1, &bytes), Ok(Block { table, columns: names }));
        }
    }

    #[test]
    fn a_block_that_is_not_what_it_says_is_refused_with_the_reason() {
        let good = native();
        assert_eq!(check("users", 2, &good), Err(Refusal::Table("users".into())));
        assert_eq!(check("receptions", 3, &good), Err(Refusal::Rows { found: 2, said: 3 }));
        assert_eq!(check("receptions", 2, &[&good[..], b"x"].concat()), Err(Refusal::Damaged("something follows it")));
        assert_eq!(check("sessions", 2, &good), Err(Refusal::Column("mta".into())));
    }

    proptest! {
        #[test]
        fn a_cut_block_is_always_refused(cut in 0_usize..10_000) {
            let good = native();
            prop_assert!(check("receptions", 2, &good[..cut % good.len()]).is_err());
        }

        #[test]
        fn no_octets_make_it_panic_or_hang(at in 0_usize..10_000, byte in any::<u8>()) {
            let mut bytes = native();
            let length = bytes.len();
            bytes[at % length] = byte;
            let _ = check("receptions", 2, &bytes);
        }
    }
}
