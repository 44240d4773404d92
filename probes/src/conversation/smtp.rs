//! A client of SMTP and submission: RFC 5321, STARTTLS (RFC 3207), AUTH (RFC 4954).

use super::sasl::{Exchange, Mechanism};
use super::{Certificate, Class, Conversation, Fault, Tls, printable};

/// Lines of one reply; EHLO has the longest, some tens.
const REPLY_LINES_MAX: usize = 1_000;
/// Challenges of one authentication; no mechanism of ours has more than two.
const CHALLENGES_MAX: usize = 4;

/// A reply: its code and its lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// RFC 5321 section 4.2.
    pub code: u16,
    /// What follows the code, a line each.
    pub lines: Vec<String>,
}

impl Reply {
    /// `550 5.1.1 no such user`, short and printable.
    pub fn quote(&self) -> String {
        format!("{} {}", self.code, printable(&self.lines.join(" ")))
    }

    /// This reply, when it is the expected one.
    ///
    /// # Errors
    /// Otherwise what kind of refusal it is.
    pub fn expect(self, code: u16, after: &str) -> Result<Self, Fault> {
        if self.code == code {
            return Ok(self);
        }
        let enhanced = self.lines.first().and_then(|line| line.split(' ').next()).unwrap_or_default();
        let class = match self.code {
            _ if enhanced.ends_with(".2.2") => Class::Quota,
            452 | 552 if enhanced.is_empty() => Class::Quota,
            400..500 => Class::Deferred,
            500..600 => Class::Rejected,
            _ => Class::Protocol,
        };
        Err(Fault::new(class, format!("after {after}, the server replied {}", self.quote())))
    }
}

/// A session with an SMTP server.
pub struct Smtp {
    conversation: Conversation,
    extensions: Vec<String>,
}

impl Smtp {
    /// Over a connection that stands; the greeting has not been read.
    pub fn new(conversation: Conversation) -> Self {
        Self { conversation, extensions: Vec::new() }
    }

    /// Reads the greeting.
    ///
    /// # Errors
    /// When it is a refusal or no SMTP.
    pub async fn greeting(&mut self) -> Result<Reply, Fault> {
        let reply = self.reply().await?;
        match reply.code {
            220 => Ok(reply),
            _ => Err(Fault::new(Class::GreetingRefused, format!("the server greets with {}", reply.quote()))),
        }
    }

    /// Says EHLO with the address of this end, and learns the extensions.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn ehlo(&mut self) -> Result<(), Fault> {
        self.greet().await.map(drop)
    }

    /// As [`Self::ehlo`], and says what name the server gives itself.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn greet(&mut self) -> Result<String, Fault> {
        let name = self.conversation.address_literal();
        let reply = self.command(&format!("EHLO {name}")).await?.expect(250, "EHLO")?;
        let own = reply.lines.first().and_then(|line| line.split_ascii_whitespace().next()).unwrap_or_default();
        let own = own.to_owned();
        self.extensions = reply.lines.into_iter().skip(1).map(|line| line.to_ascii_uppercase()).collect();
        Ok(own)
    }

    /// Every extension as the server lists it, in upper case.
    pub fn extensions(&self) -> &[String] {
        &self.extensions
    }

    /// The conversation below, to go on in another protocol.
    pub fn into_conversation(self) -> Conversation {
        self.conversation
    }

    /// The parameters of an extension, when the server offers it.
    pub fn extension(&self, name: &str) -> Option<&str> {
        self.extensions.iter().find_map(|line| match line.strip_prefix(name)? {
            "" => Some(""),
            rest => rest.strip_prefix([' ', '=']),
        })
    }

    /// Asks for TLS; the handshake comes next.
    ///
    /// # Errors
    /// When it is not offered, or refused.
    pub async fn ask_tls(&mut self) -> Result<(), Fault> {
        if self.extension("STARTTLS").is_none() {
            return Err(Fault::new(Class::TlsProtocol, "the server does not offer STARTTLS"));
        }
        self.command("STARTTLS").await?.expect(220, "STARTTLS").map(drop)
    }

    /// The handshake. The extensions are to be asked for anew.
    ///
    /// # Errors
    /// When it fails.
    pub async fn start_tls(self, tls: &Tls) -> Result<(Self, Certificate), Fault> {
        let (conversation, certificate) = self.conversation.start_tls(tls).await?;
        Ok((Self::new(conversation), certificate))
    }

    /// Logs in by the best mechanism that both sides speak, and says which that was.
    ///
    /// # Errors
    /// When there is none, or the server refuses.
    pub async fn auth(&mut self, user: &str, password: &str) -> Result<Mechanism, Fault> {
        let offered = self.extension("AUTH").unwrap_or_default();
        let Some(mechanism) = self.mechanisms().next() else {
            return Err(Fault::said(Class::AuthFailed, "the server offers no login that we speak; it offers", offered));
        };
        self.auth_by(mechanism, user, password).await.map(|()| mechanism)
    }

    /// The mechanisms that both sides speak, the best first.
    pub fn mechanisms(&self) -> impl Iterator<Item = Mechanism> {
        Mechanism::spoken(self.extension("AUTH").unwrap_or_default().split_ascii_whitespace())
    }

    /// Logs in by one mechanism.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn auth_by(&mut self, mechanism: Mechanism, user: &str, password: &str) -> Result<(), Fault> {
        let mut exchange = Exchange::new(mechanism, user, password)?;
        let first = match exchange.initial() {
            Some(first) => format!("AUTH {} {first}", mechanism.name()),
            None => format!("AUTH {}", mechanism.name()),
        };
        let mut reply = self.command(&first).await?;
        for _ in 0..CHALLENGES_MAX {
            match reply.code {
                235 => return Ok(()),
                334 => {
                    let challenge = reply.lines.first().map(String::as_str).unwrap_or_default();
                    let answer = exchange.answer(challenge)?;
                    reply = self.command(&answer).await?;
                }
                _ => break,
            }
        }
        let class = match reply.code {
            334 => Class::Protocol,
            400..500 => Class::AuthTemporary,
            _ => Class::AuthFailed,
        };
        Err(Fault::new(class, format!("after AUTH {}, the server replied {}", mechanism.name(), reply.quote())))
    }

    /// Names a recipient, without sending anything: would it be taken?
    ///
    /// # Errors
    /// When the server refuses or defers it.
    pub async fn ask_recipient(&mut self, recipient: &str) -> Result<(), Fault> {
        self.command("MAIL FROM:<>").await?.expect(250, "MAIL FROM")?;
        self.command(&format!("RCPT TO:<{recipient}>")).await?.expect(250, "RCPT TO")?;
        self.command("RSET").await?.expect(250, "RSET").map(drop)
    }

    /// Sends a message; its lines must end in CRLF. Returns what the server said when it took it.
    ///
    /// # Errors
    /// When the server refuses or defers it.
    pub async fn send(&mut self, from: &str, to: &str, message: &[u8]) -> Result<String, Fault> {
        self.command(&format!("MAIL FROM:<{from}>")).await?.expect(250, "MAIL FROM")?;
        self.command(&format!("RCPT TO:<{to}>")).await?.expect(250, "RCPT TO")?;
        self.command("DATA").await?.expect(354, "DATA")?;
        let mut data = Vec::with_capacity(message.len() + 16);
        for line in message.split_inclusive(|&octet| octet == b'\n') {
            if line.first() == Some(&b'.') {
                data.push(b'.');
            }
            data.extend_from_slice(line);
        }
        data.extend_from_slice(b".\r\n");
        self.conversation.send(&data).await?;
        Ok(self.reply().await?.expect(250, "the message")?.quote())
    }

    /// Says goodbye.
    ///
    /// # Errors
    /// When the server does not answer with 221.
    pub async fn quit(&mut self) -> Result<(), Fault> {
        self.command("QUIT").await?.expect(221, "QUIT").map(drop)
    }

    /// Says a line and reads the reply to it, whatever it is.
    ///
    /// # Errors
    /// When the connection is gone, the reply is no SMTP, or the line has a line break in it.
    pub async fn command(&mut self, line: &str) -> Result<Reply, Fault> {
        if line.contains(['\r', '\n']) {
            return Err(Fault::new(Class::Config, "an address must not contain a line break"));
        }
        self.conversation.send(format!("{line}\r\n").as_bytes()).await?;
        self.reply().await
    }

    async fn reply(&mut self) -> Result<Reply, Fault> {
        let mut lines = Vec::new();
        let mut code = None;
        while lines.len() < REPLY_LINES_MAX {
            let line = self.conversation.text().await?;
            let nonsense = || Fault::said(Class::Protocol, "this is no SMTP reply", &line);
            let digits = line.get(..3).filter(|digits| digits.bytes().all(|octet| octet.is_ascii_digit()));
            let this: u16 = digits.and_then(|digits| digits.parse().ok()).ok_or_else(nonsense)?;
            if !(200..600).contains(&this) || *code.get_or_insert(this) != this {
                return Err(nonsense());
            }
            let last = match line.as_bytes().get(3) {
                None | Some(b' ') => true,
                Some(b'-') => false,
                Some(_) => return Err(nonsense()),
            };
            lines.push(line.get(4..).unwrap_or_default().to_owned());
            if last {
                return Ok(Reply { code: this, lines });
            }
        }
        Err(Fault::new(Class::Protocol, format!("the reply has no end: {REPLY_LINES_MAX} lines came")))
    }
}
