//! What the schedule and the rules promise, in simulated time. The figures of the benchmarks are these with more trials.

use std::time::Duration;

use super::trial::{black_holes, many, outages, regional_faults, site};

/// Another one each day; it is in every message.
fn seed() -> u64 {
    let days = aggregator::event::Time::now().0 / 86_400_000_000;
    std::env::var("VARDE_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(days.unsigned_abs())
}

#[test]
fn black_holes_among_the_targets_make_no_other_check_late() {
    let seen = black_holes(many("audit", 1, 2_000).unwrap(), 2);
    assert_eq!((seen.lateness.len(), seen.missed), (4_000, 0));
    let p99 = seen.lateness[seen.lateness.len() * 99 / 100];
    assert!(p99 < Duration::from_millis(250), "p99 {p99:?}, max {:?}", seen.lateness.last());
    assert!(seen.looks > 1_000, "what is down is looked at between the slots: {}", seen.looks);
}

#[test]
fn a_gate_that_is_too_narrow_is_told_by_missed_slots_and_not_by_silence() {
    let mut config = many("light", 1, 600).unwrap();
    config.watch.concurrency = 8;
    let seen = black_holes(config, 10);
    assert!(seen.missed > 100, "{} missed", seen.missed);
    let all = seen.lateness.len() + seen.missed;
    assert!(all > 6_000 * 6 / 10, "{all} slots accounted for of 6000, the others wait");
}

#[test]
fn every_outage_of_five_and_a_half_minutes_is_confirmed_within_six_at_the_fifteen_minute_cadence_alone() {
    let seed = seed();
    let seen = outages(site("audit").unwrap(), 300, (Duration::from_secs(330), Duration::from_secs(1_800)), seed);
    assert_eq!((seen.confirmed_after.len(), seen.false_downs), (300, 0), "seed {seed}");
    assert!(seen.confirmed_after.last() < Some(&Duration::from_secs(360)), "seed {seed}: {:?}", seen.confirmed_after);
}

#[test]
fn light_checks_confirm_an_outage_within_a_minute() {
    let seed = seed();
    let seen = outages(site("light").unwrap(), 40, (Duration::from_secs(60), Duration::from_secs(300)), seed);
    assert_eq!((seen.confirmed_after.len(), seen.false_downs), (40, 0), "seed {seed}");
    assert!(seen.confirmed_after.last() < Some(&Duration::from_secs(60)), "seed {seed}: {:?}", seen.confirmed_after);
}

#[test]
fn a_fault_that_one_region_sees_is_never_down() {
    let seed = seed();
    for (cadence, count) in [("audit", 200), ("light", 12)] {
        let seen = regional_faults(site(cadence).unwrap(), count, seed);
        assert_eq!((seen.injected, seen.downs), (count, 0), "seed {seed}");
        assert!(seen.noticed > count / 2, "seed {seed}: {} noticed", seen.noticed);
    }
}
