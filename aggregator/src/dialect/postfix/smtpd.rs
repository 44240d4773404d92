//! `smtpd`: who connects, logs in, brings mail, is refused, and goes.

use super::state::{Memory, protection};
use super::{ENTRY, Line, refusal};
use crate::dialect::text::{Mark, cut, cut_at, host_and_address};
use crate::event::{AuthEvent, Event, Reception, ReceptionVerdict};

/// How lines begin that say why the session ends that the next `disconnect from` tells.
const ENDS: &[(&str, &str)] = &[
    ("lost connection after ", "disconnected"),
    ("timeout after ", "timeout"),
    ("too many errors after ", "protocol_error"),
];

/// Reads a line of `smtpd`: whether it is one of these.
pub fn read(line: &Line<'_>, memory: &mut Memory, out: &mut Vec<Event>) -> bool {
    let text = line.text;
    // Since 3.10 behind the queue id, or `NOQUEUE`.
    let said = text.strip_prefix("NOQUEUE: ").unwrap_or(text);
    if let Some((_, end)) = ENDS.iter().find(|(start, _)| said.starts_with(start)) {
        if let Some(client) = memory.client(line.host, line.pid) {
            client.end = end;
        }
        return true;
    }
    if let Some(id) = line.id {
        return match text.strip_prefix("client=") {
            Some(rest) => {
                message(line, id, rest, memory, out);
                true
            }
            None => refusal::read(line, memory, out),
        };
    }
    if let Some(rest) = text.strip_prefix("NOQUEUE: ") {
        // Behind a filter before the queue, the message gets its queue id when the filter gives it back.
        return rest.starts_with("client=") || refusal::read(&Line { text: rest, ..*line }, memory, out);
    }
    if let Some(origin) = text.strip_prefix("connect from ") {
        let (name, ip) = named(origin);
        if let Some(client) = memory.client(line.host, line.pid) {
            client.reset();
            (client.ip, client.since) = (ip, Some(line.time));
            name.clone_into(&mut client.name);
        }
        return true;
    }
    if let Some(rest) = text.strip_prefix("disconnect from ") {
        session(line, rest, memory, out);
        return true;
    }
    if let Some(rest) = protection(text).and_then(|(_, rest)| rest.strip_prefix("established from ")) {
        if let Some((_, established)) = after_origin(rest) {
            let tls = memory.tls(established);
            if let Some(client) = memory.client(line.host, line.pid) {
                client.tls = tls;
            }
        }
        return true;
    }
    match text.strip_prefix("warning: ") {
        Some(warning) => failed_login(line, warning, out) || over_limit(line, warning, out),
        None => refusal::read(line, memory, out),
    }
}

/// A client as the log names it: `unknown` is not a name.
pub fn named(origin: &str) -> (&str, Option<crate::event::Address>) {
    let (name, ip) = host_and_address(origin);
    (if name == "unknown" { "" } else { name }, ip)
}

/// Splits `host[192.0.2.1]: rest` and `host[192.0.2.1]:4711: rest`.
pub fn after_origin(text: &str) -> Option<(&str, &str)> {
    let close = memchr::memchr(b']', text.as_bytes())?;
    let (port, rest) = cut_at(text.get(close..)?, b": ")?;
    Some((text.get(..close + port.len())?, rest))
}

/// `client=host[ip], sasl_method=PLAIN, sasl_username=ann@example.org`: the beginning of a message.
fn message(line: &Line<'_>, id: &str, rest: &str, memory: &mut Memory, out: &mut Vec<Event>) {
    let (origin, mut rest) = cut_at(rest, b", ").unwrap_or((rest, ""));
    let (name, ip) = named(origin);
    let (mut method, mut user) = ("", "");
    while !rest.is_empty() {
        let (field, after) = cut_at(rest, b", ").unwrap_or((rest, ""));
        rest = after;
        if let Some(value) = field.strip_prefix("sasl_method=") {
            method = value;
        } else if let Some(value) = field.strip_prefix("sasl_username=") {
            user = value;
        }
    }
    let mut protection = None;
    if let Some(client) = memory.client(line.host, line.pid) {
        if client.ip != ip {
            // The log begins within the session, or XCLIENT has changed its client.
            client.reset();
            client.ip = ip;
            name.clone_into(&mut client.name);
        }
        protection.clone_from(&client.tls);
        // One log-in may bring many messages.
        if !user.is_empty() && client.user != user {
            user.clone_into(&mut client.user);
            out.push(
                AuthEvent {
                    ts: line.time,
                    node: line.host.to_owned(),
                    protocol: line.service().to_owned(),
                    user: user.to_owned(),
                    client_ip: ip,
                    mechanism: method.to_owned(),
                    result: "ok".to_owned(),
                    ..AuthEvent::default()
                }
                .into(),
            );
        }
    }
    if let Some(message) = memory.arrival(line.host, id) {
        message.client_ip = ip;
        name.clone_into(&mut message.client_name);
        user.clone_into(&mut message.auth_user);
        message.tls = protection;
    }
}

/// `host[ip] ehlo=1 mail=1 rcpt=0/1 quit=1 commands=3/4`: accepted of all, one number when all were.
fn session(line: &Line<'_>, rest: &str, memory: &mut Memory, out: &mut Vec<Event>) {
    let (origin, statistics) = match cut_at(rest, b"] ").or_else(|| cut(rest, b' ')) {
        Some((origin, statistics)) => (origin, statistics),
        None => (rest, ""),
    };
    let ip = named(origin).1;
    let client = memory.end_client(line.host, line.pid).filter(|client| client.ip == ip).unwrap_or_default();
    let mut commands = None;
    let mut quit = false;
    let mut rest = statistics;
    while !rest.is_empty() {
        let (field, after) = cut(rest, b' ').unwrap_or((rest, ""));
        rest = after;
        if let Some(value) = field.strip_prefix("commands=") {
            let slash = value.bytes().rposition(|byte| byte == b'/');
            commands = slash.map_or(value, |at| value.get(at + 1..).unwrap_or_default()).parse().ok();
        } else if field.starts_with("quit=") {
            quit = true;
        }
    }
    let mut row = memory.sessions.take();
    row.ts = line.time;
    line.host.clone_into(&mut row.node);
    line.service().clone_into(&mut row.protocol);
    client.user.clone_into(&mut row.user);
    row.client_ip = ip;
    row.duration_ms = client.since.map(|since| line.time.millis_since(since));
    row.commands = commands;
    let end = if quit { "logout" } else { client.end };
    end.clone_into(&mut row.end_reason);
    out.push(row.into());
    memory.client_has_left(client);
}

/// `host[ip]: SASL LOGIN authentication failed: why, sasl_username=ann`
fn failed_login(line: &Line<'_>, warning: &str, out: &mut Vec<Event>) -> bool {
    let Some((origin, rest)) = after_origin(warning) else { return false };
    let Some((mechanism, why)) = rest.strip_prefix("SASL ").and_then(|rest| cut(rest, b' ')) else { return false };
    let Some(why) = why.strip_prefix("authentication failed") else { return false };
    let why = why.strip_prefix(':').unwrap_or(why).trim_start();
    let (reason, user) = why
        .rsplit_once(", sasl_username=")
        .or_else(|| Some(("", why.strip_prefix("sasl_username=")?)))
        .unwrap_or((why, ""));
    out.push(
        AuthEvent {
            ts: line.time,
            node: line.host.to_owned(),
            protocol: line.service().to_owned(),
            user: if user == "(unavailable)" { String::new() } else { user.to_owned() },
            client_ip: named(origin).1,
            mechanism: mechanism.to_owned(),
            result: "failed".to_owned(),
            reason: reason.to_owned(),
            ..AuthEvent::default()
        }
        .into(),
    );
    true
}

/// `Connection rate limit exceeded: 51 from host[ip] for service smtp`: a client that is sent away for a while. The
/// reply that it gets is not logged.
fn over_limit(line: &Line<'_>, warning: &str, out: &mut Vec<Event>) -> bool {
    static EXCEEDED: Mark = Mark::new(" limit exceeded: ");
    let Some((what, rest)) = EXCEEDED.split(warning) else { return false };
    let Some((_, origin)) = cut(rest, b' ').and_then(|(_, rest)| rest.split_once("from ")) else { return false };
    let (name, ip) = named(origin.split(" for service ").next().unwrap_or_default());
    if what.starts_with("AUTH ") {
        out.push(
            AuthEvent {
                ts: line.time,
                node: line.host.to_owned(),
                protocol: line.service().to_owned(),
                client_ip: ip,
                result: "failed".to_owned(),
                reason: warning.to_owned(),
                ..AuthEvent::default()
            }
            .into(),
        );
        return true;
    }
    out.push(
        Reception {
            ts: line.time,
            node: line.host.to_owned(),
            mta: ENTRY.name.to_owned(),
            client_ip: ip,
            client_name: name.to_owned(),
            verdict: ReceptionVerdict::Deferred,
            class: "rate_limited".to_owned(),
            class_rule: "anvil".to_owned(),
            response: warning.to_owned(),
            ..Reception::default()
        }
        .into(),
    );
    true
}
