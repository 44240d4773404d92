//! Where mail for a domain goes: a route of the configuration, an address literal, or its MX (RFC 5321 section 5).

use std::net::IpAddr;

use futures_util::future::BoxFuture;
use hickory_resolver::TokioResolver;
use hickory_resolver::net::NetError;
use hickory_resolver::proto::rr::RData;

use super::id;
use crate::config::Config;
use crate::smtp::address;

/// Hosts of a domain that are looked up.
const MAX_HOSTS: usize = 8;
/// Addresses that are tried in one attempt.
const MAX_HOPS: usize = 10;
/// The port of SMTP between hosts.
const SMTP_PORT: u16 = 25;

/// An address to try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hop {
    /// The host's name, or its address when it has none.
    pub host: String,
    /// Its address.
    pub ip: IpAddr,
    /// Its port.
    pub port: u16,
}

/// Why there is no way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoRoute {
    /// There will never be one: enhanced status code and reason.
    Permanent(&'static str, &'static str),
    /// The DNS could not be asked.
    Temporary(String),
}

/// Why the DNS gave nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DnsFailure {
    /// The name does not exist.
    NoName,
    /// The name exists and has no such record.
    NoRecord,
    /// No answer, or none that can be used.
    Temporary(String),
}

/// The questions that routing asks of the DNS.
pub trait Dns: Send + Sync {
    /// The MX records of a domain: preference and host, without the trailing dot.
    fn mx<'a>(&'a self, domain: &'a str) -> BoxFuture<'a, Result<Vec<(u16, String)>, DnsFailure>>;
    /// The addresses of a host.
    fn addresses<'a>(&'a self, host: &'a str) -> BoxFuture<'a, Result<Vec<IpAddr>, DnsFailure>>;
}

/// The resolver that the system is configured with.
pub struct SystemDns(TokioResolver);

impl SystemDns {
    /// Reads the system's configuration.
    ///
    /// # Errors
    /// There is none that can be read.
    pub fn new() -> std::io::Result<Self> {
        let resolver = TokioResolver::builder_tokio().and_then(|builder| builder.build());
        resolver.map(Self).map_err(std::io::Error::other)
    }
}

fn failure(error: &NetError) -> DnsFailure {
    if error.is_nx_domain() {
        DnsFailure::NoName
    } else if error.is_no_records_found() {
        DnsFailure::NoRecord
    } else {
        DnsFailure::Temporary(error.to_string())
    }
}

impl Dns for SystemDns {
    fn mx<'a>(&'a self, domain: &'a str) -> BoxFuture<'a, Result<Vec<(u16, String)>, DnsFailure>> {
        Box::pin(async move {
            let lookup = self.0.mx_lookup([domain, "."].concat()).await.map_err(|error| failure(&error))?;
            let hosts = lookup.answers().iter().filter_map(|record| match &record.data {
                RData::MX(mx) => {
                    Some((mx.preference, mx.exchange.to_ascii().trim_end_matches('.').to_ascii_lowercase()))
                }
                _ => None,
            });
            let hosts: Vec<_> = hosts.collect();
            if hosts.is_empty() { Err(DnsFailure::NoRecord) } else { Ok(hosts) }
        })
    }
    fn addresses<'a>(&'a self, host: &'a str) -> BoxFuture<'a, Result<Vec<IpAddr>, DnsFailure>> {
        Box::pin(async move {
            let lookup = self.0.lookup_ip([host, "."].concat()).await.map_err(|error| failure(&error))?;
            Ok(lookup.iter().collect())
        })
    }
}

/// The addresses to try for a domain, in their order; at least one.
///
/// # Errors
/// There is no way to it, for now or for good.
pub async fn hops(domain: &str, config: &Config, dns: &dyn Dns) -> Result<Vec<Hop>, NoRoute> {
    if let Some(route) = config.route_for(domain) {
        return resolve(std::slice::from_ref(&route.host), route.port, dns).await;
    }
    if let Some(ip) = address::literal(domain) {
        return Ok(vec![Hop { host: domain.to_owned(), ip, port: SMTP_PORT }]);
    }
    let hosts = match dns.mx(domain).await {
        Ok(records) => choose(records, &config.hostname)?,
        // RFC 5321 section 5.1: without MX the domain itself is the host.
        Err(DnsFailure::NoRecord) => vec![domain.to_owned()],
        Err(DnsFailure::NoName) => return Err(NoRoute::Permanent("5.1.2", "the domain does not exist")),
        Err(DnsFailure::Temporary(why)) => return Err(NoRoute::Temporary(why)),
    };
    resolve(&hosts, SMTP_PORT, dns).await
}

/// The hosts of MX records in the order in which they are tried.
fn choose(records: Vec<(u16, String)>, own: &str) -> Result<Vec<String>, NoRoute> {
    if records.iter().all(|(_, host)| host.is_empty()) {
        return Err(NoRoute::Permanent("5.1.10", "the domain takes no mail (RFC 7505)"));
    }
    // Hosts that are not nearer than we are would send it back to us.
    let nearest =
        records.iter().filter(|(_, host)| host.eq_ignore_ascii_case(own)).map(|(preference, _)| *preference).min();
    let mut hosts: Vec<(u16, [u8; 2], String)> = records
        .into_iter()
        .filter(|(preference, host)| !host.is_empty() && nearest.is_none_or(|own| *preference < own))
        .map(|(preference, host)| (preference, id::random().unwrap_or_default(), host))
        .collect();
    if hosts.is_empty() {
        return Err(NoRoute::Permanent("5.4.6", "the domain's MX is this host, which does not take its mail"));
    }
    hosts.sort();
    Ok(hosts.into_iter().map(|(_, _, host)| host).take(MAX_HOSTS).collect())
}

async fn resolve(hosts: &[String], port: u16, dns: &dyn Dns) -> Result<Vec<Hop>, NoRoute> {
    let mut hops = Vec::new();
    let mut unknown = None;
    for host in hosts {
        let addresses = match host.parse::<IpAddr>() {
            Ok(ip) => Ok(vec![ip]),
            Err(_) => dns.addresses(host).await,
        };
        match addresses {
            Ok(ips) => hops.extend(ips.into_iter().map(|ip| Hop { host: host.clone(), ip, port })),
            Err(DnsFailure::Temporary(why)) => unknown = Some(why),
            Err(DnsFailure::NoName | DnsFailure::NoRecord) => {}
        }
    }
    hops.truncate(MAX_HOPS);
    match (hops.is_empty(), unknown) {
        (false, _) => Ok(hops),
        (true, Some(why)) => Err(NoRoute::Temporary(why)),
        (true, None) => Err(NoRoute::Permanent("5.4.4", "none of the domain's mail hosts has an address")),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::collections::HashMap;

    /// Records of a test.
    #[derive(Default)]
    pub(crate) struct FixedDns {
        pub(crate) mx: HashMap<String, Result<Vec<(u16, String)>, DnsFailure>>,
        pub(crate) addresses: HashMap<String, Result<Vec<IpAddr>, DnsFailure>>,
    }

    impl Dns for FixedDns {
        fn mx<'a>(&'a self, domain: &'a str) -> BoxFuture<'a, Result<Vec<(u16, String)>, DnsFailure>> {
            Box::pin(async { self.mx.get(domain).cloned().unwrap_or(Err(DnsFailure::NoName)) })
        }
        fn addresses<'a>(&'a self, host: &'a str) -> BoxFuture<'a, Result<Vec<IpAddr>, DnsFailure>> {
            Box::pin(async { self.addresses.get(host).cloned().unwrap_or(Err(DnsFailure::NoName)) })
        }
    }

    fn mx(records: &[(u16, &str)]) -> Vec<(u16, String)> {
        records.iter().map(|(preference, host)| (*preference, (*host).to_owned())).collect()
    }

    #[test]
    fn hosts_are_tried_by_preference_and_never_ones_behind_ourselves() {
        let hosts = choose(mx(&[(20, "b"), (10, "a"), (30, "mx.varde.test"), (30, "c"), (40, "d")]), "mx.varde.test");
        assert_eq!(hosts, Ok(vec!["a".to_owned(), "b".to_owned()]));
        let loops = choose(mx(&[(10, "MX.varde.test"), (20, "b")]), "mx.varde.test");
        assert!(matches!(loops, Err(NoRoute::Permanent("5.4.6", _))));
        assert!(matches!(choose(mx(&[(0, "")]), "x"), Err(NoRoute::Permanent("5.1.10", _))));
    }

    #[tokio::test]
    async fn a_domain_without_mx_is_its_own_host_and_failures_of_the_dns_are_temporary() {
        let ip: IpAddr = "192.0.2.1".parse().unwrap();
        let mut dns = FixedDns::default();
        dns.mx.insert("plain.test".to_owned(), Err(DnsFailure::NoRecord));
        dns.addresses.insert("plain.test".to_owned(), Ok(vec![ip]));
        dns.mx.insert("broken.test".to_owned(), Err(DnsFailure::Temporary("SERVFAIL".to_owned())));
        dns.mx.insert("half.test".to_owned(), Ok(mx(&[(1, "gone.test"), (2, "shaky.test")])));
        dns.addresses.insert("shaky.test".to_owned(), Err(DnsFailure::Temporary("timeout".to_owned())));
        let mut config = crate::config::tests::sample();
        config.route =
            vec![crate::config::Route { domain: "routed.test".to_owned(), host: "127.0.0.1".to_owned(), port: 2526 }];
        let hop = |host: &str, ip: &str, port| Hop { host: host.to_owned(), ip: ip.parse().unwrap(), port };
        assert_eq!(hops("plain.test", &config, &dns).await, Ok(vec![hop("plain.test", "192.0.2.1", 25)]));
        assert_eq!(hops("Routed.test", &config, &dns).await, Ok(vec![hop("127.0.0.1", "127.0.0.1", 2526)]));
        assert_eq!(hops("[192.0.2.9]", &config, &dns).await, Ok(vec![hop("[192.0.2.9]", "192.0.2.9", 25)]));
        assert_eq!(hops("broken.test", &config, &dns).await, Err(NoRoute::Temporary("SERVFAIL".to_owned())));
        assert_eq!(hops("half.test", &config, &dns).await, Err(NoRoute::Temporary("timeout".to_owned())));
        assert!(matches!(hops("none.test", &config, &dns).await, Err(NoRoute::Permanent("5.1.2", _))));
    }
}
