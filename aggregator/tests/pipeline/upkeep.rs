//! Lifetimes, the statements of `varde schema`, and the audit, with the real engine.

use std::sync::atomic::{AtomicU64, Ordering};

use aggregator::clickhouse::Client;
use aggregator::event::{Bounce, Delivery, Event, EventId, RawLine, Time};
use aggregator::schema::{self, Lifetimes, Scope};
use tempfile::TempDir;

use crate::support::Engine;

#[tokio::test]
async fn a_lifetime_is_changed_once_and_goes_back_to_its_default_when_its_key_goes() {
    let dir = TempDir::new().unwrap();
    let engine = Engine::start(dir.path()).await;
    let client = engine.full().await;
    schema::migrate(&client).await.unwrap();
    let none = Lifetimes::new();
    assert_eq!(schema::apply_lifetimes(&client, &none).await.unwrap(), 0, "the files say what the engine says");
    let lifetimes: Lifetimes = [("raw_lines", 3), ("deliveries", 0), ("incidents", 9), ("probe_1h", 30)]
        .map(|(name, days)| (name.to_owned(), days))
        .into();
    assert_eq!(
        schema::apply_lifetimes(&client, &lifetimes).await.unwrap(),
        5,
        "these, and the days of ids with deliveries"
    );
    assert_eq!(schema::apply_lifetimes(&client, &lifetimes).await.unwrap(), 0);
    let now = Time::now();
    for age in [1_i64, 10] {
        let ts = now.plus_millis(-age * 86_400_000);
        insert(&client, &RawLine { ts, event_id: EventId(age as u128), ..RawLine::default() }.into()).await;
    }
    client.execute("OPTIMIZE TABLE raw_lines FINAL", &[]).await.unwrap();
    let left = client.execute("SELECT count() FROM raw_lines", &[]).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&left).trim(), "1", "a line of ten days ago is gone after three");
    assert_eq!(schema::apply_lifetimes(&client, &none).await.unwrap(), 5);
    assert_eq!(schema::apply_lifetimes(&client, &none).await.unwrap(), 0);
}

#[tokio::test]
async fn the_engines_parser_takes_every_statement_for_a_server_and_for_a_cluster() {
    let dir = TempDir::new().unwrap();
    let engine = Engine::start(dir.path()).await;
    let client = engine.full().await;
    let cluster = schema::cluster(&"mail".parse().unwrap());
    let statements = [schema::server(), cluster].concat();
    assert!(statements.len() > 60);
    for statement in statements {
        let asked = ["EXPLAIN AST ", &statement].concat();
        let tree = client.execute(&asked, &[]).await.unwrap_or_else(|why| panic!("{statement}: {why}"));
        assert!(!tree.is_empty());
    }
    let broken = client.execute("EXPLAIN AST CREATE TABLE x ON CLUSTR 'y' (a UInt8) ENGINE = Memory", &[]).await;
    assert!(broken.is_err(), "the parser refuses what is no statement");
}

async fn insert(client: &Client, event: &Event) {
    let mut block = Vec::new();
    Event::write_block(event.table(), &[event], &mut block);
    let statement = ["INSERT INTO ", event.table(), " FORMAT Native"].concat();
    // Each time under another token: so rows come to be there twice.
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let token = NUMBER.fetch_add(1, Ordering::Relaxed).to_string();
    client.insert(&statement, &[("insert_deduplication_token", &token)], block.into()).await.unwrap();
}

#[tokio::test]
async fn a_report_that_came_twice_is_no_mismatch_before_it_is_merged() {
    let dir = TempDir::new().unwrap();
    let engine = Engine::start(dir.path()).await;
    let client = engine.full().await;
    schema::migrate(&client).await.unwrap();
    client.execute("SYSTEM STOP MERGES bounces", &[]).await.unwrap();
    let now = Time::now();
    let bounce = Event::from(Bounce { ts: now, event_id: EventId(4), ..Bounce::default() });
    insert(&client, &bounce).await;
    insert(&client, &bounce).await;
    assert_eq!(client.execute("SELECT count() FROM bounces FORMAT TabSeparated", &[]).await.unwrap(), "2\n");
    let audit = schema::audit(&client, Scope::Everything, &Lifetimes::new(), now).await.unwrap();
    assert_eq!((audit.checked, audit.mismatches), (1, Vec::new()));
}

#[tokio::test]
async fn a_row_that_is_there_twice_and_a_rollup_that_does_not_agree_are_named_with_their_day() {
    let dir = TempDir::new().unwrap();
    let engine = Engine::start(dir.path()).await;
    let client = engine.full().await;
    schema::migrate(&client).await.unwrap();
    let now = Time::now();
    let yesterday = now.plus_millis(-86_400_000);
    let delivery = |ts, id| Event::from(Delivery { ts, event_id: EventId(id), ..Delivery::default() });
    for (ts, id) in [(now, 1), (yesterday, 2), (yesterday, 3)] {
        insert(&client, &delivery(ts, id)).await;
    }
    let none = Lifetimes::new();
    let audit = async |scope| schema::audit(&client, scope, &none, now).await.unwrap();
    let sound = audit(Scope::Everything).await;
    assert_eq!((sound.checked, sound.mismatches.len()), (4, 0), "table and rollup of two days: {sound:?}");
    assert_eq!(audit(Scope::Recent).await.checked, 2, "a night leaves out the day that is not over");

    insert(&client, &delivery(yesterday, 3)).await;
    let line = RawLine { ts: now, event_id: EventId(9), ..RawLine::default() };
    insert(&client, &line.clone().into()).await;
    insert(&client, &line.into()).await;
    client
        .execute("ALTER TABLE deliveries_1h DELETE WHERE hour < toStartOfDay(now('UTC'))", &[("mutations_sync", "1")])
        .await
        .unwrap();
    let day = |at: Time| at.to_utc().date_naive().to_string();
    let said = |audit: schema::Audit| audit.mismatches.iter().map(ToString::to_string).collect::<Vec<_>>();
    let recent = [
        format!("deliveries of {} has 3 rows, and 2 identities", day(yesterday)),
        format!("deliveries_1h of {} has 0 rows, and 3 deliveries", day(yesterday)),
    ];
    assert_eq!(said(audit(Scope::Recent).await), recent);
    let today = format!("raw_lines of {} has 2 rows, and 1 identities", day(now));
    assert_eq!(said(audit(Scope::Everything).await), [&recent[..], &[today]].concat());
}
