//! The bounds of HTTP: so many connections, so many from one address, and none that says nothing for long.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use aggregator::metrics::mail as metrics;
use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, Sleep};

use crate::config::Limits;

/// A connection on which nothing was read or written for this long is closed.
const IDLE: Duration = Duration::from_secs(60);
/// What a client over the bounds is told.
const BUSY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";

/// A TCP listener that keeps `max_sessions` and `max_sessions_per_ip`: past them it answers 503 and closes.
pub(crate) struct Bounded {
    name: &'static str,
    socket: TcpListener,
    max: usize,
    max_per_ip: usize,
    idle: Duration,
    taken: Arc<Mutex<Taken>>,
}

/// The connections that are open.
#[derive(Default)]
struct Taken {
    all: usize,
    by_ip: HashMap<IpAddr, usize>,
}

impl Bounded {
    /// Bounds `socket`; `name` is the listener's in logs.
    pub(crate) fn new(name: &'static str, socket: TcpListener, limits: &Limits) -> Self {
        let (max, max_per_ip) = (limits.max_sessions, limits.max_sessions_per_ip);
        Self { name, socket, max, max_per_ip, idle: IDLE, taken: Arc::default() }
    }

    fn seat(&self, ip: IpAddr) -> Option<Seat> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let here = taken.by_ip.get(&ip).copied().unwrap_or(0);
        if taken.all >= self.max || here >= self.max_per_ip {
            return None;
        }
        taken.all += 1;
        taken.by_ip.insert(ip, here + 1);
        Some(Seat { ip, taken: Arc::clone(&self.taken) })
    }
}

impl Listener for Bounded {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        loop {
            let (stream, peer) = Listener::accept(&mut self.socket).await;
            if let Some(seat) = self.seat(peer.ip().to_canonical()) {
                let deadline = Box::pin(tokio::time::sleep(self.idle));
                let open = metrics::Open::new(self.name);
                return (Connection { stream, idle: self.idle, deadline, _seat: seat, _open: open }, peer);
            }
            metrics::CONNECTIONS_REFUSED.with(&[self.name]).inc();
            tracing::warn!(listener = self.name, "a connection was refused: too many sessions");
            // A fresh socket has room for one line; a client that does not read it is not waited for.
            let _ = stream.try_write(BUSY);
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }
}

/// Who is at the other end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) SocketAddr);

impl Connected<IncomingStream<'_, Bounded>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Bounded>) -> Self {
        Self(*stream.remote_addr())
    }
}

/// A place among the bounded; free again when it is dropped.
struct Seat {
    ip: IpAddr,
    taken: Arc<Mutex<Taken>>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.all -= 1;
        if let Some(here) = taken.by_ip.get_mut(&self.ip) {
            *here -= 1;
            if *here == 0 {
                taken.by_ip.remove(&self.ip);
            }
        }
    }
}

/// A connection that ends when it has been idle for too long.
pub(crate) struct Connection {
    stream: TcpStream,
    idle: Duration,
    deadline: Pin<Box<Sleep>>,
    _seat: Seat,
    _open: metrics::Open,
}

impl Connection {
    /// Passes on what `poll` came to; pending past the deadline is an error.
    fn bounded<T>(&mut self, cx: &mut Context<'_>, poll: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if poll.is_ready() {
            let deadline = Instant::now() + self.idle;
            self.deadline.as_mut().reset(deadline);
            return poll;
        }
        self.deadline.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.stream).poll_read(cx, buf);
        self.bounded(cx, poll)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.bounded(cx, poll)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;
    use tokio::net::TcpSocket;

    use super::*;

    async fn bounded(max_sessions: usize, max_sessions_per_ip: usize) -> (Bounded, SocketAddr) {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let limits = Limits { max_sessions, max_sessions_per_ip, ..Limits::default() };
        (Bounded::new("web", socket, &limits), address)
    }

    async fn connect(from: &str, to: SocketAddr) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::new(from.parse().unwrap(), 0)).unwrap();
        socket.connect(to).await.unwrap()
    }

    async fn is_refused(listener: &mut Bounded, mut client: TcpStream) -> bool {
        let mut answer = Vec::new();
        tokio::select! {
            _ = listener.accept() => false,
            read = client.read_to_end(&mut answer) => read.is_ok() && answer == BUSY,
        }
    }

    #[tokio::test]
    async fn connections_past_a_bound_are_refused_until_one_ends() {
        let (mut listener, address) = bounded(3, 2).await;
        let mut clients = Vec::new();
        let mut served = Vec::new();
        for from in ["127.0.0.1", "127.0.0.1"] {
            clients.push(connect(from, address).await);
            served.push(listener.accept().await.0);
        }
        assert!(is_refused(&mut listener, connect("127.0.0.1", address).await).await, "a third of one address");
        clients.push(connect("127.0.0.2", address).await);
        served.push(listener.accept().await.0);
        assert!(is_refused(&mut listener, connect("127.0.0.3", address).await).await, "a fourth of all");
        served.remove(0);
        let again = connect("127.0.0.1", address).await;
        assert_eq!(listener.accept().await.1, again.local_addr().unwrap());
    }

    #[tokio::test]
    async fn a_connection_that_says_nothing_is_given_up() {
        let (mut listener, address) = bounded(1, 1).await;
        listener.idle = Duration::from_millis(20);
        let _client = TcpStream::connect(address).await.unwrap();
        let (mut served, _) = listener.accept().await;
        let read = served.read(&mut [0; 1]).await;
        assert_eq!(read.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
