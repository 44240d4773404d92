//! OpenDKIM: the result of each verification, as a reception that says nothing but the queue id and `dkim`.
//!
//! What the filter asked the mail server to do with the message is in the mail server's log. Signing makes no event.

use super::clock::Clock;
use super::{Dialect, Entry, Reading, head};
use crate::event::{Event, Reception};

/// The registry's entry.
pub const ENTRY: Entry =
    Entry { name: "opendkim", title: "OpenDKIM, by syslog", make: || Box::new(OpenDkim), looks_like };

struct OpenDkim;

fn looks_like(line: &str) -> bool {
    line.contains(" opendkim[") || line.contains(" opendkim: ")
}

impl Dialect for OpenDkim {
    fn read(&mut self, line: &str, clock: &Clock, out: &mut Vec<Event>) -> Reading {
        let Some(head) = head::split(line, clock).filter(|head| head.program == "opendkim") else {
            return Reading::Unrecognised;
        };
        // Whatever a filter says of itself, without a queue id, is known: it names no message.
        let Some((queue_id, text)) = head.message.split_once(": ").filter(|(id, _)| is_queue_id(id)) else {
            return Reading::Recognised;
        };
        if let Some((dkim, response)) = result(text) {
            out.push(
                Reception {
                    ts: head.time,
                    node: head.host.to_string(),
                    mta: ENTRY.name.to_owned(),
                    queue_id: queue_id.to_owned(),
                    dkim: dkim.to_owned(),
                    response: response.to_owned(),
                    ..Reception::default()
                }
                .into(),
            );
        }
        Reading::Recognised
    }
}

/// A queue id of Postfix, Sendmail or Exim.
fn is_queue_id(word: &str) -> bool {
    word.len() >= 5 && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// The result in the words of RFC 8601, and the text that says why it is no better.
fn result(text: &str) -> Option<(&'static str, &str)> {
    const EXACT: [(&str, &str); 2] = [("DKIM verification successful", "pass"), ("no signature data", "none")];
    const HOLDING: [(&str, &str); 6] = [
        ("bad signature", "fail"),
        ("signature verification failed", "fail"),
        ("key revoked", "permerror"),
        ("syntax error", "permerror"),
        ("key retrieval failed", "temperror"),
        ("key lookup failed", "temperror"),
    ];
    if let Some((_, result)) = EXACT.iter().find(|(words, _)| text == *words) {
        return Some((result, ""));
    }
    // A key that is not there is a permanent error (RFC 6376 section 6.1.2).
    if text.starts_with("key retrieval failed") && (text.contains("not found") || text.contains("no such")) {
        return Some(("permerror", text));
    }
    HOLDING.iter().find(|(words, _)| text.contains(words)).map(|(_, result)| (*result, text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Time;

    fn read(text: &str) -> (Reading, Vec<String>) {
        let clock = Clock::new(chrono_tz::Tz::UTC, "2026-11-22T12:00:00Z".parse().unwrap());
        let mut out = Vec::new();
        let reading = OpenDkim.read(&format!("Nov 22 10:16:48 mx opendkim[640]: {text}"), &clock, &mut out);
        (reading, out.iter().map(|event| event.to_json().unwrap()).collect())
    }

    #[test]
    fn a_verification_is_a_reception_with_its_result() {
        // The verdict is the mail server's; the column has no word for "not said".
        let start = r#"{"table":"receptions","ts":"2026-11-22T10:16:48.000000Z","node":"mx","mta":"opendkim","queue_id":"4F0A1B2C3D","verdict":"accepted","#;
        for (text, expected) in [
            ("DKIM verification successful", r#""dkim":"pass"}"#),
            ("no signature data", r#""dkim":"none"}"#),
            ("bad signature data", r#""response":"bad signature data","dkim":"fail"}"#),
            (
                "s=sel d=example.org a=rsa-sha256 SSL error:04091068:rsa routines:INT_RSA_VERIFY:bad signature",
                r#""response":"s=sel d=example.org a=rsa-sha256 SSL error:04091068:rsa routines:INT_RSA_VERIFY:bad signature","dkim":"fail"}"#,
            ),
            (
                "key retrieval failed (s=sel, d=example.org): 'sel._domainkey.example.org' record not found",
                r#""response":"key retrieval failed (s=sel, d=example.org): 'sel._domainkey.example.org' record not found","dkim":"permerror"}"#,
            ),
        ] {
            assert_eq!(read(&format!("4F0A1B2C3D: {text}")).1, [format!("{start}{expected}")], "{text}");
        }
    }

    #[test]
    fn signing_and_the_filter_itself_make_no_event() {
        for text in [
            "4F0A1B2C3D: DKIM-Signature field added (s=mail, d=example.org)",
            "4F0A1B2C3D: mx.example.org [192.0.2.7] not internal",
            "4F0A1B2C3D: not authenticated",
            "4F0A1B2C3D: no signing table match for 'ann@example.org'",
            "OpenDKIM Filter v2.11.0 starting (args: -f)",
        ] {
            assert_eq!(read(text), (Reading::Recognised, Vec::new()), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_line_panics(text in "(4F0A1B2C3D: )?.{0,120}") {
            let _ = read(&text);
            let clock = Clock::new(chrono_tz::Tz::UTC, Time(0));
            let _ = OpenDkim.read(&text, &clock, &mut Vec::new());
        }
    }
}
