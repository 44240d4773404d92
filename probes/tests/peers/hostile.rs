//! Peers that are down, hang, babble or lie: a typed result, in bounded time and memory.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::time::sleep;

use super::bench::Bench;
use super::scripted::{Peer, Script};

/// The kinds that wait for a greeting.
const GREETED: [&str; 4] = ["smtp", "submission", "imap", "pop3"];
/// Long enough for a peer that answers, short enough to wait for one that never does.
const SHORT: &str = "timeout_ms = 400";

#[tokio::test]
async fn a_port_where_nothing_listens_refuses() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    for kind in GREETED {
        let seen = Bench::new().check(kind, port, "").await;
        seen.failed("tcp refused");
        let expected = format!("connecting to 127.0.0.1:{port}: connection refused: nothing listens there");
        assert_eq!(seen.detail(), expected);
    }
}

/// A stopped process looks like this: the kernel takes the connection, and nobody speaks.
#[tokio::test]
async fn a_server_that_hangs_times_out_at_the_greeting() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    for kind in GREETED {
        let seen = Bench::new().check(kind, port, SHORT).await;
        seen.failed("banner timeout");
        let expected = format!("waiting for the greeting of 127.0.0.1:{port}: no answer within 0.4 s");
        assert_eq!(seen.detail(), expected);
    }
    Bench::new().check("imap", port, &format!("tls = \"tls\"\n{SHORT}")).await.failed("tls timeout");
}

#[tokio::test]
async fn a_server_that_dribbles_times_out_and_is_told_from_a_silent_one() {
    let peer = Peer::new(|mut socket| async move {
        while socket.write_all(b"2").await.is_ok() {
            sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let seen = Bench::new().check("smtp", peer.port, SHORT).await;
    seen.failed("banner timeout");
    assert!(seen.detail().ends_with(" octets came, but no complete answer within 0.4 s"), "{}", seen.detail());
}

#[tokio::test]
async fn an_endless_line_is_cut_off() {
    for kind in GREETED {
        let peer = Peer::new(|mut socket| async move { while socket.write_all(&[b'x'; 4096]).await.is_ok() {} }).await;
        let seen = Bench::new().check(kind, peer.port, "").await;
        seen.failed("banner protocol");
        assert!(seen.detail().len() < 500, "{}", seen.detail());
    }
}

#[tokio::test]
async fn a_greeting_of_ten_megabytes_is_cut_off() {
    let peer = Peer::new(|mut socket| async move {
        let lines = "220-welcome to the very best of all servers\r\n".repeat(1_000);
        while socket.write_all(lines.as_bytes()).await.is_ok() {}
    })
    .await;
    Bench::new().check("smtp", peer.port, "").await.failed("banner protocol");
}

#[tokio::test]
async fn an_endless_answer_is_cut_off() {
    let peer = Peer::new(|mut socket| async move {
        let _ = socket.write_all(b"* OK\r\n").await;
        let lines = "* 1 EXISTS\r\n".repeat(1_000);
        while socket.write_all(lines.as_bytes()).await.is_ok() {}
    })
    .await;
    Bench::new().check("imap", peer.port, "").await.failed("login protocol");
}

#[tokio::test]
async fn a_literal_larger_than_the_limit_is_refused_before_it_is_read() {
    let script: Script = &[("CAPABILITY", "* CAPABILITY {4000000000}\r\nabc")];
    let peer = Peer::script("* OK\r\n", script).await;
    let seen = Bench::new().check("imap", peer.port, "").await;
    seen.failed("login protocol");
    assert!(seen.detail().ends_with("the server announces 4000000000 octets: too much"), "{}", seen.detail());
}

#[tokio::test]
async fn nonsense_is_a_breach_of_protocol() {
    let cases: [(&str, &'static str); 9] = [
        ("smtp", "HTTP/1.1 400 Bad Request\r\n"),
        ("smtp", "\u{fffd}\u{0}\u{1}\r\n"),
        ("smtp", "220-a\r\n250 b\r\n"),
        ("smtp", "999 a\r\n"),
        ("smtp", "é0 a\r\n"),
        ("imap", "220 mx ESMTP\r\n"),
        ("imap", "\r\n"),
        ("pop3", "* OK\r\n"),
        ("pop3", "-\r\n"),
    ];
    for (kind, greeting) in cases {
        let peer = Peer::script(greeting, &[]).await;
        Bench::new().check(kind, peer.port, "").await.failed("banner protocol");
    }
}

#[tokio::test]
async fn a_connection_closed_in_mid_line_says_what_came() {
    let peer = Peer::new(|mut socket| async move { drop(socket.write_all(b"220 mx.exam").await) }).await;
    let seen = Bench::new().check("smtp", peer.port, "").await;
    seen.failed("banner closed");
    assert!(seen.detail().ends_with("the peer closed the connection after \"220 mx.exam\""), "{}", seen.detail());
    let peer = Peer::script("220 mx\r\n", &[]).await;
    Bench::new().check("smtp", peer.port, "").await.failed("ehlo closed");
}

#[tokio::test]
async fn clear_text_after_the_agreement_on_tls_is_refused() {
    let script: Script = &[("EHLO", "250-mx\r\n250 STARTTLS\r\n"), ("STARTTLS", "220 go\r\n250 injected\r\n")];
    let peer = Peer::script("220 mx\r\n", script).await;
    let seen = Bench::new().check("smtp", peer.port, "tls = \"starttls\"").await;
    seen.failed("tls tls_protocol");
}

#[tokio::test]
async fn a_password_that_the_server_repeats_is_not_in_the_report() {
    let smtp: Script = &[("EHLO", "250-mx\r\n250 AUTH PLAIN\r\n"), ("AUTH", "500 what is {line}?\r\n")];
    let imap: Script =
        &[("CAPABILITY", "* CAPABILITY IMAP4rev1\r\n{tag} OK\r\n"), ("LOGIN", "{tag} BAD what is {line}?\r\n")];
    let cases =
        [("submission", Peer::script("220 mx\r\n", smtp).await), ("imap", Peer::script("* OK\r\n", imap).await)];
    for (kind, peer) in cases {
        let seen = Bench::new().check(kind, peer.port, "").await;
        assert!(seen.detail().contains("***"), "{}", seen.detail());
        let report = format!("{:?}", seen.0);
        assert!(!report.contains("secret-7") && !report.contains("c2VjcmV0LTc"), "{report}");
    }
}
