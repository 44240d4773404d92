//! One supervised process each: started, watched, started again.
//!
//! A crash is mended at once, with back-off when it repeats; a hang is not seen here, it is left for the watchers to
//! find. Each unit is owned by one task; the [`Fleet`] talks to the tasks over bounded channels.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use aggregator::emit::Emitter;
use aggregator::event::{RemedyRow, RemedyState, Time};
use aggregator::metrics::{Collecting, collect, node as metrics};
use futures_util::FutureExt;
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::children::Spec;
use crate::alarm::Alarm;
use crate::config::Config;

/// A process that is told to stop has this long before it is killed.
const TERM_GRACE: Duration = Duration::from_secs(1);
/// The same when the whole suite stops: enough to drain sessions and seal spools.
const STOP_GRACE: Duration = Duration::from_secs(3);
/// A process that lived this long did not crash in a loop.
const SOUND_AFTER: Duration = Duration::from_secs(30);
/// The longest wait before the next start.
const BACKOFF_MAX: Duration = Duration::from_secs(30);
/// How long a unit waits for those that must listen before it, and how often it looks.
const WAIT_FOR_OTHERS: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// As many crashes in a row are a loop: somebody is paged.
const LOOP_AFTER: u32 = 3;

/// What is known of a unit.
#[derive(Debug, Clone)]
pub struct Status {
    /// Its name, arguments, address, log.
    pub spec: Arc<Spec>,
    /// Its process; `None` between a crash and the next start.
    pub pid: Option<u32>,
    /// How often it was started again.
    pub restarts: u32,
    /// When it was started last.
    pub since: Time,
}

/// A restart that was done.
#[derive(Debug, Clone, Copy)]
pub struct Restarted {
    /// The process before, if one was there.
    pub previous_pid: Option<u32>,
    /// The process now.
    pub pid: u32,
}

/// All units.
#[derive(Clone)]
pub struct Fleet {
    units: Arc<Vec<Member>>,
}

struct Member {
    name: String,
    status: watch::Receiver<Status>,
    restart: mpsc::Sender<oneshot::Sender<Restarted>>,
}

impl Fleet {
    /// What is known of every unit, in the order of their start.
    pub fn units(&self) -> Vec<Status> {
        self.units.iter().map(|member| member.status.borrow().clone()).collect()
    }

    /// Stops a unit's process, kills it when it does not stop, and starts another.
    pub async fn restart(&self, name: &str) -> Result<Restarted, String> {
        let member =
            self.units.iter().find(|member| member.name == name).ok_or_else(|| format!("there is no unit {name}"))?;
        let (reply, done) = oneshot::channel();
        member.restart.try_send(reply).map_err(|_| format!("{name} is being restarted already"))?;
        done.await.map_err(|_| format!("{name} could not be started; its log says why"))
    }

    /// What tells of every change from now on.
    pub fn changes(&self) -> Changes {
        Changes(self.units.iter().map(|member| member.status.clone()).collect())
    }
}

/// Tells of the units in the metrics for as long as what it gives is kept.
pub fn tell(fleet: Fleet) -> Collecting {
    collect(move || {
        for unit in fleet.units() {
            let name = [unit.spec.name.as_str()];
            metrics::UNIT_UP.with(&name).set(if unit.pid.is_some() { 1.0 } else { 0.0 });
            metrics::UNIT_RESTARTS.with(&name).mirror(unit.restarts.into());
            metrics::UNIT_STARTED.with(&name).set(unit.since.0 as f64 / 1e6);
        }
        std::future::ready(()).boxed()
    })
}

/// Tells of changes of the units. None is missed, however long the reader takes over the one before.
pub struct Changes(Vec<watch::Receiver<Status>>);

impl Changes {
    /// Returns when any unit's status is another than when it was last told of.
    pub async fn next(&mut self) {
        let waits = self.0.iter_mut().map(|status| {
            Box::pin(async move {
                if status.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            })
        });
        futures_util::future::select_all(waits).await;
    }
}

/// Where starts, crashes and restarts are written down: a line for people, an event for SQL.
pub struct History {
    path: PathBuf,
    host: String,
    emitter: Emitter,
    alarm: Alarm,
}

impl History {
    /// The history of a suite, in `log/history.log`.
    pub fn new(config: &Config, emitter: Emitter, alarm: Alarm) -> Self {
        Self { path: config.path("log/history.log"), host: config.node.name.clone(), emitter, alarm }
    }

    fn line(&self, text: &str) {
        let written = OpenOptions::new()
            .append(true)
            .create(true)
            .open(&self.path)
            .and_then(|mut file| writeln!(file, "{} {text}", Time::now()));
        if let Err(error) = written {
            tracing::warn!(%error, "the history cannot be written: {text}");
        }
    }

    fn crashed(&self, unit: &str, how: &str, crashes: u32) {
        let text = format!("{unit} {how}; it is started again");
        tracing::warn!("{text}");
        self.line(&text);
        let now = Time::now();
        self.emitter.emit(RemedyRow {
            ts: now,
            remedy_id: format!("supervisor/{unit}/{}", now.0),
            revision: 1,
            unit: unit.to_owned(),
            host: self.host.clone(),
            verb: "start".to_owned(),
            state: RemedyState::Done,
            reason: how.to_owned(),
            ..RemedyRow::default()
        });
        if crashes == LOOP_AFTER {
            self.alarm.crash_loop(unit, how, crashes);
        }
    }
}

/// The tasks that own the units, in the two waves in which they stop: first what makes events, then what takes them, so
/// that the last events still arrive.
pub struct Running {
    makers: (CancellationToken, Vec<JoinHandle<()>>),
    takers: (CancellationToken, Vec<JoinHandle<()>>),
}

impl Running {
    /// Stops everything, wave by wave.
    pub async fn stop(self) {
        for (stop, tasks) in [self.makers, self.takers] {
            stop.cancel();
            // Each task kills its process when the grace is over, so this ends.
            futures_util::future::join_all(tasks).await;
        }
    }
}

/// Starts every unit, each in a task of its own.
pub fn start(specs: Vec<Spec>, history: &Arc<History>) -> (Fleet, Running) {
    let mut units = Vec::new();
    let mut running = Running { makers: Default::default(), takers: Default::default() };
    for spec in specs {
        let (stop, tasks) = if matches!(spec.name.as_str(), "clickhouse" | "aggregate") {
            &mut running.takers
        } else {
            &mut running.makers
        };
        let spec = Arc::new(spec);
        let status = Status { spec: spec.clone(), pid: None, restarts: 0, since: Time::now() };
        let (status_in, status_out) = watch::channel(status);
        let (restart_in, restart_out) = mpsc::channel(1);
        units.push(Member { name: spec.name.clone(), status: status_out, restart: restart_in });
        let unit = Unit { spec, status: status_in, restart: restart_out, history: history.clone(), stop: stop.clone() };
        tasks.push(tokio::spawn(unit.run()));
    }
    (Fleet { units: Arc::new(units) }, running)
}

struct Unit {
    spec: Arc<Spec>,
    status: watch::Sender<Status>,
    restart: mpsc::Receiver<oneshot::Sender<Restarted>>,
    history: Arc<History>,
    stop: CancellationToken,
}

enum Ended {
    Exited(std::io::Result<ExitStatus>),
    Ordered(oneshot::Sender<Restarted>, Option<u32>),
    Stopping,
}

impl Unit {
    /// Waits, within reason, for what must listen before the first start.
    async fn wait_for_others(&self) {
        for address in &self.spec.after {
            while tokio::net::TcpStream::connect(address).await.is_err() {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        }
    }

    async fn run(mut self) {
        tokio::select! {
            _ = tokio::time::timeout(WAIT_FOR_OTHERS, self.wait_for_others()) => {}
            () = self.stop.cancelled() => return,
        }
        let mut crashes = 0;
        let mut ordered: Option<(oneshot::Sender<Restarted>, Option<u32>)> = None;
        loop {
            let started = Instant::now();
            let how = match self.spawn() {
                Ok(mut child) => {
                    // Waiting for a child closes its standard input unless it is held here.
                    let _held = child.stdin.take();
                    let pid = child.id();
                    self.status.send_modify(|status| {
                        status.pid = pid;
                        status.since = Time::now();
                    });
                    if let (Some((reply, previous_pid)), Some(pid)) = (ordered.take(), pid) {
                        // Who asked may have gone; the restart stands either way.
                        let _ = reply.send(Restarted { previous_pid, pid });
                    }
                    match self.watch(&mut child).await {
                        Ended::Stopping => return self.end(child, STOP_GRACE).await,
                        Ended::Ordered(reply, previous) => {
                            self.end(child, TERM_GRACE).await;
                            self.history.line(&format!("{} was restarted by order", self.spec.name));
                            self.status.send_modify(|status| status.restarts += 1);
                            ordered = Some((reply, previous));
                            crashes = 0;
                            continue;
                        }
                        Ended::Exited(Ok(status)) => describe(status),
                        Ended::Exited(Err(error)) => format!("cannot be waited for: {error}"),
                    }
                }
                Err(error) => format!("cannot be started: {error}"),
            };
            crashes = if started.elapsed() > SOUND_AFTER { 1 } else { crashes + 1 };
            self.status.send_modify(|status| {
                status.pid = None;
                status.restarts += 1;
            });
            self.history.crashed(&self.spec.name, &how, crashes);
            let wait = if crashes <= 1 {
                Duration::ZERO
            } else {
                Duration::from_secs(1 << (crashes - 2).min(5)).min(BACKOFF_MAX)
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.stop.cancelled() => return,
                Some(reply) = self.restart.recv() => ordered = Some((reply, None)),
            }
        }
    }

    fn spawn(&self) -> std::io::Result<Child> {
        let log = OpenOptions::new().append(true).create(true).open(&self.spec.log)?;
        // The image that runs, even when its file has been replaced by an upgrade.
        Command::new("/proc/self/exe")
            .arg0("varde")
            .args(&self.spec.args)
            // The child reads the end of this pipe as "the supervisor is gone", however it went.
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            // Ctrl-C at the terminal is the supervisor's to handle.
            .process_group(0)
            .spawn()
    }

    async fn watch(&mut self, child: &mut Child) -> Ended {
        let previous = child.id();
        tokio::select! {
            exit = child.wait() => Ended::Exited(exit),
            Some(reply) = self.restart.recv() => Ended::Ordered(reply, previous),
            () = self.stop.cancelled() => Ended::Stopping,
        }
    }

    async fn end(&self, mut child: Child, grace: Duration) {
        let pid = child.id().and_then(|pid| rustix::process::Pid::from_raw(i32::try_from(pid).ok()?));
        if let Some(pid) = pid {
            // It may have ended in this instant.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        if tokio::time::timeout(grace, child.wait()).await.is_err() {
            tracing::warn!(unit = %self.spec.name, "does not stop, it is killed");
            // Kill works on a stopped process too; waiting cannot fail for a child of ours.
            let _ = child.kill().await;
        }
        self.status.send_modify(|status| status.pid = None);
    }
}

fn describe(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.signal(), status.code()) {
        (Some(signal), _) => format!("was ended by signal {signal}"),
        (None, Some(code)) => format!("exited with code {code}"),
        (None, None) => "ended".to_owned(),
    }
}
