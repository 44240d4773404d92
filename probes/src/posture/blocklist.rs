//! DNS blocklists, RFC 5782: are the mail servers' addresses on one, or the domain?

use std::net::IpAddr;

use futures_util::future::join_all;
use hickory_resolver::proto::rr::RecordType;

use super::finding::{Findings, Seen, spec};
use super::{Audit, Family};
use crate::dns::blocklist::{Verdict, label, verdict};
use crate::dns::{Status, is_public};

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

async fn ask(audit: &Audit, questions: Vec<(&String, String, String)>) -> Vec<(String, Seen)> {
    let asked = questions.into_iter().map(|(list, label, what)| async move {
        let answer = audit.dns.ask(&format!("{label}.{list}"), RecordType::A).await;
        let codes: Vec<IpAddr> = answer.records.iter().filter_map(|record| record.data.ip_addr()).collect();
        let seen = match &answer.status {
            Status::Broken(why) => Seen::Skip(why.clone()),
            Status::Found | Status::Empty | Status::NoName => judge(list, &codes),
        };
        (format!("{what} at {list}"), seen)
    });
    join_all(asked).await
}

/// What a list's answer means for the audit.
fn judge(list: &str, codes: &[IpAddr]) -> Seen {
    let shown = codes.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(", ");
    match verdict(codes) {
        Verdict::NotListed => Seen::Pass("not listed".to_owned()),
        Verdict::Listed => Seen::Fail(
            format!("listed ({shown})"),
            format!(
                "find and stop the cause (a hacked account, a form, an infected host), then ask {list} for removal"
            ),
        ),
        Verdict::Refused => {
            Seen::Skip(format!("it does not answer this resolver ({shown}); ask with --resolver over one of your own"))
        }
        Verdict::Foreign => Seen::Skip(format!("its answer {shown} is none of a blocklist; is the list still run?")),
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
    }
}
