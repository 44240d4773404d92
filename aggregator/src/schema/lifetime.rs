//! How long each table keeps its rows: as its file says, or as the configuration does (`[aggregate.ttl]`).
//!
//! What stands in the database is compared with what should, and only a table that differs is altered, so this can run
//! at every start.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Error, MIGRATIONS, statements};
use crate::clickhouse::Client;

/// Days by table; 0 keeps for ever. A table that is not named keeps its default, and [`ID_DAYS`] what it leads to.
pub type Lifetimes = BTreeMap<String, u32>;

/// The most days that may be asked for. `DateTime` ends in 2106: a lifetime past it would wrap around, and everything
/// would be dropped at once.
pub const MAX_DAYS: u32 = 10_000;

/// The table that says where to look in others, and those: it is of no use for longer, and they are hardly without it.
const ID_DAYS: (&str, [&str; 2]) = ("id_days", ["receptions", "deliveries"]);

const EXISTING: &str = "SELECT name, engine_full FROM system.tables WHERE database = currentDatabase()";

#[derive(Deserialize)]
struct Existing {
    name: String,
    engine_full: String,
}

/// A table, and how long it keeps its rows by its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Table {
    pub(super) name: &'static str,
    /// Whether merges leave one row of those that are equal by its key.
    pub(super) replaces: bool,
    /// From when on a row's life is counted.
    from: &'static str,
    /// As ClickHouse writes the interval; `None`: for ever.
    default: Option<String>,
    /// The same in days, rounded down.
    default_days: Option<u32>,
}

/// Every table, in the order of the files.
pub(super) fn tables() -> Vec<Table> {
    MIGRATIONS.iter().flat_map(|(_, sql)| statements(sql)).filter_map(table).collect()
}

fn table(statement: &'static str) -> Option<Table> {
    let body = &statement[statement.find("CREATE TABLE IF NOT EXISTS ")?..];
    let name = body.strip_prefix("CREATE TABLE IF NOT EXISTS ")?.lines().next()?;
    let replaces = body.contains("\nENGINE = ReplacingMergeTree");
    let ttl = body.lines().find_map(|line| line.strip_prefix("TTL "));
    let Some((from, interval)) = ttl.and_then(|ttl| ttl.split_once(" + INTERVAL ")) else {
        return Some(Table { name, replaces, from: "toDateTime(ts)", default: None, default_days: None });
    };
    let (count, unit) = interval.split_once(' ')?;
    let (function, days) = match unit {
        "DAY" => ("toIntervalDay(", 1),
        "YEAR" => ("toIntervalYear(", 365),
        _ => return None,
    };
    let default_days = Some(count.parse::<u32>().ok()? * days);
    Some(Table { name, replaces, from, default: Some([function, count, ")"].concat()), default_days })
}

impl Table {
    /// What its TTL should say; `None`: there should be none.
    fn wanted(&self, lifetimes: &Lifetimes) -> Option<String> {
        let interval = match lifetimes.get(self.name) {
            None => self.default.clone()?,
            Some(0) => return None,
            Some(days) => ["toIntervalDay(", &days.to_string(), ")"].concat(),
        };
        Some([self.from, " + ", &interval].concat())
    }

    /// For how many days at least a row is there; `None`: for ever.
    pub(super) fn days(&self, lifetimes: &Lifetimes) -> Option<u32> {
        match lifetimes.get(self.name) {
            None => self.default_days,
            Some(0) => None,
            Some(days) => Some(*days),
        }
    }
}

/// What is wrong with lifetimes: the table, and what to do.
pub fn check(lifetimes: &Lifetimes) -> Vec<(String, String)> {
    let tables = tables();
    let fault = |(name, days): (&String, &u32)| {
        if !tables.iter().any(|table| table.name == name) {
            let names: Vec<_> = tables.iter().map(|table| table.name).collect();
            return Some((name.clone(), ["there is no such table; there are ", &names.join(", ")].concat()));
        }
        let too_long =
            [&days.to_string(), " days are too many: the most is ", &MAX_DAYS.to_string(), ", and 0 keeps for ever"];
        (*days > MAX_DAYS).then(|| (name.clone(), too_long.concat()))
    };
    lifetimes.iter().filter_map(fault).collect()
}

/// Alters every table whose lifetime is not the one it should have. How many there were.
///
/// # Errors
/// ClickHouse is away, or refused a statement; what was altered before stays altered.
pub async fn apply(client: &Client, lifetimes: &Lifetimes) -> Result<usize, Error> {
    let existing: Vec<Existing> = client.rows(EXISTING, &[]).await?;
    let tables = tables();
    let lifetimes = &with_id_days(lifetimes, &tables);
    let mut count = 0;
    for table in tables {
        let Some(now) = existing.iter().find(|existing| existing.name == table.name) else { continue };
        let wanted = table.wanted(lifetimes);
        if ttl_of(&now.engine_full) == wanted.as_deref() {
            continue;
        }
        client.execute(&statement(table.name, wanted.as_deref()), &[]).await?;
        tracing::info!(
            table = table.name,
            keeps = wanted.as_deref().unwrap_or("for ever"),
            "a table's lifetime was changed"
        );
        count += 1;
    }
    Ok(count)
}

/// The same lifetimes with that of [`ID_DAYS`] in so many words.
fn with_id_days(lifetimes: &Lifetimes, tables: &[Table]) -> Lifetimes {
    let (name, of) = ID_DAYS;
    let days = |table: &Table| table.days(lifetimes).unwrap_or(0);
    let kept = || tables.iter().filter(|table| of.contains(&table.name)).map(days);
    let longest = if kept().any(|days| days == 0) { 0 } else { kept().max().unwrap_or(0) };
    let mut all = lifetimes.clone();
    all.entry(name.to_owned()).or_insert(longest);
    all
}

/// Names and intervals are those of our own files, and numbers.
fn statement(table: &str, ttl: Option<&str>) -> String {
    match ttl {
        Some(ttl) => ["ALTER TABLE `", table, "` MODIFY TTL ", ttl].concat(),
        None => ["ALTER TABLE `", table, "` REMOVE TTL"].concat(),
    }
}

/// What a table's TTL says.
fn ttl_of(engine: &str) -> Option<&str> {
    let (_, after) = engine.split_once(" TTL ")?;
    Some(after.split_once(" SETTINGS ").map_or(after, |(ttl, _)| ttl))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str) -> Table {
        tables().into_iter().find(|table| table.name == name).unwrap()
    }

    #[test]
    fn the_defaults_are_those_of_the_files() {
        let found = |name| of(name).wanted(&Lifetimes::new());
        assert_eq!(found("deliveries").as_deref(), Some("toDateTime(ts) + toIntervalDay(90)"));
        assert_eq!(found("deliveries_1h").as_deref(), Some("hour + toIntervalYear(3)"));
        assert_eq!(found("incidents"), None);
        assert_eq!(
            (of("raw_lines").days(&Lifetimes::new()), of("dmarc_rows").days(&Lifetimes::new())),
            (Some(14), Some(1095))
        );
        for (table, _) in crate::event::Event::TABLES {
            of(table);
        }
    }

    #[test]
    fn the_configuration_decides_and_0_is_for_ever() {
        let lifetimes = [("raw_lines".to_owned(), 3), ("deliveries".to_owned(), 0), ("incidents".to_owned(), 9)].into();
        assert_eq!(of("raw_lines").wanted(&lifetimes).as_deref(), Some("toDateTime(ts) + toIntervalDay(3)"));
        assert_eq!(of("deliveries").wanted(&lifetimes), None);
        assert_eq!(of("incidents").wanted(&lifetimes).as_deref(), Some("toDateTime(ts) + toIntervalDay(9)"));
    }

    #[test]
    fn days_of_ids_are_kept_as_long_as_what_they_lead_to() {
        let wanted = |lifetimes: &[(&str, u32)]| {
            let lifetimes = lifetimes.iter().map(|(name, days)| ((*name).to_owned(), *days)).collect();
            of("id_days").wanted(&with_id_days(&lifetimes, &tables()))
        };
        let days = |count: &str| Some(["day + toIntervalDay(", count, ")"].concat());
        assert_eq!(wanted(&[]), of("id_days").wanted(&Lifetimes::new()));
        assert_eq!(wanted(&[("deliveries", 400)]), days("400"));
        assert_eq!(wanted(&[("deliveries", 30), ("receptions", 20)]), days("30"));
        assert_eq!(wanted(&[("receptions", 0), ("deliveries", 400)]), None);
        assert_eq!(wanted(&[("receptions", 0), ("id_days", 50)]), days("50"));
    }

    #[test]
    fn a_table_that_is_not_there_and_a_lifetime_that_would_wrap_around_are_refused_by_name() {
        let faults = check(
            &[("deliverys".to_owned(), 1), ("sessions".to_owned(), MAX_DAYS + 1), ("pages".to_owned(), 7)].into(),
        );
        let keys: Vec<&str> = faults.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(keys, ["deliverys", "sessions"]);
        assert!(faults[0].1.starts_with("there is no such table; there are receptions, deliveries,"), "{faults:?}");
    }
}
