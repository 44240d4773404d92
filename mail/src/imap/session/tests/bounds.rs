//! What one client can cost: large mailboxes, and commands that ask for a lot. Without their bounds, these would take
//! many minutes or gigabytes.

use super::super::selected::Expunges;
use super::*;
use crate::imap::command::By;
use crate::imap::sequence::{Bound, SequenceSet};
use crate::store::{BlobId, FlagChange, Flags, MailboxId, NewMessage, StoreFlags};

impl Talk {
    /// Adds so many messages to INBOX, and opens it.
    fn fill(&mut self, count: usize, keywords: &[String]) -> MailboxId {
        let ada = self.stores.directory.resolve("ada@varde.test").unwrap().unwrap().id;
        let blob = self.stores.blobs.put(b"Subject: a\r\n\r\n").unwrap();
        let new = NewMessage { blob, prefix: b"", flags: Flags::default(), keywords, at: NOW };
        self.stores.mailboxes.append(ada, "INBOX", &vec![new; count]).unwrap();
        self.say("z SELECT INBOX\r\n");
        self.stores.mailboxes.open_mailbox(ada, "INBOX").unwrap().id
    }
}

#[test]
fn a_set_is_a_few_ranges_however_it_is_written_and_many_sets_of_a_large_mailbox_are_sought() {
    let mut talk = Talk::logged_in();
    let inbox = talk.fill(5_000, &[]);
    talk.stores.mailboxes.remove(inbox, &(1_000..4_000).collect::<Vec<_>>()).unwrap();
    talk.check("a NOOP", &[expunges(1_000, 3_999), "a OK NOOP done".to_owned()].concat());
    let range = |first, last| (Bound::Number(first), Bound::Number(last));
    let set = SequenceSet::Ranges(vec![range(4_500, 4_600), range(999, 4_550), range(1, 5_000), range(7_000, 9_000)]);
    let selected = talk.session.selected().unwrap_or_else(|_| panic!("no mailbox is open"));
    let spans = |by, set| selected.spans(by, set).iter().map(|span| (span.start, span.end)).collect::<Vec<_>>();
    assert_eq!(spans(By::Uid, &set), [(0, 2_000)]);
    let set = SequenceSet::Ranges(vec![range(3, 4), range(1, 1), range(2_000, 9_000), range(3_000, 3_001)]);
    assert_eq!(spans(By::Sequence, &set), [(0, 1), (2, 4), (1_999, 2_000)]);
    let heard = talk.say(&["a UID SEARCH RETURN (COUNT) ", &"1:* ".repeat(1_500), "2:4500\r\n"].concat());
    assert_eq!(heard, "* ESEARCH (TAG \"a\") UID COUNT 1999\r\na OK SEARCH done\r\n");
    talk.say("b UID SEARCH RETURN (SAVE) UID 3,5:7,4999\r\n");
    talk.check("c UID SEARCH $ NOT 6", "* SEARCH 3 5 7 4999\nc OK SEARCH done");
}

/// What a client hears of messages that go, the last first.
fn expunges(first: usize, last: usize) -> String {
    (first..=last).rev().map(|number| ["* ", &number.to_string(), " EXPUNGE\n"].concat()).collect()
}

#[test]
fn a_search_reads_octets_for_fifty_keys_at_most() {
    let mut talk = Talk::logged_in();
    talk.deliver("1", "Subject: a\r\n\r\nx\r\n");
    talk.say("a SELECT INBOX\r\n");
    let keys = |count| ["b SEARCH", &" OR BODY x SUBJECT y".repeat(count)].concat();
    talk.check(&keys(25), "* SEARCH 1\nb OK SEARCH done");
    talk.check(&keys(26), "b NO [LIMIT] A search takes at most 50 keys for header, text and date sent");
}

#[test]
fn a_fetch_hands_over_item_by_item_and_gives_the_same_item_once() {
    let mut talk = Talk::logged_in();
    let body = ["Subject: a\r\n\r\n", &"x".repeat(1_000_000)].concat();
    talk.deliver("1", &body);
    talk.say("a SELECT INBOX\r\n");
    talk.check(
        "b FETCH 1 (UID UID BODY.PEEK[HEADER] UID BODY.PEEK[HEADER])",
        "* 1 FETCH (UID 1 BODY[HEADER] {14}\nSubject: a\n\n)\nb OK FETCH done",
    );
    let items: String = (0..150).map(|n| ["BODY.PEEK[]<", &n.to_string(), ".1000000> "].concat()).collect();
    talk.session.receive(["c FETCH 1 (", items.trim_end(), ")\r\n"].concat().as_bytes());
    let (mut largest, mut all) = (0, 0);
    loop {
        let next = talk.session.run(NOW);
        let piece = talk.session.take_output();
        (largest, all) = (largest.max(piece.len()), all + piece.len());
        if next != Next::More {
            break;
        }
    }
    assert!(all > 149_000_000, "{all}");
    assert!(largest < body.len() + 2 * PIECE_BYTES, "{largest}");
}

#[test]
fn a_part_that_cannot_be_decoded_leaves_no_half_answer() {
    let mut talk = Talk::logged_in();
    talk.deliver("1", "Content-Transfer-Encoding: x-rot13\r\n\r\nx\r\n");
    talk.say("a SELECT INBOX\r\n");
    talk.check("b FETCH 1 (UID BINARY.PEEK[1])", "b NO [UNKNOWN-CTE] The part cannot be decoded");
    talk.check("c FETCH 1 BINARY.SIZE[2]", "* 1 FETCH (BINARY.SIZE[2] 0)\nc OK FETCH done");
}

#[test]
fn uids_that_are_passed_over_cost_next_to_nothing() {
    let mut talk = Talk::logged_in();
    let inbox = talk.fill(10_000, &[]);
    let others: Vec<u32> = (20_000..10_000_000).collect();
    let deleted = StoreFlags { change: FlagChange::Add, flags: Flags::DELETED, keywords: &[], unchanged_since: None };
    talk.stores.mailboxes.store(inbox, &(1..=10_000).collect::<Vec<_>>(), deleted).unwrap();
    talk.session.try_sync(Expunges::Held, &others).unwrap();
    assert_eq!(talk.hear().matches("FETCH (UID").count(), 10_000);
    assert!(talk.stores.mailboxes.expunge(inbox, Some(&others)).unwrap().is_empty());
    let refused = talk.say("a UID STORE 1:* (UNCHANGEDSINCE 1) +FLAGS (\\Seen)\r\n");
    assert_eq!(refused, "a OK [MODIFIED 1:10000] Some had been changed meanwhile\r\n");
    talk.check("b EXPUNGE", &[expunges(1, 10_000), "b OK EXPUNGE done".to_owned()].concat());
}

#[test]
fn a_session_that_is_woken_for_nothing_does_not_read_its_mailbox_again() {
    let mut talk = Talk::logged_in();
    let keywords: Vec<String> = (0..64).map(|n| ["k", &n.to_string()].concat()).collect();
    let inbox = talk.fill(5_000, &keywords);
    for _ in 0..5_000 {
        talk.session.sync(Expunges::Told);
    }
    assert_eq!(talk.hear(), "");
    let seen = StoreFlags { change: FlagChange::Add, flags: Flags::SEEN, keywords: &[], unchanged_since: None };
    talk.stores.mailboxes.store(inbox, &[7], seen).unwrap();
    assert!(talk.say("a NOOP\r\n").starts_with("* 7 FETCH (UID 7 FLAGS (\\Seen k0 k1 "));
}

#[test]
fn a_mailbox_has_five_hundred_keywords_at_most() {
    let mut talk = Talk::logged_in();
    talk.fill(1, &[]);
    let some = |from: usize, to: usize| (from..to).map(|n| [" k", &n.to_string()].concat()).collect::<String>();
    for from in (0..500).step_by(50) {
        let said = ["a STORE 1 FLAGS.SILENT (", some(from, from + 50).trim_start(), ")\r\n"].concat();
        let heard = talk.say(&said);
        assert!(heard.ends_with("a OK STORE done\r\n"), "{heard}");
    }
    const FULL: &str = "NO [LIMIT] The mailbox has as many keywords as it may";
    talk.check("b STORE 1 +FLAGS (k500)", &["b ", FULL].concat());
    talk.check("c APPEND INBOX (k501) {3+}\r\nabc", &["c ", FULL].concat());
    talk.check("d STORE 1 FLAGS (K7 k499)", "* 1 FETCH (FLAGS (K7 k499))\nd OK STORE done");
    let opened = talk.say("e SELECT INBOX\r\n");
    assert!(opened.contains("[PERMANENTFLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft k499 K7)]"), "{opened}");
    // Nor by way of another mailbox.
    assert!(talk.say("f APPEND Drafts (k501) {3+}\r\nabc\r\n").ends_with(" 1] APPEND done\r\n"));
    talk.say("g SELECT Drafts\r\n");
    talk.check("h COPY 1 INBOX", &["h ", FULL].concat());
    assert!(talk.say("i SELECT Drafts\r\n").contains(" \\*)]"));
}

#[test]
fn an_append_over_quota_stores_no_body() {
    let mut talk = Talk::logged_in();
    let ada = talk.stores.directory.resolve("ada@varde.test").unwrap().unwrap().id;
    talk.stores.mailboxes.set_quota(ada, 10).unwrap();
    let blobs = talk.stores.blobs.clone();
    let stored = |body: &[u8]| blobs.path(BlobId(*blake3::hash(body).as_bytes())).exists();
    assert!(!stored(b"12345678") && !stored(b"123"));
    talk.check("a APPEND INBOX {8+}\r\n12345678 {3+}\r\n123", "a NO [OVERQUOTA] The mailbox is full");
    assert!(!stored(b"12345678") && !stored(b"123"));
    talk.check("b APPEND INBOX {8+}\r\n12345678", "b OK [APPENDUID VALIDITY 1] APPEND done");
    assert!(stored(b"12345678"));
}
