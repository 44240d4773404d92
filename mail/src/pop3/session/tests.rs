//! Whole dialogues: what the client says, and exactly what it hears.

use proptest::prelude::*;

use super::*;
use crate::access::Session as _;
use crate::store::{BlobStore, Deliver, Directory, LocalDelivery};

fn facts(loopback: bool) -> Facts {
    Facts { tls: false, loopback, max_message_bytes: 0 }
}

struct Talk {
    _dir: tempfile::TempDir,
    stores: Stores,
    session: Session,
    next: Next,
}

impl Talk {
    fn new(loopback: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        crate::admin::create_account(dir.path(), "ada@varde.test", "secret word").unwrap();
        let stores = Stores::open(dir.path()).unwrap();
        let session = Session::new(stores.clone(), facts(loopback));
        Self { _dir: dir, stores, session, next: Next::Read }
    }

    fn again(&mut self) {
        self.session = Session::new(self.stores.clone(), facts(true));
        self.say("USER ada@varde.test\r\nPASS secret word\r\n");
    }

    fn deliver(&self, token: &str, body: &str) {
        let account = self.stores.directory.resolve("ada@varde.test").unwrap().unwrap().id;
        let blob = self.stores.blobs.put(body.as_bytes()).unwrap();
        let delivery = LocalDelivery { account, mailbox: "INBOX", blob, prefix: b"", at: Time(0), token };
        self.stores.mailboxes.deliver(&delivery).unwrap();
    }

    fn say(&mut self, text: &str) -> String {
        self.session.receive(text.as_bytes());
        let mut heard = Vec::new();
        loop {
            self.next = self.session.run(Time(0));
            heard.extend(self.session.take_output());
            match self.next.clone() {
                Next::More => {}
                Next::Login(Credentials { user, password, .. }) => {
                    let found = self.stores.log_in(&user, &password).unwrap();
                    self.session.login_checked(found.map_or(LoginVerdict::Wrong, LoginVerdict::Accept));
                }
                _ => return String::from_utf8(heard).unwrap(),
            }
        }
    }
}

#[test]
fn a_maildrop_is_listed_read_and_emptied_at_quit_only() {
    let mut talk = Talk::new(true);
    talk.deliver("1", "Subject: a\r\n\r\none\r\n.two\r\nthree\r\n");
    talk.deliver("2", "Subject: b\r\n\r\n");
    let heard = talk.say("USER ada@varde.test\r\nPASS secret word\r\nSTAT\r\nLIST\r\nTOP 1 2\r\n");
    assert_eq!(
        heard,
        "+OK Varde POP3\r\n+OK and the password\r\n+OK 2 messages (46 octets)\r\n+OK 2 46\r\n+OK the list follows\r\n1 32\r\n2 14\r\n.\r\n+OK 32 octets\r\nSubject: a\r\n\r\none\r\n..two\r\n.\r\n"
    );
    assert_eq!(
        talk.say("DELE 1\r\nRETR 1\r\nSTAT\r\n"),
        "+OK marked; it goes at QUIT\r\n-ERR there is no such message\r\n+OK 1 14\r\n"
    );
    // The connection breaks: nothing is deleted.
    talk.again();
    assert_eq!(talk.say("DELE 1\r\nRSET\r\nDELE 2\r\nQUIT\r\n").lines().last(), Some("+OK until next time"));
    assert_eq!(talk.next, Next::Close(EndReason::Logout));
    talk.again();
    assert_eq!(talk.say("LIST 1\r\nLIST 2\r\n"), "+OK 1 32\r\n-ERR there is no such message\r\n");
}

#[test]
fn unique_ids_stay_the_same_between_sessions() {
    let mut talk = Talk::new(true);
    talk.deliver("1", "Subject: a\r\n\r\n");
    talk.deliver("2", "Subject: b\r\n\r\n");
    talk.again();
    let first = talk.say("UIDL 2\r\nDELE 1\r\nQUIT\r\n");
    talk.again();
    let second = talk.say("UIDL 1\r\n");
    assert_eq!(first.split_whitespace().nth(2), second.split_whitespace().nth(2));
}

#[test]
fn passwords_are_refused_in_the_clear_from_elsewhere() {
    let mut talk = Talk::new(false);
    let heard = talk.say("CAPA\r\nUSER ada@varde.test\r\nSTLS\r\n");
    assert!(heard.contains("STLS\r\n.\r\n-ERR [AUTH] begin TLS before you log in\r\n+OK begin TLS now\r\n"), "{heard}");
    assert_eq!(talk.next, Next::StartTls);
    talk.session.tls_began();
    let heard = talk.say("AUTH PLAIN\r\nAGFkYUB2YXJkZS50ZXN0AHNlY3JldCB3b3Jk\r\n");
    assert_eq!(heard, "+ \r\n+OK 0 messages (0 octets)\r\n");
}

#[test]
fn a_login_that_is_put_off_does_not_blame_the_password_and_ends_the_session_in_the_end() {
    let mut talk = Talk::new(true);
    talk.say("");
    for attempt in 1..=5 {
        talk.session.receive(b"USER ada@varde.test\r\nPASS secret word\r\n");
        assert!(matches!(talk.session.run(Time(0)), Next::Login(_)));
        talk.session.login_checked(LoginVerdict::PutOff);
        let heard = talk.say("");
        assert!(heard.ends_with("-ERR [SYS/TEMP] too many wrong passwords; try again in ten minutes\r\n"), "{heard}");
        assert_eq!(talk.next == Next::Close(EndReason::LoginFailures), attempt == 5);
    }
}

#[test]
fn an_endless_line_ends_the_session() {
    let mut talk = Talk::new(true);
    let heard = talk.say(&"x".repeat(LINE_BYTES + 1));
    assert!(heard.ends_with("-ERR the line is too long\r\n"));
    assert_eq!(talk.next, Next::Close(EndReason::ProtocolError));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]
    #[test]
    fn nothing_that_is_said_makes_it_panic(lines in proptest::collection::vec(prop_oneof![
        Just("TOP ".to_owned()), Just("RETR 1\r\n".to_owned()), Just("DELE 99999999999999999999\r\n".to_owned()),
        Just("LIST 0\r\n".to_owned()), Just("PASS\r\n".to_owned()), Just("AUTH PLAIN x\r\n".to_owned()), any::<String>(), Just("\n".to_owned()),
    ], 0..30)) {
        let mut talk = Talk::new(true);
        talk.deliver("1", "x");
        talk.again();
        talk.say(&lines.concat());
    }
}
