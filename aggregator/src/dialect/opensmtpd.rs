//! OpenSMTPD (`smtpd`), by syslog: `5df87c9c42abeddb smtp message msgid=… size=…` since 6.0, the older form with
//! `event=message`, and the sentences before it ([`old`]).
//!
//! An envelope's id begins with its message's id, eight digits: that is the queue id here.

mod old;

use super::clock::Clock;
use super::recent::Recent;
use super::text::{duration_ms, mailbox, queued_as, reply_codes};
use super::{Dialect, Entry, Reading, head};
use crate::event::{self, Address, AuthEvent, Delivery, DeliveryOutcome, Event, Reception, ReceptionVerdict, Time};

/// The registry's entry.
pub const ENTRY: Entry =
    Entry { name: "opensmtpd", title: "OpenSMTPD, by syslog", make: || Box::new(OpenSmtpd::default()), looks_like };

/// Sessions that are remembered.
const SESSIONS: usize = 10_000;
/// Messages whose arrival is remembered.
const MESSAGES: usize = 50_000;
/// Envelopes whose attempts are counted.
const ENVELOPES: usize = 50_000;

#[derive(Default)]
struct OpenSmtpd {
    sessions: Recent<Session, SESSIONS>,
    messages: Recent<Message, MESSAGES>,
    /// How often an envelope was deferred.
    envelopes: Recent<u32, ENVELOPES>,
}

/// What the lines of a session say one after the other.
#[derive(Debug, Default, Clone)]
struct Session {
    /// When a client came.
    since: Option<Time>,
    client_ip: Option<Address>,
    client_name: String,
    user: String,
    tls_version: String,
    tls_cipher: String,
    tls_trust: String,
}

/// A message, from the line that takes it in to its first envelope and on.
#[derive(Debug, Default)]
struct Message {
    size_bytes: Option<u64>,
    /// What its first envelope completes.
    reception: Option<Box<Reception>>,
}

/// A line behind its head.
struct Line<'a> {
    time: Time,
    node: &'a str,
    session: &'a str,
    text: &'a str,
}

impl<'a> Line<'a> {
    fn of(head: &'a head::Head<'_>, session: &'a str, text: &'a str) -> Self {
        Self { time: head.time, node: &head.host, session, text }
    }
}

fn looks_like(line: &str) -> bool {
    line.contains(" smtpd[")
}

impl Dialect for OpenSmtpd {
    fn read(&mut self, line: &str, clock: &Clock, out: &mut Vec<Event>) -> Reading {
        let Some(head) = head::split(line, clock).filter(|head| matches!(&*head.program, "smtpd" | "opensmtpd")) else {
            return Reading::Unrecognised;
        };
        let message = &*head.message;
        let Some((session, rest)) = message.split_once(' ').filter(|(word, _)| is_id(word, 16)) else {
            if let Some(said) = old::said(message) {
                self.part(said.part, &Line::of(&head, &said.session, &said.text), out);
                return Reading::Recognised;
            }
            return if is_known(message) { Reading::Recognised } else { Reading::Unrecognised };
        };
        let Some((part, text)) = rest.split_once(' ') else { return Reading::Unrecognised };
        let text = text.strip_prefix("event=").unwrap_or(text);
        match self.part(part, &Line::of(&head, session, text), out) {
            true => Reading::Recognised,
            false => Reading::Unrecognised,
        }
    }
}

impl OpenSmtpd {
    /// Whether there is such a part.
    fn part(&mut self, part: &str, line: &Line<'_>, out: &mut Vec<Event>) -> bool {
        match part {
            "smtp" => self.smtp(line, out),
            "mta" => self.mta(line, out),
            "mda" => self.delivery(line, "mda", out),
            "filters" | "filter" | "queue" | "scheduler" | "control" | "lka" | "ruleset" => {}
            _ => return false,
        }
        true
    }

    fn smtp(&mut self, line: &Line<'_>, out: &mut Vec<Event>) {
        match line.text.split(' ').next().unwrap_or_default() {
            "connected" => self.sessions.insert(
                line.session,
                Session {
                    since: Some(line.time),
                    client_ip: address(value(line.text, "address")),
                    client_name: host_name(value(line.text, "host")).to_owned(),
                    ..Session::default()
                },
            ),
            "tls" | "starttls" => self.tls(line),
            "authentication" => self.authentication(line, out),
            "message" => self.message(line, out),
            "envelope" => self.envelope(line, out),
            "failed-command" => out.extend(self.failed_command(line).map(Event::from)),
            "disconnected" | "closed" => self.disconnected(line, out),
            _ => {}
        }
    }

    /// `smtp disconnected reason=quit`: the end of a session whose begin was seen.
    fn disconnected(&mut self, line: &Line<'_>, out: &mut Vec<Event>) {
        let Some((session, since)) =
            self.sessions.remove(line.session).and_then(|session| session.since.map(|since| (session, since)))
        else {
            return;
        };
        let reason = match value(line.text, "reason") {
            "quit" => "logout",
            "timeout" => "timeout",
            _ => "disconnected",
        };
        out.push(
            event::Session {
                ts: line.time,
                node: line.node.to_owned(),
                protocol: "smtp".to_owned(),
                user: session.user,
                client_ip: session.client_ip,
                duration_ms: Some(line.time.millis_since(since)),
                end_reason: reason.to_owned(),
                ..event::Session::default()
            }
            .into(),
        );
    }

    fn mta(&mut self, line: &Line<'_>, out: &mut Vec<Event>) {
        match line.text.split(' ').next().unwrap_or_default() {
            "connecting" => self.sessions.insert(line.session, Session::default()),
            "tls" | "starttls" => self.tls(line),
            "server-cert-check" => {
                if let Some(session) = self.sessions.get_mut(line.session) {
                    session.tls_trust = value(line.text, "result").to_owned();
                }
            }
            "delivery" => self.delivery(line, "mta", out),
            "disconnected" | "closed" => {
                self.sessions.remove(line.session);
            }
            _ => {}
        }
    }

    /// `tls ciphers=TLSv1.3:AEAD-AES256-GCM-SHA384:256`, or
    /// `starttls … ciphers="version=TLSv1.2, cipher=ECDHE-RSA-AES256-GCM-SHA384, bits=256"`.
    fn tls(&mut self, line: &Line<'_>) {
        let Some(session) = self.sessions.get_mut(line.session) else { return };
        let ciphers = value(line.text, "ciphers");
        let (version, cipher) = match ciphers.split_once("version=") {
            Some((_, version)) => {
                let cipher = ciphers.split_once("cipher=").map_or("", |(_, cipher)| cipher);
                (version.split(',').next().unwrap_or_default(), cipher.split(',').next().unwrap_or_default())
            }
            None => {
                let mut parts = ciphers.split(':');
                (parts.next().unwrap_or_default(), parts.next().unwrap_or_default())
            }
        };
        (session.tls_version, session.tls_cipher) = (version.to_owned(), cipher.to_owned());
    }

    fn authentication(&mut self, line: &Line<'_>, out: &mut Vec<Event>) {
        let user = value(line.text, "user");
        let outcome = value(line.text, "result");
        let ok = outcome == "ok";
        let mut client_ip = address(value(line.text, "address"));
        if let Some(session) = self.sessions.get_mut(line.session) {
            client_ip = client_ip.or(session.client_ip);
            if ok {
                session.user = user.to_owned();
            }
        }
        out.push(
            AuthEvent {
                ts: line.time,
                node: line.node.to_owned(),
                protocol: "smtp".to_owned(),
                user: user.to_owned(),
                client_ip,
                result: if ok { "ok" } else { "failed" }.to_owned(),
                reason: if ok { String::new() } else { outcome.to_owned() },
                ..AuthEvent::default()
            }
            .into(),
        );
    }

    /// Since 6.0 the addresses come with the envelopes, before that they are in the same line.
    fn message(&mut self, line: &Line<'_>, out: &mut Vec<Event>) {
        let session = self.sessions.get(line.session).cloned().unwrap_or_default();
        let id = value(line.text, "msgid");
        let size_bytes = value(line.text, "size").parse().ok();
        let count = value(line.text, "nrcpt");
        let count = if count.is_empty() { value(line.text, "ndest") } else { count };
        let name = host_name(value(line.text, "host"));
        let mut reception = Reception {
            ts: line.time,
            node: line.node.to_owned(),
            mta: ENTRY.name.to_owned(),
            queue_id: id.to_owned(),
            client_ip: address(value(line.text, "address")).or(session.client_ip),
            client_name: if name.is_empty() { session.client_name } else { name.to_owned() },
            protocol: value(line.text, "proto").to_owned(),
            auth_user: session.user,
            rcpt_count: count.parse().ok(),
            size_bytes,
            verdict: ReceptionVerdict::Accepted,
            tls_version: session.tls_version,
            tls_cipher: session.tls_cipher,
            ..Reception::default()
        };
        let mut message = Message { size_bytes, reception: None };
        if line.text.contains(" from=<") {
            set_addresses(&mut reception, line.text);
            out.push(reception.into());
        } else {
            message.reception = Some(Box::new(reception));
        }
        self.messages.insert(id, message);
    }

    fn envelope(&mut self, line: &Line<'_>, out: &mut Vec<Event>) {
        let id = value(line.text, "evpid");
        self.envelopes.insert(id, 0);
        if let Some(message) = self.messages.get_mut(message_of(id))
            && let Some(mut reception) = message.reception.take()
        {
            set_addresses(&mut reception, line.text);
            out.push((*reception).into());
        }
    }

    /// A refused MAIL, RCPT or DATA. A refused AUTH has its own line, and other commands offer no message.
    fn failed_command(&mut self, line: &Line<'_>) -> Option<Reception> {
        let command = value(line.text, "command");
        let response = last_value(line.text, "result");
        let argument = |name: &str| -> Option<&str> {
            let (verb, after) = command.split_at_checked(name.len())?;
            verb.eq_ignore_ascii_case(name).then(|| after.trim_start())
        };
        let session = self.sessions.get(line.session).cloned().unwrap_or_default();
        let (sender, recipient) = match (argument("MAIL FROM:"), argument("RCPT TO:")) {
            (Some(from), _) => (from, ""),
            (_, Some(to)) => ("", to),
            _ if argument("DATA").is_some() || argument("EHLO").is_some() || argument("HELO").is_some() => ("", ""),
            _ => return None,
        };
        let (smtp_code, enhanced) = reply_codes(response);
        let (sender_user, sender_domain) = mailbox(path(sender));
        Some(Reception {
            ts: line.time,
            node: line.node.to_owned(),
            mta: ENTRY.name.to_owned(),
            client_ip: address(value(line.text, "address")).or(session.client_ip),
            client_name: session.client_name.clone(),
            helo: argument("EHLO").or_else(|| argument("HELO")).unwrap_or_default().to_owned(),
            auth_user: session.user.clone(),
            sender_user: sender_user.to_owned(),
            sender_domain,
            rcpt_domain: mailbox(path(recipient)).1,
            verdict: match smtp_code {
                Some(400..=499) => ReceptionVerdict::Deferred,
                _ => ReceptionVerdict::Rejected,
            },
            smtp_code,
            enhanced_code: enhanced.to_owned(),
            response: response.to_owned(),
            tls_version: session.tls_version.clone(),
            tls_cipher: session.tls_cipher.clone(),
            ..Reception::default()
        })
    }

    fn delivery(&mut self, line: &Line<'_>, agent: &str, out: &mut Vec<Event>) {
        let Some(text) = line.text.strip_prefix("delivery ") else { return };
        let outcome = match value(text, "result") {
            "Ok" => DeliveryOutcome::Delivered,
            "TempFail" => DeliveryOutcome::Deferred,
            "Expire" | "Expired" => DeliveryOutcome::Expired,
            "PermFail" | "Loop" => DeliveryOutcome::Bounced,
            _ => return,
        };
        let evpid = value(text, "evpid");
        let attempt = self.envelopes.get_mut(evpid).map(|deferrals| {
            let attempt = *deferrals + 1;
            *deferrals += u32::from(outcome == DeliveryOutcome::Deferred);
            attempt
        });
        let is_final = outcome != DeliveryOutcome::Deferred;
        if is_final {
            self.envelopes.remove(evpid);
        }
        let session = self.sessions.get(line.session).cloned().unwrap_or_default();
        let (sender_user, sender_domain) = mailbox(value(text, "from"));
        let (user, domain) = mailbox(value(text, "to"));
        let (mx_ip, mx_host) = relay(value(text, "relay"));
        let response = last_value(text, "stat");
        // `Error (temporary failure: "mail.lmtp: LMTP server error: 452 4.2.2 …")`: what LMTP answered.
        let answer = response.split_once(" server error: ").map_or(response, |(_, answer)| answer);
        let (smtp_code, enhanced) = reply_codes(answer);
        let method = value(text, "method");
        out.push(
            Delivery {
                ts: line.time,
                node: line.node.to_owned(),
                mta: ENTRY.name.to_owned(),
                queue_id: message_of(evpid).to_owned(),
                next_queue_id: if outcome == DeliveryOutcome::Delivered { queued_as(response) } else { "" }.to_owned(),
                sender_user: sender_user.to_owned(),
                sender_domain,
                rcpt_user: user.to_owned(),
                rcpt_domain: domain,
                mx_host: mx_host.to_owned(),
                mx_ip,
                source_ip: address(value(text, "source")),
                attempt,
                outcome,
                is_final,
                smtp_code,
                enhanced_code: enhanced.to_owned(),
                response: response.to_owned(),
                tls_version: session.tls_version,
                tls_cipher: session.tls_cipher,
                tls_trust: session.tls_trust,
                size_bytes: self.messages.get(message_of(evpid)).and_then(|message| message.size_bytes),
                delay_total_ms: duration_ms(value(text, "delay")),
                protocol: if method.is_empty() { agent } else { method }.to_owned(),
                ..Delivery::default()
            }
            .into(),
        );
    }
}

fn set_addresses(reception: &mut Reception, text: &str) {
    let (user, domain) = mailbox(value(text, "from"));
    (reception.sender_user, reception.sender_domain) = (user.to_owned(), domain);
    reception.rcpt_domain = mailbox(value(text, "to")).1;
}

fn message_of(envelope: &str) -> &str {
    envelope.get(..8).unwrap_or(envelope)
}

fn is_id(word: &str, len: usize) -> bool {
    word.len() == len && word.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The value of `name=word`, `name="words"` or `name=<address>`; empty when it is not there.
fn value<'a>(text: &'a str, name: &str) -> &'a str {
    let Some(after) = after_name(text, name) else { return "" };
    if let Some(quoted) = after.strip_prefix('"') {
        return quoted.split('"').next().unwrap_or_default();
    }
    if let Some(inner) = after.strip_prefix('<') {
        return inner.split_once("> ").map_or_else(|| inner.trim_end_matches('>'), |(value, _)| value);
    }
    after.split([' ', ',']).next().unwrap_or_default()
}

/// The value that a line ends with: it may hold anything, quotes too.
fn last_value<'a>(text: &'a str, name: &str) -> &'a str {
    let after = after_name(text, name).unwrap_or_default();
    after.strip_prefix('"').map_or(after, |quoted| quoted.strip_suffix('"').unwrap_or(quoted))
}

fn after_name<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let mut from = 0;
    loop {
        let at = from + text.get(from..)?.find(name)?;
        let behind = text.get(at + name.len()..)?;
        if (at == 0 || text.as_bytes().get(at - 1) == Some(&b' ')) && behind.starts_with('=') {
            return behind.get(1..);
        }
        from = at + name.len();
    }
}

/// `192.0.2.7`, `[2001:db8::7]`, `IPv6:2001:db8::7`; `local` and `-` are none.
fn address(text: &str) -> Option<Address> {
    let text = text.trim_start_matches('[').trim_end_matches(']');
    text.strip_prefix("IPv6:").unwrap_or(text).parse().ok()
}

/// A host that has no name is `<unknown>`, or its address.
fn host_name(host: &str) -> &str {
    if host.starts_with('<') || host == "unknown" || address(host).is_some() { "" } else { host }
}

/// `192.0.2.7 (mx.example.org)`, or a name alone.
fn relay(relay: &str) -> (Option<Address>, &str) {
    match relay.split_once(" (") {
        Some((ip, name)) => (address(ip), host_name(name.trim_end_matches(')'))),
        None if relay == "-" => (None, ""),
        None => (address(relay), host_name(relay)),
    }
}

/// The path of a command, without its parameters.
fn path(argument: &str) -> &str {
    argument.split_once('>').map_or(argument, |(path, _)| path).trim_start_matches('<')
}

fn is_known(text: &str) -> bool {
    const BEGIN: [&str; 11] = [
        "info: ",
        "warn: ",
        "debug: ",
        "fatal",
        "smtp-in: ",
        "smtp-out: ",
        "delivery: ",
        "relay: ",
        "bounce",
        "filter",
        "Exiting",
    ];
    BEGIN.iter().any(|begin| text.starts_with(begin))
}

#[cfg(test)]
mod tests;
