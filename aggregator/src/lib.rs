//! The event vocabulary, log dialects, shipping, intake, ClickHouse and the SQL reports.
//!
//! **In**: typed events of our own processes, log lines of anybody's mail system.
//! **Out**: rows in ClickHouse, each exactly once; reports in SQL.
//! **Must not know**: what a watcher judges, how a person is paged, how mail is stored.

pub mod clickhouse;
pub mod dialect;
pub mod emit;
pub mod engine;
pub mod event;
