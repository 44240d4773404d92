//! The intake: sealed blocks over HTTP in, one insert each into ClickHouse, and an answer only after it.
//!
//! `POST /v1/blocks` takes one block (bearer key; token, table and rows in headers; zstd body) and answers 200 when
//! ClickHouse has it, 422 when it can never have it, 503 with `Retry-After` when it cannot have it now.
//! `POST /v1/logs` takes log records by OTLP/HTTP. `GET /health` says whether blocks are taken, `GET /metrics` counts.

mod block;
#[cfg(test)]
pub(crate) mod fake;
mod night;
mod otlp;
#[cfg(test)]
pub(crate) mod tests;

use std::io::Read;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::clickhouse::{self, Client};
use crate::config::Aggregate;
use crate::listen::Bounded;
use crate::metrics::{intake as metrics, shows};
use crate::schema;
use block::{BLOCK_ROWS, Block, Refusal};

pub use night::Upkeep;

/// What ClickHouse recognises a block by when it comes again.
pub const HEADER_TOKEN: &str = "varde-token";
/// The table of a block.
pub const HEADER_TABLE: &str = "varde-table";
/// The rows of a block.
pub const HEADER_ROWS: &str = "varde-rows";

/// A block as it comes, compressed.
pub const PACKED_MAX_BYTES: usize = 64 << 20;
/// A block unpacked: past it, it is taken for a bomb.
pub const NATIVE_MAX_BYTES: u64 = 256 << 20;
/// Blocks that are read, checked and inserted at once.
const INSERTS: usize = 4;
/// Requests that may wait for their turn; past it they are told to come again.
const WAITING: usize = 64;
/// How long a request may wait for its turn, and then for its body.
const PATIENCE: Duration = Duration::from_secs(30);
/// For how long a connection may be idle: a block waits for its turn, and then for ClickHouse, which has 300 s.
const IDLE: Duration = Duration::from_secs(400);
/// How long open requests may still take after the shutdown began.
const DRAIN: Duration = Duration::from_secs(5);
const TOKEN_MAX_BYTES: usize = 512;

/// Why the intake does not serve.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The secret cannot be read.
    #[error("the key of the intake, {path} (aggregate.key_file), cannot be read: {source}")]
    Key {
        /// Its file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The secret is empty.
    #[error("the key of the intake, {0} (aggregate.key_file), is empty: anybody could send events")]
    EmptyKey(PathBuf),
    /// The address cannot be had.
    #[error("the intake cannot listen on {address} (aggregate.listen): {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The listener failed.
    #[error("the intake stopped listening: {0}")]
    Serve(std::io::Error),
    /// The database is not one of this program's, or of a newer one.
    #[error(transparent)]
    Schema(#[from] schema::Error),
}

struct Intake {
    key: String,
    client: Client,
    turns: Semaphore,
    queue: Semaphore,
    /// Why no block is taken; `None` once the tables are there.
    waiting: RwLock<Option<String>>,
    logs: otlp::Logs,
}

/// Serves the intake until `shutdown`, log records as those of `tenant`: brings the tables up to date, answering 503
/// meanwhile, then takes blocks, and audits every night.
///
/// # Errors
/// See [`Error`]. That ClickHouse is away is none.
pub async fn serve(
    config: &Aggregate,
    tenant: &str,
    client: Client,
    upkeep: Upkeep,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let path = config.key_file.clone();
    let key = tokio::fs::read_to_string(&path).await.map_err(|source| Error::Key { path: path.clone(), source })?;
    let key = key.trim().to_owned();
    if key.is_empty() {
        return Err(Error::EmptyKey(path));
    }
    let address = config.listen;
    let listener = TcpListener::bind(address).await.map_err(|source| Error::Listen { address, source })?;
    serve_on(listener, key, tenant, client, upkeep, shutdown).await
}

/// The same on a listener that is already there.
///
/// # Errors
/// See [`Error`].
pub async fn serve_on(
    listener: TcpListener,
    key: String,
    tenant: &str,
    client: Client,
    upkeep: Upkeep,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let intake = Arc::new(Intake {
        key,
        client,
        turns: Semaphore::new(INSERTS),
        queue: Semaphore::new(WAITING),
        waiting: RwLock::new(Some("the tables are being brought up to date".to_owned())),
        logs: otlp::Logs::new(tenant, upkeep.mask.clone()),
    });
    let loopback = listener.local_addr().is_ok_and(|address| address.ip().to_canonical().is_loopback());
    metrics::show();
    crate::metrics::otlp::show();
    let routes = axum::Router::new()
        .route("/v1/blocks", post(blocks))
        .route("/v1/logs", post(otlp::logs))
        .route("/health", get(health))
        .with_state(intake.clone())
        // Whoever may send events may count them; on loopback everybody may.
        .merge(crate::metrics::router((!loopback).then(|| intake.key.clone())));
    let stop = shutdown.child_token();
    let stopped = stop.clone();
    let server = axum::serve(Bounded::new(listener, IDLE), routes)
        .with_graceful_shutdown(async move { stopped.cancelled().await });
    let serving = async {
        let drained = async {
            stop.cancelled().await;
            tokio::time::sleep(DRAIN).await;
        };
        tokio::select! {
            served = server => served.map_err(Error::Serve),
            () = drained => Ok(()),
        }
    };
    let migrating = async {
        let migrated = migrate(&intake, &upkeep, &stop).await;
        match migrated {
            Ok(()) => night::run(&intake.client, &upkeep, &stop).await,
            Err(_) => stop.cancel(),
        }
        migrated
    };
    let (served, migrated) = tokio::join!(serving, migrating);
    migrated.and(served)
}

/// Brings the tables up to date, trying again while ClickHouse is away.
async fn migrate(intake: &Intake, upkeep: &Upkeep, stop: &CancellationToken) -> Result<(), Error> {
    let mut pause = Duration::from_millis(100);
    loop {
        let migrated = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            migrated = schema::migrate(&intake.client) => migrated,
        };
        match migrated {
            Ok(applied) => {
                tracing::info!(applied, "the tables are up to date");
                // A lifetime that cannot be changed is no reason to take nothing in.
                if let Err(why) = schema::apply_lifetimes(&intake.client, &upkeep.lifetimes).await {
                    tracing::error!(%why, "the lifetimes of the tables (aggregate.ttl) were not applied");
                }
                intake.wait_for(None);
                return Ok(());
            }
            Err(why) if why.is_permanent() => return Err(why.into()),
            Err(why) => {
                if pause == Duration::from_millis(100) {
                    tracing::warn!(%why, "the tables cannot be brought up to date; trying again");
                }
                intake.wait_for(Some(why.to_string()));
            }
        }
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(pause) => pause = (pause * 2).min(Duration::from_secs(2)),
        }
    }
}

/// What becomes of a request for a block.
enum Verdict {
    Stored { rows: u64, bytes: u64 },
    Refused(String),
    Later(String),
    Answer(StatusCode, &'static str),
}

impl Verdict {
    fn count(&self) {
        let result = match self {
            Self::Stored { rows, bytes } => {
                metrics::ROWS.with(&[]).add(*rows);
                metrics::BYTES.with(&[]).add(*bytes);
                "stored"
            }
            Self::Refused(_) => "refused",
            Self::Later(_) => "later",
            Self::Answer(..) => "bad_request",
        };
        metrics::BLOCKS.with(&[result]).inc();
    }
}

async fn blocks(State(intake): State<Arc<Intake>>, headers: HeaderMap, body: Body) -> Response {
    let in_flight = metrics::IN_FLIGHT.with(&[]);
    in_flight.inc();
    let verdict = intake.take(&headers, body).await;
    in_flight.dec();
    verdict.count();
    match verdict {
        Verdict::Stored { .. } => StatusCode::OK.into_response(),
        Verdict::Refused(why) => {
            tracing::warn!(why, "a block is refused for good");
            (StatusCode::UNPROCESSABLE_ENTITY, why).into_response()
        }
        Verdict::Later(why) => (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "1")], why).into_response(),
        Verdict::Answer(status, why) => (status, why).into_response(),
    }
}

impl Intake {
    async fn take(&self, headers: &HeaderMap, body: Body) -> Verdict {
        if !self.lets_in(headers) {
            return Verdict::Answer(StatusCode::UNAUTHORIZED, "the bearer key is not the intake's");
        }
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let (Some(token), Some(table), Some(rows)) =
            (text(HEADER_TOKEN), text(HEADER_TABLE), text(HEADER_ROWS).and_then(|rows| rows.parse().ok()))
        else {
            return Verdict::Answer(StatusCode::BAD_REQUEST, "varde-token, varde-table and varde-rows are needed");
        };
        if token.is_empty() || token.len() > TOKEN_MAX_BYTES {
            return Verdict::Answer(StatusCode::BAD_REQUEST, "varde-token is empty or too long");
        }
        let (_turn, packed) = match self.body(body, PACKED_MAX_BYTES).await {
            Ok(turn_and_body) => turn_and_body,
            Err(verdict) => return verdict,
        };
        let named = table.to_owned();
        let checked = tokio::task::spawn_blocking(move || {
            let native = unpack(&packed)?;
            block::check(&named, rows, &native).map(|block| (block, native))
        });
        match checked.await {
            Ok(Ok((block, native))) => self.insert(&block, token, rows, native.into()).await,
            Ok(Err(refusal)) => Verdict::Refused([table, ": ", &refusal.to_string()].concat()),
            Err(_) => Verdict::Later("the check of the block did not end".to_owned()),
        }
    }

    /// Waits for a turn, which lasts as long as what is returned with the body, and reads the body.
    async fn body(&self, body: Body, max: usize) -> Result<([SemaphorePermit<'_>; 2], Bytes), Verdict> {
        if let Some(why) = self.waiting() {
            return Err(Verdict::Later(why));
        }
        // The queue is bounded, and only who has a turn may fill memory with a body.
        let too_many = || Verdict::Later("too many blocks at once".to_owned());
        let queued = self.queue.try_acquire().map_err(|_| too_many())?;
        let Ok(Ok(turn)) = tokio::time::timeout(PATIENCE, self.turns.acquire()).await else { return Err(too_many()) };
        match tokio::time::timeout(PATIENCE, axum::body::to_bytes(body, max)).await {
            Ok(Ok(read)) => Ok(([queued, turn], read)),
            Ok(Err(_)) => Err(Verdict::Answer(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large or broken off")),
            Err(_) => Err(Verdict::Answer(StatusCode::REQUEST_TIMEOUT, "the body did not come in time")),
        }
    }

    /// One insert, one block, one token (EVENTS: exactly once). The answer of ClickHouse is awaited.
    async fn insert(&self, block: &Block, token: &str, rows: u64, native: Bytes) -> Verdict {
        let bytes = native.len() as u64;
        let most = BLOCK_ROWS.to_string();
        let settings = [
            ("insert_deduplication_token", token),
            ("insert_deduplicate", "1"),
            ("deduplicate_blocks_in_dependent_materialized_views", "1"),
            ("async_insert", "0"),
            ("max_insert_block_size", &most),
            ("min_insert_block_size_rows", &most),
        ];
        let begun = Instant::now();
        let inserted = self.client.insert(&statement(block), &settings, native).await;
        metrics::INSERT_DURATION.with(&[]).observe(begun.elapsed().as_secs_f64());
        match inserted {
            Ok(()) => Verdict::Stored { rows, bytes },
            Err(clickhouse::Error::Refused { code, message }) if DATA_CODES.contains(&code) => {
                Verdict::Refused(message)
            }
            Err(why) => {
                tracing::warn!(table = block.table, %why, "a block waits: ClickHouse did not take it");
                Verdict::Later("ClickHouse did not take it now".to_owned())
            }
        }
    }

    fn lets_in(&self, headers: &HeaderMap) -> bool {
        shows(headers, &self.key)
    }

    fn waiting(&self) -> Option<String> {
        self.waiting.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn wait_for(&self, why: Option<String>) {
        metrics::READY.with(&[]).set(if why.is_none() { 1.0 } else { 0.0 });
        *self.waiting.write().unwrap_or_else(PoisonError::into_inner) = why;
    }
}

/// ClickHouse's codes for data that it will never take: it cannot be parsed, or not converted.
const DATA_CODES: [i32; 7] = [6, 27, 33, 53, 70, 117, 432];

/// Table and columns are those of our own registry, found by `check`; nothing of the request is in it.
fn statement(block: &Block) -> String {
    ["INSERT INTO `", block.table, "` (`", &block.columns.join("`, `"), "`) FORMAT Native"].concat()
}

/// Unpacks a body, and no more of it than a block may have.
fn unpack(packed: &[u8]) -> Result<Vec<u8>, Refusal> {
    let damaged = |_| Refusal::Damaged("the zstd stream cannot be read");
    let mut native = Vec::new();
    let decoder = zstd::stream::read::Decoder::new(packed).map_err(damaged)?;
    decoder.take(NATIVE_MAX_BYTES + 1).read_to_end(&mut native).map_err(damaged)?;
    if native.len() as u64 > NATIVE_MAX_BYTES {
        return Err(Refusal::TooLarge(NATIVE_MAX_BYTES));
    }
    Ok(native)
}

async fn health(State(intake): State<Arc<Intake>>) -> Response {
    match intake.waiting() {
        None => (StatusCode::OK, "ready\n").into_response(),
        Some(why) => (StatusCode::SERVICE_UNAVAILABLE, [why, "\n".to_owned()].concat()).into_response(),
    }
}
