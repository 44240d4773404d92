//! Look-ups as audits and checks need them: with the resolver's word on DNSSEC, the aliases on the way, and the
//! difference between a name that does not exist, one without such a record, and a look-up that failed.
//!
//! Answers are kept for the run, so that all its parts see the same; their number is limited.

pub(crate) mod blocklist;
pub(crate) mod chain;
pub(crate) mod wire;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hickory_resolver::config::ProtocolConfig;
use hickory_resolver::proto::op::{Message, ResponseCode};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use tokio::sync::Semaphore;

use self::wire::{Flags, question};
use crate::conversation::{Class, Fault};

/// Look-ups of one run; what comes after is answered with a failure.
const LOOKUPS_MAX: u32 = 1_000;
/// Look-ups at the same time.
const PARALLEL_MAX: usize = 16;
/// Aliases that are followed; resolvers give up at about as many.
const ALIASES_MAX: usize = 8;
/// Name servers of the system that are asked.
const SERVERS_MAX: usize = 3;
/// How often a server that does not answer is asked.
const ATTEMPTS: usize = 2;

/// What a look-up came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Status {
    /// There are records.
    Found,
    /// The name exists, without such a record.
    Empty,
    /// The name does not exist.
    NoName,
    /// The look-up failed: why.
    Broken(String),
}

impl Status {
    /// In words.
    pub fn describe(&self) -> &str {
        match self {
            Self::Found => "it exists",
            Self::Empty => "the name has no such record",
            Self::NoName => "the name does not exist",
            Self::Broken(why) => why,
        }
    }

    /// As a class of failure.
    pub fn class(&self) -> Class {
        match self {
            Self::Found => Class::Content,
            Self::Empty => Class::NoRecords,
            Self::NoName => Class::NxDomain,
            Self::Broken(_) => Class::DnsFailed,
        }
    }

    /// Whether it is known that nothing is there: a void look-up of RFC 7208 section 4.6.4.
    pub fn is_void(&self) -> bool {
        matches!(self, Self::Empty | Self::NoName)
    }
}

/// An answer.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    /// What it came to.
    pub status: Status,
    /// That as a class of failure, when there are no records.
    pub class: Class,
    /// Whether the resolver has validated it (the AD bit).
    pub secure: bool,
    /// The records of the type that was asked for.
    pub records: Vec<Record>,
    /// The signatures over them.
    pub signatures: Vec<Record>,
    /// The names that the question's name stands for, when it is an alias.
    pub aliases: Vec<String>,
}

impl Answer {
    fn broken(fault: Fault) -> Self {
        let class = fault.class;
        let status = Status::Broken(fault.detail);
        Self { status, class, secure: false, records: Vec::new(), signatures: Vec::new(), aliases: Vec::new() }
    }

    /// The records, or why there are none.
    ///
    /// # Errors
    /// [`Class::NoRecords`], [`Class::NxDomain`], or what made the look-up fail.
    pub fn found(&self) -> Result<&[Record], Fault> {
        match &self.status {
            Status::Found => Ok(&self.records),
            other => Err(Fault::new(self.class, other.describe())),
        }
    }
}

type Key = (String, RecordType, bool);

/// The resolver of a run.
pub(crate) struct Dns {
    servers: Vec<SocketAddr>,
    /// How long one question to one server may take.
    attempt: Duration,
    left: AtomicU32,
    slots: Semaphore,
    known: Mutex<HashMap<Key, Arc<Answer>>>,
}

impl Dns {
    /// At this server, or at the system's.
    pub fn new(server: Option<SocketAddr>, timeout: Duration) -> Result<Self, String> {
        let servers = match server {
            Some(server) => vec![server],
            None => system()?,
        };
        Ok(Self {
            servers,
            attempt: timeout / 2,
            left: AtomicU32::new(LOOKUPS_MAX),
            slots: Semaphore::new(PARALLEL_MAX),
            known: Mutex::default(),
        })
    }

    /// The same for a run in which one look-up, with all that it tries, is to end well within `limit`.
    pub fn within(server: Option<SocketAddr>, limit: Duration) -> Result<Self, String> {
        let dns = Self::new(server, limit)?;
        let tries = u32::try_from(ATTEMPTS * dns.servers.len()).unwrap_or(1).max(1);
        Ok(Self { attempt: limit.mul_f32(0.9) / tries, ..dns })
    }

    /// The servers, for evidence.
    pub fn servers(&self) -> String {
        self.servers.iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(", ")
    }

    /// The records of a type at a name.
    pub async fn ask(&self, name: &str, kind: RecordType) -> Arc<Answer> {
        self.asked(name, kind, false).await
    }

    /// The same, whether they validate or not (the CD bit).
    pub async fn ask_unchecked(&self, name: &str, kind: RecordType) -> Arc<Answer> {
        self.asked(name, kind, true).await
    }

    async fn asked(&self, name: &str, kind: RecordType, unchecked: bool) -> Arc<Answer> {
        let key = (name.to_ascii_lowercase(), kind, unchecked);
        if let Some(answer) = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return answer.clone();
        }
        let answer = Arc::new(self.resolve(&key.0, kind, unchecked).await);
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(key, answer.clone());
        answer
    }

    /// TXT records, the strings of each joined.
    pub async fn txt(&self, name: &str) -> (Status, Vec<String>) {
        let answer = self.ask(name, RecordType::TXT).await;
        let text = |record: &Record| match &record.data {
            RData::TXT(txt) => Some(String::from_utf8_lossy(&txt.txt_data.concat()).into_owned()),
            _ => None,
        };
        (answer.status.clone(), answer.records.iter().filter_map(text).collect())
    }

    /// The addresses of a name, and what the look-ups came to when there are none.
    pub async fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, Status> {
        let (v4, v6) = tokio::join!(self.ask(name, RecordType::A), self.ask(name, RecordType::AAAA));
        let found: Vec<IpAddr> =
            v4.records.iter().chain(&v6.records).filter_map(|record| record.data.ip_addr()).collect();
        match (&v4.status, &v6.status) {
            _ if !found.is_empty() => Ok(found),
            (Status::Broken(_), _) => Err(v4.status.clone()),
            (_, other) => Err(other.clone()),
        }
    }

    /// The names that an address is given in the reverse zone.
    pub async fn names_of(&self, ip: IpAddr) -> (Status, Vec<String>) {
        let answer = self.ask(&reverse(ip), RecordType::PTR).await;
        let name = |record: &Record| match &record.data {
            RData::PTR(ptr) => Some(text(ptr)),
            _ => None,
        };
        (answer.status.clone(), answer.records.iter().filter_map(name).collect())
    }

    async fn resolve(&self, name: &str, kind: RecordType, unchecked: bool) -> Answer {
        let Some(mut current) = wire_name(name) else {
            return Answer::broken(Fault::new(Class::Config, "this is no domain name"));
        };
        let mut aliases: Vec<String> = Vec::new();
        let mut secure = true;
        for _ in 0..=ALIASES_MAX {
            let message = match self.exchange(&current, kind, unchecked).await {
                Ok(message) => message,
                Err(why) => return Answer { aliases, ..Answer::broken(why) },
            };
            secure &= message.metadata.authentic_data;
            let before = aliases.len();
            while let Some(next) = alias_of(&message, &current).filter(|_| kind != RecordType::CNAME) {
                let next_text = text(next);
                if aliases.contains(&next_text) || next_text == name || aliases.len() >= ALIASES_MAX {
                    return Answer { aliases, ..Answer::broken(circular()) };
                }
                current = next.clone();
                aliases.push(next_text);
            }
            let of = |wanted: RecordType| {
                let mine = message.answers.iter().filter(|record| record.name.to_lowercase() == current.to_lowercase());
                mine.filter(|record| record.record_type() == wanted).cloned().collect::<Vec<_>>()
            };
            let records = of(kind);
            let (status, class) = match message.metadata.response_code {
                _ if !records.is_empty() => (Status::Found, Class::Content),
                ResponseCode::NXDomain => (Status::NoName, Class::NxDomain),
                // The server knows only the alias; the name behind it is another question.
                _ if aliases.len() > before => continue,
                _ => (Status::Empty, Class::NoRecords),
            };
            return Answer { status, class, secure, records, signatures: of(RecordType::RRSIG), aliases };
        }
        Answer { aliases, ..Answer::broken(circular()) }
    }

    async fn exchange(&self, name: &Name, kind: RecordType, unchecked: bool) -> Result<Message, Fault> {
        let spent = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        let failed = |why: String| Fault::new(Class::DnsFailed, why);
        if spent.is_err() {
            return Err(failed(format!("the {LOOKUPS_MAX} look-ups of one run are used up")));
        }
        let _slot = self.slots.acquire().await.map_err(|error| failed(error.to_string()))?;
        let query = question(name, kind, Flags { recursion: true, unchecked });
        let mut last = failed("no name server is configured".to_owned());
        for attempt in 0..ATTEMPTS * self.servers.len() {
            let server = self.servers[attempt % self.servers.len()];
            match wire::ask(server, &query, self.attempt).await {
                Ok(answer) => match answer.metadata.response_code {
                    ResponseCode::NoError | ResponseCode::NXDomain => return Ok(answer),
                    code => last = failed(format!("{server} answered with an error: {code}")),
                },
                Err(fault) => last = Fault { detail: format!("{server}: {}", fault.detail), ..fault },
            }
        }
        Err(last)
    }
}

fn circular() -> Fault {
    Fault::new(Class::Protocol, "its aliases go in circles or on without end")
}

fn alias_of<'a>(message: &'a Message, name: &Name) -> Option<&'a Name> {
    message.answers.iter().find_map(|record| match &record.data {
        RData::CNAME(target) if record.name.to_lowercase() == name.to_lowercase() => Some(&target.0),
        _ => None,
    })
}

fn system() -> Result<Vec<SocketAddr>, String> {
    let (config, _) = hickory_resolver::system_conf::read_system_conf().map_err(|error| error.to_string())?;
    let mut servers = Vec::new();
    for server in config.name_servers().iter().take(SERVERS_MAX) {
        let plain = server.connections.iter().find(|connection| matches!(connection.protocol, ProtocolConfig::Udp));
        servers.push(SocketAddr::new(server.ip, plain.map_or(53, |connection| connection.port)));
    }
    if servers.is_empty() { Err("it names no server".to_owned()) } else { Ok(servers) }
}

/// A name as the wire has it; `None`: it is none.
pub(crate) fn wire_name(name: &str) -> Option<Name> {
    let mut name = Name::from_ascii(name.trim_end_matches('.')).ok()?;
    name.set_fqdn(true);
    Some(name)
}

/// A domain name as a person writes it, in the form of the DNS: lower case, no dot at the end, RFC 5890 labels.
pub(crate) fn canonical(name: &str) -> Option<String> {
    let name = name.trim().trim_end_matches('.');
    if name.is_empty() || name.parse::<IpAddr>().is_ok() || name.contains(|c: char| c.is_whitespace() || c == '/') {
        return None;
    }
    Some(text(&Name::from_utf8(name).ok()?))
}

/// A name as text: lower case, without the dot at the end.
pub(crate) fn text(name: &Name) -> String {
    name.to_ascii().trim_end_matches('.').to_ascii_lowercase()
}

/// The name of an address in the reverse zone.
pub(crate) fn reverse(ip: IpAddr) -> String {
    text(&Name::from(ip))
}

/// Whether the whole Internet can reach an address.
pub(crate) fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            let [a, b, c, _] = ip.octets();
            !(ip.is_private()
                || ip.is_loopback()
                || ip.is_link_local()
                || ip.is_documentation()
                || ip.is_multicast()
                || a == 0
                || a >= 240
                || (a == 100 && (64..128).contains(&b))
                || (a == 198 && (18..20).contains(&b))
                || (a == 192 && b == 0 && c == 0))
        }
        IpAddr::V6(ip) => match ip.to_ipv4_mapped() {
            Some(ip) => is_public(IpAddr::V4(ip)),
            None => {
                let [a, b, ..] = ip.segments();
                (a & 0xe000) == 0x2000 && !(a == 0x2001 && b == 0x0db8)
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_brought_into_one_form() {
        assert_eq!(canonical(" Example.TEST. ").as_deref(), Some("example.test"));
        assert_eq!(canonical("bücher.example").as_deref(), Some("xn--bcher-kva.example"));
        for none in ["", ".", "192.0.2.1", "a b.test", "http://a.test/", &"x".repeat(70)] {
            assert_eq!(canonical(none), None, "{none}");
        }
        assert_eq!(reverse([192, 0, 2, 7].into()), "7.2.0.192.in-addr.arpa");
    }

    #[test]
    fn addresses_that_nobody_outside_can_reach_are_known() {
        for private in [
            "10.1.2.3",
            "127.0.0.1",
            "100.64.0.1",
            "192.168.1.1",
            "198.51.100.1",
            "0.0.0.0",
            "::1",
            "fe80::1",
            "fd00::1",
            "2001:db8::1",
            "::ffff:10.0.0.1",
        ] {
            assert!(!is_public(private.parse().unwrap()), "{private}");
        }
        for public in ["5.45.100.1", "100.128.0.1", "2a00:1450::1"] {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
    }
}
