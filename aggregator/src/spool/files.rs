//! Every change that the spool makes on its disk goes through here: one place to make it durable, and one place
//! where tests let the disk fail or the process die.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// The folder of one spool.
#[derive(Debug, Clone)]
pub(crate) struct Files {
    dir: PathBuf,
    #[cfg(test)]
    pub(crate) faults: std::sync::Arc<Faults>,
}

/// What goes wrong next.
#[cfg(test)]
#[derive(Debug, Default)]
pub(crate) struct Faults {
    /// How many changes still succeed; `None`: all.
    pub(crate) left: std::sync::Mutex<Option<u32>>,
}

impl Files {
    pub(crate) fn new(dir: PathBuf) -> Self {
        Self {
            dir,
            #[cfg(test)]
            faults: std::sync::Arc::default(),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Writes `bytes` at the end of `file`.
    pub(crate) fn append(&self, file: &mut File, bytes: &[u8]) -> io::Result<()> {
        self.step(|| {
            let _ = file.write_all(&bytes[..bytes.len() / 2]);
        })?;
        file.write_all(bytes)
    }

    /// Cuts `file` back to `length`.
    pub(crate) fn cut(&self, file: &File, length: u64) -> io::Result<()> {
        self.step(|| ())?;
        file.set_len(length)
    }

    /// An empty file for appending.
    pub(crate) fn create(&self, name: &str) -> io::Result<File> {
        self.step(|| ())?;
        let file = fs::OpenOptions::new().create(true).append(true).open(self.path(name))?;
        file.set_len(0)?;
        Ok(file)
    }

    /// Puts a whole file in place, atomically, its bytes on the disk first. [`sync_dir`](Self::sync_dir) makes the
    /// name durable too. On a disk that is full nothing is left of what did not fit: others need that room, and so may
    /// the checkpoint with which a segment leaves.
    pub(crate) fn put(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let partial = self.path(&[name, PARTIAL].concat());
        self.step(|| {
            let _ = fs::write(&partial, &bytes[..bytes.len() / 2]);
        })?;
        let written = File::create(&partial).and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()
        });
        if let Err(why) = written {
            let _ = fs::remove_file(&partial);
            return Err(why);
        }
        self.step(|| ())?;
        fs::rename(&partial, self.path(name))
    }

    /// Makes names durable: what was created, renamed and removed.
    pub(crate) fn sync_dir(&self) -> io::Result<()> {
        self.step(|| ())?;
        File::open(&self.dir)?.sync_all()
    }

    /// Removes a file. It is no error that there is none.
    pub(crate) fn remove(&self, name: &str) -> io::Result<()> {
        self.step(|| ())?;
        match fs::remove_file(self.path(name)) {
            Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    /// Gives a file another name. It is no error that there is none.
    pub(crate) fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.step(|| ())?;
        match fs::rename(self.path(from), self.path(to)) {
            Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    /// Name and size of every file, sorted by name.
    pub(crate) fn list(&self) -> io::Result<Vec<(String, u64)>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            if let Ok(name) = entry.file_name().into_string() {
                match entry.metadata() {
                    Ok(metadata) => files.push((name, metadata.len())),
                    // It was removed meanwhile.
                    Err(why) if why.kind() == io::ErrorKind::NotFound => {}
                    Err(why) => return Err(why),
                }
            }
        }
        files.sort();
        Ok(files)
    }

    #[cfg(not(test))]
    fn step(&self, _half: impl FnOnce()) -> io::Result<()> {
        Ok(())
    }

    #[cfg(test)]
    fn step(&self, half: impl FnOnce()) -> io::Result<()> {
        let mut left = self.faults.left.lock().unwrap();
        match left.as_mut() {
            Some(0) => {
                half();
                Err(io::Error::from(io::ErrorKind::StorageFull))
            }
            Some(n) => {
                *n -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }
}

/// What is not yet in place ends in this.
pub(crate) const PARTIAL: &str = ".partial";
