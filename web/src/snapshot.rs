//! What the pages show: everything that was last heard, put together, and how old it is.

use std::sync::Arc;

use aggregator::event::{Time, VerdictState};
use alerts::view::{IncidentState, IncidentView};
use axum::body::Bytes;
use probes::status::ServiceStatus;
use serde::Serialize;

/// Everything that the pages show of the watchers. Made anew every two seconds, never changed.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// When it was made.
    pub made_at: Time,
    /// The newest instant that any watcher spoke of; `None` when none was ever heard.
    pub as_of: Option<Time>,
    /// Every watcher, in configured order.
    pub watchers: Vec<Watcher>,
    /// Who votes, as the watcher with the newest epoch tells it; `None` when none was ever heard.
    pub roster: Option<Roster>,
    /// Every service, in configured order.
    pub services: Vec<Service>,
    /// Every incident, the newest first.
    pub incidents: Vec<Incident>,
    /// The public site, ready to be sent.
    pub published: Arc<Published>,
}

/// A watcher as this process knows it.
#[derive(Debug, Clone, PartialEq)]
pub struct Watcher {
    /// Its region's name.
    pub name: String,
    /// What a person reads.
    pub title: String,
    /// Whether it answers.
    pub heard: Heard,
    /// The epoch of the roster that it held when it answered last.
    pub generation: Option<u64>,
}

/// An epoch of the roster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Roster {
    /// Its number.
    pub generation: u64,
    /// When it began.
    pub since: Option<Time>,
    /// The watchers that vote in it.
    pub voters: Vec<String>,
}

/// Why what a watcher sees does not count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VantageFault {
    /// What is wrong, for operators.
    pub reason: String,
    /// Since when.
    pub since: Option<Time>,
}

/// Whether a watcher answers.
#[derive(Debug, Clone, PartialEq)]
pub enum Heard {
    /// Its answer is fresh.
    Current {
        /// The instant of its answer, by its own clock.
        as_of: Time,
        /// What is wrong with its network, resolver or clock; `None`: it is well.
        fault: Option<VantageFault>,
    },
    /// It does not answer now; what it said last is kept.
    Silent {
        /// The instant of its last answer, by its own clock.
        as_of: Time,
        /// Why it does not answer, for operators.
        failure: String,
    },
    /// It never answered.
    Never {
        /// Why, for operators.
        failure: String,
    },
}

impl Heard {
    /// Whether its answer is fresh.
    pub fn is_current(&self) -> bool {
        matches!(self, Heard::Current { .. })
    }
    /// The instant of its last answer.
    pub fn as_of(&self) -> Option<Time> {
        match self {
            Heard::Current { as_of, .. } | Heard::Silent { as_of, .. } => Some(*as_of),
            Heard::Never { .. } => None,
        }
    }
    /// What is wrong with the vantage, by a fresh answer.
    pub fn fault(&self) -> Option<&VantageFault> {
        match self {
            Heard::Current { fault, .. } => fault.as_ref(),
            Heard::Silent { .. } | Heard::Never { .. } => None,
        }
    }
}

/// A service, as the watchers together know it.
#[derive(Debug, Clone, PartialEq)]
pub struct Service {
    /// Its state, regions, days and outages. Without a watcher that answers, the state is unknown.
    pub status: ServiceStatus,
    /// What it was when a watcher last spoke of it; `None` when the state above is current.
    pub last_known: Option<LastKnown>,
}

/// A state that nobody vouches for any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct LastKnown {
    /// The state.
    pub state: VerdictState,
    /// When it was last vouched for.
    pub as_of: Time,
}

/// An incident, as the watchers together tell it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Incident {
    /// The incident: its state is the most pressing one, its timeline that of all watchers.
    #[serde(flatten)]
    pub view: IncidentView,
    /// The watchers that tell of it.
    pub told_by: Vec<String>,
    /// When none of them answers any more: when one last did.
    pub last_heard: Option<Time>,
}

impl Incident {
    /// Whether somebody or something still has to do with it.
    pub fn is_open(&self) -> bool {
        self.view.state != IncidentState::Resolved
    }
}

/// The public site of one snapshot, rendered once for everybody.
#[derive(Debug, Default)]
pub struct Published {
    /// The page.
    pub page: Document,
    /// `/api/v1/status`.
    pub status: Document,
    /// `/feed.xml`.
    pub feed: Document,
}

/// Something to send, with the tag by which a client asks whether it has changed.
#[derive(Debug, Default)]
pub struct Document {
    /// Its octets.
    pub body: Bytes,
    /// The entity tag (RFC 9110 section 8.8.3), quoted.
    pub etag: String,
}

impl Document {
    /// A document with its tag.
    pub fn new(body: impl Into<Bytes>) -> Self {
        let body = body.into();
        let etag = format!("\"{}\"", &blake3::hash(&body).to_hex()[..24]);
        Self { body, etag }
    }
}

/// The worst of several services, as one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Overall {
    /// Every service is up.
    Up,
    /// Every service is up; one is slow, or fails from some region, or is in maintenance.
    Degraded,
    /// Of some service nothing is known.
    Unknown,
    /// Some service is down.
    Down,
}

impl Overall {
    /// The worst state of `services`; unknown without any.
    pub fn of(services: &[Service]) -> Self {
        let of_one = |service: &Service| match service.status.state {
            VerdictState::Up => Overall::Up,
            VerdictState::Degraded | VerdictState::Regional | VerdictState::Maintenance => Overall::Degraded,
            VerdictState::Unknown => Overall::Unknown,
            VerdictState::Down => Overall::Down,
        };
        services.iter().map(of_one).max().unwrap_or(Overall::Unknown)
    }
    /// The state whose mark stands for it.
    pub fn as_state(self) -> VerdictState {
        match self {
            Overall::Up => VerdictState::Up,
            Overall::Degraded => VerdictState::Degraded,
            Overall::Unknown => VerdictState::Unknown,
            Overall::Down => VerdictState::Down,
        }
    }
}

impl Snapshot {
    /// What is said first: one sentence about all services.
    pub fn sentence(&self) -> String {
        let titles = |wanted: VerdictState| -> Vec<&str> {
            self.services.iter().filter(|s| s.status.state == wanted).map(|s| s.status.title.as_str()).collect()
        };
        let naming = |state: VerdictState, one: &str, many: &str, tail: &str| match titles(state).as_slice() {
            [] => None,
            [only] => Some(format!("{only} is {one}{tail}")),
            all if all.len() == self.services.len() => Some(format!("All services are {many}{tail}")),
            all => Some(format!("{} services are {many}{tail}", all.len())),
        };
        if self.services.is_empty() {
            return "Nothing is known yet".to_owned();
        }
        if let Some(down) = naming(VerdictState::Down, "down", "down", "") {
            return down;
        }
        if titles(VerdictState::Unknown).len() == self.services.len() {
            return "The state of the services is unknown".to_owned();
        }
        naming(VerdictState::Unknown, "in an unknown state", "in an unknown state", "")
            .or_else(|| naming(VerdictState::Degraded, "up but slow", "up but slow", ""))
            .or_else(|| naming(VerdictState::Regional, "up", "up", ", but not from every region"))
            .or_else(|| naming(VerdictState::Maintenance, "in maintenance", "in maintenance", ""))
            .unwrap_or_else(|| "All services are up".to_owned())
    }

    /// Whether anybody vouches for what is shown.
    pub fn is_current(&self) -> bool {
        self.watchers.iter().any(|watcher| watcher.heard.is_current())
    }

    /// The watchers that do not answer.
    pub fn silent(&self) -> impl Iterator<Item = &Watcher> {
        self.watchers.iter().filter(|watcher| !watcher.heard.is_current())
    }

    /// The incident of that key.
    pub fn incident(&self, key: &str) -> Option<&Incident> {
        self.incidents.iter().find(|incident| incident.view.incident == key)
    }

    /// What a person reads for a region.
    pub fn region_title<'a>(&'a self, name: &'a str) -> &'a str {
        self.watchers.iter().find(|watcher| watcher.name == name).map_or(name, |watcher| watcher.title.as_str())
    }
}
