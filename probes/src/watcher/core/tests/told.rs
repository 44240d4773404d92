//! What is told of a service when observations come late, and when the clock is set back.

use super::*;

#[test]
fn a_vote_that_came_late_dates_the_outage_anew_without_telling_the_responder_again() {
    let mut core = Core::new(config(), 0, roster(), BEGIN, |_, _| None, |_| None);
    let seen = |core: &Core, name: &str, ms: i64, outcome| {
        let mut seen = core.missed(0, ms, BEGIN.plus_millis(ms));
        (seen.vantage, seen.outcome, seen.run_id) = (name.to_owned(), outcome, format!("{name}-{ms}"));
        seen
    };
    for (name, ms, outcome) in [
        ("us", 0, ProbeOutcome::Ok),
        ("oslo", 1, ProbeOutcome::Ok),
        ("sydney", 2, ProbeOutcome::Ok),
        ("us", 10_000, ProbeOutcome::Failed),
        ("oslo", 11_000, ProbeOutcome::Failed),
    ] {
        let one = seen(&core, name, ms, outcome);
        core.hear(one, BEGIN.plus_millis(ms));
    }
    let rows = |actions: &[Action]| -> Vec<VerdictRow> {
        let rows = actions.iter().filter_map(|action| match action {
            Action::Announce(row) | Action::Amend(row) => Some((**row).clone()),
            _ => None,
        });
        rows.collect()
    };
    let first = rows(&core.tick(BEGIN.plus_millis(11_000)));
    assert_eq!(
        first.last().map(|row| (row.state, row.since)),
        Some((VerdictState::Down, Some(BEGIN.plus_millis(10_000))))
    );
    let late = seen(&core, "sydney", 9_000, ProbeOutcome::Failed);
    core.hear(late, BEGIN.plus_millis(12_000));
    let actions = core.tick(BEGIN.plus_millis(12_000));
    let again = rows(&actions);
    assert_eq!(
        again.iter().map(|row| (row.state, row.since)).collect::<Vec<_>>(),
        [(VerdictState::Down, Some(BEGIN.plus_millis(9_000)))]
    );
    assert!(!actions.iter().any(|action| matches!(action, Action::Tell(_) | Action::Announce(_))), "{actions:?}");
}

#[test]
fn a_moment_that_a_late_vote_shows_is_told_though_what_stands_is_the_same() {
    let mut core = Core::new(config(), 0, roster(), BEGIN, |_, _| None, |_| None);
    let mut told = Vec::new();
    let mut hear = |name: &str, ms: i64, outcome, known: i64| {
        let mut seen = core.missed(0, ms, BEGIN.plus_millis(ms));
        (seen.vantage, seen.outcome, seen.run_id) = (name.to_owned(), outcome, format!("{name}-{ms}"));
        let now = BEGIN.plus_millis(known);
        core.hear(seen, now);
        told.extend(core.tick(now).into_iter().filter_map(|action| match action {
            Action::Announce(row) => Some((false, row.state.as_str(), row.since.unwrap().millis_since(BEGIN))),
            Action::Amend(row) => Some((true, row.state.as_str(), row.since.unwrap().millis_since(BEGIN))),
            _ => None,
        }));
    };
    hear("us", 0, ProbeOutcome::Ok, 50);
    hear("oslo", 1_000, ProbeOutcome::Ok, 1_050);
    hear("sydney", 2_000, ProbeOutcome::VantageFault, 2_050);
    // What Oslo saw before it saw this was held up on its way.
    hear("sydney", 12_000, ProbeOutcome::Ok, 12_050);
    hear("oslo", 14_000, ProbeOutcome::Ok, 14_050);
    hear("oslo", 10_000, ProbeOutcome::Failed, 15_000);
    let moment = [(true, "unknown", 10_000), (true, "regional", 12_000), (true, "up", 14_000)];
    assert_eq!(told, [&[(false, "up", 1_000)][..], &moment].concat());
}

#[test]
fn rows_are_told_in_their_order_although_the_clock_is_set_back() {
    let mut core = Core::new(config(), 0, roster(), BEGIN, |_, _| None, |_| None);
    let mut told: Vec<(Time, VerdictState)> = Vec::new();
    let mut hear = |outcome, ms: i64| {
        let now = BEGIN.plus_millis(ms);
        for name in ["us", "oslo"] {
            let mut seen = core.missed(0, ms, now);
            (seen.vantage, seen.outcome, seen.run_id) = (name.to_owned(), outcome, format!("{name}-{ms}"));
            core.hear(seen, now);
        }
        told.extend(core.tick(now).into_iter().filter_map(|action| match action {
            Action::Announce(row) | Action::Amend(row) => Some((row.ts, row.state)),
            _ => None,
        }));
    };
    hear(ProbeOutcome::Ok, 3_600_000);
    hear(ProbeOutcome::Failed, 3_601_000);
    hear(ProbeOutcome::Ok, 0);
    hear(ProbeOutcome::Failed, 1_000);
    assert!(told.is_sorted_by(|a, b| a.0 < b.0), "{told:?}");
    assert_eq!(told.last().map(|row| row.1), Some(VerdictState::Down), "{told:?}");
    assert!(told.iter().all(|row| row.0 < BEGIN.plus_millis(3_601_100)), "{told:?}");
}
