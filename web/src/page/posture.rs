//! `/posture`: how the watched domains are set up, as the daily audit found it; and the same page of `varde audit`.

use std::sync::Arc;

use aggregator::event::Time;
use askama::Template;
use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use chrono_tz::Tz;
use probes::posture::{Change, Check, Outcome, Report};
use probes::watcher::posture::Audited;

use super::error::not_found;
use super::{Mark, OperatorSite, Page, Site, Visitor, asset};
use crate::auth::session::Session;
use crate::show::{When, count};

/// A domain's audit on a page.
pub struct AuditView {
    /// The domain.
    pub domain: String,
    /// How it is on the whole.
    pub mark: Mark,
    /// 0 to 100.
    pub score: u32,
    /// The mark for it.
    pub grade: String,
    /// `3 failed, 2 to improve, 80 passed, 40 skipped`.
    pub counts: String,
    /// When it was audited.
    pub at: When,
    /// When it was audited before that.
    pub previous: Option<When>,
    /// The watcher that did it; empty for an audit by hand.
    pub vantage: String,
    /// What the last audit found changed.
    pub news: Vec<ChangeView>,
    /// What had changed before.
    pub past: Vec<ChangeView>,
    /// The families, the worst first.
    pub families: Vec<FamilyView>,
}

/// A family of checks.
pub struct FamilyView {
    /// Its name, for the anchor.
    pub name: String,
    /// Its heading.
    pub heading: String,
    /// The worst of its checks.
    pub mark: Mark,
    /// How its checks came out.
    pub counts: String,
    /// What is wrong or could be better, the worst first.
    pub open: Vec<CheckView>,
    /// What is as it should be, or was skipped.
    pub rest: Vec<CheckView>,
    /// How the rest is summed up.
    pub rest_counts: String,
}

/// A check.
pub struct CheckView {
    /// `spf.lookups`.
    pub id: String,
    /// What should hold.
    pub title: String,
    /// Whether it does.
    pub mark: Mark,
    /// What was found.
    pub evidence: String,
    /// Why it matters.
    pub why: String,
    /// How to mend it.
    pub remedy: String,
}

/// A check that came out otherwise than before.
pub struct ChangeView {
    /// When that was seen.
    pub at: When,
    /// `spf.lookups`.
    pub check: String,
    /// What should hold.
    pub title: String,
    /// What it was.
    pub from: Mark,
    /// What it is.
    pub to: Mark,
    /// What was found.
    pub evidence: String,
}

fn mark(outcome: Outcome) -> Mark {
    let (class, word) = match outcome {
        Outcome::Pass => ("up", "Pass"),
        Outcome::Warn => ("degraded", "To improve"),
        Outcome::Fail => ("down", "Fail"),
        Outcome::Skipped => ("unknown", "Skipped"),
    };
    Mark { class, word }
}

fn worst<'a>(checks: impl IntoIterator<Item = &'a Check>) -> Mark {
    mark(checks.into_iter().map(|check| check.result).max().unwrap_or(Outcome::Skipped))
}

/// `2 failed, 1 to improve`: of each outcome that there is, how many.
fn counts<'a>(checks: impl IntoIterator<Item = &'a Check> + Clone) -> String {
    let words = [
        (Outcome::Fail, "failed"),
        (Outcome::Warn, "to improve"),
        (Outcome::Pass, "passed"),
        (Outcome::Skipped, "skipped"),
    ];
    let number = |outcome| checks.clone().into_iter().filter(|check| check.result == outcome).count();
    let parts = words.into_iter().map(|(outcome, word)| (number(outcome), word)).filter(|(number, _)| *number > 0);
    parts.map(|(number, word)| [&number.to_string(), " ", word].concat()).collect::<Vec<_>>().join(", ")
}

impl CheckView {
    fn new(check: &Check) -> Self {
        Self {
            id: check.id.to_string(),
            title: check.title.to_string(),
            mark: mark(check.result),
            evidence: check.evidence.clone(),
            why: check.why.to_string(),
            remedy: check.remedy.clone(),
        }
    }
}

impl ChangeView {
    fn new(change: &Change, zone: Tz) -> Self {
        Self {
            at: When::new(change.at, zone),
            check: change.check.clone(),
            title: change.title.clone(),
            from: mark(change.from),
            to: mark(change.to),
            evidence: change.evidence.clone(),
        }
    }
}

impl FamilyView {
    fn new(checks: &[Check]) -> Self {
        let mut open: Vec<&Check> = checks.iter().filter(|check| check.result >= Outcome::Warn).collect();
        open.sort_by_key(|check| std::cmp::Reverse((check.result, check.weight)));
        let mut rest: Vec<&Check> = checks.iter().filter(|check| check.result < Outcome::Warn).collect();
        rest.sort_by_key(|check| std::cmp::Reverse(check.result));
        Self {
            name: checks.first().map_or_else(String::new, |check| check.family.to_string()),
            heading: checks.first().map_or_else(String::new, |check| check.heading.to_string()),
            mark: worst(checks),
            counts: counts(checks),
            rest_counts: counts(rest.iter().copied()),
            open: open.into_iter().map(CheckView::new).collect(),
            rest: rest.into_iter().map(CheckView::new).collect(),
        }
    }
}

impl AuditView {
    /// A report with what changed; times in `zone`.
    pub fn new(report: &Report, vantage: &str, previous: Option<Time>, changes: &[Change], zone: Tz) -> Self {
        let mut families: Vec<&[Check]> = report.checks.chunk_by(|a, b| a.family == b.family).collect();
        families.sort_by_key(|checks| std::cmp::Reverse(checks.iter().map(|check| (check.result, check.weight)).max()));
        let (news, past): (Vec<&Change>, Vec<&Change>) = changes.iter().partition(|change| change.at == report.at);
        let shown = |changes: Vec<&Change>| changes.into_iter().map(|change| ChangeView::new(change, zone)).collect();
        Self {
            domain: report.domain.clone(),
            mark: worst(&report.checks),
            score: report.score,
            grade: format!("{:?}", report.grade),
            counts: counts(&report.checks),
            at: When::new(report.at, zone),
            previous: previous.map(|at| When::new(at, zone)),
            vantage: vantage.to_owned(),
            news: shown(news),
            past: shown(past),
            families: families.into_iter().map(FamilyView::new).collect(),
        }
    }

    fn of(audited: &Audited, site: &OperatorSite) -> Self {
        let snapshot = site.snapshot();
        let vantage = snapshot.region_title(&audited.vantage);
        Self::new(&audited.report, vantage, audited.previous, &audited.changes, site.site.zone)
    }

    /// `1 change`, of the last audit.
    pub fn news_count(&self) -> String {
        count(self.news.len() as u64, "change", "changes")
    }
}

/// All domains.
#[derive(Template)]
#[template(path = "postures.html")]
pub struct PosturesPage {
    site: Site,
    visitor: Visitor,
    audits: Vec<AuditView>,
}

/// One domain.
#[derive(Template)]
#[template(path = "posture.html")]
struct PosturePage {
    site: Site,
    visitor: Visitor,
    audit: AuditView,
}

/// The page of an audit by hand: whole in itself, to be kept or sent.
#[derive(Template)]
#[template(path = "audit.html")]
struct AuditPage {
    style: &'static str,
    audit: AuditView,
}

/// The report of an audit as one page of HTML that needs nothing else.
///
/// # Errors
/// The template cannot be written out.
pub fn audit_page(report: &Report) -> Result<String, askama::Error> {
    AuditPage { style: asset::STYLE.content(), audit: AuditView::new(report, "", None, &[], Tz::UTC) }.render()
}

/// `GET /posture`
pub async fn list(State(site): State<Arc<OperatorSite>>, session: Session) -> Page<PosturesPage> {
    let all = site.posture.borrow().clone();
    Page(PosturesPage {
        visitor: Visitor::new(&site, &session),
        audits: all.iter().map(|audited| AuditView::of(audited, &site)).collect(),
        site: site.site.clone(),
    })
}

/// `GET /posture/{domain}`
pub async fn page(State(site): State<Arc<OperatorSite>>, session: Session, Path(domain): Path<String>) -> Response {
    let all = site.posture.borrow().clone();
    let Some(audited) = all.iter().find(|audited| audited.report.domain == domain) else {
        return not_found().await;
    };
    let page = PosturePage {
        visitor: Visitor::new(&site, &session),
        audit: AuditView::of(audited, &site),
        site: site.site.clone(),
    };
    Page(page).into_response()
}

/// `GET /api/v1/posture`
pub async fn json(State(site): State<Arc<OperatorSite>>, _session: Session) -> Response {
    Json(site.posture.borrow().as_ref()).into_response()
}
