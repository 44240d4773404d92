//! What others reported by mail, in figures.

use serde::Serialize;

use crate::event::{DeliveryOutcome, Event};

/// Counts of reports' rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Reported {
    /// Messages of DMARC aggregate reports.
    pub dmarc_messages: u64,
    /// Of them, aligned by DKIM or SPF.
    pub dmarc_aligned: u64,
    /// Messages of DMARC failure reports.
    pub dmarc_failures: u64,
    /// Sessions of TLS reports that succeeded.
    pub tls_successful: u64,
    /// Those that failed.
    pub tls_failed: u64,
    /// Complaints of feedback loops.
    pub complaints: u64,
    /// Recipients that bounces say were not reached.
    pub bounced: u64,
    /// Recipients that bounces say are still tried.
    pub delayed: u64,
    /// Automatic replies.
    pub auto_replies: u64,
}

impl Reported {
    /// Counts a row.
    pub(super) fn event(&mut self, event: &Event) {
        match event {
            Event::DmarcRow(row) => {
                self.dmarc_messages = self.dmarc_messages.saturating_add(row.count);
                if row.dkim == "pass" || row.spf == "pass" {
                    self.dmarc_aligned = self.dmarc_aligned.saturating_add(row.count);
                }
            }
            Event::DmarcFailure(_) => self.dmarc_failures += 1,
            Event::TlsRptRow(row) => {
                self.tls_successful = self.tls_successful.saturating_add(row.successful);
                self.tls_failed = self.tls_failed.saturating_add(row.failed);
            }
            Event::Complaint(_) => self.complaints += 1,
            Event::Bounce(row) => match row.outcome {
                DeliveryOutcome::Bounced | DeliveryOutcome::Expired => self.bounced += 1,
                DeliveryOutcome::Deferred | DeliveryOutcome::Held => self.delayed += 1,
                DeliveryOutcome::Delivered => {}
            },
            Event::AutoReply(_) => self.auto_replies += 1,
            _ => {}
        }
    }

    /// The lines of a page, each with what it is a part of.
    pub(super) fn lines(&self) -> [(&'static str, u64, Option<u64>); 8] {
        let sessions = self.tls_successful.saturating_add(self.tls_failed);
        [
            ("DMARC: messages", self.dmarc_messages, None),
            ("  aligned", self.dmarc_aligned, Some(self.dmarc_messages)),
            ("DMARC: failure reports", self.dmarc_failures, None),
            ("TLS: sessions", sessions, None),
            ("  failed", self.tls_failed, Some(sessions)),
            ("Complaints", self.complaints, None),
            ("Bounces by mail", self.bounced.saturating_add(self.delayed), None),
            ("Automatic replies", self.auto_replies, None),
        ]
    }
}
