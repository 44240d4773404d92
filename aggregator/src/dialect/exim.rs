//! Exim's main, reject and panic logs (Exim specification, chapter 52 "Log files").
//!
//! An arrival line (`<=`) makes a reception and is remembered for the deliveries (`=>`, `->`, `>>`, `**`, `==`) of the
//! same message, which do not repeat its sender, size or Message-ID.

use super::clock::Clock;
use super::recent::Recent;
use super::text::{duration_ms, host_and_address, mailbox, reply_codes};
use super::{Dialect, Entry, Reading, head};
use crate::event::{Address, AuthEvent, Delivery, DeliveryOutcome, Event, Reception, ReceptionVerdict, Time};

/// The registry's entry.
pub const ENTRY: Entry =
    Entry { name: "exim", title: "Exim main, reject and panic logs", make: || Box::new(Exim::default()), looks_like };

/// Messages whose arrival is remembered.
const MESSAGES: usize = 50_000;

#[derive(Default)]
struct Exim {
    messages: Recent<Message, MESSAGES>,
}

/// What an arrival says that its deliveries do not.
#[derive(Debug, Clone, Default)]
struct Message {
    message_id: String,
    sender_user: String,
    sender_domain: String,
    size_bytes: Option<u64>,
    arrived: Time,
    attempts: Vec<(String, u32)>,
}

/// Recipients of one message whose attempts are counted.
const COUNTED_RECIPIENTS: usize = 1_000;

/// What every line of Exim has before its own text.
struct Line<'a> {
    time: Time,
    host: &'a str,
    id: &'a str,
    text: &'a str,
}

fn looks_like(line: &str) -> bool {
    const ARROWS: [&str; 7] = [" <= ", " => ", " -> ", " ** ", " == ", " >> ", " Completed"];
    let dated = line.as_bytes().first().is_some_and(u8::is_ascii_digit) && line.get(10..11) == Some(" ");
    let arrow = dated && ARROWS.iter().any(|arrow| line.contains(arrow)) && line.get(19..).is_some_and(has_id);
    arrow || line.contains(" exim[") || (dated && (line.contains(" rejected RCPT ") || line.contains("] F=<")))
}

fn has_id(rest: &str) -> bool {
    rest.split(' ').take(4).any(is_message_id)
}

/// `1rfXYZ-0001Ab-2C`, or `1rfXYZ-00000001AbC-2Cde` since Exim 4.97.
fn is_message_id(word: &str) -> bool {
    let alphanumeric = |part: Option<&str>, lengths: &[usize]| {
        part.is_some_and(|part| lengths.contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_alphanumeric()))
    };
    let mut parts = word.split('-');
    alphanumeric(parts.next(), &[6])
        && alphanumeric(parts.next(), &[6, 11])
        && alphanumeric(parts.next(), &[2, 4])
        && parts.next().is_none()
}

impl Dialect for Exim {
    fn read(&mut self, line: &str, clock: &Clock, out: &mut Vec<Event>) -> Reading {
        let Some((mut time, rest)) = head::time(line, clock) else {
            // The reject log repeats the header of a refused message, indented or marked, under its line.
            return if is_reject_header(line) { Reading::Recognised } else { Reading::Unrecognised };
        };
        let mut host = String::new();
        let mut text = rest;
        if let Some((found, message)) = syslog(line, clock) {
            (host, time) = (found, message.0);
            text = message.1;
        }
        // `[812] ` with +pid.
        if let Some((pid, after)) = text.strip_prefix('[').and_then(|text| text.split_once("] "))
            && pid.bytes().all(|byte| byte.is_ascii_digit())
        {
            text = after;
        }
        let (id, text) = match text.split_once(' ') {
            Some((word, after)) if is_message_id(word) => (word, after),
            _ if is_message_id(text) => (text, ""),
            _ => ("", text),
        };
        self.line(&Line { time, host: &host, id, text }, out)
    }
}

/// The same text behind a syslog head: `Nov 22 10:16:48 mx exim[812]: 2026-11-22 10:16:48 1rf… <= …` or without the
/// second time.
fn syslog<'a>(line: &'a str, clock: &Clock) -> Option<(String, (Time, &'a str))> {
    // Exim's own times have a space between date and time, a syslog's have not.
    if line.as_bytes().first()?.is_ascii_digit() && line.as_bytes().get(10) == Some(&b' ') {
        return None;
    }
    let head = head::split(line, clock)?;
    if !head.program.starts_with("exim") {
        return None;
    }
    let start = line.len().checked_sub(head.message.len())?;
    let message = line.get(start..).filter(|message| *message == head.message)?;
    let inner = head::time(message, clock).unwrap_or((head.time, message));
    Some((head.host.into_owned(), inner))
}

fn is_reject_header(line: &str) -> bool {
    let marked = line.len() > 3 && line.as_bytes().get(1) == Some(&b' ') && line.contains(": ");
    marked || line.starts_with("Envelope-") || line.starts_with([' ', '\t']) || line.chars().all(|c| c == '-')
}

impl Exim {
    fn line(&mut self, line: &Line<'_>, out: &mut Vec<Event>) -> Reading {
        let (mark, rest) = line.text.split_once(' ').unwrap_or((line.text, ""));
        match mark {
            "<=" if !line.id.is_empty() => self.arrival(line, rest, out),
            "=>" | "->" | ">>" if !line.id.is_empty() => self.delivery(line, rest, DeliveryOutcome::Delivered, out),
            "**" if !line.id.is_empty() => self.delivery(line, rest, DeliveryOutcome::Bounced, out),
            "==" if !line.id.is_empty() => self.delivery(line, rest, DeliveryOutcome::Deferred, out),
            "*>" if !line.id.is_empty() => {}
            "Completed" if !line.id.is_empty() => {
                self.messages.remove(line.id);
            }
            _ => return self.other(line, out),
        }
        Reading::Recognised
    }

    fn arrival(&mut self, line: &Line<'_>, rest: &str, out: &mut Vec<Event>) {
        let (sender, fields) = rest.split_once(' ').unwrap_or((rest, ""));
        let (user, domain) = mailbox(sender);
        let client = client(fields);
        let (tls_version, tls_cipher) = tls(field(fields, "X="));
        let auth = field(fields, "A=");
        let auth_user = auth.split_once(':').map_or("", |(_, user)| user);
        let message_id = field(fields, "id=").to_owned();
        let recipients = fields.rsplit_once(" for ").map_or("", |(_, recipients)| recipients);
        let size_bytes = field(fields, "S=").parse().ok();
        self.messages.insert(
            line.id,
            Message {
                message_id: message_id.clone(),
                sender_user: user.to_owned(),
                sender_domain: domain.clone(),
                size_bytes,
                arrived: line.time,
                attempts: Vec::new(),
            },
        );
        out.push(
            Reception {
                ts: line.time,
                node: line.host.to_owned(),
                mta: ENTRY.name.to_owned(),
                queue_id: line.id.to_owned(),
                message_id,
                client_ip: client.ip,
                client_name: client.name.to_owned(),
                helo: client.helo.to_owned(),
                protocol: field(fields, "P=").to_owned(),
                auth_user: auth_user.to_owned(),
                sender_user: user.to_owned(),
                sender_domain: domain,
                rcpt_count: (!recipients.is_empty()).then(|| recipients.split(' ').count() as u32),
                rcpt_domain: mailbox(recipients.split(' ').next().unwrap_or_default()).1,
                size_bytes,
                verdict: ReceptionVerdict::Accepted,
                tls_version,
                tls_cipher,
                ..Reception::default()
            }
            .into(),
        );
        if !auth_user.is_empty() {
            out.push(
                AuthEvent {
                    ts: line.time,
                    node: line.host.to_owned(),
                    protocol: "smtp".to_owned(),
                    user: auth_user.to_owned(),
                    client_ip: client.ip,
                    mechanism: auth.split(':').next().unwrap_or_default().to_owned(),
                    result: "ok".to_owned(),
                    ..AuthEvent::default()
                }
                .into(),
            );
        }
    }

    fn delivery(&mut self, line: &Line<'_>, rest: &str, outcome: DeliveryOutcome, out: &mut Vec<Event>) {
        let (address, fields) = recipient(rest);
        let (fields, reason) = match outcome {
            DeliveryOutcome::Delivered => (fields, quoted(fields, "C=")),
            _ => reason(fields),
        };
        // `/var/mail/ann <ann@example.org>`: the address behind the file or the parent of a local alias.
        let parent =
            rest.get(address.len()..).and_then(|after| after.strip_prefix(" <")?.split_once('>')).map(|found| found.0);
        let recipient = if address.contains('@') { address } else { parent.unwrap_or(address) };
        let (user, domain) = mailbox(recipient);
        let known = self.messages.get_mut(line.id);
        let attempt = known.and_then(|message| message.count(recipient));
        let message = self.messages.get_mut(line.id).map(|message| message.clone()).unwrap_or_default();
        let (mx_host, mx_ip) = host_and_address(field_to_bracket(fields, "H="));
        let reply = reply_in(&reason);
        let (smtp_code, enhanced) = reply_codes(reply);
        let (tls_version, tls_cipher) = tls(field(fields, "X="));
        let sender = field(fields, "F=");
        let (sender_user, sender_domain) = if sender.is_empty() {
            (message.sender_user.clone(), message.sender_domain.clone())
        } else {
            let (user, domain) = mailbox(sender);
            (user.to_owned(), domain)
        };
        let expired = outcome == DeliveryOutcome::Bounced && reason.contains("retry timeout exceeded");
        let total = duration_ms(field(fields, "QT=")).or_else(|| {
            (message.arrived != Time::default() && line.time >= message.arrived)
                .then(|| line.time.millis_since(message.arrived))
        });
        out.push(
            Delivery {
                ts: line.time,
                node: line.host.to_owned(),
                mta: ENTRY.name.to_owned(),
                queue_id: line.id.to_owned(),
                next_queue_id: queued_as(reply).to_owned(),
                message_id: message.message_id,
                sender_user,
                sender_domain,
                rcpt_user: user.to_owned(),
                rcpt_domain: domain,
                mx_host: mx_host.to_owned(),
                mx_ip,
                source_ip: host_and_address(field_to_bracket(fields, "I=")).1,
                attempt,
                outcome: if expired { DeliveryOutcome::Expired } else { outcome },
                is_final: outcome != DeliveryOutcome::Deferred,
                smtp_code,
                enhanced_code: enhanced.to_owned(),
                response: reason,
                tls_version,
                tls_cipher,
                tls_trust: field(fields, "CV=").to_owned(),
                size_bytes: field(fields, "S=").parse().ok().or(message.size_bytes),
                delay_total_ms: total,
                delay_d_ms: duration_ms(field(fields, "DT=")),
                protocol: field(fields, "T=").trim_end_matches(':').to_owned(),
                ..Delivery::default()
            }
            .into(),
        );
    }

    fn other(&mut self, line: &Line<'_>, out: &mut Vec<Event>) -> Reading {
        let text = line.text;
        if let Some(rejected) = rejection(line) {
            out.push(rejected.into());
            return Reading::Recognised;
        }
        if let Some((mechanism, rest)) = text.split_once(" authenticator failed for ") {
            let client = client_of(rest);
            out.push(
                AuthEvent {
                    ts: line.time,
                    node: line.host.to_owned(),
                    protocol: "smtp".to_owned(),
                    user: rest.split_once("(set_id=").map_or("", |(_, id)| id.trim_end_matches(')')).to_owned(),
                    client_ip: client.ip,
                    mechanism: mechanism.to_owned(),
                    result: "failed".to_owned(),
                    reason: rest.split_once("]: ").map_or("", |(_, reason)| reason).to_owned(),
                    ..AuthEvent::default()
                }
                .into(),
            );
            return Reading::Recognised;
        }
        if is_known(text, !line.id.is_empty()) { Reading::Recognised } else { Reading::Unrecognised }
    }
}

impl Message {
    /// The number of this attempt for a recipient.
    fn count(&mut self, recipient: &str) -> Option<u32> {
        if let Some((_, count)) = self.attempts.iter_mut().find(|(address, _)| address == recipient) {
            *count += 1;
            return Some(*count);
        }
        if self.attempts.len() < COUNTED_RECIPIENTS {
            self.attempts.push((recipient.to_owned(), 1));
            return Some(1);
        }
        None
    }
}

/// `H=… rejected RCPT <a@b>: why`, `… temporarily rejected …`, `… rejected after DATA: why`.
fn rejection(line: &Line<'_>) -> Option<Reception> {
    let at = line.text.find("rejected ")?;
    let (fields, after) = line.text.split_at(at);
    let after = after.strip_prefix("rejected ")?;
    let known = [
        "RCPT ",
        "MAIL ",
        "EHLO ",
        "HELO ",
        "after DATA",
        "connection in ",
        "VRFY",
        "ETRN",
        "DATA",
        "AUTH",
        "STARTTLS",
        "by ",
    ];
    if !known.iter().any(|word| after.starts_with(word)) {
        return None;
    }
    let temporary = fields.ends_with("temporarily ");
    let client = client(fields);
    let (user, domain) = mailbox(field(fields, "F="));
    let recipient = after.strip_prefix("RCPT ").map_or("", |rest| rest.split([':', ' ']).next().unwrap_or_default());
    let reason = match after.find(": ") {
        Some(at) => after.get(at + 2..).unwrap_or_default(),
        None => "",
    };
    let (smtp_code, enhanced) = reply_codes(reason);
    let (tls_version, tls_cipher) = tls(field(fields, "X="));
    Some(Reception {
        ts: line.time,
        node: line.host.to_owned(),
        mta: ENTRY.name.to_owned(),
        queue_id: line.id.to_owned(),
        client_ip: client.ip,
        client_name: client.name.to_owned(),
        helo: client.helo.to_owned(),
        sender_user: user.to_owned(),
        sender_domain: domain,
        rcpt_domain: mailbox(recipient).1,
        verdict: if temporary { ReceptionVerdict::Deferred } else { ReceptionVerdict::Rejected },
        smtp_code,
        enhanced_code: enhanced.to_owned(),
        response: reason.to_owned(),
        tls_version,
        tls_cipher,
        ..Reception::default()
    })
}

/// Lines that Exim writes and that make no event.
fn is_known(text: &str, of_message: bool) -> bool {
    const BEGIN: &[&str] = &[
        "Start queue run",
        "End queue run",
        "exim ",
        "SMTP ",
        "no host name found",
        "no IP address found",
        "TLS ",
        "unexpected disconnection",
        "Warning: ",
        "daemon",
        "SIGHUP",
        "pid ",
        "H=",
        "U=",
        "ident",
        "refused ",
        "unqualified ",
        "host name alias",
        "cwd=",
        "Connection from",
        "no immediate delivery",
        "retry time not reached",
        "log_reject_target",
        "DKIM: ",
        "DMARC",
        "failed to ",
        "configuration",
        "rejected ",
        "DNS list lookup",
        "dropping ",
        "too many connections",
    ];
    const OF_MESSAGE: &[&str] = &[
        "Frozen",
        "frozen",
        "Unfrozen",
        "Message is frozen",
        "Message ",
        "removed by",
        "cancelled by",
        "Spool file",
        "retry ",
        "no immediate",
        "original recipients",
        "Error while",
        "Remote host",
        "DKIM",
        "H=",
        "routing",
        "R=",
        "SMTP ",
        "lookup",
        "[",
        "SIZE",
        "local_scan",
        "Format error",
        "spam",
        "malware",
        "recipients",
        "Subject",
        "fatal",
        "unfrozen",
        "error ignored",
        "delivery",
        "Unable",
        "Warning",
        "PRDR",
        "DANE",
        "TLS",
        "ACL",
        "list ",
        "sender",
        "Completed",
        "remote",
        "host",
        "all ",
        "auto-thaw",
    ];
    BEGIN.iter().any(|begin| text.starts_with(begin))
        || (of_message && OF_MESSAGE.iter().any(|begin| text.starts_with(begin)))
}

/// The address that a delivery line begins with; a local one may have its parent behind it.
fn recipient(rest: &str) -> (&str, &str) {
    let quoted = rest.starts_with('"');
    let end = if quoted {
        rest.get(1..)
            .and_then(|inner| inner.find('"'))
            .and_then(|quote| rest.get(quote + 2..)?.find(' ').map(|space| quote + 2 + space))
    } else {
        rest.find(' ')
    };
    let end = end.unwrap_or(rest.len());
    // `bob@example.net: retry timeout exceeded`
    let colon = rest.get(..end).is_some_and(|address| address.ends_with(':'));
    rest.split_at(end - usize::from(colon))
}

/// The fields and the reason of a line that says why: `… T=smtp H=x [ip]: SMTP error …`, `… defer (-44): …`.
fn reason(fields: &str) -> (&str, String) {
    let end = [": ", " defer ("].iter().filter_map(|mark| find_outside_quotes(fields, mark)).min();
    match end {
        Some(at) => {
            let (fields, reason) = fields.split_at(at);
            let reason = reason.trim_start_matches([':', ' ']);
            (fields, reason.to_owned())
        }
        None => (fields, String::new()),
    }
}

fn find_outside_quotes(text: &str, mark: &str) -> Option<usize> {
    let mut quoted = false;
    text.char_indices().find_map(|(at, c)| {
        quoted ^= c == '"';
        (!quoted && text.get(at..)?.starts_with(mark)).then_some(at)
    })
}

/// The reply of the other side in a reason or a confirmation.
fn reply_in(reason: &str) -> &str {
    let after = match reason.find("SMTP error from remote mail server after ") {
        Some(at) => reason.get(at..).unwrap_or_default(),
        None => return reason,
    };
    // `after RCPT TO:<ann@example.org>: 550 …`: the reply begins at the first code behind a colon.
    after
        .match_indices(": ")
        .filter_map(|(at, _)| after.get(at + 2..))
        .find(|reply| reply_codes(reply).0.is_some())
        .unwrap_or(after)
}

/// The queue id in `250 2.0.0 Ok: queued as 4F…` and in `250 OK id=1rf…`.
fn queued_as(reply: &str) -> &str {
    let after = reply.split_once("queued as ").or_else(|| reply.split_once("OK id=")).map_or("", |(_, id)| id);
    after.split([' ', '"', ';', '.', ',', ')']).next().unwrap_or_default()
}

struct Client<'a> {
    name: &'a str,
    helo: &'a str,
    ip: Option<Address>,
}

/// `H=name (helo) [ip]:port`, `H=(helo) [ip]`, `H=[ip]`, `H=name [ip]`.
fn client(fields: &str) -> Client<'_> {
    client_of(field_to_bracket(fields, "H="))
}

/// `name (helo) [ip]:port`
fn client_of(text: &str) -> Client<'_> {
    let text = to_bracket(text);
    let (names, ip) = host_and_bracket(text);
    let (name, helo) = match names.split_once('(') {
        Some((name, helo)) => (name.trim(), helo.split(')').next().unwrap_or_default()),
        None => (names.trim(), ""),
    };
    Client { name, helo, ip }
}

/// The part before the last bracketed address, and that address: a HELO may hold brackets too.
fn host_and_bracket(text: &str) -> (&str, Option<Address>) {
    match text.rfind('[') {
        Some(at) => (text.get(..at).unwrap_or_default(), host_and_address(text.get(at..).unwrap_or_default()).1),
        None => (text, None),
    }
}

/// Where a field begins: at the front or behind a space, not inside quotes.
fn find_field(fields: &str, name: &str) -> Option<usize> {
    let mut quoted = false;
    let mut before = b' ';
    fields.bytes().enumerate().find_map(|(at, byte)| {
        quoted ^= byte == b'"';
        let here = !quoted && before == b' ' && fields.get(at..).is_some_and(|rest| rest.starts_with(name));
        before = byte;
        here.then_some(at)
    })
}

/// The value of a field up to the next space; empty when it is not there.
fn field<'a>(fields: &'a str, name: &str) -> &'a str {
    match find_field(fields, name) {
        Some(at) => fields.get(at + name.len()..).unwrap_or_default().split(' ').next().unwrap_or_default(),
        None => "",
    }
}

/// The value of a field that ends with a bracketed address.
fn field_to_bracket<'a>(fields: &'a str, name: &str) -> &'a str {
    find_field(fields, name).map_or("", |at| to_bracket(fields.get(at + name.len()..).unwrap_or_default()))
}

/// Up to the bracket that ends a host and its address; without one, up to the next space.
fn to_bracket(value: &str) -> &str {
    // A literal HELO, `([192.0.2.1])`, closes its bracket before its parenthesis.
    let mut from = 0;
    while let Some(close) = value.get(from..).and_then(|rest| rest.find(']')).map(|found| from + found) {
        if value.get(close + 1..close + 2) != Some(")") {
            return value.get(..=close).unwrap_or(value);
        }
        from = close + 1;
    }
    value.split(' ').next().unwrap_or_default()
}

/// A quoted value: `C="250 OK"`.
fn quoted(fields: &str, name: &str) -> String {
    let value = match find_field(fields, name) {
        Some(at) => fields.get(at + name.len()..).unwrap_or_default(),
        None => return String::new(),
    };
    let Some(inner) = value.strip_prefix('"') else { return value.split(' ').next().unwrap_or_default().to_owned() };
    let mut text = String::new();
    let mut escaped = false;
    for c in inner.chars() {
        match c {
            _ if escaped => {
                text.push(if c == 'n' { ' ' } else { c });
                escaped = false;
            }
            '\\' => escaped = true,
            '"' => break,
            _ => text.push(c),
        }
    }
    text
}

/// `TLS1.3:ECDHE-RSA-AES256-GCM-SHA384:256`, `TLSv1.2:…`: version and cipher suite.
fn tls(value: &str) -> (String, String) {
    let mut parts = value.split(':');
    let version = parts.next().unwrap_or_default();
    let version = match version.strip_prefix("TLS") {
        Some(number) if number.starts_with(|c: char| c.is_ascii_digit()) => format!("TLSv{number}"),
        _ => version.to_owned(),
    };
    (version, parts.next().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests;
