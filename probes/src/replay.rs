//! A recorded timeline judged again, by the same functions that a watcher uses: `varde verdict`.
//!
//! All observations count, also those outside of the window: one before it may still vote when it begins, and one
//! after it may show since when an outage went on. Figures and intervals are those of `[from, to)`, so that the
//! figures of neighbouring windows add up. An outage is told with its own dates, which may lie outside of the window;
//! one that goes on when the window ends has no `to`.

use std::collections::BTreeMap;
use std::io::{self, BufRead, Read as _};
use std::time::Duration;

use aggregator::event::{ProbeOutcome, Time, VerdictState};
use chrono::SecondsFormat;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::budget::{Budget, Figures, Seconds};
use crate::objective::{Goal, Span};
use crate::uptime::{self, Segment, Tally};
use crate::verdict::{Cast, Outage, Record, Rules, Sweep, Vote};

/// The longest line of a recorded timeline.
pub const MAX_LINE_BYTES: u64 = 1 << 20;

/// How a recorded timeline is judged.
#[derive(Debug, Clone, PartialEq)]
pub struct ReplayOptions {
    /// The assigned watchers. Others may be in the file: they do not vote.
    pub watchers: Vec<String>,
    /// The interval of the checks.
    pub interval: Duration,
    /// How much older than that an observation may be and still vote.
    pub grace: Duration,
    /// The window's begin.
    pub from: Time,
    /// The window's end.
    pub to: Time,
    /// Announced maintenance, `[from, to)` each.
    pub maintenance: Vec<(Time, Time)>,
    /// The objective whose error budget of the window is told.
    pub objective: Option<Goal>,
}

/// Why a timeline could not be judged.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The input broke off.
    #[error("line {line}: the observations cannot be read: {source}")]
    Read {
        /// The line that was being read, from 1.
        line: usize,
        /// Why.
        source: io::Error,
    },
    /// A line is no observation.
    #[error("line {line}: not an observation: {message}")]
    Line {
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        message: String,
    },
    /// What was asked for makes no sense.
    #[error("{0}")]
    Options(String),
}

/// A service's time and figures.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ServiceTimeline {
    /// The mail system.
    pub target: String,
    /// Its service.
    pub service: String,
    /// The window in states, without gaps, equal neighbours joined.
    pub intervals: Vec<Interval>,
    /// Seconds up, with degraded and regional.
    pub up_s: Seconds,
    /// Seconds down.
    pub down_s: Seconds,
    /// Seconds unknown.
    pub unknown_s: Seconds,
    /// Seconds in announced maintenance.
    pub maintenance_s: Seconds,
    /// Percent, rounded down to three decimals; `null`: not enough data.
    pub availability: Option<f64>,
    /// What it is at least, in percent.
    pub availability_lower: Option<f64>,
    /// What it is at most, in percent.
    pub availability_upper: Option<f64>,
    /// How much of the time without maintenance is known, in percent.
    pub coverage: Option<f64>,
    /// The outages that have a part in the window.
    pub outages: Vec<OutageDates>,
    /// The error budget of the window, when an objective was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget: Option<Figures>,
}

/// `[from, to)` in one state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Interval {
    /// Begin.
    #[serde(serialize_with = "plain")]
    pub from: Time,
    /// End.
    #[serde(serialize_with = "plain")]
    pub to: Time,
    /// The state.
    pub state: VerdictState,
}

/// An outage: begins in `(last_good, first_bad]`, ends in `(last_bad, first_good]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct OutageDates {
    /// Its begin.
    #[serde(serialize_with = "plain")]
    pub from: Time,
    /// Its end. `null`: it goes on when the window ends.
    #[serde(serialize_with = "plain_option")]
    pub to: Option<Time>,
    /// The last success before it.
    #[serde(serialize_with = "plain_option")]
    pub last_good: Option<Time>,
    /// Its first failure.
    #[serde(serialize_with = "plain")]
    pub first_bad: Time,
    /// Its last failure.
    #[serde(serialize_with = "plain")]
    pub last_bad: Time,
    /// The first success after it. `null`: it goes on, or it ended because too few votes were left.
    #[serde(serialize_with = "plain_option")]
    pub first_good: Option<Time>,
}

fn plain<S: Serializer>(time: &Time, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&time.to_utc().to_rfc3339_opts(SecondsFormat::AutoSi, true))
}

fn plain_option<S: Serializer>(time: &Option<Time>, serializer: S) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => plain(time, serializer),
        None => serializer.serialize_none(),
    }
}

/// One line of the input. Other fields may be there.
#[derive(Deserialize)]
struct Line {
    #[serde(deserialize_with = "instant")]
    ts: Time,
    target: String,
    service: String,
    vantage: String,
    outcome: ProbeOutcome,
}

fn instant<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Time, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(|error| {
        let shown: String = text.chars().take(60).collect();
        D::Error::custom(format!("ts {shown:?} is no time like 2026-01-31T12:00:00Z (RFC 3339): {error}"))
    })
}

/// Judges recorded observations, one JSON object a line, in any order. Services come in the order of their names.
///
/// # Errors
/// See [`ReplayError`].
pub fn replay(input: impl BufRead, options: &ReplayOptions) -> Result<Vec<ServiceTimeline>, ReplayError> {
    options.check()?;
    let mut services = read(input, options)?;
    Ok(services
        .iter_mut()
        .map(|((target, service), casts)| options.judge(target.clone(), service.clone(), casts))
        .collect())
}

type Services = BTreeMap<(String, String), Vec<Cast>>;

fn read(mut input: impl BufRead, options: &ReplayOptions) -> Result<Services, ReplayError> {
    let mut services = Services::new();
    let mut text = Vec::new();
    for line in 1.. {
        text.clear();
        let length = input
            .by_ref()
            .take(MAX_LINE_BYTES)
            .read_until(b'\n', &mut text)
            .map_err(|source| ReplayError::Read { line, source })?;
        if length == 0 {
            break;
        }
        let fault = |message: String| ReplayError::Line { line, message };
        if length as u64 == MAX_LINE_BYTES && !text.ends_with(b"\n") {
            return Err(fault(format!("it is longer than {MAX_LINE_BYTES} bytes")));
        }
        if text.trim_ascii().is_empty() {
            continue;
        }
        let seen: Line = serde_json::from_slice(&text).map_err(|source| fault(source.to_string()))?;
        let casts = services.entry((seen.target, seen.service)).or_default();
        if let Some(watcher) = options.watchers.iter().position(|name| *name == seen.vantage) {
            let watcher = u16::try_from(watcher).unwrap_or(u16::MAX);
            casts.push(Cast { at: seen.ts, watcher, check: 0, vote: Vote::of(seen.outcome) });
        }
    }
    Ok(services)
}

impl ReplayOptions {
    fn check(&self) -> Result<(), ReplayError> {
        let fault = |message: &str| Err(ReplayError::Options(message.to_owned()));
        let mut names = self.watchers.clone();
        names.sort_unstable();
        names.dedup();
        if names.is_empty() {
            return fault("no watchers are assigned; name at least one");
        }
        if names.len() != self.watchers.len() || names.len() > usize::from(u16::MAX) {
            return fault("a watcher is named twice");
        }
        if self.from >= self.to {
            return fault("the window is empty: its begin must be before its end");
        }
        match self.interval.checked_add(self.grace) {
            Some(freshness) if freshness.is_zero() => {
                return fault("interval and grace are both 0: no observation would ever count");
            }
            Some(_) => {}
            None => return fault("interval and grace are too long together; take those of the checks"),
        }
        if self.maintenance.iter().any(|(from, to)| from >= to) {
            return fault("a maintenance window is empty: its begin must be before its end");
        }
        Ok(())
    }

    fn judge(&self, target: String, service: String, casts: &mut [Cast]) -> ServiceTimeline {
        casts.sort_unstable();
        let freshness = self.interval + self.grace;
        let mut sweep = Sweep::new(Rules { watchers: self.watchers.len(), checks: 1, freshness });
        let mut record = Record::default();
        sweep.run(casts, &mut record);
        // An outage that no later observation ends is ended by the expiry of its votes, when that is in the window.
        sweep.advance(self.to, &mut record);
        let outages: Vec<Outage> = record.outages.into_iter().chain(sweep.open()).collect();
        let segments = uptime::label(&record.steps, &outages, self.from, self.to);
        let segments = uptime::with_maintenance(&segments, &self.maintenance);
        let tally = Tally::of(segments.iter().copied());
        let (lower, upper) = tally.bounds().unzip();
        ServiceTimeline {
            target,
            service,
            intervals: segments.iter().map(|&Segment { from, to, state }| Interval { from, to, state }).collect(),
            up_s: Seconds(tally.up),
            down_s: Seconds(tally.down),
            unknown_s: Seconds(tally.unknown),
            maintenance_s: Seconds(tally.maintenance),
            availability: tally.availability(),
            availability_lower: lower,
            availability_upper: upper,
            coverage: tally.coverage(),
            outages: outages.iter().filter_map(|outage| self.dates(outage, casts)).collect(),
            budget: self.objective.map(|goal| {
                let span = Span { from: self.from, to: self.to };
                Figures::from(&Budget::of(&segments, &[], span, goal, self.to))
            }),
        }
    }

    /// The outage as it stands when the window ends; `None` when it has no part in the window.
    fn dates(&self, outage: &Outage, casts: &[Cast]) -> Option<OutageDates> {
        let ended = outage.to().filter(|to| *to <= self.to);
        if outage.first_bad >= self.to
            || ended.is_some_and(|to| to < self.from || (to == self.from && to > outage.first_bad))
        {
            return None;
        }
        let last_bad = match ended {
            Some(_) => outage.last_bad,
            None => {
                let until = casts.partition_point(|cast| cast.at < self.to);
                let bad = casts[..until].iter().rev().find(|cast| cast.vote == Vote::Bad);
                bad.map_or(outage.first_bad, |cast| cast.at)
            }
        };
        Some(OutageDates {
            from: outage.first_bad,
            to: ended,
            last_good: outage.last_good,
            first_bad: outage.first_bad,
            last_bad,
            first_good: match outage.end {
                Some(crate::verdict::End::Good { first_good, .. }) => ended.map(|_| first_good),
                _ => None,
            },
        })
    }
}

#[cfg(test)]
mod tests;
