//! The operator's pages as JSON.

use std::sync::Arc;

use aggregator::event::Time;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use probes::status::ServiceStatus;
use serde::Serialize;

use super::{OperatorSite, public};
use crate::auth::session::Session;
use crate::snapshot::{Heard, Incident, LastKnown, Overall, Roster};
use crate::source::mail::Mail;

/// `/api/v1/now`.
#[derive(Serialize)]
struct NowJson<'a> {
    as_of: Option<Time>,
    overall: Overall,
    sentence: String,
    services: Vec<ServiceJson<'a>>,
    incidents: Vec<&'a Incident>,
    mail: Mail,
    watchers: Vec<WatcherJson<'a>>,
    roster: Option<&'a Roster>,
}

#[derive(Serialize)]
struct ServiceJson<'a> {
    #[serde(flatten)]
    status: &'a ServiceStatus,
    last_known: Option<LastKnown>,
}

#[derive(Serialize)]
struct WatcherJson<'a> {
    name: &'a str,
    title: &'a str,
    as_of: Option<Time>,
    failure: Option<&'a str>,
    /// What is wrong with its network, resolver or clock; null when it is well.
    fault: Option<&'a str>,
    fault_since: Option<Time>,
    generation: Option<u64>,
}

/// `GET /api/v1/status`: the same as on the public site.
pub async fn status(State(site): State<Arc<OperatorSite>>, _session: Session) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], public::status_json(&site.site, &site.snapshot())).into_response()
}

/// `GET /api/v1/now`: the first page.
pub async fn now(State(site): State<Arc<OperatorSite>>, _session: Session) -> Response {
    let snapshot = site.snapshot();
    let services = snapshot.services.iter();
    let watchers = snapshot.watchers.iter().map(|watcher| WatcherJson {
        name: &watcher.name,
        title: &watcher.title,
        as_of: watcher.heard.as_of(),
        failure: match &watcher.heard {
            Heard::Current { .. } => None,
            Heard::Silent { failure, .. } | Heard::Never { failure } => Some(failure),
        },
        fault: watcher.heard.fault().map(|fault| fault.reason.as_str()),
        fault_since: watcher.heard.fault().and_then(|fault| fault.since),
        generation: watcher.generation,
    });
    Json(NowJson {
        as_of: snapshot.as_of,
        overall: Overall::of(&snapshot.services),
        sentence: snapshot.sentence(),
        services: services.map(|one| ServiceJson { status: &one.status, last_known: one.last_known }).collect(),
        incidents: snapshot.incidents.iter().filter(|incident| incident.is_open()).collect(),
        mail: site.mail.borrow().clone(),
        watchers: watchers.collect(),
        roster: snapshot.roster.as_ref(),
    })
    .into_response()
}

/// `GET /api/v1/incidents`: all of them, newest first.
pub async fn incidents(State(site): State<Arc<OperatorSite>>, _session: Session) -> Response {
    Json(&site.snapshot().incidents).into_response()
}

/// `GET /api/v1/incidents/{incident}`
pub async fn incident(State(site): State<Arc<OperatorSite>>, _session: Session, Path(key): Path<String>) -> Response {
    match site.snapshot().incident(&key) {
        Some(incident) => Json(incident).into_response(),
        None => {
            let body = serde_json::json!({ "error": "there is no such incident" });
            (StatusCode::NOT_FOUND, Json(body)).into_response()
        }
    }
}
