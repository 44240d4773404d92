//! SEARCH (RFC 9051 section 6.4.4). What can be told from a message's state is, before its octets are read.

mod text;

use aggregator::event::Time;

use super::selected::Selected;
use super::{Done, Session, no, ok};
use crate::imap::command::{By, Key, ReturnOption, When};
use crate::imap::sequence::{Bound, SequenceSet, compress};
use crate::store::{MessageState, StoreError, Stores};
use text::Text;

/// Keys of one command that are sought in the octets of messages: each reads all of them.
const TEXT_KEYS: usize = 50;

impl Session {
    pub(super) fn search(
        &mut self,
        tag: &str,
        by: By,
        options: Option<&[ReturnOption]>,
        charset: Option<&str>,
        key: &Key,
        now: Time,
    ) -> Result<Done, Done> {
        if charset.is_some_and(|charset| !["UTF-8", "US-ASCII"].iter().any(|known| known.eq_ignore_ascii_case(charset)))
        {
            return Err(no("[BADCHARSET (UTF-8 US-ASCII)] There is no such charset here"));
        }
        if text_keys(key) > TEXT_KEYS {
            return Err(no("[LIMIT] A search takes at most 50 keys for header, text and date sent"));
        }
        let stores = self.stores.clone();
        let by_mod_seq = uses_mod_seq(key);
        self.condstore |= by_mod_seq;
        let rev2 = self.rev2;
        let selected = self.selected()?;
        let key = prepare(selected, key);
        let mut found: Vec<(u32, usize)> = Vec::new();
        for (at, state) in selected.messages.iter().enumerate() {
            let mut candidate = Candidate { selected, stores: &stores, state, now, text: None };
            if candidate.matches(&key)? {
                found.push((state.uid, at));
            }
        }
        let highest = found.iter().map(|(_, at)| selected.messages[*at].mod_seq).max().filter(|_| by_mod_seq);
        let numbers: Vec<u32> = match by {
            By::Uid => found.iter().map(|(uid, _)| *uid).collect(),
            By::Sequence => found.iter().filter_map(|(_, at)| u32::try_from(at + 1).ok()).collect(),
        };
        let options = match (options, rev2) {
            (Some(options), _) => options,
            (None, true) => &[ReturnOption::All],
            (None, false) => {
                self.put_search(&numbers, highest);
                return Ok(ok("SEARCH done"));
            }
        };
        if options.contains(&ReturnOption::Save) {
            selected.saved = saved(&found, options);
        }
        if options != [ReturnOption::Save] {
            self.put_esearch(tag, by, options, &numbers, highest);
        }
        Ok(ok("SEARCH done"))
    }

    fn put_search(&mut self, numbers: &[u32], highest: Option<u64>) {
        let mut line = String::from("SEARCH");
        for number in numbers {
            line.push(' ');
            line.push_str(&number.to_string());
        }
        if let Some(highest) = highest {
            line.push_str(&[" (MODSEQ ", &highest.to_string(), ")"].concat());
        }
        self.untagged(&line);
    }

    fn put_esearch(&mut self, tag: &str, by: By, options: &[ReturnOption], numbers: &[u32], highest: Option<u64>) {
        let mut line = ["ESEARCH (TAG \"", &tag.replace('\\', "\\\\").replace('"', "\\\""), "\")"].concat();
        if by == By::Uid {
            line.push_str(" UID");
        }
        let mut put = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                line.push_str(&[" ", name, " ", &value].concat());
            }
        };
        let wants = |option| options.contains(&option);
        put("MIN", numbers.first().filter(|_| wants(ReturnOption::Min)).map(u32::to_string));
        put("MAX", numbers.last().filter(|_| wants(ReturnOption::Max)).map(u32::to_string));
        put("ALL", Some(compress(numbers.iter().copied())).filter(|all| wants(ReturnOption::All) && !all.is_empty()));
        put("COUNT", wants(ReturnOption::Count).then(|| numbers.len().to_string()));
        put("MODSEQ", highest.map(|highest| highest.to_string()));
        self.untagged(&line);
    }
}

/// RFC 5182 section 2.1: with MIN or MAX alone, only those messages are saved.
fn saved(found: &[(u32, usize)], options: &[ReturnOption]) -> Vec<u32> {
    let wants = |option| options.contains(&option);
    let mut uids = found.iter().map(|(uid, _)| *uid);
    if wants(ReturnOption::All) || wants(ReturnOption::Count) || !(wants(ReturnOption::Min) || wants(ReturnOption::Max))
    {
        return uids.collect();
    }
    let mut saved: Vec<u32> = uids.clone().next().filter(|_| wants(ReturnOption::Min)).into_iter().collect();
    saved.extend(uids.next_back().filter(|_| wants(ReturnOption::Max)));
    saved.dedup();
    saved
}

fn uses_mod_seq(key: &Key) -> bool {
    match key {
        Key::ModSeq(_) => true,
        Key::Not(key) => uses_mod_seq(key),
        Key::Or(keys) => uses_mod_seq(&keys.0) || uses_mod_seq(&keys.1),
        Key::And(keys) => keys.iter().any(uses_mod_seq),
        _ => false,
    }
}

/// The key with texts in lower case, and sets as ascending ranges of UIDs, found once for all messages.
fn prepare(selected: &Selected, key: &Key) -> Key {
    let plain = |by, set: &SequenceSet| {
        // A saved set is ascending UIDs already.
        if *set == SequenceSet::Saved {
            return Key::Uid(SequenceSet::Saved);
        }
        let uid = |at: usize| Bound::Number(selected.messages.get(at).map_or(0, |state| state.uid));
        let ranges = selected.spans(by, set).into_iter().map(|span| (uid(span.start), uid(span.end - 1)));
        Key::Uid(SequenceSet::Ranges(ranges.collect()))
    };
    match key {
        Key::Sequence(set) => plain(By::Sequence, set),
        Key::Uid(set) => plain(By::Uid, set),
        Key::Header { field, text } => Key::Header { field: field.clone(), text: text.to_lowercase() },
        Key::Body(text) => Key::Body(text.to_lowercase()),
        Key::Text(text) => Key::Text(text.to_lowercase()),
        Key::Not(key) => Key::Not(Box::new(prepare(selected, key))),
        Key::Or(keys) => Key::Or(Box::new((prepare(selected, &keys.0), prepare(selected, &keys.1)))),
        Key::And(keys) => {
            let mut keys: Vec<Key> = keys.iter().map(|key| prepare(selected, key)).collect();
            keys.sort_by_key(|key| text_keys(key) > 0);
            Key::And(keys)
        }
        key => key.clone(),
    }
}

/// How many keys cannot be told from a message's state.
fn text_keys(key: &Key) -> usize {
    match key {
        Key::Header { .. } | Key::Body(_) | Key::Text(_) | Key::Sent(..) => 1,
        Key::Not(key) => text_keys(key),
        Key::Or(keys) => text_keys(&keys.0) + text_keys(&keys.1),
        Key::And(keys) => keys.iter().map(text_keys).sum(),
        _ => 0,
    }
}

/// A message that is held against the key.
struct Candidate<'a> {
    selected: &'a Selected,
    stores: &'a Stores,
    state: &'a MessageState,
    now: Time,
    text: Option<Text>,
}

impl Candidate<'_> {
    fn matches(&mut self, key: &Key) -> Result<bool, Done> {
        let state = self.state;
        Ok(match key {
            Key::All => true,
            Key::Nothing => false,
            Key::Flag(flag) => state.flags.has(*flag),
            Key::Keyword(keyword) => state.keywords.iter().any(|known| known.eq_ignore_ascii_case(keyword)),
            Key::Larger(size) => state.size > *size,
            Key::Smaller(size) => state.size < *size,
            Key::ModSeq(mod_seq) => state.mod_seq >= *mod_seq,
            Key::Arrived(when, day) => compare(*when, state.at.day(), *day),
            Key::Older(seconds) => age_s(self.now, state.at) >= *seconds,
            Key::Younger(seconds) => age_s(self.now, state.at) <= *seconds,
            Key::Uid(set) | Key::Sequence(set) => contains(self.selected, set, state.uid),
            Key::Not(key) => !self.matches(key)?,
            Key::Or(keys) => self.matches(&keys.0)? || self.matches(&keys.1)?,
            Key::And(keys) => {
                for key in keys {
                    if !self.matches(key)? {
                        return Ok(false);
                    }
                }
                true
            }
            Key::Header { field, text } => self.text()?.header_has(Some(field), text),
            Key::Body(text) => self.text()?.body_has(text),
            Key::Text(text) => {
                let sought = self.text()?;
                sought.header_has(None, text) || sought.body_has(text)
            }
            Key::Sent(when, day) => self.text()?.sent_day().is_some_and(|sent| compare(*when, sent, *day)),
        })
    }

    /// Empty for a message that is gone: it matches nothing that is asked of its text.
    fn text(&mut self) -> Result<&Text, Done> {
        let text = match self.text.take() {
            Some(text) => text,
            None => match self.stores.mailboxes.octets(self.selected.mailbox.id, self.state.uid) {
                Err(StoreError::NotFound(_)) => Text::of(Vec::new()),
                octets => Text::of(octets?),
            },
        };
        Ok(self.text.insert(text))
    }
}

fn compare(when: When, day: i64, wanted: i64) -> bool {
    match when {
        When::Before => day < wanted,
        When::On => day == wanted,
        When::Since => day >= wanted,
    }
}

fn age_s(now: Time, at: Time) -> u64 {
    now.millis_since(at) / 1_000
}

/// Whether a set that [`prepare`] made holds a UID.
fn contains(selected: &Selected, set: &SequenceSet, uid: u32) -> bool {
    let SequenceSet::Ranges(ranges) = set else { return selected.saved.binary_search(&uid).is_ok() };
    let plain = |bound: Bound| match bound {
        Bound::Number(number) => number,
        Bound::Largest => u32::MAX,
    };
    let after = ranges.partition_point(|(first, _)| plain(*first) <= uid);
    after.checked_sub(1).and_then(|at| ranges.get(at)).is_some_and(|(_, last)| uid <= plain(*last))
}
