//! `queue.db`: entries, when they are due, who holds them.

use std::collections::HashSet;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use aggregator::event::Time;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::writer::{Writer, open};
use crate::smtp::address::EmailAddress;
use crate::smtp::command::{Notify, Recipient, Ret};
use crate::store::{BlobId, StoreError};

/// Recipients of one transaction with a next hop; the rest follow in another.
pub const MAX_BATCH_RECIPIENTS: usize = 100;

/// A message for the queue. Its body is stored already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewMessage {
    /// Its identity here and what it is known by everywhere.
    pub envelope: Envelope,
    /// Who it goes to.
    pub recipients: Vec<Recipient>,
}

/// What all recipients of a message have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// The queue id.
    pub id: String,
    /// The same over all hops of one message.
    pub trace_id: String,
    /// The Message-ID without angle brackets.
    pub message_id: String,
    /// The body.
    pub blob: BlobId,
    /// Its octets.
    pub size: u64,
    /// The reverse-path; `None` for `<>`.
    pub sender: Option<EmailAddress>,
    /// How much of it a report gives back.
    pub ret: Ret,
    /// The sender's own identity of it (RFC 3461).
    pub envid: String,
    /// Whether it needs SMTPUTF8.
    pub utf8: bool,
    /// Whether it was declared 8BITMIME.
    pub eight_bit: bool,
    /// When its last octet came.
    pub received_at: Time,
    /// When it was put into the queue.
    pub queued_at: Time,
}

/// A recipient as the queue knows him.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// His number in the message.
    pub n: i64,
    /// The forward-path, and what the sender wants to know of it.
    pub recipient: Recipient,
    /// How many attempts there were.
    pub attempts: u32,
    /// The fencing number of the lease under which it was taken.
    pub fence: i64,
}

/// Recipients of one message at one domain, taken under a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// The message.
    pub envelope: Envelope,
    /// The domain.
    pub domain: String,
    /// The recipients; at least one, at most [`MAX_BATCH_RECIPIENTS`].
    pub entries: Vec<Entry>,
}

/// A domain and when the first of its entries is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DueDomain {
    /// The domain.
    pub domain: String,
    /// When.
    pub due: Time,
}

/// What becomes of an entry after an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settled {
    /// The recipient's number.
    pub n: i64,
    /// The fencing number under which it was taken.
    pub fence: i64,
    /// What follows.
    pub then: Then,
}

/// What follows an attempt in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// It leaves the queue.
    Leave,
    /// It is tried again; the attempt counts.
    Retry(Time),
    /// It is tried again, as if there had been no attempt.
    Again(Time),
}

/// Whether the outcome of an attempt counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settlement {
    /// It is on disk.
    Done,
    /// Another process has taken an entry meanwhile: nothing was written.
    LeaseLost,
}

/// How full the queue is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Depth {
    /// Messages.
    pub messages: u64,
    /// Octets of their bodies.
    pub bytes: u64,
    /// When the oldest came.
    pub oldest: Option<Time>,
    /// Recipients, and when the oldest of their messages came, by domain.
    pub domains: Vec<(String, u64, Time)>,
}

/// Domains of a [`Depth`]: those with the most recipients.
const MAX_DEPTH_DOMAINS: usize = 100;

/// The queue of this process: one writing thread, one connection for looking.
#[derive(Debug, Clone)]
pub struct Queue {
    writer: Writer,
    reader: Arc<Mutex<Connection>>,
}

impl Queue {
    /// Opens `queue.db`, and makes it when it is not there.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let connection = open(path)?;
        connection.execute_batch(include_str!("schema.sql")).map_err(doing("laying out the queue"))?;
        let reader = open(path)?;
        Ok(Self { writer: Writer::start(connection)?, reader: Arc::new(Mutex::new(reader)) })
    }

    /// Puts a message in; on return it is on disk.
    ///
    /// # Errors
    /// `Transient`: nothing was put in.
    pub async fn insert(&self, message: NewMessage) -> Result<(), StoreError> {
        self.writer.write("queueing a message", move |db| insert(db, &message)).await
    }

    /// A number that differs when another commit was made since it was last asked for, by whatever process.
    ///
    /// # Errors
    /// `Transient`.
    pub async fn version(&self) -> Result<i64, StoreError> {
        self.read("looking at the queue", |db| db.query_row("PRAGMA data_version", [], |row| row.get(0))).await
    }

    /// Every domain with the time at which the first of its entries is due. The cost is one look-up a domain, however
    /// many entries it has.
    ///
    /// # Errors
    /// `Transient`.
    pub async fn domains(&self) -> Result<Vec<DueDomain>, StoreError> {
        self.read("looking for due messages", |db| {
            let sql = "WITH RECURSIVE d(domain) AS (
                    SELECT min(domain) FROM recipient
                    UNION ALL SELECT (SELECT min(domain) FROM recipient WHERE domain > d.domain) FROM d
                    WHERE d.domain IS NOT NULL)
                SELECT domain, (SELECT min(due) FROM recipient r WHERE r.domain = d.domain) FROM d
                WHERE domain IS NOT NULL";
            let mut statement = db.prepare_cached(sql)?;
            let rows = statement.query_map([], |row| Ok(DueDomain { domain: row.get(0)?, due: Time(row.get(1)?) }))?;
            rows.collect()
        })
        .await
    }

    /// Takes up to `limit` messages of a domain that are due, until `until`, for `owner`.
    ///
    /// # Errors
    /// `Transient`: none was taken.
    pub async fn claim(
        &self,
        domain: &str,
        limit: usize,
        owner: &str,
        now: Time,
        until: Time,
    ) -> Result<Vec<Batch>, StoreError> {
        let (domain, owner) = (domain.to_owned(), owner.to_owned());
        self.writer
            .write("taking messages from the queue", move |db| {
                let mut statement = db.prepare_cached(
                    "SELECT message FROM recipient WHERE domain = ?1 AND due <= ?2 ORDER BY due LIMIT ?3",
                )?;
                let rows = statement
                    .query_map(params![domain, now.0, (limit * MAX_BATCH_RECIPIENTS) as i64], |row| row.get(0))?;
                let mut messages: Vec<String> = Vec::new();
                for message in rows {
                    let message = message?;
                    if messages.len() < limit && !messages.contains(&message) {
                        messages.push(message);
                    }
                }
                messages.iter().map(|message| take(db, message, &domain, &owner, now, until)).collect()
            })
            .await
    }

    /// Extends the leases of batches that are being worked on. What was lost stays lost.
    ///
    /// # Errors
    /// `Transient`.
    pub async fn extend(&self, held: Vec<(String, Vec<(i64, i64)>)>, until: Time) -> Result<(), StoreError> {
        self.writer
            .write("extending leases in the queue", move |db| {
                let mut statement = db.prepare_cached(
                    "UPDATE recipient SET due = ?4 WHERE message = ?1 AND n = ?2 AND fence = ?3 AND lease_owner IS NOT NULL",
                )?;
                for (message, entries) in &held {
                    for (n, fence) in entries {
                        statement.execute(params![message, n, fence, until.0])?;
                    }
                }
                Ok(())
            })
            .await
    }

    /// Writes what became of a batch, and puts reports about it into the queue, all or nothing.
    ///
    /// # Errors
    /// `Transient`: nothing was written; the entries come up again when their lease ends.
    pub async fn settle(
        &self,
        message: &str,
        settled: Vec<Settled>,
        reports: Vec<NewMessage>,
    ) -> Result<Settlement, StoreError> {
        let message = message.to_owned();
        self.writer
            .write("settling a message of the queue", move |db| {
                for entry in &settled {
                    let held: Option<i64> = db
                        .query_row(
                            "SELECT 1 FROM recipient WHERE message = ?1 AND n = ?2 AND fence = ?3",
                            params![message, entry.n, entry.fence],
                            |row| row.get(0),
                        )
                        .optional()?;
                    if held.is_none() {
                        return Ok(Settlement::LeaseLost);
                    }
                }
                for entry in &settled {
                    let (at, counted) = match entry.then {
                        Then::Leave => {
                            let sql = "DELETE FROM recipient WHERE message = ?1 AND n = ?2";
                            db.execute(sql, params![message, entry.n])?;
                            continue;
                        }
                        Then::Retry(at) => (at, 1),
                        Then::Again(at) => (at, 0),
                    };
                    db.execute(
                        "UPDATE recipient SET due = ?3, lease_owner = NULL, attempts = attempts + ?4
                         WHERE message = ?1 AND n = ?2",
                        params![message, entry.n, at.0, counted],
                    )?;
                }
                db.execute(
                    "DELETE FROM message WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM recipient WHERE message = ?1)",
                    [&message],
                )?;
                reports.iter().try_for_each(|report| insert(db, report))?;
                Ok(Settlement::Done)
            })
            .await
    }

    /// How full the queue is.
    ///
    /// # Errors
    /// `Transient`.
    pub async fn depth(&self) -> Result<Depth, StoreError> {
        self.read("measuring the queue", |db| {
            let mut depth = db.query_row("SELECT count(*), total(size), min(received_at) FROM message", [], |row| {
                Ok(Depth {
                    messages: unsigned(row.get(0)?),
                    bytes: row.get::<_, f64>(1)? as u64,
                    oldest: row.get::<_, Option<i64>>(2)?.map(Time),
                    domains: Vec::new(),
                })
            })?;
            let sql = "SELECT r.domain, count(*) AS waiting, min(m.received_at) FROM recipient r JOIN message m ON m.id = r.message
                GROUP BY r.domain ORDER BY waiting DESC LIMIT ?1";
            let mut statement = db.prepare_cached(sql)?;
            let rows = statement.query_map([MAX_DEPTH_DOMAINS as i64], |row| {
                Ok((row.get(0)?, unsigned(row.get(1)?), Time(row.get(2)?)))
            })?;
            depth.domains = rows.collect::<rusqlite::Result<_>>()?;
            Ok(depth)
        })
        .await
    }

    /// The bodies of all messages: 32 octets a message are held while somebody looks.
    ///
    /// # Errors
    /// `Transient`.
    pub async fn bodies(&self) -> Result<HashSet<BlobId>, StoreError> {
        self.read("listing the bodies of the queue", |db| {
            let mut statement = db.prepare_cached("SELECT blob FROM message")?;
            statement.query_map([], |row| Ok(BlobId(row.get(0)?)))?.collect()
        })
        .await
    }

    async fn read<T: Send + 'static>(
        &self,
        what: &'static str,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let reader = Arc::clone(&self.reader);
        let read = move || query(&reader.lock().unwrap_or_else(PoisonError::into_inner));
        match tokio::task::spawn_blocking(read).await {
            Ok(outcome) => outcome.map_err(doing(what)),
            Err(error) => Err(StoreError::Transient { doing: what.to_owned(), source: error.into() }),
        }
    }
}

fn doing(what: &str) -> impl FnOnce(rusqlite::Error) -> StoreError {
    let doing = what.to_owned();
    move |error| StoreError::Transient { doing, source: error.into() }
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

fn insert(db: &Connection, message: &NewMessage) -> rusqlite::Result<()> {
    let envelope = &message.envelope;
    db.prepare_cached(
        "INSERT INTO message (id, trace_id, message_id, blob, size, sender, ret_full, envid, utf8, eight_bit,
            received_at, queued_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
    )?
    .execute(params![
        envelope.id,
        envelope.trace_id,
        envelope.message_id,
        envelope.blob.0,
        i64::try_from(envelope.size).unwrap_or(i64::MAX),
        envelope.sender.as_ref().map(ToString::to_string),
        envelope.ret == Ret::Full,
        envelope.envid,
        envelope.utf8,
        envelope.eight_bit,
        envelope.received_at.0,
        envelope.queued_at.0,
    ])?;
    let mut statement = db.prepare_cached(
        "INSERT INTO recipient (message, n, address, domain, notify, orcpt, due) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?;
    for (n, recipient) in message.recipients.iter().enumerate() {
        statement.execute(params![
            envelope.id,
            n as i64,
            recipient.address.to_string(),
            recipient.address.domain(),
            recipient.notify.bits(),
            recipient.orcpt,
            envelope.queued_at.0,
        ])?;
    }
    Ok(())
}

fn take(db: &Connection, message: &str, domain: &str, owner: &str, now: Time, until: Time) -> rusqlite::Result<Batch> {
    let mut statement = db.prepare_cached(
        "UPDATE recipient SET due = ?5, lease_owner = ?4, fence = fence + 1
         WHERE message = ?1 AND n IN (
             SELECT n FROM recipient WHERE message = ?1 AND domain = ?2 AND due <= ?3 ORDER BY n LIMIT ?6)
         RETURNING n, address, notify, orcpt, attempts, fence",
    )?;
    let rows =
        statement.query_map(params![message, domain, now.0, owner, until.0, MAX_BATCH_RECIPIENTS as i64], |row| {
            let recipient =
                Recipient { address: address(row, 1)?, notify: Notify::from_bits(row.get(2)?), orcpt: row.get(3)? };
            Ok(Entry { n: row.get(0)?, recipient, attempts: row.get(4)?, fence: row.get(5)? })
        })?;
    let entries = rows.collect::<rusqlite::Result<_>>()?;
    let mut statement = db.prepare_cached(
        "SELECT id, trace_id, message_id, blob, size, sender, ret_full, envid, utf8, eight_bit, received_at, queued_at
         FROM message WHERE id = ?1",
    )?;
    let envelope = statement.query_row([message], |row| {
        let sender = row.get_ref(5)?.as_str_or_null()?.is_some();
        Ok(Envelope {
            id: row.get(0)?,
            trace_id: row.get(1)?,
            message_id: row.get(2)?,
            blob: BlobId(row.get(3)?),
            size: unsigned(row.get(4)?),
            sender: if sender { Some(address(row, 5)?) } else { None },
            ret: if row.get(6)? { Ret::Full } else { Ret::Headers },
            envid: row.get(7)?,
            utf8: row.get(8)?,
            eight_bit: row.get(9)?,
            received_at: Time(row.get(10)?),
            queued_at: Time(row.get(11)?),
        })
    })?;
    Ok(Batch { envelope, domain: domain.to_owned(), entries })
}

fn address(row: &Row<'_>, column: usize) -> rusqlite::Result<EmailAddress> {
    let text: String = row.get(column)?;
    text.parse().map_err(|error: crate::smtp::address::AddressError| {
        rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, Box::new(error))
    })
}

#[cfg(test)]
pub(crate) mod tests;
