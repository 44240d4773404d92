//! The end of an IMAP, POP3, submission or ManageSieve session.

use super::Line;
use super::login::Logins;
use crate::event::{Event, Session};

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
    let ended = ["Disconnected", "Logged out", "Connection closed", "Server shutting down", "Inactivity"];
    if !ended.iter().any(|start| text.starts_with(start)) {
        return KNOWN.iter().any(|start| text.starts_with(start));
    }
    let (mut bytes_in, mut bytes_out) = (None, None);
    for field in text.split(' ') {
        match field.split_once('=') {
            Some(("in", value)) => bytes_in = value.parse().ok(),
            Some(("out", value)) => bytes_out = value.parse().ok(),
            Some(("bytes", value)) => {
                let (taken, given) = value.split_once('/').unwrap_or_default();
                (bytes_in, bytes_out) = (taken.parse().ok(), given.parse().ok());
            }
            _ => {}
        }
    }
    let login = logins.end(line.session);
    out.push(
        Session {
            ts: line.time,
            node: line.host.to_owned(),
            protocol: line.service.to_owned(),
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
