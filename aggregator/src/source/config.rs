//! `[[node.log]]` and `[[node.syslog]]`: what the node reads.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use chrono_tz::Tz;
use ipnet::IpNet;
use serde::Deserialize;

use super::names;
use crate::dialect;

/// A key and what is wrong with it.
type Fault = (String, String);

/// A log that the node follows: one `[[node.log]]`, a file (`path`) or systemd's journal (`journald = true`).
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogConfig {
    /// The file, by the name under which the newest lines appear.
    pub path: Option<PathBuf>,
    /// Whether it is systemd's journal.
    pub journald: bool,
    /// Units of the journal; patterns as `journalctl --unit` takes them.
    pub unit: Vec<String>,
    /// Syslog identifiers of the journal.
    pub identifier: Vec<String>,
    /// The folder of the journal, if it is not this host's own.
    pub directory: Option<PathBuf>,
    /// The dialect of its lines.
    pub dialect: String,
    /// The zone of times that do not say.
    pub time_zone: Tz,
    /// Whether recognised lines are kept in `raw_lines` too, so that they can be read again later.
    pub raw: bool,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            path: None,
            journald: false,
            unit: Vec::new(),
            identifier: Vec::new(),
            directory: None,
            dialect: "mail".to_owned(),
            time_zone: Tz::UTC,
            raw: true,
        }
    }
}

/// Which journal, and what of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalLog {
    /// See [`LogConfig::unit`].
    pub unit: Vec<String>,
    /// See [`LogConfig::identifier`].
    pub identifier: Vec<String>,
    /// See [`LogConfig::directory`].
    pub directory: Option<PathBuf>,
}

impl JournalLog {
    /// Its name in checkpoints and in `raw_lines`: what of which journal.
    pub fn name(&self) -> String {
        let of = self.directory.iter().map(|directory| directory.to_string_lossy().into_owned());
        let parts: Vec<String> = of.chain(self.unit.iter().chain(&self.identifier).cloned()).collect();
        ["journald:", &parts.join(",")].concat()
    }
}

/// Where a followed log is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogPlace {
    /// A file.
    File(PathBuf),
    /// systemd's journal.
    Journal(JournalLog),
}

impl LogConfig {
    /// Where it is.
    pub fn place(&self) -> LogPlace {
        match &self.path {
            Some(path) => LogPlace::File(path.clone()),
            None => LogPlace::Journal(JournalLog {
                unit: self.unit.clone(),
                identifier: self.identifier.clone(),
                directory: self.directory.clone(),
            }),
        }
    }

    /// Makes relative paths relative to `folder`, the configuration file's.
    pub fn resolve(&mut self, folder: &Path) {
        for path in [&mut self.path, &mut self.directory].into_iter().flatten() {
            *path = folder.join(&*path);
        }
    }

    /// What is wrong with it: the key, and what to do.
    pub fn check(&self) -> Vec<Fault> {
        let mut faults = dialect_faults(&self.dialect);
        let mut fault = |key: &str, message: &str| faults.push((key.to_owned(), message.to_owned()));
        let filters = [("unit", self.unit.is_empty()), ("identifier", self.identifier.is_empty())];
        match (&self.path, self.journald) {
            (None, false) => fault("path", "is missing: name a file, or say journald = true"),
            (Some(_), true) => fault("journald", "a log is a file (path) or the journal (journald = true), not both"),
            (None, true) if filters.iter().all(|(_, empty)| *empty) => {
                fault(
                    "unit",
                    "name the units of the mail system, for example [\"postfix*\", \"dovecot*\"], or identifiers; [\"*\"] is everything",
                );
            }
            (Some(path), false) => {
                if path.file_name().is_none() {
                    fault("path", "names no file");
                }
                let given = filters.iter().find(|(_, empty)| !empty).map(|(key, _)| *key);
                if let Some(key) = given.or(self.directory.is_some().then_some("directory")) {
                    fault(key, "is about the journal: it needs journald = true, and no path");
                }
            }
            (None, true) => {}
        }
        faults
    }
}

/// How a listener is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// A line a datagram (RFC 5426).
    Udp,
    /// Counted or terminated lines (RFC 6587).
    Tcp,
    /// The same within TLS (RFC 5425).
    Tls,
}

/// A syslog listener of the node: one `[[node.syslog]]`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SyslogConfig {
    /// `udp://ADDRESS:PORT`, `tcp://ADDRESS:PORT` or `tls://ADDRESS:PORT`.
    pub listen: String,
    /// Networks that may send; nobody else is heard.
    #[serde(default = "loopback", deserialize_with = "networks")]
    pub allow: Vec<IpNet>,
    /// The dialect of its lines.
    #[serde(default = "mail")]
    pub dialect: String,
    /// The zone of times that do not say.
    #[serde(default = "utc")]
    pub time_zone: Tz,
    /// Whether recognised lines are kept in `raw_lines` too.
    #[serde(default = "yes")]
    pub raw: bool,
    /// The certificate chain of a `tls` listener, PEM.
    #[serde(default)]
    pub certificate: Option<PathBuf>,
    /// Its private key, PEM.
    #[serde(default)]
    pub key: Option<PathBuf>,
    /// Roots, PEM: only clients with a certificate of theirs are heard.
    #[serde(default)]
    pub client_ca: Option<PathBuf>,
}

fn loopback() -> Vec<IpNet> {
    [IpAddr::from([127, 0, 0, 1]), IpAddr::from(std::net::Ipv6Addr::LOCALHOST)].map(IpNet::from).to_vec()
}

fn networks<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<IpNet>, D::Error> {
    let network = |text: String| {
        let parsed = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        parsed.map_err(|_| serde::de::Error::custom(["\"", &text, "\" is no network: 192.0.2.0/24"].concat()))
    };
    Vec::<String>::deserialize(deserializer)?.into_iter().map(network).collect()
}

fn utc() -> Tz {
    Tz::UTC
}

fn mail() -> String {
    "mail".to_owned()
}

fn yes() -> bool {
    true
}

impl SyslogConfig {
    /// Transport and address; `None` when `listen` says neither.
    pub fn address(&self) -> Option<(Transport, SocketAddr)> {
        let (scheme, address) = self.listen.split_once("://")?;
        let transport = match scheme {
            "udp" => Transport::Udp,
            "tcp" => Transport::Tcp,
            "tls" => Transport::Tls,
            _ => return None,
        };
        Some((transport, address.parse().ok()?))
    }

    /// Makes relative paths relative to `folder`, the configuration file's.
    pub fn resolve(&mut self, folder: &Path) {
        for path in [&mut self.certificate, &mut self.key, &mut self.client_ca].into_iter().flatten() {
            *path = folder.join(&*path);
        }
    }

    /// Whether an address may send.
    pub fn allows(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.allow.iter().any(|network| network.contains(&address))
    }

    /// What is wrong with it: the key, and what to do.
    pub fn check(&self) -> Vec<Fault> {
        let mut faults = dialect_faults(&self.dialect);
        let mut fault = |key: &str, message: String| faults.push((key.to_owned(), message));
        let files = [("certificate", &self.certificate), ("key", &self.key), ("client_ca", &self.client_ca)];
        match self.address() {
            None => fault(
                "listen",
                ["\"", &self.listen, "\" is not udp://ADDRESS:PORT, tcp://ADDRESS:PORT or tls://ADDRESS:PORT"].concat(),
            ),
            Some((Transport::Tls, _)) => {
                for (key, _) in files.iter().take(2).filter(|(_, file)| file.is_none()) {
                    fault(key, "is missing: a tls listener needs certificate and key, PEM files".to_owned());
                }
            }
            Some(_) => {
                for (key, _) in files.iter().filter(|(_, file)| file.is_some()) {
                    fault(key, "is for tls:// only".to_owned());
                }
            }
        }
        if self.allow.is_empty() {
            fault("allow", "names no network: nobody would be heard".to_owned());
        }
        faults
    }
}

fn dialect_faults(name: &str) -> Vec<Fault> {
    match dialect::find(name) {
        Some(_) => Vec::new(),
        None => vec![("dialect".to_owned(), ["\"", name, "\" is none of ", &names()].concat())],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(faults: Vec<Fault>) -> Vec<String> {
        faults.into_iter().map(|(key, _)| key).collect()
    }

    fn log(text: &str) -> Vec<String> {
        keys(toml::from_str::<LogConfig>(text).unwrap().check())
    }

    fn syslog(text: &str) -> Vec<String> {
        keys(toml::from_str::<SyslogConfig>(text).unwrap().check())
    }

    #[test]
    fn a_log_is_a_file_or_the_journal_and_each_fault_names_its_key() {
        assert!(log("path = \"/var/log/mail.log\"").is_empty());
        assert!(log("journald = true\nunit = [\"postfix*\"]").is_empty());
        assert_eq!(log(""), ["path"]);
        assert_eq!(log("journald = true"), ["unit"]);
        assert_eq!(log("path = \"/x\"\njournald = true"), ["journald"]);
        assert_eq!(log("path = \"/x\"\nidentifier = [\"exim\"]\ndialect = \"sendmail\""), ["dialect", "identifier"]);
    }

    #[test]
    fn a_listener_says_its_transport_and_each_fault_names_its_key() {
        assert!(syslog("listen = \"udp://127.0.0.1:5514\"").is_empty());
        assert!(syslog("listen = \"tls://[::]:6514\"\ncertificate = \"c\"\nkey = \"k\"").is_empty());
        assert_eq!(syslog("listen = \"127.0.0.1:514\"\nallow = []"), ["listen", "allow"]);
        assert_eq!(syslog("listen = \"tls://127.0.0.1:6514\""), ["certificate", "key"]);
        assert_eq!(syslog("listen = \"tcp://127.0.0.1:514\"\nkey = \"k\""), ["key"]);
        let config: SyslogConfig = toml::from_str("listen = \"udp://[::]:514\"\nallow = [\"192.0.2.0/24\"]").unwrap();
        assert!(config.allows("::ffff:192.0.2.7".parse().unwrap()) && !config.allows("127.0.0.1".parse().unwrap()));
        let config: SyslogConfig = toml::from_str("listen = \"udp://[::]:514\"").unwrap();
        assert!(config.allows("127.0.0.1".parse().unwrap()) && !config.allows("192.0.2.7".parse().unwrap()));
    }
}
