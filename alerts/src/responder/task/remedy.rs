//! The part of the task that decides on a restart and keeps how far it has come.

use std::sync::Arc;

use aggregator::event::{RemedyRow, RemedyState, Time};
use tokio_util::sync::CancellationToken;

use super::{Kept, Task, service_of};
use crate::incident::{Incident, Mending, is_composite};
use crate::remedy::order::Approval;
use crate::remedy::{Situation, decide};
use crate::responder::mend::{Job, Progress};

/// A restart that the peers or the node refused is asked for again after this time, while the outage lasts: their
/// verdict may come late, a budget may come back.
const RECONSIDER_MS: i64 = 60_000;

impl Task {
    /// Starts a restart if the rules allow it; keeps the rule that forbids it otherwise.
    pub(super) fn consider_restart(&mut self, key: &str, now: Time) {
        let Some(incident) = self.book.get(key).filter(|incident| incident.is_open() && incident.told) else { return };
        let being_taken = matches!(self.evidence.get(&service_of(incident)), Some(Kept { result: None, .. }));
        let undecided = matches!(incident.mending, Mending::Untried | Mending::Refused(_));
        if !undecided || (incident.evidence.is_none() && being_taken) {
            return;
        }
        let hash = incident.evidence.as_ref().map(crate::evidence::Evidence::hash);
        let target = &incident.target;
        let down = self.down.iter().filter(|(down, service)| down == target && !is_composite(service)).count();
        let situation = Situation {
            scope: incident.scope,
            action: incident.diagnosis.action,
            cause: &incident.diagnosis.cause,
            unit: incident.unit.as_deref(),
            evidence_hash: hash.as_deref(),
            down,
            fleet: self.shared.config.unit.iter().filter(|unit| unit.target == *target).count(),
            last_restart_failed: self.book.last_restart_failed(&incident.base, now),
        };
        match decide(&situation) {
            Ok((unit, evidence_hash)) => {
                let (unit, evidence_hash) = (unit.to_owned(), evidence_hash.to_owned());
                self.begin_restart(key, unit, evidence_hash);
            }
            Err(refusal) => self.refuse(key, refusal.name(), &refusal.to_string(), now),
        }
    }

    fn begin_restart(&mut self, key: &str, unit: String, evidence_hash: String) {
        let Some(incident) = self.book.get_mut(key) else { return };
        incident.mending = Mending::Ordered;
        let Some(evidence) = &incident.evidence else { return };
        let approval = Approval {
            incident: key.to_owned(),
            target: incident.target.clone(),
            service: incident.service.clone(),
            unit,
            evidence_hash,
        };
        let own = &incident.failing;
        let other = self.down.iter().filter(|(target, service)| *target == incident.target && !own.contains(service));
        let ended = CancellationToken::new();
        let job = Job {
            shared: Arc::clone(&self.shared),
            host: evidence.facts.host.clone(),
            fence: incident.generation,
            ignored: other.map(|(_, service)| service.clone()).collect(),
            approval,
            findings: self.findings.0.clone(),
            ended: ended.clone(),
        };
        self.mends.insert(key.to_owned(), ended);
        self.running.spawn(job.run());
    }

    fn refuse(&mut self, key: &str, name: &str, words: &str, now: Time) {
        let Some(incident) = self.book.get_mut(key) else { return };
        let mending = Mending::Refused(name.to_owned());
        if incident.mending == mending {
            return;
        }
        incident.mending = mending;
        incident.note_once(now, format!("no restart is tried: {words}"));
        self.remedy_row(key, RemedyState::Refused, words, now);
        self.keep(key, now);
    }

    /// A restart has come further.
    pub(super) async fn mending(&mut self, key: &str, progress: Progress) {
        let now = Time::now();
        let Some(incident) = self.book.get_mut(key) else { return };
        let unit = incident.unit.clone().unwrap_or_default();
        let (state, text) = match progress {
            Progress::Refused(name, words) => {
                self.reconsider.insert(key.to_owned(), now.plus_millis(RECONSIDER_MS));
                return self.refuse(key, &name, &words, now);
            }
            Progress::Ordered => (Some(RemedyState::Ordered), format!("a restart of {unit} was ordered")),
            Progress::Elsewhere => {
                incident.mending = Mending::Restarted;
                incident.mended_by = Some(format!("a restart of {unit}"));
                (None, format!("{unit} was restarted by the order of another watcher"))
            }
            Progress::Done(pid, previous) => {
                incident.mending = Mending::Restarted;
                let processes = processes(pid, previous);
                incident.mended_by = Some(format!("a restart of {unit} ({processes})"));
                (Some(RemedyState::Done), format!("{unit} was restarted ({processes})"))
            }
            Progress::Verified => {
                incident.mending = Mending::Verified;
                (Some(RemedyState::Verified), "the full chain of checks passed twice".to_owned())
            }
            Progress::Failed(why) => {
                incident.mending = Mending::Failed;
                incident.mended_by = None;
                (Some(RemedyState::Failed), format!("the restart of {unit} did not mend it: {why}"))
            }
        };
        incident.note_once(now, text.clone());
        let people_are_needed = state == Some(RemedyState::Failed) && incident.is_open();
        if let Some(state) = state {
            self.remedy_row(key, state, &text, now);
        }
        if people_are_needed {
            self.page(key, "not_mended", now).await;
        }
        self.keep(key, now);
    }

    fn remedy_row(&self, key: &str, state: RemedyState, reason: &str, now: Time) {
        let Some(incident) = self.book.get(key) else { return };
        let unit = incident.unit.clone().unwrap_or_default();
        self.shared.emitter.emit(RemedyRow {
            ts: now,
            remedy_id: self.remedy_id(incident, &unit),
            revision: revision(state),
            incident: key.to_owned(),
            unit,
            host: incident.evidence.as_ref().map(|evidence| evidence.facts.host.clone()).unwrap_or_default(),
            verb: "restart".to_owned(),
            state,
            reason: reason.to_owned(),
            evidence_hash: incident.evidence.as_ref().map(crate::evidence::Evidence::hash).unwrap_or_default(),
            ..RemedyRow::default()
        });
    }

    /// One remedy for each incident, unit and watcher: the refusal of one must not hide the success of another.
    fn remedy_id(&self, incident: &Incident, unit: &str) -> String {
        [&incident.key(), "/", unit, "/", &self.shared.vantage].concat()
    }
}

fn processes(pid: u32, previous: Option<u32>) -> String {
    match previous {
        Some(previous) => format!("process {previous} became {pid}"),
        None => format!("process {pid}"),
    }
}

/// A remedy only goes forward, so its state is its revision.
fn revision(state: RemedyState) -> u32 {
    match state {
        RemedyState::Refused => 1,
        RemedyState::Ordered => 2,
        RemedyState::Done => 3,
        RemedyState::Verified | RemedyState::Failed => 4,
    }
}
