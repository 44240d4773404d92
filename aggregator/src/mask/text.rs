//! Where a log line or a reply names a person: the local parts of addresses, the users behind the words by which mail
//! programs name them, and users who are known from elsewhere.
//!
//! Too much is masked rather than too little. What no rule can see: a user without a domain, after a word that is not
//! in the lists here, in a line of which no event names him.

use std::ops::Range;

use memchr::memmem;

/// Words after which a user or an address stands: `user=<ann>`, `sasl_username=ann`, `"accountName":"ann"`.
const KEYS: &[&str] = &[
    "user",
    "username",
    "sasl_username",
    "sasl_sender",
    "ruser",
    "rcpt",
    "rcpts",
    "from",
    "to",
    "orig_to",
    "sender",
    "recipient",
    "accountname",
    "account",
    "login",
    "auth_user",
    "set_id",
    "envelope-from",
    "smtp.mailfrom",
    "header.from",
    "mailfrom",
    "u",
    "f",
    "sender_user",
    "rcpt_user",
];
/// Words before a parenthesis in which a user stands: `imap(ann)<7><x>`, `lmtp(812, ann)`, `sql(ann,192.0.2.1)`.
const CALLS: &[&str] = &[
    "imap",
    "pop3",
    "lmtp",
    "lda",
    "managesieve",
    "submission",
    "imap-hibernate",
    "indexer-worker",
    "quota-status",
    "doveadm",
    "dsync-local",
    "dsync-server",
    "passwd-file",
    "sql",
    "ldap",
    "pam",
    "lua",
    "oauth2",
    "static",
    "shadow",
    "bsdauth",
    "checkpassword",
    "policy",
    "cache",
    "prefetch",
];
/// Phrases after which a user stands; the last ones are those of Exim's main log.
const PHRASES: &[&str] = &[
    "for user ",
    "invalid user ",
    "for user: ",
    "login failed for ",
    "failed for ",
    " <= ",
    " => ",
    " -> ",
    " ** ",
    " == ",
];
/// Keys that may stand before an address, beside [`KEYS`].
const ADDRESS_KEYS: &[&str] = &["id", "msgid", "message-id", "mid"];
/// What stands before a Message-ID, which looks like an address and is none.
const MESSAGE_IDS: &[&str] = &[
    "message-id=<",
    "message-id=",
    "message-id: <",
    "msgid=<",
    "msgid=",
    " id=<",
    " id=",
    " id: <",
    "\"message_id\":\"",
];
/// Users with fewer characters are found only between brackets, quotes and the like: `to` and `a` are words too.
const SHORT: usize = 3;
/// The longest local part, user or quoted string that is looked for; RFC 5321 section 4.5.3.1.1 allows 64 octets. This
/// and [`NAMES`] keep the time of any text in proportion to its length.
const LONGEST: usize = 512;
/// Users whom a text names and who are looked for in the rest of it.
const NAMES: usize = 16;

/// The places of people in `text`, in order and without overlap.
pub(super) fn spans(text: &str, users: &[String], keep: &[String]) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    addresses(text, keep, &mut found);
    keyed(text, &mut found);
    calls(text, &mut found);
    phrases(text, &mut found);
    // Whom the text names once it may name again: `<ann@example.org>: ann is unknown`.
    let mut named_here: Vec<&str> = found.iter().filter_map(|span| text.get(span.clone())).collect();
    named_here.sort_unstable();
    named_here.dedup();
    named_here.truncate(NAMES);
    named_here.extend(users.iter().map(String::as_str));
    for user in named_here.into_iter().filter(|user| !user.is_empty()) {
        named(text, user, &mut found);
    }
    found.sort_unstable_by_key(|span| (span.start, span.end));
    let mut merged: Vec<Range<usize>> = Vec::with_capacity(found.len());
    for mut span in found {
        // A bound may have cut a character in two.
        while !text.is_char_boundary(span.start) {
            span.start -= 1;
        }
        while !text.is_char_boundary(span.end) {
            span.end += 1;
        }
        match merged.last_mut() {
            Some(last) if span.start < last.end => last.end = last.end.max(span.end),
            _ => merged.push(span),
        }
    }
    merged
}

/// The local part before every `@`, also where a URL writes it `%40`.
fn addresses(text: &str, keep: &[String], out: &mut Vec<Range<usize>>) {
    let bytes = text.as_bytes();
    let at_signs = memchr::memchr_iter(b'@', bytes).map(|at| (at, 1));
    let encoded = memmem::find_iter(bytes, b"%40").map(|at| (at, 3));
    for (at, width) in at_signs.chain(encoded) {
        let Some(start) = local_start(bytes, at) else { continue };
        if !is_message_id(text, start, at, width, keep) {
            out.push(start..at);
        }
    }
}

/// Where the local part that ends before `at` begins.
fn local_start(bytes: &[u8], at: usize) -> Option<usize> {
    if bytes.get(..at)?.last() == Some(&b'"') {
        let from = at.saturating_sub(LONGEST);
        let quote = (from..at - 1).rev().find(|index| {
            bytes.get(*index) == Some(&b'"')
                && index.checked_sub(1).and_then(|before| bytes.get(before)) != Some(&b'\\')
        });
        return quote.or(Some(at - 1));
    }
    let length = bytes.get(..at)?.iter().rev().take(LONGEST).take_while(|byte| is_local(**byte)).count();
    let mut start = at - length;
    loop {
        match bytes.get(start..at)? {
            [b'\'' | b'`' | b'{' | b'|' | b'=', ..] => start += 1,
            // `to=ann@example.org`: the key is none of the local part. `bounce=ann@example.org` is one.
            run => {
                match memchr::memchr(b'=', run).filter(|end| precedes_address(run.get(..*end).unwrap_or_default())) {
                    Some(end) => start += end + 1,
                    None => break,
                }
            }
        }
    }
    (start < at).then_some(start)
}

fn is_message_id(text: &str, start: usize, at: usize, width: usize, keep: &[String]) -> bool {
    let before = text.get(start.saturating_sub(24)..start).unwrap_or_else(|| {
        let from = (start.saturating_sub(24)..=start).find(|index| text.is_char_boundary(*index)).unwrap_or(start);
        text.get(from..start).unwrap_or_default()
    });
    let before = before.to_ascii_lowercase();
    if MESSAGE_IDS.iter().any(|mark| before.ends_with(mark)) {
        return true;
    }
    let after = text.get(at + width..).unwrap_or_default();
    let end = after
        .find(|c: char| !(c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | '[' | ']' | ':')))
        .unwrap_or(after.len());
    let whole = text.get(start..at + width + end).unwrap_or_default();
    keep.iter().any(|id| !id.is_empty() && id == whole)
}

/// Users behind a key: `key=VALUE`, `key=<VALUE>`, `key = "VALUE"`, `"key":"VALUE"`, `key: <VALUE>`.
fn keyed(text: &str, out: &mut Vec<Range<usize>>) {
    let bytes = text.as_bytes();
    for at in memchr::memchr2_iter(b'=', b':', bytes) {
        let Some(key) = key_before(bytes, at) else { continue };
        let mut start = at + 1;
        let quoted_key = bytes.get(at.wrapping_sub(1)) == Some(&b'"');
        match (bytes[at], quoted_key) {
            // `from: x` is a sentence, `from: <x>` an address.
            (b':', false) if key != "user" && bytes.get(at + 1..at + 3) != Some(b" <") => continue,
            _ => {}
        }
        start += bytes.get(start..).map_or(0, |rest| rest.iter().take_while(|byte| **byte == b' ').count().min(1));
        value(bytes, start, out);
    }
    // Exim: `A=dovecot_login:ann`.
    for at in memmem::find_iter(bytes, b" A=") {
        let word = at + 3;
        let end = word_end(bytes, word);
        if let Some(colon) = memchr::memchr(b':', &bytes[word..end]) {
            value(bytes, word + colon + 1, out);
        }
    }
}

/// The key that ends before `at`, in lower case, if it is one of [`KEYS`].
fn key_before(bytes: &[u8], at: usize) -> Option<String> {
    let mut end = at;
    while end > 0 && matches!(bytes[end - 1], b' ' | b'"') && at - end < 2 {
        end -= 1;
    }
    let length = bytes[..end]
        .iter()
        .rev()
        .take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'))
        .count();
    let word = &bytes[end - length..end];
    is_key(word).then(|| String::from_utf8_lossy(word).to_ascii_lowercase())
}

fn precedes_address(word: &[u8]) -> bool {
    is_key(word) || ADDRESS_KEYS.iter().any(|key| word.eq_ignore_ascii_case(key.as_bytes()))
}

fn is_key(word: &[u8]) -> bool {
    KEYS.iter().any(|key| word.eq_ignore_ascii_case(key.as_bytes()))
}

/// A value, as far as it is a local part.
fn value(bytes: &[u8], mut start: usize, out: &mut Vec<Range<usize>>) {
    while matches!(bytes.get(start), Some(b'<' | b'"' | b'\'' | b'[' | b'(')) {
        start += 1;
    }
    let end = word_end(bytes, start);
    let word = bytes.get(start..end).unwrap_or_default();
    // Addresses are found by their `@`; `from=[192.0.2.1]` and `to=250` name nobody.
    let nobody = word.is_empty() || memchr::memchr(b'@', word).is_some() || is_number_or_address(word);
    if !nobody {
        out.push(start..end);
    }
}

fn is_number_or_address(word: &[u8]) -> bool {
    std::str::from_utf8(word).is_ok_and(|word| {
        word.parse::<std::net::IpAddr>().is_ok()
            || word.len() <= SHORT && word.bytes().all(|byte| byte.is_ascii_digit())
    })
}

fn word_end(bytes: &[u8], start: usize) -> usize {
    let rest = bytes.get(start..).unwrap_or_default();
    let rest = rest.get(..LONGEST).unwrap_or(rest);
    let end = |byte: &u8| matches!(byte, b' ' | b'>' | b'"' | b',' | b';' | b')' | b']' | b'\t' | b'<');
    start + rest.iter().position(end).unwrap_or(rest.len())
}

/// `imap(ann)`, `lmtp(812, ann)`.
fn calls(text: &str, out: &mut Vec<Range<usize>>) {
    let bytes = text.as_bytes();
    for at in memchr::memchr_iter(b'(', bytes) {
        let length = bytes[..at].iter().rev().take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'-').count();
        let word = &bytes[at - length..at];
        if !CALLS.iter().any(|call| word == call.as_bytes()) {
            continue;
        }
        let inside = &bytes[at..bytes.len().min(at + LONGEST)];
        let Some(close) = memchr::memchr(b')', inside).map(|close| at + close) else { continue };
        let mut start = at + 1;
        for part in bytes[start..close].split(|byte| *byte == b',') {
            let spaces = part.iter().take_while(|byte| **byte == b' ').count();
            let word = &part[spaces..];
            let local = memchr::memrchr(b'@', word).map_or(word, |at| &word[..at]);
            if !(local.is_empty() || is_number_or_address(local) || local.iter().all(u8::is_ascii_digit)) {
                out.push(start + spaces..start + spaces + local.len());
                break;
            }
            start += part.len() + 1;
        }
    }
}

fn phrases(text: &str, out: &mut Vec<Range<usize>>) {
    let lower = text.to_ascii_lowercase();
    for phrase in PHRASES {
        for at in memmem::find_iter(lower.as_bytes(), phrase) {
            value(text.as_bytes(), at + phrase.len(), out);
        }
    }
}

/// A user who is known by name.
fn named(text: &str, user: &str, out: &mut Vec<Range<usize>>) {
    let bytes = text.as_bytes();
    let short = user.chars().count() < SHORT || user.bytes().all(|byte| byte.is_ascii_digit());
    for at in memmem::find_iter(bytes, user.as_bytes()) {
        let end = at + user.len();
        let (before, after) = (at.checked_sub(1).and_then(|index| bytes.get(index)), bytes.get(end));
        let whole = if short {
            before.is_none_or(|byte| matches!(byte, b'<' | b'(' | b'"' | b'\'' | b'='))
                && after.is_none_or(|byte| matches!(byte, b'>' | b')' | b'"' | b'\'' | b',' | b';'))
        } else {
            !before.is_some_and(|byte| is_word(*byte)) && !after.is_some_and(|byte| is_word(*byte))
        };
        if whole {
            out.push(at..end);
        }
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte >= 0x80
}

/// What a local part is made of (RFC 5322 section 3.2.3, RFC 6531 section 3.3).
fn is_local(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte >= 0x80 || b"!#$%&'*+-/=?^_`{|}~.".contains(&byte)
}
