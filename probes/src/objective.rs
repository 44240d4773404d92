//! Service-level objectives: how much of the time of a window a service is to be up.

use std::fmt;
use std::str::FromStr;

use chrono::{Datelike as _, Duration, NaiveDate, NaiveTime};
use chrono_tz::Tz;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use aggregator::event::Time;

use crate::config::Target;
use crate::maintenance;

/// The longest rolling window, in days: a watcher remembers, and shows, so much.
pub const MAX_DAYS: u16 = 90;
const DAY_US: i64 = 86_400_000_000;
/// A whole, in thousandths of a percent.
const WHOLE: u32 = 100_000;

/// `[[target.objective]]`: how much of a window services of a target are to be up.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Objective {
    /// The services it is for. Default: all of the target that have none of their own for this window.
    #[serde(default)]
    pub services: Option<Vec<String>>,
    /// Percent of the time that counts, `99.9`.
    pub availability: f64,
    /// Over which time. Default: 30 days.
    #[serde(default)]
    pub window: Window,
}

impl Objective {
    /// The objective as an exact number.
    ///
    /// # Errors
    /// What is wrong with it, in words for the person who wrote it.
    pub fn goal(&self) -> Result<Goal, String> {
        Goal::percent(self.availability)
    }

    /// Whether it is for this service by name.
    fn names(&self, service: &str) -> bool {
        self.services.iter().flatten().any(|name| name == service)
    }
}

/// The objectives of a service, in configured order: for each window the one that names the service, or else the one
/// that is for all.
pub fn of_service(target: &Target, service: &str) -> Vec<(Window, Goal)> {
    let named = |window| target.objective.iter().any(|other| other.window == window && other.names(service));
    let applies = |one: &&Objective| one.names(service) || (one.services.is_none() && !named(one.window));
    target.objective.iter().filter(applies).filter_map(|one| Some((one.window, one.goal().ok()?))).collect()
}

/// The faults of a target's objectives: the key below the target, and what to do about it.
pub fn faults(target: &Target) -> Vec<(String, String)> {
    let mut faults = Vec::new();
    for (index, objective) in target.objective.iter().enumerate() {
        let mut fault = |key: &str, message: String| faults.push((format!("objective[{index}].{key}"), message));
        if let Err(message) = objective.goal() {
            fault("availability", message);
        }
        if objective.services.as_ref().is_some_and(Vec::is_empty) {
            fault("services", "is empty; name services, or leave it out to mean all of them".to_owned());
        }
        for service in objective.services.iter().flatten() {
            if !target.check.iter().any(|check| check.service == *service) {
                fault("services", format!("no check votes on a service \"{service}\""));
            }
        }
        let earlier = target.objective[..index].iter().filter(|other| other.window == objective.window);
        for other in earlier {
            let shared = match (&objective.services, &other.services) {
                (None, None) => Some("all services have".to_owned()),
                (Some(names), _) => names.iter().find(|name| other.names(name)).map(|name| format!("\"{name}\" has")),
                (None, Some(_)) => None,
            };
            if let Some(who) = shared {
                fault("window", format!("{who} another objective over {}; keep one of them", objective.window));
            }
        }
    }
    faults
}

/// An objective in thousandths of a percent, more than none and less than all: 99.9 % is 99900. Exact, so that what is
/// left of a budget and the availability that is shown never contradict each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Goal(u32);

impl Goal {
    /// Of a percentage with three decimals at most.
    ///
    /// # Errors
    /// It is out of bounds, or finer than what availability is told in.
    pub fn percent(percent: f64) -> Result<Self, String> {
        if !(percent > 0.0 && percent < 100.0) {
            return Err(
                "must be more than 0 and less than 100: it is a percentage, and 100 leaves no budget".to_owned()
            );
        }
        let thousandths = (percent * 1_000.0).round();
        if (percent * 1_000.0 - thousandths).abs() > 1e-6 || thousandths >= WHOLE.into() || thousandths < 1.0 {
            return Err("has more than three decimals, the precision of availability".to_owned());
        }
        Ok(Self(thousandths as u32))
    }

    /// The objective in percent.
    pub fn as_percent(self) -> f64 {
        f64::from(self.0) / 1_000.0
    }

    /// The part that may be lost, in thousandths of a percent.
    pub fn lossy(self) -> u32 {
        WHOLE - self.0
    }

    /// The error budget of so many microseconds, rounded down.
    pub fn budget(self, micros: i64) -> i64 {
        let budget = i128::from(micros) * i128::from(self.lossy()) / i128::from(WHOLE);
        // A part of an i64 is one.
        i64::try_from(budget).unwrap_or(i64::MAX)
    }
}

impl FromStr for Goal {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let percent: f64 =
            text.trim_end_matches('%').trim_end().parse().map_err(|_| "is no percentage, 99.9".to_owned())?;
        Self::percent(percent)
    }
}

/// The time that an objective is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Window {
    /// The last so many days of 24 hours: `30d`.
    Days(u16),
    /// The calendar month in the page's time zone: `calendar month`.
    Month,
}

impl Default for Window {
    fn default() -> Self {
        Self::Days(30)
    }
}

/// A window at some instant: half-open, `[from, to)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Begin: of the window, or of watching when that is later.
    pub from: Time,
    /// End; in the future while there is time to come.
    pub to: Time,
}

impl Window {
    /// The window at `now` of a service that was first seen at `first`.
    ///
    /// Time before that does not count, for nothing is known of it: a rolling window begins with it and is full when it
    /// is as long as it is named; the month in which watching begins is shorter by it.
    pub fn at(self, now: Time, first: Time, zone: Tz) -> Span {
        match self {
            Self::Days(days) => {
                let length = i64::from(days) * DAY_US;
                let from = Time(now.0.saturating_sub(length)).max(first);
                Span { from, to: Time(from.0.saturating_add(length)) }
            }
            Self::Month => {
                let today = now.to_utc().with_timezone(&zone).date_naive();
                let midnight =
                    |day: NaiveDate| maintenance::instant(day.and_time(NaiveTime::MIN), zone).map(Time::from);
                let first_day = today.with_day(1).unwrap_or(today);
                let next = (first_day + Duration::days(31)).with_day(1).unwrap_or(today);
                // A zone without that midnight is none: then the window is empty and says nothing.
                let (from, to) = (midnight(first_day).unwrap_or(now), midnight(next).unwrap_or(now));
                Span { from: from.max(first), to }
            }
        }
    }

    /// For how long a moment stays in the window, when that is the same for all.
    pub fn length(self) -> Option<i64> {
        match self {
            Self::Days(days) => Some(i64::from(days) * DAY_US),
            Self::Month => None,
        }
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Days(days) => write!(f, "{days}d"),
            Self::Month => f.write_str("calendar month"),
        }
    }
}

impl FromStr for Window {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "calendar month" {
            return Ok(Self::Month);
        }
        let days = text.strip_suffix('d').and_then(|days| days.parse().ok());
        match days {
            Some(days @ 1..=MAX_DAYS) => Ok(Self::Days(days)),
            _ => Err(format!("\"{text}\" is no window; use \"30d\" (1 to {MAX_DAYS} days) or \"calendar month\"")),
        }
    }
}

impl Serialize for Window {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Window {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Time {
        text.parse().unwrap()
    }

    #[test]
    fn an_objective_is_exact_to_a_thousandth_of_a_percent() {
        let parsed =
            |text: &str| text.parse::<Goal>().map(|goal| (goal.as_percent(), goal.budget(30 * DAY_US) / 1_000_000));
        assert_eq!(parsed("99.9"), Ok((99.9, 2_592)));
        assert_eq!(parsed("99.95 %"), Ok((99.95, 1_296)));
        assert_eq!(parsed("99.999"), Ok((99.999, 25)));
        assert_eq!(parsed("50"), Ok((50.0, 1_296_000)));
        let faults = ["0", "100", "-1", "101", "NaN", "x", "99.9995", "99.99999999", "0.0000001"]
            .map(|text| parsed(text).is_err());
        assert_eq!(faults, [true; 9]);
    }

    #[test]
    fn a_window_reads_as_it_is_written() {
        for text in ["1d", "30d", "90d", "calendar month"] {
            assert_eq!(text.parse::<Window>().unwrap().to_string(), text);
        }
        for text in ["", "d", "0d", "91d", "30", "4w", "-1d", "month", "30D"] {
            assert!(text.parse::<Window>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_month_is_one_of_the_pages_zone_over_a_change_of_clocks() {
        let oslo = chrono_tz::Europe::Oslo;
        let first = at("2020-01-01T00:00:00Z");
        let month = |now: &str| Window::Month.at(at(now), first, oslo);
        let march = Span { from: at("2026-02-28T23:00:00Z"), to: at("2026-03-31T22:00:00Z") };
        assert_eq!(month("2026-02-28T23:00:00Z"), march);
        assert_eq!(month("2026-03-31T21:59:59Z"), march);
        assert_eq!(march.to.0 - march.from.0, (31 * 24 - 1) * 3_600_000_000);
        assert_eq!(month("2026-12-31T12:00:00Z").to, at("2026-12-31T23:00:00Z"));
        assert_eq!(month("2024-02-29T12:00:00Z").from, at("2024-01-31T23:00:00Z"));
    }

    #[test]
    fn a_window_begins_with_the_first_observation() {
        let utc = chrono_tz::UTC;
        let (first, now) = (at("2026-03-10T00:00:00Z"), at("2026-03-20T00:00:00Z"));
        let filling = Window::Days(30).at(now, first, utc);
        assert_eq!(filling, Span { from: first, to: at("2026-04-09T00:00:00Z") });
        assert_eq!(Window::Days(10).at(now, first, utc), Span { from: first, to: now });
        assert_eq!(Window::Days(3).at(now, first, utc), Span { from: at("2026-03-17T00:00:00Z"), to: now });
        assert_eq!(Window::Month.at(now, first, utc), Span { from: first, to: at("2026-04-01T00:00:00Z") });
    }

    #[test]
    fn an_objective_that_names_a_service_goes_before_one_for_all() {
        let target: Target = toml::from_str(
            r#"
name = "t"
[[objective]]
availability = 99.9
[[objective]]
availability = 99
window = "calendar month"
[[objective]]
services = ["webmail"]
availability = 99.5
"#,
        )
        .unwrap();
        let goal = |percent| Goal::percent(percent).unwrap();
        assert_eq!(of_service(&target, "imap"), [(Window::Days(30), goal(99.9)), (Window::Month, goal(99.0))]);
        assert_eq!(of_service(&target, "webmail"), [(Window::Month, goal(99.0)), (Window::Days(30), goal(99.5))]);
    }
}
