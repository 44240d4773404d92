//! What an attempt is told as: a line of the report to the sender, and an event.

use std::net::IpAddr;

use aggregator::event::{Delivery, DeliveryOutcome, Time};

use super::{End, Outcome, Way};
use crate::queue::dsn::{Line, ReportAction};
use crate::queue::retry::Next;
use crate::queue::store::Batch;
use crate::smtp::command::Recipient;

/// The line of a report about a recipient; `None`: he asks for none, or it is not over yet.
pub(super) fn report_line(recipient: &Recipient, outcome: &Outcome, next: Next, way: &Way) -> Option<Line> {
    let action = match next {
        Next::Refused | Next::Expired if recipient.notify.failure => ReportAction::Failed,
        Next::Done if recipient.notify.success && way.protocol == "local" => ReportAction::Delivered,
        Next::Done if recipient.notify.success && !way.passes_dsn => ReportAction::Relayed,
        Next::Done | Next::Retry(_) | Next::Again(_) | Next::Refused | Next::Expired => return None,
    };
    let status = match next {
        // RFC 3463: what was given up is a permanent failure, "delivery time expired".
        Next::Expired => "5.4.7".to_owned(),
        _ => outcome.status(),
    };
    let code = outcome.code.map_or(String::new(), |code| code.to_string());
    let words = [code.as_str(), &outcome.enhanced, &outcome.text];
    let diagnostic = words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    let remote =
        way.link.as_ref().filter(|_| outcome.code.is_some()).map_or(String::new(), |link| link.hop.host.clone());
    Some(Line { recipient: recipient.clone(), action, status, remote, diagnostic })
}

/// The event of an attempt for one recipient, which began and ended at these times.
pub(super) fn event(batch: &Batch, end: &End<'_>, way: &Way, (begun, now): (Time, Time)) -> Delivery {
    let End { entry, outcome, next, .. } = end;
    let envelope = &batch.envelope;
    let sender = envelope.sender.as_ref();
    let link = way.link.as_ref();
    let tls = link.and_then(|link| link.tls.clone()).unwrap_or_default();
    Delivery {
        ts: now,
        mta: "varde".to_owned(),
        queue_id: envelope.id.clone(),
        message_id: envelope.message_id.clone(),
        trace_id: envelope.trace_id.clone(),
        sender_user: sender.map_or(String::new(), |sender| sender.local().to_owned()),
        sender_domain: sender.map_or(String::new(), |sender| sender.domain().to_owned()),
        rcpt_user: entry.recipient.address.local().to_owned(),
        rcpt_domain: batch.domain.clone(),
        mx_host: link.map_or(String::new(), |link| link.hop.host.clone()),
        mx_ip: link.map(|link| link.hop.ip.into()),
        source_ip: link.and_then(|link| link.source_ip).map(|ip: IpAddr| ip.into()),
        attempt: Some(entry.attempts + 1),
        outcome: match next {
            Next::Done => DeliveryOutcome::Delivered,
            Next::Retry(_) | Next::Again(_) => DeliveryOutcome::Deferred,
            Next::Refused => DeliveryOutcome::Bounced,
            Next::Expired => DeliveryOutcome::Expired,
        },
        is_final: !matches!(next, Next::Retry(_) | Next::Again(_)),
        smtp_code: outcome.code,
        enhanced_code: outcome.enhanced.clone(),
        class: outcome.class.to_owned(),
        response: outcome.text.clone(),
        tls_version: tls.version,
        tls_cipher: tls.cipher,
        tls_trust: link.map_or(String::new(), |link| link.trust.to_owned()),
        size_bytes: Some(envelope.size),
        delay_total_ms: Some(now.millis_since(envelope.received_at)),
        delay_a_ms: Some(envelope.queued_at.millis_since(envelope.received_at)),
        delay_b_ms: Some(begun.millis_since(envelope.queued_at)),
        delay_c_ms: Some(link.map_or(0, |link| link.connect_ms)),
        delay_d_ms: Some(way.transmit_ms),
        protocol: way.protocol.to_owned(),
        ..Delivery::default()
    }
}
