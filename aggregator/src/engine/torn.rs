//! Inserts that the death of the engine tore in two, mended before the next start.
//!
//! The engine writes a block's token into `deduplication_log_N.txt` of its table and only then renames the finished
//! part from an unfinished name (`tmp_insert_…`) to the one that the record says. A process that is killed between the
//! two leaves a token without rows: the block, sent again, would be taken for a double and be lost. Both happen under
//! one lock of the table, so it can only be the last record. Nobody has been told yet that the block is stored, so the
//! token is withdrawn, in the engine's own words for a part that was dropped; the block that comes again is then
//! inserted as if for the first time. The rollups have logs and parts of their own and are mended alike.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

/// The folder of the tables below the data directory: `store/abc/UUID`.
const STORE: &str = "store";
const LOGS: &str = "deduplication_logs";
const UNFINISHED: &str = "tmp_insert_";
/// A record says `1 PART TOKEN`, separated by tabs, when a part is added, and `2 PART TOKEN` when it is dropped.
const ADDED: &str = "1";
const DROPPED: &str = "2";

/// Withdraws the tokens of parts that were never put in place. How many there were. The engine must not run.
///
/// # Errors
/// The directory cannot be read or a log not be written: starting nevertheless could lose rows.
pub(super) fn mend(data_dir: &Path) -> io::Result<usize> {
    let mut mended = 0;
    for shard in folders(&data_dir.join(STORE))? {
        for table in folders(&shard)? {
            mended += mend_table(&table)?;
        }
    }
    Ok(mended)
}

fn mend_table(table: &Path) -> io::Result<usize> {
    let names: Vec<String> =
        folders(table)?.iter().filter_map(|folder| Some(folder.file_name()?.to_str()?.to_owned())).collect();
    if !names.iter().any(|name| name.starts_with(UNFINISHED)) {
        return Ok(0);
    }
    let logs = logs(&table.join(LOGS))?;
    let (Some(newest), Some((part, token))) = (logs.last(), last_added(&logs)?) else { return Ok(0) };
    let in_place = match Part::parse(&part) {
        Some(part) => names.iter().filter_map(|name| Part::parse(name)).any(|other| other.covers(&part)),
        None => true,
    };
    if in_place {
        return Ok(0);
    }
    append(newest, &[DROPPED, "\t", &part, "\t", &token, "\n"].concat())?;
    tracing::warn!(table = %table.display(), part, "the engine's death tore an insert; it is taken when it comes again");
    Ok(1)
}

/// The name of a part in place: `PARTITION_MIN_MAX_LEVEL`, and after a mutation `_VERSION`; MIN and MAX are the numbers
/// of the blocks in it.
#[derive(Debug, PartialEq, Eq)]
struct Part<'a> {
    partition: &'a str,
    min: u64,
    max: u64,
}

impl<'a> Part<'a> {
    /// `None` for everything else that lies in a table's folder.
    fn parse(name: &'a str) -> Option<Self> {
        let mut fields = name.split('_');
        let part =
            Self { partition: fields.next()?, min: fields.next()?.parse().ok()?, max: fields.next()?.parse().ok()? };
        let numbers = fields.map(|field| field.parse::<u64>().is_ok());
        let (count, good) = numbers.fold((0, true), |(count, good), number| (count + 1, good && number));
        (good && (1..=2).contains(&count)).then_some(part)
    }

    /// Whether the rows of `other` are in this one: it is the same, or was merged into it.
    fn covers(&self, other: &Self) -> bool {
        self.partition == other.partition && self.min <= other.min && self.max >= other.max
    }
}

/// The logs of a table, oldest first.
fn logs(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let entries = match fs::read_dir(folder) {
        Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    for entry in entries {
        let path = entry?.path();
        let name = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
        if let Some(number) = name.strip_prefix("deduplication_log_").and_then(|number| number.parse::<u64>().ok()) {
            found.push((number, path));
        }
    }
    found.sort();
    Ok(found.into_iter().map(|(_, path)| path).collect())
}

/// The part that was added last, and its token, unless it was dropped since.
fn last_added(logs: &[PathBuf]) -> io::Result<Option<(String, String)>> {
    let mut last: Option<(String, String)> = None;
    for log in logs {
        for record in BufReader::new(File::open(log)?).lines() {
            let record = record?;
            let mut fields = record.splitn(3, '\t');
            match (fields.next(), fields.next(), fields.next()) {
                (Some(ADDED), Some(part), Some(token)) => last = Some((part.to_owned(), token.to_owned())),
                (Some(DROPPED), Some(part), _) if last.as_ref().is_some_and(|(added, _)| added == part) => last = None,
                _ => {}
            }
        }
    }
    Ok(last)
}

/// Appends whole records, on disk before this returns.
fn append(log: &Path, records: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().read(true).append(true).open(log)?;
    let mut last = [b'\n'];
    if file.metadata()?.len() > 0 {
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
    }
    if last != *b"\n" {
        file.write_all(b"\n")?;
    }
    file.write_all(records.as_bytes())?;
    file.sync_all()
}

/// The folders in `folder`; none when it is not there, as before the first start.
fn folders(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let entries = match fs::read_dir(folder) {
        Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found.push(entry.path());
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(dir: &Path, folders: &[&str], logs: &[(u32, &str)]) -> PathBuf {
        let table = dir.join("store/abc/abc-1");
        for folder in folders.iter().chain(&["deduplication_logs", "detached"]) {
            fs::create_dir_all(table.join(folder)).unwrap();
        }
        for (number, records) in logs {
            fs::write(log(&table, *number), records).unwrap();
        }
        table
    }

    fn log(table: &Path, number: u32) -> PathBuf {
        table.join(["deduplication_logs/deduplication_log_", &number.to_string(), ".txt"].concat())
    }

    const FIRST: &str = "1\t20261124_1_1_0\ta\n";
    const SECOND: &str = "1\t20261124_2_2_0\tb\n";

    #[test]
    fn the_last_token_is_withdrawn_when_its_part_was_never_put_in_place() {
        let dir = tempfile::tempdir().unwrap();
        // The unfinished name has a number of its own.
        let table = table(dir.path(), &["20261124_1_1_0", "tmp_insert_20261124_1_1_0"], &[(9, FIRST), (10, SECOND)]);
        assert_eq!(mend(dir.path()).unwrap(), 1);
        assert_eq!(fs::read_to_string(log(&table, 9)).unwrap(), FIRST);
        let mended = [SECOND, "2\t20261124_2_2_0\tb\n"].concat();
        assert_eq!(fs::read_to_string(log(&table, 10)).unwrap(), mended);
        assert_eq!(mend(dir.path()).unwrap(), 0, "mending again changes nothing");
        assert_eq!(mend(&dir.path().join("nothing")).unwrap(), 0);
    }

    #[test]
    fn a_token_stays_when_its_rows_are_there() {
        for (why, folders) in [
            ("in place", &["20261124_2_2_0", "tmp_insert_20261124_7_7_0"][..]),
            ("merged", &["20261124_1_5_1", "tmp_insert_20261124_7_7_0"]),
            ("mutated", &["20261124_2_2_0_6", "tmp_insert_20261124_7_7_0"]),
            ("no insert was torn", &["20261124_1_1_0"]),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let table = table(dir.path(), folders, &[(1, FIRST), (2, SECOND)]);
            assert_eq!(mend(dir.path()).unwrap(), 0, "{why}");
            assert_eq!(fs::read_to_string(log(&table, 2)).unwrap(), SECOND, "{why}");
        }
    }

    #[test]
    fn only_parts_in_place_have_a_parts_name() {
        for name in ["detached", "tmp_insert_20261124_2_2_0", "tmp_merge_20261124_1_2_1", "20261124_2_2", "1_2_3_4_5_6"]
        {
            assert_eq!(Part::parse(name), None, "{name}");
        }
        assert_eq!(Part::parse("20261124_2_9_1_7"), Some(Part { partition: "20261124", min: 2, max: 9 }));
    }
}
