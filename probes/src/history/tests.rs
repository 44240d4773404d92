//! The history on a real disk.

use aggregator::event::StepResult;

use super::*;
use crate::observation::Step;

fn seen(run: &str, ts: i64, outcome: ProbeOutcome) -> Observation {
    Observation {
        ts: Time(ts),
        target: "t".to_owned(),
        service: "imap".to_owned(),
        check: "imap".to_owned(),
        vantage: "us-east".to_owned(),
        run_id: run.to_owned(),
        slot: Some(ts),
        outcome,
        steps: vec![Step {
            name: "tcp".to_owned(),
            result: StepResult::Failed,
            error_class: "refused".to_owned(),
            detail: "nobody listens".to_owned(),
            ms: 1.5,
        }],
        total_ms: 2,
    }
}

fn open() -> (tempfile::TempDir, History) {
    let folder = tempfile::tempdir().unwrap();
    let history = History::open(&folder.path().join("history.sqlite")).unwrap().0;
    (folder, history)
}

#[test]
fn an_observation_comes_back_whole_and_twice_is_once() {
    let (_folder, history) = open();
    let first = seen("a", 5, ProbeOutcome::Failed);
    history.record(&[first.clone(), first.clone()], &[]).unwrap();
    history.record(&[first.clone(), seen("b", 9, ProbeOutcome::Ok)], &[]).unwrap();
    let all = history.of_vantage("us-east", 0, 10).unwrap();
    assert_eq!(all.iter().map(|(_, seen)| seen.run_id.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(all[0].1, first);
    assert_eq!(history.of_vantage("us-east", all[0].0, 10).unwrap().len(), 1);
    // What is dated later than asked for, by a clock that was ahead, is not the latest.
    for (until, run, slot) in [(9, "b", 9), (8, "a", 5)] {
        assert_eq!(history.latest(Time(until)).unwrap()[0].run_id, run);
        let slots = history.last_slots("us-east", Time(until)).unwrap();
        assert_eq!(slots, [("t".to_owned(), "imap".to_owned(), slot)]);
    }
    assert_eq!(history.of_service("t", "imap", Time(5), Time(9)).unwrap().len(), 1);
}

#[test]
fn cursors_and_announcements_survive_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("history.sqlite");
    let row = VerdictRow {
        target: "t".to_owned(),
        service: "imap".to_owned(),
        state: VerdictState::Down,
        generation: 3,
        ..VerdictRow::default()
    };
    let (history, _) = History::open(&path).unwrap();
    history.set_cursor("no-oslo", 7).unwrap();
    history.set_cursor("no-oslo", 9).unwrap();
    history.record(&[], &[row]).unwrap();
    drop(history);
    let (history, aside) = History::open(&path).unwrap();
    assert_eq!((history.cursor("no-oslo").unwrap(), history.cursor("x").unwrap(), aside), (9, 0, None));
    let announced = Announced { state: VerdictState::Down, generation: 3, at: Time(0) };
    assert_eq!(history.announced("t", "imap").unwrap(), Some(announced));
}

#[test]
fn what_was_told_is_read_again_in_its_order_with_what_stood_before() {
    let folder = tempfile::tempdir().unwrap();
    let (history, _) = History::open(&folder.path().join("history.sqlite")).unwrap();
    let row = |ts: i64, since: Option<i64>, state| VerdictRow {
        ts: Time(ts),
        target: "t".to_owned(),
        service: "imap".to_owned(),
        since: since.map(Time),
        state,
        ..VerdictRow::default()
    };
    use VerdictState::{Down, Unknown, Up};
    let rows = [row(5, Some(4), Up), row(20, None, Down), row(30, Some(10), Unknown), row(30, Some(12), Up)];
    history.record(&[], &rows).unwrap();
    let told = |since| history.told("t", "imap", Time(since)).unwrap();
    assert_eq!(told(0), [(Time(4), Up), (Time(20), Down), (Time(10), Unknown), (Time(12), Up)]);
    assert_eq!(told(21), told(0)[1..]);
    assert_eq!(told(31), [(Time(12), Up)]);
    assert_eq!(history.told("t", "pop3", Time(0)).unwrap(), []);
}

#[test]
fn how_far_back_nothing_is_missing_is_known_when_rows_have_been_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let (history, _) = History::open(&folder.path().join("history.sqlite")).unwrap();
    assert_eq!(history.complete_from().unwrap(), None);
    let now = Time(200 * DAY);
    let run = |n: i64| seen(&n.to_string(), now.0 - 3_000 + n, ProbeOutcome::Ok);
    history.record(&(0..3_000).map(run).collect::<Vec<_>>(), &[]).unwrap();
    // What came late stays as long as what came with it.
    history.record(&[seen("late", now.0 - 50_000, ProbeOutcome::Ok)], &[]).unwrap();
    assert_eq!(history.complete_from().unwrap(), None);
    assert_eq!(history.prune_to(now, 1_500).unwrap(), 1_501);
    assert_eq!(history.complete_from().unwrap(), Some(Time(now.0 - 3_000 + 2_500)));
}

#[test]
fn a_damaged_file_is_set_aside_and_a_fresh_one_made() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("history.sqlite");
    fs::write(&path, vec![0x5a; 8_192]).unwrap();
    let (history, aside) = History::open(&path).unwrap();
    let aside = aside.unwrap();
    assert_eq!(aside, folder.path().join("history.sqlite.damaged-1"));
    assert_eq!(fs::read(&aside).unwrap(), vec![0x5a; 8_192]);
    history.record(&[seen("a", 1, ProbeOutcome::Ok)], &[]).unwrap();
    assert_eq!(history.of_vantage("us-east", 0, 10).unwrap().len(), 1);
}

#[test]
fn old_rows_go_and_old_steps_of_successes_go_before() {
    let (_folder, history) = open();
    let now = Time(KEEP_DAYS * DAY + DAY);
    let rows = [
        seen("ancient", 0, ProbeOutcome::Failed),
        seen("old-ok", now.0 - 3 * DAY, ProbeOutcome::Ok),
        seen("old-failed", now.0 - 3 * DAY, ProbeOutcome::Failed),
        seen("new-ok", now.0 - DAY, ProbeOutcome::Ok),
    ];
    history.record(&rows, &[]).unwrap();
    assert_eq!(history.prune(now).unwrap(), 1);
    let left = history.of_vantage("us-east", 0, 10).unwrap();
    let left: Vec<(&str, usize)> = left.iter().map(|(_, seen)| (seen.run_id.as_str(), seen.steps.len())).collect();
    assert_eq!(left, [("old-ok", 0), ("old-failed", 1), ("new-ok", 1)]);
    assert_eq!(history.prune_to(now, 2).unwrap(), 1);
    assert_eq!(history.of_vantage("us-east", 0, 10).unwrap()[0].1.run_id, "old-failed");
}

#[test]
fn a_run_that_missed_its_message_is_unanswered_until_it_comes() {
    let (_folder, history) = open();
    let rows = [
        seen("old", 1, ProbeOutcome::Missing),
        seen("a", 5, ProbeOutcome::Missing),
        seen("b", 7, ProbeOutcome::Failed),
        seen("c", 9, ProbeOutcome::Missing),
    ];
    history.record(&rows, &[]).unwrap();
    let unanswered = |since| -> Vec<String> {
        history.unanswered("us-east", Time(since)).unwrap().into_iter().map(|run| run.run_id).collect()
    };
    assert_eq!(unanswered(2), ["a", "c"]);
    let arrived = Arrived { run_id: "a".to_owned(), ts: Time(5), delay_ms: 7, folder: "INBOX".to_owned() };
    history.record_arrivals(&[arrived.clone(), arrived]).unwrap();
    assert_eq!(unanswered(2), ["c"]);
    assert!(history.unanswered("no-oslo", Time(0)).unwrap().is_empty());
}
