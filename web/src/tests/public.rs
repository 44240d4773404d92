//! The public site.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::harness::{NAME, Watcher, Web, age, clickhouse, until};
use super::sample;
use crate::page::{Site, public};
use crate::source::FRESH_MS;
use crate::source::merge;
use crate::source::watcher::{Answer, AskError, Good};
use aggregator::event::{Time, VerdictState};
use probes::status::Status;

fn answer(name: &str, received: Time, status: Status) -> Answer {
    let last = Some(Good { received, status, incidents: vec![] });
    Answer { name: name.into(), title: name.to_uppercase(), last, failure: None }
}

#[tokio::test]
async fn the_page_says_in_one_sentence_how_things_are() {
    let (web, watchers) = Web::usual(sample::all_up, vec![]).await;
    let page = web.get(&web.public, "/", "").await.text().await.unwrap();
    assert!(page.contains("<h1>All services are up</h1>"), "{page}");
    assert!(page.contains("99.987 %") && page.contains("between 99.941 % and 99.988 %"));
    assert!(page.contains("Last 90 days: 79 without downtime, 1 with downtime (4 min 3 s in all), 10 without data"));
    assert!(page.contains("Varde &#38; &#60;friends&#62;") && !page.contains("<friends>"));
    assert!(page.contains(
        "Error budget (99.9 % over the last 30 days): <strong>39 min 9 s</strong> of 43 min 12 s left (90.6\u{a0}%)"
    ));
    assert!(!page.contains("Burn rate"), "that is for operators");
    for watcher in &watchers {
        watcher.says.lock().unwrap().status = sample::imap_down;
    }
    until(async || web.get(&web.public, "/", "").await.text().await.unwrap().contains("<h1>IMAP is down</h1>")).await;
    let page = web.get(&web.public, "/", "").await.text().await.unwrap();
    assert!(page.contains("going on") && page.contains("Not enough data for a figure"));
    assert!(!page.contains("10.0.0.5"), "what failed names hosts, and is for operators");
}

#[tokio::test]
async fn a_region_that_is_out_of_order_is_named_without_the_cause() {
    let (web, _watchers) = Web::usual(sample::sydney_at_fault, vec![]).await;
    let page = web.get(&web.public, "/", "").await.text().await.unwrap();
    assert!(page.contains("The region <strong>Sydney</strong> is out of order since <time"), "{page}");
    assert!(page.contains("Out of order</span>") && !page.contains("control target"));
    let status = web.status().await;
    let told = |index: usize| {
        let watcher = &status["watchers"][index];
        (
            watcher["state"].as_str().unwrap(),
            watcher["out_of_order"].as_bool().unwrap(),
            watcher["out_of_order_since"].is_string(),
        )
    };
    assert_eq!([told(1), told(2)], [("current", false, false), ("current", true, true)]);
    assert!(!status.to_string().contains("control target"));
}

#[tokio::test]
async fn an_answer_is_cached_and_asked_for_again_by_its_tag() {
    let (web, _watchers) = Web::usual(sample::all_up, vec![]).await;
    for path in ["/", "/api/v1/status", "/feed.xml"] {
        let first = web.get(&web.public, path, "").await;
        assert_eq!(first.headers()["cache-control"], "public, max-age=15");
        assert!(!first.headers()["etag"].is_empty());
    }
    let unchanged = async || {
        let tag = web.get(&web.public, "/feed.xml", "").await.headers()["etag"].clone();
        let again =
            web.client.get([&web.public, "/feed.xml"].concat()).header("if-none-match", tag).send().await.unwrap();
        again.status() == StatusCode::NOT_MODIFIED && again.bytes().await.unwrap().is_empty()
    };
    until(unchanged).await;
}

#[tokio::test]
async fn both_sites_forbid_scripts_frames_and_sniffing() {
    let (web, _watchers) = Web::usual(sample::all_up, vec![]).await;
    for (site, path) in [(&web.public, "/"), (&web.operator, "/login"), (&web.operator, "/nowhere")] {
        let answer = web.get(site, path, "").await;
        let policy = answer.headers()["content-security-policy"].to_str().unwrap().to_owned();
        assert!(policy.starts_with("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{policy}");
        assert!(!policy.contains("unsafe"));
        assert_eq!(answer.headers()["x-content-type-options"], "nosniff");
        assert_eq!(answer.headers()["referrer-policy"], "same-origin");
        let page = answer.text().await.unwrap();
        assert!(!page.contains("<script") && !page.contains("style="), "{path}");
    }
}

#[tokio::test]
async fn assets_badges_and_health_are_there_and_nothing_else_is() {
    let (web, _watchers) = Web::usual(sample::all_up, vec![]).await;
    let page = web.get(&web.public, "/", "").await.text().await.unwrap();
    let css = page.split("rel=\"stylesheet\" href=\"").nth(1).unwrap().split('"').next().unwrap();
    let style = web.get(&web.public, css, "").await;
    assert_eq!(style.headers()["cache-control"], "public, max-age=31536000, immutable");
    assert_eq!(style.headers()["content-type"], "text/css; charset=utf-8");
    let badge = web.get(&web.public, "/badge/varde/imap.svg", "").await;
    assert_eq!(badge.headers()["content-type"], "image/svg+xml");
    assert!(badge.text().await.unwrap().contains("aria-label=\"IMAP: Up\""));
    assert_eq!(web.get(&web.public, "/health", "").await.status(), StatusCode::OK);
    for path in ["/badge/varde/imap", "/badge/varde/nothing.svg", "/assets/varde.css", "/incidents", "/login"] {
        assert_eq!(web.get(&web.public, path, "").await.status(), StatusCode::NOT_FOUND, "{path}");
    }
}

#[tokio::test]
async fn after_a_restart_with_every_watcher_gone_the_last_known_is_shown_and_the_state_is_unknown() {
    let (web, watchers) = Web::usual(sample::all_up, vec![]).await;
    let as_of = web.status().await["as_of"].clone();
    let folder = web.stop().await;
    watchers.iter().for_each(Watcher::kill);
    age(&folder);
    let web = Web::start(folder, &watchers, "http://127.0.0.1:1").await;
    let status = web.status().await;
    assert_eq!(status["overall"], "unknown");
    assert!(status["as_of"].as_str() >= as_of.as_str(), "{} {as_of}", status["as_of"]);
    for service in status["services"].as_array().unwrap() {
        assert_eq!((&service["state"], &service["last_known"]["state"]), (&json!("unknown"), &json!("up")));
        assert!(service["regions"].as_array().unwrap().iter().all(|region| region["fresh"] == false));
    }
    let page = web.get(&web.public, "/", "").await.text().await.unwrap();
    assert!(page.contains("<h1>The state of the services is unknown</h1>") && page.contains("Last known: Up"));
    assert_eq!(page.matches("has not been heard since").count(), 3);
    assert!(page.contains("<p>Last heard "), "with its age");
    let operator = web.operator_page("/", &web.log_in(NAME).await).await;
    assert!(operator.contains("whether there is an incident is unknown") && !operator.contains("No open incidents"));
}

#[tokio::test]
async fn the_page_is_there_before_anything_was_ever_heard() {
    let (clickhouse, server) = clickhouse().await;
    server.abort();
    let watchers = [
        Watcher::start("us-east", sample::all_up, vec![]).await,
        Watcher::start("no-oslo", sample::all_up, vec![]).await,
        Watcher::start("au-sydney", sample::all_up, vec![]).await,
    ];
    watchers.iter().for_each(Watcher::kill);
    let web = Web::start(std::sync::Arc::new(tempfile::tempdir().unwrap()), &watchers, &clickhouse).await;
    let page = web.get(&web.public, "/", "").await.text().await.unwrap();
    assert!(page.contains("<h1>Nothing is known yet</h1>"), "{page}");
    assert_eq!(web.status().await["overall"], "unknown");
}

#[test]
fn a_watcher_that_is_gone_counts_until_its_answer_is_too_old() {
    let then = sample::NOW;
    let answers = [answer("us-east", then, sample::all_up("us-east", then))];
    let fresh = merge::snapshot(&answers, then.plus_millis(FRESH_MS as i64));
    assert!(fresh.services.iter().all(|service| service.status.state == VerdictState::Up));
    let old = merge::snapshot(&answers, then.plus_millis(FRESH_MS as i64 + 1));
    assert!(old.services.iter().all(|service| service.status.state == VerdictState::Unknown));
    assert_eq!(old.services[0].last_known.unwrap().state, VerdictState::Up);
}

#[test]
fn an_answer_that_stands_still_ages() {
    let then = sample::NOW;
    let mut stuck = answer("us-east", then, sample::all_up("us-east", then));
    let later = then.plus_millis(FRESH_MS as i64 + 1);
    stuck.take(Ok((sample::all_up("us-east", then), vec![])), later);
    assert!(!merge::snapshot(std::slice::from_ref(&stuck), later).watchers[0].heard.is_current());
    let put_back = then.plus_millis(-3_600_000);
    stuck.take(Ok((sample::all_up("us-east", put_back), vec![])), later);
    assert!(merge::snapshot(&[stuck], later).watchers[0].heard.is_current(), "a clock that is put back still runs");
}

#[test]
fn the_best_informed_watcher_that_answers_decides() {
    let then = sample::NOW;
    let mut cut_off = sample::all_up("us-east", then.plus_millis(500));
    for region in &mut cut_off.services[3].regions[1..] {
        region.fresh = false;
    }
    cut_off.services[3].state = VerdictState::Unknown;
    let mut gone = answer("au-sydney", then.plus_millis(-40_000), sample::all_up("au-sydney", then));
    gone.take(Err(AskError::TooLong), then);
    let answers = [answer("us-east", then, cut_off), answer("no-oslo", then, sample::imap_down("no-oslo", then)), gone];
    let snapshot = merge::snapshot(&answers, then);
    assert_eq!(snapshot.services[3].status.state, VerdictState::Down);
    assert_eq!(snapshot.services[3].last_known, None);
    assert_eq!(snapshot.silent().map(|watcher| watcher.name.as_str()).collect::<Vec<_>>(), ["au-sydney"]);
}

#[test]
fn the_watcher_that_remembers_most_gives_the_past() {
    let then = sample::NOW;
    let mut young = sample::all_up("us-east", then);
    for service in &mut young.services {
        service.days.drain(..89);
        service.availability = None;
        service.outages.clear();
    }
    let answers = [answer("us-east", then, young), answer("no-oslo", then, sample::all_up("no-oslo", then))];
    let imap = &merge::snapshot(&answers, then).services[3].status;
    assert_eq!((imap.days.len(), imap.availability, imap.outages.len()), (90, Some(99.987), 1));
}

/// The shape that others read. A change here is a change of the public contract.
#[test]
fn the_json_keeps_its_shape() {
    let then = sample::NOW;
    let mut status = sample::imap_down("us-east", then);
    status.services.retain(|service| service.service == "imap");
    status.services[0].days.drain(..89);
    status.services[0].regions.truncate(1);
    let answers = [answer("us-east", then, status)];
    let site = Site { name: "Varde".into(), zone: chrono_tz::Europe::Oslo, webmail_url: None };
    let json: Value = serde_json::from_slice(&public::status_json(&site, &merge::snapshot(&answers, then))).unwrap();
    let golden = json!({
        "as_of": "2026-11-22T10:38:39.000000Z",
        "site": "Varde",
        "time_zone": "Europe/Oslo",
        "overall": "down",
        "services": [{
            "target": "varde", "service": "imap", "title": "IMAP",
            "state": "down", "since": "2026-11-22T10:37:51.000000Z", "last_known": null,
            "availability": 99.987, "availability_lower": 99.941, "availability_upper": 99.988,
            "objectives": [{
                "objective": 99.9, "window": "30d",
                "from": "2026-10-23T10:38:39.000000Z", "to": "2026-11-22T10:38:39.000000Z",
                "coverage": 100.0, "unknown_s": 0, "budget_s": 2_592, "spent_s": 243,
                "remaining_s": 2_349, "remaining_percent": 90.625,
                "remaining_lower_s": 2_349, "remaining_upper_s": 2_349,
                "burn_rate_1h": 0.0, "burn_rate_6h": 1.35, "burn_rate_3d": null,
                "exhausted_at": "2026-12-01T10:38:39.000000Z"
            }],
            "regions": [{
                "vantage": "us-east", "title": "US-EAST", "seen": "2026-11-22T10:38:16.000000Z",
                "outcome": "failed", "fresh": true, "total_ms": 10_004
            }],
            "outages": [
                {"from": "2026-11-22T10:37:51.000000Z", "to": null,
                 "last_good": "2026-11-22T10:37:30.000000Z", "last_bad": "2026-11-22T10:38:30.000000Z"},
                {"from": "2026-11-11T09:48:39.000000Z", "to": "2026-11-11T09:52:42.000000Z",
                 "last_good": "2026-11-11T09:48:09.000000Z", "last_bad": "2026-11-11T09:52:12.000000Z"}
            ],
            "days": [{"day": "2026-11-22", "up_s": 86_352, "down_s": 48, "unknown_s": 0, "maintenance_s": 0}]
        }],
        "watchers": [
            {"name": "us-east", "title": "US-EAST", "state": "current", "as_of": "2026-11-22T10:38:39.000000Z",
             "out_of_order": false, "out_of_order_since": null}
        ]
    });
    assert_eq!(json, golden, "{json:#}");
}
