//! The watching sections of the configuration: `[watch]`, `[[watch.watcher]]`, `[[target]]` and what is in it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use crate::maintenance::Maintenance;
use crate::objective::Objective;

mod check;
mod domain;
mod faults;
mod places;

pub use check::{Cadence, Check, HttpAuth, Tls};
pub use domain::Domain;
use faults::Faults;

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

fn default_target_concurrency() -> usize {
    DEFAULT_TARGET_CONCURRENCY
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

#[cfg(test)]
mod tests;
