//! What the read-only user must not be able to do.

use aggregator::clickhouse::{Client, Error};
use tempfile::tempdir;

use crate::support::Engine;

/// An engine with a table of our own and one that the read-only user may not see.
async fn prepared(dir: &std::path::Path) -> (Engine, Client) {
    let engine = Engine::start(dir).await;
    let full = engine.full().await;
    for statement in [
        "CREATE TABLE t (a UInt32) ENGINE = MergeTree ORDER BY a",
        "INSERT INTO t SELECT number FROM numbers(1000)",
        "CREATE DATABASE other",
        "CREATE TABLE other.secret (a UInt32) ENGINE = MergeTree ORDER BY a",
    ] {
        full.execute(statement, &[]).await.unwrap();
    }
    (engine, full)
}

async fn refusal(client: &Client, sql: &str, settings: &[(&str, &str)]) -> (i32, String) {
    match client.execute(sql, settings).await {
        Err(Error::Refused { code, message }) => (code, message),
        other => panic!("{sql} was not refused: {other:?}"),
    }
}

#[tokio::test]
async fn the_read_only_user_reads_the_tables() {
    let dir = tempdir().unwrap();
    let (engine, _full) = prepared(dir.path()).await;
    let read = async |sql: &str| {
        String::from_utf8(engine.sql().execute(sql, &[("readonly", "2")]).await.unwrap().into()).unwrap()
    };
    assert_eq!(read("SELECT count() FROM t").await, "1000\n");
    assert_eq!(read("WITH 1 AS x SELECT sum(a) + x FROM varde.t").await, "499501\n");
    assert_eq!(read("SHOW TABLES").await, "t\n");
    assert_eq!(read("SELECT name FROM system.columns WHERE table = 't'").await, "a\n");
    assert!(read("DESCRIBE t").await.starts_with("a\tUInt32"));
    assert!(read("EXPLAIN SELECT 1").await.contains("ReadFromSystemOne"));
}

#[tokio::test]
async fn the_read_only_user_changes_nothing() {
    let dir = tempdir().unwrap();
    let (engine, full) = prepared(dir.path()).await;
    let sql = engine.sql();
    for attack in [
        "INSERT INTO t VALUES (1)",
        "INSERT INTO t SELECT 1",
        "INSERT INTO FUNCTION file('x.csv') SELECT 1",
        "SELECT 1; DROP TABLE t",
        "SELECT 1;;DROP TABLE t",
        "SELECT 1 PARALLEL WITH DROP TABLE t",
        "DROP TABLE t",
        "ALTER TABLE t DELETE WHERE 1",
        "CREATE TABLE x (a UInt8) ENGINE = Memory",
        "CREATE TEMPORARY TABLE x (a UInt8)",
        "CREATE FUNCTION f AS x -> x",
        "KILL QUERY WHERE 1",
        "SET readonly = 0",
        "SET ROLE ALL",
        "USE other",
        "SYSTEM SHUTDOWN",
        "SELECT 1 INTO OUTFILE 'x.csv'",
        "BACKUP DATABASE varde TO File('x')",
        "OPTIMIZE TABLE t FINAL",
        "WITH x AS (SELECT 1) INSERT INTO t SELECT * FROM x",
    ] {
        let (code, message) = refusal(&sql, attack, &[]).await;
        assert!([164, 62, 497].contains(&code), "{attack}: {message}");
    }
    assert_eq!(full.execute("SELECT count(), sum(a) FROM t", &[]).await.unwrap(), "1000\t499500\n");
    assert!(!dir.path().join("x.csv").exists());
}

#[tokio::test]
async fn the_read_only_user_sees_no_file_no_network_and_nothing_of_others() {
    let dir = tempdir().unwrap();
    let (engine, full) = prepared(dir.path()).await;
    let sql = engine.sql();
    for attack in [
        "SELECT * FROM file('/etc/passwd', 'LineAsString')",
        "SELECT file('/etc/passwd')",
        "SELECT * APPLY(file) FROM (SELECT '/etc/passwd')",
        "SELECT file('/proc/self/environ')",
        "SELECT * FROM url('http://127.0.0.1:1/', 'LineAsString')",
        "SELECT * FROM s3('http://127.0.0.1:1/a/b', 'LineAsString')",
        "SELECT * FROM remote('127.0.0.1', 'system', 'one')",
        "SELECT * FROM executable('id', 'LineAsString', 'x String')",
        "SELECT * FROM sqlite('/etc/passwd', 'x')",
        "SELECT * FROM other.secret",
        "SELECT * FROM merge('other', 'secret')",
        "EXPLAIN SELECT * FROM other.secret",
        "SELECT * FROM system.users",
        "SELECT * FROM system.grants",
        "SELECT * FROM system.stack_trace",
    ] {
        refusal(&sql, attack, &[]).await;
    }
    for hidden in [
        "SELECT * FROM system.processes",
        "SHOW PROCESSLIST",
        "SELECT * FROM system.errors",
        "SELECT * FROM system.server_settings",
        "SELECT * FROM system.tables WHERE database = 'other'",
        "SELECT * FROM system.parts WHERE database = 'other'",
    ] {
        assert_eq!(sql.execute(hidden, &[]).await.unwrap(), "", "{hidden}");
    }
    // What a role allows, the kernel still refuses.
    let (_, message) = refusal(&full, "SELECT file('/etc/passwd')", &[]).await;
    assert!(message.contains("Permission denied"), "{message}");
    if kernel_bounds_connections() {
        let own = ["SELECT * FROM url('http://", &engine.listen.to_string(), "/ping', 'LineAsString')"].concat();
        refusal(&full, &own, &[]).await;
    }
}

/// Landlock knows TCP since Linux 6.7.
fn kernel_bounds_connections() -> bool {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let mut numbers = release.split(['.', '-']).map(|part| part.parse::<u32>().unwrap_or(0));
    (numbers.next(), numbers.next()) >= (Some(6), Some(7))
}

#[tokio::test]
async fn no_format_makes_the_engine_write_or_read_files_for_the_read_only_user() {
    let dir = tempdir().unwrap();
    let (engine, full) = prepared(dir.path()).await;
    let sql = engine.sql();
    let part = full.execute("SELECT path FROM system.parts WHERE active AND table = 't'", &[]).await.unwrap();
    let data = [std::str::from_utf8(&part).unwrap().trim(), "data.bin"].concat();
    let data = dir.path().join(data).to_string_lossy().into_owned();
    let before = std::fs::read(&data).unwrap();
    let users = dir.path().join("users.xml").to_string_lossy().into_owned();
    for (attack, settings) in [
        ("SELECT a FROM t FORMAT Protobuf", vec![("output_format_schema", data.as_str())]),
        ("SELECT a FROM t FORMAT Protobuf", vec![]),
        ("SELECT a FROM t FORMAT/* */Protobuf", vec![]),
        ("FROM t SELECT a FORMAT CapnProto", vec![]),
        ("VALUES (1) FORMAT Template", vec![]),
        ("SELECT a FROM t", vec![("default_format", "Protobuf"), ("output_format_schema", data.as_str())]),
        ("SELECT a FROM t", vec![("default_format", "Template"), ("format_template_resultset", users.as_str())]),
        ("SELECT a FROM t FORMAT Template", vec![("format_template_resultset", users.as_str())]),
        ("SELECT a FROM t FORMAT JSON", vec![("format_schema", users.as_str())]),
    ] {
        let (code, message) = refusal(&sql, attack, &settings).await;
        assert_eq!(code, 164, "{attack} with {settings:?}: {message}");
        assert!(!message.contains("<clickhouse>"), "{attack} shows a file");
    }
    assert_eq!(std::fs::read(&data).unwrap(), before, "a part is as it was");
}

#[tokio::test]
async fn what_a_read_only_user_asks_waits_behind_no_insert_and_holds_none_up() {
    let dir = tempdir().unwrap();
    let (engine, full) = prepared(dir.path()).await;
    let sql = engine.sql();
    // A read by another beginning than SELECT, as often as there are threads and more.
    let slow: Vec<_> = (0..6)
        .map(|_| {
            let sql = sql.clone();
            tokio::spawn(async move { sql.execute("FROM numbers(1) SELECT sleep(1.5)", &[]).await })
        })
        .collect();
    crate::support::until("they run", async || {
        full.execute("SELECT count() >= 4 FROM system.processes", &[]).await.unwrap() == "1\n"
    })
    .await;
    full.insert("INSERT INTO t FORMAT CSV", &[], "1\n".into()).await.unwrap();
    let done = slow.iter().filter(|task| task.is_finished()).count();
    assert!(done < slow.len(), "the insert waited for every one of them");
    for task in slow {
        task.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_read_only_user_sends_no_large_body() {
    let dir = tempdir().unwrap();
    let (engine, _full) = prepared(dir.path()).await;
    let bomb = zstd::encode_all(&vec![b' '; 64 << 20][..], 3).unwrap();
    let send = |user: &'static str, password: &'static str| {
        let request = reqwest::Client::new().post(&engine.url).basic_auth(user, Some(password));
        request.header("Content-Encoding", "zstd").body(bomb.clone()).send()
    };
    let answer = send("sql", "the-sql").await.unwrap().text().await.unwrap();
    assert!(answer.contains("the body is longer than 1 MiB"), "{answer}");
}

#[tokio::test]
async fn the_read_only_user_is_bounded_and_cannot_unbind_himself() {
    let dir = tempdir().unwrap();
    let (engine, _full) = prepared(dir.path()).await;
    let sql = engine.sql();
    for (attack, code) in [
        ("SELECT count() FROM system.numbers", 159),
        ("SELECT number FROM numbers(20000)", 396),
        ("SELECT repeat('x', 100000 + number) FROM numbers(200)", 396),
        ("SELECT groupArray(number) FROM numbers(1000000000)", 241),
        ("SELECT 1 SETTINGS max_execution_time = 0", 164),
        ("SELECT 1 SETTINGS readonly = 0", 164),
    ] {
        let (found, message) = refusal(&sql, attack, &[]).await;
        assert_eq!(found, code, "{attack}: {message}");
    }
    let raised = [("max_execution_time", "0"), ("max_result_rows", "1000000000")];
    assert_eq!(refusal(&sql, "SELECT number FROM numbers(20000)", &raised).await.0, 396);
    for setting in [("readonly", "0"), ("allow_ddl", "1"), ("result_overflow_mode", "break"), ("x = 1, readonly", "0")]
    {
        assert_eq!(refusal(&sql, "SELECT 1", &[setting]).await.0, 164, "{setting:?}");
    }
}
