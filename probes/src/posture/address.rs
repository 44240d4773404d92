//! The names of the mail servers' addresses: PTR, and the way back (FCrDNS, RFC 1912 section 2.1).

use std::net::IpAddr;

use super::finding::{Findings, Seen, spec};
use super::{Audit, Family};
use crate::dns::{Status, reverse};

/// Addresses that are looked at.
const ADDRESSES_MAX: usize = 16;
/// PTR names of one address that are followed.
const NAMES_MAX: usize = 8;

pub(super) const FAMILY: Family = Family {
    name: "address",
    title: "Addresses of the mail servers",
    checks: &[
        spec(
            "address.ptr",
            7,
            "Every address has a name in the reverse zone",
            "Large receivers refuse mail from addresses without a PTR record.",
        ),
        spec(
            "address.fcrdns",
            6,
            "The name leads back to the address",
            "A PTR name that does not resolve to its address counts as forged.",
        ),
        spec(
            "address.generic",
            3,
            "The name is not a generic one",
            "Names made of the address look like dial-up hosts and are scored as spam.",
        ),
        spec(
            "address.single",
            1,
            "An address has one name",
            "Which of several PTR names a receiver sees is a matter of chance.",
        ),
    ],
    run: |audit| Box::pin(run(audit)),
};

async fn run(audit: &Audit) -> Findings {
    let mut findings = Findings::default();
    let addresses = audit.hosts.iter().flat_map(|host| host.addresses.iter().flatten().map(move |ip| (host, *ip)));
    let addresses: Vec<_> = addresses.take(ADDRESSES_MAX).collect();
    if addresses.is_empty() {
        findings.rest(audit.mx.why_no_hosts().unwrap_or_else(|| "no MX has an address".to_owned()));
        return findings;
    }
    let (mut ptr, mut back, mut generic, mut single) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (host, ip) in addresses {
        let (status, names) = audit.dns.names_of(ip).await;
        let remedy = format!("ask the provider of {ip} to publish: {}. IN PTR {}.", reverse(ip), host.name);
        let Some(first) = names.first() else {
            let seen = match status {
                Status::Broken(why) => Seen::Skip(format!("looking up its name: {why}")),
                other => Seen::Fail(other.describe().to_owned(), remedy),
            };
            ptr.push((ip.to_string(), seen));
            continue;
        };
        ptr.push((ip.to_string(), Seen::Pass(names.join(", "))));
        let mut leads_back = false;
        for name in names.iter().take(NAMES_MAX) {
            leads_back |= audit.dns.addresses(name).await.is_ok_and(|found| found.contains(&ip));
        }
        back.push((
            ip.to_string(),
            if leads_back {
                Seen::Pass(format!("{first} has {ip}"))
            } else {
                Seen::Fail(
                    format!("{} does not have this address", names.join(", ")),
                    format!("publish the address {ip} at {first}., or: {remedy}"),
                )
            },
        ));
        generic.push((
            ip.to_string(),
            if is_generic(first, ip) {
                Seen::Warn(format!("{first} is made of the address"), remedy)
            } else {
                Seen::Pass(first.clone())
            },
        ));
        single.push((
            ip.to_string(),
            if names.len() > 1 {
                Seen::Warn(
                    format!("{} names: {}", names.len(), names.join(", ")),
                    "keep the name that the server says in HELO".to_owned(),
                )
            } else {
                Seen::Pass(first.clone())
            },
        ));
    }
    findings.worst("address.ptr", ptr);
    findings.worst("address.fcrdns", back);
    findings.worst("address.generic", generic);
    findings.worst("address.single", single);
    findings.rest("no address has a name");
    findings
}

/// Whether a name is made of its IPv4 address: three of its octets are in the name as numbers of their own.
fn is_generic(name: &str, ip: IpAddr) -> bool {
    let IpAddr::V4(ip) = ip else { return false };
    let numbers: Vec<&str> = name.split(|c: char| !c.is_ascii_digit()).filter(|part| !part.is_empty()).collect();
    let octets = ip.octets().map(|octet| octet.to_string());
    let whole =
        octets.iter().filter(|octet| numbers.iter().any(|number| number.trim_start_matches('0') == **octet)).count();
    whole >= 3 && numbers.len() >= 3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_made_of_the_address_are_generic() {
        let ip = "5.45.100.7".parse().unwrap();
        for generic in ["5-45-100-7.dsl.example", "host7.100.45.5.example", "ip005-045-100-007.example"] {
            assert!(is_generic(generic, ip), "{generic}");
        }
        for own in ["mx.example.test", "mx5.example.test", "a45-100.example.test"] {
            assert!(!is_generic(own, ip), "{own}");
        }
    }
}
