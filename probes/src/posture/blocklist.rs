//! DNS blocklists, RFC 5782: are the mail servers' addresses on one, or the domain?

use std::net::IpAddr;

use futures_util::future::join_all;
use hickory_resolver::proto::rr::RecordType;

use super::dns::{Status, is_public, reverse};
use super::finding::{Findings, Seen, spec};
use super::{Audit, Family};

/// Lists of one kind, and addresses, that are asked about.
const LISTS_MAX: usize = 20;
const ADDRESSES_MAX: usize = 16;

pub(super) const FAMILY: Family = Family {
    name: "blocklist",
    title: "Blocklists",
    checks: &[
        spec(
            "blocklist.address",
            7,
            "No mail server's address is on a blocklist",
            "Receivers that use the list refuse mail from the address.",
        ),
        spec(
            "blocklist.domain",
            7,
            "The domain is on no blocklist",
            "Receivers that use the list refuse mail that names the domain.",
        ),
    ],
    run: |audit| Box::pin(run(audit)),
};

async fn run(audit: &Audit) -> Findings {
    let mut findings = Findings::default();
    let addresses = audit.hosts.iter().flat_map(|host| host.addresses.iter().flatten().copied());
    let addresses: Vec<IpAddr> = addresses.filter(|ip| is_public(*ip)).take(ADDRESSES_MAX).collect();
    findings.rest("no list was asked");
    if addresses.is_empty() {
        findings.skip(
            "blocklist.address",
            audit.mx.why_no_hosts().unwrap_or_else(|| "no mail server has a public address".to_owned()),
        );
    }
    let mut questions = Vec::new();
    for list in audit.options.address_lists.iter().take(LISTS_MAX) {
        questions.extend(addresses.iter().map(|ip| (list, label(*ip), ip.to_string())));
    }
    findings.worst("blocklist.address", ask(audit, questions).await);
    let lists = audit.options.domain_lists.iter().take(LISTS_MAX);
    findings.worst(
        "blocklist.domain",
        ask(audit, lists.map(|list| (list, audit.domain.clone(), audit.domain.clone())).collect()).await,
    );
    findings
}

/// RFC 5782 section 2.1: the address in reverse, without the zone's name.
fn label(ip: IpAddr) -> String {
    reverse(ip).trim_end_matches(".in-addr.arpa").trim_end_matches(".ip6.arpa").to_owned()
}

async fn ask(audit: &Audit, questions: Vec<(&String, String, String)>) -> Vec<(String, Seen)> {
    let asked = questions.into_iter().map(|(list, label, what)| async move {
        let answer = audit.dns.ask(&format!("{label}.{list}"), RecordType::A).await;
        let codes: Vec<IpAddr> = answer.records.iter().filter_map(|record| record.data.ip_addr()).collect();
        let seen = match &answer.status {
            Status::Empty | Status::NoName => Seen::Pass("not listed".to_owned()),
            Status::Broken(why) => Seen::Skip(why.clone()),
            Status::Found => judge(list, &codes),
        };
        (format!("{what} at {list}"), seen)
    });
    join_all(asked).await
}

/// What a list answers: in 127.255.255.0/24 it says that it does not answer this resolver, which is no listing.
fn judge(list: &str, codes: &[IpAddr]) -> Seen {
    let octets = |ip: &IpAddr| match ip {
        IpAddr::V4(ip) => ip.octets(),
        IpAddr::V6(_) => [0; 4],
    };
    let shown = codes.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(", ");
    let refusing = |ip: &IpAddr| matches!(octets(ip), [127, 255, 255, _]);
    if codes.iter().any(refusing) {
        Seen::Skip(format!("it does not answer this resolver ({shown}); ask with --resolver over one of your own"))
    } else if codes.iter().any(|ip| octets(ip)[0] == 127) {
        Seen::Fail(
            format!("listed ({shown})"),
            format!(
                "find and stop the cause (a hacked account, a form, an infected host), then ask {list} for removal"
            ),
        )
    } else {
        Seen::Skip(format!("its answer {shown} is none of a blocklist; is the list still run?"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_that_refuses_the_resolver_does_not_list() {
        let code = |text: &str| [text.parse::<IpAddr>().unwrap()];
        assert!(matches!(judge("x.test", &code("127.0.0.4")), Seen::Fail(..)));
        assert!(matches!(judge("x.test", &code("127.255.255.254")), Seen::Skip(_)));
        assert!(matches!(judge("x.test", &code("5.45.100.1")), Seen::Skip(_)));
        assert_eq!(label("192.0.2.99".parse().unwrap()), "99.2.0.192");
        assert!(label("2a00::1".parse().unwrap()).ends_with("0.0.a.2"));
    }
}
