//! Budgets against their definition, instant by instant, over random time.

use proptest::prelude::*;

use super::*;
use crate::objective::Window;

/// Time is counted in whole microseconds; a horizon of some hundreds makes every instant countable.
const HORIZON: i64 = 400;

fn goal(percent: f64) -> Goal {
    Goal::percent(percent).unwrap()
}

/// Segments of these lengths and states from 0 on, equal neighbours joined as a timeline has them.
fn timeline(lengths: &[(i64, usize)]) -> Vec<Segment> {
    let states = [VerdictState::Up, VerdictState::Down, VerdictState::Unknown, VerdictState::Maintenance];
    let mut out: Vec<Segment> = Vec::new();
    for (length, state) in lengths {
        let (from, state) = (out.last().map_or(Time(0), |last| last.to), states[*state]);
        match out.last_mut() {
            Some(last) if last.state == state => last.to.0 += length,
            _ => out.push(Segment { from, to: Time(from.0 + length), state }),
        }
    }
    out
}

fn state_at(segments: &[Segment], at: i64) -> Option<VerdictState> {
    segments.iter().find(|segment| segment.from.0 <= at && at < segment.to.0).map(|segment| segment.state)
}

fn count(segments: &[Segment], from: i64, to: i64, state: VerdictState) -> i64 {
    (from..to).filter(|at| state_at(segments, *at) == Some(state)).count() as i64
}

fn lengths() -> impl Strategy<Value = Vec<(i64, usize)>> {
    // Up and down more often than the others, so that many cases have a figure.
    let state = prop_oneof![4 => Just(0_usize), 2 => Just(1), 1 => Just(2), 1 => Just(3)];
    proptest::collection::vec((1_i64..40, state), 1..10)
}

fn goals() -> impl Strategy<Value = Goal> {
    (1_u32..100_000).prop_map(|thousandths| goal(f64::from(thousandths) / 1_000.0))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, ..ProptestConfig::default() })]

    #[test]
    fn a_budget_is_what_counting_every_instant_gives(
        lengths in lengths(),
        goal in goals(),
        from in 0_i64..HORIZON,
        length in 1_i64..HORIZON,
        windows in proptest::collection::vec((0_i64..2 * HORIZON, 1_i64..60), 0..4),
    ) {
        let segments = timeline(&lengths);
        let now = segments.last().unwrap().to;
        let span = Span { from: Time(from.min(now.0)), to: Time(from.min(now.0) + length) };
        let windows: Vec<(Time, Time)> = windows.iter().map(|(at, length)| (Time(*at), Time(at + length))).collect();
        let budget = Budget::of(&segments, &windows, span, goal, now);
        let passed = |state| count(&segments, span.from.0, span.to.0.min(now.0), state);
        let (up, down, unknown) =
            (passed(VerdictState::Up), passed(VerdictState::Down), passed(VerdictState::Unknown));
        let covered = |at: i64| windows.iter().any(|(from, to)| from.0 <= at && at < to.0);
        let ahead = (now.0..span.to.0).filter(|at| !covered(*at)).count() as i64;
        let lossy = |micros: i64| micros * i64::from(goal.lossy()) / 100_000;
        let whole = lossy(up + down + ahead);
        prop_assert_eq!((budget.ahead, budget.whole(), budget.spent()), (ahead, whole, down));
        let known = (up + down) * 100 >= 95 * (up + down + unknown);
        prop_assert_eq!(budget.remaining(), known.then_some(whole - down));
        let most = lossy(up + down + unknown + ahead) - down;
        prop_assert_eq!(budget.bounds(), (most - unknown, most));
    }

    #[test]
    fn whatever_the_unknown_time_was_what_is_left_lies_between_the_bounds(
        lengths in lengths(),
        goal in goals(),
        was_up in proptest::collection::vec(any::<bool>(), 10),
    ) {
        let segments = timeline(&lengths);
        let now = segments.last().unwrap().to;
        let span = Span { from: Time(0), to: Time(now.0 + 50) };
        let told = Budget::of(&segments, &[], span, goal, now);
        let (lower, upper) = told.bounds();
        let mut was = was_up.iter().cycle();
        let truth: Vec<Segment> = segments
            .iter()
            .map(|segment| match segment.state {
                VerdictState::Unknown if *was.next().unwrap() => Segment { state: VerdictState::Up, ..*segment },
                VerdictState::Unknown => Segment { state: VerdictState::Down, ..*segment },
                _ => *segment,
            })
            .collect();
        let truth = Budget::of(&truth, &[], span, goal, now).remaining().unwrap();
        prop_assert!(lower <= truth && truth <= upper, "{lower} <= {truth} <= {upper}");
        if let Some(remaining) = told.remaining() {
            prop_assert!(lower <= remaining && remaining <= upper, "{lower} <= {remaining} <= {upper}");
        }
    }

    #[test]
    fn a_window_that_has_passed_is_overspent_exactly_when_its_availability_misses_the_objective(
        lengths in lengths(),
        goal in goals(),
    ) {
        let segments = timeline(&lengths);
        let now = segments.last().unwrap().to;
        let budget = Budget::of(&segments, &[], Span { from: Time(0), to: now }, goal, now);
        match budget.passed.availability() {
            Some(availability) => {
                prop_assert_eq!(budget.remaining().unwrap() < 0, availability < goal.as_percent());
                prop_assert_eq!(burn_rate(&budget.passed, goal).unwrap() > 1.0, availability < goal.as_percent());
            }
            // Nothing but maintenance has no budget, and little that is known has no figure.
            None => prop_assert!(matches!(budget.remaining(), None | Some(0)) && burn_rate(&budget.passed, goal).is_none()),
        }
    }

    #[test]
    fn a_projection_is_the_first_instant_at_which_nothing_is_left(
        lengths in lengths(),
        goal in goals(),
        down in 0_i64..20,
        up in 0_i64..60,
        to_come in 0_i64..200,
    ) {
        let segments = timeline(&lengths);
        let now = segments.last().unwrap().to;
        // A rolling window that is full, or fills for `to_come` more.
        let length = now.0 + to_come;
        let span = Span { from: Time(0), to: Time(length) };
        let budget = Budget::of(&segments, &[], span, goal, now);
        let recent = Tally { up, down, ..Tally::default() };
        let told = budget.exhausted_at(&segments, &recent, span, Some(length), now);
        let Some(left) = budget.remaining().filter(|left| *left > 0 && down > 0) else {
            prop_assert_eq!(told, None);
            return Ok(());
        };
        let gone = |t: i64| count(&segments, 0, t - length, VerdictState::Down);
        let empty = |t: &i64| (left + gone(*t)) * (up + down) <= down * (t - now.0);
        prop_assert_eq!(told, (now.0..=now.0 + length).find(empty).map(Time));
    }

    #[test]
    fn what_is_told_reads_back_as_it_was(micros in -1_000_000_000_000_000_i64..1_000_000_000_000_000) {
        let text = serde_json::to_string(&Seconds(micros)).unwrap();
        prop_assert_eq!(serde_json::from_str::<Seconds>(&text).unwrap(), Seconds(micros));
    }
}

const HOUR: i64 = 3_600_000_000;
const DAY: i64 = 24 * HOUR;

fn segment(from: i64, to: i64, state: VerdictState) -> Segment {
    Segment { from: Time(from), to: Time(to), state }
}

#[test]
fn thirty_days_at_three_nines_have_43_minutes_and_12_seconds() {
    let segments = [
        segment(0, 10 * DAY, VerdictState::Up),
        segment(10 * DAY, 10 * DAY + HOUR / 3, VerdictState::Down),
        segment(10 * DAY + HOUR / 3, 30 * DAY, VerdictState::Up),
    ];
    let now = Time(30 * DAY);
    let span = Window::Days(30).at(now, Time(0), chrono_tz::UTC);
    let budget = Budget::of(&segments, &[], span, goal(99.9), now);
    let told = serde_json::to_value(Figures::from(&budget)).unwrap();
    let expected = serde_json::json!({
        "coverage": 100.0, "unknown_s": 0, "budget_s": 2592, "spent_s": 1200, "remaining_s": 1392,
        "remaining_percent": 53.703, "remaining_lower_s": 1392, "remaining_upper_s": 1392,
    });
    assert_eq!(told, expected);
}

#[test]
fn unknown_time_takes_its_share_of_the_budget_away_and_is_told() {
    let segments = [segment(0, 29 * DAY, VerdictState::Up), segment(29 * DAY, 30 * DAY, VerdictState::Unknown)];
    let now = Time(30 * DAY);
    let span = Window::Days(30).at(now, Time(0), chrono_tz::UTC);
    let budget = Budget::of(&segments, &[], span, goal(99.9), now);
    assert_eq!(budget.remaining(), Some(29 * DAY / 1_000));
    assert_eq!(budget.bounds(), (30 * DAY / 1_000 - DAY, 30 * DAY / 1_000));
    let dark = [segment(0, 28 * DAY, VerdictState::Up), segment(28 * DAY, 30 * DAY, VerdictState::Unknown)];
    let budget = Budget::of(&dark, &[], span, goal(99.9), now);
    assert_eq!((budget.remaining(), budget.remaining_percent()), (None, None), "28 of 30 days are 93 %");
}

#[test]
fn announced_maintenance_neither_spends_nor_earns_in_the_past_and_in_the_future() {
    let segments = [segment(0, DAY, VerdictState::Maintenance), segment(DAY, 10 * DAY, VerdictState::Up)];
    let (now, span) = (Time(10 * DAY), Span { from: Time(0), to: Time(30 * DAY) });
    let announced = [(Time(9 * DAY), Time(11 * DAY)), (Time(20 * DAY), Time(21 * DAY))];
    let budget = Budget::of(&segments, &announced, span, goal(99.0), now);
    assert_eq!((budget.whole(), budget.spent()), (27 * DAY / 100, 0));
}

#[test]
fn a_burn_rate_of_one_lasts_for_the_window_and_needs_the_whole_period() {
    let segments = [segment(0, HOUR, VerdictState::Up), segment(HOUR, HOUR + HOUR / 1_000, VerdictState::Down)];
    let now = Time(HOUR + HOUR / 1_000);
    assert_eq!(burn_rate(&recent(&segments, HOUR, now), goal(99.9)), Some(1.0));
    assert_eq!(burn_rate(&recent(&segments, HOUR, now), goal(99.99)), Some(10.0));
    assert_eq!(burn_rate(&recent(&segments, 6 * HOUR, now), goal(99.9)), None, "of five hours nothing is known");
}

#[test]
fn a_month_ends_before_a_slow_burn_has_spent_its_budget() {
    let span = Span { from: Time(0), to: Time(30 * DAY) };
    let segments = [
        segment(0, 10 * DAY - HOUR / 10, VerdictState::Up),
        segment(10 * DAY - HOUR / 10, 10 * DAY, VerdictState::Down),
    ];
    let now = Time(10 * DAY);
    let budget = Budget::of(&segments, &[], span, goal(99.9), now);
    let at = |recent: Tally| budget.exhausted_at(&segments, &recent, span, None, now);
    // 37 min 12 s are left: at 1 % down they last for 62 h, at a thousandth for longer than the month.
    assert_eq!(at(Tally { up: 99, down: 1, ..Tally::default() }), Some(Time(10 * DAY + 62 * HOUR)));
    assert_eq!(at(Tally { up: 999, down: 1, ..Tally::default() }), None);
    assert_eq!(at(Tally { up: 1, down: 1, unknown: 1, ..Tally::default() }), None, "too little is known");
    assert_eq!(at(Tally { up: 1, ..Tally::default() }), None);
}
