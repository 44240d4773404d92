//! Complaints of feedback loops (RFC 5965), and those of Microsoft's, which encloses the message without a report.

use super::bound::Fault;
use super::fields;
use super::identity::{cut, date, domain, event_id, instant, mailbox};
use super::mime::{Head, Mail};
use super::{Answer, Context, Entry, Paper, Reading};
use crate::event::Complaint;

pub(super) const ENTRY: Entry = Entry { name: "arf", title: "complaint of a feedback loop", read };

fn read(paper: &Paper<'_>, context: &Context, out: &mut Reading) -> Result<Answer, Fault> {
    let Paper::Mail(mail) = paper else { return Ok(Answer::NotMine) };
    let returned = mail.returned();
    let feedback = match mail.part(&["message/feedback-report"]) {
        Some(part) => fields::blocks(&part.content())?.into_iter().next().unwrap_or_default(),
        None if is_jmrp(&returned) => Head::default(),
        None => return Ok(Answer::NotMine),
    };
    out.rows.push(complaint(mail, &feedback, &returned, context)?.into());
    Ok(Answer::Mine)
}

/// The Junk Mail Reporting Program of Outlook.com: a message that encloses the one complained about, whose header
/// has got the recipient.
fn is_jmrp(returned: &Head) -> bool {
    returned.get("x-hmxmroriginalrecipient").is_some()
}

fn complaint(mail: &Mail<'_>, feedback: &Head, returned: &Head, context: &Context) -> Result<Complaint, Fault> {
    let said = |name: &str| feedback.get(name).unwrap_or_default();
    let (_, organisation) = mailbox(&mail.head.address("from"));
    let (mut sender_user, sender_domain) = mailbox(said("original-mail-from"));
    let (from_user, from_domain) = mailbox(&returned.address("from"));
    if sender_user.is_empty() {
        sender_user = from_user;
    }
    // Who signs or writes a message is complained about, not the host that bounces go to.
    let named = [domain(said("reported-domain")), from_domain, sender_domain];
    let domain = named.into_iter().find(|name| !name.is_empty());
    let rcpt = match said("original-rcpt-to") {
        "" => returned.get("x-hmxmroriginalrecipient").map_or_else(|| returned.address("to"), str::to_owned),
        said => fields::address(said),
    };
    let feedback_type = match cut(said("feedback-type")).to_ascii_lowercase() {
        kind if kind.is_empty() => "abuse".to_owned(),
        kind => kind,
    };
    let arrived_at = date(said("arrival-date")).or_else(|| date(said("received-date")));
    let source_ip = said("source-ip").trim_matches(['[', ']']).parse().ok();
    let report_id = mail.id();
    Ok(Complaint {
        ts: instant(&[mail.head.date("date"), arrived_at], context),
        event_id: event_id("complaints", &[&organisation, &report_id], 0),
        domain: domain.ok_or(Fault::Missing("domain (Reported-Domain, or From of the message)"))?,
        organisation,
        report_id,
        feedback_type,
        source_ip: source_ip.or_else(|| returned.get("x-originating-ip")?.trim_matches(['[', ']']).parse().ok()),
        message_id: returned.message_id("message-id"),
        sender_user,
        rcpt_domain: mailbox(&rcpt).1,
        arrived_at,
        ..Complaint::default()
    })
}
