//! `varde verdict`.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::process::ExitCode;

use aggregator::event::Time;
use anyhow::Context;
use probes::replay::{ReplayOptions, ServiceTimeline, replay};

use crate::cli::Verdict;

/// Judges a recorded timeline by the functions that the watchers use.
#[expect(clippy::print_stdout, reason = "prints the verdicts")]
pub fn run(args: &Verdict) -> anyhow::Result<ExitCode> {
    anyhow::ensure!(args.from < args.to, "--from {} is not before --to {}", args.from, args.to);
    let input: Box<dyn BufRead> = if args.file.as_os_str() == "-" {
        Box::new(std::io::stdin().lock())
    } else {
        let file = File::open(&args.file).with_context(|| format!("{} cannot be read", args.file.display()))?;
        Box::new(BufReader::new(file))
    };
    let options = ReplayOptions {
        watchers: args.watchers.clone(),
        interval: std::time::Duration::from_secs(args.interval),
        grace: std::time::Duration::from_secs(args.grace),
        from: args.from.into(),
        to: args.to.into(),
        maintenance: args.maintenance.iter().map(|(from, to)| ((*from).into(), (*to).into())).collect(),
        objective: args.objective,
    };
    let timelines = replay(input, &options).with_context(|| args.file.display().to_string())?;
    for timeline in &timelines {
        if args.json {
            println!("{}", serde_json::to_string(timeline)?);
        } else {
            print(timeline);
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// For people: the figures, then the states, then the outages with their bounds.
#[expect(clippy::print_stdout, reason = "prints the verdicts")]
fn print(timeline: &ServiceTimeline) {
    let percent =
        |figure: Option<f64>| figure.map_or_else(|| "not enough data".to_owned(), |figure| format!("{figure:.3} %"));
    println!("{} / {}", timeline.target, timeline.service);
    println!(
        "  availability {} (between {} and {}), coverage {}",
        percent(timeline.availability),
        percent(timeline.availability_lower),
        percent(timeline.availability_upper),
        percent(timeline.coverage)
    );
    if let Some(budget) = &timeline.budget {
        let left = budget.remaining_s.map_or_else(|| "not enough data".to_owned(), |left| format!("{left} left"));
        println!(
            "  error budget {}, spent {}, {left} (between {} and {})",
            budget.budget_s, budget.spent_s, budget.remaining_lower_s, budget.remaining_upper_s
        );
    }
    for interval in &timeline.intervals {
        println!("  {} – {}  {}", interval.from, interval.to, interval.state);
    }
    for outage in &timeline.outages {
        let time = |time: Option<Time>| time.map_or_else(|| "none".to_owned(), |time| time.to_string());
        println!(
            "  outage: last good {}, first bad {}, last bad {}, first good {}",
            time(outage.last_good),
            outage.first_bad,
            outage.last_bad,
            time(outage.first_good)
        );
    }
}
