//! The log-in services: who tried to log in, and who is in.

use super::{Line, field};
use crate::dialect::recent::Recent;
use crate::event::{Address, AuthEvent, Event, Time};

/// Sessions whose beginning is remembered.
const SESSIONS: usize = 50_000;

/// The sessions that have begun, by session id.
#[derive(Default)]
pub struct Logins {
    open: Recent<Login, SESSIONS>,
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
        if !entered && !ENDED.iter().any(|start| text.starts_with(start)) {
            return text.starts_with("proxy(") || text.starts_with("Login: proxy") || text.starts_with("SSL ");
        }
        let (what, fields) = text.split_once(": user=").unwrap_or((text, ""));
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
        let session = field(fields, "session=");
        if entered && !session.is_empty() {
            self.open.insert(session, Login { since: line.time, client_ip });
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

    /// The beginning of a session that has ended.
    pub fn end(&mut self, session: &str) -> Option<Login> {
        self.open.remove(session)
    }
}

/// `Disconnected: Connection closed (auth failed, 1 attempts in 2 secs)`: what stands in the first brackets.
fn reason(what: &str) -> &str {
    match what.split_once('(') {
        Some((before, inside)) if !before.starts_with("Maximum") => inside.split(')').next().unwrap_or_default(),
        _ => what,
    }
}
