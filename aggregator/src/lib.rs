//! The event vocabulary, log dialects, shipping, intake, ClickHouse and the SQL reports.
//!
//! **In**: typed events of our own processes, log lines of anybody's mail system.
//! **Out**: rows in ClickHouse, each exactly once; reports in SQL.
//! **Must not know**: what a watcher judges, how a person is paged, how mail is stored.

pub mod classify;
pub mod dialect;
pub mod event;
pub mod mailed;
pub mod parse;
mod quick;

pub mod collect;
pub mod emit;
pub mod mask;
pub mod ship;
pub mod source;
pub mod spool;

pub mod clickhouse;
pub mod engine;
pub mod intake;
pub mod listen;
pub mod metrics;
pub mod otlp;
pub mod report;
pub mod schema;
pub mod summary;
pub mod trace;

pub mod config;

pub use config::Config;
