//! A watcher's own history: SQLite, bounded. The public page and the pager work from it when all else is gone.
//!
//! Observations of all watchers are kept for [`KEEP_DAYS`] days, [`MAX_ROWS`] at most; their steps, which are most of
//! their size, for [`KEEP_STEPS_DAYS`] unless they failed. Changes of verdict are kept for good.

pub mod posture;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use aggregator::event::{ProbeOutcome, Time, VerdictRow, VerdictState};
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use crate::observation::Observation;
use crate::roster::{Epoch, MAX_EPOCHS};

/// How long observations are kept.
pub const KEEP_DAYS: i64 = 100;
/// How long the steps of those that did not fail are kept.
pub const KEEP_STEPS_DAYS: i64 = 2;
/// Observations that are kept at most; the oldest go first.
pub const MAX_ROWS: i64 = 5_000_000;

const DAY: i64 = 86_400_000_000;

const SCHEMA: &str = "
PRAGMA journal_mode = WAL;
PRAGMA synchronous = NORMAL;
CREATE TABLE IF NOT EXISTS observations (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    run_id TEXT NOT NULL UNIQUE,
    ts INTEGER NOT NULL,
    target TEXT NOT NULL,
    service TEXT NOT NULL,
    check_name TEXT NOT NULL,
    vantage TEXT NOT NULL,
    slot INTEGER,
    outcome TEXT NOT NULL,
    total_ms INTEGER NOT NULL,
    steps TEXT
);
CREATE INDEX IF NOT EXISTS observations_of_service ON observations (target, service, ts);
CREATE INDEX IF NOT EXISTS observations_by_age ON observations (ts);
CREATE INDEX IF NOT EXISTS observations_with_steps ON observations (ts)
    WHERE steps IS NOT NULL AND outcome NOT IN ('failed', 'missing');
CREATE INDEX IF NOT EXISTS observations_of_vantage ON observations (vantage, seq);
CREATE TABLE IF NOT EXISTS verdicts (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    target TEXT NOT NULL,
    service TEXT NOT NULL,
    at INTEGER NOT NULL,
    state TEXT NOT NULL,
    since INTEGER,
    voters TEXT NOT NULL,
    generation INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS arrivals (
    run_id TEXT PRIMARY KEY,
    ts INTEGER NOT NULL,
    delay_ms INTEGER NOT NULL,
    folder TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS verdicts_of_service ON verdicts (target, service, id);
CREATE TABLE IF NOT EXISTS cursors (peer TEXT PRIMARY KEY, seq INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS epochs (generation INTEGER PRIMARY KEY, epoch TEXT NOT NULL);
";

/// Why the history could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// The database failed.
    #[error("watcher's history: {0}")]
    Database(#[from] rusqlite::Error),
    /// A file could not be moved or made.
    #[error("watcher's history {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

type Result<T> = std::result::Result<T, HistoryError>;

/// The history. Its calls block: drivers call them off the runtime.
#[derive(Debug)]
pub struct History {
    connection: Mutex<Connection>,
}

/// What an observation means for the verdict, without its story.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// When.
    pub ts: Time,
    /// Which check.
    pub check: String,
    /// From where.
    pub vantage: String,
    /// What.
    pub outcome: ProbeOutcome,
}

/// The message of a run that had said `missing` has come after all. The run's observation stays as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrived {
    /// The run.
    pub run_id: String,
    /// When it began.
    pub ts: Time,
    /// How long the message took.
    pub delay_ms: u64,
    /// Where it came to.
    pub folder: String,
}

/// A run that had said `missing`, and the check that it was one of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unanswered {
    /// The mail system.
    pub target: String,
    /// The check.
    pub check: String,
    /// The run.
    pub run_id: String,
    /// When it began.
    pub ts: Time,
}

/// The last change of a service's verdict that was announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Announced {
    /// The state.
    pub state: VerdictState,
    /// The generation of its incidents.
    pub generation: u32,
    /// When it was told.
    pub at: Time,
}

impl History {
    /// Opens or makes the history. A file that is damaged is set aside, and a fresh one made: the second value is
    /// where the damaged one is now.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn open(path: &Path) -> Result<(Self, Option<PathBuf>)> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(|source| HistoryError::File { path: folder.to_owned(), source })?;
        }
        match Self::open_sound(path) {
            Ok(history) => Ok((history, None)),
            Err(HistoryError::Database(error)) if is_damage(&error) => {
                let aside = set_aside(path)?;
                Ok((Self::open_sound(path)?, Some(aside)))
            }
            Err(error) => Err(error),
        }
    }

    fn open_sound(path: &Path) -> Result<Self> {
        let connection = Connection::open(path)?;
        connection.busy_timeout(std::time::Duration::from_secs(5))?;
        connection.execute_batch(SCHEMA)?;
        connection.execute_batch(posture::SCHEMA)?;
        let verdict: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
        if verdict != "ok" {
            let damage = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT);
            return Err(rusqlite::Error::SqliteFailure(damage, Some(verdict)).into());
        }
        Ok(Self { connection: Mutex::new(connection) })
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps observations and changes in one transaction. An observation that is there already is left as it is.
    ///
    /// # Errors
    /// The disk is full or fails: nothing of it was kept.
    pub fn record(&self, observations: &[Observation], verdicts: &[VerdictRow]) -> Result<()> {
        let mut connection = self.lock();
        let transaction = connection.transaction()?;
        {
            let mut insert = transaction.prepare_cached(
                "INSERT OR IGNORE INTO observations
                 (run_id, ts, target, service, check_name, vantage, slot, outcome, total_ms, steps)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
            )?;
            for seen in observations {
                let steps = serde_json::to_string(&seen.steps).ok();
                insert.execute(params![
                    seen.run_id,
                    seen.ts.0,
                    seen.target,
                    seen.service,
                    seen.check,
                    seen.vantage,
                    seen.slot,
                    seen.outcome.as_str(),
                    seen.total_ms,
                    steps
                ])?;
            }
            let mut insert = transaction.prepare_cached(
                "INSERT INTO verdicts (target, service, at, state, since, voters, generation)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )?;
            for row in verdicts {
                insert.execute(params![
                    row.target,
                    row.service,
                    row.ts.0,
                    row.state.as_str(),
                    row.since.map(|time| time.0),
                    row.voters,
                    row.generation
                ])?;
            }
        }
        transaction.commit()?;
        Ok(())
    }

    /// Observations of one watcher after a place in the history, oldest first, each with its place.
    ///
    /// # Errors
    /// The database fails.
    pub fn of_vantage(&self, vantage: &str, after: i64, limit: u32) -> Result<Vec<(i64, Observation)>> {
        let connection = self.lock();
        let sql = "SELECT seq, run_id, ts, target, service, check_name, vantage, slot, outcome, total_ms, steps
                   FROM observations WHERE vantage = ?1 AND seq > ?2 ORDER BY seq LIMIT ?3";
        let mut statement = connection.prepare_cached(sql)?;
        let rows = statement.query_map(params![vantage, after, limit], observation)?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// The last observation of every check from every watcher, of those up to `until`.
    ///
    /// # Errors
    /// The database fails.
    pub fn latest(&self, until: Time) -> Result<Vec<Observation>> {
        let connection = self.lock();
        // The plus keeps it to one scan: almost every row is meant, and an index by time would only be a detour.
        let sql = "SELECT seq, run_id, max(ts) AS ts, target, service, check_name, vantage, slot, outcome, total_ms,
                   steps FROM observations WHERE +ts <= ?1 GROUP BY target, check_name, vantage";
        let mut statement = connection.prepare(sql)?;
        let rows = statement.query_map([until.0], |row| observation(row).map(|(_, seen)| seen))?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// The last slot of every check of this watcher that is on record, up to `until`.
    ///
    /// # Errors
    /// The database fails.
    pub fn last_slots(&self, vantage: &str, until: Time) -> Result<Vec<(String, String, i64)>> {
        let connection = self.lock();
        let mut statement = connection.prepare(
            "SELECT target, check_name, max(slot) FROM observations
             WHERE vantage = ?1 AND slot IS NOT NULL AND ts <= ?2 GROUP BY target, check_name",
        )?;
        let rows = statement.query_map(params![vantage, until.0], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// What was seen of a service in `[from, to)`, in no order.
    ///
    /// # Errors
    /// The database fails.
    pub fn of_service(&self, target: &str, service: &str, from: Time, to: Time) -> Result<Vec<Seen>> {
        let connection = self.lock();
        let mut statement = connection.prepare_cached(
            "SELECT ts, check_name, vantage, outcome FROM observations
             WHERE target = ?1 AND service = ?2 AND ts >= ?3 AND ts < ?4",
        )?;
        let rows = statement.query_map(params![target, service, from.0, to.0], |row| {
            Ok(Seen { ts: Time(row.get(0)?), check: row.get(1)?, vantage: row.get(2)?, outcome: word(row, 3)? })
        })?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// Keeps messages that came after their runs had said `missing`. One that is there already is left as it is.
    ///
    /// # Errors
    /// The database fails.
    pub fn record_arrivals(&self, arrivals: &[Arrived]) -> Result<()> {
        let connection = self.lock();
        let sql = "INSERT OR IGNORE INTO arrivals (run_id, ts, delay_ms, folder) VALUES (?1, ?2, ?3, ?4)";
        let mut insert = connection.prepare_cached(sql)?;
        for arrival in arrivals {
            let delay = i64::try_from(arrival.delay_ms).unwrap_or(i64::MAX);
            insert.execute(params![arrival.run_id, arrival.ts.0, delay, arrival.folder])?;
        }
        Ok(())
    }

    /// The runs of a watcher since then that said `missing`, and whose message has not come, oldest first.
    ///
    /// # Errors
    /// The database fails.
    pub fn unanswered(&self, vantage: &str, since: Time) -> Result<Vec<Unanswered>> {
        let connection = self.lock();
        let mut statement = connection.prepare(
            "SELECT target, check_name, run_id, ts FROM observations
             WHERE ts >= ?2 AND vantage = ?1 AND outcome = 'missing'
             AND run_id NOT IN (SELECT run_id FROM arrivals) ORDER BY ts",
        )?;
        let rows = statement.query_map(params![vantage, since.0], |row| {
            Ok(Unanswered { target: row.get(0)?, check: row.get(1)?, run_id: row.get(2)?, ts: Time(row.get(3)?) })
        })?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// What was announced last of a service.
    ///
    /// # Errors
    /// The database fails.
    pub fn announced(&self, target: &str, service: &str) -> Result<Option<Announced>> {
        let connection = self.lock();
        let row = connection
            .query_row(
                "SELECT state, generation, at FROM verdicts WHERE target = ?1 AND service = ?2 ORDER BY id DESC LIMIT 1",
                params![target, service],
                |row| Ok(Announced { state: word(row, 0)?, generation: row.get(1)?, at: Time(row.get(2)?) }),
            )
            .optional()?;
        Ok(row)
    }

    /// What was told of a service since an instant: each state with its begin, in the order of the telling, and what
    /// was told last before.
    ///
    /// # Errors
    /// The database fails.
    pub fn told(&self, target: &str, service: &str, since: Time) -> Result<Vec<(Time, VerdictState)>> {
        let connection = self.lock();
        let mut statement = connection.prepare_cached(
            "SELECT coalesce(since, at), state FROM verdicts WHERE target = ?1 AND service = ?2 AND id >= coalesce(
                 (SELECT max(id) FROM verdicts WHERE target = ?1 AND service = ?2 AND at < ?3), 0)
             ORDER BY id",
        )?;
        let rows =
            statement.query_map(params![target, service, since.0], |row| Ok((Time(row.get(0)?), word(row, 1)?)))?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// From when on every observation that came is still there; `None`: none has been dropped yet. Observations do not
    /// come quite in the order of their times, so it is the latest of the oldest that are left.
    ///
    /// # Errors
    /// The database fails.
    pub fn complete_from(&self) -> Result<Option<Time>> {
        let connection = self.lock();
        let first: Option<i64> = connection.query_row("SELECT min(seq) FROM observations", [], |row| row.get(0))?;
        if first.is_none_or(|first| first <= 1) {
            return Ok(None);
        }
        let latest = "SELECT max(ts) FROM (SELECT ts FROM observations ORDER BY seq LIMIT 1000)";
        Ok(connection.query_row(latest, [], |row| row.get(0)).map(|ts: Option<i64>| ts.map(Time))?)
    }

    /// How far a peer has acknowledged.
    ///
    /// # Errors
    /// The database fails.
    pub fn cursor(&self, peer: &str) -> Result<i64> {
        let connection = self.lock();
        let row =
            connection.query_row("SELECT seq FROM cursors WHERE peer = ?1", [peer], |row| row.get(0)).optional()?;
        Ok(row.unwrap_or(0))
    }

    /// Keeps how far a peer has acknowledged.
    ///
    /// # Errors
    /// The database fails.
    pub fn set_cursor(&self, peer: &str, seq: i64) -> Result<()> {
        let sql = "INSERT INTO cursors (peer, seq) VALUES (?1, ?2) ON CONFLICT (peer) DO UPDATE SET seq = ?2";
        self.lock().execute(sql, params![peer, seq])?;
        Ok(())
    }

    /// The epochs of the roster, oldest first.
    ///
    /// # Errors
    /// The database fails.
    pub fn epochs(&self) -> Result<Vec<Epoch>> {
        let connection = self.lock();
        let mut statement = connection.prepare("SELECT epoch FROM epochs ORDER BY generation")?;
        let read = |row: &Row<'_>| {
            let text: String = row.get(0)?;
            serde_json::from_str(&text).map_err(|error| conversion(0, error))
        };
        let rows = statement.query_map([], read)?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// Keeps an epoch in the place of another of its generation.
    ///
    /// # Errors
    /// The database fails.
    pub fn enrol(&self, epoch: &Epoch) -> Result<()> {
        let text =
            serde_json::to_string(epoch).map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
        let generation = i64::try_from(epoch.generation).unwrap_or(i64::MAX);
        let connection = self.lock();
        connection
            .execute("INSERT OR REPLACE INTO epochs (generation, epoch) VALUES (?1, ?2)", params![generation, text])?;
        connection.execute(
            "DELETE FROM epochs WHERE generation <= (SELECT generation FROM epochs ORDER BY generation DESC LIMIT 1 OFFSET ?1)",
            [MAX_EPOCHS as i64],
        )?;
        Ok(())
    }

    /// Drops what is too old, and what is too much. Returns how many observations went.
    ///
    /// # Errors
    /// The database fails.
    pub fn prune(&self, now: Time) -> Result<usize> {
        self.prune_to(now, MAX_ROWS)
    }

    fn prune_to(&self, now: Time, rows: i64) -> Result<usize> {
        let connection = self.lock();
        let old = connection.execute("DELETE FROM observations WHERE ts < ?1", [now.0 - KEEP_DAYS * DAY])?;
        connection.execute("DELETE FROM arrivals WHERE ts < ?1", [now.0 - KEEP_DAYS * DAY])?;
        let many = connection.execute(
            "DELETE FROM observations WHERE seq <= (SELECT seq FROM observations ORDER BY seq DESC LIMIT 1 OFFSET ?1)",
            [rows],
        )?;
        connection.execute(
            "UPDATE observations SET steps = NULL
             WHERE ts < ?1 AND steps IS NOT NULL AND outcome NOT IN ('failed', 'missing')",
            [now.0 - KEEP_STEPS_DAYS * DAY],
        )?;
        Ok(old + many)
    }
}

fn observation(row: &Row<'_>) -> rusqlite::Result<(i64, Observation)> {
    let steps: Option<String> = row.get(10)?;
    let steps = steps.map(|text| serde_json::from_str(&text)).transpose().map_err(|error| conversion(10, error))?;
    let seen = Observation {
        run_id: row.get(1)?,
        ts: Time(row.get(2)?),
        target: row.get(3)?,
        service: row.get(4)?,
        check: row.get(5)?,
        vantage: row.get(6)?,
        slot: row.get(7)?,
        outcome: word(row, 8)?,
        total_ms: row.get(9)?,
        steps: steps.unwrap_or_default(),
    };
    Ok((row.get(0)?, seen))
}

fn word<T: std::str::FromStr<Err = String>>(row: &Row<'_>, column: usize) -> rusqlite::Result<T> {
    row.get::<_, String>(column)?.parse().map_err(|error: String| conversion(column, error))
}

fn conversion(column: usize, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Text, error.into())
}

fn is_damage(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
    matches!(error.sqlite_error_code(), Some(DatabaseCorrupt | NotADatabase))
}

/// Moves the damaged file and its journals to the first name that is free.
fn set_aside(path: &Path) -> Result<PathBuf> {
    let named = |suffix: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    };
    let aside = (1..).map(|n: u32| named(&format!(".damaged-{n}"))).find(|name| !name.exists());
    let aside = aside.unwrap_or_else(|| named(".damaged"));
    fs::rename(path, &aside).map_err(|source| HistoryError::File { path: path.to_owned(), source })?;
    for journal in [named("-wal"), named("-shm")] {
        let _ = fs::remove_file(journal);
    }
    Ok(aside)
}

#[cfg(test)]
mod tests;
