//! The public site: one page, its JSON, its feed, a badge for each service.

use std::sync::Arc;

use aggregator::event::{ProbeOutcome, Time, VerdictState};
use askama::Template;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use probes::status::{DayStatus, ObjectiveStatus, OutageStatus};
use serde::Serialize;

use super::budget::Left;
use super::service::{OutageView, ServiceView, outages};
use super::watchers::{OutOfOrder, out_of_order};
use super::{AsOf, Mark, Missing, Page, PublicSite, Site, error, missing};
use crate::show::When;
use crate::snapshot::{Document, Heard, LastKnown, Overall, Published, Snapshot};
use crate::source::Publish;

/// So many outages stand on the page and in the feed, the newest.
const OUTAGES: usize = 50;
/// For how long a browser or a proxy may show the same answer.
const CACHE_CONTROL: &str = "public, max-age=15";

/// The page.
#[derive(Template)]
#[template(path = "public.html")]
struct PublicPage<'a> {
    site: &'a Site,
    overall: Mark,
    sentence: String,
    as_of: AsOf,
    missing: Vec<Missing>,
    out_of_order: Vec<OutOfOrder>,
    groups: Vec<Group>,
    several: bool,
    outages: &'a [OutageView],
}

/// The services of one mail system.
struct Group {
    target: String,
    services: Vec<ServiceView>,
}

/// The feed.
#[derive(Template)]
#[template(path = "feed.xml")]
struct Feed<'a> {
    site: &'a Site,
    updated: When,
    outages: &'a [OutageView],
}

/// A badge.
#[derive(Template)]
#[template(path = "badge.svg")]
struct Badge<'a> {
    title: &'a str,
    mark: Mark,
    title_width: usize,
    word_width: usize,
}

/// `/api/v1/status`: a stable contract. Availabilities are percentages; instants are RFC 3339 in UTC.
#[derive(Serialize)]
struct StatusJson<'a> {
    /// The newest instant that any watcher spoke of; null when none was ever heard.
    as_of: Option<Time>,
    site: &'a str,
    time_zone: &'a str,
    overall: Overall,
    services: Vec<ServiceJson<'a>>,
    watchers: Vec<WatcherJson<'a>>,
}

#[derive(Serialize)]
struct ServiceJson<'a> {
    target: &'a str,
    service: &'a str,
    title: &'a str,
    state: VerdictState,
    since: Time,
    /// What it was, when no watcher answers any more; otherwise null.
    last_known: Option<LastKnown>,
    availability: Option<f64>,
    availability_lower: Option<f64>,
    availability_upper: Option<f64>,
    objectives: &'a [ObjectiveStatus],
    regions: Vec<RegionJson<'a>>,
    outages: &'a [OutageStatus],
    days: &'a [DayStatus],
}

/// Without the error: it names hosts, and is for operators.
#[derive(Serialize)]
struct RegionJson<'a> {
    vantage: &'a str,
    title: &'a str,
    seen: Option<Time>,
    outcome: Option<ProbeOutcome>,
    fresh: bool,
    total_ms: Option<u32>,
}

#[derive(Serialize)]
struct WatcherJson<'a> {
    name: &'a str,
    title: &'a str,
    /// `current`, `silent` or `never`.
    state: &'static str,
    as_of: Option<Time>,
    /// Whether its network, resolver or clock is at fault, so that what it sees does not count.
    out_of_order: bool,
    out_of_order_since: Option<Time>,
}

/// What makes the public site of every snapshot.
pub fn publisher(site: Site) -> Publish {
    Box::new(move |snapshot| {
        let outages = outages(snapshot, site.zone, OUTAGES);
        let updated = outages.first().map_or(When::new(Time::default(), site.zone), |outage| outage.updated.clone());
        let published = Published {
            page: document(&public_page(&site, snapshot, &outages)),
            status: Document::new(status_json(&site, snapshot)),
            feed: document(&Feed { site: &site, updated, outages: &outages }),
        };
        snapshot.published = Arc::new(published);
    })
}

/// The JSON of `/api/v1/status`.
pub fn status_json(site: &Site, snapshot: &Snapshot) -> Vec<u8> {
    let services = snapshot.services.iter().map(|service| {
        let status = &service.status;
        ServiceJson {
            target: &status.target,
            service: &status.service,
            title: &status.title,
            state: status.state,
            since: status.since,
            last_known: service.last_known,
            availability: status.availability,
            availability_lower: status.bounds.map(|bounds| bounds.0),
            availability_upper: status.bounds.map(|bounds| bounds.1),
            objectives: &status.objectives,
            regions: status
                .regions
                .iter()
                .map(|region| RegionJson {
                    vantage: &region.vantage,
                    title: snapshot.region_title(&region.vantage),
                    seen: region.seen,
                    outcome: region.outcome,
                    fresh: region.fresh,
                    total_ms: region.total_ms,
                })
                .collect(),
            outages: &status.outages,
            days: &status.days,
        }
    });
    let watchers = snapshot.watchers.iter().map(|watcher| WatcherJson {
        name: &watcher.name,
        title: &watcher.title,
        state: match watcher.heard {
            Heard::Current { .. } => "current",
            Heard::Silent { .. } => "silent",
            Heard::Never { .. } => "never",
        },
        as_of: watcher.heard.as_of(),
        out_of_order: watcher.heard.fault().is_some(),
        out_of_order_since: watcher.heard.fault().and_then(|fault| fault.since),
    });
    let status = StatusJson {
        as_of: snapshot.as_of,
        site: &site.name,
        time_zone: site.zone.name(),
        overall: Overall::of(&snapshot.services),
        services: services.collect(),
        watchers: watchers.collect(),
    };
    serde_json::to_vec(&status).unwrap_or_else(|error| {
        tracing::error!(%error, "writing the status as JSON failed");
        b"{}".to_vec()
    })
}

fn public_page<'a>(site: &'a Site, snapshot: &Snapshot, outages: &'a [OutageView]) -> PublicPage<'a> {
    let mut groups: Vec<Group> = Vec::new();
    for service in &snapshot.services {
        let view = ServiceView::new(service, snapshot, site.zone);
        match groups.iter_mut().find(|group| group.target == view.target) {
            Some(group) => group.services.push(view),
            None => groups.push(Group { target: view.target.clone(), services: vec![view] }),
        }
    }
    PublicPage {
        site,
        overall: Mark::of(Overall::of(&snapshot.services).as_state()),
        sentence: snapshot.sentence(),
        as_of: AsOf::new(snapshot, site.zone),
        missing: missing(snapshot, site.zone),
        out_of_order: out_of_order(snapshot, site.zone),
        several: groups.len() > 1,
        groups,
        outages,
    }
}

fn document(template: &impl Template) -> Document {
    Document::new(template.render().unwrap_or_else(|error| {
        tracing::error!(%error, "rendering the public site failed");
        String::new()
    }))
}

/// `GET /`
pub async fn page(State(site): State<Arc<PublicSite>>, headers: HeaderMap) -> Response {
    let published = Arc::clone(&site.snapshot.borrow().published);
    send(&published.page, "text/html; charset=utf-8", &headers)
}

/// `GET /api/v1/status`
pub async fn status(State(site): State<Arc<PublicSite>>, headers: HeaderMap) -> Response {
    let published = Arc::clone(&site.snapshot.borrow().published);
    let mut answer = send(&published.status, "application/json", &headers);
    answer.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    answer
}

/// `GET /feed.xml`
pub async fn feed(State(site): State<Arc<PublicSite>>, headers: HeaderMap) -> Response {
    let published = Arc::clone(&site.snapshot.borrow().published);
    send(&published.feed, "application/atom+xml; charset=utf-8", &headers)
}

/// `GET /badge/{target}/{service}.svg`
pub async fn badge(State(site): State<Arc<PublicSite>>, Path((target, file)): Path<(String, String)>) -> Response {
    let snapshot = Arc::clone(&site.snapshot.borrow());
    let wanted = file.strip_suffix(".svg").unwrap_or_default();
    let found = snapshot.services.iter().find(|one| one.status.target == target && one.status.service == wanted);
    let Some(service) = found else { return error::not_found().await };
    let mark = Mark::of(service.status.state);
    // About 7 units a letter of 11 units, and 10 on either side.
    let width = |text: &str| text.chars().count() * 7 + 20;
    let title = service.status.title.as_str();
    let badge = Badge { title, mark, title_width: width(title), word_width: width(mark.word) };
    let mut answer = Page(badge).into_response();
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("image/svg+xml"));
    answer.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static(CACHE_CONTROL));
    answer
}

/// Sends a document, or says that the client's copy is still right (RFC 9110 section 13.1.2).
fn send(document: &Document, media_type: &'static str, headers: &HeaderMap) -> Response {
    let known = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let matches = known
        .flat_map(|list| list.split(','))
        .map(|tag| tag.trim())
        .any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == document.etag);
    let caching = [(header::CACHE_CONTROL, CACHE_CONTROL), (header::ETAG, document.etag.as_str())];
    if matches {
        return (StatusCode::NOT_MODIFIED, caching).into_response();
    }
    (caching, [(header::CONTENT_TYPE, media_type)], document.body.clone()).into_response()
}
