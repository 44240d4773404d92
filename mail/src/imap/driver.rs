//! Moves octets between IMAP sessions and their sockets.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use aggregator::emit::Emitter;
use aggregator::event::{AuthEvent, Session as SessionRow, Time};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::session::{Facts, Next, Session};
use crate::config::Config;
use crate::listen::{Connection, Listener, Opening, Serve, Stream};
use crate::service::{Context, ServeError};
use crate::store::{ChangeWatch, Stores};
use crate::tls::ServerTls;

/// How often the store is asked whether mailboxes have changed: an idling client knows within this time.
const LOOK: Duration = Duration::from_millis(250);
/// How long an idling or silent client is kept after login (RFC 9051 section 5.4: 30 minutes at least).
const AUTOLOGOUT: Duration = Duration::from_secs(30 * 60);
/// Octets that are read at once.
const READ_BYTES: usize = 32 * 1024;
/// After a BYE that the client did not ask for: how long its octets are read away, so that it sees the BYE.
const LINGER: Duration = Duration::from_secs(2);

/// Serves IMAP on both listeners until `context.shutdown`.
///
/// # Errors
/// The store, the certificate or an address cannot be used.
pub async fn serve(config: Arc<Config>, context: Context) -> Result<(), ServeError> {
    let stores = Stores::open(&context.data_dir)?;
    let watch = stores.mailboxes.watch()?;
    let tls = Arc::new(ServerTls::load(&config.certificate, &config.key)?);
    let plain = Listener::bind("imap_listen", config.imap_listen, Opening::Plain).await?;
    let secure = Listener::bind("imaps_listen", config.imaps_listen, Opening::Tls(Arc::clone(&tls))).await?;
    let (changed, changes) = watch::channel(());
    let limits = config.limits.clone();
    let service = Arc::new(Imap { stores, config, tls, emitter: context.emitter, changes });
    let looking = CancellationToken::new();
    let sessions = async {
        tokio::join!(
            plain.run(&limits, Arc::clone(&service), context.shutdown.clone()),
            secure.run(&limits, Arc::clone(&service), context.shutdown.clone()),
        );
        looking.cancel();
    };
    tokio::join!(sessions, look(watch, changed, looking.clone()));
    Ok(())
}

/// Tells every session when any process has changed a mailbox.
async fn look(mut watch: ChangeWatch, changed: watch::Sender<()>, until: CancellationToken) {
    let mut tick = tokio::time::interval(LOOK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = until.cancelled() => return,
            _ = tick.tick() => match watch.changed() {
                Ok(true) => { changed.send_replace(()); }
                Ok(false) => {}
                Err(error) => tracing::warn!(%error, "idling clients learn of changes late"),
            },
        }
    }
}

struct Imap {
    stores: Stores,
    config: Arc<Config>,
    tls: Arc<ServerTls>,
    emitter: Emitter,
    changes: watch::Receiver<()>,
}

impl Serve for Imap {
    fn busy(&self) -> &[u8] {
        b"* BYE [UNAVAILABLE] Too many sessions; try again later\r\n"
    }

    fn serve(&self, connection: Connection) -> impl Future<Output = ()> + Send {
        let stores = self.stores.clone();
        async move {
            let facts = Facts {
                tls: connection.stream.tls().is_some(),
                loopback: connection.peer.ip().to_canonical().is_loopback(),
                max_message_bytes: self.config.max_message_bytes,
            };
            let started = Time::now();
            let mut driver = Driver {
                imap: self,
                session: Some(Box::new(Session::new(stores, facts))),
                peer: connection.peer,
                bytes_in: 0,
                bytes_out: 0,
            };
            let reason = driver.drive(connection.stream, connection.shutdown).await;
            driver.report(started, reason);
        }
    }
}

/// One connection and its session, which is away while it runs where blocking is allowed.
struct Driver<'a> {
    imap: &'a Imap,
    session: Option<Box<Session>>,
    peer: SocketAddr,
    bytes_in: u64,
    bytes_out: u64,
}

impl Driver<'_> {
    /// Serves to the end; why it ended.
    async fn drive(&mut self, mut stream: Stream, shutdown: CancellationToken) -> &'static str {
        let mut changes = self.imap.changes.clone();
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
                    return reason.as_str();
                }
                Next::StartTls => {
                    match stream.upgrade(&self.imap.tls, self.imap.config.limits.handshake_timeout()).await {
                        Ok(upgraded) => {
                            stream = upgraded;
                            if let Some(session) = &mut self.session {
                                session.tls_began();
                            }
                        }
                        Err(error) => {
                            tracing::debug!(%error, "STARTTLS failed");
                            return "tls_failed";
                        }
                    }
                }
                Next::Read | Next::Idle => {
                    let idle = next == Next::Idle;
                    tokio::select! {
                        biased;
                        () = shutdown.cancelled() => return self.bye(stream, "[UNAVAILABLE] The server is being restarted", "shutdown").await,
                        read = tokio::time::timeout(self.patience(), stream.read(&mut buffer)) => match read {
                            Err(_) => return self.bye(stream, "[CLIENTBUG] You were silent for too long", "timeout").await,
                            Ok(Ok(0) | Err(_)) => return "disconnected",
                            Ok(Ok(length)) => {
                                self.bytes_in += length as u64;
                                if let Some(session) = &mut self.session {
                                    session.receive(&buffer[..length]);
                                }
                            }
                        },
                        Ok(()) = changes.changed(), if idle => self.wake().await,
                    }
                }
            }
        }
    }

    /// Runs the session where it may block. `None`: it panicked, which the runtime has logged.
    async fn run(&mut self) -> Option<Next> {
        let mut session = self.session.take()?;
        let ran = tokio::task::spawn_blocking(move || {
            let next = session.run(Time::now());
            (session, next)
        });
        let (mut session, next) = ran.await.ok()?;
        for attempt in session.take_attempts() {
            self.imap.emitter.emit(AuthEvent {
                ts: Time::now(),
                protocol: "imap".to_owned(),
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

    async fn wake(&mut self) {
        let Some(mut session) = self.session.take() else { return };
        let woken = tokio::task::spawn_blocking(move || {
            session.wake();
            session
        });
        self.session = woken.await.ok();
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
        match tokio::time::timeout(self.imap.config.limits.command_timeout(), written).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err("disconnected"),
            Err(_) => Err("timeout"),
        }
    }

    /// How long the client may be silent.
    fn patience(&self) -> Duration {
        let logged_in = self.session.as_ref().is_some_and(|session| !session.user().is_empty());
        if logged_in { AUTOLOGOUT } else { self.imap.config.limits.command_timeout() }
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
        self.imap.emitter.emit(SessionRow {
            ts: now,
            protocol: "imap".to_owned(),
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

#[cfg(test)]
mod tests {
    use aggregator::event::Event;
    use tokio::net::TcpStream;

    use super::*;
    use crate::store::{BlobStore, Deliver, Directory, LocalDelivery};

    /// Says `line` and reads until the answer holds `until`.
    async fn say(stream: &mut TcpStream, line: &str, until: &str) -> String {
        stream.write_all(line.as_bytes()).await.unwrap();
        let (mut heard, mut buffer) = (String::new(), [0; 4096]);
        while !heard.contains(until) {
            let read = tokio::time::timeout(Duration::from_secs(20), stream.read(&mut buffer)).await;
            let length = read.expect("the server answers").unwrap();
            assert!(length > 0, "closed after {heard}");
            heard.push_str(std::str::from_utf8(&buffer[..length]).unwrap());
        }
        heard
    }

    #[tokio::test]
    async fn an_idling_client_learns_of_mail_that_another_process_delivers() {
        let dir = tempfile::tempdir().unwrap();
        crate::admin::create_account(dir.path(), "ada@varde.test", "secret").unwrap();
        let mut config = crate::config::tests::sample();
        config.resolve_paths(dir.path());
        std::fs::create_dir(dir.path().join("tls")).unwrap();
        let made = rcgen::generate_simple_self_signed(vec!["mx.varde.test".to_owned()]).unwrap();
        std::fs::write(&config.certificate, made.cert.pem()).unwrap();
        std::fs::write(&config.key, made.signing_key.serialize_pem()).unwrap();

        let stores = Stores::open(dir.path()).unwrap();
        let watch = stores.mailboxes.watch().unwrap();
        let tls = Arc::new(ServerTls::load(&config.certificate, &config.key).unwrap());
        let listener = Listener::bind("imap_listen", config.imap_listen, Opening::Plain).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (changed, changes) = watch::channel(());
        let (emitter, mut events) = Emitter::channel();
        let limits = config.limits.clone();
        let imap = Arc::new(Imap { stores, config: Arc::new(config), tls, emitter, changes });
        let stop = CancellationToken::new();
        let until = stop.clone();
        let served = tokio::spawn(async move {
            tokio::join!(listener.run(&limits, imap, until.clone()), look(watch, changed, until.clone()));
        });

        let mut client = TcpStream::connect(address).await.unwrap();
        say(&mut client, "", "Varde IMAP\r\n").await;
        say(&mut client, "a LOGIN ada@varde.test secret\r\nb SELECT INBOX\r\n", "b OK").await;
        say(&mut client, "c IDLE\r\n", "+ idling\r\n").await;
        let other = Stores::open(dir.path()).unwrap();
        let account = other.directory.resolve("ada@varde.test").unwrap().unwrap().id;
        let blob = other.blobs.put(b"Subject: a\r\n\r\n").unwrap();
        let delivery = LocalDelivery { account, mailbox: "INBOX", blob, prefix: b"", at: Time(0), token: "t" };
        other.mailboxes.deliver(&delivery).unwrap();
        assert_eq!(say(&mut client, "", "EXISTS\r\n").await, "* 1 EXISTS\r\n");
        stop.cancel();
        say(&mut client, "", "* BYE [UNAVAILABLE]").await;
        drop(client);
        served.await.unwrap();
        let mut ended = None;
        while let Ok(event) = events.try_recv() {
            if let Event::Session(session) = event {
                ended = Some((session.user, session.end_reason));
            }
        }
        assert_eq!(ended, Some(("ada@varde.test".to_owned(), "shutdown".to_owned())));
    }
}
