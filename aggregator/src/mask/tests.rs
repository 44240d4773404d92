//! What masking leaves of events and of lines.

use proptest::prelude::*;

use super::*;
use crate::dialect::{DIALECTS, Reader, clock::Clock};
use crate::event::{Bounce, Delivery, RawLine, Time};

fn dropping() -> Mask {
    Mask::new(Masking::Drop, "")
}

fn hashing() -> Mask {
    Mask::new(Masking::Hash, "the site's key")
}

fn dropped(text: &str) -> String {
    dropping().text(text, &[], &[])
}

#[test]
fn equal_users_have_equal_hashes_on_one_site_and_others_on_another() {
    let mut events = [("ann", "bob"), ("ann", "carl")].map(|(sender, rcpt)| Delivery {
        sender_user: sender.into(),
        rcpt_user: rcpt.into(),
        rcpt_domain: "example.net".into(),
        ..Delivery::default()
    });
    let [one, other] = events.each_mut().map(|row| {
        let mut event = Event::from(row.clone());
        hashing().event(&mut event);
        let Event::Delivery(row) = event else { panic!("still a delivery") };
        row
    });
    assert_eq!(one.sender_user, other.sender_user);
    assert_ne!(one.rcpt_user, other.rcpt_user);
    assert_eq!(one.rcpt_domain, "example.net");
    assert_eq!(one.sender_user.len(), 1 + HASH_CHARS + TAG_CHARS);
    assert_ne!(one.sender_user, Mask::new(Masking::Hash, "another key").local("ann"));
    assert_eq!(hashing().text("to=<ann@example.org>", &[], &[]), ["to=<", &one.sender_user, "@example.org>"].concat());
}

#[test]
fn masking_twice_is_masking_once_and_nobody_can_write_a_local_part_that_passes_for_a_hash() {
    for mask in [hashing(), dropping()] {
        let text = "from=<ann@example.org> user=<bob>, imap(carl)<1><x>: \"d e\"@example.org";
        let once = mask.text(text, &[], &[]);
        assert_eq!(mask.text(&once, &[], &[]), once);
    }
    let masked = hashing().local("ann");
    assert_eq!(hashing().local(&masked), masked);
    let forged = format!("~{}", "a".repeat(HASH_CHARS + TAG_CHARS));
    assert_ne!(hashing().local(&forged), forged);
}

#[test]
fn addresses_are_found_wherever_text_has_them() {
    for (text, expected) in [
        ("550 5.1.1 <ann.b+tag@example.org>: no such user", "550 5.1.1 <*@example.org>: no such user"),
        ("to=ann@example.org, orig_to=<root>, delay=1", "to=*@example.org, orig_to=<*>, delay=1"),
        ("bounce+ann=example.org@list.example.net", "*@list.example.net"),
        ("rejected \"ann b\"@example.org twice", "rejected *@example.org twice"),
        (
            "see http://www.openspf.net/Why?s=mfrom;id=ann%40example.org;ip=192.0.2.1",
            "see http://www.openspf.net/Why?s=mfrom;id=*%40example.org;ip=192.0.2.1",
        ),
        ("jörg@example.org 'ann@example.org'", "*@example.org '*@example.org'"),
        ("from=<> to=<ann@[192.0.2.1]>", "from=<> to=<*@[192.0.2.1]>"),
        ("no address, 5 @ 3 EUR", "no address, 5 @ 3 EUR"),
    ] {
        assert_eq!(dropped(text), expected);
    }
}

#[test]
fn users_without_a_domain_are_found_by_the_words_around_them() {
    for (text, expected) in [
        (
            "imap-login: Login: user=<ann>, method=PLAIN, rip=192.0.2.1",
            "imap-login: Login: user=<*>, method=PLAIN, rip=192.0.2.1",
        ),
        ("imap(ann)<812><x>: Logged out", "imap(*)<812><x>: Logged out"),
        ("lmtp(812, ann): sieve", "lmtp(812, *): sieve"),
        (
            "auth: passwd-file(ann@example.org,192.0.2.1,<s>): mismatch",
            "auth: passwd-file(*@example.org,192.0.2.1,<s>): mismatch",
        ),
        ("sasl_method=LOGIN, sasl_username=ann", "sasl_method=LOGIN, sasl_username=*"),
        ("<= x@y.ex H=h A=plain_login:ann S=1", "<= *@y.ex H=h A=plain_login:* S=1"),
        ("uid=0 from=<root>", "uid=0 from=<*>"),
        ("queueId = 7, accountName = \"ann\", elapsed = 8ms", "queueId = 7, accountName = \"*\", elapsed = 8ms"),
        ("{\"type\":\"x\",\"user\":\"ann\",\"code\":250}", "{\"type\":\"x\",\"user\":\"*\",\"code\":250}"),
        ("client=mx[192.0.2.1], from=[192.0.2.1]", "client=mx[192.0.2.1], from=[192.0.2.1]"),
    ] {
        assert_eq!(dropped(text), expected);
    }
}

#[test]
fn a_message_id_stays_so_that_a_message_can_be_followed_over_hosts() {
    for line in ["4F0A: message-id=<20261122.1@example.net>", "1rfX <= <> H=h P=esmtp S=1 id=20261122.1@example.net"] {
        assert_eq!(dropped(line), line);
    }
    let keep = ["7.x@example.net".to_owned()];
    assert_eq!(
        dropping().text("<7.x@example.net> of ann@example.net", &[], &keep),
        "<7.x@example.net> of *@example.net"
    );
}

#[test]
fn a_line_loses_the_users_that_its_events_name_and_no_part_of_a_longer_word() {
    let mut events = [
        Event::from(Delivery {
            rcpt_user: "ann".into(),
            response: "mailbox of ann is full".into(),
            ..Delivery::default()
        }),
        Event::from(RawLine { line: "1rfX => ann <x@y.ex>: annual ann@ex.org".into(), ..RawLine::default() }),
    ];
    dropping().line(&mut events);
    let [Event::Delivery(delivery), Event::RawLine(raw)] = events else { panic!("the same events") };
    assert_eq!((delivery.rcpt_user.as_str(), delivery.response.as_str()), ("", "mailbox of * is full"));
    assert_eq!(raw.line, "1rfX => * <*@y.ex>: annual *@ex.org");
}

#[test]
fn without_masking_everything_stays_and_the_key_is_never_shown() {
    let text = "from=<ann@example.org>";
    let mut event = Event::from(RawLine { line: text.into(), ..RawLine::default() });
    Mask::default().event(&mut event);
    assert!(matches!(event, Event::RawLine(row) if row.line == text));
    assert_eq!(format!("{:?}", hashing()), "Mask::Hash");
}

/// Columns in which people may be named, whatever table has them.
const PERSONAL: &[&str] = &[
    "auth_user",
    "sender_user",
    "rcpt_user",
    "from_user",
    "to_user",
    "user",
    "original_rcpt",
    "response",
    "response_template",
    "helo",
    "subject",
    "auth_results",
    "override_reason",
    "reason",
    "error",
    "detail",
    "line",
];

#[test]
fn no_column_of_any_table_that_names_people_keeps_a_local_part() {
    // These are about our own hosts and domains.
    let of_our_own = ["remedies", "blocklist_hits"];
    let mut found = 0;
    for (table, columns) in Event::TABLES.iter().filter(|(table, _)| !of_our_own.contains(table)) {
        for (column, _) in columns.iter().filter(|(column, _)| PERSONAL.contains(column)) {
            let named = if column.ends_with("user") { "zqann" } else { "smtp.mailfrom=zqann@example.org" };
            let json = serde_json::json!({"table": table, "ts": "2026-11-22T10:16:48Z", *column: named});
            for mask in [hashing(), dropping()] {
                let mut event = Event::from_json(&json.to_string()).unwrap();
                mask.event(&mut event);
                let masked = event.to_json().unwrap();
                assert!(!masked.contains("zqann"), "{masked}");
            }
            found += 1;
        }
    }
    assert!(found > 20, "{found}");
    let bounce = Bounce { original_rcpt: "ann@example.org".into(), ..Bounce::default() };
    let mut event = Event::from(bounce);
    dropping().event(&mut event);
    assert!(matches!(event, Event::Bounce(row) if row.original_rcpt == "@example.org"));
}

/// Lines of every dialect, with `{1}`, `{2}` where local parts and users stand.
const LINES: &[&str] = &[
    "Nov 22 10:16:48 mx postfix/qmgr[812]: 4F0A1B2C3D: from=<{1}@example.org>, size=900, nrcpt=1 (queue active)",
    "Nov 22 10:16:48 mx postfix/smtp[813]: 4F0A1B2C3D: to=<{2}@example.net>, orig_to=<{1}>, relay=mx.example.net[192.0.2.7]:25, delay=1, delays=0/0/0/1, dsn=5.1.1, status=bounced (host mx.example.net[192.0.2.7] said: 550 5.1.1 <{2}@example.net>: {2} is unknown)",
    "Nov 22 10:16:48 mx postfix/local[813]: 4F0A1B2C3D: to=<{2}>, relay=local, delay=1, delays=0/0/0/1, dsn=2.0.0, status=sent (delivered to mailbox)",
    "Nov 22 10:16:48 mx postfix/smtpd[814]: NOQUEUE: reject: RCPT from h[192.0.2.1]: 554 5.7.1 <{2}@example.net>: Relay access denied; from=<{1}@example.org> to=<{2}@example.net> proto=ESMTP helo=<h>",
    "Nov 22 10:16:48 mx postfix/smtpd[814]: 4F0A1B2C3D: client=h[192.0.2.1], sasl_method=PLAIN, sasl_username={1}",
    "Nov 22 10:16:48 mx postfix/smtpd[814]: warning: h[192.0.2.1]: SASL LOGIN authentication failed: x, sasl_username={1}@example.org",
    "Nov 22 10:16:48 mx postfix/pickup[815]: 4F0A1B2C3D: uid=0 from=<{1}>",
    "Nov 22 10:16:48 mx dovecot: imap-login: Login: user=<{1}>, method=PLAIN, rip=192.0.2.1, lip=192.0.2.2, mpid=9, TLS, session=<x>",
    "Nov 22 10:16:48 mx dovecot: imap({1})<9><x>: Disconnected: Logged out in=1 out=2",
    "Nov 22 10:16:48 mx dovecot: lmtp({2}@example.net)<9><x>: msgid=<m1@example.org>: saved mail to INBOX",
    "Nov 22 10:16:48 mx dovecot: auth: passwd-file({1},192.0.2.1,<x>): unknown user",
    "2026-11-22 10:16:48 1rfXYZ-0001Ab-2C <= {1}@example.org H=h [192.0.2.1] P=esmtpsa A=plain:{1} S=900 id=m1@example.org",
    "2026-11-22 10:16:48 1rfXYZ-0001Ab-2C => {2} <{2}@example.net> R=local_user T=local_delivery",
    "2026-11-22 10:16:48 1rfXYZ-0001Ab-2C ** {2}@example.net R=dnslookup T=remote_smtp H=mx [192.0.2.7]: SMTP error from remote mail server after RCPT TO:<{2}@example.net>: 550 5.1.1 {2} unknown",
    "2026-11-22 10:16:48 H=(x) [203.0.113.9] F=<{1}@b.ex> rejected RCPT <{2}@d.ex>: relay not permitted",
    "2026-11-22 10:16:48 plain authenticator failed for (h) [192.0.2.1]: 535 Incorrect authentication data (set_id={1})",
    "Nov 22 10:16:48 mx smtpd[75295]: 5df87c9c42abeddb smtp message msgid=1a2b size=9 nrcpt=1 proto=ESMTP from=<{1}@example.org> to=<{2}@example.net>",
    "Nov 22 10:16:48 mx smtpd[75295]: 5df87c9c42abeddb mta delivery evpid=1a2b3c4d5e6f7a8b from=<{1}@example.org> to=<{2}@example.net> rcpt=<-> source=\"192.0.2.1\" relay=\"192.0.2.7 (mx)\" delay=1s result=\"Ok\" stat=\"250 ok\"",
    "Nov 22 10:16:48 mx postgrey[812]: action=greylist, reason=new, client_name=h, client_address=192.0.2.1, sender={1}@example.org, recipient={2}@example.net",
    "Nov 22 10:16:48 mx opendkim[640]: 4F0A1B2C3D: no signing table match for '{1}@example.org'",
    "{\"table\":\"deliveries\",\"ts\":\"2026-11-22T10:16:48Z\",\"sender_user\":\"{1}\",\"rcpt_user\":\"{2}\",\"response\":\"550 <{2}@example.net> and {1}\"}",
    "2026-11-22T10:16:48Z INFO Authentication successful (auth.success) listenerId = \"imap\", accountName = \"{1}\", remoteIp = 192.0.2.1",
    "nothing that is known: mail of {1}@example.org for \"{2}\"@example.net",
    "\u{1}\u{2}{1}@example.org\u{fffd}{2}@x",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn no_local_part_of_a_log_is_in_what_is_kept_of_it(
        one in "zq[a-z]{4,9}([.+_-][a-z]{3})?",
        other in "qz[a-z]{4,9}([.+_-][0-9a-z]{3})?",
        hash in any::<bool>(),
    ) {
        let mask = if hash { hashing() } else { dropping() };
        for entry in DIALECTS {
            let mut reader = Reader::new(entry, Clock::new(chrono_tz::Tz::UTC, Time(1_795_342_608_000_000)));
            for line in LINES {
                let line = line.replace("{1}", &one).replace("{2}", &other);
                let mut events = Vec::new();
                reader.line(line.as_bytes(), &mut events);
                events.push(RawLine { line, ..RawLine::default() }.into());
                mask.line(&mut events);
                for event in events {
                    let json = event.to_json().unwrap();
                    prop_assert!(!json.contains(&one) && !json.contains(&other), "{json}");
                }
            }
        }
    }

    #[test]
    fn no_text_panics(text in "[a-z@%40=:<>\"'( )é\\\\,]{0,80}", user in "[a-zé]{0,4}") {
        for mask in [hashing(), dropping()] {
            let once = mask.text(&text, std::slice::from_ref(&user), &[]);
            prop_assert_eq!(mask.text(&once, &[], &[]).is_empty(), once.is_empty());
        }
    }
}

#[test]
fn a_bound_within_a_character_loses_no_text() {
    for width in 0..4 {
        let text = format!("{}user={}@x, the end", "a".repeat(width), "é".repeat(600));
        assert!(dropped(&text).ends_with("*@x, the end"), "{width}");
        let text = format!("{}user={} the end", "a".repeat(width), "€".repeat(600));
        assert!(dropped(&text).ends_with("€ the end"), "{width}");
    }
}

#[test]
fn a_hostile_line_of_a_megabyte_takes_no_longer_than_its_length_asks_for() {
    for piece in ["a%40", "imap(", "user=", "a@b ", "\"@", "=> a", "(a,"] {
        let line = piece.repeat((1 << 20) / piece.len());
        let begun = std::time::Instant::now();
        dropped(&line);
        assert!(begun.elapsed() < std::time::Duration::from_secs(60), "{piece}");
    }
}
