//! KumoMTA's log records: one JSON object a line (KumoMTA reference, "Log Record").

use std::borrow::Cow;

use serde::Deserialize;

use super::clock::Clock;
use super::text::{mailbox, queued_as};
use super::{Dialect, Entry, Reading, head};
use crate::event::{Address, Complaint, Delivery, DeliveryOutcome, Event, Reception, ReceptionVerdict, Time};

/// The registry's entry.
pub const ENTRY: Entry =
    Entry { name: "kumomta", title: "KumoMTA, JSON log records", make: || Box::new(KumoMta), looks_like };

struct KumoMta;

fn looks_like(line: &str) -> bool {
    line.starts_with('{') && line.contains("\"type\":") && line.contains("\"nodeid\":")
}

/// One record. What a version does not write is unknown.
#[derive(Deserialize)]
struct Record<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    id: Cow<'a, str>,
    #[serde(borrow, default)]
    sender: Cow<'a, str>,
    /// One, or the recipients of one transaction as a list.
    #[serde(default)]
    recipient: Recipients,
    #[serde(default)]
    size: Option<u64>,
    #[serde(default)]
    response: Option<Response>,
    #[serde(default)]
    peer_address: Option<Peer>,
    timestamp: f64,
    #[serde(default)]
    created: Option<f64>,
    #[serde(default)]
    event_time: Option<Time>,
    #[serde(default)]
    created_time: Option<Time>,
    #[serde(default)]
    num_attempts: Option<u32>,
    #[serde(default)]
    source_address: Option<Source>,
    #[serde(default)]
    feedback_report: Option<Feedback>,
    #[serde(default)]
    meta: Option<serde_json::Map<String, serde_json::Value>>,
    #[serde(default)]
    headers: Option<serde_json::Map<String, serde_json::Value>>,
    #[serde(default)]
    delivery_protocol: Option<String>,
    #[serde(default)]
    reception_protocol: Option<String>,
    #[serde(default)]
    tls_cipher: Option<String>,
    #[serde(default)]
    tls_protocol_version: Option<String>,
    #[serde(default)]
    provider_name: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Recipients {
    One(String),
    Many(Vec<String>),
}

impl Default for Recipients {
    fn default() -> Self {
        Self::Many(Vec::new())
    }
}

impl Recipients {
    fn all(&self) -> &[String] {
        match self {
            Self::One(recipient) if recipient.is_empty() => &[],
            Self::One(recipient) => std::slice::from_ref(recipient),
            Self::Many(recipients) => recipients,
        }
    }

    fn first(&self) -> &str {
        self.all().first().map_or("", String::as_str)
    }
}

#[derive(Deserialize, Default)]
struct Response {
    #[serde(default)]
    code: u16,
    #[serde(default)]
    enhanced_code: Option<EnhancedCode>,
    #[serde(default)]
    content: String,
}

#[derive(Deserialize)]
struct EnhancedCode {
    class: u8,
    subject: u16,
    detail: u16,
}

#[derive(Deserialize)]
struct Peer {
    #[serde(default)]
    name: String,
    #[serde(default)]
    addr: String,
}

#[derive(Deserialize)]
struct Source {
    #[serde(default)]
    address: String,
}

#[derive(Deserialize)]
struct Feedback {
    #[serde(default)]
    feedback_type: String,
    #[serde(default)]
    user_agent: String,
    #[serde(default)]
    original_mail_from: Option<String>,
    #[serde(default)]
    original_rcpto_to: Vec<String>,
    #[serde(default)]
    reported_domain: Vec<String>,
    #[serde(default)]
    source_ip: Option<String>,
    #[serde(default)]
    arrival_date: Option<Time>,
}

impl Dialect for KumoMta {
    fn read(&mut self, line: &str, _clock: &Clock, out: &mut Vec<Event>) -> Reading {
        let unwrapped = head::unwrapped(line);
        let line = unwrapped.as_ref().map_or(line, |(_, text)| text);
        let Ok(record) = serde_json::from_str::<Record<'_>>(line) else { return Reading::Unrecognised };
        match &*record.kind {
            "Reception" => out.push(record.reception(ReceptionVerdict::Accepted).into()),
            "Rejection" => out.push(record.reception(record.refusal()).into()),
            "Delivery" => record.deliveries(DeliveryOutcome::Delivered, out),
            "TransientFailure" => record.deliveries(DeliveryOutcome::Deferred, out),
            "Bounce" | "AdminBounce" | "OOB" => record.deliveries(DeliveryOutcome::Bounced, out),
            "Expiration" => record.deliveries(DeliveryOutcome::Expired, out),
            "Feedback" => out.extend(record.complaint().map(Event::from)),
            "Delayed" | "Delay" | "AdminRebind" | "DeferredInjectionRebind" | "XferOut" | "XferIn" | "Any" => {}
            _ => return Reading::Unrecognised,
        }
        Reading::Recognised
    }
}

impl Record<'_> {
    fn time(&self) -> Time {
        self.event_time.unwrap_or_else(|| seconds(self.timestamp))
    }

    fn refusal(&self) -> ReceptionVerdict {
        match self.response.as_ref().map(|response| response.code) {
            Some(400..=499) => ReceptionVerdict::Deferred,
            _ => ReceptionVerdict::Rejected,
        }
    }

    /// What the listener answered, or what the other side did.
    fn reply(&self) -> (Option<u16>, String, String) {
        let Some(response) = &self.response else { return (None, String::new(), String::new()) };
        let enhanced = response.enhanced_code.as_ref();
        let enhanced = enhanced.map(|code| format!("{}.{}.{}", code.class, code.subject, code.detail));
        ((response.code > 0).then_some(response.code), enhanced.unwrap_or_default(), response.content.clone())
    }

    /// A header field or a meta value that the operator has chosen to log.
    fn logged(map: Option<&serde_json::Map<String, serde_json::Value>>, name: &str) -> String {
        let found = map.and_then(|map| map.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)));
        found.and_then(|(_, value)| value.as_str()).unwrap_or_default().to_owned()
    }

    fn message_id(&self) -> String {
        let id = Self::logged(self.headers.as_ref(), "Message-ID");
        id.trim().trim_start_matches('<').trim_end_matches('>').to_owned()
    }

    fn reception(&self, verdict: ReceptionVerdict) -> Reception {
        let (smtp_code, enhanced_code, response) = self.reply();
        let (sender_user, sender_domain) = mailbox(&self.sender);
        let refused = verdict != ReceptionVerdict::Accepted;
        Reception {
            ts: self.time(),
            mta: ENTRY.name.to_owned(),
            queue_id: self.id.to_string(),
            message_id: self.message_id(),
            client_ip: self.peer_address.as_ref().and_then(|peer| peer.addr.parse().ok()),
            helo: self.peer_address.as_ref().map(|peer| peer.name.clone()).unwrap_or_default(),
            protocol: self.reception_protocol.clone().unwrap_or_default(),
            auth_user: Self::logged(self.meta.as_ref(), "authn_id"),
            sender_user: sender_user.to_owned(),
            sender_domain,
            rcpt_count: u32::try_from(self.recipient.all().len()).ok().filter(|count| *count > 0),
            rcpt_domain: mailbox(self.recipient.first()).1,
            size_bytes: self.size.filter(|size| *size > 0 || !refused),
            verdict,
            smtp_code,
            enhanced_code,
            response,
            tls_version: self.tls_protocol_version.clone().unwrap_or_default(),
            tls_cipher: self.tls_cipher.clone().unwrap_or_default(),
            ..Reception::default()
        }
    }

    fn deliveries(&self, outcome: DeliveryOutcome, out: &mut Vec<Event>) {
        let (smtp_code, enhanced_code, response) = self.reply();
        let (sender_user, sender_domain) = mailbox(&self.sender);
        // The peer of an out-of-band bounce is who sent the report.
        let peer = self.peer_address.as_ref().filter(|_| self.kind != "OOB");
        let created = self.created_time.or(self.created.map(seconds));
        let source = self.source_address.as_ref().and_then(|source| source.address.parse().ok());
        let base = Delivery {
            ts: self.time(),
            mta: ENTRY.name.to_owned(),
            queue_id: self.id.to_string(),
            next_queue_id: if outcome == DeliveryOutcome::Delivered { queued_as(&response) } else { "" }.to_owned(),
            message_id: self.message_id(),
            sender_user: sender_user.to_owned(),
            sender_domain,
            provider: self.provider_name.clone().unwrap_or_default(),
            mx_host: peer.map(|peer| peer.name.trim_end_matches('.').to_owned()).unwrap_or_default(),
            mx_ip: peer.and_then(|peer| peer.addr.parse().ok()),
            source_ip: source.map(|source: std::net::SocketAddr| Address::from(source.ip())),
            attempt: self.num_attempts.filter(|attempts| *attempts > 0),
            outcome,
            is_final: outcome != DeliveryOutcome::Deferred,
            smtp_code,
            enhanced_code,
            response,
            tls_version: self.tls_protocol_version.clone().unwrap_or_default(),
            tls_cipher: self.tls_cipher.clone().unwrap_or_default(),
            size_bytes: self.size,
            delay_total_ms: created.map(|created| self.time().millis_since(created)).filter(|_| self.kind != "OOB"),
            protocol: self.delivery_protocol.clone().unwrap_or_default(),
            ..Delivery::default()
        };
        for recipient in self.recipient.all() {
            let (user, domain) = mailbox(recipient);
            out.push(Delivery { rcpt_user: user.to_owned(), rcpt_domain: domain, ..base.clone() }.into());
        }
        if self.recipient.all().is_empty() {
            out.push(base.into());
        }
    }

    fn complaint(&self) -> Option<Complaint> {
        let report = self.feedback_report.as_ref()?;
        let (sender_user, sender_domain) = mailbox(report.original_mail_from.as_deref().unwrap_or_default());
        let domain = report.reported_domain.first().map(|domain| domain.to_ascii_lowercase());
        Some(Complaint {
            ts: self.time(),
            domain: domain.unwrap_or(sender_domain),
            organisation: report.user_agent.clone(),
            report_id: self.id.to_string(),
            feedback_type: report.feedback_type.clone(),
            source_ip: report.source_ip.as_ref().and_then(|ip| ip.parse().ok()),
            sender_user: sender_user.to_owned(),
            rcpt_domain: mailbox(report.original_rcpto_to.first().map_or("", String::as_str)).1,
            arrived_at: report.arrival_date,
            ..Complaint::default()
        })
    }
}

/// Seconds since 1970, with fractions in some versions.
fn seconds(seconds: f64) -> Time {
    Time((seconds * 1_000_000.0).round() as i64)
}

#[cfg(test)]
mod tests;
