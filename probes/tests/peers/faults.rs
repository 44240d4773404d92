//! The whole chain of a real Postfix and Dovecot, with a fault in each stage of it: the step result names the stage.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use aggregator::event::{ProbeOutcome, Time};
use probes::kind::{Awaited, Finding};

use super::bench::{Seen, check};
use super::real::Peers;

/// Long enough for a server that is asked on a busy machine, short enough to wait for one that never answers.
const STOPPED: &str = "timeout_ms = 3000";
const PATIENT: &str = "tls = \"tls\"\ntimeout_ms = 30000";

/// Every process of a server, stopped: the kernel goes on taking connections. They go on when this is dropped.
struct Stopped(Vec<String>);

impl Stopped {
    fn all_below(pid_file: &Path) -> Self {
        let master = std::fs::read_to_string(pid_file).unwrap().trim().to_owned();
        let mut pids = vec![master];
        let mut known = 0;
        // The master first, so that it starts no others.
        while known < pids.len() {
            signal("-STOP", &pids[known..=known]);
            let output = Command::new("ps").args(["-o", "pid=", "--ppid", &pids[known]]).output().unwrap();
            pids.extend(String::from_utf8_lossy(&output.stdout).split_whitespace().map(str::to_owned));
            known += 1;
        }
        Self(pids)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        signal("-CONT", &self.0);
    }
}

fn signal(name: &str, pids: &[String]) {
    // One that has ended meanwhile is no matter.
    let _ = Command::new("kill").arg(name).args(pids).output();
}

impl Peers {
    fn postfix(&self, program: &str, args: &[&str]) {
        let folder = self.bench.path().join("postfix/etc");
        let output = Command::new(program).arg("-c").arg(folder).args(args).output().unwrap();
        assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// The round trip from `audit@` to another account of the same system.
    fn trip_to(&self, to: &str) -> String {
        let account = format!("[[account]]\naddress = \"{to}\"\npassword_file = \"password\"\n");
        format!("{account}{}to = \"{to}\"\n", self.checks("audit@example.test"))
            .replace("kind = \"imap\"", "kind = \"imap\"\ntimeout_ms = 20000")
    }

    async fn trip(&mut self, run_id: &str, to: &str) -> Seen {
        let checks = self.trip_to(to);
        self.bench.run_as(run_id, &checks).await
    }
}

#[tokio::test]
async fn a_stopped_process_is_named_by_the_stage_at_which_it_is_silent() {
    let peers = Peers::start();
    let dovecot = Stopped::all_below(&peers.bench.path().join("dovecot/run/master.pid"));
    let ask =
        async |kind, port, more: &str| peers.bench.check(kind, peers.port(port), &format!("{STOPPED}\n{more}")).await;
    ask("imap", "IMAPS", "tls = \"tls\"").await.failed("tls timeout");
    ask("imap", "IMAP", "").await.failed("banner timeout");
    ask("pop3", "POP3", "").await.failed("banner timeout");
    ask("managesieve", "SIEVE", "").await.failed("banner timeout");
    drop(dovecot);
    let _postfix = Stopped::all_below(&peers.bench.path().join("postfix/spool/pid/master.pid"));
    ask("smtp", "SMTP", "").await.failed("banner timeout");
    ask("submission", "SUBMISSIONS", "tls = \"tls\"").await.failed("tls timeout");
}

#[tokio::test]
async fn an_expired_certificate_is_named_by_every_kind() {
    let peers = Peers::start_until(2021);
    let ask =
        async |kind, port, tls: &str| peers.bench.check(kind, peers.port(port), &format!("tls = \"{tls}\"")).await;
    for (kind, port, tls) in [
        ("smtp", "SMTP", "starttls"),
        ("submission", "SUBMISSION", "starttls"),
        ("submission", "SUBMISSIONS", "tls"),
        ("imap", "IMAPS", "tls"),
        ("imap", "IMAP", "starttls"),
        ("pop3", "POP3S", "tls"),
        ("managesieve", "SIEVE", "starttls"),
        ("tls", "IMAPS", "none"),
    ] {
        let seen = ask(kind, port, tls).await;
        seen.failed("tls certificate_expired");
        assert!(seen.detail().contains("2021-01-01"), "{}", seen.detail());
    }
}

#[tokio::test]
async fn a_password_back_end_that_fails_is_told_from_a_wrong_password() {
    let peers = Peers::start();
    let users = peers.bench.path().join("dovecot/users");
    // Dovecot reads the file again because it has changed, and may not.
    std::fs::File::options().write(true).open(&users).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
    std::fs::set_permissions(&users, std::fs::Permissions::from_mode(0o000)).unwrap();
    let ask = async |kind, port| peers.bench.check(kind, peers.port(port), PATIENT).await;
    ask("imap", "IMAPS").await.failed("login auth_temporary");
    ask("pop3", "POP3S").await.failed("auth auth_temporary");
    // Postfix 3.7 makes 535 of both, or 454 when Dovecot closes the connection over it; the stage is right either way.
    let seen = ask("submission", "SUBMISSIONS").await;
    let failure = seen.failure();
    assert!(["auth auth_failed", "auth auth_temporary"].contains(&failure.as_str()), "{failure}: {}", seen.detail());
}

#[tokio::test]
async fn a_full_mailbox_and_a_greylisted_one_fail_at_the_sending() {
    let mut peers = Peers::start();
    let recipient = |who: &str| format!("recipient = \"{who}@example.test\"");
    peers.bench.check("smtp", peers.port("SMTP"), &recipient("full")).await.failed("rcpt quota");
    peers.bench.check("smtp", peers.port("SMTP"), &recipient("grey")).await.failed("rcpt deferred");
    peers.bench.receive_objective = Duration::from_secs(60);
    let seen = peers.trip("full-1", "full@example.test").await;
    seen.failed("send quota");
    assert!(seen.detail().contains("552 5.2.2"), "{}", seen.detail());
    let seen = peers.trip("grey-1", "grey@example.test").await;
    seen.failed("send deferred");
    assert!(seen.detail().contains("450 4.2.0"), "{}", seen.detail());

    let account = "[[account]]\naddress = \"full@example.test\"\npassword_file = \"password\"\n";
    let imap = check("imap", peers.port("IMAPS"), &format!("write = true\n{PATIENT}"));
    let full = format!("{account}{imap}").replace("audit@example.test", "full@example.test");
    peers.bench.run(&full).await.failed("append quota");
    assert_eq!(peers.messages("full"), 1);
}

/// A message is held, so that its run says `missing`; it is let go, and the next run finds it and says how late it is.
#[tokio::test]
async fn a_held_message_is_missing_and_then_late_by_its_true_delay() {
    let mut peers = Peers::start();
    peers.bench.receive_objective = Duration::from_millis(300);
    let ts = Time::now();
    let seen = peers.trip("held-1", "held@example.test").await;
    assert_eq!((seen.outcome(), seen.failure().as_str()), (ProbeOutcome::Missing, "receive missing"), "{:#?}", seen.0);
    assert_eq!(seen.0.findings, []);

    peers.postfix("postsuper", &["-H", "ALL"]);
    peers.postfix("postqueue", &["-f"]);
    let begun = std::time::Instant::now();
    while peers.messages("held") == 0 {
        assert!(begun.elapsed() < Duration::from_secs(60), "the message that was let go does not come");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    peers.bench.awaited = vec![Awaited { run_id: "held-1".to_owned(), ts }];
    let seen = peers.trip("held-2", "held@example.test").await;
    assert_eq!(seen.failure(), "receive missing", "{:#?}", seen.0);
    // This one is held as well: what it found of the first is told although it failed.
    let [Finding::Late { run_id, ts: of, delay_ms, folder }] = seen.0.findings.as_slice() else {
        panic!("{:#?}", seen.0)
    };
    assert_eq!((run_id.as_str(), *of, folder.as_str()), ("held-1", ts, "INBOX"));
    let most = Time::now().millis_since(ts);
    assert!(*delay_ms <= most, "{delay_ms} of {most}");
    assert_eq!(peers.messages("held"), 0);
}

#[tokio::test]
async fn a_message_goes_from_an_account_of_one_target_to_that_of_another() {
    let mut peers = Peers::start();
    peers.bench.receive_objective = Duration::from_secs(60);
    let there = check("imap", peers.port("IMAPS"), "tls = \"tls\"\ntimeout_ms = 20000");
    let account = "[[account]]\naddress = \"other@example.test\"\npassword_file = \"password\"\n";
    let mut receiver = peers.bench.target(&format!("{account}{there}"));
    receiver.name = "there".to_owned();
    peers.bench.receiver = Some(receiver);
    let checks = peers.checks("audit@example.test").replace("pop3 = \"pop3\"\n", "");
    let seen = peers.bench.run(&format!("{checks}to = \"other@example.test\"\nto_target = \"there\"\n")).await;
    seen.is_ok("imap send receive search folder fetch cleanup");
    assert!(seen.note("fetch").contains("hops: "), "{}", seen.note("fetch"));
    assert_eq!((peers.messages("other"), peers.messages("audit")), (0, 0));
}

#[tokio::test]
async fn without_imap_the_message_is_awaited_by_pop3() {
    let mut peers = Peers::start();
    peers.bench.receive_objective = Duration::from_secs(60);
    let checks = peers.checks("audit@example.test").replace("imap = \"imap\"\n", "");
    peers.bench.run(&checks).await.is_ok("pop3 send receive fetch cleanup");
    assert_eq!(peers.messages("audit"), 0);
}

/// What a crash left behind goes when it is old; what only looks like it stays for ever.
#[tokio::test]
async fn only_old_messages_of_probes_are_swept() {
    let mut peers = Peers::start();
    peers.bench.receive_objective = Duration::from_secs(60);
    let folder = peers.bench.path().join("dovecot/mail/audit/Maildir");
    for part in ["cur", "new", "tmp"] {
        std::fs::create_dir_all(folder.join(part)).unwrap();
    }
    let header =
        |run: &str| format!("Subject: Varde probe {run} submission\r\nX-Varde-Probe: {run} sent=1\r\n\r\nx\r\n");
    let put = |name: &str, text: &str, hours: u64| {
        let path = folder.join("cur").join(format!("{name}:2,S"));
        std::fs::write(&path, text).unwrap();
        // Dovecot takes the file's time as that of arrival.
        let at = std::time::SystemTime::now() - Duration::from_secs(hours * 3_600);
        std::fs::File::options().write(true).open(&path).unwrap().set_modified(at).unwrap();
    };
    put("1.old", &header("crashed-1"), 7);
    put("2.young", &header("running-1"), 1);
    put("3.mine", "Subject: Varde probe results of today\r\n\r\nMy own notes.\r\n", 7);
    put("4.forged", "Subject: Varde probe run-9 submission\r\n\r\nNo header, no mark.\r\n", 7);
    let owned = Command::new("chown").args(["-R", "mail:mail"]).arg(folder.parent().unwrap()).status().unwrap();
    assert!(owned.success());
    let seen = peers.bench.run_as("sweeper", &peers.checks("audit@example.test")).await;
    assert_eq!(seen.failure(), "", "{:#?}", seen.0);
    let mut left: Vec<String> = std::fs::read_dir(folder.join("cur"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy()[..3].to_owned())
        .collect();
    left.sort();
    assert_eq!(left, ["2.y", "3.m", "4.f"]);
}

#[tokio::test]
async fn managesieve_imap_and_every_mechanism_of_real_servers_work() {
    let peers = Peers::start();
    let bench = &peers.bench;
    let sieve = "tls = \"starttls\"\nwrite = true\ntimeout_ms = 20000";
    let seen = bench.check("managesieve", peers.port("SIEVE"), sieve).await;
    seen.is_ok("tcp banner tls auth list space check put delete logout");
    assert_eq!((seen.note("auth"), seen.note("list")), ("SCRAM-SHA-256", "0 scripts, active: none"));
    let seen = bench.check("managesieve", peers.port("SIEVE"), sieve).await;
    assert_eq!(seen.note("list"), "0 scripts, active: none", "the script of the run before is gone");

    let imap = format!("write = true\n{PATIENT}");
    let seen = bench.check("imap", peers.port("IMAPS"), &imap).await;
    seen.is_ok("tcp tls banner login select append idle fetch delete quota search logout");
    assert_eq!(seen.note("idle"), "");
    assert!(seen.note("quota").ends_with("of 102400 KiB used"), "{}", seen.note("quota"));
    assert_eq!(peers.messages("audit"), 0);

    let every = format!("every_mechanism = true\n{PATIENT}");
    let seen = bench.check("submission", peers.port("SUBMISSIONS"), &every).await;
    seen.is_ok("tcp tls banner ehlo auth quit auth_scram_sha_1 auth_plain auth_login");
    assert_eq!(seen.note("auth"), "SCRAM-SHA-256");
}
