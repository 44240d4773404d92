//! Traces out: messages that have ended, read back from ClickHouse, posted to a collector by OTLP/HTTP.
//!
//! It stands beside the intake and never in its way. What was told is kept in a file: a restart tells nothing twice that
//! the file knows of, and leaves nothing out. A collector that is away is tried again; what is older than
//! [`BEHIND_MS`] by then is left out and counted.

mod book;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use chrono::DateTime;
use prost::Message;
use reqwest::StatusCode;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use super::message::{ExportResponse, ExportTraces};
use super::span;
use crate::clickhouse::{self, Client};
use crate::event::Time;
use crate::metrics::otlp as metrics;
use crate::trace;
use book::Book;

/// Between two looks at what has ended.
const LOOK: Duration = Duration::from_secs(15);
/// A message is told when nothing was heard of it for this long.
const SETTLE_MS: i64 = 60_000;
/// How late rows may come to be seen still: shippers send every second, and at once after a time away.
const LATE_MS: i64 = 3_600_000;
/// How much is made up for after a time away.
const BEHIND_MS: i64 = 86_400_000;
/// Messages of one look; the rest comes in the next, at once.
const MESSAGES: usize = 200;
/// Spans of one request, unless one message alone has more.
const SPANS: usize = 5_000;
/// How long a request may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The first pause after a failure; it doubles.
const RETRY_FIRST: Duration = Duration::from_secs(1);
/// The longest pause, also when the collector asks for more.
const RETRY_MAX: Duration = Duration::from_secs(300);

/// Section `[aggregate.otlp]`.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where traces go, `http://127.0.0.1:4318/v1/traces`; nowhere without it.
    pub endpoint: Option<String>,
    /// What is sent along and is no secret.
    pub headers: BTreeMap<String, String>,
    /// The file of headers that are secret, `Authorization: Bearer …`, a line each.
    pub headers_file: Option<PathBuf>,
}

/// Why traces cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The HTTP client could not be set up.
    #[error("telling traces cannot be set up: {0}")]
    Client(#[from] reqwest::Error),
    /// The secret headers cannot be read.
    #[error("the headers for traces, {path} (aggregate.otlp.headers_file), cannot be read: {source}")]
    Headers {
        /// Their file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A line of them is none.
    #[error("{path}:{line} (aggregate.otlp.headers_file) is no header such as \"Authorization: Bearer KEY\"")]
    Header {
        /// Their file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
}

impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // A header's value may be a secret all the same.
        let headers: Vec<&String> = self.headers.keys().collect();
        f.debug_struct("Config").field("endpoint", &self.endpoint).field("headers", &headers).finish_non_exhaustive()
    }
}

impl Config {
    /// Every fault: the key below `aggregate.otlp`, and what is wrong with it.
    pub fn check(&self) -> Vec<(String, String)> {
        let mut faults = Vec::new();
        if let Some(endpoint) = &self.endpoint
            && !endpoint.parse::<reqwest::Url>().is_ok_and(|url| matches!(url.scheme(), "http" | "https"))
        {
            let message = ["\"", endpoint, "\" is no URL such as http://127.0.0.1:4318/v1/traces"].concat();
            faults.push(("endpoint".to_owned(), message));
        }
        for (name, value) in &self.headers {
            if header(name, value).is_none() {
                faults.push((["headers.", name].concat(), "is not a header that HTTP can carry".to_owned()));
            }
        }
        faults
    }

    fn header_map(&self) -> Result<HeaderMap, Error> {
        let mut all: HeaderMap = self.headers.iter().filter_map(|(name, value)| header(name, value)).collect();
        if let Some(path) = &self.headers_file {
            let text = std::fs::read_to_string(path).map_err(|source| Error::Headers { path: path.clone(), source })?;
            let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
            for (line, text) in lines {
                let parsed = text.split_once(':').and_then(|(name, value)| header(name.trim(), value.trim()));
                let (name, value) = parsed.ok_or_else(|| Error::Header { path: path.clone(), line })?;
                all.insert(name, value);
            }
        }
        Ok(all)
    }
}

fn header(name: &str, value: &str) -> Option<(HeaderName, HeaderValue)> {
    let mut value = HeaderValue::from_str(value).ok()?;
    value.set_sensitive(true);
    Some((name.parse().ok()?, value))
}

/// Why an export was not taken.
#[derive(Debug)]
enum Refusal {
    /// Not now: after this time, if the collector said one.
    Later(Option<Duration>, String),
    /// Never.
    Never(String),
}

/// Traces wait: for how long, if the collector said, and why.
type Put = (Option<Duration>, String);

/// Messages that one request tells of.
#[derive(Default)]
struct Batch {
    messages: Vec<Ended>,
    export: ExportTraces,
    spans: usize,
}

/// A message that has ended: its trace, and when it was heard of last.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Ended {
    trace_id: String,
    last: Time,
}

const ENDED: &str = "SELECT trace_id, formatDateTime(max(m.ts), '%Y-%m-%dT%H:%i:%S.%fZ', 'UTC') AS last \
    FROM message_trace AS m \
    WHERE m.ts >= {from:DateTime64(6, 'UTC')} AND m.ts < {to:DateTime64(6, 'UTC')} AND trace_id != '' \
    GROUP BY trace_id HAVING countIf(kind = 'delivery' AND outcome != 'deferred') > 0 OR \
    countIf(outcome = 'rejected') > 0 ORDER BY max(m.ts), trace_id LIMIT {rows:UInt32} OFFSET {offset:UInt32}";

/// Tells traces of the messages that end, until it is stopped.
pub struct Exporter {
    client: Client,
    http: reqwest::Client,
    endpoint: String,
    headers: HeaderMap,
    book: Book,
}

impl Exporter {
    /// `None` without an endpoint. `file` is where it keeps what it has told.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn new(config: &Config, file: PathBuf, client: Client) -> Result<Option<Self>, Error> {
        let Some(endpoint) = config.endpoint.clone() else { return Ok(None) };
        let http = reqwest::Client::builder().no_proxy().connect_timeout(TIMEOUT).timeout(TIMEOUT).build()?;
        let (headers, book) = (config.header_map()?, Book::open(file, Time::now()));
        Ok(Some(Self { client, http, endpoint, headers, book }))
    }

    /// Looks and tells until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        metrics::show_traces();
        let (mut pause, mut told) = (RETRY_FIRST, false);
        loop {
            let done = tokio::select! {
                () = stop.cancelled() => return,
                done = self.look(Time::now()) => done,
            };
            let wait = match done {
                Ok(()) => {
                    (pause, told) = (RETRY_FIRST, false);
                    LOOK
                }
                Err((asked, why)) => {
                    if !std::mem::replace(&mut told, true) {
                        tracing::warn!(to = %self.endpoint, why, "traces wait; they are told later");
                    }
                    let wait = asked.map_or(pause, |asked| asked.max(RETRY_FIRST)).min(RETRY_MAX);
                    pause = (pause * 2).min(RETRY_MAX);
                    wait
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Tells what has ended and was not told. An error leaves the rest for the next look: when, if it was said, and why.
    async fn look(&mut self, now: Time) -> Result<(), Put> {
        if self.book.catch_up(now.plus_millis(-BEHIND_MS)) {
            metrics::TRACE_GAPS.with(&[]).inc();
            tracing::error!(to = %self.endpoint, "the collector was away for a day; older traces are left out");
        }
        let to = now.plus_millis(-SETTLE_MS);
        let mut offset = 0;
        loop {
            let ended = self.ended(to, offset).await.map_err(|error| (None, error.to_string()))?;
            let count = ended.len();
            let told = self.tell(ended).await;
            self.book.keep();
            told?;
            offset += count;
            if count < MESSAGES {
                break;
            }
        }
        self.book.done(to.plus_millis(-LATE_MS));
        self.book.keep();
        Ok(())
    }

    async fn ended(&self, to: Time, offset: usize) -> Result<Vec<Ended>, clickhouse::Error> {
        let text = |at: Time| at.to_utc().format("%Y-%m-%d %H:%M:%S%.6f").to_string();
        let (from, to) = (text(self.book.from()), text(to));
        let (rows, offset) = (MESSAGES.to_string(), offset.to_string());
        let params = [("from", from.as_str()), ("to", &to), ("rows", &rows), ("offset", &offset)];
        self.client.rows(ENDED, &params).await
    }

    /// Tells of these messages what was not told, in requests of bounded size.
    async fn tell(&mut self, ended: Vec<Ended>) -> Result<(), Put> {
        let is_new = |message: &Ended| self.book.told(&message.trace_id).is_none_or(|told| told < message.last);
        let news: Vec<Ended> = ended.into_iter().filter(is_new).collect();
        let traces = news.iter().map(|message| message.trace_id.clone()).collect();
        let mut steps = trace::of_traces(&self.client, &traces, self.book.from())
            .await
            .map_err(|error| (None, error.to_string()))?;
        let mut batch = Batch::default();
        for message in news {
            let steps = steps.remove(&message.trace_id).unwrap_or_default();
            let export = span::export(&message.trace_id, &steps, self.book.told(&message.trace_id));
            let spans: usize =
                export.resource_spans.iter().flat_map(|all| &all.scope_spans).map(|all| all.spans.len()).sum();
            if batch.spans + spans > SPANS {
                self.send(std::mem::take(&mut batch)).await?;
            }
            batch.spans += spans;
            batch.export.resource_spans.extend(export.resource_spans);
            batch.messages.push(message);
        }
        self.send(batch).await
    }

    async fn send(&mut self, batch: Batch) -> Result<(), Put> {
        if batch.messages.is_empty() {
            return Ok(());
        }
        let spans = batch.spans as u64;
        let (result, rejected) = match self.post(&batch.export).await {
            Ok(rejected) => ("taken", rejected.min(spans)),
            Err(Refusal::Later(asked, why)) => {
                metrics::TRACE_EXPORTS.with(&["later"]).inc();
                return Err((asked, why));
            }
            Err(Refusal::Never(why)) => {
                tracing::error!(to = %self.endpoint, why, spans, "traces are refused for good, and left out");
                ("refused", spans)
            }
        };
        metrics::TRACE_EXPORTS.with(&[result]).inc();
        metrics::SPANS.with(&["taken"]).add(spans - rejected);
        metrics::SPANS.with(&["rejected"]).add(rejected);
        for message in batch.messages {
            self.book.tell(message.trace_id, message.last);
        }
        Ok(())
    }

    /// Posts one export. How many of its spans the collector rejected.
    async fn post(&self, export: &ExportTraces) -> Result<u64, Refusal> {
        let request = self
            .http
            .post(&self.endpoint)
            .headers(self.headers.clone())
            .header(CONTENT_TYPE, "application/x-protobuf")
            .body(export.encode_to_vec());
        let answer = request.send().await.map_err(|error| Refusal::Later(None, error.without_url().to_string()))?;
        let (status, asked) = (answer.status(), retry_after(answer.headers(), Time::now()));
        let body = answer.bytes().await.unwrap_or_default();
        if status.is_success() {
            let said = ExportResponse::decode(body).unwrap_or_default().partial_success.unwrap_or_default();
            if said.rejected > 0 || !said.error_message.is_empty() {
                tracing::warn!(to = %self.endpoint, spans = said.rejected, why = said.error_message, "the collector has something to say about the traces");
            }
            return Ok(u64::try_from(said.rejected).unwrap_or(0));
        }
        let why = ["it answered ", &status.to_string()].concat();
        // The statuses that may be tried again, and no others (OTLP/HTTP, "Retryable Response Codes").
        match status {
            StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT => Err(Refusal::Later(asked, why)),
            _ => Err(Refusal::Never(why)),
        }
    }
}

/// When to come again: seconds, or a date (RFC 9110 section 10.2.3).
fn retry_after(headers: &HeaderMap, now: Time) -> Option<Duration> {
    let said = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = said.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = DateTime::parse_from_rfc2822(said).ok()?;
    Some(Duration::from_millis(Time::from(at.to_utc()).millis_since(now)))
}
