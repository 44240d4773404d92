//! The report of an audit: every check, the score, the events.

use std::borrow::Cow;

use aggregator::event::{PostureCheck, Time};
use serde::{Deserialize, Serialize};

use super::Family;
use super::finding::{Findings, Seen};

/// How much evidence of a check is kept, in characters: records of strangers are in it.
const EVIDENCE_MAX: usize = 1_000;
/// Who fails a critical check has at most this score.
const CRITICAL_SCORE_MAX: u32 = 59;
/// The weight of a critical check.
const CRITICAL: u8 = 10;

/// What came of a check; the worst is the greatest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It was not looked at; the evidence says why.
    Skipped,
    /// As it should be.
    Pass,
    /// Could be better.
    Warn,
    /// Wrong.
    Fail,
}

impl Outcome {
    /// As it stands in JSON and tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Skipped => "skipped",
            Self::Pass => "pass",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// What one check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// `spf.lookups`.
    pub id: Cow<'static, str>,
    /// The family: what stands before the dot of the id.
    pub family: Cow<'static, str>,
    /// The family's heading, for people.
    pub heading: Cow<'static, str>,
    /// A statement that should hold.
    pub title: Cow<'static, str>,
    /// Whether it does.
    pub result: Outcome,
    /// What was found; for a skipped check, why it was skipped.
    pub evidence: String,
    /// Why it matters.
    pub why: Cow<'static, str>,
    /// The record to publish or the setting to change; empty when there is nothing to do.
    pub remedy: String,
    /// What it counts in the score, 1 to 10.
    pub weight: u8,
}

/// A school mark for the score.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Grade {
    /// 90 and more.
    A,
    /// 80 and more.
    B,
    /// 70 and more.
    C,
    /// 60 and more.
    D,
    /// Less, or a critical check failed.
    F,
}

/// The posture of a domain.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The domain.
    pub domain: String,
    /// When it was audited.
    pub at: Time,
    /// 0 to 100: the share of the weights that passed, a warning counting half; skipped checks do not count.
    pub score: u32,
    /// The mark for it.
    pub grade: Grade,
    /// Every check, by family.
    pub checks: Vec<Check>,
}

impl Report {
    pub(super) fn new<'a>(domain: &str, at: Time, families: impl Iterator<Item = (&'a Family, Findings)>) -> Self {
        let mut checks = Vec::new();
        for (family, mut findings) in families {
            for spec in family.checks {
                let (result, evidence, remedy) = match findings.take(spec.id) {
                    Seen::Pass(evidence) => (Outcome::Pass, evidence, String::new()),
                    Seen::Warn(evidence, remedy) => (Outcome::Warn, evidence, remedy),
                    Seen::Fail(evidence, remedy) => (Outcome::Fail, evidence, remedy),
                    Seen::Skip(why) => (Outcome::Skipped, why, String::new()),
                };
                checks.push(Check {
                    id: spec.id.into(),
                    family: family.name.into(),
                    heading: family.title.into(),
                    title: spec.title.into(),
                    result,
                    evidence: harmless(&evidence),
                    why: spec.why.into(),
                    remedy: harmless(&remedy),
                    weight: spec.weight,
                });
            }
        }
        let score = score(&checks);
        Self { domain: domain.to_owned(), at, score, grade: grade(score), checks }
    }

    /// Whether a check failed.
    pub fn failed(&self) -> bool {
        self.checks.iter().any(|check| check.result == Outcome::Fail)
    }

    /// How many checks came out like this.
    pub fn count(&self, outcome: Outcome) -> usize {
        self.checks.iter().filter(|check| check.result == outcome).count()
    }

    /// The report as rows of `posture_checks`; skipped checks found nothing and are no rows.
    pub fn to_events(&self) -> Vec<PostureCheck> {
        let looked_at = self.checks.iter().filter(|check| check.result != Outcome::Skipped);
        let row = |check: &Check| PostureCheck {
            ts: self.at,
            domain: self.domain.clone(),
            check: check.id.clone().into_owned(),
            result: check.result.as_str().to_owned(),
            evidence: check.evidence.clone(),
            remedy: check.remedy.clone(),
            ..PostureCheck::default()
        };
        looked_at.map(row).collect()
    }
}

fn score(checks: &[Check]) -> u32 {
    let (mut reached, mut possible) = (0, 0);
    for check in checks {
        let weight = u32::from(check.weight);
        let (half_points, counts) = match check.result {
            Outcome::Pass => (2, 2),
            Outcome::Warn => (1, 2),
            Outcome::Fail => (0, 2),
            Outcome::Skipped => (0, 0),
        };
        reached += weight * half_points;
        possible += weight * counts;
    }
    let score = (reached * 100).checked_div(possible).unwrap_or(0);
    let critical = checks.iter().any(|check| check.result == Outcome::Fail && check.weight >= CRITICAL);
    if critical { score.min(CRITICAL_SCORE_MAX) } else { score }
}

fn grade(score: u32) -> Grade {
    match score {
        90.. => Grade::A,
        80..90 => Grade::B,
        70..80 => Grade::C,
        60..70 => Grade::D,
        _ => Grade::F,
    }
}

/// Text of strangers, for a terminal: short, and without control characters.
fn harmless(text: &str) -> String {
    let mut out: String = text.chars().take(EVIDENCE_MAX).map(|c| if c.is_control() { '·' } else { c }).collect();
    if text.chars().nth(EVIDENCE_MAX).is_some() {
        out.push('…');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(result: Outcome, weight: u8) -> Check {
        let (evidence, remedy) = (String::new(), String::new());
        let (id, family, heading) = ("a.b".into(), "a".into(), "A".into());
        Check { id, family, heading, title: "".into(), result, evidence, why: "".into(), remedy, weight }
    }

    #[test]
    fn the_score_is_the_share_of_the_weights_and_a_critical_failure_caps_it() {
        let good = vec![check(Outcome::Pass, 9), check(Outcome::Skipped, 9), check(Outcome::Warn, 1)];
        assert_eq!((score(&good), grade(score(&good))), (95, Grade::A));
        let mut bad = vec![check(Outcome::Pass, 9); 20];
        bad.push(check(Outcome::Fail, 9));
        assert_eq!(score(&bad), 95);
        bad.push(check(Outcome::Fail, 10));
        assert_eq!((score(&bad), grade(score(&bad))), (59, Grade::F));
        assert_eq!(score(&[check(Outcome::Skipped, 5)]), 0);
    }

    #[test]
    fn what_strangers_publish_cannot_drive_a_terminal() {
        assert_eq!(harmless("a\u{1b}[31m\nb"), "a·[31m·b");
        assert_eq!(harmless(&"x".repeat(5_000)).chars().count(), EVIDENCE_MAX + 1);
    }

    #[test]
    fn events_carry_what_was_found_and_leave_out_what_was_skipped() {
        let checks = vec![check(Outcome::Fail, 5), check(Outcome::Skipped, 5)];
        let report = Report { domain: "example.test".to_owned(), at: Time(7), score: 0, grade: Grade::F, checks };
        let events = report.to_events();
        assert_eq!(events.len(), 1);
        assert_eq!((events[0].ts, events[0].check.as_str(), events[0].result.as_str()), (Time(7), "a.b", "fail"));
    }
}
