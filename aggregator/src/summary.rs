//! What a log says of its mail system, on one page: counted while it is read, in bounded memory.

mod page;
mod reported;
mod tally;
#[cfg(test)]
mod tests;

use std::net::IpAddr;

use serde::Serialize;

use crate::event::{AuthEvent, Delivery, DeliveryOutcome, Event, Reception, ReceptionVerdict, Time};
pub use page::grouped;
pub use reported::Reported;
use tally::{Delays, Tally};

/// Unrecognised lines that are shown.
const SAMPLES: usize = 3;
/// What is shown of such a line.
const SAMPLE_CHARS: usize = 200;
/// Entries of each list.
const TOP: usize = 8;

/// Attempts of one kind by what became of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Outcomes {
    /// All of them.
    pub attempts: u64,
    /// Taken by the next hop or the mailbox.
    pub delivered: u64,
    /// To be tried again.
    pub deferred: u64,
    /// Refused for good, or given up.
    pub bounced: u64,
}

/// Counts while a log is read.
#[derive(Debug, Default)]
pub struct Summary {
    /// Lines.
    pub lines: u64,
    unrecognised: u64,
    samples: Vec<String>,
    events: u64,
    span: Option<(Time, Time)>,
    accepted: u64,
    accepted_bytes: u64,
    refused: [u64; 4],
    outcomes: Outcomes,
    expired: u64,
    deferred_by_class: Tally<u64>,
    bounced_by_class: Tally<u64>,
    replies: Tally<u64>,
    domains: Tally<Outcomes>,
    rejects: Tally<u64>,
    logins: [u64; 2],
    failures_by_network: Tally<u64>,
    senders: Tally<u64>,
    delays: Delays,
    reported: Reported,
    key: String,
}

/// A name and how often it came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Count {
    /// The name.
    pub name: String,
    /// How often.
    pub count: u64,
}

/// A domain and what became of the attempts to deliver to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Domain {
    /// The recipients' domain.
    pub domain: String,
    /// The attempts.
    #[serde(flatten)]
    pub outcomes: Outcomes,
}

/// The figures of a log.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figures {
    /// Lines read.
    pub lines: u64,
    /// Lines that no dialect knows; they are kept in `raw_lines`.
    pub unrecognised: u64,
    /// The first of those.
    pub unrecognised_samples: Vec<String>,
    /// Rows that the lines made.
    pub events: u64,
    /// The first and the last instant.
    pub from: Option<Time>,
    /// See `from`.
    pub to: Option<Time>,
    /// Messages taken in.
    pub accepted: u64,
    /// Their octets, as far as the log says.
    pub accepted_bytes: u64,
    /// Refused for good.
    pub rejected: u64,
    /// Refused for now.
    pub deferred_at_the_door: u64,
    /// Taken and thrown away.
    pub discarded: u64,
    /// Taken and set apart.
    pub quarantined: u64,
    /// Why messages were not taken.
    pub rejects: Vec<Count>,
    /// All attempts to deliver.
    pub deliveries: Outcomes,
    /// Those given up after their lifetime in the queue, among `bounced`.
    pub expired: u64,
    /// Why deliveries were put off.
    pub deferred_by_class: Vec<Count>,
    /// Why deliveries failed.
    pub bounced_by_class: Vec<Count>,
    /// What was said of attempts that did not deliver, without the variable parts.
    pub replies: Vec<Count>,
    /// To whom most went.
    pub domains: Vec<Domain>,
    /// From whom most came.
    pub senders: Vec<Count>,
    /// Half of what was delivered took less than this.
    pub delay_median_ms: Option<u64>,
    /// One in twenty took longer.
    pub delay_p95_ms: Option<u64>,
    /// Log-ins that succeeded.
    pub logins: u64,
    /// Log-ins that failed.
    pub login_failures: u64,
    /// From where: networks of /24 and /48.
    pub login_failures_by_network: Vec<Count>,
    /// What others reported by mail.
    pub reported: Reported,
}

impl Summary {
    /// Counts a line.
    pub fn line(&mut self, line: &[u8], recognised: bool) {
        self.lines += 1;
        if recognised {
            return;
        }
        self.unrecognised += 1;
        if self.samples.len() < SAMPLES && !line.is_empty() {
            let start = line.get(..line.len().min(SAMPLE_CHARS * 4)).unwrap_or_default();
            let shown = String::from_utf8_lossy(start).chars().filter(|c| !c.is_control()).take(SAMPLE_CHARS).collect();
            self.samples.push(shown);
        }
    }

    /// Counts an event of the last line.
    pub fn event(&mut self, event: &Event) {
        self.events += 1;
        match event {
            Event::Reception(row) => self.reception(row),
            Event::Delivery(row) => self.delivery(row),
            Event::AuthEvent(row) => self.login(row),
            // The time of a line that is kept as it came may be a guess.
            Event::RawLine(_) => return,
            other => self.reported.event(other),
        }
        let ts = event.ts();
        let (from, to) = self.span.unwrap_or((ts, ts));
        self.span = Some((from.min(ts), to.max(ts)));
    }

    fn reception(&mut self, row: &Reception) {
        match row.verdict {
            ReceptionVerdict::Accepted => {
                self.accepted += 1;
                self.accepted_bytes += row.size_bytes.unwrap_or(0);
                self.key.clear();
                match (row.sender_user.as_str(), row.sender_domain.as_str()) {
                    ("", "") => self.key.push_str("<>"),
                    (user, "") => self.key.push_str(user),
                    (user, domain) => self.key.extend([user, "@", domain]),
                }
                self.senders.count(&self.key, one);
                return;
            }
            ReceptionVerdict::Rejected => self.refused[0] += 1,
            ReceptionVerdict::Deferred => self.refused[1] += 1,
            ReceptionVerdict::Discarded => self.refused[2] += 1,
            ReceptionVerdict::Quarantined => self.refused[3] += 1,
        }
        self.rejects.count(reason(&row.class, &row.class_rule), one);
    }

    fn delivery(&mut self, row: &Delivery) {
        let count = |outcomes: &mut Outcomes| {
            outcomes.attempts += 1;
            match row.outcome {
                DeliveryOutcome::Delivered => outcomes.delivered += 1,
                DeliveryOutcome::Deferred | DeliveryOutcome::Held => outcomes.deferred += 1,
                DeliveryOutcome::Bounced | DeliveryOutcome::Expired => outcomes.bounced += 1,
            }
        };
        count(&mut self.outcomes);
        let domain = if row.rcpt_domain.is_empty() { "(local)" } else { &row.rcpt_domain };
        self.domains.count(domain, count);
        let class = reason(&row.class, &row.class_rule);
        if row.outcome != DeliveryOutcome::Delivered && !row.response_template.is_empty() {
            self.replies.count(&row.response_template, one);
        }
        match row.outcome {
            DeliveryOutcome::Delivered => self.delays.put(row.delay_total_ms),
            DeliveryOutcome::Deferred | DeliveryOutcome::Held => self.deferred_by_class.count(class, one),
            DeliveryOutcome::Bounced => self.bounced_by_class.count(class, one),
            DeliveryOutcome::Expired => {
                self.expired += 1;
                self.bounced_by_class.count(class, one);
            }
        }
    }

    fn login(&mut self, row: &AuthEvent) {
        if row.result != "failed" {
            self.logins[0] += 1;
            return;
        }
        self.logins[1] += 1;
        if let Some(address) = row.client_ip {
            let network = network(address.0);
            self.failures_by_network.count(&network, one);
        }
    }

    /// The figures so far.
    pub fn figures(&self) -> Figures {
        let domains = self.domains.top(TOP, |outcomes| outcomes.attempts);
        Figures {
            lines: self.lines,
            unrecognised: self.unrecognised,
            unrecognised_samples: self.samples.clone(),
            events: self.events,
            from: self.span.map(|(from, _)| from),
            to: self.span.map(|(_, to)| to),
            accepted: self.accepted,
            accepted_bytes: self.accepted_bytes,
            rejected: self.refused[0],
            deferred_at_the_door: self.refused[1],
            discarded: self.refused[2],
            quarantined: self.refused[3],
            rejects: counts(&self.rejects),
            deliveries: self.outcomes,
            expired: self.expired,
            deferred_by_class: counts(&self.deferred_by_class),
            bounced_by_class: counts(&self.bounced_by_class),
            replies: counts(&self.replies),
            domains: domains.into_iter().map(|(domain, outcomes)| Domain { domain, outcomes }).collect(),
            senders: counts(&self.senders),
            delay_median_ms: self.delays.quantile(0.5),
            delay_p95_ms: self.delays.quantile(0.95),
            logins: self.logins[0],
            login_failures: self.logins[1],
            login_failures_by_network: counts(&self.failures_by_network),
            reported: self.reported,
        }
    }
}

fn one(count: &mut u64) {
    *count += 1;
}

fn counts(tally: &Tally<u64>) -> Vec<Count> {
    tally.top(TOP, |count| *count).into_iter().map(|(name, count)| Count { name, count }).collect()
}

/// The class of what was not taken. A blocklist is named by its rule.
fn reason<'a>(class: &'a str, rule: &'a str) -> &'a str {
    match class {
        "" => "(no reason given)",
        "ip_reputation" if rule.contains('.') && !rule.is_empty() => rule,
        class => class,
    }
}

/// The network that an address is counted under.
fn network(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            let mut text = std::net::Ipv4Addr::new(a, b, c, 0).to_string();
            text.push_str("/24");
            text
        }
        IpAddr::V6(v6) => {
            let [a, b, c, ..] = v6.segments();
            let mut text = std::net::Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0).to_string();
            text.push_str("/48");
            text
        }
    }
}
