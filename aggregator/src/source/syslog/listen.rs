//! The sockets of syslog: who may send is heard, within bounds.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::mpsc::Sender;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::super::config::{SyslogConfig, Transport};
use super::frame::{self, Frame, Framing};
use super::{Error, Received};
use crate::metrics::log::Syslog;

/// Connections of a listener at once.
const CONNECTIONS: usize = 256;
/// Of them, those of one address. Loopback is exempt.
const PER_ADDRESS: usize = 32;
/// How long a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// After this silence the kernel asks whether a sender is still there. Senders are silent for as long as they like.
const KEEPALIVE: Duration = Duration::from_secs(120);
/// The longest datagram there is.
const DATAGRAM_BYTES: usize = 65_535;
/// What the kernel may hold of datagrams that were not read yet, as far as it allows so much.
const UDP_BUFFER_BYTES: usize = 4 << 20;
/// How long a datagram waits for room before it is dropped, and counted.
const UDP_PATIENCE: Duration = Duration::from_millis(100);
/// What is read of a connection at once.
const CHUNK: usize = 16 << 10;

/// A listener that is bound.
pub(super) enum Listener {
    /// For datagrams.
    Udp(UdpSocket),
    /// For connections.
    Tcp(TcpListener, Option<TlsAcceptor>),
}

/// A listener, its number among the configured ones, and what it says of who may send.
pub(super) struct Bound {
    pub(super) number: usize,
    pub(super) config: SyslogConfig,
    pub(super) listener: Listener,
}

impl Bound {
    /// Binds a listener.
    ///
    /// # Errors
    /// The address cannot be had, or a file of TLS cannot be read.
    pub(super) async fn new(number: usize, config: SyslogConfig) -> Result<Self, Error> {
        let listen = |source| Error::Listen { listen: config.listen.clone(), source };
        let (transport, address) = config.address().ok_or_else(|| listen(io::ErrorKind::InvalidInput.into()))?;
        let listener = match transport {
            Transport::Udp => {
                let socket = UdpSocket::bind(address).await.map_err(listen)?;
                // A smaller buffer is a smaller one.
                let _ = rustix::net::sockopt::set_socket_recv_buffer_size(&socket, UDP_BUFFER_BYTES);
                Listener::Udp(socket)
            }
            Transport::Tcp => Listener::Tcp(TcpListener::bind(address).await.map_err(listen)?, None),
            Transport::Tls => {
                let acceptor = TlsAcceptor::from(Arc::new(tls(&config)?));
                Listener::Tcp(TcpListener::bind(address).await.map_err(listen)?, Some(acceptor))
            }
        };
        Ok(Self { number, config, listener })
    }

    /// Where it listens.
    pub(super) fn address(&self) -> io::Result<SocketAddr> {
        match &self.listener {
            Listener::Udp(socket) => socket.local_addr(),
            Listener::Tcp(listener, _) => listener.local_addr(),
        }
    }

    /// Hears until `stop`.
    pub(super) async fn run(self, out: Sender<Received>, stop: CancellationToken) {
        let listen = self.config.listen.clone();
        let ears = Ears { number: self.number, out, stop };
        let ended = match self.listener {
            Listener::Udp(socket) => ears.datagrams(&socket, &self.config).await,
            Listener::Tcp(listener, acceptor) => ears.connections(&listener, acceptor, &self.config).await,
        };
        if let Err(why) = ended {
            tracing::error!(listen, %why, "the syslog listener has ended");
        }
    }
}

/// What all that hear for one listener share.
#[derive(Clone)]
struct Ears {
    number: usize,
    out: Sender<Received>,
    stop: CancellationToken,
}

impl Ears {
    fn received(&self, peer: IpAddr, frame: Frame) -> Received {
        if frame.cut {
            Syslog::Cut.add(1);
        }
        Received { listener: self.number, peer: peer.to_canonical(), line: frame.line }
    }

    async fn datagrams(&self, socket: &UdpSocket, config: &SyslogConfig) -> io::Result<()> {
        let mut buffer = vec![0; DATAGRAM_BYTES];
        loop {
            let (count, peer) = tokio::select! {
                () = self.stop.cancelled() => return Ok(()),
                got = socket.recv_from(&mut buffer) => match got {
                    Ok(got) => got,
                    // An ICMP answer to something else, or no memory for a moment.
                    Err(_) => {
                        tokio::time::sleep(UDP_PATIENCE).await;
                        continue;
                    }
                },
            };
            if !config.allows(peer.ip()) {
                Syslog::NotAllowed.add(1);
                continue;
            }
            let frame = frame::datagram(&buffer[..count]);
            if frame.line.is_empty() {
                continue;
            }
            if self.out.send_timeout(self.received(peer.ip(), frame), UDP_PATIENCE).await.is_err() {
                Syslog::Dropped.add(1);
            }
        }
    }

    async fn connections(
        &self,
        listener: &TcpListener,
        acceptor: Option<TlsAcceptor>,
        config: &SyslogConfig,
    ) -> io::Result<()> {
        let mut tasks = JoinSet::new();
        let guests = Guests::default();
        loop {
            let (stream, peer) = tokio::select! {
                () = self.stop.cancelled() => break,
                Some(_) = tasks.join_next() => continue,
                accepted = listener.accept() => match accepted {
                    Ok(accepted) => accepted,
                    // Out of descriptors, or the client went away.
                    Err(_) => {
                        tokio::time::sleep(UDP_PATIENCE).await;
                        continue;
                    }
                },
            };
            let ip = peer.ip().to_canonical();
            if !config.allows(ip) {
                Syslog::NotAllowed.add(1);
                continue;
            }
            let guest = if tasks.len() < CONNECTIONS { guests.enter(ip) } else { None };
            let Some(guest) = guest else {
                Syslog::TooMany.add(1);
                tracing::warn!(listen = config.listen, "a syslog connection past the bound is closed");
                continue;
            };
            // Without it a sender that is gone keeps its place.
            let _ = rustix::net::sockopt::set_socket_keepalive(&stream, true);
            let _ = rustix::net::sockopt::set_tcp_keepidle(&stream, KEEPALIVE);
            let (ears, acceptor) = (self.clone(), acceptor.clone());
            tasks.spawn(async move {
                let _guest = guest;
                match acceptor {
                    None => ears.stream(stream, ip).await,
                    Some(acceptor) => match tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
                        Ok(Ok(stream)) => ears.stream(stream, ip).await,
                        Ok(Err(why)) => {
                            Syslog::Broken.add(1);
                            tracing::warn!(%why, "a TLS handshake of a syslog sender failed");
                        }
                        Err(_) => Syslog::Broken.add(1),
                    },
                }
            });
        }
        while tasks.join_next().await.is_some() {}
        Ok(())
    }

    /// Reads a connection to its end. While there is no room the sender waits.
    async fn stream(&self, mut stream: impl AsyncRead + Unpin, peer: IpAddr) {
        let (mut framing, mut frames) = (Framing::default(), Vec::new());
        let mut chunk = [0; CHUNK];
        loop {
            let read = tokio::select! {
                () = self.stop.cancelled() => Ok(0),
                read = stream.read(&mut chunk) => read,
            };
            let count = read.unwrap_or(0);
            let framed = framing.push(&chunk[..count], &mut frames);
            if (count == 0 || framed.is_err()) && framing.last(&mut frames).is_err() && framed.is_ok() {
                Syslog::Broken.add(1);
            }
            for frame in frames.drain(..).filter(|frame| !frame.line.is_empty()) {
                if self.out.send(self.received(peer, frame)).await.is_err() {
                    return;
                }
            }
            if framed.is_err() {
                Syslog::Broken.add(1);
                tracing::warn!("a syslog connection is closed: it is framed neither by counts nor by line ends");
            }
            if count == 0 || framed.is_err() {
                return;
            }
        }
    }
}

/// How many connections each address has; no larger than those that are open.
#[derive(Default, Clone)]
struct Guests(Arc<Mutex<HashMap<IpAddr, usize>>>);

impl Guests {
    /// `None`: this address has enough.
    fn enter(&self, address: IpAddr) -> Option<Guest> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(address).or_default();
        if *count >= PER_ADDRESS && !address.is_loopback() {
            return None;
        }
        *count += 1;
        Some(Guest { guests: self.clone(), address })
    }
}

/// One connection's place among those of its address.
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

/// TLS as RFC 5425 asks for it: our certificate, and theirs if `client_ca` is given.
fn tls(config: &SyslogConfig) -> Result<ServerConfig, Error> {
    let missing = PathBuf::new();
    let (certificate, key) = (config.certificate.as_ref().unwrap_or(&missing), config.key.as_ref().unwrap_or(&missing));
    let fault = |path: &Path, why: String| Error::Tls { path: path.to_owned(), why };
    let chain = certificates(certificate)?;
    let key_der = PrivateKeyDer::from_pem_file(key).map_err(|why| fault(key, why.to_string()))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let versions = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|why| fault(certificate, why.to_string()))?;
    let clients = match &config.client_ca {
        None => versions.with_no_client_auth(),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for root in certificates(path)? {
                roots.add(root).map_err(|why| fault(path, why.to_string()))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            versions.with_client_cert_verifier(verifier.map_err(|why| fault(path, why.to_string()))?)
        }
    };
    clients.with_single_cert(chain, key_der).map_err(|why| fault(key, why.to_string()))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let fault = |why: String| Error::Tls { path: path.to_owned(), why };
    let file = File::open(path).map_err(|why| fault(why.to_string()))?;
    let read: Result<Vec<_>, _> = CertificateDer::pem_reader_iter(BufReader::new(file)).collect();
    let chain = read.map_err(|why| fault(why.to_string()))?;
    if chain.is_empty() { Err(fault("there is no certificate in it".to_owned())) } else { Ok(chain) }
}
