//! What the services need of storage, as traits: the seam at which SQLite and files can become PostgreSQL and S3.
//!
//! Nothing that another node would need lives in process memory: every service opens the same store on its own.
//! Calls block (SQLite and files do): drivers call them from `spawn_blocking` or a thread of their own.

mod blob;
mod database;
mod directory;
mod mailboxes;
mod web_sessions;

use std::path::Path;
use std::sync::Arc;

use aggregator::event::Time;

pub use blob::FileBlobs;
pub use directory::SqliteDirectory;
pub use mailboxes::{
    Appended, ChangeWatch, Changes, FlagChange, Flags, Mailbox, MailboxId, Message, MessageState, NewMessage, Page,
    Quota, Sought, SpecialUse, SqliteMailboxes, Status, StoreFlags,
};
pub use web_sessions::{WebSession, WebSessions};

impl StoreError {
    /// Turns an error of the disk or the database into [`StoreError::Transient`]; `doing` says what was being done.
    pub(crate) fn transient<E: Into<Box<dyn std::error::Error + Send + Sync>>>(
        doing: impl Into<String>,
    ) -> impl FnOnce(E) -> Self {
        let doing = doing.into();
        move |source| Self::Transient { doing, source: source.into() }
    }
}

/// The identity of a stored body: BLAKE3 of its octets. One copy is kept however many mailboxes and queue entries
/// refer to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlobId(pub [u8; 32]);

/// An account of the directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountId(pub i64);

/// Why the store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It may go well later: disk full, database busy. SMTP answers 451 or 452, IMAP `NO [UNAVAILABLE]`.
    #[error("{doing}: {source}; it will be tried again")]
    Transient {
        /// What was being done, and to what.
        doing: String,
        /// Why it failed.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The account's quota is used up. SMTP answers 452 4.2.2 or 552 5.2.2, IMAP `NO [OVERQUOTA]`.
    #[error("the mailbox is full")]
    OverQuota,
    /// The mailbox has as many keywords as it may. IMAP answers `NO [LIMIT]`.
    #[error("the mailbox has as many keywords as it may")]
    TooManyKeywords,
    /// There is no such thing (any more).
    #[error("there is no {0}")]
    NotFound(String),
    /// It exists already.
    #[error("{0} exists already")]
    Exists(String),
}

/// The store of one machine: files and two SQLite databases in one folder, opened by every service on its own.
#[derive(Clone)]
pub struct Stores {
    /// The bodies.
    pub blobs: Arc<FileBlobs>,
    /// Who may log in, and what is local.
    pub directory: Arc<SqliteDirectory>,
    /// The mailboxes.
    pub mailboxes: Arc<SqliteMailboxes>,
}

impl Stores {
    /// Opens `blobs/`, `directory.db` and `mailboxes.db` in `data_dir`, and makes what is not there.
    ///
    /// # Errors
    /// `Transient` when the disk refuses.
    pub fn open(data_dir: &Path) -> Result<Self, StoreError> {
        let blobs = Arc::new(FileBlobs::open(&data_dir.join("blobs"))?);
        let directory = Arc::new(SqliteDirectory::open(&data_dir.join("directory.db"))?);
        let mailboxes = Arc::new(SqliteMailboxes::open(&data_dir.join("mailboxes.db"), blobs.clone())?);
        Ok(Self { blobs, directory, mailboxes })
    }

    /// Checks a password as [`Directory::authenticate`] does; who is let in has his mailboxes.
    ///
    /// # Errors
    /// `Transient` when the directory or the mailboxes cannot be read.
    pub fn log_in(&self, address: &str, password: &str) -> Result<Option<Account>, StoreError> {
        let found = self.directory.authenticate(address, password)?;
        if let Some(account) = &found {
            self.mailboxes.ensure_account(account.id)?;
        }
        Ok(found)
    }
}

/// The bodies of messages.
pub trait BlobStore: Send + Sync {
    /// Stores a body; on return it is durable (fsync of file and folder). Storing it again is cheap.
    ///
    /// # Errors
    /// `Transient` when the disk refuses.
    fn put(&self, body: &[u8]) -> Result<BlobId, StoreError>;
    /// Reads a body.
    ///
    /// # Errors
    /// `NotFound`, or `Transient` when the disk refuses.
    fn get(&self, id: BlobId) -> Result<Vec<u8>, StoreError>;
}

/// Who may log in, and which addresses end here.
pub trait Directory: Send + Sync {
    /// Checks a password in constant time (Argon2id). An unknown name takes as long as a wrong password.
    ///
    /// # Errors
    /// `Transient` when the directory cannot be read: the client is told to try later, not that it is wrong.
    fn authenticate(&self, address: &str, password: &str) -> Result<Option<Account>, StoreError>;
    /// The account that an address delivers to (aliases and `+detail` followed); `None`: no such user.
    ///
    /// # Errors
    /// `Transient` when the directory cannot be read.
    fn resolve(&self, address: &str) -> Result<Option<Account>, StoreError>;
    /// Whether mail for this domain ends here.
    ///
    /// # Errors
    /// `Transient` when the directory cannot be read.
    fn is_local_domain(&self, domain: &str) -> Result<bool, StoreError>;
    /// Whether this account may send with `address` as the reverse-path.
    ///
    /// # Errors
    /// `Transient` when the directory cannot be read.
    fn may_send_as(&self, account: AccountId, address: &str) -> Result<bool, StoreError>;
}

/// An account of the directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its identity.
    pub id: AccountId,
    /// Its primary address, lower case.
    pub address: String,
}

/// Puts messages into mailboxes.
pub trait Deliver: Send + Sync {
    /// Adds a stored body to a mailbox of an account (`INBOX`, `Junk` …; created when it is not there), durably.
    /// `token` makes it idempotent: the same token a second time delivers nothing and succeeds.
    ///
    /// # Errors
    /// `OverQuota`, `NotFound` (no such account), `Transient`.
    fn deliver(&self, delivery: &LocalDelivery<'_>) -> Result<(), StoreError>;
    /// Whether a message of so many octets would be within an account's quota now. Costs a look-up: the octets that an
    /// account uses are counted with every change. An account without mailboxes has room.
    ///
    /// # Errors
    /// `Transient` when the store cannot be read.
    fn has_room(&self, account: AccountId, octets: u64) -> Result<bool, StoreError>;
}

/// One message for one mailbox.
#[derive(Debug, Clone, Copy)]
pub struct LocalDelivery<'a> {
    /// Whose mailbox.
    pub account: AccountId,
    /// Which of his mailboxes.
    pub mailbox: &'a str,
    /// The stored body.
    pub blob: BlobId,
    /// Lines that go before the body for this recipient alone (Return-Path, Delivered-To, Received), CRLF-ended.
    pub prefix: &'a [u8],
    /// The time of delivery: IMAP's INTERNALDATE.
    pub at: Time,
    /// `queue id/recipient`: see [`Deliver::deliver`].
    pub token: &'a str,
}
