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
