//! Incidents, diagnosis, evidence, remedies, on-call, and the outbox that wakes people.
//!
//! **In**: judgements of the watcher, acknowledgements of people. **Out**: pages, orders to the node, events.
//! **Must not know**: how a probe works, ClickHouse, the pages of the web crate.

pub mod view;
