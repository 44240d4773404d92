//! What holds for every dialect, and a mail host's log of many kinds of lines with known counts.

mod generated;

use super::*;

fn clock() -> Clock {
    Clock::new(chrono_tz::Tz::UTC, "2026-11-22T12:00:00Z".parse().unwrap())
}

/// The JSON of the events of some lines that share a head.
pub fn events_of(dialect: &str, lines: &[&str]) -> Vec<String> {
    let mut reader = Reader::new(find(dialect).unwrap(), clock());
    let mut out = Vec::new();
    for line in lines {
        assert_eq!(reader.line(line.as_bytes(), &mut out), Reading::Recognised, "{line}");
    }
    out.iter()
        .map(|event| {
            let mut json = Vec::new();
            event.write_json(&mut json);
            assert_eq!(String::from_utf8(json).unwrap(), event.to_json().unwrap());
            event.to_json().unwrap()
        })
        .collect()
}

#[test]
fn names_are_unique_and_found() {
    for entry in DIALECTS {
        assert_eq!(find(entry.name).map(|found| found.title), Some(entry.title));
    }
    assert!(find("qmail").is_none());
}

#[test]
fn a_wrong_dialect_can_be_told_from_a_sample() {
    let guessed = |sample: &str| guess(sample.lines()).map(|entry| entry.name);
    assert_eq!(guessed("Nov 22 10:16:48 mx postfix/qmgr[1]: 4F1C2A3B5D: removed"), Some("postfix"));
    assert_eq!(guessed("Nov 22 10:16:48 mx mx-out/qmgr[1]: 4F1C2A3B5D: removed"), Some("postfix"));
    assert_eq!(guessed("Nov 22 10:16:48 mx dovecot: imap-login: Login: user=<a>"), Some("dovecot"));
    assert_eq!(guessed("2026-11-22 10:16:48 1rfXYZ-0001Ab-2C Completed"), Some("exim"));
    assert_eq!(guessed("a\nb\nc\nd"), None);
}

#[test]
fn a_line_beyond_the_limit_is_not_looked_into() {
    let mut line = b"Nov 22 10:16:48 mx postfix/smtpd[1]: warning: ".to_vec();
    let mut reader = Reader::new(find("postfix").unwrap(), clock());
    assert_eq!(reader.line(&line, &mut Vec::new()), Reading::Recognised);
    line.resize(MAX_LINE_BYTES + 1, b'x');
    assert_eq!(reader.line(&line, &mut Vec::new()), Reading::Unrecognised);
}

#[test]
fn a_line_that_stands_for_repetitions_is_read_as_often_as_the_message_came() {
    let failed = "warning: unknown[192.0.2.1]: SASL LOGIN authentication failed: x, sasl_username=ann";
    let event = r#"{"table":"auth_events","ts":"2026-11-22T10:16:48.000000Z","node":"mx","protocol":"smtp","user":"ann","client_ip":"192.0.2.1","mechanism":"LOGIN","result":"failed","reason":"x"}"#;
    for dialect in ["postfix", "mail"] {
        let head = "Nov 22 10:16:48 mx postfix/smtpd[1]: ";
        let repeated = format!("{head}message repeated 2 times: [ {failed}]");
        assert_eq!(events_of(dialect, &[&repeated]), [event; 2]);
        let (first, last) = (format!("{head}{failed}"), "Nov 22 10:16:50 mx last message repeated 3 times");
        assert_eq!(events_of(dialect, &[&first, last]), [event; 4]);
        // Of a line that made no event nothing is repeated.
        let quiet = format!("{head}connect from unknown[192.0.2.1]");
        assert_eq!(events_of(dialect, &[&first, &quiet, last]), [event; 1]);
    }
}

#[test]
fn what_may_stand_before_a_line_is_taken_off() {
    let line = b"Nov 22 10:16:48 mx postfix/smtpd[1]: connect from a[192.0.2.1]\r\n";
    for before in [&b"\xef\xbb\xbf"[..], b"\0", b"\0\0\0\0"] {
        let mut reader = Reader::new(find("postfix").unwrap(), clock());
        let raw = [before, &line[..]].concat();
        assert_eq!(reader.line(&raw, &mut Vec::new()), Reading::Recognised);
        assert_eq!(reader.time(&raw), "2026-11-22T10:16:48Z".parse().ok());
    }
}

#[test]
fn a_reader_that_follows_a_file_into_the_new_year_is_told_the_time() {
    let mut reader =
        Reader::new(find("postfix").unwrap(), Clock::new(chrono_tz::Tz::UTC, "2026-12-31T22:00:00Z".parse().unwrap()));
    let mut year_of = |line: &str| {
        let mut out = Vec::new();
        reader.line(line.as_bytes(), &mut out);
        reader.set_reference("2027-01-09T00:00:00Z".parse().unwrap());
        out[0].ts().to_string()[..4].to_owned()
    };
    assert_eq!(year_of("Dec 31 21:00:00 mx postfix/smtpd[1]: disconnect from a[192.0.2.1] commands=0/0"), "2026");
    assert_eq!(year_of("Jan  8 10:16:48 mx postfix/smtpd[1]: disconnect from a[192.0.2.1] commands=0/0"), "2027");
}

/// A line of which one octet is different, or that ends too early.
fn damaged(line: &str, at: usize, octet: u8, cut: bool) -> Vec<u8> {
    let mut bytes = line.as_bytes().to_vec();
    let at = at % bytes.len();
    bytes[at] = octet;
    if cut {
        bytes.truncate(at);
    }
    bytes
}

proptest::proptest! {
    #[test]
    fn no_octets_panic(lines in proptest::collection::vec(proptest::collection::vec(proptest::num::u8::ANY, 0..120), 1..8)) {
        for entry in DIALECTS {
            let mut reader = Reader::new(entry, clock());
            for line in &lines {
                reader.line(line, &mut Vec::new());
            }
        }
    }

    #[test]
    fn no_damaged_line_panics(which in 0_usize..1_000, at in 0_usize..1_000, octet in proptest::num::u8::ANY, cut in proptest::bool::ANY) {
        static LOG: std::sync::LazyLock<generated::Log> = std::sync::LazyLock::new(|| generated::log(7, 60));
        let log = &*LOG;
        let line = &log.lines[which % log.lines.len()];
        for entry in DIALECTS {
            Reader::new(entry, clock()).line(&damaged(line, at, octet, cut), &mut Vec::new());
        }
    }
}
