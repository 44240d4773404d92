//! Bodies as files, named by the BLAKE3 of their octets.
//!
//! `ab/cd/abcd…` below the folder: two levels keep each folder small. A file is there whole or not at all: it is
//! written under a temporary name, flushed, renamed, and its folder flushed. What a crash leaves under a temporary
//! name is removed at the next opening.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

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

    fn path(&self, id: BlobId) -> PathBuf {
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
        let stored = match fs::metadata(&path) {
            Ok(known) if known.len() == body.len() as u64 => flush_folder(path.parent().unwrap_or(&self.dir)),
            _ => self.write(&path, body),
        };
        stored.map_err(StoreError::transient(format!("writing the body {}", path.display())))?;
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
    fn a_refusing_disk_is_transient_and_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = FileBlobs::open(dir.path()).unwrap();
        let id = BlobId(*blake3::hash(b"x").as_bytes());
        fs::write(blobs.path(id).parent().unwrap().parent().unwrap(), b"a file where a folder should be").unwrap();
        assert!(matches!(blobs.put(b"x"), Err(StoreError::Transient { .. })));
        assert_eq!(fs::read_dir(dir.path().join("tmp")).unwrap().count(), 0);
    }
}
