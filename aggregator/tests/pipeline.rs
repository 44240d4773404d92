//! From an emitter to rows and reports in the real engine.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test ends where it fails")]

#[path = "pipeline/exactly_once.rs"]
mod exactly_once;
#[path = "pipeline/mailed.rs"]
mod mailed;
#[path = "pipeline/otlp.rs"]
mod otlp;
#[path = "pipeline/reports.rs"]
mod reports;
#[allow(dead_code, reason = "shared with the engine's own tests")]
#[path = "engine/support.rs"]
mod support;
#[path = "pipeline/tables.rs"]
mod tables;
#[path = "pipeline/trace.rs"]
mod trace;
#[path = "pipeline/upkeep.rs"]
mod upkeep;
