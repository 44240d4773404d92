//! The library out of a gzipped tar archive, and nothing else of it.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::{FetchOptions, LIBRARY, Phase};

/// Larger than any libchdb so far: an archive cannot fill the disk.
const MAX_LIBRARY_BYTES: u64 = 2 << 30;

/// Writes the archive's libchdb.so to `target`: first beside it, then on the disk, then by its name. Whether
/// there was one.
pub(super) fn library(archive: &Path, target: &Path, options: &FetchOptions) -> io::Result<bool> {
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(io::BufReader::new(File::open(archive)?)));
    for entry in archive.entries()? {
        let entry = entry?;
        let named = entry.path()?.file_name().is_some_and(|name| name == LIBRARY);
        if !named || !entry.header().entry_type().is_file() {
            continue;
        }
        let total = entry.size();
        let beside = target.with_extension("unpacking");
        let mut out = File::create(&beside)?;
        copy(entry.take(MAX_LIBRARY_BYTES), &mut out, total, options)?;
        out.set_permissions(fs::Permissions::from_mode(0o755))?;
        out.sync_all()?;
        fs::rename(&beside, target)?;
        if let Some(folder) = target.parent() {
            File::open(folder)?.sync_all()?;
        }
        return Ok(true);
    }
    Ok(false)
}

fn copy(mut from: impl Read, to: &mut impl Write, total: u64, options: &FetchOptions) -> io::Result<()> {
    let mut buffer = vec![0; 1 << 20];
    let mut done = 0;
    loop {
        let length = from.read(&mut buffer)?;
        if length == 0 {
            return Ok(());
        }
        to.write_all(&buffer[..length])?;
        done += length as u64;
        options.tell(Phase::Unpack, done, Some(total));
    }
}
