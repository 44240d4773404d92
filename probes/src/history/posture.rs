//! The audits of domains that a watcher has made, and what changed between them.

use aggregator::event::Time;
use rusqlite::params;
use serde::de::DeserializeOwned;

use super::{History, Result, conversion};
use crate::posture::{Change, Report};

/// Audits of a domain that are kept: with one a day, a month.
pub const KEEP_REPORTS: u32 = 31;
/// Changes of a domain that are kept.
pub const KEEP_CHANGES: u32 = 500;

pub(super) const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS posture_reports (
    domain TEXT NOT NULL,
    at INTEGER NOT NULL,
    report TEXT NOT NULL,
    PRIMARY KEY (domain, at)
);
CREATE TABLE IF NOT EXISTS posture_changes (id INTEGER PRIMARY KEY, domain TEXT NOT NULL, change TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS posture_changes_of_domain ON posture_changes (domain, id);
";

impl History {
    /// Keeps an audit and what it changed, and drops what is more than is kept.
    ///
    /// # Errors
    /// The disk is full or fails: nothing of it was kept.
    pub fn keep_posture(&self, report: &Report, changes: &[Change]) -> Result<()> {
        let text = |value: serde_json::Result<String>| value.map_err(|error| conversion(0, error));
        let mut connection = self.lock();
        let transaction = connection.transaction()?;
        transaction.execute(
            "INSERT OR REPLACE INTO posture_reports (domain, at, report) VALUES (?1, ?2, ?3)",
            params![report.domain, report.at.0, text(serde_json::to_string(report))?],
        )?;
        for change in changes {
            transaction.execute(
                "INSERT INTO posture_changes (domain, change) VALUES (?1, ?2)",
                params![report.domain, text(serde_json::to_string(change))?],
            )?;
        }
        transaction.execute(
            "DELETE FROM posture_reports WHERE domain = ?1 AND at NOT IN
             (SELECT at FROM posture_reports WHERE domain = ?1 ORDER BY at DESC LIMIT ?2)",
            params![report.domain, KEEP_REPORTS],
        )?;
        transaction.execute(
            "DELETE FROM posture_changes WHERE domain = ?1 AND id NOT IN
             (SELECT id FROM posture_changes WHERE domain = ?1 ORDER BY id DESC LIMIT ?2)",
            params![report.domain, KEEP_CHANGES],
        )?;
        transaction.commit()?;
        Ok(())
    }

    /// The audits of a domain up to `until`, newest first.
    ///
    /// # Errors
    /// The database fails.
    pub fn posture_reports(&self, domain: &str, until: Time) -> Result<Vec<Report>> {
        let sql = "SELECT report FROM posture_reports WHERE domain = ?1 AND at <= ?2 ORDER BY at DESC";
        self.texts(sql, params![domain, until.0])
    }

    /// The changes of a domain, newest first.
    ///
    /// # Errors
    /// The database fails.
    pub fn posture_changes(&self, domain: &str, limit: u32) -> Result<Vec<Change>> {
        let sql = "SELECT change FROM posture_changes WHERE domain = ?1 ORDER BY id DESC LIMIT ?2";
        self.texts(sql, params![domain, limit])
    }

    /// What a newer or older program wrote and this one cannot read is left out.
    fn texts<T: DeserializeOwned>(&self, sql: &str, values: &[&dyn rusqlite::ToSql]) -> Result<Vec<T>> {
        let connection = self.lock();
        let mut statement = connection.prepare(sql)?;
        let rows = statement.query_map(values, |row| row.get::<_, String>(0))?.collect::<rusqlite::Result<Vec<_>>>()?;
        Ok(rows.iter().filter_map(|text| serde_json::from_str(text).ok()).collect())
    }
}
