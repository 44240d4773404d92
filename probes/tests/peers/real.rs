//! Kinds against a real Postfix and Dovecot.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use aggregator::event::ProbeOutcome;
use axum::Router;
use axum::extract::Multipart;
use axum::response::{Html, Redirect};
use axum::routing::get;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::bench::{Bench, check};
use super::certificates::{Authority, NAME};
use super::web;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/peers/peers.sh");
const PORTS: [&str; 11] =
    ["SMTP", "SUBMISSION", "SUBMISSIONS", "IMAP", "IMAPS", "POP3", "POP3S", "LMTP", "SASL", "SIEVE", "QUOTA"];

/// A private Postfix and Dovecot, stopped when this is dropped, or when this process ends.
pub struct Peers {
    pub bench: Bench,
    ports: [u16; PORTS.len()],
}

impl Peers {
    pub fn start() -> Self {
        Self::start_until(2100)
    }

    /// The same, with a certificate that ends in that year.
    pub fn start_until(year: i32) -> Self {
        let bench = Bench::new();
        let authority = Authority::new();
        bench.trust(&authority.pem());
        let (certificate, key) = authority.issue(NAME, year);
        std::fs::create_dir(bench.path().join("tls")).unwrap();
        std::fs::write(bench.path().join("tls/cert.pem"), certificate.pem()).unwrap();
        std::fs::write(bench.path().join("tls/key.pem"), key.serialize_pem()).unwrap();
        let held = PORTS.map(|_| TcpListener::bind("127.0.0.1:0").unwrap());
        let ports = held.each_ref().map(|listener| listener.local_addr().unwrap().port());
        drop(held);
        let peers = Self { bench, ports };
        let output = Command::new(SCRIPT)
            .args(["start".as_ref(), peers.bench.path().as_os_str()])
            .arg(std::process::id().to_string())
            .envs(PORTS.into_iter().zip(ports.map(|port| port.to_string())))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success(),
            "Postfix and Dovecot did not start: {said}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        peers
    }

    pub fn port(&self, name: &str) -> u16 {
        self.ports[PORTS.iter().position(|known| *known == name).unwrap()]
    }

    /// The checks of the configuration, with a round trip of this account at their end.
    pub fn checks(&self, account: &str) -> String {
        let mut checks = format!("[[account]]\naddress = \"{account}\"\npassword_file = \"password\"\n");
        for (kind, port, tls) in
            [("submission", "SUBMISSION", "starttls"), ("imap", "IMAPS", "tls"), ("pop3", "POP3S", "tls")]
        {
            checks += &check(kind, self.port(port), &format!("tls = \"{tls}\""));
        }
        checks += "[[check]]\nname = \"round-trip\"\nkind = \"round_trip\"\nservice = \"round_trip\"\ncadence = \"audit\"\n\
                   submission = \"submission\"\nimap = \"imap\"\npop3 = \"pop3\"\naccount = \"audit@example.test\"\n";
        checks.replace("audit@example.test", account)
    }

    /// How many messages lie in an account's mailboxes.
    pub fn messages(&self, user: &str) -> usize {
        fn count(dir: &Path) -> usize {
            let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
            entries
                .map(
                    |path| {
                        if path.is_dir() { count(&path) } else { usize::from(path.parent().is_some_and(is_messages)) }
                    },
                )
                .sum()
        }
        fn is_messages(dir: &Path) -> bool {
            dir.ends_with("cur") || dir.ends_with("new")
        }
        count(&self.bench.path().join("dovecot/mail").join(user))
    }
}

impl Drop for Peers {
    fn drop(&mut self) {
        let stopped = Command::new(SCRIPT).arg("stop").arg(self.bench.path()).stdout(Stdio::null()).status();
        assert!(stopped.is_ok_and(|status| status.success()), "Postfix and Dovecot may still run");
    }
}

#[tokio::test]
async fn postfix_and_dovecot_pass_the_light_checks() {
    let peers = Peers::start();
    let bench = &peers.bench;
    let recipient = "recipient = \"audit@example.test\"";
    let seen = bench.check("smtp", peers.port("SMTP"), &format!("tls = \"starttls\"\n{recipient}")).await;
    seen.is_ok("tcp banner ehlo tls ehlo_tls rcpt quit");
    let nobody = "recipient = \"nobody@example.test\"";
    bench.check("smtp", peers.port("SMTP"), nobody).await.failed("rcpt rejected");
    let seen = bench.check("submission", peers.port("SUBMISSION"), "tls = \"starttls\"").await;
    seen.is_ok("tcp banner ehlo tls ehlo_tls auth quit");
    let seen = bench.check("submission", peers.port("SUBMISSIONS"), "tls = \"tls\"").await;
    seen.is_ok("tcp tls banner ehlo auth quit");
    let seen = bench.check("imap", peers.port("IMAPS"), "tls = \"tls\"").await;
    seen.is_ok("tcp tls banner login select search logout");
    let seen = bench.check("imap", peers.port("IMAP"), "tls = \"starttls\"").await;
    seen.is_ok("tcp banner tls login select search logout");
    bench.check("pop3", peers.port("POP3S"), "tls = \"tls\"").await.is_ok("tcp tls banner auth stat quit");
    bench.check("pop3", peers.port("POP3"), "tls = \"starttls\"").await.is_ok("tcp banner tls auth stat quit");

    std::fs::write(bench.path().join("password"), "wrong").unwrap();
    let slow_refusal = "tls = \"tls\"\ntimeout_ms = 20000";
    bench.check("submission", peers.port("SUBMISSIONS"), slow_refusal).await.failed("auth auth_failed");
    bench.check("imap", peers.port("IMAPS"), slow_refusal).await.failed("login auth_failed");
    bench.check("pop3", peers.port("POP3S"), slow_refusal).await.failed("auth auth_failed");
}

#[tokio::test]
async fn a_message_goes_round_through_postfix_and_dovecot_and_leaves_nothing_behind() {
    let mut peers = Peers::start();
    // That it is late is not what is asked here.
    peers.bench.receive_objective = Duration::from_secs(60);
    let seen = peers.bench.run(&peers.checks("audit@example.test")).await;
    seen.is_ok("imap send receive search folder fetch pop3 cleanup");
    assert!(seen.note("fetch").contains("hops: "), "{}", seen.note("fetch"));
    assert_eq!(peers.messages("audit"), 0);
    assert!(!peers.bench.path().join("dovecot/mail/audit/Maildir/.Varde probe").exists());
}

#[tokio::test]
async fn a_round_trip_begins_in_the_webmail_and_goes_on_by_submission() {
    let mut peers = Peers::start();
    peers.bench.receive_objective = Duration::from_secs(60);
    let port = web::serve(web::webmail().merge(compose(peers.port("SMTP")))).await;
    let webmail = format!(
        "[[check]]\nname = \"webmail\"\nkind = \"webmail\"\nservice = \"webmail\"\ncadence = \"light\"\n\
         url = \"http://127.0.0.1:{port}/\"\n{}\n",
        web::WEBMAIL
    );
    let checks = peers.checks("audit@example.test");
    let (others, round_trip) = checks.split_at(checks.rfind("[[check]]").unwrap());
    let seen = peers.bench.run(&format!("{others}{webmail}{round_trip}webmail = \"webmail\"\n")).await;
    seen.is_ok("login imap send receive submit receive_2 search folder fetch pop3 cleanup");
    assert_eq!(peers.messages("audit"), 0);
}

/// The page of a webmail on which a message is written; it is sent to the Postfix on this port.
fn compose(port: u16) -> Router {
    const FORM: &str = r#"<form action="/compose" method="post" enctype="multipart/form-data">
        <input type=hidden name=csrf value=c3><input name=to><input name=subject><textarea name=text></textarea>
        <input type=file name=attachment></form>"#;
    let send = move |mut form: Multipart| async move {
        let mut fields = std::collections::BTreeMap::new();
        while let Some(field) = form.next_field().await.unwrap() {
            fields.insert(field.name().unwrap().to_owned(), field.text().await.unwrap());
        }
        assert_eq!(fields["csrf"], "c3");
        let (to, subject, text) = (&fields["to"], &fields["subject"], fields["text"].replace('\n', "\r\n"));
        let mut smtp = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let session = format!(
            "EHLO web\r\nMAIL FROM:<{to}>\r\nRCPT TO:<{to}>\r\nDATA\r\nFrom: {to}\r\nSubject: {subject}\r\n\r\n{text}\r\n.\r\nQUIT\r\n"
        );
        smtp.write_all(session.as_bytes()).await.unwrap();
        let mut said = String::new();
        smtp.read_to_string(&mut said).await.unwrap();
        assert!(said.contains("queued as"), "{said}");
        Redirect::to("/folders/INBOX")
    };
    Router::new().route("/compose", get(|| async { Html(FORM) }).post(send))
}

#[tokio::test]
async fn spam_duplicate_and_missing_are_told_apart() {
    let mut peers = Peers::start();
    peers.bench.receive_objective = Duration::from_secs(60);
    let seen = peers.bench.run_as("run-2", &peers.checks("spam@example.test")).await;
    assert_eq!((seen.outcome(), seen.failure().as_str()), (ProbeOutcome::Spam, ""), "{:#?}", seen.0);
    assert_eq!(seen.note("receive"), "it was put into Junk");
    assert_eq!(peers.messages("spam"), 0);

    let seen = peers.bench.run_as("run-3", &peers.checks("twice@example.test")).await;
    assert_eq!((seen.outcome(), seen.failure().as_str()), (ProbeOutcome::Duplicate, ""), "{:#?}", seen.0);
    assert_eq!(peers.messages("twice"), 0);

    peers.bench.receive_objective = Duration::from_millis(400);
    let seen = peers.bench.run_as("run-4", &peers.checks("lost@example.test")).await;
    assert_eq!((seen.outcome(), seen.failure().as_str()), (ProbeOutcome::Missing, "receive missing"), "{:#?}", seen.0);
    // What can be cleaned up is, although the run failed.
    assert_eq!(seen.steps(), "imap send receive! search? folder? fetch? pop3? cleanup");
}
