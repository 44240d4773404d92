//! Stalwart's log, as text (`2026-11-22T10:16:48Z INFO Message delivered (delivery.delivered) queueId = 1, …`) and as
//! the JSON of its webhooks (`{"createdAt":…,"type":"delivery.delivered","data":{…}}`, one or a list of them).

mod record;

use super::clock::Clock;
use super::recent::Recent;
use super::text::{enhanced_code, mailbox, queued_as};
use super::{Dialect, Entry, Reading};
use crate::event::{AuthEvent, Delivery, DeliveryOutcome, Event, Reception, ReceptionVerdict};
use record::Record;

/// The registry's entry.
pub const ENTRY: Entry =
    Entry { name: "stalwart", title: "Stalwart, text or JSON", make: || Box::new(Stalwart::default()), looks_like };

/// SMTP sessions whose EHLO, sender and checks are remembered.
const SESSIONS: usize = 10_000;
/// Queued messages and recipients whose attempts are counted.
const ENVELOPES: usize = 50_000;

#[derive(Default)]
struct Stalwart {
    sessions: Recent<Session, SESSIONS>,
    /// How often a message was deferred for a recipient.
    deferrals: Recent<u32, ENVELOPES>,
}

/// What the lines of an SMTP session say before it offers a message.
#[derive(Debug, Default, Clone)]
struct Session {
    helo: String,
    user: String,
    sender: String,
    spf: &'static str,
    dkim: &'static str,
    dmarc: &'static str,
    arc: &'static str,
}

fn looks_like(line: &str) -> bool {
    let mut words = line.splitn(3, ' ');
    let dated = words.next().is_some_and(|time| time.starts_with(|c: char| c.is_ascii_digit()) && time.contains('T'));
    let level = words.next().is_some_and(|level| matches!(level, "ERROR" | "WARN" | "INFO" | "DEBUG" | "TRACE"));
    (dated && level) || (line.starts_with('{') && line.contains("\"createdAt\":") && line.contains("\"type\":"))
}

impl Dialect for Stalwart {
    fn read(&mut self, line: &str, _clock: &Clock, out: &mut Vec<Event>) -> Reading {
        let records = record::read(line);
        for record in &records {
            self.record(record, out);
        }
        if records.is_empty() { Reading::Unrecognised } else { Reading::Recognised }
    }
}

impl Stalwart {
    fn record(&mut self, record: &Record, out: &mut Vec<Event>) {
        let (family, kind) = record.kind.split_once('.').unwrap_or_default();
        match family {
            "smtp" => self.smtp(record, kind, out),
            "auth" => self.authentication(record, kind, out),
            // `queue.queue-message`, later `queue.message-queued`.
            "queue" if kind.starts_with("queue-") || kind.ends_with("-queued") => self.queued(record, out),
            "delivery" => self.delivery(record, kind, out),
            "network" if kind == "connection-end" => {
                self.sessions.remove(record.session().as_str());
            }
            _ => {}
        }
    }

    /// Remembers what a line says of its session.
    fn note(&mut self, record: &Record, note: impl FnOnce(&mut Session)) {
        let key = record.session();
        match self.sessions.get_mut(key.as_str()) {
            Some(session) => note(session),
            None => {
                let mut session = Session::default();
                note(&mut session);
                self.sessions.insert(key.as_str(), session);
            }
        }
    }

    fn smtp(&mut self, record: &Record, kind: &str, out: &mut Vec<Event>) {
        let check = record.check(kind);
        match kind {
            "ehlo" => self.note(record, |session| session.helo = record.text("domain").to_owned()),
            "mail-from" => self.note(record, |session| session.sender = record.text("from").to_owned()),
            "spf-from-pass" | "spf-from-fail" => self.note(record, |session| session.spf = check),
            "dkim-pass" | "dkim-fail" => self.note(record, |session| session.dkim = check),
            "dmarc-pass" | "dmarc-fail" => self.note(record, |session| session.dmarc = check),
            "arc-pass" | "arc-fail" => self.note(record, |session| session.arc = check),
            "mailbox-does-not-exist"
            | "relay-not-allowed"
            | "message-too-large"
            | "loop-detected"
            | "mail-from-unauthenticated"
            | "mail-from-unauthorized"
            | "message-parse-failed" => {
                out.push(self.reception(record, ReceptionVerdict::Rejected).into());
            }
            "rcpt-to-greylisted"
            | "rate-limit-exceeded"
            | "concurrency-limit-exceeded"
            | "too-many-recipients"
            | "too-many-messages" => out.push(self.reception(record, ReceptionVerdict::Deferred).into()),
            _ => {}
        }
    }

    fn reception(&mut self, record: &Record, verdict: ReceptionVerdict) -> Reception {
        let session = self.sessions.get(record.session().as_str()).cloned().unwrap_or_default();
        let from = record.text("from");
        let (sender_user, sender_domain) = mailbox(if from.is_empty() { &session.sender } else { from });
        let recipients = record.list("to");
        Reception {
            ts: record.time,
            mta: ENTRY.name.to_owned(),
            queue_id: record.text("queueId").to_owned(),
            message_id: record.text("messageId").trim_start_matches('<').trim_end_matches('>').to_owned(),
            client_ip: record.text("remoteIp").parse().ok(),
            helo: session.helo,
            auth_user: session.user,
            sender_user: sender_user.to_owned(),
            sender_domain,
            rcpt_domain: mailbox(recipients.first().map_or("", String::as_str)).1,
            size_bytes: record.text("size").parse().ok(),
            verdict,
            response: if verdict == ReceptionVerdict::Accepted { String::new() } else { record.description.clone() },
            spf: session.spf.to_owned(),
            dkim: session.dkim.to_owned(),
            dmarc: session.dmarc.to_owned(),
            arc: session.arc.to_owned(),
            ..Reception::default()
        }
    }

    fn queued(&mut self, record: &Record, out: &mut Vec<Event>) {
        let queue_id = record.text("queueId");
        let recipients = record.list("to");
        for recipient in recipients {
            self.deferrals.insert(envelope(queue_id, recipient).as_str(), 0);
        }
        let count = u32::try_from(recipients.len()).ok().filter(|count| *count > 0);
        let count = count.or_else(|| record.text("total").parse().ok());
        out.push(Reception { rcpt_count: count, ..self.reception(record, ReceptionVerdict::Accepted) }.into());
    }

    fn authentication(&mut self, record: &Record, kind: &str, out: &mut Vec<Event>) {
        if !matches!(kind, "success" | "failed" | "too-many-attempts" | "banned") {
            return;
        }
        let user = ["accountName", "id"].iter().map(|key| record.text(key)).find(|user| !user.is_empty());
        let ok = kind == "success";
        if ok {
            self.note(record, |session| session.user = user.unwrap_or_default().to_owned());
        }
        out.push(
            AuthEvent {
                ts: record.time,
                protocol: record.protocol().to_owned(),
                user: user.unwrap_or_default().to_owned(),
                client_ip: record.text("remoteIp").parse().ok(),
                result: if ok { "ok" } else { "failed" }.to_owned(),
                reason: match kind {
                    "success" => String::new(),
                    "failed" => record.text("details").to_owned(),
                    other => other.to_owned(),
                },
                ..AuthEvent::default()
            }
            .into(),
        );
    }

    fn delivery(&mut self, record: &Record, kind: &str, out: &mut Vec<Event>) {
        let code: Option<u16> = record.text("code").parse().ok();
        let refused = match code {
            Some(500..=599) => DeliveryOutcome::Bounced,
            _ => DeliveryOutcome::Deferred,
        };
        let outcome = match kind {
            "delivered" => DeliveryOutcome::Delivered,
            "rcpt-to-rejected" | "message-rejected" | "mail-from-rejected" | "ehlo-rejected" => refused,
            "null-mx" => DeliveryOutcome::Bounced,
            "rcpt-to-failed" | "connect-error" | "greeting-failed" | "mx-lookup-failed" | "ip-lookup-failed"
            | "auth-failed" | "start-tls-error" | "implicit-tls-error" => DeliveryOutcome::Deferred,
            _ => return,
        };
        let queue_id = record.text("queueId");
        // The message's recipients come first, then, where one is meant, he.
        let meant = record.last("to");
        let recipients: &[String] = if meant.len() == 1 { meant } else { &[] };
        let recipient = recipients.first().map_or("", String::as_str);
        let (user, domain) = mailbox(recipient);
        let domain = if recipient.is_empty() { record.text("domain").to_ascii_lowercase() } else { domain };
        let attempt = self.deferrals.get_mut(envelope(queue_id, recipient).as_str()).map(|deferrals| {
            let attempt = *deferrals + 1;
            *deferrals += u32::from(outcome == DeliveryOutcome::Deferred);
            attempt
        });
        let (sender_user, sender_domain) = mailbox(record.text("from"));
        let details = ["details", "reason", "causedBy", "result"].iter().map(|key| record.text(key));
        let details = details.into_iter().find(|details| !details.is_empty()).unwrap_or_default();
        out.push(
            Delivery {
                ts: record.time,
                mta: ENTRY.name.to_owned(),
                queue_id: queue_id.to_owned(),
                next_queue_id: if outcome == DeliveryOutcome::Delivered { queued_as(details) } else { "" }.to_owned(),
                sender_user: sender_user.to_owned(),
                sender_domain,
                rcpt_user: user.to_owned(),
                rcpt_domain: domain,
                mx_host: record.text("hostname").trim_end_matches('.').to_owned(),
                mx_ip: record.text("remoteIp").parse().ok(),
                source_ip: record.text("localIp").parse().ok(),
                attempt,
                outcome,
                is_final: outcome != DeliveryOutcome::Deferred,
                smtp_code: code,
                enhanced_code: enhanced_code(details).to_owned(),
                response: details.to_owned(),
                size_bytes: record.text("size").parse().ok(),
                ..Delivery::default()
            }
            .into(),
        );
    }
}

/// One recipient of one message.
fn envelope(queue_id: &str, recipient: &str) -> String {
    format!("{queue_id} {recipient}")
}

#[cfg(test)]
mod tests;
