//! A service's timeline: votes that come late and out of order, and what is told of it meanwhile.

use super::*;
use crate::simulation::dice::Dice;
use crate::verdict::Vote;

const BEGIN: Time = Time(1_800_000_000_000_000);

fn service() -> Service {
    let target: Target = toml::from_str("name = \"t\"").unwrap();
    let rules = Rules { watchers: 3, checks: 1, freshness: Duration::from_secs(90) };
    Service::new(&target, "imap", "IMAP", "imap", (rules, Terms::all(3)))
}

/// Votes of three watchers over three hours, with outages, in the order of time.
fn votes() -> Vec<Cast> {
    let vote = |n: i64| match (n / 37) % 5 {
        3 => Vote::Bad,
        4 if n % 3 == 0 => Vote::None,
        _ => Vote::Good,
    };
    let cast = |n: i64| Cast { at: BEGIN.plus_millis(n * 20_000), watcher: (n % 3) as u16, check: 0, vote: vote(n) };
    (0..540).map(cast).collect()
}

#[test]
fn the_error_budget_is_that_of_the_days_that_are_shown() {
    let target: Target = toml::from_str(
        "name = \"t\"\n[[objective]]\navailability = 90\n[[objective]]\navailability = 90\nwindow = \"calendar month\"",
    )
    .unwrap();
    let rules = Rules { watchers: 3, checks: 1, freshness: Duration::from_secs(90) };
    let mut service = Service::new(&target, "imap", "IMAP", "imap", (rules, Terms::all(3)));
    assert_eq!(service.shown(BEGIN, Tz::UTC).objectives, [], "nothing was seen yet");
    let votes = votes();
    let end = BEGIN.plus_millis(540 * 20_000);
    service.restore(Votes { casts: votes, complete_from: None }, end);
    service.sweep(end);
    let Shown { days, tally, objectives, .. } = service.shown(end, Tz::UTC);
    assert!(tally.is_covered() && tally.down > 0 && tally.unknown > 0, "{tally:?}");
    let [rolling, month] = &objectives[..] else { panic!("{objectives:?}") };
    assert_eq!((rolling.from, rolling.to), (BEGIN, BEGIN.plus_millis(30 * 86_400_000)));
    let whole = (30 * 86_400_000_000 - tally.unknown) / 10;
    let figures = rolling.figures;
    assert_eq!((figures.budget_s.0, figures.spent_s.0), (whole, tally.down));
    assert_eq!(figures.remaining_s.map(|left| left.0), Some(whole - tally.down));
    assert_eq!(days.iter().map(|day| day.down_s).sum::<u64>(), tally.down as u64 / 1_000_000);
    // 2027-01-15, 08:00: what is left of January is not as long as 30 days.
    assert_eq!((month.from, month.to), (BEGIN, "2027-02-01T00:00:00Z".parse().unwrap()));
    assert!(month.figures.budget_s < figures.budget_s && month.figures.spent_s == figures.spent_s);
    assert!(rolling.burn_rate_1h.is_some() && rolling.burn_rate_6h.is_none(), "{rolling:?}");
}

#[test]
fn votes_that_arrive_late_and_out_of_order_give_the_timeline_that_they_give_in_order() {
    let (votes, end) = (votes(), BEGIN.plus_millis(540 * 20_000));
    let mut in_order = service();
    for cast in &votes {
        assert_eq!(in_order.put(*cast), Put::New);
        in_order.sweep(cast.at);
    }
    in_order.sweep(end);
    // One watcher's votes come ten minutes late, as after a partition.
    let mut late = service();
    let mut arrivals: Vec<(Time, Cast)> =
        votes.iter().map(|cast| (cast.at.plus_millis(i64::from(cast.watcher == 1) * 600_000), *cast)).collect();
    arrivals.sort_by_key(|arrival| arrival.0);
    for (at, cast) in arrivals {
        late.sweep(at);
        assert_eq!(late.put(cast), Put::New);
    }
    late.sweep(end.plus_millis(600_000));
    assert!(in_order.outages().count() > 2);
    assert_eq!(late.outages().collect::<Vec<_>>(), in_order.outages().collect::<Vec<_>>());
    assert_eq!(late.segments(BEGIN, end), in_order.segments(BEGIN, end));
    // What is older than what is settled has to be restored, and gives the same again.
    let mut restored = service();
    restored.sweep(end);
    assert_eq!(restored.put(votes[0]), Put::Late);
    assert!(restored.hold() && !restored.hold());
    restored.restore(Votes { casts: votes, complete_from: None }, end);
    restored.sweep(end);
    assert_eq!(restored.segments(BEGIN, end), in_order.segments(BEGIN, end));
}

/// What a watcher told, and a reader of its rows: the last that was told of those that begin before an instant.
#[derive(Default)]
struct Rows(Vec<(Time, VerdictState)>);

impl Rows {
    fn at(&self, instant: Time) -> VerdictState {
        self.0.iter().rev().find(|row| row.0 <= instant).map_or(VerdictState::Unknown, |row| row.1)
    }
}

/// A timeline of random votes, each with the instant at which it becomes known.
struct Trial {
    dice: Dice,
    target: Target,
    rules: Rules,
    arrivals: Vec<(Time, Cast)>,
    /// A second term, and when it becomes known.
    terms: Terms,
    known: Time,
}

const HOURS: u64 = 5;

impl Trial {
    fn new(seed: u64) -> Self {
        let mut dice = Dice(seed);
        let watchers = 1 + dice.below(5) as usize;
        let freshness = Duration::from_secs(60 + dice.below(2_400));
        let checks = 1 + dice.below(2) as usize;
        let span = |dice: &mut Dice| dice.below(HOURS * 3_600_000) as i64;
        let moods = [dice.below(4), dice.below(4), dice.below(4)];
        let arrivals = (0..20 + dice.below(80)).map(|_| {
            let at = span(&mut dice);
            let mood = moods[(at * 3 / (HOURS as i64 * 3_600_000)) as usize];
            let vote = match (mood, dice.below(6)) {
                (0, _) | (1, 0..3) | (3, 0) => Vote::Good,
                (1, 3) | (2, 0) => Vote::Degraded,
                (_, 5) => Vote::None,
                _ => Vote::Bad,
            };
            // Most come soon, some after hours.
            let delay = match dice.below(8) {
                0 => dice.below(3 * 3_600_000),
                1 => dice.below(600_000),
                _ => dice.below(8_000),
            };
            let at = BEGIN.plus_millis(at);
            let (watcher, check) = (dice.below(watchers as u64) as u16, dice.below(checks as u64) as u16);
            (at.plus_millis(delay as i64), Cast { at, watcher, check, vote })
        });
        let mut arrivals: Vec<_> = arrivals.collect();
        arrivals.sort_by_key(|arrival| arrival.0);
        let mut target: Target = toml::from_str("name = \"t\"").unwrap();
        if dice.below(2) == 0 {
            let from = BEGIN.plus_millis(span(&mut dice));
            let to = from.plus_millis(1 + span(&mut dice) / 2);
            let window = crate::maintenance::Maintenance { from: Some(from), to: Some(to), ..Default::default() };
            target.maintenance.push(window);
        }
        let second = BEGIN.plus_millis(span(&mut dice));
        let voters: Vec<usize> = (0..watchers).filter(|_| dice.below(3) > 0).collect();
        let terms = Terms::new([Term::new(Time(i64::MIN), 0..watchers), Term::new(second, voters)]);
        let known = second.plus_millis(dice.below(2 * 3_600_000) as i64 - 30_000);
        let rules = Rules { watchers, checks, freshness };
        Self { dice, target, rules, arrivals, terms, known }
    }

    fn service(&self, terms: &Terms) -> Service {
        Service::new(&self.target, "imap", "IMAP", "imap", (self.rules, terms.clone()))
    }

    /// The timeline as a watcher tells it that is started again now and then.
    fn told(&mut self, end: Time) -> Rows {
        let (mut rows, mut terms) = (Rows::default(), Terms::all(self.rules.watchers));
        let (mut service, mut heard) = (self.service(&terms), Vec::new());
        let mut arrivals = std::mem::take(&mut self.arrivals).into_iter().peekable();
        let mut now = BEGIN;
        while now < end {
            let votes = |heard: &Vec<Cast>| Votes { casts: heard.clone(), complete_from: None };
            let mut anew = false;
            while let Some((_, cast)) = arrivals.next_if(|arrival| arrival.0 <= now) {
                anew |= service.put(cast) == Put::Late;
                heard.push(cast);
            }
            if now >= self.known && terms != self.terms {
                terms = self.terms.clone();
                anew |= service.set_terms(terms.clone());
            }
            if self.dice.below(60) == 0 {
                service = self.service(&terms);
                service.told = Told::so_far(rows.0.iter().copied());
                service.sweep(now);
                anew = true;
            }
            if anew {
                service.restore(votes(&heard), now);
            }
            service.sweep(now);
            let state = service.state(now);
            rows.0.extend(service.untold(now).iter().map(|segment| (segment.from, segment.state)));
            assert_eq!(rows.at(now), state);
            let next = service.next_change(now).into_iter().chain(arrivals.peek().map(|arrival| arrival.0));
            let next = next.chain((terms != self.terms).then_some(self.known)).filter(|at| *at > now);
            // A change that comes within the second in which it was swept is seen a second later.
            now = next.min().unwrap_or(end).max(now.plus_millis(1)).min(end);
        }
        service.sweep(end.plus_millis(2_000));
        rows.0.extend(service.untold(end.plus_millis(2_000)).iter().map(|segment| (segment.from, segment.state)));
        rows
    }
}

#[test]
fn what_is_told_is_the_timeline_of_all_votes_however_late_they_came() {
    let mut amended = 0;
    for seed in 1..=1_500_u64 {
        let mut trial = Trial::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut casts: Vec<Cast> = trial.arrivals.iter().map(|arrival| arrival.1).collect();
        casts.sort_unstable();
        let end = trial.arrivals.last().unwrap().0.max(trial.known).plus_millis(3_600_000);
        let (mut sweep, mut record) = (Sweep::in_terms(trial.rules, trial.terms.clone()), Record::default());
        sweep.run(&casts, &mut record);
        sweep.advance(end, &mut record);
        let outages: Vec<Outage> = record.outages.iter().copied().chain(sweep.open()).collect();
        let from = casts[0].at;
        let segments = uptime::label(&record.steps, &outages, from, end);
        let plans = trial.target.maintenance.iter().map(|window| window.plan().unwrap());
        let windows: Vec<_> = plans.flat_map(|plan| plan.windows(from, end)).collect();
        let segments = uptime::with_maintenance(&segments, &windows);
        let rows = trial.told(end);
        amended += rows.0.windows(2).filter(|pair| pair[1].0 <= pair[0].0).count();
        let edges = rows.0.iter().map(|row| row.0).filter(|at| from <= *at && *at < end);
        for instant in segments.iter().map(|segment| segment.from).chain(edges) {
            let state = segments.iter().find(|segment| segment.from <= instant && instant < segment.to).unwrap().state;
            assert_eq!(rows.at(instant), state, "seed {seed} at {instant}: {:?}, not {segments:?}", rows.0);
        }
    }
    assert!(amended > 1_000, "only {amended} rows took the place of others");
}
