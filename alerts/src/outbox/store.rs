//! The outbox on disk: SQLite, synchronous, one owner.

use std::path::Path;

use aggregator::event::{PageRow, PageState, Time};
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::{LIFETIME_MS, back_off_ms};
use crate::database;
use crate::page::Page;

/// How long finished pages are kept, for acknowledgements that come late.
const KEEP_MS: i64 = 30 * 24 * 3_600_000;

/// How long a peer's receipt waits for this watcher to write the same page. What comes later is about another outage.
const RECEIPT_MS: i64 = 10 * 60_000;

/// The pages of this watcher.
pub struct Store {
    connection: Connection,
}

/// Whom a page was for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addressee {
    /// The incident.
    pub incident: String,
    /// The person.
    pub person: String,
}

/// What an attempt came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The provider has it; what it said.
    Delivered(String),
    /// It may take it later; why not now.
    Again(String),
    /// It never will; why.
    Failed(String),
}

impl Store {
    /// Opens the outbox at `path` and makes it if it is not there. One that is damaged is set aside.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub fn open(path: &Path) -> rusqlite::Result<Self> {
        let connection = database::open(
            path,
            "CREATE TABLE IF NOT EXISTS pages (
                page_id TEXT PRIMARY KEY,
                incident TEXT NOT NULL,
                person TEXT NOT NULL,
                channel TEXT NOT NULL,
                document TEXT NOT NULL,
                created INTEGER NOT NULL,
                next_at INTEGER,            -- NULL: nothing more is to be done
                attempt INTEGER NOT NULL DEFAULT 0,
                state TEXT NOT NULL,
                receipt TEXT NOT NULL DEFAULT '',
                revision INTEGER NOT NULL DEFAULT 1
            );
            -- Receipts of peers' providers for pages that this watcher has not written yet.
            CREATE TABLE IF NOT EXISTS receipts (page_id TEXT PRIMARY KEY, receipt TEXT NOT NULL, at INTEGER NOT NULL);
            CREATE INDEX IF NOT EXISTS pages_due ON pages (next_at) WHERE next_at IS NOT NULL;
            CREATE INDEX IF NOT EXISTS pages_way ON pages (person, channel, next_at, created, page_id)
                WHERE next_at IS NOT NULL;
            CREATE INDEX IF NOT EXISTS pages_over ON pages (created) WHERE next_at IS NULL;
            CREATE INDEX IF NOT EXISTS pages_incident ON pages (incident);",
        )?;
        Ok(Self { connection })
    }

    /// Puts pages in, to be sent from `not_before` on; those that are there already stay as they are. On return they
    /// are on the disk.
    ///
    /// # Errors
    /// The disk did not take them: send them at once.
    pub fn append(&mut self, pages: &[Page], now: Time, not_before: Time) -> rusqlite::Result<Vec<PageRow>> {
        let transaction = self.connection.transaction()?;
        transaction
            .execute("DELETE FROM pages WHERE next_at IS NULL AND created < ?1", [now.plus_millis(-KEEP_MS).0])?;
        forget_receipts(&transaction, now)?;
        let mut rows = Vec::new();
        for page in pages {
            let document =
                serde_json::to_string(page).map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
            let new = transaction.execute(
                "INSERT OR IGNORE INTO pages (page_id, incident, person, channel, document, created, next_at, state)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                params![
                    page.page_id,
                    page.document.data.incident,
                    page.person,
                    page.channel,
                    document,
                    now.0,
                    not_before.0,
                    PageState::Queued.as_str()
                ],
            )?;
            if new == 1 {
                rows.push(queued(page, now));
            }
            let known = "SELECT receipt FROM receipts WHERE page_id = ?1";
            let known = transaction.query_row(known, [&page.page_id], |row| row.get::<_, String>(0)).optional()?;
            if let Some(receipt) = known {
                rows.extend(set(&transaction, &page.page_id, PageState::Delivered, &receipt, None, now)?);
            }
        }
        transaction.commit()?;
        Ok(rows)
    }

    /// The pages whose time has come, no more than `per_way` of a way (a person and a channel): first the one of every
    /// way that is due for longest, then the second of every way, so that a way that takes nothing holds no other back.
    /// A row that cannot be read has failed, and holds none back either.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn due(&self, now: Time, per_way: usize) -> rusqlite::Result<Vec<Page>> {
        let mut statement = self.connection.prepare_cached(
            "SELECT rowid, document FROM pages WHERE person = ?1 AND channel = ?2 AND next_at <= ?3
             ORDER BY next_at, created, page_id LIMIT ?4",
        )?;
        let per_way = i64::try_from(per_way).unwrap_or(i64::MAX);
        let (mut pages, mut unreadable) = (Vec::new(), Vec::new());
        for (person, channel) in self.ways()? {
            let mut rows = statement.query(params![person, channel, now.0, per_way])?;
            let mut place = 0;
            while let Some(row) = rows.next()? {
                let document = row.get_ref(1)?.as_str().map_err(|error| error.to_string());
                match document.and_then(|text| serde_json::from_str(text).map_err(|error| error.to_string())) {
                    Ok(page) => pages.push((place, page)),
                    Err(error) => unreadable.push((row.get::<_, i64>(0)?, error)),
                }
                place += 1;
            }
        }
        pages.sort_by_key(|(place, _)| *place);
        for (row, error) in unreadable {
            tracing::error!(row, error, "a page in the outbox cannot be read and is not sent; the others are");
            let failed = "UPDATE pages SET state = 'failed', receipt = ?2, next_at = NULL WHERE rowid = ?1";
            self.connection.execute(failed, params![row, ["it cannot be read: ", &error].concat()])?;
        }
        Ok(pages.into_iter().map(|(_, page)| page).collect())
    }

    /// The ways that have pages waiting, from one to the next by the index, however many pages wait.
    fn ways(&self) -> rusqlite::Result<Vec<(String, String)>> {
        let mut statement = self.connection.prepare_cached(
            "SELECT person, channel FROM pages WHERE next_at IS NOT NULL AND (person, channel) > (?1, ?2)
             ORDER BY person, channel LIMIT 1",
        )?;
        let mut ways: Vec<(String, String)> = Vec::new();
        loop {
            let (person, channel) = ways.last().map_or(("", ""), |(person, channel)| (person, channel));
            let next = statement.query_row([person, channel], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
            let Some(way) = next else { return Ok(ways) };
            ways.push(way);
        }
    }

    /// When the next page is due.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn next_at(&self) -> rusqlite::Result<Option<Time>> {
        self.next_after(Time(i64::MIN))
    }

    /// The same of those whose time comes after `now`.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn next_after(&self, now: Time) -> rusqlite::Result<Option<Time>> {
        let sql = "SELECT min(next_at) FROM pages WHERE next_at > ?1";
        Ok(self.connection.query_row(sql, [now.0], |row| row.get::<_, Option<i64>>(0))?.map(Time))
    }

    /// How many pages are neither delivered nor given up.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn waiting(&self) -> rusqlite::Result<i64> {
        let mut statement = self.connection.prepare_cached("SELECT count(*) FROM pages WHERE next_at IS NOT NULL")?;
        statement.query_row([], |row| row.get(0))
    }

    /// Marks an attempt before it is made. `retry_at` is when it is made again if this process dies meanwhile.
    ///
    /// # Errors
    /// The disk did not take it.
    pub fn attempt(&mut self, page_id: &str, now: Time, retry_at: Time) -> rusqlite::Result<Option<PageRow>> {
        let sql = "UPDATE pages SET attempt = attempt + 1, next_at = ?2, state = 'sent', revision = revision + 1
                   WHERE page_id = ?1 AND next_at IS NOT NULL RETURNING *";
        self.connection.query_row(sql, params![page_id, retry_at.0], |row| page_row(row, now)).optional()
    }

    /// What came of an attempt.
    ///
    /// # Errors
    /// The disk did not take it: the page will be sent again.
    pub fn finish(&mut self, page_id: &str, outcome: &Outcome, now: Time) -> rusqlite::Result<Option<PageRow>> {
        let stand = "SELECT attempt, created FROM pages WHERE page_id = ?1 AND next_at IS NOT NULL";
        let stand = self
            .connection
            .query_row(stand, [page_id], |row| Ok((row.get::<_, u32>(0)?, row.get::<_, i64>(1)?)))
            .optional()?;
        let Some((attempt, created)) = stand else { return Ok(None) };
        let retry_at = now.plus_millis(back_off_ms(attempt));
        let too_old = retry_at > Time(created).plus_millis(LIFETIME_MS);
        let (state, receipt, next_at) = match outcome {
            Outcome::Delivered(receipt) => (PageState::Delivered, receipt, None),
            Outcome::Again(reason) if !too_old => (PageState::Queued, reason, Some(retry_at.0)),
            Outcome::Again(reason) | Outcome::Failed(reason) => (PageState::Failed, reason, None),
        };
        set(&self.connection, page_id, state, receipt, next_at, now)
    }

    /// A peer's provider has the page: this watcher need not send it, now or when it comes to write it.
    ///
    /// # Errors
    /// The disk did not take it: the page will be sent as well.
    pub fn received_elsewhere(&mut self, page_id: &str, receipt: &str, now: Time) -> rusqlite::Result<Option<PageRow>> {
        forget_receipts(&self.connection, now)?;
        self.connection.execute(
            "INSERT OR REPLACE INTO receipts (page_id, receipt, at) VALUES (?1, ?2, ?3)",
            params![page_id, receipt, now.0],
        )?;
        set(&self.connection, page_id, PageState::Delivered, receipt, None, now)
    }

    /// A person answered: his pages are done, whatever became of them.
    ///
    /// # Errors
    /// The disk did not take it.
    pub fn acknowledged(&mut self, incident: &str, person: &str, now: Time) -> rusqlite::Result<Vec<PageRow>> {
        let sql = "UPDATE pages SET state = 'acknowledged', next_at = NULL, revision = revision + 1
                   WHERE incident = ?1 AND person = ?2 AND state <> 'acknowledged' RETURNING *";
        let mut statement = self.connection.prepare(sql)?;
        statement.query_map([incident, person], |row| page_row(row, now))?.collect()
    }

    /// The incidents of which people were told: their keys are never used again.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn incidents(&self) -> rusqlite::Result<Vec<String>> {
        let mut statement = self.connection.prepare("SELECT DISTINCT incident FROM pages WHERE next_at IS NULL")?;
        statement.query_map([], |row| row.get(0))?.collect()
    }

    /// Whom a page was for.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn addressee(&self, page_id: &str) -> rusqlite::Result<Option<Addressee>> {
        let sql = "SELECT incident, person FROM pages WHERE page_id = ?1";
        let addressee = |row: &Row<'_>| Ok(Addressee { incident: row.get(0)?, person: row.get(1)? });
        self.connection.query_row(sql, [page_id], addressee).optional()
    }
}

/// Drops the receipts that are too old to be about a page of now, and those of a clock that was ahead.
fn forget_receipts(connection: &Connection, now: Time) -> rusqlite::Result<()> {
    let (from, to) = (now.plus_millis(-RECEIPT_MS), now.plus_millis(RECEIPT_MS));
    connection.execute("DELETE FROM receipts WHERE at NOT BETWEEN ?1 AND ?2", [from.0, to.0])?;
    Ok(())
}

/// Sets the state of a page that is not finished.
fn set(
    connection: &Connection,
    page_id: &str,
    state: PageState,
    receipt: &str,
    next_at: Option<i64>,
    now: Time,
) -> rusqlite::Result<Option<PageRow>> {
    let sql = "UPDATE pages SET state = ?2, receipt = ?3, next_at = ?4, revision = revision + 1
               WHERE page_id = ?1 AND next_at IS NOT NULL RETURNING *";
    let values = params![page_id, state.as_str(), receipt, next_at];
    connection.query_row(sql, values, |row| page_row(row, now)).optional()
}

fn queued(page: &Page, now: Time) -> PageRow {
    PageRow {
        ts: now,
        page_id: page.page_id.clone(),
        revision: 1,
        incident: page.document.data.incident.clone(),
        person: page.person.clone(),
        channel: page.channel.clone(),
        state: PageState::Queued,
        ..PageRow::default()
    }
}

fn page_row(row: &Row<'_>, now: Time) -> rusqlite::Result<PageRow> {
    let state: String = row.get("state")?;
    Ok(PageRow {
        ts: now,
        page_id: row.get("page_id")?,
        revision: row.get("revision")?,
        incident: row.get("incident")?,
        person: row.get("person")?,
        channel: row.get("channel")?,
        attempt: row.get("attempt")?,
        state: state.parse().unwrap_or_default(),
        receipt: row.get("receipt")?,
        ..PageRow::default()
    })
}
