//! The delivery agents: one line an attempt and recipient, and the protection of their connections.

use memchr::memmem;

use super::state::{Memory, Peer, protection};
use super::{ENTRY, Line};
use crate::dialect::text::{cut, cut_at, host_and_address, put_mailbox, queued_as, reply_codes};
use crate::event::{DeliveryOutcome, Event};

/// Reads a line of a delivery agent: whether it is one of these.
pub fn read(line: &Line<'_>, memory: &mut Memory, out: &mut Vec<Event>) -> bool {
    if let Some(id) = line.id
        && line.text.starts_with("to=<")
    {
        return attempt(line, id, memory, out).is_some();
    }
    if let Some((trust, rest)) = protection(line.text)
        && let Some(rest) = rest.strip_prefix("established to ").or_else(|| rest.strip_prefix("reused to "))
    {
        let peer = cut_at(rest, b": ").and_then(|(relay, established)| {
            Some(Peer { relay: relay.into(), tls: memory.tls(established)?, trust, queue_id: None })
        });
        memory.set_peer(line.host, line.pid, peer);
        return true;
    }
    if line.text.starts_with("Cannot start TLS") || line.text.starts_with("SSL_connect error") {
        // What follows to the same host is in the clear.
        memory.set_peer(line.host, line.pid, None);
        return true;
    }
    false
}

/// The fields of an attempt, as written.
#[derive(Default)]
struct Attempt<'a> {
    to: &'a str,
    relay: &'a str,
    reused: bool,
    delay: &'a str,
    delays: &'a str,
    dsn: &'a str,
    status: &'a str,
    response: &'a str,
}

/// `to=<…>, orig_to=<…>, relay=host[ip]:25, conn_use=2, delay=1.2, delays=0.1/0/1/0.1, dsn=2.0.0, status=sent (250 …)`
fn fields(text: &str) -> Option<Attempt<'_>> {
    let mut attempt = Attempt::default();
    let mut rest = text;
    loop {
        let (key, after) = cut(rest, b'=')?;
        if key == "status" {
            let (status, response) = cut(after, b' ').unwrap_or((after, ""));
            let inside = response.strip_prefix('(').unwrap_or(response);
            attempt.status = status;
            attempt.response = inside.strip_suffix(')').unwrap_or(inside);
            return Some(attempt);
        }
        let (value, next) = match after.strip_prefix('<') {
            Some(address) => {
                let (address, next) = cut_at(address, b">,")?;
                (address, next.trim_start())
            }
            None => cut_at(after, b", ")?,
        };
        match key {
            "to" => attempt.to = value,
            "relay" => attempt.relay = value,
            "conn_use" => attempt.reused = true,
            "delay" => attempt.delay = value,
            "delays" => attempt.delays = value,
            "dsn" => attempt.dsn = value,
            // `orig_to`, and what later versions add.
            _ => {}
        }
        rest = next;
    }
}

fn attempt(line: &Line<'_>, id: &str, memory: &mut Memory, out: &mut Vec<Event>) -> Option<()> {
    let attempt = fields(line.text)?;
    let outcome = match attempt.status {
        "sent" => DeliveryOutcome::Delivered,
        // A soft bounce stays in the queue.
        "deferred" | "SOFTBOUNCE" => DeliveryOutcome::Deferred,
        "bounced" => DeliveryOutcome::Bounced,
        "expired" | "force-expired" => DeliveryOutcome::Expired,
        // Address verification passes no message on.
        "deliverable" | "undeliverable" => return Some(()),
        _ => return None,
    };
    // `relay=local` or `relay=none` is not a host.
    let (mx_host, mx_ip) = match cut(attempt.relay, b'[') {
        Some(_) => host_and_address(attempt.relay),
        None => ("", None),
    };
    let mut rest = attempt.delays;
    let mut delay = || {
        let (first, after) = cut(rest, b'/').unwrap_or((rest, ""));
        rest = after;
        millis(first)
    };
    let mut row = memory.deliveries.take();
    row.ts = line.time;
    line.host.clone_into(&mut row.node);
    ENTRY.name.clone_into(&mut row.mta);
    id.clone_into(&mut row.queue_id);
    next_queue_id(attempt.response).clone_into(&mut row.next_queue_id);
    put_mailbox(attempt.to, &mut row.rcpt_user, &mut row.rcpt_domain);
    mx_host.clone_into(&mut row.mx_host);
    row.mx_ip = mx_ip;
    row.outcome = outcome;
    row.is_final = outcome != DeliveryOutcome::Deferred;
    let (smtp_code, enhanced) = reply_codes(reply(attempt.response));
    row.smtp_code = smtp_code;
    // Before 2.3 there is no `dsn=`.
    if attempt.dsn.is_empty() { enhanced } else { attempt.dsn }.clone_into(&mut row.enhanced_code);
    attempt.response.clone_into(&mut row.response);
    row.delay_total_ms = millis(attempt.delay);
    row.delay_a_ms = delay();
    row.delay_b_ms = delay();
    row.delay_c_ms = delay();
    row.delay_d_ms = delay();
    line.agent.clone_into(&mut row.protocol);
    if let Some(message) = memory.known_message(line.host, id) {
        row.attempt = message.count_attempt(attempt.to);
        row.message_id.clone_from(&message.message_id);
        row.sender_user.clone_from(&message.sender_user);
        row.sender_domain.clone_from(&message.sender_domain);
        row.size_bytes = message.size_bytes;
        if message.rcpt_count == Some(1) && outcome == DeliveryOutcome::Deferred {
            message.only_recipient = Some((row.rcpt_user.clone(), row.rcpt_domain.clone()));
        }
    }
    if let Some(peer) = memory.peer(line.host, line.pid)
        && *peer.relay == *attempt.relay
        // A second message goes over the same connection only where the line says so.
        && (attempt.reused || peer.queue_id.as_deref().is_none_or(|first| first == id))
    {
        peer.queue_id.get_or_insert_with(|| id.into());
        peer.tls.version.as_ref().clone_into(&mut row.tls_version);
        peer.tls.cipher.as_ref().clone_into(&mut row.tls_cipher);
        peer.trust.clone_into(&mut row.tls_trust);
    }
    out.push(row.into());
    Some(())
}

/// The id of the message behind this one: what the next hop gave it, or `local` where an alias or a `.forward` sends it
/// on. A refusal may speak of a queue too; only what was taken has an id there.
fn next_queue_id(response: &str) -> &str {
    match response.as_bytes().first() {
        Some(b'2') => queued_as(response),
        Some(b'f') => response.strip_prefix("forwarded as ").unwrap_or_default(),
        _ => "",
    }
}

/// The next hop's own words: `host … said: 550 …`, `host … refused to talk to me: 421 …`, or the whole text.
fn reply(response: &str) -> &str {
    if response.as_bytes().first().is_some_and(u8::is_ascii_digit) {
        return response;
    }
    [" said: ", " refused to talk to me: "]
        .iter()
        .find_map(|mark| {
            memmem::find(response.as_bytes(), mark.as_bytes()).and_then(|at| response.get(at + mark.len()..))
        })
        .unwrap_or(response)
}

/// Seconds with fractions, in milliseconds, rounded.
fn millis(text: &str) -> Option<u64> {
    let (whole, fraction) = cut(text, b'.').unwrap_or((text, ""));
    let mut ms = whole.parse::<u64>().ok()?.checked_mul(1_000)?;
    let mut unit = 100;
    for (place, digit) in fraction.bytes().enumerate() {
        let digit = u64::from(digit.checked_sub(b'0').filter(|digit| *digit < 10)?);
        match place {
            0..=2 => ms += digit * unit,
            3 => ms += u64::from(digit >= 5),
            _ => {}
        }
        unit /= 10;
    }
    Some(ms)
}
