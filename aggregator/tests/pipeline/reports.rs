//! Every report runs as the read-only user and has something to say.

use aggregator::event::*;
use aggregator::report::{self, Format};
use aggregator::schema;
use tempfile::TempDir;

use crate::support::Engine;

/// A site on which everything happened once.
fn events(now: Time) -> Vec<Event> {
    let ts = now.plus_millis(-600_000);
    let ip = Some("192.0.2.1".parse().unwrap());
    let delivery = |outcome, seconds: i64| Delivery {
        ts: ts.plus_millis(seconds * 1000),
        queue_id: "1".into(),
        rcpt_domain: "example.net".into(),
        outcome,
        is_final: outcome != DeliveryOutcome::Deferred,
        class: "greylisted".into(),
        delay_total_ms: Some(1500),
        ..Delivery::default()
    };
    let verdict = |state, ago: i64| VerdictRow {
        ts: now.plus_millis(-ago),
        node: "us-east".into(),
        target: "varde".into(),
        service: "imap".into(),
        state,
        since: Some(now.plus_millis(-ago)),
        ..VerdictRow::default()
    };
    vec![
        delivery(DeliveryOutcome::Deferred, 0).into(),
        delivery(DeliveryOutcome::Delivered, 60).into(),
        Reception { ts, verdict: ReceptionVerdict::Rejected, client_ip: ip, ..Reception::default() }.into(),
        Session { ts, protocol: "imap".into(), ..Session::default() }.into(),
        AuthEvent { ts, result: "failed".into(), client_ip: ip, ..AuthEvent::default() }.into(),
        QueueSample { ts, queue: "deferred".into(), oldest_age_s: Some(9), ..QueueSample::default() }.into(),
        verdict(VerdictState::Up, 3_600_000).into(),
        verdict(VerdictState::Down, 1_800_000).into(),
        verdict(VerdictState::Up, 1_200_000).into(),
        ProbeRun { ts, target: "varde".into(), vantage: "us-east".into(), ..ProbeRun::default() }.into(),
        ProbeStep { ts, step: "tcp".into(), ms: Some(3.0), ..ProbeStep::default() }.into(),
        IncidentRow { ts, incident: "i".into(), opened_at: Some(ts), ..IncidentRow::default() }.into(),
        PageRow { ts, page_id: "p".into(), state: PageState::Acknowledged, ..PageRow::default() }.into(),
        RemedyRow { ts, remedy_id: "r".into(), state: RemedyState::Verified, ..RemedyRow::default() }.into(),
        DmarcRow { ts, domain: "example.net".into(), count: 3, ..DmarcRow::default() }.into(),
        TlsRptRow { ts, domain: "example.net".into(), failed: 1, ..TlsRptRow::default() }.into(),
        Bounce { ts, rcpt_domain: "example.net".into(), outcome: DeliveryOutcome::Bounced, ..Bounce::default() }.into(),
        Complaint { ts, domain: "example.net".into(), ..Complaint::default() }.into(),
        BlocklistHit { ts, subject: "192.0.2.1".into(), ..BlocklistHit::default() }.into(),
    ]
}

#[tokio::test]
async fn every_report_runs_as_the_read_only_user_and_has_rows() {
    let dir = TempDir::new().unwrap();
    let engine = Engine::start(dir.path()).await;
    let client = engine.full().await;
    schema::migrate(&client).await.unwrap();
    let now = Time::now();
    let events = events(now);
    for event in &events {
        let mut block = Vec::new();
        Event::write_block(event.table(), &[event], &mut block);
        let insert = ["INSERT INTO ", event.table(), " FORMAT Native"].concat();
        client.insert(&insert, &[], block.into()).await.unwrap();
    }
    let sql = engine.sql();
    let since = [("since".to_owned(), "2d".to_owned())];
    for report in report::list() {
        let rows = report::run(&sql, report.name, &since, Format::JsonLines, now).await;
        let rows = rows.unwrap_or_else(|why| panic!("{}: {why}", report.name));
        assert!(!rows.is_empty(), "{} has no rows", report.name);
    }
    let table = report::run(&sql, "slo-budget", &since, Format::Csv, now).await.unwrap();
    let line = String::from_utf8(table.to_vec()).unwrap();
    let fields: Vec<&str> = line.lines().nth(1).unwrap().split(',').collect();
    assert_eq!(fields[..2], ["\"varde\"", "\"imap\""]);
    assert_eq!(fields[3], "600", "ten minutes down: {line}");
    // An objective of the service's own goes before that of all: half of what is known may be lost, and is left.
    let own = [since[0].clone(), ("objectives".to_owned(), "{'varde/imap':50,'it\\'s/other':99.95}".to_owned())];
    let json = report::run(&sql, "slo-budget", &own, Format::JsonLines, now).await.unwrap();
    let row: serde_json::Value = serde_json::from_slice(&json).unwrap();
    let known = row["up_s"].as_f64().unwrap() + row["down_s"].as_f64().unwrap();
    assert_eq!(row["objective_percent"], 50.0, "{row}");
    assert!((row["budget_s"].as_f64().unwrap() - known / 2.0).abs() <= 1.0, "{row}");
    assert_eq!(row["budget_left_s"].as_f64().unwrap(), row["budget_s"].as_f64().unwrap() - 600.0, "{row}");
}
