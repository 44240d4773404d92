//! POP3 (RFC 1939) with CAPA (RFC 2449), STLS (RFC 2595), AUTH PLAIN (RFC 5034).
//!
//! `session` is the protocol as a value; `driver` gives sessions to the shared driver.

mod driver;
mod session;

pub use driver::serve;
