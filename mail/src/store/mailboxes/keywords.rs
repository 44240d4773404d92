//! The keywords of a mailbox: there are only so many, as every client that opens it is told of all.

use std::collections::BTreeSet;

use rusqlite::{Transaction, params};

use super::{MailboxId, SqliteMailboxes};
use crate::store::StoreError;
use crate::store::database::Failure;

/// Keywords of one mailbox. One that was used once counts until the mailbox is deleted.
const KEYWORDS_OF_MAILBOX: i64 = 500;

impl SqliteMailboxes {
    /// Whether messages of a mailbox may get keywords that none of them has had before.
    ///
    /// # Errors
    /// `Transient` when the database refuses.
    pub fn takes_new_keywords(&self, id: MailboxId) -> Result<bool, StoreError> {
        self.database.read("counting keywords", |transaction| Ok(count(transaction, id)? < KEYWORDS_OF_MAILBOX))
    }
}

/// Writes down the keywords that messages of a mailbox get, or refuses when they are too many.
pub(super) fn register<'a>(
    transaction: &Transaction<'_>,
    id: MailboxId,
    keywords: impl IntoIterator<Item = &'a String>,
) -> Result<(), Failure> {
    let mut new = 0;
    for keyword in keywords.into_iter().collect::<BTreeSet<_>>() {
        new += transaction
            .prepare_cached("INSERT OR IGNORE INTO keyword (mailbox, name) VALUES (?1, ?2)")?
            .execute(params![id.0, keyword])?;
    }
    match new > 0 && count(transaction, id)? > KEYWORDS_OF_MAILBOX {
        true => Err(StoreError::TooManyKeywords.into()),
        false => Ok(()),
    }
}

/// [`register`] for those of messages that have been copied: `uids`, first and last.
pub(super) fn register_copied(transaction: &Transaction<'_>, id: MailboxId, uids: (u32, u32)) -> Result<(), Failure> {
    let mut keywords = BTreeSet::new();
    let mut statement = transaction.prepare_cached(
        "SELECT DISTINCT keywords FROM message WHERE mailbox = ?1 AND uid BETWEEN ?2 AND ?3 AND keywords <> ''",
    )?;
    let mut rows = statement.query(params![id.0, uids.0, uids.1])?;
    while let Some(row) = rows.next()? {
        let some = row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?;
        keywords.extend(some.split_ascii_whitespace().map(str::to_owned));
    }
    register(transaction, id, &keywords)
}

fn count(transaction: &Transaction<'_>, id: MailboxId) -> Result<i64, Failure> {
    let statement = "SELECT count(*) FROM keyword WHERE mailbox = ?1";
    Ok(transaction.prepare_cached(statement)?.query_row([id.0], |row| row.get(0))?)
}
