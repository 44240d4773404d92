//! Delivery status notifications (RFC 3464; with international addresses RFC 6533).

use super::bounce::Notice;
use super::bound::Fault;
use super::fields::{address, blocks, typed};
use super::identity::{cut, date, domain};
use super::mime::Head;
use super::{Answer, Context, Entry, Paper, Reading};
use crate::dialect::text::{enhanced_code, host_and_address, reply_codes};
use crate::event::{Bounce, DeliveryOutcome};

pub(super) const ENTRY: Entry = Entry { name: "dsn", title: "delivery status notification", read };

/// The types of the part that machines read.
const STATUS: &[&str] = &["message/delivery-status", "message/global-delivery-status"];

fn read(paper: &Paper<'_>, context: &Context, out: &mut Reading) -> Result<Answer, Fault> {
    let Paper::Mail(mail) = paper else { return Ok(Answer::NotMine) };
    let Some(part) = mail.part(STATUS) else { return Ok(Answer::NotMine) };
    let blocks = blocks(&part.content())?;
    let is_recipient = |block: &&Head| block.get("final-recipient").is_some() || block.get("action").is_some();
    let of_message = blocks.iter().find(|block| !is_recipient(block));
    let said = |name: &str| of_message.and_then(|block| block.get(name)).unwrap_or_default();
    let mut notice = Notice::of(mail, "dsn", context);
    let reporting_mta = domain(typed(said("reporting-mta")).1);
    if !reporting_mta.is_empty() {
        notice.common.reporting_mta = reporting_mta;
    }
    cut(said("original-envelope-id")).clone_into(&mut notice.common.envelope_id);
    notice.common.arrived_at = date(said("arrival-date"));
    let queue_id = of_message.and_then(|block| block.get("x-postfix-queue-id"));
    notice.common.queue_id = cut(queue_id.unwrap_or_default()).to_owned();
    if let Some(sender) = of_message.and_then(|block| block.get("x-postfix-sender")) {
        notice.set_sender(&address(sender));
    }
    let before = out.rows.len();
    for block in blocks.iter().filter(is_recipient) {
        notice.put(recipient(block), out)?;
    }
    // Without a recipient the words for people may tell more.
    Ok(if out.rows.len() > before { Answer::Mine } else { Answer::NotMine })
}

fn recipient(block: &Head) -> (String, Bounce) {
    let said = |name: &str| block.get(name).unwrap_or_default();
    let (last, original) = (address(said("final-recipient")), address(said("original-recipient")));
    // Some reporters tell only the original one.
    let recipient = if last.is_empty() { original.clone() } else { last };
    let (kind, diagnostic) = typed(said("diagnostic-code"));
    let (smtp_code, in_diagnostic) = reply_codes(diagnostic);
    let status = enhanced_code(said("status"));
    // A status of the class alone (5.0.0) says less than the code in the reply.
    let enhanced =
        if status.is_empty() || status.ends_with(".0.0") && !in_diagnostic.is_empty() { in_diagnostic } else { status };
    let action = said("action").split([' ', ';', '(']).next().unwrap_or_default().to_ascii_lowercase();
    let original_rcpt = if original.eq_ignore_ascii_case(&recipient) { String::new() } else { original };
    let row = Bounce {
        original_rcpt,
        mx_host: domain(host_and_address(typed(said("remote-mta")).1).0),
        outcome: outcome(&action, status),
        action: cut(&action).to_owned(),
        // A code is that of SMTP where the diagnostic is.
        smtp_code: smtp_code.filter(|_| kind.is_empty() || kind == "smtp"),
        enhanced_code: enhanced.to_owned(),
        response: cut(diagnostic).to_owned(),
        last_attempt_at: date(said("last-attempt-date")),
        retry_until: date(said("will-retry-until")),
        ..Bounce::default()
    };
    (recipient, row)
}

/// What an action means (RFC 3464 section 2.3.3). A failure of status x.4.7 is one of time (RFC 3463 section 3.5).
fn outcome(action: &str, status: &str) -> DeliveryOutcome {
    match action {
        "delivered" | "relayed" | "expanded" => DeliveryOutcome::Delivered,
        "delayed" => DeliveryOutcome::Deferred,
        "failed" if status.ends_with(".4.7") => DeliveryOutcome::Expired,
        "" if status.starts_with('4') => DeliveryOutcome::Deferred,
        "" if status.starts_with('2') => DeliveryOutcome::Delivered,
        _ => DeliveryOutcome::Bounced,
    }
}
