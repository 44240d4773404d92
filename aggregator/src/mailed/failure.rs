//! Reports that a message failed authentication (RFC 6591), one a message, as `ruf` of a DMARC record asks for them.

use super::bound::Fault;
use super::fields;
use super::identity::{cut, date, domain, event_id, instant, mailbox};
use super::{Answer, Context, Entry, Paper, Reading};
use crate::event::DmarcFailure;
use crate::source::trace_of_message;

pub(super) const ENTRY: Entry = Entry { name: "failure", title: "DMARC failure report", read };

fn read(paper: &Paper<'_>, context: &Context, out: &mut Reading) -> Result<Answer, Fault> {
    let Paper::Mail(mail) = paper else { return Ok(Answer::NotMine) };
    let Some(part) = mail.part(&["message/feedback-report"]) else { return Ok(Answer::NotMine) };
    let blocks = fields::blocks(&part.content())?;
    let Some(feedback) = blocks.first() else { return Ok(Answer::NotMine) };
    let said = |name: &str| feedback.get(name).unwrap_or_default();
    if !said("feedback-type").eq_ignore_ascii_case("auth-failure") {
        return Ok(Answer::NotMine);
    }
    let returned = mail.returned();
    let (_, organisation) = mailbox(&mail.head.address("from"));
    let (_, header_from) = mailbox(&returned.address("from"));
    let (_, envelope_from) = mailbox(said("original-mail-from"));
    let (_, rcpt_domain) = mailbox(&fields::address(said("original-rcpt-to")));
    let reported = match domain(said("reported-domain")) {
        domain if domain.is_empty() => header_from.clone(),
        domain => domain,
    };
    if reported.is_empty() {
        return Err(Fault::Missing("domain (Reported-Domain, or From of the message)"));
    }
    let message_id = match returned.message_id("message-id") {
        id if id.is_empty() => feedback.message_id("message-id"),
        id => id,
    };
    let arrived_at = date(said("arrival-date")).or_else(|| date(said("received-date")));
    let ts = instant(&[mail.head.date("date"), arrived_at], context);
    let report_id = mail.id();
    let word = |name: &str| cut(said(name)).to_ascii_lowercase();
    let row = DmarcFailure {
        ts,
        event_id: event_id("dmarc_failures", &[&organisation, &report_id], 0),
        domain: reported,
        organisation,
        auth_failure: word("auth-failure"),
        delivery_result: word("delivery-result"),
        identity_alignment: word("identity-alignment"),
        source_ip: said("source-ip").parse().ok(),
        header_from,
        envelope_from,
        rcpt_domain,
        dkim_domain: domain(said("dkim-domain")),
        dkim_selector: cut(said("dkim-selector")).to_owned(),
        spf_dns: cut(said("spf-dns")).to_owned(),
        auth_results: cut(&feedback.all("authentication-results").collect::<Vec<_>>().join("; ")).to_owned(),
        trace_id: trace_of_message(&message_id),
        message_id,
        report_id,
        arrived_at,
        ..DmarcFailure::default()
    };
    out.rows.push(row.into());
    Ok(Answer::Mine)
}
