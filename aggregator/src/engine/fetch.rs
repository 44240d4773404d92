//! Getting the engine's library: named by the operator, in the cache, by npm's client, or from the engine
//! project's release.
//!
//! The version is pinned and every byte is checked before it is unpacked. One process fetches at a time,
//! the others wait for it. A download that was broken off goes on where it stopped.

mod digest;
mod npm;
mod release;
mod unpack;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The version of libchdb that this program was built and tested with.
pub const VERSION: &str = "26.7.3-stable.1";
const LIBRARY: &str = "libchdb.so";

/// What is being done, for a progress bar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Another process is fetching it.
    Waiting,
    /// `npm pack` is running.
    Npm,
    /// The release is coming over HTTPS.
    Download,
    /// The digest is being checked.
    Check,
    /// The library is being taken out of the archive.
    Unpack,
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// What is being done.
    pub phase: Phase,
    /// Bytes done in this phase.
    pub done: u64,
    /// Of how many, if that is known.
    pub total: Option<u64>,
}

/// Is called now and then with the progress.
pub type OnProgress = Arc<dyn Fn(Progress) + Send + Sync>;

/// Where to look, and whom to tell.
#[derive(Clone)]
pub struct FetchOptions {
    /// Named by the operator (`VARDE_LIBCHDB`): used as it is, unchecked.
    pub library: Option<PathBuf>,
    /// The cache; the version's folder is made in it.
    pub cache_dir: PathBuf,
    /// Another place for the release's archive (`VARDE_ENGINE_URL`), with the same content.
    pub url: Option<String>,
    /// Is told of the progress.
    pub progress: OnProgress,
}

impl FetchOptions {
    /// What the environment says: `VARDE_LIBCHDB`, `VARDE_ENGINE_URL`, `XDG_CACHE_HOME`, `HOME`.
    pub fn from_env(progress: OnProgress) -> Self {
        let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let cache = variable("XDG_CACHE_HOME")
            .map(PathBuf::from)
            .or_else(|| variable("HOME").map(|home| Path::new(&home).join(".cache")))
            .unwrap_or_else(|| PathBuf::from("."));
        Self {
            library: variable("VARDE_LIBCHDB").map(PathBuf::from),
            cache_dir: cache.join("varde").join("libchdb"),
            url: variable("VARDE_ENGINE_URL").map(|url| url.to_string_lossy().into_owned()),
            progress,
        }
    }

    fn tell(&self, phase: Phase, done: u64, total: Option<u64>) {
        (self.progress)(Progress { phase, done, total });
    }
}

/// Why the library could not be had.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// `VARDE_LIBCHDB` names no file.
    #[error("VARDE_LIBCHDB names {0}, which is no file: correct it, or unset it so that the engine is fetched")]
    Named(PathBuf),
    /// There is no library for this machine.
    #[error(
        "there is no embedded ClickHouse engine for {0}: it exists for Linux on x86_64; use a ClickHouse server by \
         [clickhouse] url, or name a library of version {VERSION} in VARDE_LIBCHDB"
    )]
    Platform(&'static str),
    /// The cache cannot be written.
    #[error("cannot keep the ClickHouse engine in {path}: {source}; 800 MB of room are needed there")]
    Cache {
        /// The folder or file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Nobody had it. What each way said.
    #[error(
        "the ClickHouse engine {VERSION} could not be fetched.\n  npm: {npm}\n  release: {release}\nWhat to do, one of: \
         install npm (apt install npm); open the way to {url}; name a copy of libchdb.so in VARDE_LIBCHDB; use a \
         ClickHouse server by [clickhouse] url"
    )]
    Unreachable {
        /// What npm's client said.
        npm: Attempt,
        /// What the release's server said.
        release: Attempt,
        /// The release's address.
        url: String,
    },
}

/// Why one way of getting it failed.
#[derive(Debug, thiserror::Error)]
pub enum Attempt {
    /// The program is not installed.
    #[error("npm's client is not installed")]
    NoClient,
    /// It ran and failed.
    #[error("`npm pack` failed: {0}")]
    Npm(String),
    /// No answer, or a broken one.
    #[error("{0}")]
    Http(#[from] reqwest::Error),
    /// The server answered, but not with the file.
    #[error("the server answered {0}")]
    Status(reqwest::StatusCode),
    /// It came, and is not what was asked for.
    #[error("what came is not the engine of version {VERSION}: its digest is another; it has been removed")]
    Digest,
    /// The archive has no library in it.
    #[error("the archive does not hold {LIBRARY}")]
    NoLibrary,
    /// The disk.
    #[error("{0}")]
    Disk(#[from] io::Error),
}

/// The path of a usable libchdb, fetched if need be.
///
/// # Errors
/// See [`FetchError`].
pub async fn ensure(options: FetchOptions) -> Result<PathBuf, FetchError> {
    if let Some(named) = options.library {
        return if named.is_file() { Ok(named) } else { Err(FetchError::Named(named)) };
    }
    let folder = options.cache_dir.join(VERSION);
    let library = folder.join(LIBRARY);
    if library.is_file() {
        return Ok(library);
    }
    if !cfg!(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu")) {
        return Err(FetchError::Platform(platform()));
    }
    let unwritable = |source| FetchError::Cache { path: folder.clone(), source };
    fs::create_dir_all(&folder).map_err(unwritable)?;
    let _lock = lock(folder.join("fetch.lock"), &options).await.map_err(unwritable)?;
    // Another process may have fetched it while this one waited.
    if library.is_file() {
        return Ok(library);
    }
    let npm = match npm::fetch(&folder, &library, &options).await {
        Ok(()) => return Ok(library),
        Err(Attempt::Disk(source)) => return Err(unwritable(source)),
        Err(failed) => failed,
    };
    let url = options.url.clone().unwrap_or_else(|| release::URL.to_owned());
    match release::fetch(&url, &folder, &library, &options).await {
        Ok(()) => Ok(library),
        Err(Attempt::Disk(source)) => Err(unwritable(source)),
        Err(release) => Err(FetchError::Unreachable { npm, release, url }),
    }
}

/// The system and the processor that this program was built for.
fn platform() -> &'static str {
    match (std::env::consts::OS, std::env::consts::ARCH) {
        ("linux", "aarch64") => "Linux on arm64",
        ("linux", "x86_64") => "Linux without glibc",
        ("linux", _) => "Linux on this processor",
        ("macos", _) => "macOS",
        _ => "this system",
    }
}

/// The lock of the folder, waited for. It ends with the file, also when the process is killed.
async fn lock(path: PathBuf, options: &FetchOptions) -> io::Result<File> {
    use rustix::fs::{FlockOperation, flock};
    let file = File::create(path)?;
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
        return Ok(file);
    }
    options.tell(Phase::Waiting, 0, None);
    blocking(move || {
        flock(&file, FlockOperation::LockExclusive)?;
        Ok(file)
    })
    .await
}

/// Checks an archive and takes the library out of it; the archive is removed either way, unless the disk is
/// at fault.
async fn check_and_unpack(
    archive: PathBuf,
    expected: digest::Expected,
    library: &Path,
    options: &FetchOptions,
) -> Result<(), Attempt> {
    let (library, told) = (library.to_owned(), options.clone());
    let outcome = tokio::task::spawn_blocking(move || {
        let outcome = digest::check(&archive, expected, &told).and_then(|right| {
            if !right {
                return Ok(Err(Attempt::Digest));
            }
            let found = unpack::library(&archive, &library, &told)?;
            Ok(if found { Ok(()) } else { Err(Attempt::NoLibrary) })
        })?;
        fs::remove_file(&archive)?;
        Ok::<_, io::Error>(outcome)
    });
    outcome.await.map_err(io::Error::other)??
}

/// Runs what blocks on a thread for that.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

#[cfg(test)]
mod tests;
