//! The responder of a watcher: takes its judgements, keeps incidents, pages people, orders remedies.
//!
//! One task owns the book of incidents; evidence and restarts run beside it and report back. A page is in the outbox
//! before anything else is done about a judgement, and nothing that may be slow is awaited on the way to it.

mod http;
mod mend;
mod peers;
mod store;
mod task;
mod token;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use aggregator::emit::Emitter;
use aggregator::event::Time;
use futures_util::future::BoxFuture;
use probes::judgement::Judgement;
use probes::keys::{PublicKey, SigningKey};
use probes::observation::Observation;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::channel::{self, NotSent};
use crate::config::{Config, read_secret};
use crate::incident::{Book, Incident};
use crate::outbox;
use crate::page::{Notice, Page};
use crate::signed::Keys;
use crate::view::IncidentView;

pub use http::Handle;

/// Commands of the HTTP side that may wait; further requests wait with them.
const COMMANDS: usize = 64;
/// Receipts and acknowledgements for peers that may wait; further ones are dropped, and a peer may page a double.
const PEER_MESSAGES: usize = 256;
/// How long another watcher may take to answer.
const PEER_DEADLINE: Duration = Duration::from_secs(3);

/// Runs the full probe chain of a target now: what verifies a restart.
pub trait Prober: Send + Sync + 'static {
    /// One observation for each check of the target.
    fn run_target<'a>(&'a self, target: &'a str) -> BoxFuture<'a, Vec<Observation>>;
}

/// Another watcher.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Its name.
    pub name: String,
    /// Where it answers: `http://127.0.0.1:8092`.
    pub url: String,
    /// Its public key.
    pub public_key: PublicKey,
    /// Speaks to it: over mutual TLS where the site has an authority.
    pub http: reqwest::Client,
}

/// What a responder runs with.
pub struct ResponderContext {
    /// The site's name: a part of every incident's key, the same at all watchers.
    pub site: String,
    /// Where outbox and incidents are kept.
    pub data_dir: PathBuf,
    /// This watcher's name.
    pub vantage: String,
    /// Where people reach this watcher, for the links that acknowledge.
    pub url: String,
    /// Its place among all watchers, from 0: who pages and orders first.
    pub rank: usize,
    /// Its key.
    pub key: SigningKey,
    /// The other watchers.
    pub peers: Vec<Peer>,
    /// The nodes' public keys, by the name in their configuration.
    pub nodes: Keys,
    /// Where events go.
    pub emitter: Emitter,
    /// What the watcher thinks.
    pub judgements: mpsc::Receiver<Judgement>,
    /// What verifies a restart.
    pub prober: Arc<dyn Prober>,
    /// Ends it.
    pub shutdown: CancellationToken,
}

/// Why a responder does not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its folder cannot be used.
    #[error("the responder's {file} cannot be opened: {source}; check the folder's rights and its disk")]
    Store {
        /// The database.
        file: PathBuf,
        /// Why.
        source: rusqlite::Error,
    },
    /// The operators' key cannot be read.
    #[error("alerts.operator_key_file: {0}")]
    OperatorKey(String),
    /// The HTTP client cannot be made.
    #[error("the HTTP client cannot be set up: {0}")]
    Http(#[from] reqwest::Error),
}

/// What the parts of a responder share.
struct Shared {
    config: Arc<Config>,
    vantage: String,
    url: String,
    rank: usize,
    key: SigningKey,
    peers: Vec<Peer>,
    peer_keys: Keys,
    nodes: Keys,
    prober: Arc<dyn Prober>,
    http: reqwest::Client,
    tokens: token::Tokens,
    /// Everybody on call with each of his channels.
    addressees: Vec<(String, String)>,
    emitter: Emitter,
}

impl Shared {
    /// How many watchers must agree, of all that are assigned: floor(N/2) + 1.
    fn quorum(&self) -> usize {
        let watchers = self.peers.len() + 1;
        watchers / 2 + 1
    }

    fn acknowledge_link(&self, page_id: &str) -> String {
        [self.url.trim_end_matches('/'), "/ack/", page_id, "/", &self.tokens.of(page_id)].concat()
    }

    /// The pages about one incident, for everybody on call over every channel.
    fn pages(&self, incident: &Incident, notice: Notice, now: Time) -> Vec<Page> {
        let page = |(person, channel): &(String, String)| {
            let link = |page_id: &str| self.acknowledge_link(page_id);
            Page::write(incident, notice, (person, channel), now, &self.config.operator_url, link)
        };
        self.addressees.iter().map(page).collect()
    }
}

/// Starts a responder; it ends with `context.shutdown`.
///
/// # Errors
/// See [`Error`].
pub async fn start(config: Arc<Config>, context: ResponderContext) -> Result<(Handle, JoinHandle<()>), Error> {
    let open = |name: &str| context.data_dir.join(name);
    let failed = |name: &str| {
        let file = open(name);
        move |source| Error::Store { file, source }
    };
    let pages = outbox::Store::open(&open("outbox.sqlite")).map_err(failed("outbox.sqlite"))?;
    let store = store::Store::open(&open("incidents.sqlite")).map_err(failed("incidents.sqlite"))?;
    let (incidents, mut generations) = store.load().map_err(failed("incidents.sqlite"))?;
    // If the incidents were lost, their keys are not: a page under an old one would be taken for sent.
    for key in pages.incidents().map_err(failed("outbox.sqlite"))? {
        if let Some((base, Ok(told))) = key.rsplit_once('-').map(|(base, told)| (base, told.parse::<u32>())) {
            let known = generations.entry(base.to_owned()).or_default();
            *known = told.max(*known);
        }
    }
    let units = config.unit.iter().map(|unit| ((unit.target.clone(), unit.service.clone()), unit.unit.clone()));
    let held_ms = i64::try_from(config.regional_page_s.saturating_mul(1_000)).unwrap_or(i64::MAX);
    let mut book = Book::new(&context.site, held_ms, units.collect());
    book.restore(incidents, generations);

    let operator_key = read_secret(&config.operator_key_file).map_err(Error::OperatorKey)?;
    let (delivered, receipts) = mpsc::channel(PEER_MESSAGES);
    let (told, acknowledgements) = mpsc::channel(PEER_MESSAGES);
    let stagger_s = config.stagger_s.saturating_mul(context.rank as u64);
    let channels = channel::open_all(&config);
    let addressees = channels.keys().cloned().collect();
    let parts = outbox::Parts {
        store: pages,
        channels,
        stagger_ms: i64::try_from(stagger_s.saturating_mul(1_000)).unwrap_or(i64::MAX),
        delivered,
        emitter: context.emitter.clone(),
    };
    let (outbox, outbox_task) = outbox::start(parts, context.shutdown.clone());
    let shared = Arc::new(Shared {
        vantage: context.vantage,
        url: context.url,
        rank: context.rank,
        peer_keys: context.peers.iter().map(|peer| (peer.name.clone(), peer.public_key)).collect(),
        tokens: token::Tokens::of_watcher(&context.key),
        key: context.key,
        peers: context.peers,
        addressees,
        nodes: context.nodes,
        prober: context.prober,
        http: reqwest::Client::builder().timeout(PEER_DEADLINE).redirect(reqwest::redirect::Policy::none()).build()?,
        emitter: context.emitter,
        config,
    });
    let (views, published) = watch::channel(Arc::new(Vec::<IncidentView>::new()));
    let (commands, inbox) = mpsc::channel(COMMANDS);
    let handle = Handle::new(Arc::clone(&shared), outbox.clone(), commands, published, operator_key);
    let peers = tokio::spawn(peers::run(Arc::clone(&shared), receipts, acknowledgements, context.shutdown.clone()));
    let task = task::Task::new(shared, book, store, outbox, views, told);
    let inputs = task::Inputs { judgements: context.judgements, commands: inbox, shutdown: context.shutdown };
    let joined = tokio::spawn(async move {
        task.run(inputs).await;
        let _ = outbox_task.await;
        let _ = peers.await;
    });
    Ok((handle, joined))
}

/// What became of a test page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tested {
    /// The person.
    pub person: String,
    /// The channel.
    pub channel: String,
    /// What the provider answered, or why it did not take it.
    pub result: Result<String, NotSent>,
}

/// Sends a page that says that nothing is wrong to everybody over every channel, at once, past the outbox.
pub async fn test_page(config: &Config, site: &str, now: Time) -> Vec<Tested> {
    let words = "This is a test of the way to you. Nothing is wrong, nothing needs to be done.";
    send_once(config, &Book::told_incident(site, "Test", "test", words, &[], now), Notice::Test, now, &BTreeSet::new())
        .await
}

/// Sends a page about a unit that is not a watcher's finding (a crash loop that the supervisor sees) to everybody over
/// every channel, at once, past the outbox. Sent again with the same `now` it is the same page; `settled` names the (person,
/// channel) pairs that are passed over.
pub async fn page_once(
    config: &Config,
    site: &str,
    unit: &str,
    summary: &str,
    steps: &[String],
    now: Time,
    settled: &BTreeSet<(String, String)>,
) -> Vec<Tested> {
    let incident = Book::told_incident(site, unit, "crash_loop", summary, steps, now);
    send_once(config, &incident, Notice::Opened, now, settled).await
}

async fn send_once(
    config: &Config,
    incident: &Incident,
    notice: Notice,
    now: Time,
    settled: &BTreeSet<(String, String)>,
) -> Vec<Tested> {
    let ways = channel::open_all(config).into_iter().filter(|(addressee, _)| !settled.contains(addressee));
    let sends = ways.map(|((person, channel), way)| {
        let page = Page::write(incident, notice, (&person, &channel), now, &config.operator_url, |_| String::new());
        async move {
            let sent = tokio::time::timeout(channel::DEADLINE, way.send(&page, now)).await;
            let sent = sent.unwrap_or_else(|_| Err(NotSent::ForNow("no answer within 10 s".to_owned())));
            Tested { person, channel, result: sent.map(|receipt| receipt.0) }
        }
    });
    futures_util::future::join_all(sends).await
}

#[cfg(test)]
mod tests;
