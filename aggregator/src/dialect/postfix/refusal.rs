//! What `smtpd`, `cleanup`, `postscreen` and milters decide of a message before it is in the queue.
//!
//! `reject: RCPT from host[ip]: 554 5.7.1 why; from=<…> to=<…> proto=ESMTP helo=<…>` (`postscreen` with commas), and in
//! `cleanup` `reject: header Subject: … from host[ip]; from=<…> to=<…> proto=ESMTP helo=<…>: 5.7.1 why`.

use super::smtpd::{after_origin, named};
use super::state::Memory;
use super::{ENTRY, Line};
use crate::dialect::text::{Mark, cut, cut_at, enhanced_code, mailbox, reply_codes};
use crate::event::{Event, Reception, ReceptionVerdict};

/// What an action word means for the message.
enum Action {
    /// It is refused.
    Refuse,
    /// It is thrown away or put aside.
    Divert(ReceptionVerdict),
    /// It goes on.
    Pass,
}

fn action(word: &str) -> Option<Action> {
    Some(match word {
        "reject" | "milter-reject" | "proxy-reject" => Action::Refuse,
        "discard" | "milter-discard" => Action::Divert(ReceptionVerdict::Discarded),
        "hold" | "milter-hold" | "milter-quarantine" | "quarantine" => Action::Divert(ReceptionVerdict::Quarantined),
        "reject_warning" | "warning" | "warn" | "info" | "prepend" | "replace" | "redirect" | "filter" | "bcc"
        | "strip" | "delay" | "ignore" | "pass" | "proxy-accept" | "milter-accept" | "permit" => Action::Pass,
        _ => return None,
    })
}

/// Where it was decided, about whom, and why.
struct Refusal<'a> {
    /// `host[ip]`; empty when the line does not say.
    origin: &'a str,
    reply: &'a str,
    envelope: Envelope<'a>,
    /// A reply begins with its code; the reason of a header or body check at most with an enhanced code.
    is_reply: bool,
}

/// Reads such a line, without `NOQUEUE: `: whether it is one of these.
pub fn read(line: &Line<'_>, memory: &mut Memory, out: &mut Vec<Event>) -> bool {
    let text = line.text.strip_prefix("NOQUEUE: ").unwrap_or(line.text);
    let Some((word, rest)) = cut_at(text, b": ") else { return false };
    let Some(action) = action(word) else { return false };
    let verdict = match action {
        // The text of these is free: without a queue id, `warning: ` begins any warning.
        Action::Pass => return line.id.is_some() || word != "warning",
        Action::Divert(verdict) => Some(verdict),
        Action::Refuse => None,
    };
    let Some(refusal) = split(rest) else { return false };
    let (smtp_code, enhanced) =
        if refusal.is_reply { reply_codes(refusal.reply) } else { (None, enhanced_code(refusal.reply)) };
    let (sender_user, sender_domain) = mailbox(refusal.envelope.from);
    let (name, ip) = named(refusal.origin);
    let mut row = Reception {
        ts: line.time,
        node: line.host.to_owned(),
        mta: ENTRY.name.to_owned(),
        queue_id: line.id.unwrap_or_default().to_owned(),
        client_ip: ip,
        client_name: name.to_owned(),
        helo: refusal.envelope.helo.to_owned(),
        protocol: refusal.envelope.proto.to_owned(),
        auth_user: refusal.envelope.user.to_owned(),
        sender_user: sender_user.to_owned(),
        sender_domain,
        rcpt_domain: mailbox(refusal.envelope.to).1,
        verdict: verdict.unwrap_or_else(|| refused(smtp_code, enhanced, refusal.reply)),
        smtp_code,
        enhanced_code: enhanced.to_owned(),
        response: refusal.reply.to_owned(),
        ..Reception::default()
    };
    if let Some(id) = line.id
        && let Some(message) = memory.known_message(line.host, id)
    {
        message.fill(&mut row);
    } else if line.agent == "smtpd"
        && let Some(client) = memory.client(line.host, line.pid)
    {
        if refusal.origin.is_empty() {
            row.client_ip = client.ip;
            row.client_name.clone_from(&client.name);
        }
        if row.client_ip == client.ip {
            if row.auth_user.is_empty() {
                row.auth_user.clone_from(&client.user);
            }
            if let Some(tls) = &client.tls {
                tls.version.as_ref().clone_into(&mut row.tls_version);
                tls.cipher.as_ref().clone_into(&mut row.tls_cipher);
            }
        }
    }
    out.push(row.into());
    true
}

/// For now or for good, as the reply says. `postscreen` does not log the 421 with which it sends clients away when it is
/// full.
fn refused(smtp_code: Option<u16>, enhanced: &str, reply: &str) -> ReceptionVerdict {
    let for_now = match smtp_code {
        Some(code) => code < 500,
        None if enhanced.is_empty() => {
            reply.starts_with("too many connections") || (reply.starts_with("all ") && reply.ends_with(" ports busy"))
        }
        None => enhanced.starts_with('4'),
    };
    if for_now { ReceptionVerdict::Deferred } else { ReceptionVerdict::Rejected }
}

fn split(rest: &str) -> Option<Refusal<'_>> {
    if ["header ", "body ", "content "].iter().any(|check| rest.starts_with(check)) {
        return content_check(rest);
    }
    static FROM: Mark = Mark::new(" from ");
    let (origin, reply) = match FROM.split(rest) {
        Some((stage, after)) if !stage.contains(": ") => after_origin(after)?,
        // A filter before the queue answers for itself: `proxy-reject: END-OF-MESSAGE: 550 …`.
        _ => ("", rest.split_once(": ")?.1),
    };
    static FIELDS: [Mark; 4] =
        [Mark::new("; from=<"), Mark::new("; to=<"), Mark::new("; proto="), Mark::new("; helo=<")];
    for mark in &FIELDS {
        if let Some(at) = mark.last_in(reply)
            && let (reply, fields) = reply.split_at(at)
            && let (envelope, "") = envelope(fields.get(2..)?)
        {
            return Some(Refusal { origin, reply, envelope, is_reply: true });
        }
    }
    let reply = reply.strip_suffix(';').unwrap_or(reply);
    Some(Refusal { origin, reply, envelope: Envelope::default(), is_reply: true })
}

/// `header Subject: … from host[ip]; from=<…> … helo=<…>: why`. The header may hold anything, so look from the end.
fn content_check(rest: &str) -> Option<Refusal<'_>> {
    let at = rest.rfind("; from=<").or_else(|| rest.rfind("; to=<"))?;
    let (before, fields) = rest.split_at(at);
    let origin = before.rsplit_once(" from ").map_or("", |(_, origin)| origin);
    let (envelope, after) = envelope(fields.get(2..)?);
    let reply = after.strip_prefix(": ").unwrap_or_default();
    let origin = if origin == "local" { "" } else { origin };
    Some(Refusal { origin, reply, envelope, is_reply: false })
}

#[derive(Default)]
struct Envelope<'a> {
    from: &'a str,
    to: &'a str,
    proto: &'a str,
    helo: &'a str,
    user: &'a str,
}

/// `from=<a@b> to=<c@d> proto=ESMTP helo=<e>`, with blanks or commas between; and what follows.
fn envelope(text: &str) -> (Envelope<'_>, &str) {
    let mut envelope = Envelope::default();
    let mut rest = text;
    loop {
        let fields = rest.trim_start_matches([',', ' ']);
        let Some((key, after)) = cut(fields, b'=') else { return (envelope, rest) };
        let slot = match key {
            "from" => &mut envelope.from,
            "to" => &mut envelope.to,
            "proto" => &mut envelope.proto,
            "helo" => &mut envelope.helo,
            "sasl_username" => &mut envelope.user,
            "sasl_method" | "sasl_sender" | "orig_to" | "client" => &mut "",
            _ => return (envelope, rest),
        };
        let end = if after.starts_with('<') {
            let bytes = after.as_bytes();
            memchr::memchr_iter(b'>', bytes)
                .find(|at| bytes.get(at + 1).is_none_or(|next| matches!(next, b' ' | b',' | b':')))
                .map_or(after.len(), |at| at + 1)
        } else {
            memchr::memchr3(b' ', b',', b':', after.as_bytes()).unwrap_or(after.len())
        };
        let (value, next) = after.split_at(end);
        let value = value.strip_prefix('<').unwrap_or(value);
        *slot = value.strip_suffix('>').unwrap_or(value);
        rest = next;
    }
}
