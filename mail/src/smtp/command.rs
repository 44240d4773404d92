//! Commands and their parameters (RFC 5321 section 4.1.1 and the extensions that we offer).

use super::address::{AddressError, EmailAddress, is_literal};
use super::reply::Reply;
use crate::config::is_domain;

/// A command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// HELO with the client's name.
    Helo(String),
    /// EHLO with the client's name.
    Ehlo(String),
    /// MAIL FROM.
    Mail(Mail),
    /// RCPT TO.
    Rcpt(Recipient),
    /// DATA.
    Data,
    /// BDAT (RFC 3030): octets that follow, and whether they are the last.
    Bdat {
        /// How many octets follow.
        size: u64,
        /// Whether the message ends with them.
        last: bool,
    },
    /// RSET.
    Rset,
    /// NOOP.
    Noop,
    /// QUIT.
    Quit,
    /// VRFY.
    Vrfy,
    /// EXPN.
    Expn,
    /// HELP.
    Help,
    /// STARTTLS (RFC 3207).
    StartTls,
    /// AUTH (RFC 4954).
    Auth {
        /// The mechanism, as it was written.
        mechanism: String,
        /// The initial response in base64; `=` stands for an empty one.
        initial: Option<String>,
    },
    /// A verb of HTTP: a browser was tricked into speaking to us.
    Http,
}

/// What MAIL says of a message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mail {
    /// The reverse-path; `None` for `<>`.
    pub sender: Option<EmailAddress>,
    /// The size that the client declares (RFC 1870).
    pub size: Option<u64>,
    /// BODY=8BITMIME (RFC 6152).
    pub eight_bit: bool,
    /// SMTPUTF8 (RFC 6531).
    pub utf8: bool,
    /// RET (RFC 3461 section 4.3).
    pub ret: Ret,
    /// ENVID (RFC 3461 section 4.4), as xtext.
    pub envid: String,
}

/// How much of a message a failure report gives back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Ret {
    /// Its header; also when the client did not say.
    #[default]
    Headers,
    /// All of it.
    Full,
}

/// What RCPT says of a recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipient {
    /// The forward-path.
    pub address: EmailAddress,
    /// NOTIFY (RFC 3461 section 4.1).
    pub notify: Notify,
    /// ORCPT (RFC 3461 section 4.2), `rfc822;xtext`.
    pub orcpt: String,
}

/// When the sender wants a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Notify {
    /// When it was delivered.
    pub success: bool,
    /// When it was not.
    pub failure: bool,
    /// When it takes long.
    pub delay: bool,
}

impl Default for Notify {
    fn default() -> Self {
        Self { success: false, failure: true, delay: true }
    }
}

impl Notify {
    /// As one number, for a column: 1 success, 2 failure, 4 delay.
    pub fn bits(self) -> u8 {
        u8::from(self.success) | u8::from(self.failure) << 1 | u8::from(self.delay) << 2
    }
    /// From [`bits`](Self::bits).
    pub fn from_bits(bits: u8) -> Self {
        Self { success: bits & 1 != 0, failure: bits & 2 != 0, delay: bits & 4 != 0 }
    }
    /// As the parameter's value.
    pub fn to_parameter(self) -> String {
        let words = [(self.success, "SUCCESS"), (self.failure, "FAILURE"), (self.delay, "DELAY")];
        let chosen: Vec<&str> = words.into_iter().filter(|(on, _)| *on).map(|(_, word)| word).collect();
        if chosen.is_empty() { "NEVER".to_owned() } else { chosen.join(",") }
    }
}

const UNKNOWN: Reply = Reply::new(500, "5.5.1", "command not recognised");
const NOT_UTF8: Reply = Reply::new(500, "5.5.2", "the line is not UTF-8");
const NO_ARGUMENT: Reply = Reply::new(501, "5.5.4", "the command takes no argument");
const BAD_HELO: Reply = Reply::new(501, "5.5.2", "say your domain name or address literal");
const BAD_PATH: Reply = Reply::new(501, "5.5.2", "the address stands in angle brackets");
const BAD_BDAT: Reply = Reply::new(501, "5.5.4", "BDAT size [LAST]");
const BAD_AUTH: Reply = Reply::new(501, "5.5.4", "AUTH mechanism [initial-response]");
const BAD_VALUE: Reply = Reply::new(501, "5.5.4", "a parameter has a value that it cannot have");
const UNKNOWN_PARAMETER: Reply = Reply::new(555, "5.5.4", "a parameter is not recognised");

impl Command {
    /// Reads a line without its CRLF. `domain` is what a lone `postmaster` belongs to.
    ///
    /// # Errors
    /// The reply that tells what is wrong.
    pub fn parse(line: &[u8], domain: &str) -> Result<Self, Reply> {
        let line = std::str::from_utf8(line).map_err(|_| NOT_UTF8)?.trim_end_matches(' ');
        if line.contains('\0') {
            return Err(UNKNOWN);
        }
        let (verb, argument) = line.split_once(' ').unwrap_or((line, ""));
        let argument = argument.trim_start_matches(' ');
        let alone = |command| if argument.is_empty() { Ok(command) } else { Err(NO_ARGUMENT) };
        match verb.to_ascii_uppercase().as_str() {
            "HELO" => helo(argument).map(Self::Helo),
            "EHLO" => helo(argument).map(Self::Ehlo),
            "MAIL" => mail(argument).map(Self::Mail),
            "RCPT" => rcpt(argument, domain).map(Self::Rcpt),
            "DATA" => alone(Self::Data),
            "BDAT" => bdat(argument),
            "RSET" => alone(Self::Rset),
            "QUIT" => alone(Self::Quit),
            "STARTTLS" => alone(Self::StartTls),
            "AUTH" => auth(argument),
            "NOOP" => Ok(Self::Noop),
            "VRFY" => Ok(Self::Vrfy),
            "EXPN" => Ok(Self::Expn),
            "HELP" => Ok(Self::Help),
            "GET" | "POST" | "PUT" | "HEAD" | "OPTIONS" | "CONNECT" => Ok(Self::Http),
            _ => Err(UNKNOWN),
        }
    }
}

fn helo(argument: &str) -> Result<String, Reply> {
    if is_domain(argument) || is_literal(argument) { Ok(argument.to_owned()) } else { Err(BAD_HELO) }
}

fn bdat(argument: &str) -> Result<Command, Reply> {
    let (size, last) = match argument.split_once(' ') {
        Some((size, word)) if word.trim().eq_ignore_ascii_case("LAST") => (size, true),
        Some(_) => return Err(BAD_BDAT),
        None => (argument, false),
    };
    Ok(Command::Bdat { size: number(size).ok_or(BAD_BDAT)?, last })
}

fn auth(argument: &str) -> Result<Command, Reply> {
    let mut words = argument.split(' ').filter(|word| !word.is_empty());
    let mechanism = words.next().ok_or(BAD_AUTH)?.to_owned();
    let initial = words.next().map(str::to_owned);
    if words.next().is_some() { Err(BAD_AUTH) } else { Ok(Command::Auth { mechanism, initial }) }
}

/// Digits only: `parse` alone would take a sign.
fn number(text: &str) -> Option<u64> {
    if text.bytes().all(|octet| octet.is_ascii_digit()) { text.parse().ok() } else { None }
}

fn mail(argument: &str) -> Result<Mail, Reply> {
    let (path, parameters) = path(argument, "FROM:")?;
    let mut mail = Mail::default();
    if !path.is_empty() {
        mail.sender = Some(address(path).map_err(|error| match error {
            AddressError::Domain | AddressError::NoDomain => Reply::with(553, "5.1.8", error.to_string()),
            AddressError::Local => Reply::with(553, "5.1.7", error.to_string()),
        })?);
    }
    for (name, value) in parameters {
        match (name.as_str(), value) {
            ("SIZE", Some(value)) => mail.size = Some(number(value).ok_or(BAD_VALUE)?),
            ("BODY", Some(value)) => {
                mail.eight_bit = match value.to_ascii_uppercase().as_str() {
                    "7BIT" => false,
                    "8BITMIME" => true,
                    _ => return Err(BAD_VALUE),
                }
            }
            ("SMTPUTF8", None) => mail.utf8 = true,
            ("RET", Some(value)) => {
                mail.ret = match value.to_ascii_uppercase().as_str() {
                    "FULL" => Ret::Full,
                    "HDRS" => Ret::Headers,
                    _ => return Err(BAD_VALUE),
                }
            }
            ("ENVID", Some(value)) => mail.envid = xtext(value, 100)?,
            // RFC 4954 section 5: taken and, as we trust no such claim, not passed on.
            ("AUTH", Some(_)) => {}
            _ => return Err(UNKNOWN_PARAMETER),
        }
    }
    if !mail.utf8 && mail.sender.as_ref().is_some_and(|sender| !sender.is_ascii()) {
        return Err(Reply::new(553, "5.6.7", "such an address needs the SMTPUTF8 parameter"));
    }
    Ok(mail)
}

fn rcpt(argument: &str, domain: &str) -> Result<Recipient, Reply> {
    let (path, parameters) = path(argument, "TO:")?;
    let address = if path.eq_ignore_ascii_case("postmaster") { EmailAddress::new(path, domain) } else { address(path) };
    let address = address.map_err(|error| match error {
        AddressError::Domain | AddressError::NoDomain => Reply::with(553, "5.1.2", error.to_string()),
        AddressError::Local => Reply::with(553, "5.1.3", error.to_string()),
    })?;
    let mut recipient = Recipient { address, notify: Notify::default(), orcpt: String::new() };
    for (name, value) in parameters {
        match (name.as_str(), value) {
            ("NOTIFY", Some(value)) => recipient.notify = notify(value)?,
            ("ORCPT", Some(value)) => {
                value.split_once(';').filter(|(kind, _)| !kind.is_empty()).ok_or(BAD_VALUE)?;
                recipient.orcpt = xtext(value, 500)?;
            }
            _ => return Err(UNKNOWN_PARAMETER),
        }
    }
    Ok(recipient)
}

fn notify(value: &str) -> Result<Notify, Reply> {
    let mut notify = Notify { success: false, failure: false, delay: false };
    if value.eq_ignore_ascii_case("NEVER") {
        return Ok(notify);
    }
    for word in value.split(',') {
        match word.to_ascii_uppercase().as_str() {
            "SUCCESS" => notify.success = true,
            "FAILURE" => notify.failure = true,
            "DELAY" => notify.delay = true,
            _ => return Err(BAD_VALUE),
        }
    }
    Ok(notify)
}

/// Text of RFC 3461 section 4: printable, without `=` and space; kept encoded, because it is only passed on.
fn xtext(value: &str, limit: usize) -> Result<String, Reply> {
    let good = !value.is_empty() && value.len() <= limit && value.chars().all(|c| !c.is_control() && c != '=');
    if good { Ok(value.to_owned()) } else { Err(BAD_VALUE) }
}

type Parameters<'a> = Vec<(String, Option<&'a str>)>;

/// `FROM:<path> parameters`: the path without brackets and source route (RFC 5321 appendix C), the parameters.
fn path<'a>(argument: &'a str, keyword: &str) -> Result<(&'a str, Parameters<'a>), Reply> {
    let head = argument.get(..keyword.len()).filter(|head| head.eq_ignore_ascii_case(keyword)).ok_or(BAD_PATH)?;
    let rest = argument[head.len()..].trim_start_matches(' ').strip_prefix('<').ok_or(BAD_PATH)?;
    let (mut quoted, mut escaped) = (false, false);
    let end = rest
        .bytes()
        .position(|octet| {
            let ends = octet == b'>' && !quoted;
            if octet == b'"' && !escaped {
                quoted = !quoted;
            }
            escaped = octet == b'\\' && !escaped;
            ends
        })
        .ok_or(BAD_PATH)?;
    let path = &rest[..end];
    let path = match path.strip_prefix('@') {
        Some(route) => route.split_once(':').ok_or(BAD_PATH)?.1,
        None => path,
    };
    let parameters = &rest[end + 1..];
    if !parameters.is_empty() && !parameters.starts_with(' ') {
        return Err(BAD_PATH);
    }
    let parameters = parameters.split(' ').filter(|word| !word.is_empty()).map(|word| match word.split_once('=') {
        Some((name, value)) => (name.to_ascii_uppercase(), Some(value)),
        None => (word.to_ascii_uppercase(), None),
    });
    Ok((path, parameters.collect()))
}

fn address(path: &str) -> Result<EmailAddress, AddressError> {
    path.parse()
}
