//! What `varde node` reads beside files, with the real binary, engine, journalctl and logger.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on should say where")]

mod support;

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use support::{Suite, VARDE, eventually};

const PATIENCE: Duration = Duration::from_secs(120);
const PORT: u16 = 5_514;
const OFFSET: u16 = 21_000;

/// Adds `more` to the configuration of a new folder.
fn configured(dir: &Path, more: &str) {
    assert!(Command::new(VARDE).args(["init", "--dir"]).arg(dir).status().unwrap().success());
    let file = dir.join("varde.toml");
    let text = std::fs::read_to_string(&file).unwrap().replace("mask = \"off\"", "mask = \"hash\"");
    std::fs::write(&file, text + more).unwrap();
}

fn journal(file: &Path, numbers: std::ops::Range<u64>) {
    let entry = |n: u64| {
        let at = 1_795_342_608_000_000 + n;
        format!(
            "__REALTIME_TIMESTAMP={at}\n__MONOTONIC_TIMESTAMP={at}\n_BOOT_ID=0123456789abcdef0123456789abcdef\n_HOSTNAME=mx\n\
             _SYSTEMD_UNIT=postfix@-.service\nSYSLOG_IDENTIFIER=postfix/smtp\n_PID=812\n\
             MESSAGE=4F{n:08X}: to=<ann@example.net>, relay=mx[192.0.2.7]:25, delay=1, delays=0/0/0/1, dsn=2.0.0, status=sent (250 ok)\n\n"
        )
    };
    let mut child = Command::new("/lib/systemd/systemd-journal-remote")
        .arg("-o")
        .arg(file)
        .arg("-")
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(numbers.map(entry).collect::<String>().as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
}

#[test]
fn the_journal_and_syslog_are_in_clickhouse_once_and_masked_although_the_node_is_killed() {
    let keep = tempfile::tempdir().unwrap();
    let (dir, folder) = (keep.path().join("suite"), keep.path().join("journal"));
    std::fs::create_dir(&folder).unwrap();
    let file = folder.join("mx.journal");
    journal(&file, 0..100);
    let more = format!(
        "\n[[node.log]]\njournald = true\nunit = [\"postfix*\"]\ndirectory = \"{}\"\n\n[[node.syslog]]\nlisten = \"tcp://127.0.0.1:{PORT}\"\n",
        folder.display()
    );
    configured(&dir, &more);
    let suite = Suite::start_in(dir, keep, OFFSET);
    let arrived = |source: &str, count: u64| {
        let sql = format!("select count(), uniqExact(event_id) from raw_lines where source like '{source}%'");
        eventually(&format!("{count} lines of {source}"), PATIENCE, || {
            (suite.sql(&sql) == format!("{count}\t{count}")).then_some(())
        });
    };
    arrived("journald:", 100);
    let port = (PORT + OFFSET).to_string();
    let log = |number: u32| {
        let text = format!(
            "4E{number:08X}: to=<ann@example.net>, relay=none, delay=1, delays=0/0/0/1, dsn=4.4.1, status=deferred (x)"
        );
        let args = [
            "--server",
            "127.0.0.1",
            "--port",
            &port,
            "--tcp",
            "--rfc5424",
            "--octet-count",
            "--id=812",
            "-t",
            "postfix/smtp",
        ];
        let sent = Command::new("logger").args(args).arg(text).stderr(Stdio::null()).status();
        sent.unwrap().success()
    };
    eventually("the listener", PATIENCE, || log(0).then_some(()));
    (1..20).for_each(|number| assert!(log(number)));
    arrived("syslog:tcp://127.0.0.1", 20);

    suite.signal("node", "-KILL");
    journal(&file, 100..150);
    arrived("journald:", 150);
    let users = "select uniqExact(rcpt_user), countIf(rcpt_user = 'ann'), countIf(rcpt_user like '~%'), count() from deliveries \
        where mta = 'postfix'";
    assert_eq!(suite.sql(users), "1\t0\t170\t170");
    assert_eq!(suite.sql("select countIf(line like '%ann%') from raw_lines where source like '%:%'"), "0");

    let output = suite.varde(&["schema", "--audit"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}
