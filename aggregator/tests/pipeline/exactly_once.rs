//! Shipper, intake and engine die at bad moments; every row is there once, in the table and in its rollup.

use std::net::SocketAddr;
use std::path::Path;

use aggregator::clickhouse::Client;
use aggregator::event::{Delivery, DeliveryOutcome, Time};
use aggregator::intake;
use aggregator::ship::{self, Shipping};
use serde::Deserialize;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::support::{Engine, until};

pub const KEY: &str = "the-intake-key";

fn shipping(dir: &Path, intake: SocketAddr) -> Shipping {
    Shipping {
        dir: dir.to_owned(),
        shipper: "mail-mx".into(),
        tenant: "default".into(),
        node: "mx1".into(),
        intake: ["http://", &intake.to_string()].concat(),
        key: KEY.into(),
        max_bytes: 1 << 30,
        mask: aggregator::mask::Mask::default(),
    }
}

pub async fn start_intake(engine: &Engine) -> (SocketAddr, JoinHandle<()>, CancellationToken) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let client = Client::new(&engine.url, "varde", "the-varde").unwrap();
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    let upkeep = intake::Upkeep::default();
    let task = tokio::spawn(async move {
        intake::serve_on(listener, KEY.into(), "default", client, upkeep, stopped).await.unwrap();
    });
    (address, task, stop)
}

fn delivery(number: u32) -> Delivery {
    Delivery {
        ts: Time::now(),
        attempt: Some(number),
        outcome: DeliveryOutcome::Delivered,
        is_final: true,
        rcpt_domain: "example.net".into(),
        ..Delivery::default()
    }
}

#[derive(Debug, PartialEq, Deserialize)]
struct Counts {
    rows: u64,
    identities: u64,
    attempts: u64,
    rolled_up: u64,
}

async fn counts(client: &Client) -> Option<Counts> {
    let sql = "SELECT count() AS rows, uniqExact(event_id) AS identities, uniqExact(attempt) AS attempts, \
        (SELECT sum(r.attempts) FROM deliveries_1h AS r) AS rolled_up FROM deliveries";
    client.rows(sql, &[]).await.ok()?.pop()
}

fn whole(n: u64) -> Counts {
    Counts { rows: n, identities: n, attempts: n, rolled_up: n }
}

#[tokio::test]
async fn a_block_that_is_sent_again_counts_once_in_its_table_and_in_its_rollup() {
    let dir = TempDir::new().unwrap();
    let engine = Engine::start(dir.path()).await;
    let (intake, _task, _stop) = start_intake(&engine).await;
    let mut block = Vec::new();
    let rows = [delivery(1), delivery(2)];
    aggregator::event::Row::write_block(rows.iter(), &mut block);
    let packed = zstd::encode_all(&block[..], 1).unwrap();
    let http = reqwest::Client::new();
    let send = || {
        http.post(["http://", &intake.to_string(), "/v1/blocks"].concat())
            .bearer_auth(KEY)
            .header(intake::HEADER_TOKEN, "mail-mx/0123/4/deliveries/20000")
            .header(intake::HEADER_TABLE, "deliveries")
            .header(intake::HEADER_ROWS, "2")
            .body(packed.clone())
            .send()
    };
    until("the intake takes blocks", async || send().await.unwrap().status() == 200).await;
    for _ in 0..3 {
        assert_eq!(send().await.unwrap().status(), 200);
    }
    let counted = counts(&engine.full().await).await.unwrap();
    assert_eq!((counted.rows, counted.attempts, counted.rolled_up), (2, 2, 2));
}

#[tokio::test]
async fn kill_9_of_the_engine_and_restarts_of_the_others_lose_nothing_and_double_nothing() {
    let (data, spool) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let mut engine = Engine::start(data.path()).await;
    let mut number = 0;
    for _round in 0..4 {
        let (intake, task, stop) = start_intake(&engine).await;
        let shutdown = CancellationToken::new();
        let (emitter, shipper) = ship::start(shipping(spool.path(), intake), shutdown.clone()).await.unwrap();
        for _ in 0..500 {
            number += 1;
            emitter.emit(delivery(number));
        }
        // The engine dies somewhere between the seal, the insert and the answer.
        tokio::time::sleep(std::time::Duration::from_millis(1_000 + u64::from(number % 7) * 10)).await;
        drop(engine);
        for _ in 0..100 {
            number += 1;
            emitter.emit(delivery(number));
        }
        shutdown.cancel();
        shipper.await.unwrap();
        stop.cancel();
        task.await.unwrap();
        assert_eq!(emitter.lost(), 0);
        engine = Engine::start(data.path()).await;
    }
    let (intake, _task, _stop) = start_intake(&engine).await;
    let (_emitter, _shipper) = ship::start(shipping(spool.path(), intake), CancellationToken::new()).await.unwrap();
    // Acknowledged is more than visible: a row can be seen before its rollup.
    until("everything is acknowledged", async || {
        let mut names =
            std::fs::read_dir(spool.path().join("mail-mx")).unwrap().map(|entry| entry.unwrap().file_name());
        !names.any(|name| name.to_string_lossy().ends_with(".segment"))
    })
    .await;
    assert_eq!(counts(&engine.full().await).await.unwrap(), whole(u64::from(number)));
}
