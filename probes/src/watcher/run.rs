//! One run of a check: bounded from outside as well, and not held against the target when the vantage is at fault.

use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use aggregator::event::{ProbeOutcome, StepResult, Time};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::time::timeout;

use crate::config::{Check, Config, Target};
use crate::control;
use crate::kind::{self, Context, Report};
use crate::observation::{Observation, Step};
use crate::verdict::Vote;

/// What a kind may take beyond its own end before it is cut.
const PATIENCE: Duration = Duration::from_secs(2);

/// How a check is run. The watcher's own tests put their own worlds here.
pub type Prober = Arc<dyn for<'a> Fn(&'a Check, &'a Target, &'a Context) -> BoxFuture<'a, Report> + Send + Sync>;

/// The check kinds.
pub fn kinds() -> Prober {
    Arc::new(|check, target, cx| Box::pin(kind::run(check, target, cx)))
}

/// Runs a check and says what was seen. Never fails, never panics, always ends.
pub async fn observe(
    prober: &Prober,
    config: &Config,
    target: &Target,
    check: &Check,
    vantage: &str,
    slot: Option<i64>,
) -> Observation {
    let cx = Context {
        vantage: vantage.to_owned(),
        run_id: run_id(),
        receive_objective: Duration::from_millis(config.watch.receive_objective_ms),
        base_dir: PathBuf::new(),
    };
    let ts = Time::now();
    let patience = kind::find(&check.kind).map_or(1, |kind| kind.patience);
    let limit = check.timeout() * patience + PATIENCE;
    let run = AssertUnwindSafe((prober)(check, target, &cx)).catch_unwind();
    let mut report = match timeout(limit, run).await {
        Ok(Ok(report)) => report,
        Ok(Err(_)) => {
            tracing::error!(check = %check.name, target = %target.name, "the check broke off by a fault of its own; it does not vote");
            broken(ProbeOutcome::VantageFault, "internal", "the check broke off by a fault of its own", limit)
        }
        Err(_) => broken(ProbeOutcome::Failed, "timeout", &format!("cut off after {} s", limit.as_secs()), limit),
    };
    if Vote::of(report.outcome) == Vote::Bad && !control::healthy(&config.watch.control).await {
        tracing::warn!(check = %check.name, "failed, but no control target can be reached either: this vantage is at fault");
        report.outcome = ProbeOutcome::VantageFault;
    }
    Observation {
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
    }
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
    Report { outcome, steps: vec![step], total_ms: ms }
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
