//! The posture audit against local zones and servers: a good domain, and one that is broken in each check.

mod cases;
pub mod dns;
mod hostile;
mod server;
mod world;

use std::collections::BTreeSet;

use futures_util::{StreamExt, stream};
use probes::posture::{Outcome, Report, check_ids};

use cases::{CASES, Case};
use world::World;

/// Worlds that are audited at the same time.
const PARALLEL: usize = 4;

/// What a unit test covers, because no server of today can be made to do it.
const UNIT_TESTED: &[&str] = &["tls.key", "tls.signature"];

fn outcome(report: &Report, id: &str) -> Outcome {
    report.checks.iter().find(|check| check.id == id).unwrap_or_else(|| panic!("no check {id}")).result
}

fn shown(report: &Report) -> String {
    let bad = report.checks.iter().filter(|check| check.result != Outcome::Pass);
    bad.map(|check| format!("{} {}: {}", check.id, check.result.as_str(), check.evidence))
        .collect::<Vec<_>>()
        .join("\n")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_good_domain_passes_every_check() {
    let report = World::new().audit().await;
    assert_eq!(shown(&report), "");
    assert_eq!((report.score, report.failed()), (100, false));
    assert_eq!(report.to_events().len(), check_ids().count());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_broken_in_one_check_is_found_by_that_check() {
    let runs = CASES.iter().map(|case| async move {
        let mut world = World::new();
        (case.breaks)(&mut world);
        (case, world.audit().await)
    });
    let wrong =
        stream::iter(runs).buffer_unordered(PARALLEL).filter_map(|(case, report)| async move { judge(case, &report) });
    let wrong: Vec<String> = wrong.collect().await;
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

fn judge(case: &Case, report: &Report) -> Option<String> {
    let check = report.checks.iter().find(|check| check.id == case.id)?;
    let told = check.result == Outcome::Skipped || (!check.remedy.is_empty() && !check.evidence.is_empty());
    let others = report
        .checks
        .iter()
        .filter(|check| check.result >= Outcome::Warn && check.id != case.id && !case.also.contains(&&*check.id));
    let others: Vec<_> =
        others.map(|check| format!("{} {}: {}", check.id, check.result.as_str(), check.evidence)).collect();
    let found = |id: &&&str| outcome(report, id) >= Outcome::Warn;
    let idle: Vec<_> = case.also.iter().filter(|id| !found(id)).collect();
    if check.result == case.expected && told && others.is_empty() && idle.is_empty() {
        return None;
    }
    Some(format!(
        "{} should be {:?}, and nothing but {:?} with it; it is {:?}: {}; others: {}; not found: {idle:?}",
        case.id,
        case.expected,
        case.also,
        check.result,
        check.evidence,
        others.join(" | ")
    ))
}

#[test]
fn every_check_has_a_case_in_which_it_finds_something() {
    let covered: BTreeSet<_> = CASES.iter().filter(|case| case.expected >= Outcome::Warn).map(|case| case.id).collect();
    let missing: Vec<_> = check_ids().filter(|id| !covered.contains(id) && !UNIT_TESTED.contains(id)).collect();
    assert!(missing.is_empty(), "{missing:?}");
    let unknown: Vec<_> =
        CASES.iter().map(|case| case.id).filter(|id| !check_ids().any(|known| known == *id)).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

#[tokio::test]
async fn a_domain_that_takes_no_mail_is_not_blamed_for_its_missing_servers() {
    let mut world = World::new();
    world.zone.set("example.test", "MX", &["0 ."]);
    let report = world.audit().await;
    assert_eq!(outcome(&report, "mx.null"), Outcome::Pass);
    for id in ["mx.resolves", "smtp.reachable", "tls.starttls", "mta_sts.exists", "tls_rpt.exists", "dane.exists"] {
        assert_eq!(outcome(&report, id), Outcome::Skipped, "{id}");
    }
    assert!(!report.failed(), "{}", shown(&report));
}
