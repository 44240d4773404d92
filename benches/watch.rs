//! `./bench watch`: the verdict figures in simulated time, and a real watcher process on one core.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark ends where it fails")]
#![allow(clippy::print_stdout, reason = "a benchmark prints")]

#[path = "watch/rows.rs"]
mod rows;
#[path = "watch/site.rs"]
mod site;
#[path = "watch/truth.rs"]
mod truth;
#[path = "watch/verdicts.rs"]
mod verdicts;
#[path = "watch/watcher.rs"]
mod watcher;

use std::time::{SystemTime, UNIX_EPOCH};

fn main() {
    // `cargo bench` hands its own `--bench` over.
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let number = |place: usize, default: u64| args.get(place).and_then(|arg| arg.parse().ok()).unwrap_or(default);
    match args.first().map(String::as_str) {
        Some("verdicts") => verdicts::run(number(1, 10_000) as usize, number(2, seed())),
        Some("schedule") => watcher::schedule(number(1, 10_000) as usize, number(2, 5)),
        Some("probes") => watcher::probes(&args[1], number(2, 60)),
        Some("rows") => rows::run(),
        Some("truth") => truth::run(number(1, 20) as usize),
        _ => println!(
            "verdicts [TRIALS] [SEED] | schedule [CHECKS] [MINUTES] | probes HOST:PORT [SECONDS] | rows | truth [MESSAGES]"
        ),
    }
}

fn seed() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| since.as_secs())
}
