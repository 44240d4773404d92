//! The sections `[aggregate]` and `[clickhouse]` of the configuration file.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::PathBuf;

use serde::Deserialize;

use crate::collect::SourceConfig;
use crate::otlp::exporter;
use crate::schema::{self, Lifetimes};

/// The least disk that a spool must be allowed: room for a few sealed batches.
const SPOOL_MIN_BYTES: u64 = 16 << 20;

/// What this crate reads of the configuration file.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The intake, and the shippers that send to it.
    pub aggregate: Aggregate,
    /// Where the rows end up.
    pub clickhouse: ClickHouse,
}

/// Section `[aggregate]`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Aggregate {
    /// Where shippers send their sealed batches.
    pub listen: SocketAddr,
    /// The file that holds the secret which shippers and intake share.
    pub key_file: PathBuf,
    /// Octets that each shipper's spool may take; past it the oldest sealed batch is dropped, and counted.
    pub spool_max_bytes: u64,
    /// For how many days each table keeps its rows; one that is not named keeps its default, 0 is for ever.
    pub ttl: Lifetimes,
    /// Where traces of messages go.
    pub otlp: exporter::Config,
    /// Mailboxes that are searched for reports: `[[aggregate.reports]]`.
    pub reports: Vec<SourceConfig>,
}

impl Default for Aggregate {
    fn default() -> Self {
        Self {
            listen: loopback(8024),
            key_file: "secrets/intake.key".into(),
            spool_max_bytes: 10 << 30,
            ttl: Lifetimes::new(),
            otlp: exporter::Config::default(),
            reports: Vec::new(),
        }
    }
}

/// Section `[clickhouse]`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClickHouse {
    /// A server or cluster to use instead of the embedded engine.
    pub url: Option<String>,
    /// Where the embedded engine listens.
    pub listen: SocketAddr,
    /// The user that owns the schema and inserts.
    pub user: String,
    /// The file that holds its password.
    pub password_file: PathBuf,
    /// The user of operators and reports: read-only and bounded.
    pub sql_user: String,
    /// The file that holds its password.
    pub sql_password_file: PathBuf,
    /// The database that reports and people read: `varde`, or `varde_all` on a cluster (`varde schema --cluster`).
    pub read_database: String,
}

impl Default for ClickHouse {
    fn default() -> Self {
        Self {
            url: None,
            listen: loopback(8123),
            user: "varde".into(),
            password_file: "secrets/clickhouse.password".into(),
            sql_user: "sql".into(),
            sql_password_file: "secrets/sql.password".into(),
            read_database: "varde".into(),
        }
    }
}

impl ClickHouse {
    /// Where clients find ClickHouse: the configured server, or the embedded engine.
    pub fn base_url(&self) -> String {
        self.url.clone().unwrap_or_else(|| ["http://", &self.listen.to_string()].concat())
    }
}

impl Config {
    /// Every fault that can be seen without touching the disk or the network: the key and what is wrong with it.
    pub fn check(&self) -> Vec<(String, String)> {
        let mut faults = Vec::new();
        let mut fault = |key: &str, message: String| faults.push((key.to_owned(), message));
        if self.aggregate.spool_max_bytes < SPOOL_MIN_BYTES {
            fault(
                "aggregate.spool_max_bytes",
                format!("{} is too little: the least is {SPOOL_MIN_BYTES}", self.aggregate.spool_max_bytes),
            );
        }
        for (table, message) in schema::check_lifetimes(&self.aggregate.ttl) {
            fault(&["aggregate.ttl.", &table].concat(), message);
        }
        for (key, message) in self.aggregate.otlp.check() {
            fault(&["aggregate.otlp.", &key].concat(), message);
        }
        for (index, source) in self.aggregate.reports.iter().enumerate() {
            for (key, message) in source.check() {
                fault(&format!("aggregate.reports[{index}].{key}"), message);
            }
            if self.aggregate.reports.iter().take(index).any(|other| other.name == source.name) {
                fault(&format!("aggregate.reports[{index}].name"), "is another source's name too".to_owned());
            }
        }
        if let Some(url) = &self.clickhouse.url {
            match reqwest::Url::parse(url) {
                Ok(parsed) if matches!(parsed.scheme(), "http" | "https") && parsed.has_host() => {}
                Ok(_) => fault("clickhouse.url", format!("\"{url}\" is not an http:// or https:// URL with a host")),
                Err(why) => fault("clickhouse.url", format!("\"{url}\" is not a URL: {why}")),
            }
        } else if self.clickhouse.listen == self.aggregate.listen && self.clickhouse.listen.port() != 0 {
            fault("clickhouse.listen", format!("{} is the address of aggregate.listen too", self.clickhouse.listen));
        }
        for (key, name) in [
            ("clickhouse.user", &self.clickhouse.user),
            ("clickhouse.sql_user", &self.clickhouse.sql_user),
            ("clickhouse.read_database", &self.clickhouse.read_database),
        ] {
            if name.is_empty() {
                fault(key, "is empty: name one".to_owned());
            }
        }
        if self.clickhouse.user == self.clickhouse.sql_user {
            fault("clickhouse.sql_user", "must be another user than clickhouse.user: reports run read-only".to_owned());
        }
        faults
    }
}

const fn loopback(port: u16) -> SocketAddr {
    SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sections_of_the_starter_file_are_the_defaults() {
        let file: toml::Table = include_str!("../../src/init/varde.toml").parse().unwrap();
        let ours: toml::Table =
            file.into_iter().filter(|(name, _)| name == "aggregate" || name == "clickhouse").collect();
        assert_eq!(ours.len(), 2);
        assert_eq!(Config::deserialize(ours).unwrap(), Config::default());
        assert_eq!(Config::default().check(), []);
    }

    #[test]
    fn an_unknown_key_is_refused_by_name() {
        let fault = toml::from_str::<Config>("[clickhouse]\nurll = \"http://ch:8123\"").unwrap_err();
        assert!(fault.message().contains("unknown field `urll`"), "{fault}");
    }

    #[test]
    fn every_fault_is_reported_at_once() {
        let mut config = Config::default();
        config.aggregate.spool_max_bytes = 1;
        config.clickhouse.url = Some("ch:8123".into());
        config.clickhouse.sql_user = "varde".into();
        config.aggregate.ttl.insert("deliverys".into(), 3);
        let keys: Vec<String> = config.check().into_iter().map(|(key, _)| key).collect();
        assert_eq!(
            keys,
            ["aggregate.spool_max_bytes", "aggregate.ttl.deliverys", "clickhouse.url", "clickhouse.sql_user"]
        );
    }
}
