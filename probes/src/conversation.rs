//! A conversation with a server: lines and octets over TCP or TLS, bounded in every direction.
//!
//! **In**: what a client of SMTP, IMAP or POP3 wants to say, and what the peer answers, hostile or not.
//! **Out**: lines and octets within limits, or a [`Fault`].
//! **Must not know**: what a check is. The time-outs are those of its caller: every method may be dropped in the
//! middle of a read, and the octets that came are kept.

mod fault;
pub mod imap;
pub mod managesieve;
pub mod pop3;
pub mod sasl;
pub mod smtp;
mod tls;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

pub use fault::{Class, Fault, printable};
pub use tls::{Certificate, Tls};
pub(crate) use tls::{client_config, roots};

/// The longest line that is read; RFC 5321 asks for 512, RFC 1939 too, and servers exceed it in capabilities.
pub const LINE_MAX: usize = 8 * 1024;
/// The most that a server may say before the first command.
pub const BANNER_MAX: usize = 64 * 1024;
/// The most that a server may answer to one command.
pub const RESPONSE_MAX: usize = 10 * 1024 * 1024;

/// How much has been heard from the peer so far: tells silence from dribble when a step runs out of time.
#[derive(Debug, Clone, Default)]
pub struct Heard(Arc<AtomicU64>);

impl Heard {
    /// Octets so far.
    pub fn octets(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// More has come.
    pub fn add(&self, octets: usize) {
        self.0.fetch_add(octets as u64, Ordering::Relaxed);
    }
}

trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

/// One connection.
pub struct Conversation {
    wire: Box<dyn Wire>,
    local: SocketAddr,
    buffer: BytesMut,
    heard: Heard,
    /// The longest line that is read from this peer.
    pub line_max: usize,
    allowance: usize,
    secure: bool,
}

impl Conversation {
    /// Over a connection that stands.
    pub fn new(socket: TcpStream, heard: Heard) -> Result<Self, Fault> {
        let local = socket.local_addr()?;
        socket.set_nodelay(true)?;
        Ok(Self {
            wire: Box::new(socket),
            local,
            buffer: BytesMut::new(),
            heard,
            line_max: LINE_MAX,
            allowance: BANNER_MAX,
            secure: false,
        })
    }

    /// Goes on over TLS, and says what certificate the peer showed.
    ///
    /// # Errors
    /// When the handshake fails, or the peer has said something before it that an attacker could have put there.
    pub async fn start_tls(mut self, tls: &Tls) -> Result<(Self, Certificate), Fault> {
        if !self.buffer.is_empty() {
            return Err(Fault::new(Class::TlsProtocol, "the peer went on in clear text after it agreed to TLS"));
        }
        let (wire, certificate) = tls.connect(self.wire).await?;
        self.wire = Box::new(wire);
        self.secure = true;
        Ok((self, certificate))
    }

    /// Whether TLS is on.
    pub fn is_secure(&self) -> bool {
        self.secure
    }

    /// This end's address as a domain literal, RFC 5321 section 4.1.3.
    pub fn address_literal(&self) -> String {
        match self.local.ip() {
            std::net::IpAddr::V4(ip) => format!("[{ip}]"),
            std::net::IpAddr::V6(ip) => format!("[IPv6:{ip}]"),
        }
    }

    /// Says something; the peer may answer with [`RESPONSE_MAX`] octets from now on.
    ///
    /// # Errors
    /// When the connection is gone.
    pub async fn send(&mut self, octets: &[u8]) -> Result<(), Fault> {
        self.allowance = RESPONSE_MAX;
        self.wire.write_all(octets).await?;
        self.wire.flush().await?;
        Ok(())
    }

    /// Reads a line, without its end.
    ///
    /// # Errors
    /// When the peer closes, or the line or the whole answer is too long.
    pub async fn line(&mut self) -> Result<Vec<u8>, Fault> {
        let mut searched = 0;
        loop {
            if let Some(at) = self.buffer[searched..].iter().position(|&octet| octet == b'\n') {
                let end = searched + at;
                if end > self.line_max {
                    return Err(self.line_too_long());
                }
                self.spend(end + 1)?;
                let mut line = self.buffer.split_to(end + 1).to_vec();
                line.pop();
                if line.last() == Some(&b'\r') {
                    line.pop();
                }
                return Ok(line);
            }
            searched = self.buffer.len();
            if searched > self.line_max {
                return Err(self.line_too_long());
            }
            self.fill().await?;
        }
    }

    /// Reads a line as text; octets that are no UTF-8 are replaced.
    ///
    /// # Errors
    /// As [`Self::line`].
    pub async fn text(&mut self) -> Result<String, Fault> {
        Ok(String::from_utf8_lossy(&self.line().await?).into_owned())
    }

    /// Reads exactly so many octets.
    ///
    /// # Errors
    /// When the peer closes, or the whole answer is too long.
    pub async fn octets(&mut self, count: usize) -> Result<Vec<u8>, Fault> {
        self.spend(count)?;
        while self.buffer.len() < count {
            self.fill().await?;
        }
        let octets = self.buffer[..count].to_vec();
        self.buffer.advance(count);
        Ok(octets)
    }

    async fn fill(&mut self) -> Result<(), Fault> {
        let read = self.wire.read_buf(&mut self.buffer).await?;
        if read == 0 {
            let half = match self.buffer.len() {
                0 => "the peer closed the connection".to_owned(),
                _ => {
                    format!(
                        "the peer closed the connection after {:?}",
                        printable(&String::from_utf8_lossy(&self.buffer))
                    )
                }
            };
            return Err(Fault::new(Class::Closed, half));
        }
        self.heard.add(read);
        Ok(())
    }

    fn spend(&mut self, octets: usize) -> Result<(), Fault> {
        self.allowance = self.allowance.checked_sub(octets).ok_or_else(|| {
            Fault::new(Class::Protocol, "the answer has no end: it was cut off at the limit for one answer")
        })?;
        Ok(())
    }

    fn line_too_long(&self) -> Fault {
        let start = &self.buffer[..self.buffer.len().min(60)];
        Fault::said(
            Class::Protocol,
            &format!("the peer sent a line of more than {} octets", self.line_max),
            &String::from_utf8_lossy(start),
        )
    }
}
