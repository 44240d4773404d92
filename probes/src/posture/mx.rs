//! MX records: where the mail goes, RFC 5321 section 5, RFC 7505.

use std::collections::BTreeSet;
use std::net::IpAddr;

use hickory_resolver::proto::rr::RecordType;

use super::finding::{Findings, Seen, publish, spec};
use super::survey::Mx;
use super::{Audit, Family};
use crate::dns::{Status, is_public};

pub(super) const FAMILY: Family = Family {
    name: "mx",
    title: "MX",
    checks: &[
        spec(
            "mx.exists",
            10,
            "The domain says where its mail goes",
            "Without an MX record mail cannot be delivered reliably, or not at all.",
        ),
        spec(
            "mx.null",
            6,
            "A null MX stands alone",
            "A null MX beside others contradicts itself: some senders will refuse to deliver (RFC 7505 section 3).",
        ),
        spec(
            "mx.not_ip",
            9,
            "Every MX is a host name",
            "An MX record must name a host; senders refuse one that holds an IP address.",
        ),
        spec(
            "mx.not_cname",
            6,
            "No MX is an alias",
            "An MX must not point to a CNAME (RFC 2181 section 10.3); some senders refuse such mail.",
        ),
        spec(
            "mx.resolves",
            9,
            "Every MX has an address",
            "An MX without an address costs senders time, and mail when it is the only one.",
        ),
        spec(
            "mx.public",
            8,
            "Every address of an MX is public",
            "Nobody outside can reach a private address, and mail to it may go astray.",
        ),
        spec(
            "mx.several",
            2,
            "There are at least two MX hosts or addresses",
            "With one address alone mail waits at the senders while it is down.",
        ),
        spec(
            "mx.distinct",
            2,
            "The MX hosts do not share an address",
            "Several MX records of one address look redundant and are not.",
        ),
        spec(
            "mx.ipv6",
            2,
            "An MX can be reached over IPv6",
            "Senders without IPv4 cannot deliver to a host that has only that.",
        ),
    ],
    run: |audit| Box::pin(run(audit)),
};

async fn run(audit: &Audit) -> Findings {
    let mut findings = Findings::default();
    let domain = &audit.domain;
    let host = format!("10 mx.{domain}.");
    let records = match &audit.mx {
        Mx::Records(records) => records.clone(),
        Mx::Implicit => {
            let evidence = "no MX record; senders fall back to the domain's own address (RFC 5321 section 5.1)";
            findings.warn("mx.exists", evidence, publish(domain, "MX", &format!("10 {domain}.")));
            vec![(0, domain.clone())]
        }
        Mx::Null => {
            findings.pass("mx.exists", "null MX: the domain says that it takes no mail");
            findings.pass("mx.null", "it stands alone");
            findings.rest("the domain takes no mail (null MX, RFC 7505)");
            return findings;
        }
        Mx::None(status) => {
            let evidence = format!("looking up MX of {domain}: {}", status.describe());
            let remedy = match status {
                Status::Broken(_) => format!("mend the name servers of {domain}, or ask another resolver"),
                _ => publish(domain, "MX", &host),
            };
            findings.fail("mx.exists", evidence.clone(), remedy);
            findings.rest(evidence);
            return findings;
        }
    };
    let listed = records.iter().map(|(preference, name)| format!("{preference} {name}.")).collect::<Vec<_>>();
    if matches!(audit.mx, Mx::Records(_)) {
        findings.pass("mx.exists", listed.join(", "));
    }
    match records.iter().any(|(_, name)| name.is_empty()) {
        true => findings.fail(
            "mx.null",
            listed.join(", "),
            format!("remove \"{domain}. IN MX 0 .\" or all other MX records"),
        ),
        false => findings.pass("mx.null", "there is none"),
    }
    let names: Vec<String> = records.into_iter().map(|(_, name)| name).filter(|name| !name.is_empty()).collect();
    let literal =
        |name: &&String| name.parse::<IpAddr>().is_ok() || name.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
    let literals: Vec<String> = names.iter().filter(literal).map(|name| format!("{name} is an address")).collect();
    findings.faults("mx.not_ip", &literals, "all are names", publish(domain, "MX", &host));
    aliases(audit, &mut findings).await;
    addresses(audit, &mut findings);
    findings
}

async fn aliases(audit: &Audit, findings: &mut Findings) {
    let mut faults = Vec::new();
    for host in &audit.hosts {
        let answer = audit.dns.ask(&host.name, RecordType::A).await;
        if let Some(target) = answer.aliases.first() {
            faults.push(format!("{} is an alias of {target}", host.name));
        }
    }
    findings.faults("mx.not_cname", &faults, "none is an alias", "name the host behind the alias in the MX record");
}

fn addresses(audit: &Audit, findings: &mut Findings) {
    let domain = &audit.domain;
    findings.worst(
        "mx.resolves",
        audit.hosts.iter().map(|host| {
            let seen = match &host.addresses {
                Ok(found) => Seen::Pass(found.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(", ")),
                Err(status) => Seen::Fail(
                    status.describe().to_owned(),
                    format!("publish an A and an AAAA record of {}., or remove it from the MX records", host.name),
                ),
            };
            (host.name.clone(), seen)
        }),
    );
    let all: Vec<(&str, IpAddr)> = audit
        .hosts
        .iter()
        .flat_map(|host| host.addresses.iter().flatten().map(|ip| (host.name.as_str(), *ip)))
        .collect();
    if all.is_empty() {
        findings.rest("no MX has an address");
        return;
    }
    let private: Vec<String> =
        all.iter().filter(|(_, ip)| !is_public(*ip)).map(|(name, ip)| format!("{name} has {ip}")).collect();
    findings.faults(
        "mx.public",
        &private,
        "all are public",
        "publish the address under which the Internet reaches the host; keep private ones in an internal zone",
    );
    let distinct: BTreeSet<IpAddr> = all.iter().map(|(_, ip)| *ip).collect();
    let v4 = distinct.iter().filter(|ip| ip.is_ipv4()).count();
    let count = format!("{} hosts, {} addresses", audit.hosts.len(), distinct.len());
    match audit.hosts.len() > 1 || v4 > 1 || (v4 == 0 && distinct.len() > 1) {
        true => findings.pass("mx.several", count),
        false => findings.warn(
            "mx.several",
            count,
            format!("add a second server: {}", publish(domain, "MX", &format!("20 mx2.{domain}."))),
        ),
    }
    let shared: BTreeSet<IpAddr> =
        distinct.iter().copied().filter(|ip| all.iter().filter(|(_, this)| this == ip).count() > 1).collect();
    let shared: Vec<String> = shared.iter().map(|ip| format!("{ip} belongs to several")).collect();
    findings.doubts(
        "mx.distinct",
        &shared,
        "each has its own",
        "give every MX host an address of its own, or keep one record",
    );
    match distinct.iter().find(|ip| ip.is_ipv6()) {
        Some(ip) => findings.pass("mx.ipv6", ip.to_string()),
        None => findings.warn(
            "mx.ipv6",
            "no MX has an AAAA record",
            format!(
                "give the server an IPv6 address with a PTR record and publish: {}. IN AAAA …",
                audit.hosts[0].name
            ),
        ),
    }
}
