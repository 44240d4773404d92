//! Lines as Stalwart writes them, and the events that they make.

use super::*;
use crate::event::Time;

fn read(lines: &[&str]) -> Vec<String> {
    let clock = Clock::new(chrono_tz::Tz::UTC, Time(1_795_342_608_000_000));
    let mut stalwart = Stalwart::default();
    let mut out = Vec::new();
    for line in lines {
        assert_eq!(stalwart.read(line, &clock, &mut out), Reading::Recognised, "{line}");
    }
    out.iter().map(|event| event.to_json().unwrap()).collect()
}

const SESSION: &str = r#"listenerId = "submissions", localPort = 465, remoteIp = 192.0.2.7, remotePort = 46814"#;

fn line(kind: &str, keys: &str) -> String {
    format!("2026-11-22T10:16:48Z INFO Something happened ({kind}) {keys}")
}

fn session(kind: &str, keys: &str) -> String {
    line(kind, &format!("{SESSION}, {keys}"))
}

#[test]
fn a_queued_message_is_a_reception_with_what_its_session_said() {
    let lines = [
        session("smtp.ehlo", r#"domain = "client.ex""#),
        session("auth.success", r#"accountName = "ann", accountId = 6"#),
        session("smtp.mail-from", r#"from = "ann@example.org""#),
        session(
            "smtp.spf-from-fail",
            r#"domain = "example.org", result = SPF soft fail (spf.soft-fail), elapsed = 1ms"#,
        ),
        session("smtp.dkim-pass", "strict = false, result = [DKIM verification passed (dkim.pass)]"),
        session("smtp.dmarc-fail", "strict = false, result = DMARC none (dmarc.none)"),
        session(
            "queue.authenticated-message-queued",
            r#"queueId = 219835018555218866, from = "Ann@Example.org", to = ["bob@example.net", "cy@example.com"], size = 3746, total = 2"#,
        ),
    ];
    assert_eq!(
        read(&lines.iter().map(String::as_str).collect::<Vec<_>>()),
        [
            r#"{"table":"auth_events","ts":"2026-11-22T10:16:48.000000Z","protocol":"submission","user":"ann","client_ip":"192.0.2.7","result":"ok"}"#,
            r#"{"table":"receptions","ts":"2026-11-22T10:16:48.000000Z","mta":"stalwart","queue_id":"219835018555218866","client_ip":"192.0.2.7","helo":"client.ex","auth_user":"ann","sender_user":"Ann","sender_domain":"example.org","rcpt_count":2,"rcpt_domain":"example.net","size_bytes":3746,"verdict":"accepted","spf":"softfail","dkim":"pass","dmarc":"none"}"#
        ]
    );
}

#[test]
fn attempts_end_as_delivered_deferred_or_bounced() {
    let keys = r#"queueId = 7, from = <>, to = ["bob@example.net"], size = 38, total = 1"#;
    let attempt = |kind: &str, more: &str| line(kind, &format!("{keys}, {more}"));
    let events = read(&[
        &line("queue.message-queued", keys),
        &attempt(
            "delivery.rcpt-to-rejected",
            r#"hostname = "mx.example.net.", to = "bob@example.net", code = 450, details = "4.2.0 Greylisted", elapsed = 3ms"#,
        ),
        &attempt(
            "delivery.delivered",
            r#"hostname = "mx.example.net", to = "bob@example.net", code = 250, details = "2.0.0 Ok: queued as 4F0A", elapsed = 8ms"#,
        ),
        &attempt("delivery.message-rejected", r#"hostname = "mx.example.net", code = 554, details = "5.7.1 Spam""#),
        &attempt(
            "delivery.connect-error",
            r#"domain = "Example.net", hostname = "mx.example.net", remoteIp = 198.51.100.2, details = "Connection refused""#,
        ),
    ]);
    assert_eq!(
        events[1..],
        [
            r#"{"table":"deliveries","ts":"2026-11-22T10:16:48.000000Z","mta":"stalwart","queue_id":"7","rcpt_user":"bob","rcpt_domain":"example.net","mx_host":"mx.example.net","attempt":1,"outcome":"deferred","is_final":false,"smtp_code":450,"enhanced_code":"4.2.0","response":"4.2.0 Greylisted","size_bytes":38}"#,
            r#"{"table":"deliveries","ts":"2026-11-22T10:16:48.000000Z","mta":"stalwart","queue_id":"7","next_queue_id":"4F0A","rcpt_user":"bob","rcpt_domain":"example.net","mx_host":"mx.example.net","attempt":2,"outcome":"delivered","is_final":true,"smtp_code":250,"enhanced_code":"2.0.0","response":"2.0.0 Ok: queued as 4F0A","size_bytes":38}"#,
            r#"{"table":"deliveries","ts":"2026-11-22T10:16:48.000000Z","mta":"stalwart","queue_id":"7","rcpt_user":"bob","rcpt_domain":"example.net","mx_host":"mx.example.net","attempt":2,"outcome":"bounced","is_final":true,"smtp_code":554,"enhanced_code":"5.7.1","response":"5.7.1 Spam","size_bytes":38}"#,
            r#"{"table":"deliveries","ts":"2026-11-22T10:16:48.000000Z","mta":"stalwart","queue_id":"7","rcpt_user":"bob","rcpt_domain":"example.net","mx_host":"mx.example.net","mx_ip":"198.51.100.2","attempt":2,"outcome":"deferred","is_final":false,"response":"Connection refused","size_bytes":38}"#
        ]
    );
}

#[test]
fn json_says_the_same_and_comes_alone_or_in_a_list() {
    let event = r#"{"id":"1","createdAt":"2026-11-22T10:16:48Z","type":"auth.failed","data":{"listenerId":"imaptls","localPort":993,"remoteIp":"2001:db8::7","remotePort":5,"accountName":"info","details":"Wrong password"}}"#;
    let expected = r#"{"table":"auth_events","ts":"2026-11-22T10:16:48.000000Z","protocol":"imap","user":"info","client_ip":"2001:db8::7","result":"failed","reason":"Wrong password"}"#;
    assert_eq!(read(&[event]), [expected]);
    assert_eq!(read(&[&format!(r#"{{"events":[{event},{event}]}}"#)]), [expected, expected]);
}

#[test]
fn what_the_listener_refuses_is_a_reception() {
    let lines = [
        session("smtp.mail-from", r#"from = "x@bad.ex""#),
        "2026-11-22T10:16:49Z INFO Relay not allowed (smtp.relay-not-allowed) listenerId = \"smtp\", localPort = 25, remoteIp = 192.0.2.7, remotePort = 46814, to = \"bob@example.net\"".to_owned(),
        session("smtp.rcpt-to-greylisted", r#"to = "bob@example.net""#),
    ];
    let events = read(&lines.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(
        events[0],
        r#"{"table":"receptions","ts":"2026-11-22T10:16:49.000000Z","mta":"stalwart","client_ip":"192.0.2.7","sender_user":"x","sender_domain":"bad.ex","rcpt_domain":"example.net","verdict":"rejected","response":"Relay not allowed"}"#
    );
    assert!(events[1].contains(r#""verdict":"deferred""#), "{}", events[1]);
}

#[test]
fn lines_without_an_event_are_known_and_those_of_others_are_not() {
    let known = line("delivery.attempt-end", "queueId = 7, from = <>, elapsed = 8ms");
    assert_eq!(read(&[&known]), Vec::<String>::new());
    let clock = Clock::new(chrono_tz::Tz::UTC, Time(0));
    for line in [
        "",
        "{}",
        "2026-11-22T10:16:48Z mx postfix/qmgr[1]: 4F: removed",
        "2026-11-22T10:16:48Z INFO nothing (at all) here",
        r#"{"events":[1]}"#,
    ] {
        assert_eq!(Stalwart::default().read(line, &clock, &mut Vec::new()), Reading::Unrecognised, "{line}");
    }
}

proptest::proptest! {
    #[test]
    fn no_line_panics(kind in "(smtp|auth|queue|delivery|network)\\.[a-z-]{1,12}", text in "((to|from|queueId|result) = |[\\[\\]\",]|, |.){0,40}") {
        let clock = Clock::new(chrono_tz::Tz::UTC, Time(0));
        let _ = Stalwart::default().read(&line(&kind, &text), &clock, &mut Vec::new());
    }
}
