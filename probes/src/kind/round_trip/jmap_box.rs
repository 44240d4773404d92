//! The receiver's mailbox by JMAP, when there is no IMAP.

use std::time::Duration;

use aggregator::event::Time;
use chrono::DateTime;
use tokio::time::Instant;

use super::letter::{Letter, PROBE_HEADER, SUBJECT_PREFIX, header};
use super::sweep::{self, Candidate};
use super::{Arrival, INBOX, missing, within};
use crate::conversation::{Class, Fault};
use crate::kind::jmap::{Email, Jmap};
use crate::kind::{Awaited, Finding};

/// How often the mailbox is asked.
const POLL: Duration = Duration::from_secs(1);

/// The mailboxes that mail comes to.
pub(super) struct Places {
    inbox: String,
    junk: Option<String>,
}

impl Places {
    /// By their roles (RFC 8621 section 2).
    pub async fn find(jmap: &mut Jmap) -> Result<Self, Fault> {
        let mailboxes = jmap.mailboxes().await?;
        let of = |role: &str| {
            mailboxes.iter().find(|mailbox| mailbox.role.as_deref() == Some(role)).map(|mailbox| mailbox.id.clone())
        };
        Ok(Self { inbox: of("inbox").unwrap_or_default(), junk: of("junk") })
    }

    fn all(&self) -> Vec<&str> {
        std::iter::once(&self.inbox).chain(&self.junk).map(String::as_str).collect()
    }

    /// The folder that a message came to; `None`: it is elsewhere, like a sent one.
    fn of(&self, email: &Email) -> Option<&'static str> {
        if email.mailbox_ids.contains_key(&self.inbox) {
            Some(INBOX)
        } else if self.junk.as_ref().is_some_and(|junk| email.mailbox_ids.contains_key(junk)) {
            Some("Junk")
        } else {
            None
        }
    }
}

/// Waits for a message. Each single answer of the server must come within `timeout`.
pub(super) async fn receive(
    jmap: &mut Jmap,
    places: &Places,
    letter: &Letter,
    limit: Duration,
    timeout: Duration,
) -> Result<Arrival, Fault> {
    let begun = Instant::now();
    loop {
        let found = within(timeout, arrived(jmap, places, letter)).await?;
        if let Some((first, folder)) = found.first() {
            let after = begun.elapsed();
            let octets = within(timeout, jmap.download(&first.blob_id)).await?;
            return Ok(Arrival {
                folder: (*folder).to_owned(),
                copies: found.len(),
                octets,
                after,
                ..Arrival::default()
            });
        }
        if begun.elapsed() >= limit {
            return Err(missing(limit, "neither to the inbox nor to the junk mailbox"));
        }
        tokio::time::sleep(POLL).await;
    }
}

/// The copies of a message, where mail comes to. Among the newest there, not by a search: an index is told of a message
/// after it has come.
pub(super) async fn arrived(
    jmap: &mut Jmap,
    places: &Places,
    letter: &Letter,
) -> Result<Vec<(Email, &'static str)>, Fault> {
    let found = jmap.newest(&places.all()).await?;
    let ours = found.into_iter().filter(|email| email.subject.as_deref() == Some(letter.subject.as_str()));
    Ok(ours.filter_map(|email| places.of(&email).map(|folder| (email, folder))).collect())
}

/// Removes the probe messages that are due, and says which of them came late.
pub(super) async fn clean(
    jmap: &mut Jmap,
    places: &Places,
    run_id: &str,
    awaited: &[Awaited],
    now: Time,
) -> Result<Vec<Finding>, Fault> {
    let mut candidates = Vec::new();
    let mut emails = jmap.newest(&places.all()).await?;
    match jmap.find(SUBJECT_PREFIX.trim_end()).await {
        Ok(found) => emails.extend(found),
        // A server without an index of subjects: what is older than the newest stays.
        Err(fault) if matches!(fault.class, Class::Rejected | Class::Deferred) => {}
        Err(fault) => return Err(fault),
    }
    emails.sort_unstable_by(|a, b| a.id.cmp(&b.id));
    emails.dedup_by(|a, b| a.id == b.id);
    for email in emails {
        let subject = email.subject.clone().unwrap_or_default();
        let came = email.received_at.as_deref().and_then(|text| DateTime::parse_from_rfc3339(text).ok());
        let came = came.map(|date| Time::from_seconds(date.timestamp()));
        let arrived_in = places.of(&email).map(str::to_owned);
        let Some(mut candidate) = Candidate::new(email.id.clone(), &subject, None, came, arrived_in) else { continue };
        if candidate.is_due(run_id, awaited, now) {
            let octets = jmap.download(&email.blob_id).await?;
            candidate.header = header(&octets, PROBE_HEADER);
            if candidate.is_unproven() {
                candidate.prove(&octets);
            }
            candidates.push(candidate);
        }
    }
    let (due, findings) = sweep::sort(&candidates, run_id, awaited, now);
    jmap.destroy(&due).await?;
    Ok(findings)
}
