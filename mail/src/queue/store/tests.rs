//! The queue's database, with several processes at it.

use super::*;

/// A message of `sender` for `recipients`, received at the epoch.
pub(crate) fn message(id: &str, sender: Option<&str>, recipients: &[&str], blob: BlobId) -> NewMessage {
    NewMessage {
        envelope: Envelope {
            id: id.to_owned(),
            trace_id: format!("trace-{id}"),
            message_id: format!("{id}@varde.test"),
            blob,
            size: 10,
            sender: sender.map(|sender| sender.parse().unwrap()),
            ret: Ret::Headers,
            envid: String::new(),
            utf8: false,
            eight_bit: false,
            received_at: Time(0),
            queued_at: Time(0),
        },
        recipients: recipients
            .iter()
            .map(|address| Recipient {
                address: address.parse().unwrap(),
                notify: Notify::default(),
                orcpt: String::new(),
            })
            .collect(),
    }
}

fn fixture() -> (tempfile::TempDir, Queue) {
    let folder = tempfile::tempdir().unwrap();
    let queue = Queue::open(&folder.path().join("queue.db")).unwrap();
    (folder, queue)
}

#[tokio::test]
async fn a_message_is_taken_once_and_again_when_its_lease_ends_and_the_first_owner_is_fenced_off() {
    let (folder, queue) = fixture();
    let new = message("1", Some("ada@varde.test"), &["bob@x.test", "eve@x.test", "joe@y.test"], BlobId([7; 32]));
    queue.insert(new.clone()).await.unwrap();
    let first = queue.claim("x.test", 10, "one", Time(0), Time(100)).await.unwrap();
    assert_eq!(first.len(), 1);
    assert_eq!(first[0].envelope, new.envelope);
    assert_eq!(first[0].entries.iter().map(|entry| entry.fence).collect::<Vec<_>>(), [1, 1]);
    // Another process, before and after the lease ends.
    let other = Queue::open(&folder.path().join("queue.db")).unwrap();
    assert_eq!(other.claim("x.test", 10, "two", Time(99), Time(300)).await.unwrap(), []);
    let second = other.claim("x.test", 10, "two", Time(100), Time(300)).await.unwrap();
    let done = |batch: &Batch| {
        batch
            .entries
            .iter()
            .map(|entry| Settled { n: entry.n, fence: entry.fence, then: Then::Leave })
            .collect::<Vec<_>>()
    };
    let report = message("report", None, &["ada@varde.test"], BlobId([8; 32]));
    let lost = queue.settle("1", done(&first[0]), vec![report]).await.unwrap();
    assert_eq!(lost, Settlement::LeaseLost);
    assert_eq!(queue.depth().await.unwrap().messages, 1, "no report of the process that lost its lease");
    assert_eq!(other.settle("1", done(&second[0]), Vec::new()).await.unwrap(), Settlement::Done);
    let left = other.claim("y.test", 10, "two", Time(0), Time(1)).await.unwrap();
    other.settle("1", done(&left[0]), Vec::new()).await.unwrap();
    assert_eq!(other.depth().await.unwrap(), Depth::default());
}

#[tokio::test]
async fn every_domain_is_seen_with_its_first_due_time_and_a_retry_moves_it() {
    let (_folder, queue) = fixture();
    for id in ["1", "2"] {
        queue.insert(message(id, None, &["a@dead.test", "b@live.test"], BlobId([0; 32]))).await.unwrap();
    }
    let before = queue.version().await.unwrap();
    for batch in queue.claim("dead.test", 10, "one", Time(0), Time(5)).await.unwrap() {
        let retry = Settled { n: batch.entries[0].n, fence: batch.entries[0].fence, then: Then::Retry(Time(60)) };
        queue.settle(&batch.envelope.id, vec![retry], Vec::new()).await.unwrap();
    }
    assert_ne!(queue.version().await.unwrap(), before);
    let due = |domain: &str, due| DueDomain { domain: domain.to_owned(), due: Time(due) };
    assert_eq!(queue.domains().await.unwrap(), [due("dead.test", 60), due("live.test", 0)]);
    let again = queue.claim("dead.test", 1, "one", Time(60), Time(99)).await.unwrap();
    assert_eq!((again.len(), again[0].entries[0].attempts), (1, 1));
}
