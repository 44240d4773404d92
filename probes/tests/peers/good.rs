//! Kinds against peers that behave, and peers that refuse as they may.

use super::bench::Bench;
use super::certificates::{Authority, NAME};
use super::scripted::{Peer, Script};

const SMTP: Script = &[("EHLO", "250-mx\r\n250 AUTH PLAIN\r\n"), ("AUTH", "235 2.7.0 in\r\n"), ("QUIT", "221 bye\r\n")];

const IMAP: Script = &[
    ("CAPABILITY", "* CAPABILITY IMAP4rev1 IDLE\r\n{tag} OK\r\n"),
    ("LOGIN \"audit@example.test\" \"secret-7\"", "{tag} OK in\r\n"),
    ("SELECT \"INBOX\"", "* 2 EXISTS\r\n* OK [X {3}\r\nabc] odd\r\n{tag} OK\r\n"),
    ("SEARCH", "* SEARCH 1\r\n{tag} OK\r\n"),
    ("LOGOUT", "* BYE\r\n{tag} OK\r\n"),
];

const POP3: Script = &[
    ("USER audit@example.test", "+OK\r\n"),
    ("PASS secret-7", "+OK\r\n"),
    ("STAT", "+OK 3 1200\r\n"),
    ("QUIT", "+OK\r\n"),
];

#[tokio::test]
async fn an_mx_that_answers_is_ok_with_every_step_in_order() {
    let peer = Peer::script("220-mx\r\n220 ESMTP\r\n", SMTP).await;
    Bench::new().check("smtp", peer.port, "").await.is_ok("tcp banner ehlo quit");
}

#[tokio::test]
async fn an_mx_that_refuses_or_defers_the_recipient_is_told_apart() {
    let refusing: Script = &[("EHLO", "250 mx\r\n"), ("MAIL", "250 ok\r\n"), ("RCPT", "550 5.1.1 who?\r\n")];
    let seen = Bench::new().check("smtp", Peer::script("220 mx\r\n", refusing).await.port, "").await;
    seen.failed("quit closed");
    let peer = Peer::script("220 mx\r\n", refusing).await;
    let seen = Bench::new().check("smtp", peer.port, "recipient = \"a@example.test\"").await;
    seen.failed("rcpt rejected");
    let port = peer.port;
    assert_eq!(
        seen.detail(),
        format!("RCPT TO:<a@example.test> at 127.0.0.1:{port}: after RCPT TO, the server replied 550 5.1.1 who?")
    );
    let deferring: Script = &[("EHLO", "250 mx\r\n"), ("MAIL", "250 ok\r\n"), ("RCPT", "450 4.2.0 greylisted\r\n")];
    let peer = Peer::script("220 mx\r\n", deferring).await;
    Bench::new().check("smtp", peer.port, "recipient = \"a@example.test\"").await.failed("rcpt deferred");
    let full: Script = &[("EHLO", "250 mx\r\n"), ("MAIL", "250 ok\r\n"), ("RCPT", "452 4.2.2 full\r\n")];
    let peer = Peer::script("220 mx\r\n", full).await;
    Bench::new().check("smtp", peer.port, "recipient = \"a@example.test\"").await.failed("rcpt quota");
    let peer = Peer::script("554 5.7.1 go away\r\n", &[]).await;
    Bench::new().check("smtp", peer.port, "").await.failed("banner greeting_refused");
}

#[tokio::test]
async fn starttls_goes_on_over_a_certificate_that_is_trusted() {
    let (authority, bench) = (Authority::new(), Bench::new());
    bench.trust(&authority.pem());
    let before: Script = &[("EHLO", "250-mx\r\n250 STARTTLS\r\n"), ("STARTTLS", "220 go\r\n=TLS=")];
    let peer = Peer::starttls_script(authority.acceptor(NAME, 2100), "220 mx\r\n", before, SMTP).await;
    let seen = bench.check("submission", peer.port, "tls = \"starttls\"").await;
    seen.is_ok("tcp banner ehlo tls ehlo_tls auth quit");
    let peer = Peer::script("220 mx\r\n", SMTP).await;
    bench.check("smtp", peer.port, "tls = \"starttls\"").await.failed("tls tls_protocol");
}

#[tokio::test]
async fn what_is_wrong_with_a_certificate_is_named() {
    let (authority, bench) = (Authority::new(), Bench::new());
    bench.trust(&authority.pem());
    let cases = [
        (authority.acceptor(NAME, 2021), "tls certificate_expired", "2021-01-01"),
        (authority.acceptor("other.test", 2100), "tls certificate_name", "other.test"),
        (Authority::new().acceptor(NAME, 2100), "tls certificate_untrusted", "trusted root"),
    ];
    for (acceptor, failure, word) in cases {
        let peer = Peer::tls_script(acceptor, "* OK\r\n", IMAP).await;
        let seen = bench.check("imap", peer.port, "tls = \"tls\"").await;
        seen.failed(failure);
        assert!(seen.detail().contains(word), "{}", seen.detail());
        assert_eq!(seen.steps(), "tcp tls! banner? login? select? search? logout?");
    }
    let plain = Peer::script("* OK hello\r\n", IMAP).await;
    bench.check("imap", plain.port, "tls = \"tls\"").await.failed("tls tls_protocol");
}

#[tokio::test]
async fn the_tls_kind_tells_the_days_that_are_left() {
    let (authority, bench) = (Authority::new(), Bench::new());
    bench.trust(&authority.pem());
    let peer = Peer::tls_script(authority.acceptor(NAME, 2100), "", &[]).await;
    let seen = bench.check("tls", peer.port, "").await;
    seen.is_ok("tcp tls");
    assert!(seen.note("tls").contains("days left, 1 certificates sent, TLSv1_3"), "{}", seen.note("tls"));
    bench.check("tcp", peer.port, "").await.is_ok("tcp");
    bench.check("tls", peer.port, "min_days = 14").await.is_ok("tcp tls days");
    let seen = bench.check("tls", peer.port, "min_days = 100000").await;
    seen.failed("days certificate_expired");
    assert!(seen.detail().ends_with("fewer than 100000; renew it"), "{}", seen.detail());
}

#[tokio::test]
async fn imap_and_pop3_log_in_over_tls_and_in_the_clear() {
    let (authority, bench) = (Authority::new(), Bench::new());
    bench.trust(&authority.pem());
    let imap = Peer::script("* OK hello\r\n", IMAP).await;
    bench.check("imap", imap.port, "").await.is_ok("tcp banner login select search logout");
    let pop3 = Peer::tls_script(authority.acceptor(NAME, 2100), "+OK hello\r\n", POP3).await;
    bench.check("pop3", pop3.port, "tls = \"tls\"").await.is_ok("tcp tls banner auth stat quit");
    let before: Script = &[("STLS", "+OK\r\n=TLS=")];
    let pop3 = Peer::starttls_script(authority.acceptor(NAME, 2100), "+OK hello\r\n", before, POP3).await;
    bench.check("pop3", pop3.port, "tls = \"starttls\"").await.is_ok("tcp banner tls auth stat quit");
}

#[tokio::test]
async fn a_wrong_password_is_not_a_server_that_cannot_tell() {
    let bench = Bench::new();
    let smtp = |auth: &'static str| -> Script {
        Box::leak(Box::new([("EHLO", "250-mx\r\n250 AUTH LOGIN PLAIN\r\n"), ("AUTH", auth)]))
    };
    let peer = Peer::script("220 mx\r\n", smtp("535 5.7.8 no\r\n")).await;
    bench.check("submission", peer.port, "").await.failed("auth auth_failed");
    let peer = Peer::script("220 mx\r\n", smtp("454 4.7.0 later\r\n")).await;
    bench.check("submission", peer.port, "").await.failed("auth auth_temporary");
    let none: Script = &[("EHLO", "250-mx\r\n250 AUTH GSSAPI\r\n")];
    let peer = Peer::script("220 mx\r\n", none).await;
    bench.check("submission", peer.port, "").await.failed("auth auth_failed");
    let refusing: Script = &[
        ("CAPABILITY", "* CAPABILITY IMAP4rev1\r\n{tag} OK\r\n"),
        ("LOGIN", "{tag} NO [AUTHENTICATIONFAILED] no\r\n"),
    ];
    let peer = Peer::script("* OK\r\n", refusing).await;
    bench.check("imap", peer.port, "").await.failed("login auth_failed");
    let tired: Script =
        &[("CAPABILITY", "* CAPABILITY IMAP4rev1\r\n{tag} OK\r\n"), ("LOGIN", "{tag} NO [UNAVAILABLE] later\r\n")];
    let peer = Peer::script("* OK\r\n", tired).await;
    bench.check("imap", peer.port, "").await.failed("login auth_temporary");
    let peer = Peer::script("+OK\r\n", &[("USER", "+OK\r\n"), ("PASS", "-ERR [AUTH] no\r\n")]).await;
    bench.check("pop3", peer.port, "").await.failed("auth auth_failed");
}

#[tokio::test]
async fn a_check_that_cannot_run_as_configured_says_what_is_missing() {
    let bench = Bench::new();
    std::fs::remove_file(bench.path().join("password")).unwrap();
    let seen = bench.check("imap", 1, "").await;
    seen.failed("config config");
    assert!(seen.detail().starts_with("reading the password of audit@example.test from "), "{}", seen.detail());
    let seen = bench.run("[[check]]\nname = \"x\"\nkind = \"gopher\"\nservice = \"x\"\ncadence = \"light\"").await;
    seen.failed("config config");
}
