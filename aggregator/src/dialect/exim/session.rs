//! How connections to Exim end: `SMTP connection from … closed by QUIT`, `… lost`, `SMTP command timeout on connection
//! from …`, `SMTP call from … dropped: …`, `unexpected disconnection while reading SMTP command from …`.
//!
//! Which of them a log has depends on `log_selector`: by default only the ends that are none of the client's QUIT. One
//! end may have two lines; `no MAIL in SMTP connection from …` comes behind another one, or alone.

use std::borrow::Cow;

use super::fields::{Fields, host};
use super::{ENDED_MS, Exim, Line};
use crate::dialect::text::duration_ms;
use crate::event::{Event, Session};

/// How lines begin that tell an end, and what it was; empty where the rest of the line says so.
const BEGIN: &[(&str, &str)] = &[
    ("SMTP connection from ", ""),
    ("no MAIL in SMTP connection from ", ""),
    ("SMTP command timeout on connection from ", "timeout"),
    ("SMTP command timeout on TLS connection from ", "timeout"),
    ("SMTP data timeout (message abandoned) on connection from ", "timeout"),
    ("SMTP call from ", "protocol_error"),
    ("unexpected disconnection while reading SMTP command from ", "disconnected"),
];

impl Exim {
    /// Reads such a line: whether it is one.
    pub(super) fn session(&mut self, line: &Line<'_>, out: &mut Vec<Event>) -> bool {
        let text = without_number(line.text);
        let Some((begin, reason)) = BEGIN.iter().find(|(begin, _)| text.starts_with(begin)) else { return false };
        let after = text.get(begin.len()..).unwrap_or_default();
        let (client, rest) = host(after.strip_prefix("H=").unwrap_or(after));
        let Some(ip) = client.ip else { return false };
        // `[192.0.2.7]:4`: the port tells connections of one client apart, where it is logged.
        let named = after.strip_suffix(rest).unwrap_or(after);
        let named = named.rfind('[').and_then(|at| named.get(at..)).unwrap_or_default();
        let rest = Fields::parse(rest.trim_start_matches(' ')).rest;
        let no_mail = begin.starts_with("no MAIL");
        let commands = if no_mail { word_behind(after, " C=") } else { "" };
        let end = match *reason {
            "" if no_mail && commands.ends_with("QUIT") => "logout",
            "" if no_mail => "",
            "" => match ended(rest) {
                Some(end) => end,
                // `(TCP/IP connection count = 1)`: it begins.
                None => return true,
            },
            "protocol_error" if !rest.starts_with("dropped") => return true,
            told => told,
        };
        if no_mail && self.ended.remove(named).is_some_and(|at| line.time.millis_since(at) < ENDED_MS) {
            return true;
        }
        self.ended.insert(named, line.time);
        out.push(
            Session {
                ts: line.time,
                node: line.host.to_owned(),
                protocol: "smtp".to_owned(),
                client_ip: Some(ip),
                duration_ms: duration_ms(word_behind(after, " D=")),
                // Of many commands only the last are listed, behind dots.
                commands: (!commands.is_empty() && !commands.starts_with('.'))
                    .then(|| u32::try_from(commands.split(',').count()).ok())
                    .flatten(),
                end_reason: end.to_owned(),
                ..Session::default()
            }
            .into(),
        );
        true
    }
}

/// `SMTP connection Ci=19687 from …`: since 4.98 its number may stand within the words.
fn without_number(text: &str) -> Cow<'_, str> {
    const CONNECTION: &str = "SMTP connection ";
    let named = text.strip_prefix(CONNECTION).and_then(|rest| rest.strip_prefix("Ci="));
    match named.and_then(|rest| rest.split_once(' ')) {
        Some((_, rest)) => [CONNECTION, rest].concat().into(),
        None => text.into(),
    }
}

/// What the rest of `SMTP connection from …` says of its end.
fn ended(rest: &str) -> Option<&'static str> {
    if rest.starts_with("closed by QUIT") {
        Some("logout")
    } else if rest.starts_with("closed by DROP in ACL") {
        Some("refused")
    } else if rest.starts_with("closed ") || rest.starts_with("lost") || rest.starts_with("D=") {
        Some("disconnected")
    } else {
        None
    }
}

/// The word behind the last `mark`.
fn word_behind<'a>(text: &'a str, mark: &str) -> &'a str {
    text.rsplit_once(mark).and_then(|(_, word)| word.split(' ').next()).unwrap_or_default()
}
