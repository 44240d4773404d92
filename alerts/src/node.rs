//! The agent on a mail host: captures evidence, carries out verified orders, samples the host's resources.
//!
//! It trusts nobody's judgement alone: an order counts when a quorum of watchers signed it, the unit is on the
//! host's own list, and nonce, fence and budget, which it keeps on disk, allow it.

mod memory;
mod queue;
mod sample;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use aggregator::emit::Emitter;
use aggregator::event::Time;
use aggregator::listen::Bounded;
use aggregator::mask::Mask;
use aggregator::metrics::node as metrics;
use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use probes::keys::{PublicKey, SigningKey};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::sync::{Mutex, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::config::NodeConfig;
use crate::evidence::capture::{Subject, capture};
use crate::evidence::{DEADLINE, Request};
use crate::remedy::budget::Budget;
use crate::remedy::order::{Refused, Rules};
use crate::remedy::supervisor::{Supervisor, Unit};
use crate::signed::{Purpose, Signed};

use memory::MemoryStore;
pub use memory::OpenError;

/// Octets of a request; an order with the approvals of 64 watchers fits.
const MAX_REQUEST_BYTES: usize = 256 << 10;
/// For how long a connection may be idle. An order that waits for another one's restart is answered well within it.
const IDLE: Duration = Duration::from_secs(120);
/// Captures at the same time; a further one is answered 503.
const MAX_CAPTURES: usize = 4;

/// What the agent runs with.
pub struct NodeContext {
    /// Where it keeps its memory; the disk under it is the one that evidence speaks of.
    pub data_dir: PathBuf,
    /// The watchers' public keys, by name.
    pub watchers: BTreeMap<String, PublicKey>,
    /// How many watchers must agree to a restart: floor(N/2) + 1.
    pub quorum: usize,
    /// What becomes of the users whom a log in evidence names.
    pub mask: Mask,
    /// Where samples go.
    pub emitter: Emitter,
    /// Ends it.
    pub shutdown: CancellationToken,
}

/// Why the agent does not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its key cannot be read.
    #[error(transparent)]
    Key(#[from] probes::keys::KeyError),
    /// Its memory cannot be opened; without it no restart is safe.
    #[error(transparent)]
    Memory(#[from] OpenError),
    /// It cannot listen.
    #[error("the node cannot listen on {address} (`node.listen`): {source}; is another process there?")]
    Listen {
        /// The configured address.
        address: std::net::SocketAddr,
        /// Why.
        source: std::io::Error,
    },
}

/// The answer to an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "result")]
pub enum OrderAnswer {
    /// Carried out.
    Done {
        /// The new process.
        pid: u32,
        /// The old one.
        previous_pid: Option<u32>,
    },
    /// Not obeyed.
    Refused {
        /// The name of the rule.
        reason: String,
        /// In words.
        message: String,
    },
    /// Obeyed, but the supervisor could not do it.
    Failed {
        /// In words.
        message: String,
    },
}

struct Node<S> {
    rules: Rules,
    key: SigningKey,
    data_dir: PathBuf,
    mask: Mask,
    supervisor: S,
    memory: Mutex<MemoryStore>,
    captures: Semaphore,
}

/// Runs the agent until `context.shutdown`.
///
/// # Errors
/// See [`Error`]; only at the start.
pub async fn serve<S: Supervisor>(config: NodeConfig, context: NodeContext, supervisor: S) -> Result<(), Error> {
    let address = config.listen;
    let listener = TcpListener::bind(address).await.map_err(|source| Error::Listen { address, source })?;
    serve_on(listener, config, context, supervisor).await
}

/// The same on a socket that listens already.
///
/// # Errors
/// See [`Error`].
pub async fn serve_on<S: Supervisor>(
    listener: TcpListener,
    config: NodeConfig,
    context: NodeContext,
    supervisor: S,
) -> Result<(), Error> {
    let budget = Budget { per_unit_hour: config.restarts_per_unit_hour, per_host_day: config.restarts_per_host_day };
    let node = Arc::new(Node {
        rules: Rules {
            host: config.name,
            allow: config.allow_restart.into_iter().collect(),
            watchers: context.watchers,
            quorum: context.quorum,
            budget,
        },
        key: SigningKey::read(&config.key_file)?,
        memory: Mutex::new(MemoryStore::open(&context.data_dir.join("node.sqlite"))?),
        data_dir: context.data_dir.clone(),
        mask: context.mask,
        supervisor,
        captures: Semaphore::new(MAX_CAPTURES),
    });
    for result in ["done", "failed"] {
        metrics::ORDERS.with(&[result]);
    }
    let every = Duration::from_secs(config.sample_s.max(1));
    let sampler = tokio::spawn(sample::run(every, context.data_dir, context.emitter, context.shutdown.clone()));
    let router = Router::new()
        .route("/health", get(|| async { "ok\n" }))
        .route("/v1/evidence", post(evidence::<S>))
        .route("/v1/orders", post(order::<S>))
        .layer(DefaultBodyLimit::max(MAX_REQUEST_BYTES))
        .with_state(node)
        .merge(queue::router(config.queue_command));
    let listener = Bounded::new(listener, IDLE);
    let served = axum::serve(listener, router).with_graceful_shutdown(context.shutdown.cancelled_owned()).await;
    if let Err(error) = served {
        tracing::error!(%error, "the node's HTTP server has ended");
    }
    let _ = sampler.await;
    Ok(())
}

async fn evidence<S: Supervisor>(node: State<Arc<Node<S>>>, signed: Json<Signed>) -> Response {
    let begun = Instant::now();
    let response = captured(node, signed).await;
    let result = match response.status() {
        StatusCode::OK => "captured",
        StatusCode::FORBIDDEN => "refused",
        _ => "failed",
    };
    metrics::CAPTURES.with(&[result]).inc();
    metrics::CAPTURE_DURATION.with(&[]).observe(begun.elapsed().as_secs_f64());
    response
}

async fn captured<S: Supervisor>(State(node): State<Arc<Node<S>>>, Json(signed): Json<Signed>) -> Response {
    let request: Request = match signed.open(Purpose::EvidenceRequest, &node.rules.watchers, Time::now()) {
        Ok(request) => request,
        Err(error) => return (StatusCode::FORBIDDEN, error.to_string()).into_response(),
    };
    let Ok(_permit) = node.captures.try_acquire() else {
        return (StatusCode::SERVICE_UNAVAILABLE, "other captures are running; ask again").into_response();
    };
    let unit = match node.supervisor.units().await {
        Ok(units) => units.into_iter().find(|unit| unit.name == request.unit),
        Err(error) => return (StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
    };
    let Some(unit) = unit else {
        return (StatusCode::NOT_FOUND, ["there is no unit \"", &request.unit, "\" here"].concat()).into_response();
    };
    let subject = node.subject(unit);
    let now = Time::now();
    let captured = tokio::task::spawn_blocking(move || capture(&subject, now));
    let evidence = match tokio::time::timeout(DEADLINE, captured).await {
        Ok(Ok(evidence)) => evidence,
        _ => return (StatusCode::GATEWAY_TIMEOUT, "the capture did not end in time").into_response(),
    };
    match Signed::seal(Purpose::Evidence, &node.rules.host, &node.key, Time::now(), &evidence) {
        Ok(signed) => Json(signed).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn order<S: Supervisor>(State(node): State<Arc<Node<S>>>, Json(signed): Json<Signed>) -> Response {
    let answer = node.obey(&signed).await;
    let (status, result) = match &answer {
        OrderAnswer::Done { .. } => (StatusCode::OK, "done"),
        OrderAnswer::Refused { reason, .. } => (StatusCode::CONFLICT, reason.as_str()),
        OrderAnswer::Failed { .. } => (StatusCode::BAD_GATEWAY, "failed"),
    };
    metrics::ORDERS.with(&[result]).inc();
    // Whoever is no watcher does not write his own words into the log.
    let from = node.rules.watchers.get_key_value(&signed.from).map_or("unknown signer", |(name, _)| name);
    tracing::info!(from, ?answer, "an order was answered");
    (status, Json(answer)).into_response()
}

impl<S: Supervisor> Node<S> {
    fn subject(&self, unit: Unit) -> Subject {
        Subject {
            host: self.rules.host.clone(),
            unit: unit.name,
            pid: unit.pid,
            restarts: unit.restarts,
            log: unit.log,
            mask: self.mask.clone(),
            data_dir: self.data_dir.clone(),
        }
    }

    /// Verifies an order and carries it out. The restart is on disk before it is made, so that a crash in between
    /// spends the budget rather than doubling the restart.
    async fn obey(&self, signed: &Signed) -> OrderAnswer {
        // Held during the restart: one unit at a time.
        let Ok(mut memory) = self.memory.try_lock() else { return refused(&Refused::Busy) };
        let now = Time::now();
        let order = match memory.read(now).map(|memory| self.rules.verify(signed, &memory, now)) {
            Ok(Ok(order)) => order,
            Ok(Err(reason)) => return refused(&reason),
            Err(error) => return failed(&error),
        };
        if let Err(error) = memory.keep(&order, now) {
            return failed(&error);
        }
        match self.supervisor.restart(&order.unit).await {
            Ok(done) => OrderAnswer::Done { pid: done.pid, previous_pid: done.previous_pid },
            Err(error) => OrderAnswer::Failed { message: error.to_string() },
        }
    }
}

fn refused(reason: &Refused) -> OrderAnswer {
    OrderAnswer::Refused { reason: reason.name().to_owned(), message: reason.to_string() }
}

fn failed(error: &rusqlite::Error) -> OrderAnswer {
    OrderAnswer::Failed { message: format!("the node's memory cannot be used, so nothing is restarted: {error}") }
}

#[cfg(test)]
pub(crate) mod tests;
