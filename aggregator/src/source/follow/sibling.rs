//! The files that rotation has made of a log: `mail.log.1`, `mail.log-20261122.gz`.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::super::input::{Inode, Input, inode, modified};
use super::super::origin::{MTIME_LAG_MS, Origins};
use crate::event::Time;

/// Files beside a log that are looked at; the newest of them.
const SIBLINGS: usize = 100;

/// The files beside `path` that have lines which were not read, oldest first: those that were read in part, and those
/// that came after them. None when nothing was ever read of this log: older files are for `varde import`. `open` are
/// files that are read already.
pub(super) fn unread(path: &Path, name: &str, open: &[Inode], origins: &Origins) -> io::Result<Vec<PathBuf>> {
    let Some(last_read) = origins.last_read(name) else { return Ok(Vec::new()) };
    let mut seen_known = false;
    let mut unread = Vec::new();
    for (modified, path) in siblings(path, open)? {
        let known = match Input::open(&path, &Arc::default()) {
            Ok(input) if input.head().is_empty() => continue,
            Ok(input) => origins.find(input.head()),
            Err(why) => {
                tracing::warn!(file = %path.display(), %why, "cannot be read");
                continue;
            }
        };
        let is_new = match known.is_empty() {
            true => seen_known || modified.plus_millis(MTIME_LAG_MS) > last_read,
            false => !known.iter().any(|origin| origin.has_all_until(modified)),
        };
        seen_known |= !known.is_empty();
        if is_new {
            unread.push(path);
        }
    }
    Ok(unread)
}

fn siblings(path: &Path, open: &[Inode]) -> io::Result<Vec<(Time, PathBuf)>> {
    let Some(base) = path.file_name().map(|name| name.to_string_lossy().into_owned()) else { return Ok(Vec::new()) };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(ending) = name.strip_prefix(&base).and_then(|ending| ending.strip_prefix(['.', '-'])) else {
            continue;
        };
        if !ending.starts_with(|c: char| c.is_ascii_digit()) {
            continue;
        }
        let Ok(metadata) = std::fs::metadata(entry.path()) else { continue };
        if metadata.is_file() && !open.contains(&inode(&metadata)) {
            found.push((modified(&metadata), entry.path()));
        }
    }
    found.sort();
    let excess = found.len().saturating_sub(SIBLINGS);
    found.drain(..excess);
    Ok(found)
}
