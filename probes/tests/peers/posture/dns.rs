//! A small authoritative DNS server, over UDP and TCP, that also plays the validating resolver.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::proto::dnssec::crypto::Ed25519SigningKey;
use hickory_resolver::proto::dnssec::rdata::{DNSKEY, DNSSECRData, DS, RRSIG};
use hickory_resolver::proto::dnssec::{DigestType, DnssecSigner, SigningKey};
use hickory_resolver::proto::op::{Message, MessageType, OpCode, ResponseCode};
use hickory_resolver::proto::rr::rdata::name::{CNAME, NS, PTR};
use hickory_resolver::proto::rr::rdata::tlsa::{CertUsage, Matching, Selector};
use hickory_resolver::proto::rr::rdata::{A, AAAA, MX, NULL, SOA, SRV, TLSA, TXT};
use hickory_resolver::proto::rr::{DNSClass, Name, RData, Record, RecordSet, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::AbortHandle;

/// What a client without EDNS's larger sizes would get.
const UDP_MAX: usize = 1_232;

type Key = (String, RecordType);

/// Records by name and type, and how they are told.
#[derive(Clone, Default)]
pub struct Zone {
    records: BTreeMap<Key, Vec<RData>>,
    signatures: BTreeMap<Key, RData>,
    /// Names whose answers a validating resolver would not vouch for.
    pub insecure: BTreeSet<String>,
    /// Names that a validating resolver refuses, and others tell.
    pub bogus: BTreeSet<String>,
    /// Names that always end in SERVFAIL.
    pub failing: BTreeSet<String>,
    /// Whether it answers without authority: a server that has not been given the zone.
    pub lame: bool,
}

pub fn name(text: &str) -> Name {
    let mut name = Name::from_ascii(text.trim_end_matches('.')).unwrap();
    name.set_fqdn(true);
    name
}

fn rdata(kind: RecordType, text: &str) -> RData {
    let words: Vec<&str> = text.split(' ').collect();
    match kind {
        RecordType::A => RData::A(A(text.parse().unwrap())),
        RecordType::AAAA => RData::AAAA(AAAA(text.parse().unwrap())),
        RecordType::CNAME => RData::CNAME(CNAME(name(text))),
        RecordType::NS => RData::NS(NS(name(text))),
        RecordType::PTR => RData::PTR(PTR(name(text))),
        RecordType::MX => RData::MX(MX::new(words[0].parse().unwrap(), name(words[1]))),
        RecordType::SRV => {
            let number = |at: usize| words[at].parse().unwrap();
            RData::SRV(SRV::new(number(0), number(1), number(2), name(words[3])))
        }
        RecordType::TXT => RData::TXT(TXT::from_bytes(text.as_bytes().chunks(255).collect())),
        RecordType::Unknown(_) => RData::Unknown { code: kind, rdata: NULL::with(text.as_bytes().to_vec()) },
        other => panic!("{other} is not made from text"),
    }
}

impl Zone {
    /// Puts records in the place of those of that name and type; none removes them.
    pub fn set(&mut self, at: &str, kind: &str, values: &[&str]) {
        let kind = kind
            .strip_prefix("TYPE")
            .map_or_else(|| kind.parse().unwrap(), |code| RecordType::Unknown(code.parse().unwrap()));
        self.put(at, kind, values.iter().map(|value| rdata(kind, value)).collect());
    }

    /// Puts one SRV record in the place of another, where that one stands.
    pub fn replace(&mut self, at: &str, old: &str, new: &str) {
        if let Some(records) = self.records.get_mut(&(at.to_owned(), RecordType::SRV)) {
            for record in records.iter_mut().filter(|record| **record == rdata(RecordType::SRV, old)) {
                *record = rdata(RecordType::SRV, new);
            }
        }
    }

    pub fn put(&mut self, at: &str, kind: RecordType, values: Vec<RData>) {
        let key = (at.to_owned(), kind);
        match values.is_empty() {
            true => self.records.remove(&key),
            false => self.records.insert(key, values),
        };
    }

    pub fn tlsa(&mut self, at: &str, records: &[(u8, u8, u8, Vec<u8>)]) {
        let tlsa = |(usage, selector, matching, data): &(u8, u8, u8, Vec<u8>)| {
            RData::TLSA(TLSA::new(
                CertUsage::from(*usage),
                Selector::from(*selector),
                Matching::from(*matching),
                data.clone(),
            ))
        };
        self.put(at, RecordType::TLSA, records.iter().map(tlsa).collect());
    }

    /// Signs the head of a zone: DNSKEY, the DS of the parent, and a signature over SOA for so many days.
    pub fn sign(&mut self, apex: &str, from: (i32, u8, u8), days: u64, digest: DigestType) {
        let key = Ed25519SigningKey::from_pkcs8(&Ed25519SigningKey::generate_pkcs8().unwrap()).unwrap();
        let dnskey = DNSKEY::new(true, true, false, key.to_public_key().unwrap());
        let octets = dnskey.to_digest(&name(apex), digest).unwrap().as_ref().to_vec();
        let ds = DS::new(dnskey.calculate_key_tag().unwrap(), key.algorithm(), digest, octets);
        let signer = DnssecSigner::new(dnskey.clone(), Box::new(key), name(apex), Duration::from_secs(days * 86_400));
        let soa = RData::SOA(SOA::new(name(apex), name(apex), 1, 3_600, 600, 86_400, 300));
        let mut set = RecordSet::with_ttl(name(apex), RecordType::SOA, 300);
        set.add_rdata(soa.clone());
        let from = rcgen::date_time_ymd(from.0, from.1, from.2);
        let signature = RRSIG::from_rrset(&set, DNSClass::IN, from, &signer).unwrap();
        self.put(apex, RecordType::SOA, vec![soa]);
        self.put(apex, RecordType::DNSKEY, vec![RData::DNSSEC(DNSSECRData::DNSKEY(dnskey))]);
        self.put(apex, RecordType::DS, vec![RData::DNSSEC(DNSSECRData::DS(ds))]);
        self.signatures.insert((apex.to_owned(), RecordType::SOA), RData::DNSSEC(DNSSECRData::RRSIG(signature)));
    }

    /// The SOA record of a zone, with this serial.
    pub fn soa(&mut self, apex: &str, serial: u32) {
        let soa = SOA::new(name(apex), name(apex), serial, 3_600, 600, 86_400, 300);
        self.put(apex, RecordType::SOA, vec![RData::SOA(soa)]);
    }

    /// Takes the DS records of another zone, whose key this one does not have.
    pub fn take_delegation(&mut self, other: &Self, apex: &str) {
        let key = (apex.to_owned(), RecordType::DS);
        self.records.insert(key.clone(), other.records[&key].clone());
    }

    pub fn unsign(&mut self, apex: &str) {
        self.signatures.remove(&(apex.to_owned(), RecordType::SOA));
    }

    fn answer(&self, query: &Message) -> Message {
        let mut answer = Message::response(query.metadata.id, OpCode::Query);
        answer.metadata.message_type = MessageType::Response;
        answer.metadata.recursion_available = true;
        answer.metadata.authoritative = !self.lame;
        answer.add_queries(query.queries.iter().cloned());
        let question = &query.queries[0];
        let mut at = question.name.to_ascii().trim_end_matches('.').to_ascii_lowercase();
        if self.failing.contains(&at) || (self.bogus.contains(&at) && !query.metadata.checking_disabled) {
            answer.metadata.response_code = ResponseCode::ServFail;
            return answer;
        }
        answer.metadata.authentic_data = !self.insecure.contains(&at);
        // Sixteen aliases are more than any client should follow.
        for _ in 0..16 {
            let kind = question.query_type;
            if let Some(found) = self.records.get(&(at.clone(), kind)) {
                let record = |data: &RData| Record::from_rdata(name(&at), 300, data.clone());
                answer.add_answers(found.iter().chain(self.signatures.get(&(at.clone(), kind))).map(record));
                return answer;
            }
            let alias = self.records.get(&(at.clone(), RecordType::CNAME)).and_then(|records| records.first());
            let Some(RData::CNAME(target)) = alias else { break };
            answer.add_answer(Record::from_rdata(name(&at), 300, RData::CNAME(target.clone())));
            at = target.to_ascii().trim_end_matches('.').to_owned();
        }
        let below = format!(".{at}");
        if !self.records.keys().any(|(known, _)| *known == at || known.ends_with(&below)) {
            answer.metadata.response_code = ResponseCode::NXDomain;
        }
        answer
    }
}

/// A server that runs until it is dropped.
pub struct Server {
    pub address: SocketAddr,
    tasks: [AbortHandle; 2],
}

impl Drop for Server {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

/// Serves a zone.
pub async fn serve(zone: Zone) -> Server {
    loop {
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        // The same port may be taken over UDP.
        if let Ok(udp) = UdpSocket::bind(tcp.local_addr().unwrap()).await {
            return serve_on(zone, tcp, udp);
        }
    }
}

/// Serves zones at 127.0.0.1, 127.0.0.2 and so on, all on one port.
pub async fn serve_each<const N: usize>(zones: [Zone; N]) -> [Server; N] {
    'ports: loop {
        let mut sockets: Vec<(TcpListener, UdpSocket)> = Vec::new();
        let mut port = 0;
        for last in 1..=N {
            let ip = Ipv4Addr::new(127, 0, 0, u8::try_from(last).unwrap());
            let Ok(tcp) = TcpListener::bind((ip, port)).await else { continue 'ports };
            port = tcp.local_addr().unwrap().port();
            let Ok(udp) = UdpSocket::bind((ip, port)).await else { continue 'ports };
            sockets.push((tcp, udp));
        }
        let mut sockets = sockets.into_iter();
        return zones.map(|zone| {
            let (tcp, udp) = sockets.next().unwrap();
            serve_on(zone, tcp, udp)
        });
    }
}

fn serve_on(zone: Zone, tcp: TcpListener, udp: UdpSocket) -> Server {
    let zone = Arc::new(zone);
    let address = tcp.local_addr().unwrap();
    let over_udp = tokio::spawn({
        let zone = zone.clone();
        async move {
            let mut buffer = [0; 4_096];
            while let Ok((length, from)) = udp.recv_from(&mut buffer).await {
                let Ok(query) = Message::from_vec(&buffer[..length]) else { continue };
                let answer = zone.answer(&query);
                let mut octets = answer.to_vec().unwrap();
                if octets.len() > UDP_MAX {
                    octets = answer.truncate().to_vec().unwrap();
                }
                let _ = udp.send_to(&octets, from).await;
            }
        }
    });
    let over_tcp = tokio::spawn(async move {
        while let Ok((mut socket, _)) = tcp.accept().await {
            let Ok(length) = socket.read_u16().await else { continue };
            let mut buffer = vec![0; usize::from(length)];
            if socket.read_exact(&mut buffer).await.is_err() {
                continue;
            }
            let octets = zone.answer(&Message::from_vec(&buffer).unwrap()).to_vec().unwrap();
            let _ = socket.write_all(&[&(octets.len() as u16).to_be_bytes()[..], &octets].concat()).await;
        }
    });
    Server { address, tasks: [over_udp.abort_handle(), over_tcp.abort_handle()] }
}
