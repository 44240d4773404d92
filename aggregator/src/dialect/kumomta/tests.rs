//! Records as KumoMTA writes them, and the events that they make.

use super::*;

fn read(line: &str) -> (Reading, Vec<String>) {
    let clock = Clock::new(chrono_tz::Tz::UTC, Time(1_795_342_608_000_000));
    let mut out = Vec::new();
    let reading = KumoMta.read(line, &clock, &mut out);
    (reading, out.iter().map(|event| event.to_json().unwrap()).collect())
}

/// A record of a kind, with some of its fields replaced.
fn record(kind: &str, changes: &[(&str, serde_json::Value)]) -> String {
    let mut record: serde_json::Value = serde_json::from_str(
        r#"{"id":"1d98076abbbc11ed940250ebf67f93bd","sender":"User@Sender.example","recipient":"bob@example.net",
        "queue":"campaign:tenant@domain","site":"source2->gmail","size":1047,
        "response":{"code":250,"enhanced_code":{"class":2,"subject":0,"detail":0},"content":"OK ids=8a5475cc","command":"."},
        "peer_address":{"name":"mx.example.net.","addr":"198.51.100.2"},"timestamp":1795342608,"created":1795342606,
        "num_attempts":1,"bounce_classification":"Uncategorized","egress_pool":"pool0","egress_source":"source2",
        "source_address":{"address":"192.0.2.1:53210"},"feedback_report":null,"meta":{},"headers":{"Message-ID":"<a@b.ex>"},
        "delivery_protocol":"ESMTP","reception_protocol":"ESMTP","nodeid":"557f3ad4-2c8c-11ee-976e-782d7e12e173",
        "tls_cipher":"TLS_AES_256_GCM_SHA384","tls_protocol_version":"TLSv1.3","tls_peer_subject_name":["CN=mx"]}"#,
    )
    .unwrap();
    record["type"] = kind.into();
    for (name, value) in changes {
        record[*name] = value.clone();
    }
    record.to_string()
}

#[test]
fn a_delivery_says_where_from_and_where_to() {
    assert_eq!(
        read(&record("Delivery", &[])).1,
        [
            r#"{"table":"deliveries","ts":"2026-11-22T10:16:48.000000Z","mta":"kumomta","queue_id":"1d98076abbbc11ed940250ebf67f93bd","next_queue_id":"8a5475cc","message_id":"a@b.ex","sender_user":"User","sender_domain":"sender.example","rcpt_user":"bob","rcpt_domain":"example.net","mx_host":"mx.example.net","mx_ip":"198.51.100.2","source_ip":"192.0.2.1","attempt":1,"outcome":"delivered","is_final":true,"smtp_code":250,"enhanced_code":"2.0.0","response":"OK ids=8a5475cc","tls_version":"TLSv1.3","tls_cipher":"TLS_AES_256_GCM_SHA384","size_bytes":1047,"delay_total_ms":2000,"protocol":"ESMTP"}"#
        ]
    );
}

#[test]
fn every_kind_has_its_outcome() {
    for (kind, outcome) in [
        ("TransientFailure", r#""outcome":"deferred","is_final":false"#),
        ("Bounce", r#""outcome":"bounced","is_final":true"#),
        ("AdminBounce", r#""outcome":"bounced","is_final":true"#),
        ("Expiration", r#""outcome":"expired","is_final":true"#),
    ] {
        let (_, events) = read(&record(kind, &[("peer_address", serde_json::Value::Null)]));
        assert!(events[0].contains(outcome) && !events[0].contains("mx_"), "{kind}: {events:?}");
    }
    let (_, events) = read(&record("OOB", &[]));
    assert!(events[0].contains(r#""outcome":"bounced""#) && !events[0].contains("mx_host"), "{events:?}");
}

#[test]
fn a_transaction_has_a_row_for_each_recipient_and_exact_times_count() {
    let (_, events) = read(&record(
        "Delivery",
        &[
            ("recipient", serde_json::json!(["bob@example.net", "cy@example.net"])),
            ("event_time", "2026-11-22T10:16:48.250Z".into()),
            ("created_time", "2026-11-22T10:16:48.125Z".into()),
        ],
    ));
    assert_eq!(events.len(), 2);
    assert!(events[1].contains(r#""rcpt_user":"cy""#) && events[1].contains(r#""delay_total_ms":125"#), "{events:?}");
}

#[test]
fn receptions_and_rejections_name_the_client() {
    let (_, events) = read(&record(
        "Reception",
        &[("site", "".into()), ("response", serde_json::json!({"code":250,"enhanced_code":null,"content":""}))],
    ));
    assert_eq!(
        events,
        [
            r#"{"table":"receptions","ts":"2026-11-22T10:16:48.000000Z","mta":"kumomta","queue_id":"1d98076abbbc11ed940250ebf67f93bd","message_id":"a@b.ex","client_ip":"198.51.100.2","helo":"mx.example.net.","protocol":"ESMTP","sender_user":"User","sender_domain":"sender.example","rcpt_count":1,"rcpt_domain":"example.net","size_bytes":1047,"verdict":"accepted","smtp_code":250,"tls_version":"TLSv1.3","tls_cipher":"TLS_AES_256_GCM_SHA384"}"#
        ]
    );
    for (code, verdict) in [(451, "deferred"), (550, "rejected")] {
        let response =
            serde_json::json!({"code":code,"enhanced_code":{"class":code / 100,"subject":7,"detail":1},"content":"no"});
        let (_, events) = read(&record("Rejection", &[("response", response), ("size", 0.into())]));
        let expected =
            format!(r#""verdict":"{verdict}","smtp_code":{code},"enhanced_code":"{}.7.1","response":"no""#, code / 100);
        assert!(events[0].contains(&expected) && !events[0].contains("size_bytes"), "{events:?}");
    }
}

#[test]
fn a_feedback_report_is_a_complaint() {
    let report = serde_json::json!({"feedback_type":"abuse","user_agent":"SomeGenerator/1.0","version":1,
        "arrival_date":"2005-03-08T18:00:00Z","incidents":null,"original_mail_from":"<ann@example.net>",
        "reporting_mta":{"mta_type":"dns","name":"mail.example.com"},"source_ip":"192.0.2.1",
        "original_rcpto_to":["<user@Example.com>"],"reported_domain":["Example.net"]});
    assert_eq!(
        read(&record("Feedback", &[("feedback_report", report)])).1,
        [
            r#"{"table":"complaints","ts":"2026-11-22T10:16:48.000000Z","domain":"example.net","organisation":"SomeGenerator/1.0","report_id":"1d98076abbbc11ed940250ebf67f93bd","feedback_type":"abuse","source_ip":"192.0.2.1","sender_user":"ann","rcpt_domain":"example.com","arrived_at":"2005-03-08T18:00:00.000000Z"}"#
        ]
    );
}

#[test]
fn records_without_an_event_are_known_and_other_json_is_not() {
    assert_eq!(read(&record("AdminRebind", &[])), (Reading::Recognised, Vec::new()));
    for line in ["{}", r#"{"type":"Delivery"}"#, r#"{"type":"Other","timestamp":1}"#, "Nov 22 10:16:48 mx a: b"] {
        assert_eq!(read(line), (Reading::Unrecognised, Vec::new()), "{line}");
    }
}

proptest::proptest! {
    #[test]
    fn no_line_panics(text in "(\\{\"type\":\"Delivery\",\"timestamp\":[0-9.e]{1,12},)?.{0,120}") {
        let _ = read(&text);
    }
}
