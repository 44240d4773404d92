//! Symptoms: what the observations and the evidence say, reduced to a few closed sets of words.

use std::collections::{BTreeMap, BTreeSet};

use aggregator::event::{ProbeOutcome, StepResult};
use probes::observation::{Observation, Step};
use serde::{Deserialize, Serialize};

use crate::evidence::Facts;
use crate::incident::is_composite;

/// Declares a closed set of words that a row of the table may name.
macro_rules! symptom {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $word:ident),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum $name { $($(#[$doc])* $word),+ }
        impl $name {
            /// Every word.
            pub const ALL: &'static [$name] = &[$($name::$word),+];
        }
    };
}

symptom! {
    /// From where it is seen.
    Scope {
        /// A quorum of the watchers.
        AllRegions,
        /// One watcher, while the others succeed.
        OneRegion,
        /// One watcher, and no other can be asked.
        Unconfirmed,
    }
}

symptom! {
    /// How far a check came.
    Stage {
        /// Looking up the name.
        Dns,
        /// Connecting.
        Tcp,
        /// The TLS handshake.
        Tls,
        /// The first words of the protocol: banner, EHLO, capabilities.
        Greeting,
        /// Logging in.
        Login,
        /// Handing a message in.
        Send,
        /// The queue.
        Queue,
        /// Waiting for a message to arrive.
        Receive,
        /// Work in a mailbox.
        Mailbox,
        /// A page of the webmail.
        Page,
        /// Anything else.
        Other,
    }
}

symptom! {
    /// How it failed.
    Class {
        /// No answer in time.
        Timeout,
        /// The connection was refused.
        Refused,
        /// The connection broke.
        Reset,
        /// The certificate has expired.
        CertificateExpired,
        /// The certificate is not trusted, or for another name.
        CertificateUntrusted,
        /// The password was refused.
        AuthFailed,
        /// Refused for good (5yz).
        Rejected,
        /// Refused for now (4yz).
        Deferred,
        /// Anything else.
        Other,
    }
}

symptom! {
    /// The process behind the service.
    Process {
        /// It runs or sleeps.
        Running,
        /// It is stopped by a signal or a debugger (state T).
        Stopped,
        /// There is none.
        Missing,
        /// It runs, but was started less than two minutes ago.
        Restarted,
        /// The node could not say.
        Unknown,
    }
}

symptom! {
    /// Connections that the kernel has accepted and the process has not.
    AcceptQueue {
        /// Some wait.
        Waiting,
        /// None waits.
        Empty,
        /// The node could not say.
        Unknown,
    }
}

symptom! {
    /// The disk under the service.
    Disk {
        /// No space or no inodes are left.
        Full,
        /// There is room.
        Free,
        /// The node could not say.
        Unknown,
    }
}

symptom! {
    /// The other services of the same mail system.
    Others {
        /// All of them are well.
        Well,
        /// Some of them fail as well.
        SomeFail,
        /// More than half of them fail as well.
        MostFail,
    }
}

/// One value for each symptom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Symptoms {
    /// From where it is seen.
    pub scope: Scope,
    /// How far the checks came.
    pub stage: Stage,
    /// How they failed.
    pub class: Class,
    /// The process.
    pub process: Process,
    /// Its accept queue.
    pub accept_queue: AcceptQueue,
    /// Its disk.
    pub disk: Disk,
    /// The other services.
    pub others: Others,
}

/// Everything that a diagnosis reads.
#[derive(Debug, Clone, Copy)]
pub struct Case<'a> {
    /// The mail system.
    pub target: &'a str,
    /// Its service.
    pub service: &'a str,
    /// What a person reads: `IMAP`.
    pub title: &'a str,
    /// The unit behind it, if one is configured.
    pub unit: Option<&'a str>,
    /// From where it is seen.
    pub scope: Scope,
    /// The last observation of every watcher, of this service and of the target's others.
    pub observations: &'a [Observation],
    /// What the node found. `None`: nothing yet.
    pub facts: Option<&'a Facts>,
}

impl Case<'_> {
    /// The symptoms of this case.
    pub fn symptoms(&self) -> Symptoms {
        let (stage, class) = self.failure().map_or((Stage::Other, Class::Other), |(stage, class, _)| (stage, class));
        Symptoms {
            scope: self.scope,
            stage,
            class,
            process: self.facts.map_or(Process::Unknown, |facts| facts.process),
            accept_queue: self.facts.map_or(AcceptQueue::Unknown, |facts| facts.accept_queue),
            disk: self.facts.map_or(Disk::Unknown, |facts| facts.disk),
            others: self.others(),
        }
    }

    /// The observations of this service that failed.
    fn failures(&self) -> impl Iterator<Item = &Observation> {
        self.observations.iter().filter(|seen| seen.service == self.service && failed(seen.outcome))
    }

    /// The failure that most watchers agree on; on a tie the earliest stage, because what comes later follows.
    fn failure(&self) -> Option<(Stage, Class, &Observation)> {
        let mut votes: BTreeMap<(Stage, Class), (usize, &Observation)> = BTreeMap::new();
        for seen in self.failures() {
            votes.entry(reduced(seen)).or_insert((0, seen)).0 += 1;
        }
        let most = votes.values().map(|(count, _)| *count).max()?;
        let ((stage, class), (_, seen)) = votes.into_iter().find(|(_, (count, _))| *count == most)?;
        Some((stage, class, seen))
    }

    fn others(&self) -> Others {
        let mut services: BTreeMap<&str, bool> = BTreeMap::new();
        for seen in self.observations.iter().filter(|seen| seen.service != self.service && !is_composite(&seen.service))
        {
            *services.entry(&seen.service).or_default() |= failed(seen.outcome);
        }
        match services.values().filter(|failed| **failed).count() {
            0 => Others::Well,
            count if count * 2 > services.len() => Others::MostFail,
            _ => Others::SomeFail,
        }
    }

    /// The words that the texts of the table may use.
    pub fn words(&self) -> BTreeMap<&'static str, String> {
        let failed = self.failure().map(|(_, _, seen)| seen);
        let step = failed.and_then(Observation::failed_step);
        let regions: BTreeSet<&str> = self.failures().map(|seen| seen.vantage.as_str()).collect();
        let seen: Vec<String> = self.failures().map(described).collect();
        let fact = |text: fn(&Facts) -> &String| {
            self.facts.map(text).filter(|text| !text.is_empty()).cloned().unwrap_or_else(|| "not known".to_owned())
        };
        BTreeMap::from([
            ("target", self.target.to_owned()),
            ("service", self.service.to_owned()),
            ("title", self.title.to_owned()),
            ("unit", self.unit.map_or_else(|| "its unit".to_owned(), str::to_owned)),
            ("host", self.facts.map_or_else(|| "its host".to_owned(), |facts| facts.host.clone())),
            ("regions", listed(&regions.into_iter().collect::<Vec<_>>())),
            ("seen", seen.join("; ")),
            ("step", step.map_or_else(|| outcome_word(failed), |step| step.name.clone())),
            ("class", step.map_or_else(|| outcome_word(failed), |step| step.error_class.clone())),
            ("detail", step.map_or_else(String::new, |step| step.detail.clone())),
            ("process", fact(|facts| &facts.process_text)),
            ("accept_queue", fact(|facts| &facts.accept_queue_text)),
            ("disk", fact(|facts| &facts.disk_text)),
        ])
    }
}

fn outcome_word(seen: Option<&Observation>) -> String {
    seen.map_or("unknown", |seen| seen.outcome.as_str()).to_owned()
}

fn failed(outcome: ProbeOutcome) -> bool {
    matches!(outcome, ProbeOutcome::Failed | ProbeOutcome::Missing)
}

/// One observation in a line: `no-oslo: tcp ok, tls failed after 10000 ms (timeout: no ServerHello)`.
pub fn described(seen: &Observation) -> String {
    let steps: Vec<String> = seen
        .steps
        .iter()
        .filter_map(|step| match step.result {
            StepResult::Ok => Some(format!("{} ok", step.name)),
            StepResult::Failed => Some(failed_step(step)),
            StepResult::Unknown => None,
        })
        .collect();
    let steps = if steps.is_empty() { seen.outcome.as_str().to_owned() } else { steps.join(", ") };
    format!("{}: {steps}", seen.vantage)
}

fn failed_step(step: &Step) -> String {
    let detail = if step.detail.is_empty() { String::new() } else { format!(": {}", step.detail) };
    format!("{} failed after {:.0} ms ({}{detail})", step.name, step.ms, step.error_class)
}

/// `a`, `a and b`, `a, b and c`.
fn listed(names: &[&str]) -> String {
    match names {
        [] => "no region".to_owned(),
        [one] => (*one).to_owned(),
        [rest @ .., last] => format!("{} and {last}", rest.join(", ")),
    }
}

fn reduced(seen: &Observation) -> (Stage, Class) {
    let Some(step) = seen.failed_step() else {
        return if seen.outcome == ProbeOutcome::Missing {
            (Stage::Receive, Class::Timeout)
        } else {
            (Stage::Other, Class::Other)
        };
    };
    let stage = match step.name.as_str() {
        "dns" | "servers" | "serial" | "mx" | "dnssec" => Stage::Dns,
        "tcp" | "connect" => Stage::Tcp,
        "tls" | "starttls" | "days" => Stage::Tls,
        "banner" | "greeting" | "ehlo" | "ehlo_tls" | "helo" | "capability" => Stage::Greeting,
        "auth" | "login" | "user" | "pass" | "session" => Stage::Login,
        mechanism if mechanism.starts_with("auth_") => Stage::Login,
        "mail" | "rcpt" | "data" | "send" | "submit" => Stage::Send,
        "queue" | "health" => Stage::Queue,
        "receive" | "receive_2" => Stage::Receive,
        "select" | "list" | "search" | "fetch" | "append" | "folder" | "stat" | "retr" | "imap" | "pop3" | "jmap"
        | "echo" | "mailboxes" | "query" | "idle" | "quota" | "delete" | "space" | "check" | "put" | "cleanup" => {
            Stage::Mailbox
        }
        "page" | "get" | "http" | "load" | "form" | "webmail" => Stage::Page,
        _ => Stage::Other,
    };
    let class = match step.error_class.as_str() {
        // A path that ends in nothing and one that says so are the same trouble.
        "timeout" | "unreachable" => Class::Timeout,
        "refused" => Class::Refused,
        "reset" | "closed" => Class::Reset,
        "certificate_expired" => Class::CertificateExpired,
        "certificate_untrusted" | "certificate_name" => Class::CertificateUntrusted,
        "auth_failed" => Class::AuthFailed,
        "rejected" | "greeting_refused" => Class::Rejected,
        "deferred" | "auth_temporary" => Class::Deferred,
        _ => Class::Other,
    };
    match class {
        // A check that speaks HTTP connects within its first step.
        Class::Refused => (Stage::Tcp, class),
        _ => (stage, class),
    }
}
