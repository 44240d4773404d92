//! Both sites against real watchers and a real ClickHouse face, as far as HTTP goes.

mod harness;
mod operator;
mod public;
pub(crate) mod sample;
