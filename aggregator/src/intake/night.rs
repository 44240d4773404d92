//! The nightly audit: looks whether every row is there once, and says so where it is not. Nothing waits for it.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::metrics::Metrics;
use crate::clickhouse::{self, Client};
use crate::emit::Emitter;
use crate::event::{RawLine, Time};
use crate::schema::{self, Audit, Lifetimes, Scope};

/// Between two looks at the clock: it may be set, and a machine may sleep.
const LOOK: Duration = Duration::from_secs(60);
/// Before what an audit found is looked at again: a batch that is on its way is no mismatch.
const CONFIRM: Duration = Duration::from_secs(120);

/// What the aggregator does beside taking blocks in.
#[derive(Debug, Clone, Default)]
pub struct Upkeep {
    /// For how long tables keep their rows.
    pub lifetimes: Lifetimes,
    /// Where its own events go.
    pub emitter: Option<Emitter>,
}

/// Audits every night until `stop`.
pub(super) async fn run(client: &Client, upkeep: &Upkeep, metrics: &Metrics, stop: &CancellationToken) {
    let mut at = schema::next_audit(Time::now());
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
        let now = Time::now();
        if now < at {
            continue;
        }
        at = schema::next_audit(now);
        let audited = tokio::select! {
            () = stop.cancelled() => return,
            audited = confirmed(client, &upkeep.lifetimes, CONFIRM) => audited,
        };
        match audited {
            Ok(audit) => report(audit, upkeep, metrics, Time::now()),
            Err(why) => tracing::error!(%why, "the nightly audit did not end; the next one is tomorrow"),
        }
    }
}

/// An audit whose mismatches were looked at twice.
pub(super) async fn confirmed(
    client: &Client,
    lifetimes: &Lifetimes,
    pause: Duration,
) -> Result<Audit, clickhouse::Error> {
    let first = schema::audit(client, Scope::Recent, lifetimes, Time::now()).await?;
    if first.mismatches.is_empty() {
        return Ok(first);
    }
    tokio::time::sleep(pause).await;
    let again = schema::audit(client, Scope::Recent, lifetimes, Time::now()).await?;
    Ok(first.confirmed_by(&again))
}

/// Says what was found: in the log, as events, and to whoever reads the metrics.
pub(super) fn report(audit: Audit, upkeep: &Upkeep, metrics: &Metrics, now: Time) {
    for mismatch in &audit.mismatches {
        tracing::error!(table = mismatch.table, day = %mismatch.day, rows = mismatch.rows, expected = mismatch.expected, against = mismatch.against, "the audit found a mismatch");
        if let Some(emitter) = &upkeep.emitter {
            emitter.emit(RawLine {
                ts: now,
                source: "varde:audit".into(),
                dialect: "varde".into(),
                recognised: true,
                line: mismatch.to_string(),
                ..RawLine::default()
            });
        }
    }
    if audit.mismatches.is_empty() {
        tracing::info!(checked = audit.checked, "the nightly audit found every row once");
    }
    metrics.audited(audit, now);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Event;
    use crate::schema::Mismatch;

    #[test]
    fn a_mismatch_is_an_event_and_a_metric_that_name_table_and_day() {
        let (emitter, mut events) = Emitter::channel();
        let (upkeep, metrics) = (Upkeep { emitter: Some(emitter), ..Upkeep::default() }, Metrics::default());
        assert!(!metrics.text().contains("varde_audit"));
        let day = "2026-11-21".parse().unwrap();
        let mismatch = Mismatch { table: "deliveries", day, rows: 12, expected: 10, against: "identities" };
        report(Audit { checked: 40, mismatches: vec![mismatch] }, &upkeep, &metrics, Time(1_795_342_608_000_000));
        let Ok(Event::RawLine(row)) = events.try_recv() else { panic!("an event") };
        assert_eq!(
            (row.source.as_str(), row.line.as_str()),
            ("varde:audit", "deliveries of 2026-11-21 has 12 rows, and 10 identities")
        );
        let text = metrics.text();
        assert!(text.contains("varde_audit_mismatch_rows{table=\"deliveries\",day=\"2026-11-21\"} 2\n"), "{text}");
        assert!(text.contains("varde_audit_timestamp_seconds 1795342608\n"), "{text}");
        report(Audit { checked: 40, mismatches: Vec::new() }, &upkeep, &metrics, Time(1_795_342_609_000_000));
        assert!(!metrics.text().contains("{table="), "what was mended is gone");
    }
}
