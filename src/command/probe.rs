//! `varde probe`.

use std::process::ExitCode;

use aggregator::event::{ProbeOutcome, StepResult};
use comfy_table::Table;
use comfy_table::presets::UTF8_HORIZONTAL_ONLY;
use probes::observation::{Observation, Step};

use crate::cli::Probe;

/// What this command says as its region.
const VANTAGE: &str = "here";

/// Runs the checks and prints what they saw; exit code 1 when one failed.
#[expect(clippy::print_stdout, reason = "prints the observations")]
pub async fn run(args: &Probe) -> anyhow::Result<ExitCode> {
    let config = args.place.load()?;
    let seen =
        probes::watcher::probe_once(&config.probes, VANTAGE, args.target.as_deref(), args.check.as_deref()).await;
    anyhow::ensure!(!seen.is_empty(), "no check matches; the configuration has {}", names(&config.probes));
    if args.json {
        println!("{}", serde_json::to_string_pretty(&seen)?);
    } else {
        println!("{}", table(&seen));
    }
    let failed = seen.iter().any(|seen| matches!(seen.outcome, ProbeOutcome::Failed | ProbeOutcome::Missing));
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn names(config: &probes::config::Config) -> String {
    let names = config
        .target
        .iter()
        .flat_map(|target| target.check.iter().map(|check| format!("{}/{}", target.name, check.name)));
    names.collect::<Vec<_>>().join(", ")
}

fn table(seen: &[Observation]) -> Table {
    let mut table = Table::new();
    table.load_preset(UTF8_HORIZONTAL_ONLY).set_header(["check", "outcome", "ms", "steps"]);
    for observation in seen {
        let mut steps: Vec<String> = observation.steps.iter().map(step).collect();
        if let Some(failed) = observation.failed_step() {
            steps.push(format!("\n{}", failed.detail));
        }
        let check = format!("{}/{}", observation.target, observation.check);
        table.add_row([check, observation.outcome.to_string(), observation.total_ms.to_string(), steps.join("  ")]);
    }
    table
}

fn step(step: &Step) -> String {
    match step.result {
        StepResult::Ok => format!("{} {:.1}", step.name, step.ms),
        StepResult::Failed => format!("{} FAILED ({}) {:.1}", step.name, step.error_class, step.ms),
        StepResult::Unknown => format!("{} –", step.name),
    }
}
