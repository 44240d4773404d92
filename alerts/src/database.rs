//! Opens a database of this crate; one that is damaged is set aside, because paging goes on with an empty one.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, Error, ErrorCode, ffi};

/// Opens or makes the database at `path` and runs `schema`. Every commit is on the disk before it returns.
///
/// # Errors
/// The file cannot be opened, or is damaged and cannot be moved.
pub(crate) fn open(path: &Path, schema: &str) -> rusqlite::Result<Connection> {
    match open_sound(path, schema) {
        Err(error) if is_damage(&error) => {
            let aside = set_aside(path).map_err(|reason| {
                let failure = ffi::Error::new(ffi::SQLITE_CANTOPEN);
                Error::SqliteFailure(failure, Some(format!("it is damaged and cannot be set aside: {reason}")))
            })?;
            let (file, aside) = (path.display(), aside.display());
            tracing::error!(%error, %file, %aside, "a database is damaged; it is set aside and a fresh one is made");
            open_sound(path, schema)
        }
        opened => opened,
    }
}

fn open_sound(path: &Path, schema: &str) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.execute_batch(schema)?;
    let verdict: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if verdict != "ok" {
        return Err(Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_CORRUPT), Some(verdict)));
    }
    Ok(connection)
}

fn is_damage(error: &Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
}

/// Moves the file to the first name that is free; its journals mean nothing without it.
fn set_aside(path: &Path) -> std::io::Result<PathBuf> {
    let named = |suffix: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    };
    let free = (1..).map(|n: u32| named(&format!(".damaged-{n}"))).find(|name| !name.exists());
    let aside = free.unwrap_or_else(|| named(".damaged"));
    std::fs::rename(path, &aside)?;
    for journal in [named("-wal"), named("-shm")] {
        let _ = std::fs::remove_file(journal);
    }
    Ok(aside)
}
