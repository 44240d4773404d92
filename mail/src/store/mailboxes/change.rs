//! Changing messages: adding, flagging, copying, moving, removing, each in one transaction.

use rusqlite::{OptionalExtension, Transaction, params};

use super::summary::Summary;
use super::{
    Appended, FlagChange, Mailbox, MailboxId, NewMessage, SqliteMailboxes, StoreFlags, ensure, folders, keywords,
    messages, narrow, quota,
};
use crate::store::database::Failure;
use crate::store::{AccountId, Deliver, LocalDelivery, StoreError};

/// How long a delivery is remembered: longer than any message stays in the queue.
const DELIVERED_FOR_S: i64 = 30 * 86_400;
/// Keywords that one message may have; more are left out.
const KEYWORDS: usize = 64;

impl Deliver for SqliteMailboxes {
    fn deliver(&self, delivery: &LocalDelivery<'_>) -> Result<(), StoreError> {
        let new = [NewMessage {
            blob: delivery.blob,
            prefix: delivery.prefix,
            flags: super::Flags::default(),
            keywords: &[],
            at: delivery.at,
        }];
        let new = self.weigh(&new)?;
        let name = folders::canonical(delivery.mailbox);
        self.database.write("delivering a message", |transaction| {
            let oldest = delivery.at.0 - DELIVERED_FOR_S * 1_000_000;
            transaction.prepare_cached("DELETE FROM delivered WHERE at < ?1")?.execute([oldest])?;
            let first = transaction
                .prepare_cached("INSERT OR IGNORE INTO delivered (account, token, at) VALUES (?1, ?2, ?3)")?
                .execute(params![delivery.account.0, delivery.token, delivery.at.0])?;
            if first == 0 {
                return Ok(());
            }
            ensure(transaction, delivery.account)?;
            let mailbox = folders::find_or_create(transaction, delivery.account, &name)?;
            add(transaction, delivery.account, &mailbox, &new)?;
            Ok(())
        })
    }

    fn has_room(&self, account: AccountId, octets: u64) -> Result<bool, StoreError> {
        match self.quota(account) {
            // An empty message does not exist.
            Ok(quota) => Ok(quota.has_room_for(octets.max(1))),
            Err(StoreError::NotFound(_)) => Ok(true),
            Err(error) => Err(error),
        }
    }
}

impl SqliteMailboxes {
    /// Adds messages to a mailbox, all or none.
    ///
    /// # Errors
    /// `NotFound` (no such mailbox, or a body is not stored), `OverQuota`, `TooManyKeywords`, or `Transient`.
    pub fn append(&self, account: AccountId, name: &str, new: &[NewMessage<'_>]) -> Result<Appended, StoreError> {
        let new = self.weigh(new)?;
        self.database.write("adding messages", |transaction| {
            let mailbox = folders::require(transaction, account, &folders::canonical(name))?;
            add(transaction, account, &mailbox, &new)
        })
    }

    /// Changes flags. Returns the UIDs of those left alone because of `unchanged_since`, in the order of `uids`.
    ///
    /// # Errors
    /// `NotFound` when the mailbox has been deleted, `TooManyKeywords`, or `Transient` when the database refuses.
    pub fn store(&self, id: MailboxId, uids: &[u32], flags: StoreFlags<'_>) -> Result<Vec<u32>, StoreError> {
        self.database.write("changing flags", |transaction| {
            let mod_seq = advance(transaction, id)?;
            if flags.change != FlagChange::Remove {
                keywords::register(transaction, id, flags.keywords)?;
            }
            let mut refused = Vec::new();
            for uid in uids {
                let state = transaction
                    .prepare_cached(
                        "SELECT uid, flags, keywords, mod_seq, size, at FROM message WHERE mailbox = ?1 AND uid = ?2",
                    )?
                    .query_row(params![id.0, uid], messages::state)
                    .optional()?;
                let Some(state) = state else { continue };
                if flags.unchanged_since.is_some_and(|since| state.mod_seq > since) {
                    refused.push(*uid);
                    continue;
                }
                let (set, mut keywords) = match flags.change {
                    FlagChange::Replace => (flags.flags, Vec::new()),
                    FlagChange::Add => (state.flags | flags.flags, state.keywords.clone()),
                    FlagChange::Remove => (state.flags.without(flags.flags), state.keywords.clone()),
                };
                match flags.change {
                    FlagChange::Remove => keywords.retain(|known| !contains(flags.keywords, known)),
                    FlagChange::Add | FlagChange::Replace => join(&mut keywords, flags.keywords),
                }
                if set == state.flags && keywords == state.keywords {
                    continue;
                }
                transaction
                    .prepare_cached(
                        "UPDATE message SET flags = ?3, keywords = ?4, mod_seq = ?5 WHERE mailbox = ?1 AND uid = ?2",
                    )?
                    .execute(params![id.0, uid, set.0, keywords.join(" "), mod_seq])?;
            }
            Ok(refused)
        })
    }

    /// Copies messages to a mailbox of the same account; those that are gone are passed over.
    ///
    /// # Errors
    /// `NotFound` (no such target), `OverQuota`, `TooManyKeywords`, or `Transient`.
    pub fn copy(
        &self,
        account: AccountId,
        source: MailboxId,
        uids: &[u32],
        target: &str,
    ) -> Result<Appended, StoreError> {
        self.database.write("copying messages", |transaction| {
            let target = folders::require(transaction, account, &folders::canonical(target))?;
            let copied = duplicate(transaction, source, uids, &target)?;
            charge(transaction, account, target.id, &copied)?;
            Ok(copied)
        })
    }

    /// Moves messages to a mailbox of the same account (RFC 6851), all or none; those that are gone are passed over.
    ///
    /// # Errors
    /// `NotFound` (no such target), `TooManyKeywords`, or `Transient`.
    pub fn relocate(
        &self,
        account: AccountId,
        source: MailboxId,
        uids: &[u32],
        target: &str,
    ) -> Result<Appended, StoreError> {
        self.database.write("moving messages", |transaction| {
            let target = folders::require(transaction, account, &folders::canonical(target))?;
            let moved = duplicate(transaction, source, uids, &target)?;
            let gone: Vec<u32> = moved.uids.iter().map(|(uid, _)| *uid).collect();
            forget(transaction, source, &gone)?;
            Ok(moved)
        })
    }

    /// Removes messages for good: of `uids`, which ascend, or of all, those that are flagged `\Deleted`. Returns their
    /// UIDs.
    ///
    /// # Errors
    /// `NotFound` when the mailbox has been deleted, or `Transient` when the database refuses.
    pub fn expunge(&self, id: MailboxId, uids: Option<&[u32]>) -> Result<Vec<u32>, StoreError> {
        self.database.write("expunging messages", |transaction| {
            let statement = "SELECT uid FROM message WHERE mailbox = ?1 AND flags & 8 <> 0 ORDER BY uid";
            let mut flagged: Vec<u32> = transaction
                .prepare_cached(statement)?
                .query_map([id.0], |row| Ok(narrow(row.get(0)?)))?
                .collect::<Result<_, _>>()?;
            if let Some(uids) = uids {
                flagged.retain(|uid| uids.binary_search(uid).is_ok());
            }
            remove(transaction, id, &flagged)?;
            Ok(flagged)
        })
    }

    /// Removes messages for good, whatever their flags.
    ///
    /// # Errors
    /// `NotFound` when the mailbox has been deleted, or `Transient` when the database refuses.
    pub fn remove(&self, id: MailboxId, uids: &[u32]) -> Result<(), StoreError> {
        self.database.write("removing messages", |transaction| remove(transaction, id, uids))
    }

    /// Reads the bodies of new messages for their sizes and summaries, outside of any transaction.
    fn weigh<'a>(&self, new: &[NewMessage<'a>]) -> Result<Vec<Weighed<'a>>, StoreError> {
        new.iter()
            .map(|message| {
                let body = self.blobs.get(message.blob)?;
                let size = (message.prefix.len() + body.len()) as u64;
                Ok(Weighed { message: *message, size, summary: Summary::of(&body, message.at) })
            })
            .collect()
    }
}

struct Weighed<'a> {
    message: NewMessage<'a>,
    size: u64,
    summary: Summary,
}

fn add(
    transaction: &Transaction<'_>,
    account: AccountId,
    mailbox: &Mailbox,
    new: &[Weighed<'_>],
) -> Result<Appended, Failure> {
    let size: u64 = new.iter().map(|new| new.size).sum();
    use_quota(transaction, account, size)?;
    let mod_seq = advance(transaction, mailbox.id)?;
    keywords::register(transaction, mailbox.id, new.iter().flat_map(|new| new.message.keywords))?;
    let first = reserve(transaction, mailbox.id, new.len())?;
    let statement = "INSERT INTO message (mailbox, uid, blob, prefix, flags, keywords, mod_seq, size, at,
        subject, author, date, message_id) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)";
    let mut statement = transaction.prepare_cached(statement)?;
    let mut uids = Vec::with_capacity(new.len());
    for (uid, Weighed { message, size, summary }) in (first..).zip(new) {
        let mut keywords = Vec::new();
        join(&mut keywords, message.keywords);
        statement.execute(params![
            mailbox.id.0,
            uid,
            message.blob.0,
            message.prefix,
            message.flags.0,
            keywords.join(" "),
            mod_seq,
            i64::try_from(*size).unwrap_or(i64::MAX),
            message.at.0,
            summary.subject,
            summary.author,
            summary.date.0,
            summary.message_id,
        ])?;
        uids.push((uid, uid));
    }
    Ok(Appended { uid_validity: mailbox.uid_validity, uids })
}

/// Copies rows to the target, whose account pays nothing yet.
fn duplicate(
    transaction: &Transaction<'_>,
    source: MailboxId,
    uids: &[u32],
    target: &Mailbox,
) -> Result<Appended, Failure> {
    let mod_seq = advance(transaction, target.id)?;
    let statement = "INSERT INTO message (mailbox, uid, blob, prefix, flags, keywords, mod_seq, size, at,
        subject, author, date, message_id)
        SELECT ?3, ?4, blob, prefix, flags, keywords, ?5, size, at, subject, author, date, message_id
        FROM message WHERE mailbox = ?1 AND uid = ?2";
    let mut statement = transaction.prepare_cached(statement)?;
    let first = reserve(transaction, target.id, uids.len())?;
    let mut pairs = Vec::with_capacity(uids.len());
    let mut next = first;
    for uid in uids {
        if statement.execute(params![source.0, uid, target.id.0, next, mod_seq])? == 1 {
            pairs.push((*uid, next));
            next = next.saturating_add(1);
        }
    }
    keywords::register_copied(transaction, target.id, (first, next.saturating_sub(1)))?;
    Ok(Appended { uid_validity: target.uid_validity, uids: pairs })
}

/// Moves every message of a mailbox, for RENAME of INBOX.
pub(super) fn move_all(transaction: &Transaction<'_>, source: &Mailbox, target: &Mailbox) -> Result<(), Failure> {
    let uids: Vec<u32> = transaction
        .prepare_cached("SELECT uid FROM message WHERE mailbox = ?1 ORDER BY uid")?
        .query_map([source.id.0], |row| Ok(narrow(row.get(0)?)))?
        .collect::<Result<_, _>>()?;
    duplicate(transaction, source.id, &uids, target)?;
    forget(transaction, source.id, &uids)
}

/// Gives the size of a mailbox's messages back to its account's quota.
pub(super) fn release(transaction: &Transaction<'_>, id: MailboxId) -> Result<(), Failure> {
    let statement = "UPDATE account SET used_bytes = used_bytes
        - (SELECT coalesce(sum(size), 0) FROM message WHERE mailbox = ?1)
        WHERE id = (SELECT account FROM mailbox WHERE id = ?1)";
    transaction.prepare_cached(statement)?.execute([id.0])?;
    Ok(())
}

/// Removes messages and gives their size back.
fn remove(transaction: &Transaction<'_>, id: MailboxId, uids: &[u32]) -> Result<(), Failure> {
    let mut size = 0_i64;
    let statement = "SELECT size FROM message WHERE mailbox = ?1 AND uid = ?2";
    for uid in uids {
        size += transaction
            .prepare_cached(statement)?
            .query_row(params![id.0, uid], |row| row.get::<_, i64>(0))
            .optional()?
            .unwrap_or(0);
    }
    let statement = "UPDATE account SET used_bytes = used_bytes - ?2
        WHERE id = (SELECT account FROM mailbox WHERE id = ?1)";
    transaction.prepare_cached(statement)?.execute(params![id.0, size])?;
    forget(transaction, id, uids)
}

/// Takes messages out of a mailbox and writes down that they are gone.
fn forget(transaction: &Transaction<'_>, id: MailboxId, uids: &[u32]) -> Result<(), Failure> {
    if uids.is_empty() {
        return Ok(());
    }
    let mod_seq = advance(transaction, id)?;
    let mut delete = transaction.prepare_cached("DELETE FROM message WHERE mailbox = ?1 AND uid = ?2")?;
    let mut note = transaction.prepare_cached("INSERT INTO expunged (mailbox, mod_seq, uid) VALUES (?1, ?2, ?3)")?;
    for uid in uids {
        if delete.execute(params![id.0, uid])? == 1 {
            note.execute(params![id.0, mod_seq, uid])?;
        }
    }
    Ok(())
}

/// The next modification sequence of a mailbox, or `NotFound` when it has been deleted.
fn advance(transaction: &Transaction<'_>, id: MailboxId) -> Result<i64, Failure> {
    let mod_seq = transaction
        .prepare_cached("UPDATE mailbox SET mod_seq = mod_seq + 1 WHERE id = ?1 RETURNING mod_seq")?
        .query_row([id.0], |row| row.get(0))
        .optional()?;
    Ok(mod_seq.ok_or_else(|| StoreError::NotFound("such mailbox any more".to_owned()))?)
}

/// Takes `count` UIDs of a mailbox; the first of them.
fn reserve(transaction: &Transaction<'_>, id: MailboxId, count: usize) -> Result<u32, Failure> {
    let count = i64::try_from(count).unwrap_or(i64::MAX);
    let next = transaction
        .prepare_cached("UPDATE mailbox SET uid_next = uid_next + ?2 WHERE id = ?1 RETURNING uid_next - ?2")?
        .query_row(params![id.0, count], |row| Ok(narrow(row.get(0)?)))?;
    Ok(next)
}

/// Counts copies against the account's quota.
fn charge(
    transaction: &Transaction<'_>,
    account: AccountId,
    target: MailboxId,
    copied: &Appended,
) -> Result<(), Failure> {
    let (Some((_, first)), Some((_, last))) = (copied.uids.first(), copied.uids.last()) else { return Ok(()) };
    let statement = "SELECT coalesce(sum(size), 0) FROM message WHERE mailbox = ?1 AND uid BETWEEN ?2 AND ?3";
    let size: i64 =
        transaction.prepare_cached(statement)?.query_row(params![target.0, first, last], |row| row.get(0))?;
    use_quota(transaction, account, super::unsigned(size))
}

/// Counts `size` octets against the quota, or refuses.
fn use_quota(transaction: &Transaction<'_>, account: AccountId, size: u64) -> Result<(), Failure> {
    let quota = quota(transaction, account)?;
    if !quota.has_room_for(size) {
        return Err(StoreError::OverQuota.into());
    }
    transaction
        .prepare_cached("UPDATE account SET used_bytes = used_bytes + ?2 WHERE id = ?1")?
        .execute(params![account.0, i64::try_from(size).unwrap_or(i64::MAX)])?;
    Ok(())
}

/// Keywords are compared without regard to case (RFC 9051 section 2.3.2).
fn contains(keywords: &[String], keyword: &str) -> bool {
    keywords.iter().any(|known| known.eq_ignore_ascii_case(keyword))
}

fn join(keywords: &mut Vec<String>, more: &[String]) {
    for keyword in more {
        if keywords.len() < KEYWORDS && !contains(keywords, keyword) {
            keywords.push(keyword.clone());
        }
    }
}
