//! Check kinds: what can be watched. A kind is one file in `kind/` and one line in [`KINDS`].
//!
//! A kind walks through named steps and stops at the first that fails. Whatever the peer does, a run ends: every step
//! has the check's time-out, a run has an end of its own, and everything that is read has a limit.

mod access;
mod blocklist;
mod browser;
mod dns;
mod finding;
mod http;
mod imap;
mod jmap;
mod managesieve;
mod pop3;
mod queue;
mod round_trip;
mod smtp;
mod steps;
mod submission;
mod tcp;
mod tls;
mod webmail;
mod zone;

use std::path::PathBuf;
use std::time::Duration;

use aggregator::event::{ProbeOutcome, StepResult};
use futures_util::future::BoxFuture;
use tokio::time::Instant;

use crate::config::{Check, Target};
use crate::observation::Step;

pub use access::{Login, Probe};
pub use finding::{Awaited, Finding};
pub use steps::{Steps, Stop};

/// All kinds, in the order that documentation shows them.
pub const KINDS: &[Kind] = &[
    smtp::KIND,
    submission::KIND,
    imap::KIND,
    pop3::KIND,
    jmap::KIND,
    managesieve::KIND,
    webmail::KIND,
    queue::KIND,
    round_trip::KIND,
    http::KIND,
    tcp::KIND,
    tls::KIND,
    dns::KIND,
    zone::KIND,
    blocklist::KIND,
];

/// A kind of check.
pub struct Kind {
    /// As the configuration names it: `kind = "imap"`.
    pub name: &'static str,
    /// What it does, for a person.
    pub title: &'static str,
    /// How many time-outs of a step a whole run may take at most.
    pub patience: u32,
    /// The keys of a check that it cannot do without.
    pub needs: &'static [Need],
    /// Walks through the steps. The outcome counts only when no step failed.
    pub run: Run,
}

/// A key of a check that a kind cannot do without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// `host`
    Host,
    /// `port`
    Port,
    /// `url`
    Url,
    /// `account`
    Account,
    /// `recipe`, of a webmail that we know
    Recipe,
    /// `record`
    Record,
    /// `imap`, `jmap` or `pop3`
    Mailbox,
    /// `submission` or `webmail`
    Sender,
    /// `address_lists` or `domain_lists`
    Lists,
}

/// What a kind does.
pub type Run = for<'a> fn(&'a Probe<'a>, &'a mut Steps) -> BoxFuture<'a, Result<ProbeOutcome, Stop>>;

/// What a run is told beside its check and its target.
#[derive(Debug, Clone)]
pub struct Context {
    /// The region that it looks from.
    pub vantage: String,
    /// The identity of the run, unique over all watchers; the token in a probe message's subject.
    pub run_id: String,
    /// A message that took longer to come is `late`.
    pub receive_objective: Duration,
    /// The folder that the configuration's paths are relative to.
    pub base_dir: PathBuf,
    /// The target that the check's `to_target` names.
    pub receiver: Option<Box<Target>>,
    /// This watcher's runs of the check that had said `missing`, whose messages may still come.
    pub awaited: Vec<Awaited>,
}

/// What came of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// What was seen.
    pub outcome: ProbeOutcome,
    /// The steps in order; those that were not reached are `unknown`.
    pub steps: Vec<Step>,
    /// From start to end.
    pub total_ms: u32,
    /// What was found beside.
    pub findings: Vec<Finding>,
}

/// The kind of that name.
pub fn find(name: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.name == name)
}

/// What a check lacks for its kind: the key, and what to do about it.
pub fn faults(check: &Check) -> Vec<(&'static str, String)> {
    let Some(kind) = find(&check.kind) else {
        let known = KINDS.iter().map(|kind| kind.name).collect::<Vec<_>>().join(", ");
        return vec![("kind", format!("there is no kind {:?}; kinds are {known}", check.kind))];
    };
    let lacks = |need: &Need| match need {
        Need::Host => check.host.is_none().then_some(("host", "the host to connect to")),
        Need::Port => check.port.is_none().then_some(("port", "the port to connect to")),
        Need::Url => check.url.is_none().then_some(("url", "the URL to ask")),
        Need::Account => check.account.is_none().then_some(("account", "the address of one of the target's accounts")),
        Need::Recipe => match &check.recipe {
            Some(name) if webmail::is_named(name) => None,
            _ => Some(("recipe", "the webmail's recipe: varde, roundcube, snappymail, or a file that ends in .toml")),
        },
        Need::Record => check.record.is_none().then_some(("record", "a record type: A, AAAA, MX, TXT …")),
        Need::Mailbox => (check.imap.is_none() && check.jmap.is_none() && check.pop3.is_none())
            .then_some(("imap", "the name of the receiving target's IMAP check (or `jmap`, or `pop3`)")),
        Need::Sender => (check.submission.is_none() && check.webmail.is_none())
            .then_some(("submission", "the name of the target's submission or webmail check")),
        Need::Lists => (check.address_lists.is_empty() == check.domain_lists.is_empty())
            .then_some(("address_lists", "either `address_lists` or `domain_lists`, the blocklists to ask")),
    };
    let told = |(key, what)| (key, format!("a check of kind {:?} needs {what}", kind.name));
    kind.needs.iter().filter_map(lacks).map(told).collect()
}

/// Runs a check once. Never fails: what goes wrong is in the report.
pub async fn run(check: &Check, target: &Target, cx: &Context) -> Report {
    let begun = Instant::now();
    let probe = Probe { check, target, cx };
    let Some(kind) = find(&check.kind) else {
        let mut steps = Steps::new(probe.timeout(), begun);
        steps.misconfigured(format!("there is no kind of check {:?}", check.kind));
        let steps = steps.into_steps();
        return Report { outcome: ProbeOutcome::Failed, steps, total_ms: 0, findings: Vec::new() };
    };
    let mut steps = Steps::new(probe.timeout(), begun + probe.timeout() * kind.patience);
    let outcome = (kind.run)(&probe, &mut steps).await;
    let (findings, failed) = (steps.take_findings(), steps.failed_as());
    let steps = steps.into_steps();
    let outcome = match outcome {
        Ok(outcome) if steps.iter().all(|step| step.result == StepResult::Ok) => outcome,
        Ok(_) | Err(Stop) => failed.unwrap_or(ProbeOutcome::Failed),
    };
    let total_ms = u32::try_from(begun.elapsed().as_millis()).unwrap_or(u32::MAX);
    Report { outcome, steps, total_ms, findings }
}
