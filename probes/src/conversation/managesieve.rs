//! A client of ManageSieve, RFC 5804, as far as a probe walks.

mod answer;

use super::sasl::{Exchange, Mechanism};
use super::{Certificate, Class, Conversation, Fault, RESPONSE_MAX, Tls, printable};

use answer::{Ending, Token};

/// Responses to one command: scripts of a user, or capabilities.
const RESPONSES_MAX: usize = 10_000;
/// Strings of one response.
const LITERALS_MAX: usize = 100;
/// Challenges of one authentication.
const CHALLENGES_MAX: usize = 8;

/// A session with a ManageSieve server.
pub struct ManageSieve {
    conversation: Conversation,
    capabilities: Vec<(String, String)>,
}

/// A script as LISTSCRIPTS shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    /// Its name.
    pub name: String,
    /// Whether it is the one that is applied.
    pub active: bool,
}

impl ManageSieve {
    /// Over a connection that stands; the greeting has not been read.
    pub fn new(conversation: Conversation) -> Self {
        Self { conversation, capabilities: Vec::new() }
    }

    /// Reads the greeting: the capabilities.
    ///
    /// # Errors
    /// When it is a refusal, or no ManageSieve.
    pub async fn greeting(&mut self) -> Result<(), Fault> {
        let responses = self.until_ending("the connection").await.map_err(|fault| match fault.class {
            Class::Rejected | Class::Deferred => Fault { class: Class::GreetingRefused, ..fault },
            _ => fault,
        })?;
        self.learn(&responses)
    }

    fn learn(&mut self, responses: &[Vec<Token>]) -> Result<(), Fault> {
        self.capabilities = responses.iter().filter_map(|response| answer::capability(response)).collect();
        // RFC 5804 section 1.7: what every server must say of itself.
        match self.capability("SIEVE") {
            Some(_) => Ok(()),
            None => Err(Fault::new(Class::Protocol, "the server does not list SIEVE among its capabilities")),
        }
    }

    /// The value of a capability, by the last time that the server listed them.
    pub fn capability(&self, name: &str) -> Option<&str> {
        self.capabilities.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Asks for TLS, does the handshake, and reads the capabilities that the server then lists anew.
    ///
    /// # Errors
    /// When it is not offered, refused, or fails.
    pub async fn start_tls(mut self, tls: &Tls) -> Result<(Self, Certificate), Fault> {
        if self.capability("STARTTLS").is_none() {
            return Err(Fault::new(Class::TlsProtocol, "the server does not offer STARTTLS"));
        }
        self.command("STARTTLS").await.map_err(|fault| Fault { class: Class::TlsProtocol, ..fault })?;
        let (conversation, certificate) = self.conversation.start_tls(tls).await?;
        let mut secure = Self::new(conversation);
        secure.greeting().await?;
        Ok((secure, certificate))
    }

    /// Logs in by the best mechanism that both sides speak, and says which that was.
    ///
    /// # Errors
    /// When there is none, or the server refuses.
    pub async fn login(&mut self, user: &str, password: &str) -> Result<Mechanism, Fault> {
        let offered = self.capability("SASL").unwrap_or_default();
        // Only strings come from the server first in LOGIN, which RFC 5804 has no need of.
        let spoken = Mechanism::spoken(offered.split_ascii_whitespace()).find(|known| *known != Mechanism::Login);
        let Some(mechanism) = spoken else {
            return Err(Fault::said(Class::AuthFailed, "the server offers no login that we speak; it offers", offered));
        };
        self.authenticate(mechanism, user, password).await.map_err(|fault| match fault.class {
            Class::Rejected => Fault { class: Class::AuthFailed, ..fault },
            Class::Deferred => Fault { class: Class::AuthTemporary, ..fault },
            _ => fault,
        })?;
        Ok(mechanism)
    }

    async fn authenticate(&mut self, mechanism: Mechanism, user: &str, password: &str) -> Result<(), Fault> {
        let mut exchange = Exchange::new(mechanism, user, password)?;
        let initial = exchange.initial().map(|initial| format!(" \"{initial}\"")).unwrap_or_default();
        let name = mechanism.name();
        self.conversation.send(format!("AUTHENTICATE \"{name}\"{initial}\r\n").as_bytes()).await?;
        for _ in 0..CHALLENGES_MAX {
            let response = self.response().await?;
            if let Some(ending) = Ending::of(&response) {
                let sasl = ending.result("AUTHENTICATE")?;
                // The server's last word, by which it proves that it knows the password too.
                return match sasl.filter(|_| !matches!(mechanism, Mechanism::Plain | Mechanism::Login)) {
                    Some(proof) => exchange.answer(&proof).map(drop),
                    None if exchange.is_proven() => Ok(()),
                    None => Err(Fault::new(Class::Protocol, "the server takes the login without proving itself")),
                };
            }
            let [Token::String(challenge)] = response.as_slice() else {
                return Err(Fault::said(Class::Protocol, "this is no challenge", &answer::shown(&response)));
            };
            let answer = exchange.answer(&String::from_utf8_lossy(challenge))?;
            self.conversation.send(format!("\"{answer}\"\r\n").as_bytes()).await?;
        }
        Err(Fault::new(Class::Protocol, format!("AUTHENTICATE {name} has no end")))
    }

    /// The user's scripts.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn scripts(&mut self) -> Result<Vec<Script>, Fault> {
        let responses = self.command("LISTSCRIPTS").await?;
        responses.iter().map(|response| answer::script(response)).collect()
    }

    /// Whether there is room for a script of that size, without sending it.
    ///
    /// # Errors
    /// [`Class::Quota`] when there is not, or when the server refuses.
    pub async fn have_space(&mut self, name: &str, octets: usize) -> Result<(), Fault> {
        self.command(&format!("HAVESPACE {} {octets}", quoted(name)?)).await.map(drop)
    }

    /// Asks whether a script is valid, without keeping it. False: the server is too old to say (RFC 5804 section 2.12).
    ///
    /// # Errors
    /// When it is not valid.
    pub async fn check_script(&mut self, script: &str) -> Result<bool, Fault> {
        if self.capability("VERSION").is_none() {
            return Ok(false);
        }
        self.with_literal("CHECKSCRIPT", "", script).await.map(|()| true)
    }

    /// Keeps a script, which does not become active by that.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn put_script(&mut self, name: &str, script: &str) -> Result<(), Fault> {
        self.with_literal("PUTSCRIPT", &quoted(name)?, script).await
    }

    /// Removes a script that is not active.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn delete_script(&mut self, name: &str) -> Result<(), Fault> {
        self.command(&format!("DELETESCRIPT {}", quoted(name)?)).await.map(drop)
    }

    /// Says goodbye.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn logout(&mut self) -> Result<(), Fault> {
        self.command("LOGOUT").await.map(drop)
    }

    async fn with_literal(&mut self, command: &str, argument: &str, text: &str) -> Result<(), Fault> {
        let space = if argument.is_empty() { "" } else { " " };
        let length = text.len();
        self.conversation.send(format!("{command}{space}{argument} {{{length}+}}\r\n{text}\r\n").as_bytes()).await?;
        self.until_ending(command).await.map(drop)
    }

    async fn command(&mut self, line: &str) -> Result<Vec<Vec<Token>>, Fault> {
        self.conversation.send(format!("{line}\r\n").as_bytes()).await?;
        self.until_ending(line.split(' ').next().unwrap_or_default()).await
    }

    /// The responses up to OK.
    async fn until_ending(&mut self, after: &str) -> Result<Vec<Vec<Token>>, Fault> {
        let mut responses = Vec::new();
        while responses.len() < RESPONSES_MAX {
            let response = self.response().await?;
            match Ending::of(&response) {
                Some(ending) => return ending.result(after).map(|_| responses),
                None => responses.push(response),
            }
        }
        Err(Fault::new(Class::Protocol, format!("the answer to {after} has no end: {RESPONSES_MAX} lines came")))
    }

    /// One response, with its literals.
    async fn response(&mut self) -> Result<Vec<Token>, Fault> {
        let mut tokens = Vec::new();
        for _ in 0..LITERALS_MAX {
            let line = self.conversation.text().await?;
            let Some(length) = answer::tokens(&line, &mut tokens)
                .ok_or_else(|| Fault::said(Class::Protocol, "this is no ManageSieve answer", &line))?
            else {
                return Ok(tokens);
            };
            if length > RESPONSE_MAX {
                return Err(Fault::new(Class::Protocol, format!("the server announces {length} octets: too much")));
            }
            tokens.push(Token::String(self.conversation.octets(length).await?));
        }
        Err(Fault::new(Class::Protocol, "a response has no end"))
    }
}

/// RFC 5804 section 1.2: a quoted string.
fn quoted(text: &str) -> Result<String, Fault> {
    if text.contains(['\r', '\n', '\0']) {
        return Err(Fault::new(
            Class::Config,
            format!("a script's name must not contain a line break: {}", printable(text)),
        ));
    }
    Ok(format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")))
}
