//! `varde parse` from octets to JSON.

use std::io::Cursor;

use super::*;
use crate::dialect::{clock::Clock, find};
use crate::source::lines::KEPT;

fn run(input: &[u8], all: bool) -> (Summary, String) {
    let clock = Clock::new(chrono_tz::Tz::UTC, "2026-11-22T12:00:00Z".parse().unwrap());
    let mut reader = Reader::new(find("postfix").unwrap(), clock);
    let mut out = Vec::new();
    let summary = parse(io::BufReader::with_capacity(7, Cursor::new(input)), &mut reader, all, &mut out).unwrap();
    (summary, String::from_utf8(out).unwrap())
}

#[test]
fn events_and_unrecognised_lines_come_in_input_order() {
    let input =
        b"garbage \xff\r\nNov 22 10:16:48 mx postfix/smtpd[7]: disconnect from a[192.0.2.1] quit=1 commands=1\nlast";
    let (summary, out) = run(input, true);
    assert_eq!(summary, Summary { lines: 3, unrecognised: 2, cut: 0, events: 3 });
    let expected = concat!(
        r#"{"table":"raw_lines","ts":"1970-01-01T00:00:00.000000Z","offset":0,"dialect":"postfix","recognised":false,"line":"garbage "#,
        "\u{fffd}",
        r#""}"#,
        "\n",
        r#"{"table":"sessions","ts":"2026-11-22T10:16:48.000000Z","node":"mx","protocol":"smtp","client_ip":"192.0.2.1","commands":1,"end_reason":"logout"}"#,
        "\n",
        r#"{"table":"raw_lines","ts":"2026-11-22T10:16:48.000000Z","offset":95,"dialect":"postfix","recognised":false,"line":"last"}"#,
        "\n",
    );
    assert_eq!(out, expected);
    assert_eq!(run(input, false).0.events, 1);
}

#[test]
fn an_endless_line_is_cut_and_what_follows_is_read() {
    let mut input = vec![b'x'; KEPT + 10];
    input.extend_from_slice(b"\nNov 22 10:16:48 mx postfix/smtpd[7]: disconnect from a[192.0.2.1] commands=1/2\n");
    let (summary, out) = run(&input, false);
    assert_eq!(summary, Summary { lines: 2, unrecognised: 1, cut: 1, events: 1 });
    assert!(out.contains(r#""commands":2"#));
}

#[test]
fn nothing_in_is_nothing_out() {
    assert_eq!(run(b"", true), (Summary::default(), String::new()));
}

#[test]
fn what_was_read_before_a_fault_of_the_file_is_printed() {
    let line = b"Nov 22 10:16:48 mx postfix/smtpd[7]: disconnect from a[192.0.2.1] commands=1\n".repeat(2_000);
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(&line).unwrap();
    let whole = packed.finish().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mail.log.gz");
    std::fs::write(&path, &whole[..whole.len() - 20]).unwrap();
    let (input, _) = crate::source::open(&path).unwrap();
    let mut reader = Reader::new(find("postfix").unwrap(), Clock::new(chrono_tz::Tz::UTC, Time(1_795_342_608_000_000)));
    let mut out = Vec::new();
    assert!(parse(io::BufReader::new(input), &mut reader, false, &mut out).is_err());
    assert!(out.split(|byte| *byte == b'\n').count() > 100);
}
