//! Zones and servers that are hostile: an audit ends, and says what it met.

use std::time::Duration;

use probes::posture::{Error, Outcome, audit};
use tokio::net::TcpListener;

use super::super::scripted::Peer;
use super::world::{NOW, World};
use super::{outcome, shown};

#[tokio::test]
async fn what_is_no_domain_is_refused() {
    for none in ["", "localhost", "192.0.2.1", "a b.test", "https://example.test/"] {
        assert!(matches!(audit(none, &World::new().options, NOW).await, Err(Error::Domain(_))), "{none}");
    }
}

#[tokio::test]
async fn a_zone_of_circles_and_floods_is_bounded() {
    let mut world = World::new();
    world.zone.set("mx1.example.test", "A", &[]);
    world.zone.set("mx1.example.test", "AAAA", &[]);
    world.zone.set("mx1.example.test", "CNAME", &["mx3.example.test"]);
    world.zone.set("mx3.example.test", "CNAME", &["mx1.example.test"]);
    // Includes that double at each step: 2^20 records to a reader without a limit.
    world.zone.set("example.test", "TXT", &["v=spf1 include:d0.example.test include:d0.example.test -all"]);
    for at in 0..20 {
        let (this, next) = (format!("d{at}.example.test"), format!("d{}.example.test", at + 1));
        world.zone.set(&this, "TXT", &[&format!("v=spf1 include:{next} include:{next} ~all")]);
    }
    // As much text as a DNS answer holds, over TCP.
    let flood = "x".repeat(60_000);
    world.zone.set(
        "_dmarc.example.test",
        "TXT",
        &[&format!("v=DMARC1; p=reject; x={flood}; rua=mailto:d@example.test")],
    );
    let report = world.audit().await;
    assert_eq!(outcome(&report, "mx.resolves"), Outcome::Fail);
    assert_eq!(outcome(&report, "spf.lookups"), Outcome::Fail);
    assert_eq!(outcome(&report, "dmarc.policy"), Outcome::Pass);
    assert!(report.checks.iter().all(|check| check.evidence.chars().count() <= 1_001), "{}", shown(&report));
}

#[tokio::test]
async fn a_resolver_that_is_silent_leaves_nothing_but_reasons() {
    let silent = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut options = World::new().options;
    options.resolver = Some(silent.local_addr().unwrap());
    options.timeout = Duration::from_millis(100);
    let report = audit("example.test", &options, NOW).await.unwrap();
    let mx = report.checks.iter().find(|check| check.id == "mx.exists").unwrap();
    assert!(mx.evidence.contains("did not answer in time"), "{}", mx.evidence);
    assert_eq!(outcome(&report, "spf.exists"), Outcome::Skipped);
    assert_eq!(outcome(&report, "dmarc.exists"), Outcome::Skipped);
}

#[tokio::test]
async fn servers_that_say_nothing_or_nonsense_fail_with_their_words() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let babbling = Peer::script("HTTP/1.1 400 Bad Request\r\n", &[]).await;
    let ports = [(silent.local_addr().unwrap().port(), "no answer within"), (babbling.port, "no SMTP reply")];
    for (port, words) in ports {
        let mut world = World::new();
        world.options.smtp_port = port;
        world.options.timeout = Duration::from_millis(400);
        let report = world.audit().await;
        let check = report.checks.iter().find(|check| check.id == "smtp.reachable").unwrap();
        assert_eq!(check.result, Outcome::Fail);
        assert!(check.evidence.contains(words), "{}", check.evidence);
        assert_eq!(outcome(&report, "smtp.open_relay"), Outcome::Skipped);
    }
}
