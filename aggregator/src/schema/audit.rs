//! The audit: whether every row is there once, and every rollup says what its table says.
//!
//! For each table and day `count()` is held against the number of identities, and each rollup against the rows it was
//! made of. A table that replaces rows of one identity may have some twice until a merge, and is read as if merged.
//! Identities are grouped, and spilled to disk where they are many, so memory is bounded whatever a day holds.

use chrono::NaiveDate;
use serde::{Deserialize, Serialize};

use super::lifetime::{Lifetimes, Table, tables};
use crate::clickhouse::{Client, Error};
use crate::event::{Event, Time};

/// Each rollup, what counts its rows, and the table that they were counted in.
const ROLLUPS: &[(&str, &str, &str)] = &[
    ("deliveries_1h", "attempts", "deliveries"),
    ("receptions_1h", "receptions", "receptions"),
    ("probe_1h", "runs", "probe_runs"),
];

/// Days on which something changed of late. A merge changes a partition too; it is looked at once more, then.
const RECENT: &str = "SELECT DISTINCT toDate(ts, 'UTC') AS day FROM {table:Identifier} WHERE _partition_id IN \
    (SELECT partition_id FROM system.parts WHERE database = currentDatabase() AND table = {name:String} AND active \
    AND modification_time > now() - INTERVAL 2 DAY) ORDER BY day SETTINGS max_threads = 2";
const ALL: &str =
    "SELECT DISTINCT toDate(ts, 'UTC') AS day FROM {table:Identifier} ORDER BY day SETTINGS max_threads = 2";
const IDENTITIES: &str = "SELECT sum(n) AS rows, count() AS other FROM (SELECT count() AS n FROM {table:Identifier} \
    WHERE ts >= toDateTime64({day:Date}, 6, 'UTC') AND ts < toDateTime64(addDays({day:Date}, 1), 6, 'UTC') \
    GROUP BY event_id) SETTINGS max_threads = 2, max_memory_usage = 1000000000, \
    max_bytes_before_external_group_by = 256000000, max_execution_time = 3600";
const REPLACED: &str = "SELECT sum(n) AS rows, count() AS other FROM (SELECT count() AS n FROM {table:Identifier} FINAL \
    WHERE ts >= toDateTime64({day:Date}, 6, 'UTC') AND ts < toDateTime64(addDays({day:Date}, 1), 6, 'UTC') \
    GROUP BY event_id) SETTINGS max_threads = 2, max_memory_usage = 1000000000, \
    max_bytes_before_external_group_by = 256000000, max_execution_time = 3600";
const ROLLED_UP: &str = "SELECT (SELECT sum({measure:Identifier}) FROM {rollup:Identifier} \
    WHERE hour >= toDateTime({day:Date}, 'UTC') AND hour < toDateTime(addDays({day:Date}, 1), 'UTC')) AS rows, \
    (SELECT count() FROM {table:Identifier} WHERE ts >= toDateTime64({day:Date}, 6, 'UTC') \
    AND ts < toDateTime64(addDays({day:Date}, 1), 6, 'UTC')) AS other SETTINGS max_threads = 2";

/// The tables and rollups that an audit looks at.
pub fn audited() -> impl Iterator<Item = &'static str> {
    Event::TABLES.iter().map(|(name, _)| *name).chain(ROLLUPS.iter().map(|(rollup, ..)| *rollup))
}

/// Which days are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Those on whose partitions something changed within two days, before today: what every night looks at.
    Recent,
    /// All of them.
    Everything,
}

/// Two figures that should be equal, and are not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mismatch {
    /// The table, or the rollup.
    pub table: &'static str,
    /// The day, UTC.
    pub day: NaiveDate,
    /// What it has: rows, or the rows that the rollup has counted.
    pub rows: u64,
    /// What it should have: identities, or rows of the table below the rollup.
    pub expected: u64,
    /// What `expected` counts.
    pub against: &'static str,
}

impl std::fmt::Display for Mismatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { table, day, rows, expected, against } = self;
        write!(f, "{table} of {day} has {rows} rows, and {expected} {against}")
    }
}

/// What an audit found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Audit {
    /// Tables and days that were looked at.
    pub checked: usize,
    /// What does not agree.
    pub mismatches: Vec<Mismatch>,
}

#[derive(Deserialize)]
struct Day {
    day: NaiveDate,
}

#[derive(Deserialize)]
struct Figures {
    rows: u64,
    other: u64,
}

/// Looks at every table and every day of `scope`, one at a time.
///
/// # Errors
/// ClickHouse is away, or refused a question.
pub async fn audit(client: &Client, scope: Scope, lifetimes: &Lifetimes, now: Time) -> Result<Audit, Error> {
    let today = now.to_utc().date_naive();
    let tables = tables();
    let mut audit = Audit::default();
    for (name, _) in Event::TABLES {
        let Some(table) = tables.iter().find(|table| table.name == *name) else { continue };
        let days = client
            .rows::<Day>(if scope == Scope::Recent { RECENT } else { ALL }, &[("table", name), ("name", name)])
            .await?;
        for Day { day } in days {
            // Today is still being written, and its tables are not written all at once.
            if scope == Scope::Recent && day >= today {
                continue;
            }
            audit.identities(client, table, day).await?;
            if is_whole(table, lifetimes, day, today) {
                audit.rollups(client, name, day).await?;
            }
        }
    }
    Ok(audit)
}

/// Whether nothing of a day has gone by its age yet.
fn is_whole(table: &Table, lifetimes: &Lifetimes, day: NaiveDate, today: NaiveDate) -> bool {
    table.days(lifetimes).is_none_or(|days| (today - day).num_days() < i64::from(days))
}

impl Audit {
    async fn identities(&mut self, client: &Client, table: &Table, day: NaiveDate) -> Result<(), Error> {
        let sql = if table.replaces { REPLACED } else { IDENTITIES };
        let found = figures(client, sql, &[("table", table.name), ("day", &day.to_string())]).await?;
        self.note(table.name, day, found, "identities");
        Ok(())
    }

    async fn rollups(&mut self, client: &Client, table: &'static str, day: NaiveDate) -> Result<(), Error> {
        for (rollup, measure, of) in ROLLUPS.iter().filter(|(_, _, of)| *of == table) {
            let params = [("rollup", *rollup), ("measure", *measure), ("table", *of), ("day", &day.to_string())];
            let found = figures(client, ROLLED_UP, &params).await?;
            self.note(rollup, day, found, of);
        }
        Ok(())
    }

    fn note(&mut self, table: &'static str, day: NaiveDate, found: Figures, against: &'static str) {
        self.checked += 1;
        if found.rows != found.other {
            self.mismatches.push(Mismatch { table, day, rows: found.rows, expected: found.other, against });
        }
    }

    /// What both audits found: a batch that was on its way during the first one is no mismatch.
    #[must_use]
    pub fn confirmed_by(mut self, again: &Audit) -> Audit {
        self.mismatches
            .retain(|one| again.mismatches.iter().any(|other| (other.table, other.day) == (one.table, one.day)));
        self
    }
}

async fn figures(client: &Client, sql: &str, params: &[(&str, &str)]) -> Result<Figures, Error> {
    Ok(client.rows(sql, params).await?.pop().unwrap_or(Figures { rows: 0, other: 0 }))
}

/// The next time of the nightly audit: 02:40 UTC, when little is sent.
pub fn next(now: Time) -> Time {
    const DAY: i64 = 86_400_000_000;
    const AT: i64 = (2 * 60 + 40) * 60_000_000;
    let today = now.0.div_euclid(DAY) * DAY + AT;
    Time(if today > now.0 { today } else { today + DAY })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_audit_is_once_a_night() {
        for (now, then) in [
            ("2026-11-22T00:00:00Z", "2026-11-22T02:40:00Z"),
            ("2026-11-22T02:40:00Z", "2026-11-23T02:40:00Z"),
            ("2026-12-31T23:59:59Z", "2027-01-01T02:40:00Z"),
        ] {
            assert_eq!(next(now.parse().unwrap()), then.parse().unwrap(), "{now}");
        }
    }

    #[test]
    fn only_what_two_audits_found_is_a_mismatch_and_it_names_table_and_day() {
        let day = NaiveDate::from_ymd_opt(2026, 11, 22).unwrap();
        let of = |table| Mismatch { table, day, rows: 3, expected: 2, against: "identities" };
        let first = Audit { checked: 2, mismatches: vec![of("deliveries"), of("sessions")] };
        let again = Audit { checked: 2, mismatches: vec![of("sessions")] };
        let found = first.confirmed_by(&again).mismatches;
        assert_eq!(found[0].to_string(), "sessions of 2026-11-22 has 3 rows, and 2 identities");
        assert_eq!(found.len(), 1);
    }

    #[test]
    fn a_day_that_is_partly_gone_by_its_age_is_not_held_against_its_rollup() {
        let table = tables().into_iter().find(|table| table.name == "deliveries").unwrap();
        let day = |text: &str| text.parse::<NaiveDate>().unwrap();
        let none = Lifetimes::new();
        assert!(is_whole(&table, &none, day("2026-11-01"), day("2026-11-22")));
        assert!(!is_whole(&table, &none, day("2026-08-24"), day("2026-11-22")));
        assert!(is_whole(&table, &[("deliveries".to_owned(), 0)].into(), day("2020-01-01"), day("2026-11-22")));
    }
}
