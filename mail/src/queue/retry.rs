//! What follows an attempt: done, again at a time, or given up.

use aggregator::event::Time;

use crate::config::Limits;

/// What an attempt came to for one recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The mailbox or the next hop took it.
    Delivered,
    /// It may go well later.
    Deferred,
    /// Our own store could not take it just now; no other host is asked for patience.
    Busy,
    /// It will never go well.
    Failed,
}

/// What follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Nothing.
    Done,
    /// Another attempt, later each time.
    Retry(Time),
    /// Another attempt soon, as if there had been none.
    Again(Time),
    /// It is given back: it was refused for good.
    Refused,
    /// It is given back: its lifetime in the queue is over.
    Expired,
}

/// What our own store is given to come round: at least, and at most.
const BUSY_MS: (u64, u64) = (1_000, 5_000);

/// Decides after the `attempts`-th attempt (from 1). `jitter` is random: it keeps entries that failed together from
/// coming back together.
pub fn next(verdict: Verdict, attempts: u32, received_at: Time, now: Time, limits: &Limits, jitter: u16) -> Next {
    let lifetime_ms = limits.queue_lifetime_s.saturating_mul(1_000);
    // The last attempt is made when the lifetime ends, not after it.
    let end = received_at.plus_millis(i64::try_from(lifetime_ms).unwrap_or(i64::MAX));
    match verdict {
        Verdict::Delivered => Next::Done,
        Verdict::Failed => Next::Refused,
        Verdict::Deferred | Verdict::Busy if now.millis_since(received_at) >= lifetime_ms => Next::Expired,
        Verdict::Deferred => Next::Retry(later(attempts, now, limits, jitter).min(end)),
        Verdict::Busy => Next::Again(between(BUSY_MS, now, jitter).min(end)),
    }
}

/// When an attempt follows the `attempts`-th one, whatever the lifetime: the delay doubles up to the longest.
pub fn later(attempts: u32, now: Time, limits: &Limits, jitter: u16) -> Time {
    let doublings = attempts.saturating_sub(1).min(32);
    let delay_s = limits.retry_first_s.saturating_mul(1 << doublings).min(limits.retry_max_s);
    between((delay_s.saturating_mul(800), delay_s.saturating_mul(1_200)), now, jitter)
}

fn between((least_ms, most_ms): (u64, u64), now: Time, jitter: u16) -> Time {
    let delay_ms = least_ms.saturating_add((most_ms - least_ms).saturating_mul(jitter.into()) / u64::from(u16::MAX));
    now.plus_millis(i64::try_from(delay_ms).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_longest_with_jitter() {
        let limits = Limits::default();
        let delay_s = |attempts, jitter| match next(Verdict::Deferred, attempts, Time(0), Time(0), &limits, jitter) {
            Next::Retry(at) => at.seconds(),
            other => panic!("{other:?}"),
        };
        assert_eq!([delay_s(1, 0), delay_s(1, u16::MAX)], [48, 72]);
        assert_eq!([delay_s(2, 0), delay_s(4, 0), delay_s(20, 0), delay_s(u32::MAX, 0)], [96, 384, 11_520, 11_520]);
    }

    #[test]
    fn our_own_store_is_asked_again_within_seconds_however_often_it_was() {
        let limits = Limits::default();
        let again = |attempts, jitter| next(Verdict::Busy, attempts, Time(0), Time(0), &limits, jitter);
        assert_eq!(again(1, 0), Next::Again(Time::from_seconds(1)));
        assert_eq!(again(20, u16::MAX), Next::Again(Time::from_seconds(5)));
        assert_eq!(next(Verdict::Busy, 1, Time(0), Time::from_seconds(432_000), &limits, 0), Next::Expired);
    }

    #[test]
    fn the_last_attempt_is_at_the_end_of_the_lifetime_and_then_it_expires() {
        let limits = Limits::default();
        let end = Time::from_seconds(432_000);
        let late = Time::from_seconds(431_990);
        assert_eq!(next(Verdict::Deferred, 9, Time(0), late, &limits, 0), Next::Retry(end));
        assert_eq!(next(Verdict::Deferred, 10, Time(0), end, &limits, 0), Next::Expired);
        assert_eq!(next(Verdict::Delivered, 10, Time(0), end, &limits, 0), Next::Done);
        assert_eq!(next(Verdict::Failed, 1, Time(0), Time(0), &limits, 0), Next::Refused);
    }
}
