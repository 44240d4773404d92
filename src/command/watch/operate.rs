//! Who votes, by the operators' word: `POST /api/v1/watchers/{name}/join` and `…/drain` with their key, and the command
//! that asks for it.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use alerts::config::read_secret;
use anyhow::{Context, bail};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::post;
use probes::roster::{Change, Epoch, NotChanged};
use probes::watcher::Handle;

use crate::config::Config;

/// How long a watcher may take to answer.
const DEADLINE: Duration = Duration::from_secs(5);

struct Operate {
    handle: Handle,
    key: String,
}

/// The routes, to be merged into the watcher's own.
///
/// # Errors
/// The operators' key cannot be read.
pub fn router(config: &Config, handle: Handle) -> anyhow::Result<Router> {
    let key = read_secret(&config.alerts.operator_key_file).map_err(anyhow::Error::msg)?;
    let state = Arc::new(Operate { handle, key });
    Ok(Router::new().route("/api/v1/watchers/{name}/{verb}", post(enrol)).with_state(state))
}

async fn enrol(
    State(operate): State<Arc<Operate>>,
    Path((name, verb)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    let shown = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    let fits = |key: &str| verify_slices_are_equal(key.as_bytes(), operate.key.as_bytes()).is_ok();
    if !shown.is_some_and(fits) {
        return (StatusCode::UNAUTHORIZED, "the operators' key is needed (alerts.operator_key_file)\n").into_response();
    }
    let change = match verb.as_str() {
        "join" => Change::Join(name),
        "drain" => Change::Drain(name),
        _ => return (StatusCode::NOT_FOUND, "a watcher can join or drain\n").into_response(),
    };
    match operate.handle.enrol(change).await {
        Some(Ok(epoch)) => Json(epoch).into_response(),
        Some(Err(reason)) => {
            let status = match reason {
                NotChanged::Unknown(_) => StatusCode::NOT_FOUND,
                NotChanged::Already { .. }
                | NotChanged::Last(_)
                | NotChanged::LastOfTarget { .. }
                | NotChanged::Exhausted(_)
                | NotChanged::Pending(_) => StatusCode::CONFLICT,
            };
            (status, format!("{reason}\n")).into_response()
        }
        None => (StatusCode::SERVICE_UNAVAILABLE, "the watcher does not answer\n").into_response(),
    }
}

/// Asks the watcher itself, or when it does not answer the others in their order; one is enough.
#[expect(clippy::print_stdout, reason = "says what was agreed")]
pub async fn ask(config: &Config, change: &Change) -> anyhow::Result<ExitCode> {
    let (name, verb) = match change {
        Change::Join(name) => (name, "join"),
        Change::Drain(name) => (name, "drain"),
    };
    let key = read_secret(&config.alerts.operator_key_file).map_err(anyhow::Error::msg)?;
    let http = reqwest::Client::builder().no_proxy().timeout(DEADLINE).build()?;
    let mut watchers: Vec<_> = config.probes.watch.watcher.iter().collect();
    watchers.sort_by_key(|watcher| watcher.name != *name);
    for watcher in watchers {
        let url = format!("{}/api/v1/watchers/{name}/{verb}", watcher.base_url());
        let answer = match http.post(url).bearer_auth(&key).send().await {
            Ok(answer) => answer,
            Err(error) => {
                tracing::warn!("watcher \"{}\" cannot be asked: {}", watcher.name, error.without_url());
                continue;
            }
        };
        if !answer.status().is_success() {
            bail!("watcher \"{}\" refused: {}", watcher.name, answer.text().await?.trim());
        }
        let epoch: Epoch = answer.json().await.context("the answer is no epoch of the roster")?;
        println!("From {} on (epoch {}) these vote: {}.", epoch.from, epoch.generation, epoch.watchers.join(", "));
        return Ok(ExitCode::SUCCESS);
    }
    bail!("no watcher answers; start one, or look at watch.watcher.listen and url")
}
