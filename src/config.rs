//! The one configuration file: every role's section, read together so that every fault is named at once.

mod document;
mod offset;

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use document::Document;
pub use offset::listen_ports;

/// Everything that `varde.toml` says, checked.
#[derive(Debug)]
pub struct Config {
    /// The folder of the file: relative paths in it start here.
    pub dir: PathBuf,
    /// The `[site]` section.
    pub site: Site,
    /// The `[mail]` section.
    pub mail: mail::Config,
    /// The `[aggregate]` and `[clickhouse]` sections.
    pub events: aggregator::Config,
    /// The `[watch]` and `[[target]]` sections.
    pub probes: probes::config::Config,
    /// The `[alerts]` section.
    pub alerts: alerts::config::Config,
    /// The `[node]` section.
    pub node: alerts::config::NodeConfig,
    /// The `[web]` section.
    pub web: web::Config,
    /// The `[pager]` section.
    pub pager: Option<Pager>,
    /// The `[metrics]` section.
    pub metrics: aggregator::metrics::Config,
}

/// Who this is.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Site {
    /// Shown on the pages and in every page to an engineer.
    pub name: String,
    /// The tenant of every row.
    pub tenant: String,
    /// The zone whose days the public page shows.
    pub time_zone: chrono_tz::Tz,
    /// What becomes of the local parts of addresses in events, before anything is written to a disk.
    pub mask: aggregator::mask::Masking,
    /// The file that holds the key of their hashes.
    pub mask_key_file: PathBuf,
}

impl Default for Site {
    fn default() -> Self {
        Self {
            name: "Varde".to_owned(),
            tenant: "default".to_owned(),
            time_zone: chrono_tz::Tz::Etc__UTC,
            mask: aggregator::mask::Masking::Off,
            mask_key_file: "secrets/mask.key".into(),
        }
    }
}

/// The local pager inbox of `varde up`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pager {
    /// Where it takes webhooks and shows its page.
    pub listen: std::net::SocketAddr,
    /// Where it takes e-mail.
    pub smtp_listen: std::net::SocketAddr,
}

/// One thing that is wrong with a configuration file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    /// The line in the file, from 1; 0 when it is about the file as a whole.
    pub line: usize,
    /// The key, `mail.mx_listen` or `target[0].check[2].port`.
    pub key: String,
    /// What is wrong, and what to do.
    pub message: String,
}

/// Everything that is wrong with a configuration file.
#[derive(Debug)]
pub struct Faults {
    /// The file.
    pub file: PathBuf,
    /// The faults, by line.
    pub faults: Vec<Fault>,
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for fault in &self.faults {
            match fault.line {
                0 => write!(f, "{}: ", self.file.display())?,
                line => write!(f, "{}:{line}: ", self.file.display())?,
            }
            if !fault.key.is_empty() {
                write!(f, "{}: ", fault.key)?;
            }
            writeln!(f, "{}", fault.message)?;
        }
        let count = self.faults.len();
        write!(f, "{count} {} in {}", if count == 1 { "fault" } else { "faults" }, self.file.display())
    }
}

impl std::error::Error for Faults {}

/// How much of a configuration is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Checks {
    /// Sections, keys and types.
    Shape,
    /// Also what the sections mean together, and that the secrets they name are there.
    All,
}

impl Config {
    /// Reads and checks the file; every port that it listens on is moved by `port_offset`.
    ///
    /// # Errors
    /// Every fault of the file at once.
    pub fn load(file: &Path, port_offset: u16) -> Result<Self, Faults> {
        Self::load_with(file, port_offset, Checks::All)
    }

    /// The same, but only what the file itself says is checked, not what it names: for a folder that is not complete
    /// yet.
    ///
    /// # Errors
    /// Every fault of the file at once.
    pub fn load_incomplete(file: &Path, port_offset: u16) -> Result<Self, Faults> {
        Self::load_with(file, port_offset, Checks::Shape)
    }

    fn load_with(file: &Path, port_offset: u16, checks: Checks) -> Result<Self, Faults> {
        let whole = |message: String| Faults {
            file: file.to_owned(),
            faults: vec![Fault { line: 0, key: String::new(), message }],
        };
        let text = std::fs::read_to_string(file).map_err(|error| {
            whole(format!("cannot be read: {error}; `varde init --dir DIR` writes one, `--config FILE` names one"))
        })?;
        let dir = file.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let dir = std::path::absolute(dir).map_err(|error| whole(format!("its folder cannot be named: {error}")))?;
        let text = offset::moved(&text, port_offset);
        Self::parse(&text, dir, checks).map_err(|faults| Faults { file: file.to_owned(), faults })
    }

    fn parse(text: &str, dir: PathBuf, checks: Checks) -> Result<Self, Vec<Fault>> {
        let mut document = Document::parse(text);
        let site = document.section::<Site>("site", true);
        let mail = document.section::<mail::Config>("mail", true);
        let events = document.sections::<aggregator::Config>(&["aggregate", "clickhouse"]);
        let probes = document.sections::<probes::config::Config>(&["watch", "target"]);
        let alerts = document.section::<alerts::config::Config>("alerts", true);
        let node = document.section::<alerts::config::NodeConfig>("node", true);
        let web = document.section::<web::Config>("web", true);
        let pager = document.section::<Pager>("pager", false);
        let metrics = document.section::<aggregator::metrics::Config>("metrics", false).unwrap_or_default();
        document.refuse_unknown_sections();
        // Each section that could be read is checked, whatever is wrong with the others.
        if checks == Checks::All {
            let prefix = |section: &str, faults: Vec<(String, String)>| {
                faults.into_iter().map(|(key, message)| ([section, &key].concat(), message)).collect::<Vec<_>>()
            };
            mail.iter().for_each(|mail| document.semantic(prefix("mail.", mail.check())));
            events.iter().for_each(|events| document.semantic(events.check()));
            probes.iter().for_each(|probes| document.semantic(probes.check()));
            node.iter().for_each(|node| document.semantic(prefix("node.", node.check())));
            web.iter().for_each(|web| document.semantic(prefix("web.", web.check())));
        }
        if let (Some(site), Some(mail), Some(events), Some(probes), Some(alerts), Some(node), Some(web)) =
            (site, mail, events, probes, alerts, node, web)
        {
            let mut config = Self { dir, site, mail, events, probes, alerts, node, web, pager, metrics };
            config.resolve_paths();
            config.probes.inherit();
            if checks == Checks::All {
                config.check_across(&mut document);
            }
            document.finish().map(|()| config)
        } else {
            Err(document.finish().err().unwrap_or_default())
        }
    }

    /// The names of the processes that a suite can have.
    pub fn processes(&self) -> Vec<String> {
        let mail = ::mail::Service::ALL.map(|service| format!("mail-{}", service.as_str()));
        let watchers = self.probes.watch.watcher.iter().map(|watcher| format!("watch-{}", watcher.name));
        let fixed = ["up", "clickhouse", "aggregate", "pager", "mail", "node", "web"].map(str::to_owned);
        fixed.into_iter().chain(mail).chain(watchers).collect()
    }

    /// A path of the file, from its folder.
    pub fn path(&self, relative: impl AsRef<Path>) -> PathBuf {
        self.dir.join(relative)
    }

    /// The first line of a secret's file.
    ///
    /// # Errors
    /// Names the file, and what to do.
    pub fn secret(&self, relative: impl AsRef<Path>) -> anyhow::Result<String> {
        let path = self.path(relative);
        let text = std::fs::read_to_string(&path).map_err(|error| {
            anyhow::anyhow!("the secret {} cannot be read: {error}; `varde init` makes it", path.display())
        })?;
        Ok(text.lines().next().unwrap_or_default().trim().to_owned())
    }

    /// Makes every path of the file absolute.
    fn resolve_paths(&mut self) {
        let dir = self.dir.clone();
        self.mail.resolve_paths(&dir);
        self.probes.resolve_paths(&dir);
        self.alerts.resolve(&dir);
        self.node.resolve(&dir);
        let (aggregate, clickhouse) = (&mut self.events.aggregate, &mut self.events.clickhouse);
        aggregate.reports.iter_mut().for_each(|source| source.resolve(&dir));
        for path in [
            &mut aggregate.key_file,
            &mut clickhouse.password_file,
            &mut clickhouse.sql_password_file,
            &mut self.node.public_key_file,
            &mut self.web.operators_file,
            &mut self.web.session_key_file,
            &mut self.site.mask_key_file,
        ]
        .into_iter()
        .chain(&mut self.metrics.key_file)
        .chain(&mut aggregate.otlp.headers_file)
        {
            *path = dir.join(&*path);
        }
    }

    /// What no single section can know of itself.
    fn check_across(&self, document: &mut Document<'_>) {
        let watched = alerts::config::Watched {
            domains: self.mail.domains.clone(),
            addresses: self
                .mail
                .listeners()
                .iter()
                .map(|(_, address)| (address.ip().to_string(), address.port()))
                .collect(),
        };
        document.semantic(self.alerts.check(&watched));
        if self.site.mask == aggregator::mask::Masking::Hash && !self.site.mask_key_file.is_file() {
            document.fault(
                "site.mask_key_file",
                format!("{} is not there; `varde init` makes it", self.site.mask_key_file.display()),
            );
        }
        let metrics = self.metrics.check(&self.processes());
        document.semantic(metrics.into_iter().map(|(key, message)| (["metrics.", &key].concat(), message)).collect());
        for (index, unit) in self.alerts.unit.iter().enumerate() {
            if !self.node.allow_restart.contains(&unit.unit) {
                document.fault(
                    &format!("alerts.unit[{index}].unit"),
                    format!(
                        "\"{}\" may not be restarted; add it to node.allow_restart, or remove this unit",
                        unit.unit
                    ),
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHIPPED: &str = include_str!("init/varde.toml");

    /// A folder in which every secret that the shipped file names is there.
    fn complete_folder() -> PathBuf {
        static FOLDER: std::sync::LazyLock<tempfile::TempDir> = std::sync::LazyLock::new(|| {
            let dir = tempfile::tempdir().unwrap();
            crate::init::complete(dir.path(), 0).unwrap();
            dir
        });
        FOLDER.path().to_owned()
    }

    fn faults_of(text: &str) -> Vec<String> {
        match Config::parse(text, complete_folder(), Checks::All) {
            Ok(_) => Vec::new(),
            Err(faults) => faults.iter().map(|f| format!("{}: {}: {}", f.line, f.key, f.message)).collect(),
        }
    }

    #[test]
    fn the_shipped_file_has_no_fault() {
        assert_eq!(faults_of(SHIPPED), Vec::<String>::new());
    }

    #[test]
    fn every_fault_is_named_at_once_with_line_and_key() {
        let broken = SHIPPED
            .replace("time_zone = \"Etc/UTC\"", "time_zone = \"Mars/Olympus\"")
            .replace("max_message_bytes = 52_428_800", "max_message_bytes = \"big\"")
            .replace("restarts_per_unit_hour = 2", "restarts_per_unit_hours = 2")
            .replace("interval_s = 900 ", "interval_s = 0 ");
        let faults = faults_of(&broken);
        assert_eq!(faults.len(), 4, "{faults:#?}");
        for (fault, key) in faults.iter().zip([
            "site.time_zone",
            "mail.max_message_bytes",
            "watch.interval_s",
            "node.restarts_per_unit_hours",
        ]) {
            assert!(fault.contains(key), "{fault} should name {key}");
            assert!(!fault.starts_with("0:"), "{fault} should have a line");
        }
    }

    #[test]
    fn an_objective_that_makes_no_sense_is_named_at_its_key() {
        let broken = SHIPPED.replace("window = \"30d\"", "window = \"4w\"");
        let [fault] = &faults_of(&broken)[..] else { panic!("{:#?}", faults_of(&broken)) };
        let line = SHIPPED.lines().position(|line| line.starts_with("window = ")).unwrap() + 1;
        assert!(fault.starts_with(&format!("{line}: target[0].objective[0].window: ")), "{fault}");
        assert!(fault.contains("\"4w\" is no window; use \"30d\" (1 to 90 days) or \"calendar month\""), "{fault}");
        let broken = SHIPPED.replace("availability = 99.9 ", "availability = 100 ");
        let [fault] = &faults_of(&broken)[..] else { panic!("{:#?}", faults_of(&broken)) };
        assert!(
            fault.contains("target[0].objective[0].availability: must be more than 0 and less than 100"),
            "{fault}"
        );
    }

    #[test]
    fn an_unknown_section_is_refused() {
        let faults = faults_of(&format!("{SHIPPED}\n[webb]\nlisten = 1\n"));
        assert_eq!(faults.len(), 1);
        assert!(faults[0].contains("webb: there is no such section; did you mean \"web\"?"), "{faults:?}");
    }

    #[test]
    fn a_file_that_is_not_toml_says_where() {
        let faults = faults_of("[site]\nname = \n[mail\n");
        assert!(faults.iter().any(|fault| fault.starts_with("2:")), "{faults:?}");
    }
}
