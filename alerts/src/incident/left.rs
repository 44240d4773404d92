//! Composite services that were still down when the incident which they had joined ended.
//!
//! A round trip is looked at every half minute while it is down, so it follows its part soon. One that does not has a
//! reason of its own, and people have to hear of it.

use std::collections::BTreeMap;

use aggregator::event::{Time, VerdictState};
use probes::judgement::Change;

use super::is_composite;

/// How long after the end of its part's incident a composite may still be down: some looks at it, with their time-outs.
pub const LEFT_MS: i64 = 180_000;

/// What is known of the composites that are down, by target and service.
#[derive(Debug, Default)]
pub(super) struct Left(BTreeMap<(String, String), (Change, Option<Time>)>);

impl Left {
    /// A verdict has changed: remembers a composite that is down, and forgets one that is not.
    pub(super) fn change(&mut self, change: &Change) {
        if !is_composite(&change.service) {
            return;
        }
        let service = (change.target.clone(), change.service.clone());
        if change.to == VerdictState::Down {
            let until = self.0.remove(&service).and_then(|(_, until)| until);
            self.0.insert(service, (change.clone(), until));
        } else {
            self.0.remove(&service);
        }
    }

    /// Its incident has ended without it.
    pub(super) fn leave(&mut self, target: &str, service: &str, now: Time) {
        if let Some((_, until)) = self.0.get_mut(&(target.to_owned(), service.to_owned())) {
            *until = Some(now.plus_millis(LEFT_MS));
        }
    }

    /// Those that are still down when they should not be any more; each once.
    pub(super) fn due(&mut self, now: Time) -> Vec<Change> {
        let due =
            |(_, (_, until)): &(&(String, String), &mut (Change, Option<Time>))| until.is_some_and(|at| at <= now);
        self.0
            .iter_mut()
            .filter(due)
            .map(|(_, (change, until))| {
                *until = None;
                Change { at: now, ..change.clone() }
            })
            .collect()
    }
}
