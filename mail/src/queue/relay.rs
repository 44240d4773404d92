//! The driver of client sessions: a connection to a next hop, over which messages are sent one after another.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::route::Hop;
use crate::config::Limits;
use crate::listen::{Stream, TlsFacts};
use crate::smtp::client::{Dialogue, ServerReply, Step, TlsWish, Transaction, stuff};

/// Octets of content that must go out within one reply time-out.
const WRITE_OCTETS: usize = 65_536;
/// How long a server may take to say good-bye.
const QUIT_TIMEOUT: Duration = Duration::from_secs(2);

/// Why a hop could not be spoken to. The next one may be tried.
#[derive(Debug)]
pub enum HopFailure {
    /// The connection failed or broke; `doing` says when.
    Io {
        /// What was being done.
        doing: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// The TLS handshake failed: it may be tried in the clear.
    Tls(io::Error),
    /// The server refused the session.
    Refused(ServerReply),
}

impl HopFailure {
    fn nonsense() -> Self {
        let source = io::Error::new(io::ErrorKind::InvalidData, "what it says is not SMTP");
        Self::Io { doing: "reading a reply", source }
    }
}

/// What is known of a connection.
#[derive(Debug, Clone)]
pub struct LinkFacts {
    /// The next hop.
    pub hop: Hop,
    /// The address that we send from.
    pub source_ip: Option<IpAddr>,
    /// What TLS agreed on.
    pub tls: Option<TlsFacts>,
    /// `trusted`, `untrusted`; empty in the clear.
    pub trust: &'static str,
    /// How long it took until a message could begin.
    pub connect_ms: u64,
}

/// A connection that is ready for messages.
pub struct Link {
    stream: Stream,
    dialogue: Dialogue,
    /// What is known of it.
    pub facts: LinkFacts,
    reply_timeout: Duration,
}

/// Makes connections.
pub struct Relay {
    hostname: String,
    limits: Limits,
    provider: Arc<CryptoProvider>,
    verifier: Option<Arc<WebPkiServerVerifier>>,
}

impl Relay {
    /// A relay that says `hostname`. Certificates are judged by the system's roots, and the judgement is only noted.
    pub fn new(hostname: &str, limits: &Limits) -> Self {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build().ok();
        Self { hostname: hostname.to_owned(), limits: limits.clone(), provider, verifier }
    }

    /// Connects to a hop, over TLS when it offers it and the handshake goes well, otherwise in the clear.
    ///
    /// # Errors
    /// The hop cannot be reached or does not want to talk.
    pub async fn connect(&self, hop: &Hop) -> Result<Link, HopFailure> {
        match self.try_connect(hop, TlsWish::WhenOffered).await {
            Err(HopFailure::Tls(error)) => {
                tracing::info!(host = %hop.host, %error, "the TLS handshake failed, trying in the clear");
                self.try_connect(hop, TlsWish::Never).await
            }
            other => other,
        }
    }

    async fn try_connect(&self, hop: &Hop, wish: TlsWish) -> Result<Link, HopFailure> {
        let begun = Instant::now();
        let timed = tokio::time::timeout(self.limits.connect_timeout(), TcpStream::connect((hop.ip, hop.port)));
        let socket = timed
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            .map_err(|source| HopFailure::Io { doing: "connecting", source })?;
        let _ = socket.set_nodelay(true);
        let source_ip = socket.local_addr().ok().map(|local| local.ip());
        let facts = LinkFacts { hop: hop.clone(), source_ip, tls: None, trust: "", connect_ms: 0 };
        let dialogue = Dialogue::new(&self.hostname, wish);
        let mut link =
            Link { stream: Stream::Plain(socket), dialogue, facts, reply_timeout: self.limits.reply_timeout() };
        loop {
            match link.step().await? {
                Step::Send(octets) => link.send(&octets, "sending a command").await?,
                Step::StartTls => link = self.start_tls(link).await?,
                Step::Ready => {
                    link.facts.connect_ms = millis(begun);
                    return Ok(link);
                }
                Step::Refused(reply) => return Err(HopFailure::Refused(reply)),
                Step::SendContent | Step::Done(_) | Step::Nonsense => return Err(HopFailure::nonsense()),
            }
        }
    }

    async fn start_tls(&self, mut link: Link) -> Result<Link, HopFailure> {
        let name = ServerName::try_from(link.facts.hop.host.clone()).unwrap_or(ServerName::from(link.facts.hop.ip));
        let verifier = Arc::new(Noting {
            inner: self.verifier.clone(),
            provider: Arc::clone(&self.provider),
            trusted: AtomicBool::new(false),
        });
        let config = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| HopFailure::Tls(io::Error::other(error)))?
            .dangerous()
            .with_custom_certificate_verifier(verifier.clone())
            .with_no_client_auth();
        let timeout = self.limits.handshake_timeout();
        link.stream = link.stream.connect_tls(Arc::new(config), name, timeout).await.map_err(HopFailure::Tls)?;
        link.facts.tls = link.stream.tls();
        link.facts.trust = if verifier.trusted.load(Ordering::Relaxed) { "trusted" } else { "untrusted" };
        let ehlo = link.dialogue.tls_started();
        link.send(&ehlo, "sending EHLO over TLS").await?;
        Ok(link)
    }
}

fn millis(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

impl Link {
    /// Whether the server passes DSN parameters on.
    pub fn has_dsn(&self) -> bool {
        self.dialogue.extensions().dsn
    }

    /// Sends a message: the reply for each recipient, and how long it took in milliseconds.
    ///
    /// # Errors
    /// The connection broke, and is of no more use.
    pub async fn message(
        &mut self,
        transaction: Transaction,
        content: &[u8],
    ) -> Result<(Vec<ServerReply>, u64), HopFailure> {
        let begun = Instant::now();
        let count = transaction.recipients.len();
        let out = match self.dialogue.begin(transaction) {
            Ok(out) => out,
            Err(refusal) => return Ok((vec![refusal; count], 0)),
        };
        self.send(&out, "sending the envelope").await?;
        loop {
            match self.step().await? {
                Step::Send(octets) => self.send(&octets, "sending a command").await?,
                Step::SendContent => {
                    for piece in stuff(content).chunks(WRITE_OCTETS) {
                        self.send(piece, "sending the content").await?;
                    }
                }
                Step::Done(replies) => return Ok((replies, millis(begun))),
                Step::Refused(reply) => return Err(HopFailure::Refused(reply)),
                Step::Ready | Step::StartTls | Step::Nonsense => return Err(HopFailure::nonsense()),
            }
        }
    }

    /// Says good-bye.
    pub async fn quit(mut self) {
        let bye = async {
            self.send(Dialogue::QUIT, "sending QUIT").await?;
            self.step().await
        };
        let _ = tokio::time::timeout(QUIT_TIMEOUT, bye).await;
    }

    async fn send(&mut self, octets: &[u8], doing: &'static str) -> Result<(), HopFailure> {
        let sent = tokio::time::timeout(self.reply_timeout, async {
            self.stream.write_all(octets).await?;
            self.stream.flush().await
        });
        let sent = sent.await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        sent.map_err(|source| HopFailure::Io { doing, source })
    }

    /// Reads up to the next step. A server that talks without end is as late as one that is silent.
    async fn step(&mut self) -> Result<Step, HopFailure> {
        let failed = |source| HopFailure::Io { doing: "waiting for a reply", source };
        let deadline = Instant::now() + self.reply_timeout;
        let mut buffer = [0; 4_096];
        loop {
            let read = tokio::time::timeout_at(deadline, self.stream.read(&mut buffer)).await;
            let count = read.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())).map_err(failed)?;
            if count == 0 {
                return Err(failed(io::ErrorKind::UnexpectedEof.into()));
            }
            let mut input = buffer.get(..count).unwrap_or_default();
            // Each step waits for our next octets: what a server says beyond it, it says too early.
            if let Some(step) = self.dialogue.next(&mut input) {
                return if input.is_empty() { Ok(step) } else { Err(HopFailure::nonsense()) };
            }
        }
    }
}

/// Takes every certificate and notes whether it would have been right: without MTA-STS or DANE a sender cannot know
/// better, and encryption to anybody is better than none (RFC 7435).
#[derive(Debug)]
struct Noting {
    inner: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
    trusted: AtomicBool,
}

impl ServerCertVerifier for Noting {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let trusted = self.inner.as_ref().is_some_and(|inner| {
            inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now).is_ok()
        });
        self.trusted.store(trusted, Ordering::Relaxed);
        Ok(ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
