//! Queue processes with real databases, mailboxes and next hops.

use std::time::Duration;

use aggregator::event::{Delivery, DeliveryOutcome, Event, Time};
use tokio::net::TcpListener;

use crate::queue::store::tests::message;
use crate::store::BlobStore;
use crate::testing::{NextHop, World};

fn delivery(event: Event) -> Option<Delivery> {
    if let Event::Delivery(row) = event { Some(row) } else { None }
}

/// A message of ada, received now.
async fn put(world: &World, id: &str, sender: Option<&str>, recipients: &[&str]) {
    let blob = world.stores.blobs.put(format!("Subject: {id}\r\n\r\nbody of {id}\r\n").as_bytes()).unwrap();
    let mut new = message(id, sender, recipients, blob);
    (new.envelope.received_at, new.envelope.queued_at) = (Time::now(), Time::now());
    world.queue.insert(new).await.unwrap();
}

const ADA: Option<&str> = Some("ada@varde.test");

#[tokio::test]
async fn a_deferred_message_is_tried_again_and_passed_on() {
    let mut world = World::new();
    let mut hop = NextHop::new(&["451 4.7.1 greylisted\r\n"]).await;
    world.route("x.test", hop.address);
    put(&world, "1", ADA, &["eve@x.test"]).await;
    world.manager("one");
    let first = world.event(delivery).await;
    assert_eq!((first.outcome, first.is_final, first.smtp_code), (DeliveryOutcome::Deferred, false, Some(451)));
    assert_eq!((first.enhanced_code.as_str(), first.response.as_str()), ("4.7.1", "greylisted"));
    let second = world.event(delivery).await;
    assert_eq!(
        (second.outcome, second.attempt, second.mx_host.as_str()),
        (DeliveryOutcome::Delivered, Some(2), "127.0.0.1")
    );
    assert_eq!(hop.taken.recv().await.unwrap(), "Subject: 1\r\n\r\nbody of 1\r\n");
    world.left(0).await;
}

#[tokio::test]
async fn a_refusal_is_reported_to_the_sender_and_a_refused_report_to_nobody() {
    let mut world = World::new();
    let hop = NextHop::new(&["550 5.1.1 no such user\r\n", "550 5.1.1 no such user\r\n"]).await;
    world.route("x.test", hop.address);
    put(&world, "1", ADA, &["eve@x.test"]).await;
    world.manager("one");
    let report = world.arrived("ada@varde.test", 1).await.remove(0);
    assert!(report.starts_with("Return-Path: <>\r\n"));
    assert!(report.contains(
        "Final-Recipient: rfc822; eve@x.test\r\nAction: failed\r\nStatus: 5.1.1\r\nRemote-MTA: dns; 127.0.0.1\r\n"
    ));
    assert!(report.contains("Diagnostic-Code: smtp; 550 5.1.1 no such user\r\n"));
    let bounced = world.event(delivery).await;
    assert_eq!((bounced.outcome, bounced.is_final), (DeliveryOutcome::Bounced, true));
    put(&world, "2", None, &["eve@x.test"]).await;
    world.left(0).await;
    assert_eq!(world.inbox("ada@varde.test").len(), 1);
}

#[tokio::test]
async fn recipients_of_one_message_end_each_in_his_own_way() {
    let mut world = World::new();
    let mut hop = NextHop::new(&["250 ok\r\n", "550 5.1.1 no\r\n"]).await;
    world.route("x.test", hop.address);
    put(&world, "1", ADA, &["a@x.test", "b@x.test", "bob@varde.test", "nobody@varde.test"]).await;
    world.manager("one");
    assert_eq!(world.arrived("bob@varde.test", 1).await.len(), 1);
    assert_eq!(hop.taken.recv().await.unwrap(), "Subject: 1\r\n\r\nbody of 1\r\n");
    let reports = world.arrived("ada@varde.test", 2).await.concat();
    assert!(reports.contains("rfc822; b@x.test") && reports.contains("rfc822; nobody@varde.test"));
    assert!(!reports.contains("rfc822; a@x.test") && !reports.contains("rfc822; bob@varde.test"));
    world.left(0).await;
}

#[tokio::test]
async fn a_host_that_never_answers_delays_no_other_domain() {
    let mut world = World::new();
    world.config.limits.queue_concurrency = 2;
    // It accepts connections, by its backlog, and says nothing.
    let dead = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut hop = NextHop::new(&[]).await;
    world.route("dead.test", dead.local_addr().unwrap());
    world.route("live.test", hop.address);
    world.config.limits.queue_domain_concurrency = 1;
    for n in 0..50 {
        put(&world, &format!("dead-{n}"), ADA, &["a@dead.test"]).await;
    }
    put(&world, "live", ADA, &["a@live.test", "bob@varde.test"]).await;
    world.manager("one");
    assert_eq!(hop.taken.recv().await.unwrap(), "Subject: live\r\n\r\nbody of live\r\n");
    world.arrived("bob@varde.test", 1).await;
    world.left(50).await;
}

#[tokio::test]
async fn what_a_killed_process_held_is_taken_again_and_delivered_once() {
    let mut world = World::new();
    world.config.limits.lease_s = 1;
    for n in 0..20 {
        put(&world, &format!("m{n}"), ADA, &["bob@varde.test", "ada@varde.test"]).await;
    }
    // One that died with a lease, after it had delivered and before it could write so down.
    let now = Time::now();
    let courier = world.courier();
    let mut dead = courier.queue.claim("varde.test", 5, "dead", now, now.plus_millis(300)).await.unwrap();
    for batch in dead.drain(..) {
        courier.deliver(batch).await;
    }
    assert_eq!(world.inbox("bob@varde.test").len(), 5);
    // One that is killed in the middle of its work.
    let victim = world.manager("victim");
    world.arrived("bob@varde.test", 7).await;
    victim.abort();
    world.manager("heir");
    world.left(0).await;
    for user in ["bob@varde.test", "ada@varde.test"] {
        let mut subjects: Vec<String> = world.inbox(user);
        subjects.sort();
        subjects.dedup();
        assert_eq!((world.inbox(user).len(), subjects.len()), (20, 20), "{user}");
    }
}

#[tokio::test]
async fn the_lease_of_a_long_attempt_is_kept() {
    let mut world = World::new();
    world.config.limits.lease_s = 1;
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    world.route("slow.test", silent.local_addr().unwrap());
    put(&world, "1", ADA, &["a@slow.test"]).await;
    world.manager("one");
    let (_held, _) = silent.accept().await.unwrap();
    // Were the lease not extended, another attempt would connect a second after the first.
    let other = world.courier().queue;
    let lease_was_extended = async {
        let first = other.domains().await.unwrap()[0].due;
        while other.domains().await.unwrap()[0].due <= first {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), lease_was_extended).await.unwrap();
    assert_eq!(other.claim("slow.test", 1, "other", Time::now(), Time(i64::MAX)).await.unwrap(), []);
}

#[tokio::test]
async fn a_message_past_its_lifetime_is_given_back_as_expired() {
    let mut world = World::new();
    let hop = NextHop::new(&["451 4.7.1 later\r\n"]).await;
    world.route("x.test", hop.address);
    let blob = world.stores.blobs.put(b"Subject: old\r\n\r\n").unwrap();
    world.queue.insert(message("old", ADA, &["eve@x.test"], blob)).await.unwrap();
    world.manager("one");
    let report = world.arrived("ada@varde.test", 1).await.remove(0);
    assert!(report.contains("Action: failed\r\nStatus: 5.4.7\r\n"));
    assert_eq!(world.event(delivery).await.outcome, DeliveryOutcome::Expired);
}
