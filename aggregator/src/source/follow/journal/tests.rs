//! A journal that systemd's own programs write and read: `systemd-journal-remote` and `journalctl`. Neither needs systemd
//! to run.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::event::Time;
use crate::ship::Shipping;
use crate::source::LogConfig;
use crate::source::follow::Follower;
use crate::source::tests::rows;

const REMOTE: &str = "/lib/systemd/systemd-journal-remote";

struct World {
    dir: TempDir,
    shipped: Vec<(u128, String)>,
}

impl World {
    fn new() -> Self {
        let world = Self { dir: TempDir::new().unwrap(), shipped: Vec::new() };
        std::fs::create_dir(world.journal()).unwrap();
        world
    }

    fn journal(&self) -> PathBuf {
        self.dir.path().join("journal")
    }

    /// Appends entries of Postfix with these numbers, and one of another unit after each.
    fn write(&self, numbers: std::ops::Range<u64>) {
        let entry = |number: u64, unit: &str, text: &str| {
            let at = 1_795_342_608_000_000 + number * 1_000_000;
            format!(
                "__REALTIME_TIMESTAMP={at}\n__MONOTONIC_TIMESTAMP={at}\n_BOOT_ID=0123456789abcdef0123456789abcdef\n\
                 _HOSTNAME=mx\n_SYSTEMD_UNIT={unit}\nSYSLOG_IDENTIFIER=postfix/qmgr\nSYSLOG_PID=812\n_PID=812\nMESSAGE={text}\n\n"
            )
        };
        let text: String = numbers
            .map(|n| entry(n, "postfix@-.service", &format!("4F{n:08X}: removed")) + &entry(n, "cron.service", "tick"))
            .collect();
        remote(&self.journal().join("mx.journal"), text.as_bytes());
    }

    fn follower(&self) -> Follower {
        let shipping = Shipping {
            dir: self.dir.path().join("spool"),
            shipper: "logs".into(),
            tenant: "default".into(),
            node: "mx1".into(),
            intake: "http://127.0.0.1:1".into(),
            key: String::new(),
            max_bytes: u64::MAX,
            mask: crate::mask::Mask::default(),
        };
        let config = LogConfig {
            journald: true,
            unit: vec!["postfix*".into()],
            directory: Some(self.journal()),
            dialect: "postfix".into(),
            ..LogConfig::default()
        };
        Follower::open(&[config], &shipping, "import", Time::now()).unwrap().unwrap()
    }

    /// Looks until `count` lines were read and sealed since the last time.
    fn read(&mut self, follower: &mut Follower, count: usize) {
        let (begun, before) = (Instant::now(), self.shipped.len());
        while self.shipped.len() < before + count {
            assert!(begun.elapsed() < Duration::from_secs(60), "{} of {count}", self.shipped.len() - before);
            follower.look(Time::now()).unwrap();
            follower.seal(Time::now()).unwrap();
            let shelf = follower.shelf();
            while let Some(sequence) = shelf.oldest() {
                let segment = shelf.open(sequence).unwrap();
                for index in 0..segment.header.blocks.len() {
                    self.shipped.extend(rows(&segment, index));
                }
                shelf.remove(sequence).unwrap();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn remote(journal: &Path, export: &[u8]) {
    let mut child = Command::new(REMOTE)
        .arg("-o")
        .arg(journal)
        .arg("-")
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("these tests need Debian's systemd-journal-remote");
    child.stdin.take().unwrap().write_all(export).unwrap();
    assert!(child.wait().unwrap().success());
}

#[test]
fn every_entry_of_the_units_is_read_once_whoever_dies_when() {
    let mut world = World::new();
    world.write(0..20);
    let mut follower = world.follower();
    world.read(&mut follower, 20);
    // It grows while it is followed.
    world.write(20..30);
    world.read(&mut follower, 10);
    // Entries that were read and not sealed are read again by the next life.
    world.write(30..40);
    let begun = Instant::now();
    while follower.desk.events.is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(60));
        follower.look(Time::now()).unwrap();
        std::thread::sleep(Duration::from_millis(20));
    }
    drop(follower);
    let mut follower = world.follower();
    world.read(&mut follower, 10);
    // journalctl dies: it is started again where it was.
    let tail = follower.journals[0].tail.as_mut().unwrap();
    tail.child.kill().unwrap();
    world.write(40..45);
    world.read(&mut follower, 5);

    let lines: Vec<String> = world.shipped.iter().map(|(_, line)| line.clone()).collect();
    let expected: Vec<String> = (0..45)
        .map(|n: i64| {
            let at = Time(1_795_342_608_000_000 + n * 1_000_000);
            format!("{at} mx postfix/qmgr[812]: 4F{n:08X}: removed")
        })
        .collect();
    assert_eq!(lines, expected);
    let mut ids: Vec<u128> = world.shipped.iter().map(|(id, _)| *id).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 45, "identities are unique");
}

#[test]
fn what_journalctl_prints_in_both_formats_is_the_same_to_a_dialect() {
    let world = World::new();
    world.write(7..8);
    let print = |format: &str| {
        let output = Command::new("journalctl")
            .args(["--unit=postfix*", "--output", format, "--directory"])
            .arg(world.journal())
            .output()
            .unwrap();
        output.stdout
    };
    let mut lines = Vec::new();
    std::io::Read::read_to_end(&mut crate::source::journal::Text::new(&print("export")[..]), &mut lines).unwrap();
    let clock = crate::dialect::clock::Clock::new(chrono_tz::Tz::UTC, Time::now());
    let [exported, json] = [lines, print("json")].map(|line| String::from_utf8(line).unwrap().trim_end().to_owned());
    let head = crate::dialect::head::split(&exported, &clock).unwrap();
    assert_eq!(crate::dialect::head::split(&json, &clock).unwrap(), head);
    assert_eq!((&*head.program, head.pid, &*head.message), ("postfix/qmgr", Some(812), "4F00000007: removed"));
    let guessed = crate::dialect::guess([json.as_str()].into_iter()).map(|entry| entry.name);
    assert_eq!(guessed, Some("postfix"));
}
