//! Real lines of Dovecot, and exactly what they say.

use crate::dialect::tests::events_of;

fn check(lines: &[&str], expected: &[&str]) {
    let found: Vec<String> = events_of("dovecot", lines)
        .iter()
        .map(|event| event.replace(r#""ts":"2026-11-22T10:16:48.000000Z","#, "").replace(r#""node":"mx","#, ""))
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn a_session_is_told_by_its_log_in_and_its_end() {
    check(
        &[
            "Nov 22 10:16:46 mx dovecot: imap-login: Login: user=<ann@example.org>, method=PLAIN, rip=192.0.2.7, lip=192.0.2.25, mpid=12, TLS, session=<9VGeuttgFK1/AAAB>",
            "Nov 22 10:16:48 mx dovecot: imap(ann@example.org)<12><9VGeuttgFK1/AAAB>: Disconnected: Connection closed (IDLE running for 0.001 + waiting input for 1740.019 secs, 2 B in + 10 B out, state=wait-input) in=106 out=3093 deleted=1",
        ],
        &[
            r#"{"table":"auth_events","ts":"2026-11-22T10:16:46.000000Z","protocol":"imap","user":"ann@example.org","client_ip":"192.0.2.7","mechanism":"PLAIN","result":"ok"}"#,
            r#"{"table":"sessions","protocol":"imap","user":"ann@example.org","client_ip":"192.0.2.7","duration_ms":2000,"bytes_in":106,"bytes_out":3093,"end_reason":"disconnected"}"#,
        ],
    );
}

#[test]
fn its_own_log_has_no_host_and_2_4_other_words() {
    check(
        &[
            "Nov 22 10:16:48 pop3-login: Info: Logged in: user=<ann>, method=CRAM-MD5, rip=2001:db8::7, lip=::1, mpid=1, secured, session=<a>",
            "Nov 22 10:16:48 pop3(ann)<1><a>: Info: Disconnected: Logged out top=0/0, retr=1/623, del=1/18, size=18577",
            "Nov 22 10:16:48 imap(ann): Info: Disconnected: Inactivity - no input for 1800 secs in=5 out=6",
            "Nov 22 10:16:48 managesieve(ann)<1><b>: Info: Disconnected: Logged out bytes=12/345",
        ],
        &[
            r#"{"table":"auth_events","protocol":"pop3","user":"ann","client_ip":"2001:db8::7","mechanism":"CRAM-MD5","result":"ok"}"#,
            r#"{"table":"sessions","protocol":"pop3","user":"ann","client_ip":"2001:db8::7","duration_ms":0,"bytes_out":623,"end_reason":"logout"}"#,
            r#"{"table":"sessions","protocol":"imap","user":"ann","bytes_in":5,"bytes_out":6,"end_reason":"timeout"}"#,
            r#"{"table":"sessions","protocol":"managesieve","user":"ann","bytes_in":12,"bytes_out":345,"end_reason":"logout"}"#,
        ],
    );
}

#[test]
fn failed_log_ins_and_connections_without_one() {
    check(
        &[
            "Nov 22 10:16:48 mx dovecot: imap-login: Disconnected: Connection closed (auth failed, 2 attempts in 11 secs): user=<x, rip=1.1.1.1, y>, method=PLAIN, rip=192.0.2.7, lip=192.0.2.25, TLS, session=<s>",
            "Nov 22 10:16:48 mx dovecot: imap-login: Aborted login (auth failed, 1 attempts in 2 secs): user=<bob>, method=LOGIN, rip=192.0.2.7, lip=192.0.2.25",
            "Nov 22 10:16:48 mx dovecot: imap-login: Login aborted: Logged out (auth failed, 1 attempts in 2 secs) (auth_failed): user=<bob>, method=PLAIN, rip=192.0.2.7, lip=192.0.2.25, session=<s>",
            "Nov 22 10:16:48 mx dovecot: imap-login: Maximum number of connections from user+IP exceeded (mail_max_userip_connections=10): user=<bob>, method=PLAIN, rip=192.0.2.7, lip=192.0.2.25, session=<s>",
            "Nov 22 10:16:48 mx dovecot: imap-login: Disconnected: Connection closed (no auth attempts in 0 secs): user=<>, rip=192.0.2.7, lip=192.0.2.25, TLS handshaking: SSL_accept() failed: error:0A000416:SSL routines, session=<s>",
            "Nov 22 10:16:48 mx dovecot: auth: passwd-file(bob,192.0.2.7,<s>): Password mismatch",
        ],
        &[
            r#"{"table":"auth_events","protocol":"imap","user":"x, rip=1.1.1.1, y","client_ip":"192.0.2.7","mechanism":"PLAIN","result":"failed","reason":"auth failed, 2 attempts in 11 secs"}"#,
            r#"{"table":"auth_events","protocol":"imap","user":"bob","client_ip":"192.0.2.7","mechanism":"LOGIN","result":"failed","reason":"auth failed, 1 attempts in 2 secs"}"#,
            r#"{"table":"auth_events","protocol":"imap","user":"bob","client_ip":"192.0.2.7","mechanism":"PLAIN","result":"failed","reason":"auth failed, 1 attempts in 2 secs"}"#,
            r#"{"table":"auth_events","protocol":"imap","user":"bob","client_ip":"192.0.2.7","mechanism":"PLAIN","result":"failed","reason":"Maximum number of connections from user+IP exceeded (mail_max_userip_connections=10)"}"#,
            r#"{"table":"auth_events","user":"bob","client_ip":"192.0.2.7","result":"failed","reason":"Password mismatch"}"#,
        ],
    );
}

#[test]
fn mailboxes_take_mail_or_do_not() {
    check(
        &[
            "Nov 22 10:16:48 mx dovecot: lmtp(19299): Connect from local",
            "Nov 22 10:16:48 mx dovecot: lmtp(u07@Example.test)<19299><HSjQFmjQAmtjSwAAg+zDdQ>: msgid=<1@client.test>: saved mail to INBOX",
            "Nov 22 10:16:48 mx dovecot: lmtp(19299, bob): sieve: msgid=unspecified: stored mail into mailbox 'Junk'",
            "Nov 22 10:16:48 mx dovecot: lmtp(bob)<1><a>: sieve: msgid=<2@x>: forwarded to <c@d.example>",
            "Nov 22 10:16:48 mx dovecot: lda(bob)<1><a>: msgid=<3@x>: save failed to INBOX: Quota exceeded (mailbox for user is full)",
            "Nov 22 10:16:48 mx dovecot: lmtp(19299): Disconnect from local: Logged out (state=READY)",
        ],
        &[
            r#"{"table":"deliveries","mta":"dovecot","queue_id":"HSjQFmjQAmtjSwAAg+zDdQ","message_id":"1@client.test","rcpt_user":"u07","rcpt_domain":"example.test","outcome":"delivered","is_final":true,"response":"saved mail to INBOX","response_template":"saved mail to INBOX","protocol":"lmtp"}"#,
            r#"{"table":"deliveries","mta":"dovecot","rcpt_user":"bob","outcome":"delivered","is_final":true,"response":"stored mail into mailbox 'Junk'","response_template":"stored mail into mailbox 'Junk'","protocol":"lmtp"}"#,
            r#"{"table":"deliveries","mta":"dovecot","queue_id":"a","message_id":"2@x","rcpt_user":"bob","outcome":"delivered","is_final":true,"response":"forwarded to <c@d.example>","response_template":"forwarded to <*>","protocol":"lmtp"}"#,
            r#"{"table":"deliveries","mta":"dovecot","queue_id":"a","message_id":"3@x","rcpt_user":"bob","outcome":"bounced","is_final":true,"class":"mailbox_full","class_rule":"mailbox-full","response":"save failed to INBOX: Quota exceeded (mailbox for user is full)","response_template":"save failed to INBOX: Quota exceeded (mailbox for user is full)","protocol":"lda"}"#,
        ],
    );
}

#[test]
fn an_attempt_that_auth_has_told_is_not_told_again_when_its_connection_ends() {
    check(
        &[
            "Nov 22 10:16:48 mx dovecot: auth: passwd-file(ann@example.org,192.0.2.7,<gnzASAhhZoF/AAAB>): Password mismatch (given password: secret)",
            "Nov 22 10:16:48 mx dovecot: auth-worker(812): conn unix:auth-worker (pid=7,uid=110): auth-worker<3>: sql(nobody,192.0.2.7,<gnzASAhhZoF/AAAB>): unknown user (SHA1 of given password: 5baa61)",
            "Nov 22 10:16:48 mx dovecot: imap-login: Disconnected: Aborted login by logging out (auth failed, 2 attempts in 12 secs): user=<nobody>, method=PLAIN, rip=192.0.2.7, lip=127.0.0.1, secured, session=<gnzASAhhZoF/AAAB>",
            // Postfix asked, and tells it itself.
            "Nov 22 10:16:48 mx dovecot: auth: passwd-file(info,192.0.2.8): unknown user",
            "Nov 22 10:16:48 mx dovecot: auth(ann,2001:db8::7,sasl:plain)<s2>: passwd-file: Password mismatch",
            "Nov 22 10:16:48 mx dovecot: auth: policy(ann,192.0.2.9,<s3>): Authentication failure due to policy server refusal",
        ],
        &[
            r#"{"table":"auth_events","user":"ann@example.org","client_ip":"192.0.2.7","result":"failed","reason":"Password mismatch"}"#,
            r#"{"table":"auth_events","user":"nobody","client_ip":"192.0.2.7","result":"failed","reason":"unknown user"}"#,
            r#"{"table":"auth_events","user":"ann","client_ip":"2001:db8::7","mechanism":"PLAIN","result":"failed","reason":"Password mismatch"}"#,
            r#"{"table":"auth_events","user":"ann","client_ip":"192.0.2.9","result":"failed","reason":"Authentication failure due to policy server refusal"}"#,
        ],
    );
}

#[test]
fn what_2_4_asks_for_a_recipient_is_no_attempt_to_log_in() {
    check(
        &[
            "Nov 22 10:16:48 mx dovecot: auth(ann@lab.example,127.0.0.1): passwd-file: unknown user",
            "Nov 22 10:16:48 mx dovecot: auth(bob,127.0.0.1,sasl:plain)<gO2NdH5h2JB/AAAB>: passwd-file: Password mismatch",
            "Nov 22 10:16:48 mx dovecot: pop3-login: Login aborted: Connection closed (auth failed, 1 attempts in 2 secs) (auth_failed): user=<bob>, method=PLAIN, rip=127.0.0.1, lip=127.0.0.1, TLS: Connection closed, session=<gO2NdH5h2JB/AAAB>",
        ],
        &[
            r#"{"table":"auth_events","user":"bob","client_ip":"127.0.0.1","mechanism":"PLAIN","result":"failed","reason":"Password mismatch"}"#,
        ],
    );
}

#[test]
fn what_is_submitted_is_a_reception_and_other_services_of_2_4_end_as_they_did() {
    check(
        &[
            "Nov 22 10:16:48 mx dovecot: submission-login: Logged in: user=<ann>, method=PLAIN, rip=192.0.2.7, lip=127.0.0.1, mpid=12449, TLS, session=<HyZien5hNKt/AAAB>",
            "Nov 22 10:16:48 mx dovecot: submission(ann)<12449><HyZien5hNKt/AAAB>: relay: Successfully relayed message: from=<ann@lab.example>, size=47, id=kJFjEot7DWuhMAAAg+zDdQ, nrcpt=1, reply=`250 2.0.0 Ok: queued as 4ZABC'",
            "Nov 22 10:16:48 mx dovecot: sieve(ann)<12452><r6Bien5hpsN/AAAB>: Disconnected: Logged out bytes=34/68",
            "Nov 22 10:16:48 mx dovecot: pop3(bob)<12110><T3CNdH5h1JB/AAAB>: Disconnected: Logged out top=1/20, retr=1/319, del=1/303, size=303",
            "Nov 22 10:16:48 mx dovecot: lmtp(ann)<12095><8Wr/CQh7DWs/LwAAg+zDdQ>: Mailbox INBOX: save: uid=1, msgid=<1@x>, size=321",
            "Nov 22 10:16:48 mx dovecot: lmtp(ann)<12095><8Wr/CQh7DWs/LwAAg+zDdQ>: save: box=INBOX, uid=1, msgid=<1@x>, size=321",
        ],
        &[
            r#"{"table":"auth_events","protocol":"submission","user":"ann","client_ip":"192.0.2.7","mechanism":"PLAIN","result":"ok"}"#,
            r#"{"table":"receptions","mta":"dovecot","queue_id":"kJFjEot7DWuhMAAAg+zDdQ","client_ip":"192.0.2.7","auth_user":"ann","sender_user":"ann","sender_domain":"lab.example","rcpt_count":1,"size_bytes":47,"verdict":"accepted","smtp_code":250,"response":"250 2.0.0 Ok: queued as 4ZABC"}"#,
            r#"{"table":"sessions","protocol":"managesieve","user":"ann","bytes_in":34,"bytes_out":68,"end_reason":"logout"}"#,
            r#"{"table":"sessions","protocol":"pop3","user":"bob","bytes_out":339,"end_reason":"logout"}"#,
        ],
    );
}

#[test]
fn a_log_without_sessions_tells_each_attempt_once_too() {
    check(
        &[
            "Nov 22 10:16:48 auth-worker(14442): Info: sql(bob,192.0.2.7): Password mismatch",
            "Nov 22 10:16:48 imap-login: Info: Disconnected (auth failed, 1 attempts in 14 secs): user=<bob>, method=PLAIN, rip=192.0.2.7, lip=192.0.2.25, TLS",
            "Nov 22 10:16:48 auth-worker(14442): Info: pam(x): y,192.0.2.7): pam_authenticate() failed: Authentication failure (password mismatch?)",
        ],
        &[
            r#"{"table":"auth_events","user":"bob","client_ip":"192.0.2.7","result":"failed","reason":"Password mismatch"}"#,
            r#"{"table":"auth_events","user":"x): y","client_ip":"192.0.2.7","result":"failed","reason":"pam_authenticate() failed: Authentication failure (password mismatch?)"}"#,
        ],
    );
}

#[test]
fn why_a_log_in_failed_is_told_from_why_the_connection_did_and_a_proxy_lets_in() {
    check(
        &[
            "Nov 22 10:16:48 mx dovecot: imap-login: Disconnected: Connection closed: read(size=1026) failed: Connection reset by peer (auth failed, 1 attempts in 2 secs): user=<bob>, method=PLAIN, rip=192.0.2.7, lip=192.0.2.25, session=<s>",
            "Nov 22 10:16:48 mx dovecot: imap-login: Authenticate GSSAPI failed: Unsupported authentication mechanism.: user=<>, method=GSSAPI, rip=192.0.2.7, lip=192.0.2.25, session=<s>",
            "Nov 22 10:16:48 mx dovecot: pop3-login: Disconnected (tried to use disabled plaintext auth): user=<>, rip=192.0.2.7, lip=192.0.2.25",
            "Nov 22 10:16:48 mx dovecot: pop3-login: APOP failed: APOP not enabled: user=<>, rip=192.0.2.7, lip=192.0.2.25, session=<s>",
            "Nov 22 10:16:48 mx dovecot: imap-login: proxy(ann): started proxying to 10.0.0.1:143: user=<ann>, method=PLAIN, rip=192.0.2.7, lip=192.0.2.25, TLS, session=<t>",
        ],
        &[
            r#"{"table":"auth_events","protocol":"imap","user":"bob","client_ip":"192.0.2.7","mechanism":"PLAIN","result":"failed","reason":"auth failed, 1 attempts in 2 secs"}"#,
            r#"{"table":"auth_events","protocol":"pop3","client_ip":"192.0.2.7","result":"failed","reason":"tried to use disabled plaintext auth"}"#,
            r#"{"table":"auth_events","protocol":"imap","user":"ann","client_ip":"192.0.2.7","mechanism":"PLAIN","result":"ok"}"#,
        ],
    );
}

#[test]
fn sieve_names_its_actions_and_sites_have_formats_of_their_own() {
    check(
        &[
            "Nov 22 10:16:48 mx dovecot: lmtp(u34@example.test)<7587><OMwfE8y8BWujHQAAg+zDdQ>: sieve: msgid=<1@c>: fileinto action: stored mail into mailbox 'Lists'",
            "Nov 22 10:16:48 mx dovecot: lmtp(u30@example.test)<7593><a>: sieve: msgid=<2@c>: discard action: Marked message to be discarded if not explicitly delivered (discard action)",
            "Nov 22 10:16:48 mx dovecot: lmtp(u31@example.test)<7444><b>: sieve: msgid=<3@c>: reject action: rejected message from <a@src.test> (reject)",
            "Nov 22 10:16:48 mx dovecot: lmtp(u35@example.test)<7593><d>: sieve: msgid=<4@c>: vacation action: sent vacation response to <a@src.test>",
            "Nov 22 10:16:48 mx dovecot: lmtp(20464, u36@example.test): HSjQFmjQAmtjSwAAg+zDdQ: sieve: msgid=<5@c>: stored mail into mailbox 'INBOX'",
            "Nov 22 10:16:48 mx dovecot: lmtp(u37@example.test)<7><e>: from=Kim <kim@x.example>, envelope_sender=Kim@Acme.example, subject=from=x@y size=9, msgid=<6@c>, size=512, delivery_time=7ms, saved mail to INBOX",
        ],
        &[
            r#"{"table":"deliveries","mta":"dovecot","queue_id":"OMwfE8y8BWujHQAAg+zDdQ","message_id":"1@c","rcpt_user":"u34","rcpt_domain":"example.test","outcome":"delivered","is_final":true,"response":"stored mail into mailbox 'Lists'","response_template":"stored mail into mailbox 'Lists'","protocol":"lmtp"}"#,
            r#"{"table":"deliveries","mta":"dovecot","queue_id":"a","message_id":"2@c","rcpt_user":"u30","rcpt_domain":"example.test","outcome":"delivered","is_final":true,"response":"Marked message to be discarded if not explicitly delivered (discard action)","response_template":"Marked message to be discarded if not explicitly delivered (discard action)","protocol":"lmtp"}"#,
            r#"{"table":"deliveries","mta":"dovecot","queue_id":"b","message_id":"3@c","rcpt_user":"u31","rcpt_domain":"example.test","outcome":"bounced","is_final":true,"class":"policy","class_rule":"sieve-reject","response":"rejected message from <a@src.test> (reject)","response_template":"rejected message from <*> (reject)","protocol":"lmtp"}"#,
            r#"{"table":"deliveries","mta":"dovecot","queue_id":"HSjQFmjQAmtjSwAAg+zDdQ","message_id":"5@c","rcpt_user":"u36","rcpt_domain":"example.test","outcome":"delivered","is_final":true,"response":"stored mail into mailbox 'INBOX'","response_template":"stored mail into mailbox 'INBOX'","protocol":"lmtp"}"#,
            r#"{"table":"deliveries","mta":"dovecot","queue_id":"e","message_id":"6@c","sender_user":"Kim","sender_domain":"acme.example","rcpt_user":"u37","rcpt_domain":"example.test","outcome":"delivered","is_final":true,"response":"saved mail to INBOX","response_template":"saved mail to INBOX","size_bytes":512,"protocol":"lmtp"}"#,
        ],
    );
}

#[test]
fn its_own_log_may_come_from_a_container() {
    let ended =
        r#"{"table":"sessions","protocol":"imap","user":"ann","bytes_in":5,"bytes_out":6,"end_reason":"logout"}"#;
    check(
        &[
            r#"{"log":"Nov 22 10:16:48 imap(ann): Info: Disconnected: Logged out in=5 out=6\n","stream":"stderr","time":"2026-11-22T10:16:49Z"}"#,
            r#"{"log":"imap(ann): Info: Disconnected: Logged out in=5 out=6\n","stream":"stderr","time":"2026-11-22T10:16:48Z"}"#,
            "2026-11-22T10:16:49.5Z stderr F Nov 22 10:16:48 imap(ann): Info: Disconnected: Logged out in=5 out=6",
            "2026-11-22T10:16:48Z stdout F imap(ann): Info: Disconnected: Logged out in=5 out=6",
        ],
        &[ended; 4],
    );
}
