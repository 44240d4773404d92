//! Counters, gauges and histograms with labels, on atomics.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};

use super::text::{Writer, number};

/// Series of one family. Past it, what comes new is counted in one series whose labels all say `other`.
pub const SERIES: usize = 1_024;
/// Places of a table: half of them stay empty, so that a search soon meets one, also when the table is full.
const PLACES: usize = 2 * SERIES;
/// The longest value of a label, in characters; the rest is cut.
const LABEL_CHARS: usize = 100;
/// A gauge is kept in thousandths, so that adding to it is one atomic addition.
const THOUSANDTHS: f64 = 1_000.0;
/// The sum of a histogram is kept in millionths.
const MILLIONTHS: f64 = 1e6;

/// What kind of numbers a family has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Counter,
    Gauge,
    Histogram,
}

impl Kind {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// What a family is called, says and counts by.
#[derive(Debug)]
pub struct Head {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    pub(super) labels: &'static [&'static str],
    pub(super) bounds: &'static [f64],
}

/// A family of any kind.
pub(super) trait Family: Sync {
    #[cfg(test)]
    fn head(&self) -> &Head;
    #[cfg(test)]
    fn kind(&self) -> Kind;
    /// Writes the series, sorted by labels; nothing when there is none yet.
    fn write(&self, out: &mut Writer);
}

/// A number that a series holds.
pub trait Value: Send + Sync + 'static {
    const KIND: Kind;
    fn new(bounds: &'static [f64]) -> Self;
    fn write(&self, head: &Head, labels: &[Box<str>], out: &mut Writer);
}

#[derive(Debug)]
struct Series<V> {
    labels: Box<[Box<str>]>,
    value: V,
}

/// The series of one family: a hash table whose places are filled once and never emptied. Finding a series that is
/// there takes no lock; the first sight of one allocates it.
#[derive(Debug)]
pub struct Table<V> {
    head: Head,
    places: OnceLock<Box<[OnceLock<Series<V>>]>>,
    taken: AtomicUsize,
    other: OnceLock<Series<V>>,
}

impl<V: Value> Table<V> {
    const fn of(head: Head) -> Self {
        Self { head, places: OnceLock::new(), taken: AtomicUsize::new(0), other: OnceLock::new() }
    }

    fn places(&self) -> &[OnceLock<Series<V>>] {
        self.places.get_or_init(|| (0..PLACES).map(|_| OnceLock::new()).collect())
    }

    /// The number of the series with these values, in the order of the labels.
    pub fn with(&self, values: &[&str]) -> &V {
        let places = self.places();
        let first = hash(values) as usize;
        for step in 0..PLACES {
            let place = &places[first.wrapping_add(step) % PLACES];
            if place.get().is_none() && !self.take() {
                break;
            }
            let series = place.get_or_init(|| self.series(values));
            if series.labels.iter().map(AsRef::as_ref).eq(values.iter().map(|value| cut(value))) {
                return &series.value;
            }
        }
        let others = || self.series(&vec!["other"; self.head.labels.len()]);
        &self.other.get_or_init(others).value
    }

    /// Whether there may be one more series. Two threads that fill one place take two: the limit is a bound, not a count.
    fn take(&self) -> bool {
        self.taken
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |taken| (taken < SERIES).then_some(taken + 1))
            .is_ok()
    }

    fn series(&self, values: &[&str]) -> Series<V> {
        debug_assert_eq!(values.len(), self.head.labels.len(), "{}", self.head.name);
        Series { labels: values.iter().map(|value| cut(value).into()).collect(), value: V::new(self.head.bounds) }
    }
}

impl<V: Value> Family for Table<V> {
    #[cfg(test)]
    fn head(&self) -> &Head {
        &self.head
    }

    #[cfg(test)]
    fn kind(&self) -> Kind {
        V::KIND
    }

    fn write(&self, out: &mut Writer) {
        let places = self.places.get().map(AsRef::as_ref).unwrap_or_default();
        let mut series: Vec<_> = places.iter().chain([&self.other]).filter_map(OnceLock::get).collect();
        if series.is_empty() {
            return;
        }
        series.sort_unstable_by(|a, b| a.labels.cmp(&b.labels));
        out.head(&self.head, V::KIND);
        for series in series {
            series.value.write(&self.head, &series.labels, out);
        }
    }
}

fn cut(value: &str) -> &str {
    value.char_indices().nth(LABEL_CHARS).map_or(value, |(end, _)| &value[..end])
}

/// FNV-1a: short keys of our own words need no better.
fn hash(values: &[&str]) -> u64 {
    let octets = values.iter().flat_map(|value| cut(value).bytes().chain([0xff]));
    octets.fold(0xcbf2_9ce4_8422_2325, |hash, octet| (hash ^ u64::from(octet)).wrapping_mul(0x0100_0000_01b3))
}

/// A family of counters.
pub type Counters = Table<Counter>;
/// A family of gauges.
pub type Gauges = Table<Gauge>;
/// A family of histograms.
pub type Histograms = Table<Histogram>;

impl Counters {
    /// A family; its name ends in `_total`.
    pub const fn new(name: &'static str, help: &'static str, labels: &'static [&'static str]) -> Self {
        Self::of(Head { name, help, labels, bounds: &[] })
    }
}

impl Gauges {
    /// A family.
    pub const fn new(name: &'static str, help: &'static str, labels: &'static [&'static str]) -> Self {
        Self::of(Head { name, help, labels, bounds: &[] })
    }
}

impl Histograms {
    /// A family; its name ends in the unit. `bounds` rise.
    pub const fn new(
        name: &'static str,
        help: &'static str,
        labels: &'static [&'static str],
        bounds: &'static [f64],
    ) -> Self {
        Self::of(Head { name, help, labels, bounds })
    }
}

/// A number that only rises.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// One more.
    pub fn inc(&self) {
        self.add(1);
    }

    /// So many more.
    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    /// Takes over what is counted elsewhere.
    pub fn mirror(&self, count: u64) {
        self.0.store(count, Ordering::Relaxed);
    }

    /// What it has come to.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Value for Counter {
    const KIND: Kind = Kind::Counter;

    fn new(_: &'static [f64]) -> Self {
        Self::default()
    }

    fn write(&self, head: &Head, labels: &[Box<str>], out: &mut Writer) {
        out.sample(head, "", labels, None, &self.get().to_string());
    }
}

/// What a gauge holds that is not known: no thousandths that anything is told in.
const NOT_KNOWN: i64 = i64::MIN;

/// A number that rises and falls, kept to a thousandth.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    /// It is this now; `NaN`: it is not known.
    pub fn set(&self, value: f64) {
        let thousandths = if value.is_nan() { NOT_KNOWN } else { (value * THOUSANDTHS).round() as i64 };
        self.0.store(thousandths, Ordering::Relaxed);
    }

    /// One more.
    pub fn inc(&self) {
        self.0.fetch_add(THOUSANDTHS as i64, Ordering::Relaxed);
    }

    /// One less.
    pub fn dec(&self) {
        self.0.fetch_sub(THOUSANDTHS as i64, Ordering::Relaxed);
    }

    /// What it is; `NaN`: it is not known.
    pub fn get(&self) -> f64 {
        match self.0.load(Ordering::Relaxed) {
            NOT_KNOWN => f64::NAN,
            thousandths => thousandths as f64 / THOUSANDTHS,
        }
    }
}

impl Value for Gauge {
    const KIND: Kind = Kind::Gauge;

    fn new(_: &'static [f64]) -> Self {
        Self::default()
    }

    fn write(&self, head: &Head, labels: &[Box<str>], out: &mut Writer) {
        out.sample(head, "", labels, None, &number(self.get()));
    }
}

/// Seconds that only add up, kept to a millionth.
#[derive(Debug, Default)]
pub(super) struct Seconds(AtomicU64);

impl Seconds {
    /// Takes over what is counted elsewhere.
    pub(super) fn mirror(&self, seconds: f64) {
        self.0.store((seconds * MILLIONTHS) as u64, Ordering::Relaxed);
    }
}

impl Table<Seconds> {
    pub(super) const fn new(name: &'static str, help: &'static str, labels: &'static [&'static str]) -> Self {
        Self::of(Head { name, help, labels, bounds: &[] })
    }
}

impl Value for Seconds {
    const KIND: Kind = Kind::Counter;

    fn new(_: &'static [f64]) -> Self {
        Self::default()
    }

    fn write(&self, head: &Head, labels: &[Box<str>], out: &mut Writer) {
        out.sample(head, "", labels, None, &number(self.0.load(Ordering::Relaxed) as f64 / MILLIONTHS));
    }
}

/// How long things took, in buckets.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static [f64],
    /// One for each bound, and one for what is past the last.
    buckets: Box<[AtomicU64]>,
    sum: AtomicU64,
}

impl Histogram {
    /// One more, of so many seconds.
    pub fn observe(&self, seconds: f64) {
        let bucket = self.bounds.partition_point(|bound| *bound < seconds);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add((seconds.max(0.0) * MILLIONTHS) as u64, Ordering::Relaxed);
    }

    /// One more, of so many milliseconds.
    pub fn observe_ms(&self, ms: u64) {
        self.observe(ms as f64 / 1e3);
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).sum()
    }
}

impl Value for Histogram {
    const KIND: Kind = Kind::Histogram;

    fn new(bounds: &'static [f64]) -> Self {
        Self { bounds, buckets: (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect(), sum: AtomicU64::new(0) }
    }

    fn write(&self, head: &Head, labels: &[Box<str>], out: &mut Writer) {
        let mut count = 0;
        let bounds = self.bounds.iter().map(|bound| number(*bound)).chain(["+Inf".to_owned()]);
        for (bucket, bound) in self.buckets.iter().zip(bounds) {
            count += bucket.load(Ordering::Relaxed);
            out.sample(head, "_bucket", labels, Some(&bound), &count.to_string());
        }
        let sum = self.sum.load(Ordering::Relaxed) as f64 / MILLIONTHS;
        out.sample(head, "_sum", labels, None, &number(sum));
        out.sample(head, "_count", labels, None, &count.to_string());
    }
}
