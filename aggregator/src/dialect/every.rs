//! What holds for every dialect.

use super::*;
use crate::event::Time;

/// A line of each dialect that tells it from the others.
const SAMPLES: &[(&str, &str)] = &[
    (
        "exim",
        "2026-11-22 10:16:48 1rfXYZ-0001Ab-2C => bob@example.net R=dnslookup T=smtp H=mx.example.net [198.51.100.2]",
    ),
    ("exim", "2026-11-22 10:16:48 H=(x) [203.0.113.9] F=<a@b.ex> rejected RCPT <c@d.ex>: relay not permitted"),
    ("exim", "Nov 22 10:16:48 mx exim[812]: 1rfXYZ-0001Ab-2C Completed"),
    ("kumomta", r#"{"type":"Delivery","id":"1d98","timestamp":1795342608,"nodeid":"557f3ad4"}"#),
    ("opendkim", "Nov 22 10:16:48 mx opendkim[640]: 4F0A1B2C3D: DKIM-Signature field added (s=mail, d=example.org)"),
    ("opensmtpd", "Nov 22 10:16:48 mx smtpd[75295]: 5df87c9c42abeddb smtp disconnected reason=quit"),
    ("postgrey", "Nov 22 10:16:48 mx postgrey[812]: action=pass, reason=client AWL, client_name=x"),
    ("rspamd", "2026-11-22 10:16:48 #1(main) <h7cmcx>; main; rspamd_main: rspamd 3.4 is starting now"),
    ("rspamd", "Nov 22 10:16:48 mx rspamd[1]: <8ae27d>; lua; dmarc.lua:411: skip DMARC checks"),
    ("stalwart", "2026-11-22T10:16:48Z INFO Delivery attempt ended (delivery.attempt-end) queueId = 7, elapsed = 8ms"),
    ("stalwart", r#"{"createdAt":"2026-11-22T10:16:48Z","type":"smtp.quit","data":{}}"#),
    ("varde", r#"{"table":"sessions","ts":"2026-11-22T10:16:48.000000Z","protocol":"imap"}"#),
];

fn reader(entry: &Entry) -> Reader {
    Reader::new(entry, Clock::new(chrono_tz::Tz::UTC, Time(1_795_342_608_000_000)))
}

#[test]
fn a_line_looks_like_its_dialect_and_only_that_one_knows_it() {
    for (name, line) in SAMPLES {
        assert_eq!(guess(std::iter::once(*line)).map(|entry| entry.name), Some(*name), "{line}");
        for entry in DIALECTS.iter().filter(|entry| SAMPLES.iter().any(|(name, _)| *name == entry.name)) {
            let reading = reader(entry).line(line.as_bytes(), &mut Vec::new());
            let expected = if entry.name == *name { Reading::Recognised } else { Reading::Unrecognised };
            assert_eq!(reading, expected, "{}: {line}", entry.name);
        }
    }
}

#[test]
fn a_line_beyond_the_limit_is_not_recognised() {
    for entry in DIALECTS {
        let line = vec![b'x'; MAX_LINE_BYTES + 1];
        assert_eq!(reader(entry).line(&line, &mut Vec::new()), Reading::Unrecognised, "{}", entry.name);
    }
}

proptest::proptest! {
    #[test]
    fn no_octets_panic_and_no_event_is_without_json(
        which in 0..SAMPLES.len(),
        cut in 0..200_usize,
        noise in proptest::collection::vec(proptest::num::u8::ANY, 0..60),
    ) {
        // A good line, cut anywhere and with noise put in, read by every dialect.
        let line = SAMPLES[which].1.as_bytes();
        let (before, after) = line.split_at(cut.min(line.len()));
        let line = [before, &noise, after].concat();
        for entry in DIALECTS {
            let mut out = Vec::new();
            let _ = reader(entry).line(&line, &mut out);
            for event in out {
                proptest::prop_assert!(event.to_json().is_ok());
            }
        }
    }
}
