//! What Exim refused: connections, commands, messages, log-ins.

use super::fields::{Fields, Host, address, bracketed, host};
use super::{ENTRY, Line, tls};
use crate::dialect::text::{mailbox, reply_codes};
use crate::event::{AuthEvent, Reception, ReceptionVerdict};

/// The reception that a line of a refusal makes.
pub(super) fn reception(line: &Line<'_>) -> Option<Reception> {
    let mut refusal = by_acl(line.text).or_else(|| by_exim(line.text))?;
    refusal.reason = refusal.reason.trim_start_matches(' ');
    let (smtp_code, enhanced) = reply_codes(refusal.reason);
    let (sender_user, sender_domain) = mailbox(refusal.sender);
    let (tls_version, tls_cipher) = tls(refusal.tls);
    // No router takes a recipient of ours: there is no such user. Of another domain the words say less.
    let (class, rule) = match refusal.reason {
        "Unrouteable address" if !refusal.recipient.is_empty() => ("user_unknown", "exim-unrouteable"),
        _ => ("", ""),
    };
    Some(Reception {
        ts: line.time,
        node: line.host.to_owned(),
        mta: ENTRY.name.to_owned(),
        queue_id: line.id.to_owned(),
        client_ip: refusal.host.ip,
        client_name: refusal.host.name.to_owned(),
        helo: refusal.host.helo.to_owned(),
        auth_user: refusal.auth_user.to_owned(),
        sender_user: sender_user.to_owned(),
        sender_domain,
        rcpt_domain: mailbox(refusal.recipient).1,
        size_bytes: refusal.size,
        verdict: refusal.verdict,
        smtp_code,
        enhanced_code: enhanced.to_owned(),
        class: class.to_owned(),
        class_rule: rule.to_owned(),
        response: refusal.reason.to_owned(),
        tls_version,
        tls_cipher,
        ..Reception::default()
    })
}

/// What a refusal says, as it says it.
#[derive(Default)]
struct Refusal<'a> {
    host: Host<'a>,
    auth_user: &'a str,
    sender: &'a str,
    recipient: &'a str,
    tls: &'a str,
    size: Option<u64>,
    verdict: ReceptionVerdict,
    reason: &'a str,
}

/// `H=… F=<…> [temporarily ]rejected RCPT <…>: why`, `… F=<…> RCPT <…>: discarded by RCPT ACL: why`.
fn by_acl(text: &str) -> Option<Refusal<'_>> {
    if !text.starts_with(['H', 'U', 'F', 'X', 'I']) {
        return None;
    }
    let fields = Fields::parse(text);
    let mut refusal = Refusal {
        auth_user: fields.auth_user(),
        sender: fields.sender,
        tls: fields.tls,
        verdict: ReceptionVerdict::Rejected,
        host: fields.host,
        ..Refusal::default()
    };
    let rest = match fields.rest.strip_prefix("temporarily ") {
        Some(rest) => {
            refusal.verdict = ReceptionVerdict::Deferred;
            rest
        }
        None => fields.rest,
    };
    let Some(what) = rest.strip_prefix("rejected ") else {
        return discarded_recipient(rest, refusal);
    };
    let after = if let Some(to) = what.strip_prefix("RCPT ") {
        let (recipient, after) = argument(to);
        refusal.recipient = recipient;
        after
    } else if let Some(from) = what.strip_prefix("MAIL ") {
        let (sender, after) = argument(from);
        refusal.sender = sender;
        after
    } else if let Some(hello) = what.strip_prefix("EHLO or HELO ") {
        let (name, after) = hello.split_once(": ").unwrap_or((hello, ""));
        refusal.host.helo = name;
        refusal.reason = after;
        return Some(refusal);
    } else {
        what
    };
    refusal.reason = after.split_once(": ").map_or("", |(_, reason)| reason);
    Some(refusal)
}

fn discarded_recipient<'a>(text: &'a str, mut refusal: Refusal<'a>) -> Option<Refusal<'a>> {
    let (recipient, after) = argument(text.strip_prefix("RCPT ")?);
    refusal.reason = after.strip_prefix(": ").filter(|reason| reason.starts_with("discarded by "))?;
    refusal.recipient = recipient;
    refusal.verdict = ReceptionVerdict::Discarded;
    Some(refusal)
}

/// The address that a command had, in angle brackets or not, and what is behind it.
fn argument(text: &str) -> (&str, &str) {
    if text.starts_with('<') {
        return bracketed(text);
    }
    let (address, _) = address(text);
    text.split_at(address.trim_end_matches(':').len())
}

/// What Exim refuses by itself.
fn by_exim(text: &str) -> Option<Refusal<'_>> {
    by_size_or_syntax(text).or_else(|| by_count(text)).or_else(|| by_connection(text)).or_else(|| unqualified(text))
}

/// `rejected EHLO from [192.0.2.1]: syntactically invalid argument(s): x`,
/// `rejected MAIL FROM:<x> H=… : message too big: size=2 max=1`, `rejected from <x> H=…: …`,
/// `rejected by local_scan(): …`, `rejected [192.0.2.1] (ann): …`.
fn by_size_or_syntax(text: &str) -> Option<Refusal<'_>> {
    let (verdict, what) = match text.strip_prefix("temporarily rejected ") {
        Some(what) => (ReceptionVerdict::Deferred, what),
        None => (ReceptionVerdict::Rejected, text.strip_prefix("rejected ")?),
    };
    let refusal = Refusal { verdict, ..Refusal::default() };
    for sender_behind in ["MAIL FROM:", "from "] {
        if let Some(after) = what.strip_prefix(sender_behind).filter(|after| after.starts_with('<')) {
            let (sender, after) = bracketed(after);
            let fields = Fields::parse(after.trim_start_matches(' '));
            let size = ["size=", "read="].iter().find_map(|name| number_behind(fields.rest, name));
            return Some(Refusal {
                sender,
                size,
                reason: fields.rest,
                auth_user: fields.auth_user(),
                tls: fields.tls,
                host: fields.host,
                ..refusal
            });
        }
    }
    let Some((_, from)) = what.split_once(" from ").filter(|(command, _)| command.len() <= "MAIL command".len()) else {
        return Some(Refusal { reason: what, ..refusal });
    };
    let (mut client, after) = host(from.strip_prefix("H=").unwrap_or(from));
    let reason = Fields::parse(after.trim_start_matches(' ')).rest;
    // The argument of a HELO that is none.
    let said = reason.strip_prefix("syntactically invalid argument(s): ").filter(|said| !said.starts_with('('));
    if client.helo.is_empty() {
        client.helo = said.unwrap_or_default();
    }
    Some(Refusal { host: client, reason, ..refusal })
}

fn number_behind(text: &str, name: &str) -> Option<u64> {
    let after = text.split_once(name)?.1;
    after.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// `too many recipients: message rejected: sender=<x> H=…`, `… excess temporarily rejected: …`.
fn by_count(text: &str) -> Option<Refusal<'_>> {
    let (before, after) = text.split_once(": sender=").filter(|_| text.starts_with("too many recipients: "))?;
    let (sender, after) = bracketed(after);
    let fields = Fields::parse(after.trim_start_matches(' '));
    let verdict = if before.contains("temporarily") { ReceptionVerdict::Deferred } else { ReceptionVerdict::Rejected };
    Some(Refusal { sender, verdict, reason: before, host: fields.host, ..Refusal::default() })
}

/// `refused connection from …`, `Connection from … refused: too many connections`,
/// `SMTP protocol synchronization error (…): rejected connection from H=…`.
fn by_connection(text: &str) -> Option<Refusal<'_>> {
    if let Some(after) = text.strip_prefix("refused connection from ") {
        let (client, after) = host(after.strip_prefix("H=").unwrap_or(after));
        let reason = after.trim().trim_start_matches('(').trim_end_matches(')');
        return Some(Refusal { host: client, reason, verdict: ReceptionVerdict::Rejected, ..Refusal::default() });
    }
    if let Some(after) = text.strip_prefix("Connection from ") {
        let (client, after) = host(after.strip_prefix("H=").unwrap_or(after));
        let reason = after.split_once("refused: ")?.1;
        return Some(Refusal { host: client, reason, verdict: ReceptionVerdict::Deferred, ..Refusal::default() });
    }
    let (reason, after) = text.strip_prefix("SMTP protocol synchronization error ")?.split_once(": rejected ")?;
    let client = match after.strip_prefix("connection from ") {
        Some(client) => host(client.strip_prefix("H=").unwrap_or(client)).0,
        None => after.split_once(" H=").map(|(_, client)| host(client).0)?,
    };
    let reason = reason.trim_start_matches('(').trim_end_matches(')');
    Some(Refusal { host: client, reason, verdict: ReceptionVerdict::Rejected, ..Refusal::default() })
}

/// `unqualified sender rejected: <x> H=…`, `unqualified recipient rejected: …`.
fn unqualified(text: &str) -> Option<Refusal<'_>> {
    let (which, after) = text.strip_prefix("unqualified ")?.split_once(" rejected: ")?;
    let (address, after) = bracketed(after);
    let fields = Fields::parse(after.trim_start_matches(' '));
    let refusal = Refusal {
        host: fields.host,
        verdict: ReceptionVerdict::Rejected,
        reason: text.split_once(": ").map_or("", |(reason, _)| reason),
        ..Refusal::default()
    };
    Some(match which {
        "sender" => Refusal { sender: address, ..refusal },
        _ => Refusal { recipient: address, ..refusal },
    })
}

/// `plain authenticator failed for (helo) [192.0.2.1]:4 I=[192.0.2.2]:25: 535 Incorrect … (set_id=ann): why`, or
/// `SMTP protocol error in "AUTH LOGIN" H=(helo) [192.0.2.1] AUTH command used when not advertised`.
pub(super) fn authentication(line: &Line<'_>) -> Option<AuthEvent> {
    if let Some(after) = line.text.strip_prefix("SMTP protocol error in \"AUTH ") {
        let (command, after) = after.split_once("\" H=")?;
        let (client, after) = host(after);
        return Some(AuthEvent {
            ts: line.time,
            node: line.host.to_owned(),
            protocol: "smtp".to_owned(),
            client_ip: client.ip,
            // What may follow the mechanism is a secret.
            mechanism: command.split(' ').next().unwrap_or_default().to_owned(),
            result: "failed".to_owned(),
            reason: Fields::parse(after.trim_start_matches(' ')).rest.to_owned(),
            ..AuthEvent::default()
        });
    }
    let (mechanism, after) = line.text.split_once(" authenticator failed for ")?;
    let (client, after) = host(after.strip_prefix("H=").unwrap_or(after));
    let reason = Fields::parse(after.trim_start_matches(' ')).rest;
    let (reason, user) = match reason.split_once(" (set_id=") {
        Some((reason, user)) => (reason, user.split(')').next().unwrap_or_default()),
        None => (reason, ""),
    };
    Some(AuthEvent {
        ts: line.time,
        node: line.host.to_owned(),
        protocol: "smtp".to_owned(),
        user: user.to_owned(),
        client_ip: client.ip,
        mechanism: mechanism.to_owned(),
        result: "failed".to_owned(),
        reason: reason.to_owned(),
        ..AuthEvent::default()
    })
}
