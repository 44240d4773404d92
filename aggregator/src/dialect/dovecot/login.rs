//! The log-in services: who tried to log in, and who is in.

use super::{Line, field};
use crate::dialect::recent::Recent;
use crate::event::{Address, AuthEvent, Event, Time};

/// Sessions whose beginning is remembered.
const SESSIONS: usize = 50_000;

/// Failed attempts that are remembered until their connection ends.
const TOLD: usize = 10_000;

/// The sessions that have begun, by session id, and what was told of them.
#[derive(Default)]
pub struct Logins {
    open: Recent<Login, SESSIONS>,
    /// Sessions, or users and addresses, whose failed attempts the authentication service has told.
    told: Recent<(), TOLD>,
    /// Whether this log has sessions.
    sessions: bool,
}

/// The beginning of a session.
#[derive(Debug, Clone, Copy)]
pub struct Login {
    /// When.
    pub since: Time,
    /// From where.
    pub client_ip: Option<Address>,
}

/// Ends of a connection in which somebody tried to log in and was not let in.
const REFUSED: &[&str] = &[
    "auth failed",
    "authorization failed",
    "temporary failure",
    "temporary authentication failure",
    "tried to use disallowed plaintext auth",
    // Before 2.0.
    "tried to use disabled plaintext auth",
    "proxy dest auth failed",
    "tried to use unsupported auth mechanism",
    "Maximum number of connections from user+IP exceeded",
    "user disabled",
    "password expired",
    "cert required",
    "internal failure",
];

/// How the lines about connections begin that ended before a session began.
const ENDED: &[&str] = &[
    "Disconnected",
    "Aborted login",
    "Login aborted",
    "Maximum number of connections",
    "Internal login failure",
    "Connection closed",
    "Logged out",
];

impl Logins {
    /// Reads a line of `imap-login` and its likes: whether it is known.
    pub fn read(&mut self, line: &Line<'_>, protocol: &str, out: &mut Vec<Event>) -> bool {
        let text = line.text;
        let entered = text.starts_with("Login: user=") || text.starts_with("Logged in: user=");
        // A proxy lets in whom the server behind it lets in.
        let entered = entered || (text.starts_with("proxy(") && text.contains("): started proxying to "));
        if !entered && !ENDED.iter().any(|start| text.starts_with(start)) {
            let begins = |words: &[&str]| words.iter().any(|word| text.starts_with(word));
            return begins(&["proxy(", "Login: proxy", "SSL "])
                // A mechanism that is not there; the end of the connection tells the attempt.
                || begins(&["Authenticate ", "APOP "]) && text.contains(" failed: ");
        }
        let (what, fields) = text.split_once(": user=").unwrap_or((text, ""));
        let session = field(fields, "session=");
        self.sees(session);
        let refused = !entered && REFUSED.iter().any(|reason| what.contains(reason));
        if !entered && !refused {
            return true;
        }
        let client_ip = field(fields, "rip=").parse().ok();
        let user = match fields.strip_prefix('<') {
            // The name is what the client sent: it ends where the next field begins.
            Some(inside) => inside.split_once(">, ").map_or(inside.trim_end_matches('>'), |(user, _)| user),
            None => fields.split(',').next().unwrap_or_default(),
        };
        if entered && !session.is_empty() {
            self.open.insert(session, Login { since: line.time, client_ip });
        }
        if self.told.remove(&*key(session, user, client_ip)).is_some() && !entered && what.contains("auth failed") {
            return true;
        }
        out.push(
            AuthEvent {
                ts: line.time,
                node: line.host.to_owned(),
                protocol: protocol.to_owned(),
                user: user.to_owned(),
                client_ip,
                mechanism: field(fields, "method=").to_owned(),
                result: if entered { "ok" } else { "failed" }.to_owned(),
                reason: if entered { String::new() } else { reason(what).to_owned() },
                ..AuthEvent::default()
            }
            .into(),
        );
        true
    }

    /// A line of a session, if it has one.
    pub fn sees(&mut self, session: &str) {
        self.sessions |= !session.is_empty();
    }

    /// Whether the authentication service is to tell a failed attempt: what it tells, the end of the connection does
    /// not. One without a session is a mail server's, which tells it itself, unless this log has no sessions.
    pub fn tells(&mut self, session: &str, user: &str, client_ip: Option<Address>) -> bool {
        self.sees(session);
        if session.is_empty() && self.sessions {
            return false;
        }
        self.told.insert(&*key(session, user, client_ip), ());
        true
    }

    /// The beginning of a session that goes on.
    pub fn open(&self, session: &str) -> Option<Login> {
        self.open.get(session).copied()
    }

    /// The beginning of a session that has ended.
    pub fn end(&mut self, session: &str) -> Option<Login> {
        self.open.remove(session)
    }
}

/// What an attempt is known by until its connection ends.
fn key(session: &str, user: &str, client_ip: Option<Address>) -> String {
    match (session, client_ip) {
        ("", Some(ip)) => [user, "\0", &ip.to_string()].concat(),
        _ => session.to_owned(),
    }
}

/// `Disconnected: Connection closed: read(size=1026) failed (auth failed, 1 attempts in 2 secs)`: what stands in the
/// brackets with the reason.
fn reason(what: &str) -> &str {
    if what.starts_with("Maximum") {
        return what;
    }
    let inside = what.match_indices('(').filter_map(|(at, _)| what.get(at + 1..)?.split(')').next());
    let mut inside = inside.filter(|inside| REFUSED.iter().any(|reason| inside.contains(reason)));
    inside.next().unwrap_or(what)
}
