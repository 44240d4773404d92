//! A POP3 session as a value: octets in, octets out, and what the driver is to do next.
//!
//! The maildrop is INBOX as it was at login. What is marked for deletion goes at QUIT, and only then.

use std::collections::VecDeque;
use std::time::Duration;

use aggregator::event::Time;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::access::{self, EndReason, Facts, Next};
use crate::login::{Credentials, LoginVerdict};
use crate::store::{Account, MailboxId, StoreError, Stores};

/// Octets of a line (RFC 2449 section 4 asks for 255; AUTH may need more).
const LINE_BYTES: usize = 4 * 1024;
/// Responses are handed to the driver in pieces of about this size.
const PIECE_BYTES: usize = 64 * 1024;
/// Wrong passwords, and lines that are no command, before the session ends.
const FAILURES: u32 = 5;
const COMPLAINTS: u32 = 50;

/// A message of the maildrop.
struct Item {
    uid: u32,
    size: u64,
    deleted: bool,
}

/// The maildrop of who is logged in.
struct Maildrop {
    account: Account,
    mailbox: MailboxId,
    uid_validity: u32,
    items: Vec<Item>,
}

enum State {
    /// Before login; the name that USER gave.
    Authorization(Option<String>),
    /// The client's next line is the response to AUTH PLAIN.
    Sasl,
    /// The login is being checked; the credentials until the driver has taken them.
    Verdict(Option<Credentials>),
    Transaction(Box<Maildrop>),
    /// TLS is to begin.
    Tls,
    Ended(EndReason),
}

pub(super) struct Session {
    stores: Stores,
    facts: Facts,
    state: State,
    input: Vec<u8>,
    out: Vec<u8>,
    /// Lines of a long listing that are still to be written.
    listing: VecDeque<String>,
    user: String,
    failures: u32,
    complaints: u32,
    commands: u32,
}

impl access::Session for Session {
    const PROTOCOL: &'static str = "pop3";
    const BUSY: &'static [u8] = b"-ERR [SYS/TEMP] too many sessions; try again later\r\n";
    /// RFC 1939 section 3: ten minutes at least.
    const AUTOLOGOUT: Duration = Duration::from_secs(10 * 60);

    fn new(stores: Stores, facts: Facts) -> Self {
        Self {
            stores,
            facts,
            state: State::Authorization(None),
            input: Vec::new(),
            out: b"+OK Varde POP3\r\n".to_vec(),
            listing: VecDeque::new(),
            user: String::new(),
            failures: 0,
            complaints: 0,
            commands: 0,
        }
    }

    fn receive(&mut self, octets: &[u8]) {
        self.input.extend_from_slice(octets);
    }

    fn take_output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.out)
    }

    fn commands(&self) -> u32 {
        self.commands
    }

    fn user(&self) -> &str {
        &self.user
    }

    fn tls_began(&mut self) {
        self.facts.tls = true;
        self.input.clear();
        self.state = State::Authorization(None);
    }

    fn login_checked(&mut self, verdict: LoginVerdict) {
        self.state = State::Authorization(None);
        self.admit(verdict);
    }

    fn bye(&mut self, reason: EndReason) {
        let why = match reason {
            EndReason::TimedOut => "you were silent for too long",
            _ => "[SYS/TEMP] the server is being restarted",
        };
        self.reply("-ERR", why);
    }

    fn run(&mut self, _: Time) -> Next {
        loop {
            while let Some(line) = self.listing.pop_front() {
                self.out.extend_from_slice(line.as_bytes());
                self.out.extend_from_slice(b"\r\n");
                if self.out.len() >= PIECE_BYTES {
                    return Next::More;
                }
            }
            match &mut self.state {
                State::Verdict(credentials) => match credentials.take() {
                    Some(credentials) => return Next::Login(credentials),
                    None => return Next::More,
                },
                State::Ended(reason) => return Next::Close(*reason),
                State::Tls => return Next::StartTls,
                _ if self.out.len() >= PIECE_BYTES => return Next::More,
                _ => {}
            }
            let Some(end) = self.input.iter().position(|octet| *octet == b'\n') else {
                if self.input.len() <= LINE_BYTES {
                    return Next::Read;
                }
                self.reply("-ERR", "the line is too long");
                self.state = State::Ended(EndReason::ProtocolError);
                continue;
            };
            let line: Vec<u8> = self.input.drain(..=end).collect();
            if line.len() > LINE_BYTES {
                self.reply("-ERR", "the line is too long");
                self.state = State::Ended(EndReason::ProtocolError);
                continue;
            }
            self.line(&String::from_utf8_lossy(line.strip_suffix(b"\r\n").unwrap_or(&line[..line.len() - 1])));
        }
    }
}

impl Session {
    fn line(&mut self, line: &str) {
        self.commands = self.commands.saturating_add(1);
        if matches!(self.state, State::Sasl) {
            self.state = State::Authorization(None);
            return match line {
                "*" => self.reply("-ERR", "AUTH cancelled"),
                line => self.plain(line),
            };
        }
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let (word, rest) = (word.to_ascii_uppercase(), rest.trim());
        match word.as_str() {
            "CAPA" => self.capabilities(),
            "QUIT" => self.quit(),
            _ => match self.state {
                State::Transaction(_) => self.transaction(&word, rest),
                _ => self.authorization(&word, rest, line),
            },
        }
    }

    fn capabilities(&mut self) {
        self.reply("+OK", "capabilities follow");
        let mut names = vec!["TOP", "UIDL", "RESP-CODES", "AUTH-RESP-CODE", "PIPELINING", "IMPLEMENTATION Varde"];
        if !self.facts.tls {
            names.push("STLS");
        }
        if self.may_log_in() {
            names.extend(["USER", "SASL PLAIN"]);
        }
        self.listing.extend(names.into_iter().chain(["."]).map(str::to_owned));
    }

    /// Passwords cross the network over TLS only; on this machine they cross none.
    fn may_log_in(&self) -> bool {
        self.facts.tls || self.facts.loopback
    }

    fn authorization(&mut self, word: &str, rest: &str, line: &str) {
        match (word, &self.state) {
            ("STLS", _) if self.facts.tls => self.reply("-ERR", "TLS has begun already"),
            ("STLS", _) => {
                self.reply("+OK", "begin TLS now");
                self.state = State::Tls;
            }
            ("USER" | "PASS" | "AUTH", _) if !self.may_log_in() => {
                self.reply("-ERR", "[AUTH] begin TLS before you log in")
            }
            ("USER", _) if !rest.is_empty() => {
                self.state = State::Authorization(Some(rest.to_owned()));
                self.reply("+OK", "and the password");
            }
            ("PASS", State::Authorization(Some(user))) => {
                // A password may begin and end with spaces (RFC 1939 section 7).
                let (user, password) = (user.clone(), line.get(5..).unwrap_or_default().to_owned());
                self.state = State::Authorization(None);
                self.check("USER", user, &password);
            }
            ("PASS", _) => self.reply("-ERR", "USER comes first"),
            ("AUTH", _) if rest.is_empty() => {
                self.reply("+OK", "mechanisms follow");
                self.listing.extend(["PLAIN".to_owned(), ".".to_owned()]);
            }
            ("AUTH", _) => match rest.split_once(' ') {
                _ if rest.eq_ignore_ascii_case("PLAIN") => {
                    self.out.extend_from_slice(b"+ \r\n");
                    self.state = State::Sasl;
                }
                Some((mechanism, response)) if mechanism.eq_ignore_ascii_case("PLAIN") => self.plain(response),
                _ => self.reply("-ERR", "there is no such SASL mechanism here"),
            },
            _ => self.complain(),
        }
    }

    /// RFC 4616: authorisation identity, authentication identity, password.
    fn plain(&mut self, response: &str) {
        let decoded = STANDARD.decode(response.trim()).ok().and_then(|octets| String::from_utf8(octets).ok());
        let parts: Vec<&str> = decoded.as_deref().unwrap_or_default().split('\0').collect();
        match parts[..] {
            [acting_as, user, password] if acting_as.is_empty() || acting_as == user => {
                self.check("PLAIN", user.to_owned(), password);
            }
            _ => self.reply("-ERR", "the response is not that of SASL PLAIN"),
        }
    }

    /// Has the login checked; [`Session::admit`] says what became of it.
    fn check(&mut self, mechanism: &'static str, user: String, password: &str) {
        self.state = State::Verdict(Some(Credentials { mechanism, user, password: password.to_owned() }));
    }

    fn admit(&mut self, verdict: LoginVerdict) {
        match verdict {
            LoginVerdict::Accept(account) => match self.open(account) {
                Ok(maildrop) => {
                    let (count, size) = maildrop.count();
                    self.user = maildrop.account.address.clone();
                    self.state = State::Transaction(Box::new(maildrop));
                    self.reply("+OK", &[&count.to_string(), " messages (", &size.to_string(), " octets)"].concat());
                }
                Err(error) => self.unavailable(&error),
            },
            LoginVerdict::Wrong => self.failed("[AUTH] Wrong address or password"),
            // RFC 3206: [AUTH] would say that the password is wrong, and clients would ask their users for another.
            LoginVerdict::PutOff => self.failed("[SYS/TEMP] too many wrong passwords; try again in ten minutes"),
            LoginVerdict::Unavailable => {
                self.reply("-ERR", "[SYS/TEMP] the store does not answer; try again later");
            }
        }
    }

    fn failed(&mut self, text: &str) {
        self.reply("-ERR", text);
        self.failures += 1;
        if self.failures >= FAILURES {
            self.state = State::Ended(EndReason::LoginFailures);
        }
    }

    fn open(&self, account: Account) -> Result<Maildrop, StoreError> {
        let inbox = self.stores.mailboxes.open_mailbox(account.id, "INBOX")?;
        let view = self.stores.mailboxes.changes(inbox.id, 0)?;
        let items = view.changed.iter().map(|state| Item { uid: state.uid, size: state.size, deleted: false });
        Ok(Maildrop { account, mailbox: inbox.id, uid_validity: inbox.uid_validity, items: items.collect() })
    }

    fn transaction(&mut self, word: &str, rest: &str) {
        let State::Transaction(maildrop) = &mut self.state else { return };
        match (word, rest) {
            ("NOOP", "") => self.reply("+OK", ""),
            ("STAT", "") => {
                let (count, size) = maildrop.count();
                self.reply("+OK", &[&count.to_string(), " ", &size.to_string()].concat());
            }
            ("RSET", "") => {
                maildrop.items.iter_mut().for_each(|item| item.deleted = false);
                self.reply("+OK", "nothing is marked any more");
            }
            ("LIST" | "UIDL", "") => {
                let line = |(number, item): (usize, &Item)| {
                    [&number.to_string(), " ", &maildrop.describe(word, item)].concat()
                };
                let lines: Vec<String> = maildrop.live().map(line).chain([".".to_owned()]).collect();
                self.reply("+OK", "the list follows");
                self.listing.extend(lines);
            }
            ("LIST" | "UIDL", number) => match maildrop.find(number) {
                Some(at) => {
                    let described = maildrop.describe(word, &maildrop.items[at]);
                    self.reply("+OK", &[number, " ", &described].concat());
                }
                None => self.no_such_message(),
            },
            ("DELE", number) => match maildrop.find(number) {
                Some(at) => {
                    maildrop.items[at].deleted = true;
                    self.reply("+OK", "marked; it goes at QUIT");
                }
                None => self.no_such_message(),
            },
            ("RETR", number) => match maildrop.find(number) {
                Some(at) => self.retrieve(at, None),
                None => self.no_such_message(),
            },
            ("TOP", rest) => {
                let (number, lines) = rest.split_once(' ').unwrap_or((rest, ""));
                match (maildrop.find(number), lines.trim().parse().ok()) {
                    (Some(at), Some(lines)) => self.retrieve(at, Some(lines)),
                    (None, Some(_)) => self.no_such_message(),
                    (_, None) => self.reply("-ERR", "TOP takes a message and a number of lines"),
                }
            }
            _ => self.complain(),
        }
    }

    /// Writes a message, or its header and some lines of its body, with dots stuffed (RFC 1939 section 3).
    fn retrieve(&mut self, at: usize, body_lines: Option<usize>) {
        let State::Transaction(maildrop) = &self.state else { return };
        let octets = match self.stores.mailboxes.octets(maildrop.mailbox, maildrop.items[at].uid) {
            Ok(octets) => octets,
            Err(StoreError::NotFound(_)) => return self.reply("-ERR", "[SYS/TEMP] another session has deleted it"),
            Err(error) => return self.unavailable(&error),
        };
        let count = [&octets.len().to_string(), " octets"].concat();
        self.reply("+OK", &count);
        let mut left = None;
        for line in octets.split_inclusive(|octet| *octet == b'\n') {
            let text = line.strip_suffix(b"\n").unwrap_or(line);
            let text = text.strip_suffix(b"\r").unwrap_or(text);
            match (&mut left, body_lines) {
                (Some(0), _) => break,
                (Some(left), _) => *left -= 1,
                (None, Some(lines)) if text.is_empty() => left = Some(lines),
                (None, _) => {}
            }
            if text.starts_with(b".") {
                self.out.push(b'.');
            }
            self.out.extend_from_slice(text);
            self.out.extend_from_slice(b"\r\n");
        }
        self.out.extend_from_slice(b".\r\n");
    }

    fn quit(&mut self) {
        if let State::Transaction(maildrop) = &self.state {
            let deleted: Vec<u32> = maildrop.items.iter().filter(|item| item.deleted).map(|item| item.uid).collect();
            let removed = match deleted.is_empty() {
                true => Ok(()),
                false => self.stores.mailboxes.remove(maildrop.mailbox, &deleted),
            };
            if let Err(error) = removed {
                tracing::warn!(%error, "messages marked in a POP3 session stay");
                self.reply("-ERR", "[SYS/TEMP] the marked messages stay; try again later");
                self.state = State::Ended(EndReason::Logout);
                return;
            }
        }
        self.reply("+OK", "until next time");
        self.state = State::Ended(EndReason::Logout);
    }

    fn complain(&mut self) {
        self.reply("-ERR", "there is no such command here");
        self.complaints += 1;
        if self.complaints >= COMPLAINTS {
            self.state = State::Ended(EndReason::ProtocolError);
        }
    }

    fn no_such_message(&mut self) {
        self.reply("-ERR", "there is no such message");
    }

    fn unavailable(&mut self, error: &StoreError) {
        tracing::warn!(%error, "a POP3 command was put off");
        self.reply("-ERR", "[SYS/TEMP] the store does not answer; try again later");
    }

    fn reply(&mut self, status: &str, text: &str) {
        self.out.extend_from_slice([status, if text.is_empty() { "" } else { " " }, text, "\r\n"].concat().as_bytes());
    }
}

impl Maildrop {
    /// Messages that are not marked, with their numbers.
    fn live(&self) -> impl Iterator<Item = (usize, &Item)> {
        self.items.iter().enumerate().filter(|(_, item)| !item.deleted).map(|(at, item)| (at + 1, item))
    }

    fn count(&self) -> (usize, u64) {
        self.live().fold((0, 0), |(count, size), (_, item)| (count + 1, size + item.size))
    }

    fn find(&self, number: &str) -> Option<usize> {
        let at = number.parse::<usize>().ok()?.checked_sub(1)?;
        self.items.get(at).filter(|item| !item.deleted).map(|_| at)
    }

    /// The size for LIST, the unique id for UIDL.
    fn describe(&self, word: &str, item: &Item) -> String {
        match word {
            "LIST" => item.size.to_string(),
            _ => [&self.uid_validity.to_string(), ".", &item.uid.to_string()].concat(),
        }
    }
}

#[cfg(test)]
mod tests;
