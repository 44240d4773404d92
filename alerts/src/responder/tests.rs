//! The whole loop in one process: two watchers, a node with a really stopped process, two engineers' hooks, a relay.

mod support;

use aggregator::event::{Event, RemedyState, Time, VerdictState};
use probes::judgement::Judgement;
use support::{World, eventually};

use crate::diagnose::tests::seen;
use crate::incident::tests::change;
use crate::page::Kind;
use crate::view::IncidentState;

fn down() -> Judgement {
    let mut change = change("imap", VerdictState::Down, Time::now().seconds());
    change.title = "IMAP".to_owned();
    Judgement::Changed(Box::new(change))
}

fn up() -> Judgement {
    let mut change = change("imap", VerdictState::Up, Time::now().seconds() + 60);
    change.title = "IMAP".to_owned();
    Judgement::Changed(Box::new(change))
}

fn regional() -> Judgement {
    let mut change = change("imap", VerdictState::Regional, Time::now().seconds());
    change.title = "IMAP".to_owned();
    Judgement::Changed(Box::new(change))
}

fn suspected() -> Judgement {
    Judgement::Suspected(Box::new(seen("us-east", "imap", &[("tcp", ""), ("tls", "timeout")])))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_imap_is_paged_diagnosed_restarted_proven_and_resolved() {
    let world = World::start(&["us-east", "no-oslo"]).await;
    world.stop_the_process().await;
    for judgement in [suspected(), down()] {
        world.tell("us-east", judgement.clone()).await;
        world.tell("no-oslo", judgement).await;
    }
    // Both engineers have a page that names the service, the hang, the evidence and the next step.
    for person in ["ada", "bjarne"] {
        eventually("a page that names the hang", || {
            world.hooks.pages(person).into_iter().any(|page| {
                let data = page.data;
                page.kind != Kind::Resolved
                    && data.title == "IMAP"
                    && data.cause == "process_hung"
                    && data.summary.contains("IMAP of varde hangs")
                    && data.evidence.iter().any(|part| part.section == "process" && part.content.contains("state T"))
                    && data.next_steps.iter().any(|step| step.contains("restarted automatically"))
                    && data.text.contains("Next steps:")
            })
        })
        .await;
    }
    eventually("a page by e-mail", || {
        let mails = world.relay.mails();
        mails.iter().any(|mail| mail.contains("To: ada@oncall.test") && mail.contains("Subject: [V-"))
            && mails.iter().any(|mail| mail.contains("To: bjarne@oncall.test"))
    })
    .await;

    eventually("the proof of the restart", || {
        let incidents = world.incidents("us-east");
        incidents[0].timeline.iter().any(|entry| entry.text == "the full chain of checks passed twice")
    })
    .await;
    assert_eq!(world.supervisor.restarted.lock().unwrap()[..], ["mail-imap"]);

    world.tell("us-east", up()).await;
    world.tell("no-oslo", up()).await;
    for person in ["ada", "bjarne"] {
        eventually("the notice that it is over", || {
            world.hooks.pages(person).iter().any(|page| {
                page.kind == Kind::Resolved
                    && page.data.summary.contains("It was mended by a restart of mail-imap (process 99 became 123).")
            })
        })
        .await;
    }
    // The notice may be the other watcher's.
    eventually("the end", || world.incidents("us-east")[0].state == IncidentState::Resolved).await;
    assert_eq!(world.hooks.doubles(), Vec::<String>::new(), "the second watcher heard of the receipts and kept still");

    let mut seen = std::collections::BTreeSet::new();
    eventually("every part of it as events", || {
        for event in world.events("us-east") {
            seen.insert(event.table());
            if let Event::RemedyRow(row) = event
                && row.state == RemedyState::Verified
            {
                seen.insert("verified");
            }
        }
        ["incidents", "pages", "remedies", "evidence", "verified"].iter().all(|part| seen.contains(part))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_outage_is_paged_though_one_region_never_saw_the_end_of_the_first() {
    let world = World::start(&["us-east"]).await;
    for judgement in [down(), regional(), down()] {
        world.tell("us-east", judgement).await;
    }
    eventually("a page for each outage, and the end of the first", || {
        let pages = world.hooks.pages("ada");
        let of = |kind| {
            let of_kind = pages.iter().filter(move |page| page.kind == kind);
            of_kind.map(|page| page.data.incident.clone()).collect::<std::collections::BTreeSet<_>>()
        };
        of(Kind::Opened).len() == 2 && of(Kind::Resolved).len() == 1
    })
    .await;
    eventually("both, one of them over", || {
        let states: Vec<IncidentState> = world.incidents("us-east").iter().map(|incident| incident.state).collect();
        states.contains(&IncidentState::Firing) && states.contains(&IncidentState::Resolved)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_quorum_people_are_paged_and_nothing_is_restarted() {
    let world = World::start(&["us-east"]).await;
    world.stop_the_process().await;
    world.tell("us-east", suspected()).await;
    world.tell("us-east", down()).await;
    eventually("a page", || !world.hooks.pages("ada").is_empty()).await;
    eventually("the reason", || {
        let incidents = world.incidents("us-east");
        let lines = incidents.iter().flat_map(|incident| &incident.timeline);
        lines.into_iter().any(|entry| entry.text == "no restart is tried: 1 of 2 watchers approved the restart")
    })
    .await;
    assert!(world.supervisor.restarted.lock().unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_acknowledges_by_the_pages_link_and_every_watcher_knows() {
    let world = World::start(&["us-east", "no-oslo"]).await;
    world.tell("us-east", down()).await;
    world.tell("no-oslo", down()).await;
    eventually("a page", || !world.hooks.pages("ada").is_empty()).await;
    let link = world.hooks.pages("ada")[0].data.links.acknowledge.clone();

    let shown = world.http.get(&link).send().await.unwrap().text().await.unwrap();
    assert!(shown.contains("<button>I have it (Ada)</button>"), "{shown}");
    assert_eq!(world.incidents("us-east")[0].state, IncidentState::Firing, "looking changes nothing");
    let forged = world.http.post([&link, "x"].concat()).send().await.unwrap();
    assert_eq!(forged.status(), 404);

    let answer = world.http.post(&link).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    for watcher in ["us-east", "no-oslo"] {
        eventually("the acknowledgement", || {
            world.incidents(watcher).first().is_some_and(|incident| incident.acknowledged_by.as_deref() == Some("Ada"))
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_dashboard_reads_and_acknowledges_with_its_key_only() {
    let world = World::start(&["us-east"]).await;
    world.tell("us-east", down()).await;
    eventually("an incident", || !world.incidents("us-east").is_empty()).await;
    let incident = world.incidents("us-east")[0].incident.clone();
    let url = format!("{}/api/v1/incidents/{incident}/acknowledge", world.url("us-east"));
    let post = |key: &'static str| {
        let request = world.http.post(&url).bearer_auth(key).json(&serde_json::json!({"person": "Ada"}));
        async move { request.send().await.unwrap().status().as_u16() }
    };
    assert_eq!(post("guess").await, 401);
    assert_eq!(post("operator-key").await, 204);
    let ask = || world.http.get(format!("{}/api/v1/incidents", world.url("us-east")));
    assert_eq!(ask().send().await.unwrap().status(), 401, "the evidence is for operators only");
    let served = ask().bearer_auth("operator-key").send().await.unwrap();
    let served: Vec<crate::view::IncidentView> = served.json().await.unwrap();
    assert_eq!(served[0].acknowledged_by.as_deref(), Some("Ada"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watcher_alone_pages_unconfirmed_and_a_restarted_one_still_knows() {
    let mut world = World::start(&["us-east"]).await;
    let bad = seen("us-east", "imap", &[("tcp", ""), ("tls", "timeout")]);
    world.tell("us-east", Judgement::Unconfirmed(Box::new(bad))).await;
    eventually("a page", || {
        world.hooks.pages("ada").iter().any(|page| {
            page.data.headline.ends_with("unconfirmed: no other watcher can be reached")
                && page.data.scope == "unconfirmed"
        })
    })
    .await;
    eventually("the incident", || world.incidents("us-east").len() == 1).await;
    let before = world.incidents("us-east");
    world.restart("us-east").await;
    let after = world.incidents("us-east");
    assert_eq!((after.len(), &after[0].incident), (1, &before[0].incident));
    world.tell("us-east", up()).await;
    eventually("the notice that it is over", || {
        world.hooks.pages("ada").iter().any(|page| page.kind == Kind::Resolved)
    })
    .await;
    assert_eq!(world.hooks.doubles(), Vec::<String>::new());
}

/// What a watcher tells after its start: the state that stands, which is no change.
fn standing(judgement: Judgement) -> Judgement {
    let Judgement::Changed(mut change) = judgement else { panic!("{judgement:?} is no verdict") };
    change.from = change.to;
    Judgement::Changed(change)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_stands_after_a_restart_makes_up_for_changes_that_were_lost() {
    let mut world = World::start(&["us-east", "no-oslo"]).await;
    // The change to down was lost: it is paged nevertheless.
    world.tell("us-east", standing(down())).await;
    eventually("a page", || !world.hooks.pages("ada").is_empty()).await;
    world.restart("us-east").await;
    world.tell("us-east", standing(down())).await;
    // Told once more, it is the same incident, and this watcher knows again what is down: it approves.
    world.stop_the_process().await;
    for judgement in [suspected(), down()] {
        world.tell("no-oslo", judgement).await;
    }
    eventually("the restart", || !world.supervisor.restarted.lock().unwrap().is_empty()).await;
    assert_eq!(world.incidents("us-east").len(), 1);
    // The change to up was lost as well.
    world.restart("us-east").await;
    world.tell("us-east", standing(up())).await;
    eventually("the end", || world.incidents("us-east")[0].state == IncidentState::Resolved).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_cannot_be_reached_is_no_restart_that_failed() {
    let mut world = World::start(&["us-east", "no-oslo"]).await;
    world.stop_the_process().await;
    world.tell("us-east", suspected()).await;
    world.tell("us-east", down()).await;
    let kept = |world: &World| {
        let incidents = world.incidents("us-east");
        incidents.iter().flat_map(|incident| &incident.evidence).any(|part| part.section == "process")
    };
    eventually("the evidence", || kept(&world)).await;
    // Nothing was ordered so far, because the other watcher does not approve; when it does, the node is gone.
    world.stop_the_node().await;
    world.tell("no-oslo", down()).await;
    eventually("the reason", || {
        let incidents = world.incidents("us-east");
        let lines = incidents.iter().flat_map(|incident| &incident.timeline);
        lines.into_iter().any(|line| line.text.starts_with("no restart is tried: the node at http"))
    })
    .await;
    let pages = world.hooks.pages("ada");
    assert!(!pages.iter().any(|page| page.data.headline.ends_with("people are needed")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_next_outage_is_paged_though_the_incidents_were_damaged() {
    let mut world = World::start(&["us-east"]).await;
    let opened = |world: &World| world.hooks.pages("ada").iter().filter(|page| page.kind == Kind::Opened).count();
    world.tell("us-east", down()).await;
    eventually("a page", || opened(&world) == 1).await;
    world.tell("us-east", up()).await;
    eventually("the notice", || world.hooks.pages("ada").iter().any(|page| page.kind == Kind::Resolved)).await;
    let damage = |folder: &std::path::Path| std::fs::write(folder.join("incidents.sqlite"), [0x5a; 8_192]).unwrap();
    world.restart_after("us-east", damage).await;
    world.tell("us-east", down()).await;
    eventually("a page of the second outage", || opened(&world) == 2).await;
    assert_eq!(world.hooks.doubles(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_test_page_reaches_everybody_over_every_channel() {
    let world = World::start(&[]).await;
    let tested = super::test_page(&world.config, "Varde", Time::now()).await;
    let ways: Vec<(&str, &str, bool)> =
        tested.iter().map(|test| (test.person.as_str(), test.channel.as_str(), test.result.is_ok())).collect();
    assert_eq!(
        ways,
        [("Ada", "email", true), ("Ada", "webhook", true), ("Bjarne", "email", true), ("Bjarne", "webhook", true)]
    );
    assert_eq!(world.hooks.pages("bjarne")[0].data.headline, "Test page: nothing is wrong");
}
