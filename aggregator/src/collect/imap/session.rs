//! A conversation with an IMAP server: a command, its answers, everything bounded in octets and in time.

use std::future::Future;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::collect::config::{ImapConfig, Tls};
use crate::collect::place::Fault;
use crate::mailed::Bound;

/// How long a command may take; a large message over a slow line is the longest.
const PATIENCE: Duration = Duration::from_secs(120);
/// Octets of a line: a search names every message of a folder.
const LINE_BYTES: u64 = 4 << 20;
/// Octets of a literal: a message, or the begin of one that is too long.
const LITERAL_BYTES: usize = Bound::MessageBytes.limit() as usize + (64 << 10);
/// Answers to one command.
const ANSWERS: usize = 100_000;
/// What is shown of what a server says.
const SAID_CHARS: usize = 200;

trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

/// An answer: its text, `{n}` and all, and the literals in it.
#[derive(Debug, Default)]
pub(super) struct Answer {
    pub(super) text: String,
    literals: Vec<Vec<u8>>,
}

impl Answer {
    /// Its first literal.
    pub(super) fn into_literal(self) -> Option<Vec<u8>> {
        self.literals.into_iter().next()
    }
}

/// A connection.
pub(super) struct Session {
    wire: BufReader<Box<dyn Wire>>,
    server: String,
    tag: u32,
    capabilities: String,
}

impl Session {
    /// Connects, and begins TLS as configured.
    pub(super) async fn connect(config: &ImapConfig) -> Result<Self, Fault> {
        let server = [config.host.as_str(), ":", &config.port.to_string()].concat();
        let network = |source| Fault::Network { server: server.clone(), source };
        let connecting = TcpStream::connect((config.host.as_str(), config.port));
        let tcp = within(&server, "the connection", connecting).await?.map_err(network)?;
        let wire: Box<dyn Wire> = match config.tls {
            Tls::Tls => Box::new(encrypt(tcp, config, &server).await?),
            Tls::Starttls | Tls::None => Box::new(tcp),
        };
        let mut session = Self { wire: BufReader::new(wire), server, tag: 0, capabilities: String::new() };
        session.greeting().await?;
        if config.tls == Tls::Starttls {
            session = session.start_tls(config).await?;
        }
        Ok(session)
    }

    async fn greeting(&mut self) -> Result<(), Fault> {
        let server = self.server.clone();
        let greeting = within(&server, "its greeting", self.answer()).await??;
        match greeting.text.starts_with("* OK") || greeting.text.starts_with("* PREAUTH") {
            true => Ok(()),
            false => Err(Fault::Protocol { server, said: shown(&greeting.text) }),
        }
    }

    async fn start_tls(mut self, config: &ImapConfig) -> Result<Self, Fault> {
        self.command("STARTTLS", "STARTTLS").await?;
        // What was sent before the encryption began is somebody else's (RFC 9051 section 6.2.1).
        if !self.wire.buffer().is_empty() {
            return Err(Fault::Protocol { server: self.server, said: "more than the answer to STARTTLS".to_owned() });
        }
        let wire: Box<dyn Wire> = Box::new(encrypt(self.wire.into_inner(), config, &self.server).await?);
        Ok(Self { wire: BufReader::new(wire), ..self })
    }

    /// Logs in and learns what the server can.
    pub(super) async fn login(&mut self, user: &str, password: &str) -> Result<(), Fault> {
        let login = ["LOGIN ", &quoted(user), " ", &quoted(password)].concat();
        self.command(&login, "LOGIN").await?;
        let answers = self.command("CAPABILITY", "CAPABILITY").await?;
        let told = answers.into_iter().find(|answer| answer.text.starts_with("* CAPABILITY"));
        self.capabilities = told.map(|answer| answer.text.to_ascii_uppercase()).unwrap_or_default();
        Ok(())
    }

    /// Whether the server can something.
    pub(super) fn has(&self, capability: &str) -> bool {
        self.capabilities.split_whitespace().any(|word| word == capability)
    }

    /// Sends a command and reads up to its answer. `name` is what messages call it: a command may hold a secret.
    pub(super) async fn command(&mut self, command: &str, name: &str) -> Result<Vec<Answer>, Fault> {
        let server = self.server.clone();
        within(&server, name, self.exchange(command, name)).await?
    }

    async fn exchange(&mut self, command: &str, name: &str) -> Result<Vec<Answer>, Fault> {
        self.tag += 1;
        let tag = ["v", &self.tag.to_string(), " "].concat();
        let line = [&tag, command, "\r\n"].concat();
        let sent = async {
            self.wire.write_all(line.as_bytes()).await?;
            self.wire.flush().await
        };
        sent.await.map_err(|source| Fault::Network { server: self.server.clone(), source })?;
        let mut answers = Vec::new();
        loop {
            let answer = self.answer().await?;
            if let Some(said) = answer.text.strip_prefix(&tag) {
                let server = self.server.clone();
                return match said.get(..2).map(str::to_ascii_uppercase).as_deref() {
                    Some("OK") => Ok(answers),
                    Some(_) => Err(Fault::Refused { server, command: name.to_owned(), said: shown(said) }),
                    None => Err(Fault::Protocol { server, said: shown(said) }),
                };
            }
            if !answer.text.starts_with("* ") || answers.len() >= ANSWERS {
                return Err(Fault::Protocol { server: self.server.clone(), said: shown(&answer.text) });
            }
            answers.push(answer);
        }
    }

    /// One answer, with the literals in it.
    async fn answer(&mut self) -> Result<Answer, Fault> {
        let mut answer = Answer::default();
        loop {
            let mut line = Vec::new();
            let read = (&mut self.wire).take(LINE_BYTES).read_until(b'\n', &mut line).await;
            read.map_err(|source| Fault::Network { server: self.server.clone(), source })?;
            if line.last() != Some(&b'\n') {
                let source =
                    io::Error::new(io::ErrorKind::UnexpectedEof, "it closed the connection, or a line is too long");
                return Err(Fault::Network { server: self.server.clone(), source });
            }
            let text = String::from_utf8_lossy(&line);
            let text = text.trim_end_matches(['\r', '\n']);
            answer.text.push_str(text);
            let Some(length) = literal_length(text) else { return Ok(answer) };
            let kept: usize = answer.literals.iter().map(Vec::len).sum();
            if kept.saturating_add(length) > LITERAL_BYTES {
                return Err(Fault::Protocol { server: self.server.clone(), said: shown(text) });
            }
            let mut literal = vec![0; length];
            let read = self.wire.read_exact(&mut literal).await;
            read.map_err(|source| Fault::Network { server: self.server.clone(), source })?;
            answer.literals.push(literal);
        }
    }
}

/// The length of the literal that follows a line.
fn literal_length(line: &str) -> Option<usize> {
    line.strip_suffix('}')?.rsplit_once('{')?.1.trim_end_matches('+').parse().ok()
}

async fn within<T>(server: &str, command: &str, work: impl Future<Output = T>) -> Result<T, Fault> {
    tokio::time::timeout(PATIENCE, work).await.map_err(|_| Fault::Silent {
        server: server.to_owned(),
        command: command.to_owned(),
        after: PATIENCE,
    })
}

async fn encrypt<W: Wire>(
    wire: W,
    config: &ImapConfig,
    server: &str,
) -> Result<tokio_rustls::client::TlsStream<W>, Fault> {
    let name = config.server_name.clone().unwrap_or_else(|| config.host.clone());
    let name = ServerName::try_from(name).map_err(|_| Fault::Tls("server_name is no name".to_owned()))?;
    let trust = config.trust.clone();
    let client = tokio::task::spawn_blocking(move || client_config(trust.as_deref())).await;
    let client = client.map_err(|why| Fault::Tls(why.to_string()))??;
    let connecting = TlsConnector::from(Arc::new(client)).connect(name, wire);
    within(server, "the TLS handshake", connecting)
        .await?
        .map_err(|source| Fault::Network { server: server.to_owned(), source })
}

fn client_config(trust: Option<&Path>) -> Result<ClientConfig, Fault> {
    let mut roots = RootCertStore::empty();
    match trust {
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
        Some(path) => {
            let unusable = |why: String| Fault::Tls([&path.to_string_lossy(), ": ", why.as_str()].concat());
            let pem = std::fs::read(path).map_err(|why| unusable(why.to_string()))?;
            let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
            roots.add_parsable_certificates(found.map_err(|why| unusable(why.to_string()))?);
        }
    }
    if roots.is_empty() {
        return Err(Fault::Tls("there are no root certificates; set imap.trust".to_owned()));
    }
    ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map(|builder| builder.with_root_certificates(roots).with_no_client_auth())
        .map_err(|why| Fault::Tls(why.to_string()))
}

/// A quoted string (RFC 9051 section 4.3). Control characters cannot stand in one, and are left out.
pub(super) fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars().filter(|c| !c.is_control()) {
        if matches!(c, '"' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out.push('"');
    out
}

fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(SAID_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_quoted_and_literals_counted() {
        assert_eq!(quoted("a\"b\\c\r\nd"), "\"a\\\"b\\\\cd\"");
        assert_eq!(literal_length("* 1 FETCH (BODY[] {42}"), Some(42));
        assert_eq!(literal_length("* OK {x}"), None);
    }
}
