//! Peers that are down, hang, babble or lie: a typed result, in bounded time and memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use aggregator::event::ProbeOutcome;
use futures_util::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::time::sleep;

use super::bench::Bench;
use super::certificates::{Authority, NAME};
use super::scripted::{Peer, Script};

/// The kinds that wait for a greeting.
const GREETED: [&str; 5] = ["smtp", "submission", "imap", "pop3", "managesieve"];
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
    let cases: [(&str, &'static str); 12] = [
        ("smtp", "HTTP/1.1 400 Bad Request\r\n"),
        ("smtp", "\u{fffd}\u{0}\u{1}\r\n"),
        ("smtp", "220-a\r\n250 b\r\n"),
        ("smtp", "999 a\r\n"),
        ("smtp", "é0 a\r\n"),
        ("imap", "220 mx ESMTP\r\n"),
        ("imap", "\r\n"),
        ("pop3", "* OK\r\n"),
        ("pop3", "-\r\n"),
        ("managesieve", "220 mx ESMTP\r\nOK\r\n"),
        ("managesieve", "\"SIEVE\" \"open\r\n"),
        ("managesieve", "\"SIEVE\" {99999999}\r\n"),
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

/// How a kind is set on a peer: `PORT` stands for its port.
const KINDS: &[(&str, &str)] = &[
    ("smtp", HOST),
    ("submission", HOST),
    ("imap", HOST),
    ("pop3", HOST),
    ("managesieve", HOST),
    ("tls", HOST),
    ("http", "url = \"http://127.0.0.1:PORT/\""),
    ("queue", "url = \"http://127.0.0.1:PORT/\""),
    ("jmap", "url = \"http://127.0.0.1:PORT/\"\naccount = \"audit@example.test\""),
    ("webmail", "url = \"http://127.0.0.1:PORT/\"\naccount = \"audit@example.test\"\nrecipe = \"varde\""),
    ("dns", "host = \"example.test\"\nserver = \"127.0.0.1\"\nport = PORT\nrecord = \"MX\""),
    ("zone", "host = \"example.test\"\nserver = \"127.0.0.1\"\nport = PORT"),
    ("blocklist", "host = \"192.0.2.1\"\nserver = \"127.0.0.1\"\nport = PORT\naddress_lists = [\"bl.test\"]"),
];
const HOST: &str =
    "host = \"127.0.0.1\"\nport = PORT\nserver_name = \"mx.example.test\"\naccount = \"audit@example.test\"";

/// What a hostile peer does with a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Malice {
    /// Says nothing that any protocol has.
    Nonsense,
    /// Says one octet after the other, without end.
    Dribble,
    /// Says lines without end.
    Lines,
    /// Says one line without end.
    Line,
    /// Says zeroes without end.
    Zeroes,
    /// Closes.
    Close,
    /// Says nothing.
    Silence,
}

const ALL: [Malice; 7] =
    [Malice::Nonsense, Malice::Dribble, Malice::Lines, Malice::Line, Malice::Zeroes, Malice::Close, Malice::Silence];

async fn do_harm(malice: Malice, mut socket: TcpStream) {
    let (text, pause) = match malice {
        Malice::Nonsense => (b"\x16\x03\x01 \xff\xfe{99} * ( \" 2\r\n\r\n".to_vec(), None),
        Malice::Dribble => (b"2".to_vec(), Some(Duration::from_millis(20))),
        Malice::Lines => (b"220-welcome to the very best of all servers\r\n".repeat(1_000), None),
        Malice::Line => (vec![b'x'; 65_536], None),
        Malice::Zeroes => (vec![0; 65_536], None),
        Malice::Close => return,
        Malice::Silence => {
            let mut ignored = [0; 4_096];
            while socket.read(&mut ignored).await.is_ok_and(|read| read > 0) {}
            return;
        }
    };
    while socket.write_all(&text).await.is_ok() {
        match pause {
            Some(pause) => sleep(pause).await,
            None if malice == Malice::Nonsense => return,
            None => tokio::task::yield_now().await,
        }
    }
}

/// The same over UDP, for those who ask there: what comes back is as bad.
async fn answer_badly(malice: Malice, socket: UdpSocket) {
    let mut buffer = [0; 1_500];
    while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
        let octets = match malice {
            Malice::Silence | Malice::Close => continue,
            Malice::Nonsense => b"\xff\xfe no answer".to_vec(),
            // The question itself is no answer, and one with its count of records raised promises what never comes.
            Malice::Dribble => buffer[..length].to_vec(),
            Malice::Lines => [&buffer[..2], &[0x81, 0x80, 0xff, 0xff, 0xff, 0xff], &buffer[8..length]].concat(),
            Malice::Line => vec![b'x'; 1_400],
            Malice::Zeroes => vec![0; 1_400],
        };
        for _ in 0..40 {
            let _ = socket.send_to(&octets, from).await;
        }
    }
}

/// Whatever the peer does, every kind ends within its time with a failed step that has a class, and a report that is
/// small. The time-outs of a kind's steps are the only clock.
#[tokio::test]
async fn every_kind_bears_every_malice() {
    for malice in ALL {
        // All kinds at once: most of them wait.
        join_all(KINDS.iter().map(|(kind, keys)| bears(malice, kind, keys))).await;
    }
}

async fn bears(malice: Malice, kind: &str, keys: &str) {
    let (peer, udp) = loop {
        let peer = Peer::new_each(move |socket| do_harm(malice, socket)).await;
        if let Ok(socket) = UdpSocket::bind(("127.0.0.1", peer.port)).await {
            break (peer, tokio::spawn(answer_badly(malice, socket)));
        }
    };
    let keys = keys.replace("PORT", &peer.port.to_string());
    let check = format!(
        "[[check]]\nname = \"{kind}\"\nkind = \"{kind}\"\nservice = \"x\"\ncadence = \"light\"\n{keys}\n{SHORT}\n"
    );
    let bench = Bench::new();
    let seen = tokio::time::timeout(Duration::from_secs(60), bench.run(&check)).await;
    let seen = seen.unwrap_or_else(|_| panic!("{kind} does not end when its peer does {malice:?}"));
    let failure = seen.failure();
    let (step, class) = failure.split_once(' ').unwrap_or_else(|| panic!("{kind}, {malice:?}: {:#?}", seen.0));
    assert!(step != "config" && !class.is_empty() && class != "internal", "{kind}, {malice:?}: {:#?}", seen.0);
    assert!(format!("{:?}", seen.0).len() < 10_000, "{kind}, {malice:?}");
    let expected = if kind == "blocklist" { ProbeOutcome::VantageFault } else { ProbeOutcome::Failed };
    assert_eq!(seen.outcome(), expected, "{kind}, {malice:?}: {:#?}", seen.0);
    udp.abort();
}

/// The wrong certificate stops every kind that speaks TLS before it says anything, its password above all.
#[tokio::test]
async fn no_kind_says_anything_over_a_wrong_certificate() {
    let (authority, stranger, bench) = (Authority::new(), Authority::new(), Bench::new());
    bench.trust(&authority.pem());
    let cases: [(&str, &str); 9] = [
        ("smtp", HOST),
        ("submission", HOST),
        ("imap", HOST),
        ("pop3", HOST),
        ("managesieve", HOST),
        ("tls", HOST),
        ("http", "url = \"https://127.0.0.1:PORT/\""),
        ("jmap", "url = \"https://127.0.0.1:PORT/\"\naccount = \"audit@example.test\""),
        ("webmail", "url = \"https://127.0.0.1:PORT/\"\naccount = \"audit@example.test\"\nrecipe = \"roundcube\""),
    ];
    for (kind, keys) in cases {
        let heard = Arc::new(AtomicUsize::new(0));
        let (tls, counter) = (stranger.acceptor(NAME, 2100), heard.clone());
        let peer = Peer::new(move |socket| {
            let (tls, counter) = (tls.clone(), counter.clone());
            async move {
                let Ok(mut socket) = tls.accept(socket).await else { return };
                let mut said = [0; 1_024];
                counter.fetch_add(socket.read(&mut said).await.unwrap_or(0), Ordering::Relaxed);
            }
        })
        .await;
        let keys = keys.replace("PORT", &peer.port.to_string());
        let check = format!(
            "[[check]]\nname = \"{kind}\"\nkind = \"{kind}\"\nservice = \"x\"\ncadence = \"light\"\n{keys}\ntls = \"tls\"\n"
        );
        let seen = bench.run(&check).await;
        assert!(seen.failure().starts_with("tls certificate_"), "{kind}: {:#?}", seen.0);
        assert_eq!(heard.load(Ordering::Relaxed), 0, "{kind}");
    }
}
