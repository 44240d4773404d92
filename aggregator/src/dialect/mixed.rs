//! A syslog file of a mail host: Postfix, Dovecot, filters and others write into one file. Each line goes to the dialect
//! that it looks like.

use super::clock::Clock;
use super::{DIALECTS, Dialect, Entry, Reading};
use crate::event::Event;

/// The registry's entry. No single line looks like a mixture.
pub const ENTRY: Entry = Entry {
    name: "mail",
    title: "a mail host's syslog with several programs in it",
    make: || Box::new(Mixed::default()),
    looks_like: |_| false,
};

struct Mixed {
    parts: Vec<Part>,
}

struct Part {
    looks_like: fn(&str) -> bool,
    dialect: Box<dyn Dialect>,
}

impl Default for Mixed {
    fn default() -> Self {
        let others = DIALECTS.iter().filter(|entry| entry.name != ENTRY.name);
        Self { parts: others.map(|entry| Part { looks_like: entry.looks_like, dialect: (entry.make)() }).collect() }
    }
}

impl Dialect for Mixed {
    fn read(&mut self, line: &str, clock: &Clock, out: &mut Vec<Event>) -> Reading {
        for part in self.parts.iter_mut().filter(|part| (part.looks_like)(line)) {
            if part.dialect.read(line, clock, out) == Reading::Recognised {
                return Reading::Recognised;
            }
        }
        Reading::Unrecognised
    }

    fn begins_within(&mut self) {
        self.parts.iter_mut().for_each(|part| part.dialect.begins_within());
    }

    fn take_back(&mut self, rows: &mut Vec<Event>) {
        self.parts.iter_mut().for_each(|part| part.dialect.take_back(rows));
    }
}
