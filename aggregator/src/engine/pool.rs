//! Threads that run statements: inserts and changes, the suite's own reads, and those of read-only users apart from each
//! other, so that none waits for another kind.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::answer_format;
use super::exception::{Exception, code};
use super::ffi::{Connection, Library, Parameter};
use super::session::{self, Role, SessionRequest};

/// Statements that wait for a thread of their pool. Past it: code 202, and the client tries again.
const MAX_QUEUED: usize = 64;
/// Kills that wait. Past it a query runs on to its own end or limit.
const MAX_KILLS: usize = 256;
/// A client that takes nothing for this long has its query cancelled.
const SLOW_CLIENT: Duration = Duration::from_secs(60);
/// A kill is repeated while the query is still there: it may not have begun at the first.
const KILL_ATTEMPTS: usize = 20;
const KILL_PAUSE: Duration = Duration::from_millis(250);

/// What a statement is run as.
#[derive(Debug)]
pub enum Task {
    /// A read; its answer comes in pieces if the format allows it.
    Read {
        /// The text.
        sql: String,
        /// The format of the answer.
        format: String,
        /// Whether the answer may come in pieces.
        stream: bool,
    },
    /// DDL, settings, INSERT … SELECT: run whole.
    Change {
        /// The text.
        sql: String,
        /// The format of the answer.
        format: String,
    },
    /// An INSERT with its data, buffered whole: a client that stops in the middle leaves nothing behind.
    Insert {
        /// The statement without its FORMAT clause.
        head: String,
        /// The format of the data.
        format: String,
        /// The data.
        data: Bytes,
    },
}

/// A piece of the answer.
#[derive(Debug)]
pub enum Reply {
    /// Some of it.
    Piece(Bytes),
    /// All of it has been sent.
    End,
    /// It failed, perhaps after some pieces.
    Failed(Exception),
}

/// A statement on its way to a thread.
pub struct Job {
    /// The session to run it in.
    pub session: SessionRequest,
    /// What to run.
    pub task: Task,
    /// Its `{name:Type}` placeholders.
    pub parameters: Vec<Parameter>,
    /// Where the answer goes.
    pub reply: mpsc::Sender<Reply>,
    /// Set when it has ended.
    pub done: Arc<AtomicBool>,
    /// The share of the memory for bodies that it holds until it has ended.
    pub _body: Option<OwnedSemaphorePermit>,
}

/// A query to be killed.
struct Kill {
    query_id: String,
    done: Arc<AtomicBool>,
}

/// The threads and their queues. They end when this is dropped and the queues are empty.
pub struct Pool {
    reads: SyncSender<Job>,
    /// The reads of read-only users, so that theirs hold up nobody else's.
    asks: SyncSender<Job>,
    writes: SyncSender<Job>,
    kills: SyncSender<Kill>,
}

/// Kills a read when it is dropped before its end: its client has gone.
pub struct Watch {
    query_id: String,
    done: Arc<AtomicBool>,
    kills: SyncSender<Kill>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        if !self.done.load(Ordering::Acquire) {
            let kill = Kill { query_id: std::mem::take(&mut self.query_id), done: Arc::clone(&self.done) };
            if self.kills.try_send(kill).is_err() {
                tracing::warn!("a query whose client has gone is left to its limits: too many wait to be killed");
            }
        }
    }
}

/// How many threads there are of each kind.
#[derive(Debug, Clone, Copy)]
pub struct Threads {
    /// For reads of the suite itself.
    pub reads: usize,
    /// For reads of read-only users.
    pub asks: usize,
    /// For inserts and changes.
    pub writes: usize,
}

/// How the threads reach the engine.
#[derive(Clone)]
struct Worker {
    library: Arc<Library>,
    path: Arc<str>,
    runtime: Handle,
    /// Closed when the last worker has ended.
    _alive: mpsc::Sender<()>,
}

impl Pool {
    /// Starts the threads. The receiver ends when all of them have.
    ///
    /// # Errors
    /// The system gives no more threads.
    pub fn start(library: &Arc<Library>, path: &str, threads: Threads) -> std::io::Result<(Self, mpsc::Receiver<()>)> {
        let (alive, ended) = mpsc::channel(1);
        let worker =
            Worker { library: Arc::clone(library), path: path.into(), runtime: Handle::current(), _alive: alive };
        let (kills, waiting_kills) = sync_channel::<Kill>(MAX_KILLS);
        let killer = worker.clone();
        thread::Builder::new().name("engine-kill".to_owned()).spawn(move || {
            for kill in waiting_kills {
                killer.kill(&kill);
            }
        })?;
        let pool = Self {
            reads: worker.spawn("engine-read", threads.reads)?,
            asks: worker.spawn("engine-ask", threads.asks)?,
            writes: worker.spawn("engine-write", threads.writes)?,
            kills,
        };
        Ok((pool, ended))
    }

    /// Queues a job. A read is killed when the returned guard is dropped before its end.
    ///
    /// # Errors
    /// The queue is full, or the engine stops.
    pub fn submit(&self, job: Job) -> Result<Option<Watch>, Exception> {
        let read = matches!(job.task, Task::Read { .. });
        let watch = read.then(|| Watch {
            query_id: job.session.query_id.clone(),
            done: Arc::clone(&job.done),
            kills: self.kills.clone(),
        });
        let queue = match (read, job.session.role) {
            (false, _) => &self.writes,
            (true, Role::Full) => &self.reads,
            (true, Role::ReadOnly) => &self.asks,
        };
        match queue.try_send(job) {
            Ok(()) => Ok(watch),
            Err(TrySendError::Full(job)) => {
                job.done.store(true, Ordering::Release);
                Err(Exception::new(
                    code::TOO_MANY_SIMULTANEOUS_QUERIES,
                    "TOO_MANY_SIMULTANEOUS_QUERIES",
                    "every thread is busy and the queue is full: try again in a moment",
                ))
            }
            Err(TrySendError::Disconnected(job)) => {
                job.done.store(true, Ordering::Release);
                Err(Exception::new(code::ABORTED, "ABORTED", "the engine is stopping"))
            }
        }
    }
}

impl Worker {
    fn spawn(&self, name: &str, count: usize) -> std::io::Result<SyncSender<Job>> {
        let (sender, receiver) = sync_channel(MAX_QUEUED);
        let receiver = Arc::new(Mutex::new(receiver));
        for _ in 0..count {
            let (worker, receiver) = (self.clone(), Arc::clone(&receiver));
            thread::Builder::new().name(name.to_owned()).spawn(move || worker.run(&receiver))?;
        }
        Ok(sender)
    }

    fn run(&self, jobs: &Mutex<Receiver<Job>>) {
        loop {
            let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok(job) = job else { return };
            let (reply, done) = (job.reply.clone(), Arc::clone(&job.done));
            // Without this a defect here would take a thread from the pool for good.
            if catch_unwind(AssertUnwindSafe(|| self.serve(job))).is_err() {
                tracing::error!("a statement made its thread panic; the thread goes on");
                done.store(true, Ordering::Release);
                let _ = self.send(&reply, Reply::Failed(Exception::new(0, "LOGICAL_ERROR", "the statement failed")));
            }
        }
    }

    fn serve(&self, job: Job) {
        if job.reply.is_closed() {
            // The client went while it waited: there is nothing to do, and nothing to kill.
            job.done.store(true, Ordering::Release);
            return;
        }
        let outcome = session::open(&self.library, &self.path, &job.session)
            .and_then(|mut connection| self.execute(&mut connection, &job));
        job.done.store(true, Ordering::Release);
        let last = match outcome {
            Ok(()) => Reply::End,
            Err(exception) => Reply::Failed(exception),
        };
        // A client that has gone needs no end.
        let _ = self.send(&job.reply, last);
    }

    fn execute(&self, connection: &mut Connection, job: &Job) -> Result<(), Exception> {
        let parameters = &job.parameters;
        match (&job.task, job.session.role) {
            (Task::Read { sql, .. } | Task::Change { sql, .. }, Role::ReadOnly) => {
                session::check_read_only(connection, sql)?;
            }
            (Task::Read { sql, .. } | Task::Change { sql, .. }, Role::Full) => session::check_single(connection, sql)?,
            // Refused by the face already, by the role, and by `readonly`; the head alone does not parse.
            (Task::Insert { .. }, _) => {}
        }
        match &job.task {
            Task::Insert { head, format, data } => connection.insert(head, format, parameters, data),
            Task::Change { sql, format } => self.whole(connection, sql, format, job),
            Task::Read { sql, format, stream } => {
                if *stream && answer_format::has_pieces(format) {
                    let failure = match connection.stream(sql, format, parameters) {
                        Ok(pieces) => return self.pump(pieces, format, job),
                        Err(failure) => failure,
                    };
                    let not_streamed = failure.code == code::BAD_ARGUMENTS
                        && failure.message.contains("Streaming query is not supported");
                    if !not_streamed {
                        return Err(failure);
                    }
                }
                self.whole(connection, sql, format, job)
            }
        }
    }

    fn whole(&self, connection: &mut Connection, sql: &str, format: &str, job: &Job) -> Result<(), Exception> {
        let answer = connection.query(sql, format, &job.parameters)?;
        if answer.is_empty() { Ok(()) } else { self.send(&job.reply, Reply::Piece(answer.into())) }
    }

    fn pump(&self, mut pieces: super::ffi::Stream<'_>, format: &str, job: &Job) -> Result<(), Exception> {
        let mut heads = answer_format::Heads::of(format);
        while let Some(piece) = pieces.next_piece()? {
            self.send(&job.reply, Reply::Piece(heads.strip(piece.into())))?;
        }
        Ok(())
    }

    fn send(&self, reply: &mpsc::Sender<Reply>, what: Reply) -> Result<(), Exception> {
        self.runtime
            .block_on(reply.send_timeout(what, SLOW_CLIENT))
            .map_err(|_| Exception::new(code::ABORTED, "ABORTED", "the client has gone, or takes nothing"))
    }

    fn kill(&self, kill: &Kill) {
        let condition = ["Settings['log_comment'] = ", &session::literal(&kill.query_id)].concat();
        for _ in 0..KILL_ATTEMPTS {
            if kill.done.load(Ordering::Acquire) {
                return;
            }
            kill_where(&self.library, &self.path, &condition);
            thread::sleep(KILL_PAUSE);
        }
    }
}

/// Kills every query that `condition` names, without waiting for its end.
pub fn kill_where(library: &Arc<Library>, path: &str, condition: &str) {
    let Some(mut connection) = library.connect(&[path]) else { return };
    if let Err(failure) = connection.query(&["KILL QUERY WHERE ", condition, " ASYNC"].concat(), "Null", &[]) {
        tracing::warn!(code = failure.code, "a query could not be killed");
    }
}
