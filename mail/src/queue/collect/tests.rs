//! Collection with real files and both databases.

use std::fs::File;
use std::time::UNIX_EPOCH;

use super::*;
use crate::queue::store::tests::message;
use crate::queue::store::{Settled, Settlement, Then};
use crate::store::{BlobStore, Deliver, Directory, LocalDelivery};
use crate::testing::World;

/// Two hours after the bodies of these tests were stored.
const NOW: Time = Time(1_795_342_608_000_000);

struct Store {
    world: World,
    collector: Collector,
}

impl Store {
    fn new() -> Self {
        let world = World::new();
        let stores = &world.stores;
        let collector = Collector::new(world.queue.clone(), stores.blobs.clone(), stores.mailboxes.clone());
        Self { world, collector }
    }

    /// Stores a body two hours ago.
    fn put(&self, body: &str) -> BlobId {
        let id = self.world.stores.blobs.put(body.as_bytes()).unwrap();
        let at = UNIX_EPOCH + Duration::from_micros(u64::try_from(NOW.0).unwrap()) - Duration::from_secs(7_200);
        File::open(self.world.stores.blobs.path(id)).unwrap().set_modified(at).unwrap();
        id
    }

    fn deliver(&self, blob: BlobId) {
        let account = self.world.stores.directory.resolve("ada@varde.test").unwrap().unwrap().id;
        let delivery = LocalDelivery { account, mailbox: "INBOX", blob, prefix: b"", at: NOW, token: "t" };
        self.world.stores.mailboxes.deliver(&delivery).unwrap();
    }

    async fn enqueue(&self, id: &str, blob: BlobId) {
        self.world.queue.insert(message(id, None, &["eve@x.test"], blob)).await.unwrap();
    }

    /// The only recipient of a message leaves the queue.
    async fn settle(&self, id: &str) {
        let batches = self.world.queue.claim("x.test", 10, "one", NOW, NOW.plus_millis(1)).await.unwrap();
        let entry = &batches.iter().find(|batch| batch.envelope.id == id).unwrap().entries[0];
        let settled = vec![Settled { n: entry.n, fence: entry.fence, then: Then::Leave }];
        assert_eq!(self.world.queue.settle(id, settled, Vec::new()).await.unwrap(), Settlement::Done);
    }

    async fn collect(&mut self) -> Collected {
        self.collector.pass(NOW, MAX_BODIES, &CancellationToken::new()).await.unwrap()
    }

    fn has(&self, id: BlobId) -> bool {
        self.world.stores.blobs.get(id).is_ok()
    }
}

#[tokio::test]
async fn a_body_goes_when_neither_queue_nor_mailboxes_refer_to_it() {
    let mut store = Store::new();
    let (lost, queued, kept) = (store.put("lost"), store.put("queued"), store.put("kept"));
    store.enqueue("1", queued).await;
    store.deliver(kept);
    assert_eq!(store.collect().await, Collected { looked_at: 3, removed: 1 });
    assert_eq!([lost, queued, kept].map(|id| store.has(id)), [false, true, true]);

    store.settle("1").await;
    let ada = store.world.stores.directory.resolve("ada@varde.test").unwrap().unwrap().id;
    let inbox = store.world.stores.mailboxes.open_mailbox(ada, "INBOX").unwrap();
    store.world.stores.mailboxes.remove(inbox.id, &[1]).unwrap();
    assert_eq!(store.collect().await, Collected { looked_at: 2, removed: 2 });
    assert_eq!([queued, kept].map(|id| store.has(id)), [false, false]);
}

#[tokio::test]
async fn a_body_that_is_stored_again_is_young_again() {
    let mut store = Store::new();
    let id = store.put("twice");
    assert_eq!(store.world.stores.blobs.put(b"twice").unwrap(), id);
    assert_eq!(store.collect().await, Collected::default());
    assert!(store.has(id));
}

#[tokio::test]
async fn a_body_that_is_delivered_while_the_pass_runs_stays() {
    let store = Store::new();
    let id = store.put("moving");
    store.enqueue("1", id).await;
    // The pass reads the queue; then the message is delivered and leaves it.
    let queued = store.world.queue.bodies().await.unwrap();
    store.deliver(id);
    store.settle("1").await;
    let part = u16::from_be_bytes([id.0[0], id.0[1]]);
    let stores = &store.world.stores;
    sweep(&stores.blobs, &stores.mailboxes, &queued, part, NOW).unwrap();
    // And a pass that reads the queue only now finds it in the mailbox.
    sweep(&stores.blobs, &stores.mailboxes, &HashSet::new(), part, NOW).unwrap();
    assert!(store.has(id));
}

#[tokio::test]
async fn a_pass_is_bounded_and_the_next_goes_on_behind_it() {
    let mut store = Store::new();
    let ids: Vec<BlobId> = (0..20).map(|n| store.put(&n.to_string())).collect();
    let mut left = ids.len();
    while left > 0 {
        let collected = store.collector.pass(NOW, 5, &CancellationToken::new()).await.unwrap();
        assert!((1..=6).contains(&collected.removed), "{collected:?}");
        left -= collected.removed;
    }
    assert!(ids.iter().all(|id| !store.has(*id)));
}

#[tokio::test]
async fn a_pass_that_is_cut_off_leaves_all_that_is_referred_to() {
    let store = Store::new();
    let kept: Vec<BlobId> = (0..50).map(|n| store.put(&["kept", &n.to_string()].concat())).collect();
    for (n, id) in kept.iter().enumerate() {
        store.enqueue(&n.to_string(), *id).await;
    }
    let lost: Vec<BlobId> = (0..50).map(|n| store.put(&["lost", &n.to_string()].concat())).collect();
    let stores = &store.world.stores;
    let mut collector = Collector::new(store.world.queue.clone(), stores.blobs.clone(), stores.mailboxes.clone());
    let collecting = tokio::spawn(async move { collector.pass(NOW, MAX_BODIES, &CancellationToken::new()).await });
    while lost.iter().all(|id| store.has(*id)) {
        tokio::task::yield_now().await;
    }
    collecting.abort();
    let _ = collecting.await;
    assert!(kept.iter().all(|id| store.has(*id)));
    // What the crash left goes next time.
    let mut again = Collector::new(store.world.queue.clone(), stores.blobs.clone(), stores.mailboxes.clone());
    again.pass(NOW, MAX_BODIES, &CancellationToken::new()).await.unwrap();
    assert!(lost.iter().all(|id| !store.has(*id)));
}
