//! A mail system in a temporary folder for tests: real stores, real sockets, a small client.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aggregator::emit::Emitter;
use aggregator::event::Event;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::Config;
use crate::admin::create_account;
use crate::config::Route;
use crate::listen::{Listener, Opening, Stream};
use crate::queue::attempt::Courier;
use crate::queue::health::Pulse;
use crate::queue::manager::Manager;
use crate::queue::relay::Relay;
use crate::queue::route::tests::FixedDns;
use crate::queue::store::Queue;
use crate::smtp::server::{Parts, Server};
use crate::smtp::session::Role;
use crate::store::{BlobStore, Directory, Stores};
use crate::tls::ServerTls;

/// How long a test waits for something that must come.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct World {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) config: Config,
    pub(crate) stores: Stores,
    pub(crate) queue: Queue,
    pub(crate) emitter: Emitter,
    events: mpsc::Receiver<Event>,
    pub(crate) shutdown: CancellationToken,
}

impl World {
    /// Accounts ada and bob, whose passwords are `secret`.
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = crate::config::tests::sample();
        config.resolve_paths(folder.path());
        certificate(&config.certificate, &config.key);
        config.limits.retry_first_s = 1;
        config.limits.drain_s = 1;
        for user in ["ada@varde.test", "bob@varde.test"] {
            create_account(folder.path(), user, "secret").unwrap();
        }
        let stores = Stores::open(folder.path()).unwrap();
        let queue = Queue::open(&folder.path().join("queue.db")).unwrap();
        let (emitter, events) = Emitter::channel();
        Self { folder, config, stores, queue, emitter, events, shutdown: CancellationToken::new() }
    }

    pub(crate) fn route(&mut self, domain: &str, to: SocketAddr) {
        let (domain, host, port) = (domain.to_owned(), to.ip().to_string(), to.port());
        self.config.route.push(Route { domain, host, port });
    }

    pub(crate) async fn server(&self, role: Role) -> SocketAddr {
        self.server_with(role, self.stores.blobs.clone()).await
    }

    pub(crate) async fn server_with(&self, role: Role, blobs: Arc<dyn BlobStore>) -> SocketAddr {
        let tls = Arc::new(ServerTls::load(&self.config.certificate, &self.config.key).unwrap());
        let parts = Parts {
            config: Arc::new(self.config.clone()),
            tls,
            directory: self.stores.directory.clone(),
            blobs,
            mailboxes: self.stores.mailboxes.clone(),
            queue: self.queue.clone(),
            emitter: self.emitter.clone(),
        };
        let listener = Listener::bind("mx_listen", self.config.mx_listen, Opening::Plain).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (limits, shutdown) = (self.config.limits.clone(), self.shutdown.clone());
        let server = Arc::new(Server::new(role, parts));
        tokio::spawn(async move { listener.run(&limits, server, shutdown).await });
        address
    }

    pub(crate) fn courier(&self) -> Courier {
        Courier {
            config: Arc::new(self.config.clone()),
            queue: Queue::open(&self.folder.path().join("queue.db")).unwrap(),
            blobs: self.stores.blobs.clone(),
            directory: self.stores.directory.clone(),
            mailboxes: self.stores.mailboxes.clone(),
            dns: Arc::new(FixedDns::default()),
            relay: Relay::new(&self.config.hostname, &self.config.limits),
            emitter: self.emitter.clone(),
        }
    }

    /// A queue process of its own name; aborting it is `kill -9`.
    pub(crate) fn manager(&self, owner: &str) -> JoinHandle<()> {
        let manager = Manager::new(self.courier(), Arc::new(Pulse::default()), owner.to_owned());
        tokio::spawn(manager.run(self.shutdown.clone()))
    }

    /// The messages of a user's INBOX.
    pub(crate) fn inbox(&self, user: &str) -> Vec<String> {
        let account = self.stores.directory.resolve(user).unwrap().unwrap();
        let Ok(inbox) = self.stores.mailboxes.open_mailbox(account.id, "INBOX") else { return Vec::new() };
        let uids = self.stores.mailboxes.changes(inbox.id, 0).unwrap().changed;
        let octets = uids.iter().map(|state| self.stores.mailboxes.octets(inbox.id, state.uid).unwrap());
        octets.map(|octets| String::from_utf8(octets).unwrap()).collect()
    }

    /// Waits until a user has so many messages.
    pub(crate) async fn arrived(&self, user: &str, count: usize) -> Vec<String> {
        let begun = tokio::time::Instant::now();
        loop {
            let inbox = self.inbox(user);
            if inbox.len() >= count {
                return inbox;
            }
            assert!(begun.elapsed() < PATIENCE, "{user} has {} messages and not {count}", inbox.len());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until so many messages are left in the queue.
    pub(crate) async fn left(&self, count: u64) {
        let begun = tokio::time::Instant::now();
        while self.queue.depth().await.unwrap().messages != count {
            assert!(begun.elapsed() < PATIENCE, "the queue does not come down to {count}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// The next event that `pick` picks.
    pub(crate) async fn event<T>(&mut self, pick: impl Fn(Event) -> Option<T>) -> T {
        let wait = async {
            loop {
                if let Some(found) = pick(self.events.recv().await.unwrap()) {
                    return found;
                }
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.expect("the event comes")
    }
}

fn certificate(certificate: &Path, key: &Path) {
    let pair = rcgen::generate_simple_self_signed(vec!["mx.varde.test".to_owned()]).unwrap();
    std::fs::create_dir_all(certificate.parent().unwrap()).unwrap();
    std::fs::write(certificate, pair.cert.pem()).unwrap();
    std::fs::write(key, pair.signing_key.serialize_pem()).unwrap();
}

/// A client that trusts the world's certificate and reads whole replies.
pub(crate) struct Client {
    stream: Stream,
    rest: String,
}

impl Client {
    pub(crate) async fn connect(to: SocketAddr) -> Self {
        Self { stream: Stream::Plain(TcpStream::connect(to).await.unwrap()), rest: String::new() }
    }

    /// EHLO, STARTTLS, EHLO.
    pub(crate) async fn secure(world: &World, to: SocketAddr) -> Self {
        let mut client = Self::connect(to).await;
        client.reply().await;
        client.say("EHLO c.test\r\n").await;
        assert!(client.say("STARTTLS\r\n").await.starts_with("220"));
        let mut client = client.upgrade(world).await;
        client.say("EHLO c.test\r\n").await;
        client
    }

    pub(crate) async fn upgrade(self, world: &World) -> Self {
        use rustls_pki_types::pem::PemObject;
        let mut roots = rustls::RootCertStore::empty();
        roots.add(rustls_pki_types::CertificateDer::from_pem_file(&world.config.certificate).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from("mx.varde.test").unwrap();
        let stream = self.stream.connect_tls(Arc::new(config), name, PATIENCE).await.unwrap();
        Self { stream, rest: String::new() }
    }

    pub(crate) async fn send(&mut self, octets: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(octets).await?;
        self.stream.flush().await
    }

    /// Sends, and reads one reply.
    pub(crate) async fn say(&mut self, text: &str) -> String {
        self.send(text.as_bytes()).await.unwrap();
        self.reply().await
    }

    /// One reply of all its lines; empty when the server has closed.
    pub(crate) async fn reply(&mut self) -> String {
        loop {
            let mut end = 0;
            for line in self.rest.split_inclusive("\r\n").filter(|line| line.ends_with("\r\n")) {
                end += line.len();
                if line.as_bytes()[3] == b' ' {
                    let reply = self.rest.drain(..end).collect::<String>();
                    return reply;
                }
            }
            let mut buffer = [0; 1_024];
            let read = tokio::time::timeout(PATIENCE, self.stream.read(&mut buffer)).await.expect("a reply comes");
            match read {
                Ok(0) | Err(_) => return std::mem::take(&mut self.rest),
                Ok(count) => self.rest.push_str(std::str::from_utf8(&buffer[..count]).unwrap()),
            }
        }
    }

    /// Logs in as ada and sends a message; the last reply.
    pub(crate) async fn submit(&mut self, recipients: &[&str], content: &str) -> String {
        let login = self.say("AUTH PLAIN AGFkYUB2YXJkZS50ZXN0AHNlY3JldA==\r\n").await;
        assert_eq!(login, "235 2.7.0 welcome\r\n");
        self.say("MAIL FROM:<ada@varde.test>\r\n").await;
        for recipient in recipients {
            let reply = self.say(&["RCPT TO:<", recipient, ">\r\n"].concat()).await;
            assert!(reply.starts_with("250"), "{reply}");
        }
        self.say("DATA\r\n").await;
        self.say(&[content, "\r\n.\r\n"].concat()).await
    }
}

/// A next hop that speaks SMTP from a list: the n-th message gets the n-th reply to RCPT and, where that says yes, is
/// taken. What it took can be read.
pub(crate) struct NextHop {
    pub(crate) address: SocketAddr,
    pub(crate) taken: mpsc::Receiver<String>,
}

impl NextHop {
    pub(crate) async fn new(replies: &'static [&'static str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, taken) = mpsc::channel(16);
        tokio::spawn(async move {
            let mut replies = replies.iter();
            while let Ok((socket, _)) = listener.accept().await {
                let mut peer = Client { stream: Stream::Plain(socket), rest: String::new() };
                Self::session(&mut peer, &mut replies, &sender).await;
            }
        });
        Self { address, taken }
    }

    async fn session(
        peer: &mut Client,
        replies: &mut std::slice::Iter<'_, &'static str>,
        sender: &mpsc::Sender<String>,
    ) {
        let mut message = None;
        let mut wanted = false;
        let _ = peer.send(b"220 hop.test ESMTP\r\n").await;
        while let Some(line) = Self::line(peer).await {
            let reply = match (&mut message, line.get(..4).unwrap_or(&line)) {
                (Some(_), ".\r\n") => {
                    sender.send(message.take().unwrap_or_default()).await.unwrap();
                    "250 2.0.0 taken\r\n"
                }
                (Some(text), _) => {
                    text.push_str(&line);
                    continue;
                }
                (None, "DATA") if !wanted => "554 5.5.1 nobody\r\n",
                (None, "EHLO") => "250-hop.test\r\n250 PIPELINING\r\n",
                (None, "RCPT") => {
                    let reply = replies.next().unwrap_or(&"250 2.1.5 ok\r\n");
                    wanted |= reply.starts_with("250");
                    reply
                }
                (None, "DATA") if wanted => {
                    wanted = false;
                    message = Some(String::new());
                    "354 go\r\n"
                }
                (None, "QUIT") => return,
                (None, _) => "250 2.0.0 ok\r\n",
            };
            let _ = peer.send(reply.as_bytes()).await;
        }
    }

    async fn line(peer: &mut Client) -> Option<String> {
        loop {
            if let Some(end) = peer.rest.find("\r\n") {
                return Some(peer.rest.drain(..end + 2).collect());
            }
            let mut buffer = [0; 1_024];
            match peer.stream.read(&mut buffer).await {
                Ok(0) | Err(_) => return None,
                Ok(count) => peer.rest.push_str(std::str::from_utf8(&buffer[..count]).unwrap()),
            }
        }
    }
}
