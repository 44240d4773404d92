//! A configuration file as a tree with places, from which sections are taken one by one.
//!
//! Deserialising stops at its first fault. To name them all, the key at fault is taken out of the tree and the rest
//! is read again, until it is sound or what is left cannot be told apart.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::ops::Range;

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Fault;

/// A key of a section that was misread is taken out at most this often: a file with more faults has said enough.
const FAULTS_PER_SECTION: usize = 100;

/// The file, less the sections that have been taken.
pub struct Document<'a> {
    text: &'a str,
    whole: DeTable<'a>,
    left: DeTable<'a>,
    taken: Vec<&'static str>,
    faults: BTreeSet<Fault>,
}

impl<'a> Document<'a> {
    /// Reads what can be read; what cannot is a fault already.
    pub fn parse(text: &'a str) -> Self {
        let (root, errors) = DeTable::parse_recoverable(text);
        let whole = root.into_inner();
        let mut document = Self { text, left: whole.clone(), whole, taken: Vec::new(), faults: BTreeSet::new() };
        for error in errors {
            let line = error.span().map_or(0, |span| document.line(span.start));
            document.faults.insert(Fault { line, key: String::new(), message: error.message().to_owned() });
        }
        document
    }

    /// Takes the section `[name]`. `None` when it is faulty, or absent.
    pub fn section<T: DeserializeOwned>(&mut self, name: &'static str, required: bool) -> Option<T> {
        self.taken.push(name);
        let Some((key, value)) = take(&mut self.left, name) else {
            if required {
                self.faults.insert(Fault {
                    line: 0,
                    key: name.to_owned(),
                    message: format!("the section [{name}] is missing; `varde init` writes a complete file"),
                });
            }
            return None;
        };
        let line = self.line(key.span().start);
        match value.into_inner() {
            DeValue::Table(table) => self.read(table, name, line),
            other => {
                let message = format!("is {}, but must be a section: [{name}]", other.type_str());
                self.faults.insert(Fault { line, key: name.to_owned(), message });
                None
            }
        }
    }

    /// Takes several sections that one type holds together.
    pub fn sections<T: DeserializeOwned>(&mut self, names: &[&'static str]) -> Option<T> {
        let mut table = DeTable::new();
        for name in names {
            self.taken.push(name);
            if let Some((key, value)) = take(&mut self.left, name) {
                table.insert(key, value);
            }
        }
        self.read(table, "", 0)
    }

    /// Every section that nobody took is a fault.
    pub fn refuse_unknown_sections(&mut self) {
        let unknown: Vec<_> =
            self.left.keys().map(|key| (self.line(key.span().start), key.get_ref().to_string())).collect();
        for (line, key) in unknown {
            let near =
                self.taken.iter().filter(|name| distance(name, &key) <= 2).min_by_key(|name| distance(name, &key));
            let message = match near {
                Some(name) => format!("there is no such section; did you mean \"{name}\"?"),
                None => format!("there is no such section; there are {}", self.taken.join(", ")),
            };
            self.faults.insert(Fault { line, key, message });
        }
    }

    /// Adds faults that a crate found in what was read.
    pub fn semantic(&mut self, faults: Vec<(String, String)>) {
        for (key, message) in faults {
            self.fault(&key, message);
        }
    }

    /// Adds one fault at a key such as `target[0].check[2].port`.
    pub fn fault(&mut self, key: &str, message: String) {
        let line = self.offset_of(key).map_or(0, |offset| self.line(offset));
        self.faults.insert(Fault { line, key: key.to_owned(), message });
    }

    /// Whether the file is sound.
    pub fn finish(self) -> Result<(), Vec<Fault>> {
        if self.faults.is_empty() { Ok(()) } else { Err(self.faults.into_iter().collect()) }
    }

    fn read<T: DeserializeOwned>(&mut self, mut table: DeTable<'a>, prefix: &str, head: usize) -> Option<T> {
        let mut sound = true;
        for _ in 0..FAULTS_PER_SECTION {
            let read = T::deserialize(toml::de::Deserializer::from(Spanned::new(0..self.text.len(), table.clone())));
            let error = match read {
                Ok(section) => return sound.then_some(section),
                Err(error) => error,
            };
            sound = false;
            let removed =
                error.span().filter(|span| span.len() < self.text.len()).and_then(|span| remove(&mut table, &span));
            let message = error.message().trim().to_owned();
            match removed {
                Some((path, offset)) => {
                    let key = if prefix.is_empty() { path } else { format!("{prefix}.{path}") };
                    self.faults.insert(Fault { line: self.line(offset), key, message });
                }
                None => {
                    let line = error
                        .span()
                        .filter(|span| span.len() < self.text.len())
                        .map_or(head, |span| self.line(span.start));
                    self.faults.insert(Fault { line, key: prefix.to_owned(), message });
                    return None;
                }
            }
        }
        None
    }

    fn line(&self, offset: usize) -> usize {
        self.text.as_bytes().iter().take(offset).filter(|byte| **byte == b'\n').count() + 1
    }

    /// Where a key stands; when it is not there (a default), where the nearest table around it stands.
    fn offset_of(&self, key: &str) -> Option<usize> {
        let mut found = None;
        let mut table = Some(&self.whole);
        for part in key.split('.') {
            let (name, index) = match part.split_once('[') {
                Some((name, index)) => (name, index.trim_end_matches(']').parse::<usize>().ok()),
                None => (part, None),
            };
            let Some((key, value)) = table.and_then(|table| table.iter().find(|(key, _)| key.get_ref() == name)) else {
                break;
            };
            found = Some(key.span().start);
            let value = match index {
                Some(index) => value.get_ref().get(index),
                None => Some(value),
            };
            if let (Some(value), Some(_)) = (value, index) {
                found = Some(value.span().start);
            }
            table = value.and_then(|value| value.get_ref().as_table());
        }
        found
    }
}

fn take<'a>(table: &mut DeTable<'a>, name: &str) -> Option<(Spanned<Cow<'a, str>>, Spanned<DeValue<'a>>)> {
    let key = table.keys().find(|key| key.get_ref() == name)?.clone();
    let value = table.remove(&key)?;
    Some((key, value))
}

/// Removes the key that stands at `span`, or whose plain value does. Gives its path and its place.
fn remove(table: &mut DeTable<'_>, span: &Range<usize>) -> Option<(String, usize)> {
    let keys: Vec<_> = table.keys().cloned().collect();
    for key in keys {
        let at_key = key.span() == *span;
        let value = table.get_mut(&key)?;
        let here = at_key || (value.span() == *span && !value.get_ref().is_table());
        if here {
            table.remove(&key);
            return Some((key.get_ref().to_string(), key.span().start));
        }
        let inner = match value.get_mut() {
            DeValue::Table(inner) => remove(inner, span),
            DeValue::Array(items) => items.iter_mut().enumerate().find_map(|(index, item)| {
                let place = item.span();
                match item.get_mut() {
                    DeValue::Table(inner) => remove(inner, span).map(|(path, at)| (format!("[{index}].{path}"), at)),
                    _ => (place == *span).then(|| (format!("[{index}]"), place.start)),
                }
            }),
            _ => None,
        };
        if let Some((path, at)) = inner {
            if path.starts_with('[') && !path.contains('.') {
                table.remove(&key);
            }
            let dot = if path.starts_with('[') { "" } else { "." };
            return Some((format!("{}{dot}{path}", key.get_ref()), at));
        }
    }
    None
}

/// Levenshtein distance, for "did you mean".
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, left) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, right) in b.chars().enumerate() {
            let substituted = diagonal + usize::from(left != right);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row.last().copied().unwrap_or(0)
}
