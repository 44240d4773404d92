//! What is remembered between the lines of a message, a client connection and a delivery agent's connection.

use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use crate::dialect::recent::Recent;
use crate::dialect::spare::Spare;
use crate::dialect::text::{cut, put_mailbox};
use crate::event::{Address, Delivery, Reception, Session, Time};
use crate::quick::{FACTOR, mix_text};

/// Messages that are remembered: beyond it, the deliveries of the oldest lack what other lines said.
const MESSAGES: usize = 50_000;

/// Daemons whose connection is remembered, of each kind.
const CONNECTIONS: usize = 10_000;

/// Recipients of one message whose attempts are counted.
const COUNTED_RECIPIENTS: usize = 1_000;

/// Messages and clients that have left, whose memory those that come are written into.
const LEFT: usize = 64;

/// Attempts whose memory is kept for another message.
const KEPT_ATTEMPTS: usize = 64;

/// Cipher suites that are known: a log has few of them.
const SUITES: usize = 16;

/// Everything that is remembered. Keys are hashes: of host and queue id, or of host and process.
#[derive(Default)]
pub struct Memory {
    /// Boxed: most of the table's places are free, and a small table is quick to look into.
    messages: Recent<Box<Message>, MESSAGES, u64, BuildHasherDefault<Hashed>>,
    clients: Recent<Client, CONNECTIONS, u64, BuildHasherDefault<Hashed>>,
    peers: Recent<Peer, CONNECTIONS, u64, BuildHasherDefault<Hashed>>,
    #[expect(clippy::vec_box, reason = "the boxes move between here and the table as they are")]
    left_messages: Vec<Box<Message>>,
    left_clients: Vec<Client>,
    suites: Vec<Arc<Tls>>,
    /// Whether a part of the log before these lines was not read.
    pub begins_within: bool,
    /// Whether this log tells how messages arrive: one that was filtered may have the queue manager's lines alone.
    pub tells_arrivals: bool,
    /// Rows that were written.
    pub deliveries: Spare<Delivery>,
    /// Rows that were written.
    pub receptions: Spare<Reception>,
    /// Rows that were written.
    pub sessions: Spare<Session>,
}

/// The keys are hashes already.
#[derive(Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        self.0 = bytes.iter().fold(self.0, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(FACTOR));
    }
    fn write_u64(&mut self, key: u64) {
        self.0 = key;
    }
}

/// A quick hash of two texts. Queue ids and process numbers are the mail system's own: nobody outside chooses them.
fn key(host: &str, of: &[u8]) -> u64 {
    mix_text(mix_text(FACTOR, host.as_bytes()), of)
}

/// A message in the queue.
#[derive(Debug, Default)]
pub struct Message {
    /// Whether its reception has been told.
    pub taken: bool,
    /// Whether its arrival was seen, so that its attempts can be counted.
    pub from_the_start: bool,
    /// Its Message-ID.
    pub message_id: String,
    /// The reverse-path.
    pub sender_user: String,
    /// The reverse-path.
    pub sender_domain: String,
    /// Its size.
    pub size_bytes: Option<u64>,
    /// Its recipients.
    pub rcpt_count: Option<u32>,
    /// Its one recipient, once an attempt named it.
    pub only_recipient: Option<(String, String)>,
    /// Who brought it.
    pub client_ip: Option<Address>,
    /// Who brought it.
    pub client_name: String,
    /// As whom.
    pub auth_user: String,
    /// How protected.
    pub tls: Option<Arc<Tls>>,
    attempts: Vec<(u64, u32)>,
}

/// A protected connection.
#[derive(Debug, Clone)]
pub struct Tls {
    /// `TLSv1.3`
    pub version: Box<str>,
    /// The cipher suite.
    pub cipher: Box<str>,
}

/// The client that an `smtpd` process serves.
#[derive(Debug, Default)]
pub struct Client {
    /// Its address.
    pub ip: Option<Address>,
    /// Its verified name.
    pub name: String,
    /// When it came.
    pub since: Option<Time>,
    /// The connection's protection.
    pub tls: Option<Arc<Tls>>,
    /// As whom it logged in.
    pub user: String,
    /// How its session ended, when not by QUIT.
    pub end: &'static str,
}

/// The next hop that a delivery agent has a protected connection to.
#[derive(Debug)]
pub struct Peer {
    /// As `relay=` names it.
    pub relay: Box<str>,
    /// The connection's protection.
    pub tls: Arc<Tls>,
    /// `Trusted`, `Verified` …
    pub trust: &'static str,
    /// The first message that was sent over it.
    pub queue_id: Option<Box<str>>,
}

impl Memory {
    /// The message of this queue id; a new one if it is not known.
    pub fn message(&mut self, host: &str, id: &str) -> Option<&mut Message> {
        let left = &mut self.left_messages;
        self.messages.entry(key(host, id.as_bytes()), || left.pop().unwrap_or_default()).map(Box::as_mut)
    }

    /// A message that is beginning: a queue id may come again when its message is gone.
    pub fn arrival(&mut self, host: &str, id: &str) -> Option<&mut Message> {
        self.tells_arrivals = true;
        let message = self.message(host, id)?;
        message.reset();
        message.from_the_start = true;
        Some(message)
    }

    /// The message of this queue id, if it is known.
    pub fn known_message(&mut self, host: &str, id: &str) -> Option<&mut Message> {
        self.messages.get_mut(&key(host, id.as_bytes())).map(Box::as_mut)
    }

    /// Forgets a message that has left the queue.
    pub fn forget(&mut self, host: &str, id: &str) {
        let Some(mut message) = self.messages.remove(&key(host, id.as_bytes())) else { return };
        if self.left_messages.len() < LEFT {
            message.reset();
            self.left_messages.push(message);
        }
    }

    /// The client of this process; an empty one if it is not known.
    pub fn client(&mut self, host: &str, pid: u32) -> Option<&mut Client> {
        let left = &mut self.left_clients;
        self.clients.entry(key(host, &pid.to_le_bytes()), || left.pop().unwrap_or_default())
    }

    /// Takes out the client of this process.
    pub fn end_client(&mut self, host: &str, pid: u32) -> Option<Client> {
        self.clients.remove(&key(host, &pid.to_le_bytes()))
    }

    /// Takes back a client that was taken out.
    pub fn client_has_left(&mut self, mut client: Client) {
        if self.left_clients.len() < LEFT {
            client.reset();
            self.left_clients.push(client);
        }
    }

    /// `TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256/256 bits) …`
    pub fn tls(&mut self, text: &str) -> Option<Arc<Tls>> {
        let (version, rest) = cut(text, b' ')?;
        let rest = rest.strip_prefix("with cipher ")?;
        let cipher = cut(rest, b' ').map_or(rest, |(cipher, _)| cipher);
        let is_it = |tls: &&Arc<Tls>| (&*tls.version, &*tls.cipher) == (version, cipher);
        if let Some(known) = self.suites.iter().find(is_it) {
            return Some(known.clone());
        }
        let tls = Arc::new(Tls { version: version.into(), cipher: cipher.into() });
        if self.suites.len() < SUITES {
            self.suites.push(tls.clone());
        }
        Some(tls)
    }

    /// The protected connection of this delivery agent.
    pub fn peer(&mut self, host: &str, pid: u32) -> Option<&mut Peer> {
        self.peers.get_mut(&key(host, &pid.to_le_bytes()))
    }

    /// A delivery agent has, or has no longer, a protected connection.
    pub fn set_peer(&mut self, host: &str, pid: u32, peer: Option<Peer>) {
        let key = key(host, &pid.to_le_bytes());
        match peer {
            Some(peer) => self.peers.insert(key, peer),
            None => drop(self.peers.remove(&key)),
        }
    }
}

impl Client {
    /// Makes it a new one, in the same memory.
    pub fn reset(&mut self) {
        let Self { ip, name, since, tls, user, end } = self;
        name.clear();
        user.clear();
        (*ip, *since, *tls, *end) = Default::default();
    }
}

impl Message {
    /// Makes it a new one, in the same memory.
    fn reset(&mut self) {
        let Self {
            taken,
            from_the_start,
            message_id,
            sender_user,
            sender_domain,
            size_bytes,
            rcpt_count,
            only_recipient,
            client_ip,
            client_name,
            auth_user,
            tls,
            attempts,
        } = self;
        [message_id, sender_user, sender_domain, client_name, auth_user].into_iter().for_each(String::clear);
        attempts.clear();
        attempts.shrink_to(KEPT_ATTEMPTS);
        (*taken, *from_the_start, *size_bytes, *rcpt_count) = Default::default();
        (*only_recipient, *client_ip, *tls) = Default::default();
    }

    /// The number of this attempt for a recipient; `None` when the message's earlier attempts are not known.
    pub fn count_attempt(&mut self, recipient: &str) -> Option<u32> {
        if !self.from_the_start {
            return None;
        }
        let recipient = key("", recipient.as_bytes());
        if let Some((_, count)) = self.attempts.iter_mut().find(|(known, _)| *known == recipient) {
            *count += 1;
            return Some(*count);
        }
        if self.attempts.len() >= COUNTED_RECIPIENTS {
            return None;
        }
        self.attempts.push((recipient, 1));
        Some(1)
    }

    /// Sets the reverse-path.
    pub fn sender(&mut self, address: &str) {
        put_mailbox(address, &mut self.sender_user, &mut self.sender_domain);
    }

    /// Fills in what the line of a reception did not say.
    pub fn fill(&self, row: &mut Reception) {
        row.message_id.clone_from(&self.message_id);
        if row.auth_user.is_empty() {
            row.auth_user.clone_from(&self.auth_user);
        }
        if row.client_ip.is_none() && row.client_name.is_empty() {
            row.client_ip = self.client_ip;
            row.client_name.clone_from(&self.client_name);
        }
        if row.sender_user.is_empty() && row.sender_domain.is_empty() {
            row.sender_user.clone_from(&self.sender_user);
            row.sender_domain.clone_from(&self.sender_domain);
        }
        if let Some(tls) = &self.tls {
            tls.version.as_ref().clone_into(&mut row.tls_version);
            tls.cipher.as_ref().clone_into(&mut row.tls_cipher);
        }
    }
}

/// `Trusted TLS connection established to …`: how far the peer's certificate is trusted, and what follows `connection`.
pub fn protection(text: &str) -> Option<(&'static str, &str)> {
    let (trust, rest) = cut(text, b' ')?;
    let rest = rest.strip_prefix("TLS connection ")?;
    let trust = ["Anonymous", "Untrusted", "Trusted", "Verified"].into_iter().find(|known| *known == trust)?;
    Some((trust, rest))
}
