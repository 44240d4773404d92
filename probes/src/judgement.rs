//! What the watching side hands to the alerting side.

use aggregator::event::{Time, VerdictState};

use crate::observation::Observation;

/// What a watcher has come to think. Goes over a bounded channel to the responder of the alerts crate.
#[derive(Debug, Clone, PartialEq)]
pub enum Judgement {
    /// A service failed from here, and the others are being asked. Evidence is captured now, while the trouble is
    /// fresh, so that the page does not have to wait for it.
    Suspected(Box<Observation>),
    /// The verdict of a service has changed. After a start it comes once for every service in any case, with `from`
    /// as `to` when nothing has: what was told last may never have arrived.
    Changed(Box<Change>),
    /// A service has failed from here for a minute and no other watcher can be reached: page as unconfirmed.
    Unconfirmed(Box<Observation>),
}

/// A change of a service's verdict.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// The mail system.
    pub target: String,
    /// Its service.
    pub service: String,
    /// What a person reads: `IMAP`.
    pub title: String,
    /// Before.
    pub from: VerdictState,
    /// Now.
    pub to: VerdictState,
    /// When it was reached.
    pub at: Time,
    /// Since when it holds; for `down`, the first bad observation; for the end of an outage, the first good one.
    pub since: Time,
    /// The last good observation before an outage.
    pub last_good: Option<Time>,
    /// The last observation of every assigned watcher for this service, fresh or not, and of the target's other
    /// services: what the diagnosis reads.
    pub observations: Vec<Observation>,
    /// The watchers that voted for it.
    pub voters: Vec<String>,
    /// How many watchers are assigned.
    pub assigned: usize,
}
