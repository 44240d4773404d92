//! Outages and faults thrown at the real schedule in simulated time, and what the watchers made of them.

use std::time::Duration;

use aggregator::event::{ProbeOutcome, Time, VerdictState};

use super::dice::Dice;
use super::{Happening, Simulation, World};
use crate::config::{Check, Config, Target, Watch, Watcher};

/// Long enough that every vote of an outage before has been replaced, or has expired.
const CALM_INTERVALS: u32 = 3;
const BEGIN: Time = Time(1_800_000_000_000_000);

/// A site of three watchers and one check of that cadence, `"audit"` or `"light"`. `None`: no such cadence.
pub fn site(cadence: &str) -> Option<Config> {
    many(cadence, 3, 1)
}

/// A site of so many watchers and so many targets with one check each.
pub fn many(cadence: &str, watchers: usize, targets: usize) -> Option<Config> {
    let text = format!("name = \"tcp\"\nkind = \"tcp\"\nservice = \"tcp\"\ncadence = \"{cadence}\"\n");
    let check: Check = toml::from_str(&text).ok()?;
    let target = |number: usize| {
        let target: Target = toml::from_str(&format!("name = \"t{number}\"")).ok()?;
        Some(Target { check: vec![check.clone()], ..target })
    };
    let watcher = |number: usize| Watcher {
        name: format!("w{number}"),
        title: None,
        listen: ([127, 0, 0, 1], 1).into(),
        url: None,
        public_key_file: "key".into(),
        key_file: None,
        certificate: None,
        certificate_key: None,
    };
    let watch = Watch { watcher: (0..watchers).map(watcher).collect(), ..Watch::default() };
    Some(Config { watch, target: (0..targets).map(target).collect::<Option<_>>()? })
}

/// How a target fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// It takes the connection and never answers: the time-out.
    Hangs,
    /// Nothing listens.
    Refuses,
}

/// One target that is well but for `[from, to)`, from the watchers named.
struct Weather {
    dice: Dice,
    from: Time,
    to: Time,
    way: Way,
    seen_by: [bool; 3],
}

impl World for Weather {
    fn look(&mut self, watcher: usize, _: usize, _: usize, now: Time) -> (ProbeOutcome, Duration) {
        let fails = self.seen_by[watcher] && self.from <= now && now < self.to;
        match (fails, self.way) {
            (false, _) => (ProbeOutcome::Ok, self.dice.between(Duration::from_millis(5), Duration::from_millis(900))),
            (true, Way::Hangs) => (ProbeOutcome::Failed, Duration::from_secs(5)),
            (true, Way::Refuses) => {
                (ProbeOutcome::Failed, self.dice.between(Duration::from_millis(1), Duration::from_millis(300)))
            }
        }
    }

    fn transit(&mut self, _: usize, _: usize, _: Time) -> Option<Duration> {
        Some(self.dice.between(Duration::from_millis(2), Duration::from_millis(400)))
    }
}

/// What came of outages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outages {
    /// How many there were.
    pub injected: usize,
    /// From the begin of each outage that was confirmed to the first watcher's verdict of down, sorted.
    pub confirmed_after: Vec<Duration>,
    /// Verdicts of down while the target was well.
    pub false_downs: usize,
}

/// Stops the target for everybody, `count` times, each for a time in `lasting`; in between it is well for long enough.
pub fn outages(config: Config, count: usize, lasting: (Duration, Duration), seed: u64) -> Outages {
    let (calm, mut dice) = (calm(&config), Dice(seed));
    let world = fair(Dice(seed ^ 0x5eed));
    let mut simulation = Simulation::new(config, world, BEGIN);
    let (mut confirmed_after, mut false_downs) = (Vec::new(), 0);
    for _ in 0..count {
        let from = after(simulation.now(), calm + dice.between(Duration::ZERO, calm));
        let to = after(from, dice.between(lasting.0, lasting.1));
        let weather = &mut simulation.world;
        (weather.from, weather.to, weather.seen_by) = (from, to, [true; 3]);
        weather.way = if dice.below(2) == 0 { Way::Hangs } else { Way::Refuses };
        let mut first = None;
        simulation.run(after(to, calm), |at, happening| {
            let down = matches!(happening, Happening::Verdict { row, .. } if row.state == VerdictState::Down);
            match down {
                true if from <= at && at < to => first = first.or(Some(at)),
                // A look that began in the outage may end after it.
                true => false_downs += usize::from(at < from || at >= after(to, Duration::from_secs(10))),
                false => {}
            }
        });
        confirmed_after.extend(first.map(|at| Duration::from_micros((at.0 - from.0).unsigned_abs())));
    }
    confirmed_after.sort_unstable();
    Outages { injected: count, confirmed_after, false_downs }
}

/// What came of faults that one region alone sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Faults {
    /// How many there were.
    pub injected: usize,
    /// Of how many any watcher announced anything.
    pub noticed: usize,
    /// Verdicts of down: every one is false.
    pub downs: usize,
}

/// Cuts the target off from one region at a time, `count` times, for a second to two hours.
pub fn regional_faults(config: Config, count: usize, seed: u64) -> Faults {
    let (calm, mut dice) = (calm(&config), Dice(seed));
    let mut simulation = Simulation::new(config, fair(Dice(seed ^ 0x5eed)), BEGIN);
    let mut faults = Faults { injected: count, noticed: 0, downs: 0 };
    for _ in 0..count {
        let from = after(simulation.now(), calm + dice.between(Duration::ZERO, calm));
        let to = after(from, dice.between(Duration::from_secs(1), Duration::from_secs(7_200)));
        let weather = &mut simulation.world;
        (weather.from, weather.to, weather.seen_by) = (from, to, [false; 3]);
        weather.seen_by[dice.below(3) as usize] = true;
        weather.way = if dice.below(2) == 0 { Way::Hangs } else { Way::Refuses };
        let mut noticed = false;
        simulation.run(after(to, calm), |_, happening| {
            if let Happening::Verdict { row, .. } = happening {
                noticed |= row.state == VerdictState::Regional;
                faults.downs += usize::from(row.state == VerdictState::Down);
            }
        });
        faults.noticed += usize::from(noticed);
    }
    faults
}

/// Every second target is a black hole from the begin on.
struct Holes;

impl World for Holes {
    fn look(&mut self, _: usize, target: usize, _: usize, _: Time) -> (ProbeOutcome, Duration) {
        match target % 2 {
            0 => (ProbeOutcome::Ok, Duration::from_millis(20)),
            _ => (ProbeOutcome::Failed, Duration::from_secs(5)),
        }
    }
}

/// What became of slots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Punctuality {
    /// How late every run of a slot was, sorted.
    pub lateness: Vec<Duration>,
    /// Slots that were missed.
    pub missed: usize,
    /// Looks between the slots.
    pub looks: usize,
}

/// Lets watchers go on for so many intervals while half of their targets are black holes. The first interval, in
/// which everything is looked at for the first time, does not count.
pub fn black_holes(config: Config, intervals: u32) -> Punctuality {
    let interval = config.target.first().and_then(|target| target.check.first()).map(|check| check.cadence);
    let interval = interval.map_or(Duration::ZERO, |cadence| config.watch.interval(cadence));
    let mut simulation = Simulation::new(config, Holes, BEGIN);
    simulation.run(after(BEGIN, interval), |_, _| {});
    let mut seen = Punctuality { lateness: Vec::new(), missed: 0, looks: 0 };
    simulation.run(after(BEGIN, interval * (intervals + 1)), |_, happening| match happening {
        Happening::Began { lateness: Some(lateness), .. } => seen.lateness.push(lateness),
        Happening::Began { lateness: None, .. } => seen.looks += 1,
        Happening::Missed { .. } => seen.missed += 1,
        Happening::Verdict { .. } | Happening::Amended { .. } | Happening::Known { .. } => {}
    });
    seen.lateness.sort_unstable();
    seen
}

fn fair(dice: Dice) -> Weather {
    Weather { dice, from: Time(i64::MAX), to: Time(i64::MAX), way: Way::Hangs, seen_by: [true; 3] }
}

fn calm(config: &Config) -> Duration {
    let cadence = config.target.first().and_then(|target| target.check.first()).map(|check| check.cadence);
    cadence.map_or(Duration::ZERO, |cadence| config.watch.freshness(cadence)) * CALM_INTERVALS
}

fn after(time: Time, span: Duration) -> Time {
    Time(time.0.saturating_add(span.as_micros() as i64))
}
