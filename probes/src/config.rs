//! The watching sections of the configuration: `[watch]`, `[[watch.watcher]]`, `[[target]]` and what is in it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustls_pki_types::DnsName;
use serde::Deserialize;

use crate::control;
use crate::kind;
use crate::maintenance::Maintenance;
use crate::objective::{self, Objective};

mod domain;
mod places;

pub use domain::Domain;

/// Domains that one site may have audited: an answer of all of them has to fit into what the pages take.
pub const MAX_DOMAINS: usize = 64;
/// Watchers that one site may have: a schedule has a slot for each of them in every interval.
pub const MAX_WATCHERS: usize = 64;

/// Checks that a watcher runs at the same time unless `watch.concurrency` says otherwise.
pub const DEFAULT_CONCURRENCY: usize = 256;
/// The most that it may say: each run has a connection or two.
pub const MAX_CONCURRENCY: usize = 4_096;
/// Checks of one target that run at the same time unless its `concurrency` says otherwise.
pub const DEFAULT_TARGET_CONCURRENCY: usize = 8;
/// How long one step may take unless the check or its target says otherwise.
pub const DEFAULT_TIMEOUT_MS: u64 = 5_000;

/// Everything that a watcher reads of the configuration.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// `[watch]`: who watches, and how often.
    #[serde(default)]
    pub watch: Watch,
    /// `[[target]]`: what is watched.
    #[serde(default)]
    pub target: Vec<Target>,
}

/// `[watch]`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Watch {
    /// The full audit of each watcher, staggered between them.
    pub interval_s: u64,
    /// How much older than the interval an audit may be and still vote.
    pub grace_s: u64,
    /// The light checks of each watcher.
    pub light_interval_s: u64,
    /// How much older than the interval a light check may be and still vote.
    pub light_grace_s: u64,
    /// After a failure anywhere every watcher looks again within this time.
    pub confirm_s: u64,
    /// Checks that a watcher runs at the same time at most; the others wait their turn, by urgency.
    pub concurrency: usize,
    /// A message should be there by then.
    pub receive_objective_ms: u64,
    /// `host:port` of third parties; when none of them can be reached, the watcher's own network is at fault.
    /// Empty: its network is taken to be well.
    pub control: Vec<String>,
    /// Names of third parties; when none of them can be resolved, the watcher's own resolver is at fault.
    /// Empty: its resolver is taken to be well.
    pub control_name: Vec<String>,
    /// Time servers, `host` or `host:port`, that the watcher's clock is compared with. Empty: with the other watchers'.
    pub control_clock: Vec<String>,
    /// The certificates (PEM) of the authority that signs those of the watchers. With it they speak to each other over
    /// mutual TLS alone, at the same address; without it over plain HTTP, signed.
    pub authority: Option<PathBuf>,
    /// The authority's key, on the host where certificates are made.
    pub authority_key: Option<PathBuf>,
    /// The watchers, in the order of their turns.
    pub watcher: Vec<Watcher>,
    /// The domains whose posture is audited once a day.
    pub domain: Vec<Domain>,
}

impl Default for Watch {
    fn default() -> Self {
        Self {
            interval_s: 900,
            grace_s: 300,
            light_interval_s: 60,
            light_grace_s: 30,
            confirm_s: 30,
            concurrency: DEFAULT_CONCURRENCY,
            receive_objective_ms: 5_000,
            control: Vec::new(),
            control_name: Vec::new(),
            control_clock: Vec::new(),
            authority: None,
            authority_key: None,
            watcher: Vec::new(),
            domain: Vec::new(),
        }
    }
}

/// `[[watch.watcher]]`: one vantage.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Watcher {
    /// Its region: `no-oslo`.
    pub name: String,
    /// What a person reads: `Oslo`. Default: the name.
    #[serde(default)]
    pub title: Option<String>,
    /// Where it answers: its status, and what the others tell it.
    pub listen: SocketAddr,
    /// How the others reach it, when not by `http://` and its `listen`.
    #[serde(default)]
    pub url: Option<String>,
    /// Its public key, which all watchers hold.
    pub public_key_file: PathBuf,
    /// Its secret key, which only it holds.
    #[serde(default)]
    pub key_file: Option<PathBuf>,
    /// Its certificate (PEM), with its name, signed by `watch.authority`.
    #[serde(default)]
    pub certificate: Option<PathBuf>,
    /// The key of its certificate, which only it holds.
    #[serde(default)]
    pub certificate_key: Option<PathBuf>,
}

impl Watcher {
    /// Where the others reach it, without a slash at the end.
    pub fn base_url(&self) -> String {
        match &self.url {
            Some(url) => url.trim_end_matches('/').to_owned(),
            None => format!("http://{}", self.listen),
        }
    }

    /// Where the other watchers reach it. Mutual TLS is at the same address as plain HTTP.
    pub fn peer_url(&self, mutual_tls: bool) -> String {
        let url = self.base_url();
        match url.strip_prefix("http://") {
            Some(rest) if mutual_tls => format!("https://{rest}"),
            _ => url,
        }
    }
}

/// `[[target]]`: a mail system.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// Its name, unique.
    pub name: String,
    /// What a person reads. Default: the name.
    #[serde(default)]
    pub title: Option<String>,
    /// Roots (PEM) for its certificates; without it the system's.
    #[serde(default)]
    pub trust: Option<PathBuf>,
    /// The names of the watchers that are assigned to it. Empty: all of them.
    #[serde(default)]
    pub watchers: Vec<String>,
    /// Its checks that one watcher runs at the same time at most.
    #[serde(default = "default_target_concurrency")]
    pub concurrency: usize,
    /// How long one step of its checks may take, unless a check has a time-out of its own.
    #[serde(default)]
    pub timeout_ms: Option<u64>,
    /// Mailboxes that the checks may use.
    #[serde(default)]
    pub account: Vec<Account>,
    /// What is checked.
    #[serde(default)]
    pub check: Vec<Check>,
    /// Announced maintenance.
    #[serde(default)]
    pub maintenance: Vec<Maintenance>,
    /// How much its services are to be up.
    #[serde(default)]
    pub objective: Vec<Objective>,
}

impl Target {
    /// Whether this watcher is assigned to it.
    pub fn assigns(&self, watcher: &str) -> bool {
        self.watchers.is_empty() || self.watchers.iter().any(|name| name == watcher)
    }

    /// The account of this address.
    pub fn account(&self, address: &str) -> Option<&Account> {
        self.account.iter().find(|account| account.address == address)
    }

    /// The check of this name.
    pub fn check(&self, name: &str) -> Option<&Check> {
        self.check.iter().find(|check| check.name == name)
    }
}

/// `[[target.account]]`: a mailbox of the watched system that the checks may use.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Account {
    /// Its address, which is also what it logs in as.
    pub address: String,
    /// The file that holds its password.
    pub password_file: PathBuf,
}

/// How often a check runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cadence {
    /// Every `light_interval_s`.
    Light,
    /// Every `interval_s`.
    Audit,
}

/// How a connection is encrypted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tls {
    /// Upgraded after the greeting (RFC 3207, RFC 2595).
    Starttls,
    /// From the first octet (RFC 8314).
    Tls,
    /// Not at all.
    #[default]
    None,
}

/// How a login goes over HTTP.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HttpAuth {
    /// User name and password (RFC 7617).
    #[default]
    Basic,
    /// The account's password is a token (RFC 6750).
    Bearer,
}

/// `[[target.check]]`: one check, which votes on one service.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// Its name, unique within the target.
    pub name: String,
    /// Its kind, from the registry of check kinds.
    pub kind: String,
    /// The service that it votes on.
    pub service: String,
    /// What a person reads. Default: the service.
    #[serde(default)]
    pub title: Option<String>,
    /// How often.
    pub cadence: Cadence,
    /// The host, a name or an address.
    #[serde(default)]
    pub host: Option<String>,
    /// The port.
    #[serde(default)]
    pub port: Option<u16>,
    /// The URL, of kinds that speak HTTP.
    #[serde(default)]
    pub url: Option<String>,
    /// How the connection is encrypted.
    #[serde(default)]
    pub tls: Tls,
    /// The name that the certificate must have. Default: the host.
    #[serde(default)]
    pub server_name: Option<String>,
    /// The address of the account that logs in.
    #[serde(default)]
    pub account: Option<String>,
    /// The webmail's recipe: the name of one that is ready, or a file that ends in `.toml`.
    #[serde(default)]
    pub recipe: Option<String>,
    /// The webmail check whose place a round trip uses.
    #[serde(default)]
    pub webmail: Option<String>,
    /// The submission check whose place a round trip uses.
    #[serde(default)]
    pub submission: Option<String>,
    /// The IMAP check whose place a round trip uses.
    #[serde(default)]
    pub imap: Option<String>,
    /// The POP3 check whose place a round trip uses.
    #[serde(default)]
    pub pop3: Option<String>,
    /// The JMAP check whose place a round trip uses.
    #[serde(default)]
    pub jmap: Option<String>,
    /// Whom a round trip sends to. Default: the account itself.
    #[serde(default)]
    pub to: Option<String>,
    /// The target whose account that is, and whose `imap`, `pop3` or `jmap` check receives. Default: this target.
    #[serde(default)]
    pub to_target: Option<String>,
    /// Whether the check may write: ManageSieve puts a script and deletes it, IMAP a message.
    #[serde(default)]
    pub write: bool,
    /// Whether submission logs in by every mechanism that the server offers and we speak, one after the other.
    #[serde(default)]
    pub every_mechanism: bool,
    /// How JMAP logs in.
    #[serde(default)]
    pub http_auth: HttpAuth,
    /// A queue whose oldest message has waited longer than this is stuck. Default: that is told, not judged.
    #[serde(default)]
    pub max_age_s: Option<u64>,
    /// A certificate with fewer days left fails the check.
    #[serde(default)]
    pub min_days: Option<i64>,
    /// Blocklists of addresses that are asked about the host's.
    #[serde(default)]
    pub address_lists: Vec<String>,
    /// Blocklists of domains that are asked about the host's name.
    #[serde(default)]
    pub domain_lists: Vec<String>,
    /// What the lists of domains have as their test entry. Default: `TEST`, as RFC 5782 asks for.
    #[serde(default)]
    pub test_entry: Option<String>,
    /// A text that must be in the answer, of kinds that read one.
    #[serde(default)]
    pub expect: Option<String>,
    /// The HTTP status that is expected. Default: 200.
    #[serde(default)]
    pub status: Option<u16>,
    /// A recipient that an MX is asked about, without sending anything.
    #[serde(default)]
    pub recipient: Option<String>,
    /// The type of the DNS record that is asked for.
    #[serde(default)]
    pub record: Option<String>,
    /// The name server that is asked. Default: the system's resolver.
    #[serde(default)]
    pub server: Option<IpAddr>,
    /// How long one step may take. Default: what its target says, or 5 s.
    #[serde(default)]
    pub timeout_ms: Option<u64>,
}

fn default_target_concurrency() -> usize {
    DEFAULT_TARGET_CONCURRENCY
}

impl Check {
    /// What a person reads: the title, or the service.
    pub fn title(&self) -> &str {
        self.title.as_deref().unwrap_or(&self.service)
    }

    /// How long one step may take.
    pub fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms.unwrap_or(DEFAULT_TIMEOUT_MS))
    }
}

impl Watch {
    /// The interval of a cadence.
    pub fn interval(&self, cadence: Cadence) -> Duration {
        Duration::from_secs(match cadence {
            Cadence::Light => self.light_interval_s,
            Cadence::Audit => self.interval_s,
        })
    }

    /// How old an observation of a cadence may be and still vote: interval and grace.
    pub fn freshness(&self, cadence: Cadence) -> Duration {
        self.interval(cadence)
            + Duration::from_secs(match cadence {
                Cadence::Light => self.light_grace_s,
                Cadence::Audit => self.grace_s,
            })
    }
}

impl Config {
    /// Makes every path that is not absolute one below `folder`, the folder of the configuration file.
    pub fn resolve_paths(&mut self, folder: &Path) {
        let resolve = |path: &mut PathBuf| *path = folder.join(&*path);
        [&mut self.watch.authority, &mut self.watch.authority_key].into_iter().flatten().for_each(resolve);
        for watcher in &mut self.watch.watcher {
            resolve(&mut watcher.public_key_file);
            let own = [&mut watcher.key_file, &mut watcher.certificate, &mut watcher.certificate_key];
            own.into_iter().flatten().for_each(resolve);
        }
        self.watch.domain.iter_mut().filter_map(|domain| domain.trust.as_mut()).for_each(resolve);
        for target in &mut self.target {
            target.trust.iter_mut().for_each(resolve);
            target.account.iter_mut().for_each(|account| resolve(&mut account.password_file));
            target.check.iter_mut().for_each(|check| check.resolve_recipe(folder));
        }
    }

    /// Gives every check what its target says for all of them.
    pub fn inherit(&mut self) {
        for target in &mut self.target {
            let timeout_ms = target.timeout_ms;
            target.check.iter_mut().for_each(|check| check.timeout_ms = check.timeout_ms.or(timeout_ms));
        }
    }

    /// The target of this name.
    pub fn target(&self, name: &str) -> Option<&Target> {
        self.target.iter().find(|target| target.name == name)
    }

    /// Every fault of meaning: the key it is at (`target[0].check[2].account`), and what to do about it.
    pub fn check(&self) -> Vec<(String, String)> {
        let mut faults = Faults::default();
        self.watch.check(&mut faults);
        faults.unique("target", "name", self.target.iter().map(|target| target.name.as_str()));
        for (index, target) in self.target.iter().enumerate() {
            let at = format!("target[{index}]");
            target.check_all(&at, &mut faults);
            faults.unique(&format!("{at}.watchers"), "name", target.watchers.iter().map(String::as_str));
            let known = |name: &str| self.watch.watcher.iter().any(|watcher| watcher.name == name);
            for (place, name) in target.watchers.iter().enumerate().filter(|(_, name)| !known(name)) {
                let message = format!("\"{name}\" is no watcher; name one of [[watch.watcher]]");
                faults.add(format!("{at}.watchers[{place}]"), message);
            }
            for (place, check) in target.check.iter().enumerate() {
                check.check_places(self, target, &format!("target[{index}].check[{place}]"), &mut faults);
            }
        }
        faults.0
    }
}

#[derive(Default)]
struct Faults(Vec<(String, String)>);

impl Faults {
    fn add(&mut self, key: String, message: impl Into<String>) {
        self.0.push((key, message.into()));
    }

    fn unique<'a>(&mut self, list: &str, field: &str, values: impl Iterator<Item = &'a str>) {
        let mut seen = BTreeSet::new();
        for (index, value) in values.enumerate() {
            let key = format!("{list}[{index}].{field}");
            if value.is_empty() {
                self.add(key, "is empty; give it a name");
            } else if !seen.insert(value) {
                self.add(key, format!("\"{value}\" is there twice; names must be unique"));
            }
        }
    }

    fn positive(&mut self, key: &str, value: u64) {
        if value == 0 {
            self.add(key.to_owned(), "must be greater than 0");
        }
    }
}

impl Watch {
    fn check(&self, faults: &mut Faults) {
        faults.positive("watch.interval_s", self.interval_s);
        faults.positive("watch.light_interval_s", self.light_interval_s);
        faults.positive("watch.confirm_s", self.confirm_s);
        faults.positive("watch.receive_objective_ms", self.receive_objective_ms);
        if !(8..=MAX_CONCURRENCY).contains(&self.concurrency) {
            faults.add("watch.concurrency".to_owned(), format!("must be between 8 and {MAX_CONCURRENCY}"));
        }
        for (key, value) in [("watch.interval_s", self.interval_s), ("watch.light_interval_s", self.light_interval_s)] {
            if value > 86_400 {
                faults.add(key.to_owned(), "is more than a day; a watcher looks at least once a day");
            }
        }
        if self.watcher.len() > MAX_WATCHERS {
            faults.add("watch.watcher".to_owned(), format!("has more than {MAX_WATCHERS} watchers"));
        }
        for (index, control) in self.control.iter().enumerate() {
            if !control::is_place(control) {
                faults.add(format!("watch.control[{index}]"), format!("\"{control}\" is not host:port"));
            }
        }
        for (list, hosts) in [("control_name", &self.control_name), ("control_clock", &self.control_clock)] {
            for (index, _) in hosts.iter().enumerate().filter(|(_, host)| host.is_empty()) {
                faults.add(format!("watch.{list}[{index}]"), "is empty; name a host");
            }
        }
        self.check_domains(faults);
        faults.unique("watch.watcher", "name", self.watcher.iter().map(|watcher| watcher.name.as_str()));
        let mut listens = BTreeMap::new();
        for (index, watcher) in self.watcher.iter().enumerate() {
            if self.authority.is_some() && DnsName::try_from(watcher.name.as_str()).is_err() {
                let message =
                    format!("\"{}\" cannot stand in a certificate; use letters, digits and hyphens", watcher.name);
                faults.add(format!("watch.watcher[{index}].name"), message);
            }
            if let Some(other) = listens.insert(watcher.listen, &watcher.name) {
                faults.add(
                    format!("watch.watcher[{index}].listen"),
                    format!("{} is also that of \"{other}\"; each watcher needs its own", watcher.listen),
                );
            }
        }
    }
}

impl Watch {
    fn check_domains(&self, faults: &mut Faults) {
        if self.domain.len() > MAX_DOMAINS {
            faults.add("watch.domain".to_owned(), format!("has more than {MAX_DOMAINS} domains"));
        }
        faults.unique("watch.domain", "name", self.domain.iter().map(|domain| domain.name.as_str()));
        for (index, domain) in self.domain.iter().enumerate() {
            if let Err(message) = domain.check() {
                faults.add(format!("watch.domain[{index}].name"), message);
            }
            faults.positive(&format!("watch.domain[{index}].timeout_s"), domain.timeout_s);
        }
    }
}

impl Target {
    fn check_all(&self, at: &str, faults: &mut Faults) {
        faults.positive(&format!("{at}.concurrency"), self.concurrency as u64);
        faults.positive(&format!("{at}.timeout_ms"), self.timeout_ms.unwrap_or(DEFAULT_TIMEOUT_MS));
        let accounts = self.account.iter().map(|account| account.address.as_str());
        faults.unique(&format!("{at}.account"), "address", accounts);
        faults.unique(&format!("{at}.check"), "name", self.check.iter().map(|check| check.name.as_str()));
        let mut cadences = BTreeMap::new();
        for (index, check) in self.check.iter().enumerate() {
            let at = format!("{at}.check[{index}]");
            check.check(self, &at, faults);
            if *cadences.entry(&check.service).or_insert(check.cadence) != check.cadence {
                faults.add(
                    format!("{at}.cadence"),
                    format!(
                        "other checks of service \"{}\" have another cadence; give this one a service of its own",
                        check.service
                    ),
                );
            }
        }
        for (index, maintenance) in self.maintenance.iter().enumerate() {
            let at = format!("{at}.maintenance[{index}]");
            if let Err(message) = maintenance.plan() {
                faults.add(at.clone(), message);
            }
            for service in maintenance.services.iter().flatten() {
                if !self.check.iter().any(|check| check.service == *service) {
                    faults.add(format!("{at}.services"), format!("no check votes on a service \"{service}\""));
                }
            }
        }
        for (key, message) in objective::faults(self) {
            faults.add(format!("{at}.{key}"), message);
        }
    }
}

impl Check {
    fn check(&self, target: &Target, at: &str, faults: &mut Faults) {
        for (key, message) in kind::faults(self) {
            faults.add(format!("{at}.{key}"), message);
        }
        if self.service.is_empty() {
            faults.add(format!("{at}.service"), "is empty; name the service that it votes on");
        }
        faults.positive(&format!("{at}.timeout_ms"), self.timeout_ms.unwrap_or(DEFAULT_TIMEOUT_MS));
        if self.port == Some(0) {
            faults.add(format!("{at}.port"), "must be between 1 and 65535");
        }
        if let Some(account) = &self.account
            && target.account(account).is_none()
        {
            faults.add(
                format!("{at}.account"),
                format!("\"{account}\" is no account of target \"{}\"; add a [[target.account]]", target.name),
            );
        }
    }
}

#[cfg(test)]
mod tests;
