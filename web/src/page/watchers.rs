//! Who watches: whether each watcher is well, and who votes since when.

use chrono_tz::Tz;

use super::Mark;
use crate::show::When;
use crate::snapshot::{Heard, Snapshot, Watcher};

/// A watcher on the dashboard.
pub struct WatcherView {
    /// What a person reads.
    pub title: String,
    /// Whether it is well.
    pub mark: Mark,
    /// Since when it is not; `None`: it is, or that is not known.
    pub since: Option<When>,
    /// Why it is not; empty when it is.
    pub reason: String,
    /// Whether it votes.
    pub votes: bool,
    /// The epoch that it holds, when that is another than the newest.
    pub behind: Option<u64>,
}

/// Who votes, since when.
pub struct RosterView {
    /// The number of the epoch.
    pub generation: u64,
    /// When it began.
    pub since: Option<When>,
    /// The titles of those who vote, `Oslo, Sydney and US East`.
    pub voters: String,
    /// How many they are.
    pub count: usize,
}

impl WatcherView {
    fn new(watcher: &Watcher, snapshot: &Snapshot, zone: Tz) -> Self {
        let (class, word, since, reason) = match &watcher.heard {
            Heard::Current { fault: None, .. } => ("up", "Well", None, ""),
            Heard::Current { fault: Some(fault), .. } => ("degraded", "At fault", fault.since, fault.reason.as_str()),
            Heard::Silent { as_of, failure } => ("unknown", "Not heard", Some(*as_of), failure.as_str()),
            Heard::Never { failure } => ("unknown", "Not heard yet", None, failure.as_str()),
        };
        let roster = snapshot.roster.as_ref();
        Self {
            title: watcher.title.clone(),
            mark: Mark { class, word },
            since: since.map(|at| When::new(at, zone)),
            reason: reason.to_owned(),
            votes: roster.is_some_and(|roster| roster.voters.contains(&watcher.name)),
            behind: watcher.generation.filter(|held| roster.is_some_and(|roster| roster.generation != *held)),
        }
    }

    /// Every watcher, in configured order.
    pub fn all(snapshot: &Snapshot, zone: Tz) -> Vec<Self> {
        snapshot.watchers.iter().map(|watcher| Self::new(watcher, snapshot, zone)).collect()
    }
}

impl RosterView {
    /// The newest epoch that any watcher tells of.
    pub fn new(snapshot: &Snapshot, zone: Tz) -> Option<Self> {
        let roster = snapshot.roster.as_ref()?;
        let titles: Vec<&str> = roster.voters.iter().map(|name| snapshot.region_title(name)).collect();
        let voters = match titles.as_slice() {
            [] => "nobody".to_owned(),
            [only] => (*only).to_owned(),
            [all @ .., last] => [&all.join(", "), " and ", last].concat(),
        };
        Some(Self {
            generation: roster.generation,
            since: roster.since.map(|at| When::new(at, zone)),
            voters,
            count: titles.len(),
        })
    }
}

/// A region that is out of order, as everybody may read it: without the cause, which names hosts.
pub struct OutOfOrder {
    /// What a person reads.
    pub name: String,
    /// Since when.
    pub since: Option<When>,
}

/// The regions whose observations do not count at present.
pub fn out_of_order(snapshot: &Snapshot, zone: Tz) -> Vec<OutOfOrder> {
    let faulty = snapshot.watchers.iter().filter_map(|watcher| Some((watcher, watcher.heard.fault()?)));
    faulty
        .map(|(watcher, fault)| OutOfOrder {
            name: watcher.title.clone(),
            since: fault.since.map(|at| When::new(at, zone)),
        })
        .collect()
}
