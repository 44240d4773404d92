//! The spool on real files, with deaths and disk failures at every step.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::event::{RawLine, Row, Time};

fn owner() -> Owner {
    Owner { shipper: "mail-mx".into(), tenant: "default".into(), node: "mx1".into() }
}

/// An event with a number of its own; every fifth is of another day.
fn line(number: u64) -> Event {
    let ts = Time::from_seconds(1_795_000_000 + if number.is_multiple_of(5) { 86_400 } else { 0 });
    RawLine { ts, offset: Some(number), ..RawLine::default() }.into()
}

fn numbers(shelf: &Shelf, sequence: u64) -> BTreeMap<String, Vec<(u128, u64)>> {
    let segment = shelf.open(sequence).unwrap();
    let blocks = segment.header.blocks.iter().enumerate();
    blocks.map(|(index, block)| (segment.header.token(block), rows(&segment.block(index).unwrap()))).collect()
}

/// Identity and number of every row of a block of `raw_lines`.
fn rows(packed: &[u8]) -> Vec<(u128, u64)> {
    let native = zstd::decode_all(packed).unwrap();
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
    let (mut ids, mut offsets) = (Vec::new(), Vec::new());
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
                "offset" => offsets.push(u64::from_le_bytes(cell.try_into().unwrap())),
                _ => {}
            }
        }
    }
    ids.into_iter().zip(offsets).collect()
}

#[derive(Debug, Clone)]
enum Step {
    Append(u64),
    Seal,
    Batch(u64),
    Ship,
    /// After so many more changes on disk, the process dies, or the disk is full once.
    Trouble {
        after: u32,
        death: bool,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1_u64..4).prop_map(Step::Append),
        2 => Just(Step::Seal),
        2 => (1_u64..4).prop_map(Step::Batch),
        2 => Just(Step::Ship),
        3 => (0_u32..9, any::<bool>()).prop_map(|(after, death)| Step::Trouble { after, death }),
    ]
}

/// A process with its disk, and a ClickHouse that drops a token it knows.
struct World {
    dir: TempDir,
    spool: Option<Spool>,
    death: bool,
    next: u64,
    kept: BTreeSet<u64>,
    stored: BTreeMap<String, Vec<(u128, u64)>>,
}

impl World {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let spool = Some(Spool::open(dir.path(), owner(), u64::MAX).unwrap());
        Self { dir, spool, death: false, next: 0, kept: BTreeSet::new(), stored: BTreeMap::new() }
    }

    fn spool(&mut self) -> &mut Spool {
        self.spool.as_mut().unwrap()
    }

    fn fresh(&mut self, count: u64) -> Vec<Event> {
        self.next += count;
        (self.next - count..self.next).map(line).collect()
    }

    fn keep(&mut self, last: u64, count: u64) {
        self.kept.extend(last - count..last);
    }

    /// The trouble came: a new process on the same disk, or the same one on a disk that works again.
    fn recover(&mut self) {
        if !self.death {
            *self.spool().files.faults.left.lock().unwrap() = None;
            return;
        }
        self.spool = None;
        // The recovery may die as well.
        let files = Files::new(self.dir.path().join("mail-mx"));
        *files.faults.left.lock().unwrap() = Some((self.next % 7) as u32);
        drop(Spool::open_in(files, owner(), u64::MAX));
        self.spool = Some(Spool::open(self.dir.path(), owner(), u64::MAX).unwrap());
    }

    fn append(&mut self, count: u64) {
        let mut events = self.fresh(count);
        let last = self.next;
        while let Err(why) = self.spool().append(&mut events) {
            assert!(matches!(why, Error::Disk { .. }));
            self.recover();
            if self.death {
                return;
            }
        }
        assert!(events.is_empty());
        self.keep(last, count);
    }

    /// A source: it goes on after its checkpoint, and so sends a batch again that is not known to be sealed.
    fn batch(&mut self, count: u64) {
        let mut events = self.fresh(count);
        let last = self.next;
        let checkpoint = last.to_string().into_bytes();
        while self.spool().seal(&mut events, Some(&checkpoint)).is_err() {
            self.recover();
            if self.spool().checkpoint() == Some(&checkpoint) {
                break;
            }
        }
        self.keep(last, count);
    }

    fn ship(&mut self) {
        let shelf = self.spool().shelf();
        let Some(sequence) = shelf.oldest() else { return };
        for (token, rows) in numbers(&shelf, sequence) {
            let before = self.stored.entry(token).or_insert_with(|| rows.clone());
            assert_eq!(*before, rows, "a token came again with other rows");
        }
        if shelf.remove(sequence).is_err() {
            self.recover();
        }
    }

    fn run(&mut self, step: &Step) {
        match step {
            Step::Append(count) => self.append(*count),
            Step::Batch(count) => self.batch(*count),
            Step::Ship => self.ship(),
            Step::Seal => {
                if self.spool().seal_journal().is_err() {
                    self.recover();
                }
            }
            Step::Trouble { after, death } => {
                self.death = *death;
                *self.spool().files.faults.left.lock().unwrap() = Some(*after);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn whatever_dies_whenever_every_event_that_was_taken_is_shipped_exactly_once(
        steps in prop::collection::vec(step(), 1..60)
    ) {
        let mut world = World::new();
        for step in &steps {
            world.run(step);
        }
        world.death = true;
        world.recover();
        while !world.spool().shelf().is_empty() {
            world.ship();
        }
        let mut shipped: Vec<u64> = world.stored.values().flatten().map(|(_, number)| *number).collect();
        let identities: BTreeSet<u128> = world.stored.values().flatten().map(|(id, _)| *id).collect();
        prop_assert_eq!(identities.len(), shipped.len());
        shipped.sort_unstable();
        let count = shipped.len();
        shipped.dedup();
        prop_assert_eq!(shipped.len(), count, "an event was shipped twice");
        let missing: Vec<_> = world.kept.iter().filter(|number| shipped.binary_search(number).is_err()).collect();
        prop_assert!(missing.is_empty(), "lost: {missing:?}");
    }

    #[test]
    fn no_octet_of_a_segment_can_change_unnoticed(at in any::<prop::sample::Index>(), flip in 1_u8..) {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("s");
        let mut bytes = segment::encode("a", "b", 3, &[line(1), line(5)], Some(b"here")).unwrap();
        fs::write(&path, &bytes).unwrap();
        prop_assert_eq!(Segment::verify(&path).unwrap().header.checkpoint(), Some(b"here".to_vec()));
        *at.get_mut(&mut bytes[..]) ^= flip;
        fs::write(&path, &bytes).unwrap();
        prop_assert!(matches!(Segment::verify(&path), Err(Fault::Corrupt(_))));
    }
}

#[test]
fn a_damaged_journal_record_is_set_aside_named_and_counted_and_the_rest_goes_on() {
    let dir = TempDir::new().unwrap();
    let mut spool = Spool::open(dir.path(), owner(), u64::MAX).unwrap();
    for number in [1, 2, 3] {
        spool.append(&mut vec![line(number)]).unwrap();
    }
    let path = spool.files.path(&numbered(0, JOURNAL));
    drop(spool);
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&path, bytes).unwrap();

    let shelf = Spool::open(dir.path(), owner(), u64::MAX).unwrap().shelf();
    let found: Vec<u64> = numbers(&shelf, 0).into_values().flatten().map(|(_, number)| number).collect();
    assert_eq!(found, [1, 3]);
    assert_eq!(shelf.counters.corrupt.load(Ordering::Relaxed), 1);
    let aside = "00000000000000000000.journal.corrupt";
    assert!(dir.path().join("mail-mx").join(aside).exists());
    assert_eq!(
        shelf.take_notes(),
        [["1 damaged records of 00000000000000000000.journal are set aside as ", aside].concat()]
    );
}

#[test]
fn past_its_limit_the_oldest_sealed_batch_is_dropped_and_counted_and_its_number_is_not_used_again() {
    let dir = TempDir::new().unwrap();
    let mut spool = Spool::open(dir.path(), owner(), 1).unwrap();
    for number in 0..3 {
        spool.append(&mut vec![line(number), line(number + 100)]).unwrap();
        spool.seal_journal().unwrap();
    }
    let shelf = spool.shelf();
    assert_eq!((shelf.len(), shelf.oldest()), (1, Some(2)));
    assert_eq!(shelf.counters.dropped_rows.load(Ordering::Relaxed), 4);
    assert_eq!(shelf.take_notes().len(), 2);
    drop(spool);
    assert_eq!(Spool::open(dir.path(), owner(), 1).unwrap().sequence, 4);
}

#[test]
fn a_spool_has_one_writer_and_a_name_that_can_be_a_folder() {
    let dir = TempDir::new().unwrap();
    let _first = Spool::open(dir.path(), owner(), 1).unwrap();
    assert!(matches!(Spool::open(dir.path(), owner(), 1), Err(Error::InUse(_))));
    for name in ["", "..", ".a", "a/b", "é"] {
        let owner = Owner { shipper: name.into(), ..owner() };
        assert!(matches!(Spool::open(dir.path(), owner, 1), Err(Error::Name(_))), "{name}");
    }
}

#[test]
fn that_rows_were_set_aside_or_dropped_is_remembered_until_their_files_are_removed() {
    for dropped in [false, true] {
        let dir = TempDir::new().unwrap();
        let mut spool = Spool::open(dir.path(), owner(), if dropped { 1 } else { u64::MAX }).unwrap();
        spool.seal(&mut [line(1)], None).unwrap();
        assert!(!spool.shelf().has_lost().unwrap());
        if dropped {
            spool.seal(&mut [line(2)], None).unwrap();
        } else {
            spool.shelf().set_aside(0, Aside::Refused, "no").unwrap();
        }
        drop(spool);
        let spool = Spool::open(dir.path(), owner(), u64::MAX).unwrap();
        assert!(spool.shelf().has_lost().unwrap());
        let name = if dropped { "dropped" } else { "00000000000000000000.segment.refused" };
        fs::remove_file(dir.path().join("mail-mx").join(name)).unwrap();
        assert!(!spool.shelf().has_lost().unwrap());
    }
}

#[test]
fn a_checkpoint_outlives_its_segment_whether_that_was_shipped_or_set_aside() {
    let dir = TempDir::new().unwrap();
    let mut spool = Spool::open(dir.path(), owner(), u64::MAX).unwrap();
    spool.seal(&mut [line(1)], Some(b"offset 7")).unwrap();
    spool.shelf().remove(0).unwrap();
    drop(spool);
    let mut spool = Spool::open(dir.path(), owner(), 1).unwrap();
    assert_eq!(spool.checkpoint(), Some(&b"offset 7"[..]));
    spool.seal(&mut [line(2)], Some(b"offset 9")).unwrap();
    let seen = Glance { checkpoint: Some(b"offset 9".to_vec()), in_use: true };
    assert_eq!(glance(dir.path(), "mail-mx").unwrap(), seen);
    let sequence = spool.shelf().oldest().unwrap();
    spool.shelf().set_aside(sequence, Aside::Refused, "no").unwrap();
    drop(spool);
    assert_eq!(glance(dir.path(), "mail-mx").unwrap(), Glance { in_use: false, ..seen });
    assert_eq!(glance(dir.path(), "nobody").unwrap(), Glance::default());
}
