//! The messages of a round trip: how they are made, and whether one came back as it was sent.

use aggregator::event::Time;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use mail_parser::{MessageParser, MimeHeaders};

use crate::conversation::{Class, Fault};

/// How every subject and folder of a probe begins.
pub(super) const SUBJECT_PREFIX: &str = "Varde probe ";
/// The attachment: large enough to be more than one line, small enough not to matter.
const ATTACHMENT_BYTES: usize = 8 * 1024;
/// The header that every message of a probe carries: `RUN sent=MILLISECONDS`.
pub(super) const PROBE_HEADER: &str = "X-Varde-Probe";

/// A message of a probe.
pub struct Letter {
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

    /// One that is put into a mailbox, not sent.
    pub fn by_append(run_id: &str) -> Self {
        Self::new(run_id, "append", None)
    }

    /// A second one, of which the server tells those who wait.
    pub fn by_idle(run_id: &str) -> Self {
        Self::new(run_id, "idle", None)
    }

    /// How every subject of a run begins.
    pub fn of_run(run_id: &str) -> String {
        format!("{SUBJECT_PREFIX}{run_id}")
    }

    fn new(run_id: &str, way: &str, attachment: Option<Vec<u8>>) -> Self {
        let token = token(run_id, way);
        Self {
            subject: format!("{SUBJECT_PREFIX}{run_id} {way}"),
            text: format!("This message tests the mail system and removes itself.\n\nIts mark is {token}.\n"),
            token,
            attachment,
            run_id: run_id.to_owned(),
        }
    }

    /// The whole message, with CRLF at the end of each line.
    pub fn octets(&self, from: &str, to: &str, now: Time) -> Vec<u8> {
        let domain = from.rsplit_once('@').map_or("localhost", |(_, domain)| domain);
        let boundary = format!("=_varde_{}", self.token);
        let mut out = format!(
            "From: <{from}>\nTo: <{to}>\nSubject: {}\nDate: {}\nMessage-ID: <varde-probe.{}@{domain}>\n\
             {PROBE_HEADER}: {} sent={}\nAuto-Submitted: auto-generated\nMIME-Version: 1.0\n\
             Content-Type: multipart/mixed; boundary=\"{boundary}\"\n\n--{boundary}\n\
             Content-Type: text/plain; charset=us-ascii\n\n{}\n",
            self.subject,
            now.to_utc().to_rfc2822(),
            self.token,
            self.run_id,
            now.0.div_euclid(1_000),
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

/// What only a message of this run and way contains.
fn token(run_id: &str, way: &str) -> String {
    blake3::hash(format!("{run_id} {way}").as_bytes()).to_hex()[..20].to_owned()
}

/// The run and the way that a subject names, when it is one of a probe.
pub(super) fn run_of(subject: &str) -> Option<(&str, &str)> {
    let (run_id, way) = subject.trim().strip_prefix(SUBJECT_PREFIX)?.split_once(' ')?;
    let word =
        |text: &str| !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-');
    (word(run_id) && word(way)).then_some((run_id, way))
}

/// When a message of this run was sent, by its probe header. The outer value: whether the header is that of the run.
pub(super) fn sent(probe_header: &str, run_id: &str) -> Option<Option<Time>> {
    let mut words = probe_header.split_ascii_whitespace();
    (words.next() == Some(run_id)).then(|| {
        let millis: Option<i64> = words.find_map(|word| word.strip_prefix("sent=")).and_then(|text| text.parse().ok());
        millis.and_then(|millis| millis.checked_mul(1_000)).map(Time)
    })
}

/// Whether a message that has no probe header, because a webmail made it, contains the mark of its run.
pub(super) fn is_marked(octets: &[u8], run_id: &str, way: &str) -> bool {
    let message = MessageParser::default().parse(octets);
    message.and_then(|message| message.body_text(0).map(|text| text.contains(&token(run_id, way)))).unwrap_or(false)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_equals_itself_and_nothing_else() {
        let letter = Letter::by_submission("run-1");
        let octets = letter.octets("audit@varde.test", "audit@varde.test", Time::from_seconds(1_795_000_000));
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
        let other =
            Letter::by_submission("run-2").octets("audit@varde.test", "audit@varde.test", Time::from_seconds(0));
        assert!(!letter.is_subject_of(&other));
    }

    #[test]
    fn a_message_is_known_by_its_subject_its_header_and_its_mark() {
        let letter = Letter::by_webmail("run-1");
        let octets = letter.octets("a@x.test", "b@y.test", Time::from_seconds(1_795_000_000));
        assert_eq!(run_of(&letter.subject), Some(("run-1", "webmail")));
        for other in ["Varde probe", "Varde probe of mine", "Re: Varde probe run-1 webmail", "Varde probe a b c"] {
            assert!(run_of(other).is_none_or(|run| run == ("of", "mine")), "{other}");
        }
        let probe = header(&octets, PROBE_HEADER).unwrap();
        assert_eq!(sent(&probe, "run-1"), Some(Some(Time::from_seconds(1_795_000_000))));
        assert_eq!((sent(&probe, "run-2"), sent("run-1", "run-1")), (None, Some(None)));
        assert!(is_marked(&octets, "run-1", "webmail"));
        assert!(!is_marked(&octets, "run-1", "submission") && !is_marked(b"Subject: x\r\n\r\ny", "run-1", "webmail"));
    }

    #[test]
    fn a_folded_subject_is_read_whole() {
        assert_eq!(header(b"To: a\r\nSUBJECT: Varde\r\n probe x\r\n\r\n", "subject"), Some("Varde probe x".to_owned()));
        assert_eq!(header(b"To: a\r\n\r\nSubject: x", "subject"), None);
    }
}
