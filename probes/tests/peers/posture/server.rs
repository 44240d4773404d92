//! A mail server that does as its settings say, and a web server for policies.

use std::sync::Arc;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;
use tokio_rustls::TlsAcceptor;

/// How a mail server behaves.
#[derive(Clone)]
pub struct Mail {
    pub banner: &'static str,
    pub helo: &'static str,
    pub extensions: Vec<&'static str>,
    pub starttls: bool,
    pub implicit_tls: bool,
    /// What AUTH offers before TLS.
    pub plain_auth: bool,
    /// Which of the old versions and suites it goes along with, by the version and the first suite of the offer.
    pub old: Option<(u16, u16)>,
    /// Answers that differ from the good ones: to lines that contain the first.
    pub answers: Vec<(&'static str, &'static str)>,
}

impl Mail {
    pub fn mx() -> Self {
        Self {
            banner: "220 mail.example.test ESMTP",
            helo: "mail.example.test",
            extensions: vec!["PIPELINING", "SIZE 52428800", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES"],
            starttls: true,
            implicit_tls: false,
            plain_auth: false,
            old: None,
            answers: Vec::new(),
        }
    }

    pub fn submission() -> Self {
        let mut mail = Self::mx();
        mail.extensions.push("AUTH PLAIN LOGIN");
        mail.answers = vec![("RCPT TO", "530 5.7.0 log in first"), ("AUTH PLAIN", "530 5.7.0 STARTTLS first")];
        mail
    }

    fn answer(&self, line: &str) -> &'static str {
        if let Some((_, answer)) = self.answers.iter().find(|(part, _)| line.contains(part)) {
            return answer;
        }
        let foreign = line.contains("@example.org");
        match line.split([' ', ':']).next().unwrap_or_default() {
            "RCPT" if foreign => "554 5.7.1 relay denied",
            "MAIL" | "RCPT" | "RSET" => "250 2.0.0 ok",
            "VRFY" => "252 2.5.0 perhaps",
            "QUIT" => "221 2.0.0 bye",
            "DATA" => panic!("an audit must not send a message"),
            _ => "502 5.5.1 no",
        }
    }
}

/// A server that runs until it is dropped.
pub struct Server {
    pub port: u16,
    task: AbortHandle,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn listen<F: Future<Output = ()> + Send + 'static>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let task = tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            tokio::spawn(serve(socket));
        }
    });
    Server { port, task: task.abort_handle() }
}

/// Serves mail.
pub async fn mail(mail: Mail, tls: TlsAcceptor) -> Server {
    let mail = Arc::new(mail);
    listen(move |socket| {
        let (mail, tls) = (mail.clone(), tls.clone());
        async move {
            if mail.implicit_tls {
                if let Ok(socket) = tls.accept(socket).await {
                    let _ = converse(&mail, socket, true, true).await;
                }
                return;
            }
            let Ok(Some(mut socket)) = converse(&mail, socket, true, false).await else { return };
            if mail.old.is_some() && goes_along(&mail, &mut socket).await {
                return;
            }
            if let Ok(socket) = tls.accept(socket).await {
                let _ = converse(&mail, socket, false, true).await;
            }
        }
    })
    .await
}

/// Talks until STARTTLS, when it returns the socket, or to the end.
async fn converse<S: AsyncRead + AsyncWrite + Unpin>(
    mail: &Mail,
    socket: S,
    greet: bool,
    secure: bool,
) -> std::io::Result<Option<S>> {
    let mut socket = BufReader::new(socket);
    if greet {
        socket.write_all(format!("{}\r\n", mail.banner).as_bytes()).await?;
        socket.flush().await?;
    }
    let mut line = String::new();
    loop {
        line.clear();
        if socket.read_line(&mut line).await? == 0 {
            return Ok(None);
        }
        let line = line.trim();
        let answer = if line.starts_with("EHLO") {
            let mut lines = vec![mail.helo];
            lines.extend(mail.extensions.iter().filter(|name| secure || mail.plain_auth || !name.starts_with("AUTH")));
            if mail.starttls && !secure {
                lines.push("STARTTLS");
            }
            let last = lines.len() - 1;
            lines
                .iter()
                .enumerate()
                .map(|(i, text)| format!("250{}{text}", if i == last { ' ' } else { '-' }))
                .collect::<Vec<_>>()
                .join("\r\n")
        } else if line == "STARTTLS" {
            "220 2.0.0 go".to_owned()
        } else {
            mail.answer(line).to_owned()
        };
        socket.write_all(format!("{answer}\r\n").as_bytes()).await?;
        socket.flush().await?;
        if line == "STARTTLS" {
            return Ok(Some(socket.into_inner()));
        }
        if line == "QUIT" {
            return Ok(None);
        }
    }
}

/// Answers the hand-made offer that the settings name with a ServerHello; other offers are left for the TLS library.
async fn goes_along(mail: &Mail, socket: &mut TcpStream) -> bool {
    let mut head = [0; 48];
    // A ClientHello comes in one segment here; peeking less than the head means that the peer has gone.
    let Ok(length) = socket.peek(&mut head).await else { return true };
    let own = length == head.len() && head[43] == 0;
    let offer = (u16::from_be_bytes([head[9], head[10]]), u16::from_be_bytes([head[46], head[47]]));
    if !own || mail.old != Some(offer) {
        return false;
    }
    let mut hello = vec![2, 0, 0, 38];
    hello.extend(offer.0.to_be_bytes());
    hello.extend([7; 32]);
    hello.push(0);
    hello.extend(offer.1.to_be_bytes());
    hello.push(0);
    let record = [&[22, 3, 1, 0, hello.len() as u8][..], &hello].concat();
    let _ = socket.write_all(&record).await;
    // Until the client hangs up: a reset would take the answer away.
    let mut rest = Vec::new();
    let _ = socket.read_to_end(&mut rest).await;
    true
}

/// A page: its path, its status, its type, its body.
pub type Page = (&'static str, u16, &'static str, String);

/// Serves pages over HTTPS.
pub async fn web(pages: Vec<Page>, tls: TlsAcceptor) -> Server {
    let pages = Arc::new(pages);
    listen(move |socket| {
        let (pages, tls) = (pages.clone(), tls.clone());
        async move {
            let Ok(socket) = tls.accept(socket).await else { return };
            let mut socket = BufReader::new(socket);
            let mut request = String::new();
            while !request.ends_with("\r\n\r\n") {
                if socket.read_line(&mut request).await.unwrap_or(0) == 0 {
                    return;
                }
            }
            let path = request.split(' ').nth(1).unwrap_or_default();
            let page = pages.iter().find(|(this, ..)| *this == path);
            let (status, kind, body) = page.map_or((404, "text/plain", ""), |(_, status, kind, body)| (*status, *kind, body));
            let head = format!("HTTP/1.1 {status} x\r\nContent-Type: {kind}\r\nLocation: /else\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
            let _ = socket.write_all(head.as_bytes()).await;
            let _ = socket.write_all(body.as_bytes()).await;
            let _ = socket.shutdown().await;
        }
    })
    .await
}
