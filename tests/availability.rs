//! The view `availability` gives the figures of the pure functions, over random timelines of three real watchers' rows.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on should say where")]

use std::collections::BTreeMap;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use aggregator::clickhouse::Client;
use aggregator::event::{Event, EventId, ProbeOutcome, ProbeRun, Time, VerdictRow};
use probes::config::Config;
use probes::simulation::dice::Dice;
use probes::simulation::trial::many;
use probes::simulation::{Happening, Simulation, World};
use probes::uptime::{Tally, clip, label, with_maintenance};
use probes::verdict::{Cast, Record, Rules, Sweep, Vote};
use serde::Deserialize;

const TARGETS: usize = 15;
const DAYS: i64 = 4;
const DAY_US: i64 = 86_400_000_000;
/// A vote that arrives late may show a moment of a state that stands to have been unknown. That is not told again: a day
/// differs by a few times what an observation is on its way, from the begin of its run until all know of it.
const KNOWN_LATER_US: i64 = 10_000_000;
/// Far more than anything here takes.
const BOUND: Duration = Duration::from_secs(120);

/// Targets that are down, or unreachable from one region, or slow, for spans of twenty minutes.
struct Weather {
    dice: Dice,
    seed: u64,
}

impl World for Weather {
    fn look(&mut self, watcher: usize, target: usize, _: usize, now: Time) -> (ProbeOutcome, Duration) {
        let span = (now.0 / 1_200_000_000) as u64;
        let mut here = Dice(self.seed ^ (target as u64) << 40 ^ span);
        let quick = self.dice.between(Duration::from_millis(5), Duration::from_millis(900));
        match here.below(20) {
            0 | 1 => (ProbeOutcome::Failed, Duration::from_secs(5)),
            2 | 3 if here.below(3) as usize == watcher => (ProbeOutcome::Failed, quick),
            4 => (ProbeOutcome::Late, quick),
            5 if self.dice.below(2) == 0 => (ProbeOutcome::VantageFault, quick),
            _ => (ProbeOutcome::Ok, quick),
        }
    }

    fn transit(&mut self, _: usize, _: usize, _: Time) -> Option<Duration> {
        Some(self.dice.between(Duration::from_millis(2), Duration::from_millis(400)))
    }
}

/// What one watcher wrote down, and what it knew.
#[derive(Default)]
struct Story {
    rows: Vec<VerdictRow>,
    casts: Vec<Cast>,
}

fn config(begin: Time) -> Config {
    let mut config = many("audit", 3, TARGETS).unwrap();
    // A third of the targets has maintenance of three hours on the second day.
    let (from, to) = (begin.plus_millis(30 * 3_600_000), begin.plus_millis(33 * 3_600_000));
    for target in config.target.iter_mut().step_by(3) {
        let window = probes::maintenance::Maintenance { from: Some(from), to: Some(to), ..Default::default() };
        target.maintenance.push(window);
    }
    config
}

fn tell(config: &Config, begin: Time, seed: u64) -> BTreeMap<String, Story> {
    let mut stories: BTreeMap<String, Story> = BTreeMap::new();
    let mut simulation = Simulation::new(config.clone(), Weather { dice: Dice(seed), seed }, begin);
    let watchers = &config.watch.watcher;
    simulation.run(Time(begin.0 + DAYS * DAY_US), |_, happening| match happening {
        Happening::Verdict { watcher: 0, row } => stories.entry(row.target.clone()).or_default().rows.push(*row),
        Happening::Known { watcher: 0, seen } => {
            let watcher = watchers.iter().position(|one| one.name == seen.vantage).unwrap() as u16;
            let cast = Cast { at: seen.ts, watcher, check: 0, vote: Vote::of(seen.outcome) };
            stories.entry(seen.target).or_default().casts.push(cast);
        }
        _ => {}
    });
    stories
}

/// U, D and M of each day but the last, by the pure functions.
fn pure(config: &Config, target: &str, story: &mut Story, begin: Time) -> Vec<(i64, i64, i64)> {
    let freshness = config.watch.freshness(probes::config::Cadence::Audit);
    let (mut sweep, mut record) = (Sweep::new(Rules { watchers: 3, checks: 1, freshness }), Record::default());
    let end = Time(begin.0 + DAYS * DAY_US);
    story.casts.sort_unstable();
    sweep.run(&story.casts, &mut record);
    sweep.advance(end, &mut record);
    let outages: Vec<_> = record.outages.iter().copied().chain(sweep.open()).collect();
    let segments = label(&record.steps, &outages, begin, end);
    let plans = config.target(target).unwrap().maintenance.iter().map(|window| window.plan().unwrap());
    let windows: Vec<_> = plans.flat_map(|plan| plan.windows(begin, end)).collect();
    let segments = with_maintenance(&segments, &windows);
    let day = |day: i64| {
        let from = Time(begin.0 + day * DAY_US);
        let tally = Tally::of(clip(&segments, from, Time(from.0 + DAY_US)));
        (tally.up, tally.down, tally.maintenance)
    };
    (0..DAYS - 1).map(day).collect()
}

struct Engine(Child);

impl Drop for Engine {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn engine(dir: &std::path::Path) -> (Engine, Client) {
    let varde = env!("CARGO_BIN_EXE_varde");
    let made = Command::new(varde).args(["init", "--dir"]).arg(dir).stdout(Stdio::null()).status().unwrap();
    assert!(made.success());
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let file = dir.join("varde.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("127.0.0.1:8123", &["127.0.0.1:", &free.to_string()].concat())).unwrap();
    let mut command = Command::new(varde);
    command.args(["clickhouse", "--dir"]).arg(dir).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let engine = Engine(command.spawn().unwrap());
    let password = std::fs::read_to_string(dir.join("secrets/clickhouse.password")).unwrap();
    let url = ["http://127.0.0.1:", &free.to_string()].concat();
    let client = Client::new(&url, "varde", password.trim()).unwrap();
    let begun = Instant::now();
    while client.clone().with_database("default").execute("SELECT 1", &[]).await.is_err() {
        assert!(begun.elapsed() < BOUND, "the engine does not start");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    aggregator::schema::migrate(&client).await.unwrap();
    (engine, client)
}

async fn insert(client: &Client, sql: &str, rows: impl Iterator<Item = Event>) {
    let body: Vec<u8> = rows.flat_map(|row| (row.to_json().unwrap() + "\n").into_bytes()).collect();
    let settings = [("date_time_input_format", "best_effort"), ("input_format_skip_unknown_fields", "1")];
    client.insert(sql, &settings, body.into()).await.unwrap();
}

#[derive(Deserialize)]
struct Day {
    target: String,
    day: i64,
    up: i64,
    down: i64,
    maintenance: i64,
}

#[tokio::test]
async fn the_view_of_availability_gives_the_figures_of_the_pure_functions() {
    let folder = tempfile::tempdir().unwrap();
    let (_engine, client) = engine(&folder.path().join("site")).await;
    let begin = Time((Time::now().0 / DAY_US - DAYS - 2) * DAY_US);
    let config = config(begin);
    let mut stories = tell(&config, begin, 20_261_124);
    assert_eq!(stories.len(), TARGETS);
    let rows = stories.values().flat_map(|story| story.rows.iter().cloned());
    let rows = (0..).zip(rows).map(|(place, row)| {
        let event_id = EventId::at(&[b"w0"], place);
        Event::from(VerdictRow { node: "w0".to_owned(), event_id, ..row })
    });
    insert(&client, "INSERT INTO verdicts FORMAT JSONEachRow", rows).await;
    let seen = stories.keys().map(|target| {
        let (ts, vantage) = (Time(begin.0 + DAYS * DAY_US - 1), "w0".to_owned());
        Event::from(ProbeRun { ts, vantage, target: target.clone(), check: "tcp".to_owned(), ..ProbeRun::default() })
    });
    insert(&client, "INSERT INTO probe_runs FORMAT JSONEachRow", seen).await;
    let sql = "SELECT target, toInt64(toUInt32(day)) AS day, toInt64(round(up_s * 1e6)) AS up, \
        toInt64(round(down_s * 1e6)) AS down, toInt64(round(maintenance_s * 1e6)) AS maintenance FROM availability";
    let days: Vec<Day> = client.rows(sql, &[]).await.unwrap();
    let told: BTreeMap<(String, i64), (i64, i64, i64)> = days
        .into_iter()
        .map(|day| ((day.target, day.day - begin.0 / DAY_US), (day.up, day.down, day.maintenance)))
        .collect();
    let mut outages = 0;
    for (target, story) in &mut stories {
        for (day, expected) in (0..).zip(pure(&config, target, story, begin)) {
            outages += usize::from(expected.1 > 0);
            let found = told.get(&(target.clone(), day)).copied().unwrap_or_default();
            let known_later = (found.0 - expected.0).abs();
            let same = (found.1, found.2) == (expected.1, expected.2) && known_later <= KNOWN_LATER_US;
            assert!(same, "{target}, day {day}: up, down, maintenance {found:?}, not {expected:?} us");
        }
    }
    assert!(outages > TARGETS, "only {outages} days with an outage");
}
