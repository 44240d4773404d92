//! Every table takes what its event sends.

use aggregator::clickhouse::Client;
use aggregator::event::{Delivery, Event, Time};
use aggregator::schema;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::Engine;

/// A value for a column that is sent as `kind`.
fn value(kind: &'static str) -> BoxedStrategy<Value> {
    match kind {
        "String" => "[a-zé\"'\\\\\n ]{0,12}".prop_map(Value::from).boxed(),
        "UInt8" => any::<bool>().prop_map(Value::from).boxed(),
        "UInt16" => any::<u16>().prop_map(Value::from).boxed(),
        "UInt32" => any::<u32>().prop_map(Value::from).boxed(),
        "UInt64" => any::<u64>().prop_map(Value::from).boxed(),
        "Float32" => (-1e6_f32..1e6).prop_map(Value::from).boxed(),
        "DateTime64(6, 'UTC')" => (0_i64..4_000_000_000_000_000).prop_map(|at| json!(Time(at))).boxed(),
        "UInt128" => any::<u128>().prop_map(|id| Value::from(id.to_string())).boxed(),
        "IPv6" => any::<[u8; 16]>().prop_map(|ip| json!(std::net::Ipv6Addr::from(ip))).boxed(),
        "Array(String)" => prop::collection::vec("[a-z]{0,5}", 0..3).prop_map(Value::from).boxed(),
        "Map(String, Float32)" => {
            prop::collection::btree_map("[A-Z]{1,5}", -9_f32..9.0, 0..4).prop_map(|map| json!(map)).boxed()
        }
        other => panic!("no values for {other}"),
    }
}

/// Three events of a table, with everything in them, at instants of one day.
pub fn events(table: &str, columns: &[(&'static str, &'static str)], day: Time) -> Vec<Event> {
    let mut runner = TestRunner::deterministic();
    let mut make = |number: u64| {
        let mut row = json!({"table": table, "ts": day.plus_millis(number as i64), "event_id": number.to_string()});
        for (name, kind) in columns.iter().filter(|(name, _)| !matches!(*name, "ts" | "event_id")) {
            let value = value(kind).new_tree(&mut runner).unwrap().current();
            let before = row.clone();
            row[*name] = value;
            // A column of closed words keeps its default.
            if Event::from_json(&row.to_string()).is_err() {
                row = before;
            }
        }
        Event::from_json(&row.to_string()).unwrap()
    };
    (1..4).map(&mut make).collect()
}

/// The rows of a table as one Native block of the types that events are sent as.
async fn read_back(client: &Client, table: &str, columns: &[(&str, &str)]) -> Vec<u8> {
    let mut select = String::from("SELECT ");
    for (at, (name, kind)) in columns.iter().enumerate() {
        let comma = if at == 0 { "" } else { ", " };
        select.extend([comma, "CAST(t.`", name, "` AS ", kind, ") AS `", name, "`"]);
    }
    select.extend([" FROM ", table, " AS t ORDER BY t.event_id FORMAT Native"]);
    client.execute(&select, &[]).await.unwrap().to_vec()
}

#[tokio::test]
async fn every_table_gives_back_what_was_inserted_octet_for_octet() {
    let dir = TempDir::new().unwrap();
    let engine = Engine::start(dir.path()).await;
    let client = engine.full().await;
    assert_eq!(schema::migrate(&client).await.unwrap(), 12);
    assert_eq!(schema::migrate(&client).await.unwrap(), 0, "what was applied is not applied again");
    let now = Time::now();
    for (table, columns) in Event::TABLES {
        let events = events(table, columns, now);
        let mut block = Vec::new();
        Event::write_block(table, &events.iter().collect::<Vec<_>>(), &mut block);
        let insert = ["INSERT INTO ", table, " FORMAT Native"].concat();
        client.insert(&insert, &[], block.clone().into()).await.unwrap();
        assert_eq!(read_back(&client, table, columns).await, block, "{table}");
    }
}

#[tokio::test]
async fn a_reply_and_a_trace_id_are_computed_as_they_were_sent() {
    let dir = TempDir::new().unwrap();
    let engine = Engine::start(dir.path()).await;
    let client = engine.full().await;
    schema::migrate(&client).await.unwrap();
    let replies = [
        "250 2.0.0 Ok: queued as 4F0A",
        "host mx.example.net[192.0.2.1] said: 450 4.2.0 <bob@example.net>: Greylisted for 300 s (in reply to RCPT TO command)",
        "host mx.example.net[2001:db8::1] said: 550 <1@example.org> of <ann@example.org> * 7 ** a*b \\x01 \u{1} \"quoted\" 'é'",
        "\u{1}[x] \u{2}",
        "x*",
        "*",
        "",
    ];
    let long = ["550 ".to_owned(), "x1 é* ".repeat(200)].concat();
    let mut rows = Vec::new();
    for (number, reply) in replies.into_iter().chain([long.as_str()]).enumerate() {
        for template in ["", "a * template * of another program"] {
            let row = Delivery {
                ts: Time::now(),
                event_id: aggregator::event::EventId(rows.len() as u128 + 1),
                queue_id: number.to_string(),
                next_queue_id: "4F0A".into(),
                message_id: "1@example.org".into(),
                sender_user: "ann".into(),
                sender_domain: "example.org".into(),
                rcpt_user: "bob".into(),
                rcpt_domain: "example.net".into(),
                mx_host: "mx.example.net".into(),
                mx_ip: "192.0.2.1".parse().ok(),
                response: reply.into(),
                response_template: template.into(),
                ..Delivery::default()
            };
            rows.push(Event::from(row));
        }
    }
    for (number, trace) in (100..).zip(["given", ""]) {
        let event_id = aggregator::event::EventId(number);
        rows.push(Delivery { ts: Time::now(), event_id, trace_id: trace.into(), ..Delivery::default() }.into());
    }
    let mut block = Vec::new();
    Event::write_block("deliveries", &rows.iter().collect::<Vec<_>>(), &mut block);
    client.insert("INSERT INTO deliveries FORMAT Native", &[], block.into()).await.unwrap();

    let sql = "SELECT response, trace_id FROM deliveries ORDER BY event_id";
    let found: Vec<Value> = client.rows(sql, &[]).await.unwrap();
    let responses = |row: &Value| row["response"].as_str().unwrap().to_owned();
    let expected: Vec<_> = rows.iter().map(|row| serde_json::to_value(row).unwrap()).collect();
    let sent: Vec<_> = expected.iter().map(|row| row["response"].as_str().unwrap_or_default().to_owned()).collect();
    assert_eq!(found.iter().map(responses).collect::<Vec<_>>(), sent);
    let traces: Vec<_> = found.iter().map(|row| row["trace_id"].as_str().unwrap()).collect();
    // The first 8 octets of the SHA-256 of 1@example.org.
    let [from_message_id @ .., given, none] = &traces[..] else { panic!("{traces:?}") };
    assert!(from_message_id.iter().all(|trace| *trace == "ab6f5b02dde34697"), "{traces:?}");
    assert_eq!((*given, *none), ("given", ""));
    let all: Vec<Value> = client.rows("SELECT * FROM deliveries LIMIT 1", &[]).await.unwrap();
    assert!(all[0].get("response").is_some() && all[0].get("trace_id").is_some(), "{all:?}");
}

#[tokio::test]
async fn a_migration_that_was_changed_and_a_newer_database_are_refused() {
    let dir = TempDir::new().unwrap();
    let engine = Engine::start(dir.path()).await;
    let client = engine.full().await;
    schema::migrate(&client).await.unwrap();
    let insert = "INSERT INTO schema_migrations (version, name, checksum) VALUES (99, '0099_later', 'x')";
    client.execute(insert, &[]).await.unwrap();
    let newer = schema::migrate(&client).await.unwrap_err();
    assert!(newer.is_permanent());
    assert_eq!(newer.to_string(), "the database is at version 99, this program knows 12: use the newer program");
    let insert = "INSERT INTO schema_migrations (version, name, checksum) VALUES (1, '0001_mail', 'x')";
    client.execute("TRUNCATE TABLE schema_migrations", &[]).await.unwrap();
    client.execute(insert, &[]).await.unwrap();
    assert!(matches!(schema::migrate(&client).await, Err(schema::Error::Changed { name }) if name == "0001_mail"));
}
