//! Orders that are refused, each for its named reason.

use probes::keys::SigningKey;

use super::*;

struct World {
    keys: BTreeMap<&'static str, SigningKey>,
    rules: Rules,
    now: Time,
}

impl World {
    fn new() -> Self {
        let keys: BTreeMap<_, _> =
            ["a", "b", "c", "stranger"].into_iter().map(|name| (name, SigningKey::generate().unwrap().0)).collect();
        let watchers = ["a", "b", "c"].into_iter().map(|name| (name.to_owned(), keys[name].public())).collect();
        let rules = Rules {
            host: "localhost".to_owned(),
            allow: BTreeSet::from(["mail-imap".to_owned()]),
            watchers,
            quorum: 2,
            budget: Budget { per_unit_hour: 2, per_host_day: 4 },
        };
        Self { keys, rules, now: Time::from_seconds(1_000_000) }
    }

    fn approval(&self, by: &str, unit: &str, evidence: &str) -> Signed {
        let approval = Approval {
            incident: "abc-2".to_owned(),
            target: "varde".to_owned(),
            service: "imap".to_owned(),
            unit: unit.to_owned(),
            evidence_hash: evidence.to_owned(),
        };
        Signed::seal(Purpose::Approval, by, &self.keys[by], self.now, &approval).unwrap()
    }

    fn order(&self) -> Order {
        Order {
            verb: Verb::Restart,
            unit: "mail-imap".to_owned(),
            host: "localhost".to_owned(),
            incident: "abc-2".to_owned(),
            evidence_hash: "e1".to_owned(),
            nonce: "n1".to_owned(),
            issued_at: self.now,
            expires_at: self.now.plus_millis(30_000),
            fence: 2,
            approvals: vec![self.approval("a", "mail-imap", "e1"), self.approval("b", "mail-imap", "e1")],
        }
    }

    fn sign(&self, by: &str, order: &Order) -> Signed {
        Signed::seal(Purpose::Order, by, &self.keys[by], self.now, order).unwrap()
    }

    fn verdict(&self, order: &Order, memory: &Memory) -> &'static str {
        self.rules.verify(&self.sign("a", order), memory, self.now).map_or_else(|refused| refused.name(), |_| "obeyed")
    }
}

#[test]
fn a_good_order_is_obeyed() {
    let world = World::new();
    let order = world.order();
    assert_eq!(world.rules.verify(&world.sign("a", &order), &Memory::default(), world.now), Ok(order));
}

#[test]
fn each_wrong_thing_is_refused_by_its_name() {
    let world = World::new();
    let none = Memory::default();
    let check = |order: Order, expected: &str| assert_eq!(world.verdict(&order, &none), expected);
    let good = || world.order();
    check(Order { host: "elsewhere".to_owned(), ..good() }, "other_host");
    check(Order { expires_at: world.now, ..good() }, "expired");
    check(Order { expires_at: world.now.plus_millis(60_001), ..good() }, "expired");
    check(Order { unit: "clickhouse".to_owned(), ..good() }, "not_allowed");

    let one = || world.approval("a", "mail-imap", "e1");
    let approvals = |second: Signed| Order { approvals: vec![one(), second], ..good() };
    check(approvals(one()), "no_quorum");
    check(approvals(world.approval("stranger", "mail-imap", "e1")), "no_quorum");
    check(approvals(world.approval("b", "mail-mx", "e1")), "no_quorum");
    check(approvals(world.approval("b", "mail-imap", "e2")), "no_quorum");
    check(approvals(Signed { from: "c".to_owned(), ..world.approval("b", "mail-imap", "e1") }), "no_quorum");
    check(Order { incident: "abc-3".to_owned(), ..good() }, "no_quorum");
    check(Order { fence: 3, ..good() }, "wrong_fence");

    let unsigned = world.rules.verify(&world.sign("stranger", &good()), &none, world.now);
    assert_eq!(unsigned.unwrap_err().name(), "not_valid");
    let late = world.rules.verify(&world.sign("a", &good()), &none, world.now.plus_millis(61_000));
    assert_eq!(late.unwrap_err().name(), "not_valid");
}

#[test]
fn what_was_done_is_not_done_again() {
    let world = World::new();
    let order = world.order();
    let fence = |memory: &mut Memory, done| memory.fences.insert(("abc".to_owned(), "mail-imap".to_owned()), done);
    let replayed = Memory { nonces: BTreeSet::from(["n1".to_owned()]), ..Memory::default() };
    assert_eq!(world.verdict(&order, &replayed), "replayed");
    let mut done = Memory::default();
    fence(&mut done, 2);
    assert_eq!(world.verdict(&order, &done), "stale_fence");
    fence(&mut done, 1);
    assert_eq!(world.verdict(&order, &done), "obeyed");
    done.restarts = vec![Restart { unit: "mail-imap".to_owned(), at: world.now.plus_millis(-1_000) }];
    assert_eq!(world.verdict(&order, &done), "pause");
}
