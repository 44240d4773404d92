//! The check kinds and the posture audit against peers: scripted ones, good and hostile, and a real Postfix and Dovecot.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod bench;
mod certificates;
mod faults;
mod good;
mod hostile;
mod jmap;
mod managesieve;
mod names;
mod posture;
mod real;
mod roundcube;
mod scripted;
mod web;
