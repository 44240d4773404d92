//! One question to one name server, over UDP and then TCP: bounded in time by the caller, in size by the protocol.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use hickory_resolver::proto::op::{Edns, Message, MessageType, Query};
use hickory_resolver::proto::rr::{Name, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{Instant, timeout_at};

use crate::conversation::{Class, Fault, printable};

/// The largest answer over UDP that is read; what is offered is less, so that nothing is fragmented.
const UDP_MAX: usize = 4_096;
const UDP_OFFERED: u16 = 1_232;
/// Answers to other questions on a socket, before it is given up.
const STRAYS_MAX: usize = 32;

/// How a question is asked.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Flags {
    /// Whether the server is to ask others (RD): a resolver does, a name server is asked for what it knows itself.
    pub recursion: bool,
    /// Whether the answer is wanted although it does not validate (CD).
    pub unchecked: bool,
}

/// A question.
pub(crate) fn question(name: &Name, kind: RecordType, flags: Flags) -> Message {
    let mut query = Message::query();
    query.metadata.recursion_desired = flags.recursion;
    query.metadata.authentic_data = true;
    query.metadata.checking_disabled = flags.unchecked;
    query.add_query(Query::query(name.clone(), kind));
    let mut edns = Edns::new();
    edns.set_max_payload(UDP_OFFERED).set_dnssec_ok(true);
    query.set_edns(edns);
    query
}

/// Asks one server, and says in words and in kind what it did when there is no answer.
///
/// # Errors
/// [`Class::DnsTimeout`] when nothing came by `limit`, [`Class::Protocol`] when what came cannot be read or answers
/// another question, [`Class::Refused`] and the like when there is no way to it.
pub(crate) async fn ask(server: SocketAddr, query: &Message, limit: Duration) -> Result<Message, Fault> {
    let octets = query.to_vec().map_err(|error| Fault::said(Class::Config, "the question", &error.to_string()))?;
    let until = Instant::now() + limit;
    let mut unreadable = None;
    let answer = timeout_at(until, over_udp(server, query, &octets, &mut unreadable)).await;
    let answer = match answer {
        Ok(answer) => answer?,
        Err(_) => {
            return Err(unreadable.unwrap_or_else(|| Fault::new(Class::DnsTimeout, "it did not answer in time")));
        }
    };
    if !answer.metadata.truncation {
        return Ok(answer);
    }
    let late = || Fault::new(Class::DnsTimeout, "its answer over TCP did not come in time");
    timeout_at(until, over_tcp(server, query, &octets)).await.map_err(|_| late())?
}

async fn over_udp(
    server: SocketAddr,
    query: &Message,
    octets: &[u8],
    unreadable: &mut Option<Fault>,
) -> Result<Message, Fault> {
    let any: IpAddr = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    socket.send(octets).await?;
    let mut buffer = vec![0; UDP_MAX];
    for _ in 0..STRAYS_MAX {
        let length = socket.recv(&mut buffer).await?;
        match Message::from_vec(&buffer[..length]) {
            Ok(answer) if answers(&answer, query) => return Ok(answer),
            Ok(_) => *unreadable = Some(astray()),
            // It may be forged, so that the true one is still on its way.
            Err(error) => *unreadable = Some(garbled(&error.to_string())),
        }
    }
    Err(unreadable.take().unwrap_or_else(astray))
}

async fn over_tcp(server: SocketAddr, query: &Message, octets: &[u8]) -> Result<Message, Fault> {
    let mut socket = TcpStream::connect(server).await?;
    let length = u16::try_from(octets.len()).map_err(|error| Fault::new(Class::Config, error.to_string()))?;
    socket.write_all(&[&length.to_be_bytes()[..], octets].concat()).await?;
    let mut buffer = vec![0; usize::from(socket.read_u16().await?)];
    socket.read_exact(&mut buffer).await?;
    let answer = Message::from_vec(&buffer).map_err(|error| garbled(&error.to_string()))?;
    if answers(&answer, query) { Ok(answer) } else { Err(astray()) }
}

fn garbled(why: &str) -> Fault {
    Fault::new(Class::Protocol, format!("its answer cannot be read: {}", printable(why)))
}

fn astray() -> Fault {
    Fault::new(Class::Protocol, "it answers other questions than the one asked")
}

fn answers(answer: &Message, query: &Message) -> bool {
    answer.metadata.id == query.metadata.id
        && answer.metadata.message_type == MessageType::Response
        && answer.queries.len() == 1
        && answer.queries.iter().zip(&query.queries).all(|(this, that)| {
            this.query_type == that.query_type && this.name.to_lowercase() == that.name.to_lowercase()
        })
}
