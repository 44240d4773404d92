//! One suite a folder.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::path::Path;

use anyhow::Context;
use rustix::fs::{FlockOperation, flock};

/// Locks the folder for as long as the file is open.
///
/// # Errors
/// Another `varde up` has it: says its process.
pub fn take(dir: &Path) -> anyhow::Result<File> {
    let folder = dir.join("run");
    std::fs::create_dir_all(&folder).with_context(|| format!("the folder {} cannot be made", folder.display()))?;
    let path = folder.join("up.lock");
    let mut file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .with_context(|| format!("{} cannot be opened", path.display()))?;
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        let mut pid = String::new();
        file.read_to_string(&mut pid)?;
        anyhow::bail!(
            "one is running on {} already (process {}): stop it first, or give another folder with --dir and other ports with --port-offset",
            dir.display(),
            pid.trim()
        );
    }
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())?;
    Ok(file)
}
