//! The mail system: MX, submission, queue, store, IMAP, POP3, webmail.
//!
//! **In**: SMTP, IMAP, POP3 and HTTP sessions. **Out**: mail in mailboxes and on its way, and an event for every step.
//! **Must not know**: who watches it, ClickHouse, how its events travel beyond the emitter.

mod access;
pub mod admin;
pub mod config;
pub mod guard;
mod http;
pub mod imap;
pub mod listen;
pub mod login;
pub mod pop3;
pub mod queue;
pub mod service;
pub mod smtp;
pub mod store;
#[cfg(test)]
mod testing;
pub mod tls;
pub mod webmail;

pub use config::Config;
pub use service::{Context, ServeError, Service, serve};
