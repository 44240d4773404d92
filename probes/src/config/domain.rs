//! `[[watch.domain]]`: a domain whose posture is audited once a day.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use crate::posture::{self, Options};

/// A domain whose posture is audited once a day, as `varde audit` does it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Domain {
    /// The domain after the @.
    pub name: String,
    /// DKIM selectors that must exist. Default: common ones are tried.
    #[serde(default)]
    pub selectors: Vec<String>,
    /// The resolver, best one that validates DNSSEC. Default: the system's.
    #[serde(default)]
    pub resolver: Option<SocketAddr>,
    /// Where to connect instead of the published addresses.
    #[serde(default)]
    pub connect: Option<IpAddr>,
    /// The port of the MX hosts.
    #[serde(default = "smtp_port")]
    pub smtp_port: u16,
    /// The port of the policy hosts.
    #[serde(default = "https_port")]
    pub https_port: u16,
    /// Roots (PEM) for its certificates. Default: the system's.
    #[serde(default)]
    pub trust: Option<PathBuf>,
    /// DNS blocklists of addresses. Default: those of `varde audit`.
    #[serde(default)]
    pub address_lists: Option<Vec<String>>,
    /// DNS blocklists of domains. Default: those of `varde audit`.
    #[serde(default)]
    pub domain_lists: Option<Vec<String>>,
    /// How long a look-up or a step of a conversation may take.
    #[serde(default = "timeout_s")]
    pub timeout_s: u64,
}

fn smtp_port() -> u16 {
    25
}

fn https_port() -> u16 {
    443
}

fn timeout_s() -> u64 {
    10
}

impl Domain {
    /// How it is audited.
    pub fn options(&self) -> Options {
        let usual = Options::default();
        Options {
            resolver: self.resolver,
            connect: self.connect,
            smtp_port: self.smtp_port,
            https_port: self.https_port,
            trust: self.trust.clone(),
            selectors: self.selectors.clone(),
            address_lists: self.address_lists.clone().unwrap_or(usual.address_lists),
            domain_lists: self.domain_lists.clone().unwrap_or(usual.domain_lists),
            timeout: Duration::from_secs(self.timeout_s),
        }
    }

    /// Whether it can be audited at all.
    pub(super) fn check(&self) -> Result<(), String> {
        posture::domain(&self.name).map(|_| ()).map_err(|error| error.to_string())
    }
}
