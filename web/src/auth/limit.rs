//! How often one may try to log in: by address and by name.

use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};

/// A longer name is nobody's.
pub const MAX_NAME_CHARS: usize = 254;
/// Attempts at once from one address; then one every [`PERIOD`].
const BURST_ADDRESS: u32 = 10;
/// Attempts at once for one name, from wherever; more than for an address, so that a stranger does not easily keep
/// an operator out.
const BURST_NAME: u32 = 30;
/// After a burst, one attempt in this time.
const PERIOD: Duration = Duration::from_secs(10);
/// Addresses, and names, that are remembered. When all of them tried just now, new ones are refused.
const MAX_KEYS: usize = 10_000;

type Limiter<K> = RateLimiter<K, HashMapStateStore<K>, DefaultClock>;

/// The attempts of the last minutes.
pub struct Attempts {
    by_address: Limiter<IpAddr>,
    by_name: Limiter<String>,
    clock: DefaultClock,
}

impl Attempts {
    /// None yet.
    pub fn new() -> Self {
        Self {
            by_address: RateLimiter::hashmap(quota(BURST_ADDRESS)),
            by_name: RateLimiter::hashmap(quota(BURST_NAME)),
            clock: DefaultClock::default(),
        }
    }

    /// Counts an attempt.
    ///
    /// # Errors
    /// Too many: seconds until the next one is allowed.
    pub fn take(&self, from: IpAddr, name: &str) -> Result<(), u64> {
        self.one(&self.by_address, &network(from))?;
        self.one(&self.by_name, &name.chars().take(MAX_NAME_CHARS).collect::<String>().to_ascii_lowercase())
    }

    fn one<K: std::hash::Hash + Eq + Clone>(&self, limiter: &Limiter<K>, key: &K) -> Result<(), u64> {
        if limiter.len() >= MAX_KEYS {
            limiter.retain_recent();
            if limiter.len() >= MAX_KEYS {
                return Err(PERIOD.as_secs());
            }
        }
        limiter.check_key(key).map_err(|refused| refused.wait_time_from(self.clock.now()).as_secs() + 1)
    }
}

fn quota(burst: u32) -> Quota {
    let burst = NonZeroU32::new(burst).unwrap_or(NonZeroU32::MIN);
    Quota::with_period(PERIOD).unwrap_or(Quota::per_minute(burst)).allow_burst(burst)
}

/// What one person has: an IPv4 address, or a /64 of IPv6.
fn network(from: IpAddr) -> IpAddr {
    match from.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).into(),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_runs_out_and_another_does_not() {
        let attempts = Attempts::new();
        let from: IpAddr = "192.0.2.1".parse().unwrap();
        let name = |n: u32| format!("{n}@varde.test");
        for n in 0..BURST_ADDRESS {
            assert_eq!(attempts.take(from, &name(n)), Ok(()));
        }
        assert!(attempts.take(from, "x").is_err_and(|wait_s| (1..=PERIOD.as_secs() + 1).contains(&wait_s)));
        assert_eq!(attempts.take("192.0.2.2".parse().unwrap(), "x"), Ok(()));
    }

    #[test]
    fn a_name_runs_out_however_it_is_spelt_and_wherever_from() {
        let attempts = Attempts::new();
        let last = (0..=BURST_NAME).map(|n| {
            let name = if n % 2 == 0 { "ada@varde.test" } else { "Ada@Varde.Test" };
            attempts.take(Ipv6Addr::from_bits(u128::from(n) << 64).into(), name)
        });
        assert_eq!(last.filter(Result::is_err).count(), 1);
    }

    #[test]
    fn a_network_of_ipv6_is_one_address() {
        assert_eq!(network("2001:db8::1".parse().unwrap()), network("2001:db8::ffff:2".parse().unwrap()));
        assert_eq!(network("::ffff:192.0.2.1".parse().unwrap()).to_string(), "192.0.2.1");
    }
}
