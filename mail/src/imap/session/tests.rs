//! Whole dialogues: what the client says, and exactly what it hears.

use aggregator::event::Time;

use super::*;
use crate::access::Session as _;
use crate::store::{BlobStore, Deliver, Directory, LocalDelivery};

mod bounds;

const NOW: Time = Time(1_795_342_608_000_000);

struct Talk {
    _dir: tempfile::TempDir,
    stores: Stores,
    session: Session,
    next: Next,
    /// UIDVALIDITY of INBOX; it differs from run to run.
    validity: u32,
}

impl Talk {
    fn new(facts: Facts) -> Self {
        let dir = tempfile::tempdir().unwrap();
        crate::admin::create_account(dir.path(), "ada@varde.test", "secret").unwrap();
        let stores = Stores::open(dir.path()).unwrap();
        let ada = stores.directory.resolve("ada@varde.test").unwrap().unwrap().id;
        let validity = stores.mailboxes.open_mailbox(ada, "INBOX").unwrap().uid_validity;
        let session = Session::new(stores.clone(), facts);
        Self { _dir: dir, stores, session, next: Next::Read, validity }
    }

    /// Logged in on this machine; the greeting is read.
    fn logged_in() -> Self {
        let mut talk = Self::new(Facts { tls: false, loopback: true, max_message_bytes: 100_000 });
        talk.hear();
        talk.say("a LOGIN ada@varde.test secret\r\n");
        talk
    }

    fn hear(&mut self) -> String {
        let mut heard = Vec::new();
        loop {
            self.next = self.session.run(NOW);
            heard.extend(self.session.take_output());
            match self.next.clone() {
                Next::More => {}
                Next::Login(Credentials { user, password, .. }) => {
                    let found = self.stores.log_in(&user, &password).unwrap();
                    self.session.login_checked(found.map_or(LoginVerdict::Wrong, LoginVerdict::Accept));
                }
                _ => break,
            }
        }
        String::from_utf8(heard).unwrap().replace(&self.validity.to_string(), "VALIDITY")
    }

    fn say(&mut self, text: &str) -> String {
        self.session.receive(text.as_bytes());
        self.hear()
    }

    #[track_caller]
    fn check(&mut self, say: &str, expected: &str) {
        let heard = self.say(&[say, "\r\n"].concat());
        assert_eq!(heard.replace("\r\n", "\n").trim_end(), expected.trim(), "after {say}");
    }

    fn deliver(&self, token: &str, body: &str) {
        let account = self.stores.directory.resolve("ada@varde.test").unwrap().unwrap().id;
        let blob = self.stores.blobs.put(body.as_bytes()).unwrap();
        let delivery = LocalDelivery { account, mailbox: "INBOX", blob, prefix: b"", at: NOW, token };
        self.stores.mailboxes.deliver(&delivery).unwrap();
    }
}

#[test]
fn passwords_are_taken_over_tls_or_on_this_machine_only() {
    let mut talk = Talk::new(Facts { tls: false, loopback: false, max_message_bytes: 1_000 });
    assert_eq!(
        talk.hear(),
        "* OK [CAPABILITY IMAP4rev2 IMAP4rev1 LITERAL+ ID ENABLE SASL-IR STARTTLS LOGINDISABLED] Varde IMAP\r\n"
    );
    talk.check("a LOGIN ada@varde.test secret", "a NO [PRIVACYREQUIRED] Begin TLS before you log in");
    talk.check("b SELECT INBOX", "b BAD [CLIENTBUG] Log in first");
    talk.check("c STARTTLS\r\nd LOGIN ada@varde.test secret", "c OK Begin TLS now");
    assert_eq!(talk.next, Next::StartTls);
    talk.session.tls_began();
    // What was sent before TLS is gone.
    talk.check("e LOGIN ada@varde.test wrong", "e NO [AUTHENTICATIONFAILED] Wrong address or password");
    talk.check("f AUTHENTICATE PLAIN", "+");
    let heard = talk.say("AGFkYUB2YXJkZS50ZXN0AHNlY3JldA==\r\n");
    assert!(heard.starts_with("f OK [CAPABILITY IMAP4rev2 IMAP4rev1 "), "{heard}");
}

#[test]
fn a_login_that_is_put_off_says_so_and_the_next_command_waits_for_it() {
    let mut talk = Talk::new(Facts { tls: true, loopback: false, max_message_bytes: 1_000 });
    talk.session.receive(b"a LOGIN ada@varde.test secret\r\nb NOOP\r\n");
    assert!(matches!(talk.session.run(NOW), Next::Login(_)));
    talk.session.take_output();
    talk.session.login_checked(LoginVerdict::PutOff);
    let heard = talk.hear();
    assert_eq!(heard, "a NO [UNAVAILABLE] Too many wrong passwords; try again in ten minutes\r\nb OK NOOP done\r\n");
}

#[test]
fn a_mailbox_is_opened_read_and_changed() {
    let mut talk = Talk::logged_in();
    talk.deliver("1", "From: Bob <bob@b.test>\r\nSubject: one\r\n\r\nbody\r\n");
    talk.deliver("2", "Subject: two\r\n\r\n");
    talk.check(
        "a select inbox",
        r"* FLAGS (\Answered \Flagged \Deleted \Seen \Draft)
* OK [PERMANENTFLAGS (\Answered \Flagged \Deleted \Seen \Draft \*)] Flags that stay
* 2 EXISTS
* 0 RECENT
* OK [UNSEEN 1] The first unseen message
* OK [UIDVALIDITY VALIDITY] UIDs are valid
* OK [UIDNEXT 3] The next UID
* OK [HIGHESTMODSEQ 3] The last change
a OK [READ-WRITE] SELECT done",
    );
    talk.check(
        "b FETCH 1 (FLAGS INTERNALDATE RFC822.SIZE ENVELOPE BODY.PEEK[HEADER.FIELDS (subject)] BODY.PEEK[TEXT]<0.2>)",
        r#"* 1 FETCH (FLAGS () INTERNALDATE "22-Nov-2026 10:16:48 +0000" RFC822.SIZE 46 ENVELOPE (NIL "one" (("Bob" NIL "bob" "b.test")) (("Bob" NIL "bob" "b.test")) (("Bob" NIL "bob" "b.test")) NIL NIL NIL NIL NIL) BODY[HEADER.FIELDS (subject)] {16}
Subject: one

 BODY[TEXT]<0> {2}
bo)
b OK FETCH done"#,
    );
    talk.check("c UID FETCH 1 BODY[TEXT]", "* 1 FETCH (UID 1 BODY[TEXT] {6}\nbody\n FLAGS (\\Seen))\nc OK FETCH done");
    talk.check(
        "d STORE 1:2 +FLAGS ($Work \\Deleted)",
        "* FLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft $Work)\n* 1 FETCH (FLAGS (\\Deleted \\Seen $Work))\n* 2 FETCH (FLAGS (\\Deleted $Work))\nd OK STORE done",
    );
    talk.check("e STORE 2 -FLAGS.SILENT (\\Deleted)", "e OK STORE done");
    talk.check("f FETCH 3 FLAGS", "f BAD [CLIENTBUG] There is no message of this number");
    talk.check("g SEARCH KEYWORD $Work UNSEEN SUBJECT TWO", "* SEARCH 2\ng OK SEARCH done");
    talk.check("h UID SEARCH RETURN (MIN COUNT SAVE) ALL", "* ESEARCH (TAG \"h\") UID MIN 1 COUNT 2\nh OK SEARCH done");
    talk.check("i EXPUNGE", "* 1 EXPUNGE\ni OK EXPUNGE done");
    talk.check("j UID FETCH 1:* FLAGS", "* 1 FETCH (UID 2 FLAGS ($Work))\nj OK FETCH done");
    talk.check("k UID MOVE 2 Nowhere", "k NO [TRYCREATE] There is no such mailbox");
    talk.check("l LOGOUT", "* BYE Until next time\nl OK LOGOUT done");
    assert_eq!(talk.next, Next::Close(EndReason::Logout));
    assert_eq!(talk.session.user(), "ada@varde.test");
}

#[test]
fn headers_are_sought_as_they_read() {
    let mut talk = Talk::logged_in();
    talk.deliver(
        "1",
        "Message-ID: <1@x>\r\nFrom: =?utf-8?q?=C3=85da?= <a@b>\r\nDate: Sun, 1 Mar 2026 23:59:00 -0800\r\n\r\nText\r\n",
    );
    talk.say("a SELECT INBOX\r\n");
    for found in [
        "HEADER Message-ID <1@x>",
        "HEADER message-id \"\"",
        "FROM \"åDA\"",
        "TEXT \"from: Åda\"",
        "BODY tEXT",
        "SENTON 1-Mar-2026",
        "NOT HEADER X-Other \"\"",
        "OR SEEN UNSEEN",
    ] {
        talk.check(&["b SEARCH ", found].concat(), "* SEARCH 1\nb OK SEARCH done");
    }
    for missed in ["HEADER X-Other \"\"", "BODY Åda", "SENTBEFORE 1-Mar-2026", "DELETED"] {
        talk.check(&["b SEARCH ", missed].concat(), "* SEARCH\nb OK SEARCH done");
    }
}

#[test]
fn others_changes_are_told_but_never_expunges_where_numbers_count() {
    let mut talk = Talk::logged_in();
    talk.deliver("1", "Subject: a\r\n\r\n");
    talk.deliver("2", "Subject: b\r\n\r\n");
    talk.say("a SELECT INBOX\r\n");
    let ada = talk.stores.directory.resolve("ada@varde.test").unwrap().unwrap().id;
    let inbox = talk.stores.mailboxes.open_mailbox(ada, "INBOX").unwrap();
    talk.stores.mailboxes.remove(inbox.id, &[1]).unwrap();
    talk.deliver("3", "Subject: c\r\n\r\n");
    talk.check("b FETCH 2 UID", "* 2 FETCH (UID 2)\n* 3 EXISTS\nb OK FETCH done");
    talk.check("c FETCH 1 BODY.PEEK[]", "c NO [EXPUNGEISSUED] Some of the messages are gone");
    talk.check("d NOOP", "* 1 EXPUNGE\nd OK NOOP done");
    talk.check("e IDLE", "+ idling");
    assert_eq!(talk.next, Next::Idle);
    talk.deliver("4", "Subject: d\r\n\r\n");
    talk.session.wake();
    assert_eq!(talk.hear(), "* 3 EXISTS\r\n");
    talk.check("DONE", "e OK IDLE ended");
}

#[test]
fn messages_are_appended_and_copied_with_their_uids() {
    let mut talk = Talk::logged_in();
    talk.check("a APPEND Nowhere {1+}\r\nx", "a NO [TRYCREATE] There is no such mailbox");
    talk.check("b APPEND INBOX (\\Seen) \" 1-Feb-1994 21:52:25 -0800\" {16}", "+ Ready");
    talk.check("Subject: x\r\n\r\ny\r", "b OK [APPENDUID VALIDITY 1] APPEND done");
    talk.check("c APPEND INBOX {3+}\r\na\r\n {3+}\r\nb\r\n", "c OK [APPENDUID VALIDITY 2:3] APPEND done");
    talk.check("n APPEND INBOX {3+}\r\na\0b", "n BAD A message cannot contain NUL");
    talk.check("d APPEND INBOX {999999}", "d NO [TOOBIG] The literal is larger than is taken");
    talk.say("e SELECT INBOX\r\n");
    talk.check(
        "f FETCH 1 (FLAGS INTERNALDATE)",
        "* 1 FETCH (FLAGS (\\Seen) INTERNALDATE \" 2-Feb-1994 05:52:25 +0000\")\nf OK FETCH done",
    );
    talk.check("g COPY 1,3 INBOX", "* 5 EXISTS\ng OK [COPYUID VALIDITY 1,3 4:5] COPY done");
    let moved = talk.say("h MOVE 2:3 Trash\r\n");
    assert!(moved.contains(" 2:3 1:2] Moved\r\n* 3 EXPUNGE\r\n* 2 EXPUNGE\r\nh OK MOVE done\r\n"), "{moved}");
}

#[test]
fn mailboxes_are_listed_with_uses_children_and_subscriptions() {
    let mut talk = Talk::logged_in();
    talk.check("a CREATE Work/2026", "a OK CREATE done");
    talk.check("b CREATE \"&AMU-rs\"", "b OK CREATE done");
    talk.check("c CREATE inbox", "c NO [ALREADYEXISTS] There is such a mailbox already");
    talk.check("d DELETE Inbox", "d NO [CANNOT] INBOX stays");
    talk.check("e SUBSCRIBE Work/2026", "e OK SUBSCRIBE done");
    talk.check("f LIST \"\" \"\"", "* LIST (\\Noselect) \"/\" \"\"\nf OK LIST done");
    talk.check(
        "g LIST \"\" %",
        r#"* LIST (\HasNoChildren) "/" INBOX
* LIST (\HasNoChildren \Archive) "/" Archive
* LIST (\HasNoChildren \Drafts) "/" Drafts
* LIST (\HasNoChildren \Junk) "/" Junk
* LIST (\HasNoChildren \Sent) "/" Sent
* LIST (\HasNoChildren \Trash) "/" Trash
* LIST (\HasChildren) "/" Work
* LIST (\HasNoChildren) "/" &AMU-rs
g OK LIST done"#,
    );
    talk.check("h LSUB \"\" \"W%\"", "* LSUB (\\Noselect) \"/\" Work\nh OK LSUB done");
    talk.check(
        "i LIST (SUBSCRIBED) \"\" (Work/* Sent) RETURN (STATUS (MESSAGES UNSEEN))",
        "* LIST (\\HasNoChildren \\Subscribed \\Sent) \"/\" Sent\n* STATUS Sent (MESSAGES 0 UNSEEN 0)\n* LIST (\\HasNoChildren \\Subscribed) \"/\" Work/2026\n* STATUS Work/2026 (MESSAGES 0 UNSEEN 0)\ni OK LIST done",
    );
    talk.check("j DELETE Work", "j OK DELETE done");
    talk.check("k LIST \"\" Work", "* LIST (\\Noselect \\HasChildren) \"/\" Work\nk OK LIST done");
    talk.check("l ENABLE IMAP4rev2 X", "* ENABLED IMAP4REV2\nl OK ENABLE done");
    talk.check("m LIST \"\" \"Å*\"", "* LIST (\\HasNoChildren) \"/\" \"Års\"\nm OK LIST done");
    talk.check(
        "n GETQUOTAROOT INBOX",
        "* QUOTAROOT INBOX \"\"\n* QUOTA \"\" (STORAGE 0 10485760)\nn OK GETQUOTAROOT done",
    );
}

#[test]
fn nonsense_is_answered_and_does_not_go_on_for_ever() {
    let mut talk = Talk::logged_in();
    talk.check("", "* BAD a command begins with a tag and a space");
    talk.check("a XYZZY", "a BAD there is no such command");
    for _ in 0..60 {
        talk.say("\x01\r\n");
    }
    assert_eq!(talk.next, Next::Close(EndReason::ProtocolError));
    let mut talk = Talk::logged_in();
    let heard = talk.say(&"x".repeat(70_000));
    assert_eq!(heard, "* BYE [TOOBIG] The command is larger than is taken\r\n");
}
