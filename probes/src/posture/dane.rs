//! DANE for SMTP, RFC 7672: TLSA records under DNSSEC, against the chain that the server sends.

use aws_lc_rs::digest::{SHA256, SHA512, digest};
use hickory_resolver::proto::rr::rdata::TLSA;
use hickory_resolver::proto::rr::{RData, RecordType};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::finding::{Findings, Seen, spec};
use super::survey::Host;
use super::{Audit, Family};
use crate::conversation::Certificate;
use crate::dns::Status;

pub(super) const FAMILY: Family = Family {
    name: "dane",
    title: "DANE",
    checks: &[
        spec(
            "dane.exists",
            3,
            "The MX hosts have TLSA records",
            "With them senders demand TLS and the right key, without trusting any authority.",
        ),
        spec(
            "dane.all_hosts",
            3,
            "Either all MX hosts have TLSA records, or none",
            "An attacker leads senders to the host without.",
        ),
        spec(
            "dane.secure",
            5,
            "The TLSA records are signed",
            "Senders ignore TLSA records that DNSSEC does not protect (RFC 7672 section 2.2).",
        ),
        spec(
            "dane.answers",
            6,
            "Questions for TLSA records are answered",
            "While they fail, senders with DANE hold mail back (RFC 7672 section 2.2).",
        ),
        spec(
            "dane.usage",
            4,
            "The records have usage 2 or 3",
            "SMTP senders do not use PKIX usages 0 and 1 (RFC 7672 section 3.1.3).",
        ),
        spec(
            "dane.parameters",
            3,
            "Selector and matching type are known ones",
            "Senders cannot use a record whose selector or digest they do not know.",
        ),
        spec(
            "dane.match",
            8,
            "A record matches the server's certificate",
            "When none matches, senders with DANE deliver nothing.",
        ),
        spec(
            "dane.rollover",
            2,
            "Records are kept for the next key as well",
            "With a single 3 1 1 record a renewal with a new key stops mail until the DNS has followed.",
        ),
    ],
    run: |audit| Box::pin(run(audit)),
};

/// The TLSA records of a host, whether they are protected, and why there are none when the look-up failed.
async fn records(audit: &Audit, host: &str) -> (Vec<TLSA>, bool, Option<String>) {
    let answer = audit.dns.ask(&format!("_{}._tcp.{host}", audit.options.smtp_port), RecordType::TLSA).await;
    let tlsa = answer.records.iter().filter_map(|record| match &record.data {
        RData::TLSA(tlsa) => Some(tlsa.clone()),
        _ => None,
    });
    let failure = match &answer.status {
        Status::Broken(why) => Some(why.clone()),
        Status::Found | Status::Empty | Status::NoName => None,
    };
    (tlsa.collect(), answer.secure, failure)
}

/// Whether DANE-EE pins the certificate of a host, so that its name and issuer do not count.
pub(super) async fn pins(audit: &Audit, host: &str, certificate: &Certificate) -> bool {
    let (records, secure, _) = records(audit, host).await;
    secure && records.iter().any(|record| usage(record) == 3 && matches(record, certificate))
}

async fn run(audit: &Audit) -> Findings {
    let mut findings = Findings::default();
    if let Some(why) = audit.mx.why_no_hosts() {
        findings.rest(why);
        return findings;
    }
    let (mut with, mut without, mut failures) = (Vec::new(), Vec::new(), Vec::new());
    for host in &audit.hosts {
        match records(audit, &host.name).await {
            (records, _, failure) if records.is_empty() => {
                failures.extend(failure.map(|why| format!("{}: {why}", host.name)));
                without.push(host);
            }
            (records, secure, _) => with.push((host, records, secure)),
        }
    }
    let port = audit.options.smtp_port;
    let advice = |host: &Host| {
        let value = host
            .survey
            .as_ref()
            .ok()
            .and_then(|survey| survey.certificate())
            .and_then(|certificate| certificate.der.first().and_then(|der| association(der, 1, 1)));
        let value = value.map_or("(SHA-256 of the certificate's public key)".to_owned(), |octets| hex(&octets));
        format!("publish: _{port}._tcp.{}. IN TLSA 3 1 1 {value}", host.name)
    };
    let remedy = "mend the name servers of the host's zone: they must answer for TLSA, if only that there is none";
    findings.faults("dane.answers", &failures, "all are", remedy);
    findings.rest("there are no TLSA records");
    if with.is_empty() {
        let remedy = without.first().map(|host| format!("sign the zone, then {}", advice(host)));
        findings.warn("dane.exists", "no MX host has TLSA records", remedy.unwrap_or_default());
        return findings;
    }
    let names = |hosts: &[&Host]| hosts.iter().map(|host| host.name.as_str()).collect::<Vec<_>>().join(", ");
    findings.pass("dane.exists", names(&with.iter().map(|(host, ..)| *host).collect::<Vec<_>>()));
    match without.first() {
        Some(host) => findings.warn("dane.all_hosts", format!("without: {}", names(&without)), advice(host)),
        None => findings.pass("dane.all_hosts", "all have"),
    }
    findings.worst("dane.secure", with.iter().map(|(host, _, secure)| (host.name.clone(), match secure {
        true => Seen::Pass("validated".to_owned()),
        false => Seen::Fail(format!("not validated by the resolver ({})", audit.dns.servers()), format!("sign the zone of {} and have the DS record published by its parent; if it is signed, ask a validating resolver with --resolver", host.name)),
    })));
    let mut each = |id, judge: &dyn Fn(&Host, &[TLSA]) -> Seen| {
        findings.worst(id, with.iter().map(|(host, records, _)| (host.name.clone(), judge(host, records))));
    };
    each("dane.usage", &|host, records| match records
        .iter()
        .filter(|record| !matches!(usage(record), 2 | 3))
        .collect::<Vec<_>>()[..]
    {
        [] => Seen::Pass(list(records)),
        [record, ..] => Seen::Warn(format!("usage {}: {}", usage(record), list(records)), advice(host)),
    });
    each("dane.parameters", &|host, records| match records
        .iter()
        .find(|record| selector(record) > 1 || !length_fits(record))
    {
        None => Seen::Pass(list(records)),
        Some(record) => Seen::Fail(
            format!("{} has an unknown selector or matching type, or a digest of the wrong length", describe(record)),
            advice(host),
        ),
    });
    each("dane.match", &|host, records| match host.survey.as_ref().ok().and_then(|survey| survey.certificate()) {
        None => Seen::Skip("the server showed no certificate".to_owned()),
        Some(certificate) => {
            match records.iter().find(|record| matches!(usage(record), 2 | 3) && matches(record, certificate)) {
                Some(record) => Seen::Pass(describe(record)),
                None => Seen::Fail(format!("none of {}", list(records)), advice(host)),
            }
        }
    });
    each(
        "dane.rollover",
        &|host, records| match records.len() > 1 || records.iter().any(|record| usage(record) == 2) {
            true => Seen::Pass(format!("{} records", records.len())),
            false => Seen::Warn(
                list(records),
                format!(
                    "before each renewal publish the next key's record beside it, at _{port}._tcp.{}.: keep two, of this key and of the next, or pin the authority by 2 1 1",
                    host.name
                ),
            ),
        },
    );
    findings
}

fn usage(record: &TLSA) -> u8 {
    record.cert_usage.into()
}

fn selector(record: &TLSA) -> u8 {
    record.selector.into()
}

fn matching(record: &TLSA) -> u8 {
    record.matching.into()
}

fn length_fits(record: &TLSA) -> bool {
    match matching(record) {
        0 => !record.cert_data.is_empty(),
        1 => record.cert_data.len() == 32,
        2 => record.cert_data.len() == 64,
        _ => false,
    }
}

/// Usage 3 pins the leaf, usage 2 any certificate above it that the server sends (RFC 7672 section 3.1.2).
fn matches(record: &TLSA, certificate: &Certificate) -> bool {
    let candidates = match usage(record) {
        3 => certificate.der.get(..1),
        2 => certificate.der.get(1..),
        _ => None,
    };
    let same = |der: &[u8]| {
        association(der, selector(record), matching(record)).is_some_and(|octets| octets == record.cert_data)
    };
    candidates.unwrap_or_default().iter().any(|der| same(der))
}

/// The association data of RFC 6698 section 2.1 for a certificate.
fn association(der: &[u8], selector: u8, matching: u8) -> Option<Vec<u8>> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let octets = match selector {
        0 => der,
        1 => certificate.public_key().raw,
        _ => return None,
    };
    match matching {
        0 => Some(octets.to_vec()),
        1 => Some(digest(&SHA256, octets).as_ref().to_vec()),
        2 => Some(digest(&SHA512, octets).as_ref().to_vec()),
        _ => None,
    }
}

fn describe(record: &TLSA) -> String {
    let octets = record.cert_data.get(..8).unwrap_or(&record.cert_data);
    format!("{} {} {} {}…", usage(record), selector(record), matching(record), hex(octets))
}

fn list(records: &[TLSA]) -> String {
    records.iter().map(describe).collect::<Vec<_>>().join(", ")
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}
