//! Postgrey: what the greylist made of each triplet of client, sender and recipient.
//!
//! A triplet that has to wait is a deferred reception. One that may pass makes no event: the mail server says what
//! became of the message.

use super::clock::Clock;
use super::text::mailbox;
use super::{Dialect, Entry, Reading, head};
use crate::event::{Event, Reception, ReceptionVerdict};

/// The registry's entry.
pub const ENTRY: Entry =
    Entry { name: "postgrey", title: "Postgrey, by syslog", make: || Box::new(Postgrey), looks_like };

struct Postgrey;

fn looks_like(line: &str) -> bool {
    line.contains(" postgrey[") || line.contains(" postgrey: ")
}

impl Dialect for Postgrey {
    fn read(&mut self, line: &str, clock: &Clock, out: &mut Vec<Event>) -> Reading {
        let Some(head) = head::split(line, clock).filter(|head| head.program == "postgrey") else {
            return Reading::Unrecognised;
        };
        // A queue id stands before the decision when Postfix asks after DATA.
        let (queue_id, decision) = match head.message.split_once(": ") {
            Some((id, rest)) if rest.starts_with("action=") && !id.contains([' ', '=']) => (id, rest),
            _ => ("", &*head.message),
        };
        if !decision.starts_with("action=greylist") {
            return if is_known(decision) { Reading::Recognised } else { Reading::Unrecognised };
        }
        let client_name = field(decision, "client_name=");
        // `192.0.2.0/24` when Postgrey looks up networks: no address of the client.
        let address = field(decision, "client_address=");
        let address = address.strip_suffix("/32").or_else(|| address.strip_suffix("/128")).unwrap_or(address);
        let (sender_user, sender_domain) = mailbox(field(decision, "sender="));
        out.push(
            Reception {
                ts: head.time,
                node: head.host.to_string(),
                mta: ENTRY.name.to_owned(),
                queue_id: queue_id.to_owned(),
                client_ip: address.parse().ok(),
                client_name: if client_name == "unknown" { String::new() } else { client_name.to_owned() },
                sender_user: sender_user.to_owned(),
                sender_domain,
                rcpt_domain: mailbox(field(decision, "recipient=")).1,
                verdict: ReceptionVerdict::Deferred,
                class: "greylisted".to_owned(),
                class_rule: "postgrey".to_owned(),
                response: field(decision, "reason=").to_owned(),
                ..Reception::default()
            }
            .into(),
        );
        Reading::Recognised
    }
}

/// The value of a field of `action=greylist, reason=new, client_name=…`.
fn field<'a>(decision: &'a str, name: &str) -> &'a str {
    decision.split(", ").find_map(|part| part.strip_prefix(name)).unwrap_or_default().trim_end_matches([' ', ','])
}

fn is_known(text: &str) -> bool {
    const BEGIN: [&str; 18] = [
        "action=pass",
        "cleaning ",
        "HUP received",
        "request",
        "unrecognized request type",
        "ignoring garbage",
        "warning: ",
        "fatal: ",
        "Process Backgrounded",
        "20",
        "Binding ",
        "Setting ",
        "Resolved ",
        "whitelisted",
        "Server closing",
        "rm ",
        "Exiting",
        "correcting ",
    ];
    BEGIN.iter().any(|begin| text.starts_with(begin))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Time;

    fn read(line: &str) -> (Reading, Vec<String>) {
        let clock = Clock::new(chrono_tz::Tz::UTC, "2026-11-22T12:00:00Z".parse().unwrap());
        let mut out = Vec::new();
        let reading = Postgrey.read(line, &clock, &mut out);
        (reading, out.iter().map(|event| event.to_json().unwrap()).collect())
    }

    #[test]
    fn a_triplet_that_waits_is_a_deferred_reception() {
        let (_, events) = read(
            "Nov 22 10:16:48 mx postgrey[812]: action=greylist, reason=early-retry (120s missing), client_name=mail.example.org, client_address=192.0.2.7/32, sender=Ann@Example.org, recipient=bob@example.net",
        );
        assert_eq!(
            events,
            [
                r#"{"table":"receptions","ts":"2026-11-22T10:16:48.000000Z","node":"mx","mta":"postgrey","client_ip":"192.0.2.7","client_name":"mail.example.org","sender_user":"Ann","sender_domain":"example.org","rcpt_domain":"example.net","verdict":"deferred","class":"greylisted","class_rule":"postgrey","response":"early-retry (120s missing)"}"#
            ]
        );
    }

    #[test]
    fn what_the_line_does_not_know_is_absent() {
        let (_, events) = read(
            "Nov 22 10:16:48 mx postgrey: 4F0A: action=greylist, reason=new, client_name=unknown, client_address=192.0.2.0/24, recipient=bob@example.net",
        );
        assert_eq!(
            events,
            [
                r#"{"table":"receptions","ts":"2026-11-22T10:16:48.000000Z","node":"mx","mta":"postgrey","queue_id":"4F0A","rcpt_domain":"example.net","verdict":"deferred","class":"greylisted","class_rule":"postgrey","response":"new"}"#
            ]
        );
    }

    #[test]
    fn what_may_pass_and_what_postgrey_does_for_itself_make_no_event() {
        for text in [
            "action=pass, reason=triplet found, delay=305, client_name=x, client_address=192.0.2.7, sender=a@b, recipient=c@d",
            "4F0A: action=pass, reason=client AWL, client_name=x, client_address=192.0.2.7, sender=a@b, recipient=c@d",
            "cleaning up old logs...",
            "HUP received: reloading whitelists...",
        ] {
            let line = format!("Nov 22 10:16:48 mx postgrey[812]: {text}");
            assert_eq!(read(&line), (Reading::Recognised, Vec::new()), "{text}");
        }
        assert_eq!(read("Nov 22 10:16:48 mx postfix/qmgr[1]: 4F: removed").0, Reading::Unrecognised);
    }

    proptest::proptest! {
        #[test]
        fn no_line_panics(text in "(action=greylist, )?([a-z_]{4,14}=)?.{0,120}") {
            let mut out = Vec::new();
            let clock = Clock::new(chrono_tz::Tz::UTC, Time(1_795_342_608_000_000));
            let _ = Postgrey.read(&format!("Nov 22 10:16:48 mx postgrey[812]: {text}"), &clock, &mut out);
        }
    }
}
