//! The watcher's one task: it owns the state, and everything else talks to it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use aggregator::emit::Emitter;
use aggregator::event::{ProbeRun, ProbeStep, Time, VerdictState};
use aggregator::metrics::event::show_runs;
use aggregator::metrics::watch as metrics;
use chrono_tz::Tz;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::afterwards::Waiting;
use super::core::{Action, Core};
use super::judgements::Judgements;
use super::run::{self, Observed, Prober, Turn};
use super::service::Votes;
use super::writer::{Job, Load};
use crate::config::Config;
use crate::control::Health;
use crate::judgement::Judgement;
use crate::keys::{PublicKey, SigningKey};
use crate::observation::Observation;
use crate::roster::{Change, Epoch, NotChanged};
use crate::status::Status;

/// A status is made at most this often.
const STATUS_AGE_MS: u64 = 1_000;
/// Services that are put into a status at a time: between them the watcher does what is due.
const STATUS_CHUNK: usize = 32;
/// Requests for a status that wait for it at most; further ones are not answered.
const STATUS_REPLIES: usize = 64;
/// The state is looked at this often, even when nothing happens.
const TICK: Duration = Duration::from_secs(1);
/// How often the metrics show the states.
const SHOW_MS: u64 = 1_000;

/// What others ask of the watcher.
pub enum Command {
    /// Observations of a peer. Answered when they count.
    Heard {
        /// The peer.
        from: String,
        /// What it saw.
        observations: Vec<Observation>,
        /// The epochs of the roster that it holds.
        epochs: Vec<Epoch>,
        /// Answered with nothing.
        reply: oneshot::Sender<()>,
    },
    /// Run all checks of a target now.
    RunTarget {
        /// The target.
        target: String,
        /// Answered when all of them have been run.
        reply: oneshot::Sender<Vec<Observation>>,
    },
    /// Let another watcher vote, or one fewer. Answered with the epoch that says so, or why there is none.
    Enrol {
        /// Which.
        change: Change,
        /// Answered with the epoch.
        reply: oneshot::Sender<Result<Epoch, NotChanged>>,
    },
    /// Say how things are.
    Status(oneshot::Sender<Arc<Status>>),
}

/// A request for a whole target: done when each of its checks has been run since.
struct Waiter {
    since: Time,
    seats: Vec<usize>,
    seen: Vec<Observation>,
    reply: oneshot::Sender<Vec<Observation>>,
}

/// Everything that the task owns.
pub struct Driver {
    /// What it knows and decides.
    pub core: Core,
    /// The configuration.
    pub config: Arc<Config>,
    /// This watcher's key, which signs epochs.
    pub key: Arc<SigningKey>,
    /// The keys of all watchers, which epochs must be signed with.
    pub keys: BTreeMap<String, PublicKey>,
    /// What the other watchers are told of the roster.
    pub epochs: watch::Sender<Arc<Vec<Epoch>>>,
    /// Runs whose messages may still come.
    pub waiting: Waiting,
    /// How checks are run.
    pub prober: Prober,
    /// How well this vantage is.
    pub health: Arc<Health>,
    /// Where events go.
    pub emitter: Emitter,
    /// Where judgements go.
    pub judgements: mpsc::Sender<Judgement>,
    /// Where the history is written.
    pub jobs: mpsc::Sender<Job>,
    /// The zone of the page's days.
    pub zone: Tz,
    /// What others ask.
    pub commands: mpsc::Receiver<Command>,
    /// Peers that have acknowledged something.
    pub acknowledged: mpsc::Receiver<String>,
    /// Services that have been read from the history.
    pub loaded: mpsc::Receiver<(usize, Votes)>,
    /// When to stop.
    pub shutdown: CancellationToken,
}

/// What changes while it runs.
#[derive(Default)]
struct Work {
    runs: JoinSet<(usize, Observed)>,
    waiters: Vec<Waiter>,
    judgements: Judgements,
    status: Option<Arc<Status>>,
    /// The states that the metrics show.
    shown: Vec<VerdictState>,
    shown_at: Option<Time>,
    /// A status that is being made, and who waits for it.
    making: Option<Status>,
    replies: Vec<oneshot::Sender<Arc<Status>>>,
}

impl Driver {
    /// Runs until it is told to stop; runs that go on then are given up.
    pub async fn run(mut self) {
        let mut work = Work::default();
        for seat in &self.core.seats {
            let target = &self.config.target[seat.target];
            show_runs(&target.name, &target.check[seat.check].name);
        }
        metrics::HISTORY_LOST.with(&[]);
        metrics::JUDGEMENTS_DROPPED.with(&[]);
        loop {
            let now = Time::now();
            let actions = self.core.tick(now);
            self.perform(actions, &mut work);
            self.tell(&mut work);
            self.report(&mut work);
            self.show(&mut work, now);
            let pause = match work.making {
                Some(_) => Duration::ZERO,
                None => self.core.wake().map_or(TICK, |wake| Duration::from_millis(wake.millis_since(now) + 1)),
            };
            let pause = pause.min(TICK);
            tokio::select! {
                () = self.shutdown.cancelled() => break,
                Some(ended) = work.runs.join_next() => {
                    if let Ok((seat, observed)) = ended {
                        self.finished(seat, observed, &mut work);
                    }
                }
                Some(command) = self.commands.recv() => self.obey(command, &mut work),
                Some(peer) = self.acknowledged.recv() => {
                    if let Some(watcher) = self.core.watcher(&peer) {
                        self.core.contact(watcher, Time::now());
                    }
                }
                Some((service, votes)) = self.loaded.recv() => {
                    self.core.restore(service, Some(votes), Time::now());
                }
                () = tokio::time::sleep(pause) => {}
            }
        }
        work.runs.shutdown().await;
    }

    fn finished(&mut self, seat: usize, observed: Observed, work: &mut Work) {
        let Observed { seen, findings } = observed;
        for job in self.waiting.settle(seat, &seen, findings, &self.emitter) {
            self.write(job);
        }
        for waiter in work.waiters.iter_mut().filter(|waiter| waiter.since <= seen.ts) {
            if let Some(place) = waiter.seats.iter().position(|other| *other == seat) {
                waiter.seats.swap_remove(place);
                waiter.seen.push(seen.clone());
            }
        }
        let actions = self.core.finish(seat, seen, Time::now());
        self.perform(actions, work);
        for waiter in work.waiters.extract_if(.., |waiter| waiter.seats.is_empty()) {
            let _ = waiter.reply.send(waiter.seen);
        }
    }

    fn obey(&mut self, command: Command, work: &mut Work) {
        let now = Time::now();
        match command {
            Command::Heard { from, observations, epochs, reply } => {
                if let Some(watcher) = self.core.watcher(&from) {
                    self.core.contact(watcher, now);
                }
                for seen in observations {
                    let actions = self.core.hear(seen, now);
                    self.perform(actions, work);
                }
                let actions = self.core.learn(epochs, &self.keys, now);
                self.perform(actions, work);
                let _ = reply.send(());
            }
            Command::Enrol { change, reply } => {
                let epoch = self.core.enrol(&change, &self.key, now);
                if let Ok(epoch) = &epoch {
                    let actions = self.core.learn(vec![epoch.clone()], &self.keys, now);
                    self.perform(actions, work);
                }
                let _ = reply.send(epoch);
            }
            Command::RunTarget { target, reply } => {
                let seats = self.core.look(&target, now);
                if seats.is_empty() {
                    let _ = reply.send(Vec::new());
                } else {
                    work.waiters.push(Waiter { since: now, seats, seen: Vec::new(), reply });
                }
            }
            Command::Status(reply) => {
                let fresh = |kept: &Arc<Status>| kept.as_of <= now && now.millis_since(kept.as_of) < STATUS_AGE_MS;
                match work.status.take().filter(fresh) {
                    Some(status) => {
                        work.status = Some(status.clone());
                        let _ = reply.send(status);
                    }
                    None if work.replies.len() < STATUS_REPLIES => {
                        work.replies.push(reply);
                        let (fault, fault_since) = self.health.last().unzip();
                        let fault = fault.map(|fault| fault.to_string());
                        work.making.get_or_insert_with(|| Status { fault, fault_since, ..self.core.status_head(now) });
                    }
                    None => {}
                }
            }
        }
    }

    /// Goes on with the status that is being made: a little at a time, so that no check is late for it.
    fn report(&self, work: &mut Work) {
        let Some(status) = &mut work.making else { return };
        let (all, made) = (self.core.services.len(), status.services.len());
        let chunk = made..all.min(made + STATUS_CHUNK);
        let as_of = status.as_of;
        status.services.extend(chunk.map(|index| self.core.service_status(index, as_of, self.zone)));
        if status.services.len() == all
            && let Some(status) = work.making.take().map(Arc::new)
        {
            work.replies.drain(..).for_each(|reply| drop(reply.send(status.clone())));
            work.status = Some(status);
        }
    }

    fn perform(&mut self, actions: Vec<Action>, work: &mut Work) {
        for action in actions {
            match action {
                Action::Probe { seat, slot } => self.probe(seat, slot, work),
                Action::Keep(seen) => {
                    if seen.vantage == self.core.name() {
                        self.emit(&seen);
                    }
                    self.write(Job::Keep(seen));
                }
                Action::Announce(row) => {
                    tracing::info!(target_system = %row.target, service = %row.service, state = %row.state, voters = %row.voters, "verdict");
                    self.emitter.emit((*row).clone());
                    self.write(Job::Announce(*row));
                }
                Action::Amend(row) => {
                    let since = row.since.unwrap_or(row.ts);
                    tracing::debug!(target_system = %row.target, service = %row.service, state = %row.state, %since, "verdict told anew");
                    self.emitter.emit((*row).clone());
                    self.write(Job::Announce(*row));
                }
                Action::Enrol(epoch) => {
                    self.write(Job::Enrol(epoch));
                    self.epochs.send_replace(Arc::new(self.core.roster().epochs().cloned().collect()));
                }
                Action::Tell(judgement) => work.judgements.push(judgement),
                Action::Restore(index) => {
                    let load = load(&self.core, index);
                    self.write(Job::Load(load));
                }
            }
        }
    }

    /// Shows in the metrics what has changed, at most once a second: there may be a great many services.
    fn show(&self, work: &mut Work, now: Time) {
        metrics::RUNNING.with(&[]).set(work.runs.len() as f64);
        if work.shown_at.is_some_and(|at| at <= now && now.millis_since(at) < SHOW_MS) {
            return;
        }
        work.shown_at = Some(now);
        let states: Vec<VerdictState> = self.core.services.iter().map(|service| service.state(now)).collect();
        if work.shown != states {
            for (service, state) in self.core.services.iter().zip(&states) {
                metrics::verdict(&service.target, &service.name, *state);
            }
            work.shown = states;
        }
    }

    fn probe(&mut self, seat: usize, slot: Option<i64>, work: &mut Work) {
        let (target, check, begins) = self.core.place_of(seat, slot);
        if let Some(begins) = begins {
            metrics::START_DELAY.with(&[]).observe_ms(Time::now().millis_since(begins));
        }
        let (config, prober, health) = (self.config.clone(), self.prober.clone(), self.health.clone());
        let me = self.core.name().to_owned();
        let turn = Turn { slot, awaited: self.waiting.of(seat, Time::now()) };
        work.runs.spawn(async move {
            let target = &config.target[target];
            let check = &target.check[check];
            let observed = run::observe(&prober, &health, &config, target, check, &me, turn).await;
            (seat, observed)
        });
    }

    fn write(&mut self, job: Job) {
        let Err(error) = self.jobs.try_send(job) else { return };
        metrics::HISTORY_LOST.with(&[]).inc();
        tracing::error!("the history's writer does not keep up, an entry is not kept: {error}");
        if let Job::Load(load) = error.into_inner() {
            self.core.restore(load.index, None, Time::now());
        }
    }

    /// Hands judgements over without ever waiting for the responder.
    fn tell(&self, work: &mut Work) {
        while let Some(judgement) = work.judgements.pop() {
            if let Err(mpsc::error::TrySendError::Full(judgement)) = self.judgements.try_send(judgement) {
                work.judgements.put_back(judgement);
                break;
            }
        }
        let dropped = work.judgements.take_dropped();
        if dropped > 0 {
            metrics::JUDGEMENTS_DROPPED.with(&[]).add(dropped);
            tracing::error!(dropped, "the responder does not keep up: suspicions were not told, verdicts will be");
        }
    }

    fn emit(&self, seen: &Observation) {
        let failed = seen.failed_step();
        self.emitter.emit(ProbeRun {
            ts: seen.ts,
            target: seen.target.clone(),
            check: seen.check.clone(),
            vantage: seen.vantage.clone(),
            run_id: seen.run_id.clone(),
            slot: seen.slot.map_or_else(String::new, |slot| slot.to_string()),
            outcome: seen.outcome,
            failed_step: failed.map_or_else(String::new, |step| step.name.clone()),
            error_class: failed.map_or_else(String::new, |step| step.error_class.clone()),
            error: failed.map_or_else(String::new, |step| step.detail.clone()),
            total_ms: Some(seen.total_ms),
            ..ProbeRun::default()
        });
        for (seq, step) in (0..).zip(&seen.steps) {
            self.emitter.emit(ProbeStep {
                ts: seen.ts,
                run_id: seen.run_id.clone(),
                target: seen.target.clone(),
                check: seen.check.clone(),
                vantage: seen.vantage.clone(),
                seq,
                step: step.name.clone(),
                result: step.result,
                error_class: step.error_class.clone(),
                detail: step.detail.clone(),
                ms: Some(step.ms),
                ..ProbeStep::default()
            });
        }
    }
}

/// What is to be read of a service.
pub fn load(core: &Core, index: usize) -> Load {
    let service = &core.services[index];
    Load {
        index,
        target: service.target.clone(),
        service: service.name.clone(),
        checks: service.checks.clone(),
        watchers: core.names().to_vec(),
    }
}
