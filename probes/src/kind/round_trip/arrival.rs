//! How a message came.

use std::time::Duration;

use aggregator::event::ProbeOutcome;

pub(super) const INBOX: &str = "INBOX";

/// Where a message was found, and when.
#[derive(Debug, Clone, Default)]
pub(super) struct Arrival {
    /// The folder.
    pub folder: String,
    /// How often it is there; more than once: it was delivered more than once.
    pub copies: usize,
    /// Its UIDs there, by IMAP.
    pub uids: Vec<u32>,
    /// Its octets, by a protocol that gave them at once.
    pub octets: Vec<u8>,
    /// How long it took from when it was sent.
    pub after: Duration,
}

impl Arrival {
    /// Whether it was put into the spam folder.
    pub fn is_spam(&self) -> bool {
        self.folder != INBOX
    }

    /// What that says of the mail system.
    pub fn outcome(&self, objective: Duration) -> ProbeOutcome {
        match self {
            Self { copies, .. } if *copies > 1 => ProbeOutcome::Duplicate,
            arrival if arrival.is_spam() => ProbeOutcome::Spam,
            Self { after, .. } if *after > objective => ProbeOutcome::Late,
            _ => ProbeOutcome::Ok,
        }
    }
}

/// Of several messages the worst outcome counts.
pub(super) fn severity(outcome: ProbeOutcome) -> u8 {
    match outcome {
        ProbeOutcome::Ok => 0,
        ProbeOutcome::Late => 1,
        ProbeOutcome::Spam => 2,
        _ => 3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arrival_is_judged_by_its_worst_side() {
        let outcome = |folder: &str, copies, ms| {
            let after = Duration::from_millis(ms);
            Arrival { folder: folder.to_owned(), copies, after, ..Arrival::default() }.outcome(Duration::from_secs(5))
        };
        assert_eq!(outcome(INBOX, 1, 5_000), ProbeOutcome::Ok);
        assert_eq!(outcome(INBOX, 1, 5_001), ProbeOutcome::Late);
        assert_eq!(outcome("Junk", 1, 9_000), ProbeOutcome::Spam);
        assert_eq!(outcome("Junk", 2, 9_000), ProbeOutcome::Duplicate);
    }
}
