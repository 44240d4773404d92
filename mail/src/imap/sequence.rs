//! Sets of sequence numbers and UIDs (RFC 9051 section 9, `sequence-set`).

use std::fmt::Write;

/// One number, or `*`: the largest in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bound {
    Number(u32),
    Largest,
}

/// A set as the client wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SequenceSet {
    /// Ranges, in any order.
    Ranges(Vec<(Bound, Bound)>),
    /// `$`: what the last SEARCH saved.
    Saved,
}

impl SequenceSet {
    /// Its ranges as plain numbers, the lower first, with `*` as `largest`. `$` has none.
    pub(crate) fn ranges(&self, largest: u32) -> Vec<(u32, u32)> {
        let plain = |bound: &Bound| match bound {
            Bound::Number(number) => *number,
            Bound::Largest => largest,
        };
        match self {
            Self::Saved => Vec::new(),
            Self::Ranges(ranges) => {
                ranges.iter().map(|(a, b)| (plain(a).min(plain(b)), plain(a).max(plain(b)))).collect()
            }
        }
    }

    /// Whether a number is beyond `largest` though it was written out.
    pub(crate) fn exceeds(&self, largest: u32) -> bool {
        let beyond = |bound: &Bound| matches!(bound, Bound::Number(number) if *number > largest);
        match self {
            Self::Saved => false,
            Self::Ranges(ranges) => ranges.iter().any(|(a, b)| {
                (beyond(a) && !matches!(b, Bound::Largest)) || (beyond(b) && !matches!(a, Bound::Largest))
            }),
        }
    }
}

/// Ascending numbers as a set: `1:3,7`.
pub(crate) fn compress(numbers: impl IntoIterator<Item = u32>) -> String {
    let mut text = String::new();
    let mut run: Option<(u32, u32)> = None;
    let mut flush = |run: Option<(u32, u32)>| {
        let Some((first, last)) = run else { return };
        let comma = if text.is_empty() { "" } else { "," };
        let _ = match first == last {
            true => write!(text, "{comma}{first}"),
            false => write!(text, "{comma}{first}:{last}"),
        };
    };
    for number in numbers {
        match run {
            Some((first, last)) if last.checked_add(1) == Some(number) => run = Some((first, number)),
            _ => {
                flush(run);
                run = Some((number, number));
            }
        }
    }
    flush(run);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_become_the_shortest_set() {
        assert_eq!(compress([1, 2, 3, 7, 9, 10]), "1:3,7,9:10");
        assert_eq!(compress([]), "");
    }

    #[test]
    fn a_range_up_to_the_largest_holds_it_even_from_beyond() {
        let set = SequenceSet::Ranges(vec![(Bound::Number(50), Bound::Largest)]);
        assert_eq!(set.ranges(7), [(7, 50)]);
        assert!(!set.exceeds(7));
        assert!(SequenceSet::Ranges(vec![(Bound::Number(1), Bound::Number(8))]).exceeds(7));
    }
}
