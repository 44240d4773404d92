//! Incidents: when one opens, what joins it, when it ends. Pure: judgements in, what changed out.
//!
//! The key is hash(site, target, symptom chain) and a generation, never the diagnosed cause or a clock: watchers
//! disagree on both. The symptom chain is the service that failed first. One incident per root cause: a composite
//! service (the round trip) that fails while a part of it is down joins that part's incident, and opens one of its own
//! when it does not recover with it.

mod book;
mod left;

use std::collections::BTreeSet;

use aggregator::event::{IncidentRow, Time};
use probes::observation::Observation;
use serde::{Deserialize, Serialize};

pub use book::{Book, Step};

use crate::diagnose::{Case, Diagnosis, Scope, described, diagnose};
use crate::evidence::Evidence;
use crate::view::{EvidenceSection, IncidentState, IncidentView, TimelineEntry};

/// Lines of its story that an incident keeps; later ones are dropped.
const MAX_TIMELINE: usize = 200;

/// Services that use all the others: their failure is a consequence as long as another service is down.
const COMPOSITE: &[&str] = &["round_trip"];

/// Whether a service is made of the others.
pub fn is_composite(service: &str) -> bool {
    COMPOSITE.contains(&service)
}

/// When people are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "paging", content = "until")]
pub enum Paging {
    /// A failure from one region is shown at once and paged only if it lasts.
    Held(Time),
    /// They have been.
    Paged,
}

/// What was tried to mend it without people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mending {
    /// Nothing yet.
    Untried,
    /// The rules forbid it; the name of the rule.
    Refused(String),
    /// On its way.
    Ordered,
    /// The unit was restarted.
    Restarted,
    /// Restarted, and the full chain passes.
    Verified,
    /// It could not be done, or did not help.
    Failed,
}

/// An incident.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Incident {
    /// Hash of site, target and symptom chain.
    pub base: String,
    /// Rises with each incident of the same base.
    pub generation: u32,
    /// `V-7K3`.
    pub name: String,
    /// The mail system.
    pub target: String,
    /// The service that is the root of it.
    pub service: String,
    /// What a person reads.
    pub title: String,
    /// The unit behind the service.
    pub unit: Option<String>,
    /// The services that still fail.
    pub failing: BTreeSet<String>,
    /// From where it is seen.
    pub scope: Scope,
    /// Where it is.
    pub state: IncidentState,
    /// What is broken.
    pub diagnosis: Diagnosis,
    /// The first bad observation.
    pub opened_at: Time,
    /// The last good one before.
    pub last_good: Option<Time>,
    /// When most regions succeeded again, while one still fails.
    pub recovered_at: Option<Time>,
    /// The first good one after.
    pub resolved_at: Option<Time>,
    /// Who has it.
    pub acknowledged_by: Option<String>,
    /// Whether people are to be told now, or later.
    pub paging: Paging,
    /// Whether they have been: only then are they told of its end.
    pub told: bool,
    /// What was tried without them.
    pub mending: Mending,
    /// What mended it, if that is known.
    pub mended_by: Option<String>,
    /// What the watchers saw last.
    pub observations: Vec<Observation>,
    /// What the node kept.
    pub evidence: Option<Evidence>,
    /// What happened.
    pub timeline: Vec<TimelineEntry>,
    /// Counts its changes.
    pub revision: u32,
}

impl Incident {
    /// Its key, the same at every watcher: `3f2a…-2`.
    pub fn key(&self) -> String {
        format!("{}-{}", self.base, self.generation)
    }

    /// Whether it has not ended.
    pub fn is_open(&self) -> bool {
        self.state != IncidentState::Resolved
    }

    /// Adds a line to its story; one that says the same as the last is left out.
    pub fn note(&mut self, at: Time, text: impl Into<String>) {
        let text = text.into();
        let news = self.timeline.last().is_none_or(|last| last.text != text);
        if news && self.timeline.len() < MAX_TIMELINE {
            self.timeline.push(TimelineEntry { at, text });
        }
    }

    /// Adds a line that its story does not have yet: what is tried every minute is told once.
    pub fn note_once(&mut self, at: Time, text: String) {
        if !self.timeline.iter().any(|line| line.text == text) {
            self.note(at, text);
        }
    }

    /// Looks at everything that is known again; says whether the cause has another name now.
    pub fn diagnose(&mut self) -> bool {
        let facts = self.evidence.as_ref().map(|evidence| &evidence.facts);
        let case = Case {
            target: &self.target,
            service: &self.service,
            title: &self.title,
            unit: self.unit.as_deref(),
            scope: self.scope,
            observations: &self.observations,
            facts,
        };
        let diagnosis = diagnose(&case);
        let changed = diagnosis.cause != self.diagnosis.cause;
        self.diagnosis = diagnosis;
        changed
    }

    /// A person has it. Says whether that is news.
    pub fn acknowledge(&mut self, person: &str, now: Time) -> bool {
        if self.state != IncidentState::Firing {
            return false;
        }
        self.state = IncidentState::Acknowledged;
        self.acknowledged_by = Some(person.to_owned());
        self.note(now, format!("{person} has it"));
        true
    }

    /// The regions from which it fails.
    pub fn regions(&self) -> Vec<String> {
        let failing = |seen: &&Observation| seen.service == self.service && seen.failed_step().is_some();
        let regions: BTreeSet<&str> =
            self.observations.iter().filter(failing).map(|seen| seen.vantage.as_str()).collect();
        regions.into_iter().map(str::to_owned).collect()
    }

    /// What was seen and kept, section by section: first the reasons of the diagnosis.
    pub fn sections(&self) -> Vec<EvidenceSection> {
        let section =
            |name: &str, lines: Vec<String>| EvidenceSection { section: name.to_owned(), content: lines.join("\n") };
        let own = self.observations.iter().filter(|seen| seen.service == self.service);
        let mut sections = vec![
            section("diagnosis", self.diagnosis.supports.iter().chain(&self.diagnosis.against).cloned().collect()),
            section("observations", own.map(described).collect()),
        ];
        sections.retain(|section| !section.content.is_empty());
        if let Some(evidence) = &self.evidence {
            let kept = |kept: &crate::evidence::Section| EvidenceSection {
                section: kept.section.clone(),
                content: kept.content.clone(),
            };
            sections.extend(evidence.sections.iter().map(kept));
        }
        sections
    }

    /// As people see it.
    pub fn view(&self) -> IncidentView {
        IncidentView {
            incident: self.key(),
            name: self.name.clone(),
            target: self.target.clone(),
            service: self.service.clone(),
            title: self.title.clone(),
            state: self.state,
            cause: self.diagnosis.cause.clone(),
            confidence: self.diagnosis.confidence.as_str().to_owned(),
            scope: scope_word(self.scope).to_owned(),
            summary: self.diagnosis.summary.clone(),
            next_steps: self.diagnosis.steps.clone(),
            opened_at: self.opened_at,
            resolved_at: self.resolved_at,
            acknowledged_by: self.acknowledged_by.clone(),
            evidence: self.sections(),
            timeline: self.timeline.clone(),
        }
    }

    /// As a row of `incidents`; counts the change.
    pub fn row(&mut self, now: Time) -> IncidentRow {
        self.revision += 1;
        IncidentRow {
            ts: now,
            incident: self.key(),
            revision: self.revision,
            name: self.name.clone(),
            target: self.target.clone(),
            service: self.service.clone(),
            state: state_word(self.state).to_owned(),
            cause: self.diagnosis.cause.clone(),
            confidence: self.diagnosis.confidence.as_str().to_owned(),
            scope: scope_word(self.scope).to_owned(),
            summary: self.diagnosis.summary.clone(),
            next_steps: self.diagnosis.steps.join("\n"),
            opened_at: Some(self.opened_at),
            resolved_at: self.resolved_at,
            ..IncidentRow::default()
        }
    }
}

/// The word of a scope in tables and JSON.
pub fn scope_word(scope: Scope) -> &'static str {
    match scope {
        Scope::AllRegions => "all_regions",
        Scope::OneRegion => "one_region",
        Scope::Unconfirmed => "unconfirmed",
    }
}

/// The word of a state in tables and JSON.
pub fn state_word(state: IncidentState) -> &'static str {
    match state {
        IncidentState::Firing => "firing",
        IncidentState::Acknowledged => "acknowledged",
        IncidentState::Resolved => "resolved",
    }
}

#[cfg(test)]
pub(crate) mod tests;
