//! The pager's mailbox: an SMTP receiver (RFC 5321) for pages by e-mail and nothing else.
//!
//! It shares no code with the mail system on purpose: it must take a page when that is broken.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::Pager;
use super::inbox::Received;

/// A line of SMTP has at most 1,000 octets (RFC 5321 section 4.5.3.1.6).
const LINE_BYTES: u64 = 4096;
/// A page is text.
const MESSAGE_BYTES: usize = 1024 * 1024;
/// Recipients of one message.
const RECIPIENTS: usize = 100;
/// Senders at a time; the next one waits.
const SESSIONS: usize = 50;
/// A sender that says nothing is closed.
const PATIENCE: Duration = Duration::from_secs(60);

/// Takes mail until `stop`.
pub async fn serve(listener: TcpListener, pager: Arc<Pager>, stop: CancellationToken) {
    let mut sessions = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            Some(_) = sessions.join_next(), if !sessions.is_empty() => {}
            accepted = listener.accept(), if sessions.len() < SESSIONS => match accepted {
                Ok((stream, _)) => {
                    let pager = pager.clone();
                    sessions.spawn(async move {
                        if let Err(error) = session(stream, &pager).await {
                            tracing::debug!(%error, "a sender went away");
                        }
                    });
                }
                Err(error) => tracing::warn!(%error, "the pager's mailbox cannot accept"),
            },
        }
    }
}

async fn session(stream: TcpStream, pager: &Pager) -> std::io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut read = BufReader::new(read);
    let mut recipients: Vec<String> = Vec::new();
    write.write_all(b"220 pager.varde.test ESMTP\r\n").await?;
    while let Some(line) = next_line(&mut read).await? {
        let line = String::from_utf8_lossy(&line).trim_end().to_owned();
        let verb = line.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase();
        let reply: &[u8] = match verb.as_str() {
            "EHLO" => b"250-pager.varde.test\r\n250-8BITMIME\r\n250 SIZE 1048576\r\n",
            "HELO" | "NOOP" => b"250 OK\r\n",
            "MAIL" | "RSET" => {
                recipients.clear();
                b"250 2.1.0 OK\r\n"
            }
            "RCPT" if recipients.len() >= RECIPIENTS => b"452 4.5.3 Too many recipients\r\n",
            "RCPT" => match line.split(['<', '>']).nth(1) {
                Some(address) => {
                    recipients.push(address.to_ascii_lowercase());
                    b"250 2.1.5 OK\r\n"
                }
                None => b"501 5.5.4 RCPT TO:<address>\r\n",
            },
            "DATA" if recipients.is_empty() => b"503 5.5.1 No recipients\r\n",
            "DATA" => {
                write.write_all(b"354 Go on\r\n").await?;
                match data(&mut read).await? {
                    Some(message) => {
                        let kept = recipients
                            .drain(..)
                            .try_for_each(|to| pager.inbox.add(Received::from_email(&to, &message)));
                        if kept.is_ok() { b"250 2.0.0 Kept\r\n" } else { b"451 4.3.0 The page cannot be kept\r\n" }
                    }
                    None => b"552 5.3.4 Too large\r\n",
                }
            }
            "QUIT" => {
                write.write_all(b"221 2.0.0 Bye\r\n").await?;
                return Ok(());
            }
            _ => b"502 5.5.1 No such command\r\n",
        };
        write.write_all(reply).await?;
    }
    Ok(())
}

/// The next line with its end; `None` when the sender has gone, is silent, or sends an endless one.
async fn next_line(read: &mut (impl AsyncBufRead + Unpin)) -> std::io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    let read = tokio::time::timeout(PATIENCE, read.take(LINE_BYTES).read_until(b'\n', &mut line)).await;
    Ok(matches!(read, Ok(Ok(1..))).then_some(line).filter(|line| line.ends_with(b"\n")))
}

/// The message up to the lone dot, unstuffed; `None` when it is too large.
async fn data(read: &mut (impl AsyncBufRead + Unpin)) -> std::io::Result<Option<Vec<u8>>> {
    let mut message = Vec::new();
    while let Some(line) = next_line(read).await? {
        if line == b".\r\n" {
            return Ok((message.len() <= MESSAGE_BYTES).then_some(message));
        }
        if message.len() <= MESSAGE_BYTES {
            message.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
        }
    }
    Err(std::io::ErrorKind::UnexpectedEof.into())
}
