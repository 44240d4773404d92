//! The roster: changes, refusals, and that the order in which epochs are heard of does not matter.

use super::*;

const NOW: Time = Time(1_800_000_000_000_000);

struct Site {
    keys: BTreeMap<String, PublicKey>,
    secret: BTreeMap<String, SigningKey>,
}

fn site() -> Site {
    let secret: BTreeMap<String, SigningKey> =
        ["a", "b", "c", "d"].map(|name| (name.to_owned(), SigningKey::generate().unwrap().0)).into();
    Site { keys: secret.iter().map(|(name, key)| (name.clone(), key.public())).collect(), secret }
}

fn names(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

impl Site {
    fn epoch(&self, generation: u64, from: Time, watchers: &str, by: &str) -> Epoch {
        Epoch::sign(generation, from, names(watchers), by, &self.secret[by])
    }

    fn roster(&self) -> Roster {
        Roster::kept(vec![self.epoch(0, NOW.plus_millis(-1_000), "a b c", "a")])
    }

    fn change(&self, roster: &Roster, change: &Change, now: Time) -> Result<Epoch, NotChanged> {
        roster.change(change, |name| self.keys.contains_key(name), ("b", &self.secret["b"]), now)
    }
}

#[test]
fn a_watcher_joins_and_leaves_at_an_instant_that_all_know_beforehand() {
    let site = site();
    let mut roster = site.roster();
    let joined = site.change(&roster, &Change::Join("d".to_owned()), NOW).unwrap();
    assert_eq!((joined.generation, joined.from), (1, NOW.plus_millis(30_000)));
    assert_eq!(roster.take(joined.clone(), &site.keys, NOW), Ok(true));
    assert_eq!(roster.take(joined.clone(), &site.keys, NOW), Ok(false));
    assert_eq!(roster.in_force(NOW), (0, &names("a b c")[..]));
    assert_eq!(roster.in_force(joined.from), (1, &names("a b c d")[..]));
    let drain = Change::Drain("a".to_owned());
    assert_eq!(site.change(&roster, &drain, NOW), Err(NotChanged::Pending(joined.from)));
    let drained = site.change(&roster, &drain, joined.from).unwrap();
    roster.take(drained, &site.keys, NOW).unwrap();
    let terms: Vec<_> = roster.terms().into_iter().map(|(from, who)| (from.millis_since(NOW), who.join(" "))).collect();
    assert_eq!(terms, [(0, "a b c".to_owned()), (30_000, "a b c d".to_owned()), (60_000, "b c d".to_owned())]);
}

#[test]
fn what_cannot_be_is_refused_by_name() {
    let site = site();
    let said = |roster: &Roster, change: Change| site.change(roster, &change, NOW).unwrap_err().to_string();
    let (roster, alone) = (site.roster(), Roster::kept(vec![site.epoch(0, NOW, "a", "a")]));
    let join = |name: &str| Change::Join(name.to_owned());
    let drain = |name: &str| Change::Drain(name.to_owned());
    assert_eq!(said(&roster, join("a")), "\"a\" votes already");
    assert_eq!(said(&roster, drain("d")), "\"d\" does not vote already");
    let unknown = "\"x\" is no watcher of this configuration; add it to [[watch.watcher]] and reload";
    assert_eq!(said(&roster, join("x")), unknown);
    assert_eq!(said(&roster, drain("x")), unknown);
    assert_eq!(said(&alone, drain("a")), "\"a\" is the last watcher that votes; let another join first");
}

#[test]
fn an_epoch_that_is_forged_or_makes_no_sense_is_not_taken() {
    let site = site();
    let mut roster = site.roster();
    let before = roster.clone();
    let good = site.epoch(1, NOW, "a b", "a");
    let cases = [
        (Epoch { by: "x".to_owned(), ..good.clone() }, "epoch 1 was signed by \"x\", who is no watcher here"),
        (Epoch { by: "b".to_owned(), ..good.clone() }, "the signature of \"b\" over epoch 1 does not fit"),
        (Epoch { watchers: names("a"), ..good.clone() }, "the signature of \"a\" over epoch 1 does not fit"),
        (Epoch { from: NOW.plus_millis(1), ..good.clone() }, "the signature of \"a\" over epoch 1 does not fit"),
        (Epoch { watchers: Vec::new(), ..good.clone() }, "epoch 1 names no watcher"),
        (Epoch { watchers: names("b a"), ..good.clone() }, "epoch 1 does not name its watchers in order"),
        (site.epoch(1, NOW.plus_millis(86_400_001), "a b", "a"), "epoch 1 begins more than a day from now"),
    ];
    for (epoch, expected) in cases {
        let said = roster.take(epoch, &site.keys, NOW).unwrap_err().to_string();
        assert!(said.starts_with(expected), "{said}");
    }
    assert_eq!(roster, before);
    assert_eq!(roster.take(good, &site.keys, NOW), Ok(true));
}

#[test]
fn watchers_that_hear_the_same_epochs_in_any_order_hold_the_same_roster() {
    let site = site();
    let at = |ms| NOW.plus_millis(ms);
    // Two sign generation 1 at once, and a newcomer believes that its own configuration was the first.
    let heard = [
        site.epoch(0, at(5_000), "a b c d", "d"),
        site.epoch(1, at(30_000), "a b", "a"),
        site.epoch(1, at(29_000), "b c", "b"),
        site.epoch(2, at(20_000), "b c d", "c"),
    ];
    let mut rosters = Vec::new();
    for first in 0..heard.len() {
        for step in [1, 3] {
            let mut roster = site.roster();
            for n in 0..heard.len() {
                roster.take(heard[(first + n * step) % heard.len()].clone(), &site.keys, NOW).unwrap();
            }
            rosters.push(roster);
        }
    }
    assert!(rosters.windows(2).all(|two| two[0] == two[1]));
    let terms: Vec<_> = rosters[0].terms().into_iter().map(|(_, who)| who.join(" ")).collect();
    assert_eq!(terms, ["a b c", "b c", "b c d"]);
    assert_eq!(rosters[0].terms()[2].0, at(29_000), "an epoch begins no earlier than the one before it");
    assert_eq!(rosters[0].in_force(at(28_999)).0, 0);
    assert_eq!(rosters[0].in_force(at(29_000)).0, 2);
}

#[test]
fn one_key_alone_rewrites_nothing_that_is_settled_lets_no_stranger_vote_and_uses_up_no_numbers() {
    let site = site();
    let mut roster = Roster::kept(vec![site.epoch(0, NOW.plus_millis(-8 * 86_400_000), "a b x", "a")]);
    let before = roster.clone();
    let cases = [
        (site.epoch(0, Time(0), "c", "c"), "epoch 0 would take the place of one that began more than a week ago"),
        (site.epoch(1, NOW, "a b y", "c"), "epoch 1 names a voter who is no watcher here"),
        (site.epoch(u64::MAX, NOW, "a b", "c"), "epoch 18446744073709551615 is numbered too far ahead"),
    ];
    for (epoch, expected) in cases {
        let said = roster.take(epoch, &site.keys, NOW).unwrap_err().to_string();
        assert!(said.starts_with(expected), "{said}");
    }
    assert_eq!(roster, before);
    let after_a_gap = site.epoch(70, NOW, "a b d x", "a");
    assert_eq!(roster.take(after_a_gap, &site.keys, NOW), Ok(true), "\"x\" voted before");
    let full = Roster::kept(vec![site.epoch(u64::MAX, NOW, "a b", "a")]);
    let said = site.change(&full, &Change::Join("d".to_owned()), NOW.plus_millis(1));
    assert_eq!(said, Err(NotChanged::Exhausted(u64::MAX)));
}
