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

fn count(lines: &[&str], table: &str) -> usize {
    read(lines).iter().filter(|event| event.starts_with(&format!("{{\"table\":\"{table}\""))).count()
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
        r#"{"table":"deliveries","ts":"2026-11-22T10:16:50.000000Z","mta":"exim","queue_id":"1rfXYZ-0001Ab-2C","rcpt_user":"bob","rcpt_domain":"example.net","outcome":"deferred","is_final":false,"response":"Connection timed out","protocol":"remote_smtp"}"#,
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
        r#"{"table":"auth_events","ts":"2026-11-22T10:16:48.000000Z","protocol":"smtp","user":"info","client_ip":"203.0.113.9","mechanism":"plain_login","result":"failed","reason":"535 Incorrect authentication data"}"#,
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
fn every_field_of_a_verbose_log_has_its_place() {
    let arrival = r#"2026-11-22 11:30:12.235 +0100 [11421] 1xV5ls-0002yD-0l <= "Ann B"@Src.EX H=([10.0.0.7]) [2001:db8::7]:56038 I=[127.0.0.1]:2925 P=esmtpsa L.- X=TLS1.3:ECDHE_X25519__RSA_PSS_RSAE_SHA256__AES_256_GCM:256* CV=no A=plain:user:ann@src.ex S=332 M8S=0 RT=0.000s DKIM=src.ex id=1@client.ex T="with \"quotes\" for S=1 => in it" from <"Ann B"@Src.EX> for Bob@Remote.ex "cy d"@remote.ex"#;
    let delivery = r#"2026-11-22 11:30:13.240 +0100 [13060] 1xV5ls-0002yD-0l -> bob@remote.ex (list@test.ex) <Bob@remote.ex> F=<"Ann B"@Src.EX> P=<bounces@src.ex> R=remote T=smtp S=346 H=127.0.0.1 [127.0.0.1]:2926* I=[127.0.0.1]:60570 L X=TLS1.2:ECDHE-RSA-AES256-GCM-SHA384:256 CV=dane C="250 2.0.0 \"Ok\": queued as 4F0A1B2C3D" QT=1.005s DT=0.043s"#;
    let events = read(&[arrival, delivery]);
    assert_eq!(
        events[0],
        r#"{"table":"receptions","ts":"2026-11-22T10:30:12.235000Z","mta":"exim","queue_id":"1xV5ls-0002yD-0l","message_id":"1@client.ex","client_ip":"2001:db8::7","helo":"[10.0.0.7]","protocol":"esmtpsa","auth_user":"user","sender_user":"\"Ann B\"","sender_domain":"src.ex","rcpt_count":2,"rcpt_domain":"remote.ex","size_bytes":332,"verdict":"accepted","dkim":"pass","tls_version":"TLSv1.3","tls_cipher":"ECDHE_X25519__RSA_PSS_RSAE_SHA256__AES_256_GCM"}"#
    );
    assert_eq!(
        events[2],
        r#"{"table":"deliveries","ts":"2026-11-22T10:30:13.240000Z","mta":"exim","queue_id":"1xV5ls-0002yD-0l","next_queue_id":"4F0A1B2C3D","message_id":"1@client.ex","sender_user":"\"Ann B\"","sender_domain":"src.ex","rcpt_user":"bob","rcpt_domain":"remote.ex","mx_host":"127.0.0.1","mx_ip":"127.0.0.1","source_ip":"127.0.0.1","attempt":1,"outcome":"delivered","is_final":true,"smtp_code":250,"enhanced_code":"2.0.0","response":"250 2.0.0 \"Ok\": queued as 4F0A1B2C3D","tls_version":"TLSv1.2","tls_cipher":"ECDHE-RSA-AES256-GCM-SHA384","tls_trust":"dane","size_bytes":346,"delay_total_ms":1005,"delay_d_ms":43,"protocol":"smtp"}"#
    );
}

#[test]
fn a_deferral_has_its_host_behind_the_word_and_its_time_before_or_behind_the_reason() {
    check(
        &[
            "2026-11-22 11:31:21.531 [13076] 1xV5mz-0003Ot-1Y == temp@remote.ex R=remote T=smtp defer (-44) H=127.0.0.1 [127.0.0.1]:2926 I=[127.0.0.1]:60602 DT=0.002s: SMTP error from remote mail server after RCPT TO:<temp@remote.ex>: 450 4.2.0 Greylisted, try later",
        ],
        r#"{"table":"deliveries","ts":"2026-11-22T11:31:21.531000Z","mta":"exim","queue_id":"1xV5mz-0003Ot-1Y","rcpt_user":"temp","rcpt_domain":"remote.ex","mx_host":"127.0.0.1","mx_ip":"127.0.0.1","source_ip":"127.0.0.1","outcome":"deferred","is_final":false,"smtp_code":450,"enhanced_code":"4.2.0","response":"SMTP error from remote mail server after RCPT TO:<temp@remote.ex>: 450 4.2.0 Greylisted, try later","delay_d_ms":2,"protocol":"smtp"}"#,
    );
    check(
        &[
            "2026-11-22 11:31:21 1xV5mz-0003PB-2s == x@refused.ex R=refused T=dead defer (111): Connection refused DT=1s",
        ],
        r#"{"table":"deliveries","ts":"2026-11-22T11:31:21.000000Z","mta":"exim","queue_id":"1xV5mz-0003PB-2s","rcpt_user":"x","rcpt_domain":"refused.ex","outcome":"deferred","is_final":false,"response":"Connection refused","delay_d_ms":1000,"protocol":"dead"}"#,
    );
}

#[test]
fn looking_at_the_retry_database_is_no_attempt() {
    let skipped = "2026-11-22 10:17:51 1rfXYZ-0001Ab-2C == bob@example.net routing defer (-51): retry time not reached";
    let tried = "2026-11-22 10:17:52 1rfXYZ-0001Ab-2C == bob@example.net R=r T=t defer (-1): x";
    let sent = "2026-11-22 10:17:53 1rfXYZ-0001Ab-2C => bob@example.net R=r T=t";
    let expired = "2026-11-22 10:17:54 1rfXYZ-0001Ab-2C ** bob@example.net: retry timeout exceeded";
    let events = read(&[ARRIVAL, skipped, tried, skipped, sent, expired]);
    let attempts: Vec<bool> = events[2..].iter().map(|event| event.contains("\"attempt\":")).collect();
    assert_eq!(attempts, [false, true, false, true, false]);
    assert!(events[5].contains(r#""attempt":2"#), "{}", events[5]);
}

#[test]
fn a_permanent_failure_names_its_recipient_and_reason_wherever_they_stand() {
    let id = "2026-11-22 10:17:50 1rfXYZ-0001Ab-2C **";
    for (text, user, host, code, response) in [
        ("jim@trek99.ex <jim@trek99.ex>: unknown mail domain", "jim", "", None, "unknown mail domain"),
        ("x@nodns.ex F=<ann@src.ex>: Unrouteable address DT=0.000s", "x", "", None, "Unrouteable address"),
        (
            "|/bin/false -x y <pipe@test.ex> F=<a@b.ex> R=pipe T=pp: Child process returned 1 from command: /bin/false",
            "pipe",
            "",
            None,
            "Child process returned 1 from command: /bin/false",
        ),
        ("o dd@test.ex <\"o dd\"@test.ex> R=local T=mbox: 550 5.2.2 full", "\"o dd\"", "", Some(550), "550 5.2.2 full"),
        (
            "ace@pb.ex R=dnslookup T=remote_smtp: SMTP error from remote mailer after pipelined RCPT TO:<ace@pb.ex>: host mx.pb.ex [192.0.2.111]: 553 5.3.0 <ace@pb.ex>...Addressee unknown",
            "ace",
            "mx.pb.ex",
            Some(553),
            "SMTP error from remote mailer after pipelined RCPT TO:<ace@pb.ex>: host mx.pb.ex [192.0.2.111]: 553 5.3.0 <ace@pb.ex>...Addressee unknown",
        ),
        (
            r#"u@remote.ex R=remote T=smtp H=mx.ex [192.0.2.1]: SMTP error from remote mail server after RCPT TO:<u@remote.ex>: 550-5.1.1 No.\n550 5.1.1 see https://x.ex/ "q" DT=0.1s"#,
            "u",
            "mx.ex",
            Some(550),
            r#"SMTP error from remote mail server after RCPT TO:<u@remote.ex>: 550-5.1.1 No.\n550 5.1.1 see https://x.ex/ "q""#,
        ),
    ] {
        let mut out = Vec::new();
        let clock = Clock::new(chrono_tz::Tz::UTC, Time(1_795_342_608_000_000));
        Exim::default().read(&format!("{id} {text}"), &clock, &mut out);
        let [Event::Delivery(delivery)] = out.as_slice() else { panic!("{text}: {out:?}") };
        assert_eq!(
            (&*delivery.rcpt_user, &*delivery.mx_host, delivery.smtp_code, &*delivery.response, delivery.outcome),
            (user, host, code, response, DeliveryOutcome::Bounced),
            "{text}"
        );
    }
}

#[test]
fn what_is_thrown_away_is_said_to_be() {
    check(
        &["2026-11-22 10:17:50 1rfXYZ-0001Ab-2C => :blackhole: <hole@test.ex> R=blackhole"],
        r#"{"table":"deliveries","ts":"2026-11-22T10:17:50.000000Z","mta":"exim","queue_id":"1rfXYZ-0001Ab-2C","rcpt_user":"hole","rcpt_domain":"test.ex","outcome":"delivered","is_final":true,"protocol":"discard"}"#,
    );
    check(
        &["2026-11-22 10:17:50 1rfXYZ-0001Ab-2C => blackhole (DATA ACL discarded recipients): thrown away"],
        r#"{"table":"receptions","ts":"2026-11-22T10:17:50.000000Z","mta":"exim","queue_id":"1rfXYZ-0001Ab-2C","verdict":"discarded","response":"thrown away"}"#,
    );
    check(
        &["2026-11-22 10:17:50 H=(c.ex) [192.0.2.7] F=<a@b.ex> RCPT <trash@test.ex>: discarded by RCPT ACL"],
        r#"{"table":"receptions","ts":"2026-11-22T10:17:50.000000Z","mta":"exim","client_ip":"192.0.2.7","helo":"c.ex","sender_user":"a","sender_domain":"b.ex","rcpt_domain":"test.ex","verdict":"discarded","response":"discarded by RCPT ACL"}"#,
    );
}

#[test]
fn what_exim_refuses_by_itself_is_a_reception_too() {
    for (text, expected) in [
        (
            "rejected EHLO from [192.0.2.7]:4 I=[192.0.2.1]:25: syntactically invalid argument(s): x y",
            r#""client_ip":"192.0.2.7","helo":"x y","verdict":"rejected","response":"syntactically invalid argument(s): x y"}"#,
        ),
        (
            "rejected MAIL FROM:<ann@src.ex> H=(c.ex) [192.0.2.7]:4 I=[192.0.2.1]:25: message too big: size=30080 max=20480",
            r#""client_ip":"192.0.2.7","helo":"c.ex","sender_user":"ann","sender_domain":"src.ex","size_bytes":30080,"verdict":"rejected","response":"message too big: size=30080 max=20480"}"#,
        ),
        (
            "too many recipients: message rejected: sender=<ann@src.ex> H=(c.ex) [192.0.2.7]",
            r#""client_ip":"192.0.2.7","helo":"c.ex","sender_user":"ann","sender_domain":"src.ex","verdict":"rejected","response":"too many recipients: message rejected"}"#,
        ),
        (
            "unqualified recipient rejected: <unq> H=mail.ex (c) [192.0.2.7]",
            r#""client_ip":"192.0.2.7","client_name":"mail.ex","helo":"c","verdict":"rejected","response":"unqualified recipient rejected"}"#,
        ),
        (
            "Connection from [192.0.2.7]:4 refused: too many connections from that IP address",
            r#""client_ip":"192.0.2.7","verdict":"deferred","response":"too many connections from that IP address"}"#,
        ),
        (
            r#"SMTP protocol synchronization error (input sent without waiting for greeting): rejected connection from H=[192.0.2.7]:4 I=[192.0.2.1]:25 input="GET / HTTP/1.0\r\n""#,
            r#""client_ip":"192.0.2.7","verdict":"rejected","response":"input sent without waiting for greeting"}"#,
        ),
        (
            "H=(c.ex) [192.0.2.7] X=TLS1.3:TLS_AES_256_GCM_SHA384:256 CV=no A=login:ann temporarily rejected MAIL <slow@bad.ex>: come back",
            r#""client_ip":"192.0.2.7","helo":"c.ex","auth_user":"ann","sender_user":"slow","sender_domain":"bad.ex","verdict":"deferred","response":"come back","tls_version":"TLSv1.3","tls_cipher":"TLS_AES_256_GCM_SHA384"}"#,
        ),
        (
            "H=[192.0.2.7] rejected EHLO or HELO spam.ex: no",
            r#""client_ip":"192.0.2.7","helo":"spam.ex","verdict":"rejected","response":"no"}"#,
        ),
    ] {
        check(
            &[&format!("2026-11-22 10:17:50 {text}")],
            &format!(r#"{{"table":"receptions","ts":"2026-11-22T10:17:50.000000Z","mta":"exim",{expected}"#),
        );
    }
}

#[test]
fn a_failed_login_is_read_with_ports_and_interface_too() {
    check(
        &[
            "2026-11-22 11:30:12.322 [11423] login authenticator failed for mail.ex (client.ex) [192.0.2.7]:56042 I=[192.0.2.1]:2925: 535 Incorrect authentication data (set_id=hacker)",
        ],
        r#"{"table":"auth_events","ts":"2026-11-22T11:30:12.322000Z","protocol":"smtp","user":"hacker","client_ip":"192.0.2.7","mechanism":"login","result":"failed","reason":"535 Incorrect authentication data"}"#,
    );
}

#[test]
fn a_reject_log_makes_one_reception_of_a_message_and_none_of_its_header() {
    let lines = [
        "2026-11-22 11:30:16 1xV5lw-00030m-06 H=(client.ex) [127.0.0.1] F=<ann@src.ex> rejected after DATA: 5.7.1 Spam found",
        "Envelope-from: <ann@src.ex>",
        "Envelope-to: <bob@test.ex>",
        "P Received: from [127.0.0.1] (port=42662 helo=client.ex)",
        "\tby mx.test.ex with esmtp (Exim 4.96)",
        "  Subject: SPAM",
        "",
    ];
    assert_eq!(count(&lines, "receptions"), 1);
}

#[test]
fn a_line_that_syslog_cut_counts_once_and_docker_wraps_one() {
    let parts = [
        r"Nov 22 10:16:50 mx exim[812]: [1/2] 2026-11-22 10:16:48 1rfXYZ-0001Ab-2C <= a@b.ex H=c [192.0.2.7] P=smtp S=99 id=a",
        r"Nov 22 10:16:50 mx exim[812]: [2/2] @b.ex",
    ];
    assert_eq!(count(&parts, "receptions"), 1);
    let docker = r#"{"log":"2026-11-22 10:16:48 1rfXYZ-0001Ab-2C <= a@b.ex P=local S=9\n","stream":"stdout","time":"2026-11-22T10:16:49Z"}"#;
    assert_eq!(count(&[docker], "receptions"), 1);
}

#[test]
fn a_message_that_was_taken_and_refused_is_refused() {
    let fake = "2026-11-22 11:30:16 1xV5lw-00030n-06 (= ann@src.ex H=(c.ex) [192.0.2.7] P=esmtp S=261 id=1@c.ex";
    assert!(read(&[fake])[0].contains(r#""verdict":"rejected""#));
}

#[test]
fn other_programs_are_not_exim() {
    for line in [
        "Nov 22 10:16:48 mx postfix/qmgr[812]: 4F: removed",
        "2026-11-22 10:16:48 imap-login: Info: Login: user=<ann>",
        "garbage",
    ] {
        let clock = Clock::new(chrono_tz::Tz::UTC, Time(1_795_342_608_000_000));
        assert_eq!(Exim::default().read(line, &clock, &mut Vec::new()), Reading::Unrecognised, "{line}");
        assert!(!looks_like(line), "{line}");
    }
}

#[test]
fn lines_without_an_event_are_known() {
    for line in [
        "2026-11-22 10:16:48 1rfXYZ-0001Ab-2C Completed",
        "2026-11-22 10:16:48 Start queue run: pid=812",
        "2026-11-22 10:16:48 [812] exim 4.96 daemon started: pid=812, -q30m, listening for SMTP on port 25",
        "2026-11-22 10:16:48 no host name found for IP address 203.0.113.9",
        "2026-11-22 10:16:48 SMTP connection from [203.0.113.9]:1 I=[192.0.2.1]:25 (TCP/IP connection count = 1)",
        "2026-11-22 10:16:48 TLS error on connection from (c) [203.0.113.9] (gnutls_handshake): An unexpected TLS packet was received.",
        "2026-11-22 10:16:48 H=(c) [203.0.113.9]:54150 incomplete transaction (RSET) from <a@b.c> for bob@test.ex",
        "2026-11-22 10:16:48 H=(c) [203.0.113.9] Warning: nothing was rejected RCPT <x>",
        "2026-11-22 10:16:48 1rfXYZ-0001Ab-2C H=127.0.0.1 [127.0.0.1]: SMTP error from remote mail server after end of data: 451 4.3.0 busy",
        "2026-11-22 10:16:48 1rfXYZ-0001Ab-2C Frozen (delivery error message)",
        "2026-11-22 10:16:48 1rfXYZ-0001Ab-2C ann@src.ex: error ignored",
        "2026-11-22 10:16:48 1rfXYZ-0001Ab-2C DKIM: d=src.ex s=x c=relaxed/relaxed a=rsa-sha256 b=2048 [verification succeeded]",
        "2026-11-22 10:16:48 1rfXYZ-0001Ab-2C *> bob@example.net R=r T=t",
    ] {
        assert_eq!(read(&[line]), Vec::<String>::new(), "{line}");
    }
}

#[test]
fn the_end_of_a_connection_is_a_session_and_told_once() {
    let events = read(&[
        r"2026-11-22 10:16:48 SMTP connection from (c.ex) [192.0.2.7]:49448 I=[127.0.0.1]:25 lost D=0.001s",
        r"2026-11-22 10:16:48 no MAIL in SMTP connection from (c.ex) [192.0.2.7]:49448 I=[127.0.0.1]:25 D=0.001s C=EHLO,AUTH",
        r"2026-11-22 10:16:48 SMTP connection from (c.ex) [192.0.2.7]:5 I=[127.0.0.1]:25 closed by QUIT",
        r"2026-11-22 10:16:48 no MAIL in SMTP connection from ([10.0.0.1]) [192.0.2.8] D=2.012s C=EHLO,NOOP,QUIT",
        r"2026-11-22 10:16:48 SMTP command timeout on connection from [192.0.2.7]:52158 I=[127.0.0.1]:25",
        r"2026-11-22 10:16:48 SMTP data timeout (message abandoned) on connection from (c) [192.0.2.7]:49516 F=<a@b.test>",
        r#"2026-11-22 10:16:48 SMTP call from (c.ex) [192.0.2.7]:49526 I=[127.0.0.1]:25 dropped: too many nonmail commands (last was "NOOP")"#,
        r"2026-11-22 10:16:48 unexpected disconnection while reading SMTP command from (c.ex) [192.0.2.7] D=5s",
        r"2026-11-22 10:16:48 1xVtAk-0007AY-39 SMTP connection from (c.ex) [192.0.2.7]:44738 I=[127.0.0.1]:25 closed by DROP in ACL",
        r"2026-11-22 10:16:48 [19687] SMTP connection Ci=19687 from (c.ex) [192.0.2.7]:45782 I=[127.0.0.1]:25 D=0.004s closed by QUIT",
        r"2026-11-22 10:16:48 [19773] no MAIL in SMTP connection from [192.0.2.7]:46026 I=[127.0.0.1]:25 Ci=19773 D=0.001s",
    ]);
    let head = r#"{"table":"sessions","ts":"2026-11-22T10:16:48.000000Z","protocol":"smtp","client_ip":"192.0.2."#;
    let found: Vec<&str> = events.iter().map(|event| event.strip_prefix(head).unwrap()).collect();
    assert_eq!(
        found,
        [
            r#"7","duration_ms":1,"end_reason":"disconnected"}"#,
            r#"7","end_reason":"logout"}"#,
            r#"8","duration_ms":2012,"commands":3,"end_reason":"logout"}"#,
            r#"7","end_reason":"timeout"}"#,
            r#"7","end_reason":"timeout"}"#,
            r#"7","end_reason":"protocol_error"}"#,
            r#"7","duration_ms":5000,"end_reason":"disconnected"}"#,
            r#"7","end_reason":"refused"}"#,
            r#"7","duration_ms":4,"end_reason":"logout"}"#,
            r#"7","duration_ms":1}"#,
        ]
    );
}

#[test]
fn the_number_of_a_connection_is_in_nobodys_way() {
    let events = read(&[
        "2026-11-22 10:16:48.565 [19690] H=(c.ex) [192.0.2.7]:45788 I=[127.0.0.1]:25 Ci=19690 F=<bob@src.ex> rejected RCPT <nobody@lab.ex>: relay not permitted",
        "2026-11-22 10:16:48.565 [19761] plain authenticator failed for (c.ex) [192.0.2.7]:46014 I=[127.0.0.1]:25 Ci=19761: 535 Incorrect authentication data (set_id=ann)",
    ]);
    assert_eq!(
        events,
        [
            r#"{"table":"receptions","ts":"2026-11-22T10:16:48.565000Z","mta":"exim","client_ip":"192.0.2.7","helo":"c.ex","sender_user":"bob","sender_domain":"src.ex","rcpt_domain":"lab.ex","verdict":"rejected","response":"relay not permitted"}"#,
            r#"{"table":"auth_events","ts":"2026-11-22T10:16:48.565000Z","protocol":"smtp","user":"ann","client_ip":"192.0.2.7","mechanism":"plain","result":"failed","reason":"535 Incorrect authentication data"}"#,
        ]
    );
}

#[test]
fn an_arrival_knows_what_was_said_of_its_signatures() {
    for (results, expected) in [
        (&["verification failed - body hash mismatch", "verification succeeded", "invalid - x"][..], "pass"),
        (&["verification failed - signature did not verify"], "fail"),
        (&["invalid - public key record (currently?) unavailable"], "permerror"),
    ] {
        let mut lines: Vec<String> = results
            .iter()
            .map(|result| {
                format!("2026-11-22 10:16:47 1rfXYZ-0001Ab-2C DKIM: d=src.ex s=x c=relaxed/relaxed a=rsa-sha256 b=2048 [{result}]")
            })
            .collect();
        lines.push(ARRIVAL.to_owned());
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        assert!(read(&lines)[0].contains(&format!(r#""dkim":"{expected}""#)), "{results:?}");
    }
}

#[test]
fn a_log_in_that_was_not_offered_has_failed() {
    check(
        &[
            r#"2026-11-22 10:16:48 SMTP protocol error in "AUTH LOGIN" H=(c.ex) [192.0.2.7]:4 I=[192.0.2.1]:25 AUTH command used when not advertised"#,
        ],
        r#"{"table":"auth_events","ts":"2026-11-22T10:16:48.000000Z","protocol":"smtp","client_ip":"192.0.2.7","mechanism":"LOGIN","result":"failed","reason":"AUTH command used when not advertised"}"#,
    );
}

proptest::proptest! {
    #[test]
    fn no_line_panics(text in "(2026-11-22 10:16:48 )?(1rfXYZ-0001Ab-2C )?(<=|=>|\\*\\*|==|H=|x|rejected |too many recipients: )? ?([A-Z]{1,2}=|[<\"(\\[:]|\\[1\\.2|.){0,60}") {
        let clock = Clock::new(chrono_tz::Tz::UTC, Time(1_795_342_608_000_000));
        let mut out = Vec::new();
        let _ = Exim::default().read(&text, &clock, &mut out);
    }
}
