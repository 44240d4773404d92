//! How incidents open, join, spread and end.

use std::collections::BTreeMap;

use aggregator::event::VerdictState;
use probes::judgement::Change;

use super::*;
use crate::diagnose::tests::seen;

fn book() -> Book {
    let units = BTreeMap::from([(("varde".to_owned(), "imap".to_owned()), "mail-imap".to_owned())]);
    Book::new("Varde", 120_000, units)
}

pub(crate) fn change(service: &str, to: VerdictState, at_s: i64) -> Change {
    let bad = |vantage| seen(vantage, service, &[("tcp", ""), ("tls", "timeout")]);
    Change {
        target: "varde".to_owned(),
        service: service.to_owned(),
        title: service.to_uppercase(),
        from: VerdictState::Unknown,
        to,
        at: Time::from_seconds(at_s),
        since: Time::from_seconds(at_s - 5),
        last_good: None,
        observations: match to {
            VerdictState::Down => ["us-east", "no-oslo", "au-sydney"].map(bad).to_vec(),
            VerdictState::Regional => vec![bad("us-east"), seen("no-oslo", service, &[("tcp", "")])],
            _ => vec![],
        },
        voters: vec!["us-east".to_owned(), "no-oslo".to_owned()],
        assigned: 3,
    }
}

fn key_of(step: Step) -> String {
    match step {
        Step::Opened(key) | Step::Worsened(key) | Step::Noted(key) | Step::Resolved(key) => key,
        other => panic!("{other:?} is not about one incident"),
    }
}

#[test]
fn two_watchers_give_an_outage_the_same_key_and_name_and_the_next_one_another() {
    let (mut here, mut there) = (book(), book());
    let first = key_of(here.change(&change("imap", VerdictState::Down, 100)));
    assert_eq!(first, key_of(there.change(&change("imap", VerdictState::Down, 107))));
    let name = here.get(&first).unwrap().name.clone();
    assert_eq!(name, there.get(&first).unwrap().name);
    assert!(name.starts_with("V-") && name.len() == 5, "{name}");

    assert_eq!(here.change(&change("imap", VerdictState::Up, 200)), Step::Resolved(first.clone()));
    let incident = here.get(&first).unwrap();
    assert_eq!(incident.opened_at, Time::from_seconds(95));
    assert_eq!(incident.resolved_at, Some(Time::from_seconds(195)));

    let second = key_of(here.change(&change("imap", VerdictState::Down, 300)));
    assert_eq!(second.rsplit_once('-').unwrap(), (first.rsplit_once('-').unwrap().0, "2"));
    assert_ne!(here.get(&second).unwrap().name, name);
}

#[test]
fn a_watcher_follows_the_generation_of_another_but_no_leap() {
    let mut book = book();
    let first = key_of(book.change(&change("imap", VerdictState::Down, 100)));
    let base = book.get(&first).unwrap().base.clone();
    book.change(&change("imap", VerdictState::Up, 200));
    book.change(&change("imap", VerdictState::Down, 300));
    for key in ["4294967295", "1003", "x", "-1"].map(|generation| format!("{base}-{generation}")) {
        book.learn_generation(&key);
    }
    assert_eq!(book.generation(&base), 2);
    book.learn_generation(&format!("{base}-7"));
    book.learn_generation(&format!("{base}-3"));
    assert_eq!(book.generation(&base), 7, "the outage that is open here is the seventh there");

    let open = book.open().next().unwrap().key();
    assert_eq!(book.change(&change("imap", VerdictState::Up, 400)), Step::Resolved(open));
    book.learn_generation(&format!("{base}-9"));
    let key = key_of(book.change(&change("imap", VerdictState::Down, 500)));
    assert_eq!(key, format!("{base}-9"), "the outage that the other opened first has the same key here");
}

#[test]
fn a_generation_never_overflows() {
    let mut book = book();
    let key = key_of(book.change(&change("imap", VerdictState::Down, 100)));
    let base = book.get(&key).unwrap().base.clone();
    book.change(&change("imap", VerdictState::Up, 200));
    book.restore(Vec::new(), BTreeMap::from([(base, u32::MAX)]));
    let key = key_of(book.change(&change("imap", VerdictState::Down, 300)));
    assert_eq!(book.get(&key).unwrap().generation, u32::MAX);
}

#[test]
fn the_round_trip_joins_the_incident_of_the_service_that_breaks_it() {
    let mut book = book();
    let key = key_of(book.change(&change("imap", VerdictState::Down, 100)));
    assert_eq!(book.change(&change("round_trip", VerdictState::Down, 130)), Step::Noted(key.clone()));
    assert_eq!(book.open().count(), 1);
    // The round trip is looked at again a little later: the incident does not wait for it.
    assert_eq!(book.change(&change("imap", VerdictState::Up, 200)), Step::Resolved(key));
    assert_eq!(book.change(&change("round_trip", VerdictState::Up, 240)), Step::Nothing);
    assert_eq!(book.overdue(Time::from_seconds(9_000)), []);
}

#[test]
fn a_round_trip_that_does_not_recover_with_its_part_is_an_incident_of_its_own() {
    let mut book = book();
    let first = key_of(book.change(&change("imap", VerdictState::Down, 100)));
    book.change(&change("round_trip", VerdictState::Down, 130));
    assert_eq!(book.overdue(Time::from_seconds(9_000)), [], "the incident of its part explains it");
    assert_eq!(book.change(&change("imap", VerdictState::Up, 9_000)), Step::Resolved(first));
    assert_eq!(book.overdue(Time::from_seconds(9_179)), [], "it may need some looks");
    let [Step::Opened(key)] = &book.overdue(Time::from_seconds(9_180))[..] else { panic!("nobody is told") };
    let incident = book.get(key).unwrap();
    assert_eq!((incident.service.as_str(), incident.opened_at), ("round_trip", Time::from_seconds(125)));
    assert_eq!(incident.paging, Paging::Paged);
    assert_eq!(book.overdue(Time::from_seconds(9_999)), [], "once");
    let key = key.clone();
    assert_eq!(book.change(&change("round_trip", VerdictState::Up, 10_000)), Step::Resolved(key));
}

#[test]
fn a_round_trip_that_is_left_joins_the_next_incident_of_its_target() {
    let mut book = book();
    book.change(&change("imap", VerdictState::Down, 100));
    book.change(&change("round_trip", VerdictState::Down, 130));
    book.change(&change("imap", VerdictState::Up, 200));
    let second = key_of(book.change(&change("mx", VerdictState::Down, 300)));
    assert_eq!(book.overdue(Time::from_seconds(400)), [Step::Noted(second.clone())]);
    assert!(book.get(&second).unwrap().failing.contains("round_trip"));
}

#[test]
fn a_round_trip_incident_becomes_that_of_the_part_that_is_found_down() {
    let mut book = book();
    let key = key_of(book.change(&change("round_trip", VerdictState::Down, 100)));
    assert_eq!(book.change(&change("imap", VerdictState::Down, 110)), Step::Worsened(key.clone()));
    let incident = book.get(&key).unwrap();
    assert_eq!((incident.service.as_str(), incident.unit.as_deref()), ("imap", Some("mail-imap")));
}

#[test]
fn a_regional_failure_is_held_and_paged_at_once_when_it_spreads() {
    let mut book = book();
    let key = key_of(book.change(&change("imap", VerdictState::Regional, 100)));
    let incident = book.get(&key).unwrap();
    assert_eq!(incident.paging, Paging::Held(Time::from_seconds(220)));
    assert_eq!(incident.diagnosis.cause, "path_from_one_region");
    assert_eq!(incident.timeline[0].text, "opened: IMAP fails, seen by us-east");
    assert_eq!(book.change(&change("imap", VerdictState::Down, 110)), Step::Worsened(key.clone()));
    let incident = book.get(&key).unwrap();
    assert_eq!((incident.paging, incident.scope), (Paging::Paged, Scope::AllRegions));
    assert_eq!(incident.diagnosis.cause, "service_silent");
}

#[test]
fn an_outage_ends_when_most_regions_are_back_but_is_resolved_when_all_are() {
    let mut book = book();
    let key = key_of(book.change(&change("imap", VerdictState::Down, 100)));
    assert_eq!(book.change(&change("imap", VerdictState::Unknown, 150)), Step::Nothing);
    assert_eq!(book.change(&change("imap", VerdictState::Regional, 200)), Step::Noted(key.clone()));
    assert_eq!(book.change(&change("imap", VerdictState::Up, 260)), Step::Resolved(key.clone()));
    assert_eq!(book.get(&key).unwrap().resolved_at, Some(Time::from_seconds(195)));
}

#[test]
fn a_service_that_was_back_in_most_regions_and_fails_again_is_a_new_incident() {
    let mut book = book();
    let first = key_of(book.change(&change("imap", VerdictState::Down, 100)));
    book.change(&change("round_trip", VerdictState::Down, 130));
    book.change(&change("imap", VerdictState::Regional, 200));
    let step = book.change(&change("imap", VerdictState::Down, 90_000));
    let Step::Again { ended, opened } = step else { panic!("{step:?}: nobody is told of the second outage") };
    assert_eq!(ended, first);
    let before = book.get(&ended).unwrap();
    assert_eq!((before.is_open(), before.resolved_at), (false, Some(Time::from_seconds(195))));
    let now = book.get(&opened).unwrap();
    assert_eq!((now.generation, now.opened_at, now.told), (2, Time::from_seconds(89_995), false));
    assert!(now.failing.contains("round_trip"), "what hangs on the service still does");
    assert_eq!(book.open().count(), 1);
    assert_eq!(book.change(&change("imap", VerdictState::Up, 90_100)), Step::Resolved(opened));
}

#[test]
fn a_round_trip_that_is_partly_back_does_not_end_the_outage_of_its_part() {
    let mut book = book();
    let key = key_of(book.change(&change("imap", VerdictState::Down, 100)));
    book.change(&change("round_trip", VerdictState::Down, 130));
    assert_eq!(book.change(&change("round_trip", VerdictState::Regional, 160)), Step::Nothing);
    assert_eq!(book.change(&change("imap", VerdictState::Down, 170)), Step::Noted(key.clone()));
    assert_eq!(book.change(&change("imap", VerdictState::Up, 200)), Step::Resolved(key.clone()));
    assert_eq!(book.get(&key).unwrap().resolved_at, Some(Time::from_seconds(195)));
}

#[test]
fn what_was_kept_is_there_after_a_restart() {
    let mut before = book();
    let key = key_of(before.change(&change("imap", VerdictState::Down, 100)));
    let kept = serde_json::to_string(before.get(&key).unwrap()).unwrap();
    let mut after = book();
    let generations = BTreeMap::from([(key.rsplit_once('-').unwrap().0.to_owned(), 1)]);
    after.restore(vec![serde_json::from_str(&kept).unwrap()], generations);
    assert_eq!(after.change(&change("imap", VerdictState::Down, 160)), Step::Noted(key.clone()));
    assert_eq!(after.change(&change("imap", VerdictState::Up, 200)), Step::Resolved(key));
}

#[test]
fn a_restart_that_did_not_help_is_remembered_until_one_does() {
    let mut book = book();
    let key = key_of(book.change(&change("imap", VerdictState::Down, 100)));
    let base = book.get(&key).unwrap().base.clone();
    book.get_mut(&key).unwrap().mending = Mending::Failed;
    book.change(&change("imap", VerdictState::Up, 200));
    assert!(book.last_restart_failed(&base, Time::from_seconds(300)));
    assert!(!book.last_restart_failed(&base, Time::from_seconds(86_500)), "a day later it may be tried again");
    let key = key_of(book.change(&change("imap", VerdictState::Down, 300)));
    book.get_mut(&key).unwrap().mending = Mending::Verified;
    book.change(&change("imap", VerdictState::Up, 400));
    assert!(!book.last_restart_failed(&base, Time::from_seconds(500)));
}

#[test]
fn an_unconfirmed_failure_is_an_incident_of_its_own_scope() {
    let mut book = book();
    let bad = seen("us-east", "imap", &[("tcp", ""), ("tls", "timeout")]);
    let key = key_of(book.unconfirmed(&bad, "IMAP", Time::from_seconds(1_060)));
    let incident = book.get(&key).unwrap();
    assert_eq!(incident.scope, Scope::Unconfirmed);
    assert!(incident.diagnosis.summary.starts_with("Unconfirmed: IMAP of varde fails from us-east at \"tls\""));
    assert_eq!(book.unconfirmed(&bad, "IMAP", Time::from_seconds(1_120)), Step::Nothing);
}
