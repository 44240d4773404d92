//! The server's side of an SMTP session as a value: octets in, actions out.
//!
//! The driver feeds octets with [`Session::next`], does what the [`Action`] says, and answers its questions with
//! [`Session::answer`]. No socket, clock or disk is touched here. Memory is bounded: one line, one message.

use std::sync::Arc;

use super::address::EmailAddress;
use super::body::{Body, BodyFault};
use super::command::{Command, Mail, Recipient};
use super::reply::{self, Reply};
use super::sasl::{Exchange, Step};
use crate::login::{Credentials, LoginVerdict};
use crate::store::Account;

#[cfg(test)]
mod tests;

/// Octets of a command line, CRLF included. RFC 5321 asks for 512, its extensions for about 2,000.
pub const MAX_COMMAND_LINE: usize = 4_096;
/// Octets of a line while logging in (RFC 4954 section 4).
pub const MAX_AUTH_LINE: usize = 12_288;
/// Errors after which a client is sent away.
pub const MAX_ERRORS: u32 = 30;

/// What a session is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Mail of others for our domains.
    Mx,
    /// Mail of our users for everybody.
    Submission,
}

/// What all sessions of a service have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Our name.
    pub hostname: String,
    /// What a lone `postmaster` belongs to.
    pub domain: String,
    /// What the service is for.
    pub role: Role,
    /// The largest message, in octets.
    pub max_message_bytes: usize,
    /// The most recipients of one message.
    pub max_recipients: usize,
}

/// A message that the client has handed over completely.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// What MAIL said.
    pub mail: Mail,
    /// Who it goes to; at least one.
    pub recipients: Vec<Recipient>,
    /// Its content; every line ends with CRLF.
    pub content: Vec<u8>,
}

/// What the driver is to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Action {
    /// Send a reply.
    Reply(Reply),
    /// Send a reply that refuses a message or a recipient; `class` says why in one word.
    Refuse {
        /// The reply.
        reply: Reply,
        /// What it is about.
        about: About,
        /// One word of the classification.
        class: &'static str,
    },
    /// Ask whether the user may send with this reverse-path; answer with [`Answer::Sender`].
    CheckSender(EmailAddress),
    /// Ask whether mail for this address is taken; answer with [`Answer::Recipient`].
    CheckRecipient(EmailAddress),
    /// Check a login; answer with [`Answer::Login`].
    Login(Credentials),
    /// Store a message; answer with [`Answer::Stored`].
    Store(Box<Message>),
    /// Send the reply, throw away what else the client sent in the clear, begin TLS, call [`Session::tls_started`].
    StartTls(Reply),
    /// Send the reply and close.
    Close(Reply, EndReason),
}

/// What a refusal is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum About {
    /// A command that cannot be read, or the open transaction.
    Message,
    /// MAIL with this reverse-path.
    Sender(Option<EmailAddress>),
    /// RCPT with this address.
    Recipient(EmailAddress),
}

/// Why a session ended, in the words of the event table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndReason {
    /// QUIT.
    Quit,
    /// A line that never ends.
    LineTooLong,
    /// A line end that is not CRLF, or words of another protocol.
    ProtocolError,
    /// More than [`MAX_ERRORS`].
    TooManyErrors,
    /// The client said nothing for too long.
    TimedOut,
    /// The client went away.
    Disconnected,
    /// The TLS handshake failed.
    TlsFailed,
    /// The service stopped.
    Shutdown,
}

impl EndReason {
    /// The word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Quit => "logout",
            Self::LineTooLong => "line_too_long",
            Self::ProtocolError => "protocol_error",
            Self::TooManyErrors => "too_many_errors",
            Self::TimedOut => "timeout",
            Self::Disconnected => "disconnected",
            Self::TlsFailed => "tls_failed",
            Self::Shutdown => "shutdown",
        }
    }
}

/// The answer to a question of the session.
#[derive(Debug)]
pub enum Answer {
    /// To [`Action::CheckSender`]: whether he may; `None` when the directory cannot be read.
    Sender(Option<bool>),
    /// To [`Action::CheckRecipient`].
    Recipient(RecipientVerdict),
    /// To [`Action::Login`].
    Login(LoginVerdict),
    /// To [`Action::Store`]: the queue id, or the refusal and its class.
    Stored(Result<String, (Reply, &'static str)>),
}

/// Whether mail for an address is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecipientVerdict {
    /// It is.
    Accept,
    /// The domain is ours, the user is not.
    UnknownUser,
    /// The domain is not ours.
    NotLocal,
    /// The directory cannot be read.
    Unavailable,
}

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

#[derive(Debug)]
struct Transaction {
    mail: Mail,
    recipients: Vec<Recipient>,
    /// The chunks so far.
    chunks: Option<Body>,
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
const MAIL_FIRST: Reply = Reply::new(503, "5.5.1", "say MAIL first");
const NESTED_MAIL: Reply = Reply::new(503, "5.5.1", "a transaction is open already, say RSET first");
const NO_RECIPIENTS: Reply = Reply::new(554, "5.5.1", "no valid recipients");
const DATA_AFTER_BDAT: Reply = Reply::new(503, "5.5.1", "DATA and BDAT cannot be mixed");
const AUTH_REQUIRED: Reply = Reply::new(530, "5.7.0", "authentication required");
const TLS_REQUIRED_FOR_AUTH: Reply = Reply::new(538, "5.7.11", "say STARTTLS first: no password goes in the clear");
const TLS_REQUIRED: Reply = Reply::new(530, "5.7.0", "say STARTTLS first");
const TLS_ALREADY: Reply = Reply::new(503, "5.5.1", "TLS has begun already");
const AUTH_ALREADY: Reply = Reply::new(503, "5.5.1", "you are logged in already");
const NO_AUTH: Reply = Reply::new(502, "5.5.1", "there is no login here");
const UNKNOWN_MECHANISM: Reply = Reply::new(504, "5.5.4", "mechanism not offered");
const AUTH_CANCELLED: Reply = Reply::new(501, "5.7.0", "login cancelled");
const AUTH_MALFORMED: Reply = Reply::new(501, "5.5.2", "the response cannot be decoded");
const UNKNOWN_USER: Reply = Reply::new(550, "5.1.1", "no such user here");
const RELAY_DENIED: Reply = Reply::new(550, "5.7.1", "relaying denied");
const SENDER_DENIED: Reply = Reply::new(553, "5.7.1", "you may not send with this address");
const TOO_MANY_RECIPIENTS: Reply = Reply::new(452, "4.5.3", "too many recipients");
const NEEDS_UTF8: Reply = Reply::new(553, "5.6.7", "such an address needs SMTPUTF8 in MAIL");
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

    fn mail(&mut self, mail: Mail) -> Action {
        let about = About::Sender(mail.sender.clone());
        if self.helo.is_none() {
            return self.refuse(EHLO_FIRST, about, "protocol");
        }
        if self.transaction.is_some() {
            return self.refuse(NESTED_MAIL, about, "protocol");
        }
        if self.settings.role == Role::Submission && self.user.is_none() {
            return self.refuse(if self.tls { AUTH_REQUIRED } else { TLS_REQUIRED }, about, "auth_required");
        }
        if mail.size.is_some_and(|size| size > self.settings.max_message_bytes as u64) {
            return self.refuse(reply::TOO_LARGE, about, "size");
        }
        match (&mail.sender, self.settings.role) {
            (Some(sender), Role::Submission) => {
                let sender = sender.clone();
                self.state = State::Waiting(Pending::Sender(mail));
                Action::CheckSender(sender)
            }
            _ => self.begin(mail),
        }
    }

    fn sender_checked(&mut self, mail: Mail, verdict: Option<bool>) -> Action {
        let about = About::Sender(mail.sender.clone());
        match verdict {
            Some(true) => self.begin(mail),
            Some(false) => self.refuse(SENDER_DENIED, about, "sender_denied"),
            None => self.refuse(reply::DIRECTORY_BUSY, about, "directory"),
        }
    }

    fn begin(&mut self, mail: Mail) -> Action {
        self.transaction = Some(Transaction { mail, recipients: Vec::new(), chunks: None });
        Action::Reply(Reply::new(250, "2.1.0", "sender OK"))
    }

    fn rcpt(&mut self, recipient: Recipient) -> Action {
        let address = recipient.address.clone();
        let Some(open) = &self.transaction else {
            return self.refuse(MAIL_FIRST, About::Recipient(address), "protocol");
        };
        if open.chunks.is_some() {
            return self.refuse(DATA_AFTER_BDAT, About::Recipient(address), "protocol");
        }
        if !open.mail.utf8 && !address.is_ascii() {
            return self.refuse(NEEDS_UTF8, About::Recipient(address), "protocol");
        }
        if open.recipients.len() >= self.settings.max_recipients {
            return self.refuse(TOO_MANY_RECIPIENTS, About::Recipient(address), "too_many_recipients");
        }
        self.state = State::Waiting(Pending::Recipient(recipient));
        Action::CheckRecipient(address)
    }

    fn recipient_checked(&mut self, recipient: Recipient, verdict: RecipientVerdict) -> Action {
        let address = recipient.address.clone();
        match (verdict, self.settings.role) {
            (RecipientVerdict::Accept, _) | (RecipientVerdict::NotLocal, Role::Submission) => {
                if let Some(open) = &mut self.transaction {
                    open.recipients.push(recipient);
                }
                Action::Reply(Reply::new(250, "2.1.5", "recipient OK"))
            }
            (RecipientVerdict::UnknownUser, _) => self.refuse(UNKNOWN_USER, About::Recipient(address), "user_unknown"),
            (RecipientVerdict::NotLocal, Role::Mx) => {
                self.refuse(RELAY_DENIED, About::Recipient(address), "relay_denied")
            }
            (RecipientVerdict::Unavailable, _) => {
                self.refuse(reply::DIRECTORY_BUSY, About::Recipient(address), "directory")
            }
        }
    }

    fn data(&mut self) -> Action {
        match &self.transaction {
            None => self.refuse(MAIL_FIRST, About::Message, "protocol"),
            Some(open) if open.chunks.is_some() => self.refuse(DATA_AFTER_BDAT, About::Message, "protocol"),
            Some(open) if open.recipients.is_empty() => self.refuse(NO_RECIPIENTS, About::Message, "protocol"),
            Some(_) => {
                self.state = State::Data(Body::new(self.settings.max_message_bytes));
                Action::Reply(Reply::new(354, "", "end with CRLF.CRLF"))
            }
        }
    }

    /// The octets that follow are taken, or thrown away when there is no transaction that they belong to.
    fn bdat(&mut self, left: u64, last: bool) {
        let limit = self.settings.max_message_bytes;
        let open = self.transaction.as_mut().filter(|open| !open.recipients.is_empty());
        let body = open.map(|open| open.chunks.take().unwrap_or_else(|| Body::new(limit)));
        self.state = State::Chunk { body, left, last };
    }

    fn chunk_complete(&mut self, body: Option<Body>, last: bool) -> Action {
        let Some(body) = body else {
            let reply = if self.transaction.is_some() { NO_RECIPIENTS } else { MAIL_FIRST };
            return self.refuse(reply, About::Message, "protocol");
        };
        if last || body.fault().is_some() {
            return self.complete(body);
        }
        let held = body.held();
        if let Some(open) = &mut self.transaction {
            open.chunks = Some(body);
        }
        Action::Reply(Reply::with(250, "2.0.0", format!("{held} octets so far")))
    }

    /// The content has come to its end.
    fn complete(&mut self, body: Body) -> Action {
        let fault = match (body.finish(), self.transaction.take()) {
            (Ok(content), Some(open)) => {
                let recipients = open.recipients.clone();
                let message = Message { mail: open.mail.clone(), recipients, content };
                self.transaction = Some(Transaction { chunks: None, ..open });
                self.state = State::Waiting(Pending::Stored);
                return Action::Store(Box::new(message));
            }
            (Ok(_), None) => return self.close(CONFUSED, EndReason::ProtocolError),
            (Err(fault), open) => {
                self.transaction = open;
                self.spent = true;
                fault
            }
        };
        let (reply, class) = match fault {
            BodyFault::TooLarge => (reply::TOO_LARGE, "size"),
            BodyFault::BareLineEnd => (reply::BARE_LINE_END_IN_CONTENT, "bare_line_end"),
            BodyFault::NoMemory => (reply::NO_ROOM, "storage"),
        };
        self.refuse(reply, About::Message, class)
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
