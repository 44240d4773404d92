//! The client's side of an SMTP session as a value: octets of the server in, steps out.
//!
//! [`Dialogue::next`] reads replies; [`Dialogue::begin`] starts a message once the dialogue is [`Step::Ready`]. The
//! envelope is pipelined where the server can (RFC 2920).

use std::collections::VecDeque;
use std::fmt::Write;

use super::address::EmailAddress;
use super::command::{Notify, Recipient, Ret};

/// Octets of one line of a reply; RFC 5321 section 4.5.3.1.5 asks for 512.
const MAX_LINE: usize = 4_096;
/// Octets of a whole reply.
const MAX_REPLY: usize = 65_536;

/// A reply of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerReply {
    /// The code.
    pub code: u16,
    /// The enhanced status code; empty when there is none.
    pub enhanced: String,
    /// The text without it; lines are joined with a space.
    pub text: String,
}

impl ServerReply {
    /// Whether it says yes (2yz).
    pub fn is_positive(&self) -> bool {
        (200..300).contains(&self.code)
    }
    fn parse(lines: &[String]) -> Option<Self> {
        let code = lines.first()?.get(..3)?.parse().ok()?;
        let mut enhanced = String::new();
        let mut texts = Vec::new();
        for line in lines {
            let mut text = line.get(4..).unwrap_or_default();
            if let Some((word, rest)) = text.split_once(' ').or(Some((text, "")))
                && is_enhanced(word, code)
            {
                enhanced = word.to_owned();
                text = rest;
            }
            texts.push(text.trim());
        }
        Some(Self { code, enhanced, text: texts.join(" ").trim().to_owned() })
    }
}

fn is_enhanced(word: &str, code: u16) -> bool {
    let mut parts = word.split('.');
    let class = parts.next().and_then(|class| class.parse::<u16>().ok());
    let number = |part: Option<&str>| {
        part.is_some_and(|part| (1..=3).contains(&part.len()) && part.bytes().all(|octet| octet.is_ascii_digit()))
    };
    class == Some(code / 100) && number(parts.next()) && number(parts.next()) && parts.next().is_none()
}

/// What is sent before a message's content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transaction {
    /// The reverse-path.
    pub sender: Option<EmailAddress>,
    /// RET and ENVID (RFC 3461).
    pub ret: Ret,
    /// ENVID; empty when the sender gave none.
    pub envid: String,
    /// Whether it needs SMTPUTF8.
    pub utf8: bool,
    /// Whether it is 8BITMIME.
    pub eight_bit: bool,
    /// Its octets.
    pub size: u64,
    /// Who it goes to; at least one.
    pub recipients: Vec<Recipient>,
}

/// What the server offers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Extensions {
    /// PIPELINING.
    pub pipelining: bool,
    /// SIZE with its limit; 0: none.
    pub size: Option<u64>,
    /// 8BITMIME.
    pub eight_bit: bool,
    /// SMTPUTF8.
    pub utf8: bool,
    /// DSN.
    pub dsn: bool,
    /// STARTTLS.
    pub starttls: bool,
}

/// Whether TLS is begun when the server offers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsWish {
    /// It is (RFC 7435).
    WhenOffered,
    /// A handshake failed before: this time in the clear.
    Never,
}

/// What the driver is to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Send these octets.
    Send(Vec<u8>),
    /// Begin TLS, then send what [`Dialogue::tls_started`] says.
    StartTls,
    /// A message may begin.
    Ready,
    /// Send the content, dot-stuffed ([`stuff`]).
    SendContent,
    /// What became of the message, for each recipient in order.
    Done(Vec<ServerReply>),
    /// The server does not want to talk.
    Refused(ServerReply),
    /// What it says is not SMTP.
    Nonsense,
}

/// Something that has been sent, or will be, and whose reply is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sent {
    Rset,
    Mail,
    Rcpt,
    Data,
}

#[derive(Debug)]
enum State {
    Banner,
    Ehlo,
    Helo,
    StartTls,
    Ready,
    Envelope(Box<Progress>),
    /// The content was sent (nothing of it when nobody takes it).
    Content(Box<Progress>),
    Closed,
}

#[derive(Debug)]
struct Progress {
    transaction: Transaction,
    /// Commands that are not sent yet: with pipelining none.
    unsent: VecDeque<Sent>,
    awaited: VecDeque<Sent>,
    /// The recipients whose RCPT is not sent yet begin here.
    next_rcpt: usize,
    mail: Option<ServerReply>,
    rcpt: Vec<ServerReply>,
}

/// A session with one next hop.
#[derive(Debug)]
pub struct Dialogue {
    hostname: String,
    wish: TlsWish,
    state: State,
    extensions: Extensions,
    line: Vec<u8>,
    reply: Vec<String>,
    octets: usize,
    /// A transaction may still be open at the server.
    dirty: bool,
}

impl Dialogue {
    /// A dialogue that waits for the banner.
    pub fn new(hostname: &str, wish: TlsWish) -> Self {
        Self {
            hostname: hostname.to_owned(),
            wish,
            state: State::Banner,
            extensions: Extensions::default(),
            line: Vec::new(),
            reply: Vec::new(),
            octets: 0,
            dirty: false,
        }
    }

    /// What the server offers, as far as it has said.
    pub fn extensions(&self) -> &Extensions {
        &self.extensions
    }

    /// Takes octets up to the next step. `None`: more octets are needed.
    pub fn next(&mut self, input: &mut &[u8]) -> Option<Step> {
        while let Some(end) = input.iter().position(|octet| *octet == b'\n') {
            let (piece, rest) = input.split_at(end + 1);
            *input = rest;
            self.line.extend_from_slice(piece);
            let line = std::mem::take(&mut self.line);
            self.octets += line.len();
            let line =
                String::from_utf8_lossy(line.strip_suffix(b"\n").unwrap_or(&line)).trim_end_matches('\r').to_owned();
            let digits = line.get(..3).filter(|code| code.bytes().all(|octet| octet.is_ascii_digit()));
            let same = self.reply.first().is_none_or(|first| first.get(..3) == digits);
            if digits.is_none() || !same || line.len() > MAX_LINE || self.octets > MAX_REPLY {
                self.state = State::Closed;
                return Some(Step::Nonsense);
            }
            let last = line.as_bytes().get(3) != Some(&b'-');
            self.reply.push(line);
            if last {
                self.octets = 0;
                let lines = std::mem::take(&mut self.reply);
                let step = ServerReply::parse(&lines).map_or(Some(Step::Nonsense), |reply| self.replied(reply, &lines));
                if step.is_some() {
                    return step;
                }
            }
        }
        if self.line.len() + input.len() > MAX_LINE {
            self.state = State::Closed;
            return Some(Step::Nonsense);
        }
        self.line.extend_from_slice(input);
        *input = &[];
        None
    }

    /// TLS has begun: what to send.
    pub fn tls_started(&mut self) -> Vec<u8> {
        self.line.clear();
        self.wish = TlsWish::Never;
        self.ehlo()
    }

    /// Begins a message on a dialogue that is ready: what to send, or the reply that the server would give to all.
    ///
    /// # Errors
    /// The server cannot take such a message: it said so in its EHLO reply.
    pub fn begin(&mut self, transaction: Transaction) -> Result<Vec<u8>, ServerReply> {
        let refused = |code, enhanced: &str, text: &str| {
            Err(ServerReply { code, enhanced: enhanced.to_owned(), text: text.to_owned() })
        };
        if transaction.utf8 && !self.extensions.utf8 {
            return refused(550, "5.6.7", "the next hop has no SMTPUTF8");
        }
        if self.extensions.size.is_some_and(|limit| limit > 0 && transaction.size > limit) {
            return refused(552, "5.3.4", "the message is larger than the next hop takes");
        }
        let mut commands = VecDeque::new();
        if self.dirty {
            commands.push_back(Sent::Rset);
        }
        commands.push_back(Sent::Mail);
        commands.extend(transaction.recipients.iter().map(|_| Sent::Rcpt));
        commands.push_back(Sent::Data);
        let mut progress = Progress {
            transaction,
            unsent: commands,
            awaited: VecDeque::new(),
            next_rcpt: 0,
            mail: None,
            rcpt: Vec::new(),
        };
        let out = self.send(&mut progress);
        self.dirty = true;
        self.state = State::Envelope(Box::new(progress));
        Ok(out)
    }

    /// The octets that end a dialogue.
    pub const QUIT: &'static [u8] = b"QUIT\r\n";

    fn ehlo(&mut self) -> Vec<u8> {
        self.state = State::Ehlo;
        ["EHLO ", &self.hostname, "\r\n"].concat().into_bytes()
    }

    fn replied(&mut self, reply: ServerReply, lines: &[String]) -> Option<Step> {
        match std::mem::replace(&mut self.state, State::Closed) {
            State::Banner if reply.code == 220 => Some(Step::Send(self.ehlo())),
            State::Ehlo if reply.is_positive() => {
                self.extensions = extensions(lines);
                if self.extensions.starttls && self.wish == TlsWish::WhenOffered {
                    self.state = State::StartTls;
                    return Some(Step::Send(b"STARTTLS\r\n".to_vec()));
                }
                self.state = State::Ready;
                Some(Step::Ready)
            }
            State::Ehlo if reply.code >= 500 => {
                self.state = State::Helo;
                Some(Step::Send(["HELO ", &self.hostname, "\r\n"].concat().into_bytes()))
            }
            State::Helo if reply.is_positive() => {
                self.extensions = Extensions::default();
                self.state = State::Ready;
                Some(Step::Ready)
            }
            State::StartTls if reply.code == 220 => Some(Step::StartTls),
            State::StartTls if reply.code != 421 => {
                self.state = State::Ready;
                Some(Step::Ready)
            }
            State::Envelope(progress) => self.envelope(progress, reply),
            State::Content(progress) => {
                self.dirty = false;
                self.state = State::Ready;
                Some(Step::Done(progress.outcomes(&reply)))
            }
            State::Banner | State::Ehlo | State::Helo | State::StartTls | State::Ready | State::Closed => {
                Some(Step::Refused(reply))
            }
        }
    }

    fn envelope(&mut self, mut progress: Box<Progress>, reply: ServerReply) -> Option<Step> {
        match progress.awaited.pop_front() {
            Some(Sent::Rset) => {}
            Some(Sent::Mail) => progress.mail = Some(reply),
            Some(Sent::Rcpt) => progress.rcpt.push(reply),
            Some(Sent::Data) if reply.code == 354 => {
                let wanted = progress.is_wanted();
                self.state = State::Content(progress);
                return Some(if wanted { Step::SendContent } else { Step::Send(b".\r\n".to_vec()) });
            }
            Some(Sent::Data) if reply.code >= 400 => {
                self.state = State::Ready;
                return Some(Step::Done(progress.outcomes(&reply)));
            }
            // No content has gone out: a "yes" here says that a message was taken which nobody has sent.
            Some(Sent::Data) | None => return Some(Step::Nonsense),
        }
        if !progress.awaited.is_empty() {
            self.state = State::Envelope(progress);
            return None;
        }
        // Without pipelining a refusal ends it early.
        let mail_refused = progress.mail.as_ref().filter(|mail| !mail.is_positive()).cloned();
        let all_refused = progress.unsent.front() == Some(&Sent::Data) && !progress.is_wanted();
        if let Some(last) = mail_refused.or_else(|| progress.rcpt.last().filter(|_| all_refused).cloned()) {
            self.state = State::Ready;
            return Some(Step::Done(progress.outcomes(&last)));
        }
        let out = self.send(&mut progress);
        self.state = State::Envelope(progress);
        Some(Step::Send(out))
    }

    /// The next command, or all of them.
    fn send(&self, progress: &mut Progress) -> Vec<u8> {
        let mut out = String::new();
        while let Some(command) = progress.unsent.pop_front() {
            progress.awaited.push_back(command);
            match command {
                Sent::Rset => out.push_str("RSET"),
                Sent::Mail => self.mail(&progress.transaction, &mut out),
                Sent::Rcpt => {
                    if let Some(recipient) = progress.transaction.recipients.get(progress.next_rcpt) {
                        self.rcpt(recipient, &mut out);
                    }
                    progress.next_rcpt += 1;
                }
                Sent::Data => out.push_str("DATA"),
            }
            out.push_str("\r\n");
            if !self.extensions.pipelining {
                break;
            }
        }
        out.into_bytes()
    }

    fn mail(&self, transaction: &Transaction, out: &mut String) {
        out.push_str("MAIL FROM:<");
        if let Some(sender) = &transaction.sender {
            let _ = write!(out, "{sender}");
        }
        out.push('>');
        if self.extensions.size.is_some() {
            let _ = write!(out, " SIZE={}", transaction.size);
        }
        if self.extensions.eight_bit && transaction.eight_bit {
            out.push_str(" BODY=8BITMIME");
        }
        if transaction.utf8 {
            out.push_str(" SMTPUTF8");
        }
        if self.extensions.dsn {
            if transaction.ret == Ret::Full {
                out.push_str(" RET=FULL");
            }
            if !transaction.envid.is_empty() {
                let _ = write!(out, " ENVID={}", transaction.envid);
            }
        }
    }

    fn rcpt(&self, recipient: &Recipient, out: &mut String) {
        let _ = write!(out, "RCPT TO:<{}>", recipient.address);
        if self.extensions.dsn {
            if recipient.notify != Notify::default() {
                let _ = write!(out, " NOTIFY={}", recipient.notify.to_parameter());
            }
            if !recipient.orcpt.is_empty() {
                let _ = write!(out, " ORCPT={}", recipient.orcpt);
            }
        }
    }
}

impl Progress {
    /// Whether some recipient was taken.
    fn is_wanted(&self) -> bool {
        self.mail.as_ref().is_some_and(ServerReply::is_positive) && self.rcpt.iter().any(ServerReply::is_positive)
    }

    /// The reply that counts for each recipient: his own refusal, or that of MAIL, or the last one.
    fn outcomes(&self, last: &ServerReply) -> Vec<ServerReply> {
        let mail = self.mail.as_ref().filter(|mail| !mail.is_positive());
        let outcome = |n: usize| {
            let own = self.rcpt.get(n).filter(|reply| !reply.is_positive());
            mail.or(own).unwrap_or(last).clone()
        };
        (0..self.transaction.recipients.len()).map(outcome).collect()
    }
}

fn extensions(lines: &[String]) -> Extensions {
    let mut found = Extensions::default();
    for line in lines.iter().skip(1) {
        let mut words = line.get(4..).unwrap_or_default().split_ascii_whitespace();
        match words.next().unwrap_or_default().to_ascii_uppercase().as_str() {
            "PIPELINING" => found.pipelining = true,
            "SIZE" => found.size = Some(words.next().and_then(|limit| limit.parse().ok()).unwrap_or(0)),
            "8BITMIME" => found.eight_bit = true,
            "SMTPUTF8" => found.utf8 = true,
            "DSN" => found.dsn = true,
            "STARTTLS" => found.starttls = true,
            _ => {}
        }
    }
    found
}

/// A content as it goes over the wire after DATA: dots stuffed, ended.
pub fn stuff(content: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(content.len() + content.len() / 64 + 5);
    for line in content.split_inclusive(|octet| *octet == b'\n') {
        if line.first() == Some(&b'.') {
            out.push(b'.');
        }
        out.extend_from_slice(line);
    }
    if !out.is_empty() && !out.ends_with(b"\r\n") {
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b".\r\n");
    out
}

#[cfg(test)]
mod tests;
