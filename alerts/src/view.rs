//! What a watcher tells of its incidents: the answer of `GET /api/v1/incidents`, newest first.

use aggregator::event::Time;
use serde::{Deserialize, Serialize};

/// Where an incident is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IncidentState {
    /// Nobody has answered yet.
    Firing,
    /// A person has it.
    Acknowledged,
    /// The full chain passes again.
    Resolved,
}

/// An incident as people see it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct IncidentView {
    /// Its key: hash(site, target, symptom chain) and generation.
    pub incident: String,
    /// The short name by which people merge doubles: `V-7K3`.
    pub name: String,
    /// The mail system.
    pub target: String,
    /// The service of it.
    pub service: String,
    /// What a person reads: `IMAP`.
    pub title: String,
    /// Where it is.
    pub state: IncidentState,
    /// The cause that the diagnosis names, in a word of its table: `process_hung`.
    pub cause: String,
    /// `certain`, `likely` or `undetermined`.
    pub confidence: String,
    /// `all_regions`, `one_region`.
    pub scope: String,
    /// What a person reads first.
    pub summary: String,
    /// What to do next.
    pub next_steps: Vec<String>,
    /// When it began: the first bad observation.
    pub opened_at: Time,
    /// When it ended: the first good one.
    pub resolved_at: Option<Time>,
    /// Who has it.
    pub acknowledged_by: Option<String>,
    /// What was kept before anything was restarted, redacted.
    pub evidence: Vec<EvidenceSection>,
    /// What happened, oldest first.
    pub timeline: Vec<TimelineEntry>,
}

/// One section of the evidence.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EvidenceSection {
    /// `process`, `threads`, `sockets`, `log`, `disk` …
    pub section: String,
    /// The text, redacted and bounded.
    pub content: String,
}

/// One line of an incident's story.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TimelineEntry {
    /// When.
    pub at: Time,
    /// `paged Ada by webhook`, `restart of mail-imap ordered` …
    pub text: String,
}
