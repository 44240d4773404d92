//! How bounces set out recipients and reasons, and where the returned message begins.

use super::super::identity;
use super::super::mime::Head;

/// Octets of a bounce's text that are looked at: the returned message may follow in it.
const LOOKED_AT_BYTES: usize = 64 << 10;
/// Lines of a reason that are taken.
const REASON_LINES: usize = 12;
/// Recipients that are looked for; one more is too many for the caller's bound.
const RECIPIENTS: usize = 10_001;

/// A recipient that was not reached, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failed {
    pub(super) recipient: String,
    pub(super) reason: String,
    /// Whether its paragraph says that it is still tried.
    pub(super) waits: bool,
}

/// Lines after which the returned message stands, in lower case.
const RETURNED: [&str; 11] = [
    "--- below this line is a copy of the message",
    "------ this is a copy of the message",
    "------ this is a copy of your message",
    "----- original message -----",
    "----- original message follows -----",
    "--- original message follows",
    "--- undelivered message follows",
    "--- returned message follows",
    "----- message header follows -----",
    "original message headers:",
    "original message header",
];

/// What the bounce says itself: up to the returned message.
pub(super) fn begin(words: &str) -> &str {
    let mut end = words.len().min(LOOKED_AT_BYTES);
    while !words.is_char_boundary(end) {
        end -= 1;
    }
    let words = words.get(..end).unwrap_or_default();
    let mut at = 0;
    for line in words.split_inclusive('\n') {
        if is_returned_mark(line) {
            return words.get(..at).unwrap_or_default();
        }
        at += line.len();
    }
    words
}

fn is_returned_mark(line: &str) -> bool {
    let line = line.trim().to_lowercase();
    RETURNED.iter().any(|mark| line.starts_with(mark))
}

/// The header of a message that is returned within the text.
pub(super) fn returned(words: &str) -> Head {
    let words = words.replace("\r\n", "\n");
    let after = words.get(begin(&words).len()..).unwrap_or_default();
    let message = after.split_once('\n').map_or("", |(_, rest)| rest).trim_start_matches(['\n', '\r', ' ']);
    Head::parse(message.as_bytes()).map(|(head, _)| head).unwrap_or_default()
}

/// qmail's (QSBMF): a paragraph a recipient, `<address>:` and the reason in the lines after it.
pub(super) fn paragraphs(_: &Head, words: &str) -> Vec<Failed> {
    let mut found: Vec<Failed> = Vec::new();
    for paragraph in begin(words).split("\n\n") {
        let lines: Vec<&str> = paragraph.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let Some((first, rest)) = lines.split_first() else { continue };
        let named = first.strip_prefix('<').and_then(|rest| rest.split_once(">:"));
        let Some((address, after)) = named.filter(|(address, _)| is_address(address)) else { continue };
        let reason =
            [&[after.trim()], rest.get(..rest.len().min(REASON_LINES)).unwrap_or_default()].concat().join("\n");
        put(&mut found, address, &reason, false);
    }
    found
}

/// Exim's: the address on a line of its own, indented, and the reason below it, indented more.
pub(super) fn indented(head: &Head, words: &str) -> Vec<Failed> {
    let text = begin(words);
    let waits = text.to_lowercase().contains("has not yet been delivered");
    let mut found: Vec<Failed> = Vec::new();
    let mut open: Option<(String, Vec<String>, usize)> = None;
    let mut close = |open: &mut Option<(String, Vec<String>, usize)>| {
        if let Some((address, reason, _)) = open.take() {
            put(&mut found, &address, &reason.join("\n"), waits);
        }
    };
    for line in text.lines() {
        let indent = line.len() - line.trim_start().len();
        let line = line.trim();
        // `ann@example.org (generated from all@example.org)`, `user@host: reason` of its relatives.
        let (word, after) = line.split_once([' ', ':']).unwrap_or((line, ""));
        let bare = word.trim_matches(['<', '>']);
        let begins = (indent > 0 || line.ends_with(bare)) && is_address(bare);
        match &mut open {
            Some((_, reason, at)) if !line.is_empty() && indent > *at && reason.len() < REASON_LINES => {
                reason.push(line.to_owned());
            }
            _ if begins => {
                close(&mut open);
                let first = after.trim_start_matches([':', ' ']);
                let first = if first.starts_with("(generated") { String::new() } else { first.to_owned() };
                open = Some((bare.to_owned(), vec![first], indent));
            }
            // Some put an empty line between, and the reason as far to the left as the address.
            Some((_, reason, _)) if !line.is_empty() && reason.iter().all(String::is_empty) => {
                reason.push(line.to_owned())
            }
            _ => {}
        }
    }
    close(&mut open);
    for address in head.all("x-failed-recipients").flat_map(|list| list.split(',')) {
        put(&mut found, address.trim(), "", waits);
    }
    found
}

/// Sendmail's: addresses below one headline, the replies below another.
pub(super) fn transcript(head: &Head, words: &str) -> Vec<Failed> {
    let text = begin(words);
    let waits = text.to_lowercase().contains("transient non-fatal errors");
    let mut found: Vec<Failed> = Vec::new();
    let mut replies = Vec::new();
    let mut in_addresses = false;
    for line in text.lines().map(str::trim) {
        let lower = line.to_lowercase();
        if line.starts_with("-----") {
            in_addresses = lower.contains("errors -----");
        } else if in_addresses {
            let address = line.trim_matches(['<', '>']);
            if is_address(address) {
                put(&mut found, address, "", waits);
            } else if let Some(reason) = lower.strip_prefix("(reason: ").and_then(|_| line.get(9..))
                && let Some(last) = found.last_mut()
            {
                last.reason = reason.trim_end_matches(')').to_owned();
            }
        } else if line.starts_with("<<<") || line.starts_with(|c: char| c.is_ascii_digit()) {
            replies.push(line.trim_start_matches(['<', ' ']).to_owned());
        }
    }
    let said = replies.into_iter().take(REASON_LINES).collect::<Vec<_>>().join("\n");
    for one in found.iter_mut().filter(|one| one.reason.is_empty()) {
        one.reason.clone_from(&said);
    }
    if found.is_empty() { self::said(head, words) } else { found }
}

/// Postfix's words: `<address>: reason`, the reason going on in the lines after it.
pub(super) fn said(_: &Head, words: &str) -> Vec<Failed> {
    let mut found: Vec<Failed> = Vec::new();
    let mut open: Option<(String, String)> = None;
    for line in begin(words).lines() {
        let trimmed = line.trim();
        let named = trimmed.strip_prefix('<').and_then(|rest| rest.split_once('>'));
        if let Some((address, after)) = named.filter(|(address, after)| is_address(address) && after.contains(':')) {
            if let Some((address, reason)) = open.take() {
                put(&mut found, &address, &reason, false);
            }
            // `<a@b> (expanded from <c@d>): reason`
            let reason = after.split_once(':').map_or("", |(_, reason)| reason);
            open = Some((address.to_owned(), reason.trim().to_owned()));
        } else if trimmed.is_empty() {
            if let Some((address, reason)) = open.take() {
                put(&mut found, &address, &reason, false);
            }
        } else if let Some((_, reason)) = &mut open {
            reason.push('\n');
            reason.push_str(trimmed);
        }
    }
    if let Some((address, reason)) = open {
        put(&mut found, &address, &reason, false);
    }
    found
}

/// Lists for people: addresses wherever they stand, and what follows the first of them as the reason of all. The
/// mailboxes of the bounce itself are none of them.
pub(super) fn listed(head: &Head, words: &str) -> Vec<Failed> {
    let text = begin(words);
    let ours = [head.address("from"), head.address("to")].map(|address| address.to_ascii_lowercase());
    let mut found: Vec<Failed> = Vec::new();
    let mut reason = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let clean =
            |word: &str| word.trim_matches(|c: char| !c.is_alphanumeric()).trim_start_matches("mailto:").to_owned();
        let addresses: Vec<String> = line
            .split([' ', '<', '>', '(', ')', ',', ';', '"', '[', ']'])
            .map(clean)
            .filter(|word| is_address(word) && !ours.contains(&word.to_ascii_lowercase()))
            .collect();
        let is_reply = line.contains(|c: char| c.is_ascii_digit()) && super::codes(line) != (None, String::new());
        if is_reply || !found.is_empty() && reason.len() < REASON_LINES && addresses.is_empty() {
            reason.push(line);
        }
        if !is_reply || found.is_empty() {
            addresses.iter().for_each(|address| put(&mut found, address, "", false));
        }
    }
    // A reply says more than the words around it.
    let replies: Vec<&str> =
        reason.iter().copied().filter(|line| super::codes(line) != (None, String::new())).collect();
    let said = if replies.is_empty() { reason.join("\n") } else { replies.join("\n") };
    for address in head.all("x-failed-recipients").flat_map(|list| list.split(',')) {
        put(&mut found, address.trim(), "", false);
    }
    found.iter_mut().for_each(|one| one.reason.clone_from(&said));
    found
}

/// The host that a reason names: `host mx.example.net [192.0.2.1]`, `mx.example.net[192.0.2.1] said`.
pub(super) fn remote_host(reason: &str) -> String {
    let after = reason.split_once("host ").map(|(_, after)| after);
    let word = match after {
        Some(after) => after.split([' ', '[', ':', ',']).next(),
        None => reason.split_once('[').and_then(|(before, _)| before.split(' ').next_back()),
    };
    let name = identity::domain(word.unwrap_or_default().trim_matches(['<', '>', '(', ')']));
    let is_host = name.contains('.') && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-'));
    if is_host && name.contains(|c: char| c.is_ascii_alphabetic()) { name } else { String::new() }
}

fn put(found: &mut Vec<Failed>, address: &str, reason: &str, waits: bool) {
    let known = found.iter().rev().take(64).any(|one| one.recipient.eq_ignore_ascii_case(address));
    if is_address(address) && !known && found.len() < RECIPIENTS {
        let reason = reason.trim();
        found.push(Failed { recipient: address.to_owned(), reason: identity::cut(reason).to_owned(), waits });
    }
}

/// Whether a word is an address of a domain.
fn is_address(word: &str) -> bool {
    let Some((user, domain)) = word.rsplit_once('@') else { return false };
    let blank = |text: &str| text.contains(|c: char| c.is_whitespace() || matches!(c, '<' | '>' | '(' | ')'));
    word.len() <= 320
        && !user.is_empty()
        && domain.contains('.')
        && !blank(user)
        && !blank(domain)
        && !domain.starts_with('.')
        && !domain.ends_with('.')
        && domain.chars().all(|c| c.is_alphanumeric() || matches!(c, '.' | '-'))
}
