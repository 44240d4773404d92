//! The head of a log line: when, where, which program, which process.
//!
//! Known forms: RFC 3164 (`Nov 22 10:16:48 mx postfix/qmgr[812]: …`, also as syslogd of FreeBSD and Solaris write it),
//! the same with an RFC 3339 time (rsyslog, journalctl `short-iso`), journalctl `short-full` and `short-unix`, RFC 5424,
//! a journal entry as JSON, a line of a container's log as Docker's JSON or as the CRI writes it (which may hold another
//! head), and a program's own log without a host.

use std::borrow::Cow;

use serde::Deserialize;

use super::clock::{Clock, SYSLOG_TIME};
use super::text::cut;
use crate::event::Time;

/// A line with its head taken off.
#[derive(Debug, Clone, PartialEq)]
pub struct Head<'a> {
    /// When.
    pub time: Time,
    /// Where; empty when the line does not say.
    pub host: Cow<'a, str>,
    /// The syslog tag without its process: `postfix/smtpd`.
    pub program: Cow<'a, str>,
    /// The process.
    pub pid: Option<u32>,
    /// The rest.
    pub message: Cow<'a, str>,
}

/// Takes the head off a line. `None`: no form fits.
pub fn split<'a>(line: &'a str, clock: &Clock) -> Option<Head<'a>> {
    if line.starts_with('{') {
        return json(line, clock);
    }
    let line = priority(line);
    if let Some(rest) = line.strip_prefix("1 ")
        && let Some(head) = rfc5424(rest)
    {
        return Some(head);
    }
    let (time, rest) = time(line, clock)?;
    if let Some(inner) = of_container(rest) {
        return Some(split(inner, clock).unwrap_or_else(|| tagged(time, inner)));
    }
    Some(tagged(time, rest))
}

/// `stdout F line`: what the container runtime interface of Kubernetes writes behind its time. `F` is a full line; a
/// part of one, `P`, cannot be put together here.
fn of_container(rest: &str) -> Option<&str> {
    let after = rest.strip_prefix("std")?;
    after.strip_prefix("out F ").or_else(|| after.strip_prefix("err F "))
}

/// Takes a time off the front of `text`: any of the forms that logs begin with. The rest begins after one space.
pub fn time<'a>(text: &'a str, clock: &Clock) -> Option<(Time, &'a str)> {
    let begin = text.as_bytes().first_chunk::<SYSLOG_TIME>();
    if let Some(time) = begin.and_then(|begin| clock.seen(begin)) {
        return Some((time, text.get(SYSLOG_TIME..)?));
    }
    let (time, rest) = new_time(text, clock)?;
    // The space ends the time: nothing that follows could make it another one.
    if let Some(begin @ [.., b' ']) = begin
        && text.len() - rest.len() == SYSLOG_TIME
    {
        clock.remember(*begin, time);
    }
    Some((time, rest))
}

fn new_time<'a>(text: &'a str, clock: &Clock) -> Option<(Time, &'a str)> {
    let first = *text.as_bytes().first()?;
    if first.is_ascii_digit() {
        return dated(text, clock);
    }
    yearless(text, clock).or_else(|| {
        // journalctl short-full: a weekday before the date.
        let (_, rest) = text.split_once(' ').filter(|(day, _)| day.len() == 3)?;
        rest.as_bytes().first().filter(|byte| byte.is_ascii_digit())?;
        in_zone(rest, clock)
    })
}

/// Hours east of Greenwich of the abbreviations that stand for one zone only.
const ZONES: [(&str, i64); 21] = [
    ("UTC", 0),
    ("GMT", 0),
    ("WET", 0),
    ("WEST", 1),
    ("BST", 1),
    ("CET", 1),
    ("CEST", 2),
    ("EET", 2),
    ("EEST", 3),
    ("MSK", 3),
    ("JST", 9),
    ("AEST", 10),
    ("AEDT", 11),
    ("NZST", 12),
    ("NZDT", 13),
    ("EST", -5),
    ("EDT", -4),
    ("MST", -7),
    ("MDT", -6),
    ("PST", -8),
    ("PDT", -7),
];

/// `2026-11-22 10:16:48 CET`: an abbreviation that stands for several zones is taken for the one that the log is read in.
fn in_zone<'a>(text: &'a str, clock: &Clock) -> Option<(Time, &'a str)> {
    let day = calendar(text)?;
    let Some((word, rest)) = day.rest.strip_prefix(' ').and_then(|rest| cut(rest, b' ')) else {
        return dated(text, clock);
    };
    if let Some((_, hours)) = ZONES.iter().find(|(zone, _)| *zone == word) {
        let at = utc(day.year, day.month, day.day, day.seconds, day.micros)?;
        return Some((Time(at.0 - hours * 3_600_000_000), rest));
    }
    if (2..=5).contains(&word.len()) && word.bytes().all(|byte| byte.is_ascii_uppercase()) {
        let at = clock.dated(i32::try_from(day.year).ok()?, day.month, day.day, day.seconds, day.micros)?;
        return Some((at, rest));
    }
    dated(text, clock)
}

/// `Nov 22 10:16:48`, `Nov  2 10:16:48.123456`
fn yearless<'a>(text: &'a str, clock: &Clock) -> Option<(Time, &'a str)> {
    let month = match text.as_bytes().get(..4)? {
        b"Jan " => 1,
        b"Feb " => 2,
        b"Mar " => 3,
        b"Apr " => 4,
        b"May " => 5,
        b"Jun " => 6,
        b"Jul " => 7,
        b"Aug " => 8,
        b"Sep " => 9,
        b"Oct " => 10,
        b"Nov " => 11,
        b"Dec " => 12,
        _ => return None,
    };
    let rest = text.get(4..)?.trim_start_matches(' ');
    let (day, rest) = cut(rest, b' ').filter(|(day, _)| (1..=2).contains(&day.len()))?;
    let day = number(day)?;
    // `Nov 22 2026 10:16:48`: some devices write the year.
    if let Some((year, after)) = cut(rest, b' ').filter(|(year, _)| year.len() == 4 && !year.contains(':')) {
        let (seconds, micros, rest) = of_day(after)?;
        return Some((clock.dated(year.parse().ok()?, month, day, seconds, micros)?, after_space(rest)));
    }
    let (seconds, micros, rest) = of_day(rest)?;
    Some((clock.yearless(month, day, seconds, micros)?, after_space(rest)))
}

/// A day of the calendar and a time of that day, and what is behind them.
struct Calendar<'a> {
    year: u32,
    month: u32,
    day: u32,
    seconds: u32,
    micros: u32,
    rest: &'a str,
}

/// `2026-11-22T10:16:48.123456`, `2026/11/22 10:16:48`
fn calendar(text: &str) -> Option<Calendar<'_>> {
    let bytes = text.as_bytes();
    if bytes.len() < 19
        || !matches!((bytes[4], bytes[7]), (b'-', b'-') | (b'/', b'/'))
        || !matches!(bytes[10], b'T' | b' ' | b't')
    {
        return None;
    }
    let year = number(text.get(..4)?)?;
    let (month, day) = (number(text.get(5..7)?)?, number(text.get(8..10)?)?);
    let (seconds, micros, rest) = of_day(text.get(11..)?)?;
    Some(Calendar { year, month, day, seconds, micros, rest })
}

/// `2026-11-22T10:16:48.123456+01:00`, `2026-11-22 10:16:48`, `2026-11-22 10:16:48.123 +0100`, `1795342608.123456`
fn dated<'a>(text: &'a str, clock: &Clock) -> Option<(Time, &'a str)> {
    let Some(Calendar { year, month, day, seconds, micros, rest }) = calendar(text) else { return since_1970(text) };
    let (offset, rest) = offset(rest);
    let at = match offset {
        Some(offset) => Time(utc(year, month, day, seconds, micros)?.0 - i64::from(offset) * 1_000_000),
        None => clock.dated(i32::try_from(year).ok()?, month, day, seconds, micros)?,
    };
    Some((at, after_space(rest)))
}

/// `1795342608.123456 `: journalctl `short-unix`, in seconds.
fn since_1970(text: &str) -> Option<(Time, &str)> {
    let (seconds, rest) = cut(text, b'.').filter(|(seconds, _)| seconds.len() == 10)?;
    let (micros, rest) = cut(rest, b' ').filter(|(micros, _)| micros.len() == 6)?;
    Some((Time(i64::from(number(seconds)?) * 1_000_000 + i64::from(number(micros)?)), rest))
}

fn utc(year: u32, month: u32, day: u32, seconds: u32, micros: u32) -> Option<Time> {
    let date = chrono::NaiveDate::from_ymd_opt(i32::try_from(year).ok()?, month, day)?;
    let days = i64::from(chrono::Datelike::num_days_from_ce(&date)) - 719_163;
    Some(Time((days * 86_400 + i64::from(seconds)) * 1_000_000 + i64::from(micros)))
}

/// `10:16:48`, `10:16:48.123456789`, `10:16:48,123`: seconds of the day, microseconds, the rest.
fn of_day(text: &str) -> Option<(u32, u32, &str)> {
    let bytes = text.as_bytes();
    if bytes.len() < 8 || bytes[2] != b':' || bytes[5] != b':' {
        return None;
    }
    let (hour, minute, second) = (number(text.get(..2)?)?, number(text.get(3..5)?)?, number(text.get(6..8)?)?);
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let seconds = hour * 3600 + minute * 60 + second.min(59);
    let rest = text.get(8..)?;
    let Some(fraction) = rest.strip_prefix(['.', ',']) else { return Some((seconds, 0, rest)) };
    let digits = fraction.bytes().take_while(u8::is_ascii_digit).count();
    let micros = fraction.bytes().take(digits.min(6)).fold(0, |sum, digit| sum * 10 + u32::from(digit - b'0'));
    let micros = micros * 10_u32.pow(6_u32.saturating_sub(u32::try_from(digits).unwrap_or(6)));
    Some((seconds, micros, fraction.get(digits..)?))
}

/// `Z`, `+01:00`, `+0100`, ` +0100`, ` UTC`: seconds east of Greenwich, and the rest.
fn offset(text: &str) -> (Option<i32>, &str) {
    if let Some(rest) =
        text.strip_prefix(['Z', 'z']).or_else(|| text.strip_prefix(" UTC").filter(|rest| rest.starts_with(' ')))
    {
        return (Some(0), rest);
    }
    let trimmed = text.strip_prefix(' ').unwrap_or(text);
    let sign = match trimmed.as_bytes().first() {
        Some(b'+') => 1,
        Some(b'-') => -1,
        _ => return (None, text),
    };
    let parsed = (|| {
        let hours = number(trimmed.get(1..3)?)?;
        let rest = trimmed.get(3..)?;
        let rest = rest.strip_prefix(':').unwrap_or(rest);
        let minutes = number(rest.get(..2)?)?;
        Some((i32::try_from(hours * 3600 + minutes * 60).ok()? * sign, rest.get(2..)?))
    })();
    parsed.map_or((None, text), |(offset, rest)| (Some(offset), rest))
}

/// `<22>` before the line.
fn priority(line: &str) -> &str {
    let Some(rest) = line.strip_prefix('<') else { return line };
    match rest.split_once('>') {
        Some((priority, rest)) if priority.len() <= 3 && priority.bytes().all(|byte| byte.is_ascii_digit()) => rest,
        _ => line,
    }
}

/// `host program[pid]: message`, or `program[pid]: message` of a program's own log. FreeBSD's syslogd puts facility and
/// severity before the host when it is told to, `<mail.info>`, Solaris's an identity before the message,
/// `[ID 197553 mail.info]`.
fn tagged(time: Time, rest: &str) -> Head<'_> {
    let rest = match rest.strip_prefix('<').and_then(|rest| rest.split_once("> ")) {
        Some((facility, rest)) if facility.len() <= 20 && !facility.contains(' ') => rest,
        _ => rest,
    };
    let (first, after) = cut(rest, b' ').unwrap_or((rest, ""));
    let (host, tag_and_message) = if first.ends_with(':') { ("", rest) } else { (first, after) };
    let end = memchr::memchr3(b':', b' ', b'[', tag_and_message.as_bytes()).unwrap_or(tag_and_message.len());
    let (program, after) = tag_and_message.split_at(end);
    let (pid, after) = match after.strip_prefix('[').and_then(|after| cut(after, b']')) {
        Some((pid, after)) => (number(pid).filter(|_| pid.len() <= 9), after),
        None => (None, after),
    };
    let message = after_space(after.strip_prefix(':').unwrap_or(after));
    let message = match message.strip_prefix("[ID ").and_then(|rest| rest.split_once("] ")) {
        Some((id, rest)) if id.starts_with(|c: char| c.is_ascii_digit()) => rest,
        _ => message,
    };
    Head { time, host: host.into(), program: program.into(), pid, message: message.into() }
}

/// RFC 5424 after `<PRI>1 `: `TIME HOST APP PROCID MSGID STRUCTURED-DATA MSG`.
fn rfc5424(text: &str) -> Option<Head<'_>> {
    let mut fields = text.splitn(6, ' ');
    let at: Time = fields.next()?.parse().ok()?;
    let mut field = || fields.next().map(|field| if field == "-" { "" } else { field });
    let (host, program, pid, _message_id) = (field()?, field()?, field()?, field()?);
    let rest = fields.next()?;
    let message = match rest.strip_prefix('-') {
        Some(message) => message,
        None => after_structured_data(rest)?,
    };
    let message = after_space(message).trim_start_matches('\u{feff}');
    Some(Head { time: at, host: host.into(), program: program.into(), pid: pid.parse().ok(), message: message.into() })
}

fn after_structured_data(text: &str) -> Option<&str> {
    let mut quoted = false;
    let mut escaped = false;
    let mut bytes = text.bytes().enumerate().peekable();
    while let Some((index, byte)) = bytes.next() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b']' if !quoted && bytes.peek().is_none_or(|(_, next)| *next != b'[') => return text.get(index + 1..),
            _ => {}
        }
    }
    None
}

/// A field of a journal entry as JSON: text, octets where it is no UTF-8, or a list where the entry has it more than
/// once.
#[derive(Deserialize)]
#[serde(untagged)]
enum Field<'a> {
    Text(#[serde(borrow)] Cow<'a, str>),
    Octets(Vec<u8>),
    Many(Vec<Field<'a>>),
}

impl<'a> Field<'a> {
    fn text(self) -> Cow<'a, str> {
        match self {
            Self::Text(text) => text,
            Self::Octets(octets) => Cow::Owned(String::from_utf8_lossy(&octets).into_owned()),
            Self::Many(fields) => fields.into_iter().next().map_or(Cow::Borrowed(""), Field::text),
        }
    }
}

/// A journal entry (`journalctl -o json`) or a line of Docker's `json-file` log.
#[derive(Deserialize)]
struct Entry<'a> {
    #[serde(rename = "__REALTIME_TIMESTAMP", borrow, default)]
    realtime: Option<Cow<'a, str>>,
    #[serde(rename = "_HOSTNAME", borrow, default)]
    host: Option<Field<'a>>,
    #[serde(rename = "SYSLOG_IDENTIFIER", borrow, default)]
    program: Option<Field<'a>>,
    #[serde(rename = "_COMM", borrow, default)]
    command: Option<Field<'a>>,
    #[serde(rename = "SYSLOG_PID", borrow, default)]
    syslog_pid: Option<Field<'a>>,
    #[serde(rename = "_PID", borrow, default)]
    pid: Option<Field<'a>>,
    #[serde(rename = "MESSAGE", borrow, default)]
    message: Option<Field<'a>>,
    #[serde(borrow, default)]
    log: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    time: Option<Cow<'a, str>>,
}

fn json<'a>(line: &'a str, clock: &Clock) -> Option<Head<'a>> {
    let entry: Entry<'a> = serde_json::from_str(line).ok()?;
    let text = |field: Option<Field<'a>>| field.map_or(Cow::Borrowed(""), Field::text);
    if let (Some(realtime), Some(message)) = (&entry.realtime, entry.message) {
        return Some(Head {
            time: Time(realtime.parse().ok()?),
            host: text(entry.host),
            program: text(entry.program.or(entry.command)),
            pid: text(entry.syslog_pid.or(entry.pid)).parse().ok(),
            message: message.text(),
        });
    }
    let (log, at) = (entry.log?, entry.time?);
    let text = log.trim_end_matches(['\n', '\r']);
    let inner = split(text, clock).map(|head| Head {
        time: head.time,
        host: Cow::Owned(head.host.into_owned()),
        program: Cow::Owned(head.program.into_owned()),
        pid: head.pid,
        message: Cow::Owned(head.message.into_owned()),
    });
    Some(match inner {
        Some(head) => head,
        None => {
            let head = tagged(at.parse().ok()?, text);
            Head {
                time: head.time,
                host: Cow::Owned(head.host.into_owned()),
                program: Cow::Owned(head.program.into_owned()),
                pid: head.pid,
                message: Cow::Owned(head.message.into_owned()),
            }
        }
    })
}

/// The line that a container's log wraps, Docker's JSON or the CRI's, without its line end, and when it was seen: for
/// programs whose own lines do not begin as a syslog's do.
pub fn unwrapped(line: &str) -> Option<(Time, Cow<'_, str>)> {
    if !line.starts_with("{\"") {
        let (time, rest) = line.split_once(' ')?;
        let text = of_container(rest)?;
        return Some((time.parse().ok()?, Cow::Borrowed(text)));
    }
    let entry: Entry<'_> = serde_json::from_str(line).ok()?;
    let text = match entry.log? {
        Cow::Borrowed(text) => Cow::Borrowed(text.trim_end_matches(['\n', '\r'])),
        Cow::Owned(text) => Cow::Owned(text.trim_end_matches(['\n', '\r']).to_owned()),
    };
    Some((entry.time?.parse().ok()?, text))
}

/// Decimal digits only; `None` past what 32 bits hold.
fn number(text: &str) -> Option<u32> {
    text.bytes().try_fold(0_u32, |sum, byte| {
        let digit = byte.is_ascii_digit().then(|| u32::from(byte - b'0'))?;
        sum.checked_mul(10)?.checked_add(digit)
    })
}

fn after_space(text: &str) -> &str {
    text.strip_prefix(' ').unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, expected: (&str, &str, &str, Option<u32>, &str)) {
        let clock = Clock::new(chrono_tz::Tz::UTC, "2026-11-22T12:00:00Z".parse().unwrap());
        let head = split(line, &clock).unwrap_or_else(|| panic!("no head: {line}"));
        let (time, host, program, pid, message) = expected;
        assert_eq!(head.time, time.parse().unwrap(), "{line}");
        assert_eq!((&*head.host, &*head.program, head.pid, &*head.message), (host, program, pid, message), "{line}");
    }

    #[test]
    fn the_forms_of_syslog() {
        check(
            "Nov 22 10:16:48 mx postfix/qmgr[812]: 4F: removed",
            ("2026-11-22T10:16:48Z", "mx", "postfix/qmgr", Some(812), "4F: removed"),
        );
        check("<22>Nov  2 10:16:48 mx exim: x", ("2026-11-02T10:16:48Z", "mx", "exim", None, "x"));
        check("Nov 22 10:16:48.250 mx a[1]: b: c", ("2026-11-22T10:16:48.25Z", "mx", "a", Some(1), "b: c"));
        check("2026-11-22T10:16:48.123456+01:00 mx a[1]: b", ("2026-11-22T09:16:48.123456Z", "mx", "a", Some(1), "b"));
        check("2026-11-22T10:16:48+0100 mx a[1]: b", ("2026-11-22T09:16:48Z", "mx", "a", Some(1), "b"));
        check("Sun 2026-11-22 10:16:48 UTC mx a[1]: b", ("2026-11-22T10:16:48Z", "mx", "a", Some(1), "b"));
        check(
            "<22>1 2026-11-22T10:16:48.003Z mx a 1 ID47 [x@1 k=\"]\\\"\"][y@1] \u{feff}b c",
            ("2026-11-22T10:16:48.003Z", "mx", "a", Some(1), "b c"),
        );
        check("<22>1 2026-11-22T10:16:48Z - a - - - b", ("2026-11-22T10:16:48Z", "", "a", None, "b"));
    }

    #[test]
    fn a_time_that_is_seen_again_means_the_same_and_one_that_only_begins_alike_does_not() {
        let clock = Clock::new(chrono_tz::Tz::UTC, "2026-11-22T12:00:00Z".parse().unwrap());
        for (line, time) in [
            ("Nov 22 10:16:48 mx a: b", "2026-11-22T10:16:48Z"),
            ("Nov 22 10:16:48 mx a: b", "2026-11-22T10:16:48Z"),
            ("Nov 22 10:16:49 mx a: b", "2026-11-22T10:16:49Z"),
            ("Nov 2 10:16:48.5 mx a: b", "2026-11-02T10:16:48.5Z"),
            ("Nov 2 10:16:48.57 mx a: b", "2026-11-02T10:16:48.57Z"),
            ("Nov 2 10:16:48. mx a: b", "2026-11-02T10:16:48Z"),
            ("Nov  2 10:16:48 2 mx a: b", "2026-11-02T10:16:48Z"),
        ] {
            let head = split(line, &clock).unwrap_or_else(|| panic!("no head: {line}"));
            assert_eq!(head.time, time.parse().unwrap(), "{line}");
        }
        // The reader is told that the file was written in another year.
        let mut clock = clock;
        clock.set_reference("2025-12-22T12:00:00Z".parse().unwrap());
        let head = split("Nov  2 10:16:48 mx a: b", &clock).unwrap();
        assert_eq!(head.time, "2025-11-02T10:16:48Z".parse().unwrap());
    }

    #[test]
    fn json_of_the_journal_and_of_docker() {
        check(
            r#"{"__REALTIME_TIMESTAMP":"1795342608000123","_HOSTNAME":"mx","SYSLOG_IDENTIFIER":"a","_PID":"1","MESSAGE":"say \"b\""}"#,
            ("2026-11-22T10:16:48.000123Z", "mx", "a", Some(1), "say \"b\""),
        );
        // As journalctl prints what came by syslog: both process numbers, octets that are no UTF-8, a field twice.
        check(
            r#"{"_PID":"1","SYSLOG_PID":"812","_HOSTNAME":"mx","_COMM":"a","SYSLOG_IDENTIFIER":["a","b"],"__REALTIME_TIMESTAMP":"1795342608000123","MESSAGE":[98,255]}"#,
            ("2026-11-22T10:16:48.000123Z", "mx", "a", Some(812), "b\u{fffd}"),
        );
        check(
            r#"{"log":"Nov 22 10:16:48 mx a[1]: b\n","stream":"stdout","time":"2026-11-22T10:16:49.1Z"}"#,
            ("2026-11-22T10:16:48Z", "mx", "a", Some(1), "b"),
        );
        check(
            r#"{"log":"a[1]: b\n","time":"2026-11-22T10:16:49.1Z"}"#,
            ("2026-11-22T10:16:49.1Z", "", "a", Some(1), "b"),
        );
    }

    #[test]
    fn the_forms_of_other_systems_and_of_containers() {
        let inner = ("mx", "postfix/qmgr", Some(812), "4F: removed");
        for (line, time) in [
            ("1795342608.123456 mx postfix/qmgr[812]: 4F: removed", "2026-11-22T10:16:48.123456Z"),
            ("Sun 2026-11-22 10:16:48 CET mx postfix/qmgr[812]: 4F: removed", "2026-11-22T09:16:48Z"),
            ("Sun 2026-11-22 10:16:48 XYZ mx postfix/qmgr[812]: 4F: removed", "2026-11-22T10:16:48Z"),
            ("Nov 22 10:16:48 <mail.info> mx postfix/qmgr[812]: 4F: removed", "2026-11-22T10:16:48Z"),
            ("Nov 22 10:16:48 mx postfix/qmgr[812]: [ID 197553 mail.info] 4F: removed", "2026-11-22T10:16:48Z"),
            (
                "2026-11-22T10:16:49.123456789Z stdout F Nov 22 10:16:48 mx postfix/qmgr[812]: 4F: removed",
                "2026-11-22T10:16:48Z",
            ),
        ] {
            check(line, (time, inner.0, inner.1, inner.2, inner.3));
        }
        check(
            "2026-11-22T10:16:49.5Z stderr F imap-login: Info: x",
            ("2026-11-22T10:16:49.5Z", "", "imap-login", None, "Info: x"),
        );
        let found = unwrapped("2026-11-22T10:16:49.5Z stdout F 2026-11-22 10:16:48 1rfXYZ-0001Ab-2C Completed");
        let (_, text) = found.unwrap();
        assert_eq!(text, "2026-11-22 10:16:48 1rfXYZ-0001Ab-2C Completed");
    }

    #[test]
    fn a_log_of_its_own_has_no_host() {
        check("2026-11-22 10:16:48 imap-login: Info: x", ("2026-11-22T10:16:48Z", "", "imap-login", None, "Info: x"));
        check(
            "Nov 22 10:16:48 imap(ann)<1><x>: Info: y",
            ("2026-11-22T10:16:48Z", "", "imap(ann)<1><x>", None, "Info: y"),
        );
    }

    proptest::proptest! {
        #[test]
        fn no_line_panics(line in ".{0,200}") {
            let clock = Clock::new(chrono_tz::Tz::Europe__Oslo, Time(1_795_342_608_000_000));
            let _ = split(&line, &clock);
        }
    }
}
