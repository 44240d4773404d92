//! One picture out of what several watchers say. Pure: `now` is an argument.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use aggregator::event::{Time, VerdictState};
use alerts::view::{IncidentState, IncidentView};
use probes::status::{RegionStatus, ServiceStatus};

use super::FRESH_MS;
use super::watcher::{Answer, Good};
use crate::snapshot::{Heard, Incident, LastKnown, Roster, Service, Snapshot, VantageFault, Watcher};

/// The picture at `now` of what was heard.
pub fn snapshot(answers: &[Answer], now: Time) -> Snapshot {
    Snapshot {
        made_at: now,
        as_of: answers.iter().filter_map(|answer| Some(answer.last.as_ref()?.status.as_of)).max(),
        watchers: answers.iter().map(|answer| watcher(answer, now)).collect(),
        roster: roster(answers, now),
        services: services(answers, now),
        incidents: incidents(answers, now),
        published: Default::default(),
    }
}

fn is_current(good: &Good, now: Time) -> bool {
    now.millis_since(good.received) <= FRESH_MS
}

fn watcher(answer: &Answer, now: Time) -> Watcher {
    let failure = || answer.failure.clone().unwrap_or_else(|| "its answer stands still".to_owned());
    let heard = match &answer.last {
        Some(good) if is_current(good, now) => {
            let since = good.status.fault_since;
            let fault = good.status.fault.clone().map(|reason| VantageFault { reason, since });
            Heard::Current { as_of: good.status.as_of, fault }
        }
        Some(good) => Heard::Silent { as_of: good.status.as_of, failure: failure() },
        None if answer.failure.is_none() => Heard::Never { failure: "it has not been asked yet".to_owned() },
        None => Heard::Never { failure: failure() },
    };
    let generation = answer.last.as_ref().map(|good| good.status.generation);
    Watcher { name: answer.name.clone(), title: answer.title.clone(), heard, generation }
}

/// The newest epoch of those who answer, or of all when nobody does.
fn roster(answers: &[Answer], now: Time) -> Option<Roster> {
    let goods = answers.iter().filter_map(|answer| answer.last.as_ref());
    let newest = goods.rev().max_by_key(|good| (is_current(good, now), good.status.generation))?;
    Some(Roster {
        generation: newest.status.generation,
        since: newest.status.generation_since,
        voters: newest.status.voters.clone(),
    })
}

/// What one watcher says of one service.
struct View<'a> {
    good: &'a Good,
    current: bool,
    service: &'a ServiceStatus,
}

fn services(answers: &[Answer], now: Time) -> Vec<Service> {
    let goods: Vec<&Good> = answers.iter().filter_map(|answer| answer.last.as_ref()).collect();
    let mut seen = BTreeSet::new();
    let mut merged = Vec::new();
    for service in goods.iter().flat_map(|good| &good.status.services) {
        if !seen.insert((&service.target, &service.service)) {
            continue;
        }
        let same = |other: &&ServiceStatus| other.target == service.target && other.service == service.service;
        let views: Vec<View<'_>> = goods
            .iter()
            .filter_map(|good| {
                let service = good.status.services.iter().find(same)?;
                Some(View { good, current: is_current(good, now), service })
            })
            .collect();
        merged.extend(one_service(&views));
    }
    merged
}

/// The best informed view decides the state, the one that remembers most gives the past, and each region shows the
/// newest that anybody knows of it.
fn one_service(views: &[View<'_>]) -> Option<Service> {
    // How new the answers of current watchers are differs by moments only: left out, so that the page stays calm.
    let rank = |view: &&View<'_>| {
        let fresh = view.service.regions.iter().filter(|region| region.fresh).count();
        let newest = view.service.regions.iter().filter_map(|region| region.seen).max();
        let as_of = view.good.status.as_of;
        if view.current { (true, fresh, newest, None) } else { (false, 0, newest, Some(as_of)) }
    };
    let best = views.iter().rev().max_by_key(rank)?;
    let past = views.iter().rev().max_by_key(|view| (known_hours(view.service), std::ptr::eq(*view, best)))?;
    let mut status = ServiceStatus {
        regions: regions(views, best),
        days: past.service.days.clone(),
        availability: past.service.availability,
        bounds: past.service.bounds,
        outages: past.service.outages.clone(),
        objectives: past.service.objectives.clone(),
        ..best.service.clone()
    };
    let last_known = (!best.current).then_some(LastKnown { state: status.state, as_of: best.good.status.as_of });
    if let Some(known) = last_known {
        status.state = VerdictState::Unknown;
        status.since = known.as_of;
    }
    Some(Service { status, last_known })
}

/// A watcher that was just set up knows less of the past; minutes make no difference.
fn known_hours(service: &ServiceStatus) -> u64 {
    service.days.iter().map(|day| day.up_s + day.down_s + day.maintenance_s).sum::<u64>() / 3_600
}

fn regions(views: &[View<'_>], best: &View<'_>) -> Vec<RegionStatus> {
    let mut names: Vec<&str> = Vec::new();
    for region in std::iter::once(best).chain(views).flat_map(|view| &view.service.regions) {
        if !names.contains(&region.vantage.as_str()) {
            names.push(&region.vantage);
        }
    }
    names
        .into_iter()
        .filter_map(|name| {
            views
                .iter()
                .rev()
                .filter_map(|view| {
                    let region = view.service.regions.iter().find(|region| region.vantage == name)?;
                    Some(RegionStatus { fresh: region.fresh && view.current, ..region.clone() })
                })
                .max_by_key(|region| (region.seen, region.fresh))
        })
        .collect()
}

fn incidents(answers: &[Answer], now: Time) -> Vec<Incident> {
    let mut seen = BTreeSet::new();
    let mut merged = Vec::new();
    for first in answers.iter().filter_map(|answer| answer.last.as_ref()).flat_map(|good| &good.incidents) {
        if !seen.insert(&first.incident) {
            continue;
        }
        let tellers: Vec<Teller<'_>> = answers
            .iter()
            .filter_map(|answer| {
                let good = answer.last.as_ref()?;
                let view = good.incidents.iter().find(|view| view.incident == first.incident)?;
                Some(Teller { name: &answer.name, title: &answer.title, good, current: is_current(good, now), view })
            })
            .collect();
        merged.extend(one_incident(&tellers));
    }
    merged.sort_by_key(|incident| Reverse(incident.view.opened_at));
    merged
}

/// A watcher that tells of an incident.
struct Teller<'a> {
    name: &'a str,
    title: &'a str,
    good: &'a Good,
    current: bool,
    view: &'a IncidentView,
}

/// An incident stays open as long as one watcher that answers holds it open.
fn one_incident(tellers: &[Teller<'_>]) -> Option<Incident> {
    let any_current = tellers.iter().any(|teller| teller.current);
    let counting = || tellers.iter().filter(|teller| teller.current || !any_current);
    let open = counting().any(|teller| teller.view.state != IncidentState::Resolved);
    let acknowledged_by = tellers.iter().find_map(|teller| teller.view.acknowledged_by.clone());
    let acknowledged = counting().any(|teller| teller.view.state == IncidentState::Acknowledged);
    let sure = |teller: &&Teller<'_>| match teller.view.confidence.as_str() {
        "certain" => 0,
        "likely" => 1,
        _ => 2,
    };
    let best = counting().min_by_key(sure)?;
    let evidence = tellers.iter().rev().max_by_key(|teller| teller.view.evidence.len())?;
    let view = IncidentView {
        state: match (open, acknowledged) {
            (false, _) => IncidentState::Resolved,
            (true, true) => IncidentState::Acknowledged,
            (true, false) => IncidentState::Firing,
        },
        opened_at: tellers.iter().map(|teller| teller.view.opened_at).min()?,
        resolved_at: if open { None } else { tellers.iter().filter_map(|teller| teller.view.resolved_at).max() },
        acknowledged_by,
        evidence: evidence.view.evidence.clone(),
        timeline: timeline(tellers),
        ..best.view.clone()
    };
    Some(Incident {
        view,
        told_by: tellers.iter().map(|teller| teller.name.to_owned()).collect(),
        last_heard: if any_current { None } else { tellers.iter().map(|teller| teller.good.status.as_of).max() },
    })
}

/// What each watcher did, in one order. What several tell word for word at the same instant stands once.
fn timeline(tellers: &[Teller<'_>]) -> Vec<alerts::view::TimelineEntry> {
    let mut lines: Vec<_> =
        tellers.iter().flat_map(|teller| teller.view.timeline.iter().map(move |entry| (entry, teller.title))).collect();
    lines.sort_by(|(a, _), (b, _)| (a.at, &a.text).cmp(&(b.at, &b.text)));
    lines.dedup_by(|(a, _), (b, _)| a == b);
    let several = tellers.len() > 1;
    lines
        .into_iter()
        .map(|(entry, title)| alerts::view::TimelineEntry {
            at: entry.at,
            text: if several { [title, ": ", &entry.text].concat() } else { entry.text.clone() },
        })
        .collect()
}
