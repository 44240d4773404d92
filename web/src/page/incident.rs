//! `/incidents`: what happened, what is known of it, and who has it.

use std::sync::Arc;
use std::time::Duration;

use alerts::view::IncidentState;
use askama::Template;
use axum::Form;
use axum::extract::{Path, State};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Redirect, Response};
use chrono_tz::Tz;
use futures_util::future::join_all;

use super::error::{not_found, refusal};
use super::login::{TokenForm, forged};
use super::{Mark, Missing, OperatorSite, Page, Site, Visitor, missing};
use crate::auth::operators::Role;
use crate::auth::session::Session;
use crate::show::{Span, When};
use crate::snapshot::{Incident, Snapshot};

/// After an acknowledgement the next page waits so long for a snapshot that shows it.
const SEE_EFFECT: Duration = Duration::from_secs(3);

/// An incident on a page.
pub struct IncidentCard {
    /// Its key.
    pub key: String,
    /// Its short name.
    pub name: String,
    /// The service.
    pub title: String,
    /// The mail system.
    pub target: String,
    /// Where it is.
    pub mark: Mark,
    /// What a person reads first.
    pub summary: String,
    /// The cause, in words.
    pub cause: String,
    /// How sure that is.
    pub confidence: String,
    /// Where it is seen.
    pub scope: String,
    /// What to do.
    pub next_steps: Vec<String>,
    /// When it began.
    pub opened: When,
    /// When it ended.
    pub resolved: Option<When>,
    /// How long it took, or takes so far.
    pub duration: Span,
    /// Who has it.
    pub acknowledged_by: Option<String>,
    /// Whether somebody is needed to take it.
    pub is_firing: bool,
    /// What was kept.
    pub evidence: Vec<(String, String)>,
    /// What happened.
    pub timeline: Vec<(When, String)>,
    /// The watchers that tell of it.
    pub told_by: String,
    /// When none of them answers any more: when one last did.
    pub last_heard: Option<When>,
}

impl IncidentCard {
    /// `incident` of `snapshot`, with its times in `zone`.
    pub fn new(incident: &Incident, snapshot: &Snapshot, zone: Tz) -> Self {
        let view = &incident.view;
        let (class, word) = match view.state {
            IncidentState::Firing => ("down", "Firing"),
            IncidentState::Acknowledged => ("degraded", "Acknowledged"),
            IncidentState::Resolved => ("up", "Resolved"),
        };
        let told_by: Vec<&str> = incident.told_by.iter().map(|name| snapshot.region_title(name)).collect();
        Self {
            key: view.incident.clone(),
            name: view.name.clone(),
            title: view.title.clone(),
            target: view.target.clone(),
            mark: Mark { class, word },
            summary: view.summary.clone(),
            cause: view.cause.replace('_', " "),
            confidence: view.confidence.clone(),
            scope: view.scope.replace('_', " "),
            next_steps: view.next_steps.clone(),
            opened: When::new(view.opened_at, zone),
            resolved: view.resolved_at.map(|at| When::new(at, zone)),
            duration: Span::between(view.opened_at, view.resolved_at.unwrap_or(snapshot.made_at)),
            acknowledged_by: view.acknowledged_by.clone(),
            is_firing: view.state == IncidentState::Firing,
            evidence: view.evidence.iter().map(|part| (part.section.clone(), part.content.clone())).collect(),
            timeline: view.timeline.iter().map(|line| (When::new(line.at, zone), line.text.clone())).collect(),
            told_by: told_by.join(", "),
            last_heard: incident.last_heard.map(|at| When::new(at, zone)),
        }
    }
}

/// All incidents.
#[derive(Template)]
#[template(path = "incidents.html")]
pub struct IncidentsPage {
    site: Site,
    visitor: Visitor,
    missing: Vec<Missing>,
    incidents: Vec<IncidentCard>,
}

/// One incident.
#[derive(Template)]
#[template(path = "incident.html")]
struct IncidentPage {
    site: Site,
    visitor: Visitor,
    missing: Vec<Missing>,
    incident: IncidentCard,
}

/// `GET /incidents`
pub async fn list(State(site): State<Arc<OperatorSite>>, session: Session) -> Page<IncidentsPage> {
    let snapshot = site.snapshot();
    let zone = site.site.zone;
    Page(IncidentsPage {
        visitor: Visitor::new(&site, &session),
        missing: missing(&snapshot, zone),
        incidents: snapshot.incidents.iter().map(|one| IncidentCard::new(one, &snapshot, zone)).collect(),
        site: site.site.clone(),
    })
}

/// `GET /incidents/{incident}`
pub async fn page(State(site): State<Arc<OperatorSite>>, session: Session, Path(key): Path<String>) -> Response {
    let snapshot = site.snapshot();
    let zone = site.site.zone;
    let Some(incident) = snapshot.incident(&key) else { return not_found().await };
    let page = IncidentPage {
        visitor: Visitor::new(&site, &session),
        missing: missing(&snapshot, zone),
        incident: IncidentCard::new(incident, &snapshot, zone),
        site: site.site.clone(),
    };
    Page(page).into_response()
}

/// `POST /incidents/{incident}/acknowledge`
pub async fn acknowledge(
    State(site): State<Arc<OperatorSite>>,
    session: Session,
    Path(key): Path<String>,
    uri: Uri,
    Form(form): Form<TokenForm>,
) -> Response {
    if !site.auth.sealer.is_form_token(&session.id, &form.csrf) {
        return forged();
    }
    if session.role != Role::Admin {
        return refusal(StatusCode::FORBIDDEN, "You may look, not act", "Ask an operator with the role admin.");
    }
    let Some(told_by) = site.snapshot().incident(&key).map(|incident| incident.told_by.clone()) else {
        return not_found().await;
    };
    let tellers = site.watchers.iter().filter(|watcher| told_by.contains(&watcher.name));
    let answers = join_all(tellers.map(async |watcher| {
        let answer = watcher.acknowledge(&key, &session.name, &site.operator_key).await;
        if let Err(error) = &answer {
            tracing::warn!(watcher = %watcher.name, incident = %key, %error, "passing on an acknowledgement failed");
        }
        answer.is_ok()
    }))
    .await;
    if !answers.contains(&true) {
        return refusal(
            StatusCode::BAD_GATEWAY,
            "No watcher took the acknowledgement",
            "The pages go on until one does. Try again, or acknowledge from the page that you were sent.",
        );
    }
    see_effect(&site, &key).await;
    // The form's own path, already escaped, without its last segment.
    Redirect::to(uri.path().trim_end_matches("/acknowledge")).into_response()
}

/// Waits until a snapshot shows the acknowledgement, for a moment at most.
async fn see_effect(site: &OperatorSite, key: &str) {
    let mut snapshots = site.snapshot.clone();
    site.nudge.notify_one();
    let shown = snapshots.wait_for(|now| now.incident(key).is_none_or(|one| one.view.state != IncidentState::Firing));
    // Not in time: the page shows it when it is there.
    let _late = tokio::time::timeout(SEE_EFFECT, shown).await.is_err();
}
