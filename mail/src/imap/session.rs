//! An IMAP session as a value: octets in, octets out, and what the driver is to do next.
//!
//! It reads and changes the store as commands ask, so its driver runs it where blocking is allowed. It holds no
//! socket and reads no clock.

mod fetch;
mod folders;
mod list;
mod login;
mod search;
mod selected;
mod transfer;

use std::borrow::Cow;
use std::time::Duration;

use aggregator::event::Time;

use super::command::{Command, Tagged};
use super::frame::{EARLY_LITERAL_BYTES, Frame, Framer};
use super::parse::{Complaint, parse, tag_of};
use crate::access::{self, EndReason, Facts, Next};
use crate::login::{Credentials, LoginVerdict};
use crate::store::{Account, StoreError, Stores};
use fetch::FetchJob;
use selected::Selected;

/// Responses are handed to the driver in pieces of about this size.
const PIECE_BYTES: usize = 64 * 1024;
/// Commands in a row that are not understood before the session ends: no mail client speaks so.
const COMPLAINTS: u32 = 50;

/// Where a session is (RFC 9051 section 3).
enum State {
    NotAuthenticated,
    Authenticated(Account),
    Selected(Account, Box<Selected>),
    Ended(EndReason),
}

/// What the client's next line is.
enum Expect {
    Command,
    /// The response to AUTHENTICATE's challenge.
    SaslPlain {
        tag: String,
    },
    /// Nothing before the login is checked; the credentials until the driver has taken them.
    Verdict {
        tag: String,
        credentials: Option<Credentials>,
    },
    /// DONE.
    IdleEnd {
        tag: String,
    },
    /// Nothing before TLS.
    Tls,
}

/// How a command ended.
struct Done {
    status: &'static str,
    text: Cow<'static, str>,
}

fn ok(text: impl Into<Cow<'static, str>>) -> Done {
    Done { status: "OK", text: text.into() }
}

fn no(text: impl Into<Cow<'static, str>>) -> Done {
    Done { status: "NO", text: text.into() }
}

fn bad(text: impl Into<Cow<'static, str>>) -> Done {
    Done { status: "BAD", text: text.into() }
}

impl From<StoreError> for Done {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::OverQuota => no("[OVERQUOTA] The mailbox is full"),
            StoreError::TooManyKeywords => no("[LIMIT] The mailbox has as many keywords as it may"),
            StoreError::NotFound(_) => no("[NONEXISTENT] There is no such mailbox"),
            StoreError::Exists(_) => no("[ALREADYEXISTS] There is such a mailbox already"),
            StoreError::Transient { .. } => {
                tracing::warn!(%error, "an IMAP command was put off");
                no("[UNAVAILABLE] The store does not answer; try again later")
            }
        }
    }
}

/// What a handler answers: at once, or later.
enum Outcome {
    Done(Done),
    /// The rest of the answer follows when the session runs again, or when the client has said more.
    Later,
}

pub(crate) struct Session {
    stores: Stores,
    facts: Facts,
    framer: Framer,
    out: Vec<u8>,
    state: State,
    expect: Expect,
    fetching: Option<FetchJob>,
    /// The client has enabled IMAP4rev2.
    rev2: bool,
    /// The client has shown that it knows modification sequences.
    condstore: bool,
    complaints: u32,
    failures: u32,
    commands: u32,
    user: String,
}

impl access::Session for Session {
    const PROTOCOL: &'static str = "imap";
    const BUSY: &'static [u8] = b"* BYE [UNAVAILABLE] Too many sessions; try again later\r\n";
    /// RFC 9051 section 5.4: 30 minutes at least.
    const AUTOLOGOUT: Duration = Duration::from_secs(30 * 60);

    fn new(stores: Stores, facts: Facts) -> Self {
        let mut session = Self {
            stores,
            facts,
            framer: Framer::default(),
            out: Vec::new(),
            state: State::NotAuthenticated,
            expect: Expect::Command,
            fetching: None,
            rev2: false,
            condstore: false,
            complaints: 0,
            failures: 0,
            commands: 0,
            user: String::new(),
        };
        let greeting = ["* OK [CAPABILITY ", &session.capabilities(), "] Varde IMAP\r\n"].concat();
        session.out.extend_from_slice(greeting.as_bytes());
        session
    }

    fn receive(&mut self, octets: &[u8]) {
        self.framer.push(octets);
    }

    fn tls_began(&mut self) {
        self.facts.tls = true;
        self.framer.clear();
        self.expect = Expect::Command;
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

    fn run(&mut self, now: Time) -> Next {
        loop {
            if let State::Ended(reason) = self.state {
                return Next::Close(reason);
            }
            if self.fetching.is_some() {
                self.fetch_piece();
            }
            if self.out.len() >= PIECE_BYTES {
                return Next::More;
            }
            if let Expect::Verdict { credentials, .. } = &mut self.expect
                && let Some(credentials) = credentials.take()
            {
                return Next::Login(credentials);
            }
            if matches!(self.expect, Expect::Tls) {
                return Next::StartTls;
            }
            let limit = match self.state {
                State::NotAuthenticated | State::Ended(_) => EARLY_LITERAL_BYTES,
                State::Authenticated(_) | State::Selected(..) => self.facts.max_message_bytes.saturating_add(64 * 1024),
            };
            match self.framer.next(limit) {
                Frame::Command(line) => self.line(&line, now),
                Frame::Continue => self.out.extend_from_slice(b"+ Ready\r\n"),
                Frame::More => {
                    return if matches!(self.expect, Expect::IdleEnd { .. }) { Next::Idle } else { Next::Read };
                }
                Frame::LiteralTooLarge(line) => {
                    let tag = tag_of(&line).unwrap_or_else(|| "*".to_owned());
                    self.answer(&tag, &no("[TOOBIG] The literal is larger than is taken"));
                }
                Frame::TooLong => {
                    self.untagged("BYE [TOOBIG] The command is larger than is taken");
                    self.state = State::Ended(EndReason::ProtocolError);
                }
            }
        }
    }

    fn wake(&mut self) {
        if matches!(self.expect, Expect::IdleEnd { .. }) {
            self.sync(selected::Expunges::Told);
        }
    }

    fn login_checked(&mut self, verdict: LoginVerdict) {
        if let Expect::Verdict { tag, .. } = std::mem::replace(&mut self.expect, Expect::Command) {
            let done = self.admit(verdict);
            self.answer(&tag, &done);
        }
    }

    fn bye(&mut self, reason: EndReason) {
        self.untagged(match reason {
            EndReason::TimedOut => "BYE [CLIENTBUG] You were silent for too long",
            _ => "BYE [UNAVAILABLE] The server is being restarted",
        });
    }
}

impl Session {
    fn line(&mut self, line: &[u8], now: Time) {
        match std::mem::replace(&mut self.expect, Expect::Command) {
            Expect::Command | Expect::Tls | Expect::Verdict { .. } => self.command(line, now),
            Expect::SaslPlain { tag } => {
                let outcome = self.sasl_response(&tag, line);
                self.conclude(&tag, outcome);
            }
            Expect::IdleEnd { tag } => {
                self.sync(selected::Expunges::Told);
                let done = match line.eq_ignore_ascii_case(b"DONE") {
                    true => ok("IDLE ended"),
                    false => bad("IDLE ends with DONE"),
                };
                self.answer(&tag, &done);
            }
        }
    }

    fn command(&mut self, line: &[u8], now: Time) {
        self.commands = self.commands.saturating_add(1);
        match parse(line) {
            Ok(Tagged { tag, command }) => {
                self.complaints = 0;
                let expunges = selected::Expunges::after(&command);
                match self.dispatch(&tag, command, now) {
                    Outcome::Done(done) => {
                        self.sync(expunges);
                        self.answer(&tag, &done);
                    }
                    Outcome::Later => {}
                }
            }
            Err(Complaint { tag, text }) => {
                self.complaints += 1;
                self.answer(tag.as_deref().unwrap_or("*"), &bad(text));
                if self.complaints >= COMPLAINTS {
                    self.untagged("BYE Too many commands that are none");
                    self.state = State::Ended(EndReason::ProtocolError);
                }
            }
        }
    }

    fn dispatch(&mut self, tag: &str, command: Command, now: Time) -> Outcome {
        let done = match command {
            Command::Capability => {
                let line = ["CAPABILITY ", &self.capabilities()].concat();
                self.untagged(&line);
                ok("CAPABILITY done")
            }
            Command::Noop => ok("NOOP done"),
            Command::Logout => {
                self.untagged("BYE Until next time");
                self.answer(tag, &ok("LOGOUT done"));
                self.state = State::Ended(EndReason::Logout);
                return Outcome::Later;
            }
            Command::Id => {
                self.untagged("ID (\"name\" \"Varde\")");
                ok("ID done")
            }
            Command::StartTls => self.start_tls(),
            Command::Authenticate { mechanism, initial } => return self.authenticate(tag, &mechanism, initial),
            Command::Login { user, password } => return self.login(tag, &user, &password),
            command => match &self.state {
                State::NotAuthenticated | State::Ended(_) => bad("[CLIENTBUG] Log in first"),
                State::Authenticated(account) | State::Selected(account, _) => {
                    let account = account.clone();
                    return self.logged_in(tag, &account, command, now).unwrap_or_else(Outcome::Done);
                }
            },
        };
        Outcome::Done(done)
    }

    /// Commands of the authenticated state. `Err` is an answer too: a refusal on the way.
    fn logged_in(&mut self, tag: &str, account: &Account, command: Command, now: Time) -> Result<Outcome, Done> {
        let id = account.id;
        let done = match command {
            Command::Enable(names) => self.enable(&names),
            Command::Namespace => {
                self.untagged("NAMESPACE ((\"\" \"/\")) NIL NIL");
                ok("NAMESPACE done")
            }
            Command::Idle => {
                self.sync(selected::Expunges::Told);
                self.out.extend_from_slice(b"+ idling\r\n");
                self.expect = Expect::IdleEnd { tag: tag.to_owned() };
                return Ok(Outcome::Later);
            }
            Command::Select { name, access, condstore } => self.select(account, &name, access, condstore)?,
            Command::Create { name, special } => self.create(id, &name, special.as_deref())?,
            Command::Delete(name) => self.delete(account, &name)?,
            Command::Rename { from, to } => self.rename(id, &from, &to)?,
            Command::Subscribe { name, wanted } => self.subscribe(id, &name, wanted)?,
            Command::List(list) => self.list(id, &list)?,
            Command::Lsub { reference, pattern } => self.lsub(id, &reference, &pattern)?,
            Command::Status { name, items } => self.status(id, &name, &items)?,
            Command::GetQuota(root) => self.get_quota(id, &root)?,
            Command::GetQuotaRoot(name) => self.get_quota_root(id, &name)?,
            Command::Append { name, messages } => self.append(id, &name, &messages, now)?,
            command => return self.with_mailbox(tag, account, command, now),
        };
        Ok(Outcome::Done(done))
    }

    /// Commands of the selected state.
    fn with_mailbox(&mut self, tag: &str, account: &Account, command: Command, now: Time) -> Result<Outcome, Done> {
        if !matches!(self.state, State::Selected(..)) {
            return Err(bad("[CLIENTBUG] Select a mailbox first"));
        }
        let done = match command {
            Command::Close => self.close(account)?,
            Command::Unselect => {
                self.state = State::Authenticated(account.clone());
                ok("UNSELECT done")
            }
            Command::Expunge(set) => self.expunge(set.as_ref())?,
            Command::Search { by, options, charset, key } => {
                self.search(tag, by, options.as_deref(), charset.as_deref(), &key, now)?
            }
            Command::Fetch { by, set, items, changed_since } => {
                return self.fetch(tag, by, &set, items, changed_since);
            }
            Command::Store { by, set, store } => self.store(by, &set, &store)?,
            Command::Transfer { by, set, name, transfer } => self.transfer(account.id, by, &set, &name, transfer)?,
            // CHECK; the others have been answered before.
            _ => ok("CHECK done"),
        };
        Ok(Outcome::Done(done))
    }

    fn conclude(&mut self, tag: &str, outcome: Outcome) {
        if let Outcome::Done(done) = outcome {
            self.answer(tag, &done);
        }
    }

    fn answer(&mut self, tag: &str, done: &Done) {
        self.out.extend_from_slice([tag, " ", done.status, " ", &done.text, "\r\n"].concat().as_bytes());
    }

    fn untagged(&mut self, text: &str) {
        self.out.extend_from_slice(["* ", text, "\r\n"].concat().as_bytes());
    }

    /// The mailbox that is open.
    fn selected(&mut self) -> Result<&mut Selected, Done> {
        match &mut self.state {
            State::Selected(_, selected) => Ok(selected),
            State::NotAuthenticated | State::Authenticated(_) | State::Ended(_) => {
                Err(bad("[CLIENTBUG] Select a mailbox first"))
            }
        }
    }
}

#[cfg(test)]
mod tests;
