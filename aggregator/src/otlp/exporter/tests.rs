//! When to come again, what was told, and what a span says.

use tempfile::TempDir;

use super::*;
use crate::otlp::message::{Span, text_of};
use crate::trace::Step;

#[test]
fn retry_after_is_seconds_or_a_date() {
    let now = Time(1_795_342_608_000_000);
    let after = |said: &str| {
        let headers = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_str(said).unwrap())]);
        retry_after(&headers, now)
    };
    assert_eq!(after("7"), Some(Duration::from_secs(7)));
    assert_eq!(after("Sun, 22 Nov 2026 10:17:00 GMT"), Some(Duration::from_secs(12)));
    assert_eq!(after("Sun, 22 Nov 2026 10:00:00 GMT"), Some(Duration::ZERO));
    assert_eq!(after("soon"), None);
    assert_eq!(retry_after(&HeaderMap::new(), now), None);
}

#[test]
fn what_was_told_outlives_a_restart_and_is_forgotten_when_it_is_past() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("told.json");
    let mut book = Book::open(file.clone(), Time(100));
    book.tell("a".into(), Time(150));
    book.tell("b".into(), Time(250));
    book.keep();
    let mut book = Book::open(file.clone(), Time(900));
    assert_eq!((book.from(), book.told("a"), book.told("b")), (Time(100), Some(Time(150)), Some(Time(250))));
    book.done(Time(200));
    assert_eq!((book.from(), book.told("a"), book.told("b")), (Time(200), None, Some(Time(250))));
    assert!(!book.catch_up(Time(200)));
    assert!(book.catch_up(Time(300)));
    std::fs::write(&file, "{").unwrap();
    assert_eq!(Book::open(file, Time(900)).from(), Time(900));
}

fn step(kind: &str, second: i64, outcome: &str) -> Step {
    let text = |text: &str| text.to_owned();
    Step {
        ts: Time(second * 1_000_000),
        node: text("mx1"),
        kind: text(kind),
        mta: text("postfix"),
        queue_id: text("Q1"),
        next_queue_id: String::new(),
        message_id: text("m@example.org"),
        trace_id: text("00000000000000aa"),
        sender: text("ada@example.org"),
        recipient: text("bob@example.net"),
        peer_host: text("mx.example.net"),
        peer_ip: Some("192.0.2.7".parse().unwrap()),
        outcome: text(outcome),
        smtp_code: 250,
        enhanced_code: text("2.0.0"),
        class: String::new(),
        response: text("ok"),
        attempt: 1,
        delay_total_ms: 10_000,
        delay_a_ms: 1_000,
        delay_b_ms: 6_000,
        delay_c_ms: 2_000,
        delay_d_ms: 1_000,
    }
}

fn spans(export: &ExportTraces) -> Vec<&Span> {
    export.resource_spans.iter().flat_map(|all| &all.scope_spans).flat_map(|all| &all.spans).collect()
}

#[test]
fn a_message_is_a_tree_of_spans_and_what_comes_later_hangs_on_the_same_tree() {
    let mut deferred = step("delivery", 110, "deferred");
    (deferred.smtp_code, deferred.class) = (450, "greylisted".to_owned());
    deferred.response = "4.7.1 <bob@example.net>: come back".to_owned();
    let mut delivered = step("delivery", 200, "delivered");
    (delivered.attempt, delivered.delay_total_ms, delivered.delay_b_ms) = (2, 100_000, 96_000);
    let mut reception = step("reception", 101, "accepted");
    (reception.delay_total_ms, reception.attempt) = (0, 0);
    let steps = [reception, deferred, delivered];
    let export = span::export("00000000000000aa", &steps, None);
    let all = spans(&export);
    assert_eq!(all.len(), 2 + 1 + 2 * 5);
    assert!(all.iter().all(|span| span.trace_id == [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xaa]));
    let ids: std::collections::BTreeSet<_> = all.iter().map(|span| &span.span_id).collect();
    assert_eq!(ids.len(), all.len(), "no two spans have one id");
    let of = |name: &str| all.iter().filter(|span| span.name == name).collect::<Vec<_>>();
    let (root, queue, attempts) = (of("message")[0], of("queue")[0], of("deliver"));
    assert!(root.parent_span_id.is_empty());
    assert_eq!(
        (queue.parent_span_id.clone(), of("receive")[0].parent_span_id.clone()),
        (root.span_id.clone(), root.span_id.clone())
    );
    assert!(attempts.iter().all(|attempt| attempt.parent_span_id == queue.span_id));
    let second = |nanos: u64| nanos / 1_000_000_000;
    assert_eq!((second(root.start_time_unix_nano), second(root.end_time_unix_nano)), (100, 200));
    assert_eq!((second(queue.start_time_unix_nano), second(queue.end_time_unix_nano)), (101, 200));
    let stages: Vec<(u64, u64)> = ["before the queue", "in the queue", "connect", "transmit"]
        .iter()
        .map(|name| of(name)[0])
        .map(|stage| (second(stage.start_time_unix_nano), second(stage.end_time_unix_nano)))
        .collect();
    assert_eq!(stages, [(100, 101), (101, 107), (107, 109), (109, 110)]);
    assert_eq!(attempts[0].status.as_ref().map(|status| status.code), Some(2));
    assert_eq!(text_of(&attempts[0].attributes, "error.type"), Some("greylisted"));
    assert_eq!(attempts[1].status, None);
    assert_eq!(text_of(&attempts[1].attributes, "server.address"), Some("mx.example.net"));
    assert_eq!(text_of(&attempts[1].attributes, "varde.recipient.domain"), Some("example.net"));
    let said = format!("{export:?}");
    assert!(!said.contains("bob@") && !said.contains("ada@"), "no address of a person leaves");

    // Told after the first attempt, the rest is one attempt more, under the same queue.
    let rest = span::export("00000000000000aa", &steps, Some(Time(110_000_000)));
    let rest = spans(&rest);
    assert_eq!(rest.len(), 5);
    assert_eq!(rest[0], *attempts[1]);
}

#[test]
fn a_trace_id_is_ours_as_it_is_or_made_of_it() {
    assert_eq!(span::trace_id("0123456789abcdef0123456789abcdef")[..4], [0x01, 0x23, 0x45, 0x67]);
    assert_eq!(span::trace_id("0123456789abcdef")[..9], [0, 0, 0, 0, 0, 0, 0, 0, 0x01]);
    assert_ne!(span::trace_id("an id of another kind"), span::trace_id("another id of a kind"));
    assert_ne!(span::trace_id("0000000000000000"), [0; 16]);
}

#[test]
fn an_endpoint_and_headers_must_be_such_and_values_are_not_shown() {
    let config: Config =
        toml::from_str("endpoint = \"collector\"\nheaders = { \"a b\" = \"x\", Authorization = \"secret\" }").unwrap();
    let keys: Vec<String> = config.check().into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys, ["endpoint", "headers.a b"]);
    assert!(!format!("{config:?}").contains("secret"));
    let file = TempDir::new().unwrap();
    let path = file.path().join("headers");
    std::fs::write(&path, "Authorization: Bearer k:y\n\nX-Scope: acme\n").unwrap();
    let config = Config { headers_file: Some(path.clone()), ..Config::default() };
    let headers = config.header_map().unwrap();
    assert_eq!(
        (&headers["authorization"], &headers["x-scope"]),
        (&HeaderValue::from_static("Bearer k:y"), &HeaderValue::from_static("acme"))
    );
    std::fs::write(&path, "X-Scope: acme\nsecret\n").unwrap();
    let said = config.header_map().unwrap_err().to_string();
    assert!(said.contains("headers:2 ") && !said.contains("secret\n"), "{said}");
    assert_eq!(toml::from_str::<Config>("endpoint = \"https://c.example:4318/v1/traces\"").unwrap().check(), []);
}
