//! A log of a mail host with Postfix and Dovecot, and the counts that it was made with.

use std::collections::BTreeMap;

use super::*;
use crate::event::{DeliveryOutcome, ReceptionVerdict};

/// What was written, and how often.
pub struct Log {
    /// The lines.
    pub lines: Vec<String>,
    counts: BTreeMap<&'static str, usize>,
}

/// A small generator of numbers: tests want the same log every time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

impl Log {
    fn add(&mut self, program: &str, pid: u64, text: &str) {
        let second = self.lines.len() / 8;
        let (hour, minute, second) = (second / 3600 % 24, second / 60 % 60, second % 60);
        let line = match self.lines.len() % 3 {
            0 => format!("Nov 21 {hour:02}:{minute:02}:{second:02} mx {program}[{pid}]: {text}"),
            1 => format!("2026-11-21T{hour:02}:{minute:02}:{second:02}.123456+00:00 mx {program}[{pid}]: {text}"),
            _ => format!("<22>1 2026-11-21T{hour:02}:{minute:02}:{second:02}Z mx {program} {pid} - - {text}"),
        };
        self.lines.push(line);
    }

    fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }
}

/// A log of `messages` messages, with refusals and log-ins between.
pub fn log(seed: u64, messages: u64) -> Log {
    let mut log = Log { lines: Vec::new(), counts: BTreeMap::new() };
    let mut dice = Dice(seed);
    for number in 0..messages {
        let client = format!("mail{}.acme.test[192.0.2.{}]", number % 9, 1 + dice.below(200));
        let id = if dice.below(2) == 0 {
            format!("{:05X}{:06X}", dice.below(1 << 20), number)
        } else {
            format!("4{number:09}zBcDf")
        };
        match dice.below(4) {
            0 => refused(&mut log, &mut dice, &client),
            1 => logged_in(&mut log, &mut dice, number),
            _ => message(&mut log, &mut dice, &client, &id),
        }
    }
    log
}

fn refused(log: &mut Log, dice: &mut Dice, client: &str) {
    let pid = 100 + dice.below(100);
    let (code, what, count) = match dice.below(3) {
        0 => ("554 5.7.1", "Service unavailable; Client host [192.0.2.1] blocked using zen.spamhaus.org", "rejected"),
        1 => ("450 4.7.1", "<ann@example.test>: Recipient address rejected: Greylisted", "deferred in"),
        _ => (
            "550 5.1.1",
            "<x@example.test>: Recipient address rejected: User unknown in virtual mailbox table",
            "rejected",
        ),
    };
    log.add("postfix/smtpd", pid, &format!("connect from {client}"));
    log.add(
        "postfix/smtpd",
        pid,
        &format!("NOQUEUE: reject: RCPT from {client}: {code} {what}; from=<x@spam.test> to=<ann@example.test> proto=ESMTP helo=<a>"),
    );
    log.add("postfix/smtpd", pid, &format!("lost connection after RCPT from {client}"));
    log.add("postfix/smtpd", pid, &format!("disconnect from {client} ehlo=1 mail=1 rcpt=0/1 commands=2/3"));
    log.count(count);
    log.count("session");
}

fn logged_in(log: &mut Log, dice: &mut Dice, number: u64) {
    let address = format!("192.0.2.{}", 1 + dice.below(200));
    let fields =
        format!("user=<ann@example.test>, method=PLAIN, rip={address}, lip=192.0.2.25, TLS, session=<s{number}>");
    if dice.below(3) == 0 {
        log.add(
            "dovecot",
            7,
            &format!("imap-login: Disconnected: Connection closed (auth failed, 2 attempts in 4 secs): {fields}"),
        );
        log.count("login failed");
    } else {
        log.add("dovecot", 7, &format!("imap-login: Login: {fields}"));
        log.add(
            "dovecot",
            7,
            &format!("imap(ann@example.test)<{number}><s{number}>: Disconnected: Logged out in=12 out=345 deleted=0"),
        );
        log.count("login");
        log.count("session");
    }
}

fn message(log: &mut Log, dice: &mut Dice, client: &str, id: &str) {
    let (pid, agent) = (300 + dice.below(100), 500 + dice.below(100));
    let recipients = 1 + dice.below(3);
    log.add("postfix/smtpd", pid, &format!("connect from {client}"));
    log.add("postfix/smtpd", pid, &format!("{id}: client={client}"));
    log.add("postfix/cleanup", pid, &format!("{id}: message-id=<{id}@acme.test>"));
    log.add("postfix/qmgr", 9, &format!("{id}: from=<kim@acme.test>, size=1234, nrcpt={recipients} (queue active)"));
    log.add("postfix/smtpd", pid, &format!("disconnect from {client} ehlo=1 mail=1 rcpt=1 data=1 quit=1 commands=5"));
    log.count("accepted");
    log.count("session");
    for recipient in 0..recipients {
        let to = format!(
            "to=<r{recipient}@dest.test>, relay=mx.dest.test[198.51.100.7]:25, delay=1.25, delays=0.1/0.05/1/0.1"
        );
        if dice.below(3) == 0 {
            let why = "host mx.dest.test[198.51.100.7] said: 450 4.2.0 (grey) later (in reply to RCPT TO command)";
            log.add("postfix/smtp", agent, &format!("{id}: {to}, dsn=4.2.0, status=deferred ({why})"));
            log.count("deferred");
            log.add(
                "postfix/qmgr",
                9,
                &format!("{id}: from=<kim@acme.test>, size=1234, nrcpt={recipients} (queue active)"),
            );
        }
        if dice.below(5) == 0 {
            log.add(
                "postfix/smtp",
                agent,
                &format!("{id}: {to}, dsn=5.1.1, status=bounced (host mx.dest.test[198.51.100.7] said: 550 5.1.1 no)"),
            );
            log.count("bounced");
        } else {
            log.add(
                "postfix/smtp",
                agent,
                &format!("{id}: {to}, dsn=2.0.0, status=sent (250 2.0.0 Ok: queued as 4Q7)"),
            );
            log.count("delivered");
        }
    }
    log.add("postfix/qmgr", 9, &format!("{id}: removed"));
}

fn counted(events: &[Event]) -> BTreeMap<&'static str, usize> {
    let mut counts = BTreeMap::new();
    for event in events {
        let what = match event {
            Event::Reception(row) if row.verdict == ReceptionVerdict::Accepted => "accepted",
            Event::Reception(row) if row.verdict == ReceptionVerdict::Deferred => "deferred in",
            Event::Reception(_) => "rejected",
            Event::Delivery(row) if row.outcome == DeliveryOutcome::Delivered => "delivered",
            Event::Delivery(row) if row.outcome == DeliveryOutcome::Deferred => "deferred",
            Event::Delivery(_) => "bounced",
            Event::Session(_) => "session",
            Event::AuthEvent(row) if row.result == "ok" => "login",
            Event::AuthEvent(_) => "login failed",
            other => other.table(),
        };
        *counts.entry(what).or_default() += 1;
    }
    counts
}

#[test]
fn every_line_of_a_mail_host_is_recognised_and_the_counts_agree() {
    for seed in 1..4 {
        let log = log(seed, 500);
        let mut reader = Reader::new(find("mail").unwrap(), clock());
        let mut events = Vec::new();
        for line in &log.lines {
            assert_eq!(reader.line(line.as_bytes(), &mut events), Reading::Recognised, "{line}");
        }
        assert_eq!(counted(&events), log.counts);
        let unclassified = events.iter().filter(|event| match event {
            Event::Reception(row) => row.verdict != ReceptionVerdict::Accepted && row.class.is_empty(),
            Event::Delivery(row) => row.outcome != DeliveryOutcome::Delivered && row.class.is_empty(),
            _ => false,
        });
        assert_eq!(unclassified.count(), 0);
    }
}
