//! The watcher's one task: it owns the state, and everything else talks to it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use aggregator::emit::Emitter;
use aggregator::event::{ProbeRun, ProbeStep, Time, VerdictState};
use aggregator::metrics::event::show_runs;
use aggregator::metrics::watch as metrics;
use chrono_tz::Tz;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::afterwards::Waiting;
use super::core::{Action, Core};
use super::run::{self, Observed, Prober, Turn};
use super::writer::{Job, Load};
use crate::config::Config;
use crate::control::Health;
use crate::judgement::Judgement;
use crate::keys::{PublicKey, SigningKey};
use crate::observation::Observation;
use crate::roster::{Change, Epoch, NotChanged};
use crate::status::Status;
use crate::verdict::Cast;

/// Checks that run at the same time at most.
pub const CONCURRENT_RUNS: usize = 64;
/// Judgements that wait for a responder that is behind. Past it the oldest goes, with a line in the log: what is
/// newer says more about now.
pub const WAITING_JUDGEMENTS: usize = 256;
/// A status is made at most this often.
const STATUS_AGE_MS: u64 = 1_000;
/// The state is looked at this often, even when nothing happens.
const TICK: Duration = Duration::from_secs(1);

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
    pub loaded: mpsc::Receiver<(usize, Vec<Cast>)>,
    /// When to stop.
    pub shutdown: CancellationToken,
}

/// What changes while it runs.
#[derive(Default)]
struct Work {
    runs: JoinSet<(usize, Observed)>,
    waiters: Vec<Waiter>,
    judgements: VecDeque<Judgement>,
    status: Option<Arc<Status>>,
    /// The states that the metrics show.
    shown: Vec<VerdictState>,
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
        let permits = Arc::new(Semaphore::new(CONCURRENT_RUNS));
        loop {
            let now = Time::now();
            let actions = self.core.tick(now);
            self.perform(actions, &mut work, &permits);
            self.tell(&mut work);
            self.show(&mut work, now);
            let pause =
                self.core.wake().map_or(TICK, |wake| Duration::from_millis(wake.millis_since(now) + 1)).min(TICK);
            tokio::select! {
                () = self.shutdown.cancelled() => break,
                Some(ended) = work.runs.join_next() => {
                    if let Ok((seat, observed)) = ended {
                        self.finished(seat, observed, &mut work, &permits);
                    }
                }
                Some(command) = self.commands.recv() => self.obey(command, &mut work, &permits),
                Some(peer) = self.acknowledged.recv() => {
                    if let Some(watcher) = self.core.watcher(&peer) {
                        self.core.contact(watcher, Time::now());
                    }
                }
                Some((service, casts)) = self.loaded.recv() => {
                    self.core.services[service].restore(casts, Time::now());
                }
                () = tokio::time::sleep(pause) => {}
            }
        }
        work.runs.shutdown().await;
    }

    fn finished(&mut self, seat: usize, observed: Observed, work: &mut Work, permits: &Arc<Semaphore>) {
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
        self.perform(actions, work, permits);
        for waiter in work.waiters.extract_if(.., |waiter| waiter.seats.is_empty()) {
            let _ = waiter.reply.send(waiter.seen);
        }
    }

    fn obey(&mut self, command: Command, work: &mut Work, permits: &Arc<Semaphore>) {
        let now = Time::now();
        match command {
            Command::Heard { from, observations, epochs, reply } => {
                if let Some(watcher) = self.core.watcher(&from) {
                    self.core.contact(watcher, now);
                }
                for seen in observations {
                    let actions = self.core.hear(seen, now);
                    self.perform(actions, work, permits);
                }
                let actions = self.core.learn(epochs, &self.keys, now);
                self.perform(actions, work, permits);
                let _ = reply.send(());
            }
            Command::Enrol { change, reply } => {
                let epoch = self.core.enrol(&change, &self.key, now);
                if let Ok(epoch) = &epoch {
                    let actions = self.core.learn(vec![epoch.clone()], &self.keys, now);
                    self.perform(actions, work, permits);
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
                let kept = work.status.take().filter(fresh);
                let status = kept.unwrap_or_else(|| {
                    let fault = self.health.last().map(|fault| fault.to_string());
                    Arc::new(Status { fault, ..self.core.status(now, self.zone) })
                });
                work.status = Some(status.clone());
                let _ = reply.send(status);
            }
        }
    }

    fn perform(&mut self, actions: Vec<Action>, work: &mut Work, permits: &Arc<Semaphore>) {
        for action in actions {
            match action {
                Action::Probe { seat, slot } => self.probe(seat, slot, work, permits),
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
                Action::Enrol(epoch) => {
                    self.write(Job::Enrol(epoch));
                    self.epochs.send_replace(Arc::new(self.core.roster().epochs().cloned().collect()));
                }
                Action::Tell(judgement) => work.judgements.push_back(judgement),
                Action::Restore(index) => {
                    let load = load(&self.core, index);
                    self.write(Job::Load(load));
                }
            }
        }
    }

    /// Shows in the metrics what has changed.
    fn show(&self, work: &mut Work, now: Time) {
        metrics::RUNNING.with(&[]).set(work.runs.len() as f64);
        let states: Vec<VerdictState> = self.core.services.iter().map(|service| service.state(now)).collect();
        if work.shown != states {
            for (service, state) in self.core.services.iter().zip(&states) {
                metrics::verdict(&service.target, &service.name, *state);
            }
            work.shown = states;
        }
    }

    fn probe(&mut self, seat: usize, slot: Option<i64>, work: &mut Work, permits: &Arc<Semaphore>) {
        let (target, check) = (self.core.seats[seat].target, self.core.seats[seat].check);
        if let Some(slot) = slot {
            let late_ms = Time::now().millis_since(self.core.seats[seat].begin_of(slot));
            metrics::START_DELAY.with(&[]).observe_ms(late_ms);
        }
        let (config, prober, permits) = (self.config.clone(), self.prober.clone(), permits.clone());
        let health = self.health.clone();
        let me = self.core.name().to_owned();
        let turn = Turn { slot, awaited: self.waiting.of(seat, Time::now()) };
        work.runs.spawn(async move {
            let _permit = permits.acquire().await;
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
            self.core.services[load.index].release();
        }
    }

    /// Hands judgements over without ever waiting for the responder.
    fn tell(&self, work: &mut Work) {
        while let Some(judgement) = work.judgements.pop_front() {
            if let Err(mpsc::error::TrySendError::Full(judgement)) = self.judgements.try_send(judgement) {
                work.judgements.push_front(judgement);
                break;
            }
        }
        while work.judgements.len() > WAITING_JUDGEMENTS {
            metrics::JUDGEMENTS_DROPPED.with(&[]).inc();
            tracing::error!(
                "the responder does not keep up, the oldest judgement is dropped: {:?}",
                work.judgements.pop_front()
            );
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
