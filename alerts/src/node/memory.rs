//! What a node remembers of orders, on disk.

use std::path::{Path, PathBuf};

use aggregator::event::Time;
use rusqlite::{Connection, params};

use crate::remedy::budget::Restart;
use crate::remedy::order::{Memory, Order};

/// How long restarts and nonces are remembered: longer than any budget, and than any order lives.
const KEEP_MS: i64 = 48 * 3_600_000;

/// The memory cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("the node's memory {path} cannot be opened: {source}; check the folder's rights and its disk")]
pub struct OpenError {
    path: PathBuf,
    source: rusqlite::Error,
}

/// The memory on disk.
pub(super) struct MemoryStore {
    connection: Connection,
}

impl MemoryStore {
    pub(super) fn open(path: &Path) -> Result<Self, OpenError> {
        let open = || -> rusqlite::Result<Self> {
            let connection = Connection::open(path)?;
            connection.pragma_update(None, "journal_mode", "WAL")?;
            connection.pragma_update(None, "synchronous", "FULL")?;
            connection.execute_batch(
                "CREATE TABLE IF NOT EXISTS orders (nonce TEXT PRIMARY KEY, unit TEXT NOT NULL, at INTEGER NOT NULL);
                 CREATE TABLE IF NOT EXISTS fences (
                    incident_base TEXT NOT NULL, unit TEXT NOT NULL, generation INTEGER NOT NULL,
                    PRIMARY KEY (incident_base, unit)
                 );",
            )?;
            Ok(Self { connection })
        };
        open().map_err(|source| OpenError { path: path.to_owned(), source })
    }

    pub(super) fn read(&self, now: Time) -> rusqlite::Result<Memory> {
        let since = now.plus_millis(-KEEP_MS).0;
        let mut memory = Memory::default();
        let mut orders = self.connection.prepare_cached("SELECT nonce, unit, at FROM orders WHERE at > ?1")?;
        let mut rows = orders.query([since])?;
        while let Some(row) = rows.next()? {
            memory.nonces.insert(row.get(0)?);
            memory.restarts.push(Restart { unit: row.get(1)?, at: Time(row.get(2)?) });
        }
        let mut fences = self.connection.prepare_cached("SELECT incident_base, unit, generation FROM fences")?;
        let mut rows = fences.query([])?;
        while let Some(row) = rows.next()? {
            memory.fences.insert((row.get(0)?, row.get(1)?), row.get(2)?);
        }
        Ok(memory)
    }

    /// Keeps an order that is about to be carried out.
    pub(super) fn keep(&mut self, order: &Order, now: Time) -> rusqlite::Result<()> {
        let transaction = self.connection.transaction()?;
        transaction.execute("DELETE FROM orders WHERE at <= ?1", [now.plus_millis(-KEEP_MS).0])?;
        transaction.execute(
            "INSERT INTO orders (nonce, unit, at) VALUES (?1, ?2, ?3)",
            params![order.nonce, order.unit, now.0],
        )?;
        transaction.execute(
            "INSERT OR REPLACE INTO fences (incident_base, unit, generation) VALUES (?1, ?2, ?3)",
            params![order.incident_base(), order.unit, order.fence],
        )?;
        transaction.commit()
    }
}
