//! Real lines of Postfix, and exactly what they say.

use crate::dialect::Reader;
use crate::dialect::clock::Clock;
use crate::dialect::tests::events_of;
use crate::event::Event;

/// Runs lines `program|text` of process 7 and compares the events, without the head that all share.
fn check(lines: &[&str], expected: &[&str]) {
    let lines: Vec<String> = lines
        .iter()
        .map(|line| {
            let (program, text) = line.split_once('|').unwrap();
            format!("Nov 22 10:16:48 mx postfix/{program}[7]: {text}")
        })
        .collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let head = r#""ts":"2026-11-22T10:16:48.000000Z","node":"mx","#;
    let found: Vec<String> = events_of("postfix", &lines)
        .iter()
        .map(|event| event.replace(head, "").replace(r#""mta":"postfix","#, ""))
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn a_message_is_told_by_four_daemons() {
    check(
        &[
            "submission/smtpd|connect from host.example[192.0.2.9]",
            "submission/smtpd|Anonymous TLS connection established from host.example[192.0.2.9]: TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256/256 bits) key-exchange X25519",
            "submission/smtpd|3F2A71C0B5: client=host.example[192.0.2.9], sasl_method=PLAIN, sasl_username=ann@example.org",
            "cleanup|3F2A71C0B5: message-id=<1@client.example>",
            "qmgr|3F2A71C0B5: from=<Ann@Example.org>, size=510, nrcpt=1 (queue active)",
            "smtp|Trusted TLS connection established to mx.dest.example[198.51.100.7]:25: TLSv1.2 with cipher ECDHE-RSA-AES256-GCM-SHA384 (256/256 bits)",
            "smtp|3F2A71C0B5: to=<bob@dest.example>, orig_to=<bob>, relay=mx.dest.example[198.51.100.7]:25, delay=1.2, delays=0.07/0.0104/1/0.1, dsn=4.2.0, status=deferred (host mx.dest.example[198.51.100.7] said: 450 4.2.0 <bob@dest.example>: Greylisted (for (300) s) (in reply to RCPT TO command))",
            "qmgr|3F2A71C0B5: from=<ann@example.org>, size=510, nrcpt=1 (queue active)",
            "smtp|3F2A71C0B5: to=<bob@dest.example>, relay=mx.dest.example[198.51.100.7]:25, conn_use=2, delay=301, delays=300/0/0.5/0.5, dsn=2.0.0, status=sent (250 2.0.0 Ok: queued as 4Zabc12345z0)",
            "qmgr|3F2A71C0B5: removed",
            "submission/smtpd|disconnect from host.example[192.0.2.9] ehlo=2 starttls=1 auth=1 mail=1 rcpt=1 data=1 quit=1 commands=8",
        ],
        &[
            r#"{"table":"auth_events","protocol":"submission","user":"ann@example.org","client_ip":"192.0.2.9","mechanism":"PLAIN","result":"ok"}"#,
            r#"{"table":"receptions","queue_id":"3F2A71C0B5","message_id":"1@client.example","client_ip":"192.0.2.9","client_name":"host.example","auth_user":"ann@example.org","sender_user":"Ann","sender_domain":"example.org","rcpt_count":1,"size_bytes":510,"verdict":"accepted","tls_version":"TLSv1.3","tls_cipher":"TLS_AES_256_GCM_SHA384"}"#,
            r#"{"table":"deliveries","queue_id":"3F2A71C0B5","message_id":"1@client.example","sender_user":"Ann","sender_domain":"example.org","rcpt_user":"bob","rcpt_domain":"dest.example","mx_host":"mx.dest.example","mx_ip":"198.51.100.7","attempt":1,"outcome":"deferred","is_final":false,"smtp_code":450,"enhanced_code":"4.2.0","class":"greylisted","class_rule":"greylisted","response":"host mx.dest.example[198.51.100.7] said: 450 4.2.0 <bob@dest.example>: Greylisted (for (300) s) (in reply to RCPT TO command)","response_template":"host *[*] said: 450 4.2.0 <*>: Greylisted (for (*) s) (in reply to RCPT TO command)","tls_version":"TLSv1.2","tls_cipher":"ECDHE-RSA-AES256-GCM-SHA384","tls_trust":"Trusted","size_bytes":510,"delay_total_ms":1200,"delay_a_ms":70,"delay_b_ms":10,"delay_c_ms":1000,"delay_d_ms":100,"protocol":"smtp"}"#,
            r#"{"table":"deliveries","queue_id":"3F2A71C0B5","next_queue_id":"4Zabc12345z0","message_id":"1@client.example","sender_user":"ann","sender_domain":"example.org","rcpt_user":"bob","rcpt_domain":"dest.example","mx_host":"mx.dest.example","mx_ip":"198.51.100.7","attempt":2,"outcome":"delivered","is_final":true,"smtp_code":250,"enhanced_code":"2.0.0","response":"250 2.0.0 Ok: queued as 4Zabc12345z0","response_template":"250 2.0.0 Ok: queued as *","tls_version":"TLSv1.2","tls_cipher":"ECDHE-RSA-AES256-GCM-SHA384","tls_trust":"Trusted","size_bytes":510,"delay_total_ms":301000,"delay_a_ms":300000,"delay_b_ms":0,"delay_c_ms":500,"delay_d_ms":500,"protocol":"smtp"}"#,
            r#"{"table":"sessions","protocol":"submission","user":"ann@example.org","client_ip":"192.0.2.9","duration_ms":0,"commands":8,"end_reason":"logout"}"#,
        ],
    );
}

#[test]
fn a_delivery_alone_says_what_its_line_says() {
    check(
        &[
            "lmtp|4ZBbc12345z0BcDf: to=<u07@example.test>, relay=mx.example.test[private/dovecot-lmtp], delay=0.11, delays=0.02/0.01/0.04/0.03, dsn=2.0.0, status=sent (250 2.0.0 <u07@example.test> HSjQFmjQAmtjSwAAg+zDdQ Saved)",
        ],
        &[
            r#"{"table":"deliveries","queue_id":"4ZBbc12345z0BcDf","next_queue_id":"HSjQFmjQAmtjSwAAg+zDdQ","rcpt_user":"u07","rcpt_domain":"example.test","mx_host":"mx.example.test","outcome":"delivered","is_final":true,"smtp_code":250,"enhanced_code":"2.0.0","response":"250 2.0.0 <u07@example.test> HSjQFmjQAmtjSwAAg+zDdQ Saved","response_template":"250 2.0.0 <*> * Saved","delay_total_ms":110,"delay_a_ms":20,"delay_b_ms":10,"delay_c_ms":40,"delay_d_ms":30,"protocol":"lmtp"}"#,
        ],
    );
}

#[test]
fn refusals_of_smtpd_are_receptions() {
    check(
        &[
            "smtpd|NOQUEUE: reject: RCPT from unknown[2001:db8::5]: 554 5.7.1 Service unavailable; Client host [2001:db8::5] blocked using zen.spamhaus.org; https://www.spamhaus.org/query/ip/2001:db8::5; from=<x@Spam.test> to=<u07@example.test> proto=ESMTP helo=<evil>",
            "smtpd|NOQUEUE: reject: CONNECT from localhost[127.0.0.1]: 451 4.3.5 Server configuration error; proto=SMTP",
            "smtpd|3F2A71C0B5: reject: END-OF-MESSAGE from localhost[127.0.0.1]:4711: 554 5.7.1 <x@baddata>: Sender address rejected: eod no; from=<> to=<u07@example.test> proto=ESMTP helo=<client.test>",
            "smtpd|NOQUEUE: reject: VRFY from localhost[127.0.0.1]: 504 5.5.2 <x>: Recipient address rejected: need fully-qualified address; to=<x> proto=ESMTP helo=<a>",
            "smtpd|NOQUEUE: milter-reject: EHLO from localhost[127.0.0.1]: 451 4.7.1 Service unavailable - try again later; proto=SMTP helo=<client.test>",
        ],
        &[
            r#"{"table":"receptions","client_ip":"2001:db8::5","helo":"evil","protocol":"ESMTP","sender_user":"x","sender_domain":"spam.test","rcpt_domain":"example.test","verdict":"rejected","smtp_code":554,"enhanced_code":"5.7.1","class":"ip_reputation","class_rule":"blocklist:zen.spamhaus.org","response":"554 5.7.1 Service unavailable; Client host [2001:db8::5] blocked using zen.spamhaus.org; https://www.spamhaus.org/query/ip/2001:db8::5"}"#,
            r#"{"table":"receptions","client_ip":"127.0.0.1","client_name":"localhost","protocol":"SMTP","verdict":"deferred","smtp_code":451,"enhanced_code":"4.3.5","class":"other","class_rule":"temporary","response":"451 4.3.5 Server configuration error"}"#,
            r#"{"table":"receptions","queue_id":"3F2A71C0B5","client_ip":"127.0.0.1","client_name":"localhost","helo":"client.test","protocol":"ESMTP","rcpt_domain":"example.test","verdict":"rejected","smtp_code":554,"enhanced_code":"5.7.1","class":"policy","class_rule":"access-denied","response":"554 5.7.1 <x@baddata>: Sender address rejected: eod no"}"#,
            r#"{"table":"receptions","client_ip":"127.0.0.1","client_name":"localhost","helo":"a","protocol":"ESMTP","verdict":"rejected","smtp_code":504,"enhanced_code":"5.5.2","class":"protocol","class_rule":"5.5.2","response":"504 5.5.2 <x>: Recipient address rejected: need fully-qualified address"}"#,
            r#"{"table":"receptions","client_ip":"127.0.0.1","client_name":"localhost","helo":"client.test","protocol":"SMTP","verdict":"deferred","smtp_code":451,"enhanced_code":"4.7.1","class":"other","class_rule":"temporary","response":"451 4.7.1 Service unavailable - try again later"}"#,
        ],
    );
}

#[test]
fn header_checks_discards_holds_and_filters_before_the_queue() {
    check(
        &[
            "cleanup|3F2A71C0B5: reject: header Subject: x from y; from=<z> from unknown[192.0.2.1]; from=<a@client.test> to=<u07@example.test> proto=ESMTP helo=<client.test>: 5.7.1 bad subject; go away",
            "smtpd|NOQUEUE: discard: RCPT from localhost[127.0.0.1]: <x@discard.test>: Sender address throw it; from=<x@discard.test> to=<u07@example.test> proto=ESMTP helo=<client.test>",
            "cleanup|3F2A71C0B6: hold: header Subject: HCHOLD from local; from=<a@client.test> to=<u07@example.test>: held for look",
            "proxy/smtpd|connect from out.example[192.0.2.3]",
            "proxy/smtpd|NOQUEUE: client=out.example[192.0.2.3]",
            "proxy/smtpd|proxy-reject: END-OF-MESSAGE: 550 5.7.1 Spam; from=<a@b.example> to=<c@d.example> proto=ESMTP helo=<e>",
            "smtpd|NOQUEUE: warn: RCPT from localhost[127.0.0.1]: hmm; from=<x@warn.test> to=<u07@example.test> proto=ESMTP helo=<client.test>",
            "smtpd|NOQUEUE: reject_warning: RCPT from localhost[127.0.0.1]: 554 5.7.1 no; from=<x@warn.test> to=<u07@example.test> proto=ESMTP helo=<client.test>",
        ],
        &[
            r#"{"table":"receptions","queue_id":"3F2A71C0B5","client_ip":"192.0.2.1","helo":"client.test","protocol":"ESMTP","sender_user":"a","sender_domain":"client.test","rcpt_domain":"example.test","verdict":"rejected","enhanced_code":"5.7.1","class":"policy","class_rule":"5.7.1","response":"5.7.1 bad subject; go away"}"#,
            r#"{"table":"receptions","client_ip":"127.0.0.1","client_name":"localhost","helo":"client.test","protocol":"ESMTP","sender_user":"x","sender_domain":"discard.test","rcpt_domain":"example.test","verdict":"discarded","class":"other","response":"<x@discard.test>: Sender address throw it"}"#,
            r#"{"table":"receptions","queue_id":"3F2A71C0B6","sender_user":"a","sender_domain":"client.test","rcpt_domain":"example.test","verdict":"quarantined","class":"other","response":"held for look"}"#,
            r#"{"table":"receptions","client_ip":"192.0.2.3","client_name":"out.example","helo":"e","protocol":"ESMTP","sender_user":"a","sender_domain":"b.example","rcpt_domain":"d.example","verdict":"rejected","smtp_code":550,"enhanced_code":"5.7.1","class":"spam_content","class_rule":"spam","response":"550 5.7.1 Spam"}"#,
        ],
    );
}

#[test]
fn postscreen_refuses_with_commas() {
    check(
        &[
            "postscreen|CONNECT from [192.0.2.1]:4711 to [198.51.100.1]:25",
            "postscreen|PREGREET 12 after 0.05 from [192.0.2.1]:4711: EHLO early\\r\\n",
            "postscreen|DNSBL rank 4 for [192.0.2.1]:4711",
            "dnsblog|addr 192.0.2.1 listed by domain zen.spamhaus.org as 127.0.0.4",
            "postscreen|NOQUEUE: reject: RCPT from [192.0.2.1]:4711: 550 5.5.1 Protocol error; from=<a@b.c>, to=<u07@example.test>, proto=ESMTP, helo=<ok>",
            "postscreen|NOQUEUE: reject: CONNECT from [192.0.2.1]:4711: all screening ports busy",
            "postscreen|HANGUP after 0.36 from [192.0.2.1]:4711 in tests after SMTP handshake",
            "postscreen|PASS NEW [192.0.2.2]:4711",
            "postscreen|DISCONNECT [192.0.2.1]:4711",
        ],
        &[
            r#"{"table":"receptions","client_ip":"192.0.2.1","helo":"ok","protocol":"ESMTP","sender_user":"a","sender_domain":"b.c","rcpt_domain":"example.test","verdict":"rejected","smtp_code":550,"enhanced_code":"5.5.1","class":"protocol","class_rule":"5.5.1","response":"550 5.5.1 Protocol error"}"#,
            r#"{"table":"receptions","client_ip":"192.0.2.1","verdict":"deferred","class":"connection","class_rule":"connection","response":"all screening ports busy"}"#,
        ],
    );
}

#[test]
fn failed_log_ins_and_broken_sessions() {
    check(
        &[
            "smtpd|connect from unknown[192.0.2.1]",
            "smtpd|warning: unknown[192.0.2.1]: SASL LOGIN authentication failed: UGFzc3dvcmQ6, sasl_username=admin",
            "smtpd|warning: unknown[192.0.2.1]: SASL PLAIN authentication failed: ",
            "smtpd|warning: SASL authentication failure: Password verification failed",
            "smtpd|too many errors after AUTH from unknown[192.0.2.1]",
            "smtpd|disconnect from unknown[192.0.2.1] ehlo=1 auth=0/2 commands=1/3",
            "smtpd|disconnect from unknown[192.0.2.2]",
        ],
        &[
            r#"{"table":"auth_events","protocol":"smtp","user":"admin","client_ip":"192.0.2.1","mechanism":"LOGIN","result":"failed","reason":"UGFzc3dvcmQ6"}"#,
            r#"{"table":"auth_events","protocol":"smtp","client_ip":"192.0.2.1","mechanism":"PLAIN","result":"failed"}"#,
            r#"{"table":"sessions","protocol":"smtp","client_ip":"192.0.2.1","duration_ms":0,"commands":3,"end_reason":"protocol_error"}"#,
            r#"{"table":"sessions","protocol":"smtp","client_ip":"192.0.2.2"}"#,
        ],
    );
}

/// After a restart a log is read on behind the part that is read again, and an hour later a message is tried again.
#[test]
fn a_retry_behind_a_part_that_was_not_read_is_no_arrival() {
    let arrival = [
        "smtpd[7]: 4AAAAA1111: client=localhost[127.0.0.1]",
        "cleanup[7]: 4AAAAA1111: message-id=<1@x>",
        "qmgr[7]: 4AAAAA1111: from=<a@b.example>, size=1, nrcpt=1 (queue active)",
    ];
    let retry = "qmgr[7]: 4BBBBB2222: from=<a@b.example>, size=1, nrcpt=1 (queue active)";
    let arrivals = |lines: &[&str], begins_within: bool| {
        let clock = Clock::new(chrono_tz::Tz::UTC, "2026-11-22T12:00:00Z".parse().unwrap());
        let mut reader = Reader::new(&super::ENTRY, clock);
        if begins_within {
            reader.begins_within();
        }
        let mut out = Vec::new();
        for line in lines {
            reader.line(["Nov 22 10:16:48 mx postfix/", line].concat().as_bytes(), &mut out);
        }
        out.iter().filter(|event| matches!(event, Event::Reception(_))).count()
    };
    let all = [arrival.as_slice(), &[retry, retry]].concat();
    assert_eq!((arrivals(&all, false), arrivals(&all, true)), (2, 1));
    // A log with the queue manager's lines alone has no better witness.
    assert_eq!(arrivals(&[retry, retry], true), 1);
}

#[test]
fn since_3_10_the_end_of_a_session_and_of_a_message_name_the_queue_id() {
    check(
        &[
            "smtpd|connect from localhost[127.0.0.1]",
            "smtpd|NOQUEUE: lost connection after RSET from localhost[127.0.0.1]",
            "smtpd|NOQUEUE: improper command pipelining after EHLO from localhost[127.0.0.1]: x",
            "smtpd|disconnect from localhost[127.0.0.1] ehlo=1 mail=1 rcpt=0/1 rset=1 commands=3/4",
            "smtpd|connect from localhost[127.0.0.1]",
            "smtpd|72DF69980B7: client=localhost[127.0.0.1]",
            "smtpd|72DF69980B7: timeout after RCPT from localhost[127.0.0.1]",
            "cleanup|72DF69980B7: removed (canceled)",
            "smtpd|disconnect from localhost[127.0.0.1] ehlo=1 mail=1 rcpt=1 commands=3",
        ],
        &[
            r#"{"table":"sessions","protocol":"smtp","client_ip":"127.0.0.1","duration_ms":0,"commands":4,"end_reason":"disconnected"}"#,
            r#"{"table":"sessions","protocol":"smtp","client_ip":"127.0.0.1","duration_ms":0,"commands":3,"end_reason":"timeout"}"#,
        ],
    );
}

#[test]
fn local_agents_probes_soft_bounces_and_expiry() {
    check(
        &[
            "pickup|3F2A71C0B5: uid=0 from=<root>",
            "cleanup|3F2A71C0B5: message-id=<2@mx>",
            "qmgr|3F2A71C0B5: from=<root@mx>, size=300, nrcpt=1 (queue active)",
            "local|3F2A71C0B5: to=<nouser@local.test>, relay=local, delay=0.01, delays=0/0/0/0, dsn=5.1.1, status=SOFTBOUNCE (unknown user: \"nouser\")",
            "smtp|3F2A71C0B7: to=<p@dest.test>, relay=none, delay=0.1, delays=0.1/0/0/0, dsn=5.1.1, status=undeliverable (no)",
            "qmgr|3F2A71C0B5: from=<root@mx>, status=expired, returned to sender",
            "bounce|3F2A71C0B5: sender non-delivery notification: 3F2A71C0B6",
            "postsuper|3F2A71C0B5: placed on hold",
            "postsuper|3F2A71C0B5: requeued",
            "pickup|3F2A71C0B9: uid=103 from=<root@mx> orig_id=3F2A71C0B5",
            "qmgr|3F2A71C0B9: from=<root@mx>, size=300, nrcpt=1 (queue active)",
        ],
        &[
            r#"{"table":"receptions","queue_id":"3F2A71C0B5","message_id":"2@mx","sender_user":"root","sender_domain":"mx","rcpt_count":1,"size_bytes":300,"verdict":"accepted"}"#,
            r#"{"table":"deliveries","queue_id":"3F2A71C0B5","message_id":"2@mx","sender_user":"root","sender_domain":"mx","rcpt_user":"nouser","rcpt_domain":"local.test","attempt":1,"outcome":"deferred","is_final":false,"enhanced_code":"5.1.1","class":"user_unknown","class_rule":"5.1.1","response":"unknown user: \"nouser\"","response_template":"unknown user: \"nouser\"","size_bytes":300,"delay_total_ms":10,"delay_a_ms":0,"delay_b_ms":0,"delay_c_ms":0,"delay_d_ms":0,"protocol":"local"}"#,
            r#"{"table":"deliveries","queue_id":"3F2A71C0B5","message_id":"2@mx","sender_user":"root","sender_domain":"mx","rcpt_user":"nouser","rcpt_domain":"local.test","outcome":"expired","is_final":true,"class":"connection","class_rule":"queue-lifetime","response":"expired, returned to sender","response_template":"expired, returned to sender","size_bytes":300}"#,
        ],
    );
}

#[test]
fn a_connection_in_the_clear_after_a_protected_one_is_told_apart() {
    let lines = [
        "smtp|Untrusted TLS connection established to mx.d.test[192.0.2.7]:25: TLSv1.3 with cipher TLS_AES_128_GCM_SHA256 (128/128 bits)",
        "smtp|3F2A71C0B5: to=<a@d.test>, relay=mx.d.test[192.0.2.7]:25, delay=1, delays=1/0/0/0, dsn=2.0.0, status=sent (250 ok)",
        "smtp|3F2A71C0B6: to=<a@d.test>, relay=mx.d.test[192.0.2.7]:25, delay=1, delays=1/0/0/0, dsn=2.0.0, status=sent (250 ok)",
    ];
    let lines: Vec<String> =
        lines.iter().map(|line| format!("Nov 22 10:16:48 mx postfix/smtp[7]: {}", &line[5..])).collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let protected: Vec<bool> = events_of("postfix", &lines).iter().map(|event| event.contains("TLSv1.3")).collect();
    assert_eq!(protected, [true, false]);
}

#[test]
fn clients_that_come_too_often_are_sent_away() {
    check(
        &[
            "smtpd|warning: Connection rate limit exceeded: 51 from host.example[192.0.2.9] for service smtp",
            "smtpd|warning: Connection concurrency limit exceeded: 51 from unknown[2001:db8::9] for service smtp",
            "submission/smtpd|warning: AUTH command rate limit exceeded: 11 from unknown[192.0.2.9] for service submission",
        ],
        &[
            r#"{"table":"receptions","client_ip":"192.0.2.9","client_name":"host.example","verdict":"deferred","class":"rate_limited","class_rule":"anvil","response":"Connection rate limit exceeded: 51 from host.example[192.0.2.9] for service smtp"}"#,
            r#"{"table":"receptions","client_ip":"2001:db8::9","verdict":"deferred","class":"rate_limited","class_rule":"anvil","response":"Connection concurrency limit exceeded: 51 from unknown[2001:db8::9] for service smtp"}"#,
            r#"{"table":"auth_events","protocol":"submission","client_ip":"192.0.2.9","result":"failed","reason":"AUTH command rate limit exceeded: 11 from unknown[192.0.2.9] for service submission"}"#,
        ],
    );
}

#[test]
fn a_refusal_names_who_was_logged_in_and_a_failed_log_in_no_user_that_nobody_knows() {
    check(
        &[
            "submission/smtpd|NOQUEUE: reject: RCPT from host.example[192.0.2.9]: 554 5.7.1 <x@other.test>: Recipient address rejected: Access denied; from=<ann@src.test> to=<x@other.test> proto=ESMTP helo=<c.example> sasl_username=<ann@src.test>",
            "submission/smtpd|warning: localhost[127.0.0.1]: SASL CRAM-MD5 authentication failed: Connection lost to authentication server, sasl_username=(unavailable)",
        ],
        &[
            r#"{"table":"receptions","client_ip":"192.0.2.9","client_name":"host.example","helo":"c.example","protocol":"ESMTP","auth_user":"ann@src.test","sender_user":"ann","sender_domain":"src.test","rcpt_domain":"other.test","verdict":"rejected","smtp_code":554,"enhanced_code":"5.7.1","class":"policy","class_rule":"access-denied","response":"554 5.7.1 <x@other.test>: Recipient address rejected: Access denied"}"#,
            r#"{"table":"auth_events","protocol":"submission","client_ip":"127.0.0.1","mechanism":"CRAM-MD5","result":"failed","reason":"Connection lost to authentication server"}"#,
        ],
    );
}

#[test]
fn what_local_sends_on_names_the_message_behind_it_and_old_lines_their_code() {
    check(
        &[
            "local|4jYpL64n64z1TlhS: to=<list@local.test>, relay=local, delay=0.05, delays=0.02/0.01/0/0.03, dsn=2.0.0, status=sent (forwarded as 4jYpL64n64z1TlhT)",
            "smtp|3F2A71C0B5: to=<a@d.test>, relay=mx.d.test[192.0.2.7], delay=2, status=bounced (host mx.d.test[192.0.2.7] said: 550 5.1.1 no such user (in reply to RCPT TO command))",
            "pipe|3F2A71C0B6: to=<x@pipe.test>, relay=pipefail, delay=0.09, delays=0.01/0.02/0/0.06, dsn=5.3.0, status=bounced (Command died with status 1: \"/bin/false\")",
        ],
        &[
            r#"{"table":"deliveries","queue_id":"4jYpL64n64z1TlhS","next_queue_id":"4jYpL64n64z1TlhT","rcpt_user":"list","rcpt_domain":"local.test","outcome":"delivered","is_final":true,"enhanced_code":"2.0.0","response":"forwarded as 4jYpL64n64z1TlhT","response_template":"forwarded as *","delay_total_ms":50,"delay_a_ms":20,"delay_b_ms":10,"delay_c_ms":0,"delay_d_ms":30,"protocol":"local"}"#,
            r#"{"table":"deliveries","queue_id":"3F2A71C0B5","rcpt_user":"a","rcpt_domain":"d.test","mx_host":"mx.d.test","mx_ip":"192.0.2.7","outcome":"bounced","is_final":true,"smtp_code":550,"enhanced_code":"5.1.1","class":"user_unknown","class_rule":"5.1.1","response":"host mx.d.test[192.0.2.7] said: 550 5.1.1 no such user (in reply to RCPT TO command)","response_template":"host *[*] said: 550 5.1.1 no such user (in reply to RCPT TO command)","delay_total_ms":2000,"protocol":"smtp"}"#,
            r#"{"table":"deliveries","queue_id":"3F2A71C0B6","rcpt_user":"x","rcpt_domain":"pipe.test","outcome":"bounced","is_final":true,"enhanced_code":"5.3.0","class":"other","class_rule":"local-fault","response":"Command died with status 1: \"/bin/false\"","response_template":"Command died with status *: \"/bin/false\"","delay_total_ms":90,"delay_a_ms":10,"delay_b_ms":20,"delay_c_ms":0,"delay_d_ms":60,"protocol":"pipe"}"#,
        ],
    );
}
