//! What real senders send: `logger` of util-linux, and TLS by OpenSSL.

use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::task::JoinHandle;

use super::*;
use crate::dialect::Reading;
use crate::mask::{Mask, Masking};
use crate::source::tests::rows;
use crate::spool::Segment;

/// Listeners that hear, and where what they heard ends up.
struct Heard {
    spool: TempDir,
    addresses: Vec<SocketAddr>,
    stop: CancellationToken,
    task: JoinHandle<Result<(), Error>>,
}

impl Heard {
    async fn start(configs: &[&str], mask: Mask) -> Self {
        let spool = TempDir::new().unwrap();
        let shipping = Shipping {
            dir: spool.path().to_owned(),
            shipper: "syslog".into(),
            tenant: "default".into(),
            node: "mx1".into(),
            intake: "http://127.0.0.1:1".into(),
            key: String::new(),
            max_bytes: u64::MAX,
            mask,
        };
        let configs = configs.iter().map(|text| toml::from_str(text).unwrap()).collect();
        let bound = bind(configs, shipping).await.unwrap();
        let addresses = bound.addresses().unwrap();
        let stop = CancellationToken::new();
        let task = tokio::spawn(bound.run(stop.clone()));
        Self { spool, addresses, stop, task }
    }

    fn port(&self, number: usize) -> String {
        self.addresses[number].port().to_string()
    }

    /// Waits until `count` lines are on disk, ends, and gives them.
    async fn end(self, count: usize) -> Vec<(u128, String)> {
        let begun = Instant::now();
        while lines(&self.spool).len() < count {
            assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", lines(&self.spool));
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        self.stop.cancel();
        self.task.await.unwrap().unwrap();
        lines(&self.spool)
    }
}

/// Identity and text of every line in a sealed segment.
fn lines(spool: &TempDir) -> Vec<(u128, String)> {
    let mut names: Vec<_> = std::fs::read_dir(spool.path().join("syslog"))
        .into_iter()
        .flatten()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "segment"))
        .collect();
    names.sort();
    let of = |path: &Path| {
        let segment = Segment::open(path).unwrap();
        let raw = (0..segment.header.blocks.len()).filter(|index| segment.header.blocks[*index].table == "raw_lines");
        raw.flat_map(|index| rows(&segment, index)).collect::<Vec<_>>()
    };
    names.iter().flat_map(|path| of(path)).collect()
}

async fn run(program: &str, args: Vec<String>, input: &'static [u8]) -> std::process::Output {
    let program = program.to_owned();
    tokio::task::spawn_blocking(move || {
        let mut child = Command::new(program)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A peer that closes before it has read is a peer that closes.
        let _ = child.stdin.take().unwrap().write_all(input);
        child.wait_with_output().unwrap()
    })
    .await
    .unwrap()
}

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

#[tokio::test]
async fn what_logger_sends_in_every_form_is_on_disk_once_and_known_to_its_dialect() {
    let heard =
        Heard::start(&["listen = \"udp://127.0.0.1:0\"", "listen = \"tcp://127.0.0.1:0\""], Mask::default()).await;
    for (number, form) in [
        (0, "--udp --rfc3164"),
        (0, "--udp --rfc5424"),
        (1, "--tcp --rfc3164"),
        (1, "--tcp --rfc5424"),
        (1, "--tcp --rfc5424 --octet-count"),
    ] {
        let mut args = words(&format!(
            "--server 127.0.0.1 --port {} {form} --id=812 -p mail.info -t postfix/qmgr",
            heard.port(number)
        ));
        args.push("4F0A1B2C3D: removed".into());
        assert!(run("logger", args, b"").await.status.success());
    }
    let lines = heard.end(5).await;
    assert_eq!(lines.len(), 5, "{lines:?}");
    let entry = dialect::find("mail").unwrap();
    for (_, line) in &lines {
        let mut reader = Reader::new(entry, Clock::new(chrono_tz::Tz::UTC, Time::now()));
        assert!(line.contains("4F0A1B2C3D: removed"), "{line}");
        assert_eq!(reader.line(line.as_bytes(), &mut Vec::new()), Reading::Recognised, "{line}");
    }
    let mut ids: Vec<u128> = lines.iter().map(|(id, _)| *id).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 5);
    assert!(!ids.contains(&0));
}

/// A certificate for 127.0.0.1 that signs itself.
fn certificate(dir: &Path, name: &str) {
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".into()]).unwrap();
    std::fs::write(dir.join(format!("{name}.pem")), made.cert.pem()).unwrap();
    std::fs::write(dir.join(format!("{name}.key")), made.signing_key.serialize_pem()).unwrap();
}

#[tokio::test]
async fn tls_is_heard_and_where_client_certificates_are_asked_for_nobody_else() {
    let dir = TempDir::new().unwrap();
    certificate(dir.path(), "server");
    certificate(dir.path(), "client");
    let path = |name: &str| dir.path().join(name).display().to_string();
    let config = format!(
        "listen = \"tls://127.0.0.1:0\"\ncertificate = \"{}\"\nkey = \"{}\"\n",
        path("server.pem"),
        path("server.key")
    );
    let strict = format!("{config}client_ca = \"{}\"\n", path("client.pem"));
    let heard = Heard::start(&[&config, &strict], Mask::default()).await;
    let broken = Syslog::Broken.count();
    let client = |number: usize, more: &str| {
        let args = format!(
            "s_client -quiet -no_ign_eof -CAfile {} -connect 127.0.0.1:{}{more}",
            path("server.pem"),
            heard.port(number)
        );
        run("openssl", words(&args), b"34 <22>Nov 22 10:16:48 mx a[1]: first<22>Nov 22 10:16:48 mx a[1]: second\n")
    };
    client(0, "").await;
    client(1, "").await;
    client(1, &format!(" -cert {} -key {}", path("client.pem"), path("client.key"))).await;
    let lines = heard.end(4).await;
    let mut texts: Vec<&str> = lines.iter().map(|(_, line)| line.as_str()).collect();
    texts.sort_unstable();
    let [one, two] = ["<22>Nov 22 10:16:48 mx a[1]: first", "<22>Nov 22 10:16:48 mx a[1]: second"];
    assert_eq!(texts, [one, one, two, two]);
    assert!(Syslog::Broken.count() > broken, "the handshake without a certificate is counted");
}

#[tokio::test]
async fn a_sender_outside_allow_is_not_heard() {
    let others = "allow = [\"192.0.2.0/24\"]\n";
    let configs =
        [format!("{others}listen = \"udp://127.0.0.1:0\""), format!("{others}listen = \"tcp://127.0.0.1:0\"")];
    let heard = Heard::start(&[&configs[0], &configs[1], "listen = \"tcp://127.0.0.1:0\""], Mask::default()).await;
    let before = Syslog::NotAllowed.count();
    for (number, protocol) in [(0, "--udp"), (1, "--tcp"), (2, "--tcp")] {
        let args = words(&format!("--server 127.0.0.1 --port {} {protocol} hello-{number}", heard.port(number)));
        run("logger", args, b"").await;
    }
    let lines = heard.end(1).await;
    assert!(lines.len() == 1 && lines[0].1.ends_with("hello-2"), "{lines:?}");
    assert!(Syslog::NotAllowed.count() >= before + 2);
}

#[tokio::test]
async fn local_parts_are_masked_before_anything_is_on_disk() {
    let heard = Heard::start(&["listen = \"tcp://127.0.0.1:0\""], Mask::new(Masking::Drop, "")).await;
    let mut args = words(&format!("--server 127.0.0.1 --port {} --tcp --id=812 -t postfix/qmgr", heard.port(0)));
    args.push("4F0A1B2C3D: from=<somebody@example.org>, size=900, nrcpt=1 (queue active)".into());
    run("logger", args, b"").await;
    let lines = heard.end(1).await;
    assert!(lines[0].1.contains("from=<*@example.org>"), "{lines:?}");
}

#[test]
fn a_line_without_a_time_gets_ours_and_the_senders_address() {
    let reader = Reader::new(dialect::find("mail").unwrap(), Clock::new(chrono_tz::Tz::UTC, Time::default()));
    let now: Time = "2026-11-22T10:16:48Z".parse().unwrap();
    let check = |line: &str, expected: Option<&str>| {
        let found = completed(&reader, line.as_bytes(), [192, 0, 2, 7].into(), now);
        assert_eq!(found.map(|line| String::from_utf8(line).unwrap()).as_deref(), expected, "{line}");
    };
    check("<22>postfix/qmgr[812]: x", Some("<22>2026-11-22T10:16:48.000000Z 192.0.2.7 postfix/qmgr[812]: x"));
    check("x", Some("2026-11-22T10:16:48.000000Z 192.0.2.7 x"));
    check("<22>Nov 22 10:16:48 mx postfix/qmgr[812]: x", None);
    check("<22>1 2026-11-22T10:16:48Z mx postfix/qmgr 812 - - x", None);
}
