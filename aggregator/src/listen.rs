//! A listener for HTTP with bounds: so many connections at once, so many of one address, and none that says nothing
//! for long.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep};

/// Connections of one listener at once. Past it, new ones wait in the kernel's queue until one ends.
pub const MAX_CONNECTIONS: usize = 1_024;
/// Of them, those of one address (of IPv6: of one /64). Past it, a new one is closed at once. Loopback is exempt: there
/// a reverse proxy brings everybody's.
pub const MAX_PER_ADDRESS: usize = 128;
/// For how long a connection may be idle where requests are answered within a few seconds.
pub const IDLE: Duration = Duration::from_secs(30);

/// A TCP listener that keeps [`MAX_CONNECTIONS`] and [`MAX_PER_ADDRESS`].
pub struct Bounded {
    listener: TcpListener,
    idle: Duration,
    permits: Arc<Semaphore>,
    guests: Guests,
}

impl Bounded {
    /// Bounds `listener`. A connection on which nothing was read or written for `idle` is closed, also while its
    /// request is worked on: `idle` must be longer than the longest answer takes.
    pub fn new(listener: TcpListener, idle: Duration) -> Self {
        Self { listener, idle, permits: Arc::new(Semaphore::new(MAX_CONNECTIONS)), guests: Guests::default() }
    }
}

impl Listener for Bounded {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        let permit = Arc::clone(&self.permits).acquire_owned().await.ok();
        loop {
            let (stream, peer) = Listener::accept(&mut self.listener).await;
            if let Some(guest) = self.guests.enter(peer.ip()) {
                let sleep = Box::pin(tokio::time::sleep(self.idle));
                return (Connection { stream, idle: self.idle, sleep, _permit: permit, _guest: guest }, peer);
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// Who is at the other end.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub SocketAddr);

impl Connected<IncomingStream<'_, Bounded>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Bounded>) -> Self {
        Self(*stream.remote_addr())
    }
}

/// How many connections each address has. No larger than the connections that are open.
#[derive(Debug, Default, Clone)]
struct Guests(Arc<Mutex<HashMap<IpAddr, usize>>>);

impl Guests {
    /// `None`: this address has enough.
    fn enter(&self, address: IpAddr) -> Option<Guest> {
        let address = match address.to_canonical() {
            IpAddr::V6(six) if !six.is_loopback() => Ipv6Addr::from_bits(six.to_bits() & (u128::MAX << 64)).into(),
            other => other,
        };
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(address).or_default();
        if *count >= MAX_PER_ADDRESS && !address.is_loopback() {
            return None;
        }
        *count += 1;
        Some(Guest { guests: self.clone(), address })
    }
}

/// One connection's place among those of its address.
#[derive(Debug)]
struct Guest {
    guests: Guests,
    address: IpAddr,
}

impl Drop for Guest {
    fn drop(&mut self) {
        let mut counts = self.guests.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.address);
            }
        }
    }
}

/// A connection that ends when it has been idle for too long.
pub struct Connection {
    stream: TcpStream,
    idle: Duration,
    sleep: Pin<Box<Sleep>>,
    _permit: Option<OwnedSemaphorePermit>,
    _guest: Guest,
}

impl Connection {
    /// The first octet that the other end sends, left where it is. `None`: it has ended without one.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn first_octet(&self) -> io::Result<Option<u8>> {
        let mut octet = [0];
        Ok((self.stream.peek(&mut octet).await? == 1).then_some(octet[0]))
    }

    /// Passes on what `poll` came to; pending past the deadline is an error.
    fn bounded<T>(&mut self, cx: &mut Context<'_>, poll: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if poll.is_ready() {
            let end = Instant::now() + self.idle;
            self.sleep.as_mut().reset(end);
            return poll;
        }
        self.sleep.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.stream).poll_read(cx, buf);
        self.bounded(cx, poll)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write(cx, bytes);
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
    use tokio::io::AsyncReadExt as _;

    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn one_address_has_so_many_connections_and_no_more_until_one_ends() {
        let guests = Guests::default();
        let mut inside: Vec<Guest> =
            (0..MAX_PER_ADDRESS).map(|_| guests.enter(address("192.0.2.1")).unwrap()).collect();
        assert!(guests.enter(address("192.0.2.1")).is_none());
        assert!(guests.enter(address("::ffff:192.0.2.1")).is_none(), "the same address in IPv6's words");
        assert!(guests.enter(address("192.0.2.2")).is_some());
        inside.pop();
        assert!(guests.enter(address("192.0.2.1")).is_some());
        inside.clear();
        assert!(guests.0.lock().unwrap().is_empty(), "nobody is remembered");
    }

    #[test]
    fn an_ipv6_network_counts_as_one_address_and_loopback_is_not_counted_out() {
        let guests = Guests::default();
        let inside: Vec<Guest> =
            (0..MAX_PER_ADDRESS).map(|host| guests.enter(address(&format!("2001:db8::{host:x}"))).unwrap()).collect();
        assert!(guests.enter(address("2001:db8::ffff")).is_none());
        assert!(guests.enter(address("2001:db8:0:1::1")).is_some());
        drop(inside);
        let many = |text: &str| (0..=MAX_PER_ADDRESS).map(|_| guests.enter(address(text))).collect::<Vec<_>>();
        assert!(many("127.0.0.1").iter().chain(&many("::1")).all(Option::is_some));
    }

    #[tokio::test]
    async fn a_connection_that_says_nothing_is_closed() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let bounded = Bounded::new(listener, Duration::from_millis(20));
        let address = bounded.local_addr().unwrap();
        let server = tokio::spawn(async move { axum::serve(bounded, axum::Router::new()).await });
        let mut silent = TcpStream::connect(address).await.unwrap();
        let closed = tokio::time::timeout(Duration::from_secs(30), silent.read(&mut [0; 64])).await;
        assert!(matches!(closed, Ok(Ok(0) | Err(_))), "{closed:?}");
        server.abort();
    }
}
