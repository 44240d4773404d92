//! Evidence: what the node found when trouble began, kept before anything is restarted.
//!
//! Its sections are chained by hash, so that what was shipped off the host cannot be changed there later.

pub mod capture;
pub mod redact;

use std::time::Duration;

use aggregator::event::{EvidenceRow, Time};
use probes::keys::SigningKey;
use serde::{Deserialize, Serialize};

use crate::diagnose::{AcceptQueue, Disk, Process};
use crate::signed::{Keys, NotValid, Purpose, Signed};

/// How long a node may take. The page does not wait for it.
pub const DEADLINE: Duration = Duration::from_secs(10);

/// Octets of an answer that are read; a longer one is refused.
pub const MAX_ANSWER_BYTES: usize = 1 << 20;

/// What a diagnosis reads, each fact with the words that a person reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// The host.
    pub host: String,
    /// The unit.
    pub unit: String,
    /// Its process.
    pub process: Process,
    /// `mail-imap (pid 123) is in state T (stopped)`.
    pub process_text: String,
    /// Its accept queue.
    pub accept_queue: AcceptQueue,
    /// `2 connections wait to be accepted at 127.0.0.1:2993`.
    pub accept_queue_text: String,
    /// The disk under its data.
    pub disk: Disk,
    /// `12.1 GiB of 100.0 GiB free, 98 % of the inodes`.
    pub disk_text: String,
}

/// One section, chained to the one before it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Section {
    /// `process`, `threads`, `sockets`, `log`, `disk` …
    pub section: String,
    /// The text, redacted and bounded.
    pub content: String,
    /// The hash of the section before it; empty for the first.
    pub previous_hash: String,
    /// The hash over this section and `previous_hash`.
    pub hash: String,
}

/// What a node kept of a unit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// When.
    pub taken_at: Time,
    /// What the diagnosis reads.
    pub facts: Facts,
    /// What people read.
    pub sections: Vec<Section>,
}

/// What a watcher asks a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// The unit.
    pub unit: String,
}

/// Why there is no evidence.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The node did not answer.
    #[error("the node at {url} did not answer: {source}; is `varde node` running there?")]
    Unreachable {
        /// Where it was asked.
        url: String,
        /// Why.
        source: reqwest::Error,
    },
    /// It refused.
    #[error("the node at {url} answered {status}: {message}")]
    Refused {
        /// Where it was asked.
        url: String,
        /// The HTTP status.
        status: u16,
        /// Its own words.
        message: String,
    },
    /// What it answered is not signed by it, or not evidence.
    #[error("the evidence does not count: {0}")]
    NotValid(#[from] NotValid),
    /// The chain of its sections is broken.
    #[error("the evidence was altered: the hash of the section \"{0}\" does not fit")]
    Altered(String),
    /// It is not JSON, or longer than [`MAX_ANSWER_BYTES`].
    #[error("the answer cannot be read: {0}")]
    Answer(String),
}

impl Evidence {
    /// Chains sections in their order.
    pub fn chained(taken_at: Time, facts: Facts, sections: Vec<(&'static str, String)>) -> Self {
        let mut previous_hash = String::new();
        let chain = |(section, content): (&str, String)| {
            let hash = link(&previous_hash, section, &content);
            let previous_hash = std::mem::replace(&mut previous_hash, hash.clone());
            Section { section: section.to_owned(), content, previous_hash, hash }
        };
        let sections = sections.into_iter().map(chain).collect();
        Self { taken_at, facts, sections }
    }

    /// The hash of the last section, which stands for all of them.
    pub fn hash(&self) -> String {
        self.sections.last().map(|section| section.hash.clone()).unwrap_or_default()
    }

    /// Whether the chain holds.
    ///
    /// # Errors
    /// [`Error::Altered`] with the first section that does not fit.
    pub fn verify(&self) -> Result<(), Error> {
        let mut previous = "";
        for section in &self.sections {
            let hash = link(&section.previous_hash, &section.section, &section.content);
            if section.previous_hash != previous || section.hash != hash {
                return Err(Error::Altered(section.section.clone()));
            }
            previous = &section.hash;
        }
        Ok(())
    }

    /// As rows of `evidence`.
    pub fn rows<'a>(&'a self, incident: &'a str) -> impl Iterator<Item = EvidenceRow> + 'a {
        self.sections.iter().map(move |section| EvidenceRow {
            ts: self.taken_at,
            incident: incident.to_owned(),
            unit: self.facts.unit.clone(),
            host: self.facts.host.clone(),
            section: section.section.clone(),
            content: section.content.clone(),
            hash: section.hash.clone(),
            previous_hash: section.previous_hash.clone(),
            ..EvidenceRow::default()
        })
    }
}

fn link(previous: &str, section: &str, content: &str) -> String {
    let mut hasher = blake3::Hasher::new();
    for part in [previous, section, content] {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    hasher.finalize().to_hex().to_string()
}

/// Asks the node at `url` for evidence of `unit`, as the watcher `from`.
///
/// # Errors
/// See [`Error`]; within [`DEADLINE`].
pub async fn request(
    http: &reqwest::Client,
    url: &str,
    (from, key): (&str, &SigningKey),
    node_keys: &Keys,
    unit: &str,
    now: Time,
) -> Result<Evidence, Error> {
    let url = format!("{}/v1/evidence", url.trim_end_matches('/'));
    let unreachable = |source| Error::Unreachable { url: url.clone(), source };
    let request = Request { unit: unit.to_owned() };
    let signed = Signed::seal(Purpose::EvidenceRequest, from, key, now, &request)
        .map_err(|error| Error::Answer(error.to_string()))?;
    let answer = http.post(&url).json(&signed).timeout(DEADLINE).send().await.map_err(unreachable)?;
    let status = answer.status();
    let body = bounded(answer).await.map_err(unreachable)?;
    let body = body.ok_or_else(|| Error::Answer(format!("it is longer than {MAX_ANSWER_BYTES} octets")))?;
    if !status.is_success() {
        let message = String::from_utf8_lossy(&body).chars().take(200).collect();
        return Err(Error::Refused { url, status: status.as_u16(), message });
    }
    let signed: Signed = serde_json::from_slice(&body).map_err(|error| Error::Answer(error.to_string()))?;
    let evidence: Evidence = signed.open(Purpose::Evidence, node_keys, now)?;
    evidence.verify()?;
    Ok(evidence)
}

/// The body of an answer, or `None` when it is longer than [`MAX_ANSWER_BYTES`].
pub(crate) async fn bounded(mut answer: reqwest::Response) -> reqwest::Result<Option<Vec<u8>>> {
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await? {
        if body.len() + chunk.len() > MAX_ANSWER_BYTES {
            return Ok(None);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Some(body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_section_breaks_the_chain_where_it_was_changed() {
        let facts = Facts {
            host: "localhost".to_owned(),
            unit: "mail-imap".to_owned(),
            process: Process::Stopped,
            process_text: String::new(),
            accept_queue: AcceptQueue::Unknown,
            accept_queue_text: String::new(),
            disk: Disk::Unknown,
            disk_text: String::new(),
        };
        let sections = vec![("process", "T".to_owned()), ("log", "a".to_owned()), ("disk", "b".to_owned())];
        let mut evidence = Evidence::chained(Time::from_seconds(1), facts, sections);
        assert!(evidence.verify().is_ok());
        assert_eq!(evidence.hash(), evidence.sections[2].hash);
        evidence.sections[1].content = "nothing happened".to_owned();
        assert!(matches!(evidence.verify(), Err(Error::Altered(section)) if section == "log"));
        evidence.sections.remove(1);
        assert!(matches!(evidence.verify(), Err(Error::Altered(section)) if section == "disk"));
    }
}
