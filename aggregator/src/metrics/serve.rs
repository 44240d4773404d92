//! `GET /metrics`, on a listener of its own: the numbers of a process are for its operators, so they are never on a
//! page that others reach. On loopback it answers who asks; elsewhere only who shows the key.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::mail::{REQUEST_DURATION, REQUESTS};
use super::text::Format;
use crate::listen::{Bounded, IDLE};

/// How long until an address that is taken is tried again.
const RETRY: Duration = Duration::from_secs(5);
/// How long a request may still take once the process is to stop.
const DRAIN: Duration = Duration::from_millis(500);

/// Section `[metrics]`. Without it nobody listens.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where each process serves its numbers, by its name: `mail-imap`, `watch-no-oslo` …
    pub listen: BTreeMap<String, SocketAddr>,
    /// The file of the bearer key that who asks must show; needed for addresses other than loopback.
    pub key_file: Option<PathBuf>,
}

impl Config {
    /// Every fault: the key below `metrics`, and what is wrong with it. `processes` are the names that there are.
    pub fn check(&self, processes: &[String]) -> Vec<(String, String)> {
        let (mut faults, mut seen) = (Vec::new(), HashMap::new());
        for (name, address) in &self.listen {
            let mut fault = |message: String| faults.push((["listen.", name].concat(), message));
            if !processes.contains(name) {
                fault(["there is no such process; there are ", &processes.join(", ")].concat());
            }
            if !address.ip().to_canonical().is_loopback() && self.key_file.is_none() {
                fault(
                    "is not on loopback, so anybody could read it; set metrics.key_file, or choose 127.0.0.1"
                        .to_owned(),
                );
            }
            if let (1.., Some(other)) = (address.port(), seen.insert(*address, name)) {
                fault([&address.to_string(), " is the address of ", other, " too"].concat());
            }
        }
        faults
    }
}

/// Where one process serves its numbers.
#[derive(Clone)]
pub struct Listener {
    /// The process.
    pub process: String,
    /// The address.
    pub address: SocketAddr,
    /// What who asks must show; `None`: nothing.
    pub key: Option<String>,
}

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Listener").field("process", &self.process).field("address", &self.address).finish()
    }
}

impl Listener {
    /// Serves until `stop`. An address that is taken is tried again: no service stays away for want of its numbers.
    pub async fn serve(self, stop: CancellationToken) {
        let _telling = super::begin(&self.process);
        let mut told = false;
        let listener = loop {
            match TcpListener::bind(self.address).await {
                Ok(listener) => break listener,
                Err(error) if !told => {
                    tracing::error!(address = %self.address, %error, "metrics cannot be served (metrics.listen); trying again");
                    told = true;
                }
                Err(_) => {}
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(RETRY) => {}
            }
        };
        self.serve_on(listener, stop).await;
    }

    /// The same on a socket that listens already.
    pub async fn serve_on(self, listener: TcpListener, stop: CancellationToken) {
        let routes = router(self.key);
        let served =
            axum::serve(Bounded::new(listener, IDLE), routes).with_graceful_shutdown(stop.clone().cancelled_owned());
        let late = async {
            stop.cancelled().await;
            tokio::time::sleep(DRAIN).await;
        };
        tokio::select! {
            served = served => {
                if let Err(error) = served {
                    tracing::error!(%error, "metrics are no longer served");
                }
            }
            () = late => {}
        }
    }
}

/// `GET /metrics` for a listener that only operators reach; `key` is what who asks must show.
pub fn router(key: Option<String>) -> Router {
    Router::new().route("/metrics", get(page)).with_state(Arc::new(key))
}

async fn page(State(key): State<Arc<Option<String>>>, headers: HeaderMap) -> Response {
    if key.as_ref().as_ref().is_some_and(|key| !shows(&headers, key)) {
        let challenge = [(header::WWW_AUTHENTICATE, "Bearer")];
        return (StatusCode::UNAUTHORIZED, challenge, "the bearer key is not that of metrics.key_file\n")
            .into_response();
    }
    let format = Format::accepted(headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()));
    ([(header::CONTENT_TYPE, format.content_type())], super::page(format).await).into_response()
}

/// Whether a request shows this key: `Authorization: Bearer KEY` (RFC 6750 section 2.1).
pub(crate) fn shows(headers: &HeaderMap, key: &str) -> bool {
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
    bearer.is_some_and(|shown| aws_lc_rs::constant_time::verify_slices_are_equal(shown, key.as_bytes()).is_ok())
}

/// Counts the requests that `router` answers, and how long it took, as those of `site`.
pub fn observe_requests(router: Router, site: &'static str) -> Router {
    for class in ["2xx", "4xx", "5xx"] {
        REQUESTS.with(&[site, class]);
    }
    router.layer(middleware::from_fn_with_state(site, observe))
}

async fn observe(State(site): State<&'static str>, request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let response = next.run(request).await;
    REQUESTS.with(&[site, class(response.status())]).inc();
    REQUEST_DURATION.with(&[site]).observe(begun.elapsed().as_secs_f64());
    response
}

/// The class of a status code (RFC 9110 section 15).
pub(crate) const fn class(status: StatusCode) -> &'static str {
    match status.as_u16() {
        100..200 => "1xx",
        200..300 => "2xx",
        300..400 => "3xx",
        400..500 => "4xx",
        _ => "5xx",
    }
}
