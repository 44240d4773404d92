//! Incidents, diagnosis, evidence, remedies, on-call, and the outbox that wakes people.
//!
//! **In**: judgements of the watcher, acknowledgements of people. **Out**: pages, orders to the node, events.
//! **Must not know**: how a probe works, ClickHouse, the pages of the web crate.
//!
//! Paging fails open: nothing here makes a page wait for ClickHouse, the web, the node or a quorum.
//! Restarting fails closed: it needs evidence, a safe cause, a quorum of signatures and the node's own consent.

pub mod config;
pub mod view;

pub mod diagnose;
pub mod evidence;
pub mod incident;

pub mod channel;
pub mod outbox;
pub mod page;

pub mod remedy;

pub mod signed;

mod database;

pub mod node;
pub mod responder;
