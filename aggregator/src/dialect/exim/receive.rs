//! Arrivals: `<=`, and `(=` for a message that was taken while its sender was told that it was refused.

use super::fields::{Fields, address};
use super::{ENTRY, Exim, Line, Message, tls};
use crate::dialect::text::mailbox;
use crate::event::{AuthEvent, Event, Reception, ReceptionVerdict};

impl Exim {
    pub(super) fn arrival(&mut self, line: &Line<'_>, fake_reject: bool, rest: &str, out: &mut Vec<Event>) {
        let (sender, fields) = address(rest);
        let (user, domain) = mailbox(sender);
        let fields = Fields::parse(fields);
        let (first, count) = recipients(fields.rest);
        self.messages.insert(
            line.id,
            Message {
                message_id: fields.message_id.to_owned(),
                sender_user: user.to_owned(),
                sender_domain: domain.clone(),
                client_ip: fields.host.ip,
                size_bytes: fields.size,
                arrived: line.time,
                deferrals: Vec::new(),
            },
        );
        let (tls_version, tls_cipher) = tls(fields.tls);
        let signature = self.signatures.remove(line.id).unwrap_or_default();
        // `DKIM=` is there only when a signature is good.
        let dkim = if fields.dkim.is_empty() { signature } else { "pass" };
        out.push(
            Reception {
                ts: line.time,
                node: line.host.to_owned(),
                mta: ENTRY.name.to_owned(),
                queue_id: line.id.to_owned(),
                message_id: fields.message_id.to_owned(),
                client_ip: fields.host.ip,
                client_name: fields.host.name.to_owned(),
                helo: fields.host.helo.to_owned(),
                protocol: fields.p.to_owned(),
                auth_user: fields.auth_user().to_owned(),
                sender_user: user.to_owned(),
                sender_domain: domain,
                rcpt_count: (count > 0).then_some(count),
                rcpt_domain: mailbox(first).1,
                size_bytes: fields.size,
                verdict: if fake_reject { ReceptionVerdict::Rejected } else { ReceptionVerdict::Accepted },
                dkim: dkim.to_owned(),
                tls_version,
                tls_cipher,
                ..Reception::default()
            }
            .into(),
        );
        if !fields.auth.is_empty() {
            out.push(
                AuthEvent {
                    ts: line.time,
                    node: line.host.to_owned(),
                    protocol: "smtp".to_owned(),
                    user: fields.auth_user().to_owned(),
                    client_ip: fields.host.ip,
                    mechanism: fields.auth.split(':').next().unwrap_or_default().to_owned(),
                    result: "ok".to_owned(),
                    ..AuthEvent::default()
                }
                .into(),
            );
        }
    }
}

/// `from <a@b> for c@d e@f`: the first recipient, and how many.
fn recipients(text: &str) -> (&str, u32) {
    let text = match text.strip_prefix("from ") {
        Some(after) => address(after).1.trim_start_matches(' '),
        None => text,
    };
    let Some(mut rest) = text.strip_prefix("for ") else { return ("", 0) };
    let first = address(rest).0;
    let mut count = 0;
    while !rest.is_empty() {
        rest = address(rest).1.trim_start_matches(' ');
        count += 1;
    }
    (first, count)
}
