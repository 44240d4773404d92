//! A SQLite database that several processes use: one connection that writes, a few that read.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::StoreError;

/// How long a writer waits for the writer of another process before it answers "later".
const BUSY: Duration = Duration::from_secs(10);
/// Idle reading connections that are kept; a reader that finds none opens its own.
const READERS: usize = 8;

/// The connections of this process.
pub(super) struct Database {
    path: PathBuf,
    writer: Mutex<Connection>,
    readers: Mutex<Vec<Connection>>,
}

impl Database {
    /// Opens the file and lays out `schema` (statements that do nothing the second time).
    pub(super) fn open(path: &Path, schema: &str) -> Result<Self, StoreError> {
        let laid_out = connect(path).and_then(|connection| {
            connection.pragma_update(None, "journal_mode", "WAL")?;
            connection.execute_batch(schema)?;
            Ok(connection)
        });
        let writer = laid_out.map_err(StoreError::transient(format!("opening {}", path.display())))?;
        Ok(Self { path: path.to_owned(), writer: Mutex::new(writer), readers: Mutex::default() })
    }

    /// Runs `work` in a transaction that is on disk when this returns.
    pub(super) fn write<T>(
        &self,
        doing: &str,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, Failure>,
    ) -> Result<T, StoreError> {
        let mut connection = lock(&self.writer);
        let run = |connection: &mut Connection| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let value = work(&transaction)?;
            transaction.commit()?;
            Ok(value)
        };
        run(&mut connection).map_err(|failure: Failure| failure.at(doing, &self.path))
    }

    /// Runs `work` on one snapshot of the database.
    pub(super) fn read<T>(
        &self,
        doing: &str,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, Failure>,
    ) -> Result<T, StoreError> {
        let idle = lock(&self.readers).pop();
        let run = || {
            let mut connection = idle.map_or_else(|| connect(&self.path), Ok)?;
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Deferred)?;
            let value = work(&transaction)?;
            transaction.finish()?;
            let mut readers = lock(&self.readers);
            if readers.len() < READERS {
                readers.push(connection);
            }
            Ok(value)
        };
        run().map_err(|failure: Failure| failure.at(doing, &self.path))
    }

    /// A connection that only watches for the commits of others (`PRAGMA data_version`).
    pub(super) fn watcher(&self) -> Result<Watcher, StoreError> {
        let connection = connect(&self.path).map_err(StoreError::transient("opening a watching connection"))?;
        Ok(Watcher(connection))
    }
}

/// See [`Database::watcher`].
pub(super) struct Watcher(Connection);

impl Watcher {
    /// Changes whenever any other connection, of this process or another, has committed.
    pub(super) fn version(&self) -> Result<i64, StoreError> {
        self.0
            .pragma_query_value(None, "data_version", |row| row.get(0))
            .map_err(StoreError::transient("asking the mailboxes for changes"))
    }
}

/// Why a transaction was not done: the database refused, or its work found that it cannot be.
pub(super) enum Failure {
    Database(rusqlite::Error),
    Refused(StoreError),
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Database(error)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Refused(error)
    }
}

impl Failure {
    fn at(self, doing: &str, path: &Path) -> StoreError {
        match self {
            Self::Refused(error) => error,
            Self::Database(error) => StoreError::transient(format!("{doing} in {}", path.display()))(error),
        }
    }
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(BUSY)?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

/// A panic while it was held leaves a connection that has rolled back: it can be used on.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
