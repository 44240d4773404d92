//! What `auth` and its workers say of an attempt that failed (`auth_verbose = yes`):
//! `passwd-file(ann,192.0.2.7,<session>): Password mismatch`.
//!
//! The log-in service tells the same attempts once more when the connection ends, with fewer words; what was told here
//! it does not repeat. An attempt without a session is one that a mail server asks for, and the mail server logs it:
//! it is told only in a log that has no sessions at all, as those of Dovecot before 2.2.

use super::Line;
use super::login::Logins;
use crate::event::{Address, AuthEvent, Event};

/// Words of a reason that say that the attempt failed.
const FAILED: &[&str] = &[
    "unknown user",
    "password mismatch",
    "invalid credentials",
    "pam_authenticate() failed",
    "pam_acct_mgmt() failed",
    "user is disabled",
    "user disabled",
    "account disabled",
    "account is disabled",
    "password expired",
    "policy server refusal",
    "allow_nets check failed",
    "authentication failed",
    "empty username",
    "invalid username",
    "username contains disallowed character",
];

/// Reads a line of `auth` or `auth-worker`; every one is known.
pub fn read(line: &Line<'_>, logins: &mut Logins, out: &mut Vec<Event>) {
    let Some(attempt) = attempt(line) else { return };
    let reason = without_password(attempt.reason);
    let lower = reason.to_ascii_lowercase();
    if !FAILED.iter().any(|word| lower.contains(word)) || !logins.tells(attempt.session, attempt.user, attempt.ip) {
        return;
    }
    out.push(
        AuthEvent {
            ts: line.time,
            node: line.host.to_owned(),
            user: attempt.user.to_owned(),
            client_ip: attempt.ip,
            mechanism: attempt.mechanism.to_ascii_uppercase(),
            result: "failed".to_owned(),
            reason: reason.to_owned(),
            ..AuthEvent::default()
        }
        .into(),
    );
}

/// Who tried, from where, in which session, and what the back end said.
struct Attempt<'a> {
    user: &'a str,
    ip: Option<Address>,
    session: &'a str,
    mechanism: &'a str,
    reason: &'a str,
}

/// `driver(user,address,<session>): reason`, behind what a worker of 2.3 says of its own connection:
/// `conn unix:auth-worker (pid=7,uid=0): auth-worker<3>: sql(…): reason`. Since 2.4 the service itself may have the
/// brackets, `auth(user,address,sasl:plain)<session>: passwd-file: reason`; without a mechanism that is no attempt, but LMTP
/// or another service asking whether there is such a user.
fn attempt<'a>(line: &Line<'a>) -> Option<Attempt<'a>> {
    if line.user.contains(',') {
        let reason = line.text.split_once(": ").map_or(line.text, |(_, reason)| reason);
        let (user, ip, _) = fields(line.user);
        let mechanism = line.user.rsplit_once(",sasl:").map_or("", |(_, name)| name);
        let is_attempt = !mechanism.is_empty() || !line.session.is_empty();
        return is_attempt.then_some(Attempt { user, ip: Some(ip?), session: line.session, mechanism, reason });
    }
    let mut text = line.text;
    while let Some(rest) = text.strip_prefix("conn ").or_else(|| text.strip_prefix("auth-worker<")) {
        text = rest.split_once(": ")?.1;
    }
    let (driver, inside) = text.split_once('(')?;
    if driver.is_empty() || !driver.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
        return None;
    }
    // The name is what the client sent; a bracket and a colon end it for good only behind an address.
    let (inside, reason) = inside.rmatch_indices("): ").find_map(|(at, _)| {
        let (inside, reason) = (inside.get(..at)?, inside.get(at + 3..)?);
        fields(inside).1.map(|_| (inside, reason))
    })?;
    let (user, ip, session) = fields(inside);
    Some(Attempt { user, ip, session, mechanism: "", reason })
}

/// `user,address`, `user,address,<session>`, `user,address,master,<session>`, `user,address,sasl:plain`. The name may
/// hold commas, so the address is looked for from the end.
fn fields(inside: &str) -> (&str, Option<Address>, &str) {
    let mut session = "";
    let mut rest = inside;
    while let Some((before, last)) = rest.rsplit_once(',') {
        if let Some(id) = last.strip_prefix('<').and_then(|id| id.strip_suffix('>')) {
            session = id;
        } else if let Ok(ip) = last.parse::<Address>() {
            return (if before == "?" { "" } else { before }, Some(ip), session);
        }
        rest = before;
    }
    (rest, None, session)
}

/// The password that was tried, or its digest, is nobody's business (`auth_verbose_passwords`).
fn without_password(reason: &str) -> &str {
    let end = [" (given password", " (SHA1 of given password", " (given token"]
        .iter()
        .filter_map(|mark| reason.find(mark))
        .min()
        .unwrap_or(reason.len());
    reason.get(..end).unwrap_or_default().trim_end()
}
