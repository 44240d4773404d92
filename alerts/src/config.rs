//! `[alerts]` with its engineers and units, and `[node]`.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use aggregator::source::{LogConfig, SyslogConfig};
use serde::Deserialize;

use crate::channel;

/// `[alerts]`: who is woken, how, and what may be mended without people.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The sender of pages by e-mail.
    pub from: String,
    /// The relay for pages by e-mail; never the watched system itself.
    pub relay_host: String,
    /// Its port.
    #[serde(default = "defaults::relay_port")]
    pub relay_port: u16,
    /// The operators' dashboard, for the links in a page.
    pub operator_url: String,
    /// The agent that captures evidence and restarts.
    pub node_url: String,
    /// The key that the dashboard shows when it acknowledges for a person.
    pub operator_key_file: PathBuf,
    /// How long each watcher waits for a provider's receipt of those before it, in seconds.
    #[serde(default = "defaults::stagger_s")]
    pub stagger_s: u64,
    /// How long a failure from one region only may last before it is paged, in seconds.
    #[serde(default = "defaults::regional_page_s")]
    pub regional_page_s: u64,
    /// Who is on call.
    #[serde(default)]
    pub engineer: Vec<Engineer>,
    /// Which unit stands behind a service.
    #[serde(default)]
    pub unit: Vec<Unit>,
}

/// `[[alerts.engineer]]`: a person, and every channel that reaches him.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Engineer {
    /// Who it is.
    pub name: String,
    /// His address; it must be outside the watched system.
    #[serde(default)]
    pub email: Option<String>,
    /// A hook that takes Standard Webhooks.
    #[serde(default)]
    pub webhook_url: Option<String>,
    /// Holds the hook's secret: `whsec_` and base64.
    #[serde(default)]
    pub webhook_secret_file: Option<PathBuf>,
    /// `[[alerts.engineer.channel]]`: any other channel, with the options that its kind reads.
    #[serde(default)]
    pub channel: Vec<Channel>,
}

/// `[[alerts.engineer.channel]]`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Channel {
    /// A name of the registry: `ntfy`, `pagerduty` …
    pub kind: String,
    /// What that kind reads.
    #[serde(flatten)]
    pub options: toml::Table,
}

/// `[[alerts.unit]]`: the unit behind a service.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unit {
    /// The mail system.
    pub target: String,
    /// Its service.
    pub service: String,
    /// What the supervisor of the node calls it.
    pub unit: String,
}

/// `[node]`: the agent on a mail host.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeConfig {
    /// The host's name in events.
    pub name: String,
    /// Where it takes signed requests of watchers.
    pub listen: SocketAddr,
    /// Its own key, with which it signs evidence.
    pub key_file: PathBuf,
    /// The public half, by which the watchers know its evidence.
    pub public_key_file: PathBuf,
    /// The units that may be restarted from outside. No other ever is.
    #[serde(default)]
    pub allow_restart: Vec<String>,
    /// Restarts of one unit within an hour.
    #[serde(default = "defaults::restarts_per_unit_hour")]
    pub restarts_per_unit_hour: u32,
    /// Restarts of all units within a day.
    #[serde(default = "defaults::restarts_per_host_day")]
    pub restarts_per_host_day: u32,
    /// How often the host's resources are sampled, in seconds.
    #[serde(default = "defaults::sample_s")]
    pub sample_s: u64,
    /// What prints a foreign mail system's queue, one JSON object a message: `["postqueue", "-j"]`. Empty: none.
    #[serde(default)]
    pub queue_command: Vec<String>,
    /// The logs that it follows.
    #[serde(default)]
    pub log: Vec<LogConfig>,
    /// The syslog listeners.
    #[serde(default)]
    pub syslog: Vec<SyslogConfig>,
}

impl NodeConfig {
    /// Makes relative paths relative to `folder`, the configuration file's.
    pub fn resolve(&mut self, folder: &Path) {
        self.key_file = folder.join(&self.key_file);
        for log in &mut self.log {
            log.resolve(folder);
        }
        for syslog in &mut self.syslog {
            syslog.resolve(folder);
        }
    }

    /// What is wrong with it: keys below `node`.
    pub fn check(&self) -> Vec<Fault> {
        let below = |name: &'static str, index: usize, faults: Vec<Fault>| {
            faults.into_iter().map(move |(key, message)| (format!("{name}[{index}].{key}"), message))
        };
        let logs = self.log.iter().enumerate().flat_map(|(index, log)| below("log", index, log.check()));
        let listeners =
            self.syslog.iter().enumerate().flat_map(|(index, syslog)| below("syslog", index, syslog.check()));
        logs.chain(listeners).collect()
    }
}

mod defaults {
    pub fn relay_port() -> u16 {
        25
    }
    pub fn stagger_s() -> u64 {
        15
    }
    pub fn regional_page_s() -> u64 {
        120
    }
    pub fn restarts_per_unit_hour() -> u32 {
        2
    }
    pub fn restarts_per_host_day() -> u32 {
        4
    }
    pub fn sample_s() -> u64 {
        60
    }
}

/// What is watched, as far as a contact must not depend on it.
#[derive(Debug, Clone, Default)]
pub struct Watched {
    /// The domains whose mail the watched system takes.
    pub domains: Vec<String>,
    /// Where it listens: host and port of every check and listener.
    pub addresses: Vec<(String, u16)>,
}

/// A fault of the configuration: its key, and what is wrong and how to mend it.
pub type Fault = (String, String);

impl Config {
    /// Makes relative paths relative to `folder`, the configuration file's.
    pub fn resolve(&mut self, folder: &Path) {
        self.operator_key_file = folder.join(&self.operator_key_file);
        for engineer in &mut self.engineer {
            if let Some(path) = &mut engineer.webhook_secret_file {
                *path = folder.join(&*path);
            }
            for channel in &mut engineer.channel {
                let files = channel.options.iter_mut().filter(|(key, _)| key.ends_with("_file"));
                for (_, value) in files {
                    if let toml::Value::String(path) = value {
                        *path = folder.join(&*path).to_string_lossy().into_owned();
                    }
                }
            }
        }
    }

    /// The unit behind a service.
    pub fn unit_of(&self, target: &str, service: &str) -> Option<&str> {
        let unit = self.unit.iter().find(|unit| unit.target == target && unit.service == service)?;
        Some(&unit.unit)
    }

    /// Everything that is wrong, all at once.
    pub fn check(&self, watched: &Watched) -> Vec<Fault> {
        let mut faults = Vec::new();
        if self.engineer.is_empty() {
            faults.push(fault("alerts.engineer", "nobody is on call; add one [[alerts.engineer]] at least"));
        }
        for (key, url) in [("alerts.operator_url", &self.operator_url), ("alerts.node_url", &self.node_url)] {
            faults.extend(bad_url(key, url));
        }
        faults.extend(unreadable("alerts.operator_key_file", &self.operator_key_file));
        self.check_mail(watched, &mut faults);
        self.check_engineers(watched, &mut faults);
        let mut seen = BTreeSet::new();
        for unit in &self.unit {
            if !seen.insert((&unit.target, &unit.service)) {
                let message = format!("service \"{}\" of \"{}\" has two units; keep one", unit.service, unit.target);
                faults.push(fault("alerts.unit", &message));
            }
        }
        faults
    }

    fn check_mail(&self, watched: &Watched, faults: &mut Vec<Fault>) {
        if self.from.parse::<lettre::Address>().is_err() {
            faults.push(fault("alerts.from", "not an e-mail address"));
        }
        let itself = watched
            .addresses
            .iter()
            .any(|(host, port)| *port == self.relay_port && host.eq_ignore_ascii_case(&self.relay_host));
        if itself || watched.domains.iter().any(|domain| is_within(&self.relay_host, domain)) {
            let message = format!(
                "the relay {}:{} is the watched system itself: when it is down, no page leaves; name a relay elsewhere",
                self.relay_host, self.relay_port
            );
            faults.push(fault("alerts.relay_host", &message));
        }
    }

    fn check_engineers(&self, watched: &Watched, faults: &mut Vec<Fault>) {
        let mut names = BTreeSet::new();
        for engineer in &self.engineer {
            let key = |field: &str| format!("alerts.engineer.{field} ({})", engineer.name);
            if !names.insert(&engineer.name) {
                faults.push((key("name"), "two engineers have this name; give each his own".to_owned()));
            }
            let domain = engineer.email.as_deref().and_then(|email| Some(email.rsplit_once('@')?.1));
            if let Some(domain) = watched.domains.iter().find(|own| domain.is_some_and(|domain| is_within(domain, own)))
            {
                let message =
                    format!("a page to {domain} would go through the watched system itself; use an address elsewhere");
                faults.push((key("email"), message));
            }
            if let Some(url) = &engineer.webhook_url {
                faults.extend(bad_url(&key("webhook_url"), url));
            }
            let (channels, bad) = channel::open(self, engineer);
            if channels.is_empty() && bad.is_empty() {
                let message = "no channel reaches this person; give an email, a webhook_url or a channel";
                faults.push((key("name"), message.to_owned()));
            }
            faults.extend(bad.into_iter().map(|(field, message)| (key(&field), message)));
        }
    }
}

fn fault(key: &str, message: &str) -> Fault {
    (key.to_owned(), message.to_owned())
}

/// Whether `host` is `domain` or beneath it.
fn is_within(host: &str, domain: &str) -> bool {
    let (host, domain) = (host.trim_end_matches('.').to_ascii_lowercase(), domain.to_ascii_lowercase());
    host == domain || host.strip_suffix(&domain).is_some_and(|rest| rest.ends_with('.'))
}

fn bad_url(key: &str, url: &str) -> Option<Fault> {
    let message = match reqwest::Url::parse(url) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => return None,
        Ok(_) => "not an http or https URL".to_owned(),
        Err(error) => format!("not a URL: {error}"),
    };
    Some((key.to_owned(), message))
}

fn unreadable(key: &str, path: &Path) -> Option<Fault> {
    read_secret(path).err().map(|message| (key.to_owned(), message))
}

/// Reads a secret of one line from its file.
///
/// # Errors
/// A message for the operator: it cannot be read, or is empty.
pub fn read_secret(path: &Path) -> Result<String, String> {
    match std::fs::read_to_string(path) {
        Ok(text) if text.trim().is_empty() => Err(format!("{} is empty; put the secret into it", path.display())),
        Ok(text) => Ok(text.trim().to_owned()),
        Err(error) => Err(format!("{} cannot be read: {error}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(folder: &Path) -> Config {
        std::fs::create_dir_all(folder.join("secrets")).unwrap();
        for name in ["operator", "webhook-ada", "webhook-bjarne"] {
            std::fs::write(folder.join(format!("secrets/{name}.key")), "whsec_MTIzNDU2Nzg5MDEyMzQ1Njc4OTA=\n").unwrap();
        }
        let text = include_str!("../../src/init/varde.toml");
        let mut whole: toml::Table = toml::from_str(text).unwrap();
        let mut config: Config = whole.remove("alerts").unwrap().try_into().unwrap();
        let _: NodeConfig = whole.remove("node").unwrap().try_into().unwrap();
        config.resolve(folder);
        config
    }

    fn watched() -> Watched {
        Watched { domains: vec!["varde.test".to_owned()], addresses: vec![("127.0.0.1".to_owned(), 2525)] }
    }

    #[test]
    fn the_configuration_of_init_is_without_fault() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(sample(folder.path()).check(&watched()), vec![]);
    }

    #[test]
    fn a_contact_on_the_watched_system_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let mut config = sample(folder.path());
        config.relay_port = 2525;
        config.engineer[0].email = Some("ada@mx.varde.test".to_owned());
        config.engineer[1].webhook_secret_file = None;
        config.node_url = "localhost:80".to_owned();
        let faults = config.check(&watched());
        let keys: Vec<&str> = faults.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(
            keys,
            [
                "alerts.node_url",
                "alerts.relay_host",
                "alerts.engineer.email (Ada)",
                "alerts.engineer.webhook_secret_file (Bjarne)"
            ]
        );
        assert!(faults[1].1.contains("127.0.0.1:2525 is the watched system itself"), "{}", faults[1].1);
    }

    #[test]
    fn every_fault_is_told_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let mut config = sample(folder.path());
        config.engineer.clear();
        config.from = "nobody".to_owned();
        config.operator_key_file = folder.path().join("missing");
        let keys: Vec<String> = config.check(&watched()).into_iter().map(|(key, _)| key).collect();
        assert_eq!(keys, ["alerts.engineer", "alerts.operator_key_file", "alerts.from"]);
    }

    #[test]
    fn a_domain_that_only_ends_alike_is_another() {
        assert!(is_within("MX.varde.test.", "varde.test"));
        assert!(is_within("varde.test", "Varde.test"));
        assert!(!is_within("notvarde.test", "varde.test"));
    }
}
