//! The tables: numbered SQL files, applied in order, never changed once they have been released.
//!
//! A migration is one file and one line in [`MIGRATIONS`]. Every statement can run twice, so a migration that was
//! broken off is simply run again.

mod audit;
mod lifetime;
mod print;

use serde::Deserialize;

use crate::clickhouse::{self, Client};

pub use audit::{Audit, Mismatch, Scope, audit, audited, next as next_audit};
pub use lifetime::{Lifetimes, MAX_DAYS, apply as apply_lifetimes, check as check_lifetimes};
pub use print::{Cluster, READS, cluster, server};

/// Every migration, in order: its number is its place, from 1.
const MIGRATIONS: &[(&str, &str)] = &[
    ("0001_mail", include_str!("../schema/0001_mail.sql")),
    ("0002_hosts", include_str!("../schema/0002_hosts.sql")),
    ("0003_probes", include_str!("../schema/0003_probes.sql")),
    ("0004_incidents", include_str!("../schema/0004_incidents.sql")),
    ("0005_reports", include_str!("../schema/0005_reports.sql")),
    ("0006_rollups", include_str!("../schema/0006_rollups.sql")),
    ("0007_views", include_str!("../schema/0007_views.sql")),
    ("0008_trace", include_str!("../schema/0008_trace.sql")),
    ("0009_returned", include_str!("../schema/0009_returned.sql")),
    ("0010_watching", include_str!("../schema/0010_watching.sql")),
    ("0011_availability", include_str!("../schema/0011_availability.sql")),
    ("0012_id_days", include_str!("../schema/0012_id_days.sql")),
];

const DATABASE: &str = "CREATE DATABASE IF NOT EXISTS varde";
const HISTORY: &str = "CREATE TABLE IF NOT EXISTS schema_migrations (version UInt32, name String, checksum String, \
    applied_at DateTime64(6, 'UTC') DEFAULT now64(6, 'UTC')) ENGINE = ReplacingMergeTree(applied_at) ORDER BY version \
    SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, old_parts_lifetime = 480";
const APPLIED: &str = "SELECT version, argMax(m.name, applied_at) AS name, argMax(m.checksum, applied_at) AS checksum \
    FROM schema_migrations AS m GROUP BY version ORDER BY version";
const RECORD: &str = "INSERT INTO schema_migrations (version, name, checksum) \
    SELECT {version:UInt32}, {name:String}, {checksum:String}";
/// What a statement has that is carried out for each day of the table that it reads: all at once could take too long.
const OF_A_DAY: &str = "{day:Date}";
const DAYS: &str = "SELECT DISTINCT toDate(t.ts, 'UTC') AS day FROM {table:Identifier} AS t ORDER BY day";

/// Why the tables are not up to date.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// ClickHouse is away, or refused a statement.
    #[error("bringing the tables up to date: {0}")]
    ClickHouse(#[from] clickhouse::Error),
    /// The history is not the one of this program.
    #[error(
        "migration {name} was applied in another form than this program has it; \
         use the program that made this database, or another database"
    )]
    Changed {
        /// The migration.
        name: String,
    },
    /// A newer program has been here.
    #[error("the database is at version {found}, this program knows {known}: use the newer program")]
    Newer {
        /// The version of the database.
        found: u32,
        /// The last version that this program knows.
        known: u32,
    },
}

impl Error {
    /// Whether trying again cannot help.
    pub fn is_permanent(&self) -> bool {
        !matches!(self, Error::ClickHouse(_))
    }
}

#[derive(Deserialize)]
struct Day {
    day: chrono::NaiveDate,
}

#[derive(Deserialize)]
struct Applied {
    version: u32,
    name: String,
    checksum: String,
}

/// Applies every migration that has not been applied. How many there were.
///
/// # Errors
/// See [`Error`].
pub async fn migrate(client: &Client) -> Result<usize, Error> {
    client.clone().with_database("default").execute(DATABASE, &[]).await?;
    client.execute(HISTORY, &[]).await?;
    let applied: Vec<Applied> = client.rows(APPLIED, &[]).await?;
    let known = MIGRATIONS.len() as u32;
    if let Some(newer) = applied.iter().find(|past| past.version > known) {
        return Err(Error::Newer { found: newer.version, known });
    }
    let mut count = 0;
    for (version, (name, sql)) in (1..).zip(MIGRATIONS) {
        let checksum = blake3::hash(sql.as_bytes()).to_hex();
        match applied.iter().find(|past| past.version == version) {
            Some(past) if past.checksum == checksum.as_str() => continue,
            Some(past) => return Err(Error::Changed { name: past.name.clone() }),
            None => {}
        }
        for statement in statements(sql) {
            if statement.contains(OF_A_DAY) {
                day_by_day(client, statement).await?;
            } else {
                client.execute(statement, &[]).await?;
            }
        }
        let version = version.to_string();
        let params = [("param_version", version.as_str()), ("param_name", name), ("param_checksum", &checksum)];
        client.execute(RECORD, &params).await?;
        count += 1;
    }
    Ok(count)
}

/// Carries out a statement for each day of the table that it reads.
async fn day_by_day(client: &Client, statement: &str) -> Result<(), Error> {
    let table = statement.split("\nFROM ").nth(1).and_then(|rest| rest.lines().next()).unwrap_or_default();
    let days: Vec<Day> = client.rows(DAYS, &[("table", table)]).await?;
    for (done, Day { day }) in days.iter().enumerate() {
        client.execute(statement, &[("param_day", &day.to_string())]).await?;
        tracing::info!(table, %day, done = done + 1, of = days.len(), "what was there before is brought up to date");
    }
    Ok(())
}

/// The statements of a file. Each ends with a semicolon at the end of a line, and no line within one does.
fn statements(sql: &str) -> impl Iterator<Item = &str> {
    sql.split(";\n").map(str::trim).filter(|statement| !statement.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Event;

    /// The lines of `CREATE TABLE`'s parentheses, and what follows them.
    fn table(name: &str) -> (Vec<&'static str>, &'static str) {
        let head = ["CREATE TABLE IF NOT EXISTS ", name, "\n"].concat();
        let found =
            MIGRATIONS.iter().flat_map(|(_, sql)| statements(sql)).find_map(|sql| Some(sql.split_once(&head)?.1));
        let body = found.unwrap_or_else(|| panic!("no table {name}")).strip_prefix("(\n").unwrap();
        let (columns, tail) = body.split_once("\n)\n").unwrap();
        (columns.lines().map(|line| line.trim().trim_end_matches(',')).collect(), tail)
    }

    #[test]
    fn every_column_of_every_event_is_in_its_table_in_order_and_with_its_type() {
        for (name, columns) in Event::TABLES {
            let (lines, _) = table(name);
            assert!(lines.len() >= columns.len(), "{name} has too few columns");
            for ((column, sent), line) in columns.iter().zip(lines) {
                let (found, rest) = line.split_once(' ').unwrap();
                assert_eq!(found.trim_matches('`'), *column, "{name}: {line}");
                let same = rest.starts_with(sent);
                let low = *sent == "String" && rest.starts_with("LowCardinality(String)");
                assert!(same || low, "{name}.{column} is sent as {sent} into {rest}");
            }
        }
    }

    #[test]
    fn every_table_forgets_no_token_too_early_and_survives_power_loss() {
        let rollups = ["deliveries_1h", "receptions_1h", "probe_1h", "id_days"];
        for name in Event::TABLES.iter().map(|(name, _)| *name).chain(rollups) {
            let (_, tail) = table(name);
            for setting in [
                "non_replicated_deduplication_window = 100000",
                "fsync_after_insert = 1",
                "fsync_part_directory = 1",
                "min_rows_to_fsync_after_merge = 1",
                "old_parts_lifetime = 480",
            ] {
                assert!(tail.contains(setting), "{name} lacks {setting}");
            }
        }
    }
}
