//! What the systems on the way wrote into a message: how long each hop took, and what the receiver found about the
//! sender.

use mail_parser::{HeaderName, HeaderValue, MessageParser};

use crate::conversation::printable;

/// Received lines that are looked at.
const HOPS_MAX: usize = 30;
/// Results of one Authentication-Results header that are told.
const RESULTS_MAX: usize = 10;

/// All of that in words; empty when nobody wrote anything.
pub(super) fn told(octets: &[u8]) -> String {
    let parts = [hops(octets), authentication(octets)];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("; ")
}

/// How long each hop took, by the Received lines, oldest first; a clock that runs behind is named.
fn hops(octets: &[u8]) -> String {
    let Some(message) = MessageParser::default().parse(octets) else { return String::new() };
    let received = message.headers().iter().filter(|header| header.name == HeaderName::Received);
    let mut times: Vec<i64> = received
        .filter_map(|header| match &header.value {
            HeaderValue::Received(received) => received.date().map(|date| date.to_timestamp()),
            _ => None,
        })
        .take(HOPS_MAX)
        .collect();
    times.reverse();
    let steps = times.windows(2).map(|pair| match pair[1] - pair[0] {
        seconds if seconds < 0 => format!("{seconds} s (a clock is wrong)"),
        seconds => format!("{seconds} s"),
    });
    match times.len() {
        0 | 1 => String::new(),
        count => format!("{count} hops: {}", steps.collect::<Vec<_>>().join(", ")),
    }
}

/// The topmost Authentication-Results (RFC 8601), which is the receiver's own: `mx.example: spf=pass, dkim=none`.
fn authentication(octets: &[u8]) -> String {
    let Some(value) = super::letter::header(octets, "authentication-results") else { return String::new() };
    let value = without_comments(&value);
    let mut parts = value.split(';').map(str::trim);
    let who = parts.next().and_then(|who| who.split_ascii_whitespace().next()).unwrap_or_default();
    let results = parts.filter_map(|part| part.split_ascii_whitespace().next()).filter(|word| word.contains('='));
    let results: Vec<&str> = results.take(RESULTS_MAX).collect();
    match results.is_empty() {
        true => printable(&format!("{who} found nothing about the sender")),
        false => printable(&format!("{who} found {}", results.join(", "))),
    }
}

/// RFC 5322 section 3.2.2: what stands in parentheses says nothing.
fn without_comments(text: &str) -> String {
    let (mut out, mut depth) = (String::new(), 0_u32);
    for c in text.chars() {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            c if depth == 0 => out.push(c),
            _ => {}
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hops_are_told_oldest_first_and_a_wrong_clock_is_named() {
        let received = |second: u32| format!("Received: from a by b; Sun, 22 Nov 2026 10:00:{second:02} +0000\r\n");
        let message = format!("{}{}{}Subject: x\r\n\r\ntext", received(3), received(5), received(1));
        assert_eq!(hops(message.as_bytes()), "3 hops: 4 s, -2 s (a clock is wrong)");
        assert_eq!(hops(b"Subject: x\r\n\r\n"), "");
    }

    #[test]
    fn the_receivers_findings_about_the_sender_are_told() {
        let message =
            b"Authentication-Results: mx.example.test;\r\n spf=pass (127.0.0.1; ok) smtp.mailfrom=a@b.test;\r\n \
            dkim=none\r\nAuthentication-Results: forged; spf=fail\r\nSubject: x\r\n\r\n";
        assert_eq!(told(message), "mx.example.test found spf=pass, dkim=none");
        let none = b"Authentication-Results: mx.example.test; none\r\n\r\n";
        assert_eq!(told(none), "mx.example.test found nothing about the sender");
        assert_eq!(told(b"Subject: x\r\n\r\n"), "");
    }
}
