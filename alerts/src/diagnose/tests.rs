//! The table: no two rows overlap, none is out of reach, and each cause is found.

use aggregator::event::{ProbeOutcome, StepResult, Time};
use probes::observation::{Observation, Step};

use super::*;
use crate::evidence::Facts;

pub(crate) fn seen(vantage: &str, service: &str, steps: &[(&str, &str)]) -> Observation {
    let step = |(name, class): &(&str, &str)| Step {
        name: (*name).to_owned(),
        result: if class.is_empty() { StepResult::Ok } else { StepResult::Failed },
        error_class: (*class).to_owned(),
        detail: String::new(),
        ms: 7.0,
    };
    let failed = steps.iter().any(|(_, class)| !class.is_empty());
    Observation {
        ts: Time::from_seconds(1_000),
        target: "varde".to_owned(),
        service: service.to_owned(),
        check: service.to_owned(),
        vantage: vantage.to_owned(),
        run_id: format!("{vantage}-{service}"),
        slot: None,
        outcome: if failed { ProbeOutcome::Failed } else { ProbeOutcome::Ok },
        steps: steps.iter().map(step).collect(),
        total_ms: 7,
    }
}

fn facts(process: Process, accept_queue: AcceptQueue, disk: Disk) -> Facts {
    Facts {
        host: "localhost".to_owned(),
        unit: "mail-imap".to_owned(),
        process,
        process_text: "mail-imap (pid 123) is in state T (stopped)".to_owned(),
        accept_queue,
        accept_queue_text: "2 connections wait to be accepted at 127.0.0.1:2993".to_owned(),
        disk,
        disk_text: "0 B of 10 GiB free".to_owned(),
    }
}

fn imap(scope: Scope, step: (&str, &str), facts: Option<&Facts>) -> Diagnosis {
    let steps = [("tcp", ""), step];
    let mut observations = vec![seen("us-east", "imap", &steps), seen("us-east", "mx", &[("tcp", "")])];
    if scope == Scope::AllRegions {
        observations.extend(["no-oslo", "au-sydney"].map(|vantage| seen(vantage, "imap", &steps)));
    }
    let case = Case {
        target: "varde",
        service: "imap",
        title: "IMAP",
        unit: Some("mail-imap"),
        scope,
        observations: &observations,
        facts,
    };
    diagnose(&case)
}

#[test]
fn a_stopped_process_is_named_a_hang_and_may_be_restarted() {
    let stopped = facts(Process::Stopped, AcceptQueue::Waiting, Disk::Free);
    let diagnosis = imap(Scope::AllRegions, ("tls", "timeout"), Some(&stopped));
    assert_eq!((diagnosis.cause.as_str(), diagnosis.confidence), ("process_hung", Confidence::Certain));
    assert_eq!(diagnosis.action, Action::Restart);
    assert!(diagnosis.summary.starts_with("IMAP of varde hangs: the process of mail-imap on localhost is stopped"));
    assert_eq!(diagnosis.supports[0], "localhost: mail-imap (pid 123) is in state T (stopped)");
    assert_eq!(
        diagnosis.supports[2],
        "us-east: tcp ok, tls failed after 7 ms (timeout); no-oslo: tcp ok, tls failed after 7 ms (timeout); \
         au-sydney: tcp ok, tls failed after 7 ms (timeout)"
    );
    assert!(diagnosis.steps[0].starts_with("mail-imap is restarted automatically"));
}

#[test]
fn each_cause_is_told_from_its_neighbours() {
    let check = |scope, step, facts: Option<Facts>, cause: &str, action| {
        let diagnosis = imap(scope, step, facts.as_ref());
        assert_eq!((diagnosis.cause.as_str(), diagnosis.action), (cause, action));
    };
    let free = |process| Some(facts(process, AcceptQueue::Empty, Disk::Free));
    let waiting = |process| Some(facts(process, AcceptQueue::Waiting, Disk::Free));
    let all = Scope::AllRegions;
    check(all, ("tls", "timeout"), None, "service_silent", Action::None);
    check(all, ("banner", "timeout"), free(Process::Running), "process_unresponsive", Action::Restart);
    check(all, ("banner", "timeout"), waiting(Process::Running), "process_stuck", Action::Restart);
    check(all, ("banner", "closed"), free(Process::Missing), "process_missing", Action::Restart);
    let full = Some(facts(Process::Stopped, AcceptQueue::Waiting, Disk::Full));
    check(all, ("banner", "timeout"), full, "disk_full", Action::None);
    check(all, ("tls", "certificate_expired"), free(Process::Running), "certificate_expired", Action::None);
    check(all, ("health", "timeout"), waiting(Process::Running), "process_stuck", Action::Restart);
    check(all, ("health", "refused"), None, "port_closed", Action::None);
    check(all, ("dns", "nxdomain"), free(Process::Stopped), "dns_failure", Action::None);
    check(Scope::OneRegion, ("tls", "timeout"), free(Process::Stopped), "path_from_one_region", Action::None);
    check(Scope::Unconfirmed, ("tls", "timeout"), None, "unconfirmed", Action::None);
    check(all, ("login", "auth_failed"), free(Process::Running), "authentication_broken", Action::None);
    check(all, ("noop", "protocol"), free(Process::Running), "undetermined", Action::None);
}

/// Calls `visit` with every combination of symptoms that there is.
fn every_case(mut visit: impl FnMut(&Symptoms)) {
    for &scope in Scope::ALL {
        for &stage in Stage::ALL {
            for &class in Class::ALL {
                for &process in Process::ALL {
                    for &accept_queue in AcceptQueue::ALL {
                        for &disk in Disk::ALL {
                            for &others in Others::ALL {
                                visit(&Symptoms { scope, stage, class, process, accept_queue, disk, others });
                            }
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn no_two_rows_of_a_tier_overlap_and_every_row_is_reached() {
    let table: Table = toml::from_str(include_str!("table.toml")).unwrap();
    let mut wins = vec![0_usize; table.row.len()];
    every_case(|symptoms| {
        let fitting: Vec<usize> = (0..table.row.len()).filter(|index| table.row[*index].when.fits(symptoms)).collect();
        let Some(first) = fitting.iter().map(|index| table.row[*index].tier).min() else { return };
        for tier in first..=5 {
            let rows: Vec<&str> = fitting
                .iter()
                .filter(|index| table.row[**index].tier == tier)
                .map(|index| table.row[*index].cause.as_str())
                .collect();
            assert!(rows.len() <= 1, "rows {rows:?} of tier {tier} overlap at {symptoms:?}");
        }
        let winner = fitting.into_iter().find(|index| table.row[*index].tier == first).unwrap();
        wins[winner] += 1;
    });
    let unreached: Vec<&str> =
        table.row.iter().zip(&wins).filter(|(_, wins)| **wins == 0).map(|(row, _)| row.cause.as_str()).collect();
    assert_eq!(unreached, Vec::<&str>::new());
}

#[test]
fn every_text_uses_only_words_that_a_case_has() {
    let table: Table = toml::from_str(include_str!("table.toml")).unwrap();
    let case = Case {
        target: "",
        service: "",
        title: "",
        unit: None,
        scope: Scope::AllRegions,
        observations: &[],
        facts: None,
    };
    let words = case.words();
    for row in &table.row {
        let texts = [&row.summary].into_iter().chain(&row.supports).chain(&row.against).chain(&row.steps);
        for text in texts {
            for part in text.split('{').skip(1) {
                let (name, _) = part.split_once('}').unwrap();
                assert!(words.contains_key(name), "row {} uses {{{name}}}", row.cause);
            }
        }
        assert!(!row.steps.is_empty(), "row {} names no next step", row.cause);
    }
}
