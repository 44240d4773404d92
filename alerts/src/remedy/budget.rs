//! How often a host's units may be restarted from outside. Pure: the history and `now` in, a reason out.

use aggregator::event::Time;

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;
/// The pause after a restart of a unit: doubles with each one in the last hour.
const PAUSE_MS: i64 = 10_000;
/// It never grows past this.
const MAX_PAUSE_MS: i64 = 300_000;

/// A restart that was carried out or tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restart {
    /// The unit.
    pub unit: String,
    /// When.
    pub at: Time,
}

/// The limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Of one unit within an hour.
    pub per_unit_hour: u32,
    /// Of all units of the host within a day.
    pub per_host_day: u32,
}

/// Why the budget says no.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Spent {
    /// The unit's hour is spent.
    #[error("\"{unit}\" was restarted {limit} times within the last hour: more would hide the cause")]
    Unit {
        /// The unit.
        unit: String,
        /// Its limit.
        limit: u32,
    },
    /// The host's day is spent.
    #[error("{limit} restarts were made on this host within the last day: more would hide the cause")]
    Host {
        /// The limit.
        limit: u32,
    },
    /// The last restart is too recent.
    #[error("\"{unit}\" was restarted a moment ago; the next restart may come at {next}")]
    Pause {
        /// The unit.
        unit: String,
        /// When it may be tried again.
        next: Time,
    },
}

impl Budget {
    /// Whether `unit` may be restarted now.
    ///
    /// # Errors
    /// The limit that forbids it.
    pub fn allow(&self, history: &[Restart], unit: &str, now: Time) -> Result<(), Spent> {
        let since = |restart: &&Restart, ms: i64| restart.at > now.plus_millis(-ms);
        let day = history.iter().filter(|restart| since(restart, DAY_MS)).count();
        if day >= self.per_host_day as usize {
            return Err(Spent::Host { limit: self.per_host_day });
        }
        let hour: Vec<&Restart> =
            history.iter().filter(|restart| restart.unit == unit && since(restart, HOUR_MS)).collect();
        if hour.len() >= self.per_unit_hour as usize {
            return Err(Spent::Unit { unit: unit.to_owned(), limit: self.per_unit_hour });
        }
        if let Some(last) = hour.iter().map(|restart| restart.at).max() {
            let pause = (PAUSE_MS << (hour.len() - 1).min(8)).min(MAX_PAUSE_MS);
            let next = last.plus_millis(pause);
            if now < next {
                return Err(Spent::Pause { unit: unit.to_owned(), next });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_a_unit_and_hour_four_a_host_and_day_and_a_pause_between() {
        let budget = Budget { per_unit_hour: 2, per_host_day: 4 };
        let at = |seconds: i64| Time::from_seconds(100_000 + seconds);
        let restart = |unit: &str, seconds| Restart { unit: unit.to_owned(), at: at(seconds) };
        let once = [restart("imap", 0)];
        assert_eq!(budget.allow(&[], "imap", at(0)), Ok(()));
        assert_eq!(budget.allow(&once, "imap", at(9)), Err(Spent::Pause { unit: "imap".to_owned(), next: at(10) }));
        assert_eq!(budget.allow(&once, "imap", at(10)), Ok(()));
        assert_eq!(budget.allow(&once, "mx", at(1)), Ok(()));
        let twice = [restart("imap", 0), restart("imap", 60)];
        assert_eq!(budget.allow(&twice, "imap", at(3_599)), Err(Spent::Unit { unit: "imap".to_owned(), limit: 2 }));
        assert_eq!(budget.allow(&twice, "imap", at(3_600)), Ok(()));
        let host = ["a", "b", "c", "d"].map(|unit| restart(unit, 0));
        assert_eq!(budget.allow(&host, "e", at(86_399)), Err(Spent::Host { limit: 4 }));
        assert_eq!(budget.allow(&host, "e", at(86_400)), Ok(()));
    }
}
