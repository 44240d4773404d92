//! `blocklist`: neither the addresses of a host nor its domain are on a DNS blocklist (RFC 5782).
//!
//! A list is tried first with its test entry, which must be listed: one that lists nothing has died, and one that
//! lists everything too (RFC 5782 section 5). A list that refuses this resolver says nothing about the host: that is a
//! fault of the vantage, no vote. So is a list that has died: the others still count.

use std::net::{IpAddr, Ipv4Addr};

use aggregator::event::ProbeOutcome;
use futures_util::future::join_all;
use hickory_resolver::proto::rr::{RData, RecordType};

use super::access::Probe;
use super::{Finding, Kind, Need, Steps, Stop, dns};
use crate::conversation::{Class, Fault, printable};
use crate::dns::blocklist::{Verdict, label, verdict};
use crate::dns::{Dns, canonical};

/// Lists that one check asks.
const LISTS_MAX: usize = 20;
/// Addresses of a host that are asked about.
const ADDRESSES_MAX: usize = 16;

/// RFC 5782 section 5: what every list of addresses has, and what none has.
const TEST_ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const NEVER_ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 1);
/// The same for lists of domains: RFC 5782 section 5 has these two labels.
const TEST_DOMAIN: &str = "TEST";
const NEVER_DOMAIN: &str = "INVALID";

pub(super) const KIND: Kind = Kind {
    name: "blocklist",
    title: "Blocklists: the lists work, and have neither the host's addresses nor the domain",
    patience: 5,
    needs: &[Need::Host, Need::Lists],
    run: |probe, steps| Box::pin(run(probe, steps)),
};

/// What is asked about, and where.
struct Inquiry {
    resolver: Dns,
    lists: Vec<String>,
    /// Entries that each list must have, and must not have.
    test: String,
    never: String,
    subjects: Vec<Subject>,
}

struct Subject {
    shown: String,
    label: String,
}

async fn run(probe: &Probe<'_>, steps: &mut Steps) -> Result<ProbeOutcome, Stop> {
    let inquiry = prepare(probe, steps).await?;
    let names = inquiry.lists.join(", ");
    let (mut sound, mut unsound) = (Vec::new(), Vec::new());
    let work = async {
        let tests = join_all(inquiry.lists.iter().map(|list| inquiry.test(list))).await;
        for (list, test) in inquiry.lists.iter().zip(tests) {
            match test {
                Ok(()) => sound.push(list),
                Err(fault) => unsound.push(fault),
            }
        }
        match unsound.first() {
            Some(fault) if sound.is_empty() => Err(fault.clone()),
            _ => Ok(()),
        }
    };
    steps.run("lists", format!("asking {names} for their test entries"), work).await?;
    steps.note(unsound.iter().map(|fault| fault.detail.as_str()).collect::<Vec<_>>().join("; "));

    let shown = inquiry.subjects.iter().map(|subject| subject.shown.as_str()).collect::<Vec<_>>().join(", ");
    let mut hits = Vec::new();
    let work = async {
        let questions = sound.iter().flat_map(|list| inquiry.subjects.iter().map(move |subject| (list, subject)));
        let asked = join_all(questions.map(|(list, subject)| inquiry.look_up(list, subject))).await;
        for answer in asked {
            match answer {
                Ok(hit) => hits.extend(hit),
                Err(fault) => unsound.push(fault),
            }
        }
        let named: Vec<String> = hits.iter().filter_map(Finding::listing).collect();
        match unsound.pop() {
            _ if !named.is_empty() => Err(Fault::new(Class::Listed, named.join("; "))),
            // Without its word nobody knows: that is neither a listing nor an acquittal.
            Some(fault) => Err(fault),
            None => Ok(()),
        }
    };
    let result = steps.run("listed", format!("asking {names} for {shown}"), work).await;
    hits.into_iter().for_each(|hit| steps.found(hit));
    result?;
    steps.note(format!("{shown}: not listed"));
    Ok(ProbeOutcome::Ok)
}

async fn prepare(probe: &Probe<'_>, steps: &mut Steps) -> Result<Inquiry, Stop> {
    let check = probe.check;
    let host = check.host.as_deref().unwrap_or_default();
    let of_domains = !check.domain_lists.is_empty();
    let by_name = !of_domains && host.parse::<IpAddr>().is_err();
    if by_name {
        steps.plan(&["dns"]);
    }
    steps.plan(&["lists", "listed"]);
    let lists = if of_domains { &check.domain_lists } else { &check.address_lists };
    let resolver = match dns::at(probe) {
        Ok(resolver) => resolver,
        Err(fault) => return Err(steps.misconfigured(fault.detail)),
    };
    let entry = |entry: &str| check.test_entry.clone().unwrap_or_else(|| entry.to_owned());
    let (test, never) = match of_domains {
        true => (entry(TEST_DOMAIN), NEVER_DOMAIN.to_owned()),
        false => (label(TEST_ADDRESS.into()), label(NEVER_ADDRESS.into())),
    };
    let subjects = subjects(&resolver, host, of_domains, by_name, steps).await?;
    let lists = lists.iter().take(LISTS_MAX).cloned().collect();
    Ok(Inquiry { resolver, lists, test, never, subjects })
}

async fn subjects(
    resolver: &Dns,
    host: &str,
    of_domains: bool,
    by_name: bool,
    steps: &mut Steps,
) -> Result<Vec<Subject>, Stop> {
    if of_domains {
        return match canonical(host) {
            Some(name) => Ok(vec![Subject { shown: name.clone(), label: name }]),
            None => Err(steps.misconfigured(format!("{host:?} is no domain name"))),
        };
    }
    let addresses = match host.parse() {
        Ok(ip) if !by_name => vec![ip],
        _ => {
            let work = async {
                resolver.addresses(host).await.map_err(|status| Fault::new(status.class(), status.describe()))
            };
            steps.run("dns", format!("looking up the addresses of {host}"), work).await?
        }
    };
    let subject = |ip: IpAddr| Subject { shown: ip.to_string(), label: label(ip) };
    Ok(addresses.into_iter().take(ADDRESSES_MAX).map(subject).collect())
}

impl Inquiry {
    /// Whether a list works: it has its test entry, and not the entry that no list has.
    async fn test(&self, list: &str) -> Result<(), Fault> {
        if self.codes(&self.test, list).await?.is_empty() {
            return Err(dead(list, &format!("does not list its own test entry {}", self.test)));
        }
        if !self.codes(&self.never, list).await?.is_empty() {
            return Err(dead(list, &format!("lists {}, which no list has: it lists everything", self.never)));
        }
        Ok(())
    }

    async fn look_up(&self, list: &str, subject: &Subject) -> Result<Option<Finding>, Fault> {
        let codes = self.codes(&subject.label, list).await?;
        if codes.is_empty() {
            return Ok(None);
        }
        let answer = self.resolver.ask(&format!("{}.{list}", subject.label), RecordType::TXT).await;
        let reason = answer.records.iter().find_map(|record| match &record.data {
            RData::TXT(txt) => Some(printable(&String::from_utf8_lossy(&txt.txt_data.concat()))),
            _ => None,
        });
        Ok(Some(Finding::Listed {
            subject: subject.shown.clone(),
            list: list.to_owned(),
            answer: shown(&codes),
            reason: reason.unwrap_or_default(),
        }))
    }

    /// The codes that a list answers with; none: no entry.
    async fn codes(&self, label: &str, list: &str) -> Result<Vec<IpAddr>, Fault> {
        let name = format!("{label}.{list}");
        let answer = self.resolver.ask(&name, RecordType::A).await;
        let codes: Vec<IpAddr> = match answer.found() {
            Ok(records) => records.iter().filter_map(|record| record.data.ip_addr()).collect(),
            Err(fault) if matches!(fault.class, Class::NxDomain | Class::NoRecords) => Vec::new(),
            Err(fault) => return Err(Fault::new(Class::Vantage, format!("{list} cannot be asked: {}", fault.detail))),
        };
        match verdict(&codes) {
            Verdict::NotListed | Verdict::Listed => Ok(codes),
            Verdict::Refused => Err(Fault::new(
                Class::Vantage,
                format!(
                    "{list} answers {}: it does not serve this resolver; name one of your own as `server`",
                    shown(&codes)
                ),
            )),
            Verdict::Foreign => Err(dead(list, &format!("answers {}, which is no answer of a list", shown(&codes)))),
        }
    }
}

fn shown(codes: &[IpAddr]) -> String {
    codes.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(", ")
}

fn dead(list: &str, what: &str) -> Fault {
    Fault::new(Class::DeadList, format!("{list} {what}; is it still run? take it out of the check's lists"))
}
