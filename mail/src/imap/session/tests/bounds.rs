//! What one client can cost: large mailboxes, and commands that ask for a lot. Without their bounds, these would take
//! many minutes or gigabytes.

use super::*;

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
