//! The sentences of OpenSMTPD 5.4 to 5.9, `smtp-in: New session 7f2a… from host mail.example.org [192.0.2.7]`, said again
//! in the words of today.

/// A sentence of old in the words of today.
pub(super) struct Said {
    /// The session; of a delivery, the one over which it went.
    pub(super) session: String,
    /// `smtp`, `mta` or `mda`.
    pub(super) part: &'static str,
    /// What is behind it.
    pub(super) text: String,
}

/// Reads such a sentence. `None`: it is none, or one that has no event.
pub(super) fn said(message: &str) -> Option<Said> {
    let (topic, sentence) = message.split_once(": ")?;
    match topic {
        "smtp-in" => {
            let (session, text) = smtp(sentence)?;
            Some(Said { session, part: "smtp", text })
        }
        "relay" => delivery("mta", sentence),
        "delivery" => delivery("mda", sentence),
        _ => None,
    }
}

fn smtp(sentence: &str) -> Option<(String, String)> {
    let said = |session: &str, words: &[&str]| Some((session.to_owned(), words.concat()));
    if let Some(rest) = sentence.strip_prefix("New session ") {
        let (session, client) = rest.split_once(" from host ")?;
        let (host, address) = client.split_once(" [")?;
        return said(session, &["connected address=", address.trim_end_matches(']'), " host=", host]);
    }
    for (begin, reason) in [("Closing session ", "quit"), ("Received disconnect from session ", "disconnect")] {
        if let Some(session) = sentence.strip_prefix(begin) {
            return said(session, &["disconnected reason=", reason]);
        }
    }
    if let Some(rest) = sentence.strip_prefix("Disconnecting session ") {
        let (session, reason) = rest.split_once(": ").unwrap_or((rest, "disconnect"));
        return said(session, &["disconnected reason=", reason]);
    }
    for (begin, result) in
        [("Accepted authentication for user ", "ok"), ("Authentication failed for user ", "permfail")]
    {
        if let Some(rest) = sentence.strip_prefix(begin) {
            let (user, session) = rest.rsplit_once(" on session ")?;
            return said(session, &["authentication user=", user, " result=", result]);
        }
    }
    let (what, rest) = sentence.split_once(" on session ")?;
    let (session, detail) = rest.split_once(": ")?;
    if let Some(id) = what.strip_prefix("Accepted message ") {
        return said(session, &["message msgid=", id, " ", &detail.replace(", ", " ")]);
    }
    match what {
        "Started TLS" => said(session, &["tls ciphers=\"", detail, "\""]),
        "Failed command" => {
            let (command, reply) = detail.split_once("\" => ")?;
            said(session, &["failed-command command=", command, "\" result=\"", reply, "\""])
        }
        _ => None,
    }
}

/// `Ok for 7d35a3aea6b3b0d6: session=…, from=<…>, to=<…>, rcpt=<…>, source=…, relay=192.0.2.7 (mx), delay=1s, stat=250 …`
fn delivery(part: &'static str, sentence: &str) -> Option<Said> {
    let (result, rest) = sentence.split_once(" for ")?;
    let (envelope, fields) = rest.split_once(": ")?;
    let (fields, stat) = fields.split_once(", stat=")?;
    let (mut session, mut text) = (String::new(), ["delivery evpid=", envelope].concat());
    for field in fields.split(", ") {
        let (name, value) = field.split_once('=')?;
        let quotes = if value.starts_with('<') { "" } else { "\"" };
        match name {
            "session" => value.clone_into(&mut session),
            _ => text.extend([" ", name, "=", quotes, value, quotes]),
        }
    }
    text.extend([" result=\"", result, "\" stat=\"", stat, "\""]);
    Some(Said { session, part, text })
}
