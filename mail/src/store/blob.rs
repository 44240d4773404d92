//! Bodies as files, named by the BLAKE3 of their octets.
//!
//! `ab/cd/abcd…` below the folder: two levels keep each folder small. A file is there whole or not at all: it is
//! written under a temporary name, flushed, renamed, and its folder flushed. What a crash leaves under a temporary
//! name is removed at the next opening.
//!
//! The time of a file's last change is when its body was last stored. Storing it again and removing it exclude each
//! other by a lock on the file: a body that was found old is either seen to be young again, or is written anew.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aggregator::event::Time;

use super::{BlobId, BlobStore, StoreError};

/// A temporary file older than this belongs to a process that is no more.
const ORPHAN_AGE: Duration = Duration::from_secs(3600);

/// Bodies in a folder of files.
pub struct FileBlobs {
    dir: PathBuf,
    temporary: PathBuf,
    sequence: AtomicU64,
}

impl FileBlobs {
    /// Opens the folder, and makes it when it is not there.
    ///
    /// # Errors
    /// `Transient` when the disk refuses.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        let temporary = dir.join("tmp");
        let doing = || format!("opening the folder of bodies {}", dir.display());
        fs::create_dir_all(&temporary).map_err(StoreError::transient(doing()))?;
        sweep(&temporary).map_err(StoreError::transient(doing()))?;
        Ok(Self { dir: dir.to_owned(), temporary, sequence: AtomicU64::new(0) })
    }

    /// The bodies that were last stored before then, of those whose identity begins with the two octets of `part`.
    ///
    /// # Errors
    /// `Transient` when the disk refuses.
    pub fn stored_before(&self, part: u16, before: Time) -> Result<Vec<BlobId>, StoreError> {
        let [first, second] = part.to_be_bytes();
        let mut beginning = [0; 32];
        beginning[..2].copy_from_slice(&[first, second]);
        let some = self.path(BlobId(beginning));
        let folder = some.parent().unwrap_or(&self.dir);
        list(folder, system_time(before))
            .map_err(StoreError::transient(format!("listing the bodies in {}", folder.display())))
    }

    /// Removes a body unless it has been stored since then, or is being stored. Whether it was removed.
    ///
    /// # Errors
    /// `Transient` when the disk refuses.
    pub fn remove_stored_before(&self, id: BlobId, before: Time) -> Result<bool, StoreError> {
        let path = self.path(id);
        remove(&path, system_time(before))
            .map_err(StoreError::transient(format!("removing the body {}", path.display())))
    }

    pub(crate) fn path(&self, id: BlobId) -> PathBuf {
        let name = blake3::Hash::from_bytes(id.0).to_hex();
        self.dir.join(&name[..2]).join(&name[2..4]).join(name.as_str())
    }

    /// Makes `path` hold `body`, durably. Nothing is at `path` before all of it is.
    fn write(&self, path: &Path, body: &[u8]) -> io::Result<()> {
        let number = self.sequence.fetch_add(1, Ordering::Relaxed);
        let temporary = self.temporary.join(format!("{}-{number}-{}", std::process::id(), unique()));
        let written = (|| {
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
            file.write_all(body)?;
            file.sync_all()?;
            let folder = path.parent().unwrap_or(&self.dir);
            if !folder.is_dir() {
                fs::create_dir_all(folder)?;
                flush_folder(&self.dir)?;
                flush_folder(folder.parent().unwrap_or(&self.dir))?;
            }
            fs::rename(&temporary, path)?;
            flush_folder(folder)
        })();
        if written.is_err() {
            let _ = fs::remove_file(&temporary);
        }
        written
    }
}

impl BlobStore for FileBlobs {
    fn put(&self, body: &[u8]) -> Result<BlobId, StoreError> {
        let id = BlobId(*blake3::hash(body).as_bytes());
        let path = self.path(id);
        // A file under its final name was flushed before it got that name; its folder may not have been.
        let stored = || match renew(&path, body.len() as u64)? {
            true => flush_folder(path.parent().unwrap_or(&self.dir)),
            false => self.write(&path, body),
        };
        stored().map_err(StoreError::transient(format!("writing the body {}", path.display())))?;
        Ok(id)
    }

    fn get(&self, id: BlobId) -> Result<Vec<u8>, StoreError> {
        let path = self.path(id);
        fs::read(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => StoreError::NotFound(format!("body {}", path.display())),
            _ => StoreError::transient(format!("reading the body {}", path.display()))(error),
        })
    }
}

/// Makes a body young again that is there whole; whether it is.
fn renew(path: &Path, length: u64) -> io::Result<bool> {
    let Some(file) = open(path)? else { return Ok(false) };
    file.lock_shared()?;
    let known = file.metadata()?;
    // Without a link it was removed while we waited for the lock.
    if known.len() != length || known.nlink() == 0 {
        return Ok(false);
    }
    file.set_modified(SystemTime::now())?;
    Ok(true)
}

/// See [`FileBlobs::remove_stored_before`].
fn remove(path: &Path, before: SystemTime) -> io::Result<bool> {
    let Some(file) = open(path)? else { return Ok(false) };
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(false),
        Err(TryLockError::Error(error)) => return Err(error),
    }
    let known = file.metadata()?;
    // Without a link another file has taken its place.
    if known.nlink() == 0 || known.modified()? >= before {
        return Ok(false);
    }
    fs::remove_file(path)?;
    Ok(true)
}

/// See [`FileBlobs::stored_before`].
fn list(folder: &Path, before: SystemTime) -> io::Result<Vec<BlobId>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        let Ok(hash) = blake3::Hash::from_hex(entry.file_name().as_encoded_bytes()) else { continue };
        match entry.metadata() {
            Ok(known) if known.modified()? < before => found.push(BlobId(*hash.as_bytes())),
            Ok(_) => {}
            // Another process has removed it meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

/// `None`: there is no such file.
fn open(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn system_time(time: Time) -> SystemTime {
    UNIX_EPOCH + Duration::from_micros(u64::try_from(time.0).unwrap_or(0))
}

/// A number that another run of this process id did not have.
fn unique() -> u128 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_nanos())
}

fn flush_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Removes what crashed processes left. Other processes may be writing: what is young stays.
fn sweep(temporary: &Path) -> io::Result<()> {
    for entry in fs::read_dir(temporary)? {
        let entry = entry?;
        let age = entry.metadata().and_then(|data| data.modified()).ok().and_then(|at| at.elapsed().ok());
        if age.is_some_and(|age| age > ORPHAN_AGE) {
            fs::remove_file(entry.path()).or_else(|error| match error.kind() {
                io::ErrorKind::NotFound => Ok(()),
                _ => Err(error),
            })?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_read_back_after_reopening_and_kept_once() {
        let dir = tempfile::tempdir().unwrap();
        let id = FileBlobs::open(dir.path()).unwrap().put(b"Subject: a\r\n\r\nb\r\n").unwrap();
        let blobs = FileBlobs::open(dir.path()).unwrap();
        assert_eq!(blobs.put(b"Subject: a\r\n\r\nb\r\n").unwrap(), id);
        assert_eq!(blobs.get(id).unwrap(), b"Subject: a\r\n\r\nb\r\n");
        assert_eq!(fs::read_dir(dir.path().join("tmp")).unwrap().count(), 0);
        let folder = blobs.path(id);
        assert_eq!(fs::read_dir(folder.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn a_body_that_is_not_there_is_not_found() {
        let dir = tempfile::tempdir().unwrap();
        let error = FileBlobs::open(dir.path()).unwrap().get(BlobId([7; 32])).unwrap_err();
        assert!(matches!(error, StoreError::NotFound(_)), "{error}");
    }

    #[test]
    fn a_file_cut_short_by_a_broken_disk_is_written_again() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = FileBlobs::open(dir.path()).unwrap();
        let id = blobs.put(b"whole").unwrap();
        fs::write(blobs.path(id), b"wh").unwrap();
        assert_eq!(blobs.put(b"whole").unwrap(), id);
        assert_eq!(blobs.get(id).unwrap(), b"whole");
    }

    #[test]
    fn a_body_goes_when_it_is_old_and_nobody_is_storing_it() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = FileBlobs::open(dir.path()).unwrap();
        let id = blobs.put(b"x").unwrap();
        let later = Time::now().plus_millis(60_000);
        let part = u16::from_be_bytes([id.0[0], id.0[1]]);
        assert_eq!(blobs.stored_before(part, later).unwrap(), [id]);
        assert_eq!(blobs.stored_before(part, later.plus_millis(-120_000)).unwrap(), []);
        assert!(!blobs.remove_stored_before(id, later.plus_millis(-120_000)).unwrap(), "it is young");
        let storing = File::open(blobs.path(id)).unwrap();
        storing.lock_shared().unwrap();
        assert!(!blobs.remove_stored_before(id, later).unwrap(), "it is being stored");
        drop(storing);
        assert!(blobs.remove_stored_before(id, later).unwrap());
        assert!(!blobs.remove_stored_before(id, later).unwrap(), "it is gone");
    }

    #[test]
    fn a_body_that_is_stored_again_and_again_is_never_missing_after_it() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = FileBlobs::open(dir.path()).unwrap();
        let id = blobs.put(b"x").unwrap();
        let stop = std::sync::atomic::AtomicBool::new(false);
        // Everything that was stored before the last put is old: the collection is as eager as it can be.
        let stored_at = std::sync::Mutex::new(SystemTime::now());
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let before = *stored_at.lock().unwrap();
                    remove(&blobs.path(id), before).unwrap();
                }
            });
            for _ in 0..100 {
                let now = SystemTime::now();
                *stored_at.lock().unwrap() = now - Duration::from_millis(20);
                blobs.put(b"x").unwrap();
                assert_eq!(blobs.get(id).unwrap(), b"x");
                // Old again, without having been stored.
                File::open(blobs.path(id)).unwrap().set_modified(now - Duration::from_secs(60)).unwrap();
            }
            stop.store(true, Ordering::Relaxed);
        });
    }

    #[test]
    fn a_refusing_disk_is_transient_and_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = FileBlobs::open(dir.path()).unwrap();
        let id = BlobId(*blake3::hash(b"x").as_bytes());
        fs::write(blobs.path(id).parent().unwrap().parent().unwrap(), b"a file where a folder should be").unwrap();
        assert!(matches!(blobs.put(b"x"), Err(StoreError::Transient { .. })));
        assert_eq!(fs::read_dir(dir.path().join("tmp")).unwrap().count(), 0);
    }
}
