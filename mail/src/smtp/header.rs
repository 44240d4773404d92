//! What the server reads of a message's header, and what it puts before it.

use std::fmt::Write;
use std::net::IpAddr;

use aggregator::event::Time;

use super::address::EmailAddress;
use crate::listen::TlsFacts;

/// Received lines after which a message is in a loop (RFC 5321 section 6.3).
pub const MAX_RECEIVED: usize = 50;

/// What matters of a header.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Header {
    /// How many Received lines.
    pub received: usize,
    /// The Message-ID without angle brackets.
    pub message_id: Option<String>,
    /// Whether there is a Date.
    pub has_date: bool,
}

/// Reads the header at the begin of a content.
pub fn inspect(content: &[u8]) -> Header {
    let mut header = Header::default();
    let mut lines = lines(content).peekable();
    while let Some(line) = lines.next() {
        if has_name(line, b"Received") {
            header.received += 1;
        } else if has_name(line, b"Date") {
            header.has_date = true;
        } else if has_name(line, b"Message-ID") && header.message_id.is_none() {
            let mut value = line.get(b"Message-ID:".len()..).unwrap_or_default().to_vec();
            while let Some(folded) = lines.next_if(|line| line.starts_with(b" ") || line.starts_with(b"\t")) {
                value.extend_from_slice(folded);
            }
            let value = String::from_utf8_lossy(&value);
            let value = value.trim().trim_start_matches('<').trim_end_matches('>');
            header.message_id = (!value.is_empty()).then(|| value.chars().take(998).collect());
        }
    }
    header
}

/// The header of a message: its octets up to the empty line, that line not included.
pub fn head(content: &[u8]) -> &[u8] {
    let length = lines(content).map(|line| line.len() + 2).sum::<usize>();
    content.get(..length).unwrap_or(content)
}

/// The lines of the header, without their CRLF.
fn lines(content: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = content;
    std::iter::from_fn(move || {
        let end = rest.windows(2).position(|pair| pair == b"\r\n").unwrap_or(rest.len());
        let line = rest.get(..end).filter(|line| !line.is_empty())?;
        rest = rest.get(end + 2..).unwrap_or_default();
        Some(line)
    })
}

fn has_name(line: &[u8], name: &[u8]) -> bool {
    line.get(..name.len()).is_some_and(|head| head.eq_ignore_ascii_case(name)) && line.get(name.len()) == Some(&b':')
}

/// The trace line of a hop (RFC 5321 section 4.4).
#[derive(Debug)]
pub struct Received<'a> {
    /// The name that the client gave.
    pub helo: &'a str,
    /// The client.
    pub client: IpAddr,
    /// Our name.
    pub hostname: &'a str,
    /// ESMTPS …
    pub protocol: &'a str,
    /// What TLS agreed on.
    pub tls: Option<&'a TlsFacts>,
    /// The queue id.
    pub id: &'a str,
    /// The recipient, when there is just one: several would see of each other.
    pub recipient: Option<&'a EmailAddress>,
    /// When.
    pub at: Time,
}

impl Received<'_> {
    /// The line, folded and CRLF-ended.
    pub fn line(&self) -> String {
        let helo = if self.helo.is_empty() { "unknown" } else { self.helo };
        let client = match self.client.to_canonical() {
            IpAddr::V4(v4) => format!("[{v4}]"),
            IpAddr::V6(v6) => format!("[IPv6:{v6}]"),
        };
        let mut line = format!(
            "Received: from {helo} ({client})\r\n\tby {} (Varde) with {} id {}",
            self.hostname, self.protocol, self.id
        );
        if let Some(tls) = self.tls {
            let _ = write!(line, "\r\n\t({} {})", tls.version, tls.cipher);
        }
        if let Some(recipient) = self.recipient {
            let _ = write!(line, "\r\n\tfor <{recipient}>");
        }
        let _ = write!(line, ";\r\n\t{}\r\n", date(self.at));
        line
    }
}

/// An instant as RFC 5322 section 3.3 writes it.
pub fn date(at: Time) -> String {
    at.to_utc().to_rfc2822()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_ends_at_the_empty_line() {
        let content = b"Received: a\r\nreceived: b\r\nMessage-Id:\r\n <1@x>\r\nX: y\r\n\r\nDate: in the body\r\n";
        assert_eq!(inspect(content), Header { received: 2, message_id: Some("1@x".to_owned()), has_date: false });
        assert!(head(content).ends_with(b"X: y\r\n"));
        assert_eq!(inspect(b"\r\nDate: body\r\n"), Header::default());
        assert_eq!(head(b"A: b"), b"A: b");
    }

    #[test]
    fn a_received_line_names_the_client_and_the_protocol() {
        let line = Received {
            helo: "client.test",
            client: "::ffff:192.0.2.1".parse().unwrap(),
            hostname: "mx.varde.test",
            protocol: "ESMTPS",
            tls: Some(&TlsFacts { version: "TLSv1.3".to_owned(), cipher: "TLS13_AES_256_GCM_SHA384".to_owned() }),
            id: "1",
            recipient: Some(&"ada@varde.test".parse().unwrap()),
            at: Time(0),
        };
        assert_eq!(
            line.line(),
            "Received: from client.test ([192.0.2.1])\r\n\tby mx.varde.test (Varde) with ESMTPS id 1\r\n\t\
             (TLSv1.3 TLS13_AES_256_GCM_SHA384)\r\n\tfor <ada@varde.test>;\r\n\tThu, 1 Jan 1970 00:00:00 +0000\r\n"
        );
    }
}
