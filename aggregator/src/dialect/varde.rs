//! Our own events: one JSON object a line, as `varde parse` prints them and as every role can log them.

use super::clock::Clock;
use super::{Dialect, Entry, Reading};
use crate::event::Event;

/// The registry's entry.
pub const ENTRY: Entry =
    Entry { name: "varde", title: "Varde's own events, one JSON object a line", make: || Box::new(Varde), looks_like };

struct Varde;

fn looks_like(line: &str) -> bool {
    line.starts_with("{\"table\":")
}

impl Dialect for Varde {
    fn read(&mut self, line: &str, _clock: &Clock, out: &mut Vec<Event>) -> Reading {
        match Event::from_json(line) {
            Ok(event) => {
                out.push(event);
                Reading::Recognised
            }
            Err(_) => Reading::Unrecognised,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Time;

    fn read(line: &str) -> (Reading, Vec<Event>) {
        let mut out = Vec::new();
        let clock = Clock::new(chrono_tz::Tz::UTC, Time(1_795_342_608_000_000));
        (Varde.read(line, &clock, &mut out), out)
    }

    #[test]
    fn an_event_comes_back_as_it_was_written() {
        let line = r#"{"table":"deliveries","tenant":"default","ts":"2026-11-22T10:16:48.000123Z","node":"mx","event_id":"340282366920938463463374607431768211455","mta":"varde","queue_id":"4F","mx_ip":"2001:db8::1","attempt":2,"outcome":"bounced","is_final":true,"smtp_code":550}"#;
        let (reading, events) = read(line);
        assert_eq!(reading, Reading::Recognised);
        assert_eq!(events.iter().map(|event| event.to_json().unwrap()).collect::<Vec<_>>(), [line]);
    }

    #[test]
    fn what_is_no_event_is_not_recognised() {
        for line in [
            "",
            "{}",
            r#"{"table":"no_such_table"}"#,
            r#"{"table":"deliveries","outcome":"lost"}"#,
            "Nov 22 10:16:48 mx postfix/qmgr[812]: 4F: removed",
        ] {
            assert_eq!(read(line), (Reading::Unrecognised, Vec::new()), "{line}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_line_panics(line in "(\\{\"table\":\"[a-z_]{0,12}\")?.{0,120}") {
            let _ = read(&line);
        }
    }
}
