//! Deliveries: `=>`, `->`, `>>`, `**` and `==`.

use super::fields::{Fields, bracketed, host, unescaped};
use super::{COUNTED_RECIPIENTS, ENTRY, Exim, Line, Message, tls};
use crate::dialect::text::{duration_ms, mailbox, queued_as, reply_codes};
use crate::event::{Delivery, DeliveryOutcome, Event, Reception, ReceptionVerdict};

impl Exim {
    pub(super) fn delivery(&mut self, line: &Line<'_>, rest: &str, outcome: DeliveryOutcome, out: &mut Vec<Event>) {
        let to = Recipient::parse(rest);
        let unknown = Message::default();
        if to.is_nobody() {
            out.push(discarded(line, self.messages.get(line.id).unwrap_or(&unknown), rest).into());
            return;
        }
        let fields = Fields::parse(to.rest);
        let (reason, attempt_time) = match outcome {
            DeliveryOutcome::Delivered => (unescaped(fields.confirmation), fields.delivery_time),
            _ => {
                let (reason, time) = without_time(fields.rest);
                (reason.to_owned(), if time.is_empty() { fields.delivery_time } else { time })
            }
        };
        let address = to.address();
        let expired = outcome == DeliveryOutcome::Bounced
            && (reason.contains("retry timeout exceeded") || reason.contains("have been failing for a long time"));
        let skipped = outcome == DeliveryOutcome::Deferred && reason.to_ascii_lowercase().starts_with("retry time not");
        let attempt = match self.messages.get_mut(line.id) {
            // Otherwise Exim looked at its retry database only.
            Some(message) if !expired && !skipped => message.attempt(address, outcome),
            _ => None,
        };
        let message = self.messages.get(line.id).unwrap_or(&unknown);
        let (user, domain) = mailbox(address);
        let (sender_user, sender_domain) = sender(&fields, message);
        let (mx, reply) = other_side(&reason);
        let mx = if fields.host.ip.is_some() || !fields.host.name.is_empty() { fields.host } else { mx };
        let (smtp_code, enhanced) = reply_codes(reply);
        let (tls_version, tls_cipher) = tls(fields.tls);
        let since_arrival =
            (message.arrived.0 != 0 && line.time >= message.arrived).then(|| line.time.millis_since(message.arrived));
        out.push(
            Delivery {
                ts: line.time,
                node: line.host.to_owned(),
                mta: ENTRY.name.to_owned(),
                queue_id: line.id.to_owned(),
                next_queue_id: if outcome == DeliveryOutcome::Delivered { queued_as(reply) } else { "" }.to_owned(),
                message_id: message.message_id.clone(),
                sender_user,
                sender_domain,
                rcpt_user: user.to_owned(),
                rcpt_domain: domain,
                mx_host: mx.name.to_owned(),
                mx_ip: mx.ip,
                source_ip: fields.interface,
                attempt,
                outcome: if expired { DeliveryOutcome::Expired } else { outcome },
                is_final: outcome != DeliveryOutcome::Deferred,
                smtp_code,
                enhanced_code: enhanced.to_owned(),
                tls_version,
                tls_cipher,
                tls_trust: fields.trust.to_owned(),
                size_bytes: fields.size.or(message.size_bytes),
                delay_total_ms: duration_ms(fields.queue_time).or(since_arrival),
                delay_d_ms: duration_ms(attempt_time),
                protocol: if to.is_discarded() { "discard".to_owned() } else { fields.t.to_owned() },
                response: reason,
                ..Delivery::default()
            }
            .into(),
        );
    }
}

impl Message {
    /// The number of this attempt for a recipient: one more than it was deferred before.
    fn attempt(&mut self, recipient: &str, outcome: DeliveryOutcome) -> Option<u32> {
        let full = self.deferrals.len() >= COUNTED_RECIPIENTS;
        let before = self.deferrals.iter_mut().find(|(address, _)| address == recipient);
        let deferred = outcome == DeliveryOutcome::Deferred;
        match before {
            Some((_, count)) => {
                *count += u32::from(deferred);
                Some(*count + u32::from(!deferred))
            }
            None if deferred && full => None,
            None => {
                if deferred {
                    self.deferrals.push((recipient.to_owned(), 1));
                }
                Some(1)
            }
        }
    }
}

/// `F=`, or what the arrival said, or the return path.
fn sender(fields: &Fields<'_>, message: &Message) -> (String, String) {
    let known = message.arrived.0 != 0;
    let line = if fields.sender.is_empty() && !known { fields.p } else { fields.sender };
    if line.is_empty() {
        return (message.sender_user.clone(), message.sender_domain.clone());
    }
    let (user, domain) = mailbox(line);
    (user.to_owned(), domain)
}

/// `final (parent) <original>` at the front of a delivery line.
struct Recipient<'a> {
    last: &'a str,
    original: &'a str,
    rest: &'a str,
}

impl<'a> Recipient<'a> {
    fn parse(text: &'a str) -> Self {
        let (last, mut rest) = text.split_at(end_of_address(text));
        let mut original = "";
        loop {
            let next = rest.trim_start_matches(' ');
            if next.starts_with('<') {
                (original, rest) = bracketed(next);
            } else if next.starts_with('(')
                && let Some((_, after)) = next.split_once(')')
            {
                rest = after;
            } else {
                return Self { last, original, rest };
            }
        }
    }

    /// The address that the message went to. A mailbox, file, pipe or alias into nothing is named by the address that
    /// led there; an autoreply, `>ann@example.org`, by whom it answers.
    fn address(&self) -> &'a str {
        let is_address = self.last.contains('@') && !self.last.starts_with(['/', '|', ':']);
        match self.last.strip_prefix('>') {
            Some(answered) => answered,
            // `o dd@example.org <"o dd"@example.org>`: only the second is written as an address.
            None if self.original.starts_with("<\"") && self.last.contains(' ') => self.original,
            None if is_address || self.original.is_empty() => self.last,
            None => self.original,
        }
    }

    /// `blackhole (DATA ACL discarded recipients)`, `discarded (system filter)`: the whole message went.
    fn is_nobody(&self) -> bool {
        self.original.is_empty() && matches!(self.last, "blackhole" | "discarded")
    }

    /// `:blackhole: <ann@example.org>`, `discarded <ann@example.org>`: one recipient's copy went.
    fn is_discarded(&self) -> bool {
        matches!(self.last, ":blackhole:" | "discarded" | "/dev/null")
    }
}

/// Where the address ends that a delivery line begins with: a file, a pipe or a local part may hold spaces, so it is
/// the first space with something behind it that can follow an address.
fn end_of_address(text: &str) -> usize {
    let mut from = 0;
    while let Some(space) = text.get(from..).and_then(|rest| rest.find(' ')).map(|found| from + found) {
        let before = text.get(..space).unwrap_or_default();
        let after = text.get(space + 1..).unwrap_or_default();
        if after.starts_with(['<', '(']) || starts_fields(after) {
            return space;
        }
        if before.ends_with(':') && !before.starts_with(['|', '/']) {
            return space - 1;
        }
        from = space + 1;
    }
    text.trim_end_matches(':').len()
}

fn starts_fields(text: &str) -> bool {
    const FIRST: [&str; 11] = ["R=", "T=", "F=", "P=", "S=", "H=", "QT=", "DT=", "ST=", "routing defer (", "defer ("];
    FIRST.iter().any(|field| text.starts_with(field))
}

/// A reason and the `DT=` behind it.
fn without_time(reason: &str) -> (&str, &str) {
    match reason.rsplit_once(" DT=") {
        Some((reason, time)) if duration_ms(time).is_some() => (reason, time),
        _ => (reason, ""),
    }
}

/// Who answered, when the reason names him (`… after RCPT TO:<x>: host mx.example [192.0.2.1]: 550 …`, as Exim before
/// 4.83 does), and the reply of the other side in a reason or a confirmation.
fn other_side(reason: &str) -> (super::fields::Host<'_>, &str) {
    let said = [" error from remote mail", "LMTP error after "].iter().find_map(|mark| reason.find(mark));
    let Some(after) = said.and_then(|at| reason.get(at..)) else { return (super::fields::Host::default(), reason) };
    // The command that was answered may hold colons too; the reply begins at the first code behind one.
    let reply = after
        .match_indices(": ")
        .filter_map(|(at, _)| after.get(at + 2..))
        .find(|reply| reply_codes(reply).0.is_some())
        .unwrap_or_default();
    let named = after.find(": host ").and_then(|at| after.get(at + ": host ".len()..));
    (named.map(|text| host(text).0).unwrap_or_default(), reply)
}

/// A message that an ACL or the system filter took for nobody.
fn discarded(line: &Line<'_>, message: &Message, rest: &str) -> Reception {
    let why = rest.split_once('(').map_or("", |(_, why)| why);
    // `(DATA ACL discarded recipients): thrown away`
    let (what, detail) = why.split_once(')').unwrap_or((why, ""));
    let detail = detail.trim_start_matches([':', ' ']);
    Reception {
        ts: line.time,
        node: line.host.to_owned(),
        mta: ENTRY.name.to_owned(),
        queue_id: line.id.to_owned(),
        message_id: message.message_id.clone(),
        client_ip: message.client_ip,
        sender_user: message.sender_user.clone(),
        sender_domain: message.sender_domain.clone(),
        size_bytes: message.size_bytes,
        verdict: ReceptionVerdict::Discarded,
        response: if detail.is_empty() { what } else { detail }.to_owned(),
        ..Reception::default()
    }
}
