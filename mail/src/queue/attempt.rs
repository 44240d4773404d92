//! One attempt: a batch of due messages of a domain to mailboxes or over one connection, and what follows from it.

mod tell;

use std::sync::Arc;

use aggregator::emit::Emitter;
use aggregator::event::Time;

use self::tell::{event, report_line};
use super::dsn::{Line, Report};
use super::id;
use super::relay::{HopFailure, Link, LinkFacts, Relay};
use super::retry::{self, Next, Verdict};
use super::route::{self, Dns, Hop, NoRoute};
use super::store::{Batch, Entry, Envelope, NewMessage, Queue, Settled, Settlement, Then};
use crate::config::Config;
use crate::smtp::client::{ServerReply, Transaction};
use crate::smtp::command::{Notify, Recipient, Ret};
use crate::store::{BlobStore, Deliver, Directory, LocalDelivery, StoreError};

/// The mailbox that mail is delivered to.
const INBOX: &str = "INBOX";

/// What delivers: shared by all attempts of a process.
pub struct Courier {
    /// The section of the configuration.
    pub config: Arc<Config>,
    /// The queue.
    pub queue: Queue,
    /// Bodies.
    pub blobs: Arc<dyn BlobStore>,
    /// Which addresses end here.
    pub directory: Arc<dyn Directory>,
    /// Mailboxes.
    pub mailboxes: Arc<dyn Deliver>,
    /// Where domains are looked up.
    pub dns: Arc<dyn Dns>,
    /// Connections to next hops.
    pub relay: Relay,
    /// Where events go.
    pub emitter: Emitter,
}

/// What one attempt came to for one recipient.
#[derive(Debug, Clone)]
pub(super) struct Outcome {
    verdict: Verdict,
    code: Option<u16>,
    enhanced: String,
    text: String,
    class: &'static str,
}

impl Outcome {
    fn new(verdict: Verdict, enhanced: &str, text: impl Into<String>, class: &'static str) -> Self {
        Self { verdict, code: None, enhanced: enhanced.to_owned(), text: text.into(), class }
    }
    fn of_reply(reply: ServerReply) -> Self {
        let verdict = match reply.code / 100 {
            2 => Verdict::Delivered,
            5 => Verdict::Failed,
            _ => Verdict::Deferred,
        };
        Self { verdict, code: Some(reply.code), enhanced: reply.enhanced, text: reply.text, class: "" }
    }
    /// The status for a report: never empty.
    fn status(&self) -> String {
        match (self.enhanced.is_empty(), self.verdict) {
            (false, _) => self.enhanced.clone(),
            (true, Verdict::Delivered) => "2.0.0".to_owned(),
            (true, Verdict::Deferred | Verdict::Busy) => "4.0.0".to_owned(),
            (true, Verdict::Failed) => "5.0.0".to_owned(),
        }
    }
}

/// The way that a batch took.
#[derive(Debug, Clone, Default)]
struct Way {
    protocol: &'static str,
    link: Option<LinkFacts>,
    transmit_ms: u64,
    /// Whether who took it reports delivery himself.
    passes_dsn: bool,
}

/// How an attempt ends for one recipient.
struct End<'a> {
    entry: &'a Entry,
    outcome: &'a Outcome,
    next: Next,
    /// When it is tried again because its report could not be stored.
    unreported: Option<Time>,
}

impl End<'_> {
    fn settled(&self) -> Settled {
        let then = match (self.unreported, self.next) {
            (Some(at), _) | (None, Next::Retry(at)) => Then::Retry(at),
            (None, Next::Again(at)) => Then::Again(at),
            (None, Next::Done | Next::Refused | Next::Expired) => Then::Leave,
        };
        Settled { n: self.entry.n, fence: self.entry.fence, then }
    }
}

impl Courier {
    /// Whether mail for a domain goes to mailboxes here.
    pub async fn is_local(&self, domain: &str) -> bool {
        if self.config.is_local_domain(domain) {
            return true;
        }
        let (directory, domain) = (Arc::clone(&self.directory), domain.to_owned());
        matches!(tokio::task::spawn_blocking(move || directory.is_local_domain(&domain)).await, Ok(Ok(true)))
    }

    /// Carries batches of one domain, one after another.
    pub async fn carry(&self, domain: &str, batches: Vec<Batch>) {
        if self.is_local(domain).await {
            for batch in batches {
                let begun = Time::now();
                let (batch, outcomes) = self.deliver(batch).await;
                let way = Way { protocol: "local", transmit_ms: Time::now().millis_since(begun), ..Way::default() };
                self.conclude(batch, outcomes, &way, begun).await;
            }
        } else {
            self.pass_on(domain, batches).await;
        }
    }

    /// Delivers to mailboxes. The blocking work runs in one piece off the async threads.
    pub(super) async fn deliver(&self, batch: Batch) -> (Batch, Vec<Outcome>) {
        let (directory, mailboxes) = (Arc::clone(&self.directory), Arc::clone(&self.mailboxes));
        let copy = batch.clone();
        let work = move || {
            let deliver = |entry| deliver_one(directory.as_ref(), mailboxes.as_ref(), &copy.envelope, entry);
            copy.entries.iter().map(deliver).collect()
        };
        let outcomes = tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
            tracing::error!(%error, "a local delivery died");
            let outcome = Outcome::new(Verdict::Deferred, "4.3.0", "internal error", "internal");
            vec![outcome; batch.entries.len()]
        });
        (batch, outcomes)
    }

    async fn pass_on(&self, domain: &str, batches: Vec<Batch>) {
        let mut link: Option<Link> = None;
        let mut failure: Option<(Outcome, Way)> = None;
        for batch in batches {
            let begun = Time::now();
            if link.is_none() && failure.is_none() {
                match self.connect(domain).await {
                    Ok(open) => link = Some(open),
                    Err(failed) => failure = Some(*failed),
                }
            }
            let (outcomes, way) = match (&mut link, &failure) {
                (Some(open), _) => match self.send(open, &batch).await {
                    Ok(sent) => sent,
                    Err(failed) => {
                        link = None;
                        let (outcome, way) = *failed;
                        (vec![outcome; batch.entries.len()], way)
                    }
                },
                (None, Some((outcome, way))) => (vec![outcome.clone(); batch.entries.len()], way.clone()),
                (None, None) => continue,
            };
            self.conclude(batch, outcomes, &way, begun).await;
            // The connection is made once; the next batch of this task does not pay for it.
            if let Some(open) = &mut link {
                open.facts.connect_ms = 0;
            }
        }
        if let Some(open) = link {
            open.quit().await;
        }
    }

    /// Connects to the first hop of a domain that will talk.
    async fn connect(&self, domain: &str) -> Result<Link, Box<(Outcome, Way)>> {
        let way = Way { protocol: "smtp", ..Way::default() };
        let hops = match route::hops(domain, &self.config, self.dns.as_ref()).await {
            Ok(hops) => hops,
            Err(NoRoute::Permanent(status, why)) => {
                return Err(Box::new((Outcome::new(Verdict::Failed, status, why, "dns"), way)));
            }
            Err(NoRoute::Temporary(why)) => {
                return Err(Box::new((Outcome::new(Verdict::Deferred, "4.4.3", why, "dns"), way)));
            }
        };
        let mut last = (Outcome::new(Verdict::Deferred, "4.4.1", "no host could be tried", "connection"), way);
        for hop in hops {
            match self.relay.connect(&hop).await {
                Ok(link) => return Ok(link),
                Err(failed) => {
                    let way = Way { link: Some(tried(&hop)), protocol: "smtp", ..Way::default() };
                    last = (hop_outcome(failed), way);
                }
            }
        }
        // A refusal of the session (RFC 5321 section 4.2.4.2: 554, 556) is not one of the message.
        if last.0.verdict == Verdict::Failed && last.0.code != Some(521) && last.0.code != Some(556) {
            last.0.verdict = Verdict::Deferred;
        }
        Err(Box::new(last))
    }

    async fn send(&self, link: &mut Link, batch: &Batch) -> Result<(Vec<Outcome>, Way), Box<(Outcome, Way)>> {
        let mut way =
            Way { protocol: "smtp", link: Some(link.facts.clone()), transmit_ms: 0, passes_dsn: link.has_dsn() };
        let content = match self.body(&batch.envelope).await {
            Ok(content) => content,
            Err(outcome) => return Ok((vec![outcome; batch.entries.len()], way)),
        };
        let envelope = &batch.envelope;
        let transaction = Transaction {
            sender: envelope.sender.clone(),
            ret: envelope.ret,
            envid: envelope.envid.clone(),
            utf8: envelope.utf8,
            eight_bit: envelope.eight_bit,
            size: envelope.size,
            recipients: batch.entries.iter().map(|entry| entry.recipient.clone()).collect(),
        };
        match link.message(transaction, &content).await {
            Ok((replies, transmit_ms)) => {
                way.transmit_ms = transmit_ms;
                Ok((replies.into_iter().map(Outcome::of_reply).collect(), way))
            }
            Err(failed) => {
                let mut outcome = hop_outcome(failed);
                outcome.verdict = Verdict::Deferred;
                Err(Box::new((outcome, way)))
            }
        }
    }

    async fn body(&self, envelope: &Envelope) -> Result<Vec<u8>, Outcome> {
        let (blobs, blob) = (Arc::clone(&self.blobs), envelope.blob);
        let read = tokio::task::spawn_blocking(move || blobs.get(blob)).await;
        let error = match read {
            Ok(Ok(content)) => return Ok(content),
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        tracing::error!(id = %envelope.id, %error, "the body of a message could not be read");
        Err(Outcome::new(Verdict::Deferred, "4.3.0", "the body could not be read", "storage"))
    }

    /// Writes what became of a batch, with reports to the sender where he wants them, and tells of it.
    async fn conclude(&self, batch: Batch, outcomes: Vec<Outcome>, way: &Way, begun: Time) {
        let now = Time::now();
        let mut lines = Vec::new();
        let mut ends = Vec::new();
        for (entry, outcome) in batch.entries.iter().zip(&outcomes) {
            let jitter = id::random().map_or(u16::MAX / 2, u16::from_le_bytes);
            let (limits, attempts) = (&self.config.limits, entry.attempts + 1);
            let next = retry::next(outcome.verdict, attempts, batch.envelope.received_at, now, limits, jitter);
            let line = report_line(&entry.recipient, outcome, next, way);
            // Without its report an entry waits, unless the next hop has the message: it must not get it twice.
            let waits = line.is_some() && (next != Next::Done || way.protocol == "local");
            let unreported = waits.then(|| retry::later(attempts, now, limits, jitter));
            lines.extend(line);
            ends.push(End { entry, outcome, next, unreported });
        }
        let reports = match self.report(&batch.envelope, lines, now).await {
            Ok(reports) => {
                ends.iter_mut().for_each(|end| end.unreported = None);
                reports
            }
            Err(error) => {
                tracing::error!(id = %batch.envelope.id, %error, "a report could not be stored; what needs it is tried again");
                Vec::new()
            }
        };
        let settled = ends.iter().map(End::settled).collect();
        match self.queue.settle(&batch.envelope.id, settled, reports).await {
            Ok(Settlement::Done) => {
                for end in ends.iter().filter(|end| end.unreported.is_none()) {
                    self.emitter.emit(event(&batch, end, way, (begun, now)));
                }
            }
            Ok(Settlement::LeaseLost) => {
                tracing::warn!(id = %batch.envelope.id, "another queue process had taken a message meanwhile");
            }
            Err(error) => {
                tracing::error!(id = %batch.envelope.id, %error, "an outcome could not be written; the attempt will be made again");
            }
        }
    }

    /// The report as a message for the queue; none for a message without sender: no report about a report.
    async fn report(&self, envelope: &Envelope, lines: Vec<Line>, now: Time) -> Result<Vec<NewMessage>, StoreError> {
        let Some(sender) = envelope.sender.clone().filter(|_| !lines.is_empty()) else { return Ok(Vec::new()) };
        let no_identity = StoreError::transient::<std::io::Error>("giving a report an identity");
        let id = id::queue_id(now).map_err(no_identity)?;
        let message_id = [&id, "@", self.config.hostname.as_str()].concat();
        let (blobs, hostname, about) = (Arc::clone(&self.blobs), self.config.hostname.clone(), envelope.clone());
        let report_id = message_id.clone();
        let stored = tokio::task::spawn_blocking(move || {
            // A body that is gone must not keep its sender from learning that his message was not delivered.
            let content = blobs.get(about.blob).unwrap_or_default();
            let (hostname, message_id) = (&hostname, &report_id);
            let message =
                Report { hostname, envelope: &about, content: &content, lines: &lines, message_id, at: now }.message();
            blobs.put(&message).map(|blob| (blob, message.len() as u64))
        });
        let (blob, size) = stored.await.map_err(StoreError::transient("storing a report"))??;
        let envelope = Envelope {
            id,
            trace_id: envelope.trace_id.clone(),
            message_id,
            blob,
            size,
            sender: None,
            ret: Ret::Headers,
            envid: String::new(),
            utf8: envelope.utf8,
            eight_bit: true,
            received_at: now,
            queued_at: now,
        };
        let notify = Notify { success: false, failure: false, delay: false };
        Ok(vec![NewMessage { envelope, recipients: vec![Recipient { address: sender, notify, orcpt: String::new() }] }])
    }
}

fn deliver_one(directory: &dyn Directory, mailboxes: &dyn Deliver, envelope: &Envelope, entry: &Entry) -> Outcome {
    let address = &entry.recipient.address;
    let outcome = (|| {
        let account = directory.resolve(&address.to_string())?.ok_or(StoreError::NotFound("such a user".to_owned()))?;
        let sender = envelope.sender.as_ref().map(ToString::to_string).unwrap_or_default();
        let prefix = ["Return-Path: <", &sender, ">\r\nDelivered-To: ", &address.to_string(), "\r\n"].concat();
        mailboxes.deliver(&LocalDelivery {
            account: account.id,
            mailbox: INBOX,
            blob: envelope.blob,
            prefix: prefix.as_bytes(),
            at: Time::now(),
            token: &[&envelope.id, "/", &entry.n.to_string()].concat(),
        })
    })();
    match outcome {
        Ok(()) => Outcome::new(Verdict::Delivered, "2.0.0", "delivered to the mailbox", ""),
        Err(StoreError::OverQuota) => Outcome::new(Verdict::Deferred, "4.2.2", "the mailbox is full", "mailbox_full"),
        Err(StoreError::NotFound(_)) => Outcome::new(Verdict::Failed, "5.1.1", "no such user here", "user_unknown"),
        Err(error @ (StoreError::Transient { .. } | StoreError::Exists(_) | StoreError::TooManyKeywords)) => {
            tracing::error!(id = %envelope.id, %error, "a message could not be put into a mailbox");
            Outcome::new(Verdict::Busy, "4.3.0", "the mailbox could not be written", "storage")
        }
    }
}

fn tried(hop: &Hop) -> LinkFacts {
    LinkFacts { hop: hop.clone(), source_ip: None, tls: None, trust: "", connect_ms: 0 }
}

fn hop_outcome(failure: HopFailure) -> Outcome {
    let text = |doing: &str, error: &std::io::Error| [doing, ": ", &error.to_string()].concat();
    match failure {
        HopFailure::Refused(reply) => Outcome::of_reply(reply),
        HopFailure::Tls(error) => Outcome::new(Verdict::Deferred, "4.7.5", text("TLS", &error), "tls"),
        HopFailure::Io { doing, source } => {
            let status = if doing == "connecting" { "4.4.1" } else { "4.4.2" };
            Outcome::new(Verdict::Deferred, status, text(doing, &source), "connection")
        }
    }
}

#[cfg(test)]
mod tests;
