//! Three watchers in a simulated world: time, network and target are numbers.

mod told;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use aggregator::event::ProbeOutcome;
use chrono_tz::Tz;

use super::*;
use crate::config::{Check, Target, Tls, Watch, Watcher};
use crate::judgement::Change;
use crate::keys::{PublicKey, SigningKey};
use crate::roster;

const STEP_MS: i64 = 100;
/// What a message between two watchers takes.
const TRANSIT_MS: i64 = 100;
/// A look at a target that answers, and at one that does not (its time-out).
const QUICK_MS: i64 = 100;
const HANG_MS: i64 = 5_000;

fn config() -> Arc<Config> {
    let watcher = |name: &str| Watcher {
        name: name.to_owned(),
        title: None,
        listen: "127.0.0.1:1".parse().unwrap(),
        url: None,
        public_key_file: "x".into(),
        key_file: None,
        certificate: None,
        certificate_key: None,
    };
    let check: Check =
        toml::from_str("name = \"imap\"\nkind = \"imap\"\nservice = \"imap\"\ncadence = \"light\"\n").unwrap();
    assert_eq!(check.tls, Tls::None);
    let target = Target { name: "t".to_owned(), check: vec![check], ..toml::from_str("name = \"t\"").unwrap() };
    let watch = Watch { watcher: ["us", "oslo", "sydney"].map(watcher).to_vec(), ..Watch::default() };
    Arc::new(Config { watch, target: vec![target] })
}

/// The watchers' keys.
static KEYS: LazyLock<BTreeMap<String, SigningKey>> =
    LazyLock::new(|| ["us", "oslo", "sydney"].map(|name| (name.to_owned(), SigningKey::generate().unwrap().0)).into());

fn public_keys() -> BTreeMap<String, PublicKey> {
    KEYS.iter().map(|(name, key)| (name.clone(), key.public())).collect()
}

fn votes(casts: Vec<Cast>) -> Votes {
    Votes { casts, complete_from: None }
}

fn roster() -> Roster {
    Roster::begin(&config(), "us", &KEYS["us"], BEGIN.plus_millis(-1_000))
}

/// A run that goes on: the watcher, its seat, begin, end, slot, and what it will have seen.
struct Running(usize, usize, Time, Time, Option<i64>, ProbeOutcome);

struct World {
    now: Time,
    cores: Vec<Option<Core>>,
    running: Vec<Running>,
    mail: Vec<(Time, usize, Observation)>,
    /// From which watchers the target does not answer.
    hangs: [bool; 3],
    cut: [bool; 3],
    told: Vec<(Time, usize, Judgement)>,
    seen: Vec<Observation>,
}

impl World {
    fn new(now: Time) -> Self {
        let core = |me| Some(Core::new(config(), me, roster(), now, |_, _| None, |_| None));
        Self {
            now,
            cores: (0..3).map(core).collect(),
            running: Vec::new(),
            mail: Vec::new(),
            hangs: [false; 3],
            cut: [false; 3],
            told: Vec::new(),
            seen: Vec::new(),
        }
    }

    fn perform(&mut self, me: usize, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Probe { seat, slot } => {
                    let (outcome, ms) = match self.hangs[me] {
                        true => (ProbeOutcome::Failed, HANG_MS),
                        false => (ProbeOutcome::Ok, QUICK_MS),
                    };
                    self.running.push(Running(me, seat, self.now, self.now.plus_millis(ms), slot, outcome));
                }
                Action::Keep(seen) if seen.vantage == config().watch.watcher[me].name => {
                    self.seen.push(seen.clone());
                    let others = (0..3).filter(|peer| *peer != me && !self.cut[me] && !self.cut[*peer]);
                    let arrives = self.now.plus_millis(TRANSIT_MS);
                    self.mail.extend(others.map(|peer| (arrives, peer, seen.clone())));
                }
                Action::Tell(judgement) => self.told.push((self.now, me, judgement)),
                Action::Restore(service) => {
                    let casts = self.seen.iter().map(|seen| Cast {
                        at: seen.ts,
                        watcher: config().watch.watcher.iter().position(|one| one.name == seen.vantage).unwrap() as u16,
                        check: 0,
                        vote: Vote::of(seen.outcome),
                    });
                    let core = self.cores[me].as_mut().unwrap();
                    core.restore(service, Some(votes(casts.collect())), self.now);
                }
                Action::Keep(_) | Action::Announce(_) | Action::Amend(_) | Action::Enrol(_) => {}
            }
        }
    }

    fn step(&mut self) {
        self.now = self.now.plus_millis(STEP_MS);
        let now = self.now;
        for Running(me, seat, ts, _, slot, outcome) in
            self.running.extract_if(.., |run| run.3 <= now).collect::<Vec<_>>()
        {
            let Some(core) = &mut self.cores[me] else { continue };
            let seen = Observation {
                ts,
                target: "t".to_owned(),
                service: "imap".to_owned(),
                check: "imap".to_owned(),
                vantage: core.name().to_owned(),
                run_id: format!("{me}-{}", ts.0),
                slot,
                outcome,
                steps: Vec::new(),
                total_ms: 1,
            };
            let actions = core.finish(seat, seen, now);
            self.perform(me, actions);
        }
        for (_, me, seen) in self.mail.extract_if(.., |mail| mail.0 <= now).collect::<Vec<_>>() {
            let Some(core) = &mut self.cores[me] else { continue };
            let from = core.watcher(&seen.vantage).unwrap();
            core.contact(from, now);
            let actions = core.hear(seen, now);
            self.perform(me, actions);
        }
        for me in 0..3 {
            let Some(core) = &mut self.cores[me] else { continue };
            let actions = core.tick(now);
            self.perform(me, actions);
        }
    }

    fn run(&mut self, seconds: i64) {
        let end = self.now.plus_millis(seconds * 1_000);
        while self.now < end {
            self.step();
        }
    }

    /// Runs until this watcher has announced this state; how many seconds it took.
    fn until(&mut self, me: usize, state: VerdictState, limit_s: i64) -> f64 {
        let begun = self.now;
        let told = self.told.len();
        while self.now < begun.plus_millis(limit_s * 1_000) {
            self.step();
            let changed =
                |t: &(Time, usize, Judgement)| t.1 == me && matches!(&t.2, Judgement::Changed(c) if c.to == state);
            if self.told[told..].iter().any(changed) {
                return self.now.millis_since(begun) as f64 / 1_000.0;
            }
        }
        panic!("not {state} within {limit_s} s; told {:?}", &self.told[told..]);
    }

    fn changes(&self, me: usize) -> Vec<&'static str> {
        self.told
            .iter()
            .filter(|told| told.1 == me)
            .filter_map(|told| match &told.2 {
                Judgement::Changed(change) if change.from != change.to => Some(change.to.as_str()),
                _ => None,
            })
            .collect()
    }
}

impl World {
    /// Asks a watcher to change who votes, and lets all that live hear of it; when it begins.
    fn enrol(&mut self, me: usize, change: roster::Change) -> Time {
        let name = self.cores[me].as_ref().unwrap().name().to_owned();
        let epoch = self.cores[me].as_ref().unwrap().enrol(&change, &KEYS[&name], self.now).unwrap();
        for (place, core) in self.cores.iter_mut().enumerate().filter(|(place, _)| !self.cut[*place]) {
            let Some(core) = core else { continue };
            let actions = core.learn(vec![epoch.clone()], &public_keys(), self.now);
            assert_eq!(actions, [Action::Enrol(epoch.clone())], "{place}");
        }
        epoch.from
    }

    /// The changes of verdict of a watcher since a time, with their times.
    fn since(&self, me: usize, time: Time) -> Vec<(Time, &'static str, usize)> {
        let told = self.told.iter().filter(|told| told.1 == me && told.0 >= time);
        let changed = told.filter_map(|told| match &told.2 {
            Judgement::Changed(change) if change.from != change.to => {
                Some((told.0, change.to.as_str(), change.assigned))
            }
            _ => None,
        });
        changed.collect()
    }
}

const BEGIN: Time = Time(1_800_000_000_000_000);

#[test]
fn a_hung_service_is_down_by_quorum_within_35_seconds_and_seen_up_within_12() {
    // Wherever in the minute it stops, and whatever in the recheck's turn it starts again.
    for offset in 0..20 {
        let mut world = World::new(BEGIN);
        world.run(130 + offset * 3);
        assert_eq!(world.changes(0), ["up"]);
        world.hangs = [true; 3];
        let stopped = world.now;
        let down = world.until(0, VerdictState::Down, 60);
        assert!(down <= 35.0, "stopped at {offset}: down only after {down} s");
        let Some((_, _, Judgement::Changed(change))) = world.told.iter().rfind(|told| told.1 == 0) else { panic!() };
        assert!(change.since >= stopped && change.last_good.unwrap() <= stopped, "{change:?}");
        assert!(change.voters.len() >= 2 && change.assigned == 3);
        assert!(world.told.iter().any(|told| matches!(told.2, Judgement::Suspected(_)) && told.0 <= world.now));
        world.run(20 + offset);
        world.hangs = [false; 3];
        let up = world.until(0, VerdictState::Up, 30);
        assert!(up <= 12.0, "started at {offset}: up only after {up} s");
        world.run(5);
        assert_eq!(world.changes(0).iter().filter(|state| **state == "down").count(), 1);
        assert!([0, 1, 2].map(|me| *world.changes(me).last().unwrap()) == ["up"; 3]);
    }
}

#[test]
fn a_failure_seen_from_one_region_is_regional_and_never_down() {
    let mut world = World::new(BEGIN);
    world.run(130);
    world.hangs = [false, true, false];
    world.until(0, VerdictState::Regional, 70);
    let seen = world.seen.len();
    world.run(1_800);
    for me in 0..3 {
        assert!(!world.changes(me).contains(&"down"));
        assert_eq!(world.changes(me).last(), Some(&"regional"));
    }
    // The others look at once, look closely for a while, and go back to their slots.
    let looks = world.seen.len() - seen;
    assert!((90..=90 + 3 * 12 + 6).contains(&looks), "{looks} looks in half an hour");
}

#[test]
fn a_dead_watcher_stops_voting_when_its_last_observation_is_no_longer_fresh() {
    let mut world = World::new(BEGIN);
    world.run(130);
    (world.cores[1], world.cores[2]) = (None, None);
    world.until(0, VerdictState::Unknown, 95);
    let status = world.cores[0].as_ref().unwrap().status(world.now, Tz::UTC);
    assert_eq!(status.services[0].regions.iter().map(|region| region.fresh).collect::<Vec<_>>(), [true, false, false]);
}

#[test]
fn the_last_watcher_pages_unconfirmed_after_a_minute_and_once() {
    let mut world = World::new(BEGIN);
    world.run(130);
    (world.cores[1], world.cores[2]) = (None, None);
    world.hangs = [true; 3];
    world.run(600);
    let alone: Vec<Time> =
        world.told.iter().filter(|told| matches!(told.2, Judgement::Unconfirmed(_))).map(|told| told.0).collect();
    assert_eq!(alone.len(), 1);
    assert!(!world.changes(0).contains(&"down"));
    let first = world.seen.iter().find(|seen| seen.outcome == ProbeOutcome::Failed).unwrap().ts;
    assert!((60_000..75_000).contains(&alone[0].millis_since(first)), "{} ms", alone[0].millis_since(first));
}

#[test]
fn a_watcher_that_is_cut_off_does_not_page_down_alone_and_agrees_after_it_comes_back() {
    let mut world = World::new(BEGIN);
    world.run(130);
    (world.cut, world.hangs) = ([false, false, true], [false, false, true]);
    world.run(300);
    assert!(!world.changes(2).contains(&"down"));
    assert_eq!(world.changes(0), ["up"]);
    (world.cut, world.hangs) = ([false; 3], [false; 3]);
    world.run(70);
    assert_eq!([0, 1, 2].map(|me| *world.changes(me).last().unwrap()), ["up"; 3]);
}

#[test]
fn clocks_that_are_set_back_silence_nobody() {
    for back in [1_800_000, 86_400_000] {
        let mut world = World::new(BEGIN);
        world.run(130);
        while !(world.running.is_empty() && world.mail.is_empty()) {
            world.step();
        }
        world.now = world.now.plus_millis(-back);
        world.run(70);
        assert!((0..3).all(|me| world.changes(me).last() == Some(&"up")), "{:?}", world.told);
        world.hangs = [true; 3];
        let down = world.until(0, VerdictState::Down, 60);
        assert!(down <= 35.0, "set back by {back} ms: down only after {down} s");
        let status = world.cores[0].as_ref().unwrap().status(world.now, Tz::UTC);
        assert!(status.services[0].regions.iter().all(|region| region.seen <= Some(world.now)), "{status:?}");
        // When the time comes that the old votes were dated for, they say nothing.
        world.run(back.min(1_800_000) / 1_000);
        assert_eq!(world.changes(0).iter().filter(|state| **state == "down").count(), 1, "{:?}", world.changes(0));
        assert_eq!(world.changes(0).last(), Some(&"down"));
        world.hangs = [false; 3];
        world.until(0, VerdictState::Up, 30);
    }
}

#[test]
fn what_came_twice_or_belongs_to_no_check_changes_nothing() {
    let mut core = Core::new(config(), 0, roster(), BEGIN, |_, _| None, |_| None);
    let mut seen = core.missed(0, 1, BEGIN);
    seen.vantage = "oslo".to_owned();
    assert_eq!(core.hear(seen.clone(), BEGIN), [Action::Keep(seen.clone())]);
    assert_eq!(core.hear(seen.clone(), BEGIN), []);
    seen.service = "pop3".to_owned();
    assert_eq!(core.hear(seen, BEGIN), []);
}

#[test]
fn what_comes_hours_late_is_judged_again_from_the_history() {
    let mut core = Core::new(config(), 0, roster(), BEGIN, |_, _| None, |_| None);
    core.tick(BEGIN);
    let mut late = core.missed(0, 1, BEGIN.plus_millis(-7_200_000));
    late.vantage = "oslo".to_owned();
    assert_eq!(core.hear(late.clone(), BEGIN), [Action::Keep(late.clone())]);
    assert_eq!(core.tick(BEGIN.plus_millis(10)), [Action::Restore(0)]);
    assert_eq!(core.hear(late.clone(), BEGIN), [Action::Keep(late)]);
    assert_eq!(core.tick(BEGIN.plus_millis(20)), [], "it is being read already");
    core.restore(0, Some(votes(Vec::new())), BEGIN);
    assert_eq!(core.tick(BEGIN.plus_millis(30)), [Action::Restore(0)]);
}

#[test]
fn a_restart_records_missed_slots_tells_what_stands_and_announces_only_what_has_changed() {
    let slots = Slots::new("t", "imap", Duration::from_secs(60), 0, 3);
    let announced = Announced { state: VerdictState::Down, generation: 4, at: Time(0) };
    let last = slots.current(BEGIN) - 3;
    let mut core = Core::new(config(), 0, roster(), BEGIN, |_, _| Some(last), |_| Some(announced));
    let bad = |watcher, at: i64| Cast { at: BEGIN.plus_millis(at), watcher, check: 0, vote: Vote::Bad };
    core.services[0].sweep(BEGIN);
    core.restore(0, Some(votes(vec![bad(0, -5_000), bad(1, -4_000), bad(2, -3_000)])), BEGIN);
    let actions = core.tick(BEGIN);
    let missed =
        actions.iter().filter(|action| matches!(action, Action::Keep(seen) if seen.outcome == ProbeOutcome::Missed));
    assert_eq!(missed.count(), 2);
    assert!(!actions.iter().any(|action| matches!(action, Action::Announce(_))));
    let told = |actions: &[Action]| -> Vec<Change> {
        let changes = actions.iter().filter_map(|action| match action {
            Action::Tell(Judgement::Changed(change)) => Some((**change).clone()),
            _ => None,
        });
        changes.collect()
    };
    let [standing] = &told(&actions)[..] else { panic!("{actions:?}") };
    assert_eq!((standing.from, standing.to), (VerdictState::Down, VerdictState::Down));
    assert_eq!((standing.since, standing.voters.len()), (BEGIN.plus_millis(-5_000), 3));
    assert_eq!(told(&core.tick(BEGIN.plus_millis(1_000))), [], "once is enough");
    for (watcher, name) in ["us", "oslo", "sydney"].into_iter().enumerate() {
        let mut good = core.missed(0, 9, BEGIN.plus_millis(1_000 + watcher as i64));
        (good.vantage, good.outcome) = (name.to_owned(), ProbeOutcome::Ok);
        core.hear(good, BEGIN.plus_millis(2_000));
    }
    let actions = core.tick(BEGIN.plus_millis(2_000));
    let rows: Vec<_> = actions
        .iter()
        .filter_map(|action| match action {
            Action::Announce(row) => Some((true, row)),
            Action::Amend(row) => Some((false, row)),
            _ => None,
        })
        .map(|(stands, row)| (stands, row.state.as_str(), row.generation, row.since.unwrap().millis_since(BEGIN)))
        .collect();
    // The last one to see it up was the only one not to for a moment.
    assert_eq!(rows, [(false, "up", 5, 1_000), (false, "regional", 5, 1_001), (true, "up", 5, 1_002)]);
}

#[test]
fn the_days_of_the_page_are_days_of_its_zone_and_add_up() {
    let mut world = World::new("2026-10-24T21:00:00Z".parse().unwrap());
    world.run(130);
    let core = world.cores[0].as_mut().unwrap();
    let service = &mut core.services[0];
    let casts = |hour: i64| {
        (0..2).map(move |watcher| Cast {
            at: "2026-10-24T21:00:00Z".parse::<Time>().unwrap().plus_millis(hour * 60_000),
            watcher,
            check: 0,
            vote: Vote::Good,
        })
    };
    let later: Time = "2026-10-26T00:30:00Z".parse().unwrap();
    service.sweep(later);
    service.restore(votes((0..=27 * 60 + 30).flat_map(casts).collect()), later);
    service.sweep(later);
    let shown = service.shown(later, Tz::Europe__Oslo);
    let days: Vec<(&str, u64)> = shown.days.iter().map(|day| (day.day.as_str(), day.up_s)).collect();
    assert_eq!(days, [("2026-10-24", 3_600), ("2026-10-25", 25 * 3_600), ("2026-10-26", 5_400)]);
    assert_eq!(shown.tally.availability(), Some(100.0));
}

#[test]
fn a_watcher_is_drained_and_joins_again_at_instants_on_which_all_agree() {
    let mut world = World::new(BEGIN);
    world.run(130);
    let from = world.enrol(0, roster::Change::Drain("sydney".to_owned()));
    assert_eq!(from.millis_since(world.now), 30_000);
    world.run(25);
    let voters = |world: &World, me: usize| world.cores[me].as_ref().unwrap().status(world.now, Tz::UTC).voters;
    assert!((0..3).all(|me| voters(&world, me) == ["oslo", "sydney", "us"]), "not before its time");
    world.run(20);
    let runs = |world: &World| world.seen.iter().filter(|seen| seen.vantage == "sydney").count();
    let before = runs(&world);
    // One of two that vote fails: neither up nor down has a majority. With three it would have been regional.
    world.hangs = [false, true, false];
    let failing = world.now;
    world.run(120);
    for me in 0..3 {
        assert_eq!(voters(&world, me), ["oslo", "us"]);
        let changes = world.since(me, failing);
        assert!(changes.iter().all(|change| matches!(change, (_, "unknown" | "up", 2))), "{changes:?}");
        assert_eq!(changes[0].1, "unknown", "{changes:?}");
    }
    assert_eq!(runs(&world), before, "who is drained looks no more, not even when the others ask");
    world.hangs = [false; 3];
    world.run(60);
    assert!((0..3).all(|me| world.changes(me).last() == Some(&"up")));

    let joined = world.enrol(1, roster::Change::Join("sydney".to_owned()));
    world.run(32);
    assert!(world.seen.iter().any(|seen| seen.vantage == "sydney" && seen.ts >= joined), "it looks at once");
    world.run(100);
    world.hangs = [false, true, false];
    let failing = world.now;
    world.run(100);
    for me in 0..3 {
        assert_eq!(world.since(me, failing).iter().map(|change| change.1).collect::<Vec<_>>(), ["regional"], "{me}");
    }
}

#[test]
fn an_epoch_that_is_heard_of_late_is_judged_as_if_it_had_been_known() {
    let mut world = World::new(BEGIN);
    world.run(130);
    world.cut = [false, false, true];
    let from = world.enrol(0, roster::Change::Drain("oslo".to_owned()));
    world.run(300);
    world.cut = [false; 3];
    let epochs: Vec<_> = world.cores[0].as_ref().unwrap().roster().epochs().cloned().collect();
    let now = world.now;
    let late = world.cores[2].as_mut().unwrap().learn(epochs, &public_keys(), now);
    assert_eq!(late.len(), 1);
    for seen in world.seen.clone() {
        for me in [0, 2] {
            world.cores[me].as_mut().unwrap().hear(seen.clone(), now);
        }
    }
    world.run(100);
    let [first, _, third] = &mut world.cores[..] else { panic!() };
    let now = world.now;
    let segments =
        |core: &mut Option<Core>| core.as_mut().unwrap().services[0].segments(from.plus_millis(-60_000), now);
    assert_eq!(segments(first), segments(third));
}

#[test]
fn a_target_that_names_its_watchers_is_judged_by_those_alone_and_by_everybody_alike() {
    let mut named = (*config()).clone();
    named.target[0].watchers = vec!["us".to_owned(), "sydney".to_owned()];
    let faults = |config: &Config| -> Vec<(String, String)> {
        config.check().into_iter().filter(|(key, _)| key.contains("watchers")).collect()
    };
    assert_eq!(faults(&named), []);
    let named = Arc::new(named);
    let mut world = World::new(BEGIN);
    world.cores = (0..3).map(|me| Some(Core::new(named.clone(), me, roster(), BEGIN, |_, _| None, |_| None))).collect();
    world.run(130);
    assert!(world.seen.iter().all(|seen| seen.vantage != "oslo"));
    assert!((0..3).all(|me| world.changes(me) == ["up"]), "{:?}", world.told);
    world.hangs = [true; 3];
    let down = world.until(1, VerdictState::Down, 60);
    assert!(down <= 35.0, "{down}");
    world.run(1);
    let assigned = |me| world.since(me, BEGIN).last().map(|change| (change.1, change.2));
    assert!((0..3).all(|me| assigned(me) == Some(("down", 2))));
    let regions = world.cores[1].as_ref().unwrap().status(world.now, Tz::UTC).services[0].regions.clone();
    assert_eq!(regions.iter().map(|region| region.vantage.as_str()).collect::<Vec<_>>(), ["us", "sydney"]);
    let looks = world.cores[1].as_mut().unwrap().look("t", BEGIN);
    assert_eq!(looks, [0], "what is asked for by name is run all the same");

    let mut wrong = (*named).clone();
    wrong.target[0].watchers.push("moon".to_owned());
    let message = "\"moon\" is no watcher; name one of [[watch.watcher]]".to_owned();
    assert_eq!(faults(&wrong), [("target[0].watchers[2]".to_owned(), message)]);
}

#[test]
fn a_look_that_was_asked_for_during_a_run_follows_that_run() {
    let mut world = World::new(BEGIN);
    world.run(130);
    while world.running.is_empty() {
        world.step();
    }
    let (runs, asked) = (world.seen.len(), world.now);
    let Running(me, ..) = world.running[0];
    world.cores[me].as_mut().unwrap().look("t", asked);
    world.run(3);
    let name = config().watch.watcher[me].name.clone();
    let again = world.seen[runs..].iter().filter(|seen| seen.vantage == name);
    assert_eq!(again.count(), 2, "the run that went on, and the look");
}

#[test]
fn the_last_watcher_of_a_target_is_not_drained() {
    let mut named = (*config()).clone();
    named.target[0].watchers = vec!["us".to_owned()];
    let core = Core::new(Arc::new(named), 1, roster(), BEGIN, |_, _| None, |_| None);
    let drain = |name: &str| core.enrol(&roster::Change::Drain(name.to_owned()), &KEYS["oslo"], BEGIN);
    assert_eq!(drain("us"), Err(roster::NotChanged::LastOfTarget { name: "us".to_owned(), target: "t".to_owned() }));
    assert_eq!(drain("sydney").unwrap().watchers, ["oslo", "us"]);
}

#[test]
fn an_epoch_of_long_ago_is_news_to_who_has_begun_to_watch_and_to_nobody_else() {
    let drained = vec!["oslo".to_owned(), "us".to_owned()];
    let epoch = roster::Epoch::sign(1, BEGIN, drained, "oslo", &KEYS["oslo"]);
    let now = BEGIN.plus_millis(8 * 86_400_000);
    let taken = |started: Time| {
        let mut core = Core::new(config(), 0, roster(), started, |_, _| None, |_| None);
        core.learn(vec![epoch.clone()], &public_keys(), now).len()
    };
    assert_eq!((taken(BEGIN), taken(now)), (0, 1));
}
