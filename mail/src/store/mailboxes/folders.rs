//! The names of mailboxes: making, renaming, deleting, listing, subscribing.

use rusqlite::{OptionalExtension, Row, Transaction, params};

use super::{Mailbox, MailboxId, SpecialUse, SqliteMailboxes, Status, change, narrow, unsigned};
use crate::store::database::Failure;
use crate::store::{AccountId, StoreError};

/// How many mailboxes an account may have.
const MAILBOXES: i64 = 10_000;

const COLUMNS: &str = "SELECT mailbox.id, name, special, uid_next, mod_seq,
    mailbox.id + (SELECT value FROM meta WHERE key = 'uid_validity_base') FROM mailbox ";

impl SqliteMailboxes {
    /// The mailboxes of an account, by name, INBOX first.
    ///
    /// # Errors
    /// `Transient` when the database refuses.
    pub fn list(&self, account: AccountId) -> Result<Vec<Mailbox>, StoreError> {
        self.database.read("listing mailboxes", |transaction| {
            let statement = [COLUMNS, "WHERE account = ?1 ORDER BY name <> 'INBOX', name"].concat();
            let mut statement = transaction.prepare_cached(&statement)?;
            let rows = statement.query_map([account.0], mailbox)?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    /// The mailbox of this name.
    ///
    /// # Errors
    /// `NotFound`, or `Transient` when the database refuses.
    pub fn open_mailbox(&self, account: AccountId, name: &str) -> Result<Mailbox, StoreError> {
        self.database.read("opening a mailbox", |transaction| require(transaction, account, &canonical(name)))
    }

    /// Counts the messages of a mailbox.
    ///
    /// # Errors
    /// `Transient` when the database refuses.
    pub fn status(&self, id: MailboxId) -> Result<Status, StoreError> {
        self.database.read("counting messages", |transaction| {
            let statement = "SELECT count(*), coalesce(sum(flags & 1 = 0), 0), coalesce(sum(flags & 8 <> 0), 0),
                coalesce(sum(size), 0) FROM message WHERE mailbox = ?1";
            let row = |row: &Row<'_>| {
                Ok(Status {
                    messages: narrow(row.get(0)?),
                    unseen: narrow(row.get(1)?),
                    deleted: narrow(row.get(2)?),
                    size_bytes: unsigned(row.get(3)?),
                })
            };
            Ok(transaction.prepare_cached(statement)?.query_row([id.0], row)?)
        })
    }

    /// Makes a mailbox, and those above it that are not there.
    ///
    /// # Errors
    /// `Exists`, or `Transient` when the database refuses.
    pub fn create(&self, account: AccountId, name: &str, special: Option<SpecialUse>) -> Result<Mailbox, StoreError> {
        let name = canonical(name);
        self.database.write("making a mailbox", |transaction| {
            if find(transaction, account, &name)?.is_some() {
                return Err(StoreError::Exists(name.clone()).into());
            }
            create_above(transaction, account, &name)?;
            create(transaction, account, &name, special)?;
            require(transaction, account, &name)
        })
    }

    /// Deletes a mailbox and its messages; those below it stay.
    ///
    /// # Errors
    /// `NotFound`, or `Transient` when the database refuses.
    pub fn delete(&self, account: AccountId, name: &str) -> Result<(), StoreError> {
        self.database.write("deleting a mailbox", |transaction| {
            let mailbox = require(transaction, account, &canonical(name))?;
            change::release(transaction, mailbox.id)?;
            transaction.execute("DELETE FROM message WHERE mailbox = ?1", [mailbox.id.0])?;
            transaction.execute("DELETE FROM expunged WHERE mailbox = ?1", [mailbox.id.0])?;
            transaction.execute("DELETE FROM keyword WHERE mailbox = ?1", [mailbox.id.0])?;
            transaction.execute("DELETE FROM mailbox WHERE id = ?1", [mailbox.id.0])?;
            Ok(())
        })
    }

    /// Renames a mailbox and those below it. INBOX stays, and its messages move (RFC 9051 section 6.3.6).
    ///
    /// # Errors
    /// `NotFound`, `Exists`, or `Transient` when the database refuses.
    pub fn rename(&self, account: AccountId, from: &str, to: &str) -> Result<(), StoreError> {
        let (from, to) = (canonical(from), canonical(to));
        self.database.write("renaming a mailbox", |transaction| {
            let below = [&from, "/"].concat();
            let statement = "SELECT id, name FROM mailbox WHERE account = ?1
                AND (name = ?2 OR substr(name, 1, length(?3)) = ?3)";
            let moved: Vec<(i64, String)> = transaction
                .prepare_cached(statement)?
                .query_map(params![account.0, from, below], |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect::<Result<_, _>>()?;
            if moved.is_empty() {
                return Err(StoreError::NotFound(["mailbox ", &from].concat()).into());
            }
            if to == from || to.starts_with(&below) || find(transaction, account, &to)?.is_some() {
                return Err(StoreError::Exists(to.clone()).into());
            }
            create_above(transaction, account, &to)?;
            if from == "INBOX" {
                let inbox = require(transaction, account, &from)?;
                create(transaction, account, &to, None)?;
                let target = require(transaction, account, &to)?;
                change::move_all(transaction, &inbox, &target)?;
                return Ok(());
            }
            for (id, name) in moved {
                let name = [&to, &name[from.len()..]].concat();
                if find(transaction, account, &name)?.is_some() {
                    return Err(StoreError::Exists(name).into());
                }
                transaction.execute("UPDATE mailbox SET name = ?2 WHERE id = ?1", params![id, name])?;
            }
            Ok(())
        })
    }

    /// Adds a name to the subscriptions of an account, or takes it off. The mailbox need not be there.
    ///
    /// # Errors
    /// `Transient` when the database refuses.
    pub fn subscribe(&self, account: AccountId, name: &str, wanted: bool) -> Result<(), StoreError> {
        let statement = match wanted {
            true => "INSERT OR IGNORE INTO subscription (account, name) VALUES (?1, ?2)",
            false => "DELETE FROM subscription WHERE account = ?1 AND name = ?2",
        };
        self.database.write("changing subscriptions", |transaction| {
            transaction.execute(statement, params![account.0, canonical(name)])?;
            Ok(())
        })
    }

    /// The names that an account has subscribed to, in order.
    ///
    /// # Errors
    /// `Transient` when the database refuses.
    pub fn subscriptions(&self, account: AccountId) -> Result<Vec<String>, StoreError> {
        self.database.read("listing subscriptions", |transaction| {
            let statement = "SELECT name FROM subscription WHERE account = ?1 ORDER BY name";
            let mut statement = transaction.prepare_cached(statement)?;
            let rows = statement.query_map([account.0], |row| row.get(0))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }
}

/// `inbox` in any case is INBOX (RFC 9051 section 5.1), also above other names.
pub(super) fn canonical(name: &str) -> String {
    let (first, rest) = name.split_at(name.find('/').unwrap_or(name.len()));
    match first.eq_ignore_ascii_case("INBOX") {
        true => ["INBOX", rest].concat(),
        false => name.to_owned(),
    }
}

/// The mailbox of this canonical name, made when it is not there.
pub(super) fn find_or_create(
    transaction: &Transaction<'_>,
    account: AccountId,
    name: &str,
) -> Result<Mailbox, Failure> {
    if let Some(mailbox) = find(transaction, account, name)? {
        return Ok(mailbox);
    }
    create_above(transaction, account, name)?;
    create(transaction, account, name, None)?;
    require(transaction, account, name)
}

/// The mailbox of this canonical name, or `NotFound`.
pub(super) fn require(transaction: &Transaction<'_>, account: AccountId, name: &str) -> Result<Mailbox, Failure> {
    let found = find(transaction, account, name)?;
    Ok(found.ok_or_else(|| StoreError::NotFound(["mailbox ", name].concat()))?)
}

/// The mailbox of this identity, or `NotFound` when it has been deleted.
pub(super) fn by_id(transaction: &Transaction<'_>, id: MailboxId) -> Result<Mailbox, Failure> {
    let statement = [COLUMNS, "WHERE mailbox.id = ?1"].concat();
    let found = transaction.prepare_cached(&statement)?.query_row([id.0], mailbox).optional()?;
    Ok(found.ok_or_else(|| StoreError::NotFound("such mailbox any more".to_owned()))?)
}

/// Makes a mailbox of this canonical name.
pub(super) fn create(
    transaction: &Transaction<'_>,
    account: AccountId,
    name: &str,
    special: Option<SpecialUse>,
) -> Result<(), Failure> {
    let statement = "INSERT INTO mailbox (account, name, special) VALUES (?1, ?2, ?3)";
    transaction.execute(statement, params![account.0, name, special.map(SpecialUse::name)])?;
    Ok(())
}

/// Makes the mailboxes above this canonical name.
fn create_above(transaction: &Transaction<'_>, account: AccountId, name: &str) -> Result<(), Failure> {
    let count = "SELECT count(*) FROM mailbox WHERE account = ?1";
    let count: i64 = transaction.prepare_cached(count)?.query_row([account.0], |row| row.get(0))?;
    if count >= MAILBOXES {
        return Err(StoreError::OverQuota.into());
    }
    for (end, _) in name.match_indices('/') {
        let above = &name[..end];
        if find(transaction, account, above)?.is_none() {
            create(transaction, account, above, None)?;
        }
    }
    Ok(())
}

fn find(transaction: &Transaction<'_>, account: AccountId, name: &str) -> Result<Option<Mailbox>, Failure> {
    let statement = [COLUMNS, "WHERE account = ?1 AND name = ?2"].concat();
    Ok(transaction.prepare_cached(&statement)?.query_row(params![account.0, name], mailbox).optional()?)
}

fn mailbox(row: &Row<'_>) -> rusqlite::Result<Mailbox> {
    let special: Option<String> = row.get(2)?;
    Ok(Mailbox {
        id: MailboxId(row.get(0)?),
        name: row.get(1)?,
        special: special.as_deref().and_then(SpecialUse::from_name),
        uid_next: narrow(row.get(3)?),
        mod_seq: unsigned(row.get(4)?),
        uid_validity: narrow(row.get(5)?),
    })
}
