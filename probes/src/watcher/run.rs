//! One run of a check: bounded from outside as well, and not held against the target when the vantage is at fault.

use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use aggregator::event::{ProbeOutcome, StepResult, Time};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::time::{Instant, timeout};

use crate::config::{Check, Config, Target};
use crate::control::Health;
use crate::kind::{self, Awaited, Context, Finding, Report};
use crate::observation::{Observation, Step};
use crate::verdict::Vote;

/// What a kind may take beyond its own end before it is cut.
const PATIENCE: Duration = Duration::from_secs(2);

/// How a check is run. The watcher's own tests put their own worlds here.
pub type Prober = Arc<dyn for<'a> Fn(&'a Check, &'a Target, &'a Context) -> BoxFuture<'a, Report> + Send + Sync>;

/// What a run is due for.
#[derive(Debug, Default)]
pub struct Turn {
    /// The slot of the schedule; `None` for a confirmation.
    pub slot: Option<i64>,
    /// Runs of the check that had said `missing`.
    pub awaited: Vec<Awaited>,
}

/// What a run saw, and what it found beside.
#[derive(Debug)]
pub struct Observed {
    /// What it saw.
    pub seen: Observation,
    /// What it found.
    pub findings: Vec<Finding>,
}

/// The check kinds.
pub fn kinds() -> Prober {
    Arc::new(|check, target, cx| Box::pin(kind::run(check, target, cx)))
}

/// Runs a check and says what was seen. Never fails, never panics, always ends.
pub async fn observe(
    prober: &Prober,
    health: &Health,
    config: &Config,
    target: &Target,
    check: &Check,
    vantage: &str,
    turn: Turn,
) -> Observed {
    let Turn { slot, awaited } = turn;
    let cx = Context {
        vantage: vantage.to_owned(),
        run_id: run_id(),
        receive_objective: Duration::from_millis(config.watch.receive_objective_ms),
        base_dir: PathBuf::new(),
        receiver: check.to_target.as_ref().and_then(|name| config.target(name)).cloned().map(Box::new),
        awaited,
    };
    let (ts, begun) = (Time::now(), Instant::now());
    let patience = kind::find(&check.kind).map_or(1, |kind| kind.patience);
    let limit = check.timeout() * patience + PATIENCE;
    let run = AssertUnwindSafe((prober)(check, target, &cx)).catch_unwind();
    let ended = tokio::select! {
        ended = timeout(limit, run) => ended,
        never = health.look_beside() => match never {},
    };
    let mut report = match ended {
        Ok(Ok(report)) => report,
        Ok(Err(_)) => {
            tracing::error!(check = %check.name, target = %target.name, "the check broke off by a fault of its own; it does not vote");
            broken(ProbeOutcome::VantageFault, "internal", "the check broke off by a fault of its own", limit)
        }
        Err(_) => broken(ProbeOutcome::Failed, "timeout", &format!("cut off after {} s", limit.as_secs()), limit),
    };
    let step = report.steps.iter().find(|step| step.result == StepResult::Failed).map_or("", |step| &step.name);
    let failed = (Vote::of(report.outcome) == Vote::Bad).then_some(step);
    if let Some(fault) = health.fault(failed, begun).await {
        tracing::warn!(check = %check.name, target = %target.name, "the check does not vote: {fault}");
        report.outcome = ProbeOutcome::VantageFault;
        report.steps.push(fault.step());
    }
    let seen = Observation {
        ts,
        target: target.name.clone(),
        service: check.service.clone(),
        check: check.name.clone(),
        vantage: vantage.to_owned(),
        run_id: cx.run_id,
        slot,
        outcome: report.outcome,
        steps: report.steps,
        total_ms: report.total_ms,
    };
    Observed { seen, findings: report.findings }
}

fn broken(outcome: ProbeOutcome, class: &str, detail: &str, limit: Duration) -> Report {
    let ms = limit.as_millis() as u32;
    let step = Step {
        name: "run".to_owned(),
        result: StepResult::Failed,
        error_class: class.to_owned(),
        detail: detail.to_owned(),
        ms: ms as f32,
    };
    Report { outcome, steps: vec![step], total_ms: ms, findings: Vec::new() }
}

/// 64 random bits of this process, the run's number, and 32 random bits that nobody can foretell. Nine in ten digits
/// are those of the run before, or nearly: the tables keep a great many of them.
fn run_id() -> String {
    static PROCESS: LazyLock<u64> = LazyLock::new(|| u64::from_be_bytes(random()));
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    format!("{:016x}{number:08x}{:08x}", *PROCESS, u32::from_be_bytes(random()))
}

/// Random octets. Without a random generator the clock has to do: the run is then unique on this watcher at least.
fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0_u8; N];
    if aws_lc_rs::rand::fill(&mut bytes).is_err() {
        let clock = Time::now().0.to_be_bytes();
        bytes.copy_from_slice(&clock[clock.len() - N..]);
    }
    bytes
}
