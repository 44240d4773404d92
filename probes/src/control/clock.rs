//! What others say of this watcher's clock. Pure: `now` is an argument.

use std::collections::BTreeMap;
use std::time::Duration;

use aggregator::event::Time;

use super::Fault;
use crate::exchange::MAX_CLOCK_OFFSET;

/// What another watcher said of the time counts for so long.
const HEARD_FOR: Duration = Duration::from_secs(60);
/// What time servers said counts for so long.
const ASKED_FOR: Duration = Duration::from_secs(300);

/// The clocks that this one is compared with: each the other's time minus this one's, and when that was.
#[derive(Debug, Default)]
pub struct Clocks {
    peers: BTreeMap<String, (i64, Time)>,
    servers: Option<(i64, Time)>,
}

impl Clocks {
    /// What another watcher's clock said.
    pub fn heard(&mut self, peer: &str, offset_ms: i64, now: Time) {
        self.peers.insert(peer.to_owned(), (offset_ms, now));
    }

    /// What the time servers said; when none did, what they said before stands until it is too old.
    pub fn asked(&mut self, mut offsets_ms: Vec<i64>, now: Time) {
        offsets_ms.sort_unstable();
        // The median: one server that is wrong among three decides nothing.
        if let Some(median) = offsets_ms.get(offsets_ms.len() / 2) {
            self.servers = Some((*median, now));
        }
    }

    /// Whether this clock is wrong. Time servers decide; without a word of them, more than half of the `peers` other
    /// watchers do.
    pub fn fault(&self, peers: usize, now: Time) -> Option<Fault> {
        let limit = MAX_CLOCK_OFFSET.as_millis() as u64;
        let wrong = |offset_ms: i64| offset_ms.unsigned_abs() > limit;
        let recent = |at: Time, within: Duration| now.0.abs_diff(at.0) < within.as_micros() as u64;
        if let Some((offset_ms, at)) = self.servers
            && recent(at, ASKED_FOR)
        {
            return wrong(offset_ms).then_some(Fault::Clock { offset_ms, by: "the time servers" });
        }
        let heard = self.peers.values().filter(|(_, at)| recent(*at, HEARD_FOR)).map(|(offset_ms, _)| *offset_ms);
        let mut off: Vec<i64> = heard.filter(|offset_ms| wrong(*offset_ms)).collect();
        off.sort_unstable_by_key(|offset_ms| offset_ms.unsigned_abs());
        // Those who disagree must agree with each other: the nearest and the farthest of them.
        let agree = off.first().zip(off.last()).is_some_and(|(near, far)| near.abs_diff(*far) <= limit);
        let offset_ms = *off.first()?;
        (off.len() > peers / 2 && agree).then_some(Fault::Clock { offset_ms, by: "the other watchers" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Time = Time(1_800_000_000_000_000);

    fn heard(offsets: &[i64]) -> Clocks {
        let mut clocks = Clocks::default();
        offsets.iter().enumerate().for_each(|(peer, offset)| clocks.heard(&peer.to_string(), *offset, NOW));
        clocks
    }

    fn check(clocks: &Clocks, peers: usize, expected: Option<i64>) {
        let offset = clocks.fault(peers, NOW).map(|fault| match fault {
            Fault::Clock { offset_ms, .. } => offset_ms,
            other => panic!("{other:?}"),
        });
        assert_eq!(offset, expected, "{clocks:?}");
    }

    #[test]
    fn more_than_half_of_the_others_must_say_so_and_agree() {
        check(&heard(&[]), 2, None);
        check(&heard(&[9_000, 9_500]), 2, None);
        check(&heard(&[20_000, 0]), 2, None);
        check(&heard(&[20_000, 20_400]), 2, Some(20_000));
        check(&heard(&[-20_000, 20_000]), 2, None);
        check(&heard(&[-3_600_000]), 1, Some(-3_600_000));
        check(&heard(&[20_000, 20_000, 0, 0]), 4, None);
    }

    #[test]
    fn what_was_heard_long_ago_says_nothing() {
        let clocks = heard(&[20_000, 20_000]);
        assert_eq!(clocks.fault(2, NOW.plus_millis(60_001)), None);
        assert!(clocks.fault(2, NOW.plus_millis(59_000)).is_some());
    }

    #[test]
    fn time_servers_decide_when_there_are_some() {
        let mut clocks = heard(&[20_000, 20_000]);
        clocks.asked(vec![3, -2, 90_000], NOW);
        check(&clocks, 2, None);
        clocks.asked(vec![], NOW);
        check(&clocks, 2, None);
        clocks.asked(vec![-60_000], NOW);
        check(&clocks, 2, Some(-60_000));
        assert!(clocks.fault(2, NOW.plus_millis(300_001)).is_none(), "neither is fresh");
    }
}
