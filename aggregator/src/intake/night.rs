//! The nightly audit: looks whether every row is there once, and says so where it is not. Nothing waits for it.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::clickhouse::{self, Client};
use crate::emit::Emitter;
use crate::event::{RawLine, Time};
use crate::mask::Mask;
use crate::metrics::intake as metrics;
use crate::schema::{self, Audit, Lifetimes, Scope};

/// Between two looks at the clock: it may be set, and a machine may sleep.
const LOOK: Duration = Duration::from_secs(60);
/// Before what an audit found is looked at again: a batch that is on its way is no mismatch.
const CONFIRM: Duration = Duration::from_secs(120);

/// What the aggregator is told for what it does beside taking blocks in.
#[derive(Debug, Clone, Default)]
pub struct Upkeep {
    /// For how long tables keep their rows.
    pub lifetimes: Lifetimes,
    /// Where its own events go.
    pub emitter: Option<Emitter>,
    /// What becomes of local parts in log records that come by OTLP; blocks come masked.
    pub mask: Mask,
}

/// Audits every night until `stop`.
pub(super) async fn run(client: &Client, upkeep: &Upkeep, stop: &CancellationToken) {
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
            Ok(audit) => report(&audit, upkeep, Time::now()),
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
pub(super) fn report(audit: &Audit, upkeep: &Upkeep, now: Time) {
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
    metrics::AUDIT_TIMESTAMP.with(&[]).set(now.seconds() as f64);
    for table in schema::audited() {
        let off = audit.mismatches.iter().filter(|mismatch| mismatch.table == table);
        let rows: u64 = off.map(|mismatch| mismatch.rows.abs_diff(mismatch.expected)).sum();
        metrics::AUDIT_MISMATCH.with(&[table]).set(rows as f64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Event;
    use crate::schema::Mismatch;

    #[test]
    fn a_mismatch_is_an_event_that_names_table_and_day_and_a_metric_until_it_is_mended() {
        let (emitter, mut events) = Emitter::channel();
        let upkeep = Upkeep { emitter: Some(emitter), ..Upkeep::default() };
        let day = "2026-11-21".parse().unwrap();
        let mismatch = Mismatch { table: "deliveries", day, rows: 12, expected: 10, against: "identities" };
        report(&Audit { checked: 40, mismatches: vec![mismatch] }, &upkeep, Time(1_795_342_608_000_000));
        let Ok(Event::RawLine(row)) = events.try_recv() else { panic!("an event") };
        assert_eq!(
            (row.source.as_str(), row.line.as_str()),
            ("varde:audit", "deliveries of 2026-11-21 has 12 rows, and 10 identities")
        );
        let off = |table| metrics::AUDIT_MISMATCH.with(&[table]).get();
        assert_eq!((off("deliveries"), off("deliveries_1h")), (2.0, 0.0));
        assert_eq!(metrics::AUDIT_TIMESTAMP.with(&[]).get(), 1_795_342_608.0);
        report(&Audit { checked: 40, mismatches: Vec::new() }, &upkeep, Time(1_795_342_609_000_000));
        assert_eq!(off("deliveries"), 0.0);
    }
}
