//! Attempts while our own store fails: with real queues, and next hops over sockets.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::queue::store::tests::message;
use crate::store::{AccountId, BlobId};
use crate::testing::{NextHop, World};

/// A store that is busy the first time that it is asked to write.
struct BusyOnce<T: ?Sized> {
    was_busy: AtomicBool,
    inner: Arc<T>,
}

impl<T: ?Sized> BusyOnce<T> {
    fn new(inner: Arc<T>) -> Arc<Self> {
        Arc::new(Self { was_busy: AtomicBool::new(false), inner })
    }
    fn inner(&self) -> Result<&T, StoreError> {
        if self.was_busy.swap(true, Ordering::Relaxed) {
            return Ok(self.inner.as_ref());
        }
        Err(StoreError::transient::<std::io::Error>("writing")(std::io::ErrorKind::ResourceBusy.into()))
    }
}

impl BlobStore for BusyOnce<dyn BlobStore> {
    fn put(&self, body: &[u8]) -> Result<BlobId, StoreError> {
        self.inner()?.put(body)
    }
    fn get(&self, id: BlobId) -> Result<Vec<u8>, StoreError> {
        self.inner.get(id)
    }
}

impl Deliver for BusyOnce<dyn Deliver> {
    fn deliver(&self, delivery: &LocalDelivery<'_>) -> Result<(), StoreError> {
        self.inner()?.deliver(delivery)
    }
    fn has_room(&self, account: AccountId, octets: u64) -> Result<bool, StoreError> {
        self.inner.has_room(account, octets)
    }
}

/// A message of ada that came now.
fn from_ada(world: &World, recipients: &[&str]) -> NewMessage {
    let blob = world.stores.blobs.put(b"Subject: 1\r\n\r\nbody\r\n").unwrap();
    let mut new = message("1", Some("ada@varde.test"), recipients, blob);
    (new.envelope.received_at, new.envelope.queued_at) = (Time::now(), Time::now());
    new
}

/// Makes an attempt with what is due at a domain, at whatever time: its recipients, each with the attempts before.
async fn attempt(courier: &Courier, domain: &str) -> Vec<(String, u32)> {
    let due = courier.queue.domains().await.unwrap().into_iter().find(|due| due.domain == domain).unwrap().due;
    let batches = courier.queue.claim(domain, 10, "one", due, due.plus_millis(60_000)).await.unwrap();
    let entries = batches.iter().flat_map(|batch| &batch.entries);
    let tried = entries.map(|entry| (entry.recipient.address.to_string(), entry.attempts)).collect();
    courier.carry(domain, batches).await;
    tried
}

#[tokio::test]
async fn a_report_that_cannot_be_stored_sends_nothing_twice() {
    let mut world = World::new();
    let mut hop = NextHop::new(&["250 ok\r\n", "550 5.1.1 no such user\r\n", "550 5.1.1 no such user\r\n"]).await;
    world.route("x.test", hop.address);
    let mut new = from_ada(&world, &["has@x.test", "none@x.test"]);
    new.recipients[0].notify.success = true;
    world.queue.insert(new).await.unwrap();
    let blobs: Arc<dyn BlobStore> = world.stores.blobs.clone();
    let courier = Courier { blobs: BusyOnce::new(blobs), ..world.courier() };
    let both = [("has@x.test".to_owned(), 0), ("none@x.test".to_owned(), 0)];
    assert_eq!(attempt(&courier, "x.test").await, both);
    assert_eq!(hop.taken.recv().await.unwrap(), "Subject: 1\r\n\r\nbody\r\n");
    assert_eq!(attempt(&courier, "x.test").await, [("none@x.test".to_owned(), 1)]);
    attempt(&courier, "varde.test").await;
    let inbox = world.inbox("ada@varde.test");
    assert_eq!(inbox.len(), 1);
    assert!(inbox[0].contains("rfc822; none@x.test") && !inbox[0].contains("rfc822; has@x.test"), "{}", inbox[0]);
    assert_eq!(courier.queue.depth().await.unwrap().messages, 0);
}

#[tokio::test]
async fn a_busy_mailbox_is_tried_again_within_seconds_and_delays_no_later_attempt() {
    let mut world = World::new();
    world.config.limits.retry_first_s = 3_600;
    world.queue.insert(from_ada(&world, &["bob@varde.test"])).await.unwrap();
    let mailboxes: Arc<dyn Deliver> = world.stores.mailboxes.clone();
    let courier = Courier { mailboxes: BusyOnce::new(mailboxes), ..world.courier() };
    let begun = Time::now();
    let bob = [("bob@varde.test".to_owned(), 0)];
    assert_eq!(attempt(&courier, "varde.test").await, bob);
    let ended = Time::now();
    let due = courier.queue.domains().await.unwrap()[0].due;
    assert!((begun.plus_millis(1_000)..=ended.plus_millis(5_000)).contains(&due), "{begun:?} {due:?}");
    assert_eq!(attempt(&courier, "varde.test").await, bob);
    assert_eq!(world.inbox("bob@varde.test").len(), 1);
}
