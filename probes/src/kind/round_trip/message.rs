//! The messages of a round trip: how they are made, and whether one came back as it was sent.

use aggregator::event::Time;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use mail_parser::{HeaderName, HeaderValue, MessageParser, MimeHeaders};

use crate::conversation::{Class, Fault};

/// How every subject and folder of a probe begins.
pub(super) const SUBJECT_PREFIX: &str = "Varde probe ";
/// The attachment: large enough to be more than one line, small enough not to matter.
const ATTACHMENT_BYTES: usize = 8 * 1024;
/// Received lines that are looked at.
const HOPS_MAX: usize = 30;

/// A message of a probe.
pub(super) struct Letter {
    /// `Varde probe RUN by WAY`.
    pub subject: String,
    /// The text part.
    pub text: String,
    /// The word in the text that it is searched by.
    pub token: String,
    /// What is attached.
    attachment: Option<Vec<u8>>,
    run_id: String,
}

impl Letter {
    /// One that the webmail sends: text only.
    pub fn by_webmail(run_id: &str) -> Self {
        Self::new(run_id, "webmail", None)
    }

    /// One with an attachment, which follows from the run, so that it need not be kept.
    pub fn by_submission(run_id: &str) -> Self {
        let mut attachment = vec![0; ATTACHMENT_BYTES];
        blake3::Hasher::new().update(run_id.as_bytes()).finalize_xof().fill(&mut attachment);
        Self::new(run_id, "submission", Some(attachment))
    }

    fn new(run_id: &str, way: &str, attachment: Option<Vec<u8>>) -> Self {
        let token = blake3::hash(format!("{run_id} {way}").as_bytes()).to_hex()[..20].to_owned();
        Self {
            subject: format!("{SUBJECT_PREFIX}{run_id} {way}"),
            text: format!("This message tests the mail system and removes itself.\n\nIts mark is {token}.\n"),
            token,
            attachment,
            run_id: run_id.to_owned(),
        }
    }

    /// The whole message, with CRLF at the end of each line.
    pub fn octets(&self, address: &str, now: Time) -> Vec<u8> {
        let domain = address.rsplit_once('@').map_or("localhost", |(_, domain)| domain);
        let boundary = format!("=_varde_{}", self.token);
        let mut out = format!(
            "From: <{address}>\nTo: <{address}>\nSubject: {}\nDate: {}\nMessage-ID: <varde-probe.{}@{domain}>\n\
             X-Varde-Probe: {}\nAuto-Submitted: auto-generated\nMIME-Version: 1.0\n\
             Content-Type: multipart/mixed; boundary=\"{boundary}\"\n\n--{boundary}\n\
             Content-Type: text/plain; charset=us-ascii\n\n{}\n",
            self.subject,
            now.to_utc().to_rfc2822(),
            self.token,
            self.run_id,
            self.text,
        );
        if let Some(attachment) = &self.attachment {
            out.push_str(&format!(
                "--{boundary}\nContent-Type: application/octet-stream\nContent-Transfer-Encoding: base64\n\
                 Content-Disposition: attachment; filename=\"probe.bin\"\n\n"
            ));
            for line in BASE64.encode(attachment).as_bytes().chunks(76) {
                out.push_str(&String::from_utf8_lossy(line));
                out.push('\n');
            }
        }
        out.push_str(&format!("--{boundary}--\n"));
        out.replace('\n', "\r\n").into_bytes()
    }

    /// Whether a header is this message's.
    pub fn is_subject_of(&self, message: &[u8]) -> bool {
        header(message, "subject").is_some_and(|subject| subject == self.subject)
    }

    /// Whether a message is what was sent: its text, and what is attached.
    ///
    /// # Errors
    /// What is different.
    pub fn compare(&self, octets: &[u8]) -> Result<(), Fault> {
        let differs = |what: &str| Err(Fault::new(Class::Mismatch, what.to_owned()));
        let Some(message) = MessageParser::default().parse(octets) else {
            return differs("what came back is no message");
        };
        let text = message.body_text(0).unwrap_or_default();
        if digest(&text) != digest(&self.text) {
            return differs("the text is not the one that was sent");
        }
        match (&self.attachment, message.attachment(0)) {
            (None, _) => Ok(()),
            (Some(_), None) => differs("the attachment is gone"),
            (Some(sent), Some(part)) if blake3::hash(part.contents()) == blake3::hash(sent) => Ok(()),
            (Some(_), Some(part)) => {
                let name = part.attachment_name().unwrap_or("the attachment");
                differs(&format!("{name} is not what was sent: {} octets came back", part.contents().len()))
            }
        }
    }
}

/// Of a text without its line ends, which every transport may rewrite.
fn digest(text: &str) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    for line in text.trim_end().lines() {
        hasher.update(line.trim_end().as_bytes()).update(b"\n");
    }
    hasher.finalize()
}

/// A header field, unfolded.
pub(super) fn header(message: &[u8], name: &str) -> Option<String> {
    let text = String::from_utf8_lossy(message);
    let mut lines = text
        .lines()
        .take_while(|line| !line.is_empty())
        .skip_while(|line| !line.split_once(':').is_some_and(|(field, _)| field.trim_end().eq_ignore_ascii_case(name)));
    let mut value = lines.next()?.split_once(':')?.1.trim().to_owned();
    for more in lines.take_while(|line| line.starts_with([' ', '\t'])) {
        value.push(' ');
        value.push_str(more.trim());
    }
    Some(value)
}

/// How long each hop took, by the Received lines, oldest first; a clock that runs behind is named.
pub(super) fn hops(octets: &[u8]) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_equals_itself_and_nothing_else() {
        let letter = Letter::by_submission("run-1");
        let octets = letter.octets("audit@varde.test", Time::from_seconds(1_795_000_000));
        assert_eq!(letter.compare(&octets), Ok(()));
        assert!(letter.is_subject_of(&octets));
        let of = |needle: &[u8]| octets.windows(needle.len()).position(|window| window == needle).unwrap();
        let class = |octets: &[u8]| letter.compare(octets).map_err(|fault| fault.detail);
        let mut text = octets.clone();
        text[of(b"mark")] = b'b';
        assert_eq!(class(&text), Err("the text is not the one that was sent".to_owned()));
        let mut attachment = octets.clone();
        let at = of(b"probe.bin") + 100;
        attachment[at] = if octets[at] == b'A' { b'B' } else { b'A' };
        assert_eq!(class(&attachment), Err("probe.bin is not what was sent: 8192 octets came back".to_owned()));
        let other = Letter::by_submission("run-2").octets("audit@varde.test", Time::from_seconds(0));
        assert!(!letter.is_subject_of(&other));
    }

    #[test]
    fn the_hops_are_told_oldest_first_and_a_wrong_clock_is_named() {
        let received = |second: u32| format!("Received: from a by b; Sun, 22 Nov 2026 10:00:{second:02} +0000\r\n");
        let message = format!("{}{}{}Subject: x\r\n\r\ntext", received(3), received(5), received(1));
        assert_eq!(hops(message.as_bytes()), "3 hops: 4 s, -2 s (a clock is wrong)");
        assert_eq!(hops(b"Subject: x\r\n\r\n"), "");
    }

    #[test]
    fn a_folded_subject_is_read_whole() {
        assert_eq!(header(b"To: a\r\nSUBJECT: Varde\r\n probe x\r\n\r\n", "subject"), Some("Varde probe x".to_owned()));
        assert_eq!(header(b"To: a\r\n\r\nSubject: x", "subject"), None);
    }
}
