//! The last good answers on disk, so that a restart with all watchers gone still shows what was known.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::watcher::{Answer, Good};

/// What one watcher said last.
#[derive(Debug, Serialize, Deserialize)]
pub struct Kept {
    /// The watcher.
    pub name: String,
    /// Its last good answer.
    pub last: Good,
}

/// Reads what was kept. A file that is not there or not readable is nothing: the watchers will answer soon.
pub async fn read(file: PathBuf) -> Vec<Kept> {
    let shown = file.display().to_string();
    let read = move || -> io::Result<Vec<Kept>> { Ok(serde_json::from_slice(&fs::read(&file)?)?) };
    match tokio::task::spawn_blocking(read).await.map_err(io::Error::other).flatten() {
        Ok(kept) => kept,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => {
            tracing::warn!(file = %shown, %error, "reading the last known states failed; starting without them");
            Vec::new()
        }
    }
}

/// Keeps every last good answer. A disk that is full costs the memory of the next start, nothing else.
pub async fn write(file: PathBuf, answers: &[Answer]) {
    let kept: Vec<Kept> = answers
        .iter()
        .filter_map(|answer| Some(Kept { name: answer.name.clone(), last: answer.last.clone()? }))
        .collect();
    if kept.is_empty() {
        return;
    }
    let shown = file.display().to_string();
    let write = move || replace(&file, &serde_json::to_vec(&kept)?);
    if let Err(error) = tokio::task::spawn_blocking(write).await.map_err(io::Error::other).flatten() {
        tracing::warn!(file = %shown, %error, "keeping the last known states failed; trying again in 30 s");
    }
}

/// Puts `bytes` into `file`: all of them or none, readable for the owner only.
pub fn replace(file: &Path, bytes: &[u8]) -> io::Result<()> {
    if let Some(folder) = file.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    let new = file.with_extension("new");
    let mut handle = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    handle.write_all(bytes)?;
    handle.sync_all()?;
    fs::rename(&new, file)
}
