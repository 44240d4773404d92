//! How instants, spans and figures are written for people.

use std::fmt;

use aggregator::event::Time;
use chrono_tz::Tz;

/// An instant on a page: for machines and for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct When {
    /// RFC 3339 in UTC, for `<time datetime>`.
    pub iso: String,
    /// `22 Nov 2026, 10:38:39 UTC`, in the page's time zone.
    pub text: String,
}

impl When {
    /// `at` in `zone`.
    pub fn new(at: Time, zone: Tz) -> Self {
        let text = at.to_utc().with_timezone(&zone).format("%-d %b %Y, %H:%M:%S %Z").to_string();
        Self { iso: at.to_utc().format("%Y-%m-%dT%H:%M:%SZ").to_string(), text }
    }
}

/// A span in its two largest units: `4 min 3 s`, `2 d 5 h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Milliseconds.
    pub millis: u64,
}

impl Span {
    /// From `earlier` to `later`; nothing when the clock went backwards.
    pub fn between(earlier: Time, later: Time) -> Self {
        Self { millis: later.millis_since(earlier) }
    }
    /// So many seconds.
    pub fn seconds(seconds: u64) -> Self {
        Self { millis: seconds.saturating_mul(1_000) }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.millis / 1_000;
        let (large, large_unit, small, small_unit) = match seconds {
            0 if self.millis > 0 => return write!(f, "{} ms", self.millis),
            0..60 => return write!(f, "{seconds} s"),
            60..3_600 => (seconds / 60, "min", seconds % 60, "s"),
            3_600..86_400 => (seconds / 3_600, "h", seconds % 3_600 / 60, "min"),
            _ => (seconds / 86_400, "d", seconds % 86_400 / 3_600, "h"),
        };
        write!(f, "{large} {large_unit}")?;
        if small > 0 { write!(f, " {small} {small_unit}") } else { Ok(()) }
    }
}

/// A percentage with three decimals, rounded down so that it never promises more than was measured.
pub fn percent(value: f64) -> String {
    // What is not representable (99.7 is 99.69999…) must not lose a thousandth.
    format!("{:.3} %", (value * 1_000.0 + 1e-6).floor() / 1_000.0)
}

/// `1 message`, `2 messages`.
pub fn count(n: u64, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_shows_its_two_largest_units() {
        let shown = |seconds| Span::seconds(seconds).to_string();
        assert_eq!(
            [0, 59, 60, 243, 7_500, 3_600, 90_061].map(shown),
            ["0 s", "59 s", "1 min", "4 min 3 s", "2 h 5 min", "1 h", "1 d 1 h"]
        );
        assert_eq!(Span { millis: 412 }.to_string(), "412 ms");
    }

    #[test]
    fn a_percentage_is_rounded_down() {
        assert_eq!([99.9999, 99.7, 100.0, 0.0].map(percent), ["99.999 %", "99.700 %", "100.000 %", "0.000 %"]);
    }

    #[test]
    fn an_instant_names_its_zone_on_both_sides_of_summer_time() {
        let oslo = chrono_tz::Europe::Oslo;
        assert_eq!(When::new("2026-11-22T09:36:48Z".parse().unwrap(), oslo).text, "22 Nov 2026, 10:36:48 CET");
        assert_eq!(When::new("2026-07-01T09:36:48Z".parse().unwrap(), oslo).text, "1 Jul 2026, 11:36:48 CEST");
    }
}
