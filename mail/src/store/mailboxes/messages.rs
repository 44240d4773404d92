//! Reading messages: their states, their summaries, their octets.

use aggregator::event::Time;
use rusqlite::{OptionalExtension, Row, params};

use super::{
    Changes, Flags, MailboxId, Message, MessageState, Page, Sought, SqliteMailboxes, folders, narrow, unsigned,
};
use crate::store::{BlobId, StoreError};

impl SqliteMailboxes {
    /// What happened in a mailbox after the modification sequence `since`; 0: all its messages.
    ///
    /// # Errors
    /// `NotFound` when the mailbox has been deleted, or `Transient` when the database refuses.
    pub fn changes(&self, id: MailboxId, since: u64) -> Result<Changes, StoreError> {
        let since = i64::try_from(since).unwrap_or(i64::MAX);
        self.database.read("reading a mailbox", |transaction| {
            let mailbox = folders::by_id(transaction, id)?;
            if since > 0 && mailbox.mod_seq == unsigned(since) {
                return Ok(Changes { mailbox, changed: Vec::new(), expunged: Vec::new() });
            }
            let changed = match since {
                0 => {
                    "SELECT uid, flags, keywords, mod_seq, size, at FROM message
                    WHERE mailbox = ?1 AND ?2 = 0 ORDER BY uid"
                }
                _ => {
                    "SELECT uid, flags, keywords, mod_seq, size, at FROM message
                    WHERE mailbox = ?1 AND mod_seq > ?2 ORDER BY uid"
                }
            };
            let changed = transaction
                .prepare_cached(changed)?
                .query_map(params![id.0, since], state)?
                .collect::<Result<_, _>>()?;
            let expunged = "SELECT uid FROM expunged WHERE mailbox = ?1 AND mod_seq > ?2 AND ?2 > 0 ORDER BY uid";
            let expunged = transaction
                .prepare_cached(expunged)?
                .query_map(params![id.0, since], |row| Ok(narrow(row.get(0)?)))?
                .collect::<Result<_, _>>()?;
            Ok(Changes { mailbox, changed, expunged })
        })
    }

    /// A message as a list shows it.
    ///
    /// # Errors
    /// `NotFound`, or `Transient` when the database refuses.
    pub fn message(&self, id: MailboxId, uid: u32) -> Result<Message, StoreError> {
        let found = self.database.read("reading a message", |transaction| {
            let statement = "SELECT uid, flags, keywords, mod_seq, size, at, blob, subject, author, date, message_id
                FROM message WHERE mailbox = ?1 AND uid = ?2";
            Ok(transaction.prepare_cached(statement)?.query_row(params![id.0, uid], message).optional()?)
        })?;
        found.ok_or_else(|| StoreError::NotFound("such message any more".to_owned()))
    }

    /// The octets of a message: its prefix and its body.
    ///
    /// # Errors
    /// `NotFound`, or `Transient` when the disk refuses.
    pub fn octets(&self, id: MailboxId, uid: u32) -> Result<Vec<u8>, StoreError> {
        let found = self.database.read("reading a message", |transaction| {
            let statement = "SELECT prefix, blob FROM message WHERE mailbox = ?1 AND uid = ?2";
            let row = |row: &Row<'_>| Ok((row.get::<_, Vec<u8>>(0)?, BlobId(row.get(1)?)));
            Ok(transaction.prepare_cached(statement)?.query_row(params![id.0, uid], row).optional()?)
        })?;
        let (prefix, blob) = found.ok_or_else(|| StoreError::NotFound("such message any more".to_owned()))?;
        let mut octets = self.blobs.get(blob)?;
        if !prefix.is_empty() {
            octets.splice(0..0, prefix);
        }
        Ok(octets)
    }

    /// The bodies of these that no message of any mailbox has.
    ///
    /// # Errors
    /// `Transient` when the database refuses.
    pub fn unreferenced(&self, mut bodies: Vec<BlobId>) -> Result<Vec<BlobId>, StoreError> {
        if bodies.is_empty() {
            return Ok(bodies);
        }
        self.database.read("looking for unreferenced bodies", |transaction| {
            let mut statement = transaction.prepare_cached("SELECT 1 FROM message WHERE blob = ?1")?;
            let mut failed = None;
            bodies.retain(|body| match statement.exists([body.0]) {
                Ok(exists) => !exists,
                Err(error) => {
                    failed = Some(error);
                    false
                }
            });
            failed.map_or(Ok(bodies), |error| Err(error.into()))
        })
    }

    /// A page of a mailbox, the newest message first.
    ///
    /// # Errors
    /// `Transient` when the database refuses.
    pub fn find(&self, id: MailboxId, page: Page<'_>) -> Result<Sought, StoreError> {
        // LIKE ignores the case of ASCII; its own wildcards in what is sought stand for themselves.
        let mut pattern = String::from("%");
        for c in page.containing.chars() {
            if matches!(c, '%' | '_' | '\\') {
                pattern.push('\\');
            }
            pattern.push(c);
        }
        pattern.push('%');
        const MATCH: &str = " FROM message WHERE mailbox = ?1 AND (?2 = '%%' OR subject LIKE ?2 ESCAPE '\\'
            OR author LIKE ?2 ESCAPE '\\' OR message_id LIKE ?2 ESCAPE '\\')";
        self.database.read("listing messages", |transaction| {
            let total = ["SELECT count(*)", MATCH].concat();
            let total =
                transaction.prepare_cached(&total)?.query_row(params![id.0, pattern], |row| Ok(narrow(row.get(0)?)))?;
            let columns = "SELECT uid, flags, keywords, mod_seq, size, at, blob, subject, author, date, message_id";
            let statement = [columns, MATCH, " ORDER BY uid DESC LIMIT ?3 OFFSET ?4"].concat();
            let messages = transaction
                .prepare_cached(&statement)?
                .query_map(params![id.0, pattern, page.limit, page.offset], message)?
                .collect::<Result<_, _>>()?;
            Ok(Sought { messages, total })
        })
    }
}

pub(super) fn state(row: &Row<'_>) -> rusqlite::Result<MessageState> {
    Ok(MessageState {
        uid: narrow(row.get(0)?),
        flags: Flags(row.get(1)?),
        keywords: row.get_ref(2)?.as_str()?.split_ascii_whitespace().map(str::to_owned).collect(),
        mod_seq: unsigned(row.get(3)?),
        size: unsigned(row.get(4)?),
        at: Time(row.get(5)?),
    })
}

fn message(row: &Row<'_>) -> rusqlite::Result<Message> {
    Ok(Message {
        state: state(row)?,
        blob: BlobId(row.get(6)?),
        subject: row.get(7)?,
        from: row.get(8)?,
        date: Time(row.get(9)?),
        message_id: row.get(10)?,
    })
}
