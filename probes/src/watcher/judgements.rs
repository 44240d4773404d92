//! Judgements that wait for a responder that is behind. Nothing that pages is ever dropped: of a service's changes the
//! newest one stays, which says more about now; a suspicion only asks for evidence early, and the oldest of those go.

use std::collections::VecDeque;

use crate::judgement::Judgement;

/// Judgements that wait in the order in which they were made. Past it suspicions are dropped, and the changes of a
/// service become one: then there are at most two for each service.
pub const WAITING_JUDGEMENTS: usize = 256;

/// The queue.
#[derive(Debug, Default)]
pub struct Judgements {
    queue: VecDeque<Judgement>,
    /// Suspicions that were dropped since that was last said.
    dropped: u64,
}

impl Judgements {
    /// Puts one at the end.
    pub fn push(&mut self, judgement: Judgement) {
        self.queue.push_back(judgement);
        if self.queue.len() <= WAITING_JUDGEMENTS {
            return;
        }
        if let Some(oldest) = self.queue.iter().position(|one| matches!(one, Judgement::Suspected(_))) {
            self.queue.remove(oldest);
            self.dropped += 1;
            return;
        }
        let Some((newest, older)) = self.queue.make_contiguous().split_last_mut() else { return };
        let same = older.iter().position(|one| supersedes(newest, one));
        if let Some(place) = same {
            if let (Judgement::Changed(new), Judgement::Changed(old)) = (newest, &older[place]) {
                new.from = old.from;
            }
            self.queue.remove(place);
        }
    }

    /// The first one.
    pub fn pop(&mut self) -> Option<Judgement> {
        self.queue.pop_front()
    }

    /// Puts the first one back.
    pub fn put_back(&mut self, judgement: Judgement) {
        self.queue.push_front(judgement);
    }

    /// How many suspicions were dropped since this was last asked.
    pub fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }
}

fn supersedes(newer: &Judgement, older: &Judgement) -> bool {
    match (newer, older) {
        (Judgement::Changed(new), Judgement::Changed(old)) => {
            (&new.target, &new.service) == (&old.target, &old.service)
        }
        (Judgement::Unconfirmed(new), Judgement::Unconfirmed(old)) => {
            (&new.target, &new.service) == (&old.target, &old.service)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use aggregator::event::{ProbeOutcome, Time, VerdictState};

    use super::*;
    use crate::judgement::Change;
    use crate::observation::Observation;

    fn suspected(service: usize) -> Judgement {
        Judgement::Suspected(Box::new(Observation {
            ts: Time(0),
            target: "t".to_owned(),
            service: service.to_string(),
            check: "c".to_owned(),
            vantage: "v".to_owned(),
            run_id: "r".to_owned(),
            slot: None,
            outcome: ProbeOutcome::Failed,
            steps: Vec::new(),
            total_ms: 1,
        }))
    }

    fn changed(service: usize, from: VerdictState, to: VerdictState) -> Judgement {
        Judgement::Changed(Box::new(Change {
            target: "t".to_owned(),
            service: service.to_string(),
            title: String::new(),
            from,
            to,
            at: Time(0),
            since: Time(0),
            last_good: None,
            observations: Vec::new(),
            voters: Vec::new(),
            assigned: 1,
        }))
    }

    #[test]
    fn a_responder_that_is_behind_loses_suspicions_and_no_verdict() {
        use VerdictState::{Down, Unknown, Up};
        let mut waiting = Judgements::default();
        for service in 0..1_000 {
            waiting.push(suspected(service));
            waiting.push(changed(service, Unknown, Down));
        }
        waiting.push(changed(7, Down, Up));
        assert_eq!(waiting.take_dropped(), 1_000);
        let all: Vec<Judgement> = std::iter::from_fn(|| waiting.pop()).collect();
        assert_eq!(all.len(), 1_000, "one for each service");
        assert_eq!((&all[0], all.last()), (&changed(0, Unknown, Down), Some(&changed(7, Unknown, Up))));
        assert!(!all.contains(&changed(7, Unknown, Down)));
    }

    #[test]
    fn as_long_as_there_is_room_everything_is_told_in_order() {
        let mut waiting = Judgements::default();
        let all = [suspected(1), changed(1, VerdictState::Up, VerdictState::Down), suspected(2)];
        all.iter().for_each(|one| waiting.push(one.clone()));
        let first = waiting.pop().unwrap();
        waiting.put_back(first);
        assert_eq!(std::iter::from_fn(|| waiting.pop()).collect::<Vec<_>>(), all);
    }
}
