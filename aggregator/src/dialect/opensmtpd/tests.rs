//! Lines as OpenSMTPD writes them, and the events that they make.

use super::*;

fn read(lines: &[&str]) -> Vec<String> {
    let clock = Clock::new(chrono_tz::Tz::UTC, "2026-11-22T12:00:00Z".parse().unwrap());
    let mut smtpd = OpenSmtpd::default();
    let mut out = Vec::new();
    for line in lines {
        let line = format!("Nov 22 10:16:48 mx smtpd[75295]: {line}");
        assert_eq!(smtpd.read(&line, &clock, &mut out), Reading::Recognised, "{line}");
    }
    out.iter().map(|event| event.to_json().unwrap()).collect()
}

const CONNECTED: &str = "5df87c9c42abeddb smtp connected address=192.0.2.7 host=mail.example.org";
const TLS: &str = "5df87c9c42abeddb smtp tls ciphers=TLSv1.3:AEAD-AES256-GCM-SHA384:256";
const MESSAGE: &str = "5df87c9c42abeddb smtp message msgid=f6e94209 size=802 nrcpt=2 proto=ESMTPS";
const ENVELOPE: &str =
    "5df87c9c42abeddb smtp envelope evpid=f6e94209918f7e7b from=<Ann@Example.org> to=<bob@example.net>";

#[test]
fn a_message_is_a_reception_once_its_first_envelope_says_whose_it_is() {
    let second = ENVELOPE.replace("918f7e7b", "918f7e7c");
    let login = "5df87c9c42abeddb smtp authentication user=ann result=ok";
    assert_eq!(
        read(&[CONNECTED, TLS, login, MESSAGE, ENVELOPE, &second]),
        [
            r#"{"table":"auth_events","ts":"2026-11-22T10:16:48.000000Z","node":"mx","protocol":"smtp","user":"ann","client_ip":"192.0.2.7","result":"ok"}"#,
            r#"{"table":"receptions","ts":"2026-11-22T10:16:48.000000Z","node":"mx","mta":"opensmtpd","queue_id":"f6e94209","client_ip":"192.0.2.7","client_name":"mail.example.org","protocol":"ESMTPS","auth_user":"ann","sender_user":"Ann","sender_domain":"example.org","rcpt_count":2,"rcpt_domain":"example.net","size_bytes":802,"verdict":"accepted","tls_version":"TLSv1.3","tls_cipher":"AEAD-AES256-GCM-SHA384"}"#
        ]
    );
}

#[test]
fn deliveries_know_their_attempt_their_size_and_the_tls_of_their_session() {
    let later = r#"5df87c9b982c840c mta delivery evpid=f6e94209918f7e7b from=<Ann@Example.org> to=<bob@example.net> rcpt=<-> source="192.0.2.1" relay="198.51.100.2 (mx.example.net)" delay=1h36m1s result="TempFail" stat="421 4.7.0 <bob@example.net> "busy"""#;
    let sent = r#"5df87c9b982c840c mta delivery evpid=f6e94209918f7e7b from=<Ann@Example.org> to=<bob@example.net> rcpt=<-> source="192.0.2.1" relay="198.51.100.2 (mx.example.net)" delay=2h result="Ok" stat="250 2.0.0: 3d4c4a42 Message accepted for delivery""#;
    let events = read(&[
        MESSAGE,
        ENVELOPE,
        "5df87c9b982c840c mta connecting address=smtp://198.51.100.2:25 host=mx.example.net",
        "5df87c9b982c840c mta connected",
        "5df87c9b982c840c mta tls ciphers=TLSv1.2:ECDHE-RSA-AES256-GCM-SHA384:256",
        r#"5df87c9b982c840c mta server-cert-check result="verified""#,
        later,
        sent,
    ]);
    assert_eq!(
        events[1..],
        [
            r#"{"table":"deliveries","ts":"2026-11-22T10:16:48.000000Z","node":"mx","mta":"opensmtpd","queue_id":"f6e94209","sender_user":"Ann","sender_domain":"example.org","rcpt_user":"bob","rcpt_domain":"example.net","mx_host":"mx.example.net","mx_ip":"198.51.100.2","source_ip":"192.0.2.1","attempt":1,"outcome":"deferred","is_final":false,"smtp_code":421,"enhanced_code":"4.7.0","response":"421 4.7.0 <bob@example.net> \"busy\"","tls_version":"TLSv1.2","tls_cipher":"ECDHE-RSA-AES256-GCM-SHA384","tls_trust":"verified","size_bytes":802,"delay_total_ms":5761000,"protocol":"mta"}"#,
            r#"{"table":"deliveries","ts":"2026-11-22T10:16:48.000000Z","node":"mx","mta":"opensmtpd","queue_id":"f6e94209","next_queue_id":"3d4c4a42","sender_user":"Ann","sender_domain":"example.org","rcpt_user":"bob","rcpt_domain":"example.net","mx_host":"mx.example.net","mx_ip":"198.51.100.2","source_ip":"192.0.2.1","attempt":2,"outcome":"delivered","is_final":true,"smtp_code":250,"enhanced_code":"2.0.0","response":"250 2.0.0: 3d4c4a42 Message accepted for delivery","tls_version":"TLSv1.2","tls_cipher":"ECDHE-RSA-AES256-GCM-SHA384","tls_trust":"verified","size_bytes":802,"delay_total_ms":7200000,"protocol":"mta"}"#
        ]
    );
}

#[test]
fn a_local_delivery_may_fail_for_a_reason_without_quotes() {
    assert_eq!(
        read(&[
            "0000000000000000 mda delivery evpid=08cc1bad919848fe from=<> to=<ann@example.org> rcpt=<list@example.org> user=ann delay=3s result=PermFail stat=Error (\"mail.local: no such user\")",
            "3e29348a15aea898 mda delivery evpid=aff43cfd084a9733 from=<> to=<full@lmtp.example> rcpt=<full@lmtp.example> user=ann delay=0s result=TempFail stat=Error (temporary failure: \"mail.lmtp: LMTP server error: 452 4.2.2 over quota\")",
        ]),
        [
            r#"{"table":"deliveries","ts":"2026-11-22T10:16:48.000000Z","node":"mx","mta":"opensmtpd","queue_id":"08cc1bad","rcpt_user":"ann","rcpt_domain":"example.org","outcome":"bounced","is_final":true,"response":"Error (\"mail.local: no such user\")","delay_total_ms":3000,"protocol":"mda"}"#,
            r#"{"table":"deliveries","ts":"2026-11-22T10:16:48.000000Z","node":"mx","mta":"opensmtpd","queue_id":"aff43cfd","rcpt_user":"full","rcpt_domain":"lmtp.example","outcome":"deferred","is_final":false,"smtp_code":452,"enhanced_code":"4.2.2","response":"Error (temporary failure: \"mail.lmtp: LMTP server error: 452 4.2.2 over quota\")","delay_total_ms":0,"protocol":"mda"}"#,
        ]
    );
}

#[test]
fn the_older_form_says_it_all_in_one_line() {
    assert_eq!(
        read(&[
            "2ac58c6d77ed9b5a smtp event=message address=[2001:db8::7] host=mail.example.org msgid=10c1eb32 from=<a@b.ex> to=<c@d.ex> size=542 ndest=1 proto=ESMTP"
        ]),
        [
            r#"{"table":"receptions","ts":"2026-11-22T10:16:48.000000Z","node":"mx","mta":"opensmtpd","queue_id":"10c1eb32","client_ip":"2001:db8::7","client_name":"mail.example.org","protocol":"ESMTP","sender_user":"a","sender_domain":"b.ex","rcpt_count":1,"rcpt_domain":"d.ex","size_bytes":542,"verdict":"accepted"}"#
        ]
    );
}

#[test]
fn a_refused_recipient_is_a_reception_and_a_refused_login_an_auth_event() {
    assert_eq!(
        read(&[
            CONNECTED,
            r#"5df87c9c42abeddb smtp failed-command command="RCPT TO:<x@example.net> NOTIFY=NEVER" result="550 Invalid recipient: <x@example.net>""#,
            r#"5df87c9c42abeddb smtp failed-command command="MAIL FROM:<a@b.ex>" result="421 4.3.0 Temporary Error""#,
            "5df87c9c42abeddb smtp authentication user=info result=permfail",
            r#"5df87c9c42abeddb smtp failed-command command="AUTH PLAIN (...)" result="535 Authentication failed""#,
        ]),
        [
            r#"{"table":"receptions","ts":"2026-11-22T10:16:48.000000Z","node":"mx","mta":"opensmtpd","client_ip":"192.0.2.7","client_name":"mail.example.org","rcpt_domain":"example.net","verdict":"rejected","smtp_code":550,"response":"550 Invalid recipient: <x@example.net>"}"#,
            r#"{"table":"receptions","ts":"2026-11-22T10:16:48.000000Z","node":"mx","mta":"opensmtpd","client_ip":"192.0.2.7","client_name":"mail.example.org","sender_user":"a","sender_domain":"b.ex","verdict":"deferred","smtp_code":421,"enhanced_code":"4.3.0","response":"421 4.3.0 Temporary Error"}"#,
            r#"{"table":"auth_events","ts":"2026-11-22T10:16:48.000000Z","node":"mx","protocol":"smtp","user":"info","client_ip":"192.0.2.7","result":"failed","reason":"permfail"}"#
        ]
    );
}

#[test]
fn the_sentences_of_old_say_the_same() {
    assert_eq!(
        read(&[
            "smtp-in: New session 5df87c9c42abeddb from host mail.example.org [192.0.2.7]",
            "smtp-in: Started TLS on session 5df87c9c42abeddb: version=TLSv1.2, cipher=ECDHE-RSA-AES256-GCM-SHA384, bits=256",
            "smtp-in: Accepted authentication for user ann on session 5df87c9c42abeddb",
            "smtp-in: Accepted message 10c1eb32 on session 5df87c9c42abeddb: from=<a@b.ex>, to=<c@d.ex>, size=542, ndest=1, proto=ESMTP",
            "smtp-in: Failed command on session 5df87c9c42abeddb: \"RCPT TO:<x@example.net>\" => 550 Invalid recipient",
            "smtp-in: Closing session 5df87c9c42abeddb",
            "relay: Ok for 10c1eb32aea6b3b0: session=5df87c9b982c840c, from=<a@b.ex>, to=<c@d.ex>, rcpt=<->, source=192.0.2.1, relay=198.51.100.2 (mx.d.ex), delay=1s, stat=250 2.0.0: 3d4c4a42 Message accepted for delivery",
            "delivery: TempFail for 10c1eb32aea6b3b1: from=<a@b.ex>, to=<e@f.ex>, user=e, method=mda, delay=2s, stat=Error (\"x, y\")",
            "smtp-out: Connected on session 5df87c9b982c840c",
        ])[1..],
        [
            r#"{"table":"receptions","ts":"2026-11-22T10:16:48.000000Z","node":"mx","mta":"opensmtpd","queue_id":"10c1eb32","client_ip":"192.0.2.7","client_name":"mail.example.org","protocol":"ESMTP","auth_user":"ann","sender_user":"a","sender_domain":"b.ex","rcpt_count":1,"rcpt_domain":"d.ex","size_bytes":542,"verdict":"accepted","tls_version":"TLSv1.2","tls_cipher":"ECDHE-RSA-AES256-GCM-SHA384"}"#,
            r#"{"table":"receptions","ts":"2026-11-22T10:16:48.000000Z","node":"mx","mta":"opensmtpd","client_ip":"192.0.2.7","client_name":"mail.example.org","auth_user":"ann","rcpt_domain":"example.net","verdict":"rejected","smtp_code":550,"response":"550 Invalid recipient","tls_version":"TLSv1.2","tls_cipher":"ECDHE-RSA-AES256-GCM-SHA384"}"#,
            r#"{"table":"sessions","ts":"2026-11-22T10:16:48.000000Z","node":"mx","protocol":"smtp","user":"ann","client_ip":"192.0.2.7","duration_ms":0,"end_reason":"logout"}"#,
            r#"{"table":"deliveries","ts":"2026-11-22T10:16:48.000000Z","node":"mx","mta":"opensmtpd","queue_id":"10c1eb32","next_queue_id":"3d4c4a42","sender_user":"a","sender_domain":"b.ex","rcpt_user":"c","rcpt_domain":"d.ex","mx_host":"mx.d.ex","mx_ip":"198.51.100.2","source_ip":"192.0.2.1","outcome":"delivered","is_final":true,"smtp_code":250,"enhanced_code":"2.0.0","response":"250 2.0.0: 3d4c4a42 Message accepted for delivery","size_bytes":542,"delay_total_ms":1000,"protocol":"mta"}"#,
            r#"{"table":"deliveries","ts":"2026-11-22T10:16:48.000000Z","node":"mx","mta":"opensmtpd","queue_id":"10c1eb32","sender_user":"a","sender_domain":"b.ex","rcpt_user":"e","rcpt_domain":"f.ex","outcome":"deferred","is_final":false,"response":"Error (\"x, y\")","size_bytes":542,"delay_total_ms":2000,"protocol":"mda"}"#,
        ]
    );
}

#[test]
fn a_session_has_a_begin_and_an_end() {
    assert_eq!(
        read(&[CONNECTED, "5df87c9c42abeddb smtp disconnected reason=io-error", "5df87c9c42abeddb smtp disconnected"]),
        [
            r#"{"table":"sessions","ts":"2026-11-22T10:16:48.000000Z","node":"mx","protocol":"smtp","client_ip":"192.0.2.7","duration_ms":0,"end_reason":"disconnected"}"#
        ]
    );
}

#[test]
fn lines_without_an_event_are_known_and_those_of_others_are_not() {
    for line in [
        "info: OpenSMTPD 6.8.0p2 starting",
        "Exiting",
        "5df87c9c42abeddb smtp disconnected reason=quit",
        "5df87c9b982c840c mta disconnected reason=quit messages=1",
        "5df87c9b982c840c filters session-begin",
    ] {
        assert_eq!(read(&[line]), Vec::<String>::new(), "{line}");
    }
    let clock = Clock::new(chrono_tz::Tz::UTC, Time(0));
    for line in ["Nov 22 10:16:48 mx postfix/smtpd[1]: connect from x", "Nov 22 10:16:48 mx smtpd[1]: what"] {
        assert_eq!(OpenSmtpd::default().read(line, &clock, &mut Vec::new()), Reading::Unrecognised, "{line}");
    }
}

proptest::proptest! {
    #[test]
    fn no_line_panics(text in "(5df87c9c42abeddb (smtp|mta|mda) (message|envelope|delivery|failed-command|tls|connected) ?)?((evpid|msgid|from|to|command|result|stat|relay)=|[<\"]|.){0,40}") {
        let clock = Clock::new(chrono_tz::Tz::UTC, Time(1_795_342_608_000_000));
        let _ = OpenSmtpd::default().read(&format!("Nov 22 10:16:48 mx smtpd[1]: {text}"), &clock, &mut Vec::new());
    }
}
