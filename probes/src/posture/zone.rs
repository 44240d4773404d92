//! The domain's zone: its name servers, RFC 1034 section 4.1, RFC 2182.

use std::collections::BTreeSet;
use std::net::IpAddr;

use hickory_resolver::proto::rr::{RData, RecordType};

use super::finding::{Findings, Seen, publish, spec};
use super::{Audit, Family};
use crate::dns::text;

/// Name servers that are looked at; the root has 13.
const SERVERS_MAX: usize = 16;

pub(super) const FAMILY: Family = Family {
    name: "zone",
    title: "Zone",
    checks: &[
        spec(
            "zone.servers",
            4,
            "There are at least two name servers",
            "With one alone the domain and its mail are gone while it is down (RFC 1034 section 4.1).",
        ),
        spec(
            "zone.resolves",
            4,
            "Every name server has an address",
            "Resolvers lose time at a name server without an address, and may give up.",
        ),
        spec(
            "zone.networks",
            2,
            "The name servers are in different networks",
            "One failed router takes all of them away (RFC 2182 section 3.1).",
        ),
        spec(
            "zone.not_cname",
            2,
            "No name server is an alias",
            "An NS record must not point to a CNAME (RFC 2181 section 10.3).",
        ),
    ],
    run: |audit| Box::pin(run(audit)),
};

async fn run(audit: &Audit) -> Findings {
    let mut findings = Findings::default();
    // A mail domain within a zone has no name servers of its own.
    let mut apex = audit.domain.as_str();
    let mut answer = audit.dns.ask(apex, RecordType::NS).await;
    if answer.records.is_empty() && apex != audit.organisation() {
        apex = audit.organisation();
        answer = audit.dns.ask(apex, RecordType::NS).await;
    }
    let names = answer.records.iter().filter_map(|record| match &record.data {
        RData::NS(ns) => Some(text(ns)),
        _ => None,
    });
    let names: BTreeSet<String> = names.take(SERVERS_MAX).collect();
    if names.is_empty() {
        findings.rest(format!("looking up NS of {apex}: {}", answer.status.describe()));
        return findings;
    }
    let listed = names.iter().cloned().collect::<Vec<_>>().join(", ");
    match names.len() {
        1 => findings.fail("zone.servers", listed, publish(apex, "NS", &format!("ns2.{apex}."))),
        _ => findings.pass("zone.servers", listed),
    }
    let (mut places, mut aliases, mut networks) = (Vec::new(), Vec::new(), BTreeSet::new());
    for name in names {
        let addresses = audit.dns.addresses(&name).await;
        if let Some(target) = audit.dns.ask(&name, RecordType::A).await.aliases.first() {
            aliases.push(format!("{name} is an alias of {target}"));
        }
        let seen = match &addresses {
            Ok(found) => Seen::Pass(found.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(", ")),
            Err(status) => Seen::Fail(
                status.describe().to_owned(),
                format!("publish an address of {name}., or remove it from the NS records of {apex}."),
            ),
        };
        networks.extend(addresses.iter().flatten().map(network));
        places.push((name, seen));
    }
    findings.worst("zone.resolves", places);
    findings.faults("zone.not_cname", &aliases, "none is an alias", "name the host behind the alias in the NS record");
    match networks.len() {
        0 => findings.skip("zone.networks", "no name server has an address"),
        1 => {
            findings.warn("zone.networks", "all addresses are in one network", "add a name server at another provider")
        }
        count => findings.pass("zone.networks", format!("{count} networks")),
    }
    findings
}

/// The /24 or the /48 that an address is in.
fn network(ip: &IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets()[..3].to_vec(),
        IpAddr::V6(ip) => ip.octets()[..6].to_vec(),
    }
}
