//! Watchers: check kinds, their schedule, observations, quorum verdicts, the arithmetic of uptime.
//!
//! **In**: targets and checks of the configuration, the network, observations of the other watchers.
//! **Out**: observations, verdicts, a status that the pages show, events.
//! **Must not know**: how people are paged, how a service is restarted, where ClickHouse is.

pub mod config;
pub mod keys;
pub mod maintenance;
pub mod objective;

pub mod conversation;
mod dns;
pub mod kind;
pub mod observation;
pub mod schedule;

pub mod posture;

pub mod budget;
pub mod replay;
pub mod roster;
pub mod uptime;
pub mod verdict;

pub mod control;
pub mod exchange;
pub mod history;
pub mod judgement;
pub mod simulation;
pub mod status;
pub mod watcher;

pub use config::Config;
