//! `[[target.check]]`: what is looked at, where, how often and how.

use std::net::IpAddr;
use std::time::Duration;

use serde::Deserialize;

use super::DEFAULT_TIMEOUT_MS;

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
