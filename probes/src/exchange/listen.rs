//! One port for everybody: people and pages speak plain HTTP, the other watchers mutual TLS. The first octet tells them
//! apart: a TLS connection begins with a handshake record (22, RFC 8446 section 5.1), and no HTTP method does.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use aggregator::listen::{Bounded, Connection};
use axum::extract::connect_info::Connected;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use axum::serve::{IncomingStream, Listener};
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::tls::watcher_of;

/// How long a new connection may take to say what it is, handshake included.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// The content type of a handshake record.
const TLS_RECORD: u8 = 22;
/// What only another watcher may ask for begins so.
const PEER_PATHS: &str = "/peer/";

/// Who is at the other end of a connection.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Its address.
    pub address: SocketAddr,
    /// The name in the certificate that it has shown. `None`: it speaks plain HTTP.
    pub watcher: Option<Arc<str>>,
}

impl Connected<IncomingStream<'_, Doors>> for Caller {
    fn connect_info(stream: IncomingStream<'_, Doors>) -> Self {
        stream.remote_addr().clone()
    }
}

/// A listener for both.
pub struct Doors {
    bounded: Bounded,
    tls: Option<TlsAcceptor>,
    arriving: FuturesUnordered<BoxFuture<'static, Option<(Wire, Caller)>>>,
}

impl Doors {
    /// Without a TLS configuration it is for plain HTTP alone.
    pub fn new(bounded: Bounded, tls: Option<ServerConfig>) -> Self {
        let tls = tls.map(|config| TlsAcceptor::from(Arc::new(config)));
        Self { bounded, tls, arriving: FuturesUnordered::new() }
    }
}

impl Listener for Doors {
    type Io = Wire;
    type Addr = Caller;

    async fn accept(&mut self) -> (Wire, Caller) {
        loop {
            // A slow handshake holds nobody up; how many there are is bounded with the connections.
            tokio::select! {
                Some(arrived) = self.arriving.next() => {
                    if let Some(arrived) = arrived {
                        return arrived;
                    }
                }
                (connection, address) = self.bounded.accept() => {
                    let Some(tls) = self.tls.clone() else {
                        return (Wire::Plain(connection), Caller { address, watcher: None });
                    };
                    self.arriving.push(Box::pin(async move {
                        timeout(HANDSHAKE, greet(connection, address, tls)).await.ok().flatten()
                    }));
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<Caller> {
        Ok(Caller { address: self.bounded.local_addr()?, watcher: None })
    }
}

async fn greet(connection: Connection, address: SocketAddr, tls: TlsAcceptor) -> Option<(Wire, Caller)> {
    if connection.first_octet().await.ok()?? != TLS_RECORD {
        return Some((Wire::Plain(connection), Caller { address, watcher: None }));
    }
    match tls.accept(connection).await {
        Ok(stream) => {
            let watcher = watcher_of(stream.get_ref().1.peer_certificates()).map(Arc::from);
            Some((Wire::Tls(Box::new(stream)), Caller { address, watcher }))
        }
        Err(error) => {
            tracing::warn!(%address, "a TLS connection was refused: {error}; is its certificate one of this site's authority?");
            None
        }
    }
}

/// Lets only watchers of the site, by their certificates, ask what is for watchers.
pub async fn watchers_only(State(known): State<Arc<[String]>>, request: Request, next: Next) -> Response {
    if !request.uri().path().starts_with(PEER_PATHS) {
        return next.run(request).await;
    }
    let caller = request.extensions().get::<ConnectInfo<Caller>>().map(|caller| caller.0.clone());
    let Some(watcher) = caller.as_ref().and_then(|caller| caller.watcher.as_deref()) else {
        let text = "plain: this is for watchers, over mutual TLS\n";
        return (StatusCode::FORBIDDEN, text).into_response();
    };
    if !known.iter().any(|name| name == watcher) {
        tracing::warn!(watcher, "a certificate of the authority is for nobody that the configuration names");
        let text =
            format!("stranger: \"{watcher}\" is no watcher of this site; add it to [[watch.watcher]] and reload\n");
        return (StatusCode::FORBIDDEN, text).into_response();
    }
    next.run(request).await
}

/// A connection of either kind.
pub enum Wire {
    /// As it came.
    Plain(Connection),
    /// Within TLS.
    Tls(Box<TlsStream<Connection>>),
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(plain) => Pin::new(plain).poll_read(cx, buf),
            Self::Tls(tls) => Pin::new(tls).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(plain) => Pin::new(plain).poll_write(cx, bytes),
            Self::Tls(tls) => Pin::new(tls).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(plain) => Pin::new(plain).poll_flush(cx),
            Self::Tls(tls) => Pin::new(tls).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(plain) => Pin::new(plain).poll_shutdown(cx),
            Self::Tls(tls) => Pin::new(tls).poll_shutdown(cx),
        }
    }
}
