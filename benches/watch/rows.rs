//! What an observation takes in ClickHouse: rows of a day of 200 checks from three watchers, through the real tables of
//! the embedded engine.

use std::process::{Command, Stdio};
use std::time::Duration;

use aggregator::clickhouse::Client;
use aggregator::event::{Event, EventId, ProbeOutcome, ProbeRun, Time};
use probes::schedule::Slots;
use probes::simulation::dice::Dice;
use serde::Deserialize;

use crate::site::{Site, VARDE};

const TARGETS: u64 = 25;
const CHECKS: [&str; 8] = ["mx", "submission", "submissions", "imap", "imaps", "pop3s", "webmail", "queue"];
const WATCHERS: [&str; 3] = ["us-east", "no-oslo", "au-sydney"];
const BEGIN: Time = Time(1_793_491_200_000_000);
const DAY_US: i64 = 86_400_000_000;
const BATCH: usize = 50_000;

#[derive(Deserialize)]
struct Size {
    rows: u64,
    bytes: u64,
}

#[derive(Deserialize)]
struct Column {
    column: String,
    bytes: u64,
}

/// Prints the table.
pub fn run() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(measure());
}

async fn measure() {
    let site = Site::new();
    let mut engine = Command::new(VARDE)
        .args(["clickhouse", "--dir"])
        .arg(site.dir())
        .args(["--port-offset", &site.offset.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let password = std::fs::read_to_string(site.dir().join("secrets/clickhouse.password")).unwrap();
    let url = format!("http://127.0.0.1:{}", 8_123 + site.offset);
    let client = Client::new(&url, "varde", password.trim()).unwrap();
    while client.clone().with_database("default").execute("SELECT 1", &[]).await.is_err() {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    aggregator::schema::migrate(&client).await.unwrap();
    let mut dice = Dice(7);
    for watcher in 0..WATCHERS.len() {
        insert(&client, &day(watcher, &mut dice)).await;
    }
    client.execute("OPTIMIZE TABLE probe_runs FINAL", &[]).await.unwrap();
    let size: Vec<Size> = client
        .rows("SELECT toUInt64(sum(rows)) AS rows, toUInt64(sum(bytes_on_disk)) AS bytes FROM system.parts WHERE database = 'varde' AND table = 'probe_runs' AND active", &[])
        .await
        .unwrap();
    let columns: Vec<Column> = client
        .rows("SELECT column, toUInt64(sum(column_data_compressed_bytes)) AS bytes FROM system.parts_columns WHERE database = 'varde' AND table = 'probe_runs' AND active GROUP BY column ORDER BY bytes DESC LIMIT 5", &[])
        .await
        .unwrap();
    let per_row = |bytes: u64| bytes as f64 / size[0].rows as f64;
    println!("| rows of probe_runs | bytes on disk a row | of them the largest columns |\n|---|---|---|");
    let largest: Vec<String> =
        columns.iter().map(|column| format!("{} {:.2}", column.column, per_row(column.bytes))).collect();
    println!("| {} | {:.1} | {} |", size[0].rows, per_row(size[0].bytes), largest.join(", "));
    Command::new("kill").arg(engine.id().to_string()).status().unwrap();
    engine.wait().unwrap();
}

/// A watcher's day, in the order of time, as its spool would number it.
fn day(watcher: usize, dice: &mut Dice) -> Vec<ProbeRun> {
    let vantage = WATCHERS[watcher];
    let process = dice.roll();
    let mut rows = Vec::new();
    for target in 0..TARGETS {
        let target = format!("mail{target}");
        for (place, check) in CHECKS.iter().enumerate() {
            let slots = Slots::new(&target, check, Duration::from_secs(60), watcher, WATCHERS.len());
            let usual = 10 + 17 * place as u64;
            let first = slots.current(BEGIN) + 1;
            for slot in (first..).take_while(|slot| slots.at(*slot).0 < BEGIN.0 + DAY_US) {
                let ts = Time(slots.at(slot).0 + 700 + dice.below(1_500) as i64);
                let total_ms = usual + dice.below(8) + dice.below(40) * dice.below(40) / 30;
                let row = ProbeRun {
                    ts,
                    node: vantage.to_owned(),
                    target: target.clone(),
                    check: (*check).to_owned(),
                    vantage: vantage.to_owned(),
                    slot: slot.to_string(),
                    total_ms: Some(total_ms as u32),
                    ..ProbeRun::default()
                };
                rows.push(seen(dice, row));
            }
        }
    }
    rows.sort_by_key(|row| row.ts);
    for (number, row) in rows.iter_mut().enumerate() {
        row.run_id = format!("{process:016x}{number:08x}{:08x}", dice.roll() as u32);
        let place = (((number / 10_000) << 24) | (number % 10_000)) as u64;
        row.event_id = EventId::in_sequence(&[vantage.as_bytes()], place);
    }
    rows
}

/// Four in a thousand fail, half as many are late.
fn seen(dice: &mut Dice, row: ProbeRun) -> ProbeRun {
    match dice.below(1_000) {
        0..4 => ProbeRun {
            outcome: ProbeOutcome::Failed,
            failed_step: "tcp".to_owned(),
            error_class: "timeout".to_owned(),
            error: format!("connecting to {}.example.net:993: no answer within 5.0 s", row.target),
            total_ms: Some(5_000 + dice.below(4) as u32),
            ..row
        },
        4..6 => ProbeRun { outcome: ProbeOutcome::Late, ..row },
        _ => ProbeRun { outcome: ProbeOutcome::Ok, ..row },
    }
}

async fn insert(client: &Client, rows: &[ProbeRun]) {
    for batch in rows.chunks(BATCH) {
        let mut body = Vec::new();
        for row in batch {
            body.extend_from_slice(Event::from(row.clone()).to_json().unwrap().as_ref());
            body.push(b'\n');
        }
        let settings = [("date_time_input_format", "best_effort"), ("input_format_skip_unknown_fields", "1")];
        client.insert("INSERT INTO probe_runs FORMAT JSONEachRow", &settings, body.into()).await.unwrap();
    }
}
