//! What was acknowledged stays, once, whatever happens to the process.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use aggregator::clickhouse::Client;
use aggregator::engine::{self, EngineError};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::tempdir;
use tokio_util::sync::CancellationToken;

use crate::support::{Engine, PATIENCE, config, until};

const TABLE: &str = "CREATE TABLE IF NOT EXISTS t (batch UInt32, n UInt32) ENGINE = MergeTree ORDER BY n \
                     SETTINGS non_replicated_deduplication_window = 10000";

async fn insert(client: &Client, batch: u32) -> bool {
    let rows: String = (0..100).map(|n| [batch.to_string(), ",".into(), n.to_string(), "\n".into()].concat()).collect();
    let token = batch.to_string();
    client.insert("INSERT INTO t FORMAT CSV", &[("insert_deduplication_token", &token)], rows.into()).await.is_ok()
}

async fn counts(client: &Client) -> String {
    String::from_utf8(client.execute("SELECT count(), uniqExact(batch) FROM t", &[]).await.unwrap().into()).unwrap()
}

#[tokio::test]
async fn a_batch_sent_twice_is_there_once() {
    let dir = tempdir().unwrap();
    let engine = Engine::start(dir.path()).await;
    let client = engine.full().await;
    client.execute(TABLE, &[]).await.unwrap();
    assert!(insert(&client, 1).await && insert(&client, 1).await && insert(&client, 2).await);
    assert_eq!(counts(&client).await, "200\t2\n");
}

#[tokio::test]
async fn acknowledged_batches_survive_kill_9_and_their_repetition_doubles_nothing() {
    let dir = tempdir().unwrap();
    let mut engine = Engine::start(dir.path()).await;
    let client = engine.full().await;
    client.execute(TABLE, &[]).await.unwrap();
    let acknowledged = Arc::new(AtomicU32::new(0));
    let writer = tokio::spawn({
        let (client, acknowledged) = (client.clone(), Arc::clone(&acknowledged));
        async move {
            while insert(&client, acknowledged.load(Ordering::Relaxed) + 1).await {
                acknowledged.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    until("twenty batches are acknowledged", async || acknowledged.load(Ordering::Relaxed) >= 20).await;
    engine.child.kill().unwrap();
    engine.child.wait().unwrap();
    writer.await.unwrap();

    let engine = Engine::start(dir.path()).await;
    let client = engine.full().await;
    let batches = acknowledged.load(Ordering::Relaxed);
    let lost = "SELECT count() FROM (SELECT batch, count() AS rows FROM t GROUP BY batch) WHERE rows != 100";
    assert_eq!(client.execute(lost, &[]).await.unwrap(), "0\n", "every batch is whole");
    // Nobody knows whether the last one got in: it is sent again.
    assert!(insert(&client, batches).await && insert(&client, batches + 1).await);
    let all = batches + 1;
    assert_eq!(counts(&client).await, [(all * 100).to_string(), "\t".into(), all.to_string(), "\n".into()].concat());
}

const ROLLUP: &str = "CREATE TABLE IF NOT EXISTS r (batch UInt32, rows UInt64) ENGINE = SummingMergeTree ORDER BY batch \
                      SETTINGS non_replicated_deduplication_window = 10000";
const VIEW: &str =
    "CREATE MATERIALIZED VIEW IF NOT EXISTS v TO r AS SELECT batch, count() AS rows FROM t GROUP BY batch";

/// Puts the disk into the state in which the engine's death between a token's record and the rename of its part
/// leaves it: the newest part of `table` has an unfinished name again, with a number of its own.
async fn tear(engine: Engine, dir: &std::path::Path, table: &str) {
    let sql = ["SELECT path FROM system.parts WHERE active AND table = '", table, "' ORDER BY min_block_number DESC"];
    let parts = engine.full().await.execute(&sql.concat(), &[]).await.unwrap();
    let newest = std::str::from_utf8(&parts).unwrap().lines().next().unwrap().trim_end_matches('/').to_owned();
    drop(engine);
    let part = dir.join(newest);
    std::fs::rename(&part, part.with_file_name("tmp_insert_all_77_77_0")).unwrap();
}

#[tokio::test]
async fn a_batch_that_the_death_of_the_engine_tore_is_taken_when_it_comes_again() {
    for torn in ["t", "r"] {
        let dir = tempdir().unwrap();
        let engine = Engine::start(dir.path()).await;
        let client = engine.full().await;
        for sql in [TABLE, ROLLUP, VIEW, "SYSTEM STOP MERGES"] {
            client.execute(sql, &[]).await.unwrap();
        }
        assert!(insert(&client, 1).await && insert(&client, 2).await);
        if torn == "t" {
            // The rollup comes after its table: it had not been begun.
            let last = client.execute("TRUNCATE TABLE r", &[]).await;
            last.unwrap();
            client.execute("INSERT INTO r VALUES (1, 100)", &[]).await.unwrap();
        }
        tear(engine, dir.path(), torn).await;

        let engine = Engine::start(dir.path()).await;
        let client = engine.full().await;
        for _ in 0..2 {
            assert!(insert(&client, 2).await);
            assert_eq!(counts(&client).await, "200\t2\n", "{torn} was torn");
            let rolled = "SELECT sum(rows), uniqExact(batch) FROM r";
            assert_eq!(client.execute(rolled, &[]).await.unwrap(), "200\t2\n", "{torn} was torn");
        }
    }
}

#[tokio::test]
async fn a_second_engine_on_the_directory_is_refused_with_words() {
    let dir = tempdir().unwrap();
    let engine = Engine::start(dir.path()).await;
    let second = config(dir.path(), "127.0.0.1:0".parse().unwrap(), engine.library.clone());
    let refused = engine::run(second, CancellationToken::new());
    assert!(matches!(&refused, Err(EngineError::InUse { .. })), "{refused:?}");
    let elsewhere = tempdir().unwrap();
    let same_port = config(elsewhere.path(), engine.listen, engine.library.clone());
    let refused = engine::run(same_port, CancellationToken::new());
    assert!(matches!(&refused, Err(EngineError::Listen { listen, .. }) if *listen == engine.listen), "{refused:?}");
}

#[tokio::test]
async fn sigterm_ends_the_process_even_under_an_endless_query() {
    let dir = tempdir().unwrap();
    let mut engine = Engine::start(dir.path()).await;
    let client = engine.full().await;
    let endless = tokio::spawn({
        let client = client.clone();
        async move { client.execute("SELECT count() FROM system.numbers", &[]).await }
    });
    let running = "SELECT count() >= 2 FROM system.processes";
    until("the endless query runs", async || client.execute(running, &[]).await.unwrap() == "1\n").await;
    kill_process(Pid::from_child(&engine.child), Signal::TERM).unwrap();
    let begun = Instant::now();
    let status = loop {
        if let Some(status) = engine.child.try_wait().unwrap() {
            break status;
        }
        assert!(begun.elapsed() < PATIENCE, "the engine does not end");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    };
    assert!(status.success(), "{status}");
    assert!(endless.await.unwrap().is_err());
}
