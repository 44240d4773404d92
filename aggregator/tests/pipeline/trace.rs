//! The life of a message is found by any of its ids, whenever its rows came.

use aggregator::clickhouse::Client;
use aggregator::event::{Bounce, Delivery, Event, EventId, Reception, Time};
use aggregator::schema;
use aggregator::trace::{DAYS, of_traces, trace};
use tempfile::TempDir;

use crate::support::Engine;

const DAY_MS: i64 = 86_400_000;

async fn insert(client: &Client, events: &[Event]) {
    for event in events {
        let mut block = Vec::new();
        Event::write_block(event.table(), &[event], &mut block);
        let statement = ["INSERT INTO ", event.table(), " FORMAT Native"].concat();
        client.insert(&statement, &[], block.into()).await.unwrap();
    }
}

/// A message that came in, was deferred, handed over a day later to a host that named its own id, and came back; and
/// another that has its trace id from its sender and no Message-ID.
fn messages(begin: Time) -> Vec<Event> {
    let reception = Reception {
        ts: begin,
        event_id: EventId(1),
        node: "mx1".into(),
        queue_id: "4ZxYk13Xjfz9rT".into(),
        message_id: "1@example.org".into(),
        ..Reception::default()
    };
    let attempt = |number: i64, next: &str| Delivery {
        ts: begin.plus_millis(number * DAY_MS),
        event_id: EventId(10 + number as u128),
        node: "mx1".into(),
        queue_id: "4ZxYk13Xjfz9rT".into(),
        next_queue_id: next.into(),
        message_id: "1@example.org".into(),
        ..Delivery::default()
    };
    let inner = Reception {
        ts: begin.plus_millis(DAY_MS + 1),
        event_id: EventId(2),
        node: "store".into(),
        queue_id: "7C00F".into(),
        ..Reception::default()
    };
    let bounce = Bounce {
        ts: begin.plus_millis(2 * DAY_MS),
        event_id: EventId(3),
        node: "mx1".into(),
        report_id: "r".into(),
        message_id: "1@example.org".into(),
        trace_id: "ab6f5b02dde34697".into(),
        ..Bounce::default()
    };
    let given = Delivery {
        ts: begin,
        event_id: EventId(20),
        node: "other".into(),
        queue_id: "1".into(),
        trace_id: "given-by-whom".into(),
        ..Delivery::default()
    };
    vec![reception.into(), attempt(0, "").into(), attempt(1, "7C00F").into(), inner.into(), bounce.into(), given.into()]
}

async fn whole_life(client: &Client, begin: Time) {
    for id in ["4ZxYk13Xjfz9rT", "7C00F", "1@example.org", "<1@example.org>", "ab6f5b02dde34697"] {
        let steps = trace(client, id).await.unwrap();
        let found: Vec<_> = steps.iter().map(|step| (step.node.as_str(), step.kind.as_str())).collect();
        let expected =
            [("mx1", "reception"), ("mx1", "delivery"), ("mx1", "delivery"), ("store", "reception"), ("mx1", "bounce")];
        assert_eq!(found, expected, "{id}");
    }
    assert_eq!(trace(client, "given-by-whom").await.unwrap().len(), 1);
    for id in ["", "no-such-message", "0123456789abcdef"] {
        assert!(trace(client, id).await.unwrap().is_empty(), "{id}");
    }

    let traces = ["ab6f5b02dde34697", "given-by-whom", "none"].map(str::to_owned).into();
    let told = of_traces(client, &traces, begin).await.unwrap();
    let counts: Vec<_> = told.iter().map(|(trace, steps)| (trace.as_str(), steps.len())).collect();
    assert_eq!(counts, [("ab6f5b02dde34697", 4), ("given-by-whom", 1)], "the inner host did not see the Message-ID");
}

/// What somebody sees who asks in SQL.
async fn seen(client: &Client, id: &str) -> String {
    let sql = ["SELECT count() FROM trace_of(id = '", id, "') FORMAT TabSeparated"].concat();
    String::from_utf8(client.execute(&sql, &[]).await.unwrap().to_vec()).unwrap().trim().to_owned()
}

#[tokio::test]
async fn a_message_is_found_by_any_of_its_ids() {
    let dir = TempDir::new().unwrap();
    let engine = Engine::start(dir.path()).await;
    let client = engine.full().await;
    schema::migrate(&client).await.unwrap();
    let begin = Time::now().plus_millis(-20 * DAY_MS);
    insert(&client, &messages(begin)).await;
    whole_life(&client, begin).await;
    let ids = ["4ZxYk13Xjfz9rT", "7C00F", "1@example.org", "ab6f5b02dde34697", "given-by-whom", "none"];
    let mut counts = Vec::new();
    for id in ids {
        counts.push(seen(&client, id).await);
    }
    assert_eq!(counts, ["3", "2", "4", "4", "1", "0"]);
}

/// Without the key a trace of a large database takes seconds.
#[tokio::test]
async fn days_are_found_by_the_key() {
    let dir = TempDir::new().unwrap();
    let engine = Engine::start(dir.path()).await;
    let client = engine.full().await;
    schema::migrate(&client).await.unwrap();
    insert(&client, &messages(Time::now())).await;
    let params = [
        ("param_names", "['4ZxYk13Xjfz9rT','7C00F']"),
        ("param_messages", "[]"),
        ("param_from", "1970-01-01"),
        ("param_to", "2106-01-01"),
    ];
    let plan = client.execute(&["EXPLAIN indexes = 1 ", DAYS].concat(), &params).await.unwrap();
    let plan = String::from_utf8_lossy(&plan).into_owned();
    assert!(plan.contains("(id in 2-element set)"), "{plan}");
}

#[tokio::test]
async fn a_message_of_an_older_database_is_found_after_the_migration() {
    let dir = TempDir::new().unwrap();
    let engine = Engine::start(dir.path()).await;
    let client = engine.full().await;
    schema::migrate(&client).await.unwrap();
    for view in ["id_days_of_receptions", "id_days_of_deliveries", "trace_of"] {
        client.execute(&["DROP VIEW ", view].concat(), &[]).await.unwrap();
    }
    client.execute("DROP TABLE id_days SYNC", &[]).await.unwrap();
    client.execute("DELETE FROM schema_migrations WHERE name = '0012_id_days'", &[]).await.unwrap();
    let begin = Time::now().plus_millis(-20 * DAY_MS);
    insert(&client, &messages(begin)).await;
    assert_eq!(schema::migrate(&client).await.unwrap(), 1);
    whole_life(&client, begin).await;
    let filters = "SELECT count() FROM system.data_skipping_indices WHERE table IN ('receptions', 'deliveries') \
        FORMAT TabSeparated";
    assert_eq!(client.execute(filters, &[]).await.unwrap(), "0\n");
}
