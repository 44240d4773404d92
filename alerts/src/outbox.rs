//! The outbox: a page is on disk before anything is sent, and is sent until a provider has it.
//!
//! At-least-once over a crash of this process at any moment. Watchers are staggered by rank: each page has a time
//! before which this one does not send, and a peer's signed record of a provider's receipt ends the wait. Only a
//! receipt does; an intention never.

pub mod driver;
pub mod store;

pub use driver::{Delivered, Outbox, Parts, start};
pub use store::{Addressee, Store};

/// After how long a page that nobody took is given up: its news is old.
pub const LIFETIME_MS: i64 = 24 * 3_600_000;

/// The wait before the next attempt: 1 s, doubling, a minute at most.
pub fn back_off_ms(attempt: u32) -> i64 {
    (1_000_i64 << attempt.saturating_sub(1).min(6)).min(60_000)
}

#[cfg(test)]
mod tests;
