//! `/`: what an operator wants to know first.

use std::sync::Arc;

use aggregator::event::Time;
use askama::Template;
use axum::extract::{Query, State};
use chrono_tz::Tz;

use super::budget::Left;
use super::incident::IncidentCard;
use super::service::ServiceView;
use super::watchers::{RosterView, WatcherView};
use super::{AsOf, Mark, Missing, OperatorSite, Page, Site, Visitor, missing};
use crate::auth::session::Session;
use crate::show::{Span, When, count};
use crate::snapshot::Overall;
use crate::source::mail::{Figures, Mail};

/// How often a page refreshes itself for who has asked for that, in seconds. Never unasked: it takes the reader's place
/// and a screen reader's voice away.
const REFRESH_S: u32 = 30;

/// `?every=30`
#[derive(serde::Deserialize)]
pub struct Every {
    every: Option<u32>,
}

/// The page.
#[derive(Template)]
#[template(path = "now.html")]
pub struct NowPage {
    site: Site,
    visitor: Visitor,
    overall: Mark,
    sentence: String,
    as_of: AsOf,
    is_current: bool,
    refresh: bool,
    missing: Vec<Missing>,
    open: Vec<IncidentCard>,
    services: Vec<ServiceView>,
    watchers: Vec<WatcherView>,
    roster: Option<RosterView>,
    several: bool,
    mail: Option<MailView>,
    mail_failure: Option<String>,
}

/// Today's mail.
struct MailView {
    as_of: When,
    day: String,
    domains: Vec<DomainRow>,
    queues: Vec<QueueRow>,
}

/// Deliveries to one domain.
struct DomainRow {
    domain: String,
    delivered: u64,
    deferred: u64,
    bounced: u64,
    median: Option<Span>,
}

/// One queue.
struct QueueRow {
    node: String,
    queue: String,
    depth: String,
    oldest: Option<Span>,
    sampled: When,
}

impl MailView {
    fn new(figures: &Figures, zone: Tz) -> Self {
        let domains = figures.domains.iter().map(|row| DomainRow {
            domain: row.domain.clone(),
            delivered: row.delivered,
            deferred: row.deferred,
            bounced: row.bounced,
            median: row.median_delay_ms.map(|millis| Span { millis: millis as u64 }),
        });
        let queues = figures.queues.iter().map(|row| QueueRow {
            node: row.node.clone(),
            queue: row.queue.clone(),
            depth: count(row.depth, "message", "messages"),
            oldest: (row.depth > 0).then_some(Span::seconds(row.oldest_s)),
            sampled: When::new(Time(row.sampled_us), zone),
        });
        Self {
            as_of: When::new(figures.as_of, zone),
            day: figures.as_of.to_utc().with_timezone(&zone).format("%-d %b %Y").to_string(),
            domains: domains.collect(),
            queues: queues.collect(),
        }
    }
}

/// `GET /`
pub async fn page(
    State(site): State<Arc<OperatorSite>>,
    session: Session,
    Query(every): Query<Every>,
) -> Page<NowPage> {
    let snapshot = site.snapshot();
    let Mail { figures, failure } = site.mail.borrow().clone();
    let zone = site.site.zone;
    let first = snapshot.services.first().map(|service| service.status.target.clone());
    Page(NowPage {
        visitor: Visitor::new(&site, &session),
        overall: Mark::of(Overall::of(&snapshot.services).as_state()),
        sentence: snapshot.sentence(),
        as_of: AsOf::new(&snapshot, zone),
        is_current: snapshot.is_current(),
        refresh: every.every == Some(REFRESH_S),
        missing: missing(&snapshot, zone),
        open: snapshot
            .incidents
            .iter()
            .filter(|one| one.is_open())
            .map(|one| IncidentCard::new(one, &snapshot, zone))
            .collect(),
        several: snapshot.services.iter().any(|service| Some(&service.status.target) != first.as_ref()),
        services: snapshot.services.iter().map(|service| ServiceView::new(service, &snapshot, zone)).collect(),
        watchers: WatcherView::all(&snapshot, zone),
        roster: RosterView::new(&snapshot, zone),
        mail: figures.map(|figures| MailView::new(&figures, zone)),
        mail_failure: failure,
        site: site.site.clone(),
    })
}
