//! What a receiver meets who evaluates a record: look-ups, void ones, circles. RFC 7208 section 4.6.4.

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use hickory_resolver::proto::rr::RecordType;

use super::super::tags::versioned;
use super::record::{Mechanism, Qualifier, Record};
use crate::dns::Dns;

/// Where the walk ends: enough to say how far over the limit a record is.
const WALK_MAX: usize = 40;
/// Hosts of one `mx` mechanism, RFC 7208 section 4.6.4.
const MX_HOSTS_MAX: usize = 10;
/// Includes within includes; with one look-up each the walk ends there anyway.
const DEPTH_MAX: usize = 20;

/// What was met.
#[derive(Debug, Default)]
pub(super) struct Walk {
    /// Terms that cost a look-up.
    pub lookups: usize,
    /// Those terms, in order.
    pub order: Vec<String>,
    /// Names that do not exist, or have nothing.
    pub voids: Vec<String>,
    /// Includes and redirects that lead back.
    pub loops: Vec<String>,
    /// Includes and redirects without a valid record.
    pub broken: Vec<String>,
    /// `mx` with too many hosts.
    pub crowded: Vec<String>,
    /// Records with `ptr`.
    pub ptr: Vec<String>,
    /// The `all` that counts: the record's own, or that of the record it redirects to.
    pub all: Option<Qualifier>,
    /// Whether a redirect could not be followed, so that it is not known how the record ends.
    pub open: bool,
    /// Whether the walk ended early.
    pub cut: bool,
}

impl Walk {
    /// Walks through the record of a domain, and all that it includes.
    pub async fn of(dns: &Dns, domain: &str, record: &Record) -> Self {
        let mut walk = Self::default();
        walk.all = walk.record(dns, domain, record, vec![domain.to_owned()]).await;
        walk
    }

    /// Returns the `all` that the record ends with.
    fn record<'a>(
        &'a mut self,
        dns: &'a Dns,
        domain: &'a str,
        record: &'a Record,
        path: Vec<String>,
    ) -> BoxFuture<'a, Option<Qualifier>> {
        async move {
            for term in &record.terms {
                match &term.mechanism {
                    Mechanism::All => return Some(term.qualifier),
                    Mechanism::Address => {}
                    Mechanism::Ptr => {
                        self.ptr.push(format!("{} in the record of {domain}", term.text));
                        self.count(&term.text);
                    }
                    Mechanism::A(name) => self.address(dns, name.as_deref().unwrap_or(domain), &term.text).await,
                    Mechanism::Exists(name) => self.address(dns, name, &term.text).await,
                    Mechanism::Mx(name) => self.mx(dns, name.as_deref().unwrap_or(domain), &term.text).await,
                    Mechanism::Include(name) => {
                        self.follow(dns, name, &term.text, &path).await;
                    }
                }
            }
            let target = record.redirect.as_ref()?;
            let before = self.broken.len() + self.loops.len();
            let all = self.follow(dns, target, &format!("redirect={target}"), &path).await;
            self.open |= all.is_none() && (self.cut || self.broken.len() + self.loops.len() > before);
            all
        }
        .boxed()
    }

    /// Counts a look-up; false when the walk is to end.
    fn count(&mut self, term: &str) -> bool {
        if self.lookups >= WALK_MAX {
            self.cut = true;
            return false;
        }
        self.lookups += 1;
        self.order.push(term.to_owned());
        true
    }

    async fn address(&mut self, dns: &Dns, name: &str, term: &str) {
        // What a macro expands to depends on the message.
        if self.count(term) && !name.contains('%') && dns.addresses(name).await.is_err_and(|status| status.is_void()) {
            self.voids.push(term.to_owned());
        }
    }

    async fn mx(&mut self, dns: &Dns, name: &str, term: &str) {
        if !self.count(term) || name.contains('%') {
            return;
        }
        let answer = dns.ask(name, RecordType::MX).await;
        if answer.status.is_void() {
            self.voids.push(term.to_owned());
        }
        if answer.records.len() > MX_HOSTS_MAX {
            self.crowded.push(format!("{term} has {} hosts", answer.records.len()));
        }
    }

    async fn follow(&mut self, dns: &Dns, name: &str, term: &str, path: &[String]) -> Option<Qualifier> {
        if !self.count(term) {
            return None;
        }
        if name.contains('%') {
            self.open |= term.starts_with("redirect=");
            return None;
        }
        if path.iter().any(|this| this == name) {
            self.loops.push(format!("{} -> {name}", path.join(" -> ")));
            return None;
        }
        if path.len() > DEPTH_MAX {
            self.cut = true;
            return None;
        }
        let records = match versioned(dns, name, "v=spf1").await {
            Ok(records) => records,
            Err(why) => {
                self.broken.push(format!("{term}: {why}"));
                return None;
            }
        };
        let [text] = &records[..] else {
            let count = if records.is_empty() { "no SPF record" } else { "several SPF records" };
            self.broken.push(format!("{term}: {name} has {count}"));
            return None;
        };
        let record = Record::parse(text);
        if let Some(fault) = record.faults.first() {
            self.broken.push(format!("{term}: {fault}"));
        }
        let path = [path, &[name.to_owned()]].concat();
        self.record(dns, name, &record, path).await
    }
}
