//! The local pager inbox of `varde up`: takes webhooks and e-mail as an engineer's pager would, keeps them, shows them.
//!
//! It is off the watched system, so a page gets here when all of mail is down. A site with real pagers has no `[pager]`.

mod inbox;
mod smtp;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use askama::Template;
use aws_lc_rs::hmac;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{Html, IntoResponse, Json, Response};
use axum::routing::{get, post};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio::net::TcpListener;

use crate::config::Config;
use crate::place::Place;
use crate::{roles, stop};
use inbox::{Inbox, Received};

/// A page is text: this is plenty.
const BODY_BYTES: usize = 1024 * 1024;

struct Pager {
    inbox: Inbox,
    /// The key of each engineer's hook, by the last part of its URL.
    keys: BTreeMap<String, hmac::Key>,
}

/// Serves the inbox until a signal.
pub async fn run(place: &Place) -> anyhow::Result<ExitCode> {
    let config = place.load()?;
    let stop = stop::on_signal_or_orphaned(place.supervised);
    let settings = config.pager.clone().context("the configuration has no [pager] section")?;
    let pager = Arc::new(Pager { inbox: Inbox::open(&config.path("pager"))?, keys: keys(&config)? });
    let http = TcpListener::bind(settings.listen)
        .await
        .with_context(|| format!("pager.listen {} cannot be bound", settings.listen))?;
    let mail = TcpListener::bind(settings.smtp_listen)
        .await
        .with_context(|| format!("pager.smtp_listen {} cannot be bound", settings.smtp_listen))?;
    let app = Router::new()
        .route("/", get(page))
        .route("/hook/{engineer}", post(hook))
        .route("/api/v1/pages", get(list))
        .route("/health", get(|| async { "ok\n" }))
        .layer(DefaultBodyLimit::max(BODY_BYTES))
        .with_state(pager.clone());
    let metrics = roles::metrics(&config, "pager", stop.clone());
    let sink = tokio::spawn(smtp::serve(mail, pager.clone(), stop.clone()));
    axum::serve(http, app).with_graceful_shutdown(stop.cancelled_owned()).await?;
    sink.await?;
    metrics.await?;
    Ok(ExitCode::SUCCESS)
}

fn keys(config: &Config) -> anyhow::Result<BTreeMap<String, hmac::Key>> {
    let mut keys = BTreeMap::new();
    for engineer in &config.alerts.engineer {
        if let (Some(url), Some(file)) = (&engineer.webhook_url, &engineer.webhook_secret_file) {
            let secret = config.secret(file)?;
            let bytes = STANDARD
                .decode(secret.strip_prefix("whsec_").unwrap_or(&secret))
                .with_context(|| format!("{} is not whsec_ and base64", config.path(file).display()))?;
            let name = url.rsplit('/').next().unwrap_or_default().to_owned();
            keys.insert(name, hmac::Key::new(hmac::HMAC_SHA256, &bytes));
        }
    }
    Ok(keys)
}

/// Takes a webhook whose signature is right (Standard Webhooks: HMAC-SHA256 of `id.timestamp.body`).
async fn hook(
    State(pager): State<Arc<Pager>>,
    Path(engineer): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let Some(key) = pager.keys.get(&engineer) else {
        return (StatusCode::NOT_FOUND, "no engineer has this hook\n").into_response();
    };
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (id, timestamp) = (header("webhook-id"), header("webhook-timestamp"));
    let signed = [id.as_bytes(), b".", timestamp.as_bytes(), b".", &body].concat();
    let right = header("webhook-signature")
        .split(' ')
        .filter_map(|signature| STANDARD.decode(signature.strip_prefix("v1,")?).ok())
        .any(|signature| hmac::verify(key, &signed, &signature).is_ok());
    if !right {
        return (StatusCode::UNAUTHORIZED, "the signature is wrong\n").into_response();
    }
    let Ok(payload) = serde_json::from_slice::<serde_json::Value>(&body) else {
        return (StatusCode::BAD_REQUEST, "not JSON\n").into_response();
    };
    keep(&pager, Received::from_webhook(id, &engineer, payload))
}

fn keep(pager: &Pager, received: Received) -> Response {
    match pager.inbox.add(received) {
        Ok(()) => (StatusCode::OK, "kept\n").into_response(),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, format!("{error:#}\n")).into_response(),
    }
}

async fn list(State(pager): State<Arc<Pager>>) -> Json<Vec<Received>> {
    Json(pager.inbox.newest_first())
}

#[derive(Template)]
#[template(path = "pager.html")]
struct PagerPage {
    pages: Vec<Received>,
}

async fn page(State(pager): State<Arc<Pager>>) -> Response {
    let policy = [("content-security-policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'")];
    match (PagerPage { pages: pager.inbox.newest_first() }).render() {
        Ok(html) => (policy, Html(html)).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
