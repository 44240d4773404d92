//! What a check declares, and what it found.

/// A check, as its family declares it.
#[derive(Debug)]
pub(super) struct Spec {
    /// `family.check`.
    pub id: &'static str,
    /// What it asks, as a statement that should hold.
    pub title: &'static str,
    /// Why it matters, in one sentence.
    pub why: &'static str,
    /// What it counts in the score, 1 to 10; 10 is critical.
    pub weight: u8,
}

/// Declares a check.
pub(super) const fn spec(id: &'static str, weight: u8, title: &'static str, why: &'static str) -> Spec {
    Spec { id, title, why, weight }
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Seen {
    /// As it should be; the evidence.
    Pass(String),
    /// Could be better: the evidence, the remedy.
    Warn(String, String),
    /// Wrong: the evidence, the remedy.
    Fail(String, String),
    /// Not looked at: why.
    Skip(String),
}

impl Seen {
    fn rank(&self) -> u8 {
        match self {
            Self::Skip(_) => 0,
            Self::Pass(_) => 1,
            Self::Warn(..) => 2,
            Self::Fail(..) => 3,
        }
    }

    fn evidence(&self) -> &str {
        match self {
            Self::Pass(text) | Self::Skip(text) | Self::Warn(text, _) | Self::Fail(text, _) => text,
        }
    }
}

/// What a family found.
#[derive(Debug, Default)]
pub(super) struct Findings {
    seen: Vec<(&'static str, Seen)>,
    rest: Option<String>,
}

impl Findings {
    /// What one check found.
    pub fn put(&mut self, id: &'static str, seen: Seen) {
        self.seen.push((id, seen));
    }

    /// As it should be.
    pub fn pass(&mut self, id: &'static str, evidence: impl Into<String>) {
        self.put(id, Seen::Pass(evidence.into()));
    }

    /// Could be better.
    pub fn warn(&mut self, id: &'static str, evidence: impl Into<String>, remedy: impl Into<String>) {
        self.put(id, Seen::Warn(evidence.into(), remedy.into()));
    }

    /// Wrong.
    pub fn fail(&mut self, id: &'static str, evidence: impl Into<String>, remedy: impl Into<String>) {
        self.put(id, Seen::Fail(evidence.into(), remedy.into()));
    }

    /// Not looked at.
    pub fn skip(&mut self, id: &'static str, why: impl Into<String>) {
        self.put(id, Seen::Skip(why.into()));
    }

    /// Fails with the faults, or passes with `good` when there are none.
    pub fn faults(&mut self, id: &'static str, faults: &[String], good: impl Into<String>, remedy: impl Into<String>) {
        match faults {
            [] => self.pass(id, good),
            _ => self.fail(id, faults.join("; "), remedy),
        }
    }

    /// As [`Self::faults`], and only warns.
    pub fn doubts(&mut self, id: &'static str, doubts: &[String], good: impl Into<String>, remedy: impl Into<String>) {
        match doubts {
            [] => self.pass(id, good),
            _ => self.warn(id, doubts.join("; "), remedy),
        }
    }

    /// The worst of what was seen at several places, with the evidence of those that were as bad.
    pub fn worst(&mut self, id: &'static str, places: impl IntoIterator<Item = (String, Seen)>) {
        let places: Vec<_> = places.into_iter().collect();
        let Some(worst) = places.iter().map(|(_, seen)| seen.rank()).max() else { return };
        let bad: Vec<_> = places.iter().filter(|(_, seen)| seen.rank() == worst).collect();
        let Some((_, first)) = bad.first() else { return };
        let evidence =
            bad.iter().map(|(place, seen)| format!("{place}: {}", seen.evidence())).collect::<Vec<_>>().join("; ");
        self.put(
            id,
            match first {
                Seen::Pass(_) => Seen::Pass(evidence),
                Seen::Skip(_) => Seen::Skip(evidence),
                Seen::Warn(_, remedy) => Seen::Warn(evidence, remedy.clone()),
                Seen::Fail(_, remedy) => Seen::Fail(evidence, remedy.clone()),
            },
        );
    }

    /// Why the checks that found nothing were not looked at.
    pub fn rest(&mut self, why: impl Into<String>) {
        self.rest = Some(why.into());
    }

    /// What the check of this id found.
    pub fn take(&mut self, id: &str) -> Seen {
        match self.seen.iter().position(|(this, _)| *this == id) {
            Some(at) => self.seen.swap_remove(at).1,
            None => Seen::Skip(self.rest.clone().unwrap_or_else(|| "there was nothing to look at".to_owned())),
        }
    }
}

/// The remedy that publishes a record.
pub(super) fn publish(name: &str, kind: &str, value: &str) -> String {
    match kind {
        "TXT" => format!("publish: {name}. IN TXT \"{value}\""),
        _ => format!("publish: {name}. IN {kind} {value}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_place_decides_and_only_the_bad_ones_are_named() {
        let mut findings = Findings::default();
        let fail = |text: &str| Seen::Fail(text.to_owned(), "mend it".to_owned());
        findings.worst(
            "a.b",
            [
                ("mx1".to_owned(), Seen::Pass("fine".to_owned())),
                ("mx2".to_owned(), fail("bad")),
                ("mx3".to_owned(), fail("worse")),
            ],
        );
        assert_eq!(findings.take("a.b"), fail("mx2: bad; mx3: worse"));
        findings.rest("there is no record");
        assert_eq!(findings.take("a.c"), Seen::Skip("there is no record".to_owned()));
    }
}
