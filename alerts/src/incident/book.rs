//! The book of incidents: judgements go in, and what changed comes out.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use aggregator::event::Time;
use probes::judgement::Change;
use probes::observation::Observation;

use super::left::Left;
use super::{Incident, Mending, Paging, is_composite};
use crate::diagnose::{Action, Confidence, Diagnosis, Scope};
use crate::view::IncidentState;

/// Ended incidents that are kept for the pages; the oldest go first. The generations are kept for good.
pub const MAX_CLOSED: usize = 100;

/// How long a restart that did not help forbids another.
const REMEMBERED_MS: i64 = 24 * 3_600_000;

/// How far another watcher may have come beyond this one; a number beyond that is an error, and is not followed.
const MAX_LEAP: u32 = 1_000;

/// The letters of a short name: no I, L, O, U, which people mistake (Crockford's base 32).
const LETTERS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// What a judgement did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Nothing that people need to know.
    Nothing,
    /// A new incident.
    Opened(String),
    /// It is worse than was known: seen from everywhere now, or its root was found.
    Worsened(String),
    /// Its story has a new line; nobody is woken for it.
    Noted(String),
    /// It has ended.
    Resolved(String),
    /// It had recovered from most regions and fails again: that outage has ended, and a new one has begun.
    Again {
        /// The one that has ended.
        ended: String,
        /// The new one.
        opened: String,
    },
}

/// All incidents of a watcher.
#[derive(Debug, Default)]
pub struct Book {
    site: String,
    held_ms: i64,
    units: BTreeMap<(String, String), String>,
    open: BTreeMap<String, Incident>,
    closed: VecDeque<Incident>,
    generations: BTreeMap<String, u32>,
    left: Left,
}

impl Book {
    /// An empty book. `held_ms` is how long a failure from one region may last before it is paged; `units` says
    /// which unit stands behind a (target, service).
    pub fn new(site: &str, held_ms: i64, units: BTreeMap<(String, String), String>) -> Self {
        Self { site: site.to_owned(), held_ms, units, ..Self::default() }
    }

    /// Puts back what was kept before a restart, oldest first.
    pub fn restore(&mut self, incidents: Vec<Incident>, generations: BTreeMap<String, u32>) {
        self.generations = generations;
        for mut incident in incidents {
            if incident.is_open() {
                if incident.mending == Mending::Ordered {
                    // Whether the node obeyed is not known; its fence makes another try harmless.
                    incident.mending = Mending::Untried;
                }
                self.open.insert(incident.key(), incident);
            } else {
                self.close(incident);
            }
        }
    }

    /// The incident of this key.
    pub fn get(&self, key: &str) -> Option<&Incident> {
        self.open.get(key).or_else(|| self.closed.iter().find(|incident| incident.key() == key))
    }

    /// The incident of this key, to be changed.
    pub fn get_mut(&mut self, key: &str) -> Option<&mut Incident> {
        if self.open.contains_key(key) {
            return self.open.get_mut(key);
        }
        self.closed.iter_mut().find(|incident| incident.key() == key)
    }

    /// Those that have not ended.
    pub fn open(&self) -> impl Iterator<Item = &Incident> {
        self.open.values()
    }

    /// All that are kept, newest first.
    pub fn newest(&self) -> Vec<&Incident> {
        let mut all: Vec<&Incident> = self.open.values().chain(&self.closed).collect();
        all.sort_by_key(|incident| std::cmp::Reverse(incident.opened_at));
        all
    }

    /// The open incident that a service belongs to.
    pub fn of_service(&self, target: &str, service: &str) -> Option<&Incident> {
        self.open.values().find(|incident| incident.target == target && incident.failing.contains(service))
    }

    /// Whether the last restart for this service did not help, in an earlier incident of the last day. Longer ago says
    /// nothing: somebody has mended it since.
    pub fn last_restart_failed(&self, base: &str, now: Time) -> bool {
        let since = now.plus_millis(-REMEMBERED_MS);
        let tried = |incident: &&Incident| {
            incident.base == base
                && incident.opened_at > since
                && matches!(incident.mending, Mending::Failed | Mending::Verified | Mending::Restarted)
        };
        self.closed.iter().rev().find(tried).is_some_and(|incident| incident.mending == Mending::Failed)
    }

    /// Another watcher, which is believed, has this incident: this one follows, so that keys agree again. While
    /// nothing is open here, the same outage is still to be opened, and under the same key.
    pub fn learn_generation(&mut self, key: &str) {
        let Some((base, generation)) = key.rsplit_once('-') else { return };
        let Ok(generation) = generation.parse::<u32>() else { return };
        let open = self.open.values().any(|incident| incident.base == base);
        let reached = if open { generation } else { generation.saturating_sub(1) };
        if let Some(known) = self.generations.get_mut(base)
            && reached <= known.saturating_add(MAX_LEAP)
        {
            *known = reached.max(*known);
        }
    }

    /// The last generation of a base.
    pub fn generation(&self, base: &str) -> u32 {
        self.generations.get(base).copied().unwrap_or(0)
    }

    /// A verdict has changed.
    pub fn change(&mut self, change: &Change) -> Step {
        use aggregator::event::VerdictState::{Degraded, Down, Maintenance, Regional, Unknown, Up};
        self.left.change(change);
        match change.to {
            Down => self.fails(change, Scope::AllRegions),
            Regional => self.regional(change),
            Up | Degraded => self.recovers(change),
            // No data is not an end of an outage, and announced work is not one of ours to end.
            Unknown | Maintenance => Step::Nothing,
        }
    }

    /// What is still down some minutes after the incident that explained it has ended: an incident of its own.
    pub fn overdue(&mut self, now: Time) -> Vec<Step> {
        let due = self.left.due(now);
        due.iter().map(|change| self.fails(change, Scope::AllRegions)).collect()
    }

    /// A service fails from here, and nobody else can be asked.
    pub fn unconfirmed(&mut self, seen: &Observation, title: &str, now: Time) -> Step {
        if self.of_service(&seen.target, &seen.service).is_some() {
            return Step::Nothing;
        }
        let change = Change {
            target: seen.target.clone(),
            service: seen.service.clone(),
            title: title.to_owned(),
            from: aggregator::event::VerdictState::Unknown,
            to: aggregator::event::VerdictState::Unknown,
            at: now,
            since: seen.ts,
            last_good: None,
            observations: vec![seen.clone()],
            voters: vec![seen.vantage.clone()],
            assigned: 1,
        };
        self.fails(&change, Scope::Unconfirmed)
    }

    fn fails(&mut self, change: &Change, scope: Scope) -> Step {
        let same_target = |incident: &&mut Incident| incident.target == change.target;
        if let Some(incident) =
            self.open.values_mut().filter(same_target).find(|incident| incident.failing.contains(&change.service))
        {
            if change.service == incident.service && incident.recovered_at.is_some() {
                let key = incident.key();
                return self.begin_again(&key, change, scope);
            }
            return Self::fails_again(incident, change, scope);
        }
        let root_known = |incident: &&mut Incident| is_composite(&change.service) || is_composite(&incident.service);
        if let Some(incident) = self.open.values_mut().filter(same_target).find(root_known) {
            incident.failing.insert(change.service.clone());
            incident.note(change.at, format!("{} fails as well", change.title));
            incident.observations = change.observations.clone();
            if is_composite(&change.service) {
                return Step::Noted(incident.key());
            }
            incident.service = change.service.clone();
            incident.title = change.title.clone();
            incident.unit = self.units.get(&(change.target.clone(), change.service.clone())).cloned();
            incident.scope = scope;
            incident.paging = Paging::Paged;
            // What was kept is about another service.
            incident.evidence = None;
            incident.diagnose();
            return Step::Worsened(incident.key());
        }
        Step::Opened(self.begin(change, scope, Paging::Paged))
    }

    fn fails_again(incident: &mut Incident, change: &Change, scope: Scope) -> Step {
        incident.observations = change.observations.clone();
        if incident.scope == scope || change.service != incident.service {
            return Step::Noted(incident.key());
        }
        incident.scope = scope;
        incident.paging = Paging::Paged;
        incident.last_good = incident.last_good.or(change.last_good);
        incident.note(change.at, format!("a quorum of {} watchers sees {} down", change.assigned, change.title));
        incident.diagnose();
        Step::Worsened(incident.key())
    }

    /// The outage ended when most regions were back; what comes now is another, and people have to hear of it.
    fn begin_again(&mut self, key: &str, change: &Change, scope: Scope) -> Step {
        let Some(mut before) = self.open.remove(key) else { return Step::Nothing };
        let mut composites = std::mem::take(&mut before.failing);
        composites.remove(&before.service);
        self.resolve(before, change);
        let opened = self.begin(change, scope, Paging::Paged);
        if let Some(incident) = self.open.get_mut(&opened) {
            incident.failing.append(&mut composites);
        }
        Step::Again { ended: key.to_owned(), opened }
    }

    fn regional(&mut self, change: &Change) -> Step {
        let mut same_target = self.open.values_mut().filter(|incident| incident.target == change.target);
        if let Some(incident) = same_target.find(|incident| incident.failing.contains(&change.service)) {
            // Only the root says when the outage ended; what hangs on it may be partly back before.
            let is_root = change.service == incident.service;
            if is_root && incident.scope == Scope::AllRegions && incident.recovered_at.is_none() {
                incident.recovered_at = Some(change.since);
                incident.note(change.at, format!("{} is up again, not yet from every region", change.title));
                return Step::Noted(incident.key());
            }
            return Step::Nothing;
        }
        let explained =
            is_composite(&change.service) && self.open.values().any(|incident| incident.target == change.target);
        if explained {
            return Step::Nothing;
        }
        let until = change.at.plus_millis(self.held_ms);
        Step::Opened(self.begin(change, Scope::OneRegion, Paging::Held(until)))
    }

    fn recovers(&mut self, change: &Change) -> Step {
        let belongs =
            |incident: &&mut Incident| incident.target == change.target && incident.failing.contains(&change.service);
        let Some(incident) = self.open.values_mut().find(belongs) else { return Step::Nothing };
        let key = incident.key();
        incident.failing.remove(&change.service);
        if change.service == incident.service {
            // Only the end of the root is the end of the outage; a composite notices it later.
            incident.recovered_at.get_or_insert(change.since);
        }
        incident.note(change.at, format!("{} is up again", change.title));
        if !incident.failing.iter().all(|service| is_composite(service)) {
            return Step::Noted(key);
        }
        let still: Vec<String> = incident.failing.iter().cloned().collect();
        if !still.is_empty() {
            incident
                .note(change.at, format!("{} is still down; if it stays so, it is another incident", still.join(", ")));
        }
        for service in &still {
            self.left.leave(&change.target, service, change.at);
        }
        let Some(incident) = self.open.remove(&key) else { return Step::Nothing };
        self.resolve(incident, change);
        Step::Resolved(key)
    }

    fn resolve(&mut self, mut incident: Incident, change: &Change) {
        incident.state = IncidentState::Resolved;
        let end = incident.recovered_at.unwrap_or(change.since).max(incident.opened_at);
        incident.resolved_at = Some(end);
        incident.note(change.at, "resolved");
        self.close(incident);
    }

    /// An incident that no watcher found: somebody says it in words.
    pub fn told_incident(site: &str, title: &str, cause: &str, summary: &str, steps: &[String], now: Time) -> Incident {
        let mut book = Self::new(site, 0, BTreeMap::new());
        let change = Change {
            target: site.to_owned(),
            service: title.to_lowercase(),
            title: title.to_owned(),
            from: aggregator::event::VerdictState::Up,
            to: aggregator::event::VerdictState::Up,
            at: now,
            since: now,
            last_good: None,
            observations: Vec::new(),
            voters: Vec::new(),
            assigned: 0,
        };
        let mut incident = book.opened(&change, Scope::AllRegions, Paging::Paged);
        incident.timeline.clear();
        incident.diagnosis =
            Diagnosis { cause: cause.to_owned(), summary: summary.to_owned(), steps: steps.to_vec(), ..blank() };
        incident
    }

    fn begin(&mut self, change: &Change, scope: Scope, paging: Paging) -> String {
        let incident = self.opened(change, scope, paging);
        let key = incident.key();
        self.open.insert(key.clone(), incident);
        key
    }

    fn opened(&mut self, change: &Change, scope: Scope, paging: Paging) -> Incident {
        let base = base(&self.site, &change.target, &change.service);
        let generation = self.generations.entry(base.clone()).or_default();
        *generation = generation.saturating_add(1);
        let mut incident = Incident {
            name: short_name(&base, *generation),
            base,
            generation: *generation,
            target: change.target.clone(),
            service: change.service.clone(),
            title: change.title.clone(),
            unit: self.units.get(&(change.target.clone(), change.service.clone())).cloned(),
            failing: BTreeSet::from([change.service.clone()]),
            scope,
            state: IncidentState::Firing,
            diagnosis: blank(),
            opened_at: change.since,
            last_good: change.last_good,
            recovered_at: None,
            resolved_at: None,
            acknowledged_by: None,
            paging,
            told: false,
            mending: Mending::Untried,
            mended_by: None,
            observations: change.observations.clone(),
            evidence: None,
            timeline: Vec::new(),
            revision: 0,
        };
        // While only one region fails, the voters are those to whom it is up.
        let regions = incident.regions();
        let seen_by = if regions.is_empty() { &change.voters } else { &regions };
        incident.note(change.at, format!("opened: {} fails, seen by {}", change.title, seen_by.join(", ")));
        incident.diagnose();
        incident
    }

    fn close(&mut self, incident: Incident) {
        if self.closed.len() >= MAX_CLOSED {
            self.closed.pop_front();
        }
        self.closed.push_back(incident);
    }
}

/// Hash of site, target and symptom chain.
fn base(site: &str, target: &str, chain: &str) -> String {
    let mut hasher = blake3::Hasher::new();
    for part in [site, target, chain] {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    hasher.finalize().to_hex()[..16].to_owned()
}

/// The name by which people merge doubles: `V-` and three letters, 32,768 of them.
fn short_name(base: &str, generation: u32) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(base.as_bytes()).update(&generation.to_le_bytes());
    let hash = hasher.finalize();
    let letter = |byte: &u8| char::from(LETTERS[usize::from(byte % 32)]);
    ["V-".to_owned()].into_iter().chain(hash.as_bytes()[..3].iter().map(|byte| letter(byte).to_string())).collect()
}

fn blank() -> Diagnosis {
    Diagnosis {
        table: String::new(),
        cause: String::new(),
        confidence: Confidence::Undetermined,
        summary: String::new(),
        supports: Vec::new(),
        against: Vec::new(),
        action: Action::None,
        steps: Vec::new(),
    }
}
