//! A service as both sites show it: its state, its regions, its days.

use aggregator::event::{ProbeOutcome, Time};
use chrono::NaiveDate;
use chrono_tz::Tz;
use probes::status::{DayStatus, OutageStatus, RegionStatus};

use super::Mark;
use super::budget::BudgetView;
use crate::show::{Span, When, count, percent};
use crate::snapshot::{Service, Snapshot};

/// A day with less than this share known is shown as partly known.
const COVERED: f64 = 0.95;

/// A service on a page.
pub struct ServiceView {
    /// The mail system.
    pub target: String,
    /// What a person reads.
    pub title: String,
    /// Its state.
    pub mark: Mark,
    /// Since when.
    pub since: When,
    /// What it was when a watcher last spoke of it, and when that was.
    pub last_known: Option<(&'static str, When)>,
    /// `99.987 %`; `None`: not enough data.
    pub availability: Option<String>,
    /// Lower and upper bound.
    pub bounds: Option<(String, String)>,
    /// What each watcher saw last.
    pub regions: Vec<RegionView>,
    /// One bar a day, oldest first.
    pub days: Vec<DayView>,
    /// The bars in words.
    pub days_text: String,
    /// The error budgets of its objectives.
    pub budgets: Vec<BudgetView>,
}

/// What a watcher saw last.
pub struct RegionView {
    /// The region.
    pub title: String,
    /// What it saw.
    pub mark: Mark,
    /// How long ago.
    pub age: Option<String>,
    /// When.
    pub seen: Option<When>,
    /// How long the run took.
    pub latency: Option<String>,
    /// The step that failed, for operators only.
    pub error: String,
}

/// One day's bar.
pub struct DayView {
    /// `up`, `down`, `brief`, `partial`, `unknown`, `maintenance`.
    pub class: &'static str,
    /// The day in words.
    pub text: String,
}

/// An outage with its bounds.
pub struct OutageView {
    /// The service.
    pub title: String,
    /// The first bad observation.
    pub from: When,
    /// The first good one after it; `None`: it goes on.
    pub to: Option<When>,
    /// Whether it goes on, or went on when a watcher last spoke of it.
    pub is_vouched_for: bool,
    /// How long, so far.
    pub duration: Span,
    /// The last good observation before it.
    pub last_good: Option<When>,
    /// The last bad observation of it.
    pub last_bad: Option<When>,
    /// Begin, for sorting.
    pub began: Time,
    /// An identity for the feed.
    pub id: String,
    /// When something about it changed last.
    pub updated: When,
}

impl ServiceView {
    /// `service` of `snapshot`, with its times in `zone`.
    pub fn new(service: &Service, snapshot: &Snapshot, zone: Tz) -> Self {
        let status = &service.status;
        Self {
            target: status.target.clone(),
            title: status.title.clone(),
            mark: Mark::of(status.state),
            since: When::new(status.since, zone),
            last_known: service.last_known.map(|last| (Mark::of(last.state).word, When::new(last.as_of, zone))),
            availability: status.availability.map(percent),
            bounds: status.bounds.map(|(lower, upper)| (percent(lower), percent(upper))),
            regions: status.regions.iter().map(|region| RegionView::new(region, snapshot, zone)).collect(),
            days: status.days.iter().map(DayView::new).collect(),
            days_text: in_words(&status.days),
            budgets: status.objectives.iter().map(|one| BudgetView::new(one, snapshot.made_at, zone)).collect(),
        }
    }
}

impl RegionView {
    fn new(region: &RegionStatus, snapshot: &Snapshot, zone: Tz) -> Self {
        Self {
            title: snapshot.region_title(&region.vantage).to_owned(),
            mark: region_mark(region),
            age: region.seen.map(|seen| Span::between(seen, snapshot.made_at).to_string()),
            seen: region.seen.map(|seen| When::new(seen, zone)),
            latency: region.total_ms.filter(|_| region.fresh).map(|millis| match millis {
                0..10_000 => [&millis.to_string(), " ms"].concat(),
                _ => Span { millis: millis.into() }.to_string(),
            }),
            error: region.error.clone(),
        }
    }
}

fn region_mark(region: &RegionStatus) -> Mark {
    let (class, word) = match region.outcome {
        None => ("unknown", "Not seen yet"),
        Some(_) if !region.fresh => ("unknown", "Not seen lately"),
        Some(ProbeOutcome::Ok) => ("up", "OK"),
        Some(ProbeOutcome::Late) => ("degraded", "Late"),
        Some(ProbeOutcome::Spam) => ("degraded", "In spam folder"),
        Some(ProbeOutcome::Duplicate) => ("degraded", "Arrived twice"),
        Some(ProbeOutcome::Failed) => ("down", "Failed"),
        Some(ProbeOutcome::Missing) => ("down", "Never arrived"),
        Some(ProbeOutcome::Missed) => ("unknown", "Not run"),
        Some(ProbeOutcome::VantageFault) => ("unknown", "Out of order"),
    };
    Mark { class, word }
}

impl DayView {
    fn new(day: &DayStatus) -> Self {
        let known = day.up_s + day.down_s + day.maintenance_s;
        let (class, what) = if day.down_s > 0 {
            let class = if day.down_s < 1_800 { "brief" } else { "down" };
            (class, ["down for ", &Span::seconds(day.down_s).to_string()].concat())
        } else if known == 0 {
            ("unknown", "no data".to_owned())
        } else if day.maintenance_s > 0 {
            ("maintenance", ["in maintenance for ", &Span::seconds(day.maintenance_s).to_string()].concat())
        } else if (known as f64) < COVERED * (known + day.unknown_s) as f64 {
            ("partial", ["up; unknown for ", &Span::seconds(day.unknown_s).to_string()].concat())
        } else {
            ("up", "up".to_owned())
        };
        Self { class, text: [&date(&day.day), ": ", &what].concat() }
    }
}

/// `2026-11-22` as `22 Nov 2026`; what is no date stands as it is.
fn date(day: &str) -> String {
    NaiveDate::parse_from_str(day, "%Y-%m-%d").map_or_else(|_| day.to_owned(), |d| d.format("%-d %b %Y").to_string())
}

/// `Last 90 days: 88 without downtime, 1 with downtime (4 min 3 s), 1 without data`.
fn in_words(days: &[DayStatus]) -> String {
    let with = |test: fn(&DayStatus) -> bool| days.iter().filter(|day| test(day)).count() as u64;
    let down = with(|day| day.down_s > 0);
    let nothing = with(|day| day.up_s + day.down_s + day.maintenance_s == 0);
    let total = days.len() as u64;
    let mut text = format!("Last {}: {} without downtime", count(total, "day", "days"), total - down - nothing);
    if down > 0 {
        let sum = Span::seconds(days.iter().map(|day| day.down_s).sum());
        text.push_str(&format!(", {down} with downtime ({sum} in all)"));
    }
    if nothing > 0 {
        text.push_str(&format!(", {nothing} without data"));
    }
    text
}

/// The outages of all services, newest first, `limit` at most.
pub fn outages(snapshot: &Snapshot, zone: Tz, limit: usize) -> Vec<OutageView> {
    let of = |service: &Service, outage: &OutageStatus| {
        let status = &service.status;
        // What nobody vouches for any more is not counted on.
        let end = outage.to.or(service.last_known.map(|last| last.as_of)).unwrap_or(snapshot.made_at);
        let when = |at: Time| When::new(at, zone);
        OutageView {
            title: status.title.clone(),
            from: when(outage.from),
            to: outage.to.map(when),
            is_vouched_for: service.last_known.is_none(),
            duration: Span::between(outage.from, end),
            last_good: outage.last_good.map(when),
            last_bad: outage.last_bad.map(when),
            began: outage.from,
            id: ["urn:varde:outage:", &status.target, ":", &status.service, ":", &outage.from.0.to_string()].concat(),
            updated: when(outage.to.unwrap_or(outage.from)),
        }
    };
    let mut all: Vec<OutageView> = snapshot
        .services
        .iter()
        .flat_map(|service| service.status.outages.iter().map(move |outage| of(service, outage)))
        .collect();
    all.sort_by_key(|outage| std::cmp::Reverse(outage.began));
    all.truncate(limit);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(up_s: u64, down_s: u64, unknown_s: u64, maintenance_s: u64) -> DayStatus {
        DayStatus { day: "2026-11-22".into(), up_s, down_s, unknown_s, maintenance_s }
    }

    #[test]
    fn a_day_shows_the_worst_of_it_and_no_data_is_not_up() {
        let shown = |day: DayStatus| {
            let view = DayView::new(&day);
            (view.class, view.text)
        };
        let expect = |class, text: &str| (class, text.to_owned());
        assert_eq!(shown(day(86_400, 0, 0, 0)), expect("up", "22 Nov 2026: up"));
        assert_eq!(shown(day(86_157, 243, 0, 0)), expect("brief", "22 Nov 2026: down for 4 min 3 s"));
        assert_eq!(shown(day(0, 86_400, 0, 0)), expect("down", "22 Nov 2026: down for 1 d"));
        assert_eq!(shown(day(0, 0, 86_400, 0)), expect("unknown", "22 Nov 2026: no data"));
        assert_eq!(shown(day(43_200, 0, 43_200, 0)), expect("partial", "22 Nov 2026: up; unknown for 12 h"));
        assert_eq!(shown(day(79_200, 0, 0, 7_200)), expect("maintenance", "22 Nov 2026: in maintenance for 2 h"));
    }

    #[test]
    fn the_days_are_said_in_words() {
        let days = [day(0, 0, 86_400, 0), day(86_157, 243, 0, 0), day(86_400, 0, 0, 0)];
        assert_eq!(
            in_words(&days),
            "Last 3 days: 1 without downtime, 1 with downtime (4 min 3 s in all), 1 without data"
        );
    }
}
