//! `varde import` with the real engine: killed at bad moments, run again, and told what a message lived through.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on should say where")]

mod support;

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use support::{Suite, VARDE, eventually};

/// Messages in the log; each is an arrival, a delivery and an end.
const MESSAGES: u32 = 20_000;
/// How often the import is killed.
const KILLS: u64 = 4;

fn write_log(path: &Path) {
    let mut file = std::io::BufWriter::new(std::fs::File::create(path).unwrap());
    for number in 0..MESSAGES {
        let (minute, second) = (number / 60 % 60, number % 60);
        let at = format!("2026-11-{:02} {:02}:{minute:02}:{second:02}", 20 + number / 86_400, number / 3600 % 24);
        let id = format!("1r{number:04x}-0001Ab-2C").replace(' ', "0");
        let to = number % 7;
        writeln!(
            file,
            "{at} {id} <= ann@example.org H=mail.example.org [192.0.2.1] P=esmtp S=1000 id=m{number}@example.org\n\
             {at} {id} => bob@d{to}.example.net R=dnslookup T=remote_smtp H=mx.d{to}.example.net [198.51.100.7] \
             C=\"250 OK id=next{number}\" QT=1s\n\
             {at} {id} Completed QT=1s"
        )
        .unwrap();
    }
}

fn import(suite: &Suite, log: &Path) -> Command {
    let mut command = Command::new(VARDE);
    command.arg("import").arg("--dir").arg(&suite.dir).args(["--json", "--raw"]).arg(log);
    command
}

#[test]
fn an_import_that_is_killed_again_and_again_loses_nothing_and_doubles_nothing() {
    let suite = Suite::start(22_000);
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("mainlog");
    write_log(&log);
    for kill in 0..KILLS {
        let mut child = import(&suite, &log).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // Any instant will do; these spread over reading, sealing and shipping.
        std::thread::sleep(Duration::from_millis(300 + kill * 450));
        let _ = child.kill();
        child.wait().unwrap();
    }
    let output = import(&suite, &log).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let counts = suite.sql(
        "select count(), uniqExact(event_id), (select count() from receptions where mta = 'exim'), \
         (select count() from deliveries where mta = 'exim'), \
         (select uniqExact(trace_id) from deliveries where mta = 'exim') from raw_lines",
    );
    let lines = 3 * MESSAGES;
    assert_eq!(counts, format!("{lines}\t{lines}\t{MESSAGES}\t{MESSAGES}\t{MESSAGES}"));
    assert_eq!(suite.sql("select sum(attempts) from deliveries_1h where rcpt_domain like 'd%'"), MESSAGES.to_string());

    // The same log under another name, compressed.
    assert!(Command::new("gzip").arg(&log).status().unwrap().success());
    let output = import(&suite, &folder.path().join("mainlog.gz")).output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["files"][0]["state"], "known");
    assert_eq!(report["lines"], 0);

    let output = suite.varde(&["trace", "--json", "m1234@example.org"]);
    let steps: Value = serde_json::from_slice(&output.stdout).unwrap();
    let kinds: Vec<_> = steps.as_array().unwrap().iter().map(|step| step["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["reception", "delivery"], "{steps:#}");
    let output = suite.varde(&["trace", steps[0]["queue_id"].as_str().unwrap()]);
    let page = String::from_utf8(output.stdout).unwrap();
    for said in [
        "Message-ID m1234@example.org",
        "taken in from mail.example.org [192.0.2.1]",
        "delivered to bob@d2.example.net",
    ] {
        assert!(page.contains(said), "{said} is not in\n{page}");
    }
    let output = suite.varde(&["trace", "no-such-message"]);
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn a_log_that_the_node_follows_is_in_clickhouse_within_seconds_across_its_rotation() {
    let keep = tempfile::tempdir().unwrap();
    let (dir, log) = (keep.path().join("suite"), keep.path().join("mainlog"));
    assert!(Command::new(VARDE).args(["init", "--dir"]).arg(&dir).status().unwrap().success());
    let config = dir.join("varde.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    let follow = format!("\n[[node.log]]\npath = \"{}\"\ndialect = \"exim\"\n", log.display());
    std::fs::write(&config, text + &follow).unwrap();
    let line = |number: u32| format!("2026-11-22 10:00:{number:02} 1rfX{number:02}-0001Ab-2C Completed\n");
    std::fs::write(&log, line(1)).unwrap();

    let suite = Suite::start_in(dir, keep, 23_000);
    let arrived = |count: &str| {
        eventually(&format!("{count} lines"), Duration::from_secs(60), || {
            (suite.sql("select count() from raw_lines where dialect = 'exim'") == count).then_some(())
        });
    };
    arrived("1");
    std::fs::rename(&log, log.with_extension("1")).unwrap();
    std::fs::write(&log, line(2)).unwrap();
    arrived("2");
    suite.signal("node", "-KILL");
    std::fs::OpenOptions::new().append(true).open(&log).unwrap().write_all(line(3).as_bytes()).unwrap();
    arrived("3");
    // The import leaves to the node what it follows, and takes what it does not.
    let output = suite.varde(&["import", "--json", log.to_str().unwrap()]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["files"][0]["state"], "followed", "{report:#}");
    assert_eq!(suite.sql("select count(), uniqExact(event_id) from raw_lines where dialect = 'exim'"), "3\t3");
}
