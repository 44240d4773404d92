//! Whole dialogues: what a client says in, exact replies out.

use super::*;
use crate::store::AccountId;
use proptest::prelude::*;

fn settings(role: Role) -> Arc<Settings> {
    Arc::new(Settings {
        hostname: "mx.varde.test".to_owned(),
        domain: "varde.test".to_owned(),
        role,
        max_message_bytes: 1_000,
        max_recipients: 3,
    })
}

/// A driver without sockets: it knows ada, whose password is `secret`.
struct Driver {
    session: Session,
    replies: String,
    stored: Vec<Message>,
    refused: Vec<(u16, &'static str)>,
    ended: Option<EndReason>,
}

impl Driver {
    fn new(role: Role, tls: bool) -> Self {
        let session = Session::new(settings(role), tls);
        Self { session, replies: String::new(), stored: Vec::new(), refused: Vec::new(), ended: None }
    }

    fn feed(&mut self, octets: &[u8]) {
        let mut input = octets;
        while let Some(action) = self.session.next(&mut input) {
            let answer = match action {
                Action::CheckSender(address) => Answer::Sender(Some(address.to_string() == "ada@varde.test")),
                Action::CheckRecipient { address, octets } => {
                    Answer::Recipient(match (address.local(), address.domain()) {
                        ("full", "varde.test") => RecipientVerdict::Full,
                        ("nearly", "varde.test") if octets > 500 => RecipientVerdict::Full,
                        ("nearly", "varde.test") => RecipientVerdict::Accept,
                        ("ada" | "postmaster" | "jürgen", "varde.test") => RecipientVerdict::Accept,
                        ("broken", _) => RecipientVerdict::Unavailable,
                        (_, "varde.test") => RecipientVerdict::UnknownUser,
                        _ => RecipientVerdict::NotLocal,
                    })
                }
                Action::Login(credentials) => Answer::Login(match credentials.password.as_str() {
                    "secret" => LoginVerdict::Accept(Account { id: AccountId(1), address: credentials.user }),
                    "broken" => LoginVerdict::Unavailable,
                    "often" => LoginVerdict::PutOff,
                    _ => LoginVerdict::Wrong,
                }),
                Action::Store(message) => {
                    self.stored.push(*message);
                    Answer::Stored(Ok("ID".to_owned()))
                }
                other => {
                    if matches!(other, Action::StartTls(_)) {
                        input = &[];
                    }
                    self.say(other);
                    continue;
                }
            };
            let action = self.session.answer(answer);
            self.say(action);
        }
    }

    fn say(&mut self, action: Action) {
        let reply = match action {
            Action::Reply(reply) => reply,
            Action::Refuse { reply, class, .. } => {
                self.refused.push((reply.code, class));
                reply
            }
            Action::StartTls(reply) => {
                self.session.tls_started();
                reply
            }
            Action::Close(reply, reason) => {
                self.ended = Some(reason);
                reply
            }
            question => panic!("an answer led to {question:?}"),
        };
        let mut out = Vec::new();
        reply.write(&mut out);
        self.replies.push_str(&String::from_utf8(out).unwrap());
    }
}

fn talk(role: Role, tls: bool, dialogue: &str) -> Driver {
    let mut driver = Driver::new(role, tls);
    driver.feed(dialogue.replace('\n', "\r\n").as_bytes());
    // Cut into single octets the dialogue is the same.
    let mut slow = Driver::new(role, tls);
    for octet in dialogue.replace('\n', "\r\n").bytes() {
        slow.feed(&[octet]);
    }
    if !dialogue.contains("STARTTLS") {
        assert_eq!(slow.replies, driver.replies, "the same octet by octet");
    }
    driver
}

/// The replies to a dialogue, with `\n` for CRLF.
#[track_caller]
fn check(role: Role, tls: bool, dialogue: &str, replies: &str) {
    let driver = talk(role, tls, dialogue);
    assert_eq!(driver.replies.replace("\r\n", "\n"), replies);
}

const EHLO: &str = "250-mx.varde.test\n250-PIPELINING\n250-SIZE 1000\n250-8BITMIME\n250-SMTPUTF8\n\
                    250-ENHANCEDSTATUSCODES\n250-CHUNKING\n250-DSN\n";

#[test]
fn mail_for_a_local_user_is_taken_pipelined() {
    let dialogue = "EHLO c.test\nMAIL FROM:<bob@x.test> SIZE=10 BODY=8BITMIME\nRCPT TO:<ada@varde.test>\nDATA\n\
                    Subject: x\n\n..dot\n.\nQUIT\n";
    let replies =
        "250 2.1.0 sender OK\n250 2.1.5 recipient OK\n354 end with CRLF.CRLF\n250 2.0.0 queued as ID\n221 2.0.0 bye\n";
    check(Role::Mx, false, dialogue, &format!("{EHLO}250 STARTTLS\n{replies}"));
    let driver = talk(Role::Mx, false, dialogue);
    assert_eq!(driver.stored[0].content, b"Subject: x\r\n\r\n.dot\r\n");
    assert_eq!(driver.stored[0].mail.sender.as_ref().unwrap().to_string(), "bob@x.test");
    assert_eq!(driver.ended, Some(EndReason::Quit));
}

#[test]
fn a_mailbox_without_room_for_the_message_is_told_at_rcpt_on_both_ports() {
    let rcpt = "RCPT TO:<full@varde.test>\nRCPT TO:<nearly@varde.test>\nRSET\n";
    let dialogue = format!("HELO c.test\nMAIL FROM:<>\n{rcpt}MAIL FROM:<> SIZE=501\n{rcpt}");
    let full = "452 4.2.2 the mailbox is full, try again later\n";
    let reset = "250 2.0.0 OK\n";
    let replies = format!(
        "250 mx.varde.test\n250 2.1.0 sender OK\n{full}250 2.1.5 recipient OK\n{reset}250 2.1.0 sender OK\n{full}{full}{reset}"
    );
    check(Role::Mx, true, &dialogue, &replies);
    assert_eq!(talk(Role::Mx, true, &dialogue).refused, [(452, "mailbox_full"); 3]);
    let login = "EHLO c.test\nAUTH PLAIN AGFkYUB2YXJkZS50ZXN0AHNlY3JldA==\n";
    let submitted = format!("{login}MAIL FROM:<ada@varde.test>\nRCPT TO:<full@varde.test>\n");
    assert!(talk(Role::Submission, true, &submitted).replies.replace("\r\n", "\n").ends_with(full));
}

#[test]
fn mx_refuses_strangers_relaying_and_wrong_sizes_each_with_its_class() {
    let dialogue = "HELO c.test\nMAIL FROM:<> SIZE=1001\nMAIL FROM:<>\nRCPT TO:<eve@varde.test>\n\
                    RCPT TO:<eve@x.test>\nRCPT TO:<broken@varde.test>\nRCPT TO:<jürgen@varde.test>\nDATA\n\
                    RCPT TO:<PostMaster>\nRCPT TO:<ada@varde.test>\nAUTH PLAIN\n";
    check(
        Role::Mx,
        true,
        dialogue,
        "250 mx.varde.test\n552 5.3.4 the message is too large\n250 2.1.0 sender OK\n550 5.1.1 no such user here\n\
         550 5.7.1 relaying denied\n451 4.3.0 the address could not be looked up now, try again later\n\
         553 5.6.7 such an address needs SMTPUTF8 in MAIL\n554 5.5.1 no valid recipients\n\
         550 5.1.1 no such user here\n250 2.1.5 recipient OK\n502 5.5.1 there is no login here\n",
    );
    let refused = talk(Role::Mx, true, dialogue).refused;
    let classes: Vec<&str> = refused.iter().map(|(_, class)| *class).collect();
    assert_eq!(classes, ["size", "user_unknown", "relay_denied", "directory", "protocol", "protocol", "user_unknown"]);
}

#[test]
fn submission_wants_tls_then_a_login_then_an_address_of_the_user() {
    let plain = "AUTH PLAIN AGFkYUB2YXJkZS50ZXN0AHNlY3JldA==\n";
    check(
        Role::Submission,
        false,
        &format!("EHLO c.test\n{plain}MAIL FROM:<ada@varde.test>\nSTARTTLS\nMAIL FROM:<injected@x.test>\n"),
        &format!(
            "{EHLO}250 STARTTLS\n538 5.7.11 say STARTTLS first: no password goes in the clear\n\
             530 5.7.0 say STARTTLS first\n220 2.0.0 begin TLS\n"
        ),
    );
    let driver = talk(
        Role::Submission,
        true,
        &format!(
            "EHLO c.test\nMAIL FROM:<ada@varde.test>\nAUTH PLAIN AGFkYUB2YXJkZS50ZXN0AHdyb25n\nAUTH LOGIN\n\
             YWRhQHZhcmRlLnRlc3Q=\nYnJva2Vu\nAUTH PLAIN\n*\nAUTH CRAM-MD5\n{plain}{plain}\
             MAIL FROM:<eve@varde.test>\nMAIL FROM:<ada@varde.test>\nRCPT TO:<bob@x.test>\n\
             RCPT TO:<eve@varde.test>\nDATA\nx\n.\n"
        ),
    );
    assert_eq!(
        driver.replies.replace("\r\n", "\n"),
        format!(
            "{EHLO}250 AUTH PLAIN LOGIN\n530 5.7.0 authentication required\n535 5.7.8 wrong user name or password\n\
             334 VXNlcm5hbWU6\n334 UGFzc3dvcmQ6\n454 4.7.0 the login could not be checked now, try again later\n\
             334 \n501 5.7.0 login cancelled\n504 5.5.4 mechanism not offered\n235 2.7.0 welcome\n\
             503 5.5.1 you are logged in already\n553 5.7.1 you may not send with this address\n\
             250 2.1.0 sender OK\n250 2.1.5 recipient OK\n550 5.1.1 no such user here\n354 end with CRLF.CRLF\n\
             250 2.0.0 queued as ID\n"
        )
    );
    assert_eq!(driver.session.protocol(), "ESMTPSA");
}

#[test]
fn chunks_are_taken_and_thrown_away_where_they_belong_to_nothing() {
    check(
        Role::Mx,
        true,
        "EHLO c.test\nBDAT 4\nabcdMAIL FROM:<>\nBDAT 2 LAST\nxxRCPT TO:<ada@varde.test>\nBDAT 3\na\nBDAT 0\nDATA\n\
         BDAT 3 LAST\nb\nNOOP\n",
        &format!(
            "{}503 5.5.1 say MAIL first\n250 2.1.0 sender OK\n554 5.5.1 no valid recipients\n250 2.1.5 recipient OK\n\
             250 2.0.0 3 octets so far\n250 2.0.0 3 octets so far\n503 5.5.1 DATA and BDAT cannot be mixed\n\
             250 2.0.0 queued as ID\n250 2.0.0 OK\n",
            EHLO.replace("250-DSN", "250 DSN")
        ),
    );
    let driver = talk(Role::Mx, true, "EHLO c.test\nBDAT 99999999999999999999 LAST\nMAIL FROM:<>\n");
    assert_eq!(driver.ended, Some(EndReason::ProtocolError));
    assert!(driver.replies.ends_with("501 5.5.4 BDAT size [LAST]\r\n"));
}

#[test]
fn simple_commands_and_mistakes_have_their_replies() {
    check(
        Role::Mx,
        true,
        "NOOP x\nVRFY ada\nEXPN all\nHELP\nRSET\nMAIL FROM:<>\nFOO\nEHLO\nHELO a b\nHELO c.test\nMAIL FROM:bob@x.test\n\
         MAIL FROM:<bob@x..test>\nMAIL FROM:<a b@x.test>\nMAIL FROM:<> FOO=1\nMAIL FROM:<> SIZE=+1\nRCPT TO:<ada@varde.test>\n\
         MAIL FROM:<@relay.test:bob@x.test> RET=HDRS ENVID=e\nMAIL FROM:<>\nRCPT TO:<ada@varde.test> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;a@b\n\
         RCPT TO:<ada@varde.test> NOTIFY=NEVER\nRCPT TO:<ada@varde.test>\nRCPT TO:<ada@varde.test>\nDATA now\nSTARTTLS\nGET / HTTP/1.1\n",
        "250 2.0.0 OK\n252 2.0.0 send some mail, it will be tried\n502 5.5.1 there are no lists to expand here\n\
         214 2.0.0 see RFC 5321\n250 2.0.0 OK\n503 5.5.1 say EHLO first\n500 5.5.1 command not recognised\n\
         501 5.5.2 say your domain name or address literal\n501 5.5.2 say your domain name or address literal\n\
         250 mx.varde.test\n501 5.5.2 the address stands in angle brackets\n553 5.1.8 the domain is not one of RFC 5321\n\
         553 5.1.7 the local part is not one of RFC 5321\n555 5.5.4 a parameter is not recognised\n\
         501 5.5.4 a parameter has a value that it cannot have\n503 5.5.1 say MAIL first\n250 2.1.0 sender OK\n\
         503 5.5.1 a transaction is open already, say RSET first\n250 2.1.5 recipient OK\n250 2.1.5 recipient OK\n\
         250 2.1.5 recipient OK\n452 4.5.3 too many recipients\n501 5.5.4 the command takes no argument\n\
         503 5.5.1 TLS has begun already\n500 5.5.1 this is SMTP\n",
    );
}

#[test]
fn smuggled_messages_never_become_messages() {
    for end in ["\n.\n", "\n.\r\n", "\r\n.\n", "\r.\r", "\r\n.\r"] {
        let mut driver = Driver::new(Role::Mx, true);
        let head = "EHLO c.test\r\nMAIL FROM:<bob@x.test>\r\nRCPT TO:<ada@varde.test>\r\nDATA\r\n";
        driver.feed(
            format!("{head}a{end}MAIL FROM:<admin@varde.test>\r\nRCPT TO:<ada@varde.test>\r\nDATA\r\nevil\r\n.\r\n")
                .as_bytes(),
        );
        assert!(driver.stored.is_empty(), "{end:?}");
        assert!(
            driver.replies.ends_with("550 5.6.0 the message has a bare CR or LF; its lines must end with CRLF\r\n")
        );
        driver.feed(b"NOOP\r\n");
        assert!(driver.replies.ends_with("250 2.0.0 OK\r\n"), "the session goes on in step");
    }
    for line in ["NOOP\n", "NOOP\rRSET\r\n", "\n"] {
        let mut driver = Driver::new(Role::Mx, true);
        driver.feed(line.as_bytes());
        driver.feed(b"NOOP\r\n");
        assert_eq!(driver.replies, "500 5.5.2 lines end with CRLF, closing the connection\r\n", "{line:?}");
        assert_eq!(driver.ended, Some(EndReason::ProtocolError));
    }
}

#[test]
fn a_line_without_end_is_answered_once_and_no_longer_kept() {
    let mut driver = Driver::new(Role::Mx, true);
    let chunk = vec![b'a'; 1 << 20];
    for _ in 0..1_024 {
        driver.feed(&chunk);
        assert!(driver.session.line.capacity() <= 2 * MAX_AUTH_LINE);
    }
    assert_eq!(driver.replies, "500 5.5.2 line too long, closing the connection\r\n");
    assert_eq!(driver.ended, Some(EndReason::LineTooLong));
}

#[test]
fn a_message_past_the_limit_is_refused_at_its_end_without_being_kept() {
    let mut driver = Driver::new(Role::Mx, true);
    driver.feed(b"EHLO c.test\r\nMAIL FROM:<>\r\nRCPT TO:<ada@varde.test>\r\nDATA\r\n");
    for _ in 0..10_000 {
        driver.feed(b"0123456789012345678901234567890123456789\r\n");
        assert!(driver.session.held() <= 1_000);
    }
    driver.feed(b".\r\nMAIL FROM:<>\r\n");
    assert!(driver.replies.ends_with("552 5.3.4 the message is too large\r\n250 2.1.0 sender OK\r\n"));
    driver.feed(b"RCPT TO:<ada@varde.test>\r\nDATA\r\nx\r\n");
    driver.session.give_up_body();
    driver.feed(b".\r\n");
    assert!(driver.replies.ends_with("452 4.3.1 no room for the message now, try again later\r\n"));
}

#[test]
fn a_client_of_errors_is_sent_away() {
    let driver = talk(Role::Mx, true, &"FOO\n".repeat(40));
    assert_eq!(driver.ended, Some(EndReason::TooManyErrors));
    assert_eq!(driver.replies.lines().count(), MAX_ERRORS as usize + 1);
    assert!(driver.replies.ends_with("421 4.7.0 too many errors, closing the connection\r\n"));
}

#[test]
fn tls_forgets_what_was_said_before_but_not_the_errors() {
    let mut driver = Driver::new(Role::Mx, false);
    driver.feed(b"FOO\r\nEHLO c.test\r\nMAIL FROM:<>\r\nSTARTTLS\r\nRSET\r\n");
    assert!(driver.replies.ends_with("220 2.0.0 begin TLS\r\n"), "what follows STARTTLS is not a command");
    driver.feed(b"MAIL FROM:<>\r\n");
    assert!(driver.replies.ends_with("503 5.5.1 say EHLO first\r\n"));
    assert_eq!(driver.session.errors, 2);
}

fn fragment() -> impl Strategy<Value = Vec<u8>> {
    let words = prop::sample::select(vec![
        "EHLO c.test\r\n",
        "MAIL FROM:<a@b.c>\r\n",
        "MAIL FROM:<",
        "RCPT TO:<ada@varde.test>\r\n",
        "DATA\r\n",
        ".\r\n",
        "\r\n.\r\n",
        "BDAT 5\r\n",
        "BDAT 3 LAST\r\n",
        "AUTH LOGIN\r\n",
        "AUTH PLAIN ",
        "YQ==\r\n",
        "STARTTLS\r\n",
        "RSET\r\n",
        "\r",
        "\n",
        ">\r\n",
    ]);
    prop_oneof![words.prop_map(|word| word.as_bytes().to_vec()), prop::collection::vec(any::<u8>(), 0..64)]
}

proptest! {
    #[test]
    fn whatever_comes_nothing_panics_and_memory_is_bounded(
        fragments in prop::collection::vec(fragment(), 0..60), tls in any::<bool>(), mx in any::<bool>(),
    ) {
        let mut driver = Driver::new(if mx { Role::Mx } else { Role::Submission }, tls);
        for fragment in fragments {
            driver.feed(&fragment);
            prop_assert!(driver.session.line.len() <= MAX_AUTH_LINE);
            prop_assert!(driver.session.held() <= 1_000);
        }
        for message in driver.stored {
            let text = message.content;
            let bare = text.iter().enumerate().any(|(n, octet)| match octet {
                b'\r' => text.get(n + 1) != Some(&b'\n'),
                b'\n' => n == 0 || text[n - 1] != b'\r',
                _ => false,
            });
            prop_assert!(!bare, "a bare CR or LF was taken");
        }
    }
}
