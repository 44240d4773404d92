//! What LMTP and the local delivery agent put into mailboxes, by Sieve or without.

use super::{ENTRY, Line, field, session};
use crate::dialect::text::mailbox;
use crate::event::{Delivery, DeliveryOutcome, Event};

/// Reads a line of `lmtp`, `lda` or `deliver`: whether it is known.
pub fn read(line: &Line<'_>, out: &mut Vec<Event>) -> bool {
    let (session, text) = of_session(line);
    let said = text.strip_prefix("sieve: ").unwrap_or(text);
    let story = match said.strip_prefix("msgid=") {
        Some(rest) => message_id(rest).map(|(message_id, what)| Story { message_id, what, ..Story::default() }),
        None => custom(said),
    };
    let Some(story) = story else {
        // `Connect from local`, `Disconnect from 192.0.2.1: Logged out (state=READY)`, what Sieve scripts and plugins say.
        return said.starts_with("Connect")
            || said.starts_with("Disconnect")
            || said.len() < text.len()
            || session::is_known(said);
    };
    let what = without_action(story.what);
    if let Some(outcome) = outcome(what) {
        let (user, domain) = mailbox(line.user);
        let (sender_user, sender_domain) = mailbox(story.sender);
        out.push(
            Delivery {
                ts: line.time,
                node: line.host.to_owned(),
                mta: ENTRY.name.to_owned(),
                // What the reply to the sending side names too.
                queue_id: session.to_owned(),
                message_id: story.message_id.to_owned(),
                sender_user: sender_user.to_owned(),
                sender_domain,
                rcpt_user: user.to_owned(),
                rcpt_domain: domain,
                outcome,
                is_final: outcome != DeliveryOutcome::Deferred,
                size_bytes: story.size_bytes,
                response: what.to_owned(),
                protocol: line.service.to_owned(),
                ..Delivery::default()
            }
            .into(),
        );
    }
    true
}

/// What a line tells of a message.
#[derive(Default)]
struct Story<'a> {
    message_id: &'a str,
    sender: &'a str,
    size_bytes: Option<u64>,
    what: &'a str,
}

/// The session of a line, and what follows it. Before 2.2.28 it stood behind the brackets:
/// `lmtp(812, ann): HSjQFmjQAmtjSwAAg+zDdQ: msgid=<…>: …`.
fn of_session<'a>(line: &Line<'a>) -> (&'a str, &'a str) {
    if line.session.is_empty()
        && let Some((word, rest)) = line.text.split_once(": ")
        && word.len() >= 16
        && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b':'))
        && (rest.starts_with("msgid=") || rest.starts_with("sieve: "))
    {
        return (word, rest);
    }
    (line.session, line.text)
}

/// A `deliver_log_format` of the site's own: fields in any order and between any signs, and what became of the message
/// at its end: `from=ann@example.org, subject=…, msgid=<…>, size=512, saved mail to INBOX`. A subject may hold
/// anything, so everything is looked for from the end.
fn custom(text: &str) -> Option<Story<'_>> {
    let at = OUTCOMES.iter().flat_map(|(words, _)| words.iter()).filter_map(|word| text.rfind(word)).max()?;
    let (fields, what) = text.split_at_checked(at)?;
    if !fields.ends_with([' ', ':', ',']) {
        return None;
    }
    let value = |name: &str| field(fields, name).trim_end_matches([',', ';', ':']);
    let value_of = |name: &str| if fields.contains(name) { value(name) } else { "" };
    let message_id = value_of("msgid=");
    let sender = ["envelope_sender=", "envelope_from=", "from_envelope=", "from="].iter().map(|name| value_of(name));
    Some(Story {
        message_id: if message_id == "unspecified" { "" } else { message_id },
        sender: sender.into_iter().find(|sender| sender.contains('@')).unwrap_or_default(),
        size_bytes: value_of("size=").parse().ok(),
        what,
    })
}

/// Since 2.3 Sieve names the action that speaks: `fileinto action: stored mail into …`.
fn without_action(what: &str) -> &str {
    match what.split_once(" action: ") {
        Some((action, rest)) if action.bytes().all(|byte| byte.is_ascii_alphanumeric()) => rest,
        _ => what,
    }
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

/// What became of a message, by the words that say it.
const OUTCOMES: &[(&[&str], DeliveryOutcome)] = &[
    (
        &[
            "saved mail to ",
            "stored mail into ",
            // The copy of this recipient ends here.
            "forwarded to ",
            "marked message to be discarded",
            "Marked message to be discarded",
            "discarded duplicate ",
        ],
        DeliveryOutcome::Delivered,
    ),
    (&["save failed to ", "failed to store into ", "failed to save mail to "], DeliveryOutcome::Deferred),
    (&["rejected message", "rejected: ", "refused message"], DeliveryOutcome::Bounced),
];

/// What became of the message, where the line says it. A full mailbox is refused for good unless
/// `quota_full_tempfail` is set; what else fails is tried again.
fn outcome(what: &str) -> Option<DeliveryOutcome> {
    let (_, outcome) = OUTCOMES.iter().find(|(words, _)| words.iter().any(|word| what.starts_with(word)))?;
    let full = ["Quota exceeded", "quota exceeded", "is full"].iter().any(|word| what.contains(word));
    Some(if full && *outcome == DeliveryOutcome::Deferred { DeliveryOutcome::Bounced } else { *outcome })
}
