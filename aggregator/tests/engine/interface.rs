//! ClickHouse's HTTP interface: what goes in, what comes out, how a refusal looks.

use std::io::Write;

use aggregator::clickhouse::{Client, Error};
use aggregator::event::{Event, Row, Session, Time};
use tempfile::tempdir;

use crate::support::{Engine, until};

async fn text(client: &Client, sql: &str) -> String {
    String::from_utf8(client.execute(sql, &[]).await.unwrap().into()).unwrap()
}

async fn refused(client: &Client, sql: &str) -> i32 {
    match client.execute(sql, &[]).await {
        Err(Error::Refused { code, .. }) => code,
        Err(other) => panic!("{sql}: {other}"),
        Ok(answer) => panic!("{sql} gave {} bytes", answer.len()),
    }
}

/// A frame of ClickHouse's own compression.
fn native_frame(plain: &[u8]) -> Vec<u8> {
    let packed = lz4_flex::block::compress(plain);
    let mut rest = vec![0x82];
    rest.extend((packed.len() as u32 + 9).to_le_bytes());
    rest.extend((plain.len() as u32).to_le_bytes());
    rest.extend(packed);
    let mut frame = cityhash_rs::cityhash_102_128(&rest).rotate_left(64).to_le_bytes().to_vec();
    frame.extend(rest);
    frame
}

#[tokio::test]
async fn events_go_in_as_a_native_block_and_come_out_as_json() {
    let dir = tempdir().unwrap();
    let engine = Engine::start(dir.path()).await;
    let client = engine.full().await;
    let columns: Vec<_> = Session::COLUMNS
        .iter()
        .map(|(name, kind)| [*name, " ", if *name == "protocol" { "LowCardinality(String)" } else { *kind }].concat())
        .collect();
    let create = ["CREATE TABLE sessions (", &columns.join(", "), ") ENGINE = MergeTree ORDER BY ts"].concat();
    client.execute(&create, &[]).await.unwrap();
    let sessions: Vec<Event> = (0..3_u64)
        .map(|n| {
            let row = Session {
                ts: Time::from_seconds(n as i64),
                protocol: "imap".into(),
                bytes_in: Some(n),
                ..Default::default()
            };
            row.into()
        })
        .collect();
    let mut block = Vec::new();
    assert_eq!(Event::write_block("sessions", &sessions, &mut block), 3);
    client.insert("INSERT INTO sessions FORMAT Native", &[], block.into()).await.unwrap();

    #[derive(Debug, PartialEq, serde::Deserialize)]
    struct Found {
        protocol: String,
        bytes: u64,
    }
    let rows: Vec<Found> = client
        .rows(
            "SELECT protocol, sum(bytes_in) AS bytes FROM sessions WHERE bytes_in >= {least:UInt64} GROUP BY protocol",
            &[("least", "1")],
        )
        .await
        .unwrap();
    assert_eq!(rows, [Found { protocol: "imap".into(), bytes: 3 }]);
}

#[tokio::test]
async fn inserts_come_in_every_form_that_clients_use() {
    let dir = tempdir().unwrap();
    let engine = Engine::start(dir.path()).await;
    let client = engine.full().await;
    text(&client, "CREATE TABLE t (a UInt32, s String) ENGINE = MergeTree ORDER BY a").await;
    text(&client, "INSERT INTO t (s, a) VALUES ('it''s', 1), ('\n\n;', 2)").await;
    text(&client, "INSERT INTO t FORMAT JSONEachRow {\"a\":3,\"s\":\"json\"}").await;
    text(&client, "INSERT INTO t SELECT 4, 'select'").await;
    client.insert("INSERT INTO t FORMAT CSV", &[], "5,\"a,b\"\n".into()).await.unwrap();
    client.insert("INSERT INTO t FORMAT RowBinary", &[], b"\x06\0\0\0\x01x"[..].into()).await.unwrap();
    let framed = native_frame(b"\x07\0\0\0\x03lz4");
    client.insert("INSERT INTO t FORMAT RowBinary", &[("decompress", "1")], framed.into()).await.unwrap();

    let post = |encoding: &'static str, body: Vec<u8>| {
        reqwest::Client::new()
            .post(&engine.url)
            .query(&[("database", "varde"), ("query", "INSERT INTO t FORMAT CSV")])
            .basic_auth("varde", Some("the-varde"))
            .header("content-encoding", encoding)
            .body(body)
            .send()
    };
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(b"8,gzip\n").unwrap();
    assert_eq!(post("gzip", gzip.finish().unwrap()).await.unwrap().status(), 200);
    assert_eq!(post("zstd", zstd::bulk::compress(b"9,zstd\n", 1).unwrap()).await.unwrap().status(), 200);
    let mut lz4 = lz4_flex::frame::FrameEncoder::new(Vec::new());
    lz4.write_all(b"10,frame\n").unwrap();
    assert_eq!(post("lz4", lz4.finish().unwrap()).await.unwrap().status(), 200);
    assert_eq!(post("gzip", b"no gzip".to_vec()).await.unwrap().status(), 400);

    let expected = "1\tit\\'s\n2\t\\n\\n;\n3\tjson\n4\tselect\n5\ta,b\n6\tx\n7\tlz4\n8\tgzip\n9\tzstd\n10\tframe\n";
    assert_eq!(text(&client, "SELECT * FROM t ORDER BY a").await, expected);
}

#[tokio::test]
async fn a_refusal_has_its_status_and_its_code() {
    let dir = tempdir().unwrap();
    let engine = Engine::start(dir.path()).await;
    let client = engine.full().await;
    assert_eq!(refused(&client, "SELECT * FROM none").await, 60);
    assert_eq!(refused(&client, "SELEC 1 2 3").await, 62);
    assert_eq!(refused(&client, "SELECT 1; SELECT 2").await, 62);
    assert_eq!(refused(&client, "INSERT INTO none FORMAT CSV\n1").await, 60);
    assert_eq!(refused(&client, "SELECT throwIf(1)").await, 395);
    assert_eq!(refused(&client.clone().with_database("none"), "SELECT 1").await, 81);
    assert_eq!(refused(&Client::new(&engine.url, "varde", "wrong").unwrap(), "SELECT 1").await, 516);
    assert!(matches!(client.execute("SELECT 1", &[("nope", "1")]).await, Err(Error::Refused { code: 115, .. })));

    let get = |query: &str, password: &str| {
        reqwest::Client::new()
            .get(&engine.url)
            .query(&[("query", query), ("user", "varde"), ("password", password)])
            .send()
    };
    assert_eq!(get("SELECT 1", "wrong").await.unwrap().status(), 403);
    let answer = get("SELECT * FROM none", "the-varde").await.unwrap();
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["x-clickhouse-exception-code"]),
        (404, &"60".parse().unwrap())
    );
    let answer = get("CREATE TABLE varde.t (a UInt8) ENGINE = Memory", "the-varde").await.unwrap();
    assert_eq!(answer.headers()["x-clickhouse-exception-code"], "164", "a link changes nothing");
}

#[tokio::test]
async fn an_exception_in_the_middle_of_an_answer_is_tagged_and_breaks_it_off() {
    let dir = tempdir().unwrap();
    let engine = Engine::start(dir.path()).await;
    let sql = "SELECT throwIf(number = 3000000) FROM numbers(4000000)";
    let mut answer =
        reqwest::Client::new().post(&engine.url).basic_auth("varde", Some("the-varde")).body(sql).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let tag = answer.headers()["x-clickhouse-exception-tag"].to_str().unwrap().to_owned();
    let mut got = Vec::new();
    let ended_well = loop {
        match answer.chunk().await {
            Ok(Some(piece)) => got.extend_from_slice(&piece),
            Ok(None) => break true,
            Err(_) => break false,
        }
    };
    assert!(!ended_well, "nobody may take the answer for whole");
    let got = String::from_utf8(got).unwrap();
    let (rows, block) = got.split_once("\r\n__exception__\r\n").unwrap();
    assert!(rows.lines().all(|row| row == "0") && !rows.is_empty());
    let message = block.strip_prefix(&tag).unwrap().strip_prefix("\r\nCode: 395. ").unwrap();
    assert!(message.ends_with(&[&tag, "\r\n__exception__\r\n"].concat()), "{message}");
}

#[tokio::test]
async fn answers_are_whole_in_pieces_or_at_once() {
    let dir = tempdir().unwrap();
    let engine = Engine::start(dir.path()).await;
    let client = engine.full().await;
    let binary = client
        .execute("SELECT number FROM numbers(300000)", &[("default_format", "RowBinaryWithNamesAndTypes")])
        .await
        .unwrap();
    assert_eq!(binary.len(), b"\x01\x06number\x06UInt64".len() + 300_000 * 8, "one head, every row");
    let json = text(&client, "SELECT number FROM numbers(100000) FORMAT JSONCompact").await;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["rows"], 100_000);
    assert_eq!(text(&client, "SELECT 1 WHERE 0").await, "");
    assert!(text(&client, "SHOW DATABASES").await.contains("varde\n"));
    let too_long = "SELECT repeat('x', 999000 + number) FROM numbers(300) FORMAT JSON";
    assert_eq!(refused(&client, too_long).await, 396);
}

#[tokio::test]
async fn parameters_come_in_the_url_or_in_a_form() {
    let dir = tempdir().unwrap();
    let engine = Engine::start(dir.path()).await;
    let form =
        multipart_form(&[("query", "SELECT {a:String} || {b:String}"), ("param_a", "x'); DROP"), ("param_b", "\\t")]);
    let answer = reqwest::Client::new()
        .post(&engine.url)
        .header("X-ClickHouse-User", "varde")
        .header("X-ClickHouse-Key", "the-varde")
        .header("content-type", form.0)
        .body(form.1)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.text().await.unwrap(), "x\\'); DROP\\t\n");
}

/// A `multipart/form-data` body, and its type.
fn multipart_form(fields: &[(&str, &str)]) -> (String, String) {
    let mut body = String::new();
    for (name, value) in fields {
        body.extend(["--limit\r\nContent-Disposition: form-data; name=\"", name, "\"\r\n\r\n", value, "\r\n"]);
    }
    ("multipart/form-data; boundary=limit".to_owned(), body + "--limit--\r\n")
}

#[tokio::test]
async fn tables_are_changed_moved_and_dropped_within_the_sandbox() {
    let dir = tempdir().unwrap();
    let engine = Engine::start(dir.path()).await;
    let client = engine.full().await;
    for statement in [
        "CREATE TABLE a (n UInt32) ENGINE = MergeTree ORDER BY n PARTITION BY n % 2",
        "CREATE TABLE b (n UInt32) ENGINE = MergeTree ORDER BY n PARTITION BY n % 2",
        "CREATE MATERIALIZED VIEW v TO b AS SELECT n FROM a WHERE n > 1",
        "INSERT INTO a VALUES (1), (2), (3)",
        "ALTER TABLE a ADD COLUMN s String DEFAULT 'x'",
        "ALTER TABLE a DELETE WHERE n = 3 SETTINGS mutations_sync = 1",
        "OPTIMIZE TABLE a FINAL",
        "DROP TABLE v SYNC",
        "ALTER TABLE a DROP COLUMN s",
        "ALTER TABLE a MOVE PARTITION 1 TO TABLE b",
        "ALTER TABLE a DETACH PARTITION 0",
        "ALTER TABLE a ATTACH PARTITION 0",
        "DETACH TABLE a",
        "ATTACH TABLE a",
        "EXCHANGE TABLES a AND b",
        "RENAME TABLE a TO c",
        "TRUNCATE TABLE b SYNC",
    ] {
        text(&client, statement).await;
    }
    assert_eq!(text(&client, "SELECT n FROM c ORDER BY n").await, "1\n2\n3\n");
    text(&client, "DROP DATABASE varde SYNC").await;
    assert_eq!(refused(&client, "SELECT 1").await, 81);
}

#[tokio::test]
async fn a_query_whose_client_has_gone_is_killed() {
    let dir = tempdir().unwrap();
    let engine = Engine::start(dir.path()).await;
    let client = engine.full().await;
    let running =
        "SELECT count() FROM system.processes WHERE query LIKE '%system.numbers%' AND query NOT LIKE '%processes%'";
    let endless = tokio::spawn({
        let client = client.clone();
        async move { client.execute("SELECT count() FROM system.numbers", &[]).await }
    });
    until("the endless query runs", async || text(&client, running).await == "1\n").await;
    endless.abort();
    until("the endless query is killed", async || text(&client, running).await == "0\n").await;
}
