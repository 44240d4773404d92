//! DKIM keys, RFC 6376, RFC 8301, RFC 8463.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use futures_util::{StreamExt, stream};
use x509_parser::prelude::FromDer;
use x509_parser::public_key::{PublicKey, RSAPublicKey};
use x509_parser::x509::SubjectPublicKeyInfo;

use super::finding::{Findings, Seen, spec};
use super::tags::Tags;
use super::{Audit, Family};
use crate::dns::Status;

/// RFC 8301 section 3.2: verifiers must not accept less; signers should not use less.
const RSA_BITS_MIN: usize = 1_024;
const RSA_BITS_GOOD: usize = 2_048;
/// Selectors that are asked at the same time.
const PARALLEL_MAX: usize = 8;
/// Selectors that are looked at.
const SELECTORS_MAX: usize = 100;

/// Selectors that common software and providers use; a domain's own ones cannot be listed.
const COMMON: &[&str] = &[
    "default",
    "dkim",
    "mail",
    "email",
    "smtp",
    "mx",
    "key1",
    "key2",
    "s1",
    "s2",
    "k1",
    "k2",
    "k3",
    "sel1",
    "sel2",
    "selector",
    "selector1",
    "selector2",
    "google",
    "20230601",
    "20210112",
    "20161025",
    "fm1",
    "fm2",
    "fm3",
    "protonmail",
    "protonmail2",
    "protonmail3",
    "mandrill",
    "mailjet",
    "zoho",
    "zmail",
    "pm",
    "pic",
    "krs",
    "cm",
    "ctct1",
    "ctct2",
    "sig1",
    "mxvault",
    "everlytickey1",
    "turbo-smtp",
    "rsa",
    "ed25519",
    "dkim-rsa",
    "dkim-ed25519",
    "2024",
    "2025",
    "2026",
    "main",
    "primary",
    "m1",
    "hs1",
    "hs2",
    "scph0",
    "amazonses",
    "stalwart",
    "mailcow",
];

pub(super) const FAMILY: Family = Family {
    name: "dkim",
    title: "DKIM",
    checks: &[
        spec(
            "dkim.exists",
            7,
            "There is a DKIM key",
            "Without signatures DMARC hangs on SPF alone, which forwarding breaks, and large receivers demand them.",
        ),
        spec(
            "dkim.single",
            4,
            "A selector has one record",
            "With several, which key a receiver takes is not defined (RFC 6376 section 3.6.2.2).",
        ),
        spec(
            "dkim.syntax",
            6,
            "The key record follows the grammar",
            "A record that cannot be read makes every signature with it fail.",
        ),
        spec(
            "dkim.key_size",
            6,
            "RSA keys have 2048 bits or more",
            "Below 1024 bits receivers must refuse the signature, and shorter keys can be broken (RFC 8301).",
        ),
        spec(
            "dkim.revoked",
            2,
            "No key is revoked",
            "An empty p= says that the key is withdrawn: signatures with it fail.",
        ),
        spec(
            "dkim.test_mode",
            4,
            "No key is in test mode",
            "With t=y receivers treat signed mail as if it were not signed.",
        ),
        spec("dkim.hash", 4, "SHA-256 is allowed", "RFC 8301: SHA-1 signatures must not be accepted any more."),
        spec("dkim.service", 4, "The key is for e-mail", "A key whose s= leaves out email does not verify mail."),
        spec(
            "dkim.algorithms",
            1,
            "There is an RSA key beside Ed25519",
            "Many receivers cannot verify Ed25519 yet (RFC 8463 section 4).",
        ),
    ],
    run: |audit| Box::pin(run(audit)),
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    Rsa(usize),
    Ed25519,
    Revoked,
}

/// What a check says of one selector, its tags and its key; nothing when it does not concern it.
type Judge<'a> = dyn Fn(&str, &Tags, &Result<Key, String>) -> Option<Seen> + 'a;

async fn run(audit: &Audit) -> Findings {
    let mut findings = Findings::default();
    let own = &audit.options.selectors;
    let selectors: Vec<String> = match own.is_empty() {
        true => COMMON.iter().map(|&selector| selector.to_owned()).collect(),
        false => own.iter().take(SELECTORS_MAX).cloned().collect(),
    };
    let tried = selectors.len();
    let looks = selectors.into_iter().map(|selector| async move {
        let answer = audit.dns.txt(&format!("{selector}._domainkey.{}", audit.domain)).await;
        (selector, answer)
    });
    let answers: Vec<_> = stream::iter(looks).buffered(PARALLEL_MAX).collect().await;
    let mut found = Vec::new();
    let mut missing = Vec::new();
    for (selector, (status, texts)) in answers {
        match status {
            // A wildcard answers for every selector with something else.
            Status::Found if !own.is_empty() || texts.iter().any(|text| looks_like_a_key(text)) => {
                found.push((selector, texts))
            }
            Status::Found => {}
            other => missing.push(format!("{selector}: {}", other.describe())),
        }
    }
    let remedy = format!(
        "let the mail server sign, and publish its key: SELECTOR._domainkey.{}. IN TXT \"v=DKIM1; k=rsa; p=…\"",
        audit.domain
    );
    let names = found.iter().map(|(selector, _)| selector.as_str()).collect::<Vec<_>>().join(", ");
    match (found.is_empty(), own.is_empty()) {
        (true, true) if audit.mx.why_no_hosts().is_some() => {
            findings.skip("dkim.exists", "none of the common selectors exists, and the domain takes no mail")
        }
        (true, true) => findings.warn(
            "dkim.exists",
            format!("none of {tried} common selectors exists; name the domain's own with --selector"),
            remedy,
        ),
        (_, false) if !missing.is_empty() => findings.fail("dkim.exists", missing.join("; "), remedy),
        _ => findings.pass("dkim.exists", format!("selectors: {names}")),
    }
    findings.rest("no key was found");
    judge(&mut findings, &audit.domain, &found);
    findings
}

fn looks_like_a_key(text: &str) -> bool {
    let tags = Tags::parse(text);
    tags.get("p").is_some() || tags.get("v") == Some("DKIM1")
}

fn judge(findings: &mut Findings, domain: &str, found: &[(String, Vec<String>)]) {
    let at = |selector: &str| format!("{selector}._domainkey.{domain}.");
    findings.worst(
        "dkim.single",
        found.iter().map(|(selector, texts)| {
            let seen = match texts.len() {
                1 => Seen::Pass("one record".to_owned()),
                count => Seen::Fail(
                    format!("{count} TXT records"),
                    format!("keep the record of the key in use at {}, and remove the others", at(selector)),
                ),
            };
            (selector.clone(), seen)
        }),
    );
    let records: Vec<(&String, Tags, Result<Key, String>)> = found
        .iter()
        .filter_map(|(selector, texts)| {
            let tags = Tags::parse(texts.iter().find(|text| looks_like_a_key(text)).or(texts.first())?);
            let key = key(&tags);
            Some((selector, tags, key))
        })
        .collect();
    let mut each = |id, judge: &Judge<'_>| {
        let seen =
            records.iter().filter_map(|(selector, tags, key)| Some(((*selector).clone(), judge(selector, tags, key)?)));
        findings.worst(id, seen.collect::<Vec<_>>());
    };
    each("dkim.syntax", &|selector, tags, key| {
        let mut faults = tags.faults.clone();
        if tags.get("v").is_some_and(|version| version != "DKIM1" || tags.first() != Some(("v", "DKIM1"))) {
            faults.push("v= is not DKIM1, or not the first tag".to_owned());
        }
        faults.extend(key.as_ref().err().cloned());
        Some(match faults.is_empty() {
            true => Seen::Pass("read".to_owned()),
            false => Seen::Fail(
                faults.join("; "),
                format!(
                    "publish the key again as the signer prints it: {} IN TXT \"v=DKIM1; k=rsa; p=…\"",
                    at(selector)
                ),
            ),
        })
    });
    each("dkim.key_size", &|selector, _, key| match key {
        Ok(Key::Rsa(bits)) if *bits < RSA_BITS_MIN => {
            Some(Seen::Fail(format!("RSA of {bits} bits"), stronger(&at(selector))))
        }
        Ok(Key::Rsa(bits)) if *bits < RSA_BITS_GOOD => {
            Some(Seen::Warn(format!("RSA of {bits} bits"), stronger(&at(selector))))
        }
        Ok(Key::Rsa(bits)) => Some(Seen::Pass(format!("RSA of {bits} bits"))),
        Ok(Key::Ed25519) => Some(Seen::Pass("Ed25519".to_owned())),
        Ok(Key::Revoked) | Err(_) => None,
    });
    each("dkim.revoked", &|selector, _, key| {
        Some(match key {
            Ok(Key::Revoked) => Seen::Warn(
                "p= is empty".to_owned(),
                format!("see that nothing signs with it any more, then remove {}", at(selector)),
            ),
            _ => Seen::Pass("in use".to_owned()),
        })
    });
    each("dkim.test_mode", &|selector, tags, _| {
        Some(match list(tags, "t").any(|flag| flag == "y") {
            true => Seen::Warn("t=y".to_owned(), format!("remove t=y from {}", at(selector))),
            false => Seen::Pass("no t=y".to_owned()),
        })
    });
    each("dkim.hash", &|selector, tags, _| {
        Some(match tags.get("h").is_some() && !list(tags, "h").any(|hash| hash == "sha256") {
            true => Seen::Fail(
                format!("h={}", tags.get("h").unwrap_or_default()),
                format!("remove h= from {}, and sign with rsa-sha256", at(selector)),
            ),
            false => Seen::Pass("allowed".to_owned()),
        })
    });
    each("dkim.service", &|selector, tags, _| {
        Some(match tags.get("s").is_some() && !list(tags, "s").any(|service| matches!(service, "*" | "email")) {
            true => Seen::Fail(
                format!("s={}", tags.get("s").unwrap_or_default()),
                format!("remove s= from {}", at(selector)),
            ),
            false => Seen::Pass("for e-mail".to_owned()),
        })
    });
    let keys: Vec<_> = records.iter().filter_map(|(_, _, key)| key.as_ref().ok()).collect();
    let rsa = keys.iter().any(|key| matches!(key, Key::Rsa(_)));
    match keys.contains(&&Key::Ed25519) {
        true if !rsa => findings.warn(
            "dkim.algorithms",
            "Ed25519 keys alone were found",
            "sign with an RSA key of 2048 bits as well",
        ),
        _ if rsa => findings.pass("dkim.algorithms", "there is an RSA key"),
        _ => {}
    }
}

fn stronger(at: &str) -> String {
    format!("make an RSA key of 2048 bits under a new selector, sign with it, and remove {at} a week later")
}

fn list<'a>(tags: &'a Tags, name: &str) -> impl Iterator<Item = &'a str> {
    tags.get(name).unwrap_or_default().split(':').map(str::trim)
}

/// RFC 6376 section 3.6.1: `k` and `p`.
fn key(tags: &Tags) -> Result<Key, String> {
    let Some(value) = tags.get("p") else { return Err("there is no p=".to_owned()) };
    let value: String = value.split_ascii_whitespace().collect();
    if value.is_empty() {
        return Ok(Key::Revoked);
    }
    let octets = BASE64.decode(&value).map_err(|_| "p= is no Base64".to_owned())?;
    match tags.get("k").unwrap_or("rsa") {
        "rsa" => rsa_bits(&octets).map(Key::Rsa).ok_or_else(|| "p= is no RSA key".to_owned()),
        "ed25519" if octets.len() == 32 => Ok(Key::Ed25519),
        "ed25519" => Err(format!("p= has {} octets; an Ed25519 key has 32", octets.len())),
        other => Err(format!("k={other} is unknown")),
    }
}

/// The RFC shows both forms: SubjectPublicKeyInfo, and RSAPublicKey alone.
fn rsa_bits(octets: &[u8]) -> Option<usize> {
    if let Ok((_, info)) = SubjectPublicKeyInfo::from_der(octets) {
        return match info.parsed() {
            Ok(PublicKey::RSA(key)) => Some(key.key_size()),
            _ => None,
        };
    }
    RSAPublicKey::from_der(octets).ok().map(|(_, key)| key.key_size())
}
