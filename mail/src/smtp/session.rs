//! The server's side of an SMTP session as a value: octets in, actions out.
//!
//! The driver feeds octets with [`Session::next`], does what the [`Action`] says, and answers its questions with
//! [`Session::answer`]. No socket, clock or disk is touched here. Memory is bounded: one line, one message.

mod action;
mod transaction;

use std::sync::Arc;

use super::body::{Body, BodyFault};
use super::command::{Command, Mail, Recipient};
use super::reply::{self, Reply};
use super::sasl::{Exchange, Step};
use crate::login::LoginVerdict;
use crate::store::Account;
pub use action::{About, Action, Answer, EndReason, Message, RecipientVerdict, Role, Settings};
use transaction::Transaction;

#[cfg(test)]
mod tests;

/// Octets of a command line, CRLF included. RFC 5321 asks for 512, its extensions for about 2,000.
pub const MAX_COMMAND_LINE: usize = 4_096;
/// Octets of a line while logging in (RFC 4954 section 4).
pub const MAX_AUTH_LINE: usize = 12_288;
/// Errors after which a client is sent away.
pub const MAX_ERRORS: u32 = 30;

#[derive(Debug)]
enum State {
    /// The next line is a command.
    Command,
    /// The next line is a response of a SASL exchange.
    Auth(Exchange),
    /// Content after DATA.
    Data(Body),
    /// Octets of a BDAT chunk; `None` when they are thrown away.
    Chunk { body: Option<Body>, left: u64, last: bool },
    /// The driver owes an answer.
    Waiting(Pending),
    /// Nothing more is read.
    Closed,
}

#[derive(Debug)]
enum Pending {
    Sender(Mail),
    Recipient(Recipient),
    Login,
    Stored,
    Tls,
}

/// One client's session.
#[derive(Debug)]
pub struct Session {
    settings: Arc<Settings>,
    line: Vec<u8>,
    state: State,
    helo: Option<(String, Greeting)>,
    tls: bool,
    user: Option<Account>,
    transaction: Option<Transaction>,
    /// The transaction is over. It stays readable, for the events that the driver writes, until it goes on.
    spent: bool,
    errors: u32,
    commands: u32,
}

/// How a client greeted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Greeting {
    Helo,
    Ehlo,
}

const OK: Reply = Reply::new(250, "2.0.0", "OK");
const EHLO_FIRST: Reply = Reply::new(503, "5.5.1", "say EHLO first");
const TLS_REQUIRED_FOR_AUTH: Reply = Reply::new(538, "5.7.11", "say STARTTLS first: no password goes in the clear");
const TLS_ALREADY: Reply = Reply::new(503, "5.5.1", "TLS has begun already");
const AUTH_ALREADY: Reply = Reply::new(503, "5.5.1", "you are logged in already");
const NO_AUTH: Reply = Reply::new(502, "5.5.1", "there is no login here");
const UNKNOWN_MECHANISM: Reply = Reply::new(504, "5.5.4", "mechanism not offered");
const AUTH_CANCELLED: Reply = Reply::new(501, "5.7.0", "login cancelled");
const AUTH_MALFORMED: Reply = Reply::new(501, "5.5.2", "the response cannot be decoded");
const CONFUSED: Reply = Reply::new(421, "4.3.0", "internal error, closing the connection");

impl Session {
    /// A session that begins, over TLS or in the clear.
    pub fn new(settings: Arc<Settings>, tls: bool) -> Self {
        Self {
            settings,
            line: Vec::new(),
            state: State::Command,
            helo: None,
            tls,
            user: None,
            transaction: None,
            spent: false,
            errors: 0,
            commands: 0,
        }
    }

    /// The banner.
    pub fn banner(&self) -> Reply {
        Reply::with(220, "", format!("{} ESMTP Varde", self.settings.hostname))
    }

    /// Takes octets up to the next thing to do. `None`: more octets are needed (or an answer, or TLS).
    pub fn next(&mut self, input: &mut &[u8]) -> Option<Action> {
        if std::mem::take(&mut self.spent) {
            self.transaction = None;
        }
        loop {
            match std::mem::replace(&mut self.state, State::Closed) {
                State::Closed => {
                    *input = &[];
                    return None;
                }
                State::Waiting(pending) => {
                    self.state = State::Waiting(pending);
                    return None;
                }
                State::Data(mut body) => {
                    if !body.data(input) {
                        self.state = State::Data(body);
                        return None;
                    }
                    self.state = State::Command;
                    return Some(self.complete(body));
                }
                State::Chunk { mut body, left, last } => {
                    let here = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
                    let (octets, rest) = input.split_at(here);
                    *input = rest;
                    if let Some(body) = &mut body {
                        body.chunk(octets);
                    }
                    let left = left - here as u64;
                    if left > 0 {
                        self.state = State::Chunk { body, left, last };
                        return None;
                    }
                    self.state = State::Command;
                    return Some(self.chunk_complete(body, last));
                }
                state @ (State::Command | State::Auth(_)) => {
                    self.state = state;
                    match self.take_line(input) {
                        Line::Partial => return None,
                        Line::Refused(reply, reason) => return Some(self.close(reply, reason)),
                        Line::Whole(line) => {
                            if let Some(action) = self.line(&line) {
                                return Some(action);
                            }
                        }
                    }
                }
            }
        }
    }

    /// Goes on after a question.
    pub fn answer(&mut self, answer: Answer) -> Action {
        let State::Waiting(pending) = std::mem::replace(&mut self.state, State::Command) else {
            return self.close(CONFUSED, EndReason::ProtocolError);
        };
        match (pending, answer) {
            (Pending::Sender(mail), Answer::Sender(verdict)) => self.sender_checked(mail, verdict),
            (Pending::Recipient(recipient), Answer::Recipient(verdict)) => self.recipient_checked(recipient, verdict),
            (Pending::Login, Answer::Login(verdict)) => match verdict {
                LoginVerdict::Accept(account) => {
                    self.user = Some(account);
                    Action::Reply(Reply::new(235, "2.7.0", "welcome"))
                }
                LoginVerdict::Wrong => self.error(reply::LOGIN_FAILED),
                LoginVerdict::PutOff => self.error(reply::LOGIN_PUT_OFF),
                LoginVerdict::Unavailable => Action::Reply(reply::LOGIN_BUSY),
            },
            (Pending::Stored, Answer::Stored(stored)) => {
                self.spent = true;
                match stored {
                    Ok(id) => Action::Reply(Reply::with(250, "2.0.0", format!("queued as {id}"))),
                    Err((reply, class)) => self.refuse(reply, About::Message, class),
                }
            }
            _ => self.close(CONFUSED, EndReason::ProtocolError),
        }
    }

    /// TLS has begun: everything that was said before is forgotten (RFC 3207 section 4.2).
    pub fn tls_started(&mut self) {
        *self = Self { errors: self.errors, commands: self.commands, ..Self::new(Arc::clone(&self.settings), true) };
    }

    /// Gives up the body that is being received: there is no memory for it.
    pub fn give_up_body(&mut self) {
        if let State::Data(body) | State::Chunk { body: Some(body), .. } = &mut self.state {
            body.give_up(BodyFault::NoMemory);
        }
    }

    /// Octets of content that are held.
    pub fn held(&self) -> usize {
        match &self.state {
            State::Data(body) | State::Chunk { body: Some(body), .. } => body.held(),
            _ => self.transaction.as_ref().and_then(|open| open.chunks.as_ref()).map_or(0, Body::held),
        }
    }

    /// Whether content is being received.
    pub fn is_receiving(&self) -> bool {
        matches!(self.state, State::Data(_) | State::Chunk { .. })
    }

    /// Whether no message is under way: a good moment to stop.
    pub fn is_idle(&self) -> bool {
        self.transaction.is_none() && matches!(self.state, State::Command | State::Auth(_) | State::Closed)
    }

    /// The name that the client gave.
    pub fn helo(&self) -> &str {
        self.helo.as_ref().map_or("", |(name, _)| name)
    }

    /// Who is logged in.
    pub fn user(&self) -> Option<&Account> {
        self.user.as_ref()
    }

    /// The reverse-path and the recipients of the open transaction.
    pub fn envelope(&self) -> Option<(&Mail, &[Recipient])> {
        self.transaction.as_ref().map(|open| (&open.mail, open.recipients.as_slice()))
    }

    /// How many commands the client has sent.
    pub fn commands(&self) -> u32 {
        self.commands
    }

    /// The protocol in one word (RFC 3848, RFC 6531 section 4.3).
    pub fn protocol(&self) -> &'static str {
        let utf8 = self.transaction.as_ref().is_some_and(|open| open.mail.utf8);
        match (&self.helo, utf8, self.tls, self.user.is_some()) {
            (None | Some((_, Greeting::Helo)), ..) => "SMTP",
            (Some(_), false, false, _) => "ESMTP",
            (Some(_), false, true, false) => "ESMTPS",
            (Some(_), false, true, true) => "ESMTPSA",
            (Some(_), true, false, _) => "UTF8SMTP",
            (Some(_), true, true, false) => "UTF8SMTPS",
            (Some(_), true, true, true) => "UTF8SMTPSA",
        }
    }

    fn take_line(&mut self, input: &mut &[u8]) -> Line {
        let end = input.iter().position(|octet| *octet == b'\n');
        let (piece, rest) = input.split_at(end.map_or(input.len(), |end| end + 1));
        let limit = if matches!(self.state, State::Auth(_)) { MAX_AUTH_LINE } else { MAX_COMMAND_LINE };
        if self.line.len() + piece.len() > limit {
            return Line::Refused(reply::LINE_TOO_LONG, EndReason::LineTooLong);
        }
        self.line.extend_from_slice(piece);
        *input = rest;
        if end.is_none() {
            return Line::Partial;
        }
        let line = std::mem::take(&mut self.line);
        match line.strip_suffix(b"\r\n") {
            Some(line) if !line.contains(&b'\r') => Line::Whole(line.to_vec()),
            _ => Line::Refused(reply::BARE_LINE_END, EndReason::ProtocolError),
        }
    }

    /// `None`: a chunk follows.
    fn line(&mut self, line: &[u8]) -> Option<Action> {
        self.commands = self.commands.saturating_add(1);
        if let State::Auth(exchange) = std::mem::replace(&mut self.state, State::Command) {
            return Some(match std::str::from_utf8(line) {
                Ok("*") => self.error(AUTH_CANCELLED),
                Ok(line) => self.auth_step(exchange.response(line)),
                Err(_) => self.error(AUTH_MALFORMED),
            });
        }
        let verb = line.get(..4).unwrap_or_default().to_ascii_uppercase();
        Some(match Command::parse(line, &self.settings.domain) {
            Ok(Command::Bdat { size, last }) => {
                self.bdat(size, last);
                return None;
            }
            Ok(command) => self.command(command),
            // How many octets follow is not known: nothing after it can be told from a command.
            Err(reply) if verb == b"BDAT" => self.close(reply, EndReason::ProtocolError),
            Err(reply) if verb == b"MAIL" || verb == b"RCPT" => self.refuse(reply, About::Message, "protocol"),
            Err(reply) => self.error(reply),
        })
    }

    fn command(&mut self, command: Command) -> Action {
        match command {
            Command::Helo(name) => self.greet(name, Greeting::Helo),
            Command::Ehlo(name) => self.greet(name, Greeting::Ehlo),
            Command::Mail(mail) => self.mail(mail),
            Command::Rcpt(recipient) => self.rcpt(recipient),
            Command::Data => self.data(),
            Command::Rset => {
                self.transaction = None;
                Action::Reply(OK)
            }
            Command::Noop => Action::Reply(OK),
            Command::Quit => self.close(Reply::new(221, "2.0.0", "bye"), EndReason::Quit),
            Command::Vrfy => Action::Reply(Reply::new(252, "2.0.0", "send some mail, it will be tried")),
            Command::Expn => Action::Reply(Reply::new(502, "5.5.1", "there are no lists to expand here")),
            Command::Help => Action::Reply(Reply::new(214, "2.0.0", "see RFC 5321")),
            Command::StartTls if self.tls => self.error(TLS_ALREADY),
            Command::StartTls => {
                self.state = State::Waiting(Pending::Tls);
                Action::StartTls(Reply::new(220, "2.0.0", "begin TLS"))
            }
            Command::Auth { mechanism, initial } => self.auth(&mechanism, initial.as_deref()),
            Command::Http | Command::Bdat { .. } => {
                self.close(Reply::new(500, "5.5.1", "this is SMTP"), EndReason::ProtocolError)
            }
        }
    }

    fn greet(&mut self, name: String, greeting: Greeting) -> Action {
        self.transaction = None;
        let hostname = &self.settings.hostname;
        let reply = match greeting {
            Greeting::Helo => Reply::with(250, "", hostname.clone()),
            Greeting::Ehlo => {
                let mut lines = vec![hostname.clone(), "PIPELINING".to_owned()];
                lines.push(format!("SIZE {}", self.settings.max_message_bytes));
                lines.extend(["8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES", "CHUNKING", "DSN"].map(str::to_owned));
                match (self.tls, self.settings.role) {
                    (false, _) => lines.push("STARTTLS".to_owned()),
                    (true, Role::Submission) => lines.push("AUTH PLAIN LOGIN".to_owned()),
                    (true, Role::Mx) => {}
                }
                Reply::with(250, "", lines.join("\n"))
            }
        };
        self.helo = Some((name, greeting));
        Action::Reply(reply)
    }

    fn auth(&mut self, mechanism: &str, initial: Option<&str>) -> Action {
        match (self.settings.role, self.tls, &self.helo, &self.user) {
            (Role::Mx, ..) => return self.error(NO_AUTH),
            (Role::Submission, false, ..) => return self.error(TLS_REQUIRED_FOR_AUTH),
            (_, _, None, _) => return self.error(EHLO_FIRST),
            (_, _, _, Some(_)) => return self.error(AUTH_ALREADY),
            _ => {}
        }
        let Some(exchange) = Exchange::begin(mechanism) else { return self.error(UNKNOWN_MECHANISM) };
        let step = match initial {
            None => exchange.first(),
            Some("=") => exchange.response(""),
            Some(response) => exchange.response(response),
        };
        self.auth_step(step)
    }

    fn auth_step(&mut self, step: Step) -> Action {
        match step {
            Step::Challenge(exchange, challenge) => {
                self.state = State::Auth(exchange);
                Action::Reply(Reply::new(334, "", challenge))
            }
            Step::Done(credentials) => {
                self.state = State::Waiting(Pending::Login);
                Action::Login(credentials)
            }
            Step::Malformed => self.error(AUTH_MALFORMED),
        }
    }

    fn refuse(&mut self, reply: Reply, about: About, class: &'static str) -> Action {
        match self.error(reply) {
            Action::Reply(reply) => Action::Refuse { reply, about, class },
            other => other,
        }
    }

    fn error(&mut self, reply: Reply) -> Action {
        self.errors += 1;
        if self.errors > MAX_ERRORS {
            return self.close(reply::TOO_MANY_ERRORS, EndReason::TooManyErrors);
        }
        Action::Reply(reply)
    }

    fn close(&mut self, reply: Reply, reason: EndReason) -> Action {
        self.state = State::Closed;
        self.line = Vec::new();
        Action::Close(reply, reason)
    }
}

enum Line {
    Partial,
    Whole(Vec<u8>),
    Refused(Reply, EndReason),
}
