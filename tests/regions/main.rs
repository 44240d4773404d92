//! Three watchers in three regions that can really be cut off: what they conclude, and whom they wake.
//!
//! The regions, the mail system and the rest of the world are network namespaces, joined by a switch with delay, jitter
//! and loss. Everything in them is the real binary. Needs root.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on should say where")]

#[path = "../support.rs"]
mod support;
mod world;

use aggregator::event::Time;
use support::eventually;
use world::{MAIL, PATIENCE, Pace, REGIONS, SERVICES, World};

/// As it is shipped.
const SHIPPED: Pace = Pace { interval_s: 60, grace_s: 30 };
/// The same in a third of the time, where it is not the time that is looked at.
const BRISK: Pace = Pace { interval_s: 20, grace_s: 10 };
/// A target that nobody reaches is down within this time.
const PROMISE_US: i64 = 60_000_000;

fn never_down(world: &World) {
    for region in REGIONS {
        let down: Vec<_> = world.verdicts(region).into_iter().filter(|verdict| verdict.state == "down").collect();
        assert!(down.is_empty(), "{region} took a cut region for an outage: {down:?}");
    }
}

#[test]
fn a_region_that_is_cut_off_makes_no_outage_and_knows_that_the_fault_is_its_own() {
    let mut world = World::start(BRISK);

    // Only the path from Oslo to the mail system is lost: its own network is well, so it says that it failed.
    world.block("no-oslo");
    for region in REGIONS {
        world.all_services(region, "regional");
    }
    for service in SERVICES {
        assert_eq!(world.seen("us-east", service, "no-oslo")["outcome"], "failed", "{service}");
        assert_eq!(world.seen("us-east", service, "us-east")["outcome"], "ok", "{service}");
    }
    world.unblock("no-oslo");
    for region in REGIONS {
        world.all_services(region, "up");
    }

    // Sydney is cut off from everybody: it accuses nobody, and soon it does not know.
    let cut = Time::now().0;
    world.cut("au-sydney");
    for service in SERVICES {
        eventually(&format!("Sydney to see its own fault in {service}"), PATIENCE, || {
            (world.seen("au-sydney", service, "au-sydney")["outcome"] == "vantage_fault").then_some(())
        });
    }
    world.all_services("au-sydney", "unknown");
    for region in ["us-east", "no-oslo"] {
        for service in SERVICES {
            assert_eq!(world.service(region, service).unwrap()["state"], "up", "{service} at {region}");
        }
        eventually("Sydney's votes to expire", PATIENCE, || {
            (world.seen(region, "imap", "au-sydney")["fresh"] == false).then_some(())
        });
    }

    // What it saw meanwhile is told when the way is there again; it was no failure of the target.
    let healed = Time::now().0;
    world.heal("au-sydney");
    for region in REGIONS {
        world.all_services(region, "up");
        eventually(&format!("what Sydney saw to be told to {region}"), PATIENCE, || {
            let told = world.outcomes(region, "au-sydney", cut);
            // Also what was under way when the way came back, and found its own network well again at its end.
            let meanwhile: Vec<_> = told.iter().filter(|seen| seen.1 < healed).collect();
            assert!(meanwhile.iter().all(|seen| seen.2 != "failed"), "{meanwhile:?}");
            meanwhile.iter().any(|seen| seen.2 == "vantage_fault").then_some(())
        });
    }
    never_down(&world);
    let opened: Vec<_> =
        world.pages().into_iter().filter(|page| page["payload"]["type"] == "incident.opened").collect();
    assert!(opened.is_empty(), "nobody is to be woken: {opened:#?}");
}

#[test]
fn a_target_that_is_cut_off_from_all_is_down_within_a_minute() {
    let mut world = World::start(SHIPPED);
    staggered(&world);

    let cut = Time::now().0;
    world.cut(MAIL);
    for region in REGIONS {
        world.all_services(region, "down");
    }
    for region in REGIONS {
        let verdicts = world.verdicts(region);
        for service in SERVICES {
            let down = verdicts.iter().find(|verdict| verdict.service == service && verdict.state == "down").unwrap();
            let after = down.at - cut;
            println!("{region}: {service} down {:.1} s after the cut", after as f64 / 1e6);
            assert!((0..=PROMISE_US).contains(&after), "{region}: {service} {after} us after the cut: {verdicts:?}");
            // A run that had begun when the cut came may be the first to fail.
            assert!(down.since > cut - 5_000_000 && down.since <= down.at, "{down:?}, cut at {cut}");
            assert!(down.voters.len() >= 2, "{down:?}");
        }
    }
    eventually("the pages about the outage", PATIENCE, || {
        let pages = world.pages();
        let opened = |engineer: &str| {
            pages.iter().any(|page| page["engineer"] == engineer && page["payload"]["type"] == "incident.opened")
        };
        (opened("ada") && opened("bjarne")).then_some(())
    });

    let healed = Time::now().0;
    world.heal(MAIL);
    for region in REGIONS {
        world.all_services(region, "up");
        let verdicts = world.verdicts(region);
        let up = verdicts.iter().rfind(|verdict| verdict.service == "imap" && verdict.state == "up").unwrap();
        assert!(up.at > healed, "{up:?}, healed at {healed}");
    }
}

/// In every minute three watchers look, 20 s apart.
fn staggered(world: &World) {
    let latest = |region: &str| world.last_slot_run(region, "imap");
    let begun = REGIONS.map(latest);
    let later = REGIONS.map(|region| {
        eventually(&format!("the next turn of {region}"), PATIENCE, || {
            let place = REGIONS.iter().position(|other| *other == region).unwrap();
            Some(latest(region)).filter(|at| *at > begun[place])
        })
    });
    let minute = 60_000_000;
    for (place, at) in later.iter().enumerate() {
        let apart = (at - later[0] - place as i64 * minute / 3).rem_euclid(minute);
        let off = apart.min(minute - apart);
        assert!(off < 5_000_000, "{} begins {off} us off its turn: {later:?}", REGIONS[place]);
    }
}

#[test]
fn a_killed_watcher_still_counts_among_those_that_must_agree() {
    let mut world = World::start(BRISK);
    world.kill("au-sydney");
    for region in ["us-east", "no-oslo"] {
        eventually("its votes to expire", PATIENCE, || {
            (world.seen(region, "imap", "au-sydney")["fresh"] == false).then_some(())
        });
        world.all_services(region, "up");
    }
    // One of the two that are left is not a majority of three.
    world.block("no-oslo");
    world.all_services("us-east", "unknown");
    never_down(&world);
    world.unblock("no-oslo");
    world.all_services("us-east", "up");
    // Both are.
    world.cut(MAIL);
    for region in ["us-east", "no-oslo"] {
        world.all_services(region, "down");
        let verdicts = world.verdicts(region);
        for verdict in verdicts.iter().filter(|verdict| verdict.state == "down") {
            assert_eq!(verdict.voters, ["us-east", "no-oslo"], "{verdict:?}");
        }
    }
}

#[test]
fn the_last_watcher_does_not_know_and_pages_what_it_cannot_have_confirmed() {
    let mut world = World::start(BRISK);
    world.kill("no-oslo");
    world.kill("au-sydney");
    world.all_services("us-east", "unknown");
    // A run that is under way at the cut began before it, and may be the first to fail.
    let alone = Time::now().plus_millis(-10_000).0;
    world.cut(MAIL);
    let page = eventually("the page that nobody has confirmed", PATIENCE, || {
        let pages = world.pages();
        let scoped = |page: &&serde_json::Value| page["payload"]["data"]["scope"] == "unconfirmed";
        pages.iter().find(|page| scoped(page) && page["engineer"] == "ada").cloned()
    });
    let text = page["payload"]["data"]["headline"].as_str().unwrap();
    assert!(text.ends_with("unconfirmed: no other watcher can be reached"), "{page:#}");
    let first = world.outcomes("us-east", "us-east", alone).into_iter().find(|seen| seen.2 == "failed").unwrap();
    let paged: Time = page["at"].as_str().unwrap().parse().unwrap();
    let waited = paged.0 - first.1;
    println!("paged {:.1} s after the first failure", waited as f64 / 1e6);
    assert!(waited >= 60_000_000, "paged {waited} us after the first failure: a minute must pass");
    never_down(&world);
}

#[test]
fn a_watcher_whose_clock_is_wrong_says_so_and_nobody_counts_what_it_sees() {
    let mut world = World::start(BRISK);
    world.kill("au-sydney");
    world.start_ahead("au-sydney", 600);
    let fault = eventually("Sydney to know that its clock is wrong", PATIENCE, || {
        let fault = world.status("au-sydney")?["fault"].as_str()?.to_owned();
        fault.contains("clock").then_some(fault)
    });
    assert!(
        fault.contains(" ms ahead, say the other watchers") && fault.starts_with("this watcher's clock is "),
        "{fault}"
    );
    let offset: i64 = fault.split(' ').find_map(|word| word.parse().ok()).unwrap();
    assert!((595_000..605_000).contains(&offset), "{fault}");
    for service in SERVICES {
        eventually(&format!("Sydney to see its own fault in {service}"), PATIENCE, || {
            (world.seen("au-sydney", service, "au-sydney")["outcome"] == "vantage_fault").then_some(())
        });
    }
    world.all_services("au-sydney", "unknown");
    let log = world.log("us-east");
    let (_, refused) = log.split_once("refused: the clocks of \"au-sydney\" and this watcher are ").unwrap();
    let offset: i64 = refused.split(' ').next().unwrap().parse().unwrap();
    assert!((595_000..605_000).contains(&offset), "{offset} ms");
    for region in ["us-east", "no-oslo"] {
        eventually("Sydney's votes to expire", PATIENCE, || {
            (world.seen(region, "imap", "au-sydney")["fresh"] == false).then_some(())
        });
        world.all_services(region, "up");
        let now = Time::now().0;
        let ahead: Vec<_> =
            world.outcomes(region, "au-sydney", now).into_iter().filter(|seen| seen.1 > now + 60_000_000).collect();
        assert!(ahead.is_empty(), "{region} took {ahead:?}");
    }
    assert!(world.status("us-east").unwrap()["fault"].is_null(), "one of two that disagree decides nothing");

    // Set right, it counts again, although its own history has what is dated minutes ahead.
    world.kill("au-sydney");
    world.start_again("au-sydney");
    for region in REGIONS {
        eventually("Sydney's votes", PATIENCE, || {
            let seen = world.seen(region, "imap", "au-sydney");
            (seen["fresh"] == true && seen["outcome"] == "ok").then_some(())
        });
    }
    world.all_services("au-sydney", "up");
    never_down(&world);
}

#[test]
fn a_watcher_is_drained_and_joins_again_while_all_of_them_run() {
    let world = World::start(BRISK);
    assert_eq!(world.knock("no-oslo", "us-east"), 403, "what is for watchers needs a certificate");
    let said = world.ask("us-east", &["watch", "--name", "au-sydney", "--drain"]);
    assert!(said.contains("(epoch 1) these vote: no-oslo, us-east."), "{said}");
    voters(&world, 1, 2);
    for region in REGIONS {
        world.all_services(region, "up");
    }
    // Two of two must agree now: one that fails leaves the others without a verdict. With three it was regional.
    world.block("no-oslo");
    for region in REGIONS {
        world.all_services(region, "unknown");
    }
    world.unblock("no-oslo");
    for region in REGIONS {
        world.all_services(region, "up");
    }

    // A configuration that is at fault is refused; one that is not is taken, without anybody having to wait.
    world.reload("au-sydney", "title = \"Sydney\"", "title = 1");
    eventually("the faulty configuration to be refused", PATIENCE, || {
        let log = world.log("au-sydney");
        (log.contains("watch.watcher[2].title") && log.contains("goes on with the configuration that it has"))
            .then_some(())
    });
    assert!(world.status("au-sydney").is_some(), "it goes on with what it has");
    world.reload("au-sydney", "title = 1", "title = \"Sydney Harbour\"");
    world.reload("au-sydney", "title = \"IMAP\"", "title = \"Mailboxes\"");
    eventually("the new title", PATIENCE, || {
        (world.service("au-sydney", "imap")?["title"] == "Mailboxes").then_some(())
    });

    let said = world.ask("au-sydney", &["watch", "--name", "au-sydney", "--join"]);
    assert!(said.contains("(epoch 2) these vote: au-sydney, no-oslo, us-east."), "{said}");
    voters(&world, 2, 3);
    world.block("no-oslo");
    for region in REGIONS {
        world.all_services(region, "regional");
    }
    never_down(&world);
}

/// Waits until all watchers are in an epoch in which so many vote.
fn voters(world: &World, epoch: u64, count: usize) {
    for region in REGIONS {
        eventually(&format!("epoch {epoch} at {region}"), PATIENCE, || {
            let status = world.status(region)?;
            let here = status["generation"] == epoch && status["voters"].as_array()?.len() == count;
            here.then_some(())
        });
    }
}
