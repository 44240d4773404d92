//! Mailboxes: numbers, tokens, quotas, two processes on one store.

use aggregator::event::Time;

use super::*;
use crate::store::{Deliver, LocalDelivery, Stores};

const ADA: AccountId = AccountId(1);

fn stores() -> (tempfile::TempDir, Stores) {
    let dir = tempfile::tempdir().unwrap();
    let stores = Stores::open(dir.path()).unwrap();
    stores.mailboxes.ensure_account(ADA).unwrap();
    (dir, stores)
}

fn append(stores: &Stores, mailbox: &str, body: &str) -> u32 {
    let blob = stores.blobs.put(body.as_bytes()).unwrap();
    let new = NewMessage { blob, prefix: b"", flags: Flags::default(), keywords: &[], at: Time(7) };
    stores.mailboxes.append(ADA, mailbox, &[new]).unwrap().uids[0].1
}

fn deliver(stores: &Stores, token: &str) -> Result<(), StoreError> {
    let blob = stores.blobs.put(b"Subject: hi\r\nFrom: Bob <bob@b.test>\r\n\r\nbody\r\n").unwrap();
    let prefix = b"Return-Path: <bob@b.test>\r\n";
    let delivery = LocalDelivery { account: ADA, mailbox: "inbox", blob, prefix, at: Time(5_000_000), token };
    stores.mailboxes.deliver(&delivery)
}

fn uids(stores: &Stores, mailbox: &str) -> Vec<u32> {
    let mailbox = stores.mailboxes.open_mailbox(ADA, mailbox).unwrap();
    stores.mailboxes.changes(mailbox.id, 0).unwrap().changed.iter().map(|state| state.uid).collect()
}

#[test]
fn an_account_begins_with_inbox_and_special_mailboxes_that_are_subscribed() {
    let (_dir, stores) = stores();
    stores.mailboxes.ensure_account(ADA).unwrap();
    let mailboxes = stores.mailboxes.list(ADA).unwrap();
    let names: Vec<&str> = mailboxes.iter().map(|mailbox| mailbox.name.as_str()).collect();
    assert_eq!(names, ["INBOX", "Archive", "Drafts", "Junk", "Sent", "Trash"]);
    assert_eq!(mailboxes[5].special, Some(SpecialUse::Trash));
    assert_eq!(stores.mailboxes.subscriptions(ADA).unwrap().len(), 6);
}

#[test]
fn the_same_token_delivers_once_also_from_another_process() {
    let (dir, stores) = stores();
    deliver(&stores, "q1/ada").unwrap();
    let other = Stores::open(dir.path()).unwrap();
    deliver(&other, "q1/ada").unwrap();
    deliver(&other, "q2/ada").unwrap();
    assert_eq!(uids(&stores, "INBOX"), [1, 2]);
    let inbox = stores.mailboxes.open_mailbox(ADA, "Inbox").unwrap();
    let octets = stores.mailboxes.octets(inbox.id, 1).unwrap();
    assert_eq!(octets, b"Return-Path: <bob@b.test>\r\nSubject: hi\r\nFrom: Bob <bob@b.test>\r\n\r\nbody\r\n");
    let message = stores.mailboxes.message(inbox.id, 1).unwrap();
    assert_eq!((message.subject.as_str(), message.from.as_str()), ("hi", "Bob"));
    assert_eq!(message.state.size, octets.len() as u64);
    assert_eq!(message.date, Time(5_000_000));
}

#[test]
fn a_delivery_whose_process_dies_before_the_commit_can_be_done_again() {
    let (dir, stores) = stores();
    let crashed = stores.mailboxes.database.write("delivering", |transaction| {
        let statement = "INSERT INTO delivered (account, token, at) VALUES (1, 'q1/ada', 0)";
        transaction.execute(statement, [])?;
        Err::<(), _>(StoreError::OverQuota.into())
    });
    assert!(crashed.is_err());
    drop(stores);
    let stores = Stores::open(dir.path()).unwrap();
    deliver(&stores, "q1/ada").unwrap();
    assert_eq!(uids(&stores, "INBOX"), [1]);
}

#[test]
fn another_process_sees_changes_and_is_told_that_there_are_some() {
    let (dir, stores) = stores();
    let other = Stores::open(dir.path()).unwrap();
    let mut watch = stores.mailboxes.watch().unwrap();
    assert!(!watch.changed().unwrap());
    let uid = append(&other, "INBOX", "Subject: a\r\n\r\n");
    assert!(watch.changed().unwrap());
    assert!(!watch.changed().unwrap());
    let inbox = stores.mailboxes.open_mailbox(ADA, "INBOX").unwrap();
    let before = stores.mailboxes.changes(inbox.id, 0).unwrap();
    assert_eq!(before.changed.len(), 1);

    let change = StoreFlags {
        change: FlagChange::Add,
        flags: Flags::SEEN,
        keywords: &["$Work".to_owned()],
        unchanged_since: None,
    };
    assert!(other.mailboxes.store(inbox.id, &[uid, 99], change).unwrap().is_empty());
    let after = stores.mailboxes.changes(inbox.id, before.mailbox.mod_seq).unwrap();
    assert_eq!(after.changed[0].flags, Flags::SEEN);
    assert_eq!(after.changed[0].keywords, ["$Work"]);

    let late = StoreFlags { unchanged_since: Some(before.mailbox.mod_seq), ..change };
    assert_eq!(stores.mailboxes.store(inbox.id, &[uid], late).unwrap(), [uid]);

    other.mailboxes.remove(inbox.id, &[uid]).unwrap();
    let gone = stores.mailboxes.changes(inbox.id, after.mailbox.mod_seq).unwrap();
    assert_eq!((gone.changed.len(), gone.expunged), (0, vec![uid]));
    assert_eq!(stores.mailboxes.quota(ADA).unwrap().used_bytes, 0);
}

#[test]
fn copies_moves_and_expunges_keep_uids_and_quota_right() {
    let (_dir, stores) = stores();
    for body in ["Subject: a\r\n\r\n", "Subject: b\r\n\r\n", "Subject: c\r\n\r\n"] {
        append(&stores, "INBOX", body);
    }
    let inbox = stores.mailboxes.open_mailbox(ADA, "INBOX").unwrap();
    let used = || stores.mailboxes.quota(ADA).unwrap().used_bytes;
    assert_eq!(used(), 42);
    assert_eq!(stores.mailboxes.copy(ADA, inbox.id, &[1, 3, 9], "Archive").unwrap().uids, [(1, 1), (3, 2)]);
    assert_eq!(used(), 70);
    assert_eq!(
        stores.mailboxes.relocate(ADA, inbox.id, &[2], "archive").unwrap_err().to_string(),
        "there is no mailbox archive"
    );
    assert_eq!(stores.mailboxes.relocate(ADA, inbox.id, &[2], "Archive").unwrap().uids, [(2, 4)]);
    assert_eq!(used(), 70);
    assert_eq!(uids(&stores, "INBOX"), [1, 3]);
    assert_eq!(uids(&stores, "Archive"), [1, 2, 4]);
    let deleted =
        StoreFlags { change: FlagChange::Replace, flags: Flags::DELETED, keywords: &[], unchanged_since: None };
    stores.mailboxes.store(inbox.id, &[1, 3], deleted).unwrap();
    assert_eq!(stores.mailboxes.expunge(inbox.id, Some(&[3, 4])).unwrap(), [3]);
    assert_eq!(stores.mailboxes.expunge(inbox.id, None).unwrap(), [1]);
    stores.mailboxes.delete(ADA, "Archive").unwrap();
    assert_eq!(used(), 0);
}

#[test]
fn a_full_mailbox_refuses_and_a_refused_delivery_can_come_again() {
    let (_dir, stores) = stores();
    stores.mailboxes.set_quota(ADA, 10).unwrap();
    assert!(matches!(deliver(&stores, "q1/ada"), Err(StoreError::OverQuota)));
    stores.mailboxes.set_quota(ADA, 10_000).unwrap();
    deliver(&stores, "q1/ada").unwrap();
    assert_eq!(uids(&stores, "INBOX"), [1]);
}

#[test]
fn names_are_made_renamed_and_deleted_with_what_is_below() {
    let (_dir, stores) = stores();
    let mailboxes = &stores.mailboxes;
    let made = mailboxes.create(ADA, "a/b/c", None).unwrap();
    assert!(matches!(mailboxes.create(ADA, "a/b", None), Err(StoreError::Exists(_))));
    append(&stores, "a/b/c", "Subject: x\r\n\r\n");
    mailboxes.rename(ADA, "a/b", "z/y").unwrap();
    let renamed = mailboxes.open_mailbox(ADA, "z/y/c").unwrap();
    assert_eq!((renamed.id, renamed.uid_validity), (made.id, made.uid_validity));
    assert!(matches!(mailboxes.rename(ADA, "z", "z/q"), Err(StoreError::Exists(_))));
    mailboxes.delete(ADA, "z/y/c").unwrap();
    assert!(matches!(mailboxes.changes(made.id, 0), Err(StoreError::NotFound(_))));
    let again = mailboxes.create(ADA, "z/y/c", None).unwrap();
    assert!(again.uid_validity > made.uid_validity);

    append(&stores, "INBOX", "Subject: x\r\n\r\n");
    mailboxes.rename(ADA, "inbox", "old").unwrap();
    assert_eq!((uids(&stores, "INBOX"), uids(&stores, "old")), (vec![], vec![1]));
}

#[test]
fn a_page_shows_the_newest_first_and_seeks_literally() {
    let (_dir, stores) = stores();
    for number in 1..=5 {
        append(&stores, "INBOX", &["Subject: 10", if number == 3 { "%" } else { "" }, " off\r\n\r\n"].concat());
    }
    let inbox = stores.mailboxes.open_mailbox(ADA, "INBOX").unwrap();
    let find = |page| {
        let found = stores.mailboxes.find(inbox.id, page).unwrap();
        (found.total, found.messages.iter().map(|message| message.state.uid).collect::<Vec<_>>())
    };
    assert_eq!(find(Page { offset: 1, limit: 2, containing: "" }), (5, vec![4, 3]));
    assert_eq!(find(Page { offset: 0, limit: 9, containing: "10% OFF" }), (1, vec![3]));
}
