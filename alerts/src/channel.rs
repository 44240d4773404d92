//! Channels: the ways in which a page reaches a person. A channel is one file and one line in [`REGISTRY`].

mod email;
mod ntfy;
mod pagerduty;
mod webhook;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use aggregator::event::Time;
use futures_util::future::BoxFuture;
use serde::de::DeserializeOwned;

use crate::config::{Config, Engineer, Fault};
use crate::evidence::bounded;
use crate::page::Page;

/// How long a provider may take for one attempt.
pub const DEADLINE: Duration = Duration::from_secs(10);

/// Characters of a provider's answer that are kept.
const MAX_SAID: usize = 200;

/// Every kind of channel.
const REGISTRY: &[Kind] = &[webhook::KIND, email::KIND, pagerduty::KIND, ntfy::KIND];

/// A kind of channel: its name, and how the channels of a person are made from the configuration.
pub struct Kind {
    name: &'static str,
    open: Open,
}

/// Makes the channels of a person, and adds what is wrong with their keys to the faults.
type Open = fn(&Config, &Engineer, &mut Vec<Fault>) -> Vec<Arc<dyn Channel>>;

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

/// Makes the channels of one kind from their `[[alerts.engineer.channel]]` tables.
fn options<T: DeserializeOwned>(
    engineer: &Engineer,
    kind: &Kind,
    faults: &mut Vec<Fault>,
    make: impl Fn(T) -> Result<Arc<dyn Channel>, String>,
) -> Vec<Arc<dyn Channel>> {
    let tables = engineer.channel.iter().filter(|channel| channel.kind == kind.name);
    let mut open = |options: toml::Table| match options.try_into().map_err(|error| error.to_string()).and_then(&make) {
        Ok(channel) => Some(channel),
        Err(message) => {
            faults.push((["channel.", kind.name].concat(), message.trim_end().to_owned()));
            None
        }
    };
    tables.filter_map(|channel| open(channel.options.clone())).collect()
}

/// What a provider's HTTP answer means: 2xx is a receipt; 400, 403 and the like never become one; 401, 408, 429, 5xx
/// and silence may.
async fn answered(provider: &str, answer: reqwest::Result<reqwest::Response>) -> Result<Receipt, NotSent> {
    let answer =
        answer.map_err(|error| NotSent::ForNow(format!("{provider} did not answer: {}", error.without_url())))?;
    let status = answer.status();
    let body = bounded(answer).await.ok().flatten().unwrap_or_default();
    let said: String = String::from_utf8_lossy(&body).chars().filter(|c| !c.is_control()).take(MAX_SAID).collect();
    let text = format!("{provider} answered {}: {said}", status.as_u16());
    match status.as_u16() {
        200..=299 => Ok(Receipt(text)),
        401 | 408 | 425 | 429 => Err(NotSent::ForNow(text)),
        400..=499 => Err(NotSent::ForGood(text)),
        _ => Err(NotSent::ForNow(text)),
    }
}

#[cfg(test)]
mod tests;
