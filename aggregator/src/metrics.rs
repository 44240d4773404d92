//! What a process counts, as Prometheus reads it.
//!
//! Every metric of every role is a family declared once, in the file of what it is about, with its name, help and
//! labels; [`FAMILIES`] lists them all, and docs/metrics.md explains them. Recording adds to an atomic and never waits:
//! the mail path and the paging path count too. What is cheaper to look up than to keep (depth of a queue, octets on a
//! disk) is looked up by a [`Collecting`] when somebody asks.
//!
//! One process is one set of numbers, so families are statics; a label's values come from our own words or from the
//! configuration, never from a client, and a family has at most [`SERIES`] of them.

mod collect;
pub mod engine;
pub mod event;
mod family;
pub mod intake;
pub mod log;
pub mod mail;
pub mod node;
pub mod otlp;
mod process;
mod serve;
pub mod shipping;
#[cfg(test)]
mod tests;
mod text;
pub mod watch;

pub use collect::{Collecting, collect};
pub use family::{Counter, Counters, Gauge, Gauges, Histogram, Histograms, SERIES};
pub use process::begin;
pub use serve::{Config, Listener, observe_requests, router};
pub(crate) use serve::{class, shows};
pub use text::Format;

use family::Family;

/// Bounds of what takes milliseconds to minutes, in seconds.
pub const SECONDS: &[f64] = &[0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0];
/// Bounds of what takes seconds to days, in seconds.
pub const LONG_SECONDS: &[f64] =
    &[0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3_600.0, 14_400.0, 43_200.0, 86_400.0, 432_000.0];

/// Every family, in the order in which they are written.
static FAMILIES: &[&[&dyn Family]] = &[
    process::FAMILIES,
    event::FAMILIES,
    shipping::FAMILIES,
    mail::FAMILIES,
    watch::FAMILIES,
    node::FAMILIES,
    log::FAMILIES,
    intake::FAMILIES,
    otlp::FAMILIES,
    engine::FAMILIES,
];

/// Everything that this process has counted, after the collectors have looked.
pub async fn page(format: Format) -> String {
    collect::all().await;
    text::page(FAMILIES.iter().copied().flatten().copied(), format)
}
