//! Dovecot 2.2 to 2.4: log-ins, sessions, LMTP and Sieve deliveries; through syslog or in its own log files.

mod auth;
mod deposit;
mod login;
mod session;

use memchr::memmem;

use self::login::Logins;
use super::clock::Clock;
use super::text::Marks;
use super::{Dialect, Entry, Reading, head};
use crate::event::{Event, Time};

/// The registry's entry.
pub const ENTRY: Entry = Entry { name: "dovecot", title: "Dovecot", make: || Box::new(Dovecot::default()), looks_like };

fn looks_like(line: &str) -> bool {
    static MARKS: Marks = Marks::new(|| {
        [
            " dovecot: ",
            " dovecot[",
            " dovecot ",
            "\"dovecot\"",
            "-login: Info: ",
            "): Info: ",
            ">: Info: ",
            " auth: Info: ",
        ]
        .iter()
        .map(memmem::Finder::new)
        .collect()
    });
    MARKS.any_in(line)
}

#[derive(Default)]
struct Dovecot {
    logins: Logins,
}

/// A line of one service: `imap(ann@example.org)<812><session>: text`.
#[derive(Debug, Clone, Copy)]
struct Line<'a> {
    time: Time,
    host: &'a str,
    service: &'a str,
    user: &'a str,
    session: &'a str,
    text: &'a str,
}

impl Dialect for Dovecot {
    fn read(&mut self, line: &str, clock: &Clock, out: &mut Vec<Event>) -> Reading {
        let Some(head) = head::split(line, clock) else { return Reading::Unrecognised };
        let unwrapped;
        let prefixed: &str = if head.program == "dovecot" {
            &head.message
        } else if head.host.is_empty() || head.message.starts_with("Info: ") {
            // Its own log: what stands where syslog has the program is the service, and may hold blanks.
            unwrapped = head::unwrapped(line);
            let own = unwrapped.as_ref().map_or(line, |(_, text)| &**text);
            match head::time(own, clock) {
                Some((_, rest)) => rest,
                // What a container writes may have no time of its own.
                None if unwrapped.is_some() => own,
                None => return Reading::Unrecognised,
            }
        } else {
            return Reading::Unrecognised;
        };
        let Some(parts) = service(prefixed) else { return Reading::Unrecognised };
        let (level, text) = level(parts.text);
        let line = Line { time: head.time, host: &head.host, text, ..parts };
        match level == Level::Diagnostic || self.line(&line, out) {
            true => Reading::Recognised,
            false => Reading::Unrecognised,
        }
    }
}

impl Dovecot {
    /// Whether the line is known.
    fn line(&mut self, line: &Line<'_>, out: &mut Vec<Event>) -> bool {
        self.logins.sees(line.session);
        if let Some(protocol) = line.service.strip_suffix("-login") {
            return self.logins.read(line, protocol, out);
        }
        match line.service {
            "imap" | "pop3" | "submission" | "managesieve" | "sieve" => session::read(line, &mut self.logins, out),
            "lmtp" | "lda" | "deliver" => deposit::read(line, out),
            "auth" | "auth-worker" => {
                auth::read(line, &mut self.logins, out);
                true
            }
            _ => true,
        }
    }
}

/// What a line is for.
#[derive(Debug, PartialEq, Eq)]
enum Level {
    /// What happened.
    Information,
    /// What went wrong inside.
    Diagnostic,
}

fn level(text: &str) -> (Level, &str) {
    if let Some(rest) = text.strip_prefix("Info: ") {
        return (Level::Information, rest);
    }
    let diagnostic =
        ["Error: ", "Warning: ", "Fatal: ", "Panic: ", "Debug: "].iter().any(|word| text.starts_with(word));
    (if diagnostic { Level::Diagnostic } else { Level::Information }, text)
}

/// Takes the service off: `imap-login: …`, `imap(ann): …` (2.2), `imap(ann)<812><session>: …`, `lmtp(812): …`,
/// `lmtp(812, ann): …`, `auth-worker(812): …`.
fn service(text: &str) -> Option<Line<'_>> {
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '-')?;
    let (service, mut rest) = text.split_at(end);
    if !is_service(service) {
        return None;
    }
    let (mut user, mut session) = ("", "");
    if let Some(inside) = rest.strip_prefix('(') {
        let close = [")<", "): "].iter().filter_map(|mark| inside.find(mark)).min()?;
        user = inside.get(..close)?;
        rest = inside.get(close + 1..)?;
        // The process of a service that serves many users.
        user = user.split_once(", ").map_or(user, |(_, user)| user);
        if user.bytes().all(|byte| byte.is_ascii_digit()) {
            user = "";
        }
    }
    while let Some(inside) = rest.strip_prefix('<') {
        let (group, after) = inside.split_once('>')?;
        (session, rest) = (group, after);
    }
    let text = rest.strip_prefix(": ")?;
    Some(Line { time: Time::default(), host: "", service, user, session, text })
}

fn is_service(name: &str) -> bool {
    matches!(
        name,
        "master"
            | "config"
            | "log"
            | "anvil"
            | "stats"
            | "old-stats"
            | "ssl-params"
            | "auth"
            | "auth-worker"
            | "dict"
            | "dict-async"
            | "dict-expire"
            | "director"
            | "doveadm"
            | "doveadm-server"
            | "dsync-local"
            | "dsync-server"
            | "imap"
            | "imap-hibernate"
            | "imap-login"
            | "imap-urlauth"
            | "imap-urlauth-login"
            | "imap-urlauth-worker"
            | "indexer"
            | "indexer-worker"
            | "ipc"
            | "lmtp"
            | "lmtp-login"
            | "lda"
            | "deliver"
            | "managesieve"
            | "managesieve-login"
            | "pop3"
            | "pop3-login"
            | "quota-status"
            | "replicator"
            | "aggregator"
            | "submission"
            | "submission-login"
            | "script"
            | "script-login"
            | "health-check"
            | "tcpwrap"
            | "dns-client"
            | "program-client"
            | "sieve"
            | "sieve-filter"
            | "fts"
            | "welcome"
            | "dovecot"
    )
}

/// The fields that all kinds of lines share: `key=<value>` and `key=value`, looked for from the end, because names that
/// clients chose stand before what Dovecot knows.
fn field<'a>(text: &'a str, key: &str) -> &'a str {
    let Some(at) = memchr::memmem::rfind(text.as_bytes(), key.as_bytes()) else { return "" };
    let value = text.get(at + key.len()..).unwrap_or_default();
    match value.strip_prefix('<') {
        Some(inside) => inside.split('>').next().unwrap_or_default(),
        None => value.split([',', ' ']).next().unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests;
