//! A client of IMAP: RFC 9051 and RFC 3501, as far as a probe walks.

mod answer;

use std::time::Duration;

use super::sasl::{Exchange, Mechanism};
use super::{Certificate, Class, Conversation, Fault, RESPONSE_MAX, Tls, printable};

pub use answer::{Folder, Message, Response};

/// SEARCH and CAPABILITY answer in one line, however much they have to say.
const LINE_MAX: usize = 64 * 1024;
/// Untagged responses to one command.
const RESPONSES_MAX: usize = 50_000;
/// Challenges of one authentication, and what the server says between them.
const CHALLENGES_MAX: usize = 16;

/// A session with an IMAP server.
pub struct Imap {
    conversation: Conversation,
    capabilities: Vec<String>,
    tag: u32,
}

/// A command in the making. Arguments that cannot be quoted become literals.
pub struct Command(Vec<Piece>);

enum Piece {
    Text(String),
    Literal(Vec<u8>),
}

impl Command {
    /// A command and its arguments as they stand.
    pub fn new(text: impl Into<String>) -> Self {
        Self(vec![Piece::Text(text.into())])
    }

    /// A further argument, quoted or as a literal.
    pub fn string(mut self, value: &str) -> Self {
        if value.bytes().all(|octet| (b' '..0x7f).contains(&octet)) {
            let escaped = value.replace('\\', "\\\\").replace('"', "\\\"");
            self.0.push(Piece::Text(format!(" \"{escaped}\"")));
        } else {
            self.0.push(Piece::Literal(value.as_bytes().to_vec()));
        }
        self
    }
}

impl Imap {
    /// Over a connection that stands; the greeting has not been read.
    pub fn new(mut conversation: Conversation) -> Self {
        conversation.line_max = LINE_MAX;
        Self { conversation, capabilities: Vec::new(), tag: 0 }
    }

    /// Reads the greeting.
    ///
    /// # Errors
    /// When it is a refusal or no IMAP.
    pub async fn greeting(&mut self) -> Result<(), Fault> {
        let line = self.conversation.text().await?;
        let upper = line.to_ascii_uppercase();
        if upper.starts_with("* BYE") {
            return Err(Fault::said(Class::GreetingRefused, "the server greets with", &line));
        }
        if !upper.starts_with("* OK") && !upper.starts_with("* PREAUTH") {
            return Err(Fault::said(Class::Protocol, "this is no IMAP greeting", &line));
        }
        Ok(())
    }

    /// Asks what the server can do.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn ask_capabilities(&mut self) -> Result<(), Fault> {
        let responses = self.run(Command::new("CAPABILITY")).await?;
        let lists = responses.iter().filter_map(|response| response.data("CAPABILITY"));
        self.capabilities = lists.flat_map(str::split_ascii_whitespace).map(str::to_ascii_uppercase).collect();
        Ok(())
    }

    /// Whether the server has a capability, by the last time it was asked.
    pub fn can(&self, capability: &str) -> bool {
        self.capabilities.iter().any(|known| known == capability)
    }

    /// Asks for TLS and does the handshake.
    ///
    /// # Errors
    /// When it is refused or fails.
    pub async fn start_tls(mut self, tls: &Tls) -> Result<(Self, Certificate), Fault> {
        self.run(Command::new("STARTTLS")).await.map_err(|fault| Fault { class: Class::TlsProtocol, ..fault })?;
        let (conversation, certificate) = self.conversation.start_tls(tls).await?;
        Ok((Self { conversation, capabilities: Vec::new(), tag: self.tag }, certificate))
    }

    /// Logs in: by SCRAM when it is offered, otherwise by LOGIN, otherwise by what is left; then asks what the server
    /// can do for this user.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn login(&mut self, user: &str, password: &str) -> Result<(), Fault> {
        self.ask_capabilities().await?;
        let offered = self.capabilities.iter().filter_map(|capability| capability.strip_prefix("AUTH="));
        let mechanism = Mechanism::choose(offered);
        let done = match mechanism {
            Some(mechanism @ (Mechanism::ScramSha256 | Mechanism::ScramSha1)) => {
                self.authenticate(mechanism, user, password).await
            }
            Some(mechanism) if self.can("LOGINDISABLED") => self.authenticate(mechanism, user, password).await,
            _ => self.run(Command::new("LOGIN").string(user).string(password)).await.map(drop),
        };
        done.map_err(|fault| match fault.class {
            Class::Rejected => Fault { class: Class::AuthFailed, ..fault },
            Class::Deferred => Fault { class: Class::AuthTemporary, ..fault },
            _ => fault,
        })?;
        self.ask_capabilities().await
    }

    async fn authenticate(&mut self, mechanism: Mechanism, user: &str, password: &str) -> Result<(), Fault> {
        let mut exchange = Exchange::new(mechanism, user, password)?;
        let mut initial = exchange.initial();
        let what = format!("AUTHENTICATE {}", mechanism.name());
        let tag = self.next_tag();
        self.conversation.send(format!("{tag} {what}\r\n").as_bytes()).await?;
        for _ in 0..CHALLENGES_MAX {
            let response = self.response().await?;
            if let Some(challenge) = response.line.strip_prefix('+') {
                let answer = match initial.take() {
                    Some(first) => first,
                    None => exchange.answer(challenge)?,
                };
                self.conversation.send(format!("{answer}\r\n").as_bytes()).await?;
            } else if let Some(end) = response.line.strip_prefix(&format!("{tag} ")) {
                return answer::tagged(end, &what);
            }
        }
        Err(Fault::new(Class::Protocol, format!("{what} has no end")))
    }

    /// Runs a command; returns the untagged responses.
    ///
    /// # Errors
    /// When the server answers NO, BAD or BYE, or nonsense.
    pub async fn run(&mut self, command: Command) -> Result<Vec<Response>, Fault> {
        let tag = self.next_tag();
        let what = match command.0.first() {
            Some(Piece::Text(text)) => text.split(' ').take(2).collect::<Vec<_>>().join(" "),
            _ => String::new(),
        };
        let mut out = tag.clone().into_bytes();
        out.push(b' ');
        for piece in &command.0 {
            match piece {
                Piece::Text(text) => out.extend_from_slice(text.as_bytes()),
                Piece::Literal(octets) => {
                    out.extend_from_slice(format!(" {{{}}}\r\n", octets.len()).as_bytes());
                    self.conversation.send(&out).await?;
                    self.await_go_ahead(&tag, &what).await?;
                    out.clone_from(octets);
                }
            }
        }
        out.extend_from_slice(b"\r\n");
        self.conversation.send(&out).await?;
        self.until_tagged(&tag, &what).await
    }

    async fn await_go_ahead(&mut self, tag: &str, what: &str) -> Result<(), Fault> {
        for _ in 0..RESPONSES_MAX {
            let response = self.response().await?;
            if response.line.starts_with('+') {
                return Ok(());
            }
            if let Some(end) = response.line.strip_prefix(&format!("{tag} ")) {
                answer::tagged(end, what)?;
                return Err(Fault::new(Class::Protocol, format!("{what} is done before it was said")));
            }
        }
        Err(endless(what))
    }

    async fn until_tagged(&mut self, tag: &str, what: &str) -> Result<Vec<Response>, Fault> {
        let mut untagged = Vec::new();
        let prefix = format!("{tag} ");
        while untagged.len() < RESPONSES_MAX {
            let response = self.response().await?;
            if let Some(end) = response.line.strip_prefix(&prefix) {
                return answer::tagged(end, what).map(|()| untagged);
            }
            if response.data("BYE").is_some() && what != "LOGOUT" {
                return Err(Fault::said(Class::Closed, "the server says goodbye", &response.line));
            }
            if !response.line.starts_with("* ") {
                return Err(Fault::said(Class::Protocol, &format!("no answer to {what}"), &response.line));
            }
            untagged.push(response);
        }
        Err(endless(what))
    }

    /// One response with its literals.
    async fn response(&mut self) -> Result<Response, Fault> {
        let mut response = Response { line: self.conversation.text().await?, literals: Vec::new() };
        while let Some((at, length)) = answer::literal_at_end(&response.line) {
            if length > RESPONSE_MAX || response.line.len() > LINE_MAX {
                return Err(Fault::new(Class::Protocol, format!("the server announces {length} octets: too much")));
            }
            response.line.truncate(at);
            response.literals.push(self.conversation.octets(length).await?);
            response.line.push_str(answer::LITERAL);
            response.line.push_str(&self.conversation.text().await?);
        }
        Ok(response)
    }

    /// Opens a folder.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn select(&mut self, folder: &str) -> Result<(), Fault> {
        self.run(Command::new("SELECT").string(folder)).await.map(drop)
    }

    /// The UIDs of the messages that match.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn search(&mut self, key: &str, value: &str) -> Result<Vec<u32>, Fault> {
        let responses = self.run(Command::new(format!("UID SEARCH {key}")).string(value)).await?;
        let lists = responses.iter().filter_map(|response| response.data("SEARCH"));
        Ok(lists.flat_map(str::split_ascii_whitespace).filter_map(|uid| uid.parse().ok()).collect())
    }

    /// Fetches `items` of messages, of which one at most is a literal.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn fetch(&mut self, uids: &[u32], items: &str) -> Result<Vec<Message>, Fault> {
        let responses = self.run(Command::new(format!("UID FETCH {} {items}", uid_set(uids)))).await?;
        Ok(responses.into_iter().filter_map(Message::from_response).collect())
    }

    /// Marks messages as deleted and expunges them: only them, when the server has UIDPLUS.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn delete(&mut self, uids: &[u32]) -> Result<(), Fault> {
        let set = uid_set(uids);
        self.run(Command::new(format!("UID STORE {set} +FLAGS.SILENT (\\Deleted)"))).await?;
        let expunge = if self.can("UIDPLUS") || self.can("IMAP4REV2") {
            format!("UID EXPUNGE {set}")
        } else {
            "EXPUNGE".to_owned()
        };
        self.run(Command::new(expunge)).await.map(drop)
    }

    /// All folders.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn folders(&mut self) -> Result<Vec<Folder>, Fault> {
        let responses = self.run(Command::new("LIST \"\" \"*\"")).await?;
        Ok(responses.iter().filter_map(Folder::from_response).collect())
    }

    /// Lets the server speak first, for `limit` at most: by IDLE (RFC 2177) when it has it, otherwise by NOOP after
    /// that time.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn wait(&mut self, limit: Duration) -> Result<(), Fault> {
        if !self.can("IDLE") {
            tokio::time::sleep(limit).await;
            return self.run(Command::new("NOOP")).await.map(drop);
        }
        let tag = self.next_tag();
        self.conversation.send(format!("{tag} IDLE\r\n").as_bytes()).await?;
        self.await_go_ahead(&tag, "IDLE").await?;
        if let Ok(news) = tokio::time::timeout(limit, self.conversation.text()).await {
            news?;
        }
        self.conversation.send(b"DONE\r\n").await?;
        self.until_tagged(&tag, "IDLE").await.map(drop)
    }

    /// Adds a message to a folder, as read.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn append(&mut self, folder: &str, message: &[u8]) -> Result<(), Fault> {
        let mut command = Command::new("APPEND").string(folder);
        command.0.push(Piece::Text(" (\\Seen)".to_owned()));
        command.0.push(Piece::Literal(message.to_vec()));
        self.run(command).await.map(drop)
    }

    /// Waits by IDLE (RFC 2177) until the server speaks up; `None` when it does not have it. The caller's time-out ends
    /// the wait: the session is of no further use then.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn idle(&mut self) -> Result<Option<String>, Fault> {
        if !self.can("IDLE") {
            return Ok(None);
        }
        let tag = self.next_tag();
        self.conversation.send(format!("{tag} IDLE\r\n").as_bytes()).await?;
        self.await_go_ahead(&tag, "IDLE").await?;
        for _ in 0..RESPONSES_MAX {
            let response = self.response().await?;
            // `* OK Still here` and the like is no news.
            if response.line.starts_with("* OK") {
                continue;
            }
            self.conversation.send(b"DONE\r\n").await?;
            self.until_tagged(&tag, "IDLE").await?;
            return Ok(Some(response.line));
        }
        Err(endless("IDLE"))
    }

    /// How full the mailbox is (RFC 9208): used and limit of its storage, in units of 1,024 octets. `None`: the server
    /// has no quotas, or this mailbox none.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn quota(&mut self, folder: &str) -> Result<Option<(u64, u64)>, Fault> {
        if !self.can("QUOTA") {
            return Ok(None);
        }
        let responses = self.run(Command::new("GETQUOTAROOT").string(folder)).await?;
        Ok(responses.iter().filter_map(|response| response.data("QUOTA")).find_map(answer::storage))
    }

    /// Says goodbye.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn logout(&mut self) -> Result<(), Fault> {
        self.run(Command::new("LOGOUT")).await.map(drop)
    }

    fn next_tag(&mut self) -> String {
        self.tag += 1;
        format!("v{}", self.tag)
    }
}

fn endless(what: &str) -> Fault {
    Fault::new(Class::Protocol, format!("the answer to {} has no end", printable(what)))
}

fn uid_set(uids: &[u32]) -> String {
    uids.iter().map(u32::to_string).collect::<Vec<_>>().join(",")
}
