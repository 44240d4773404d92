//! Reports that arrive at the bundled mail system are collected over IMAP, and marked once ClickHouse has them.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on should say where")]

mod support;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use support::{Suite, VARDE, eventually, python};

const OFFSET: u16 = 21_500;

/// Sends a file as a message, with the account's own addresses on the envelope.
const SEND: &str = r#"
import smtplib, ssl, sys
port, user, password, to, ca, name = sys.argv[1:7]
client = smtplib.SMTP("localhost", int(port), timeout=20)
client.starttls(context=ssl.create_default_context(cafile=ca))
client.login(user, password)
text = open(name, "rb").read().replace(b"From: noreply-dmarc@receiver.example", b"From: " + user.encode())
text = text.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
client.sendmail(user, [to], text)
client.quit()
"#;

/// How many messages of a folder are there, and how many of them are unseen.
const COUNT: &str = r#"
import imaplib, sys
port, user, password, folder = sys.argv[1:5]
client = imaplib.IMAP4("127.0.0.1", int(port))
client.login(user, password)
kind, _ = client.select(folder, readonly=True)
print(len(client.search(None, "SUBJECT", '"Report Domain"')[1][0].split()) if kind == "OK" else 0)
client.logout()
"#;

#[test]
fn a_report_in_a_mailbox_of_the_bundled_mail_system_becomes_rows_and_is_moved_away() {
    let keep = tempfile::tempdir().unwrap();
    let dir = keep.path().join("suite");
    assert!(Command::new(VARDE).args(["init", "--dir"]).arg(&dir).status().unwrap().success());
    let config = dir.join("varde.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    let source = r#"
[[aggregate.reports]]
name = "own"
done = "move"
done_folder = "Collected"
poll_s = 1

[aggregate.reports.imap]
host = "127.0.0.1"
port = 2993
server_name = "mx.varde.test"
trust = "tls/ca.pem"
user = "audit@varde.test"
password_file = "secrets/audit.password"
"#;
    std::fs::write(&config, [&text, source].concat()).unwrap();
    let suite = Suite::start_in(dir, keep, OFFSET);

    let password = std::fs::read_to_string(suite.dir.join("secrets/audit.password")).unwrap();
    let (user, password) = ("audit@varde.test", password.trim());
    let ca = suite.dir.join("tls/ca.pem");
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("aggregator/src/mailed/samples/dmarc-zip.eml");
    let submission = (2587 + OFFSET).to_string();
    for _ in 0..2 {
        python(SEND, &[&submission, user, password, user, ca.to_str().unwrap(), sample.to_str().unwrap()]);
    }
    let imap = (2143 + OFFSET).to_string();
    let collected = || python(COUNT, &[&imap, user, password, "Collected"]);
    eventually("both messages are moved", Duration::from_secs(120), || (collected() == "2").then_some(()));
    assert_eq!(python(COUNT, &[&imap, user, password, "INBOX"]), "0");
    let rows = suite.sql("select count(), sum(count), any(domain) from dmarc_rows final");
    assert_eq!(rows, "2\t19\texample.org", "the same report twice stands once");

    // The command line knows the same report.
    let output = suite.varde(&["import", "--json", sample.to_str().unwrap()]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(suite.sql("select count() from dmarc_rows final"), "2");
    let output = Command::new(VARDE).arg("parse").arg(&sample).output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    assert_eq!(printed.lines().filter(|line| line.starts_with(r#"{"table":"dmarc_rows""#)).count(), 2, "{printed}");
}
