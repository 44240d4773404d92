//! SMTP: the server's session and its driver, the client's dialogue.
//!
//! **In**: octets of clients, replies of servers. **Out**: actions, replies, accepted messages, events.
//! **Must not know**: how mailboxes are kept, when a message is tried again.

pub mod address;
pub mod body;
pub mod client;
pub mod command;
pub mod header;
pub mod reply;
pub mod sasl;
pub mod server;
pub mod session;
