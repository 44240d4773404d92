//! What a watcher tells the world: the answer of its `GET /api/v1/status`.
//!
//! The public page, the operator's page and `varde probe` read it; it is made from the watcher's own history, so
//! it is there when ClickHouse is not.

use std::collections::BTreeMap;

use aggregator::event::{ProbeOutcome, Time, VerdictState};
use serde::{Deserialize, Serialize};

use crate::budget::Figures;
use crate::objective::Window;

/// A watcher's view of everything it watches.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// When this was made.
    pub as_of: Time,
    /// Who made it.
    pub vantage: String,
    /// Why what it sees does not count at present: its own network, resolver or clock. `None`: it is well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
    /// Since when, without a break.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault_since: Option<Time>,
    /// The other watchers, and when each was last heard of.
    pub peers: BTreeMap<String, Option<Time>>,
    /// The epoch of the roster.
    #[serde(default)]
    pub generation: u64,
    /// When that epoch began.
    #[serde(default)]
    pub generation_since: Option<Time>,
    /// The watchers that vote in it.
    #[serde(default)]
    pub voters: Vec<String>,
    /// Every service of every target, in configured order.
    pub services: Vec<ServiceStatus>,
}

/// One service of one target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServiceStatus {
    /// The mail system.
    pub target: String,
    /// Its service.
    pub service: String,
    /// What a person reads: `IMAP`, `Inbound mail (MX)`.
    pub title: String,
    /// Its state now.
    pub state: VerdictState,
    /// Since when.
    pub since: Time,
    /// What each watcher saw last.
    pub regions: Vec<RegionStatus>,
    /// One entry a day of the page's time zone, oldest first, 90 at most.
    pub days: Vec<DayStatus>,
    /// Availability of the whole window shown, see UPTIME rules. `None`: not enough data.
    pub availability: Option<f64>,
    /// Its lower and upper bound.
    pub bounds: Option<(f64, f64)>,
    /// The outages in that window, newest first.
    pub outages: Vec<OutageStatus>,
    /// Its objectives, and what is left of their error budgets, in configured order.
    #[serde(default)]
    pub objectives: Vec<ObjectiveStatus>,
}

/// An objective of a service, and what is left of its error budget.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ObjectiveStatus {
    /// The objective: availability in percent.
    pub objective: f64,
    /// Over which time: `30d`, `calendar month`.
    pub window: Window,
    /// The window's begin, or the first observation when that is later.
    pub from: Time,
    /// The window's end; in the future while there is time to come.
    pub to: Time,
    /// The budget.
    #[serde(flatten)]
    pub figures: Figures,
    /// How many times faster than the objective allows the budget was spent in the last hour. `None`: not enough data.
    pub burn_rate_1h: Option<f64>,
    /// The same of the last six hours.
    pub burn_rate_6h: Option<f64>,
    /// The same of the last three days.
    pub burn_rate_3d: Option<f64>,
    /// When nothing is left, if it goes on as in the last three days. `None`: not within the window, or nothing is left,
    /// or there is not enough data.
    pub exhausted_at: Option<Time>,
}

/// What one watcher saw last of a service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RegionStatus {
    /// The region.
    pub vantage: String,
    /// When. `None`: never.
    pub seen: Option<Time>,
    /// What.
    pub outcome: Option<ProbeOutcome>,
    /// Whether it is still fresh, so that it votes.
    pub fresh: bool,
    /// How long the run took.
    pub total_ms: Option<u32>,
    /// The step that failed, and why; empty when none.
    pub error: String,
}

/// One day of a service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DayStatus {
    /// `2026-11-22`.
    pub day: String,
    /// Seconds up (with degraded and regional).
    pub up_s: u64,
    /// Seconds down.
    pub down_s: u64,
    /// Seconds unknown.
    pub unknown_s: u64,
    /// Seconds in announced maintenance.
    pub maintenance_s: u64,
}

/// One outage with its bounds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OutageStatus {
    /// Begin: the first bad observation.
    pub from: Time,
    /// End: the first good observation. `None`: it goes on.
    pub to: Option<Time>,
    /// The last good observation before it.
    pub last_good: Option<Time>,
    /// The last bad observation of it.
    pub last_bad: Option<Time>,
}
