//! The sweep against the rules: single cases by hand, and random timelines against a second-by-second reading of the
//! text that shares no code with it.

use proptest::prelude::*;

use super::*;
use crate::uptime::{self, Tally};
use ProbeOutcome::{Failed, Late, Missed, Ok as Fine};

/// Seconds of a random timeline, and of the part of it in which observations are made.
const HORIZON: i64 = 44;
const BUSY: i64 = 30;

/// A timeline: N, freshness, and (ts, watcher, outcome).
#[derive(Debug, Clone)]
struct Case {
    watchers: usize,
    fresh: i64,
    seen: Vec<(i64, usize, ProbeOutcome)>,
    maintenance: Vec<(i64, i64)>,
}

/// An outage as the oracle tells it: first_bad, to, last_good, last_bad, first_good.
type Told = (i64, Option<i64>, Option<i64>, i64, Option<i64>);

/// The text, evaluated at every second.
fn oracle(case: &Case) -> (Vec<&'static str>, Vec<Told>) {
    use ProbeOutcome::{Duplicate, Missing, Spam};
    let poor = |o: ProbeOutcome| [Late, Spam, Duplicate].contains(&o);
    let good = |o: ProbeOutcome| o == Fine || poor(o);
    let bad = |o: ProbeOutcome| [Failed, Missing].contains(&o);
    let rank = |o: ProbeOutcome| {
        if bad(o) {
            3
        } else if poor(o) {
            2
        } else {
            i32::from(good(o))
        }
    };
    let quorum = case.watchers / 2 + 1;
    // What each watcher said at each second that it said something, the worst of what it said.
    let mut table = vec![[None; HORIZON as usize]; case.watchers];
    for (second, watcher, outcome) in &case.seen {
        let said: &mut Option<ProbeOutcome> = &mut table[*watcher][*second as usize];
        *said = (*said).into_iter().chain([*outcome]).max_by_key(|o| rank(*o));
    }
    let said = |watcher: usize, second: i64| table[watcher][second as usize];
    let latest = |watcher: usize, t: i64| (0..=t).rev().find_map(|s| said(watcher, s).map(|o| (s, o)));
    let run = |watcher: usize, t: i64, class: &dyn Fn(ProbeOutcome) -> bool| {
        let mut first = t;
        for second in (0..=t).rev() {
            match said(watcher, second) {
                Some(outcome) if class(outcome) => first = second,
                Some(_) => break,
                None => {}
            }
        }
        first
    };
    let ever = |class: &dyn Fn(ProbeOutcome) -> bool, before: i64| {
        (0..before).rev().find(|t| (0..case.watchers).any(|w| said(w, *t).is_some_and(class)))
    };
    let mut label = Vec::new();
    let mut outages: Vec<Told> = Vec::new();
    let mut was_down = false;
    for t in 0..HORIZON {
        let votes: Vec<(usize, ProbeOutcome)> = (0..case.watchers)
            .filter_map(|w| latest(w, t).filter(|(s, _)| t - s < case.fresh).map(|(_, outcome)| (w, outcome)))
            .collect();
        let failing: Vec<usize> = votes.iter().filter(|v| bad(v.1)).map(|v| v.0).collect();
        let succeeding: Vec<usize> = votes.iter().filter(|v| good(v.1)).map(|v| v.0).collect();
        let down = failing.len() >= quorum;
        let up = succeeding.len() >= quorum;
        label.push(if down {
            "down"
        } else if up && votes.iter().filter(|v| poor(v.1)).count() >= quorum {
            "degraded"
        } else if up && !failing.is_empty() {
            "regional"
        } else if up {
            "up"
        } else {
            "unknown"
        });
        if down && !was_down {
            let previous_end = outages.last().and_then(|o| o.1).unwrap_or(0);
            let first_bad = failing.iter().map(|w| run(*w, t, &bad)).min().unwrap().max(previous_end);
            label[first_bad as usize..t as usize].fill("down");
            outages.push((first_bad, None, ever(&good, first_bad), 0, None));
        }
        if was_down && !down {
            let outage = outages.last_mut().unwrap();
            if up {
                let first_good = succeeding.iter().map(|w| run(*w, t, &good)).min().unwrap();
                let first_good = first_good.max(ever(&bad, t + 1).unwrap());
                label[first_good as usize..t as usize].fill("up");
                (outage.1, outage.4) = (Some(first_good), Some(first_good));
            } else {
                outage.1 = Some(t);
            }
        }
        if down || was_down {
            let outage = outages.last_mut().unwrap();
            outage.3 = ever(&bad, t + 1).unwrap();
        }
        was_down = down;
    }
    (label, outages)
}

/// The same by the sweep, fed instant by instant, coming back from a copy as a watcher does.
fn swept(case: &Case) -> (Vec<&'static str>, Vec<Told>, Tally) {
    let rules = Rules { watchers: case.watchers, checks: 1, freshness: Duration::from_micros(case.fresh as u64) };
    let cast = |(at, watcher, outcome): (i64, usize, ProbeOutcome)| Cast {
        at: Time(at),
        watcher: watcher as u16,
        check: 0,
        vote: Vote::of(outcome),
    };
    let mut casts: Vec<Cast> = case.seen.iter().copied().map(cast).collect();
    casts.sort_unstable();
    let (mut sweep, mut record) = (Sweep::new(rules), Record::default());
    for instant in casts.chunk_by(|a, b| a.at == b.at) {
        sweep.run(instant, &mut record);
        // What is swept ahead from a copy leaves no trace.
        sweep.clone().advance(Time(HORIZON), &mut Record::default());
    }
    sweep.advance(Time(HORIZON - 1), &mut record);
    let outages: Vec<Outage> = record.outages.iter().copied().chain(sweep.open()).collect();
    let segments = uptime::label(&record.steps, &outages, Time(0), Time(HORIZON));
    let states = segments.iter().flat_map(|s| (s.from.0..s.to.0).map(|_| s.state.as_str())).collect();
    let told = outages.iter().map(|o| {
        let first_good = o.to().filter(|_| matches!(o.end, Some(End::Good { .. }))).map(|t| t.0);
        (o.first_bad.0, o.to().map(|t| t.0), o.last_good.map(|t| t.0), o.last_bad.0, first_good)
    });
    let windows: Vec<(Time, Time)> = case.maintenance.iter().map(|(a, b)| (Time(*a), Time(*b))).collect();
    let tally = Tally::of(uptime::with_maintenance(&segments, &windows));
    (states, told.collect(), tally)
}

fn compare(case: &Case) {
    let (label, outages) = oracle(case);
    let (states, told, tally) = swept(case);
    assert_eq!(states, label, "states of {case:?}");
    assert_eq!(told, outages, "outages of {case:?}");
    let mut expected = Tally::default();
    for (t, state) in (0..).zip(&label) {
        let covered = case.maintenance.iter().any(|(from, to)| (*from..*to).contains(&t));
        let sum = match *state {
            _ if covered => &mut expected.maintenance,
            "down" => &mut expected.down,
            "unknown" => &mut expected.unknown,
            _ => &mut expected.up,
        };
        *sum += 1;
    }
    assert_eq!(tally, expected, "figures of {case:?}");
}

/// xorshift64*: fast, and the same everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % bound
    }

    fn case(&mut self) -> Case {
        let watchers = 1 + self.below(5) as usize;
        // Some timelines are mostly good or bad, so that quorums are reached and lost often.
        let bias = self.below(3);
        let seen = (0..self.below(28)).map(|_| {
            let pick = self.below(if bias == 0 { 8 } else { 16 });
            let outcome = match (pick, bias) {
                (0..8, _) => ProbeOutcome::ALL[pick as usize],
                (_, 1) => ProbeOutcome::Failed,
                _ => ProbeOutcome::Ok,
            };
            (self.below(BUSY as u64) as i64, self.below(watchers as u64) as usize, outcome)
        });
        let seen = seen.collect();
        let maintenance = (0..self.below(3)).map(|_| {
            let from = self.below(HORIZON as u64) as i64;
            (from, from + 1 + self.below(12) as i64)
        });
        let maintenance = maintenance.collect();
        Case { watchers, fresh: 1 + self.below(14) as i64, seen, maintenance }
    }
}

/// `VARDE_TIMELINES=1000000` for the long form.
#[test]
fn random_timelines_agree_with_a_second_by_second_reading_of_the_rules() {
    let count = std::env::var("VARDE_TIMELINES").ok().and_then(|n| n.parse().ok()).unwrap_or(100_000);
    std::thread::scope(|scope| {
        for seed in [0x9e37_79b9_7f4a_7c15, 0x2545_f491_4f6c_dd1d] {
            scope.spawn(move || {
                let mut random = Random(seed);
                (0..count / 2).for_each(|_: u64| compare(&random.case()));
            });
        }
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]
    #[test]
    fn a_timeline_that_disagrees_is_shrunk_to_its_core(
        watchers in 1_usize..6,
        fresh in 1_i64..14,
        seen in proptest::collection::vec((0..BUSY, 0_usize..6, 0_usize..8), 0..24),
    ) {
        let seen = seen.into_iter().map(|(at, watcher, outcome)| (at, watcher % watchers, ProbeOutcome::ALL[outcome]));
        compare(&Case { watchers, fresh, seen: seen.collect(), maintenance: Vec::new() });
    }
}

fn case(watchers: usize, fresh: i64, seen: &[(i64, usize, ProbeOutcome)]) -> Case {
    Case { watchers, fresh, seen: seen.to_vec(), maintenance: Vec::new() }
}

/// The states as `(second at which it begins, state)`, and the outages.
fn told(case: &Case) -> (Vec<(usize, &'static str)>, Vec<Told>) {
    compare(case);
    let (states, outages, _) = swept(case);
    let mut steps: Vec<(usize, &str)> = states.into_iter().enumerate().collect();
    steps.dedup_by_key(|step| step.1);
    (steps, outages)
}

#[test]
fn an_outage_is_dated_from_the_first_failure_to_the_first_success() {
    let down = [(5, 0, Failed), (8, 1, Failed), (9, 2, Failed)];
    let up = [(0, 0, Fine), (1, 1, Fine), (15, 0, Fine), (18, 1, Fine), (19, 2, Fine)];
    let (steps, outages) = told(&case(3, 20, &[&down[..], &up[..]].concat()));
    let unknown_again = 18 + 20;
    assert_eq!(
        steps,
        [(0, "unknown"), (1, "up"), (5, "down"), (15, "up"), (18, "regional"), (19, "up"), (unknown_again, "unknown")]
    );
    assert_eq!(outages, [(5, Some(15), Some(1), 9, Some(15))]);
}

#[test]
fn one_region_that_fails_is_regional_and_not_down() {
    let seen = [(0, 0, Fine), (0, 1, Fine), (0, 2, Fine), (4, 2, Failed)];
    let (steps, outages) = told(&case(3, 20, &seen));
    assert_eq!(steps, [(0, "up"), (4, "regional"), (20, "unknown")]);
    assert_eq!(outages, []);
}

#[test]
fn an_outage_whose_votes_expire_ends_there_and_unknown_follows() {
    let (steps, outages) = told(&case(3, 10, &[(2, 0, Failed), (5, 1, Failed)]));
    assert_eq!(steps, [(0, "unknown"), (2, "down"), (12, "unknown")]);
    assert_eq!(outages, [(2, Some(12), None, 5, None)]);
}

#[test]
fn a_quorum_that_dissolves_without_successes_ends_the_outage_unknown() {
    let seen = [(0, 0, Failed), (1, 1, Failed), (6, 0, Fine), (9, 1, Fine)];
    let (steps, outages) = told(&case(2, 20, &seen));
    assert_eq!(steps, [(0, "down"), (6, "unknown"), (9, "up"), (26, "unknown")]);
    assert_eq!(outages, [(0, Some(6), None, 1, None)]);
}

#[test]
fn a_missed_slot_takes_the_older_vote_away() {
    let (steps, _) = told(&case(1, 20, &[(0, 0, Fine), (5, 0, Missed)]));
    assert_eq!(steps, [(0, "up"), (5, "unknown")]);
}

#[test]
fn a_quorum_of_late_messages_is_degraded_even_when_one_region_fails() {
    let seen = [(0, 0, Late), (0, 1, Late), (0, 2, Failed)];
    assert_eq!(told(&case(3, 20, &seen)).0, [(0, "degraded"), (20, "unknown")]);
}

#[test]
fn an_outage_never_begins_before_the_previous_one_ended() {
    let seen = [(0, 2, Failed), (2, 1, Failed), (5, 0, Fine), (6, 1, Fine), (9, 1, Failed)];
    let (steps, outages) = told(&case(3, 30, &seen));
    assert_eq!(outages, [(0, Some(5), None, 2, Some(5)), (5, Some(30), None, 9, None)]);
    assert_eq!(steps, [(0, "down"), (30, "unknown")]);
}

#[test]
fn a_watchers_vote_is_the_worst_of_its_checks() {
    let rules = Rules { watchers: 1, checks: 2, freshness: Duration::from_micros(50) };
    let cast = |at, check, vote| Cast { at: Time(at), watcher: 0, check, vote };
    let casts = [
        cast(0, 0, Vote::Good),
        cast(1, 1, Vote::Good),
        cast(10, 0, Vote::Bad),
        cast(12, 1, Vote::Good),
        cast(20, 0, Vote::Good),
    ];
    let (mut sweep, mut record) = (Sweep::new(rules), Record::default());
    sweep.run(&casts, &mut record);
    let states: Vec<(i64, &str)> = record.steps.iter().map(|(at, state)| (at.0, state.as_str())).collect();
    assert_eq!(states, [(0, "up"), (10, "down"), (20, "up")]);
    assert_eq!(record.outages[0].to(), Some(Time(20)));
}

/// S(t) by its definition, at every instant: the fresh votes of those who are assigned then.
fn by_definition(seen: &[(i64, usize, ProbeOutcome)], terms: &[(i64, Vec<usize>)], fresh: i64) -> Vec<&'static str> {
    let at = |t: i64| {
        let assigned = &terms.iter().rfind(|(from, _)| *from <= t).unwrap_or(&terms[0]).1;
        let vote = |watcher: &usize| {
            let latest = seen.iter().filter(|(at, by, _)| by == watcher && *at <= t).map(|(at, ..)| *at).max()?;
            let votes = seen.iter().filter(|(at, by, _)| by == watcher && *at == latest);
            votes.map(|(.., outcome)| Vote::of(*outcome)).max().filter(|_| t - latest < fresh)
        };
        let votes: Vec<Vote> = assigned.iter().filter_map(vote).collect();
        let count = |wanted: &dyn Fn(Vote) -> bool| votes.iter().filter(|vote| wanted(**vote)).count();
        let quorum = assigned.len() / 2 + 1;
        let bad = count(&|vote| vote == Vote::Bad);
        match () {
            () if bad >= quorum => "down",
            () if count(&Vote::is_good) < quorum => "unknown",
            () if count(&|vote| vote == Vote::Degraded) >= quorum => "degraded",
            () if bad > 0 => "regional",
            () => "up",
        }
    };
    (0..HORIZON).map(at).collect()
}

#[test]
fn those_who_vote_change_at_one_instant_and_the_verdict_with_them() {
    use ProbeOutcome::VantageFault;
    let mut random = Random(0x5eed_7e24_0000_0001);
    for _ in 0..2_000 {
        let watchers = 2 + random.below(4) as usize;
        let mut terms = vec![(i64::MIN, (0..watchers).collect::<Vec<_>>())];
        for _ in 0..random.below(4) {
            let from = terms.last().unwrap().0.max(0) + 1 + random.below(HORIZON as u64 / 3) as i64;
            terms.push((from, (0..watchers).filter(|_| random.below(3) > 0).collect()));
        }
        let outcomes = [Fine, Fine, Failed, Failed, Late, Missed, VantageFault];
        let seen: Vec<_> = (0..random.below(40))
            .map(|_| {
                let at = random.below(HORIZON as u64) as i64;
                (at, random.below(watchers as u64) as usize, outcomes[random.below(7) as usize])
            })
            .collect();
        let fresh = 1 + random.below(30) as i64;
        let rules = Rules { watchers, checks: 1, freshness: Duration::from_micros(fresh as u64) };
        let all = || Terms::new(terms.iter().map(|(from, who)| Term::new(Time(*from), who.iter().copied())));
        let mut casts: Vec<Cast> = seen
            .iter()
            .map(|(at, watcher, outcome)| Cast {
                at: Time(*at),
                watcher: *watcher as u16,
                check: 0,
                vote: Vote::of(*outcome),
            })
            .collect();
        casts.sort_unstable();
        // The later half of the terms becomes known in the middle of the way, as an epoch does.
        let known = Terms::new(terms[..1].iter().map(|(from, who)| Term::new(Time(*from), who.iter().copied())));
        let told = terms.get(1).map_or(HORIZON, |(from, _)| *from);
        let (mut sweep, mut record) = (Sweep::in_terms(rules, known), Record::default());
        let before = casts.partition_point(|cast| cast.at.0 < told);
        sweep.run(&casts[..before], &mut record);
        sweep.set_terms(all());
        sweep.run(&casts[before..], &mut record);
        sweep.advance(Time(HORIZON - 1), &mut record);
        let mut states = Vec::new();
        for t in 0..HORIZON {
            let begun = record.steps.partition_point(|(at, _)| at.0 <= t);
            states.push(begun.checked_sub(1).map_or("unknown", |step| record.steps[step].1.as_str()));
        }
        assert_eq!(states, by_definition(&seen, &terms, fresh), "{terms:?} {seen:?} fresh {fresh}");
    }
}
