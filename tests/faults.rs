//! Our own mail system under its checks, with a fault in each stage: the step result names the stage.
//!
//! The same faults in Postfix and Dovecot are in `probes/tests/peers/faults.rs`. Nothing may be restarted here, so that
//! what is broken stays broken until it has been looked at.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on should say where")]

mod support;

use std::process::Command;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use serde_json::Value;
use support::{Suite, VARDE, eventually, python};

const OFFSET: u16 = 14_000;
const PATIENCE: Duration = Duration::from_secs(150);

/// Checks that a site has no need of: each sees one stage alone.
const BESIDE: &str = "
[[target.check]]
name = \"recipient\"
kind = \"smtp\"
service = \"recipient\"
cadence = \"audit\"
host = \"127.0.0.1\"
port = 2525
recipient = \"audit@varde.test\"

[[target.check]]
name = \"writes\"
kind = \"imap\"
service = \"writes\"
cadence = \"audit\"
host = \"127.0.0.1\"
port = 2993
server_name = \"mx.varde.test\"
tls = \"tls\"
account = \"audit@varde.test\"
write = true

[[target.check]]
name = \"submitted\"
kind = \"round_trip\"
service = \"submitted\"
cadence = \"audit\"
account = \"audit@varde.test\"
submission = \"submission\"
imap = \"imap\"
";

fn suite() -> Suite {
    let keep = tempfile::tempdir().unwrap();
    let dir = keep.path().join("suite");
    assert!(Command::new(VARDE).args(["init", "--dir"]).arg(&dir).status().unwrap().success());
    let file = dir.join("varde.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let nothing: Vec<String> = text
        .lines()
        .map(|line| {
            if line.starts_with("restarts_per_host_day") {
                "restarts_per_host_day = 0".to_owned()
            } else {
                line.to_owned()
            }
        })
        .collect();
    std::fs::write(&file, nothing.join("\n") + BESIDE).unwrap();
    Suite::start_in(dir, keep, OFFSET)
}

/// What a check sees now: its outcome, and the step that failed with its class.
fn probe(suite: &Suite, check: &str) -> (String, String) {
    let output = suite.varde(&["probe", "--json", "--check", check]);
    let seen: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    let steps = seen[0]["steps"].as_array().unwrap();
    let failed = steps.iter().find(|step| step["result"] == "failed");
    let failure =
        failed.map(|step| format!("{} {}", step["name"].as_str().unwrap(), step["error_class"].as_str().unwrap()));
    (seen[0]["outcome"].as_str().unwrap().to_owned(), failure.unwrap_or_default())
}

fn comes_to(suite: &Suite, check: &str, outcome: &str, failure: &str) {
    let mut last = None;
    let begun = std::time::Instant::now();
    while begun.elapsed() < PATIENCE {
        let seen = probe(suite, check);
        if (seen.0.as_str(), seen.1.as_str()) == (outcome, failure) {
            return;
        }
        last = Some(seen);
    }
    panic!("{check} does not come to {outcome} ({failure}); it saw {last:?}");
}

#[test]
fn a_fault_in_each_stage_of_our_own_mail_system_is_named_by_its_step() {
    let suite = suite();
    for check in ["mx", "submission", "queue", "imap", "pop3", "webmail"] {
        comes_to(&suite, check, "ok", "");
    }
    for (unit, check, failure) in [
        ("mail-mx", "mx", "banner timeout"),
        ("mail-submission", "submission", "banner timeout"),
        ("mail-imap", "imap", "tls timeout"),
        ("mail-pop3", "pop3", "tls timeout"),
        ("mail-web", "webmail", "load timeout"),
        ("mail-queue", "queue", "health timeout"),
    ] {
        suite.signal(unit, "-STOP");
        comes_to(&suite, check, "failed", failure);
        if unit == "mail-queue" {
            // Mail is still taken, and stays where it is.
            comes_to(&suite, "round-trip", "missing", "receive missing");
        }
        suite.signal(unit, "-CONT");
        comes_to(&suite, check, "ok", "");
    }
    a_full_mailbox(&suite);
    a_wrong_password(&suite);
    an_expired_certificate(&suite);
    suite.stop();
}

/// It is told where the message is offered, on each way, and nothing of it is stored.
fn a_full_mailbox(suite: &Suite) {
    let database = suite.dir.join("mail/mailboxes.db");
    let allow = |octets: &str| {
        let script = "import sqlite3, sys
database = sqlite3.connect(sys.argv[1], timeout=30)
with database:
    database.execute('UPDATE account SET quota_bytes = ?', [int(sys.argv[2])])";
        python(script, &[database.to_str().unwrap(), octets]);
    };
    for check in ["recipient", "writes", "submitted", "round-trip"] {
        comes_to(suite, check, "ok", "");
    }
    allow("0");
    for (check, failure) in [
        ("recipient", "rcpt quota"),
        ("writes", "append quota"),
        ("submitted", "send quota"),
        ("round-trip", "send rejected"),
        ("submission", ""),
    ] {
        let (outcome, seen) = probe(suite, check);
        let expected = if failure.is_empty() { "ok" } else { "failed" };
        assert_eq!((outcome.as_str(), seen.as_str()), (expected, failure), "{check}");
    }
    allow("1000000000");
    comes_to(suite, "round-trip", "ok", "");
}

fn a_wrong_password(suite: &Suite) {
    let file = suite.dir.join("secrets/audit.password");
    let right = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, "wrong\n").unwrap();
    for (check, failure) in [
        ("submission", "auth auth_failed"),
        ("imap", "login auth_failed"),
        ("pop3", "auth auth_failed"),
        ("webmail", "login auth_failed"),
        ("round-trip", "login auth_failed"),
    ] {
        let (outcome, seen) = probe(suite, check);
        assert_eq!((outcome.as_str(), seen.as_str()), ("failed", failure), "{check}");
    }
    std::fs::write(&file, right).unwrap();
}

fn an_expired_certificate(suite: &Suite) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, "the authority of the tests");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let mut params = CertificateParams::new(vec!["mx.varde.test".to_owned(), "localhost".to_owned()]).unwrap();
    (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1));
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, &authority).unwrap();
    std::fs::write(suite.dir.join("tls/ca.pem"), authority.pem()).unwrap();
    std::fs::write(suite.dir.join("tls/mail.pem"), certificate.pem()).unwrap();
    std::fs::write(suite.dir.join("tls/mail.key"), key.serialize_pem()).unwrap();
    for unit in ["mail-mx", "mail-submission", "mail-imap", "mail-pop3"] {
        let before = suite.pid(unit);
        suite.signal(unit, "-KILL");
        eventually(&format!("{unit} to be back"), PATIENCE, || {
            let now = suite.pid(unit);
            (now != 0 && now != before).then_some(())
        });
    }
    for check in ["mx", "submission", "imap", "pop3"] {
        comes_to(suite, check, "failed", "tls certificate_expired");
    }
}
