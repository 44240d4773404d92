//! Reports that came by mail: imported twice, collected from a maildir, and in the tables once.

use std::fs;
use std::path::{Path, PathBuf};

use aggregator::clickhouse::Client;
use aggregator::collect::{self, SourceConfig};
use aggregator::event::Time;
use aggregator::intake;
use aggregator::report::{self, Format};
use aggregator::schema;
use aggregator::ship::{Sender, Shipping};
use aggregator::source::import::{Done, Import, Options, State};
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::exactly_once::{KEY, start_intake};
use crate::support::{Engine, until};

/// 2026-11-30, after all samples.
const NOW: Time = Time(1_796_000_000_000_000);

fn samples() -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/mailed/samples");
    let mut found: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.retain(|path| path.extension().is_some_and(|end| end != "ndjson"));
    found.sort();
    found
}

fn shipping(dir: &Path, shipper: &str, intake: std::net::SocketAddr) -> Shipping {
    Shipping {
        dir: dir.to_owned(),
        shipper: shipper.into(),
        tenant: "default".into(),
        node: shipper.into(),
        intake: ["http://", &intake.to_string()].concat(),
        key: KEY.into(),
        max_bytes: 1 << 30,
        mask: aggregator::mask::Mask::default(),
    }
}

/// What is left of an expected file when a table's rows are counted, each report once.
fn expected(table: &str) -> usize {
    let mut rows: Vec<String> = samples()
        .iter()
        .flat_map(|sample| {
            let name = [&sample.to_string_lossy(), ".ndjson"].concat();
            let lines = fs::read_to_string(name).unwrap();
            lines.lines().map(str::to_owned).collect::<Vec<_>>()
        })
        .filter(|line| serde_json::from_str::<Value>(line).unwrap()["table"] == table)
        .collect();
    rows.sort();
    rows.dedup();
    rows.len()
}

const TABLES: [&str; 6] = ["dmarc_rows", "tlsrpt_rows", "dmarc_failures", "complaints", "bounces", "auto_replies"];

async fn count(client: &Client, table: &str) -> usize {
    let sql = ["SELECT count() FROM ", table, " FINAL FORMAT TabSeparated"].concat();
    String::from_utf8(client.execute(&sql, &[]).await.unwrap().to_vec()).unwrap().trim().parse().unwrap()
}

async fn import(shipping: Shipping, paths: Vec<PathBuf>) -> Vec<Done> {
    let options = Options { dialect: None, zone: chrono_tz::Tz::UTC, node: None, raw: false };
    let opened = shipping.clone();
    let (done, shelf) = tokio::task::spawn_blocking(move || {
        let mut import = Import::open(&opened, "nobody", options, NOW).unwrap();
        let (mut logs, mut done) = (Vec::new(), Vec::new());
        for path in paths {
            match import.prepare(&path) {
                Ok(log) => logs.push(log),
                Err(what) => done.push(what),
            }
        }
        done.extend(import.read(logs, &CancellationToken::new()).unwrap());
        (done, import.shelf())
    })
    .await
    .unwrap();
    Sender::of_shelf(&shipping, shelf).unwrap().drain().await.unwrap();
    done
}

#[tokio::test]
async fn reports_that_are_imported_again_and_again_stand_once() {
    let (data, spool, other) = (TempDir::new().unwrap(), TempDir::new().unwrap(), TempDir::new().unwrap());
    let engine = Engine::start(data.path()).await;
    let (address, _task, _stop) = start_intake(&engine).await;
    let client = engine.full().await;
    let health = ["http://", &address.to_string(), "/health"].concat();
    until("the tables are there", async || {
        reqwest::get(&health).await.is_ok_and(|answer| answer.status().is_success())
    })
    .await;

    let first = import(shipping(spool.path(), "one", address), samples()).await;
    let read = first.iter().filter(|done| matches!(done.state, State::Reports(_))).count();
    assert!(read > 20 && first.iter().all(|done| !matches!(done.state, State::Failed { .. })), "{first:#?}");
    let counts: Vec<usize> = TABLES.map(expected).into();
    assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
    for (table, expected) in TABLES.iter().zip(&counts) {
        assert_eq!(count(&client, table).await, *expected, "{table}");
    }

    // The same spool knows them by their content; another one reads them again, and so does a mailbox of them.
    let again = import(shipping(spool.path(), "one", address), samples()).await;
    assert!(again.iter().all(|done| done.state == State::Known), "{again:#?}");
    let mbox = other.path().join("mbox");
    let mut text = Vec::new();
    for sample in samples().iter().filter(|sample| sample.extension().is_some_and(|end| end == "eml")) {
        text.extend_from_slice(b"From x@example.net Tue Nov 24 12:00:00 2026\n");
        text.extend_from_slice(&fs::read(sample).unwrap());
        text.extend_from_slice(b"\n\n");
    }
    fs::write(&mbox, text).unwrap();
    let paths = samples().into_iter().chain([mbox]).collect();
    import(shipping(other.path(), "two", address), paths).await;
    for (table, expected) in TABLES.iter().zip(&counts) {
        assert_eq!(count(&client, table).await, *expected, "{table} after the second import");
    }

    // The reports over these rows give what the samples say.
    let since = [("since".to_owned(), "1000d".to_owned())];
    let run = async |name: &str| {
        let rows = report::run(&engine.sql(), name, &since, Format::JsonLines, NOW).await.unwrap();
        let rows = String::from_utf8(rows.to_vec()).unwrap();
        rows.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).collect::<Vec<_>>()
    };
    let dmarc = run("dmarc").await;
    let of = |domain: &str| -> u64 {
        let rows = dmarc.iter().filter(|row| row["domain"] == domain);
        rows.map(|row| row["messages"].to_string().trim_matches('"').parse::<u64>().unwrap()).sum()
    };
    assert_eq!((of("example.org"), of("example.com")), (19, 123), "{dmarc:#?}");
    let complaints = run("complaints").await;
    assert_eq!(complaints.len(), 2, "{complaints:#?}");
    assert!(!run("bounces").await.is_empty() && !run("tls-reports").await.is_empty());
}

#[tokio::test]
async fn a_maildirs_reports_are_marked_only_when_clickhouse_has_them() {
    let (data, spool, mail) = (TempDir::new().unwrap(), TempDir::new().unwrap(), TempDir::new().unwrap());
    for folder in ["new", "cur", "tmp"] {
        fs::create_dir(mail.path().join(folder)).unwrap();
    }
    let samples_dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/mailed/samples");
    for (name, sample) in [("1.report", "dmarc-zip.eml"), ("2.person", "person.eml"), ("3.bounce", "qmail.eml")] {
        fs::copy(samples_dir.join(sample), mail.path().join("new").join(name)).unwrap();
    }
    fs::write(mail.path().join("new/4.bomb"), "From: a@b.example\nDate: x\n\n<!DOCTYPE feedback []><feedback/>")
        .unwrap();
    let source = [
        "name = \"reports\"\npoll_s = 1\ndone = \"move\"\ndone_folder = \".Done\"\nmaildir = \"",
        mail.path().to_str().unwrap(),
        "\"\n",
    ];
    let source: SourceConfig = toml::from_str(&source.concat()).unwrap();
    assert_eq!(source.check(), []);

    // The intake is bound, but nobody serves it yet.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let shipping = shipping(spool.path(), "mx.reports", listener.local_addr().unwrap());
    let stop = CancellationToken::new();
    let collecting = tokio::spawn(collect::run(source, String::new(), shipping, stop.clone()));
    let segments = || {
        let folder = fs::read_dir(spool.path().join("mx.reports")).into_iter().flatten();
        folder.filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().ends_with(".segment")).count()
    };
    until("the rows are sealed", async || segments() > 0).await;
    let names = |folder: &str| {
        let mut names: Vec<String> = fs::read_dir(mail.path().join(folder))
            .into_iter()
            .flatten()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    };
    assert_eq!(names("new"), ["1.report", "2.person", "3.bounce", "4.bomb"], "nothing is touched before the 200");

    let engine = Engine::start(data.path()).await;
    let client = Client::new(&engine.url, "varde", "the-varde").unwrap();
    let serving = tokio::spawn(intake::serve_on(
        listener,
        KEY.into(),
        "default",
        client,
        intake::Upkeep::default(),
        stop.clone(),
    ));
    until("the reports are moved", async || names(".Done/cur") == ["1.report:2,S", "3.bounce:2,S"]).await;
    assert_eq!(names("new"), ["2.person", "4.bomb"], "what is no report stays, and so does what was refused");
    let full = engine.full().await;
    assert_eq!((count(&full, "dmarc_rows").await, count(&full, "bounces").await), (2, 3));

    // A copy that comes later is another message, and the same report.
    fs::copy(samples_dir.join("dmarc-zip.eml"), mail.path().join("new/5.copy")).unwrap();
    until("the copy is moved", async || names(".Done/cur").len() == 3).await;
    assert_eq!(count(&full, "dmarc_rows").await, 2);
    stop.cancel();
    collecting.await.unwrap().unwrap();
    serving.await.unwrap().unwrap();
}

#[tokio::test]
async fn the_migration_gives_an_older_database_what_reports_need() {
    let data = TempDir::new().unwrap();
    let engine = Engine::start(data.path()).await;
    let client = engine.full().await;
    schema::migrate(&client).await.unwrap();
    let trace = "SELECT count() FROM message_trace WHERE kind = 'bounce' FORMAT TabSeparated";
    assert_eq!(client.execute(trace, &[]).await.unwrap(), "0\n");
    let columns = "SELECT count() FROM system.columns WHERE table = 'dmarc_rows' AND name IN \
        ('envelope_to', 'dkim_result', 'spf_result') FORMAT TabSeparated";
    assert_eq!(client.execute(columns, &[]).await.unwrap(), "3\n");
}
