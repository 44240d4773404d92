//! Peers that follow a script.

use std::future::Future;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;
use tokio_rustls::TlsAcceptor;

/// A peer that listens until it is dropped.
pub struct Peer {
    pub port: u16,
    task: AbortHandle,
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Peer {
    /// Does `serve` with each connection, one after the other.
    pub async fn new<F>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let task = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                serve(socket).await;
            }
        });
        Self { port, task: task.abort_handle() }
    }

    /// Does `serve` with each connection, all at once.
    pub async fn new_each<F>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let task = tokio::spawn(async move {
            let mut served = tokio::task::JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                served.spawn(serve(socket));
            }
        });
        Self { port, task: task.abort_handle() }
    }

    /// Says `greeting`, then follows the script.
    pub async fn script(greeting: &'static str, script: Script) -> Self {
        Self::new(move |socket| async move { converse(socket, greeting, script).await.map(drop).unwrap_or_default() })
            .await
    }

    /// The same, over TLS from the first octet.
    pub async fn tls_script(tls: TlsAcceptor, greeting: &'static str, script: Script) -> Self {
        Self::new(move |socket| {
            let tls = tls.clone();
            async move {
                if let Ok(socket) = tls.accept(socket).await {
                    let _ = converse(socket, greeting, script).await;
                }
            }
        })
        .await
    }

    /// The same, with TLS after the line that is answered by a text which ends in `=TLS=`.
    pub async fn starttls_script(tls: TlsAcceptor, greeting: &'static str, script: Script, then: Script) -> Self {
        Self::starttls_script_greeting(tls, greeting, script, "", then).await
    }

    /// The same, with a second greeting over TLS.
    pub async fn starttls_script_greeting(
        tls: TlsAcceptor,
        greeting: &'static str,
        script: Script,
        again: &'static str,
        then: Script,
    ) -> Self {
        Self::new(move |socket| {
            let tls = tls.clone();
            async move {
                let Ok(Some(socket)) = converse(socket, greeting, script).await else { return };
                if let Ok(socket) = tls.accept(socket).await {
                    let _ = converse(socket, again, then).await;
                }
            }
        })
        .await
    }
}

/// What a line that contains the first is answered with; a `{tag}` stands for the line's first word. A line that is
/// not in the script ends the connection.
pub type Script = &'static [(&'static str, &'static str)];

async fn converse<S>(socket: S, greeting: &str, script: Script) -> std::io::Result<Option<S>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut socket = BufReader::new(socket);
    socket.write_all(greeting.as_bytes()).await?;
    socket.flush().await?;
    let mut line = String::new();
    loop {
        line.clear();
        if socket.read_line(&mut line).await? == 0 {
            return Ok(None);
        }
        let Some((_, answer)) = script.iter().find(|(part, _)| line.contains(part)) else { return Ok(None) };
        let tag = line.split(' ').next().unwrap_or_default();
        let (answer, tls) = answer.strip_suffix("=TLS=").map_or((*answer, false), |answer| (answer, true));
        socket.write_all(answer.replace("{tag}", tag).replace("{line}", line.trim()).as_bytes()).await?;
        socket.flush().await?;
        if tls {
            return Ok(Some(socket.into_inner()));
        }
    }
}
