//! The view `availability` gives the figures of the pure functions, over random timelines of three real watchers' rows.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on should say where")]

use std::collections::BTreeMap;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use aggregator::clickhouse::Client;
use aggregator::event::{Event, EventId, ProbeOutcome, ProbeRun, Time, VerdictRow, VerdictState};
use probes::config::Config;
use probes::simulation::dice::Dice;
use probes::simulation::trial::many;
use probes::simulation::{Happening, Simulation, World};
use probes::uptime::{Segment, Tally, clip, label, with_maintenance};
use probes::verdict::{Cast, Record, Rules, Sweep, Vote};
use serde::Deserialize;

const TARGETS: usize = 15;
const DAYS: i64 = 4;
const DAY_US: i64 = 86_400_000_000;
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

    /// Now and then a watcher is cut off from the others for minutes or for hours, and they hear of it afterwards.
    fn transit(&mut self, from: usize, _: usize, now: Time) -> Option<Duration> {
        let span = Duration::from_secs(5 * 3_600);
        let mut here = Dice(self.seed ^ (from as u64) << 50 ^ (now.0 / span.as_micros() as i64) as u64);
        let quick = self.dice.between(Duration::from_millis(2), Duration::from_millis(400));
        match here.below(6) {
            // It is joined again at the end of the span.
            0 => Some(span - Duration::from_micros((now.0 % span.as_micros() as i64) as u64)),
            1 => Some(self.dice.between(quick, Duration::from_secs(900))),
            _ => Some(quick),
        }
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
        Happening::Verdict { watcher: 0, row } | Happening::Amended { watcher: 0, row } => {
            stories.entry(row.target.clone()).or_default().rows.push(*row);
        }
        Happening::Known { watcher: 0, seen } => {
            let watcher = watchers.iter().position(|one| one.name == seen.vantage).unwrap() as u16;
            let cast = Cast { at: seen.ts, watcher, check: 0, vote: Vote::of(seen.outcome) };
            stories.entry(seen.target).or_default().casts.push(cast);
        }
        _ => {}
    });
    stories
}

/// The figures of a day, in microseconds and percent.
#[derive(Debug, Default, PartialEq, Deserialize)]
struct Figures {
    up: i64,
    down: i64,
    unknown: i64,
    maintenance: i64,
    degraded: i64,
    regional: i64,
    availability: Option<f64>,
    availability_lower: Option<f64>,
    availability_upper: Option<f64>,
    coverage: Option<f64>,
}

/// The figures of each day but the last, by the pure functions.
fn pure(config: &Config, target: &str, story: &mut Story, begin: Time) -> Vec<Figures> {
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
        let part: Vec<Segment> = clip(&segments, from, Time(from.0 + DAY_US)).collect();
        let sum = |state| part.iter().filter(|one| one.state == state).map(|one| one.to.0 - one.from.0).sum();
        let tally = Tally::of(part.iter().copied());
        let (availability_lower, availability_upper) = tally.bounds().unzip();
        Figures {
            up: tally.up,
            down: tally.down,
            unknown: tally.unknown,
            maintenance: tally.maintenance,
            degraded: sum(VerdictState::Degraded),
            regional: sum(VerdictState::Regional),
            availability: tally.availability(),
            availability_lower,
            availability_upper,
            coverage: tally.coverage(),
        }
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
    #[serde(flatten)]
    figures: Figures,
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
    let micros = ["up", "down", "unknown", "maintenance", "degraded", "regional"];
    let micros = micros.map(|name| format!("toInt64(round({name}_s * 1e6)) AS {name}")).join(", ");
    let sql = format!(
        "SELECT target, toInt64(toUInt32(day)) AS day, {micros}, availability, availability_lower, \
         availability_upper, coverage FROM availability"
    );
    let days: Vec<Day> = client.rows(&sql, &[]).await.unwrap();
    let mut told: BTreeMap<(String, i64), Figures> =
        days.into_iter().map(|day| ((day.target, day.day - begin.0 / DAY_US), day.figures)).collect();
    let (mut outages, mut amended) = (0, 0);
    for (target, story) in &mut stories {
        amended += story.rows.windows(2).filter(|pair| pair[1].since <= pair[0].since).count();
        for (day, expected) in (0..).zip(pure(&config, target, story, begin)) {
            outages += usize::from(expected.down > 0);
            let found = told.remove(&(target.clone(), day)).unwrap_or_default();
            assert_eq!(found, expected, "{target}, day {day}");
        }
    }
    assert!(outages > TARGETS, "only {outages} days with an outage");
    assert!(amended > 10 * TARGETS, "only {amended} verdicts took the place of others");
}
