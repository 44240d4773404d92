//! The driver of server sessions: octets between sockets and [`Session`], questions to directory and queue, events.

mod reception;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use aggregator::emit::Emitter;
use aggregator::event::{Session as SessionRow, Time};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

use super::address::EmailAddress;
use super::reply;
use super::session::{Action, Answer, EndReason, RecipientVerdict, Role, Session, Settings};
use crate::config::Config;
use crate::listen::{Connection, Serve, Stream, TlsFacts};
use crate::login::Logins;
use crate::queue::store::Queue;
use crate::store::{Account, BlobStore, Deliver, Directory, StoreError};
use crate::tls::ServerTls;

/// Octets read at a time.
const READ_OCTETS: usize = 16_384;
/// Octets of bodies that all sessions of a process hold together. Past it messages are put off with 452.
pub const MAX_HELD_OCTETS: usize = 1 << 30;
/// How long a client that was sent away may go on talking before the connection is cut.
const LINGER: Duration = Duration::from_secs(30);
/// How long it may be silent then.
const LINGER_SILENCE: Duration = Duration::from_secs(2);
/// Content that must come within one command time-out: a client cannot hold a session with an octet a minute.
const PROGRESS_OCTETS: u64 = 4_096;

/// MX or submission: what its sessions share.
pub struct Server {
    config: Arc<Config>,
    settings: Arc<Settings>,
    tls: Arc<ServerTls>,
    directory: Arc<dyn Directory>,
    blobs: Arc<dyn BlobStore>,
    mailboxes: Arc<dyn Deliver>,
    queue: Queue,
    emitter: Emitter,
    logins: Logins,
    held: AtomicUsize,
}

/// What a [`Server`] is made of.
pub struct Parts {
    /// The section of the configuration.
    pub config: Arc<Config>,
    /// Certificates.
    pub tls: Arc<ServerTls>,
    /// Who may log in, and which addresses end here.
    pub directory: Arc<dyn Directory>,
    /// Bodies.
    pub blobs: Arc<dyn BlobStore>,
    /// The mailboxes: whether they have room.
    pub mailboxes: Arc<dyn Deliver>,
    /// Where accepted messages go.
    pub queue: Queue,
    /// Where events go.
    pub emitter: Emitter,
}

impl Server {
    /// The server of a role.
    pub fn new(role: Role, parts: Parts) -> Self {
        let config = &parts.config;
        let settings = Settings {
            hostname: config.hostname.clone(),
            domain: config.domains.first().cloned().unwrap_or_else(|| config.hostname.clone()),
            role,
            max_message_bytes: usize::try_from(config.max_message_bytes).unwrap_or(usize::MAX),
            max_recipients: config.limits.max_recipients,
        };
        let (max_failures, emitter) = (config.limits.max_login_failures, parts.emitter.clone());
        let directory = Arc::clone(&parts.directory);
        let look = move |user: &str, password: &str| directory.authenticate(user, password);
        Self {
            settings: Arc::new(settings),
            logins: Logins::new(protocol(role), max_failures, emitter, look),
            held: AtomicUsize::new(0),
            config: parts.config,
            tls: parts.tls,
            directory: parts.directory,
            blobs: parts.blobs,
            mailboxes: parts.mailboxes,
            queue: parts.queue,
            emitter: parts.emitter,
        }
    }

    /// Asks the directory, off the async threads. `None`: it cannot be read.
    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&dyn Directory) -> Result<T, StoreError> + Send + 'static,
    ) -> Option<T> {
        let directory = Arc::clone(&self.directory);
        match tokio::task::spawn_blocking(move || question(directory.as_ref())).await {
            Ok(Ok(answer)) => Some(answer),
            Ok(Err(error)) => {
                tracing::error!(%error, "the directory could not be read");
                None
            }
            Err(error) => {
                tracing::error!(%error, "a look-up in the directory died");
                None
            }
        }
    }

    async fn recipient(&self, address: &EmailAddress, octets: u64) -> RecipientVerdict {
        let mailboxes = Arc::clone(&self.mailboxes);
        let (domain, address) = (address.domain().to_owned(), address.to_string());
        let configured = self.config.is_local_domain(&domain);
        let verdict = self.ask(move |directory| {
            if !configured && !directory.is_local_domain(&domain)? {
                return Ok(RecipientVerdict::NotLocal);
            }
            let Some(account) = directory.resolve(&address)? else { return Ok(RecipientVerdict::UnknownUser) };
            match mailboxes.has_room(account.id, octets) {
                Ok(true) => Ok(RecipientVerdict::Accept),
                Ok(false) => Ok(RecipientVerdict::Full),
                Err(error) => {
                    // The queue can take it all the same.
                    tracing::error!(%error, "whether a mailbox has room could not be read");
                    Ok(RecipientVerdict::Accept)
                }
            }
        });
        verdict.await.unwrap_or(RecipientVerdict::Unavailable)
    }
}

/// The name in events.
const fn protocol(role: Role) -> &'static str {
    match role {
        Role::Mx => "smtp",
        Role::Submission => "submission",
    }
}

impl Serve for Server {
    fn busy(&self) -> &[u8] {
        reply::BUSY
    }

    async fn serve(&self, connection: Connection) {
        let Connection { stream, peer, shutdown, .. } = connection;
        let tls = stream.tls();
        let mut talk = Talk {
            server: self,
            session: Session::new(Arc::clone(&self.settings), tls.is_some()),
            peer,
            tls,
            out: Vec::new(),
            octets_in: 0,
            octets_out: 0,
            held: 0,
        };
        let begun = Instant::now();
        let reason = talk.run(stream, &shutdown).await;
        talk.hold(0);
        self.emitter.emit(SessionRow {
            ts: Time::now(),
            protocol: protocol(self.settings.role).to_owned(),
            user: talk.session.user().map_or(String::new(), |account| account.address.clone()),
            client_ip: Some(peer.ip().into()),
            duration_ms: Some(u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX)),
            bytes_in: Some(talk.octets_in),
            bytes_out: Some(talk.octets_out),
            commands: Some(talk.session.commands()),
            end_reason: reason.as_str().to_owned(),
            ..SessionRow::default()
        });
    }
}

/// One session with its socket's facts.
struct Talk<'a> {
    server: &'a Server,
    session: Session,
    peer: SocketAddr,
    tls: Option<TlsFacts>,
    out: Vec<u8>,
    octets_in: u64,
    octets_out: u64,
    /// What this session has added to the server's count of held octets.
    held: usize,
}

/// What follows an action.
enum Flow {
    Go,
    StartTls,
    End(EndReason),
}

impl Talk<'_> {
    async fn run(&mut self, mut stream: Stream, shutdown: &tokio_util::sync::CancellationToken) -> EndReason {
        let timeout = self.server.config.limits.command_timeout();
        self.session.banner().write(&mut self.out);
        let mut buffer = vec![0; READ_OCTETS];
        let mut deadline = Instant::now() + timeout;
        let mut progress = (0, 0);
        loop {
            if !self.flush(&mut stream).await {
                return EndReason::Disconnected;
            }
            let read = tokio::select! {
                biased;
                () = shutdown.cancelled(), if self.session.is_idle() => {
                    reply::SHUTTING_DOWN.write(&mut self.out);
                    self.flush(&mut stream).await;
                    return EndReason::Shutdown;
                }
                read = tokio::time::timeout_at(deadline, stream.read(&mut buffer)) => read,
            };
            let mut input = match read {
                Err(_) => {
                    reply::TIMED_OUT.write(&mut self.out);
                    self.flush(&mut stream).await;
                    return EndReason::TimedOut;
                }
                Ok(Ok(0) | Err(_)) => return EndReason::Disconnected,
                Ok(Ok(count)) => buffer.get(..count).unwrap_or_default(),
            };
            self.octets_in += input.len() as u64;
            while let Some(action) = self.session.next(&mut input) {
                match self.act(action).await {
                    Flow::Go => {}
                    Flow::StartTls => {
                        // What came in the clear behind STARTTLS is thrown away: it could be anybody's.
                        input = &[];
                        if !self.flush(&mut stream).await {
                            return EndReason::Disconnected;
                        }
                        let handshake = self.server.config.limits.handshake_timeout();
                        stream = match stream.upgrade(&self.server.tls, handshake).await {
                            Ok(stream) => stream,
                            Err(error) => {
                                tracing::debug!(%error, "the TLS handshake failed");
                                return EndReason::TlsFailed;
                            }
                        };
                        self.tls = stream.tls();
                        self.session.tls_started();
                    }
                    Flow::End(reason) => {
                        self.end(stream, reason, &mut buffer).await;
                        return reason;
                    }
                }
            }
            self.hold(self.session.held());
            let content = if self.session.is_receiving() { self.octets_in / PROGRESS_OCTETS } else { 0 };
            if progress != (self.session.commands(), content) {
                progress = (self.session.commands(), content);
                deadline = Instant::now() + timeout;
            }
        }
    }

    /// Counts the octets of content that this session holds; past the bound of all sessions it gives its message up.
    fn hold(&mut self, octets: usize) {
        let all = &self.server.held;
        let before = if octets >= self.held {
            all.fetch_add(octets - self.held, Ordering::Relaxed)
        } else {
            all.fetch_sub(self.held - octets, Ordering::Relaxed)
        };
        let grew = octets > self.held;
        self.held = octets;
        if grew && before > MAX_HELD_OCTETS {
            self.session.give_up_body();
        }
    }

    /// Sends what is to be sent; false when the client is gone or does not read.
    async fn flush(&mut self, stream: &mut Stream) -> bool {
        if self.out.is_empty() {
            return true;
        }
        let timeout = self.server.config.limits.command_timeout();
        let sent = tokio::time::timeout(timeout, async {
            stream.write_all(&self.out).await?;
            stream.flush().await
        });
        let sent = matches!(sent.await, Ok(Ok(())));
        self.octets_out += self.out.len() as u64;
        self.out.clear();
        sent
    }

    /// Sends the last reply. A client in mid-sentence is listened to for a while: closing at once would make its system
    /// throw our reply away.
    async fn end(&mut self, mut stream: Stream, reason: EndReason, buffer: &mut [u8]) {
        if !self.flush(&mut stream).await || stream.shutdown().await.is_err() || reason == EndReason::Quit {
            return;
        }
        let listen =
            async { while let Ok(Ok(1..)) = tokio::time::timeout(LINGER_SILENCE, stream.read(buffer)).await {} };
        let _ = tokio::time::timeout(LINGER, listen).await;
    }

    async fn act(&mut self, action: Action) -> Flow {
        let answer = match action {
            Action::CheckSender(address) => Answer::Sender(self.may_send_as(&address).await),
            Action::CheckRecipient { address, octets } => {
                Answer::Recipient(self.server.recipient(&address, octets).await)
            }
            Action::Login(credentials) => Answer::Login(self.server.logins.check(self.peer.ip(), credentials).await),
            Action::Store(message) => Answer::Stored(self.store(*message).await),
            other => return self.say(other),
        };
        let action = self.session.answer(answer);
        self.say(action)
    }

    fn say(&mut self, action: Action) -> Flow {
        match action {
            Action::Reply(reply) => reply.write(&mut self.out),
            Action::Refuse { reply, about, class } => {
                reply.write(&mut self.out);
                self.refused(&reply, &about, class);
            }
            Action::StartTls(reply) => {
                reply.write(&mut self.out);
                return Flow::StartTls;
            }
            Action::Close(reply, reason) => {
                reply.write(&mut self.out);
                return Flow::End(reason);
            }
            // An answer leads to a reply, never to another question.
            Action::CheckSender(_) | Action::CheckRecipient { .. } | Action::Login(_) | Action::Store(_) => {}
        }
        Flow::Go
    }

    async fn may_send_as(&self, address: &EmailAddress) -> Option<bool> {
        let account: Account = self.session.user()?.clone();
        let address = address.to_string();
        self.server.ask(move |directory| directory.may_send_as(account.id, &address)).await
    }
}

#[cfg(test)]
mod tests;
