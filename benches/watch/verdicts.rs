//! How soon outages are confirmed, and whether faults of one region ever are: the real schedule, in simulated time.

use std::time::Duration;

use probes::simulation::trial::{black_holes, many, outages, regional_faults, site};

/// Prints the table of `trials` each.
pub fn run(trials: usize, seed: u64) {
    let seconds = Duration::from_secs;
    println!(
        "seed {seed}\n\n| simulated | trials | confirmed | p50 s | p99 s | max s | false down |\n|---|---|---|---|---|---|---|"
    );
    for (title, cadence, from, to) in [
        ("outages of 5.5 to 30 min, 15-minute audit alone", "audit", 330, 1_800),
        ("outages of 1 to 10 min, light checks", "light", 60, 600),
    ] {
        let seen = outages(site(cadence).unwrap(), trials, (seconds(from), seconds(to)), seed);
        let at = |share: usize| seen.confirmed_after[(seen.confirmed_after.len() - 1) * share / 100].as_secs_f64();
        let (count, downs) = (seen.confirmed_after.len(), seen.false_downs);
        println!("| {title} | {trials} | {count} | {:.1} | {:.1} | {:.1} | {downs} |", at(50), at(99), at(100));
    }
    println!("\n| simulated | trials | shown as regional | down |\n|---|---|---|---|");
    for cadence in ["audit", "light"] {
        let seen = regional_faults(site(cadence).unwrap(), trials, seed);
        println!("| faults of one region, {cadence} | {} | {} | {} |", seen.injected, seen.noticed, seen.downs);
    }
    let seen = black_holes(many("audit", 1, 10_000).unwrap(), 2);
    let at = |share: usize| seen.lateness[(seen.lateness.len() - 1) * share / 100].as_secs_f64() * 1e3;
    println!(
        "\n10,000 checks each 15 minutes, half of them black holes, in simulated time: {} slots, {} missed, {} looks between; late p50 {:.1} ms, p99 {:.1} ms, max {:.1} ms",
        seen.lateness.len(),
        seen.missed,
        seen.looks,
        at(50),
        at(99),
        at(100)
    );
}
