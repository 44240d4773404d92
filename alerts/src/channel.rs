//! Channels: the ways in which a page reaches a person. A channel is one file and one line in [`REGISTRY`].

mod email;
mod webhook;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use aggregator::event::Time;
use futures_util::future::BoxFuture;

use crate::config::{Config, Engineer, Fault};
use crate::page::Page;

/// How long a provider may take for one attempt.
pub const DEADLINE: Duration = Duration::from_secs(10);

/// Every kind of channel.
const REGISTRY: &[Kind] = &[webhook::KIND, email::KIND];

/// A kind of channel: its name, and how the channels of a person are made from the configuration.
pub struct Kind {
    name: &'static str,
    open: fn(&Config, &Engineer, &mut Vec<Fault>) -> Vec<Arc<dyn Channel>>,
}

/// A way to one person.
pub trait Channel: Send + Sync {
    /// Hands a page to the provider. Called again with the same page until it succeeds, fails for good, or the
    /// page is too old.
    fn send<'a>(&'a self, page: &'a Page, now: Time) -> BoxFuture<'a, Result<Receipt, NotSent>>;
}

/// What the provider answered when it took a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt(pub String);

/// Why a page was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotSent {
    /// It may be taken later.
    #[error("{0}")]
    ForNow(String),
    /// It never will be.
    #[error("{0}")]
    ForGood(String),
}

/// The channels of everybody on call, by (person, channel name).
pub type Channels = BTreeMap<(String, String), Arc<dyn Channel>>;

/// The channels of one person that can be used, by name (`webhook`, `email`, `ntfy-2` for the second of a kind), and
/// every key that cannot be, with the reason.
pub fn open(config: &Config, engineer: &Engineer) -> (BTreeMap<String, Arc<dyn Channel>>, Vec<Fault>) {
    let mut faults = Vec::new();
    let mut channels = BTreeMap::new();
    for kind in REGISTRY {
        for (n, channel) in (kind.open)(config, engineer, &mut faults).into_iter().enumerate() {
            let name = if n == 0 { kind.name.to_owned() } else { format!("{}-{}", kind.name, n + 1) };
            channels.insert(name, channel);
        }
    }
    for unknown in engineer.channel.iter().filter(|options| !REGISTRY.iter().any(|kind| kind.name == options.kind)) {
        let known: Vec<&str> = REGISTRY.iter().map(|kind| kind.name).collect();
        let message = format!("there is no channel \"{}\"; there are {}", unknown.kind, known.join(", "));
        faults.push(("channel.kind".to_owned(), message));
    }
    (channels, faults)
}

/// The channels of everybody. What cannot be used is logged and left out: the other channels still wake people.
pub fn open_all(config: &Config) -> Channels {
    let mut all = Channels::new();
    for engineer in &config.engineer {
        let (channels, faults) = open(config, engineer);
        for (key, message) in faults {
            tracing::error!(person = engineer.name, key, message, "a channel cannot be used for paging");
        }
        all.extend(channels.into_iter().map(|(name, channel)| ((engineer.name.clone(), name), channel)));
    }
    all
}

/// The client for all HTTP channels: no redirects, because a page must not be signed for one host and end at another.
fn http_client() -> reqwest::Result<reqwest::Client> {
    reqwest::Client::builder().timeout(DEADLINE).redirect(reqwest::redirect::Policy::none()).build()
}
