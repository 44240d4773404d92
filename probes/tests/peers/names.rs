//! Kinds that ask name servers: agreement of a zone's servers, DNSSEC, blocklists; and answers that go in circles.

use aggregator::event::ProbeOutcome;
use hickory_resolver::proto::dnssec::DigestType;
use probes::kind::Finding;
use tokio::net::UdpSocket;

use super::bench::{Bench, Seen};
use super::posture::dns::{Server, Zone, serve, serve_each};

async fn check(kind: &str, host: &str, port: u16, more: &str) -> Seen {
    let check = format!(
        "[[check]]\nname = \"{kind}\"\nkind = \"{kind}\"\nservice = \"{kind}\"\ncadence = \"light\"\nhost = \"{host}\"\n\
         server = \"127.0.0.1\"\nport = {port}\n{more}\n"
    );
    Bench::new().run(&check).await
}

/// A zone with two name servers, both of them here.
fn zone(serial: u32) -> Zone {
    let mut zone = Zone::default();
    zone.soa("example.test", serial);
    zone.set("example.test", "NS", &["ns1.example.test", "ns2.example.test"]);
    zone.set("ns1.example.test", "A", &["127.0.0.1"]);
    zone.set("ns2.example.test", "A", &["127.0.0.2"]);
    zone.set("example.test", "MX", &["10 mx1.example.test", "20 mx2.example.test"]);
    zone
}

async fn zone_of(zones: [Zone; 2]) -> Seen {
    let servers = serve_each(zones).await;
    check("zone", "example.test", servers[0].address.port(), "").await
}

#[tokio::test]
async fn name_servers_that_agree_are_named_with_their_serial_and_mx() {
    let seen = zone_of([zone(7), zone(7)]).await;
    seen.is_ok("dns servers serial mx dnssec");
    assert_eq!(seen.note("servers"), "ns1.example.test (127.0.0.1), ns2.example.test (127.0.0.2)");
    assert_eq!(seen.note("serial"), "serial 7");
    assert_eq!(seen.note("mx"), "10 mx1.example.test, 20 mx2.example.test");
    assert_eq!(seen.note("dnssec"), "not signed");
}

#[tokio::test]
async fn a_name_server_that_is_behind_or_has_another_mx_is_named() {
    let seen = zone_of([zone(7), zone(6)]).await;
    seen.failed("serial mismatch");
    let who = "6 at ns2.example.test (127.0.0.2); 7 at ns1.example.test (127.0.0.1)";
    assert!(seen.detail().ends_with(&format!("disagree on SOA serial: {who}")), "{}", seen.detail());
    let mut other = zone(7);
    other.set("example.test", "MX", &["10 old.example.test"]);
    let seen = zone_of([zone(7), other]).await;
    seen.failed("mx mismatch");
    assert!(seen.detail().contains("10 old.example.test at ns2.example.test"), "{}", seen.detail());
}

#[tokio::test]
async fn a_lame_delegation_is_named() {
    let mut without_authority = zone(7);
    without_authority.lame = true;
    let mut failing = Zone::default();
    failing.failing.insert("example.test".to_owned());
    let cases = [
        (without_authority, "it answers without authority"),
        (failing, "it answers with Server Failure"),
        (Zone::default(), "it answers with Non-Existent Domain"),
    ];
    for (broken, why) in cases {
        let seen = zone_of([zone(7), broken]).await;
        seen.failed("servers lame");
        let expected = format!(
            "asking each name server of example.test for its SOA record: 1 of 2 name servers do not serve it: \
             ns2.example.test (127.0.0.2): lame delegation, {why}"
        );
        assert_eq!(seen.detail(), expected);
    }
    let mut homeless = zone(7);
    homeless.set("ns2.example.test", "A", &[]);
    let seen = zone_of([homeless, zone(7)]).await;
    seen.failed("dns no_records");
    assert!(seen.detail().contains("its name server ns2.example.test has no address"), "{}", seen.detail());
}

#[tokio::test]
async fn a_name_server_that_does_not_answer_is_told_from_a_lame_one() {
    let servers = serve_each([zone(7), zone(7)]).await;
    let port = servers[0].address.port();
    let [first, second] = servers;
    drop(second);
    // Nobody has the port of the second now, or somebody who never answers.
    let silent = UdpSocket::bind(("127.0.0.2", port)).await;
    let seen = check("zone", "example.test", port, "timeout_ms = 600").await;
    assert!(["servers dns_timeout", "servers refused"].contains(&seen.failure().as_str()), "{:#?}", seen.0);
    drop((first, silent));
}

#[tokio::test]
async fn a_signed_zone_tells_its_days_and_a_broken_one_is_bogus() {
    let signed = |from, days| {
        let mut zone = zone(1);
        zone.sign("example.test", from, days, DigestType::SHA256);
        zone
    };
    let good = signed((2024, 1, 1), 15_000);
    let seen = zone_of([good.clone(), good.clone()]).await;
    seen.is_ok("dns servers serial mx dnssec");
    assert!(seen.note("dnssec").starts_with("validated, 1"), "{}", seen.note("dnssec"));
    assert!(seen.note("dnssec").ends_with(" days left"), "{}", seen.note("dnssec"));

    let old = signed((2020, 1, 1), 30);
    zone_of([old.clone(), old]).await.failed("dnssec signature_expired");
    let mut foreign = good.clone();
    foreign.take_delegation(&signed((2024, 1, 1), 15_000), "example.test");
    let seen = zone_of([foreign.clone(), foreign]).await;
    seen.failed("dnssec bogus");
    assert!(seen.detail().contains("no key of the zone belongs to the parent's DS record"), "{}", seen.detail());
    let mut unsigned = good;
    unsigned.unsign("example.test");
    zone_of([unsigned.clone(), unsigned]).await.failed("dnssec bogus");
}

/// A list that works, with an address on it.
fn list() -> Zone {
    let mut zone = Zone::default();
    zone.set("2.0.0.127.bl.test", "A", &["127.0.0.2"]);
    zone.set("9.2.0.192.bl.test", "A", &["127.0.0.4"]);
    zone.set("9.2.0.192.bl.test", "TXT", &["an infected host"]);
    zone.set("test.dbl.test", "A", &["127.0.1.2"]);
    zone.set("spam.test.dbl.test", "A", &["127.0.1.2"]);
    zone.set("mx.test", "A", &["192.0.2.8", "192.0.2.9"]);
    zone.set("clean.test", "A", &["192.0.2.8"]);
    zone
}

async fn listed(zone: Zone, host: &str, more: &str) -> Seen {
    let server: Server = serve(zone).await;
    check("blocklist", host, server.address.port(), more).await
}

#[tokio::test]
async fn an_address_and_a_domain_on_a_list_are_found_with_the_reason() {
    let seen = listed(list(), "mx.test", "address_lists = [\"bl.test\"]").await;
    seen.failed("listed listed");
    assert!(seen.detail().ends_with("192.0.2.9 is on bl.test (127.0.0.4): an infected host"), "{}", seen.detail());
    let hit = Finding::Listed {
        subject: "192.0.2.9".to_owned(),
        list: "bl.test".to_owned(),
        answer: "127.0.0.4".to_owned(),
        reason: "an infected host".to_owned(),
    };
    assert_eq!(seen.0.findings, [hit]);
    listed(list(), "192.0.2.9", "address_lists = [\"bl.test\"]").await.failed("listed listed");
    listed(list(), "spam.test", "domain_lists = [\"dbl.test\"]").await.failed("listed listed");
    let seen = listed(list(), "clean.test", "address_lists = [\"bl.test\"]").await;
    seen.is_ok("dns lists listed");
    assert_eq!(seen.note("listed"), "192.0.2.8: not listed");
    listed(list(), "clean.test", "domain_lists = [\"dbl.test\"]").await.is_ok("lists listed");
}

#[tokio::test]
async fn a_list_that_refuses_or_has_died_is_no_vote_and_no_listing() {
    let no_vote = |seen: Seen, failure: &str, word: &str| {
        assert_eq!((seen.outcome(), seen.failure().as_str()), (ProbeOutcome::VantageFault, failure), "{:#?}", seen.0);
        assert!(seen.detail().contains(word), "{}", seen.detail());
    };
    let refusing = |at: &str| {
        let mut zone = list();
        zone.set(at, "A", &["127.255.255.254"]);
        zone
    };
    let lists = "address_lists = [\"bl.test\"]";
    no_vote(listed(refusing("2.0.0.127.bl.test"), "192.0.2.8", lists).await, "lists vantage_fault", "127.255.255.254");
    no_vote(
        listed(refusing("8.2.0.192.bl.test"), "192.0.2.8", lists).await,
        "listed vantage_fault",
        "serve this resolver",
    );
    no_vote(
        listed(list(), "192.0.2.8", "address_lists = [\"gone.test\"]").await,
        "lists dead_list",
        "does not list its own test entry",
    );
    let mut everything = list();
    everything.set("1.0.0.127.bl.test", "A", &["127.0.0.2"]);
    no_vote(listed(everything, "192.0.2.8", lists).await, "lists dead_list", "it lists everything");
    let mut parked = list();
    parked.set("2.0.0.127.bl.test", "A", &["5.45.100.1"]);
    no_vote(listed(parked, "192.0.2.8", lists).await, "lists dead_list", "no answer of a list");
    // A dead list hides neither what the others say nor that it is dead.
    let both = "address_lists = [\"gone.test\", \"bl.test\"]";
    listed(list(), "192.0.2.9", both).await.failed("listed listed");
    no_vote(listed(list(), "192.0.2.8", both).await, "listed dead_list", "gone.test");
}

#[tokio::test]
async fn aliases_that_go_in_circles_end() {
    let mut zone = Zone::default();
    zone.set("a.test", "CNAME", &["b.test"]);
    zone.set("b.test", "CNAME", &["a.test"]);
    zone.set("self.test", "CNAME", &["self.test"]);
    for link in 0..40 {
        zone.set(&format!("l{link}.test"), "CNAME", &[&format!("l{}.test", link + 1)]);
    }
    let server = serve(zone).await;
    for name in ["a.test", "self.test", "l0.test"] {
        let seen = check("dns", name, server.address.port(), "record = \"MX\"").await;
        seen.failed("dns protocol");
        assert!(seen.detail().ends_with("its aliases go in circles or on without end"), "{}", seen.detail());
    }
}

/// A name in the answer points to itself, or in a circle: RFC 1035 section 4.1.4 forbids neither in so many words.
#[tokio::test]
async fn compression_that_goes_in_circles_ends() {
    // After the header of 12 octets and the question there is a record, whose name is a pointer.
    let loops: [&[u8]; 3] = [&[0xc0, 0xff], &[0x01, b'x', 0xc0, 0x00], &[0xc0, 0x0c, 0xc0, 0x0c]];
    for looping in loops {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let port = socket.local_addr().unwrap().port();
        let task = tokio::spawn(async move {
            let mut buffer = [0; 1_500];
            while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
                // The question ends where its EDNS record of 11 octets begins.
                let question = &buffer[12..length - 11];
                let mut answer = vec![buffer[0], buffer[1], 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0];
                answer.extend_from_slice(question);
                let own = 0xc000_u16 | u16::try_from(answer.len()).unwrap();
                let name = if looping == [0xc0, 0xff] { own.to_be_bytes().to_vec() } else { looping.to_vec() };
                answer.extend_from_slice(&name);
                answer.extend_from_slice(&[0, 15, 0, 1, 0, 0, 0, 60, 0, 4, 0, 10, 0xc0, 0x0c]);
                let _ = socket.send_to(&answer, from).await;
            }
        });
        let seen = check("dns", "example.test", port, "record = \"MX\"\ntimeout_ms = 1500").await;
        // A name that points to the question's is none of its own: no record of ours, whatever it is read as.
        assert!(["dns protocol", "dns no_records"].contains(&seen.failure().as_str()), "{:#?}", seen.0);
        task.abort();
    }
}
