//! The posture audit of a mail domain: named checks over its DNS, its mail servers, their TLS and their policies.
//!
//! **In**: a domain, a resolver, the network.
//! **Out**: a [`Report`]: what every check found, why that matters, what to change; a score; events.
//! **Must not know**: watchers, verdicts, pages.
//!
//! A family of checks is one file in `posture/` and one line in [`FAMILIES`]. It declares its checks and judges them; a
//! check that it does not reach is skipped, with the reason. What several families need (the MX hosts and what their
//! servers said) is gathered once, before any of them runs. Everything is bounded: look-ups by a budget, conversations
//! by time-outs and sizes, each family and the survey by a time of their own.

mod change;
mod finding;
mod hello;
mod https;
mod report;
mod survey;
mod tags;

mod address;
mod autoconfig;
mod bimi;
mod blocklist;
mod dane;
mod dkim;
mod dmarc;
mod dnssec;
mod mta_sts;
mod mx;
mod smtp;
mod spf;
mod submission;
mod tls;
mod tls_rpt;
mod zone;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use aggregator::event::Time;
use futures_util::future::{BoxFuture, join_all};
use rustls::{ClientConfig, RootCertStore};
use tokio::time::timeout;

use crate::conversation::{client_config, roots};
use crate::dns::{self, Dns};
use finding::{Findings, Spec};
use survey::{Host, Mx};

pub use change::Change;
pub use report::{Check, Grade, Outcome, Report};

/// Every family, in the order of a report.
const FAMILIES: &[Family] = &[
    mx::FAMILY,
    address::FAMILY,
    smtp::FAMILY,
    tls::FAMILY,
    spf::FAMILY,
    dkim::FAMILY,
    dmarc::FAMILY,
    mta_sts::FAMILY,
    tls_rpt::FAMILY,
    dane::FAMILY,
    dnssec::FAMILY,
    zone::FAMILY,
    bimi::FAMILY,
    submission::FAMILY,
    autoconfig::FAMILY,
    blocklist::FAMILY,
];

/// Lists of addresses that are asked unless others are named.
pub const ADDRESS_LISTS: &[&str] = &["zen.spamhaus.org", "bl.spamcop.net", "b.barracudacentral.org"];
/// Lists of domains that are asked unless others are named.
pub const DOMAIN_LISTS: &[&str] = &["dbl.spamhaus.org"];

/// How many steps, each as long as [`Options::timeout`], the survey of the servers and then a family may take.
const PATIENCE: u32 = 12;

/// How an audit is made.
#[derive(Debug, Clone)]
pub struct Options {
    /// The resolver; the system's when there is none.
    pub resolver: Option<SocketAddr>,
    /// Where to connect instead of the published addresses: a server before its records point at it.
    pub connect: Option<IpAddr>,
    /// The port of the MX hosts.
    pub smtp_port: u16,
    /// The port of the policy hosts.
    pub https_port: u16,
    /// Trusted root certificates in a PEM file; the system's when there is none.
    pub trust: Option<PathBuf>,
    /// DKIM selectors that must exist; common ones are tried when there are none.
    pub selectors: Vec<String>,
    /// DNS blocklists of addresses.
    pub address_lists: Vec<String>,
    /// DNS blocklists of domains.
    pub domain_lists: Vec<String>,
    /// How long one look-up or one step of a conversation may take.
    pub timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        let owned = |list: &[&str]| list.iter().map(|&name| name.to_owned()).collect();
        Self {
            resolver: None,
            connect: None,
            smtp_port: 25,
            https_port: 443,
            trust: None,
            selectors: Vec::new(),
            address_lists: owned(ADDRESS_LISTS),
            domain_lists: owned(DOMAIN_LISTS),
            // Servers that keep spammers waiting greet after six seconds or so.
            timeout: Duration::from_secs(10),
        }
    }
}

/// Why there is no report at all.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// What was to be audited is no domain name.
    #[error("\"{0}\" is no domain name; give one like example.org")]
    Domain(String),
    /// The resolver cannot be set up.
    #[error("the system's resolver is not set up: {0}; name one with --resolver")]
    Resolver(String),
    /// The roots cannot be read.
    #[error("{0}")]
    Trust(String),
}

/// What every family looks at.
struct Audit {
    domain: String,
    options: Options,
    now: Time,
    dns: Dns,
    roots: RootCertStore,
    tls: Arc<ClientConfig>,
    mx: Mx,
    hosts: Vec<Host>,
}

impl Audit {
    /// The organisational domain by the public suffix list, RFC 7489 section 3.2.
    fn organisation(&self) -> &str {
        organisation(&self.domain)
    }

    /// The hosts whose server was reached, or why there are none.
    fn servers(&self) -> Result<Vec<(&Host, &survey::Survey)>, String> {
        if let Some(why) = self.mx.why_no_hosts() {
            return Err(why);
        }
        let reached: Vec<_> = self.hosts.iter().filter_map(|host| Some((host, host.survey.as_ref().ok()?))).collect();
        if reached.is_empty() { Err("no mail server could be reached".to_owned()) } else { Ok(reached) }
    }
}

/// A group of checks over one subject.
struct Family {
    /// As the ids of its checks begin: `spf` in `spf.lookups`.
    name: &'static str,
    /// For a heading.
    title: &'static str,
    /// What it checks.
    checks: &'static [Spec],
    /// Does so.
    run: for<'a> fn(&'a Audit) -> BoxFuture<'a, Findings>,
}

/// The ids of all checks, in the order of a report.
pub fn check_ids() -> impl Iterator<Item = &'static str> {
    FAMILIES.iter().flat_map(|family| family.checks.iter().map(|spec| spec.id))
}

/// The canonical form of a domain that can be audited.
///
/// # Errors
/// It is none.
pub fn domain(name: &str) -> Result<String, Error> {
    let canonical = dns::canonical(name).filter(|canonical| canonical.contains('.'));
    canonical.ok_or_else(|| Error::Domain(crate::conversation::printable(name)))
}

/// Audits a domain. What is wrong with it is in the report.
///
/// # Errors
/// When the audit cannot begin.
pub async fn audit(domain: &str, options: &Options, now: Time) -> Result<Report, Error> {
    let domain = self::domain(domain)?;
    let trust = |fault: crate::conversation::Fault| Error::Trust(fault.detail);
    let dns = Dns::new(options.resolver, options.timeout).map_err(Error::Resolver)?;
    let mx = Mx::look_up(&dns, &domain).await;
    let mut audit = Audit {
        domain,
        options: options.clone(),
        now,
        dns,
        roots: roots(options.trust.as_deref()).await.map_err(trust)?,
        tls: client_config(options.trust.as_deref()).await.map_err(trust)?,
        mx,
        hosts: Vec::new(),
    };
    let limit = options.timeout * PATIENCE;
    audit.hosts = survey::hosts(&audit, limit).await;
    let audit = &audit;
    let runs = FAMILIES.iter().map(|family| async move {
        timeout(limit, (family.run)(audit)).await.unwrap_or_else(|_| {
            let mut findings = Findings::default();
            findings.rest(format!("the checks took longer than {} s", limit.as_secs()));
            findings
        })
    });
    let findings = join_all(runs).await;
    Ok(Report::new(&audit.domain, now, FAMILIES.iter().zip(findings)))
}

/// The organisational domain of a name.
fn organisation(name: &str) -> &str {
    psl::domain_str(name).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_check_has_an_id_of_its_family_that_no_other_has() {
        let ids: Vec<_> = check_ids().collect();
        assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len());
        assert!(ids.len() >= 60, "only {} checks", ids.len());
        for family in FAMILIES {
            for spec in family.checks {
                assert_eq!(spec.id.split('.').next(), Some(family.name), "{}", spec.id);
                assert!(spec.why.ends_with('.') && (1..=10).contains(&spec.weight), "{}", spec.id);
            }
        }
    }
}
