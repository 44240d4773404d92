//! Answers of machines that are no bounces: out of office, receipts, challenges, tickets (RFC 3834, RFC 8098).

use super::bound::Fault;
use super::fields;
use super::identity::{cut, event_id, instant, mailbox};
use super::mime::{Head, Mail};
use super::{Answer, Context, Entry, Paper, Reading};
use crate::event::AutoReply;
use crate::source::trace_of_message;

pub(super) const ENTRY: Entry = Entry { name: "autoreply", title: "automatic reply", read };

/// Fields that only an automatic reply has, with what their value begins with; empty: any.
const FIELDS: [(&str, &str); 19] = [
    ("auto-submitted", "auto-replied"),
    ("x-autoreply", ""),
    ("x-autorespond", ""),
    ("x-autoresponder", ""),
    ("x-autoreply-from", ""),
    ("x-mail-autoreply", ""),
    ("x-auto-reply", ""),
    ("x-vacation", ""),
    ("x-out-of-office", ""),
    ("x-mdaemon-deliver-to-autoresponder", ""),
    ("x-ms-exchange-inbox-rules-loop", ""),
    ("x-post-messageclass", "9; autoresponder"),
    ("x-cfilter-loop", ""),
    ("x-zoho-autoreply", ""),
    ("x-facteur-auto-reply", ""),
    ("precedence", "auto_reply"),
    ("precedence", "auto-reply"),
    ("x-precedence", "auto_reply"),
    ("delivered-to", "autoresponder"),
];

/// Fields of machines that answer or announce; they make an automatic reply of what answers a message.
const MACHINES: [(&str, &str); 5] = [
    ("auto-submitted", "auto-generated"),
    ("auto-submitted", "auto-notified"),
    ("x-auto-response-suppress", ""),
    ("precedence", "junk"),
    ("x-fc-machinegenerated", "true"),
];

/// Beginnings of subjects that mail programs give to such replies, in lower case.
const SUBJECTS: [&str; 24] = [
    "automatic reply",
    "auto reply",
    "auto-reply",
    "autoreply",
    "out of office",
    "out of the office",
    "away from",
    "vacation",
    "automatische antwort",
    "abwesenheit",
    "automatisch antwoord",
    "afwezig",
    "réponse automatique",
    "absence",
    "respuesta automática",
    "fuera de la oficina",
    "risposta automatica",
    "fuori sede",
    "resposta automática",
    "automatisk svar",
    "autosvar",
    "automaattinen vastaus",
    "automatická odpověď",
    "odpowiedź automatyczna",
];

/// Subjects and words of those that want something of the sender first, in lower case.
const CHALLENGES: [&str; 6] = [
    "boxtrapper",
    "please confirm your message",
    "your email requires verification",
    "sender address verification",
    "confirm your message",
    "verify your email to",
];

fn read(paper: &Paper<'_>, context: &Context, out: &mut Reading) -> Result<Answer, Fault> {
    let Paper::Mail(mail) = paper else { return Ok(Answer::NotMine) };
    let Some((kind, rule)) = kind(mail) else { return Ok(Answer::NotMine) };
    let head = &mail.head;
    let message_id = answered(mail);
    let (from_user, from_domain) = mailbox(&head.address("from"));
    let (to_user, to_domain) = mailbox(&head.address("to"));
    let report_id = mail.id();
    let row = AutoReply {
        ts: instant(&[head.date("date")], context),
        event_id: event_id("auto_replies", &[&from_domain, &report_id], 0),
        kind: kind.to_owned(),
        rule,
        trace_id: trace_of_message(&message_id),
        message_id,
        report_id,
        from_user,
        from_domain,
        to_user,
        to_domain,
        subject: cut(&head.text("subject")).to_owned(),
        ..AutoReply::default()
    };
    out.rows.push(row.into());
    Ok(Answer::Mine)
}

/// What kind of reply it is, and by which field or words; `None` for what a person wrote.
fn kind(mail: &Mail<'_>) -> Option<(&'static str, String)> {
    let head = &mail.head;
    // What a list sends to all is no reply, whatever machine sent it.
    if head.get("list-id").is_some() || head.get("list-unsubscribe").is_some() {
        return None;
    }
    if mail.report_type == "disposition-notification" || mail.part(&["message/disposition-notification"]).is_some() {
        return Some(("receipt", "report-type: disposition-notification".to_owned()));
    }
    let subject = head.text("subject").to_lowercase();
    if let Some(words) = CHALLENGES.iter().find(|words| subject.contains(**words)) {
        return Some(("challenge", ["subject: ", words].concat()));
    }
    let by_subject = SUBJECTS.iter().find(|words| subject.starts_with(**words));
    let field = field(head, &FIELDS);
    if let Some(words) = by_subject {
        return Some(("vacation", field.unwrap_or_else(|| ["subject: ", words].concat())));
    }
    if let Some(field) = field {
        return Some(("auto_reply", field));
    }
    let answers = head.get("in-reply-to").is_some() || head.get("references").is_some();
    self::field(head, &MACHINES).filter(|_| answers).map(|field| ("notice", field))
}

fn field(head: &Head, fields: &[(&str, &str)]) -> Option<String> {
    fields.iter().find_map(|(name, begin)| {
        let value = head.all(name).find(|value| value.trim().to_ascii_lowercase().starts_with(begin))?;
        let shown: String = value.chars().take(60).collect();
        // `Auto-Submitted: no` is what a person's mail says (RFC 3834 section 5.1).
        (!value.eq_ignore_ascii_case("no")).then(|| [*name, ": ", shown.trim()].concat())
    })
}

/// The Message-ID of what is answered.
fn answered(mail: &Mail<'_>) -> String {
    let receipt = mail.part(&["message/disposition-notification"]);
    let blocks = receipt.and_then(|part| fields::blocks(&part.content()).ok());
    let block = blocks.and_then(|blocks| blocks.into_iter().next());
    let told = block.map(|block| block.message_id("original-message-id")).unwrap_or_default();
    let head = &mail.head;
    let last = head.get("references").and_then(|ids| ids.split_whitespace().next_back());
    [told, head.message_id("in-reply-to"), last.map(super::identity::message_id).unwrap_or_default()]
        .into_iter()
        .find(|id| !id.is_empty())
        .unwrap_or_default()
}
