//! DNSSEC of the domain, RFC 4033 to 4035: what the resolver says of it, and the links that can be checked from here.

use std::sync::Arc;

use hickory_resolver::proto::dnssec::rdata::DNSKEY;
use hickory_resolver::proto::dnssec::{Algorithm, DigestType};
use hickory_resolver::proto::rr::{Record, RecordType};

use super::finding::{Findings, spec};
use super::survey::Mx;
use super::{Audit, Family};
use crate::dns::{Answer, Status, chain};

pub(super) const FAMILY: Family = Family {
    name: "dnssec",
    title: "DNSSEC",
    checks: &[
        spec(
            "dnssec.signed",
            4,
            "The zone is signed",
            "Without DNSSEC answers about the domain can be forged, and DANE is not possible.",
        ),
        spec(
            "dnssec.valid",
            9,
            "The zone validates",
            "For validating resolvers a zone that does not validate has vanished, and its mail with it.",
        ),
        spec(
            "dnssec.ds",
            6,
            "The parent's DS record matches a key of the zone",
            "A DS record without its key makes the whole zone invalid.",
        ),
        spec(
            "dnssec.signature",
            6,
            "The signature over the zone's head verifies",
            "A signature that does not verify makes the zone invalid.",
        ),
        spec(
            "dnssec.expiry",
            5,
            "The signatures hold for days to come",
            "The zone becomes invalid in the minute in which its signatures expire.",
        ),
        spec(
            "dnssec.algorithm",
            3,
            "Algorithm and digest are current ones",
            "SHA-1 and DSA are broken; validators begin to treat them as unsigned (RFC 8624).",
        ),
        spec(
            "dnssec.mx_hosts",
            2,
            "The MX hosts' addresses are signed as well",
            "DANE works for a host only if its own zone is signed (RFC 7672 section 2.2).",
        ),
    ],
    run: |audit| Box::pin(run(audit)),
};

async fn run(audit: &Audit) -> Findings {
    let mut findings = Findings::default();
    let domain = &audit.domain;
    let (ds, keys, soa) = tokio::join!(
        audit.dns.ask_unchecked(domain, RecordType::DS),
        audit.dns.ask_unchecked(domain, RecordType::DNSKEY),
        audit.dns.ask_unchecked(domain, RecordType::SOA),
    );
    for answer in [&ds, &keys] {
        if let Status::Broken(why) = &answer.status {
            findings.rest(format!("looking up the keys of {domain}: {why}"));
            return findings;
        }
    }
    let (delegations, zone_keys) = (chain::delegations(&ds), chain::zone_keys(&keys));
    let sign = format!(
        "turn on signing at the DNS provider of {domain}, and give the DS record that it shows to the registrar"
    );
    findings.rest("the zone is not signed");
    match (delegations.is_empty(), zone_keys.is_empty()) {
        (true, true) => {
            findings.warn("dnssec.signed", "there are neither DS nor DNSKEY records", sign);
            return findings;
        }
        (true, false) => {
            findings.warn(
                "dnssec.signed",
                "the zone has keys, but its parent has no DS record: it counts as unsigned",
                format!("give the zone's DS record to the registrar of {domain}"),
            );
            return findings;
        }
        (false, _) => findings.pass("dnssec.signed", format!("{} DS, {} DNSKEY", delegations.len(), zone_keys.len())),
    }
    validity(audit, &mut findings, &soa).await;
    let broken = "correct the DS record at the registrar, or remove it until the zone is signed again";
    match chain::anchored(&delegations, &zone_keys) {
        Some(ds) => findings.pass("dnssec.ds", format!("DS {} belongs to a key of the zone", ds.key_tag())),
        None => findings.fail(
            "dnssec.ds",
            format!(
                "no DNSKEY for DS {}",
                delegations.iter().map(|ds| ds.key_tag().to_string()).collect::<Vec<_>>().join(", ")
            ),
            broken,
        ),
    }
    let old: Vec<String> = delegations
        .iter()
        .filter(|ds| is_old(ds.algorithm()) || ds.digest_type() == DigestType::SHA1)
        .map(|ds| {
            format!("DS {}: algorithm {}, digest type {}", ds.key_tag(), ds.algorithm(), u8::from(ds.digest_type()))
        })
        .collect();
    findings.doubts(
        "dnssec.algorithm",
        &old,
        format!("algorithm {}", delegations[0].algorithm()),
        "sign with ECDSA P-256 (algorithm 13), and publish a DS record with a SHA-256 digest",
    );
    signatures(audit, &mut findings, &soa, &zone_keys);
    mx_hosts(audit, &mut findings).await;
    findings
}

/// RFC 8624 section 3.1: RSAMD5, DSA, RSASHA1 and their kin.
fn is_old(algorithm: Algorithm) -> bool {
    matches!(u8::from(algorithm), 0..=7)
}

async fn validity(audit: &Audit, findings: &mut Findings, unchecked: &Arc<Answer>) {
    let domain = &audit.domain;
    let checked = audit.dns.ask(domain, RecordType::SOA).await;
    match (&checked.status, &unchecked.status) {
        // A resolver that validates hides a zone that does not; without its check it shows it.
        (Status::Broken(why), Status::Found | Status::Empty) => findings.fail(
            "dnssec.valid",
            format!("the resolver refuses the zone: {why}; without validation it answers"),
            "sign the zone anew and compare its DS record at the registrar",
        ),
        (Status::Broken(why), _) => findings.skip("dnssec.valid", format!("looking up SOA of {domain}: {why}")),
        _ if checked.secure => findings.pass("dnssec.valid", format!("validated by {}", audit.dns.servers())),
        _ => findings.skip(
            "dnssec.valid",
            format!("the resolver {} does not validate; name one that does with --resolver", audit.dns.servers()),
        ),
    }
}

fn signatures(audit: &Audit, findings: &mut Findings, soa: &Answer, keys: &[(&Record, &DNSKEY)]) {
    let covering = chain::signatures(soa, RecordType::SOA);
    let again = "sign the zone anew; see that its signer runs, and that the secondaries follow";
    if covering.is_empty() {
        findings.fail("dnssec.signature", "there is no signature over the SOA record", again);
        findings.skip("dnssec.expiry", "there is no signature");
        return;
    }
    if soa.records.is_empty() {
        return;
    }
    match chain::verified(&covering, &soa.records, keys) {
        Some(sig) => findings.pass("dnssec.signature", format!("verified with key {}", sig.input().key_tag)),
        None => findings.fail("dnssec.signature", "no key of the zone verifies it", again),
    }
    let seconds = chain::seconds_left(&covering, audit.now);
    let days = seconds.div_euclid(86_400);
    match seconds {
        ..=0 => findings.fail("dnssec.expiry", format!("the signature expired {} days ago", -days), again),
        _ if days < chain::RENEW_DAYS => findings.warn("dnssec.expiry", format!("{days} days left"), again),
        _ => findings.pass("dnssec.expiry", format!("{days} days left")),
    }
}

async fn mx_hosts(audit: &Audit, findings: &mut Findings) {
    if !matches!(audit.mx, Mx::Records(_)) {
        findings.skip("dnssec.mx_hosts", "there are no MX hosts");
        return;
    }
    if !audit.dns.ask(&audit.domain, RecordType::MX).await.secure {
        findings.skip("dnssec.mx_hosts", "the resolver does not validate");
        return;
    }
    let mut unsigned = Vec::new();
    for host in &audit.hosts {
        let (v4, v6) =
            tokio::join!(audit.dns.ask(&host.name, RecordType::A), audit.dns.ask(&host.name, RecordType::AAAA));
        if [v4, v6].iter().any(|answer| answer.status == Status::Found && !answer.secure) {
            unsigned.push(format!("{} is not signed", host.name));
        }
    }
    findings.doubts(
        "dnssec.mx_hosts",
        &unsigned,
        "all are",
        "sign the zones of the MX hosts, or ask their provider to",
    );
}
