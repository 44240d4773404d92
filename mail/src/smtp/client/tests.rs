//! Dialogues with servers of every kind.

use super::*;

fn transaction(recipients: &[&str]) -> Transaction {
    Transaction {
        sender: Some("ada@varde.test".parse().unwrap()),
        ret: Ret::Full,
        envid: "e1".to_owned(),
        utf8: false,
        eight_bit: true,
        size: 100,
        recipients: recipients
            .iter()
            .map(|address| Recipient {
                address: address.parse().unwrap(),
                notify: Notify { success: true, failure: true, delay: false },
                orcpt: String::new(),
            })
            .collect(),
    }
}

fn say(dialogue: &mut Dialogue, replies: &str) -> Option<Step> {
    let mut input = replies.as_bytes();
    let step = dialogue.next(&mut input);
    assert_eq!(input, b"", "{step:?} left octets");
    step
}

fn sent(text: &str) -> Option<Step> {
    Some(Step::Send(text.as_bytes().to_vec()))
}

fn ready(ehlo: &str) -> Dialogue {
    let mut dialogue = Dialogue::new("mx.varde.test", TlsWish::Never);
    assert_eq!(say(&mut dialogue, "220-hello\r\n220 there\r\n"), sent("EHLO mx.varde.test\r\n"));
    assert_eq!(say(&mut dialogue, ehlo), Some(Step::Ready));
    dialogue
}

fn codes(step: Option<Step>) -> Vec<(u16, String)> {
    let Some(Step::Done(replies)) = step else { panic!("not done: {step:?}") };
    replies.into_iter().map(|reply| (reply.code, reply.enhanced)).collect()
}

#[test]
fn an_envelope_is_pipelined_and_each_recipient_has_his_own_outcome() {
    let mut dialogue = ready("250-x\r\n250-PIPELINING\r\n250-SIZE 1000\r\n250-DSN\r\n250 8BITMIME\r\n");
    let out = dialogue.begin(transaction(&["a@x.test", "b@x.test", "c@x.test"])).unwrap();
    assert_eq!(
        String::from_utf8(out).unwrap(),
        "MAIL FROM:<ada@varde.test> SIZE=100 BODY=8BITMIME RET=FULL ENVID=e1\r\n\
         RCPT TO:<a@x.test> NOTIFY=SUCCESS,FAILURE\r\nRCPT TO:<b@x.test> NOTIFY=SUCCESS,FAILURE\r\n\
         RCPT TO:<c@x.test> NOTIFY=SUCCESS,FAILURE\r\nDATA\r\n"
    );
    let replies = "250 ok\r\n250 2.1.5 ok\r\n550 5.1.1 no\r\n452-4.2.2 full\r\n452 4.2.2 now\r\n354 go\r\n";
    assert_eq!(say(&mut dialogue, replies), Some(Step::SendContent));
    let outcome = codes(say(&mut dialogue, "250 2.0.0 queued\r\n"));
    assert_eq!(outcome, [(250, "2.0.0".to_owned()), (550, "5.1.1".to_owned()), (452, "4.2.2".to_owned())]);
    // The connection is used again, and no RSET is needed.
    assert!(dialogue.begin(transaction(&["a@x.test"])).unwrap().starts_with(b"MAIL"));
}

#[test]
fn when_nobody_takes_a_pipelined_message_its_content_is_not_sent() {
    let mut dialogue = ready("250-x\r\n250 PIPELINING\r\n");
    dialogue.begin(transaction(&["a@x.test"])).unwrap();
    assert_eq!(say(&mut dialogue, "250 ok\r\n550 5.7.1 no\r\n354 go\r\n"), sent(".\r\n"));
    assert_eq!(codes(say(&mut dialogue, "554 5.5.1 nobody\r\n")), [(550, "5.7.1".to_owned())]);
    dialogue.begin(transaction(&["a@x.test"])).unwrap();
    let refused = codes(say(&mut dialogue, "451 4.7.1 later\r\n503 no\r\n503 no\r\n"));
    assert_eq!(refused, [(451, "4.7.1".to_owned())]);
    assert!(dialogue.begin(transaction(&["a@x.test"])).unwrap().starts_with(b"RSET\r\nMAIL"));
}

#[test]
fn a_server_without_extensions_is_spoken_to_command_by_command() {
    let mut dialogue = Dialogue::new("mx.varde.test", TlsWish::WhenOffered);
    say(&mut dialogue, "220 old\r\n");
    assert_eq!(say(&mut dialogue, "502 what\r\n"), sent("HELO mx.varde.test\r\n"));
    assert_eq!(say(&mut dialogue, "250 hi\r\n"), Some(Step::Ready));
    assert_eq!(dialogue.begin(transaction(&["a@x.test", "b@x.test"])).unwrap(), b"MAIL FROM:<ada@varde.test>\r\n");
    assert_eq!(say(&mut dialogue, "250 ok\r\n"), sent("RCPT TO:<a@x.test>\r\n"));
    assert_eq!(say(&mut dialogue, "550 no\r\n"), sent("RCPT TO:<b@x.test>\r\n"));
    assert_eq!(say(&mut dialogue, "250 ok\r\n"), sent("DATA\r\n"));
    assert_eq!(say(&mut dialogue, "354 go\r\n"), Some(Step::SendContent));
    assert_eq!(codes(say(&mut dialogue, "250 ok\r\n")), [(550, String::new()), (250, String::new())]);
}

#[test]
fn only_354_is_a_yes_to_data_and_a_refusal_of_it_counts_for_all() {
    for (reply, outcome) in [("250 2.0.0 ok", None), ("221 bye", None), ("334 what", None), ("451 no", Some(451))] {
        let mut dialogue = ready("250-x\r\n250 PIPELINING\r\n");
        dialogue.begin(transaction(&["a@x.test"])).unwrap();
        let step = say(&mut dialogue, &["250 ok\r\n250 ok\r\n", reply, "\r\n"].concat());
        match outcome {
            None => assert_eq!(step, Some(Step::Nonsense), "{reply}"),
            Some(code) => assert_eq!(codes(step), [(code, String::new())]),
        }
    }
}

#[test]
fn tls_is_begun_when_offered_and_done_without_when_refused() {
    let mut dialogue = Dialogue::new("mx.varde.test", TlsWish::WhenOffered);
    say(&mut dialogue, "220 x\r\n");
    assert_eq!(say(&mut dialogue, "250-x\r\n250 STARTTLS\r\n"), sent("STARTTLS\r\n"));
    assert_eq!(say(&mut dialogue, "220 go\r\n"), Some(Step::StartTls));
    assert_eq!(dialogue.tls_started(), b"EHLO mx.varde.test\r\n");
    assert_eq!(say(&mut dialogue, "250-x\r\n250 STARTTLS\r\n"), Some(Step::Ready));
    let mut dialogue = Dialogue::new("mx.varde.test", TlsWish::WhenOffered);
    say(&mut dialogue, "220 x\r\n");
    say(&mut dialogue, "250-x\r\n250 STARTTLS\r\n");
    assert_eq!(say(&mut dialogue, "454 no\r\n"), Some(Step::Ready));
}

#[test]
fn nonsense_and_endless_replies_end_the_dialogue_with_bounded_memory() {
    for banner in ["HTTP/1.1 400\r\n", "220-a\r\n250 b\r\n", "\r\n"] {
        let mut dialogue = Dialogue::new("x", TlsWish::Never);
        assert_eq!(dialogue.next(&mut banner.as_bytes()), Some(Step::Nonsense), "{banner:?}");
    }
    let line = "220-again\r\n";
    let mut endless = Dialogue::new("x", TlsWish::Never);
    let step = (0..10_000).find_map(|_| endless.next(&mut line.as_bytes()));
    assert_eq!(step, Some(Step::Nonsense));
    let mut endless = Dialogue::new("x", TlsWish::Never);
    let step = (0..10_000).find_map(|_| endless.next(&mut &b"22222222"[..]));
    assert_eq!(step, Some(Step::Nonsense));
}

#[test]
fn what_the_server_cannot_take_is_not_offered_to_it() {
    let mut dialogue = ready("250-x\r\n250 SIZE 50\r\n");
    assert_eq!(dialogue.begin(transaction(&["a@x.test"])).unwrap_err().enhanced, "5.3.4");
    let utf8 = Transaction { utf8: true, size: 1, ..transaction(&["a@x.test"]) };
    assert_eq!(dialogue.begin(utf8).unwrap_err().enhanced, "5.6.7");
}

#[test]
fn content_is_stuffed_and_ended() {
    assert_eq!(stuff(b".a\r\n..\r\nb"), b"..a\r\n...\r\nb\r\n.\r\n");
    assert_eq!(stuff(b""), b".\r\n");
}
