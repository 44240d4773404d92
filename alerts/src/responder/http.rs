//! What a responder answers: incidents for the pages, acknowledgements of people, questions of the other watchers.

use std::sync::Arc;

use aggregator::event::Time;
use askama::Template;
use aws_lc_rs::constant_time;
use axum::Router;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{Html, IntoResponse, Json, Response};
use axum::routing::{get, post};
use serde::Deserialize;
use tokio::sync::{mpsc, oneshot, watch};

use super::Shared;
use super::peers::{Acknowledged, Receipt};
use super::task::{Answered, Command};
use crate::outbox::Outbox;
use crate::remedy::order::Approval;
use crate::signed::{Purpose, Signed};
use crate::view::IncidentView;

/// Octets of a request.
const MAX_REQUEST_BYTES: usize = 64 << 10;
/// Characters of a person's name.
const MAX_PERSON: usize = 100;

/// The way to a responder's HTTP side.
#[derive(Clone)]
pub struct Handle(Arc<Inner>);

struct Inner {
    shared: Arc<Shared>,
    outbox: Outbox,
    commands: mpsc::Sender<Command>,
    views: watch::Receiver<Arc<Vec<IncidentView>>>,
    operator_key: String,
}

impl Handle {
    pub(super) fn new(
        shared: Arc<Shared>,
        outbox: Outbox,
        commands: mpsc::Sender<Command>,
        views: watch::Receiver<Arc<Vec<IncidentView>>>,
        operator_key: String,
    ) -> Self {
        Self(Arc::new(Inner { shared, outbox, commands, views, operator_key }))
    }

    /// The incidents as people see them, newest first.
    pub fn incidents(&self) -> Arc<Vec<IncidentView>> {
        Arc::clone(&self.0.views.borrow())
    }

    /// The routes, to be merged into the watcher's own.
    pub fn router(&self) -> Router {
        Router::new()
            .route("/api/v1/incidents", get(incidents))
            .route("/api/v1/incidents/{incident}/acknowledge", post(acknowledge))
            .route("/ack/{page}/{token}", get(ask_person).post(hear_person))
            .route("/peer/v1/approve", post(approve))
            .route("/peer/v1/receipts", post(receipt))
            .route("/peer/v1/acknowledged", post(acknowledged_elsewhere))
            .layer(DefaultBodyLimit::max(MAX_REQUEST_BYTES))
            .with_state(self.clone())
    }

    async fn acknowledge(&self, incident: &str, person: &str) -> Answered {
        let (reply, wait) = oneshot::channel();
        let command = Command::Acknowledge { incident: incident.to_owned(), person: person.to_owned(), reply };
        if self.0.commands.send(command).await.is_err() {
            return Answered::Unknown;
        }
        wait.await.unwrap_or(Answered::Unknown)
    }

    /// Whether the request shows the operators' key.
    fn operator(&self, headers: &HeaderMap) -> Result<(), (StatusCode, &'static str)> {
        let shown = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
        let own = self.0.operator_key.as_bytes();
        let fits = |key: &str| constant_time::verify_slices_are_equal(key.as_bytes(), own).is_ok();
        let refusal = (StatusCode::UNAUTHORIZED, "the operators' key is needed (alerts.operator_key_file)");
        if shown.is_some_and(fits) { Ok(()) } else { Err(refusal) }
    }

    fn open<T: serde::de::DeserializeOwned>(
        &self,
        signed: &Signed,
        purpose: Purpose,
    ) -> Result<T, (StatusCode, String)> {
        let shared = &self.0.shared;
        signed.open(purpose, &shared.peer_keys, Time::now()).map_err(|error| (StatusCode::FORBIDDEN, error.to_string()))
    }
}

async fn incidents(State(handle): State<Handle>, headers: HeaderMap) -> Response {
    if let Err(refusal) = handle.operator(&headers) {
        return refusal.into_response();
    }
    Json(handle.incidents().as_ref()).into_response()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Person {
    person: String,
}

async fn acknowledge(
    State(handle): State<Handle>,
    Path(incident): Path<String>,
    headers: HeaderMap,
    Json(body): Json<Person>,
) -> Response {
    if let Err(refusal) = handle.operator(&headers) {
        return refusal.into_response();
    }
    let person: String = body.person.chars().filter(|c| !c.is_control()).take(MAX_PERSON).collect();
    if person.trim().is_empty() {
        return (StatusCode::BAD_REQUEST, "\"person\" is empty").into_response();
    }
    match handle.acknowledge(&incident, &person).await {
        Answered::Done | Answered::Already => StatusCode::NO_CONTENT.into_response(),
        Answered::Unknown => (StatusCode::NOT_FOUND, "there is no such incident here").into_response(),
    }
}

#[derive(Template)]
#[template(path = "ack.html")]
struct AckPage<'a> {
    title: &'a str,
    text: &'a str,
    /// Whose button is shown.
    button: Option<&'a str>,
}

impl AckPage<'_> {
    fn answer(&self, status: StatusCode) -> Response {
        match self.render() {
            Ok(page) => (status, [(header::CACHE_CONTROL, "no-store")], Html(page)).into_response(),
            Err(error) => {
                tracing::error!(%error, "the page that acknowledges cannot be rendered");
                StatusCode::INTERNAL_SERVER_ERROR.into_response()
            }
        }
    }
}

fn no_such_link() -> Response {
    let text = "The link is not complete, or its page is too old. Open the dashboard instead.";
    AckPage { title: "This link is not known here", text, button: None }.answer(StatusCode::NOT_FOUND)
}

/// Shows a button and changes nothing: mail scanners and previews open links as well.
async fn ask_person(State(handle): State<Handle>, Path((page, token)): Path<(String, String)>) -> Response {
    if !handle.0.shared.tokens.fits(&page, &token) {
        return no_such_link();
    }
    let Some(to) = handle.0.outbox.addressee(page).await else { return no_such_link() };
    let incidents = handle.incidents();
    let incident = incidents.iter().find(|incident| incident.incident == to.incident);
    let title = incident.map_or("An incident", |incident| incident.name.as_str());
    let text = incident.map_or("It is no longer kept here.", |incident| incident.summary.as_str());
    AckPage { title, text, button: Some(&to.person) }.answer(StatusCode::OK)
}

async fn hear_person(State(handle): State<Handle>, Path((page, token)): Path<(String, String)>) -> Response {
    if !handle.0.shared.tokens.fits(&page, &token) {
        return no_such_link();
    }
    let Some(to) = handle.0.outbox.addressee(page).await else { return no_such_link() };
    let (title, text) = match handle.acknowledge(&to.incident, &to.person).await {
        Answered::Done => ("You have it", "The others see that it is yours."),
        Answered::Already => ("Somebody has it already", "It was acknowledged or resolved before."),
        Answered::Unknown => return no_such_link(),
    };
    AckPage { title, text, button: None }.answer(StatusCode::OK)
}

/// Signs an approval if this watcher's own verdict says the same.
async fn approve(State(handle): State<Handle>, Json(signed): Json<Signed>) -> Response {
    let approval: Approval = match handle.open(&signed, Purpose::ApprovalRequest) {
        Ok(approval) => approval,
        Err(refusal) => return refusal.into_response(),
    };
    let (reply, wait) = oneshot::channel();
    let asked = handle.0.commands.send(Command::IsDown { approval: approval.clone(), reply }).await;
    if asked.is_err() || !wait.await.unwrap_or(false) {
        let text = "this watcher's own verdict is not \"down\", or another unit stands behind the service here";
        return (StatusCode::CONFLICT, text).into_response();
    }
    let shared = &handle.0.shared;
    match Signed::seal(Purpose::Approval, &shared.vantage, &shared.key, Time::now(), &approval) {
        Ok(signed) => Json(signed).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn receipt(State(handle): State<Handle>, Json(signed): Json<Signed>) -> Response {
    match handle.open::<Receipt>(&signed, Purpose::Receipt) {
        Ok(receipt) => {
            let said = format!("{} (told by {})", receipt.receipt, signed.from);
            handle.0.outbox.received_elsewhere(receipt.page_id, said).await;
            StatusCode::NO_CONTENT.into_response()
        }
        Err(refusal) => refusal.into_response(),
    }
}

async fn acknowledged_elsewhere(State(handle): State<Handle>, Json(signed): Json<Signed>) -> Response {
    match handle.open::<Acknowledged>(&signed, Purpose::Acknowledged) {
        Ok(Acknowledged { incident, person }) => {
            let _ = handle.0.commands.send(Command::AcknowledgedElsewhere { incident, person }).await;
            StatusCode::NO_CONTENT.into_response()
        }
        Err(refusal) => refusal.into_response(),
    }
}
