//! The health of the vantage: a watcher whose network, resolver or clock is at fault does not accuse the target.
//!
//! Network and resolver are tried when a check has failed, at that moment; a success shows that they are well. The network
//! is also tried while a run takes long: when it was away and has come back, the run fails for what was. The clock
//! is compared all the time, because it dates successes too: with time servers when some are named, otherwise with the
//! other watchers, who sign the time at which they speak.

mod clock;
mod sntp;

use std::convert::Infallible;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aggregator::event::{StepResult, Time};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use hickory_resolver::TokioResolver;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use self::clock::Clocks;
use crate::config::Watch;
use crate::observation::Step;

/// How long a control target may take to answer.
pub const CONTROL_TIMEOUT: Duration = Duration::from_secs(2);
/// How often the time servers are asked.
pub const CLOCK_EVERY: Duration = Duration::from_secs(60);
/// A run that takes longer than this makes the watcher look at its own network meanwhile.
pub const LONG_RUN: Duration = Duration::from_secs(1);
/// The port of a time server that is named without one (RFC 5905).
pub const NTP_PORT: u16 = 123;
/// The step of an observation that says why the vantage is at fault.
pub const STEP: &str = "vantage";

/// Why what a watcher sees says nothing about the target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// No control target takes a connection.
    Network,
    /// No control name can be resolved.
    Resolver,
    /// The clock is wrong.
    Clock {
        /// The right time minus this clock's.
        offset_ms: i64,
        /// Who says so: time servers or other watchers.
        by: &'static str,
    },
}

impl Fault {
    /// One word of it, as in a step's error class.
    pub fn class(&self) -> &'static str {
        match self {
            Self::Network => "network",
            Self::Resolver => "resolver",
            Self::Clock { .. } => "clock",
        }
    }

    /// The step that an observation gets.
    pub fn step(&self) -> Step {
        Step {
            name: STEP.to_owned(),
            result: StepResult::Failed,
            error_class: self.class().to_owned(),
            detail: self.to_string(),
            ms: 0.0,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network => f.write_str("no control target can be reached: this watcher's own network is at fault"),
            Self::Resolver => f.write_str("no control name can be resolved: this watcher's own resolver is at fault"),
            Self::Clock { offset_ms, by } => {
                let way = if *offset_ms < 0 { "ahead" } else { "behind" };
                write!(f, "this watcher's clock is {} ms {way}, say {by}; set it by NTP", offset_ms.unsigned_abs())
            }
        }
    }
}

/// What a watcher knows of its own health.
#[derive(Debug)]
pub struct Health {
    control: Vec<String>,
    names: Vec<String>,
    servers: Vec<String>,
    /// How many other watchers there are.
    peers: usize,
    clocks: Mutex<Clocks>,
    /// What is wrong, and since when.
    last: Mutex<Option<(Fault, Time)>>,
    /// When the network was last found to be away.
    cut: Mutex<Option<Instant>>,
}

impl Health {
    /// The health of a watcher of this configuration.
    pub fn new(watch: &Watch) -> Self {
        Self {
            control: watch.control.clone(),
            names: watch.control_name.clone(),
            servers: watch.control_clock.clone(),
            peers: watch.watcher.len().saturating_sub(1),
            clocks: Mutex::default(),
            last: Mutex::default(),
            cut: Mutex::default(),
        }
    }

    /// What another watcher's clock said, minus this one's, when it spoke.
    pub fn heard(&self, peer: &str, offset_ms: i64, now: Time) {
        lock(&self.clocks).heard(peer, offset_ms, now);
    }

    /// Whether this watcher's clock is wrong.
    pub(crate) fn clock_fault(&self, now: Time) -> Option<Fault> {
        lock(&self.clocks).fault(self.peers, now)
    }

    /// Why the observation of a run that has just ended must not vote; `failed` is the step at which the target failed,
    /// `begun` when the run began: that any run found the network away since counts for this one too. Without control
    /// targets the network is taken to be well, without control names the resolver.
    pub async fn fault(&self, failed: Option<&str>, begun: Instant) -> Option<Fault> {
        let now = Time::now();
        let fault = match (self.clock_fault(now), failed) {
            (Some(clock), _) => Some(clock),
            (None, None) => None,
            (None, Some(_)) if !self.network_is_well().await || self.was_cut(begun) => Some(Fault::Network),
            (None, Some("dns")) if !resolvable(&self.names).await => Some(Fault::Resolver),
            (None, Some(_)) => None,
        };
        let mut last = lock(&self.last);
        *last = fault.clone().map(|new| {
            let begun = last.as_ref().filter(|(old, _)| old.class() == new.class()).map(|(_, since)| *since);
            (new, begun.map_or(now, |since| since.min(now)))
        });
        fault
    }

    /// Looks at the network once when the run beside it has taken [`LONG_RUN`], and remembers what it saw. Never ends.
    pub async fn look_beside(&self) -> Infallible {
        tokio::time::sleep(LONG_RUN).await;
        self.network_is_well().await;
        std::future::pending().await
    }

    async fn network_is_well(&self) -> bool {
        let well = reachable(&self.control).await;
        if !well {
            *lock(&self.cut) = Some(Instant::now());
        }
        well
    }

    fn was_cut(&self, since: Instant) -> bool {
        lock(&self.cut).is_some_and(|at| at >= since)
    }

    /// What is wrong at present, as far as the last run of a check has shown, and since when without a break.
    pub fn last(&self) -> Option<(Fault, Time)> {
        lock(&self.last).clone()
    }

    /// Asks the time servers from time to time until `shutdown`.
    pub async fn watch_clock(&self, shutdown: &CancellationToken) {
        if self.servers.is_empty() {
            return;
        }
        loop {
            let asked = self.servers.iter().map(|server| sntp::offset_ms(server, CONTROL_TIMEOUT));
            let answers = futures_util::future::join_all(asked).await;
            let mut offsets = Vec::new();
            for (server, answer) in self.servers.iter().zip(answers) {
                match answer {
                    Ok(offset) => offsets.push(offset),
                    Err(error) => tracing::debug!(server, %error, "a time server gives no time"),
                }
            }
            lock(&self.clocks).asked(offsets, Time::now());
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(CLOCK_EVERY) => {}
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether one control target (`host:port`) at least takes a connection.
async fn reachable(control: &[String]) -> bool {
    one_of(
        control.iter().map(|address| async move {
            matches!(timeout(CONTROL_TIMEOUT, TcpStream::connect(address)).await, Ok(Ok(_)))
        }),
    )
    .await
}

/// Whether one control name at least has an address.
async fn resolvable(names: &[String]) -> bool {
    let Ok(resolver) = TokioResolver::builder_tokio().and_then(|builder| builder.build()) else {
        return names.is_empty();
    };
    let resolver = &resolver;
    one_of(names.iter().map(|name| async move {
        let found = timeout(CONTROL_TIMEOUT, resolver.lookup_ip(name.as_str())).await;
        found.is_ok_and(|found| found.is_ok_and(|addresses| addresses.iter().next().is_some()))
    }))
    .await
}

/// Whether one of them says yes; yes when there is none.
async fn one_of(tries: impl Iterator<Item = impl Future<Output = bool>>) -> bool {
    let mut tries: FuturesUnordered<_> = tries.collect();
    if tries.is_empty() {
        return true;
    }
    while let Some(yes) = tries.next().await {
        if yes {
            return true;
        }
    }
    false
}

/// Whether `text` is `host:port`.
pub fn is_place(text: &str) -> bool {
    text.parse::<SocketAddr>().is_ok()
        || text.rsplit_once(':').is_some_and(|(host, port)| {
            !host.is_empty() && !host.contains(':') && port.parse::<u16>().is_ok_and(|port| port > 0)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn closed() -> String {
        tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string()
    }

    #[tokio::test]
    async fn one_control_target_that_answers_is_enough_and_none_is_a_fault_of_the_network() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let open = listener.local_addr().unwrap().to_string();
        let health = |control: &[&String]| {
            let control = control.iter().map(|place| (*place).clone()).collect();
            Health::new(&Watch { control, ..Watch::default() })
        };
        let closed = closed().await;
        assert_eq!(health(&[]).fault(Some("tcp"), Instant::now()).await, None);
        assert_eq!(health(&[&closed, &open]).fault(Some("tcp"), Instant::now()).await, None);
        let cut = health(&[&closed]);
        assert_eq!(cut.fault(None, Instant::now()).await, None, "a success shows that the network is well");
        assert_eq!(cut.fault(Some("tcp"), Instant::now()).await, Some(Fault::Network));
        let (fault, since) = cut.last().unwrap();
        assert_eq!(fault, Fault::Network);
        cut.fault(Some("banner"), Instant::now()).await;
        assert_eq!(cut.last(), Some((Fault::Network, since)), "it goes on");
        cut.fault(None, Instant::now()).await;
        assert_eq!(cut.last(), None);
    }

    #[tokio::test]
    async fn a_resolver_that_finds_no_control_name_is_at_fault_for_names_alone() {
        let health = |name: &str| Health::new(&Watch { control_name: vec![name.to_owned()], ..Watch::default() });
        assert_eq!(health("localhost").fault(Some("dns"), Instant::now()).await, None);
        assert_eq!(health("control.invalid").fault(Some("dns"), Instant::now()).await, Some(Fault::Resolver));
        assert_eq!(health("control.invalid").fault(Some("tcp"), Instant::now()).await, None);
    }

    #[tokio::test]
    async fn a_wrong_clock_discredits_successes_too() {
        let watcher = |name: &str| {
            let text = format!("name = \"{name}\"\nlisten = \"127.0.0.1:1\"\npublic_key_file = \"x\"");
            toml::from_str(&text).unwrap()
        };
        let health = Health::new(&Watch { watcher: ["a", "b", "c"].map(watcher).to_vec(), ..Watch::default() });
        health.heard("b", 15_000, Time::now());
        assert_eq!(health.fault(None, Instant::now()).await, None, "one of two may be wrong itself");
        health.heard("c", 14_000, Time::now());
        let fault = health.fault(None, Instant::now()).await.unwrap();
        assert_eq!(fault.to_string(), "this watcher's clock is 14000 ms behind, say the other watchers; set it by NTP");
        assert_eq!(fault.step().error_class, "clock");
    }

    #[test]
    fn a_place_is_a_host_and_a_port() {
        for good in ["example.org:443", "192.0.2.1:25", "[2001:db8::1]:53"] {
            assert!(is_place(good), "{good}");
        }
        for bad in ["example.org", "example.org:0", ":25", "2001:db8::1:53x", "a:b:25"] {
            assert!(!is_place(bad), "{bad}");
        }
    }
}
