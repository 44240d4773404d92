//! An error budget as both sites show it: a bar, and in words everything that the bar says.

use aggregator::event::Time;
use chrono_tz::Tz;
use probes::budget::Seconds;
use probes::objective::Window;
use probes::status::ObjectiveStatus;

use crate::show::{Span, When};

/// A rolling window that ends later than this after now is still filling.
const FILLING_US: i64 = 60_000_000;
/// With less than this percentage left the bar warns.
const LOW_PERCENT: f64 = 25.0;

/// An error budget on a page.
pub struct BudgetView {
    /// The objective, `99.9 %`.
    pub objective: String,
    /// Its window in words, `the last 30 days`.
    pub over: String,
    /// All of it.
    pub whole: Span,
    /// What is left.
    pub left: Left,
    /// The state whose colour the bar has.
    pub class: &'static str,
    /// The filled part of the bar, 0 to 100.
    pub filled: f64,
    /// What is left at least and at most, and the time that is unknown; `None` when nothing is.
    pub bounds: Option<(String, String, Span)>,
    /// Burn rates of the last hour, six hours, three days; for operators.
    pub burn: [(&'static str, Option<String>); 3],
    /// When it is used up if it goes on like this; for operators.
    pub exhausted_at: Option<When>,
}

/// What is left of a budget.
#[derive(Debug, PartialEq)]
pub enum Left {
    /// Not enough data.
    NotKnown,
    /// So much, and that in percent.
    Some(Span, String),
    /// Nothing: so much more was spent than there was.
    Overspent(Span),
}

impl BudgetView {
    /// Whether any burn rate is known.
    pub fn burn_is_known(&self) -> bool {
        self.burn.iter().any(|(_, rate)| rate.is_some())
    }

    /// `status` as it is at `now`, with its times in `zone`.
    pub fn new(status: &ObjectiveStatus, now: Time, zone: Tz) -> Self {
        let figures = &status.figures;
        let percent = figures.remaining_percent.unwrap_or(0.0);
        let left = match figures.remaining_s {
            None => Left::NotKnown,
            Some(Seconds(left)) if left < 0 => Left::Overspent(span(left)),
            // Rounded down, so that it never promises more than there is.
            Some(Seconds(left)) => Left::Some(span(left), format!("{:.1}\u{a0}%", (percent * 10.0).floor() / 10.0)),
        };
        let class = match left {
            Left::NotKnown => "unknown",
            Left::Overspent(_) => "down",
            Left::Some(..) if percent < LOW_PERCENT => "degraded",
            Left::Some(..) => "up",
        };
        let unknown = span(figures.unknown_s.0);
        let bounds = || (signed(figures.remaining_lower_s), signed(figures.remaining_upper_s), unknown);
        let rate = |rate: Option<f64>| rate.map(|rate| format!("{rate:.1}"));
        Self {
            objective: format!("{} %", status.objective),
            over: over(status, now, zone),
            whole: span(figures.budget_s.0),
            left,
            class,
            filled: percent.clamp(0.0, 100.0),
            bounds: (unknown.millis >= 1_000).then(bounds),
            burn: [
                ("1 h", rate(status.burn_rate_1h)),
                ("6 h", rate(status.burn_rate_6h)),
                ("3 d", rate(status.burn_rate_3d)),
            ],
            exhausted_at: status.exhausted_at.map(|at| When::new(at, zone)),
        }
    }
}

/// The window in words.
fn over(status: &ObjectiveStatus, now: Time, zone: Tz) -> String {
    let date = |at: Time, format: &str| at.to_utc().with_timezone(&zone).format(format).to_string();
    match status.window {
        Window::Month => date(Time(status.to.0.saturating_sub(1)), "%B %Y"),
        Window::Days(days) => {
            let days = crate::show::count(days.into(), "day", "days");
            if status.to.0 > now.0.saturating_add(FILLING_US) {
                [&days, " from ", &date(status.from, "%-d %b %Y")].concat()
            } else {
                ["the last ", &days].concat()
            }
        }
    }
}

fn span(micros: i64) -> Span {
    // In whole seconds: fractions say nothing here.
    Span::seconds(micros.unsigned_abs() / 1_000_000)
}

fn signed(Seconds(micros): Seconds) -> String {
    let sign = if micros < 0 { "\u{2212}" } else { "" };
    [sign, &span(micros).to_string()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::sample;

    fn view(change: impl FnOnce(&mut ObjectiveStatus)) -> BudgetView {
        let mut status = sample::objective(243, 0, sample::NOW);
        change(&mut status);
        BudgetView::new(&status, sample::NOW, chrono_tz::Europe::Oslo)
    }

    #[test]
    fn what_is_left_is_rounded_down_and_its_colour_follows() {
        let view = |spent: u64| BudgetView::new(&sample::objective(spent, 0, sample::NOW), sample::NOW, chrono_tz::UTC);
        let shown = |spent| {
            let view = view(spent);
            (view.class, view.filled, view.left)
        };
        let left = |seconds, percent: &str| Left::Some(Span::seconds(seconds), percent.to_owned());
        assert_eq!(shown(243), ("up", 90.625, left(2_349, "90.6\u{a0}%")));
        assert_eq!(shown(2_591), ("degraded", 0.038, left(1, "0.0\u{a0}%")));
        assert_eq!(shown(2_592), ("degraded", 0.0, left(0, "0.0\u{a0}%")));
        assert_eq!(shown(3_000), ("down", 0.0, Left::Overspent(Span::seconds(408))));
    }

    #[test]
    fn unknown_time_is_told_with_what_it_may_mean() {
        let status = sample::objective(0, 3_600, sample::NOW);
        let view = BudgetView::new(&status, sample::NOW, chrono_tz::UTC);
        let (lower, upper, unknown) = view.bounds.unwrap();
        assert_eq!((lower.as_str(), upper.as_str()), ("\u{2212}16 min 48 s", "43 min 12 s"));
        assert_eq!(unknown, Span::seconds(3_600));
    }

    #[test]
    fn without_enough_data_nothing_is_said_to_be_left() {
        let view = view(|status| (status.figures.remaining_s, status.figures.remaining_percent) = (None, None));
        assert_eq!((view.left, view.class, view.filled), (Left::NotKnown, "unknown", 0.0));
    }

    #[test]
    fn a_window_is_named_in_words() {
        assert_eq!(view(|_| ()).over, "the last 30 days");
        let filling = view(|status| (status.from, status.to) = (sample::NOW, sample::NOW.plus_millis(30 * 86_400_000)));
        assert_eq!(filling.over, "30 days from 22 Nov 2026");
        let month = view(|status| {
            (status.window, status.to) = (Window::Month, "2026-11-30T23:00:00Z".parse().unwrap());
        });
        assert_eq!(month.over, "November 2026");
    }
}
