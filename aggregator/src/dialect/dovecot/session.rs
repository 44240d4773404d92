//! The end of an IMAP, POP3, submission or ManageSieve session, and what was submitted in one.

use super::login::Logins;
use super::{ENTRY, Line, field};
use crate::dialect::text::mailbox;
use crate::event::{Event, Reception, ReceptionVerdict, Session};

/// What else these services say, with `mail_log` and without.
const KNOWN: &[&str] = &[
    "copy ",
    "copy: ",
    "delete: ",
    "undelete: ",
    "expunge: ",
    "save: ",
    "append: ",
    "flag_change: ",
    "mailbox_create: ",
    "mailbox_delete: ",
    "mailbox_rename: ",
    "mailbox_",
    "Connected",
    "Connection ",
    "Successfully ",
    "Failed to ",
    "sieve: ",
    "imapsieve: ",
    "relay: ",
    "Relayed ",
    "Hibernating",
    "Namespace",
    "Mailbox ",
    "quota: ",
    "client ",
    "Client ",
    "RCPT ",
    "MAIL ",
    "Message ",
    "virus",
    "ID sent: ",
    "ID: ",
];

/// Reads a line of a session: whether it is known.
pub fn read(line: &Line<'_>, logins: &mut Logins, out: &mut Vec<Event>) -> bool {
    let text = line.text;
    // `relay: ` since 2.4.
    if let Some(relayed) = text.trim_start_matches("relay: ").strip_prefix("Successfully relayed message: ") {
        out.push(submitted(line, relayed, logins).into());
        return true;
    }
    let ended = ["Disconnected", "Logged out", "Connection closed", "Server shutting down", "Inactivity"];
    if !ended.iter().any(|start| text.starts_with(start)) {
        return is_known(text);
    }
    let (mut bytes_in, mut bytes_out) = (None, None);
    for field in text.split(' ') {
        match field.trim_end_matches(',').split_once('=') {
            Some(("in", value)) => bytes_in = value.parse().ok(),
            Some(("out", value)) => bytes_out = value.parse().ok(),
            Some(("bytes", value)) => {
                let (taken, given) = value.split_once('/').unwrap_or_default();
                (bytes_in, bytes_out) = (taken.parse().ok(), given.parse().ok());
            }
            // POP3: how many messages and how many octets of them.
            Some(("top" | "retr", value)) => {
                let octets = value.split_once('/').and_then(|(_, octets)| octets.parse::<u64>().ok());
                bytes_out = octets.map_or(bytes_out, |octets| Some(bytes_out.unwrap_or(0) + octets));
            }
            _ => {}
        }
    }
    let login = logins.end(line.session);
    out.push(
        Session {
            ts: line.time,
            node: line.host.to_owned(),
            // The service has a new name since 2.4, the protocol (RFC 5804) has not.
            protocol: if line.service == "sieve" { "managesieve" } else { line.service }.to_owned(),
            user: line.user.to_owned(),
            client_ip: login.and_then(|login| login.client_ip),
            duration_ms: login.map(|login| line.time.millis_since(login.since)),
            bytes_in,
            bytes_out,
            end_reason: end_reason(text).to_owned(),
            ..Session::default()
        }
        .into(),
    );
    true
}

/// Whether a line is one that these services and their plugins write of what a client does.
pub fn is_known(text: &str) -> bool {
    KNOWN.iter().any(|start| text.starts_with(start))
}

/// ``from=<ann@example.org>, size=47, id=kJFjEot7DWuhMAAAg+zDdQ, nrcpt=1, reply=`250 2.0.0 Ok: queued as 4ZxYk'``: the mail
/// server behind took the message.
fn submitted(line: &Line<'_>, relayed: &str, logins: &Logins) -> Reception {
    let (fields, reply) = relayed.split_once(", reply=`").unwrap_or((relayed, ""));
    let reply = reply.trim_end_matches('\'');
    let (sender_user, sender_domain) = mailbox(field(fields, "from="));
    Reception {
        ts: line.time,
        node: line.host.to_owned(),
        mta: ENTRY.name.to_owned(),
        queue_id: field(fields, "id=").to_owned(),
        client_ip: logins.open(line.session).and_then(|login| login.client_ip),
        auth_user: line.user.to_owned(),
        sender_user: sender_user.to_owned(),
        sender_domain,
        rcpt_count: field(fields, "nrcpt=").parse().ok(),
        size_bytes: field(fields, "size=").parse().ok(),
        verdict: ReceptionVerdict::Accepted,
        smtp_code: reply.split(' ').next().and_then(|code| code.parse().ok()),
        response: reply.to_owned(),
        ..Reception::default()
    }
}

fn end_reason(text: &str) -> &'static str {
    let reason = text.strip_prefix("Disconnected").unwrap_or(text).trim_start_matches([':', ' ']);
    let begins = |words: &[&str]| words.iter().any(|word| reason.starts_with(word));
    if begins(&["Logged out"]) {
        "logout"
    } else if begins(&["Inactivity", "for inactivity", "Timeout", "Idle"]) {
        "timeout"
    } else if begins(&["Too many invalid", "Input buffer full", "Too large", "Command line too long", "Too many"]) {
        "protocol_error"
    } else if begins(&["Server shutting down", "Shutting down", "Killed", "Server shutdown"]) {
        "shutdown"
    } else {
        "disconnected"
    }
}
