//! Sessions and attempts to log in.

use super::{Address, row};

row! {
    /// An IMAP, POP3, submission or webmail session that has ended.
    Session => "sessions" {
        /// `imap`, `pop3`, `submission`, `smtp`, `web`.
        protocol: String,
        /// Who logged in; empty if nobody did.
        user: String,
        /// The client's address.
        client_ip: Option<Address>,
        /// How long it lasted.
        duration_ms: Option<u64>,
        /// Octets from the client.
        bytes_in: Option<u64>,
        /// Octets to the client.
        bytes_out: Option<u64>,
        /// How many commands.
        commands: Option<u32>,
        /// `logout`, `timeout`, `disconnected`, `protocol_error`, `refused`, `shutdown` …
        end_reason: String,
    }
}

row! {
    /// An attempt to log in.
    AuthEvent => "auth_events" {
        /// The protocol.
        protocol: String,
        /// The name that was tried.
        user: String,
        /// The client's address.
        client_ip: Option<Address>,
        /// The SASL mechanism (RFC 4422), or `LOGIN`, `USER`.
        mechanism: String,
        /// `ok` or `failed`.
        result: String,
        /// Why it failed.
        reason: String,
    }
}
