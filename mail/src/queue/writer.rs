//! The one writing thread of a process: what concurrent callers ask for is committed, and synced, together.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rusqlite::{Connection, Savepoint, TransactionBehavior};
use tokio::sync::{mpsc, oneshot};

use crate::store::StoreError;

/// Jobs that may wait. Past it callers wait to hand theirs over.
const MAX_WAITING: usize = 1_024;
/// Jobs of one commit.
const MAX_GROUP: usize = 256;
/// How long a write waits for another process's.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// The way to the writing thread. The thread ends when the last clone is dropped.
#[derive(Clone)]
pub struct Writer {
    jobs: mpsc::Sender<Box<dyn Job>>,
    commits: Arc<AtomicU64>,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").finish_non_exhaustive()
    }
}

/// Something to write, and who waits for it.
trait Job: Send {
    /// Writes it, in a savepoint of its own.
    fn run(&mut self, savepoint: &Savepoint<'_>) -> rusqlite::Result<()>;
    /// Tells its caller what became of the commit.
    fn answer(self: Box<Self>, outcome: Result<(), Arc<rusqlite::Error>>);
}

struct Typed<T, F> {
    doing: &'static str,
    work: F,
    value: Option<T>,
    reply: oneshot::Sender<Result<T, StoreError>>,
}

impl<T: Send, F: FnMut(&Savepoint<'_>) -> rusqlite::Result<T> + Send> Job for Typed<T, F> {
    fn run(&mut self, savepoint: &Savepoint<'_>) -> rusqlite::Result<()> {
        self.value = Some((self.work)(savepoint)?);
        Ok(())
    }
    fn answer(self: Box<Self>, outcome: Result<(), Arc<rusqlite::Error>>) {
        let answer = match (outcome, self.value) {
            (Ok(()), Some(value)) => Ok(value),
            (Ok(()), None) => Err(failed(self.doing, "it was not run")),
            (Err(error), _) => Err(failed(self.doing, error)),
        };
        // A caller that went away no longer wants to know.
        let _ = self.reply.send(answer);
    }
}

fn failed(doing: &str, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> StoreError {
    StoreError::Transient { doing: doing.to_owned(), source: source.into() }
}

/// Opens a connection as every process must: WAL, every commit synced.
///
/// # Errors
/// The file cannot be opened or is not a database.
pub(super) fn open(path: &Path) -> Result<Connection, StoreError> {
    let open = || {
        let connection = Connection::open(path)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        Ok(connection)
    };
    open().map_err(|error: rusqlite::Error| StoreError::Transient {
        doing: format!("opening the queue {}", path.display()),
        source: error.into(),
    })
}

impl Writer {
    /// Starts the thread with its connection.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(connection: Connection) -> Result<Self, StoreError> {
        let (jobs, waiting) = mpsc::channel(MAX_WAITING);
        let commits = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&commits);
        std::thread::Builder::new()
            .name("queue-writer".to_owned())
            .spawn(move || write(connection, waiting, &counter))
            .map_err(|error| failed("starting the queue's writer", error))?;
        Ok(Self { jobs, commits })
    }

    /// How many commits, successful or not, the thread has made.
    pub fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }

    /// Runs `work` in a transaction; on return it is on disk. When it fails nothing of it is written.
    ///
    /// # Errors
    /// `Transient`: disk full, database busy …
    pub async fn write<T, F>(&self, doing: &'static str, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnMut(&Savepoint<'_>) -> rusqlite::Result<T> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let job = Typed { doing, work, value: None, reply };
        self.jobs.send(Box::new(job)).await.map_err(|_| failed(doing, "the queue's writer has ended"))?;
        answer.await.unwrap_or_else(|_| Err(failed(doing, "the queue's writer has ended")))
    }
}

fn write(mut connection: Connection, mut waiting: mpsc::Receiver<Box<dyn Job>>, commits: &AtomicU64) {
    while let Some(first) = waiting.blocking_recv() {
        let mut group = vec![(first, Ok(()))];
        while group.len() < MAX_GROUP
            && let Ok(job) = waiting.try_recv()
        {
            group.push((job, Ok(())));
        }
        let committed = commit(&mut connection, &mut group).map_err(Arc::new);
        commits.fetch_add(1, Ordering::Relaxed);
        for (job, own) in group {
            job.answer(own.map_err(Arc::new).and(committed.clone()));
        }
    }
}

type Entry = (Box<dyn Job>, rusqlite::Result<()>);

fn commit(connection: &mut Connection, group: &mut [Entry]) -> rusqlite::Result<()> {
    let mut transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for (job, outcome) in group {
        let savepoint = transaction.savepoint()?;
        *outcome = job.run(&savepoint);
        // A savepoint that is dropped is rolled back.
        if outcome.is_ok() {
            savepoint.commit()?;
        }
    }
    transaction.commit()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn concurrent_writes_share_a_commit_and_a_bad_one_fails_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.db");
        let connection = open(&path).unwrap();
        connection.execute_batch("CREATE TABLE t (n INTEGER PRIMARY KEY)").unwrap();
        // The lock of another process holds the first commit back until all are waiting.
        let other = open(&path).unwrap();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        let writer = Writer::start(connection).unwrap();
        let insert = |n: i64| {
            let writer = writer.clone();
            tokio::spawn(async move {
                writer.write("inserting", move |db| db.execute("INSERT INTO t VALUES (?1)", [n])).await
            })
        };
        let tasks: Vec<_> = (0..100).chain([7]).map(insert).collect();
        // The runtime of this test has one thread: now each task has handed its job over.
        tokio::task::yield_now().await;
        other.execute_batch("COMMIT").unwrap();
        let mut failed = 0;
        for task in tasks {
            failed += usize::from(task.await.unwrap().is_err());
        }
        assert_eq!(failed, 1);
        let count: i64 = other.query_row("SELECT count(*) FROM t", [], |row| row.get(0)).unwrap();
        assert_eq!(count, 100);
        assert!(writer.commits() <= 2, "the first alone, the others together");
    }
}
