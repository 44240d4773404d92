//! Mailboxes in SQLite: names, UIDs, flags, modification sequences, quota; bodies stay in the blob store.
//!
//! Several processes have the file open: each change is one transaction, flushed before it is answered. Every change
//! of a mailbox gets the next modification sequence of that mailbox, so that a session finds what happened since it
//! last looked, whoever did it.

mod change;
mod folders;
mod keywords;
mod messages;
mod summary;
mod types;

use std::path::Path;
use std::sync::Arc;

use rusqlite::{OptionalExtension, Row, Transaction, params};

use super::database::{Database, Failure, Watcher};
use super::{AccountId, BlobStore, StoreError};

pub use types::{
    Appended, Changes, FlagChange, Flags, Mailbox, MailboxId, Message, MessageState, NewMessage, Page, Quota, Sought,
    SpecialUse, Status, StoreFlags,
};

// UIDVALIDITY is `uid_validity_base` plus the mailbox's id. AUTOINCREMENT never gives an id again, and the base is
// the second in which this file was made: a name never gets the same UIDVALIDITY for other messages.
const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
INSERT OR IGNORE INTO meta (key, value) VALUES ('uid_validity_base', unixepoch());
CREATE TABLE IF NOT EXISTS account (
    id INTEGER PRIMARY KEY,
    quota_bytes INTEGER NOT NULL,
    used_bytes INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS mailbox (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    account INTEGER NOT NULL REFERENCES account (id),
    name TEXT NOT NULL,
    special TEXT,
    uid_next INTEGER NOT NULL DEFAULT 1,
    mod_seq INTEGER NOT NULL DEFAULT 1,
    UNIQUE (account, name)
);
CREATE TABLE IF NOT EXISTS subscription (
    account INTEGER NOT NULL REFERENCES account (id),
    name TEXT NOT NULL,
    PRIMARY KEY (account, name)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS message (
    mailbox INTEGER NOT NULL REFERENCES mailbox (id),
    uid INTEGER NOT NULL,
    blob BLOB NOT NULL,
    prefix BLOB NOT NULL,
    flags INTEGER NOT NULL,
    keywords TEXT NOT NULL,
    mod_seq INTEGER NOT NULL,
    size INTEGER NOT NULL,
    at INTEGER NOT NULL,
    subject TEXT NOT NULL,
    author TEXT NOT NULL,
    date INTEGER NOT NULL,
    message_id TEXT NOT NULL,
    PRIMARY KEY (mailbox, uid)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS message_change ON message (mailbox, mod_seq);
CREATE INDEX IF NOT EXISTS message_count ON message (mailbox, flags, size);
CREATE INDEX IF NOT EXISTS message_blob ON message (blob);
CREATE TABLE IF NOT EXISTS keyword (
    mailbox INTEGER NOT NULL REFERENCES mailbox (id),
    name TEXT NOT NULL COLLATE NOCASE,
    PRIMARY KEY (mailbox, name)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS expunged (
    mailbox INTEGER NOT NULL REFERENCES mailbox (id),
    mod_seq INTEGER NOT NULL,
    uid INTEGER NOT NULL,
    PRIMARY KEY (mailbox, mod_seq, uid)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS delivered (
    account INTEGER NOT NULL,
    token TEXT NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (account, token)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS delivered_at ON delivered (at);
";

/// What an account may use unless it is told otherwise: 10 GiB.
const QUOTA_BYTES: u64 = 10 << 30;

/// The mailboxes of all accounts, in an SQLite file.
pub struct SqliteMailboxes {
    database: Database,
    blobs: Arc<dyn BlobStore>,
}

impl SqliteMailboxes {
    /// Opens the file, and makes it when it is not there. Bodies are read from `blobs`.
    ///
    /// # Errors
    /// `Transient` when the disk refuses.
    pub fn open(path: &Path, blobs: Arc<dyn BlobStore>) -> Result<Self, StoreError> {
        Ok(Self { database: Database::open(path, SCHEMA)?, blobs })
    }

    /// Gives an account its quota and its mailboxes: INBOX and one for each special use. What it has, it keeps.
    ///
    /// # Errors
    /// `Transient` when the database refuses.
    pub fn ensure_account(&self, account: AccountId) -> Result<(), StoreError> {
        let known = self.database.read("looking up an account", |transaction| known(transaction, account))?;
        if known {
            return Ok(());
        }
        self.database.write("making the mailboxes of an account", |transaction| ensure(transaction, account))
    }

    /// Sets how many octets an account may use.
    ///
    /// # Errors
    /// `Transient` when the database refuses.
    pub fn set_quota(&self, account: AccountId, limit_bytes: u64) -> Result<(), StoreError> {
        self.database.write("setting a quota", |transaction| {
            ensure(transaction, account)?;
            let statement = "UPDATE account SET quota_bytes = ?2 WHERE id = ?1";
            transaction.execute(statement, params![account.0, i64::try_from(limit_bytes).unwrap_or(i64::MAX)])?;
            Ok(())
        })
    }

    /// How much of its quota an account uses.
    ///
    /// # Errors
    /// `NotFound`, or `Transient` when the database refuses.
    pub fn quota(&self, account: AccountId) -> Result<Quota, StoreError> {
        self.database.read("reading a quota", |transaction| quota(transaction, account))
    }

    /// Something to ask whether anything has changed, in any mailbox, by any process.
    ///
    /// # Errors
    /// `Transient` when the database refuses.
    pub fn watch(&self) -> Result<ChangeWatch, StoreError> {
        let watcher = self.database.watcher()?;
        let seen = watcher.version()?;
        Ok(ChangeWatch { watcher, seen })
    }
}

/// See [`SqliteMailboxes::watch`]. Asking costs microseconds.
pub struct ChangeWatch {
    watcher: Watcher,
    seen: i64,
}

impl ChangeWatch {
    /// Whether there was a change since the last call.
    ///
    /// # Errors
    /// `Transient` when the database refuses.
    pub fn changed(&mut self) -> Result<bool, StoreError> {
        let version = self.watcher.version()?;
        Ok(std::mem::replace(&mut self.seen, version) != version)
    }
}

fn known(transaction: &Transaction<'_>, account: AccountId) -> Result<bool, Failure> {
    Ok(transaction.prepare_cached("SELECT 1 FROM account WHERE id = ?1")?.exists([account.0])?)
}

/// See [`SqliteMailboxes::ensure_account`].
fn ensure(transaction: &Transaction<'_>, account: AccountId) -> Result<(), Failure> {
    if known(transaction, account)? {
        return Ok(());
    }
    let quota = i64::try_from(QUOTA_BYTES).unwrap_or(i64::MAX);
    transaction.execute("INSERT INTO account (id, quota_bytes) VALUES (?1, ?2)", params![account.0, quota])?;
    folders::create(transaction, account, "INBOX", None)?;
    for special in SpecialUse::ALL {
        folders::create(transaction, account, special.name(), Some(special))?;
    }
    transaction.execute(
        "INSERT OR IGNORE INTO subscription (account, name) SELECT account, name FROM mailbox WHERE account = ?1",
        [account.0],
    )?;
    Ok(())
}

fn quota(transaction: &Transaction<'_>, account: AccountId) -> Result<Quota, Failure> {
    let row = |row: &Row<'_>| Ok(Quota { used_bytes: unsigned(row.get(0)?), limit_bytes: unsigned(row.get(1)?) });
    let found = transaction
        .prepare_cached("SELECT used_bytes, quota_bytes FROM account WHERE id = ?1")?
        .query_row([account.0], row)
        .optional()?;
    Ok(found.ok_or_else(|| StoreError::NotFound("such account".to_owned()))?)
}

/// Counts never go below 0; a column that says so is read as 0.
fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

/// UIDs and UIDVALIDITY are 32 bits wide (RFC 9051 section 2.3.1.1).
fn narrow(value: i64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
