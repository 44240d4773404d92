//! Moves octets between POP3 sessions and their sockets.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use aggregator::emit::Emitter;
use aggregator::event::{AuthEvent, Session as SessionRow, Time};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_util::sync::CancellationToken;

use super::session::{Next, Session};
use crate::config::Config;
use crate::listen::{Connection, Listener, Opening, Serve, Stream};
use crate::service::{Context, ServeError};
use crate::store::Stores;
use crate::tls::ServerTls;

/// Octets that are read at once.
const READ_BYTES: usize = 8 * 1024;
/// How long a closing client's octets are read away, so that it sees our last words.
const LINGER: Duration = Duration::from_secs(2);
/// RFC 1939 section 3: an inactivity timer of at least ten minutes.
const AUTOLOGOUT: Duration = Duration::from_secs(10 * 60);

/// Serves POP3 on both listeners until `context.shutdown`.
///
/// # Errors
/// The store, the certificate or an address cannot be used.
pub async fn serve(config: Arc<Config>, context: Context) -> Result<(), ServeError> {
    let stores = Stores::open(&context.data_dir)?;
    let tls = Arc::new(ServerTls::load(&config.certificate, &config.key)?);
    let plain = Listener::bind("pop3_listen", config.pop3_listen, Opening::Plain).await?;
    let secure = Listener::bind("pop3s_listen", config.pop3s_listen, Opening::Tls(Arc::clone(&tls))).await?;
    let service = Arc::new(Pop3 { stores, config: Arc::clone(&config), tls, emitter: context.emitter });
    tokio::join!(
        plain.run(&config.limits, Arc::clone(&service), context.shutdown.clone()),
        secure.run(&config.limits, service, context.shutdown.clone()),
    );
    Ok(())
}

struct Pop3 {
    stores: Stores,
    config: Arc<Config>,
    tls: Arc<ServerTls>,
    emitter: Emitter,
}

impl Serve for Pop3 {
    fn busy(&self) -> &[u8] {
        b"-ERR [SYS/TEMP] too many sessions; try again later\r\n"
    }

    async fn serve(&self, connection: Connection) {
        let Connection { stream, peer, shutdown, .. } = connection;
        let session = Session::new(self.stores.clone(), stream.tls().is_some(), peer.ip().to_canonical().is_loopback());
        let started = Time::now();
        let mut driver = Driver { pop3: self, session: Some(Box::new(session)), peer, bytes_in: 0, bytes_out: 0 };
        let reason = driver.drive(stream, shutdown).await;
        driver.report(started, reason);
    }
}

/// One connection and its session, which is away while it runs where blocking is allowed.
struct Driver<'a> {
    pop3: &'a Pop3,
    session: Option<Box<Session>>,
    peer: SocketAddr,
    bytes_in: u64,
    bytes_out: u64,
}

impl Driver<'_> {
    /// Serves to the end; why it ended.
    async fn drive(&mut self, mut stream: Stream, shutdown: CancellationToken) -> &'static str {
        let mut buffer = vec![0; READ_BYTES];
        loop {
            let Some(next) = self.run().await else { return "internal_error" };
            if let Err(reason) = self.write(&mut stream).await {
                return reason;
            }
            match next {
                Next::More => {}
                Next::Close(reason) => {
                    self.linger(stream, &mut buffer).await;
                    return reason;
                }
                Next::StartTls => {
                    match stream.upgrade(&self.pop3.tls, self.pop3.config.limits.handshake_timeout()).await {
                        Ok(upgraded) => stream = upgraded,
                        Err(error) => {
                            tracing::debug!(%error, "STLS failed");
                            return "tls_failed";
                        }
                    }
                    if let Some(session) = &mut self.session {
                        session.tls_began();
                    }
                }
                Next::Read => {
                    let read = tokio::select! {
                        biased;
                        () = shutdown.cancelled() => {
                            return self.bye(stream, "[SYS/TEMP] the server is being restarted", "shutdown").await;
                        }
                        read = tokio::time::timeout(self.patience(), stream.read(&mut buffer)) => read,
                    };
                    match read {
                        Err(_) => return self.bye(stream, "you were silent for too long", "timeout").await,
                        Ok(Ok(0) | Err(_)) => return "disconnected",
                        Ok(Ok(length)) => {
                            self.bytes_in += length as u64;
                            if let Some(session) = &mut self.session {
                                session.receive(&buffer[..length]);
                            }
                        }
                    }
                }
            }
        }
    }

    /// Runs the session where it may block. `None`: it panicked, which the runtime has logged.
    async fn run(&mut self) -> Option<Next> {
        let mut session = self.session.take()?;
        let ran = tokio::task::spawn_blocking(move || {
            let next = session.run();
            (session, next)
        });
        let (mut session, next) = ran.await.ok()?;
        for attempt in session.take_attempts() {
            self.pop3.emitter.emit(AuthEvent {
                ts: Time::now(),
                protocol: "pop3".to_owned(),
                user: attempt.user,
                client_ip: Some(self.peer.ip().into()),
                mechanism: attempt.mechanism.to_owned(),
                result: if attempt.failure.is_none() { "ok" } else { "failed" }.to_owned(),
                reason: attempt.failure.unwrap_or_default().to_owned(),
                ..AuthEvent::default()
            });
        }
        self.session = Some(session);
        Some(next)
    }

    async fn write(&mut self, stream: &mut Stream) -> Result<(), &'static str> {
        let output = self.session.as_mut().map(|session| session.take_output()).unwrap_or_default();
        if output.is_empty() {
            return Ok(());
        }
        self.bytes_out += output.len() as u64;
        let written = async {
            stream.write_all(&output).await?;
            stream.flush().await
        };
        match tokio::time::timeout(self.pop3.config.limits.command_timeout(), written).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err("disconnected"),
            Err(_) => Err("timeout"),
        }
    }

    /// How long the client may be silent.
    fn patience(&self) -> Duration {
        let logged_in = self.session.as_ref().is_some_and(|session| !session.user().is_empty());
        if logged_in { AUTOLOGOUT } else { self.pop3.config.limits.command_timeout() }
    }

    async fn bye(&mut self, mut stream: Stream, why: &str, reason: &'static str) -> &'static str {
        if let Some(session) = &mut self.session {
            session.bye(why);
        }
        let _ = self.write(&mut stream).await;
        let _ = tokio::time::timeout(LINGER, stream.shutdown()).await;
        reason
    }

    /// Ends our direction, and reads away what the client still sends: a reset could overtake our last words.
    async fn linger(&mut self, mut stream: Stream, buffer: &mut [u8]) {
        let away = async {
            if stream.shutdown().await.is_ok() {
                while matches!(stream.read(buffer).await, Ok(length) if length > 0) {}
            }
        };
        let _ = tokio::time::timeout(LINGER, away).await;
    }

    fn report(&self, started: Time, reason: &str) {
        let now = Time::now();
        let (user, commands) = match &self.session {
            Some(session) => (session.user().to_owned(), session.commands()),
            None => (String::new(), 0),
        };
        self.pop3.emitter.emit(SessionRow {
            ts: now,
            protocol: "pop3".to_owned(),
            user,
            client_ip: Some(self.peer.ip().into()),
            duration_ms: Some(now.millis_since(started)),
            bytes_in: Some(self.bytes_in),
            bytes_out: Some(self.bytes_out),
            commands: Some(commands),
            end_reason: reason.to_owned(),
            ..SessionRow::default()
        });
    }
}
