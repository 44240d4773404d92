//! One value of one column: its ClickHouse type, its Native encoding, whether it is known.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Address;

/// A value that can stand in a column.
pub trait Cell: Sized + Serialize {
    /// The type as sent in a Native block. LowCardinality columns are sent as `String`: the engine
    /// converts them faster than it reads a dictionary of ours.
    const TYPE: &'static str;

    /// Appends the value to a Native column.
    fn write(&self, out: &mut Vec<u8>);

    /// Appends the value as JSON, the same as its `Serialize` says. Values that most rows have write themselves.
    fn write_json(&self, out: &mut Vec<u8>) {
        let start = out.len();
        if serde_json::to_writer(&mut *out, self).is_err() {
            out.truncate(start);
            out.extend_from_slice(b"null");
        }
    }

    /// Whether nothing is known: such a cell is left out of JSON, and is the type's default in a table.
    fn is_unknown(&self) -> bool {
        false
    }

    /// Makes it unknown. A text keeps its memory.
    fn reset(&mut self)
    where
        Self: Default,
    {
        *self = Self::default();
    }

    /// Appends a whole Native column.
    fn write_column<'a>(cells: impl Iterator<Item = &'a Self> + Clone, out: &mut Vec<u8>)
    where
        Self: 'a,
    {
        for cell in cells {
            cell.write(out);
        }
    }
}

/// Appends an unsigned LEB128 number, ClickHouse's `VarUInt`.
pub fn put_varint(mut n: u64, out: &mut Vec<u8>) {
    while n >= 0x80 {
        out.push((n as u8 & 0x7f) | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

/// Appends a length-prefixed string.
pub fn put_text(text: &str, out: &mut Vec<u8>) {
    put_varint(text.len() as u64, out);
    out.extend_from_slice(text.as_bytes());
}

impl Cell for String {
    const TYPE: &'static str = "String";
    fn write(&self, out: &mut Vec<u8>) {
        put_text(self, out);
    }
    fn write_json(&self, out: &mut Vec<u8>) {
        put_json_text(self, out);
    }
    fn is_unknown(&self) -> bool {
        self.is_empty()
    }
    fn reset(&mut self) {
        self.clear();
    }
}

impl Cell for Cow<'_, str> {
    const TYPE: &'static str = "String";
    fn write(&self, out: &mut Vec<u8>) {
        put_text(self, out);
    }
}

/// Appends a text as JSON (RFC 8259 section 7). Hardly any has a character to escape: one look at all octets, then a copy.
fn put_json_text(text: &str, out: &mut Vec<u8>) {
    let (words, rest) = text.as_bytes().as_chunks::<8>();
    let mut last = [b' '; 8];
    last[..rest.len()].copy_from_slice(rest);
    if words.iter().chain([&last]).all(|word| is_plain(u64::from_le_bytes(*word))) {
        out.reserve(text.len() + 2);
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
    } else {
        // Writing a text to memory cannot fail.
        let _ = serde_json::to_writer(out, text);
    }
}

/// Whether none of eight octets has to be escaped: a control character, a quotation mark, a backslash.
fn is_plain(word: u64) -> bool {
    const ONES: u64 = 0x0101_0101_0101_0101;
    // An octet below the limit borrows from its highest bit, which it does not have itself.
    let below = |limit: u8, word: u64| word.wrapping_sub(ONES * u64::from(limit)) & !word & (ONES << 7);
    let is = |octet: u8| below(1, word ^ (ONES * u64::from(octet)));
    below(0x20, word) | is(b'"') | is(b'\\') == 0
}

macro_rules! number {
    ($($rust:ty => $clickhouse:literal),* $(,)?) => {$(
        impl Cell for $rust {
            const TYPE: &'static str = $clickhouse;
            fn write(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }
        }
    )*};
}
number!(u8 => "UInt8", u16 => "UInt16", u32 => "UInt32", u64 => "UInt64", i64 => "Int64", f32 => "Float32", f64 => "Float64");

impl Cell for bool {
    const TYPE: &'static str = "UInt8";
    fn write(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }
}

impl<T: Cell + Default> Cell for Option<T> {
    const TYPE: &'static str = T::TYPE;
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Some(value) => value.write(out),
            None => T::default().write(out),
        }
    }
    fn write_json(&self, out: &mut Vec<u8>) {
        match self {
            Some(value) => value.write_json(out),
            None => out.extend_from_slice(b"null"),
        }
    }
    fn is_unknown(&self) -> bool {
        self.is_none()
    }
}

/// An instant: microseconds since 1970-01-01T00:00:00Z. JSON: RFC 3339 in UTC.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(pub i64);

impl Time {
    /// Now, by this machine's clock. Only drivers call this.
    pub fn now() -> Self {
        Utc::now().into()
    }
    /// As chrono's type. Instants beyond chrono's range become the epoch.
    pub fn to_utc(self) -> DateTime<Utc> {
        DateTime::from_timestamp_micros(self.0).unwrap_or_default()
    }
    /// Whole seconds since the epoch, rounded down.
    pub fn seconds(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }
    /// From whole seconds since the epoch.
    pub fn from_seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(1_000_000))
    }
    /// Days since the epoch: the partition of most tables.
    pub fn day(self) -> i64 {
        self.0.div_euclid(86_400_000_000)
    }
    /// Milliseconds from `earlier` to this instant; 0 when the clock went backwards.
    pub fn millis_since(self, earlier: Time) -> u64 {
        u64::try_from(self.0.saturating_sub(earlier.0) / 1_000).unwrap_or(0)
    }
    /// This instant moved by some milliseconds.
    pub fn plus_millis(self, millis: i64) -> Self {
        Self(self.0.saturating_add(millis.saturating_mul(1_000)))
    }
}

impl From<DateTime<Utc>> for Time {
    fn from(at: DateTime<Utc>) -> Self {
        Self(at.timestamp_micros())
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match digits(self.0) {
            // Every event has a time: writing it must be cheap.
            Some(text) => f.write_str(std::str::from_utf8(&text).unwrap_or_default()),
            None => f.write_str(&self.to_utc().to_rfc3339_opts(SecondsFormat::Micros, true)),
        }
    }
}

/// `2026-11-22T10:16:48.000123Z` for the years 1970 to 9999.
fn digits(micros: i64) -> Option<[u8; 27]> {
    let micros = u64::try_from(micros).ok()?;
    let (seconds, micros) = (micros / 1_000_000, micros % 1_000_000);
    let (days, seconds) = (seconds / 86_400, seconds % 86_400);
    // Years that begin in March end with the leap day; 400 of them have 146,097 days.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year + u64::from(month <= 2);
    if year > 9_999 {
        return None;
    }
    let mut text = *b"0000-00-00T00:00:00.000000Z";
    let fields = [
        (0, 4, year),
        (5, 2, month),
        (8, 2, day),
        (11, 2, seconds / 3_600),
        (14, 2, seconds / 60 % 60),
        (17, 2, seconds % 60),
        (20, 6, micros),
    ];
    for (start, len, mut number) in fields {
        for place in text[start..start + len].iter_mut().rev() {
            *place = b'0' + (number % 10) as u8;
            number /= 10;
        }
    }
    Some(text)
}

impl FromStr for Time {
    type Err = chrono::ParseError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(DateTime::parse_from_rfc3339(text)?.with_timezone(&Utc).into())
    }
}

impl Cell for Time {
    const TYPE: &'static str = "DateTime64(6, 'UTC')";
    fn write_json(&self, out: &mut Vec<u8>) {
        match digits(self.0) {
            Some(text) => {
                out.push(b'"');
                out.extend_from_slice(&text);
                out.push(b'"');
            }
            None => put_json_text(&self.to_string(), out),
        }
    }
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0.to_le_bytes());
    }
}

/// The identity of an event: a hash of node and source fingerprint, and the offset there; or a hash of our own
/// process's epoch, and the sequence there. JSON: a decimal string, because JSON numbers end at 2^53.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId(pub u128);

impl EventId {
    /// The identity of something at a place of an origin that `parts` name. Half of it is the same for all of one
    /// origin, and places that follow each other differ little, so that a row's identity takes 3 octets on disk
    /// instead of the 16 of a hash.
    pub fn at(parts: &[&[u8]], place: u64) -> Self {
        Self(Self::of(parts).0 << 64 | u128::from(place))
    }

    /// The identity of something at another place of the same origin: the same as [`at`](Self::at) says, without the
    /// hash.
    #[must_use]
    pub fn moved_to(self, place: u64) -> Self {
        Self(self.0 >> 64 << 64 | u128::from(place))
    }

    /// The identity of the event that `parts`, in this order, describe.
    pub fn of(parts: &[&[u8]]) -> Self {
        let mut hasher = blake3::Hasher::new();
        for part in parts {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        let mut bytes = [0; 16];
        hasher.finalize_xof().fill(&mut bytes);
        Self(u128::from_le_bytes(bytes))
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl FromStr for EventId {
    type Err = std::num::ParseIntError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

impl Cell for EventId {
    const TYPE: &'static str = "UInt128";
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0.to_le_bytes());
    }
    fn is_unknown(&self) -> bool {
        self.0 == 0
    }
}

macro_rules! text_serde {
    ($($type:ty),*) => {$(
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}
text_serde!(Time, EventId, Address);

/// Named scores, for example a spam filter's symbols.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Scores(pub BTreeMap<String, f32>);

impl Cell for Scores {
    const TYPE: &'static str = "Map(String, Float32)";
    fn write(&self, out: &mut Vec<u8>) {
        Self::write_column(std::iter::once(self), out);
    }
    fn is_unknown(&self) -> bool {
        self.0.is_empty()
    }
    fn write_column<'a>(cells: impl Iterator<Item = &'a Self> + Clone, out: &mut Vec<u8>) {
        let mut end = 0_u64;
        for cell in cells.clone() {
            end += cell.0.len() as u64;
            out.extend_from_slice(&end.to_le_bytes());
        }
        for key in cells.clone().flat_map(|cell| cell.0.keys()) {
            put_text(key, out);
        }
        for value in cells.flat_map(|cell| cell.0.values()) {
            value.write(out);
        }
    }
}

/// Some texts in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Values<'a>(pub Vec<&'a str>);

impl Cell for Values<'_> {
    const TYPE: &'static str = "Array(String)";
    fn write(&self, out: &mut Vec<u8>) {
        Self::write_column(std::iter::once(self), out);
    }
    fn is_unknown(&self) -> bool {
        self.0.is_empty()
    }
    fn write_column<'a>(cells: impl Iterator<Item = &'a Self> + Clone, out: &mut Vec<u8>)
    where
        Self: 'a,
    {
        let mut end = 0_u64;
        for cell in cells.clone() {
            end += cell.0.len() as u64;
            out.extend_from_slice(&end.to_le_bytes());
        }
        for value in cells.flat_map(|cell| &cell.0) {
            put_text(value, out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_octet_of_a_text_is_looked_at() {
        for length in 1..20 {
            for at in 0..length {
                for octet in 0..=0x7f {
                    let mut text = vec![b'~'; length];
                    text[at] = octet;
                    let text = String::from_utf8(text).unwrap();
                    let mut json = Vec::new();
                    text.write_json(&mut json);
                    assert_eq!(String::from_utf8(json).unwrap(), serde_json::to_string(&text).unwrap());
                }
            }
        }
    }

    #[test]
    fn time_round_trips_through_rfc_3339() {
        let time = Time(1_795_342_608_000_123);
        let json = serde_json::to_string(&time).unwrap();
        assert_eq!(json, "\"2026-11-22T10:16:48.000123Z\"");
        assert_eq!(serde_json::from_str::<Time>(&json).unwrap(), time);
    }

    #[test]
    fn times_are_written_as_chrono_writes_them() {
        let days = [0, 58, 59, 60, 364, 365, 789, 11_016, 11_017, 19_782, 20_779, 47_540, 2_932_896, 2_932_897, -1];
        for day in days.into_iter().chain((0..40_000).step_by(97)) {
            let time = Time(day * 86_400_000_000 + 86_399_987_654);
            assert_eq!(time.to_string(), time.to_utc().to_rfc3339_opts(SecondsFormat::Micros, true));
        }
    }

    #[test]
    fn another_place_of_an_origin_is_what_its_parts_say() {
        let parts: &[&[u8]] = &[b"mx1", b"log"];
        assert_eq!(EventId::at(parts, u64::MAX).moved_to(7), EventId::at(parts, 7));
    }

    #[test]
    fn identity_depends_on_where_parts_end() {
        assert_ne!(EventId::of(&[b"ab", b"c"]), EventId::of(&[b"a", b"bc"]));
    }
}
