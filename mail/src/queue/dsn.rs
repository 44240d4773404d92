//! Reports to senders: multipart/report with message/delivery-status (RFC 3461, RFC 3464, RFC 6533).

use std::fmt::Write;

use aggregator::event::Time;

use super::store::Envelope;
use crate::smtp::command::{Recipient, Ret};
use crate::smtp::header;

/// What a report says of a recipient (RFC 3464 section 2.3.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReportAction {
    /// It will not be delivered.
    Failed,
    /// It is in the mailbox.
    Delivered,
    /// It went to a system that does not report.
    Relayed,
}

impl ReportAction {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Delivered => "delivered",
            Self::Relayed => "relayed",
        }
    }
}

/// One recipient of a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Who.
    pub recipient: Recipient,
    /// What became of it.
    pub action: ReportAction,
    /// The status (RFC 3463), `5.1.1`.
    pub status: String,
    /// Who said so; empty when we did.
    pub remote: String,
    /// What was said, with its code.
    pub diagnostic: String,
}

/// What a report is made of.
#[derive(Debug)]
pub struct Report<'a> {
    /// Our name.
    pub hostname: &'a str,
    /// The message that it is about; it has a sender.
    pub envelope: &'a Envelope,
    /// Its content.
    pub content: &'a [u8],
    /// At least one recipient.
    pub lines: &'a [Line],
    /// The report's own Message-ID without angle brackets.
    pub message_id: &'a str,
    /// When.
    pub at: Time,
}

/// Characters of a diagnostic that are passed on.
const MAX_DIAGNOSTIC: usize = 500;

impl Report<'_> {
    /// The report as a message, every line CRLF-ended.
    pub fn message(&self) -> Vec<u8> {
        let boundary = ["=_", self.message_id.split('@').next().unwrap_or_default()].concat();
        let mut out = String::new();
        self.head(&boundary, &mut out);
        self.notice(&boundary, &mut out);
        self.status(&boundary, &mut out);
        let original = match self.envelope.ret {
            Ret::Full => self.content,
            Ret::Headers => header::head(self.content),
        };
        let kind = match (self.envelope.ret, self.envelope.utf8) {
            (Ret::Full, false) => "message/rfc822",
            (Ret::Headers, false) => "text/rfc822-headers",
            (Ret::Full, true) => "message/global",
            (Ret::Headers, true) => "message/global-headers",
        };
        let _ = write!(out, "--{boundary}\r\nContent-Type: {kind}\r\nContent-Transfer-Encoding: 8bit\r\n\r\n");
        let mut out = out.into_bytes();
        out.extend_from_slice(original);
        out.extend_from_slice(["\r\n--", &boundary, "--\r\n"].concat().as_bytes());
        out
    }

    fn head(&self, boundary: &str, out: &mut String) {
        let failed = self.lines.iter().any(|line| line.action == ReportAction::Failed);
        let subject = if failed { "Undelivered Mail Returned to Sender" } else { "Successful Mail Delivery Report" };
        let sender = self.envelope.sender.as_ref().map(ToString::to_string).unwrap_or_default();
        let _ = write!(
            out,
            "Date: {}\r\nFrom: Mail Delivery System <MAILER-DAEMON@{}>\r\nTo: <{sender}>\r\nSubject: {subject}\r\n\
             Message-ID: <{}>\r\nAuto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n\
             Content-Type: multipart/report; report-type=delivery-status;\r\n\tboundary=\"{boundary}\"\r\n\r\n",
            header::date(self.at),
            self.hostname,
            self.message_id,
        );
    }

    fn notice(&self, boundary: &str, out: &mut String) {
        let _ = write!(
            out,
            "--{boundary}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n\
             This is the mail system at {}.\r\n\r\n",
            self.hostname
        );
        for line in self.lines {
            let verb = match line.action {
                ReportAction::Failed => "could not be delivered to",
                ReportAction::Delivered => "was delivered to",
                ReportAction::Relayed => "was passed on, to a system that sends no reports, for",
            };
            let _ = write!(out, "Your message {verb} <{}>", line.recipient.address);
            if line.action == ReportAction::Failed {
                let who = if line.remote.is_empty() { "this system" } else { &line.remote };
                let _ = write!(out, ":\r\n    {who} said: {}", one_line(&line.diagnostic));
            }
            out.push_str("\r\n\r\n");
        }
    }

    fn status(&self, boundary: &str, out: &mut String) {
        let (kind, address_type) = if self.envelope.utf8 {
            ("message/global-delivery-status", "utf-8")
        } else {
            ("message/delivery-status", "rfc822")
        };
        let _ = write!(
            out,
            "--{boundary}\r\nContent-Type: {kind}\r\nContent-Transfer-Encoding: 8bit\r\n\r\nReporting-MTA: dns; {}\r\n",
            self.hostname
        );
        if !self.envelope.envid.is_empty() {
            let _ = write!(out, "Original-Envelope-Id: {}\r\n", self.envelope.envid);
        }
        let _ = write!(out, "Arrival-Date: {}\r\n", header::date(self.envelope.received_at));
        for line in self.lines {
            out.push_str("\r\n");
            if !line.recipient.orcpt.is_empty() {
                let _ = write!(out, "Original-Recipient: {}\r\n", line.recipient.orcpt);
            }
            let _ = write!(
                out,
                "Final-Recipient: {address_type}; {}\r\nAction: {}\r\nStatus: {}\r\n",
                line.recipient.address,
                line.action.as_str(),
                line.status
            );
            if !line.remote.is_empty() {
                let _ = write!(
                    out,
                    "Remote-MTA: dns; {}\r\nDiagnostic-Code: smtp; {}\r\n",
                    line.remote,
                    one_line(&line.diagnostic)
                );
            }
            let _ = write!(out, "Last-Attempt-Date: {}\r\n", header::date(self.at));
        }
        out.push_str("\r\n");
    }
}

/// What others said must not make lines of ours.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_DIAGNOSTIC).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::store::tests::message;
    use crate::store::BlobId;

    #[test]
    fn a_report_is_one_that_mail_parsers_read() {
        let mut new = message("1", Some("ada@varde.test"), &["bob@x.test"], BlobId([0; 32]));
        new.recipients[0].orcpt = "rfc822;bob@x.test".to_owned();
        new.envelope.envid = "E1".to_owned();
        let report = Report {
            hostname: "mx.varde.test",
            envelope: &new.envelope,
            content: b"Subject: secret plans\r\nX: y\r\n\r\nthe body\r\n",
            lines: &[Line {
                recipient: new.recipients[0].clone(),
                action: ReportAction::Failed,
                status: "5.1.1".to_owned(),
                remote: "mx.x.test".to_owned(),
                diagnostic: "550 5.1.1 no\r\nsuch user".to_owned(),
            }],
            message_id: "r1@mx.varde.test",
            at: Time(0),
        };
        let octets = report.message();
        let parsed = mail_parser::MessageParser::default().parse(&octets).unwrap();
        assert_eq!(parsed.subject(), Some("Undelivered Mail Returned to Sender"));
        let types: Vec<String> = parsed
            .parts
            .iter()
            .filter_map(|part| mail_parser::MimeHeaders::content_type(part))
            .map(|kind| [kind.ctype(), "/", kind.subtype().unwrap_or_default()].concat())
            .collect();
        assert_eq!(types, ["multipart/report", "text/plain", "message/delivery-status", "text/rfc822-headers"]);
        let text = String::from_utf8(octets).unwrap();
        assert!(text.contains(
            "Original-Recipient: rfc822;bob@x.test\r\nFinal-Recipient: rfc822; bob@x.test\r\nAction: failed\r\nStatus: 5.1.1\r\n\
             Remote-MTA: dns; mx.x.test\r\nDiagnostic-Code: smtp; 550 5.1.1 no  such user\r\n"
        ));
        assert!(text.contains("Original-Envelope-Id: E1\r\n"));
        assert!(text.contains("Subject: secret plans\r\n") && !text.contains("the body"));
    }
}
