//! Diagnosis: from what the watchers saw and the node kept to a named cause, with reasons and next steps.
//!
//! The knowledge is the table `diagnose/table.toml`; this file only reads it. Rows of an earlier tier win, within a
//! tier no two rows fit the same symptoms, and every row can be reached: a test walks all symptoms there are.

mod symptom;

use std::collections::BTreeMap;
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

pub use symptom::{AcceptQueue, Class, Disk, Others, Process, Scope, Stage, Symptoms};
pub use symptom::{Case, described};

/// How sure a diagnosis is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Confidence {
    /// The evidence leaves no other cause.
    Certain,
    /// It fits best.
    Likely,
    /// Several causes fit alike.
    Undetermined,
}

impl Confidence {
    /// The word in tables and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Certain => "certain",
            Self::Likely => "likely",
            Self::Undetermined => "undetermined",
        }
    }
}

/// What may be done without people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Nothing: people are needed.
    None,
    /// Restart the unit behind the service.
    Restart,
}

/// What is broken, as far as it can be told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnosis {
    /// The version of the table that said so.
    pub table: String,
    /// The cause, in a word: `process_hung`.
    pub cause: String,
    /// How sure that is.
    pub confidence: Confidence,
    /// What a person reads first.
    pub summary: String,
    /// What speaks for it.
    pub supports: Vec<String>,
    /// What was ruled out, and by what.
    pub against: Vec<String>,
    /// What may be done without people.
    pub action: Action,
    /// What to do next.
    pub steps: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    version: String,
    row: Vec<Row>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    cause: String,
    tier: u8,
    #[serde(default)]
    when: When,
    confidence: Confidence,
    action: Action,
    summary: String,
    #[serde(default, rename = "for")]
    supports: Vec<String>,
    #[serde(default)]
    against: Vec<String>,
    steps: Vec<String>,
}

/// The symptoms that a row fits. An absent list fits all.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct When {
    scope: Option<Vec<Scope>>,
    stage: Option<Vec<Stage>>,
    class: Option<Vec<Class>>,
    process: Option<Vec<Process>>,
    accept_queue: Option<Vec<AcceptQueue>>,
    disk: Option<Vec<Disk>>,
    others: Option<Vec<Others>>,
}

impl When {
    fn fits(&self, symptoms: &Symptoms) -> bool {
        fn has<T: PartialEq>(list: &Option<Vec<T>>, value: &T) -> bool {
            list.as_ref().is_none_or(|list| list.contains(value))
        }
        has(&self.scope, &symptoms.scope)
            && has(&self.stage, &symptoms.stage)
            && has(&self.class, &symptoms.class)
            && has(&self.process, &symptoms.process)
            && has(&self.accept_queue, &symptoms.accept_queue)
            && has(&self.disk, &symptoms.disk)
            && has(&self.others, &symptoms.others)
    }
}

fn table() -> &'static Table {
    static TABLE: OnceLock<Table> = OnceLock::new();
    TABLE.get_or_init(|| {
        toml::from_str(include_str!("diagnose/table.toml")).unwrap_or_else(|error| {
            // The tests read the same bytes, so a build that passed them never comes here.
            tracing::error!(%error, "the diagnosis table cannot be read; every cause is undetermined");
            Table { version: "unreadable".to_owned(), row: Vec::new() }
        })
    })
}

/// The cause that fits the case best.
pub fn diagnose(case: &Case<'_>) -> Diagnosis {
    let table = table();
    let symptoms = case.symptoms();
    let row = table.row.iter().filter(|row| row.when.fits(&symptoms)).min_by_key(|row| row.tier);
    let words = case.words();
    let fill =
        |texts: &[String]| texts.iter().map(|text| filled(text, &words)).filter(|text| !text.is_empty()).collect();
    let Some(row) = row else { return undetermined(&table.version, &words) };
    Diagnosis {
        table: table.version.clone(),
        cause: row.cause.clone(),
        confidence: row.confidence,
        summary: filled(&row.summary, &words),
        supports: fill(&row.supports),
        against: fill(&row.against),
        action: row.action,
        steps: fill(&row.steps),
    }
}

fn undetermined(version: &str, words: &BTreeMap<&'static str, String>) -> Diagnosis {
    let fill = |text: &str| filled(text, words);
    Diagnosis {
        table: version.to_owned(),
        cause: "undetermined".to_owned(),
        confidence: Confidence::Undetermined,
        summary: fill("{title} of {target} fails at the step \"{step}\" ({class}) from {regions}."),
        supports: vec![fill("{seen}")],
        against: Vec::new(),
        action: Action::None,
        steps: vec![
            fill("Run `varde probe` and compare the step that fails with what the watchers saw."),
            fill("Read the last lines of the log of {unit} on {host}."),
        ],
    }
}

/// Puts the words of a case into a text of the table.
fn filled(text: &str, words: &BTreeMap<&'static str, String>) -> String {
    let mut out = String::with_capacity(text.len() + 64);
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        out.push_str(before);
        match after.split_once('}') {
            Some((name, after)) => {
                out.push_str(words.get(name).map_or("", String::as_str));
                rest = after;
            }
            None => rest = after,
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
pub(crate) mod tests;
