//! Failed logins: slowed, and put off past a bound, by address and by account.
//!
//! Each process counts for itself. Loopback addresses have no bound of their own, because webmail and proxies log in
//! for many from there; the bound of the account holds for them too.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::time::Duration;

use aggregator::event::Time;

/// How long a failure counts.
pub const WINDOW_MS: u64 = 600_000;
/// Addresses, and accounts, that are remembered. Past it the ones that failed longest ago are forgotten.
pub const MAX_REMEMBERED: usize = 10_000;
/// The bound of an account as a multiple of that of an address: one attacker shall not lock a user out.
const ACCOUNT_FACTOR: u32 = 5;
/// The delay after the first failure; it doubles up to 16-fold.
const FIRST_DELAY: Duration = Duration::from_millis(250);

/// The failed logins of the last ten minutes.
#[derive(Debug)]
pub struct Guard {
    max_failures: u32,
    by_ip: Counts<IpAddr>,
    by_account: Counts<String>,
}

impl Guard {
    /// A guard that lets an address fail this many times in ten minutes.
    pub fn new(max_failures: u32) -> Self {
        Self { max_failures, by_ip: Counts::default(), by_account: Counts::default() }
    }

    /// Whether a login may be tried now.
    pub fn allows(&self, now: Time, ip: IpAddr, account: &str) -> bool {
        let by_ip = if is_loopback(ip) { 0 } else { self.by_ip.count(now, &ip) };
        by_ip < self.max_failures
            && self.by_account.count(now, &account.to_lowercase()) < self.max_failures.saturating_mul(ACCOUNT_FACTOR)
    }

    /// Counts a failure. Returns how long the answer is to wait.
    pub fn failed(&mut self, now: Time, ip: IpAddr, account: &str) -> Duration {
        self.by_account.add(now, account.to_lowercase());
        let failures = self.by_ip.add(now, ip);
        FIRST_DELAY * (1 << failures.saturating_sub(1).min(4))
    }

    /// A login succeeded: the address is forgiven.
    pub fn succeeded(&mut self, ip: IpAddr) {
        self.by_ip.0.remove(&ip);
    }
}

fn is_loopback(ip: IpAddr) -> bool {
    ip.to_canonical().is_loopback()
}

#[derive(Debug)]
struct Counts<K>(HashMap<K, (Time, u32)>);

impl<K> Default for Counts<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Eq + Hash + Clone> Counts<K> {
    fn count(&self, now: Time, key: &K) -> u32 {
        self.0.get(key).filter(|(since, _)| now.millis_since(*since) < WINDOW_MS).map_or(0, |(_, count)| *count)
    }

    fn add(&mut self, now: Time, key: K) -> u32 {
        if self.0.len() >= MAX_REMEMBERED && !self.0.contains_key(&key) {
            self.0.retain(|_, (since, _)| now.millis_since(*since) < WINDOW_MS);
        }
        if self.0.len() >= MAX_REMEMBERED
            && let Some(oldest) = self.0.iter().min_by_key(|(_, (since, _))| *since).map(|(key, _)| key.clone())
        {
            self.0.remove(&oldest);
        }
        let entry = self.0.entry(key).or_insert((now, 0));
        if now.millis_since(entry.0) >= WINDOW_MS {
            *entry = (now, 0);
        }
        entry.1 = entry.1.saturating_add(1);
        entry.1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_put_off_after_its_failures_and_forgiven_after_the_window() {
        let mut guard = Guard::new(3);
        let ip: IpAddr = "192.0.2.1".parse().unwrap();
        let delays: Vec<u128> = (0..3).map(|n| guard.failed(Time(n), ip, "ada").as_millis()).collect();
        assert_eq!(delays, [250, 500, 1_000]);
        assert!(!guard.allows(Time(3), ip, "bob"));
        assert!(guard.allows(Time(3), "192.0.2.2".parse().unwrap(), "ada"));
        assert!(guard.allows(Time(0).plus_millis(600_000), ip, "ada"));
    }

    #[test]
    fn an_account_is_put_off_from_everywhere_when_many_addresses_try_it() {
        let mut guard = Guard::new(1);
        for n in 0..5 {
            guard.failed(Time(0), IpAddr::from([10, 0, 0, n]), "Ada@varde.test");
        }
        assert!(!guard.allows(Time(0), IpAddr::from([10, 0, 0, 9]), "ada@varde.test"));
        assert!(guard.allows(Time(0), IpAddr::from([10, 0, 0, 9]), "bob@varde.test"));
    }

    #[test]
    fn memory_is_bounded_whoever_tries() {
        let mut guard = Guard::new(1);
        for n in 0..=(MAX_REMEMBERED as u32) {
            guard.failed(Time(i64::from(n)), IpAddr::from(n.to_be_bytes()), "ada");
        }
        assert_eq!(guard.by_ip.0.len(), MAX_REMEMBERED);
        assert!(guard.allows(Time(0), IpAddr::from([0, 0, 0, 0]), "bob"), "the oldest was forgotten");
    }
}
