//! How the times of a log are meant: their zone, and the year that many of them leave out.

use std::cell::Cell;

use chrono::{DateTime, Datelike, LocalResult, NaiveDate, NaiveDateTime, TimeDelta, TimeZone, Utc};
use chrono_tz::Tz;

use crate::event::Time;

/// A line may be this much ahead of the reference: clocks differ.
const AHEAD: TimeDelta = TimeDelta::days(1);

/// Octets of `Nov 22 10:16:48 `, the time that most logs begin their lines with.
pub const SYSLOG_TIME: usize = 16;

/// The zone of local times, and the instant that the log cannot be later than.
#[derive(Debug, Clone)]
pub struct Clock {
    zone: Tz,
    reference: NaiveDateTime,
    /// The hour of the last line: the next one is most likely of the same.
    last: Cell<Option<Hour>>,
    /// The time of the last line as it stands there: the lines of one second begin alike.
    last_text: Cell<Option<([u8; SYSLOG_TIME], Time)>>,
}

/// An hour of local time without a change of offset in it.
#[derive(Debug, Clone, Copy)]
struct Hour {
    year: Option<i32>,
    month: u32,
    day: u32,
    hour: u32,
    begin: Time,
}

impl Clock {
    /// A clock for a source that was last written at `reference` (its modification time, or now).
    pub fn new(zone: Tz, reference: Time) -> Self {
        let reference = reference.to_utc().with_timezone(&zone).naive_local();
        Self { zone, reference, last: Cell::new(None), last_text: Cell::new(None) }
    }

    /// The source was written at `reference` again.
    pub fn set_reference(&mut self, reference: Time) {
        self.reference = reference.to_utc().with_timezone(&self.zone).naive_local();
        self.last.set(None);
        self.last_text.set(None);
    }

    /// What the text of a time means, if it is that of the last line.
    pub fn seen(&self, text: &[u8; SYSLOG_TIME]) -> Option<Time> {
        self.last_text.get().filter(|(last, _)| last == text).map(|(_, time)| time)
    }

    /// Remembers what the text of a time means.
    pub fn remember(&self, text: [u8; SYSLOG_TIME], time: Time) {
        self.last_text.set(Some((text, time)));
    }

    /// A time without a year: the latest year in which it is not ahead of the reference. A 29 February belongs to a
    /// leap year. `None`: there is no such day.
    pub fn yearless(&self, month: u32, day: u32, seconds: u32, micros: u32) -> Option<Time> {
        self.within_hour((None, month, day), seconds, micros, |seconds, micros| {
            self.latest_year(month, day, seconds, micros)
        })
    }

    fn latest_year(&self, month: u32, day: u32, seconds: u32, micros: u32) -> Option<Time> {
        let latest = self.reference + AHEAD;
        (0..=8).map(|back| latest.year() - back).find_map(|year| {
            let local = local(year, month, day, seconds, micros)?;
            (local <= latest).then(|| self.local(local))
        })
    }

    /// A time with a year and without an offset.
    pub fn dated(&self, year: i32, month: u32, day: u32, seconds: u32, micros: u32) -> Option<Time> {
        self.within_hour((Some(year), month, day), seconds, micros, |seconds, micros| {
            local(year, month, day, seconds, micros).map(|at| self.local(at))
        })
    }

    /// The same as `find` for a time within an hour, faster when the last time was of that hour.
    fn within_hour(
        &self,
        (year, month, day): (Option<i32>, u32, u32),
        seconds: u32,
        micros: u32,
        find: impl Fn(u32, u32) -> Option<Time>,
    ) -> Option<Time> {
        const HOUR: i64 = 3_600_000_000;
        let hour = seconds / 3_600;
        let since = i64::from(seconds % 3_600) * 1_000_000 + i64::from(micros);
        if let Some(last) = self.last.get()
            && (last.year, last.month, last.day, last.hour) == (year, month, day, hour)
        {
            return Some(Time(last.begin.0 + since));
        }
        // An hour in which the offset or the year changes, or that is repeated, is not as long as an hour.
        if let (Some(begin), Some(end)) = (find(hour * 3_600, 0), find(hour * 3_600 + 3_599, 999_999))
            && end.0 - begin.0 == HOUR - 1
        {
            self.last.set(Some(Hour { year, month, day, hour, begin }));
        }
        find(seconds, micros)
    }

    /// A local time as an instant. The hour that autumn repeats is taken as its first; the hour that spring leaves out
    /// as the time that a clock not yet put forward would show.
    fn local(&self, at: NaiveDateTime) -> Time {
        if self.zone == Tz::UTC {
            return at.and_utc().into();
        }
        match self.zone.from_local_datetime(&at) {
            LocalResult::Single(at) | LocalResult::Ambiguous(at, _) => at.with_timezone(&Utc).into(),
            LocalResult::None => {
                let before = self.zone.from_local_datetime(&(at - TimeDelta::hours(3))).earliest();
                before
                    .map_or_else(
                        || at.and_utc(),
                        |before: DateTime<Tz>| (before + TimeDelta::hours(3)).with_timezone(&Utc),
                    )
                    .into()
            }
        }
    }
}

fn local(year: i32, month: u32, day: u32, seconds: u32, micros: u32) -> Option<NaiveDateTime> {
    // A leap second is the last second of its minute once more.
    NaiveDate::from_ymd_opt(year, month, day)?.and_hms_micro_opt(
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60,
        micros,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clock(zone: Tz, reference: &str) -> Clock {
        Clock::new(zone, reference.parse().unwrap())
    }

    fn at(clock: &Clock, month: u32, day: u32, hour: u32) -> String {
        clock.yearless(month, day, hour * 3600, 0).unwrap().to_string()
    }

    #[test]
    fn december_read_in_january_is_of_the_year_before() {
        let clock = clock(Tz::UTC, "2026-01-02T08:00:00Z");
        assert_eq!(at(&clock, 12, 31, 23), "2025-12-31T23:00:00.000000Z");
        assert_eq!(at(&clock, 1, 2, 7), "2026-01-02T07:00:00.000000Z");
    }

    #[test]
    fn a_clock_that_is_ahead_by_hours_does_not_lose_a_year() {
        let clock = clock(Tz::UTC, "2025-12-31T20:00:00Z");
        assert_eq!(at(&clock, 1, 1, 2), "2026-01-01T02:00:00.000000Z");
        assert_eq!(at(&clock, 1, 3, 2), "2025-01-03T02:00:00.000000Z");
    }

    #[test]
    fn the_29th_of_february_is_of_a_leap_year() {
        assert_eq!(at(&clock(Tz::UTC, "2026-11-22T00:00:00Z"), 2, 29, 12), "2024-02-29T12:00:00.000000Z");
    }

    #[test]
    fn the_hour_that_spring_leaves_out_and_the_hour_that_autumn_repeats_have_an_instant() {
        let clock = clock(Tz::Europe__Oslo, "2026-11-22T00:00:00Z");
        assert_eq!(at(&clock, 3, 29, 2), "2026-03-29T01:00:00.000000Z");
        assert_eq!(at(&clock, 10, 25, 2), "2026-10-25T00:00:00.000000Z");
    }

    #[test]
    fn an_hour_is_remembered_only_as_long_as_it_is_the_same() {
        let clock = clock(Tz::Europe__Oslo, "2026-11-22T00:00:00Z");
        for (hour, minute, expected) in
            [(1, 59, "00:59"), (2, 10, "00:10"), (2, 50, "00:50"), (3, 0, "02:00"), (3, 1, "02:01")]
        {
            let found = clock.yearless(10, 25, hour * 3600 + minute * 60, 5).unwrap().to_string();
            let day = if hour == 1 { "2026-10-24T23:59" } else { &format!("2026-10-25T{expected}") };
            assert_eq!(found, format!("{day}:00.000005Z"));
        }
        assert_eq!(clock.dated(2025, 10, 25, 3 * 3600, 0).unwrap().to_string(), "2025-10-25T01:00:00.000000Z");
    }

    #[test]
    fn there_is_no_30th_of_february() {
        assert_eq!(clock(Tz::UTC, "2026-11-22T00:00:00Z").yearless(2, 30, 0, 0), None);
    }
}
