//! Spools and shipping: what waits on disk, what was shipped, what was lost.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_util::FutureExt;

use super::collect::{Collecting, collect};
use super::family::{Counters, Family, Gauges};
use crate::event::Time;
use crate::spool::Shelf;

static SEGMENTS: Gauges =
    Gauges::new("varde_spool_segments", "Sealed batches on disk that wait to be shipped.", &["shipper"]);
static BYTES: Gauges = Gauges::new("varde_spool_bytes", "Octets of those batches.", &["shipper"]);
static OLDEST: Gauges = Gauges::new(
    "varde_spool_oldest_age_seconds",
    "Age of the oldest batch that waits to be shipped; 0 when none does.",
    &["shipper"],
);
static SEALED: Counters = Counters::new("varde_spool_sealed_total", "Batches that were sealed.", &["shipper"]);
static DROPPED: Counters = Counters::new(
    "varde_spool_dropped_total",
    "Batches that were dropped unshipped because the spool was full.",
    &["shipper"],
);
static DROPPED_ROWS: Counters =
    Counters::new("varde_spool_dropped_rows_total", "Rows of the batches that were dropped.", &["shipper"]);
static ASIDE: Counters = Counters::new(
    "varde_spool_set_aside_total",
    "Batches that were set aside: damaged on disk, or refused by the intake for good.",
    &["shipper", "reason"],
);
static ROWS: Counters = Counters::new("varde_shipped_rows_total", "Rows that the intake acknowledged.", &["shipper"]);
static BLOCKS: Counters =
    Counters::new("varde_shipped_blocks_total", "Blocks that the intake acknowledged.", &["shipper"]);

pub(super) static FAMILIES: &[&dyn Family] =
    &[&SEGMENTS, &BYTES, &OLDEST, &SEALED, &DROPPED, &DROPPED_ROWS, &ASIDE, &ROWS, &BLOCKS];

/// Tells of a spool for as long as what it gives is kept.
pub fn watch(shipper: &str, shelf: &Arc<Shelf>) -> Collecting {
    let (shipper, shelf) = (shipper.to_owned(), shelf.clone());
    tell(&shipper, &shelf);
    collect(move || {
        let (shipper, shelf) = (shipper.clone(), shelf.clone());
        // The age of the oldest is on disk, and a disk may hang.
        async move { tokio::task::spawn_blocking(move || tell(&shipper, &shelf)).await.unwrap_or_default() }.boxed()
    })
}

fn tell(shipper: &str, shelf: &Shelf) {
    let own = [shipper];
    let count = |family: &Counters, labels: &[&str], counter: &std::sync::atomic::AtomicU64| {
        family.with(labels).mirror(counter.load(Ordering::Relaxed));
    };
    let counters = &shelf.counters;
    count(&SEALED, &own, &counters.sealed);
    count(&DROPPED, &own, &counters.dropped);
    count(&DROPPED_ROWS, &own, &counters.dropped_rows);
    count(&ASIDE, &[shipper, "damaged"], &counters.corrupt);
    count(&ASIDE, &[shipper, "refused"], &counters.refused);
    count(&ROWS, &own, &counters.shipped_rows);
    count(&BLOCKS, &own, &counters.shipped_blocks);
    SEGMENTS.with(&own).set(shelf.len() as f64);
    BYTES.with(&own).set(shelf.bytes() as f64);
    let age_ms = shelf.oldest_sealed_at().map_or(0, |sealed| Time::now().millis_since(sealed));
    OLDEST.with(&own).set(age_ms as f64 / 1e3);
}
