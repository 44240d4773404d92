//! What is wrong with a watching configuration, each fault with its key.

use std::collections::{BTreeMap, BTreeSet};

use rustls_pki_types::DnsName;

use super::{Check, DEFAULT_TIMEOUT_MS, MAX_CONCURRENCY, MAX_DOMAINS, MAX_WATCHERS, Target, Watch};
use crate::control;
use crate::kind;
use crate::objective;

#[derive(Default)]
pub(super) struct Faults(pub(super) Vec<(String, String)>);

impl Faults {
    pub(super) fn add(&mut self, key: String, message: impl Into<String>) {
        self.0.push((key, message.into()));
    }

    pub(super) fn unique<'a>(&mut self, list: &str, field: &str, values: impl Iterator<Item = &'a str>) {
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

    pub(super) fn positive(&mut self, key: &str, value: u64) {
        if value == 0 {
            self.add(key.to_owned(), "must be greater than 0");
        }
    }
}

impl Watch {
    pub(super) fn check(&self, faults: &mut Faults) {
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
    pub(super) fn check_all(&self, at: &str, faults: &mut Faults) {
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
    pub(super) fn check(&self, target: &Target, at: &str, faults: &mut Faults) {
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
