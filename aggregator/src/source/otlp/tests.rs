//! Exports in both encodings, identities, state from export to export, lines that collectors took apart.

use proptest::prelude::*;

use super::*;
use crate::event::{RawLine, Row};
use crate::otlp::message::{AnyValue, KeyValue, Value};

/// 2026-11-22T10:16:48Z.
const NANOS: u64 = 1_795_342_608_000_000_000;

fn now() -> Time {
    Time((NANOS / 1_000).cast_signed())
}

fn record(line: &str) -> LogRecord {
    LogRecord {
        time_unix_nano: NANOS,
        observed_time_unix_nano: NANOS + 7,
        body: Some(AnyValue { value: Some(line.into()) }),
        attributes: Vec::new(),
    }
}

fn with(mut record: LogRecord, attributes: &[(&str, &str)]) -> LogRecord {
    record.attributes.extend(attributes.iter().map(|(key, value)| KeyValue::new(key, *value)));
    record
}

fn export(resource: &[(&str, &str)], records: &[LogRecord]) -> Bytes {
    let resource = Resource { attributes: resource.iter().map(|(key, value)| KeyValue::new(key, *value)).collect() };
    let scope = ScopeLogs { log_records: records.iter().map(|record| record.encode_to_vec().into()).collect() };
    let logs = ResourceLogs { resource: Some(resource), scope_logs: vec![scope.encode_to_vec().into()] };
    ExportLogs { resource_logs: vec![logs.encode_to_vec().into()] }.encode_to_vec().into()
}

fn read(readers: &mut Readers, body: &Bytes) -> (String, Batch) {
    let export = Export::read(body.clone(), Encoding::Protobuf).unwrap();
    let batch = readers.read(&export, "acme", now()).unwrap();
    (export.token, batch)
}

/// Whether some block of this table has the text.
fn has(batch: &Batch, table: &str, text: &str) -> bool {
    batch.blocks.iter().any(|rows| rows.table == table && memchr::memmem::find(&rows.native, text.as_bytes()).is_some())
}

const QMGR: &str =
    "Nov 22 10:16:48 mx1 postfix/qmgr[9]: 4XYZ12abcd: from=<ada@example.org>, size=900, nrcpt=1 (queue active)";
const SENT: &str = "Nov 22 10:16:49 mx1 postfix/smtp[8]: 4XYZ12abcd: to=<bob@example.net>, \
    relay=mx.example.net[192.0.2.7]:25, delay=1.5, delays=0.1/0.2/0.4/0.8, dsn=2.0.0, status=sent (250 2.0.0 ok)";

#[test]
fn a_line_becomes_its_event_and_is_kept_and_its_log_keeps_state_from_export_to_export() {
    let mut readers = Readers::default();
    let resource = [("service.name", "postfix"), ("host.name", "mx1")];
    let (_, first) =
        read(&mut readers, &export(&resource, &[with(record(QMGR), &[("log.file.path", "/var/log/mail.log")])]));
    assert!(has(&first, "raw_lines", QMGR) && has(&first, "raw_lines", "otlp:/var/log/mail.log"), "{first:?}");
    assert!(has(&first, "raw_lines", "acme"));
    let (_, second) = read(&mut readers, &export(&resource, &[record(SENT)]));
    assert!(
        has(&second, "deliveries", "example.net") && has(&second, "deliveries", "example.org"),
        "the sender is known"
    );
    assert_eq!((second.taken, second.rejected), (1, 0));
}

#[test]
fn an_export_that_comes_again_is_the_same_in_either_encoding_and_its_like_records_are_each_one() {
    let resource = [("service.name", "postfix")];
    let records = [with(record(SENT), &[("hostname", "mx1")]), with(record(SENT), &[("hostname", "mx1")])];
    let (token, batch) = read(&mut Readers::default(), &export(&resource, &records));
    let (again, same) = read(&mut Readers::default(), &export(&resource, &records));
    assert_eq!((&token, &batch), (&again, &same));
    let raw = batch.blocks.iter().find(|rows| rows.table == RawLine::TABLE).unwrap();
    assert_eq!(raw.rows, 2);
    let ids = |body: &Bytes| {
        Export::read(body.clone(), Encoding::Protobuf).unwrap().records.iter().map(|(_, _, id)| *id).collect::<Vec<_>>()
    };
    let pair = ids(&export(&resource, &[record(SENT), record(SENT)]));
    assert_ne!(pair[0], pair[1]);
    assert_eq!(ids(&export(&resource, &[record(SENT)])), pair[..1], "the first is the same alone");
    assert_ne!(ids(&export(&[("service.name", "exim")], &[record(SENT)])), pair[..1], "another resource");
    let of_host = |name| export(&resource, &[with(record(SENT), &[("hostname", name)])]);
    assert_ne!(ids(&of_host("mx1")), ids(&of_host("mx2")), "other attributes");
    let host = serde_json::json!([{"key": "hostname", "value": {"stringValue": "mx1"}}]);
    let json = serde_json::json!({"resourceLogs": [{
        "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "postfix"}}]},
        "scopeLogs": [{"scope": {"name": "filelog"}, "schemaUrl": "", "logRecords": [
            {"timeUnixNano": NANOS.to_string(), "observedTimeUnixNano": NANOS + 7, "body": {"stringValue": SENT}, "severityNumber": 9, "attributes": host},
            {"timeUnixNano": NANOS.to_string(), "observedTimeUnixNano": (NANOS + 7).to_string(), "body": {"stringValue": SENT}, "traceId": "", "attributes": host},
        ]}]
    }]});
    let json = Export::read(json.to_string().into(), Encoding::Json).unwrap();
    assert_eq!(json.token, token);
    assert_eq!(Readers::default().read(&json, "acme", now()).unwrap(), batch);
}

#[test]
fn a_record_that_cannot_be_read_is_rejected_in_words_and_the_others_are_taken() {
    let mut nothing = record("");
    nothing.body = None;
    let records = [
        with(record(SENT), &[("log.dialect", "sendmial")]),
        nothing,
        with(record(SENT), &[("log.time_zone", "Mars")]),
        record(SENT),
    ];
    let (_, batch) = read(&mut Readers::default(), &export(&[], &records));
    assert_eq!((batch.taken, batch.rejected), (1, 3));
    assert!(batch.why.starts_with("log.dialect \"sendmial\" is none of postfix, "), "{}", batch.why);
    assert!(has(&batch, "deliveries", "example.net"), "without a word on the dialect the line is asked");
}

#[test]
fn what_a_collector_took_apart_is_put_together_again() {
    let message = SENT.split_once("]: ").unwrap().1;
    let journal = |fields: &[(&str, &str)]| {
        let values = fields.iter().map(|(key, value)| KeyValue::new(key, *value)).collect();
        let mut record = record("");
        record.body = Some(AnyValue { value: Some(Value::KvlistValue(crate::otlp::message::KeyValueList { values })) });
        record
    };
    let records = [
        with(record(message), &[("appname", "postfix/smtp"), ("proc_id", "8"), ("hostname", "mx1")]),
        journal(&[("MESSAGE", message), ("SYSLOG_IDENTIFIER", "postfix/smtp"), ("_PID", "8"), ("_HOSTNAME", "mx1")]),
    ];
    let line = ["2026-11-22T10:16:48.000000Z mx1 postfix/smtp[8]: ", message].concat();
    for record in records {
        let (_, batch) = read(&mut Readers::default(), &export(&[], &[record]));
        assert!(has(&batch, "raw_lines", &line), "{batch:?}");
        assert!(has(&batch, "deliveries", "example.net"), "{batch:?}");
    }
}

#[test]
fn too_many_records_and_too_many_days_are_refused() {
    let records = vec![LogRecord::default(); RECORDS + 1];
    assert_eq!(Export::read(export(&[], &records), Encoding::Protobuf).unwrap_err(), Malformed::Records);
    let days = (0..100_u64).map(|day| {
        let mut record = record("a line of no dialect");
        record.time_unix_nano = NANOS - day * 86_400_000_000_000;
        record
    });
    let days = Export::read(export(&[], &days.collect::<Vec<_>>()), Encoding::Protobuf).unwrap();
    assert_eq!(Readers::default().read(&days, "acme", now()), Err(Malformed::Days));
}

proptest! {
    #[test]
    fn no_octets_make_it_panic(mut body in proptest::collection::vec(any::<u8>(), 0..300), at in any::<usize>(), octet in any::<u8>()) {
        let _ = Export::read(body.clone().into(), Encoding::Protobuf);
        let _ = Export::read(body.clone().into(), Encoding::Json);
        body = export(&[("service.name", "mail")], &[record(SENT)]).to_vec();
        let length = body.len();
        body[at % length] = octet;
        if let Ok(export) = Export::read(body.into(), Encoding::Protobuf) {
            let _ = Readers::default().read(&export, "acme", now());
        }
    }
}
