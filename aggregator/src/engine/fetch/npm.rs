//! The package as npm's own client gets it, with the registry, proxy and certificates it is configured for.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::process::Command;

use super::digest::Expected;
use super::{Attempt, FetchOptions, Phase, VERSION, check_and_unpack};

const PACKAGE: &str = "@chdb/lib-linux-x64-gnu";
/// What `npm pack` calls the file.
const ARCHIVE_PREFIX: &str = "chdb-lib-linux-x64-gnu-";
/// The `dist.integrity` of the package's pinned version.
const INTEGRITY: Expected =
    Expected::Sha512Base64("XP97mMqnc5tZpKQywR8N7cLTsHNiTmHr30pC5mzo3jWmukjKn2IBa60c2B/gWUNcuFjOMjWoorQICCqBVj5wpw==");
/// 178 MB within this, or another way is tried.
const TIME_LIMIT: Duration = Duration::from_secs(900);
/// How often the growing file is looked at.
const LOOK: Duration = Duration::from_millis(250);
/// The end of npm's words that is kept for the message.
const MAX_WORDS: usize = 400;

/// Runs `npm pack` in the cache folder and unpacks what it brought.
pub(super) async fn fetch(folder: &Path, library: &Path, options: &FetchOptions) -> Result<(), Attempt> {
    let archive = folder.join([ARCHIVE_PREFIX, VERSION, ".tgz"].concat());
    // One that a killed process left behind may be whole: its digest says so.
    if !archive.is_file() {
        options.tell(Phase::Npm, 0, None);
        pack(folder, &archive, options).await?;
    }
    check_and_unpack(archive, INTEGRITY, library, options).await
}

async fn pack(folder: &Path, archive: &Path, options: &FetchOptions) -> Result<(), Attempt> {
    let spec = [PACKAGE, "@", VERSION].concat();
    let spawned = Command::new("npm")
        .args(["pack", "--silent", "--ignore-scripts", "--fetch-retries=1", &spec])
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn();
    let mut child = match spawned {
        Ok(child) => child,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(Attempt::NoClient),
        Err(error) => return Err(Attempt::Npm(error.to_string())),
    };
    let mut words = child.stderr.take();
    let mut said = Vec::new();
    let finished = async {
        if let Some(words) = &mut words {
            words.read_to_end(&mut said).await?;
        }
        child.wait().await
    };
    let watched = async {
        loop {
            tokio::time::sleep(LOOK).await;
            if let Ok(file) = std::fs::metadata(archive) {
                options.tell(Phase::Npm, file.len(), None);
            }
        }
    };
    let status = tokio::select! {
        status = finished => status?,
        () = watched => return Err(Attempt::Npm("interrupted".to_owned())),
        () = tokio::time::sleep(TIME_LIMIT) => return Err(Attempt::Npm("it took longer than 15 minutes".to_owned())),
    };
    if status.success() && archive.is_file() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&said);
    let start = said.char_indices().rev().nth(MAX_WORDS).map_or(0, |(at, _)| at);
    Err(Attempt::Npm([&status.to_string(), ": ", said[start..].trim()].concat()))
}
