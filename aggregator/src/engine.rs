//! The embedded ClickHouse engine, in a process of its own, behind ClickHouse's HTTP interface.
//!
//! The rest of the suite knows only a URL: the embedded engine, a server and a cluster look alike. The
//! parts: [`fetch`] gets the library, `ffi` speaks to it, `sandbox` bounds it, `server_config` sets it up,
//! `torn` mends what its death cut in two, `session` makes a session of a request, `pool` runs it, `http` is the face.

mod answer_format;
mod compression;
mod exception;
pub mod fetch;
mod ffi;
mod http;
mod pool;
mod sandbox;
mod server_config;
mod session;
mod statement;
mod torn;

use std::fs::File;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use axum::serve::ListenerExt as _;
use tokio_util::sync::CancellationToken;

pub use http::{EngineUser, MAX_BODY_BYTES};
pub use session::{Limits, Role};

use ffi::Library;
use http::Face;
use pool::{Pool, Threads};

/// The threads inside the engine.
const THREADS: Threads = Threads { reads: 3, asks: 3, writes: 2 };
/// How long the threads may take to end by themselves once nobody waits for their answers.
const KILL_AFTER: Duration = Duration::from_millis(100);
/// How long the engine may take to stop after its last connection is closed.
const SHUTDOWN: Duration = Duration::from_secs(3);

/// What the engine is started with.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// libchdb, as [`fetch::ensure`] gives it.
    pub library: PathBuf,
    /// Where the tables are. Made if it is not there. Keep no secrets in it: SQL can read its files.
    pub data_dir: PathBuf,
    /// Where the HTTP interface listens.
    pub listen: SocketAddr,
    /// Who may use it.
    pub users: Vec<EngineUser>,
    /// The bounds of read-only users.
    pub limits: Limits,
    /// How long requests under way may go on after a signal to stop.
    pub drain: Duration,
}

/// Why the engine did not start, or did not stop well.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The port is taken, or not ours to take.
    #[error(
        "ClickHouse engine: cannot listen on {listen}: {source}; is another one running there? ([clickhouse] listen)"
    )]
    Listen {
        /// The address.
        listen: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The data directory cannot be made or written.
    #[error("ClickHouse engine: cannot write to the data directory {path}: {source}")]
    DataDir {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A second process on one directory would destroy it.
    #[error(
        "ClickHouse engine: another process has the data directory {path} open (code 76); stop it first, or use another directory"
    )]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// The library is not there or not usable.
    #[error("ClickHouse engine: {path} {source}; get it again with `varde engine fetch`, or name one in VARDE_LIBCHDB")]
    Library {
        /// The file.
        path: PathBuf,
        /// Why.
        source: ffi::LoadError,
    },
    /// The kernel refused to bound the engine.
    #[error("ClickHouse engine: the kernel refused the Landlock rules: {0}")]
    Sandbox(String),
    /// The engine itself did not start; it says why on standard error.
    #[error("ClickHouse engine: it did not start on {path}; its own words are above, on standard error (code {code} when another process uses the directory)", code = exception::code::CANNOT_OPEN_FILE)]
    Start {
        /// The directory.
        path: PathBuf,
    },
    /// A thread, the runtime or a signal handler could not be had, or the listener failed.
    #[error("ClickHouse engine: {0}")]
    System(#[from] io::Error),
}

/// Runs the engine until SIGTERM or SIGINT, or until `stop` is cancelled. Blocks. One engine a process: this
/// changes the working directory. Ready when `/ping` on the port answers.
///
/// # Errors
/// See [`EngineError`].
pub fn run(config: EngineConfig, stop: CancellationToken) -> Result<(), EngineError> {
    // A thread of its own, because Landlock binds a thread and its children, and only the engine's are meant.
    let engine = thread::Builder::new().name("engine".to_owned()).spawn(move || start(&config, &stop))?;
    engine.join().unwrap_or_else(|_| Err(EngineError::System(io::Error::other("its main thread panicked"))))
}

fn start(config: &EngineConfig, stop: &CancellationToken) -> Result<(), EngineError> {
    let data_dir = &config.data_dir;
    let unwritable = |source| EngineError::DataDir { path: data_dir.clone(), source };
    std::fs::create_dir_all(data_dir).map_err(unwritable)?;
    let data_dir = &data_dir.canonicalize().map_err(unwritable)?;
    // Held until the process ends.
    let _lock = lock(data_dir)?;
    server_config::write(data_dir).map_err(unwritable)?;
    torn::mend(data_dir).map_err(unwritable)?;
    let listener = TcpListener::bind(config.listen)
        .and_then(|listener| listener.set_nonblocking(true).map(|()| listener))
        .map_err(|source| EngineError::Listen { listen: config.listen, source })?;
    let library_path = config.library.canonicalize().unwrap_or_else(|_| config.library.clone());

    // The engine reads ./config.xml.
    std::env::set_current_dir(data_dir).map_err(unwritable)?;
    let bound = sandbox::enter(data_dir, &library_path).map_err(|refused| EngineError::Sandbox(refused.to_string()))?;
    match bound {
        sandbox::Bound::Full => {}
        sandbox::Bound::FilesOnly => {
            tracing::warn!(
                "this kernel does not bound the engine's connections (Landlock before ABI 4); roles still do"
            );
        }
        sandbox::Bound::None => tracing::warn!("this kernel has no Landlock: read-only users are not let in"),
    }
    let library =
        Library::open(&library_path).map_err(|source| EngineError::Library { path: library_path.clone(), source })?;
    let path = ["--path=", &data_dir.to_string_lossy()].concat();
    // Closing the last connection stops the engine: this one stays open.
    let anchor = library.connect(&[&path]).ok_or_else(|| EngineError::Start { path: data_dir.clone() })?;

    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("engine-http")
        .enable_all()
        .build()?;
    let served = runtime.block_on(serve(config, listener, &library, &path, bound != sandbox::Bound::None, stop));
    runtime.shutdown_background();
    if matches!(served, Ok(Drained::ThreadsLeft)) {
        tracing::warn!("a query did not end when it was killed; the process ends without it");
        library.abandon();
    }
    drop(anchor);
    shut_down(&library);
    served.map(drop)
}

/// How serving ended.
enum Drained {
    /// Every thread has ended.
    Clean,
    /// A thread is still inside the engine.
    ThreadsLeft,
}

/// A second engine on the directory is refused here, with words; the engine would refuse it with none.
fn lock(data_dir: &Path) -> Result<File, EngineError> {
    use rustix::fs::{FlockOperation, flock};
    let unwritable = |source| EngineError::DataDir { path: data_dir.to_owned(), source };
    let file = File::create(data_dir.join("varde.lock")).map_err(unwritable)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(EngineError::InUse { path: data_dir.to_owned() }),
        Err(error) => Err(unwritable(error.into())),
    }
}

async fn serve(
    config: &EngineConfig,
    listener: TcpListener,
    library: &Arc<Library>,
    path: &str,
    bounded: bool,
    stop: &CancellationToken,
) -> Result<Drained, EngineError> {
    let stopping = stopping(stop)?;
    let (pool, mut ended) = Pool::start(library, path, THREADS)?;
    let face = Face::new(pool, config.users.clone(), config.limits, bounded);
    // Without this the end of an answer waits for the client's delayed acknowledgement.
    let listener = tokio::net::TcpListener::from_std(listener)?.tap_io(|connection| {
        if let Err(error) = connection.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY could not be set");
        }
    });
    tracing::info!(address = %config.listen, version = library.version(), "the ClickHouse engine is ready");
    let server = axum::serve(listener, http::router(Arc::new(face))).with_graceful_shutdown({
        let stopping = stopping.clone();
        async move { stopping.cancelled().await }
    });
    tokio::select! {
        served = server.into_future() => served?,
        () = deadline(&stopping, config.drain) => {
            tracing::warn!("requests were still under way at the end of the drain; they are broken off");
        }
    }
    // The server is gone, and the pool with it: its threads end after the statement at hand.
    if tokio::time::timeout(KILL_AFTER, ended.recv()).await.is_ok() {
        return Ok(Drained::Clean);
    }
    pool::kill_where(library, path, "query_id != queryID()");
    let ended = tokio::time::timeout(SHUTDOWN, ended.recv()).await.is_ok();
    Ok(if ended { Drained::Clean } else { Drained::ThreadsLeft })
}

async fn deadline(stopping: &CancellationToken, drain: Duration) {
    stopping.cancelled().await;
    tracing::info!("the ClickHouse engine stops: requests under way are finished");
    tokio::time::sleep(drain).await;
}

/// Cancelled by `stop`, SIGTERM or SIGINT.
fn stopping(stop: &CancellationToken) -> io::Result<CancellationToken> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let stopping = stop.child_token();
    let cancel = stopping.clone();
    // Owned by the runtime, which ends with `start`.
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            () = cancel.cancelled() => {}
        }
        cancel.cancel();
    });
    Ok(stopping)
}

/// Stops the engine's threads, but not for longer than a moment: what is acknowledged is on the disk.
fn shut_down(library: &Arc<Library>) {
    let (done, waiting) = std::sync::mpsc::sync_channel(1);
    let library = Arc::clone(library);
    let stopper = thread::Builder::new().name("engine-stop".to_owned()).spawn(move || {
        // Its answer is 1 even after a clean stop.
        library.shutdown();
        let _ = done.send(());
    });
    if stopper.is_ok() && waiting.recv_timeout(SHUTDOWN).is_err() {
        tracing::warn!("the engine did not stop in time; the process ends without it");
    }
}
