//! Every rule is shown by the real replies beside it.

use super::rules::{CLASSES, File, Providers};
use super::*;

fn file() -> File {
    toml::from_str(include_str!("rules.toml")).unwrap()
}

/// What a dialect would have taken out of the reply.
fn class_of(reply: &str) -> Class {
    let (smtp_code, enhanced) = crate::dialect::text::reply_codes(reply);
    class(reply, enhanced, smtp_code)
}

#[test]
fn the_file_compiles_and_uses_the_words_of_the_classification() {
    let file = file();
    for rule in &file.rules {
        regex::Regex::new(&rule.text).unwrap_or_else(|error| panic!("{}: {error}", rule.name));
        assert!(CLASSES.contains(&rule.class.as_str()), "{}: {}", rule.name, rule.class);
        assert!(!rule.examples.is_empty(), "{} has no example", rule.name);
    }
    for class in file.codes.keys().chain(file.vague_codes.keys()) {
        assert!(CLASSES.contains(&class.as_str()), "{class}");
    }
    assert_eq!(version(), file.version);
}

#[test]
fn a_code_has_one_class() {
    let file = file();
    let mut codes: Vec<_> = file.codes.values().chain(file.vague_codes.values()).flatten().collect();
    let all = codes.len();
    codes.sort();
    codes.dedup();
    assert_eq!(codes.len(), all);
}

#[test]
fn every_example_is_of_its_rules_class() {
    let mut wrong = Vec::new();
    for rule in file().rules {
        for example in &rule.examples {
            // Without the enhanced code, so that the text alone has to do.
            let found = class(example, "", crate::dialect::text::reply_codes(example).0);
            if found.class != rule.class {
                wrong.push(format!("{} ({}): {example}\n  is {found:?}", rule.name, rule.class));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_rule_decides_one_of_its_examples() {
    for rule in file().rules {
        let decides = rule.examples.iter().any(|example| {
            let found = class(example, "", None).rule;
            found == rule.name || found.starts_with(&format!("{}:", rule.name))
        });
        assert!(decides, "{}", rule.name);
    }
}

#[test]
fn a_blocklist_is_named() {
    let found =
        class_of("554 5.7.1 Service unavailable; Client host [192.0.2.1] blocked using zen.spamhaus.org; https://x");
    assert_eq!((found.class, found.rule.as_str()), ("ip_reputation", "blocklist:zen.spamhaus.org"));
    let found = class_of("550 5.7.1 Mail from 192.0.2.1 has been rejected by dnsbl-1.uceprotect.net");
    assert_eq!(found.rule, "blocklist:dnsbl-1.uceprotect.net");
}

#[test]
fn a_specific_code_decides_before_the_text_and_a_vague_one_after_it() {
    assert_eq!(class_of("550 5.1.1 spam is not our user").rule, "5.1.1");
    assert_eq!(class_of("550 5.7.1 Spam message rejected").rule, "spam");
    assert_eq!(class_of("550 5.7.1 because of the moon").rule, "5.7.1");
    assert_eq!(class_of("500 because of the moon").class, "protocol");
    assert_eq!(class_of("because of the moon"), Class { class: "other", rule: String::new() });
}

fn template_of(reply: &str) -> String {
    let mut out = String::new();
    template(reply, &mut out);
    out
}

#[test]
fn a_template_has_no_addresses_hosts_ids_or_numbers() {
    let check = |reply: &str, expected: &str| assert_eq!(template_of(reply), expected);
    check("250 2.0.0 Ok: queued as 4Zabc12345z0", "250 2.0.0 Ok: queued as *");
    check(
        "host mx.example.org[192.0.2.1] said: 550-5.1.1 <ann@example.org>: no such user (in reply to RCPT TO command)",
        "host *[*] said: 550-5.1.1 <*>: no such user (in reply to RCPT TO command)",
    );
    check("250 2.0.0 <u07@example.test> HSjQFmjQAmtjSwAAg+zDdQ Saved", "250 2.0.0 <*> * Saved");
    check(
        "Name service error for name=acme.test type=MX: Host not found",
        "Name service error for name=* type=MX: Host not found",
    );
    check(
        "Client host [192.0.2.1] blocked using bl1.example.net; see",
        "Client host [*] blocked using bl1.example.net; see",
    );
    for id in ["oNg4OoqYBGv/6gAAtjjnDQ", "/Ng4OoqYBGvA6gAAtjjnDQ", "o/4OoqYBGv//6gAAtjjnD/"] {
        check(&["250 2.0.0 <u07@example.test> ", id, " Saved"].concat(), "250 2.0.0 <*> * Saved");
        check(&["queued as ", id].concat(), "queued as *");
    }
    check(
        "Greylisted, see http://postgrey.example/help/example.org.html",
        "Greylisted, see http://postgrey.example/help/*",
    );
    let path = "see https://www.example.net/Support/Postmaster/index.html or /etc/postfix/main.cf";
    check(path, path);
    assert_eq!(template_of(&"é ".repeat(1_000)).len(), 600);
}

#[test]
fn a_provider_is_found_by_exchanger_before_domain() {
    let _: Providers = toml::from_str(include_str!("providers.toml")).unwrap();
    assert_eq!(rules::provider("gmail-smtp-in.l.google.com", "example.org"), Some("google"));
    assert_eq!(rules::provider("example-org.mail.protection.outlook.com", "example.org"), Some("microsoft"));
    assert_eq!(rules::provider("", "icloud.com"), Some("apple"));
    assert_eq!(rules::provider("mx.notgoogle.com", "example.org"), None);
}

#[test]
fn deliveries_get_their_columns_and_what_was_delivered_has_no_class() {
    let mut classifier = Classifier::default();
    for _ in 0..2 {
        let mut event = Delivery {
            mx_host: "mta5.am0.yahoodns.net".to_owned(),
            outcome: DeliveryOutcome::Bounced,
            smtp_code: Some(554),
            response: "host mta5.am0.yahoodns.net[67.195.204.77] said: 554 30 Sorry, your message to ann@yahoo.com cannot be delivered. This mailbox is disabled (554.30).".to_owned(),
            ..Delivery::default()
        }
        .into();
        classifier.classify(&mut event);
        let Event::Delivery(row) = event else { panic!() };
        assert_eq!(
            (row.class.as_str(), row.class_rule.as_str(), row.provider.as_str()),
            ("user_unknown", "user-unknown", "yahoo")
        );
    }
    let mut event = Delivery { response: "250 2.0.0 OK 12ab".to_owned(), ..Delivery::default() }.into();
    classifier.classify(&mut event);
    let Event::Delivery(row) = event else { panic!() };
    assert_eq!((row.class.as_str(), row.response_template.as_str()), ("", "250 2.0.0 OK *"));
}

#[test]
fn what_we_refuse_for_good_in_words_of_our_own_is_our_policy() {
    let mut classifier = Classifier::default();
    for (verdict, expected) in [
        (ReceptionVerdict::Rejected, ("policy", "refused")),
        (ReceptionVerdict::Deferred, ("other", "")),
        (ReceptionVerdict::Discarded, ("other", "")),
    ] {
        let mut event = Reception { verdict, response: "not on a Monday".to_owned(), ..Reception::default() }.into();
        classifier.classify(&mut event);
        let Event::Reception(row) = event else { panic!() };
        assert_eq!((row.class.as_str(), row.class_rule.as_str()), expected, "{verdict}");
    }
}
