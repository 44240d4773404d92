//! The task that owns the book of incidents.

mod remedy;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use aggregator::event::{Time, VerdictState};
use aggregator::metrics::watch::INCIDENTS_OPEN;
use probes::judgement::{Change, Judgement};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::mend::Progress;
use super::peers::Acknowledged;
use super::store::Store;
use crate::evidence::{self, Evidence};
use crate::incident::{Book, Incident, Paging, Step};
use crate::outbox::Outbox;
use crate::page::Notice;
use crate::remedy::order::Approval;
use crate::view::IncidentView;

/// Findings of the tasks beside this one that may wait; further ones wait in their tasks.
const FINDINGS: usize = 64;
/// How often held pages and missing evidence are looked at.
const TICK: Duration = Duration::from_secs(1);
/// What the pages show is made anew of all incidents, and they may come by thousands: when that takes longer than
/// `SHOW_SOON`, it takes no more than one part of so many of this task's time.
const SHOW_SHARE: u32 = 20;
const SHOW_SOON: Duration = Duration::from_millis(1);
/// Evidence older than this says nothing about trouble of now.
const EVIDENCE_FRESH_MS: u64 = 120_000;
/// Evidence taken before the first failure says nothing either; so much may the clocks of node and watcher differ.
const EVIDENCE_SKEW_MS: i64 = 5_000;
/// A node is not asked for the same service again within this time.
const EVIDENCE_PAUSE_MS: u64 = 30_000;
/// The same after a request that failed: without evidence nothing is restarted.
const EVIDENCE_RETRY_MS: u64 = 5_000;

/// A (target, service).
type Service = (String, String);

/// What the HTTP side asks for.
pub(super) enum Command {
    /// A person has an incident.
    Acknowledge { incident: String, person: String, reply: oneshot::Sender<Answered> },
    /// A person told another watcher so.
    AcknowledgedElsewhere { incident: String, person: String },
    /// Another watcher asks whether this one would restart as well.
    IsDown { approval: Approval, reply: oneshot::Sender<bool> },
}

/// What became of an acknowledgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answered {
    /// It is that person's now.
    Done,
    /// It was somebody's, or is over.
    Already,
    /// There is no such incident.
    Unknown,
}

/// What the tasks beside this one found.
pub(super) enum Finding {
    /// What the node kept, or why it did not.
    Evidence { service: Service, result: Result<Evidence, evidence::Error> },
    /// A restart has come further.
    Mending { incident: String, progress: Progress },
}

/// What comes in from outside.
pub(super) struct Inputs {
    pub(super) judgements: mpsc::Receiver<Judgement>,
    pub(super) commands: mpsc::Receiver<Command>,
    pub(super) shutdown: CancellationToken,
}

/// Evidence of a service.
struct Kept {
    asked_at: Time,
    /// `None`: it is being taken.
    result: Option<Result<Evidence, String>>,
}

pub(super) struct Task {
    shared: Arc<Shared>,
    book: Book,
    store: Store,
    outbox: Outbox,
    views: watch::Sender<Arc<Vec<IncidentView>>>,
    /// When they are to be made anew, if something has changed since.
    show_at: Option<Instant>,
    /// Until then they are not.
    rests_until: Instant,
    told_peers: mpsc::Sender<Acknowledged>,
    /// What this watcher's own verdict says is down.
    down: BTreeSet<Service>,
    titles: BTreeMap<Service, String>,
    evidence: BTreeMap<Service, Kept>,
    /// Ends restarts that were not yet ordered, by incident.
    mends: BTreeMap<String, CancellationToken>,
    /// When a restart that was refused for now is thought of again, by incident.
    reconsider: BTreeMap<String, Time>,
    running: JoinSet<()>,
    findings: (mpsc::Sender<Finding>, Option<mpsc::Receiver<Finding>>),
}

impl Task {
    pub(super) fn new(
        shared: Arc<Shared>,
        book: Book,
        store: Store,
        outbox: Outbox,
        views: watch::Sender<Arc<Vec<IncidentView>>>,
        told_peers: mpsc::Sender<Acknowledged>,
    ) -> Self {
        let (findings, found) = mpsc::channel(FINDINGS);
        let mut task = Self {
            shared,
            book,
            store,
            outbox,
            views,
            show_at: None,
            rests_until: Instant::now(),
            told_peers,
            down: BTreeSet::new(),
            titles: BTreeMap::new(),
            evidence: BTreeMap::new(),
            mends: BTreeMap::new(),
            reconsider: BTreeMap::new(),
            running: JoinSet::new(),
            findings: (findings, Some(found)),
        };
        task.publish();
        task
    }

    /// Runs until the shutdown. What is under way then is ended: the node's fence and the outbox outlive it.
    pub(super) async fn run(mut self, mut inputs: Inputs) {
        let Some(mut findings) = self.findings.1.take() else { return };
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut judging = true;
        loop {
            tokio::select! {
                biased;
                () = inputs.shutdown.cancelled() => return,
                judgement = inputs.judgements.recv(), if judging => match judgement {
                    Some(judgement) => self.judge(judgement).await,
                    // The watcher has ended its side; people may still acknowledge.
                    None => judging = false,
                },
                Some(finding) = findings.recv() => match finding {
                    Finding::Evidence { service, result } => self.take_evidence(service, result).await,
                    Finding::Mending { incident, progress } => self.mending(&incident, progress).await,
                },
                Some(command) = inputs.commands.recv() => self.command(command).await,
                Some(_) = self.running.join_next() => {}
                _ = ticks.tick() => self.tick().await,
                () = until(self.show_at) => self.show(),
            }
        }
    }

    async fn judge(&mut self, judgement: Judgement) {
        let now = Time::now();
        match judgement {
            Judgement::Suspected(seen) => self.ask_evidence(&(seen.target.clone(), seen.service.clone()), now),
            Judgement::Changed(change) => self.changed(&change, now).await,
            Judgement::Unconfirmed(seen) => {
                let service = (seen.target.clone(), seen.service.clone());
                let title = self.titles.get(&service).cloned().unwrap_or_else(|| seen.service.clone());
                let step = self.book.unconfirmed(&seen, &title, now);
                self.stepped(step, now).await;
            }
        }
    }

    async fn changed(&mut self, change: &Change, now: Time) {
        let service = (change.target.clone(), change.service.clone());
        self.titles.insert(service.clone(), change.title.clone());
        if change.to == VerdictState::Down {
            self.down.insert(service);
        } else {
            self.down.remove(&service);
        }
        let step = self.book.change(change);
        let standing = match &step {
            // Told again after a restart: a restart of the service may have been cut short.
            Step::Noted(key) if change.from == change.to => Some(key.clone()),
            _ => None,
        };
        self.stepped(step, now).await;
        if let Some(key) = standing {
            self.consider_restart(&key, now);
        }
    }

    async fn stepped(&mut self, step: Step, now: Time) {
        match step {
            Step::Nothing => {}
            Step::Noted(key) => self.keep(&key, now),
            Step::Opened(key) | Step::Worsened(key) => self.opened(&key, now).await,
            Step::Resolved(key) => self.resolved(&key, now).await,
            Step::Again { ended, opened } => {
                // The news first: nobody has to hurry to hear that the one before is over.
                self.opened(&opened, now).await;
                self.resolved(&ended, now).await;
            }
        }
    }

    async fn opened(&mut self, key: &str, now: Time) {
        self.drop_old_evidence(key, now);
        self.attach_evidence(key, now);
        self.page(key, "worse", now).await;
        self.keep(key, now);
        if let Some(service) = self.book.get(key).filter(|incident| incident.evidence.is_none()).map(service_of) {
            self.ask_evidence(&service, now);
        }
        self.consider_restart(key, now);
    }

    async fn resolved(&mut self, key: &str, now: Time) {
        if let Some(ended) = self.mends.remove(key) {
            ended.cancel();
        }
        if self.book.get(key).is_some_and(|incident| incident.told) {
            self.send(key, Notice::Resolved, now).await;
        }
        self.keep(key, now);
    }

    /// Tells people of an incident, unless it is held: as new, or as an update with that tag.
    async fn page(&mut self, key: &str, update: &'static str, now: Time) {
        let Some(incident) = self.book.get_mut(key).filter(|incident| incident.paging == Paging::Paged) else { return };
        let notice = if incident.told { Notice::Updated(update) } else { Notice::Opened };
        incident.told = true;
        self.send(key, notice, now).await;
    }

    async fn send(&mut self, key: &str, notice: Notice, now: Time) {
        let Some(incident) = self.book.get_mut(key) else { return };
        let pages = self.shared.pages(incident, notice, now);
        let people: BTreeSet<&str> = pages.iter().map(|page| page.person.as_str()).collect();
        let people = people.into_iter().collect::<Vec<_>>().join(" and ");
        incident.note(
            now,
            match notice {
                Notice::Resolved => format!("told {people} that it is over"),
                Notice::Opened | Notice::Updated(_) | Notice::Test => format!("paging {people}"),
            },
        );
        self.outbox.append(pages).await;
    }

    /// Writes an incident down and shows it. A disk that does not take it holds nothing back.
    fn keep(&mut self, key: &str, now: Time) {
        if let Some(incident) = self.book.get_mut(key) {
            self.shared.emitter.emit(incident.row(now));
            if let Err(error) = self.store.keep(incident) {
                tracing::error!(%error, incident = key, "an incident cannot be kept on disk; after a restart it is opened anew");
            }
        }
        self.publish();
    }

    /// Shows what there is: now, or soon when that was done a moment ago.
    fn publish(&mut self) {
        if self.rests_until > Instant::now() {
            self.show_at = Some(self.rests_until);
        } else {
            self.show();
        }
    }

    fn show(&mut self) {
        let begun = Instant::now();
        self.show_at = None;
        INCIDENTS_OPEN.with(&[]).set(self.book.open().count() as f64);
        let views = self.book.newest().into_iter().map(Incident::view).collect();
        self.views.send_replace(Arc::new(views));
        let took = begun.elapsed();
        self.rests_until = begun + took * if took > SHOW_SOON { SHOW_SHARE } else { 0 };
    }

    /// Starts to ask the node about a service, unless that was done a moment ago.
    fn ask_evidence(&mut self, service: &Service, now: Time) {
        let Some(unit) = self.shared.config.unit_of(&service.0, &service.1).map(str::to_owned) else { return };
        let recent = |kept: &Kept| {
            let pause = if matches!(kept.result, Some(Err(_))) { EVIDENCE_RETRY_MS } else { EVIDENCE_PAUSE_MS };
            now.millis_since(kept.asked_at) < pause
        };
        if self.evidence.get(service).is_some_and(recent) {
            return;
        }
        self.evidence.insert(service.clone(), Kept { asked_at: now, result: None });
        let (shared, findings, service) = (Arc::clone(&self.shared), self.findings.0.clone(), service.clone());
        self.running.spawn(async move {
            let who = (shared.vantage.as_str(), &shared.key);
            let asked = evidence::request(&shared.http, &shared.config.node_url, who, &shared.nodes, &unit, now);
            let result = asked.await;
            let _ = findings.send(Finding::Evidence { service, result }).await;
        });
    }

    async fn take_evidence(&mut self, service: Service, result: Result<Evidence, evidence::Error>) {
        let now = Time::now();
        let result = result.map_err(|error| error.to_string());
        if let Err(error) = &result {
            tracing::warn!(target = service.0, service = service.1, error, "no evidence could be taken");
        }
        let kept = self.evidence.entry(service.clone()).or_insert(Kept { asked_at: now, result: None });
        kept.result = Some(result.clone());
        let Some(key) = self.book.of_service(&service.0, &service.1).map(Incident::key) else { return };
        let changed = self.attach_evidence(&key, now);
        if let (Err(error), Some(incident)) = (result, self.book.get_mut(&key)) {
            incident.note(now, format!("no evidence could be taken: {error}"));
        }
        if changed {
            self.page(&key, "evidence", now).await;
        }
        self.keep(&key, now);
        self.consider_restart(&key, now);
    }

    /// What was taken when only one region failed does not show why all of them fail now, minutes or hours later.
    fn drop_old_evidence(&mut self, key: &str, now: Time) {
        if let Some(incident) = self.book.get_mut(key) {
            incident.evidence.take_if(|evidence| now.millis_since(evidence.taken_at) > EVIDENCE_PAUSE_MS);
        }
    }

    /// Gives an incident the evidence that is there for its service; says whether the cause has another name now.
    fn attach_evidence(&mut self, key: &str, now: Time) -> bool {
        let Some(incident) = self.book.get_mut(key).filter(|incident| incident.evidence.is_none()) else {
            return false;
        };
        let Some(Kept { result: Some(Ok(evidence)), .. }) = self.evidence.get(&service_of(incident)) else {
            return false;
        };
        let too_early = evidence.taken_at.plus_millis(EVIDENCE_SKEW_MS) < incident.opened_at;
        if too_early || now.millis_since(evidence.taken_at) > EVIDENCE_FRESH_MS {
            return false;
        }
        for row in evidence.rows(key) {
            self.shared.emitter.emit(row);
        }
        incident.note(
            evidence.taken_at,
            format!("evidence of {} was kept: {}", evidence.facts.unit, evidence.facts.process_text),
        );
        incident.evidence = Some(evidence.clone());
        incident.diagnose()
    }

    async fn command(&mut self, command: Command) {
        match command {
            Command::Acknowledge { incident, person, reply } => {
                let answered = self.acknowledge(&incident, &person).await;
                let _ = reply.send(answered);
                if answered == Answered::Done {
                    let _ = self.told_peers.try_send(Acknowledged { incident, person });
                }
            }
            Command::AcknowledgedElsewhere { incident, person } => {
                self.acknowledge(&incident, &person).await;
            }
            Command::IsDown { approval, reply } => {
                let unit = self.shared.config.unit_of(&approval.target, &approval.service);
                let fits = unit == Some(approval.unit.as_str());
                let approved = fits && self.down.contains(&(approval.target, approval.service));
                if approved {
                    self.book.learn_generation(&approval.incident);
                }
                let _ = reply.send(approved);
            }
        }
    }

    async fn acknowledge(&mut self, key: &str, person: &str) -> Answered {
        let now = Time::now();
        let Some(incident) = self.book.get_mut(key) else { return Answered::Unknown };
        let news = incident.acknowledge(person, now);
        self.outbox.acknowledged(key.to_owned(), person.to_owned()).await;
        if !news {
            return Answered::Already;
        }
        self.keep(key, now);
        // Who has answered looks at once.
        self.show();
        Answered::Done
    }

    /// Pages what was held for long enough and what did not recover with its cause, asks again for evidence that is missing, and for restarts that were
    /// refused for now.
    async fn tick(&mut self) {
        let now = Time::now();
        let due = |incident: &&Incident| matches!(incident.paging, Paging::Held(until) if until <= now);
        let due: Vec<String> = self.book.open().filter(due).map(Incident::key).collect();
        for key in due {
            if let Some(incident) = self.book.get_mut(&key) {
                incident.paging = Paging::Paged;
            }
            self.page(&key, "worse", now).await;
            self.keep(&key, now);
            self.consider_restart(&key, now);
        }
        for step in self.book.overdue(now) {
            self.stepped(step, now).await;
        }
        let again: Vec<String> =
            self.reconsider.iter().filter(|(_, at)| **at <= now).map(|(key, _)| key.clone()).collect();
        for key in again {
            self.reconsider.remove(&key);
            self.consider_restart(&key, now);
        }
        let missing = self.book.open().filter(|incident| incident.evidence.is_none()).map(service_of);
        for service in missing.collect::<Vec<_>>() {
            self.ask_evidence(&service, now);
        }
    }
}

/// Waits until then; for ever when there is no then.
async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

fn service_of(incident: &Incident) -> Service {
    (incident.target.clone(), incident.service.clone())
}
