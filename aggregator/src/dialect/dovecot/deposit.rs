//! What LMTP and the local delivery agent put into mailboxes, by Sieve or without.

use super::{ENTRY, Line};
use crate::dialect::text::mailbox;
use crate::event::{Delivery, DeliveryOutcome, Event};

/// Reads a line of `lmtp`, `lda` or `deliver`: whether it is known.
pub fn read(line: &Line<'_>, out: &mut Vec<Event>) -> bool {
    let text = line.text.strip_prefix("sieve: ").unwrap_or(line.text);
    let Some(rest) = text.strip_prefix("msgid=") else {
        // `Connect from local`, `Disconnect from 192.0.2.1: Logged out (state=READY)`, what Sieve scripts say.
        return text.starts_with("Connect") || text.starts_with("Disconnect") || text.len() < line.text.len();
    };
    let Some((message_id, what)) = message_id(rest) else { return false };
    if let Some(outcome) = outcome(what) {
        let (user, domain) = mailbox(line.user);
        out.push(
            Delivery {
                ts: line.time,
                node: line.host.to_owned(),
                mta: ENTRY.name.to_owned(),
                // What the reply to the sending side names too.
                queue_id: line.session.to_owned(),
                message_id: message_id.to_owned(),
                rcpt_user: user.to_owned(),
                rcpt_domain: domain,
                outcome,
                is_final: outcome != DeliveryOutcome::Deferred,
                response: what.to_owned(),
                protocol: line.service.to_owned(),
                ..Delivery::default()
            }
            .into(),
        );
    }
    true
}

/// `<id@host>: what`, or `unspecified: what`.
fn message_id(text: &str) -> Option<(&str, &str)> {
    match text.strip_prefix('<') {
        Some(inside) => {
            let (id, after) = inside.split_once('>')?;
            Some((id, after.split_once(": ")?.1))
        }
        None => {
            let (id, what) = text.split_once(": ")?;
            Some((if id == "unspecified" { "" } else { id }, what))
        }
    }
}

/// What became of the message, where the line says it. A full mailbox is refused for good unless
/// `quota_full_tempfail` is set; what else fails is tried again.
fn outcome(what: &str) -> Option<DeliveryOutcome> {
    let begins = |words: &[&str]| words.iter().any(|word| what.starts_with(word));
    if begins(&["saved mail to ", "stored mail into "]) {
        Some(DeliveryOutcome::Delivered)
    } else if begins(&["save failed to ", "failed to store into "]) {
        let full = ["Quota exceeded", "quota exceeded", "is full"].iter().any(|word| what.contains(word));
        Some(if full { DeliveryOutcome::Bounced } else { DeliveryOutcome::Deferred })
    } else if begins(&["rejected message", "rejected: "]) {
        Some(DeliveryOutcome::Bounced)
    } else {
        None
    }
}
