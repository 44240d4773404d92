//! What the services that read mailboxes have in common: the driver of IMAP and POP3 sessions.
//!
//! A session is a value ([`Session`]): octets in, octets out, and what comes next. It reads and changes the store as
//! commands ask, so it runs where blocking is allowed; the driver moves the octets, keeps the time and tells events.

use std::marker::PhantomData;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use aggregator::emit::Emitter;
use aggregator::event::{Session as SessionRow, Time};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::listen::{Connection, Listener, Opening, Serve, Stream};
use crate::login::{Credentials, LoginVerdict, Logins};
use crate::service::{Context, ServeError};
use crate::store::Stores;
use crate::tls::ServerTls;

/// Octets that are read at once.
const READ_BYTES: usize = 16 * 1024;
/// How long a closing client's octets are read away, so that it sees our last words.
const LINGER: Duration = Duration::from_secs(2);

/// A session of a protocol.
pub(crate) trait Session: Send + 'static {
    /// Its name in events.
    const PROTOCOL: &'static str;
    /// What a client over the bounds is told.
    const BUSY: &'static [u8];
    /// How long a client may be silent after login.
    const AUTOLOGOUT: Duration;

    /// A session that begins; its greeting is output already.
    fn new(stores: Stores, facts: Facts) -> Self;
    /// Takes what was read.
    fn receive(&mut self, octets: &[u8]);
    /// Does what there is to do, up to a piece of output.
    fn run(&mut self, now: Time) -> Next;
    /// Mailboxes have changed while it was [`Next::Idle`].
    fn wake(&mut self) {}
    /// What became of the login that it asked for with [`Next::Login`].
    fn login_checked(&mut self, verdict: LoginVerdict);
    /// TLS has begun: what came before it is forgotten.
    fn tls_began(&mut self);
    /// Says why the session ends though the client did not ask for it: [`EndReason::Shutdown`] or
    /// [`EndReason::TimedOut`].
    fn bye(&mut self, reason: EndReason);
    /// What is to be written.
    fn take_output(&mut self) -> Vec<u8>;
    /// Who is logged in, or was until the session ended; empty before.
    fn user(&self) -> &str;
    /// How many commands there were.
    fn commands(&self) -> u32;
}

/// What a session knows of its connection.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    /// Whether TLS is on.
    pub(crate) tls: bool,
    /// Whether the client is on this machine: it may log in without TLS.
    pub(crate) loopback: bool,
    /// The largest message that is taken, in octets.
    pub(crate) max_message_bytes: u64,
}

/// What the driver does next, after it has written what there is to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Next {
    /// Read more octets.
    Read,
    /// Run the session again: there is more to write.
    More,
    /// Begin TLS.
    StartTls,
    /// Check a login and answer with [`Session::login_checked`].
    Login(Credentials),
    /// Read more octets, and [`Session::wake`] the session when mailboxes change.
    Idle,
    /// Close the connection.
    Close(EndReason),
}

/// Why a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EndReason {
    /// The client said that it was done.
    Logout,
    /// What it said is not the protocol.
    ProtocolError,
    /// Too many wrong passwords.
    LoginFailures,
    /// Another session deleted the mailbox that was open.
    MailboxDeleted,
    /// The client was silent, or did not read, for too long.
    TimedOut,
    /// The client went away.
    Disconnected,
    /// The TLS handshake failed.
    TlsFailed,
    /// The service stopped.
    Shutdown,
    /// The session panicked.
    InternalError,
}

impl EndReason {
    /// As the event tables name it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Logout => "logout",
            Self::ProtocolError => "protocol_error",
            Self::LoginFailures => "login_failures",
            Self::MailboxDeleted => "mailbox_deleted",
            Self::TimedOut => "timeout",
            Self::Disconnected => "disconnected",
            Self::TlsFailed => "tls_failed",
            Self::Shutdown => "shutdown",
            Self::InternalError => "internal_error",
        }
    }
}

/// The two listeners of a protocol, each with its key in the configuration.
pub(crate) struct Addresses {
    /// TLS begins when the client asks.
    pub(crate) plain: (&'static str, SocketAddr),
    /// TLS begins at once.
    pub(crate) secure: (&'static str, SocketAddr),
}

/// What all sessions of a service share.
pub(crate) struct Server<S> {
    pub(crate) stores: Stores,
    config: Arc<Config>,
    tls: Arc<ServerTls>,
    logins: Logins,
    emitter: Emitter,
    changes: watch::Receiver<()>,
    session: PhantomData<fn() -> S>,
}

impl<S: Session> Server<S> {
    /// Opens the store and the certificate. `changes` tells idling sessions that mailboxes have changed.
    ///
    /// # Errors
    /// One of them cannot be used.
    pub(crate) fn open(
        config: Arc<Config>,
        context: &Context,
        changes: watch::Receiver<()>,
    ) -> Result<Arc<Self>, ServeError> {
        let stores = Stores::open(&context.data_dir)?;
        let tls = Arc::new(ServerTls::load(&config.certificate, &config.key)?);
        let (emitter, found) = (context.emitter.clone(), stores.clone());
        let look = move |user: &str, password: &str| found.log_in(user, password);
        let logins = Logins::new(S::PROTOCOL, config.limits.max_login_failures, emitter.clone(), look);
        Ok(Arc::new(Self { stores, config, tls, logins, emitter, changes, session: PhantomData }))
    }

    /// Serves on both listeners until `shutdown`.
    ///
    /// # Errors
    /// An address cannot be bound.
    pub(crate) async fn run(
        self: Arc<Self>,
        addresses: Addresses,
        shutdown: CancellationToken,
    ) -> Result<(), ServeError> {
        let Addresses { plain, secure } = addresses;
        let plain = Listener::bind(plain.0, plain.1, Opening::Plain).await?;
        let secure = Listener::bind(secure.0, secure.1, Opening::Tls(Arc::clone(&self.tls))).await?;
        tokio::join!(
            plain.run(&self.config.limits, Arc::clone(&self), shutdown.clone()),
            secure.run(&self.config.limits, Arc::clone(&self), shutdown.clone()),
        );
        Ok(())
    }
}

impl<S: Session> Serve for Server<S> {
    fn busy(&self) -> &[u8] {
        S::BUSY
    }

    async fn serve(&self, connection: Connection) {
        let Connection { stream, peer, shutdown, .. } = connection;
        let facts = Facts {
            tls: stream.tls().is_some(),
            loopback: peer.ip().to_canonical().is_loopback(),
            max_message_bytes: self.config.max_message_bytes,
        };
        let started = Time::now();
        let session = Some(Box::new(S::new(self.stores.clone(), facts)));
        let mut talk = Talk { server: self, session, peer, bytes_in: 0, bytes_out: 0 };
        let reason = talk.run(stream, shutdown).await;
        talk.report(started, reason);
    }
}

/// One connection and its session, which is away while it works where blocking is allowed.
struct Talk<'a, S> {
    server: &'a Server<S>,
    session: Option<Box<S>>,
    peer: SocketAddr,
    bytes_in: u64,
    bytes_out: u64,
}

impl<S: Session> Talk<'_, S> {
    /// Serves to the end; why it ended.
    async fn run(&mut self, mut stream: Stream, shutdown: CancellationToken) -> EndReason {
        let mut changes = self.server.changes.clone();
        let mut buffer = vec![0; READ_BYTES];
        loop {
            let Some(next) = self.work(|session| session.run(Time::now())).await else {
                return EndReason::InternalError;
            };
            if let Err(reason) = self.write(&mut stream).await {
                return reason;
            }
            let idle = match next {
                Next::More => continue,
                Next::Close(reason) => {
                    linger(stream, &mut buffer).await;
                    return reason;
                }
                Next::StartTls => {
                    stream = match self.start_tls(stream).await {
                        Ok(stream) => stream,
                        Err(reason) => return reason,
                    };
                    continue;
                }
                Next::Login(credentials) => {
                    let verdict = tokio::select! {
                        biased;
                        () = shutdown.cancelled() => return self.bye(stream, EndReason::Shutdown).await,
                        verdict = self.server.logins.check(self.peer.ip(), credentials) => verdict,
                    };
                    self.work(|session| session.login_checked(verdict)).await;
                    continue;
                }
                Next::Read => false,
                Next::Idle => true,
            };
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return self.bye(stream, EndReason::Shutdown).await,
                read = tokio::time::timeout(self.patience(), stream.read(&mut buffer)) => match read {
                    Err(_) => return self.bye(stream, EndReason::TimedOut).await,
                    Ok(Ok(0) | Err(_)) => return EndReason::Disconnected,
                    Ok(Ok(length)) => {
                        self.bytes_in += length as u64;
                        if let Some(session) = &mut self.session {
                            session.receive(&buffer[..length]);
                        }
                    }
                },
                Ok(()) = changes.changed(), if idle => {
                    self.work(Session::wake).await;
                }
            }
        }
    }

    /// Lets the session work where it may block. `None`: it panicked, which the runtime has logged.
    async fn work<T: Send + 'static>(&mut self, work: impl FnOnce(&mut S) -> T + Send + 'static) -> Option<T> {
        let mut session = self.session.take()?;
        let worked = tokio::task::spawn_blocking(move || {
            let value = work(&mut session);
            (session, value)
        });
        let (session, value) = worked.await.ok()?;
        self.session = Some(session);
        Some(value)
    }

    async fn start_tls(&mut self, stream: Stream) -> Result<Stream, EndReason> {
        let timeout = self.server.config.limits.handshake_timeout();
        let stream = stream.upgrade(&self.server.tls, timeout).await.map_err(|error| {
            tracing::debug!(%error, "the TLS handshake failed");
            EndReason::TlsFailed
        })?;
        if let Some(session) = &mut self.session {
            session.tls_began();
        }
        Ok(stream)
    }

    async fn write(&mut self, stream: &mut Stream) -> Result<(), EndReason> {
        let output = self.session.as_mut().map(|session| session.take_output()).unwrap_or_default();
        if output.is_empty() {
            return Ok(());
        }
        self.bytes_out += output.len() as u64;
        let written = async {
            stream.write_all(&output).await?;
            stream.flush().await
        };
        match tokio::time::timeout(self.server.config.limits.command_timeout(), written).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(EndReason::Disconnected),
            Err(_) => Err(EndReason::TimedOut),
        }
    }

    /// How long the client may be silent.
    fn patience(&self) -> Duration {
        let logged_in = self.session.as_ref().is_some_and(|session| !session.user().is_empty());
        if logged_in { S::AUTOLOGOUT } else { self.server.config.limits.command_timeout() }
    }

    async fn bye(&mut self, mut stream: Stream, reason: EndReason) -> EndReason {
        if let Some(session) = &mut self.session {
            session.bye(reason);
        }
        let _ = self.write(&mut stream).await;
        let _ = tokio::time::timeout(LINGER, stream.shutdown()).await;
        reason
    }

    fn report(&self, started: Time, reason: EndReason) {
        let now = Time::now();
        let (user, commands) = match &self.session {
            Some(session) => (session.user().to_owned(), session.commands()),
            None => (String::new(), 0),
        };
        self.server.emitter.emit(SessionRow {
            ts: now,
            protocol: S::PROTOCOL.to_owned(),
            user,
            client_ip: Some(self.peer.ip().into()),
            duration_ms: Some(now.millis_since(started)),
            bytes_in: Some(self.bytes_in),
            bytes_out: Some(self.bytes_out),
            commands: Some(commands),
            end_reason: reason.as_str().to_owned(),
            ..SessionRow::default()
        });
    }
}

/// Ends our direction, and reads away what the client still sends: a reset could overtake our last words.
async fn linger(mut stream: Stream, buffer: &mut [u8]) {
    let away = async {
        if stream.shutdown().await.is_ok() {
            while matches!(stream.read(buffer).await, Ok(length) if length > 0) {}
        }
    };
    let _ = tokio::time::timeout(LINGER, away).await;
}
