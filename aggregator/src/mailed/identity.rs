//! Who and when: addresses, domains, dates and identities of rows, taken from what a report says.

use mail_parser::DateTime;

use super::Context;
use super::bound::Fault;
use crate::event::{EventId, Time};

/// Before this there were neither DMARC nor TLS reports: 2011-01-01.
const EARLIEST: Time = Time(1_293_840_000_000_000);
/// Clocks differ; what is further ahead is not believed.
const AHEAD_MS: i64 = 2 * 86_400_000;
/// Octets of a text that a column takes; the rest is cut.
const COLUMN_BYTES: usize = 2_000;

/// Octets of a name that all rows of a report repeat: no domain is longer (RFC 1035 section 2.3.4).
const NAME_BYTES: usize = 255;

/// Whether an instant can be that of a report.
pub(super) fn plausible(at: Time, context: &Context) -> bool {
    at >= EARLIEST && at <= context.now.plus_millis(AHEAD_MS)
}

/// The instant of a row: the first that can be. All but the last come from the report itself, so that the same report
/// has the same.
pub(super) fn instant(told: &[Option<Time>], context: &Context) -> Time {
    let told = told.iter().flatten().copied().find(|at| plausible(*at, context));
    told.unwrap_or(if plausible(context.received, context) { context.received } else { context.now })
}

/// The begin of a report's period, which is a part of its identity.
pub(super) fn begin(text: &str, at: Option<Time>, context: &Context) -> Result<Time, Fault> {
    match at {
        _ if text.is_empty() => Err(Fault::Missing("period")),
        Some(at) if plausible(at, context) => Ok(at),
        _ => Err(Fault::value("begin of its period", text)),
    }
}

/// Seconds since 1970, as XML reports have them.
pub(super) fn unix(text: &str) -> Option<Time> {
    let whole = text.split('.').next().unwrap_or_default();
    whole.parse().ok().filter(|seconds| *seconds < 100_000_000_000_i64).map(Time::from_seconds)
}

/// A date of RFC 5322, as headers have them.
pub(super) fn date(text: &str) -> Option<Time> {
    let parsed = DateTime::parse_rfc822(text).filter(DateTime::is_valid)?;
    Some(Time::from_seconds(parsed.to_timestamp()))
}

/// A domain in one form: no dot at its end, lower case.
pub(super) fn domain(text: &str) -> String {
    cut(text.trim().trim_end_matches('.')).to_lowercase()
}

/// A text that a column takes.
pub(super) fn cut(text: &str) -> &str {
    cut_to(text, COLUMN_BYTES)
}

/// A name that all rows of a report repeat.
pub(super) fn name(text: &str) -> &str {
    cut_to(text, NAME_BYTES)
}

/// The first octets of a text, as many as there may be.
pub(super) fn cut_to(text: &str, bytes: usize) -> &str {
    let mut end = text.len().min(bytes);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

/// An address without its brackets and comments, cut.
pub(super) fn address(text: &str) -> &str {
    let text = text.trim();
    let inside = text.rsplit_once('<').and_then(|(_, rest)| rest.split_once('>')).map_or(text, |(inside, _)| inside);
    cut(inside.trim())
}

/// The local part and the domain of an address; of what is no address the whole, and no domain.
pub(super) fn mailbox(text: &str) -> (String, String) {
    let (user, domain) = crate::dialect::text::mailbox(address(text));
    (user.to_owned(), domain.trim_end_matches('.').to_owned())
}

/// A Message-ID without its brackets.
pub(super) fn message_id(text: &str) -> String {
    let text = text.trim();
    let inside = text.split_once('<').and_then(|(_, rest)| rest.split_once('>')).map_or(text, |(inside, _)| inside);
    cut(inside.trim()).to_owned()
}

/// The name of a report that has none: a digest of its content.
pub(super) fn digest(octets: &[u8]) -> String {
    let hash = blake3::hash(octets).to_hex();
    ["blake3:", hash.get(..32).unwrap_or_default()].concat()
}

/// The identity of a row: of what table it is and what its report calls it.
pub(super) fn event_id(table: &str, parts: &[&str], row: u32) -> EventId {
    let row = row.to_le_bytes();
    let mut all: Vec<&[u8]> = vec![table.as_bytes()];
    all.extend(parts.iter().map(|part| part.as_bytes()));
    all.push(&row);
    EventId::of(&all)
}
