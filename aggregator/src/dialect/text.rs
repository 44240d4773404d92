//! The small texts that every mail log is made of: addresses, reply codes, hosts, durations.

use std::sync::{LazyLock, OnceLock};

use memchr::memmem::{self, FinderRev};

use crate::event::Address;

/// The local part as it is and the domain in lower case. `<>` and an empty text have neither.
pub fn mailbox(address: &str) -> (&str, String) {
    let (user, domain) = user_and_domain(address);
    (user, domain.to_ascii_lowercase())
}

/// The same, written over two columns of a row.
pub fn put_mailbox(address: &str, user: &mut String, domain: &mut String) {
    let found = user_and_domain(address);
    found.0.clone_into(user);
    found.1.clone_into(domain);
    domain.make_ascii_lowercase();
}

fn user_and_domain(address: &str) -> (&str, &str) {
    let address = address.trim_start_matches('<').trim_end_matches('>');
    let Some(at) = address.as_bytes().iter().rposition(|byte| *byte == b'@') else { return (address, "") };
    (address.get(..at).unwrap_or_default(), address.get(at + 1..).unwrap_or_default())
}

/// The reply code (RFC 5321 section 4.2) and the enhanced status code (RFC 3463) that a reply begins with, as far as
/// they are there: `550 5.1.1 …`, `550-5.1.1 …`, `5.1.1 …`.
pub fn reply_codes(reply: &str) -> (Option<u16>, &str) {
    let bytes = reply.as_bytes();
    let code = match bytes {
        [a @ b'2'..=b'5', b @ b'0'..=b'9', c @ b'0'..=b'9', rest @ ..]
            if rest.first().is_none_or(|byte| matches!(byte, b' ' | b'-' | b'\\' | b'\r' | b'\n')) =>
        {
            Some(u16::from(a - b'0') * 100 + u16::from(b - b'0') * 10 + u16::from(c - b'0'))
        }
        _ => None,
    };
    let after = if code.is_some() { reply.get(4..).unwrap_or_default() } else { reply };
    (code, enhanced_code(after))
}

/// The enhanced status code that a text begins with; empty when there is none.
pub fn enhanced_code(text: &str) -> &str {
    let [b'2' | b'4' | b'5', b'.', after @ ..] = text.as_bytes() else { return "" };
    let digits = |text: &[u8]| text.iter().take(4).take_while(|byte| byte.is_ascii_digit()).count();
    let subject = digits(after);
    let Some([b'.', after @ ..]) = after.get(subject..) else { return "" };
    let detail = digits(after);
    // Dots may end a sentence; another number makes it something else.
    let mut rest = after.iter().skip(detail).skip_while(|byte| **byte == b'.');
    let shaped = (1..=3).contains(&subject)
        && (1..=3).contains(&detail)
        && rest.next().is_none_or(|byte| !byte.is_ascii_digit());
    if shaped { text.get(..3 + subject + detail).unwrap_or_default() } else { "" }
}

/// The address in `host[192.0.2.1]`, `host[192.0.2.1]:25`, `[IPv6:2001:db8::1]`, and the host before it.
pub fn host_and_address(text: &str) -> (&str, Option<Address>) {
    let Some((host, rest)) = cut(text, b'[') else { return (text, None) };
    let inside = cut(rest, b']').map_or(rest, |(inside, _)| inside);
    let inside = inside.strip_prefix("IPv6:").unwrap_or(inside);
    (host.trim_end(), inside.parse().ok())
}

/// The queue id that the other side gave a message, as far as its reply names one: `250 2.0.0 Ok: queued as 4F0A`
/// (Postfix), `250 OK id=1rf…` (Exim), `250 OK ids=1d98…` (KumoMTA), `250 2.0.0: 4f0a Message accepted for delivery`
/// (OpenSMTPD, Sendmail), `250 2.0.0 <ann@example.org> HSj… Saved` (Dovecot's LMTP).
pub fn queued_as(reply: &str) -> &str {
    static MARKS: [Mark; 3] = [Mark::new("ueued as "), Mark::new("OK id="), Mark::new("OK ids=")];
    for mark in &MARKS {
        // The last one: a content filter's reply may hold the reply of the hop behind it.
        if let Some(after) = mark.last_in(reply).and_then(|at| reply.get(at + mark.text.len()..)) {
            let after = after.trim_start_matches(['<', '(', '"']);
            return after.split([' ', ')', ',', ';', '>', '"']).next().unwrap_or_default().trim_end_matches('.');
        }
    }
    if let Some(before) = reply.strip_suffix(" Saved") {
        return before.rsplit_once("> ").map_or("", |(_, id)| id);
    }
    static ACCEPTED: Mark = Mark::new(" Message accepted for delivery");
    let before = ACCEPTED.split(reply).map_or("", |(before, _)| before);
    let is_id = |word: &&str| reply_codes(word) == (None, "") && !word.contains([':', '@']);
    before.rsplit(' ').next().filter(is_id).unwrap_or_default()
}

/// `1d2h3m4s`, `4.25s`, `0s` in milliseconds.
pub fn duration_ms(text: &str) -> Option<u64> {
    let mut total = 0.0_f64;
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest.get(..end)?.parse().ok()?;
        let unit_len = if rest.get(end..)?.starts_with("ms") { 2 } else { 1 };
        let unit = match rest.get(end..end + unit_len)? {
            "ms" => 1.0,
            "s" => 1_000.0,
            "m" => 60_000.0,
            "h" => 3_600_000.0,
            "d" => 86_400_000.0,
            "w" => 604_800_000.0,
            _ => return None,
        };
        total += number * unit;
        rest = rest.get(end + unit_len..)?;
    }
    (!text.is_empty() && total < 1e15).then_some(total.round() as u64)
}

/// Where the first `byte` is, eight octets at a time. A line is cut many times and what is looked for is near: until the
/// search of `memchr`, which is the faster one over hundreds of octets, has begun, this one has found it.
#[inline]
pub fn near(byte: u8, text: &[u8]) -> Option<usize> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let wanted = ONES * u64::from(byte);
    let (words, rest) = text.as_chunks::<8>();
    for (number, word) in words.iter().enumerate() {
        // An octet that is the wanted one is 0 here, and borrows from its highest bit. Those above it may do so in
        // error: the lowest is right.
        let other = u64::from_le_bytes(*word) ^ wanted;
        let found = other.wrapping_sub(ONES) & !other & (ONES << 7);
        if found != 0 {
            return Some(number * 8 + found.trailing_zeros() as usize / 8);
        }
    }
    rest.iter().position(|other| *other == byte).map(|at| words.len() * 8 + at)
}

/// Splits at the first `byte`, which must be ASCII. The library's own search for a character takes several times as
/// long.
#[inline]
pub fn cut(text: &str, byte: u8) -> Option<(&str, &str)> {
    let at = near(byte, text.as_bytes())?;
    Some((text.get(..at)?, text.get(at + 1..)?))
}

/// Splits at the first `mark`, two ASCII characters.
pub fn cut_at<'a>(text: &'a str, mark: &[u8; 2]) -> Option<(&'a str, &'a str)> {
    let bytes = text.as_bytes();
    let mut from = 0;
    loop {
        let at = from + near(mark[0], bytes.get(from..)?)?;
        if bytes.get(at + 1) == Some(&mark[1]) {
            return Some((text.get(..at)?, text.get(at + 2..)?));
        }
        from = at + 1;
    }
}

/// A text that is looked for in many lines; the library's own search would be prepared anew for each.
pub struct Mark {
    text: &'static str,
    prepared: OnceLock<(memmem::Finder<'static>, FinderRev<'static>)>,
}

impl Mark {
    /// The mark `text`.
    pub const fn new(text: &'static str) -> Self {
        Self { text, prepared: OnceLock::new() }
    }

    fn prepared(&self) -> &(memmem::Finder<'static>, FinderRev<'static>) {
        self.prepared.get_or_init(|| (memmem::Finder::new(self.text), FinderRev::new(self.text)))
    }

    /// What stands before and after the first one.
    pub fn split<'a>(&self, line: &'a str) -> Option<(&'a str, &'a str)> {
        let at = self.prepared().0.find(line.as_bytes())?;
        Some((line.get(..at)?, line.get(at + self.text.len()..)?))
    }

    /// Where the last one begins.
    pub fn last_in(&self, line: &str) -> Option<usize> {
        let (first, last) = self.prepared();
        // Most lines have none, and to find that out from the front takes a fraction of the time.
        first.find(line.as_bytes())?;
        last.rfind(line.as_bytes())
    }
}

/// Short texts that are looked for in every line, prepared once.
pub struct Marks(LazyLock<Vec<memmem::Finder<'static>>>);

impl Marks {
    /// The marks that `texts` tells.
    pub const fn new(texts: fn() -> Vec<memmem::Finder<'static>>) -> Self {
        Self(LazyLock::new(texts))
    }

    /// Whether one of them stands in the line.
    pub fn any_in(&self, line: &str) -> bool {
        self.0.iter().any(|mark| mark.find(line.as_bytes()).is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_fall_into_user_and_domain() {
        assert_eq!(mailbox("<Ann@Example.ORG>"), ("Ann", "example.org".to_owned()));
        assert_eq!(mailbox("<>"), ("", String::new()));
        assert_eq!(mailbox("\"a@b\"@example.org"), ("\"a@b\"", "example.org".to_owned()));
        assert_eq!(mailbox("root"), ("root", String::new()));
    }

    #[test]
    fn the_first_octet_is_found_wherever_it_is() {
        // What differs from the wanted octet by one bit, or by one, is what a search by words could mistake for it.
        for length in 0..40 {
            for at in 0..=length {
                for other in [b'-', b'/', b'.' ^ 0x80, 0, 0xff] {
                    let mut text = vec![other; length];
                    text[at..].fill(b'.');
                    assert_eq!(near(b'.', &text), (at < length).then_some(at), "{other} {length}");
                }
            }
        }
        assert_eq!(cut_at("a, b,c", b",c"), Some(("a, b", "")));
        assert_eq!(cut_at("a, b,", b",c"), None);
    }

    #[test]
    fn codes_are_found_only_where_a_reply_has_them() {
        assert_eq!(reply_codes("550 5.1.1 <x>: no"), (Some(550), "5.1.1"));
        assert_eq!(reply_codes("550-5.7.26 no"), (Some(550), "5.7.26"));
        assert_eq!(reply_codes("4.7.1 later"), (None, "4.7.1"));
        assert_eq!(reply_codes("2001 messages"), (None, ""));
        for (text, code) in [
            ("5.1.1.1", ""),
            ("5.1.1..1", ""),
            ("5.1.1. no", "5.1.1"),
            ("5.1.1...", "5.1.1"),
            ("5.1.1x", "5.1.1"),
            ("4.123.456", "4.123.456"),
            ("4.1234.5", ""),
            ("4.1.2345", ""),
            ("3.1.1", ""),
            ("5..1", ""),
            ("5.1.", ""),
            ("5.1", ""),
        ] {
            assert_eq!(reply_codes(text), (None, code), "{text}");
        }
        assert_eq!(reply_codes("250"), (Some(250), ""));
    }

    #[test]
    fn hosts_carry_their_address_in_brackets() {
        assert_eq!(host_and_address("mx.example.org[192.0.2.1]:25"), ("mx.example.org", "192.0.2.1".parse().ok()));
        assert_eq!(host_and_address("(ann) [IPv6:2001:db8::1]"), ("(ann)", "2001:db8::1".parse().ok()));
        assert_eq!(host_and_address("none"), ("none", None));
    }

    #[test]
    fn the_next_queue_id_is_the_one_that_the_reply_names() {
        for (reply, id) in [
            ("250 2.0.0 Ok: queued as 4F0A", "4F0A"),
            ("250 OK id=1rfXYZ-0001Ab-2C", "1rfXYZ-0001Ab-2C"),
            ("250 2.0.0: 3d4c4a42 Message accepted for delivery", "3d4c4a42"),
            ("250 2.0.0 Message accepted for delivery", ""),
            ("250 2.0.0 <ann@example.org> HSjAIbBx Saved", "HSjAIbBx"),
            ("250 2.0.0 from MTA(smtp:[127.0.0.1]:10025): 250 2.0.0 Ok: queued as 3F2A71C0B5", "3F2A71C0B5"),
            ("250 2.0.0 3AM9x1Qr012345 Message accepted for delivery", "3AM9x1Qr012345"),
            ("250 2.0.0 OK  1694 xyz12si34 - gsmtp", ""),
            ("250 OK", ""),
        ] {
            assert_eq!(queued_as(reply), id, "{reply}");
        }
    }

    #[test]
    fn durations_add_up() {
        assert_eq!(duration_ms("1d2h3m4s"), Some(93_784_000));
        assert_eq!(duration_ms("0.125s"), Some(125));
        assert_eq!(duration_ms("5"), None);
        assert_eq!(duration_ms(""), None);
    }
}
