//! ManageSieve against a scripted server: both forms of a string, refusals by their codes.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use super::bench::Bench;
use super::certificates::{Authority, NAME};
use super::scripted::{Peer, Script};

const GREETING: &str = "\"IMPLEMENTATION\" \"a \\\"good\\\" one\"\r\n\"SIEVE\" {14}\r\nfileinto vacati\r\n\"SASL\" \"LOGIN PLAIN\"\r\n\"STARTTLS\"\r\n\"VERSION\" \"1.0\"\r\nOK {5}\r\nready\r\n";

const SIEVE: Script = &[
    ("AUTHENTICATE \"PLAIN\"", "OK \"in\"\r\n"),
    ("LISTSCRIPTS", "\"summer\"\r\n{8}\r\nvacation ACTIVE\r\n\"varde-probe-1-old\"\r\nOK\r\n"),
    ("HAVESPACE \"varde-probe-", "OK\r\n"),
    ("LOGOUT", "OK (TAG \"x\") \"bye\"\r\n"),
];

#[tokio::test]
async fn scripts_are_listed_by_quoted_names_and_by_literals() {
    let peer = Peer::script(GREETING, SIEVE).await;
    let seen = Bench::new().check("managesieve", peer.port, "").await;
    seen.is_ok("tcp banner auth list space logout");
    assert_eq!((seen.note("auth"), seen.note("list")), ("PLAIN", "3 scripts, active: vacation"));
}

/// Answers a command with a literal once the whole of it has come; counts what was put and deleted.
async fn keeps_scripts(socket: TcpStream, put: &'static str) {
    let mut socket = BufReader::new(socket);
    socket.write_all(GREETING.as_bytes()).await.unwrap();
    let mut line = String::new();
    loop {
        line.clear();
        if socket.read_line(&mut line).await.unwrap_or(0) == 0 {
            return;
        }
        if let Some(length) = line.trim_end().strip_suffix("+}").and_then(|rest| rest.rsplit_once('{')) {
            let mut text = vec![0; length.1.parse::<usize>().unwrap() + 2];
            socket.read_exact(&mut text).await.unwrap();
            assert!(text.ends_with(b"keep;\r\n\r\n"));
        }
        let answer = match line.split(' ').next().unwrap().trim_end() {
            "PUTSCRIPT" => put,
            "LISTSCRIPTS" => "\"varde-probe-1-old\"\r\nOK\r\n",
            _ => "OK\r\n",
        };
        socket.write_all(answer.as_bytes()).await.unwrap();
    }
}

#[tokio::test]
async fn a_script_is_checked_put_and_deleted_when_the_check_may_write() {
    let bench = Bench::new();
    let peer = Peer::new(|socket| keeps_scripts(socket, "OK (WARNINGS) \"fine\"\r\n")).await;
    let seen = bench.check("managesieve", peer.port, "write = true").await;
    seen.is_ok("tcp banner auth list space check put delete logout");
    let peer = Peer::new(|socket| keeps_scripts(socket, "NO (QUOTA/MAXSCRIPTS) \"enough\"\r\n")).await;
    let seen = bench.check("managesieve", peer.port, "write = true").await;
    seen.failed("put quota");
    let expected = "after PUTSCRIPT, the server replied NO (QUOTA/MAXSCRIPTS) enough";
    assert!(seen.detail().ends_with(expected), "{}", seen.detail());
}

#[tokio::test]
async fn starttls_is_followed_by_capabilities_anew() {
    let (authority, bench) = (Authority::new(), Bench::new());
    bench.trust(&authority.pem());
    let before: Script = &[("STARTTLS", "OK\r\n=TLS=")];
    let acceptor = authority.acceptor(NAME, 2100);
    let peer = Peer::starttls_script_greeting(acceptor, GREETING, before, GREETING, SIEVE).await;
    let seen = bench.check("managesieve", peer.port, "tls = \"starttls\"").await;
    seen.is_ok("tcp banner tls auth list space logout");
    let none = "\"SIEVE\" \"\"\r\nOK\r\n";
    let peer = Peer::script(none, &[]).await;
    bench.check("managesieve", peer.port, "tls = \"starttls\"").await.failed("tls tls_protocol");
}

#[tokio::test]
async fn refusals_are_told_apart() {
    let bench = Bench::new();
    let with = |auth: &'static str| -> Script { Box::leak(Box::new([("AUTHENTICATE", auth)])) };
    let cases = [
        ("NO \"no\"\r\n", "auth auth_failed"),
        ("NO (TRYLATER) \"busy\"\r\n", "auth auth_temporary"),
        ("BYE \"gone\"\r\n", "auth closed"),
        ("\"Y2hhbGxlbmdl\"\r\n", "auth protocol"),
        ("hm?\r\n", "auth protocol"),
    ];
    for (answer, failure) in cases {
        let peer = Peer::script(GREETING, with(answer)).await;
        bench.check("managesieve", peer.port, "").await.failed(failure);
    }
    let peer = Peer::script("BYE \"full\"\r\n", &[]).await;
    bench.check("managesieve", peer.port, "").await.failed("banner closed");
    let peer = Peer::script("\"SIEVE\" \"\"\r\n\"SASL\" \"GSSAPI\"\r\nOK\r\n", &[]).await;
    bench.check("managesieve", peer.port, "").await.failed("auth auth_failed");
    let peer = Peer::script("\"IMPLEMENTATION\" \"x\"\r\nOK\r\n", &[]).await;
    bench.check("managesieve", peer.port, "").await.failed("banner protocol");
}

/// A server that takes a SCRAM login without proving that it knows the password may be anybody.
#[tokio::test]
async fn a_server_that_does_not_prove_itself_is_refused() {
    let peer = Peer::new(|socket| async move {
        let mut socket = BufReader::new(socket);
        socket.write_all(b"\"SIEVE\" \"\"\r\n\"SASL\" \"SCRAM-SHA-1\"\r\nOK\r\n").await.unwrap();
        let mut line = String::new();
        socket.read_line(&mut line).await.unwrap();
        let first = line.trim().rsplit(' ').next().unwrap().trim_matches('"').to_owned();
        let first = String::from_utf8(BASE64.decode(first).unwrap()).unwrap();
        let nonce = first.rsplit_once("r=").unwrap().1;
        let challenge = BASE64.encode(format!("r={nonce}abc,s=c2FsdA==,i=4096"));
        socket.write_all(format!("{{{}}}\r\n{challenge}\r\n", challenge.len()).as_bytes()).await.unwrap();
        line.clear();
        socket.read_line(&mut line).await.unwrap();
        socket.write_all(b"OK \"come in\"\r\n").await.unwrap();
        line.clear();
        let _ = socket.read_line(&mut line).await;
    })
    .await;
    let seen = Bench::new().check("managesieve", peer.port, "").await;
    seen.failed("auth protocol");
    assert!(seen.detail().ends_with("the server takes the login without proving itself"), "{}", seen.detail());
}
