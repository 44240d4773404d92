//! Exim's main, reject and panic logs (Exim specification, chapter 53 "Log files").
//!
//! An arrival line (`<=`) makes a reception and is remembered for the deliveries (`=>`, `->`, `>>`, `**`, `==`) of the
//! same message, which do not repeat its sender, size or Message-ID.

mod deliver;
mod fields;
mod known;
mod receive;
mod refuse;
mod session;

use super::clock::Clock;
use super::recent::Recent;
use super::{Dialect, Entry, Reading, head};
use crate::event::{Address, DeliveryOutcome, Event, Time};

/// The registry's entry.
pub const ENTRY: Entry =
    Entry { name: "exim", title: "Exim main, reject and panic logs", make: || Box::new(Exim::default()), looks_like };

/// Messages whose arrival is remembered.
const MESSAGES: usize = 50_000;

/// Verified signatures that wait for the arrival of their message.
const SIGNATURES: usize = 1_000;

/// Ends of connections that are remembered.
const ENDS: usize = 1_000;

/// How long after an end another line may tell the same one.
const ENDED_MS: u64 = 5_000;

/// Recipients of one message whose attempts are counted.
const COUNTED_RECIPIENTS: usize = 1_000;

#[derive(Default)]
struct Exim {
    messages: Recent<Message, MESSAGES>,
    /// What the signatures of messages that have not arrived yet are worth.
    signatures: Recent<&'static str, SIGNATURES>,
    /// When the connections of clients ended.
    ended: Recent<Time, ENDS>,
}

/// What an arrival says that its deliveries do not.
#[derive(Debug, Default)]
struct Message {
    message_id: String,
    sender_user: String,
    sender_domain: String,
    client_ip: Option<Address>,
    size_bytes: Option<u64>,
    arrived: Time,
    /// The recipients that were deferred, and how many times.
    deferrals: Vec<(String, u32)>,
}

/// What every line of Exim has before its own text.
struct Line<'a> {
    time: Time,
    host: &'a str,
    id: &'a str,
    text: &'a str,
}

fn looks_like(line: &str) -> bool {
    const ARROWS: [&str; 8] = [" <= ", " => ", " -> ", " ** ", " == ", " >> ", " (= ", " Completed"];
    let dated = is_dated(line);
    let arrow = dated && ARROWS.iter().any(|arrow| line.contains(arrow)) && line.get(19..).is_some_and(has_id);
    let refused = dated && line.get(19..).is_some_and(|text| text.contains(" H=") && text.contains("rejected "));
    arrow || refused || line.contains(" exim[")
}

fn has_id(rest: &str) -> bool {
    rest.split(' ').take(5).any(is_message_id)
}

/// Exim's own times have a space between date and time, a syslog's have not.
fn is_dated(line: &str) -> bool {
    matches!(line.as_bytes(), [b'0'..=b'9', _, _, _, b'-', _, _, b'-', _, _, b' ', ..])
}

/// `1rfXYZ-0001Ab-2C`, or `1rfXYZ-00000001AbC-2Cde` since Exim 4.97.
fn is_message_id(word: &str) -> bool {
    let dashes = match word.len() {
        16 => [6, 13],
        23 => [6, 18],
        _ => return false,
    };
    word.bytes()
        .enumerate()
        .all(|(at, byte)| if dashes.contains(&at) { byte == b'-' } else { byte.is_ascii_alphanumeric() })
}

impl Dialect for Exim {
    fn read(&mut self, line: &str, clock: &Clock, out: &mut Vec<Event>) -> Reading {
        if is_dated(line) {
            return match head::time(line, clock) {
                Some((time, text)) => self.text(time, "", text, out),
                None => Reading::Unrecognised,
            };
        }
        if let Some((time, text)) = head::unwrapped(line) {
            let (time, text) = head::time(&text, clock).unwrap_or((time, &text));
            return self.text(time, "", text, out);
        }
        if let Some(head) = head::split(line, clock).filter(|head| head.program.starts_with("exim")) {
            return self.syslog(&head, clock, out);
        }
        // The reject log repeats the header of a refused message under its line.
        if is_reject_header(line) { Reading::Recognised } else { Reading::Unrecognised }
    }
}

fn is_reject_header(line: &str) -> bool {
    // `F From: x`: one letter says what Exim does with the header field.
    let marked = matches!(line.as_bytes(), [b'A'..=b'Z' | b'*', b' ', ..]) && line.contains(':');
    marked || line.starts_with("Envelope-") || line.starts_with([' ', '\t']) || line.bytes().all(|byte| byte == b'-')
}

impl Exim {
    /// `Nov 22 10:16:48 mx exim[812]: 2026-11-22 10:16:48 1rf… <= …`, or without the second time.
    fn syslog(&mut self, head: &head::Head<'_>, clock: &Clock, out: &mut Vec<Event>) -> Reading {
        // A long line comes in parts, `[1/5] `, and a header in lines, `[1\18] `: only the first says what it is.
        let (first, message) = match part(&head.message) {
            Some((number, message)) => (number == 1, message),
            None => (true, &*head.message),
        };
        if !first {
            return Reading::Recognised;
        }
        let dated = Some(message).filter(|message| is_dated(message));
        let (time, text) = dated.and_then(|message| head::time(message, clock)).unwrap_or((head.time, message));
        self.text(time, &head.host, text, out)
    }

    /// The line behind its time.
    fn text(&mut self, time: Time, host: &str, text: &str, out: &mut Vec<Event>) -> Reading {
        // `[812] ` with the log selector `pid`.
        let text = match text.strip_prefix('[').and_then(|text| text.split_once("] ")) {
            Some((pid, after)) if pid.bytes().all(|byte| byte.is_ascii_digit()) => after,
            _ => text,
        };
        let (id, text) = match text.split_once(' ') {
            Some((word, after)) if is_message_id(word) => (word, after),
            _ if is_message_id(text) => (text, ""),
            _ => ("", text),
        };
        let line = Line { time, host, id, text };
        if id.is_empty() { self.of_no_message(&line, out) } else { self.of_message(&line, out) }
    }

    fn of_message(&mut self, line: &Line<'_>, out: &mut Vec<Event>) -> Reading {
        let (mark, rest) = line.text.split_once(' ').unwrap_or((line.text, ""));
        match mark {
            "<=" | "(=" => self.arrival(line, mark == "(=", rest, out),
            "=>" | "->" | ">>" => self.delivery(line, rest, DeliveryOutcome::Delivered, out),
            "**" => self.delivery(line, rest, DeliveryOutcome::Bounced, out),
            "==" => self.delivery(line, rest, DeliveryOutcome::Deferred, out),
            "Completed" => {
                self.messages.remove(line.id);
            }
            "DKIM:" => self.signature(line.id, rest),
            _ => match refuse::reception(line) {
                Some(reception) => out.push(reception.into()),
                None => {
                    self.session(line, out);
                }
            },
        }
        // Whatever else Exim says of a message is a remark on it.
        Reading::Recognised
    }

    /// `d=src.ex s=x c=relaxed/relaxed a=rsa-sha256 b=2048 [verification succeeded]` before the arrival. One good
    /// signature is enough (RFC 6376 section 6.1); the words are those of RFC 8601.
    fn signature(&mut self, id: &str, rest: &str) {
        let result = match rest.rsplit_once('[').map_or("", |(_, result)| result) {
            result if result.starts_with("verification succeeded") => "pass",
            result if result.starts_with("verification failed") => "fail",
            result if result.starts_with("invalid") => "permerror",
            _ => return,
        };
        if self.signatures.get(id).is_none_or(|before| *before != "pass") {
            self.signatures.insert(id, result);
        }
    }

    fn of_no_message(&mut self, line: &Line<'_>, out: &mut Vec<Event>) -> Reading {
        if let Some(reception) = refuse::reception(line) {
            out.push(reception.into());
        } else if let Some(failure) = refuse::authentication(line) {
            out.push(failure.into());
        } else if self.session(line, out) {
            return Reading::Recognised;
        } else if !known::is_known(line.text) {
            return Reading::Unrecognised;
        }
        Reading::Recognised
    }
}

/// `[2/5] ` or `[2\18] ` before a part of a line: its number, and the part.
fn part(message: &str) -> Option<(u32, &str)> {
    let (numbers, rest) = message.strip_prefix('[')?.split_once(']')?;
    let (number, of) = numbers.split_once(['/', '\\'])?;
    of.parse::<u32>().ok()?;
    Some((number.parse().ok()?, rest.strip_prefix(' ').unwrap_or(rest)))
}

/// `TLS1.3:ECDHE-RSA-AES256-GCM-SHA384:256`, `TLSv1.2:…`: version and cipher suite. A star behind it says that the
/// session was resumed.
fn tls(value: &str) -> (String, String) {
    let mut parts = value.split(':');
    let version = parts.next().unwrap_or_default();
    let version = match version.strip_prefix("TLS") {
        Some(number) if number.starts_with(|c: char| c.is_ascii_digit()) => format!("TLSv{number}"),
        _ => version.to_owned(),
    };
    (version, parts.next().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests;
