//! The survey: the MX hosts, their addresses, and what their servers say. Gathered once, judged by the families.
//!
//! No message is ever sent: the last command of a transaction is RCPT, and RSET follows.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;
use hickory_resolver::proto::rr::{RData, RecordType};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::Audit;
use super::hello::{self, Answer, Offer};
use crate::conversation::smtp::{Reply, Smtp};
use crate::conversation::{Certificate, Class, Conversation, Fault, Heard, Tls};
use crate::dns::{self, Dns, Status};

/// MX hosts that are looked at; a domain with more is looked at in its first ones.
const HOSTS_MAX: usize = 8;
/// Hosts that are surveyed at the same time.
const PARALLEL_MAX: usize = 4;

/// Whose mail no server but an open relay takes: RFC 2606 reserves the domain.
pub(super) const FOREIGN: &str = "relay-test@example.org";

/// Where a domain's mail goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Mx {
    /// To these hosts, by preference.
    Records(Vec<(u16, String)>),
    /// There are no MX records, but the domain has an address, RFC 5321 section 5.1.
    Implicit,
    /// It takes no mail, RFC 7505.
    Null,
    /// Nowhere: there is neither.
    None(Status),
}

impl Mx {
    pub async fn look_up(dns: &Dns, domain: &str) -> Self {
        let answer = dns.ask(domain, RecordType::MX).await;
        let mut records: Vec<_> = answer
            .records
            .iter()
            .filter_map(|record| match &record.data {
                RData::MX(mx) => Some((mx.preference, dns::text(&mx.exchange))),
                _ => None,
            })
            .collect();
        records.sort();
        match (&records[..], &answer.status) {
            ([(_, exchange)], _) if exchange.is_empty() => Self::Null,
            ([], Status::Empty) if dns.addresses(domain).await.is_ok() => Self::Implicit,
            ([], status) => Self::None(status.clone()),
            _ => Self::Records(records),
        }
    }

    /// Why there is no host to look at.
    pub fn why_no_hosts(&self) -> Option<String> {
        match self {
            Self::Records(_) | Self::Implicit => None,
            Self::Null => Some("the domain takes no mail (null MX, RFC 7505)".to_owned()),
            Self::None(status) => Some(format!("the domain has no MX: {}", status.describe())),
        }
    }
}

/// An MX host.
#[derive(Debug)]
pub(super) struct Host {
    /// Its name.
    pub name: String,
    /// Its addresses, or why there are none.
    pub addresses: Result<Vec<IpAddr>, Status>,
    /// What its server said, or why it could not be asked.
    pub survey: Result<Survey, Fault>,
}

/// What a server said.
#[derive(Debug)]
pub(super) struct Survey {
    /// The address that was asked.
    pub address: SocketAddr,
    /// The greeting.
    pub banner: Reply,
    /// What it calls itself in its answer to EHLO.
    pub helo: String,
    /// The extensions before TLS.
    pub plain: Vec<String>,
    /// What STARTTLS came to.
    pub tls: StartTls,
    /// The extensions in the session that the questions below were asked in.
    pub offered: Vec<String>,
    /// The answers to the questions, each with its name.
    pub replies: Vec<(Question, Result<Reply, Fault>)>,
    /// The answers to the offers of old TLS.
    pub old: Vec<(Offer, Result<Answer, Fault>)>,
}

/// What STARTTLS came to.
#[derive(Debug)]
pub(super) enum StartTls {
    /// It is not offered.
    NotOffered,
    /// The handshake failed.
    Failed(Fault),
    /// It works.
    Done(Box<Certificate>),
}

/// A question to a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Question {
    /// Would it relay from a stranger to a stranger?
    Relay,
    /// Would it relay from the domain to a stranger?
    RelayFromDomain,
    /// Does it take mail for the postmaster?
    Postmaster,
    /// Does it take mail for the abuse desk?
    Abuse,
    /// VRFY.
    Verify,
    /// EXPN.
    Expand,
}

impl Survey {
    /// The answer to a question, when the conversation got there.
    pub fn reply(&self, question: Question) -> Option<&Result<Reply, Fault>> {
        self.replies.iter().find(|(this, _)| *this == question).map(|(_, reply)| reply)
    }

    /// The certificate, when TLS works.
    pub fn certificate(&self) -> Option<&Certificate> {
        match &self.tls {
            StartTls::Done(certificate) => Some(certificate),
            StartTls::NotOffered | StartTls::Failed(_) => None,
        }
    }
}

/// Whether an extension is in a list, and its parameters.
pub(super) fn extension<'a>(list: &'a [String], name: &str) -> Option<&'a str> {
    list.iter().find_map(|line| {
        let (word, rest) = line.split_once([' ', '=']).unwrap_or((line, ""));
        (word == name).then_some(rest)
    })
}

/// Looks at the MX hosts, each within the limit.
pub(super) async fn hosts(audit: &Audit, limit: Duration) -> Vec<Host> {
    let names: Vec<String> = match &audit.mx {
        Mx::Records(records) => {
            let mut seen = BTreeSet::new();
            let names = records.iter().map(|(_, name)| name.clone()).filter(|name| !name.is_empty());
            names.filter(|name| seen.insert(name.clone())).take(HOSTS_MAX).collect()
        }
        Mx::Implicit => vec![audit.domain.clone()],
        Mx::Null | Mx::None(_) => Vec::new(),
    };
    let looks = names.into_iter().map(|name| async move {
        let addresses = audit.dns.addresses(&name).await;
        let survey = match place(audit, addresses.as_ref().ok().map(Vec::as_slice)) {
            Some(address) => timeout(limit, survey(audit, &name, address)).await.unwrap_or_else(|_| {
                Err(Fault::new(Class::Timeout, format!("the survey took longer than {} s", limit.as_secs())))
            }),
            None => Err(Fault::new(Class::NoRecords, "the host has no address")),
        };
        Host { name, addresses, survey }
    });
    stream::iter(looks).buffered(PARALLEL_MAX).collect().await
}

/// Where to connect to: an IPv4 address first, because every network has that.
fn place(audit: &Audit, addresses: Option<&[IpAddr]>) -> Option<SocketAddr> {
    let published = || {
        let addresses = addresses?;
        addresses.iter().find(|ip| ip.is_ipv4()).or(addresses.first()).copied()
    };
    Some(SocketAddr::new(audit.options.connect.or_else(published)?, audit.options.smtp_port))
}

/// One step of a conversation, bounded.
pub(super) async fn step<T>(audit: &Audit, work: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
    let limit = audit.options.timeout;
    timeout(limit, work)
        .await
        .unwrap_or_else(|_| Err(Fault::new(Class::Timeout, format!("no answer within {} s", limit.as_secs()))))
}

/// Connects.
pub(super) async fn dial(audit: &Audit, address: SocketAddr) -> Result<Conversation, Fault> {
    step(audit, async { Conversation::new(TcpStream::connect(address).await?, Heard::default()) }).await
}

/// Connects and reads greeting and extensions.
pub(super) async fn open(audit: &Audit, address: SocketAddr) -> Result<(Smtp, Reply, String), Fault> {
    let mut smtp = Smtp::new(dial(audit, address).await?);
    let banner = step(audit, smtp.greeting()).await?;
    let helo = step(audit, smtp.greet()).await?;
    Ok((smtp, banner, helo))
}

async fn survey(audit: &Audit, name: &str, address: SocketAddr) -> Result<Survey, Fault> {
    let (mut smtp, banner, helo) = open(audit, address).await?;
    let plain = smtp.extensions().to_vec();
    let mut tls = StartTls::NotOffered;
    if smtp.extension("STARTTLS").is_some() {
        let work = async {
            smtp.ask_tls().await?;
            let (mut smtp, certificate) = smtp.start_tls(&Tls::looking(name)?).await?;
            smtp.greet().await?;
            Ok((smtp, certificate))
        };
        (smtp, tls) = match step(audit, work).await {
            Ok((smtp, certificate)) => (smtp, StartTls::Done(Box::new(certificate))),
            // The questions are asked in the clear then.
            Err(fault) => (open(audit, address).await?.0, StartTls::Failed(fault)),
        };
    }
    let offered = smtp.extensions().to_vec();
    let replies = questions(audit, &mut smtp).await;
    let _ = step(audit, smtp.quit()).await;
    let mut old = Vec::new();
    if matches!(tls, StartTls::Done(_)) {
        for offer in Offer::ALL {
            old.push((offer, make_offer(audit, name, address, offer).await));
        }
    }
    Ok(Survey { address, banner, helo, plain, tls, offered, replies, old })
}

/// Asks what an MX should and should not take. What cannot be asked any more is left out.
async fn questions(audit: &Audit, smtp: &mut Smtp) -> Vec<(Question, Result<Reply, Fault>)> {
    let domain = &audit.domain;
    let asked = [
        (Question::Relay, format!("RCPT TO:<{FOREIGN}>"), "MAIL FROM:<relay-test@example.com>".to_owned()),
        (Question::RelayFromDomain, format!("RCPT TO:<{FOREIGN}>"), format!("MAIL FROM:<postmaster@{domain}>")),
        (Question::Postmaster, format!("RCPT TO:<postmaster@{domain}>"), "MAIL FROM:<>".to_owned()),
        (Question::Abuse, format!("RCPT TO:<abuse@{domain}>"), "MAIL FROM:<>".to_owned()),
        (Question::Verify, "VRFY postmaster".to_owned(), String::new()),
        (Question::Expand, "EXPN postmaster".to_owned(), String::new()),
    ];
    let mut replies = Vec::new();
    for (question, command, before) in asked {
        let reply = step(audit, async {
            if before.is_empty() {
                return smtp.command(&command).await;
            }
            let sender = smtp.command(&before).await?;
            let reply = if sender.code == 250 { smtp.command(&command).await? } else { sender };
            smtp.command("RSET").await?;
            Ok(reply)
        })
        .await;
        let gone = reply.is_err();
        replies.push((question, reply));
        if gone {
            // After a fault the replies would belong to other commands.
            break;
        }
    }
    replies
}

async fn make_offer(audit: &Audit, name: &str, address: SocketAddr, offer: Offer) -> Result<Answer, Fault> {
    let (mut smtp, ..) = open(audit, address).await?;
    step(audit, async {
        smtp.ask_tls().await?;
        hello::offer(&mut smtp.into_conversation(), offer, name).await
    })
    .await
}
