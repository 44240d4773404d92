//! A page: what one person is told over one channel. Written once, kept in the outbox, and the same over retries.

use aggregator::event::Time;
use serde::{Deserialize, Serialize};

use crate::incident::{Incident, scope_word, state_word};
use crate::view::EvidenceSection;

/// Octets of evidence in a page; the rest is on the dashboard.
const MAX_EVIDENCE_BYTES: usize = 12_000;

/// Why people are told. The tag of an update is the same at every watcher, and so is the page's identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notice {
    /// It has begun.
    Opened,
    /// Something new is known: `evidence`, `worse`, `not_mended`.
    Updated(&'static str),
    /// It has ended.
    Resolved,
    /// Nothing is wrong: `varde page --test`.
    Test,
}

impl Notice {
    fn tag(self) -> String {
        match self {
            Self::Opened => "opened".to_owned(),
            Self::Updated(what) => ["updated-", what].concat(),
            Self::Resolved => "resolved".to_owned(),
            Self::Test => "test".to_owned(),
        }
    }
}

/// The type of a page's document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// An incident has begun.
    #[serde(rename = "incident.opened")]
    Opened,
    /// Something new is known of it.
    #[serde(rename = "incident.updated")]
    Updated,
    /// It has ended.
    #[serde(rename = "incident.resolved")]
    Resolved,
}

/// What one person is told over one channel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Page {
    /// Its identity: the same over retries and at every watcher, so that providers remove doubles.
    pub page_id: String,
    /// Who.
    pub person: String,
    /// How: a name of the registry, with the number of the channel if a person has several of a kind.
    pub channel: String,
    /// What.
    pub document: Document,
}

/// The document of a page: the body of a webhook.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Document {
    /// `incident.opened` …
    #[serde(rename = "type")]
    pub kind: Kind,
    /// When it was written.
    pub timestamp: Time,
    /// What it says.
    pub data: Data,
}

/// What a page says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Data {
    /// The incident's key.
    pub incident: String,
    /// `V-7K3`.
    pub name: String,
    /// The mail system.
    pub target: String,
    /// Its service.
    pub service: String,
    /// What a person reads: `IMAP`.
    pub title: String,
    /// `firing`, `acknowledged`, `resolved`.
    pub state: String,
    /// The cause, in a word.
    pub cause: String,
    /// `certain`, `likely`, `undetermined`.
    pub confidence: String,
    /// `all_regions`, `one_region`, `unconfirmed`.
    pub scope: String,
    /// What a person reads first, in one line.
    pub headline: String,
    /// The diagnosis in a sentence or two.
    pub summary: String,
    /// What to do next.
    pub next_steps: Vec<String>,
    /// What was kept.
    pub evidence: Vec<EvidenceSection>,
    /// The first bad observation.
    pub opened_at: Time,
    /// The first good one after it.
    pub resolved_at: Option<Time>,
    /// Since when the state holds.
    pub since: Time,
    /// The last good observation before it began.
    pub last_good: Option<Time>,
    /// From where it fails.
    pub regions: Vec<String>,
    /// Where to go.
    pub links: Links,
    /// The whole as plain text.
    pub text: String,
}

/// Where a person goes from a page.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Links {
    /// Says "I have it".
    pub acknowledge: String,
    /// The dashboard.
    pub operator: String,
}

/// The identity of a page.
pub fn page_id(incident: &str, notice: Notice, person: &str, channel: &str) -> String {
    let mut hasher = blake3::Hasher::new();
    for part in [incident, &notice.tag(), person, channel] {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    hasher.finalize().to_hex()[..32].to_owned()
}

impl Page {
    /// Writes the page about `incident` for one person and channel. `acknowledge` makes the link from the page's
    /// identity.
    pub fn write(
        incident: &Incident,
        notice: Notice,
        (person, channel): (&str, &str),
        now: Time,
        operator: &str,
        acknowledge: impl FnOnce(&str) -> String,
    ) -> Self {
        let page_id = page_id(&incident.key(), notice, person, channel);
        let links = Links { acknowledge: acknowledge(&page_id), operator: operator.to_owned() };
        let kind = match notice {
            Notice::Opened | Notice::Test => Kind::Opened,
            Notice::Updated(_) => Kind::Updated,
            Notice::Resolved => Kind::Resolved,
        };
        let mut data = Data {
            incident: incident.key(),
            name: incident.name.clone(),
            target: incident.target.clone(),
            service: incident.service.clone(),
            title: incident.title.clone(),
            state: state_word(incident.state).to_owned(),
            cause: incident.diagnosis.cause.clone(),
            confidence: incident.diagnosis.confidence.as_str().to_owned(),
            scope: scope_word(incident.scope).to_owned(),
            headline: headline(incident, notice),
            summary: summary(incident, notice),
            next_steps: if notice == Notice::Resolved { Vec::new() } else { incident.diagnosis.steps.clone() },
            evidence: bounded(incident.sections()),
            opened_at: incident.opened_at,
            resolved_at: incident.resolved_at,
            since: incident.resolved_at.unwrap_or(incident.opened_at),
            last_good: incident.last_good,
            regions: incident.regions(),
            links,
            text: String::new(),
        };
        data.text = text(&data, incident);
        let document = Document { kind, timestamp: now, data };
        Self { page_id, person: person.to_owned(), channel: channel.to_owned(), document }
    }

    /// One line for a subject or a push: `[V-7K3] IMAP of varde is down: process_hung`.
    pub fn subject(&self) -> String {
        ["[", &self.document.data.name, "] ", &self.document.data.headline].concat()
    }
}

fn headline(incident: &Incident, notice: Notice) -> String {
    let (title, target, cause) = (&incident.title, &incident.target, &incident.diagnosis.cause);
    match notice {
        Notice::Resolved => format!("{title} of {target} is up again: resolved"),
        Notice::Updated("not_mended") => format!("{title} of {target} is still down: people are needed"),
        Notice::Test => "Test page: nothing is wrong".to_owned(),
        Notice::Opened | Notice::Updated(_) => match incident.scope {
            crate::diagnose::Scope::AllRegions => format!("{title} of {target} is down: {cause}"),
            crate::diagnose::Scope::OneRegion => format!("{title} of {target} fails from one region"),
            crate::diagnose::Scope::Unconfirmed => {
                format!("{title} of {target} fails, unconfirmed: no other watcher can be reached")
            }
        },
    }
}

fn summary(incident: &Incident, notice: Notice) -> String {
    if notice != Notice::Resolved {
        return incident.diagnosis.summary.clone();
    }
    let end = incident.resolved_at.unwrap_or(incident.opened_at);
    let lasted = duration(end.millis_since(incident.opened_at) / 1_000);
    let mended = incident
        .mended_by
        .as_deref()
        .map_or_else(|| "It was not mended by Varde.".to_owned(), |by| format!("It was mended by {by}."));
    format!(
        "Resolved: {} of {} was down for {lasted}, from {} to {end}. {mended} The cause was {} ({}): {}",
        incident.title,
        incident.target,
        incident.opened_at,
        incident.diagnosis.cause,
        incident.diagnosis.confidence.as_str(),
        incident.diagnosis.summary
    )
}

/// `47 s`, `5 min 12 s`, `2 h 5 min`.
fn duration(seconds: u64) -> String {
    match (seconds / 3_600, seconds / 60 % 60, seconds % 60) {
        (0, 0, s) => format!("{s} s"),
        (0, m, s) => format!("{m} min {s} s"),
        (h, m, _) => format!("{h} h {m} min"),
    }
}

fn text(data: &Data, incident: &Incident) -> String {
    let mut lines = vec![format!("[{}] {}", data.name, data.headline), String::new(), data.summary.clone()];
    let mut part = |title: &str, content: Vec<String>| {
        if !content.is_empty() {
            lines.extend([String::new(), title.to_owned()]);
            lines.extend(content);
        }
    };
    part("Next steps:", data.next_steps.iter().enumerate().map(|(n, step)| format!("{}. {step}", n + 1)).collect());
    part(
        "When:",
        [
            data.last_good.map(|at| format!("last good  {at}")),
            Some(format!("first bad  {}", data.opened_at)),
            data.resolved_at.map(|at| format!("first good {at}")),
        ]
        .into_iter()
        .flatten()
        .collect(),
    );
    part("What happened:", incident.timeline.iter().map(|entry| format!("{} {}", entry.at, entry.text)).collect());
    if data.state != "resolved" {
        part("I have it:", vec![data.links.acknowledge.clone()]);
    }
    part("Dashboard:", vec![data.links.operator.clone()]);
    for section in &data.evidence {
        part(&format!("Evidence, {}:", section.section), section.content.lines().map(str::to_owned).collect());
    }
    lines.join("\n")
}

/// The sections as far as they fit; of a long one the end is kept, where the news is.
fn bounded(sections: Vec<EvidenceSection>) -> Vec<EvidenceSection> {
    let mut left = MAX_EVIDENCE_BYTES;
    let mut fit = |mut section: EvidenceSection| {
        if section.content.len() > left {
            let cut = section.content.len() - left;
            let from = section.content.bytes().skip(cut).position(|byte| byte == b'\n').map(|at| cut + at + 1)?;
            section.content = section.content.split_off(from);
        }
        left -= section.content.len();
        (!section.content.is_empty()).then_some(section)
    };
    sections.into_iter().filter_map(&mut fit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_said_in_two_units_at_most() {
        assert_eq!([duration(47), duration(312), duration(7_500)], ["47 s", "5 min 12 s", "2 h 5 min"]);
    }

    #[test]
    fn evidence_too_long_for_a_page_keeps_its_end() {
        let lines: Vec<String> = (0..3_000).map(|n| format!("line {n}")).collect();
        let section =
            |name: &str, content: &str| EvidenceSection { section: name.to_owned(), content: content.to_owned() };
        let kept = bounded(vec![section("process", "T"), section("log", &lines.join("\n")), section("more", "x\ny")]);
        assert_eq!(kept[0], section("process", "T"));
        assert!(kept[1].content.ends_with("line 2999") && kept[1].content.starts_with("line "));
        let total: usize = kept.iter().map(|section| section.content.len()).sum();
        assert!(total <= MAX_EVIDENCE_BYTES);
    }

    #[test]
    fn each_notice_person_and_channel_has_its_own_identity_that_never_changes() {
        let id = |notice, person| page_id("abc-1", notice, person, "webhook");
        assert_eq!(id(Notice::Opened, "Ada"), id(Notice::Opened, "Ada"));
        let all = [
            id(Notice::Opened, "Ada"),
            id(Notice::Resolved, "Ada"),
            id(Notice::Updated("worse"), "Ada"),
            id(Notice::Opened, "Bjarne"),
        ];
        assert_eq!(all.iter().collect::<std::collections::BTreeSet<_>>().len(), 4);
    }
}
