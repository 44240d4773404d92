//! What a session and its driver say to each other.

use crate::login::{Credentials, LoginVerdict};
use crate::smtp::address::EmailAddress;
use crate::smtp::command::{Mail, Recipient};
use crate::smtp::reply::Reply;

/// What a session is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Mail of others for our domains.
    Mx,
    /// Mail of our users for everybody.
    Submission,
}

/// What all sessions of a service have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Our name.
    pub hostname: String,
    /// What a lone `postmaster` belongs to.
    pub domain: String,
    /// What the service is for.
    pub role: Role,
    /// The largest message, in octets.
    pub max_message_bytes: usize,
    /// The most recipients of one message.
    pub max_recipients: usize,
}

/// A message that the client has handed over completely.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// What MAIL said.
    pub mail: Mail,
    /// Who it goes to; at least one.
    pub recipients: Vec<Recipient>,
    /// Its content; every line ends with CRLF.
    pub content: Vec<u8>,
}

/// What the driver is to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Action {
    /// Send a reply.
    Reply(Reply),
    /// Send a reply that refuses a message or a recipient; `class` says why in one word.
    Refuse {
        /// The reply.
        reply: Reply,
        /// What it is about.
        about: About,
        /// One word of the classification.
        class: &'static str,
    },
    /// Ask whether the user may send with this reverse-path; answer with [`Answer::Sender`].
    CheckSender(EmailAddress),
    /// Ask whether mail for this address is taken; answer with [`Answer::Recipient`].
    CheckRecipient {
        /// The address.
        address: EmailAddress,
        /// How large the message will be, as far as MAIL said (RFC 1870).
        octets: u64,
    },
    /// Check a login; answer with [`Answer::Login`].
    Login(Credentials),
    /// Store a message; answer with [`Answer::Stored`].
    Store(Box<Message>),
    /// Send the reply, throw away what else the client sent in the clear, begin TLS, call [`Session::tls_started`].
    StartTls(Reply),
    /// Send the reply and close.
    Close(Reply, EndReason),
}

/// What a refusal is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum About {
    /// A command that cannot be read, or the open transaction.
    Message,
    /// MAIL with this reverse-path.
    Sender(Option<EmailAddress>),
    /// RCPT with this address.
    Recipient(EmailAddress),
}

/// Why a session ended, in the words of the event table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndReason {
    /// QUIT.
    Quit,
    /// A line that never ends.
    LineTooLong,
    /// A line end that is not CRLF, or words of another protocol.
    ProtocolError,
    /// More than [`MAX_ERRORS`].
    TooManyErrors,
    /// The client said nothing for too long.
    TimedOut,
    /// The client went away.
    Disconnected,
    /// The TLS handshake failed.
    TlsFailed,
    /// The service stopped.
    Shutdown,
}

impl EndReason {
    /// The word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Quit => "logout",
            Self::LineTooLong => "line_too_long",
            Self::ProtocolError => "protocol_error",
            Self::TooManyErrors => "too_many_errors",
            Self::TimedOut => "timeout",
            Self::Disconnected => "disconnected",
            Self::TlsFailed => "tls_failed",
            Self::Shutdown => "shutdown",
        }
    }
}

/// The answer to a question of the session.
#[derive(Debug)]
pub enum Answer {
    /// To [`Action::CheckSender`]: whether he may; `None` when the directory cannot be read.
    Sender(Option<bool>),
    /// To [`Action::CheckRecipient`].
    Recipient(RecipientVerdict),
    /// To [`Action::Login`].
    Login(LoginVerdict),
    /// To [`Action::Store`]: the queue id, or the refusal and its class.
    Stored(Result<String, (Reply, &'static str)>),
}

/// Whether mail for an address is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecipientVerdict {
    /// It is.
    Accept,
    /// The domain is ours, the user is not.
    UnknownUser,
    /// The domain is not ours.
    NotLocal,
    /// The mailbox is over its quota.
    Full,
    /// The directory cannot be read.
    Unavailable,
}
