//! The section `[mail]` of the configuration: who we are, where we listen, what we bound.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

/// The section `[mail]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Our name in banners, in EHLO and in Received lines: a fully qualified domain name.
    pub hostname: String,
    /// The domains whose mail ends here.
    pub domains: Vec<String>,
    /// The certificate chain, PEM.
    pub certificate: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
    /// The largest message that is taken, in octets (RFC 1870).
    #[serde(default = "default_max_message_bytes")]
    pub max_message_bytes: u64,
    /// Inbound SMTP.
    #[serde(default = "default_mx")]
    pub mx_listen: SocketAddr,
    /// Submission with STARTTLS (RFC 6409).
    #[serde(default = "default_submission")]
    pub submission_listen: SocketAddr,
    /// Submission over TLS (RFC 8314).
    #[serde(default = "default_submissions")]
    pub submissions_listen: SocketAddr,
    /// The health of the queue, over HTTP.
    #[serde(default = "default_queue")]
    pub queue_listen: SocketAddr,
    /// IMAP with STARTTLS.
    #[serde(default = "default_imap")]
    pub imap_listen: SocketAddr,
    /// IMAP over TLS.
    #[serde(default = "default_imaps")]
    pub imaps_listen: SocketAddr,
    /// POP3 with STLS.
    #[serde(default = "default_pop3")]
    pub pop3_listen: SocketAddr,
    /// POP3 over TLS.
    #[serde(default = "default_pop3s")]
    pub pop3s_listen: SocketAddr,
    /// Webmail.
    #[serde(default = "default_web")]
    pub web_listen: SocketAddr,
    /// Where mail for a domain goes instead of to its MX.
    #[serde(default)]
    pub route: Vec<Route>,
    /// The bounds of sessions and of the queue.
    #[serde(default)]
    pub limits: Limits,
}

/// A next hop for a domain, instead of its MX.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// The recipients' domain.
    pub domain: String,
    /// A name or an address.
    pub host: String,
    /// Its port.
    #[serde(default = "default_smtp_port")]
    pub port: u16,
}

/// The bounds of sessions and of the queue: `[mail.limits]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Sessions at one time, of each listener. A client past it is told to come back later.
    pub max_sessions: usize,
    /// Sessions at one time from one address, of each listener.
    pub max_sessions_per_ip: usize,
    /// How long a client may take for its next command or its next octets (RFC 5321 section 4.5.3.2).
    pub command_timeout_s: u64,
    /// How long a TLS handshake may take.
    pub handshake_timeout_s: u64,
    /// How long sessions may go on once the service is told to stop.
    pub drain_s: u64,
    /// Recipients of one message (RFC 5321 section 4.5.3.1.8 asks for 100 at least).
    pub max_recipients: usize,
    /// Failed logins in ten minutes, from one address and for one account, before more are put off.
    pub max_login_failures: u32,
    /// Delay before the second attempt; it doubles with each attempt, with jitter.
    pub retry_first_s: u64,
    /// The longest delay between two attempts.
    pub retry_max_s: u64,
    /// How long a message stays in the queue before it is given back to its sender (RFC 5321 section 4.5.4.1).
    pub queue_lifetime_s: u64,
    /// Deliveries at one time, of each queue process.
    pub queue_concurrency: usize,
    /// Deliveries at one time to one domain, of each queue process.
    pub queue_domain_concurrency: usize,
    /// How long a queue process keeps an entry without a sign of life before another takes it.
    pub lease_s: u64,
    /// How long the next hop may take to accept a connection.
    pub connect_timeout_s: u64,
    /// How long the next hop may take for a reply.
    pub reply_timeout_s: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_sessions: 1_000,
            max_sessions_per_ip: 100,
            command_timeout_s: 300,
            handshake_timeout_s: 10,
            drain_s: 5,
            max_recipients: 1_000,
            max_login_failures: 20,
            retry_first_s: 60,
            retry_max_s: 4 * 3_600,
            queue_lifetime_s: 5 * 86_400,
            queue_concurrency: 100,
            queue_domain_concurrency: 10,
            lease_s: 10,
            connect_timeout_s: 30,
            reply_timeout_s: 300,
        }
    }
}

impl Limits {
    /// [`command_timeout_s`](Self::command_timeout_s) as a duration.
    pub fn command_timeout(&self) -> Duration {
        Duration::from_secs(self.command_timeout_s)
    }
    /// [`handshake_timeout_s`](Self::handshake_timeout_s) as a duration.
    pub fn handshake_timeout(&self) -> Duration {
        Duration::from_secs(self.handshake_timeout_s)
    }
    /// [`drain_s`](Self::drain_s) as a duration.
    pub fn drain(&self) -> Duration {
        Duration::from_secs(self.drain_s)
    }
    /// [`connect_timeout_s`](Self::connect_timeout_s) as a duration.
    pub fn connect_timeout(&self) -> Duration {
        Duration::from_secs(self.connect_timeout_s)
    }
    /// [`reply_timeout_s`](Self::reply_timeout_s) as a duration.
    pub fn reply_timeout(&self) -> Duration {
        Duration::from_secs(self.reply_timeout_s)
    }
}

/// The least that [`Config::max_message_bytes`] may be (RFC 5321 section 4.5.3.1.7).
pub const MIN_MESSAGE_BYTES: u64 = 65_536;
/// The most: a message is held in memory while it is received.
pub const MAX_MESSAGE_BYTES: u64 = 1 << 30;

impl Config {
    /// Makes paths that are relative to the configuration's folder absolute.
    pub fn resolve_paths(&mut self, base: &Path) {
        self.certificate = base.join(&self.certificate);
        self.key = base.join(&self.key);
    }

    /// Whether mail for this domain ends here.
    pub fn is_local_domain(&self, domain: &str) -> bool {
        self.domains.iter().any(|local| local.eq_ignore_ascii_case(domain))
    }

    /// The route for a domain, if the configuration has one.
    pub fn route_for(&self, domain: &str) -> Option<&Route> {
        self.route.iter().find(|route| route.domain.eq_ignore_ascii_case(domain))
    }

    /// The listeners with their keys.
    pub fn listeners(&self) -> [(&'static str, SocketAddr); 9] {
        [
            ("mx_listen", self.mx_listen),
            ("submission_listen", self.submission_listen),
            ("submissions_listen", self.submissions_listen),
            ("queue_listen", self.queue_listen),
            ("imap_listen", self.imap_listen),
            ("imaps_listen", self.imaps_listen),
            ("pop3_listen", self.pop3_listen),
            ("pop3s_listen", self.pop3s_listen),
            ("web_listen", self.web_listen),
        ]
    }

    /// Every fault that its types do not rule out: the key below `mail`, and what is wrong with it.
    pub fn check(&self) -> Vec<(String, String)> {
        let mut faults = Vec::new();
        let mut fault = |key: &str, message: String| faults.push((key.to_owned(), message));
        if !is_domain(&self.hostname) || !self.hostname.contains('.') {
            fault("hostname", format!("\"{}\" is not a fully qualified domain name", self.hostname));
        }
        if self.domains.is_empty() {
            fault("domains", "names no domain: no mail could be received".to_owned());
        }
        for domain in self.domains.iter().filter(|domain| !is_domain(domain)) {
            fault("domains", format!("\"{domain}\" is not a domain name"));
        }
        if !(MIN_MESSAGE_BYTES..=MAX_MESSAGE_BYTES).contains(&self.max_message_bytes) {
            fault("max_message_bytes", format!("must be from {MIN_MESSAGE_BYTES} to {MAX_MESSAGE_BYTES}"));
        }
        let mut seen = HashMap::new();
        for (key, address) in self.listeners() {
            if address.port() == 0 {
                continue;
            }
            if let Some(other) = seen.insert(address, key) {
                fault(key, format!("{address} is the address of {other} too"));
            }
        }
        for (n, route) in self.route.iter().enumerate() {
            if !is_domain(&route.domain) {
                fault(&format!("route[{n}].domain"), format!("\"{}\" is not a domain name", route.domain));
            }
            if route.host.is_empty() {
                fault(&format!("route[{n}].host"), "names no host".to_owned());
            }
            if route.port == 0 {
                fault(&format!("route[{n}].port"), "must be from 1 to 65535".to_owned());
            }
            if self.is_local_domain(&route.domain) {
                fault(&format!("route[{n}].domain"), format!("mail for \"{}\" ends here: see domains", route.domain));
            }
        }
        self.limits.check(&mut fault);
        faults
    }
}

impl Limits {
    fn check(&self, fault: &mut impl FnMut(&str, String)) {
        let positive = [
            ("limits.max_sessions", self.max_sessions as u64),
            ("limits.max_sessions_per_ip", self.max_sessions_per_ip as u64),
            ("limits.command_timeout_s", self.command_timeout_s),
            ("limits.handshake_timeout_s", self.handshake_timeout_s),
            ("limits.max_login_failures", u64::from(self.max_login_failures)),
            ("limits.retry_first_s", self.retry_first_s),
            ("limits.queue_lifetime_s", self.queue_lifetime_s),
            ("limits.queue_concurrency", self.queue_concurrency as u64),
            ("limits.queue_domain_concurrency", self.queue_domain_concurrency as u64),
            ("limits.lease_s", self.lease_s),
            ("limits.connect_timeout_s", self.connect_timeout_s),
            ("limits.reply_timeout_s", self.reply_timeout_s),
        ];
        for (key, _) in positive.iter().filter(|(_, value)| *value == 0) {
            fault(key, "must be at least 1".to_owned());
        }
        if self.max_recipients < 100 {
            fault("limits.max_recipients", "must be at least 100 (RFC 5321 section 4.5.3.1.8)".to_owned());
        }
        if self.retry_max_s < self.retry_first_s {
            fault("limits.retry_max_s", format!("must be at least retry_first_s, {}", self.retry_first_s));
        }
    }
}

/// Whether a text is a domain name (RFC 5321 section 4.1.2, or its internationalised form RFC 6531).
pub(crate) fn is_domain(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 255
        && text.split('.').all(|label| {
            !label.is_empty()
                && label.len() <= 63
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_' || !c.is_ascii())
        })
}

fn default_max_message_bytes() -> u64 {
    52_428_800
}
fn default_smtp_port() -> u16 {
    25
}
fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}
fn default_mx() -> SocketAddr {
    loopback(2525)
}
fn default_submission() -> SocketAddr {
    loopback(2587)
}
fn default_submissions() -> SocketAddr {
    loopback(2465)
}
fn default_queue() -> SocketAddr {
    loopback(2530)
}
fn default_imap() -> SocketAddr {
    loopback(2143)
}
fn default_imaps() -> SocketAddr {
    loopback(2993)
}
fn default_pop3() -> SocketAddr {
    loopback(2110)
}
fn default_pop3s() -> SocketAddr {
    loopback(2995)
}
fn default_web() -> SocketAddr {
    loopback(8025)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A configuration for tests: every port 0.
    pub(crate) fn sample() -> Config {
        let mut config: Config = serde_json::from_str(
            r#"{"hostname": "mx.varde.test", "domains": ["varde.test"], "certificate": "tls/mail.pem", "key": "tls/mail.key"}"#,
        )
        .unwrap();
        for listen in [
            &mut config.mx_listen,
            &mut config.submission_listen,
            &mut config.submissions_listen,
            &mut config.queue_listen,
            &mut config.imap_listen,
            &mut config.imaps_listen,
            &mut config.pop3_listen,
            &mut config.pop3s_listen,
            &mut config.web_listen,
        ] {
            listen.set_port(0);
        }
        config
    }

    #[test]
    fn every_fault_is_told_at_once_with_its_key() {
        let mut config = sample();
        config.hostname = "localhost".to_owned();
        config.domains = vec!["-bad-.test".to_owned()];
        config.max_message_bytes = 10;
        config.imap_listen = config.mx_listen;
        config.mx_listen.set_port(25);
        config.imap_listen.set_port(25);
        config.route = vec![Route { domain: "-bad-.test".to_owned(), host: String::new(), port: 0 }];
        config.limits.max_recipients = 1;
        config.limits.lease_s = 0;
        let keys: Vec<String> = config.check().into_iter().map(|(key, _)| key).collect();
        assert_eq!(
            keys,
            [
                "hostname",
                "domains",
                "max_message_bytes",
                "imap_listen",
                "route[0].domain",
                "route[0].host",
                "route[0].port",
                "route[0].domain",
                "limits.lease_s",
                "limits.max_recipients"
            ]
        );
    }

    #[test]
    fn what_is_left_out_has_its_default_and_no_fault() {
        let config = sample();
        assert_eq!(config.check(), []);
        assert_eq!(config.limits.queue_lifetime_s, 432_000);
    }
}
