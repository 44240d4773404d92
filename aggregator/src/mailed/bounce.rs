//! Bounces in the words of their programs, from before RFC 3464 or without regard to it.
//!
//! A style is the phrase by which a program's bounces are known, and how it sets out recipients and reasons. What no
//! style knows is a bounce when it came from a mailer daemon or without a reverse-path, and names an address and a
//! reason.

mod layout;
mod style;

use super::bound::{Bound, Fault};
use super::identity::{cut, event_id, instant, mailbox};
use super::mime::{Head, Mail};
use super::{Answer, Context, Entry, Paper, Reading};
use crate::dialect::text::{enhanced_code, reply_codes};
use crate::event::{Bounce, DeliveryOutcome};
use crate::source::trace_of_message;
use layout::Failed;

pub(super) const ENTRY: Entry = Entry { name: "bounce", title: "free-form bounce", read };

/// Local parts that bounces come from.
const DAEMONS: [&str; 4] = ["mailer-daemon", "postmaster", "mail-daemon", "mdaemon"];
/// Words in which a reason says that the message still waits.
const WAITS: [&str; 6] = [
    "has not yet been delivered",
    "not been delivered yet",
    "will continue to try",
    "will be retried",
    "delivery delayed",
    "could not be delivered yet",
];
/// Words in which a reason says that time ran out.
const GIVEN_UP: [&str; 5] = [
    "retry timeout exceeded",
    "delivery time expired",
    "i'm not going to try again",
    "message expired",
    "retry time not reached for any host after a long failure",
];

/// What all rows of a bounce share.
pub(super) struct Notice {
    pub(super) common: Bounce,
}

impl Notice {
    /// What the message itself and the one that it returns tell.
    pub(super) fn of(mail: &Mail<'_>, style: &str, context: &Context) -> Self {
        let mut returned = mail.returned();
        if returned.is_empty() {
            returned = layout::returned(&mail.words());
        }
        let message_id = returned.message_id("message-id");
        let mut common = Bounce {
            ts: instant(&[mail.head.date("date")], context),
            style: style.to_owned(),
            report_id: mail.id(),
            trace_id: trace_of_message(&message_id),
            message_id,
            ..Bounce::default()
        };
        // The bounce goes to the reverse-path of the message.
        let sender = match returned.get("return-path") {
            Some(path) if path.contains('@') => path.to_owned(),
            _ => mail.head.address("to"),
        };
        (common.sender_user, common.sender_domain) = mailbox(&sender);
        (_, common.reporting_mta) = mailbox(&mail.head.address("from"));
        Self { common }
    }

    /// The reverse-path, where the report names it.
    pub(super) fn set_sender(&mut self, address: &str) {
        (self.common.sender_user, self.common.sender_domain) = mailbox(address);
    }

    /// Adds the row of a recipient.
    pub(super) fn put(&self, (recipient, row): (String, Bounce), out: &mut Reading) -> Result<(), Fault> {
        let common = self.common.clone();
        let ids = [&common.report_id, &common.envelope_id, &common.queue_id, &common.message_id, &common.trace_id];
        let names = [&common.reporting_mta, &common.sender_user, &common.sender_domain];
        out.make_room(1, ids.into_iter().chain(names).map(String::len).sum())?;
        let number = u32::try_from(out.rows.len()).unwrap_or(u32::MAX);
        let (rcpt_user, rcpt_domain) = mailbox(&recipient);
        let row = Bounce {
            ts: common.ts,
            event_id: event_id("bounces", &[&common.reporting_mta, &common.report_id], number),
            style: common.style,
            report_id: common.report_id,
            row: number,
            reporting_mta: common.reporting_mta,
            envelope_id: common.envelope_id,
            queue_id: common.queue_id,
            message_id: common.message_id,
            trace_id: common.trace_id,
            sender_user: common.sender_user,
            sender_domain: common.sender_domain,
            arrived_at: common.arrived_at,
            rcpt_user,
            rcpt_domain,
            ..row
        };
        out.rows.push(row.into());
        Ok(())
    }
}

fn read(paper: &Paper<'_>, context: &Context, out: &mut Reading) -> Result<Answer, Fault> {
    let Paper::Mail(mail) = paper else { return Ok(Answer::NotMine) };
    if !is_from_a_daemon(&mail.head) {
        return Ok(Answer::NotMine);
    }
    let words = mail.words();
    let words = words.replace("\r\n", "\n");
    let Some((style, failed)) = style::find(&mail.head, &words) else { return Ok(Answer::NotMine) };
    Bound::Recipients.hold(failed.len())?;
    let notice = Notice::of(mail, style, context);
    for one in failed {
        notice.put(row(one, &mail.head), out)?;
    }
    Ok(Answer::Mine)
}

/// Whether a message is one that a mail system sent by itself: without a reverse-path (RFC 5321 section 4.5.5), or from
/// a daemon's name.
fn is_from_a_daemon(head: &Head) -> bool {
    let null_path = head.get("return-path").is_some_and(|path| path.trim() == "<>");
    let from = head.address("from").to_ascii_lowercase();
    let user = from.split('@').next().unwrap_or_default();
    let named = DAEMONS.iter().any(|daemon| user.starts_with(daemon));
    null_path || named || head.get("x-failed-recipients").is_some() || from.is_empty()
}

fn row(failed: Failed, head: &Head) -> (String, Bounce) {
    let reason = failed.reason.split_whitespace().collect::<Vec<_>>().join(" ");
    let (smtp_code, enhanced) = codes(&reason);
    let lower = reason.to_lowercase();
    let subject = head.text("subject").to_lowercase();
    let says = |words: &[&str], text: &str| words.iter().any(|word| text.contains(word));
    let waits =
        failed.waits || says(&WAITS, &lower) || says(&["delayed", "warning"], &subject) && !enhanced.starts_with('5');
    let (outcome, action) = if waits {
        (DeliveryOutcome::Deferred, "delayed")
    } else if says(&GIVEN_UP, &lower) {
        (DeliveryOutcome::Expired, "failed")
    } else {
        (DeliveryOutcome::Bounced, "failed")
    };
    let row = Bounce {
        outcome,
        action: action.to_owned(),
        smtp_code,
        enhanced_code: enhanced,
        mx_host: layout::remote_host(&reason),
        response: cut(&reason).to_owned(),
        ..Bounce::default()
    };
    (failed.recipient, row)
}

/// The reply code and the enhanced code in a reason, wherever they stand: `said: 550 5.1.1 …`, `(#5.1.1)`.
fn codes(reason: &str) -> (Option<u16>, String) {
    let mut code = None;
    let mut enhanced = "";
    for (at, word) in reason.split(' ').map(|word| (word.as_ptr() as usize - reason.as_ptr() as usize, word)) {
        let trimmed = word.trim_start_matches(['(', '#', '"', '\'', '[', ':', '<']);
        let rest = reason.get(at + (word.len() - trimmed.len())..).unwrap_or_default();
        let (found, with_it) = reply_codes(rest);
        if code.is_none() && found.is_some_and(|code| code >= 400) {
            code = found;
            if enhanced.is_empty() {
                enhanced = with_it;
            }
        }
        let alone = enhanced_code(trimmed.trim_end_matches([')', ',', ':', '.', ';', ']']));
        if enhanced.is_empty() && !alone.is_empty() && !alone.starts_with('2') {
            enhanced = alone;
        }
    }
    (code, enhanced.to_owned())
}
