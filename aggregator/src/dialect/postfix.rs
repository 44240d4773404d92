//! Postfix: every daemon, instance and submission service (Postfix 2.3 to 3.10).
//!
//! The daemons of one message tell their parts in lines of their own, tied by the queue id: `smtpd` the client, `cleanup`
//! the Message-ID, `qmgr` sender and size, the delivery agents one line an attempt. [`state`] holds the parts until an
//! event wants them.

mod delivery;
mod known;
mod refusal;
mod smtpd;
mod state;

use memchr::memmem;

use self::state::Memory;
use super::clock::Clock;
use super::text::{Marks, cut, cut_at, mailbox};
use super::{Dialect, Entry, Reading, head};
use crate::event::{Delivery, DeliveryOutcome, Event, Time};

/// The registry's entry.
pub const ENTRY: Entry = Entry { name: "postfix", title: "Postfix", make: || Box::new(Postfix::default()), looks_like };

fn looks_like(line: &str) -> bool {
    static MARKS: Marks =
        Marks::new(|| [" postfix/", " postfix-", "\"postfix/"].iter().map(memmem::Finder::new).collect());
    MARKS.any_in(line) || is_of_another_name(line)
}

/// `mx-out/qmgr[812]: …`: an instance whose `syslog_name` is the site's own.
fn is_of_another_name(line: &str) -> bool {
    let Some((before, _)) = cut(line, b'[') else { return false };
    let tag = before.rsplit([' ', '"']).next().unwrap_or_default();
    tag.rsplit_once('/').is_some_and(|(instance, agent)| known::is_agent(instance, agent))
}

#[derive(Default)]
struct Postfix {
    memory: Memory,
    /// The daemons of the last lines, by the last octets of their names.
    daemons: [Daemon; DAEMONS],
}

/// Places for daemons whose names have been looked into: a log has few of them.
const DAEMONS: usize = 32;

/// What a syslog tag says: `postfix/submission/smtpd`.
#[derive(Default)]
struct Daemon {
    tag: String,
    /// Where the daemon's own name begins in it; `None` when it is none of Postfix.
    agent: Option<usize>,
    submission: bool,
}

impl Daemon {
    fn new(tag: &str) -> Self {
        let (instance, agent) = tag.rsplit_once('/').unwrap_or(("", tag));
        Self {
            agent: known::is_agent(instance, agent).then_some(tag.len() - agent.len()),
            submission: instance != "postfix" && (instance.contains("submission") || instance.contains("smtps")),
            tag: tag.to_owned(),
        }
    }

    /// The place of a tag.
    fn place(tag: &str) -> usize {
        let bytes = tag.as_bytes();
        let last = bytes.iter().rev().take(4).fold(0, |sum, byte| sum * 5 + usize::from(*byte));
        (last + bytes.len()) % DAEMONS
    }
}

/// A line of one daemon.
#[derive(Debug, Clone, Copy)]
struct Line<'a> {
    time: Time,
    host: &'a str,
    /// The daemon: the last part of `postfix/submission/smtpd`.
    agent: &'a str,
    /// Whether mail users submit here: the parts before name the service.
    submission: bool,
    pid: u32,
    /// The queue id, if the line is about a message.
    id: Option<&'a str>,
    /// What follows.
    text: &'a str,
}

impl Line<'_> {
    /// The protocol of a session with this daemon.
    fn service(&self) -> &'static str {
        if self.submission { "submission" } else { "smtp" }
    }
}

impl Dialect for Postfix {
    fn read(&mut self, line: &str, clock: &Clock, out: &mut Vec<Event>) -> Reading {
        let Some(head) = head::split(line, clock) else { return Reading::Unrecognised };
        let place = Daemon::place(&head.program);
        let Some(daemon) = self.daemons.get_mut(place) else { return Reading::Unrecognised };
        if daemon.tag != *head.program {
            *daemon = Daemon::new(&head.program);
        }
        let Some(agent) = daemon.agent.and_then(|at| head.program.get(at..)) else { return Reading::Unrecognised };
        let (id, text) = queue_id(&head.message);
        let line = Line {
            time: head.time,
            host: &head.host,
            agent,
            submission: daemon.submission,
            pid: head.pid.unwrap_or_default(),
            id,
            text,
        };
        match self.line(&line, out) {
            true => Reading::Recognised,
            false => Reading::Unrecognised,
        }
    }

    fn begins_within(&mut self) {
        self.memory.begins_within = true;
    }

    fn take_back(&mut self, rows: &mut Vec<Event>) {
        for row in rows.drain(..) {
            match row {
                Event::Delivery(row) => self.memory.deliveries.put(row),
                Event::Reception(row) => self.memory.receptions.put(row),
                Event::Session(row) => self.memory.sessions.put(row),
                _ => {}
            }
        }
    }
}

impl Postfix {
    /// Whether the line is known.
    fn line(&mut self, line: &Line<'_>, out: &mut Vec<Event>) -> bool {
        let memory = &mut self.memory;
        let read = match line.agent {
            "smtpd" | "qmqpd" => smtpd::read(line, memory, out),
            "cleanup" => cleanup(line, memory, out),
            "pickup" => pickup(line, memory),
            "qmgr" | "nqmgr" | "oqmgr" => queue_manager(line, memory, out),
            "postscreen" => refusal::read(line, memory, out),
            "postsuper" => superintendent(line, memory),
            _ => false,
        };
        read || delivery::read(line, memory, out) || known::is_known(line)
    }
}

/// Takes a queue id off the front. Postfix writes hexadecimal in capitals, or a long form in base 52; a log whose ids
/// were made anonymous has others. What they have in common: letters and digits, and a digit among them.
fn queue_id(text: &str) -> (Option<&str>, &str) {
    let (mut kinds, mut end) = (0, 0);
    for byte in text.as_bytes().iter().take(ID_OCTETS) {
        let kind = KINDS[usize::from(*byte)];
        if kind == 0 {
            break;
        }
        (kinds, end) = (kinds | kind, end + 1);
    }
    let is_id = kinds & DIGIT != 0 && end >= 4 || kinds & OTHER_LETTER == 0 && end >= 6;
    match text.split_at_checked(end).filter(|_| is_id) {
        Some((word, rest)) => rest.strip_prefix(": ").map_or((None, text), |rest| (Some(word), rest)),
        None => (None, text),
    }
}

/// The longest queue id.
const ID_OCTETS: usize = 25;
/// A digit of a queue id.
const DIGIT: u8 = 1;
/// A letter of a hexadecimal number in capitals.
const CAPITAL: u8 = 2;
/// Any other letter.
const OTHER_LETTER: u8 = 4;

/// The kind of every octet that may stand in a queue id; the others have none.
const KINDS: [u8; 256] = {
    let (mut table, mut at) = ([0; 256], 0);
    while at < 128 {
        table[at] = match at as u8 {
            b'0'..=b'9' => DIGIT,
            b'A'..=b'F' => CAPITAL,
            b'a'..=b'z' | b'G'..=b'Z' => OTHER_LETTER,
            _ => 0,
        };
        at += 1;
    }
    table
};

/// `cleanup`: the Message-ID, and what header, body and milter checks decided.
fn cleanup(line: &Line<'_>, memory: &mut Memory, out: &mut Vec<Event>) -> bool {
    let Some(id) = line.id else { return refusal::read(line, memory, out) };
    if let Some(message_id) = line.text.strip_prefix("message-id=") {
        let bare = message_id.trim();
        let bare = bare.strip_prefix('<').unwrap_or(bare);
        let bare = bare.strip_suffix('>').unwrap_or(bare);
        if let Some(message) = memory.message(line.host, id) {
            message.from_the_start = true;
            bare.clone_into(&mut message.message_id);
        }
        return true;
    }
    // `removed (discarded)`, `removed (canceled)`, since 3.10.
    if line.text.starts_with("removed (") {
        memory.forget(line.host, id);
        return true;
    }
    line.text.starts_with("resent-message-id=") || refusal::read(line, memory, out)
}

/// `pickup`: a message of a local program. With `orig_id` it is one that `postsuper` put into the queue again.
fn pickup(line: &Line<'_>, memory: &mut Memory) -> bool {
    let (Some(id), Some((_, sender))) = (line.id, line.text.split_once(" from=<")) else { return false };
    let sender = sender.split('>').next().unwrap_or_default();
    let requeued = line.text.contains(" orig_id=");
    if let Some(message) = memory.arrival(line.host, id) {
        message.sender(sender);
        message.taken = requeued;
        message.from_the_start = !requeued;
    }
    true
}

/// `qmgr`: into the active queue, too old, gone.
fn queue_manager(line: &Line<'_>, memory: &mut Memory, out: &mut Vec<Event>) -> bool {
    let Some(id) = line.id else { return false };
    if line.text == "removed" {
        memory.forget(line.host, id);
        return true;
    }
    let Some(rest) = line.text.strip_prefix("from=<") else {
        return line.text.starts_with("skipped, still being delivered");
    };
    let Some((sender, fields)) = cut_at(rest, b">,") else { return false };
    let fields = fields.trim_start();
    if let Some(status) = fields.strip_prefix("status=") {
        if !(status.starts_with("expired") || status.starts_with("force-expired")) {
            return false;
        }
        let mut row = Delivery {
            ts: line.time,
            node: line.host.to_owned(),
            mta: ENTRY.name.to_owned(),
            queue_id: id.to_owned(),
            outcome: DeliveryOutcome::Expired,
            is_final: true,
            response: status.to_owned(),
            ..Delivery::default()
        };
        let (user, domain) = mailbox(sender);
        (row.sender_user, row.sender_domain) = (user.to_owned(), domain);
        if let Some(message) = memory.known_message(line.host, id) {
            row.message_id.clone_from(&message.message_id);
            row.size_bytes = message.size_bytes;
            if let Some((user, domain)) = &message.only_recipient {
                (row.rcpt_user, row.rcpt_domain) = (user.clone(), domain.clone());
            }
        }
        out.push(row.into());
        return true;
    }
    let (mut size, mut recipients) = (None, None);
    let mut rest = fields;
    while !rest.is_empty() {
        let (field, after) = cut(rest, b',').unwrap_or((rest, ""));
        rest = after.trim_start();
        if let Some(value) = field.strip_prefix("size=") {
            size = value.parse().ok();
        } else if let Some(value) = field.strip_prefix("nrcpt=") {
            recipients = cut(value, b' ').map_or(value, |(count, _)| count).parse().ok();
        }
    }
    // A retry of a message whose arrival was told before the part that was not read.
    let may_be_told = memory.begins_within && memory.tells_arrivals;
    let mut row = memory.receptions.take();
    let Some(message) = memory.message(line.host, id) else { return true };
    message.sender(sender);
    message.size_bytes = size;
    message.rcpt_count = recipients;
    if std::mem::replace(&mut message.taken, true) || may_be_told && !message.from_the_start {
        memory.receptions.put(row);
        return true;
    }
    row.ts = line.time;
    line.host.clone_into(&mut row.node);
    ENTRY.name.clone_into(&mut row.mta);
    id.clone_into(&mut row.queue_id);
    (row.rcpt_count, row.size_bytes) = (recipients, size);
    message.fill(&mut row);
    out.push(row.into());
    true
}

/// `postsuper`: a person's hand in the queue.
fn superintendent(line: &Line<'_>, memory: &mut Memory) -> bool {
    let Some(id) = line.id else { return false };
    match line.text {
        // The old id of a message that is requeued is gone too; `pickup` names the new one.
        "removed" | "requeued" => memory.forget(line.host, id),
        "placed on hold" | "released from hold" | "expired" | "force-expired" | "expired and released from hold" => {}
        _ => return false,
    }
    true
}

#[cfg(test)]
mod tests;
