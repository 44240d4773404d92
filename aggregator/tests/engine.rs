//! The embedded engine as its clients meet it: a process of its own, real requests, the real library.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test ends where it fails")]

#[path = "engine/attacks.rs"]
mod attacks;
#[path = "engine/durability.rs"]
mod durability;
#[path = "engine/interface.rs"]
mod interface;
#[path = "engine/support.rs"]
mod support;
