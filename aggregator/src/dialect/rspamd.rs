//! rspamd: the line that it writes for each message, in its default `log_format` of any version since 1.1.
//!
//! A scan is a reception: the action is its verdict, and the score, the symbols and the results of SPF, DKIM, DMARC and
//! ARC are known from nowhere else. The mail server's own reception of the message has the same queue id.

mod symbols;

use super::clock::Clock;
use super::text::mailbox;
use super::{Dialect, Entry, Reading, head};
use crate::event::{Event, Reception, ReceptionVerdict, Scores, Time};

/// The registry's entry.
pub const ENTRY: Entry =
    Entry { name: "rspamd", title: "rspamd, its own log or by syslog", make: || Box::new(Rspamd), looks_like };

struct Rspamd;

fn looks_like(line: &str) -> bool {
    line.contains("rspamd_task_write_log: ") || line.contains(" rspamd[") || own(line).is_some()
}

impl Dialect for Rspamd {
    fn read(&mut self, line: &str, clock: &Clock, out: &mut Vec<Event>) -> Reading {
        if let Some((time, text)) = head::unwrapped(line) {
            return match own(&text) {
                Some(text) => read_text(time, "", text, out),
                None => Reading::Unrecognised,
            };
        }
        if let Some(text) = own(line) {
            return match head::time(line, clock) {
                Some((time, _)) => read_text(time, "", text, out),
                None => Reading::Unrecognised,
            };
        }
        match head::split(line, clock).filter(|head| head.program.starts_with("rspamd")) {
            Some(head) => read_text(head.time, &head.host, &head.message, out),
            None => Reading::Unrecognised,
        }
    }
}

/// `2026-11-22 10:16:48 #812(normal) <ed2abb>; task; …`: what is behind the process.
fn own(line: &str) -> Option<&str> {
    line.bytes().next().filter(u8::is_ascii_digit)?;
    let (_, after) = line
        .get(..40.min(line.len()))
        .unwrap_or(line)
        .split_once(" #")
        .map(|(time, _)| line.split_at(time.len() + 2))?;
    let (pid, after) = after.split_once('(')?;
    pid.parse::<u32>().ok()?;
    after.split_once(") ").map(|(_, text)| text)
}

fn read_text(time: Time, host: &str, text: &str, out: &mut Vec<Event>) -> Reading {
    const FUNCTION: &str = "rspamd_task_write_log: ";
    if let Some(at) = text.find(FUNCTION) {
        let scan = text.get(at + FUNCTION.len()..).and_then(|text| scan(time, host, text));
        return match scan {
            Some(scan) => {
                out.push(scan.into());
                Reading::Recognised
            }
            None => Reading::Unrecognised,
        };
    }
    // Whatever else rspamd says, it says of itself.
    Reading::Recognised
}

/// `id: <…>, qid: <…>, ip: …, user: …, from: <…>, (default: F (no action): [1.2/15.0] [SYMBOL(1.0){option;},…]), len: …`
fn scan(time: Time, host: &str, text: &str) -> Option<Reception> {
    let (before, result) = text.split_once("(default: ").or_else(|| text.split_once("(default "))?;
    let (_, result) = result.split_once(" (")?;
    let (action, result) = result.split_once("): [")?;
    let (scores, result) = result.split_once("] [")?;
    let (symbols, after) = symbols::split(result)?;
    let (sender_user, sender_domain) = mailbox(defined(field(before, "from: ")));
    let recipients = field_in_brackets(after, "rcpts: ");
    let class = class(action, forced(after).1, &symbols);
    let names = |group: &[(&str, &'static str)]| symbols::result(&symbols, group).to_owned();
    Some(Reception {
        ts: time,
        node: host.to_owned(),
        mta: ENTRY.name.to_owned(),
        queue_id: defined(field(before, "qid: ")).to_owned(),
        message_id: defined(field(before, "id: ")).to_owned(),
        client_ip: field(before, "ip: ").trim_start_matches('[').trim_end_matches(']').parse().ok(),
        auth_user: defined(field(before, "user: ")).to_owned(),
        sender_user: sender_user.to_owned(),
        sender_domain,
        rcpt_count: (!recipients.is_empty()).then(|| recipients.split(',').count() as u32),
        rcpt_domain: mailbox(recipients.split(',').next().unwrap_or_default()).1,
        size_bytes: field(after, "len: ").parse().ok(),
        verdict: verdict(action),
        class: class.to_owned(),
        class_rule: if class.is_empty() { "" } else { ENTRY.name }.to_owned(),
        response: forced(after).0.to_owned(),
        spf: names(symbols::SPF),
        dkim: names(symbols::DKIM),
        dmarc: names(symbols::DMARC),
        arc: names(symbols::ARC),
        spam_score: scores.split('/').next().and_then(symbols::number),
        spam_symbols: symbols,
        ..Reception::default()
    })
}

/// What the mail server is asked to do.
fn verdict(action: &str) -> ReceptionVerdict {
    match action {
        "reject" => ReceptionVerdict::Rejected,
        "greylist" | "soft reject" => ReceptionVerdict::Deferred,
        "discard" => ReceptionVerdict::Discarded,
        "quarantine" => ReceptionVerdict::Quarantined,
        _ => ReceptionVerdict::Accepted,
    }
}

/// Why the message is not taken, where the action or the module that forced it says so: greylisting and rate limits ask
/// for a `soft reject`.
fn class(action: &str, module: &str, symbols: &Scores) -> &'static str {
    let has = |name: &str| symbols.0.contains_key(name);
    match (action, module) {
        ("reject" | "soft reject", "dmarc") => "auth_failure",
        ("reject" | "discard" | "quarantine", _) => "spam_content",
        ("greylist", _) | ("soft reject", "greylist") => "greylisted",
        ("soft reject", "ratelimit") => "rate_limited",
        ("soft reject", "") if has("GREYLIST") => "greylisted",
        ("soft reject", "") if has("RATELIMITED") => "rate_limited",
        _ => "",
    }
}

/// The message of a module that forced the action, and the module:
/// `forced: reject "Gtube pattern"; score=nan (set by gtube)`.
fn forced(text: &str) -> (&str, &str) {
    let Some((_, after)) = text.split_once("forced: ") else { return ("", "") };
    // The message may hold quotes.
    let message = after
        .split_once('"')
        .and_then(|(_, message)| message.split_once("\"; score=").or_else(|| message.split_once('"')));
    let module = after.rsplit_once("(set by ").and_then(|(_, module)| module.split_once(')'));
    (message.map_or("", |(message, _)| message), module.map_or("", |(module, _)| module))
}

/// The value of a field up to the next comma.
fn field<'a>(text: &'a str, name: &str) -> &'a str {
    let Some(after) = after_name(text, name) else { return "" };
    if after.starts_with('<') {
        return after.split_once('>').map_or(after, |(value, _)| value).trim_start_matches('<');
    }
    after.split(", ").next().unwrap_or_default().trim_end_matches([',', ' '])
}

fn field_in_brackets<'a>(text: &'a str, name: &str) -> &'a str {
    let Some(inner) = after_name(text, name).and_then(|after| after.strip_prefix('<')) else { return "" };
    inner.split_once('>').map_or("", |(value, _)| value)
}

/// What is behind a name that begins the text or follows a space: `mime_rcpts: ` does not hold `rcpts: `.
fn after_name<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.match_indices(name)
        .find(|(at, _)| *at == 0 || text.as_bytes().get(at - 1) == Some(&b' '))
        .and_then(|(at, _)| text.get(at + name.len()..))
}

/// rspamd writes `undef` for what it does not know.
fn defined(value: &str) -> &str {
    if value == "undef" { "" } else { value }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> (Reading, Vec<String>) {
        let clock = Clock::new(chrono_tz::Tz::UTC, "2026-11-22T12:00:00Z".parse().unwrap());
        let mut out = Vec::new();
        let reading = Rspamd.read(line, &clock, &mut out);
        (reading, out.iter().map(|event| event.to_json().unwrap()).collect())
    }

    #[test]
    fn a_scan_is_a_reception_with_its_symbols_and_results() {
        let (_, events) = read(
            "2026-11-22 10:16:48 #38(normal) <73b3a9>; task; rspamd_task_write_log: id: <a.b@Example.ORG>, qid: <465A3817E4B0>, ip: 2001:db8::7, user: ann, from: <Ann@Example.org>, (default: F (add header): [7.50/15.00] [R_SPF_ALLOW(-0.20){+ip6:2001:db8::/32;},DMARC_POLICY_ALLOW(-0.50){example.org;reject;},R_DKIM_REJECT(1.00){example.org:s=a,b(c):[x];},MIME_GOOD(0.00){},ARC_NA(0.00)]), len: 5936, time: 124.6ms, dns req: 12, digest: <b1035f>, rcpts: <bob@Example.net,cy@example.com>, mime_rcpts: <bob@example.net>",
        );
        assert_eq!(
            events,
            [
                r#"{"table":"receptions","ts":"2026-11-22T10:16:48.000000Z","mta":"rspamd","queue_id":"465A3817E4B0","message_id":"a.b@Example.ORG","client_ip":"2001:db8::7","auth_user":"ann","sender_user":"Ann","sender_domain":"example.org","rcpt_count":2,"rcpt_domain":"example.net","size_bytes":5936,"verdict":"accepted","spf":"pass","dkim":"fail","dmarc":"pass","arc":"none","spam_score":7.5,"spam_symbols":{"ARC_NA":0.0,"DMARC_POLICY_ALLOW":-0.5,"MIME_GOOD":0.0,"R_DKIM_REJECT":1.0,"R_SPF_ALLOW":-0.2}}"#
            ]
        );
    }

    #[test]
    fn what_is_undefined_or_left_out_is_absent_and_a_forced_action_says_why() {
        let (_, events) = read(
            "Nov 22 10:16:48 mx rspamd[27538]: <8ae27d>; proxy; rspamd_task_write_log: id: <undef>, ip: 192.0.2.7, (default: T (reject): [nan/15.00] [GTUBE(0.00){}]), len: 12, time: 1.1ms real, 0.3ms virtual, dns req: 0, digest: <x>, mime_rcpts: <undef>, forced: reject \"Gtube pattern\"; score=nan (set by gtube)",
        );
        assert_eq!(
            events,
            [
                r#"{"table":"receptions","ts":"2026-11-22T10:16:48.000000Z","node":"mx","mta":"rspamd","client_ip":"192.0.2.7","size_bytes":12,"verdict":"rejected","class":"spam_content","class_rule":"rspamd","response":"Gtube pattern","spam_symbols":{"GTUBE":0.0}}"#
            ]
        );
    }

    #[test]
    fn a_soft_reject_is_of_the_class_of_the_module_that_asked_for_it() {
        let class = |result: &str, forced: &str| {
            let line = [
                "2026-11-30 12:32:42 #31069(normal) <27a098>; task; rspamd_task_write_log: id: <undef>, \
                ip: 2001:db8::1, (default: F (soft reject): [11.40/15.00] [",
                result,
                "]), len: 17, time: 5.023ms, \
                dns req: 10, digest: <88d4>, rcpts: <ann@lab.example>",
                forced,
            ]
            .concat();
            let (_, events) = read(&line);
            serde_json::from_str::<serde_json::Value>(&events[0]).unwrap()["class"]
                .as_str()
                .unwrap_or_default()
                .to_owned()
        };
        let greylist = "GREYLIST(0.00){greylisted;Mon, 30 Nov 2026 12:37:42 GMT;new record;}";
        let forced = ", forced: soft reject \"Try again later\"; score=nan (set by greylist)";
        assert_eq!(class(greylist, forced), "greylisted");
        assert_eq!(class(greylist, ""), "greylisted");
        let forced = ", forced: soft reject \"Ratelimit \"bounce_to\" exceeded\"; score=nan (set by ratelimit)";
        assert_eq!(class("RATELIMITED(0.00){bounce_to(x);}", forced), "rate_limited");
    }

    #[test]
    fn a_custom_format_is_kept_as_not_recognised() {
        let line = "2026-11-22 10:16:48 #1(normal) <a>; task; rspamd_task_write_log: message <x> scored 1.0";
        assert_eq!(read(line), (Reading::Unrecognised, Vec::new()));
    }

    #[test]
    fn the_checks_that_could_not_be_made_are_told_from_those_that_failed() {
        let (_, events) = read(
            "2026-11-22 12:03:50 #22144(normal) <645e59>; task; rspamd_task_write_log: id: <m1@example.org>, ip: 192.0.2.8, (default: S (no action): [3.50/15.00] [RDNS_NONE(1.00){},DMARC_DNSFAIL(0.00){example.org : query timed out;},R_DKIM_NA(0.00){},R_SPF_NA(0.00){No domain;}]), len: 169, time: 607.839ms, dns req: 11, digest: <4475d094>, mime_rcpts: <bob@example.net>",
        );
        assert_eq!(
            events,
            [
                r#"{"table":"receptions","ts":"2026-11-22T12:03:50.000000Z","mta":"rspamd","message_id":"m1@example.org","client_ip":"192.0.2.8","size_bytes":169,"verdict":"accepted","spf":"none","dkim":"none","dmarc":"temperror","spam_score":3.5,"spam_symbols":{"DMARC_DNSFAIL":0.0,"RDNS_NONE":1.0,"R_DKIM_NA":0.0,"R_SPF_NA":0.0}}"#
            ]
        );
    }

    #[test]
    fn every_action_has_its_verdict() {
        for (action, expected) in [
            ("no action", "accepted"),
            ("rewrite subject", "accepted"),
            ("greylist", "deferred"),
            ("soft reject", "deferred"),
            ("discard", "discarded"),
            ("quarantine", "quarantined"),
        ] {
            let (_, events) = read(&format!(
                "2026-11-22 10:16:48 #1(rspamd_proxy) <a>; proxy; rspamd_task_write_log: id: <x>, (default: F ({action}): [0.10/15.00] []), len: 1, time: 1ms, dns req: 0"
            ));
            assert!(events[0].contains(&format!(r#""verdict":"{expected}""#)), "{action}: {events:?}");
        }
    }

    #[test]
    fn other_lines_of_rspamd_are_known_and_those_of_others_are_not() {
        for line in [
            "2026-11-22 10:16:48 #38(normal) <73b3a9>; task; rspamd_message_parse: loaded message; id: <x>; queue-id: <4F>; size: 1; checksum: <y>",
            "2026-11-22 10:16:48 #1(main) <h7cmcx>; main; rspamd_main: rspamd 3.4 is starting now, build id: release",
            "2026-11-22 10:16:48 #22144(normal) rspamd_worker_hyperscan_ready: loading hyperscan expressions",
            "Nov 22 10:16:48 mx rspamd[1]: <8ae27d>; lua; dmarc.lua:411: skip DMARC checks",
        ] {
            assert_eq!(read(line), (Reading::Recognised, Vec::new()), "{line}");
        }
        for line in
            ["", "Nov 22 10:16:48 mx postfix/qmgr[1]: 4F: removed", "2026-11-22 10:16:48 1rfXYZ-0001Ab-2C Completed"]
        {
            assert_eq!(read(line).0, Reading::Unrecognised, "{line}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_line_panics(text in "(id: <|qid: <|\\(default: F \\(x\\): \\[1/2\\] \\[|A\\(1\\)\\{|;\\},|\\]\\), |rcpts: <|forced: \"|.){0,40}") {
            let _ = read(&format!("2026-11-22 10:16:48 #1(normal) <a>; task; rspamd_task_write_log: {text}"));
            let _ = read(&text);
        }
    }
}
