//! SEARCH (RFC 9051 section 6.4.4). What can be told from a message's state is, before its octets are read.

use std::borrow::Cow;

use aggregator::event::Time;
use mail_parser::{MessageParser, PartType};

use super::selected::Selected;
use super::{Done, Session, no, ok};
use crate::imap::command::{By, Key, ReturnOption, When};
use crate::imap::mime::{fields, unfold};
use crate::imap::sequence::{Bound, SequenceSet, compress};
use crate::store::{MessageState, StoreError, Stores};

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
        let stores = self.stores.clone();
        let by_mod_seq = uses_mod_seq(key);
        self.condstore |= by_mod_seq;
        let rev2 = self.rev2;
        let selected = self.selected()?;
        let key = prepare(selected, key);
        let mut found: Vec<(u32, usize)> = Vec::new();
        for (at, state) in selected.messages.iter().enumerate() {
            let mut candidate = Candidate { selected, stores: &stores, state, at, now, octets: None };
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

/// The key with texts in lower case, and `*` and `$` made plain once for all messages.
fn prepare(selected: &Selected, key: &Key) -> Key {
    let plain = |by, set: &SequenceSet| {
        let uids = match set {
            SequenceSet::Saved => selected.saved.clone(),
            set => selected.within(by, set),
        };
        Key::Uid(SequenceSet::Ranges(uids.into_iter().map(|uid| (Bound::Number(uid), Bound::Number(uid))).collect()))
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
            keys.sort_by_key(needs_octets);
            Key::And(keys)
        }
        key => key.clone(),
    }
}

/// Whether a key cannot be told from a message's state.
fn needs_octets(key: &Key) -> bool {
    match key {
        Key::Header { .. } | Key::Body(_) | Key::Text(_) | Key::Sent(..) => true,
        Key::Not(key) => needs_octets(key),
        Key::Or(keys) => needs_octets(&keys.0) || needs_octets(&keys.1),
        Key::And(keys) => keys.iter().any(needs_octets),
        _ => false,
    }
}

/// A message that is held against the key.
struct Candidate<'a> {
    selected: &'a Selected,
    stores: &'a Stores,
    state: &'a MessageState,
    at: usize,
    now: Time,
    octets: Option<Vec<u8>>,
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
            Key::Uid(set) => contains(set, state.uid),
            Key::Sequence(set) => contains(set, u32::try_from(self.at + 1).unwrap_or(u32::MAX)),
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
            Key::Header { .. } | Key::Body(_) | Key::Text(_) | Key::Sent(..) => {
                let octets = self.octets()?;
                match key {
                    Key::Header { field, text } => header_has(octets, Some(field), text),
                    Key::Body(text) => body_has(octets, text),
                    Key::Text(text) => header_has(octets, None, text) || body_has(octets, text),
                    Key::Sent(when, day) => sent_day(octets).is_some_and(|sent| compare(*when, sent, *day)),
                    _ => false,
                }
            }
        })
    }

    /// Empty for a message that is gone: it matches nothing that is asked of its text.
    fn octets(&mut self) -> Result<&[u8], Done> {
        if self.octets.is_none() {
            let octets = match self.stores.mailboxes.octets(self.selected.mailbox.id, self.state.uid) {
                Err(StoreError::NotFound(_)) => Vec::new(),
                octets => octets?,
            };
            self.octets = Some(octets);
        }
        Ok(self.octets.as_deref().unwrap_or_default())
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

fn contains(set: &SequenceSet, number: u32) -> bool {
    set.ranges(u32::MAX).iter().any(|(first, last)| (*first..=*last).contains(&number))
}

/// Whether a field (or any, or its mere presence for an empty text) holds the text; encoded words are decoded.
fn header_has(octets: &[u8], field: Option<&str>, text: &str) -> bool {
    fields(octets).any(|known| match field {
        Some(name) => {
            known.name.eq_ignore_ascii_case(name.as_bytes()) && decode(known.value).to_lowercase().contains(text)
        }
        None => {
            let name = String::from_utf8_lossy(known.name);
            [&name, ": ", &decode(known.value)].concat().to_lowercase().contains(text)
        }
    })
}

/// A field's value on one line, with its encoded words (RFC 2047) decoded.
fn decode(value: &[u8]) -> String {
    let plain = unfold(value);
    if !plain.contains("=?") {
        return plain;
    }
    let line = ["Subject: ", &plain, "\r\n\r\n"].concat();
    let parsed = MessageParser::default().parse_headers(line.as_bytes());
    parsed.and_then(|message| message.subject().map(str::to_owned)).unwrap_or(plain)
}

/// Whether a text part holds the text, decoded.
fn body_has(octets: &[u8], text: &str) -> bool {
    let parsed = MessageParser::default().parse(octets);
    parsed.is_some_and(|message| parts_have(&message, text))
}

fn parts_have(message: &mail_parser::Message<'_>, text: &str) -> bool {
    message.parts.iter().any(|part| {
        let body: Cow<'_, str> = match &part.body {
            PartType::Text(body) | PartType::Html(body) => Cow::Borrowed(body.as_ref()),
            PartType::Message(inner) => return parts_have(inner, text),
            PartType::Binary(_) | PartType::InlineBinary(_) | PartType::Multipart(_) => return false,
        };
        body.to_lowercase().contains(text)
    })
}

/// The day of the Date field as it was written, whatever its zone (RFC 9051: "disregarding time and timezone").
fn sent_day(octets: &[u8]) -> Option<i64> {
    let parsed = MessageParser::default().parse_headers(octets)?;
    let date = parsed.date()?;
    let day = chrono::NaiveDate::from_ymd_opt(i32::from(date.year), u32::from(date.month), u32::from(date.day))?;
    Some(day.signed_duration_since(chrono::NaiveDate::default()).num_days())
}
