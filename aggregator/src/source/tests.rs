//! Imports and followed logs on real files, with rotations of every kind and deaths at every point.

mod room;
mod strange;

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use chrono_tz::Tz;
use proptest::prelude::*;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::follow::{Follower, Look};
use super::import::{Done, Import, Options, State};
use super::*;
use crate::event::{RawLine, Row, Time};
use crate::ship::Shipping;
use crate::spool::{Segment, Shelf};
use crate::summary::Figures;

/// A node with its logs, its spools, and everything that was shipped.
struct World {
    logs: TempDir,
    spools: TempDir,
    shipped: BTreeMap<String, Vec<(u128, String)>>,
    next: u32,
}

/// A line of Exim's log, unlike every other.
fn text(number: u32) -> String {
    let (minute, second) = (number / 60 % 60, number % 60);
    format!("2026-11-22 10:{minute:02}:{second:02} 1rfX{number:02x}-0001Ab-2C Completed {number}")
}

impl World {
    fn new() -> Self {
        Self { logs: TempDir::new().unwrap(), spools: TempDir::new().unwrap(), shipped: BTreeMap::new(), next: 0 }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.logs.path().join(name)
    }

    fn shipping(&self, shipper: &str) -> Shipping {
        Shipping {
            dir: self.spools.path().to_owned(),
            shipper: shipper.into(),
            tenant: "default".into(),
            node: "mx1".into(),
            intake: "http://127.0.0.1:1".into(),
            key: String::new(),
            max_bytes: u64::MAX,
            mask: crate::mask::Mask::default(),
        }
    }

    /// The next lines, as a log has them.
    fn lines(&mut self, count: u32) -> String {
        self.next += count;
        (self.next - count..self.next).map(|number| text(number) + "\n").collect()
    }

    fn append(&mut self, name: &str, count: u32) {
        let lines = self.lines(count);
        self.put(name, &lines);
    }

    fn put(&self, name: &str, text: &str) {
        let mut file = OpenOptions::new().create(true).append(true).open(self.path(name)).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    fn options() -> Options {
        Options { dialect: crate::dialect::find("exim"), zone: Tz::UTC, node: None, raw: true }
    }

    fn import(&mut self, names: &[&str]) -> (Vec<Done>, Figures) {
        self.import_with(names, Self::options())
    }

    fn import_with(&mut self, names: &[&str], options: Options) -> (Vec<Done>, Figures) {
        let mut import = Import::open(&self.shipping("import"), "logs", options, Time::now()).unwrap();
        let (mut done, mut logs) = (Vec::new(), Vec::new());
        for name in names {
            match import.prepare(&self.path(name)) {
                Ok(log) => logs.push(log),
                Err(what) => done.push(what),
            }
        }
        done.extend(import.read(logs, &CancellationToken::new()).unwrap());
        let shelf = import.shelf();
        self.ship(&shelf);
        (done, import.into_summary().figures())
    }

    fn follower(&self) -> Follower {
        let log = LogConfig { path: Some(self.path("mail.log")), dialect: "exim".into(), ..LogConfig::default() };
        Follower::open(&[log], &self.shipping("logs"), "import", Time::now()).unwrap().unwrap()
    }

    /// Takes every batch off the shelf, as an intake that knows tokens does.
    fn ship(&mut self, shelf: &Shelf) {
        while let Some(sequence) = shelf.oldest() {
            let segment = shelf.open(sequence).unwrap();
            for (index, block) in segment.header.blocks.iter().enumerate() {
                let rows = rows(&segment, index);
                let before = self.shipped.entry(segment.header.token(block)).or_insert_with(|| rows.clone());
                assert_eq!(*before, rows, "a token came again with other rows");
            }
            shelf.remove(sequence).unwrap();
        }
    }

    /// Every line that was shipped, sorted.
    fn found(&self) -> Vec<String> {
        let mut found: Vec<String> = self.shipped.values().flatten().map(|(_, line)| line.clone()).collect();
        found.sort_by_key(|line| line.rsplit(' ').next().and_then(|number| number.parse::<u32>().ok()));
        found
    }

    fn assert_each_once(&self) {
        assert_eq!(self.found(), (0..self.next).map(text).collect::<Vec<_>>());
        let mut ids: Vec<u128> = self.shipped.values().flatten().map(|(id, _)| *id).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), self.next as usize, "identities are unique");
    }
}

/// Identity and text of the rows of a block of `raw_lines`.
pub(super) fn rows(segment: &Segment, index: usize) -> Vec<(u128, String)> {
    assert_eq!(segment.header.blocks[index].table, "raw_lines");
    let native = zstd::decode_all(&segment.block(index).unwrap()[..]).unwrap();
    let mut rest = &native[..];
    let varint = |rest: &mut &[u8]| {
        let (mut value, mut shift) = (0, 0);
        loop {
            let byte = rest[0];
            *rest = &rest[1..];
            value |= usize::from(byte & 0x7f) << shift;
            shift += 7;
            if byte < 0x80 {
                return value;
            }
        }
    };
    let (_, count) = (varint(&mut rest), varint(&mut rest));
    let (mut ids, mut lines) = (Vec::new(), Vec::new());
    for (name, kind) in RawLine::COLUMNS {
        for _ in 0..2 {
            let length = varint(&mut rest);
            rest = &rest[length..];
        }
        for _ in 0..count {
            let length = match *kind {
                "String" => varint(&mut rest),
                "UInt8" => 1,
                "UInt128" => 16,
                _ => 8,
            };
            let (cell, after) = rest.split_at(length);
            rest = after;
            match *name {
                "event_id" => ids.push(u128::from_le_bytes(cell.try_into().unwrap())),
                "line" => lines.push(String::from_utf8(cell.to_vec()).unwrap()),
                _ => {}
            }
        }
    }
    ids.into_iter().zip(lines).collect()
}

fn gzip(from: &Path, to: &Path) {
    let mut packed = flate2::write::GzEncoder::new(fs::File::create(to).unwrap(), flate2::Compression::fast());
    packed.write_all(&fs::read(from).unwrap()).unwrap();
    packed.finish().unwrap();
}

fn states(done: &[Done]) -> Vec<&State> {
    done.iter().map(|done| &done.state).collect()
}

fn read(lines: u64, resumed: bool) -> State {
    State::Read { dialect: "exim", lines, resumed }
}

#[test]
fn the_same_log_renamed_compressed_or_twice_on_the_command_line_is_read_once() {
    let mut world = World::new();
    world.append("mainlog", 300);
    gzip(&world.path("mainlog"), &world.path("twin.gz"));
    let packed = zstd::encode_all(&fs::read(world.path("mainlog")).unwrap()[..], 1).unwrap();
    fs::write(world.path("twin.zst"), packed).unwrap();
    std::os::unix::fs::symlink(world.path("mainlog"), world.path("link")).unwrap();

    let (done, figures) = world.import(&["mainlog", "twin.gz", "twin.zst", "link"]);
    assert_eq!(states(&done), [&read(300, false), &State::Known, &State::Known, &State::Known]);
    assert_eq!(figures.lines, 300);
    fs::rename(world.path("mainlog"), world.path("mainlog.1")).unwrap();
    assert_eq!(states(&world.import(&["twin.gz", "mainlog.1"]).0), [&State::Known, &State::Known]);
    world.assert_each_once();
}

#[test]
fn of_a_log_that_grew_only_the_new_lines_are_read_even_from_its_compressed_form() {
    let mut world = World::new();
    world.append("mainlog", 2);
    assert_eq!(states(&world.import(&["mainlog"]).0), [&read(2, false)]);
    world.append("mainlog", 200);
    assert_eq!(states(&world.import(&["mainlog"]).0), [&read(200, true)]);
    world.append("mainlog", 3);
    gzip(&world.path("mainlog"), &world.path("mainlog.gz"));
    assert_eq!(states(&world.import(&["mainlog.gz"]).0), [&read(3, true)]);
    // A part of what is known, as a copy made earlier is.
    let whole = fs::read(world.path("mainlog")).unwrap();
    fs::write(world.path("part"), &whole[..6000]).unwrap();
    assert_eq!(states(&world.import(&["part", "mainlog"]).0), [&State::Known, &State::Known]);
    world.assert_each_once();
}

#[test]
fn another_text_under_the_same_name_and_of_the_same_size_is_another_log() {
    let mut world = World::new();
    world.append("mainlog", 50);
    world.import(&["mainlog"]);
    let second = world.lines(50);
    fs::write(world.path("mainlog"), &second).unwrap();
    assert_eq!(states(&world.import(&["mainlog"]).0), [&read(50, false)]);
    world.assert_each_once();
}

#[test]
fn two_logs_that_begin_alike_and_go_on_otherwise_are_told_apart_every_time() {
    let mut world = World::new();
    let begin = world.lines(100);
    for name in ["one", "two"] {
        world.put(name, &begin);
        world.append(name, 10);
    }
    assert_eq!(states(&world.import(&["one"]).0), [&read(110, false)]);
    assert_eq!(states(&world.import(&["two"]).0), [&read(110, false)]);
    for _ in 0..2 {
        assert_eq!(states(&world.import(&["one", "two"]).0), [&State::Known, &State::Known]);
    }
    assert_eq!(world.found().len(), 220);
}

#[test]
fn a_log_in_the_wrong_dialect_is_refused_and_says_what_it_looks_like() {
    let mut world = World::new();
    world.put("log", &"Nov 22 10:00:00 mx postfix/qmgr[1]: 4F0000000A: removed\n".repeat(20));
    world.put("noise", "what\nis this\n");
    fs::write(world.path("old.xz"), b"\xfd7zXZ\0rest").unwrap();
    let failure = |done: &[Done]| match states(done)[..] {
        [State::Failed { message }] => message.clone(),
        ref other => panic!("{other:?}"),
    };
    let said = failure(&world.import(&["log"]).0);
    assert_eq!(said, "looks like postfix, not like exim; try --dialect postfix");
    let said = failure(&world.import_with(&["noise"], Options { dialect: None, ..World::options() }).0);
    assert!(said.starts_with("looks like no dialect that is known; name one with --dialect: postfix, "), "{said}");
    assert!(failure(&world.import(&["old.xz"]).0).contains("xz -dc FILE | varde import -"));
    assert!(failure(&world.import(&["missing"]).0).contains("No such file"));
}

#[test]
fn without_a_dialect_it_is_guessed_and_unknown_lines_are_kept_and_shown() {
    let mut world = World::new();
    world.append("log", 20);
    world.put("log", &["x".repeat(1 << 20), "\nfoo\n".to_owned()].concat());
    let options = Options { dialect: None, raw: false, ..World::options() };
    let (done, figures) = world.import_with(&["log"], options);
    assert_eq!(states(&done), [&read(22, false)]);
    assert_eq!((figures.lines, figures.unrecognised), (22, 2));
    let found = world.found();
    assert!(found.contains(&"foo".to_owned()));
    assert!(found.contains(&"x".repeat(1 << 20)), "a line that is too long for every dialect is kept whole");
}

#[test]
fn a_damaged_archive_gives_what_it_has_and_is_named() {
    let mut world = World::new();
    world.append("log", 5000);
    gzip(&world.path("log"), &world.path("log.gz"));
    let whole = fs::read(world.path("log.gz")).unwrap();
    fs::write(world.path("cut.gz"), &whole[..whole.len() / 2]).unwrap();
    let (done, figures) = world.import(&["cut.gz"]);
    assert!(matches!(states(&done)[..], [State::Failed { .. }]), "{done:?}");
    assert!(figures.lines > 100);
    assert_eq!(states(&world.import(&["log.gz"]).0), [&read(5000 - figures.lines, true)]);
    world.assert_each_once();
}

#[test]
fn what_the_node_follows_is_left_to_it_and_what_was_imported_it_does_not_read_again() {
    let mut world = World::new();
    world.append("mail.log", 120);
    world.import(&["mail.log"]);
    world.append("mail.log", 5);
    let mut follower = world.follower();
    assert_eq!(follower.look(Time::now()).unwrap(), Look::Quiet);
    follower.seal(Time::now()).unwrap();
    assert_eq!(states(&world.import(&["mail.log"]).0), [&State::Followed]);
    world.ship(&follower.shelf());
    drop(follower);
    world.append("mail.log", 1);
    assert_eq!(states(&world.import(&["mail.log"]).0), [&read(1, true)]);
    world.assert_each_once();
}

#[test]
fn what_was_imported_with_its_rotated_files_is_read_on_by_the_node_after_another_rotation_each_line_once() {
    let mut world = World::new();
    let rotate = Step::Rotate { late_lines: 3 };
    for _ in 0..3 {
        world.append("mail.log", 400);
        world.step(&Step::Rotate { late_lines: 0 }, &mut None);
    }
    // As a shell in that folder names them; the node's configuration has the whole name.
    let names = ["./mail.log", "./mail.log.1", "./mail.log.2.gz", "./mail.log.3.gz"];
    assert!(names.iter().all(|name| world.path(name).exists()));
    let (done, _) = world.import(&names);
    assert!(done.iter().all(|done| matches!(done.state, State::Read { resumed: false, .. })), "{done:?}");
    // Lines that come after the import, into the file that rotation then renames, and behind the rename.
    world.append("mail.log", 7);
    world.step(&rotate, &mut None);
    world.step(&rotate, &mut None);
    let mut follower = None;
    for last in [Step::Look, Step::Seal, Step::Ship] {
        world.step(&last, &mut follower);
    }
    world.assert_each_once();
    // And an import of everything once more leaves it to the node, or finds nothing new.
    let (done, _) = world.import(&["mail.log", "mail.log.1", "mail.log.2.gz", "mail.log.5.gz"]);
    assert!(done.iter().all(|done| matches!(done.state, State::Followed | State::Known)), "{done:?}");
    drop(follower);
    let (done, _) = world.import(&["mail.log", "mail.log.1", "mail.log.2.gz", "mail.log.5.gz"]);
    assert!(done.iter().all(|done| done.state == State::Known), "{done:?}");
    world.assert_each_once();
}

/// What happens to a log and to its reader.
#[derive(Debug, Clone)]
enum Step {
    Write(u32),
    /// A line in two parts, and a look between.
    Halves,
    Look,
    Seal,
    Kill,
    Ship,
    /// Rename, as logrotate's `create` does. The writer may go on for a while.
    Rotate {
        late_lines: u32,
    },
    /// Copy and truncate.
    CopyTruncate,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1_u32..60).prop_map(Step::Write),
        1 => Just(Step::Halves),
        4 => Just(Step::Look),
        2 => Just(Step::Seal),
        2 => Just(Step::Kill),
        1 => Just(Step::Ship),
        2 => (0_u32..3).prop_map(|late_lines| Step::Rotate { late_lines }),
        1 => Just(Step::CopyTruncate),
    ]
}

impl World {
    /// Makes room for `mail.log.1`: the one before is compressed, those before that move up.
    fn shift(&self) {
        for number in (2..9).rev() {
            let from = self.path(&format!("mail.log.{number}.gz"));
            if from.exists() {
                fs::rename(from, self.path(&format!("mail.log.{}.gz", number + 1))).unwrap();
            }
        }
        if self.path("mail.log.1").exists() {
            gzip(&self.path("mail.log.1"), &self.path("mail.log.2.gz"));
            fs::remove_file(self.path("mail.log.1")).unwrap();
        }
    }

    fn step(&mut self, step: &Step, follower: &mut Option<Follower>) {
        let now = Time::now();
        match step {
            Step::Write(count) => self.append("mail.log", *count),
            Step::Halves => {
                let line = self.lines(1);
                let (one, other) = line.split_at(line.len() / 2);
                self.put("mail.log", one);
                self.step(&Step::Look, follower);
                self.put("mail.log", other);
            }
            Step::Look => while follower.get_or_insert_with(|| self.follower()).look(now).unwrap() == Look::More {},
            Step::Seal => follower.get_or_insert_with(|| self.follower()).seal(now).unwrap(),
            Step::Kill => *follower = None,
            Step::Ship => {
                let shelf = follower.get_or_insert_with(|| self.follower()).shelf();
                self.ship(&shelf);
            }
            Step::Rotate { late_lines } => {
                self.shift();
                fs::rename(self.path("mail.log"), self.path("mail.log.1")).unwrap();
                self.append("mail.log", 1);
                if *late_lines > 0 {
                    self.append("mail.log.1", *late_lines);
                }
            }
            Step::CopyTruncate => {
                self.shift();
                fs::copy(self.path("mail.log"), self.path("mail.log.1")).unwrap();
                OpenOptions::new().write(true).open(self.path("mail.log")).unwrap().set_len(0).unwrap();
                self.append("mail.log", 1);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn whatever_becomes_of_the_files_and_the_reader_every_line_is_shipped_exactly_once(
        steps in prop::collection::vec(step(), 1..30)
    ) {
        let mut world = World::new();
        let mut follower = None;
        for first in [Step::Write(1), Step::Look, Step::Seal] {
            world.step(&first, &mut follower);
        }
        let mut rotations = 0;
        for step in &steps {
            // A log that is rotated out of the folder unread is lost, whoever reads it.
            rotations += u32::from(matches!(step, Step::Rotate { .. } | Step::CopyTruncate));
            if rotations <= 7 {
                world.step(step, &mut follower);
            }
        }
        for last in [Step::Look, Step::Seal, Step::Ship] {
            world.step(&last, &mut follower);
        }
        world.assert_each_once();
    }
}

#[test]
fn a_text_that_comes_through_a_pipe_is_known_like_its_file() {
    let mut world = World::new();
    world.append("log", 100);
    world.import(&["log"]);
    let pipe = world.path("pipe");
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR).unwrap();
    let mut text = Vec::new();
    fs::File::open(world.path("log")).unwrap().read_to_end(&mut text).unwrap();
    let writer = std::thread::spawn(move || fs::write(pipe, text).unwrap());
    assert_eq!(states(&world.import(&["pipe"]).0), [&State::Known]);
    writer.join().unwrap();
}
