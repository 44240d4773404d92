//! What has changed in a domain's posture since its last audit. Pure.

use std::borrow::Cow;

use aggregator::event::{PostureChange, Time};
use serde::{Deserialize, Serialize};

use super::report::{Check, Outcome, Report};

/// A check that came out otherwise than the last time it was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// When it was seen.
    pub at: Time,
    /// `spf.lookups`.
    pub check: String,
    /// The statement that should hold.
    pub title: String,
    /// What it was.
    pub from: Outcome,
    /// What it is.
    pub to: Outcome,
    /// What was found.
    pub evidence: String,
    /// How to mend it; empty when it passes.
    pub remedy: String,
}

impl Change {
    /// What differs between the last audits of a domain, newest first, and `report`. A check that was skipped says
    /// nothing: it is compared with the last time that it was looked at, so that a resolver's bad day is no change.
    pub fn between(before: &[Report], report: &Report) -> Vec<Self> {
        let last = |id: &Cow<'static, str>| {
            let seen = before.iter().filter_map(|old| old.checks.iter().find(|check| check.id == *id));
            seen.map(|check| check.result).find(|result| *result != Outcome::Skipped)
        };
        let looked_at = report.checks.iter().filter(|check| check.result != Outcome::Skipped);
        let change = |check: &Check| {
            let from = last(&check.id).filter(|from| *from != check.result)?;
            Some(Self {
                at: report.at,
                check: check.id.clone().into_owned(),
                title: check.title.clone().into_owned(),
                from,
                to: check.result,
                evidence: check.evidence.clone(),
                remedy: check.remedy.clone(),
            })
        };
        looked_at.filter_map(change).collect()
    }

    /// The change as a row of `posture_changes`.
    pub fn to_event(&self, domain: &str) -> PostureChange {
        PostureChange {
            ts: self.at,
            domain: domain.to_owned(),
            check: self.check.clone(),
            previous: self.from.as_str().to_owned(),
            result: self.to.as_str().to_owned(),
            evidence: self.evidence.clone(),
            remedy: self.remedy.clone(),
            ..PostureChange::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Grade;
    use super::*;

    fn report(at: i64, results: &[(&'static str, Outcome)]) -> Report {
        let check = |(id, result): &(&'static str, Outcome)| Check {
            id: (*id).into(),
            family: "a".into(),
            heading: "A".into(),
            title: "T".into(),
            result: *result,
            evidence: format!("seen at {at}"),
            why: "W.".into(),
            remedy: String::new(),
            weight: 5,
        };
        let checks = results.iter().map(check).collect();
        Report { domain: "a.test".to_owned(), at: Time(at), score: 0, grade: Grade::F, checks }
    }

    #[test]
    fn what_came_out_otherwise_is_a_change_and_what_was_skipped_is_none() {
        use Outcome::{Fail, Pass, Skipped, Warn};
        let before = [
            report(2, &[("a.x", Pass), ("a.y", Skipped), ("a.z", Warn)]),
            report(1, &[("a.x", Fail), ("a.y", Pass), ("a.z", Warn)]),
        ];
        let new = report(3, &[("a.x", Fail), ("a.y", Fail), ("a.z", Skipped), ("a.new", Fail)]);
        let changes = Change::between(&before, &new);
        let seen: Vec<_> = changes.iter().map(|change| (change.check.as_str(), change.from, change.to)).collect();
        assert_eq!(seen, [("a.x", Pass, Fail), ("a.y", Pass, Fail)]);
        assert_eq!((changes[0].at, changes[0].evidence.as_str()), (Time(3), "seen at 3"));
        let row = changes[0].to_event("a.test");
        assert_eq!((row.previous.as_str(), row.result.as_str(), row.domain.as_str()), ("pass", "fail", "a.test"));
        assert_eq!(Change::between(&[], &new), [], "a first audit has changed nothing");
    }
}
