//! A client of POP3: RFC 1939, STLS (RFC 2595), response codes (RFC 2449, RFC 3206).

use std::time::Duration;

use super::{Certificate, Class, Conversation, Fault, Tls};

/// How long to wait before asking again for a mailbox that another session holds.
const BUSY_PAUSE: Duration = Duration::from_millis(250);
/// Lines of one answer.
const LINES_MAX: usize = 200_000;

/// A session with a POP3 server.
pub struct Pop3(Conversation);

impl Pop3 {
    /// Over a connection that stands; the greeting has not been read.
    pub fn new(conversation: Conversation) -> Self {
        Self(conversation)
    }

    /// Reads the greeting.
    ///
    /// # Errors
    /// When it is a refusal or no POP3.
    pub async fn greeting(&mut self) -> Result<(), Fault> {
        self.status("the connection").await.map(drop).map_err(|mut fault| {
            if matches!(fault.class, Class::Rejected | Class::Deferred) {
                fault.class = Class::GreetingRefused;
            }
            fault
        })
    }

    /// Asks for TLS and does the handshake.
    ///
    /// # Errors
    /// When it is refused or fails.
    pub async fn start_tls(mut self, tls: &Tls) -> Result<(Self, Certificate), Fault> {
        self.command("STLS").await.map_err(|fault| Fault { class: Class::TlsProtocol, ..fault })?;
        let (conversation, certificate) = self.0.start_tls(tls).await?;
        Ok((Self(conversation), certificate))
    }

    /// Logs in. A mailbox that another session holds is asked for again until the caller's time is over.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn login(&mut self, user: &str, password: &str) -> Result<(), Fault> {
        if user.contains(['\r', '\n']) || password.contains(['\r', '\n']) {
            return Err(Fault::new(Class::Config, "a user name or password must not contain a line break"));
        }
        loop {
            self.command(&format!("USER {user}")).await.map_err(refused_login)?;
            self.0.send(format!("PASS {password}\r\n").as_bytes()).await?;
            match self.status("PASS").await {
                Err(fault) if fault.detail.contains("[IN-USE]") => tokio::time::sleep(BUSY_PAUSE).await,
                other => return other.map(drop).map_err(refused_login),
            }
        }
    }

    /// How many messages there are, and how many octets.
    ///
    /// # Errors
    /// When the server refuses or answers nonsense.
    pub async fn stat(&mut self) -> Result<(u64, u64), Fault> {
        let answer = self.command("STAT").await?;
        let mut numbers = answer.split(' ').map(str::parse);
        match (numbers.next(), numbers.next()) {
            (Some(Ok(count)), Some(Ok(octets))) => Ok((count, octets)),
            _ => Err(Fault::said(Class::Protocol, "STAT is answered with", &answer)),
        }
    }

    /// The header of a message; `None` when the server does not give it: another session may have removed it since the
    /// messages were counted (RFC 1939 section 8 leaves open what is seen of that).
    ///
    /// # Errors
    /// When the conversation breaks.
    pub async fn header(&mut self, number: u64) -> Result<Option<Vec<u8>>, Fault> {
        match self.command(&format!("TOP {number} 0")).await {
            Ok(_) => self.lines().await.map(Some),
            Err(fault) if matches!(fault.class, Class::Deferred | Class::Rejected) => Ok(None),
            Err(fault) => Err(fault),
        }
    }

    /// A whole message.
    ///
    /// # Errors
    /// When the server refuses, or it is larger than what is read of one answer.
    pub async fn retrieve(&mut self, number: u64) -> Result<Vec<u8>, Fault> {
        self.command(&format!("RETR {number}")).await?;
        self.lines().await
    }

    /// Marks a message as deleted; it goes when the session ends by [`Self::quit`].
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn delete(&mut self, number: u64) -> Result<(), Fault> {
        self.command(&format!("DELE {number}")).await.map(drop)
    }

    /// Says goodbye.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn quit(&mut self) -> Result<(), Fault> {
        self.command("QUIT").await.map(drop)
    }

    async fn command(&mut self, line: &str) -> Result<String, Fault> {
        self.0.send(format!("{line}\r\n").as_bytes()).await?;
        self.status(line.split(' ').next().unwrap_or_default()).await
    }

    async fn status(&mut self, after: &str) -> Result<String, Fault> {
        let line = self.0.text().await?;
        if let Some(text) = line.strip_prefix("+OK") {
            return Ok(text.trim_start().to_owned());
        }
        let Some(text) = line.strip_prefix("-ERR") else {
            return Err(Fault::said(Class::Protocol, "this is no POP3 answer", &line));
        };
        let class = match text.to_ascii_uppercase() {
            text if text.contains("[SYS/TEMP]") || text.contains("[IN-USE]") => Class::Deferred,
            _ => Class::Rejected,
        };
        Err(Fault::said(class, &format!("after {after}, the server replied -ERR"), text))
    }

    async fn lines(&mut self) -> Result<Vec<u8>, Fault> {
        let mut text = Vec::new();
        for _ in 0..LINES_MAX {
            let line = self.0.line().await?;
            match line.as_slice() {
                b"." => return Ok(text),
                stuffed => text.extend_from_slice(stuffed.strip_prefix(b".").unwrap_or(stuffed)),
            }
            text.extend_from_slice(b"\r\n");
        }
        Err(Fault::new(Class::Protocol, format!("the answer has no end: {LINES_MAX} lines came")))
    }
}

fn refused_login(fault: Fault) -> Fault {
    let class = match fault.class {
        Class::Rejected => Class::AuthFailed,
        Class::Deferred => Class::AuthTemporary,
        other => other,
    };
    Fault { class, ..fault }
}
