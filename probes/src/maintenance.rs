//! Announced maintenance: windows in which a service's state is `maintenance`, whatever is seen.

use chrono::{
    DateTime, Datelike as _, Duration, LocalResult, NaiveDate, NaiveDateTime, NaiveTime, TimeZone as _, Utc, Weekday,
};
use chrono_tz::Tz;
use serde::Deserialize;

use aggregator::event::Time;

/// The longest a recurring window may be: it must have ended before the next begins.
const MAX_RECURRING_S: u64 = 7 * 86_400;

/// `[[target.maintenance]]`: either `from` and `to`, or `weekday`, `time`, `duration_s` and `time_zone`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Maintenance {
    /// What a person reads.
    pub title: Option<String>,
    /// The services it is for. Default: all of the target.
    pub services: Option<Vec<String>>,
    /// One-off: its begin.
    pub from: Option<Time>,
    /// One-off: its end.
    pub to: Option<Time>,
    /// Recurring: the day of the week, `sunday` or `sun`.
    pub weekday: Option<String>,
    /// Recurring: the local time of day it begins at, `02:30`.
    pub time: Option<String>,
    /// Recurring: how long it lasts.
    pub duration_s: Option<u64>,
    /// Recurring: the zone of `time`, `Europe/Oslo`. Default: UTC.
    pub time_zone: Option<String>,
}

/// When a maintenance is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plan {
    /// Once, `[from, to)`.
    Once {
        /// Begin.
        from: Time,
        /// End.
        to: Time,
    },
    /// Every week.
    Weekly {
        /// The day of its begin in `zone`.
        weekday: Weekday,
        /// The local time of its begin.
        time: NaiveTime,
        /// Elapsed time, so that a window over a change of clocks is as long as any other.
        duration: Duration,
        /// The zone.
        zone: Tz,
    },
}

impl Maintenance {
    /// Reads when it is.
    ///
    /// # Errors
    /// What is wrong with it, in words for the person who wrote it.
    pub fn plan(&self) -> Result<Plan, String> {
        let recurring = self.weekday.is_some() || self.time.is_some() || self.duration_s.is_some();
        match (self.from, self.to, recurring) {
            (Some(from), Some(to), false) if self.time_zone.is_none() => {
                if from < to {
                    Ok(Plan::Once { from, to })
                } else {
                    Err("`from` must be before `to`".to_owned())
                }
            }
            (None, None, true) => self.weekly(),
            _ => Err("give either `from` and `to`, or `weekday`, `time`, `duration_s` and `time_zone`".to_owned()),
        }
    }

    fn weekly(&self) -> Result<Plan, String> {
        let (Some(weekday), Some(time), Some(duration_s)) = (&self.weekday, &self.time, self.duration_s) else {
            return Err("a recurring window needs `weekday`, `time` and `duration_s`".to_owned());
        };
        let zone = self.time_zone.as_deref().unwrap_or("UTC");
        if duration_s == 0 || duration_s >= MAX_RECURRING_S {
            return Err(format!("`duration_s` must be between 1 and {}", MAX_RECURRING_S - 1));
        }
        Ok(Plan::Weekly {
            weekday: weekday.parse().map_err(|_| format!("`weekday`: \"{weekday}\" is no day of the week"))?,
            time: NaiveTime::parse_from_str(time, "%H:%M").map_err(|_| format!("`time`: \"{time}\" is not HH:MM"))?,
            duration: Duration::seconds(i64::try_from(duration_s).unwrap_or(i64::MAX)),
            zone: zone.parse().map_err(|_| format!("`time_zone`: \"{zone}\" is no zone of the IANA list"))?,
        })
    }

    /// Whether it is for this service.
    pub fn covers(&self, service: &str) -> bool {
        self.services.as_ref().is_none_or(|services| services.iter().any(|name| name == service))
    }
}

impl Plan {
    /// Its windows that have a part in `[from, to)`, in order.
    pub fn windows(&self, from: Time, to: Time) -> Vec<(Time, Time)> {
        match *self {
            Plan::Once { from: begin, to: end } => {
                if begin < to && from < end {
                    vec![(begin, end)]
                } else {
                    Vec::new()
                }
            }
            Plan::Weekly { weekday, time, duration, zone } => {
                let first = from.to_utc().date_naive() - duration - Duration::days(2);
                let last = to.to_utc().date_naive() + Duration::days(1);
                first
                    .iter_days()
                    .take_while(|day| *day <= last)
                    .filter(|day| day.weekday() == weekday)
                    .filter_map(|day: NaiveDate| instant(day.and_time(time), zone))
                    .map(|begin| (begin.into(), (begin + duration).into()))
                    .filter(|(begin, end): &(Time, Time)| *begin < to && from < *end)
                    .collect()
            }
        }
    }
}

/// The instant of a local time. One that comes twice is the first; one that a change of clocks leaves out is the
/// instant at which the clocks change.
pub(crate) fn instant(local: NaiveDateTime, zone: Tz) -> Option<DateTime<Utc>> {
    match zone.from_local_datetime(&local) {
        LocalResult::Single(at) | LocalResult::Ambiguous(at, _) => Some(at.to_utc()),
        LocalResult::None => (1..=48 * 60)
            .filter_map(|minutes| zone.from_local_datetime(&(local + Duration::minutes(minutes))).earliest())
            .next()
            .map(|at| at.to_utc()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weekly(time: &str, zone: &str) -> Plan {
        let maintenance = Maintenance {
            weekday: Some("sunday".to_owned()),
            time: Some(time.to_owned()),
            duration_s: Some(7_200),
            time_zone: Some(zone.to_owned()),
            ..Maintenance::default()
        };
        maintenance.plan().unwrap()
    }

    fn at(text: &str) -> Time {
        text.parse().unwrap()
    }

    #[test]
    fn a_weekly_window_keeps_its_local_time_over_a_change_of_clocks() {
        let windows = weekly("04:00", "Europe/Oslo").windows(at("2026-10-18T00:00:00Z"), at("2026-10-26T00:00:00Z"));
        assert_eq!(
            windows,
            [
                (at("2026-10-18T02:00:00Z"), at("2026-10-18T04:00:00Z")),
                (at("2026-10-25T03:00:00Z"), at("2026-10-25T05:00:00Z")),
            ]
        );
    }

    #[test]
    fn a_local_time_that_is_left_out_begins_when_the_clocks_change() {
        let windows = weekly("02:30", "Europe/Oslo").windows(at("2026-03-29T00:00:00Z"), at("2026-03-29T12:00:00Z"));
        assert_eq!(windows, [(at("2026-03-29T01:00:00Z"), at("2026-03-29T03:00:00Z"))]);
    }

    #[test]
    fn a_local_time_that_comes_twice_is_the_first() {
        let windows = weekly("02:30", "Europe/Oslo").windows(at("2026-10-25T00:00:00Z"), at("2026-10-25T12:00:00Z"));
        assert_eq!(windows, [(at("2026-10-25T00:30:00Z"), at("2026-10-25T02:30:00Z"))]);
    }

    #[test]
    fn a_window_that_only_touches_the_span_has_no_part_in_it() {
        let once = Plan::Once { from: Time(10), to: Time(20) };
        assert_eq!(once.windows(Time(20), Time(30)), []);
        assert_eq!(once.windows(Time(0), Time(10)), []);
        assert_eq!(once.windows(Time(19), Time(30)), [(Time(10), Time(20))]);
    }

    #[test]
    fn half_a_window_is_a_fault() {
        let fault = Maintenance { from: Some(Time(0)), ..Maintenance::default() }.plan().unwrap_err();
        assert_eq!(fault, "give either `from` and `to`, or `weekday`, `time`, `duration_s` and `time_zone`");
        let backwards = Maintenance { from: Some(Time(2)), to: Some(Time(2)), ..Maintenance::default() };
        assert_eq!(backwards.plan().unwrap_err(), "`from` must be before `to`");
    }
}
