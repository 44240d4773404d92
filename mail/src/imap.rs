//! IMAP (RFC 9051, and RFC 3501 clients).
//!
//! Octets become frames (`frame`), frames commands (`parse`), commands changes of the store and responses
//! (`session`); `driver` gives sessions to the shared driver and tells idling ones of changes.

mod command;
mod driver;
mod envelope;
mod frame;
mod mime;
mod parse;
mod sequence;
mod session;
mod structure;
mod utf7;
mod write;

pub use driver::serve;
