//! Replies of the server: code, enhanced status code, text (RFC 5321 section 4.2, RFC 2034, RFC 3463).

use std::borrow::Cow;
use std::fmt;

/// One reply, of one line or several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The code (RFC 5321 section 4.2.3).
    pub code: u16,
    /// The enhanced status code, `2.1.5`; empty where RFC 2034 wants none (banner, EHLO, 3yz).
    pub enhanced: &'static str,
    /// The text; its lines are parted by `\n`.
    pub text: Cow<'static, str>,
}

impl Reply {
    /// A reply with a fixed text.
    pub const fn new(code: u16, enhanced: &'static str, text: &'static str) -> Self {
        Self { code, enhanced, text: Cow::Borrowed(text) }
    }
    /// A reply with a text of its own.
    pub const fn with(code: u16, enhanced: &'static str, text: String) -> Self {
        Self { code, enhanced, text: Cow::Owned(text) }
    }
    /// Appends the reply as it goes over the wire.
    pub fn write(&self, out: &mut Vec<u8>) {
        let mut lines = self.text.split('\n').peekable();
        while let Some(line) = lines.next() {
            let mark = if lines.peek().is_some() { '-' } else { ' ' };
            out.extend_from_slice(self.code.to_string().as_bytes());
            out.push(mark as u8);
            if !self.enhanced.is_empty() {
                out.extend_from_slice(self.enhanced.as_bytes());
                out.push(b' ');
            }
            out.extend_from_slice(line.as_bytes());
            out.extend_from_slice(b"\r\n");
        }
    }
    /// Whether the client is told that it did something wrong, or must wait.
    pub fn is_negative(&self) -> bool {
        self.code >= 400
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.code)?;
        if !self.enhanced.is_empty() {
            write!(f, " {}", self.enhanced)?;
        }
        write!(f, " {}", self.text.replace('\n', " "))
    }
}

/// What a client over the bounds of the listener is told.
pub const BUSY: &[u8] = b"421 4.3.2 too many sessions, try again later\r\n";
/// The client said nothing for too long.
pub const TIMED_OUT: Reply = Reply::new(421, "4.4.2", "nothing came in time, closing the connection");
/// The service stops.
pub const SHUTTING_DOWN: Reply = Reply::new(421, "4.3.2", "the service is shutting down, try again later");
/// The client made too many errors.
pub const TOO_MANY_ERRORS: Reply = Reply::new(421, "4.7.0", "too many errors, closing the connection");
/// A line did not end with CRLF, or had a CR or LF inside.
pub const BARE_LINE_END: Reply = Reply::new(500, "5.5.2", "lines end with CRLF, closing the connection");
/// A line never ends.
pub const LINE_TOO_LONG: Reply = Reply::new(500, "5.5.2", "line too long, closing the connection");
/// The content had a CR or LF of its own: it could be read in two ways (SMTP smuggling).
pub const BARE_LINE_END_IN_CONTENT: Reply =
    Reply::new(550, "5.6.0", "the message has a bare CR or LF; its lines must end with CRLF");
/// The message is larger than we take.
pub const TOO_LARGE: Reply = Reply::new(552, "5.3.4", "the message is too large");
/// There is no room for the message now.
pub const NO_ROOM: Reply = Reply::new(452, "4.3.1", "no room for the message now, try again later");
/// The queue cannot take it now.
pub const STORE_BUSY: Reply = Reply::new(451, "4.3.0", "the message could not be stored now, try again later");
/// The directory cannot be read.
pub const DIRECTORY_BUSY: Reply = Reply::new(451, "4.3.0", "the address could not be looked up now, try again later");
/// The same while logging in (RFC 4954 section 4).
pub const LOGIN_BUSY: Reply = Reply::new(454, "4.7.0", "the login could not be checked now, try again later");
/// Too many failed logins.
pub const LOGIN_PUT_OFF: Reply = Reply::new(454, "4.7.0", "too many failed logins, try again later");
/// Wrong name or password.
pub const LOGIN_FAILED: Reply = Reply::new(535, "5.7.8", "wrong user name or password");
