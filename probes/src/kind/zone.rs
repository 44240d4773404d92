//! `zone`: every name server of a zone answers for it, with the same contents, and the zone's signatures hold.
//!
//! Each name server is asked itself, at each of its addresses: a resolver would show one of them, and remember it. One
//! that does not answer with authority is a *lame delegation* (RFC 1912 section 2.8) and is named.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use aggregator::event::{ProbeOutcome, Time};
use futures_util::future::join_all;
use hickory_resolver::proto::op::{Message, ResponseCode};
use hickory_resolver::proto::rr::{RData, RecordType};

use super::access::Probe;
use super::{Kind, Need, Steps, Stop, dns};
use crate::conversation::{Class, Fault, printable};
use crate::dns::wire::{self, Flags, question};
use crate::dns::{Dns, chain, text, wire_name};

/// Name servers of a zone that are asked; the root has 13.
const SERVERS_MAX: usize = 16;
/// Addresses of them that are asked.
const ADDRESSES_MAX: usize = 32;

pub(super) const KIND: Kind = Kind {
    name: "zone",
    title: "Zone: each name server asked itself, same serial and MX everywhere, DNSSEC valid and for how long",
    patience: 5,
    needs: &[Need::Host],
    run: |probe, steps| Box::pin(run(probe, steps)),
};

/// A name server at one of its addresses, as words: `ns1.example.org (192.0.2.1)`.
type Place = String;

async fn run(probe: &Probe<'_>, steps: &mut Steps) -> Result<ProbeOutcome, Stop> {
    steps.plan(&["dns", "servers", "serial", "mx", "dnssec"]);
    let zone = probe.check.host.as_deref().unwrap_or_default();
    let resolver = match dns::at(probe) {
        Ok(resolver) => resolver,
        Err(fault) => return Err(steps.misconfigured(fault.detail)),
    };
    let servers =
        steps.run("dns", format!("looking up the name servers of {zone}"), delegation(&resolver, zone, probe));
    let servers = servers.await?;

    let work = async {
        let answers = ask_all(&servers, zone, RecordType::SOA, probe).await?;
        answers.iter().map(|(place, answer)| Ok((place.clone(), serial(answer)?))).collect::<Result<Vec<_>, Fault>>()
    };
    let serials = steps.run("servers", format!("asking each name server of {zone} for its SOA record"), work).await?;
    steps.note(serials.iter().map(|(place, _)| place.as_str()).collect::<Vec<_>>().join(", "));

    let serials = serials.into_iter().map(|(place, serial)| (place, serial.to_string()));
    let agreed = async { agree("SOA serial", serials) };
    let serial = steps.run("serial", format!("comparing the serials of {zone}"), agreed).await?;
    steps.note(format!("serial {serial}"));

    let work = async {
        let answers = ask_all(&servers, zone, RecordType::MX, probe).await?;
        agree("MX records", answers.iter().map(|(place, answer)| (place.clone(), exchangers(answer))))
    };
    let exchangers = steps.run("mx", format!("comparing what each name server of {zone} says of MX"), work).await?;
    steps.note(printable(&exchangers));

    let signed = steps.run("dnssec", format!("checking the signatures of {zone}"), signatures(&resolver, zone)).await?;
    steps.note(signed);
    Ok(ProbeOutcome::Ok)
}

/// The addresses of the zone's name servers. One without an address is a fault of the zone.
async fn delegation(resolver: &Dns, zone: &str, probe: &Probe<'_>) -> Result<Vec<(Place, SocketAddr)>, Fault> {
    let answer = resolver.ask(zone, RecordType::NS).await;
    let mut names: Vec<String> = answer
        .found()?
        .iter()
        .filter_map(|record| match &record.data {
            RData::NS(ns) => Some(text(ns)),
            _ => None,
        })
        .collect();
    names.sort_unstable();
    names.dedup();
    names.truncate(SERVERS_MAX);
    let found = join_all(names.iter().map(|name| resolver.addresses(name))).await;
    let mut servers = Vec::new();
    for (name, addresses) in names.iter().zip(found) {
        let without = |why: &str| Fault::new(Class::NoRecords, format!("its name server {name} has no address: {why}"));
        let addresses: Vec<IpAddr> = addresses.map_err(|status| without(status.describe()))?;
        let at = |ip: IpAddr| (format!("{name} ({ip})"), SocketAddr::new(ip, dns::port(probe)));
        servers.extend(addresses.into_iter().map(at));
    }
    servers.truncate(ADDRESSES_MAX);
    Ok(servers)
}

/// What every name server says itself, all asked at once.
async fn ask_all(
    servers: &[(Place, SocketAddr)],
    zone: &str,
    kind: RecordType,
    probe: &Probe<'_>,
) -> Result<Vec<(Place, Message)>, Fault> {
    let name = wire_name(zone).ok_or_else(|| Fault::new(Class::Config, "this is no domain name"))?;
    let query = question(&name, kind, Flags::default());
    // Twice, because a datagram may be lost; and the step's own time-out shall not come first.
    let limit = probe.timeout().mul_f32(0.45);
    let query = &query;
    let asked = servers.iter().map(|(place, address)| async move {
        let mut answer = wire::ask(*address, query, limit).await;
        if answer.as_ref().is_err_and(|fault| fault.class == Class::DnsTimeout) {
            answer = wire::ask(*address, query, limit).await;
        }
        let answer = answer.and_then(authoritative);
        answer.map(|answer| (place.clone(), answer)).map_err(|fault| (place, fault))
    });
    let (mut told, mut lame) = (Vec::new(), Vec::new());
    for answer in join_all(asked).await {
        match answer {
            Ok(answer) => told.push(answer),
            Err(fault) => lame.push(fault),
        }
    }
    let Some((_, first)) = lame.first() else { return Ok(told) };
    let named: Vec<String> = lame.iter().map(|(place, fault)| format!("{place}: {}", fault.detail)).collect();
    let (count, all) = (lame.len(), servers.len());
    Err(Fault::new(first.class, format!("{count} of {all} name servers do not serve it: {}", named.join("; "))))
}

/// An answer of a server that has the zone.
fn authoritative(answer: Message) -> Result<Message, Fault> {
    let lame = |what: String| Err(Fault::new(Class::Lame, format!("lame delegation, {what}")));
    match answer.metadata.response_code {
        ResponseCode::NoError if answer.metadata.authoritative => Ok(answer),
        ResponseCode::NoError => lame("it answers without authority".to_owned()),
        code => lame(format!("it answers with {code}")),
    }
}

fn serial(answer: &Message) -> Result<u32, Fault> {
    let soa = answer.answers.iter().find_map(|record| match &record.data {
        RData::SOA(soa) => Some(soa.serial),
        _ => None,
    });
    soa.ok_or_else(|| Fault::new(Class::Lame, "it claims the zone, but has no SOA record of it"))
}

fn exchangers(answer: &Message) -> String {
    let mut records: Vec<String> = answer
        .answers
        .iter()
        .filter_map(|record| match &record.data {
            RData::MX(mx) => Some(format!("{} {}", mx.preference, text(&mx.exchange))),
            _ => None,
        })
        .collect();
    records.sort_unstable();
    if records.is_empty() { "none".to_owned() } else { records.join(", ") }
}

/// What all say; or who says what.
fn agree(what: &str, told: impl Iterator<Item = (Place, String)>) -> Result<String, Fault> {
    let mut groups: BTreeMap<String, Vec<Place>> = BTreeMap::new();
    for (place, value) in told {
        groups.entry(value).or_default().push(place);
    }
    if groups.len() > 1 {
        let each: Vec<String> = groups.iter().map(|(value, who)| format!("{value} at {}", who.join(", "))).collect();
        return Err(Fault::new(Class::Mismatch, format!("the name servers disagree on {what}: {}", each.join("; "))));
    }
    groups.into_keys().next().ok_or_else(|| Fault::new(Class::NoRecords, format!("nobody says {what}")))
}

/// Whether the chain from the parent to the zone's head holds, and for how long.
async fn signatures(resolver: &Dns, zone: &str) -> Result<String, Fault> {
    let (ds, keys, head, checked) = tokio::join!(
        resolver.ask_unchecked(zone, RecordType::DS),
        resolver.ask_unchecked(zone, RecordType::DNSKEY),
        resolver.ask_unchecked(zone, RecordType::SOA),
        resolver.ask(zone, RecordType::SOA),
    );
    let delegations = chain::delegations(&ds);
    if delegations.is_empty() {
        return match ds.found() {
            Err(fault) if !matches!(fault.class, Class::NoRecords | Class::NxDomain) => Err(fault),
            _ => Ok("not signed".to_owned()),
        };
    }
    let bogus = |what: &str| Fault::new(Class::Bogus, what.to_owned());
    let keys_of_zone = chain::zone_keys(&keys);
    if chain::anchored(&delegations, &keys_of_zone).is_none() {
        return Err(bogus(
            "no key of the zone belongs to the parent's DS record; validating resolvers refuse the zone",
        ));
    }
    let covering = chain::signatures(&head, RecordType::SOA);
    let seconds = chain::seconds_left(&covering, Time::now());
    let days = seconds.div_euclid(86_400);
    if covering.is_empty() {
        return Err(bogus("there is no signature over its SOA record; does its signer run?"));
    }
    if seconds <= 0 {
        return Err(Fault::new(
            Class::SignatureExpired,
            format!("the signature over its SOA record expired {} days ago; sign the zone anew", -days),
        ));
    }
    if chain::verified(&covering, &head.records, &keys_of_zone).is_none() {
        return Err(bogus("no key of the zone verifies the signature over its SOA record; sign the zone anew"));
    }
    // A resolver that validates refuses what does not validate, and says so by failing.
    checked.found().map_err(|fault| bogus(&format!("the resolver refuses the zone: {}", fault.detail)))?;
    let word = if checked.secure { "validated" } else { "signed; this resolver does not validate" };
    let renew = if days < chain::RENEW_DAYS { "; does its signer run?" } else { "" };
    Ok(format!("{word}, {days} days left{renew}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_disagrees_is_named() {
        let told = |pairs: &[(&str, &str)]| {
            let pairs: Vec<_> = pairs.iter().map(|(place, value)| ((*place).to_owned(), (*value).to_owned())).collect();
            agree("SOA serial", pairs.into_iter()).map_err(|fault| fault.detail)
        };
        assert_eq!(told(&[("ns1", "7"), ("ns2", "7")]), Ok("7".to_owned()));
        let disagreement = "the name servers disagree on SOA serial: 6 at ns2; 7 at ns1, ns3".to_owned();
        assert_eq!(told(&[("ns1", "7"), ("ns2", "6"), ("ns3", "7")]), Err(disagreement));
        assert_eq!(told(&[]), Err("nobody says SOA serial".to_owned()));
    }
}
