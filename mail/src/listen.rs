//! The one accept loop behind every service: bounded, named, drained.
//!
//! A [`Listener`] owns its socket and its sessions. Over a bound the client gets the service's own "busy" line and the
//! connection is closed; nothing waits for it. TLS handshakes run in the session's task, never in the accept loop.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use aggregator::metrics::mail as metrics;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::config::Limits;
use crate::tls::ServerTls;

/// How long the accept loop rests when the system has no descriptor left for a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What a service does with its connections.
pub trait Serve: Send + Sync + 'static {
    /// What a client over the bounds is told in the clear, for example `421 4.3.2 …`. A listener whose clients begin
    /// with TLS just closes.
    fn busy(&self) -> &[u8];
    /// Serves one connection to its end. It ends soon after `connection.shutdown` is cancelled.
    fn serve(&self, connection: Connection) -> impl Future<Output = ()> + Send;
}

/// A connection as a service gets it.
#[derive(Debug)]
pub struct Connection {
    /// Octets in both directions.
    pub stream: Stream,
    /// The client.
    pub peer: SocketAddr,
    /// Our end.
    pub local: SocketAddr,
    /// Cancelled when the service is to stop.
    pub shutdown: CancellationToken,
}

/// When TLS begins on a listener.
#[derive(Debug, Clone)]
pub enum Opening {
    /// In the clear; the service may upgrade later.
    Plain,
    /// At once.
    Tls(Arc<ServerTls>),
}

/// A bound socket that is not accepting yet.
#[derive(Debug)]
pub struct Listener {
    /// In logs: `mx`, `imaps` …
    pub name: &'static str,
    /// The socket.
    pub socket: TcpListener,
    /// When TLS begins.
    pub opening: Opening,
}

/// An address could not be bound.
#[derive(Debug, thiserror::Error)]
#[error(
    "listening on {address} (mail.{key}): {source}; stop what listens there (`ss -ltnp` tells) or change mail.{key}"
)]
pub struct BindError {
    /// The configuration's key, without `mail.`.
    pub key: &'static str,
    /// The address.
    pub address: SocketAddr,
    /// Why.
    pub source: io::Error,
}

impl Listener {
    /// Binds an address. `key` is its key in the configuration (`mx_listen`).
    ///
    /// # Errors
    /// It is taken, or not ours.
    pub async fn bind(key: &'static str, address: SocketAddr, opening: Opening) -> Result<Self, BindError> {
        let socket = TcpListener::bind(address).await.map_err(|source| BindError { key, address, source })?;
        let name = key.trim_end_matches("_listen");
        metrics::show_listener(name);
        Ok(Self { name, socket, opening })
    }

    /// The address it is bound to (the real port when 0 was asked for).
    ///
    /// # Errors
    /// The system does not tell.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Accepts and serves until `shutdown`, then lets the sessions end within the grace period and aborts the rest.
    pub async fn run<S: Serve>(self, limits: &Limits, service: Arc<S>, shutdown: CancellationToken) {
        let mut sessions = Sessions::default();
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                Some(ended) = sessions.tasks.join_next_with_id(), if !sessions.tasks.is_empty() => sessions.ended(self.name, ended),
                accepted = self.socket.accept() => match accepted {
                    Ok((socket, peer)) => self.accepted(&mut sessions, limits, &service, &shutdown, socket, peer),
                    Err(error) => {
                        tracing::warn!(listener = self.name, %error, "a connection could not be accepted");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
        let name = self.name;
        drop(self);
        let drained = tokio::time::timeout(limits.drain(), async {
            while let Some(ended) = sessions.tasks.join_next_with_id().await {
                sessions.ended(name, ended);
            }
        });
        if drained.await.is_err() {
            tracing::warn!(
                listener = name,
                sessions = sessions.tasks.len(),
                "sessions were cut off at the end of the grace period"
            );
        }
        sessions.tasks.shutdown().await;
    }

    fn accepted<S: Serve>(
        &self,
        sessions: &mut Sessions,
        limits: &Limits,
        service: &Arc<S>,
        shutdown: &CancellationToken,
        socket: TcpStream,
        peer: SocketAddr,
    ) {
        let ip = peer.ip().to_canonical();
        if sessions.tasks.len() >= limits.max_sessions
            || sessions.by_ip.get(&ip).copied().unwrap_or(0) >= limits.max_sessions_per_ip
        {
            metrics::CONNECTIONS_REFUSED.with(&[self.name]).inc();
            tracing::warn!(listener = self.name, "a connection was refused: too many sessions");
            if matches!(self.opening, Opening::Plain) {
                // A fresh socket has room for one line; a client that does not read it is not waited for.
                let _ = socket.try_write(service.busy());
            }
            return;
        }
        let _ = socket.set_nodelay(true);
        let Ok(local) = socket.local_addr() else { return };
        let (service, opening, shutdown) = (Arc::clone(service), self.opening.clone(), shutdown.clone());
        let handshake = limits.handshake_timeout();
        let name = self.name;
        let open = metrics::Open::new(name);
        let session = async move {
            let _open = open;
            let stream = match opening {
                Opening::Plain => Stream::Plain(socket),
                Opening::Tls(tls) => match Stream::Plain(socket).upgrade(&tls, handshake).await {
                    Ok(stream) => stream,
                    Err(error) => {
                        metrics::HANDSHAKES_FAILED.with(&[name]).inc();
                        tracing::debug!(%error, "the TLS handshake failed");
                        return;
                    }
                },
            };
            service.serve(Connection { stream, peer, local, shutdown }).await;
        };
        let id = sessions.tasks.spawn(session.instrument(tracing::info_span!("session", listener = self.name))).id();
        sessions.ip_of.insert(id, ip);
        *sessions.by_ip.entry(ip).or_insert(0) += 1;
    }
}

/// The running sessions of one listener.
#[derive(Default)]
struct Sessions {
    tasks: JoinSet<()>,
    ip_of: HashMap<tokio::task::Id, IpAddr>,
    by_ip: HashMap<IpAddr, usize>,
}

impl Sessions {
    fn ended(&mut self, listener: &str, ended: Result<(tokio::task::Id, ()), tokio::task::JoinError>) {
        let id = match ended {
            Ok((id, ())) => id,
            Err(error) => {
                tracing::error!(listener, %error, "a session died");
                error.id()
            }
        };
        let Some(ip) = self.ip_of.remove(&id) else { return };
        if let Some(count) = self.by_ip.get_mut(&ip) {
            *count -= 1;
            if *count == 0 {
                self.by_ip.remove(&ip);
            }
        }
    }
}

/// A connection's octets, in the clear or over TLS.
#[derive(Debug)]
pub enum Stream {
    /// In the clear.
    Plain(TcpStream),
    /// Over TLS.
    Tls(Box<TlsStream<TcpStream>>),
}

/// What TLS agreed on, in the words of the event tables.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsFacts {
    /// `TLSv1.3` …
    pub version: String,
    /// `TLS13_AES_256_GCM_SHA384` …
    pub cipher: String,
}

impl TlsFacts {
    /// The facts of an established connection.
    pub fn of(connection: &rustls::CommonState) -> Self {
        let version = connection.protocol_version().map_or(String::new(), |version| match version {
            rustls::ProtocolVersion::TLSv1_2 => "TLSv1.2".to_owned(),
            rustls::ProtocolVersion::TLSv1_3 => "TLSv1.3".to_owned(),
            other => format!("{other:?}"),
        });
        let cipher = connection.negotiated_cipher_suite().map_or(String::new(), |suite| format!("{:?}", suite.suite()));
        Self { version, cipher }
    }
}

impl Stream {
    /// Begins TLS as a server (STARTTLS, STLS). What the client sent in the clear before must have been thrown away.
    ///
    /// # Errors
    /// The handshake failed or took too long, or TLS had begun already.
    pub async fn upgrade(self, tls: &ServerTls, timeout: Duration) -> io::Result<Self> {
        let Stream::Plain(socket) = self else {
            return Err(io::Error::other("TLS has begun already"));
        };
        let handshake = TlsAcceptor::from(tls.config()).accept(socket);
        let stream = tokio::time::timeout(timeout, handshake).await.map_err(|_| io::ErrorKind::TimedOut)??;
        Ok(Stream::Tls(Box::new(stream.into())))
    }

    /// Begins TLS as a client.
    ///
    /// # Errors
    /// The handshake failed or took too long, or TLS had begun already.
    pub async fn connect_tls(
        self,
        config: Arc<rustls::ClientConfig>,
        name: ServerName<'static>,
        timeout: Duration,
    ) -> io::Result<Self> {
        let Stream::Plain(socket) = self else {
            return Err(io::Error::other("TLS has begun already"));
        };
        let handshake = TlsConnector::from(config).connect(name, socket);
        let stream = tokio::time::timeout(timeout, handshake).await.map_err(|_| io::ErrorKind::TimedOut)??;
        Ok(Stream::Tls(Box::new(stream.into())))
    }

    /// What TLS agreed on; `None` in the clear.
    pub fn tls(&self) -> Option<TlsFacts> {
        match self {
            Stream::Plain(_) => None,
            Stream::Tls(stream) => Some(TlsFacts::of(stream.get_ref().1)),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Tls(stream) => Pin::new(stream.as_mut()).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Stream::Tls(stream) => Pin::new(stream.as_mut()).poll_write(cx, buf),
        }
    }
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Tls(stream) => Pin::new(stream.as_mut()).poll_flush(cx),
        }
    }
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tls(stream) => Pin::new(stream.as_mut()).poll_shutdown(cx),
        }
    }
}
