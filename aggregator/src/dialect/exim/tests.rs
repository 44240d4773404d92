//! Lines as Exim writes them, and the events that they make.

use super::*;

fn read(lines: &[&str]) -> Vec<String> {
    let clock = Clock::new(chrono_tz::Tz::UTC, "2026-11-22T12:00:00Z".parse().unwrap());
    let mut exim = Exim::default();
    let mut out = Vec::new();
    for line in lines {
        assert_eq!(exim.read(line, &clock, &mut out), Reading::Recognised, "{line}");
    }
    out.iter().map(|event| event.to_json().unwrap()).collect()
}

fn check(lines: &[&str], expected: &str) {
    assert_eq!(read(lines).last().map(String::as_str), Some(expected));
}

const ARRIVAL: &str = "2026-11-22 10:16:48 1rfXYZ-0001Ab-2C <= Ann@Example.org H=mail.example.org (helo.example.org) [192.0.2.7]:40122 \
     I=[192.0.2.1]:25 P=esmtpsa X=TLS1.3:ECDHE-RSA-AES256-GCM-SHA384:256 CV=no A=plain:ann S=1234 id=abc@example.org for bob@example.net cy@example.com";

#[test]
fn an_arrival_is_a_reception_and_its_login_an_auth_event() {
    let events = read(&[ARRIVAL]);
    assert_eq!(
        events[0],
        r#"{"table":"receptions","ts":"2026-11-22T10:16:48.000000Z","mta":"exim","queue_id":"1rfXYZ-0001Ab-2C","message_id":"abc@example.org","client_ip":"192.0.2.7","client_name":"mail.example.org","helo":"helo.example.org","protocol":"esmtpsa","auth_user":"ann","sender_user":"Ann","sender_domain":"example.org","rcpt_count":2,"rcpt_domain":"example.net","size_bytes":1234,"verdict":"accepted","tls_version":"TLSv1.3","tls_cipher":"ECDHE-RSA-AES256-GCM-SHA384"}"#
    );
    assert_eq!(
        events[1],
        r#"{"table":"auth_events","ts":"2026-11-22T10:16:48.000000Z","protocol":"smtp","user":"ann","client_ip":"192.0.2.7","mechanism":"plain","result":"ok"}"#
    );
}

#[test]
fn a_delivery_knows_what_its_arrival_said() {
    check(
        &[
            ARRIVAL,
            "2026-11-22 10:16:50 1rfXYZ-0001Ab-2C => bob@example.net R=dnslookup T=remote_smtp H=mx.example.net [198.51.100.2]:25 X=TLS1.2:AES256:256 CV=yes C=\"250 2.0.0 Ok: queued as 4F0A\" QT=2.5s DT=0.5s",
        ],
        r#"{"table":"deliveries","ts":"2026-11-22T10:16:50.000000Z","mta":"exim","queue_id":"1rfXYZ-0001Ab-2C","next_queue_id":"4F0A","message_id":"abc@example.org","sender_user":"Ann","sender_domain":"example.org","rcpt_user":"bob","rcpt_domain":"example.net","mx_host":"mx.example.net","mx_ip":"198.51.100.2","attempt":1,"outcome":"delivered","is_final":true,"smtp_code":250,"enhanced_code":"2.0.0","response":"250 2.0.0 Ok: queued as 4F0A","tls_version":"TLSv1.2","tls_cipher":"AES256","tls_trust":"yes","size_bytes":1234,"delay_total_ms":2500,"delay_d_ms":500,"protocol":"remote_smtp"}"#,
    );
}

#[test]
fn a_local_delivery_is_to_the_address_behind_the_mailbox() {
    check(
        &["2026-11-22 10:16:50 1rfXYZ-0001Ab-2C => ann <ann@example.org> R=local_user T=maildir_home"],
        r#"{"table":"deliveries","ts":"2026-11-22T10:16:50.000000Z","mta":"exim","queue_id":"1rfXYZ-0001Ab-2C","rcpt_user":"ann","rcpt_domain":"example.org","outcome":"delivered","is_final":true,"protocol":"maildir_home"}"#,
    );
}

#[test]
fn a_refusal_by_the_other_side_is_a_bounce_with_its_codes() {
    check(
        &[
            "2026-11-22 10:16:50 1rfXYZ-0001Ab-2C ** bob@example.net F=<ann@example.org> R=dnslookup T=remote_smtp H=mx.example.net [198.51.100.2]: SMTP error from remote mail server after RCPT TO:<bob@example.net>: 550 5.1.1 <bob@example.net>: no such user",
        ],
        r#"{"table":"deliveries","ts":"2026-11-22T10:16:50.000000Z","mta":"exim","queue_id":"1rfXYZ-0001Ab-2C","sender_user":"ann","sender_domain":"example.org","rcpt_user":"bob","rcpt_domain":"example.net","mx_host":"mx.example.net","mx_ip":"198.51.100.2","outcome":"bounced","is_final":true,"smtp_code":550,"enhanced_code":"5.1.1","response":"SMTP error from remote mail server after RCPT TO:<bob@example.net>: 550 5.1.1 <bob@example.net>: no such user","protocol":"remote_smtp"}"#,
    );
}

#[test]
fn a_deferral_is_not_final_and_a_retry_time_that_is_over_expires() {
    check(
        &[
            "2026-11-22 10:16:50 1rfXYZ-0001Ab-2C == bob@example.net R=dnslookup T=remote_smtp defer (110): Connection timed out",
        ],
        r#"{"table":"deliveries","ts":"2026-11-22T10:16:50.000000Z","mta":"exim","queue_id":"1rfXYZ-0001Ab-2C","rcpt_user":"bob","rcpt_domain":"example.net","outcome":"deferred","is_final":false,"response":"defer (110): Connection timed out","protocol":"remote_smtp"}"#,
    );
    check(
        &["2026-11-22 10:16:50 1rfXYZ-0001Ab-2C ** bob@example.net: retry timeout exceeded"],
        r#"{"table":"deliveries","ts":"2026-11-22T10:16:50.000000Z","mta":"exim","queue_id":"1rfXYZ-0001Ab-2C","rcpt_user":"bob","rcpt_domain":"example.net","outcome":"expired","is_final":true,"response":"retry timeout exceeded"}"#,
    );
}

#[test]
fn attempts_are_counted_for_each_recipient() {
    let defer = "2026-11-22 10:17:50 1rfXYZ-0001Ab-2C == bob@example.net R=r T=t defer (-1): x";
    let last = read(&[ARRIVAL, defer, defer]).pop().unwrap();
    assert!(last.contains(r#""attempt":2"#), "{last}");
}

#[test]
fn rejections_are_receptions() {
    check(
        &[
            "2026-11-22 10:16:48 H=(bad.example) [203.0.113.9]:1234 F=<x@bad.example> rejected RCPT <ann@example.org>: relay not permitted",
        ],
        r#"{"table":"receptions","ts":"2026-11-22T10:16:48.000000Z","mta":"exim","client_ip":"203.0.113.9","helo":"bad.example","sender_user":"x","sender_domain":"bad.example","rcpt_domain":"example.org","verdict":"rejected","response":"relay not permitted"}"#,
    );
    check(
        &[
            "2026-11-22 10:16:48 H=[203.0.113.9] temporarily rejected connection in \"connect\" ACL: 421 4.7.0 slow down",
        ],
        r#"{"table":"receptions","ts":"2026-11-22T10:16:48.000000Z","mta":"exim","client_ip":"203.0.113.9","verdict":"deferred","smtp_code":421,"enhanced_code":"4.7.0","response":"421 4.7.0 slow down"}"#,
    );
}

#[test]
fn a_failed_login_names_the_user_that_was_tried() {
    check(
        &[
            "2026-11-22 10:16:48 plain_login authenticator failed for (ylmf-pc) [203.0.113.9]: 535 Incorrect authentication data (set_id=info)",
        ],
        r#"{"table":"auth_events","ts":"2026-11-22T10:16:48.000000Z","protocol":"smtp","user":"info","client_ip":"203.0.113.9","mechanism":"plain_login","result":"failed","reason":"535 Incorrect authentication data (set_id=info)"}"#,
    );
}

#[test]
fn a_syslog_head_gives_the_host_and_the_inner_time_counts() {
    check(
        &[
            "Nov 22 10:16:50 mx exim[812]: 2026-11-22 10:16:48 1rfXYZ-00000001AbC-2Cde <= <> R=1rfXYY-0001Ab-2C U=mail P=local S=99",
        ],
        r#"{"table":"receptions","ts":"2026-11-22T10:16:48.000000Z","node":"mx","mta":"exim","queue_id":"1rfXYZ-00000001AbC-2Cde","protocol":"local","size_bytes":99,"verdict":"accepted"}"#,
    );
}

#[test]
fn lines_without_an_event_are_known() {
    for line in [
        "2026-11-22 10:16:48 1rfXYZ-0001Ab-2C Completed",
        "2026-11-22 10:16:48 Start queue run: pid=812",
        "2026-11-22 10:16:48 [812] exim 4.96 daemon started: pid=812, -q30m, listening for SMTP on port 25",
        "2026-11-22 10:16:48 no host name found for IP address 203.0.113.9",
        "2026-11-22 10:16:48 SMTP connection from [203.0.113.9]:1 lost",
    ] {
        assert_eq!(read(&[line]), Vec::<String>::new(), "{line}");
    }
}

proptest::proptest! {
    #[test]
    fn no_line_panics(text in "(2026-11-22 10:16:48 )?(1rfXYZ-0001Ab-2C )?(<=|=>|\\*\\*|==|H=|x)? ?.{0,120}") {
        let clock = Clock::new(chrono_tz::Tz::UTC, Time(1_795_342_608_000_000));
        let mut out = Vec::new();
        let _ = Exim::default().read(&text, &clock, &mut out);
    }
}
