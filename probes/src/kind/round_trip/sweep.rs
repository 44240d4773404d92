//! What earlier runs left in a mailbox: which messages are a probe's, which of them go, and which are late ones.
//!
//! A message belongs to a probe when its subject names a run and its header or its text proves it; no other is ever
//! removed. Those of this run go at once, and those of this watcher's runs that had said `missing`, once they are
//! recorded as late. What else is there may be another watcher's, under way or awaited: it goes when it is old.

use std::collections::BTreeSet;

use aggregator::event::Time;

use super::letter;
use crate::kind::{Awaited, Finding};

/// What is as old as this belongs to nobody who still waits for it. A day is the promise; a quarter of it leaves room
/// for a mailbox that cannot be reached for most of that day.
pub(super) const LEFTOVER_AGE_MS: u64 = 6 * 3_600_000;

/// A message whose subject names a run.
#[derive(Debug, Clone)]
pub(super) struct Candidate<Id> {
    /// How the mailbox calls it.
    pub id: Id,
    /// The run that its subject names.
    pub run_id: String,
    /// The way that its subject names.
    pub way: String,
    /// Its probe header, when it has one.
    pub header: Option<String>,
    /// When it came into the mailbox.
    pub came: Option<Time>,
    /// The folder, when it is one that mail comes to.
    pub arrived_in: Option<String>,
}

impl<Id> Candidate<Id> {
    /// A message with this subject and header, if the subject is one of a probe.
    pub fn new(
        id: Id,
        subject: &str,
        header: Option<String>,
        came: Option<Time>,
        arrived_in: Option<String>,
    ) -> Option<Self> {
        let (run_id, way) = letter::run_of(subject)?;
        Some(Self { id, run_id: run_id.to_owned(), way: way.to_owned(), header, came, arrived_in })
    }

    /// Whether it must show its text before it can be said whose it is.
    pub fn is_unproven(&self) -> bool {
        self.header.is_none()
    }

    /// Whether its header is that of the run in its subject.
    fn is_proven(&self) -> bool {
        self.header.as_ref().is_some_and(|header| letter::sent(header, &self.run_id).is_some())
    }

    /// When it was sent, as it says itself.
    fn sent(&self) -> Option<Time> {
        letter::sent(self.header.as_ref()?, &self.run_id)?
    }

    /// Whether it is to go now, if it is a probe's.
    pub fn is_due(&self, run_id: &str, awaited: &[Awaited], now: Time) -> bool {
        let old = self.came.is_some_and(|came| now.millis_since(came) > LEFTOVER_AGE_MS);
        old || self.run_id == run_id || awaited.iter().any(|run| run.run_id == self.run_id)
    }

    /// The text proves that it is a probe's: from now on that counts as if it had the header.
    pub fn prove(&mut self, octets: &[u8]) {
        if letter::is_marked(octets, &self.run_id, &self.way) {
            self.header = Some(self.run_id.clone());
        }
    }
}

/// Which messages go, and what they say of the runs that had waited for them.
pub(super) fn sort<Id: Clone>(
    candidates: &[Candidate<Id>],
    run_id: &str,
    awaited: &[Awaited],
    now: Time,
) -> (Vec<Id>, Vec<Finding>) {
    let mut seen = BTreeSet::new();
    let (mut due, mut findings) = (Vec::new(), Vec::new());
    for candidate in
        candidates.iter().filter(|candidate| candidate.is_proven() && candidate.is_due(run_id, awaited, now))
    {
        due.push(candidate.id.clone());
        let run = awaited.iter().find(|run| run.run_id == candidate.run_id);
        if let (Some(run), Some(folder), Some(came)) = (run, &candidate.arrived_in, candidate.came)
            && seen.insert(run.run_id.clone())
        {
            let sent = candidate.sent().unwrap_or(run.ts);
            findings.push(Finding::Late {
                run_id: run.run_id.clone(),
                ts: run.ts,
                delay_ms: came.millis_since(sent),
                folder: folder.clone(),
            });
        }
    }
    (due, findings)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Time = Time(1_795_000_000_000_000);

    fn candidate(id: u32, run_id: &str, header: Option<&str>, age_s: i64) -> Candidate<u32> {
        let subject = format!("Varde probe {run_id} submission");
        let header = header.map(str::to_owned);
        Candidate::new(id, &subject, header, Some(NOW.plus_millis(-age_s * 1_000)), Some("INBOX".to_owned())).unwrap()
    }

    #[test]
    fn only_messages_that_prove_to_be_a_probes_go() {
        let all = [
            candidate(1, "mine", Some("mine sent=1"), 10),
            candidate(2, "theirs", Some("theirs"), 10),
            candidate(3, "theirs", Some("theirs"), 6 * 3_600 + 1),
            candidate(4, "old", None, 99_999),
            candidate(5, "old", Some("another"), 99_999),
        ];
        assert_eq!(sort(&all, "mine", &[], NOW), (vec![1, 3], vec![]));
    }

    #[test]
    fn a_message_that_comes_after_its_run_gave_up_is_late_by_its_true_delay() {
        let ts = NOW.plus_millis(-900_000);
        let sent = format!("lost sent={}", ts.plus_millis(2_000).0 / 1_000);
        let awaited = [Awaited { run_id: "lost".to_owned(), ts }];
        let copies = [candidate(7, "lost", Some(&sent), 60), candidate(8, "lost", Some(&sent), 50)];
        let late = Finding::Late { run_id: "lost".to_owned(), ts, delay_ms: 838_000, folder: "INBOX".to_owned() };
        assert_eq!(sort(&copies, "mine", &awaited, NOW), (vec![7, 8], vec![late]));
        // A copy among the sent ones has not come.
        let mut sent_copy = candidate(9, "lost", Some(&sent), 60);
        sent_copy.arrived_in = None;
        assert_eq!(sort(&[sent_copy], "mine", &awaited, NOW), (vec![9], vec![]));
    }
}
