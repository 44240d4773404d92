//! For each check, worlds in which it finds something. `also` names what else is wrong then, by necessity.

use hickory_resolver::proto::dnssec::DigestType;
use probes::posture::Outcome::{self, Fail, Skipped, Warn};
use rustls::version;

use super::world::{RSA_768, RSA_1024, RSA_2048, World, policy};

pub struct Case {
    pub id: &'static str,
    pub expected: Outcome,
    pub also: &'static [&'static str],
    pub breaks: fn(&mut World),
}

const fn case(id: &'static str, expected: Outcome, also: &'static [&'static str], breaks: fn(&mut World)) -> Case {
    Case { id, expected, also, breaks }
}

const DOMAIN: &str = "example.test";
const DMARC: &str = "_dmarc.example.test";
const RSA: &str = "rsa._domainkey.example.test";

fn spf(world: &mut World, record: &str) {
    world.zone.set(DOMAIN, "TXT", &[record]);
}

fn dmarc(world: &mut World, tags: &str) {
    let record = format!("v=DMARC1; {tags}; rua=mailto:d@example.test");
    world.zone.set(DMARC, "TXT", &[&record]);
}

fn dkim(world: &mut World, tags: &str) {
    let record = RSA_2048.replace("k=rsa;", tags);
    world.zone.set(RSA, "TXT", &[&record]);
}

fn chain_of_includes(world: &mut World, count: usize) {
    spf(world, "v=spf1 include:s1.example.test -all");
    for at in 1..count {
        world.zone.set(
            &format!("s{at}.example.test"),
            "TXT",
            &[&format!("v=spf1 include:s{}.example.test ~all", at + 1)],
        );
    }
    world.zone.set(&format!("s{count}.example.test"), "TXT", &["v=spf1 ip4:5.45.0.0/16 ~all"]);
}

fn without(world: &mut World, extension: &str) {
    world.mx.extensions.retain(|line| !line.starts_with(extension));
}

fn sts(world: &mut World, text: String) {
    world.pages[0].3 = text;
}

pub const CASES: &[Case] = &[
    // MX
    case("mx.exists", Fail, &[], |w| {
        w.zone.set(DOMAIN, "MX", &[]);
    }),
    case(
        "mx.exists",
        Warn,
        &[
            "mx.several",
            "mx.ipv6",
            "tls.name",
            "mta_sts.mx",
            "mta_sts.mx_certificates",
            "dane.exists",
            "smtp.helo_resolves",
            "address.ptr",
        ],
        |w| {
            w.zone.set(DOMAIN, "MX", &[]);
            w.zone.set(DOMAIN, "A", &["5.45.100.9"]);
        },
    ),
    case("mx.null", Fail, &["mta_sts.mx"], |w| {
        w.zone.set(DOMAIN, "MX", &["0 .", "10 mx1.example.test", "20 mx2.example.test"])
    }),
    case(
        "mx.not_ip",
        Fail,
        &["mx.resolves", "mta_sts.mx", "tls.name", "mta_sts.mx_certificates", "dane.all_hosts", "smtp.helo_resolves"],
        |w| {
            w.zone.set(DOMAIN, "MX", &["10 mx1.example.test", "20 mx2.example.test", "30 5.45.100.1"]);
        },
    ),
    case("mx.not_cname", Fail, &[], |w| {
        w.zone.set("mx2.example.test", "A", &[]);
        w.zone.set("mx2.example.test", "CNAME", &["real.example.test"]);
        w.zone.set("real.example.test", "A", &["5.45.200.1"]);
        w.zone.set("1.200.45.5.in-addr.arpa", "PTR", &["real.example.test"]);
    }),
    case("mx.resolves", Fail, &["smtp.helo_resolves"], |w| w.zone.set("mx2.example.test", "A", &[])),
    case("mx.public", Fail, &["address.ptr", "smtp.helo_resolves"], |w| {
        w.zone.set("mx2.example.test", "A", &["10.0.0.1"])
    }),
    case("mx.several", Warn, &[], |w| {
        w.zone.set(DOMAIN, "MX", &["10 mx1.example.test"]);
    }),
    case("mx.distinct", Warn, &["address.fcrdns"], |w| {
        w.zone.set("mx2.example.test", "A", &["5.45.100.1", "5.45.200.1"]);
        w.zone.set("1.200.45.5.in-addr.arpa", "PTR", &["mx1.example.test"]);
    }),
    case("mx.ipv6", Warn, &[], |w| w.zone.set("mx1.example.test", "AAAA", &[])),
    // Addresses
    case("address.ptr", Fail, &[], |w| w.zone.set("1.100.45.5.in-addr.arpa", "PTR", &[])),
    case("address.fcrdns", Fail, &[], |w| w.zone.set("1.100.45.5.in-addr.arpa", "PTR", &["else.example.test"])),
    case("address.generic", Warn, &[], |w| {
        w.zone.set("1.100.45.5.in-addr.arpa", "PTR", &["5-45-100-1.dsl.example.test"]);
        w.zone.set("5-45-100-1.dsl.example.test", "A", &["5.45.100.1"]);
    }),
    case("address.single", Warn, &[], |w| {
        w.zone.set("1.100.45.5.in-addr.arpa", "PTR", &["mx1.example.test", "mail.example.test"])
    }),
    // SMTP
    case("smtp.reachable", Fail, &["dane.exists"], |w| w.options.smtp_port = 1),
    case("smtp.banner", Warn, &[], |w| w.mx.banner = "220 localhost ESMTP"),
    case("smtp.version", Warn, &[], |w| w.mx.banner = "220 mail.example.test ESMTP Postfix 3.7.11"),
    case("smtp.helo", Fail, &["smtp.helo_resolves"], |w| w.mx.helo = "localhost"),
    case("smtp.helo_resolves", Warn, &[], |w| w.mx.helo = "else.example.test"),
    case("smtp.open_relay", Fail, &["smtp.relay_from_domain"], |w| {
        w.mx.answers = vec![("RCPT TO:<relay-test@example.org>", "250 2.1.5 ok")]
    }),
    case("smtp.open_relay", Skipped, &[], |w| {
        w.mx.answers = vec![("RCPT TO:<relay-test@example.org>", "450 4.2.0 greylisted")]
    }),
    case("smtp.relay_from_domain", Fail, &[], |w| {
        w.mx.answers = vec![
            ("MAIL FROM:<relay-test@example.com>", "550 5.7.1 no"),
            ("RCPT TO:<relay-test@example.org>", "250 2.1.5 ok"),
        ]
    }),
    case("smtp.postmaster", Fail, &[], |w| w.mx.answers = vec![("postmaster@example.test>", "550 5.1.1 no")]),
    case("smtp.abuse", Warn, &[], |w| w.mx.answers = vec![("abuse@", "550 5.1.1 no")]),
    case("smtp.abuse", Skipped, &[], |w| w.mx.answers = vec![("abuse@", "451 4.7.1 later")]),
    case("smtp.vrfy", Warn, &[], |w| w.mx.answers = vec![("VRFY", "250 2.1.5 <postmaster@example.test>")]),
    case("smtp.expn", Warn, &[], |w| w.mx.answers = vec![("EXPN", "250 2.1.5 <root@example.test>")]),
    case("smtp.plain_auth", Fail, &[], |w| {
        w.mx.plain_auth = true;
        w.mx.extensions.push("AUTH PLAIN");
    }),
    case("smtp.pipelining", Warn, &[], |w| without(w, "PIPELINING")),
    case("smtp.eightbitmime", Warn, &[], |w| without(w, "8BITMIME")),
    case("smtp.smtputf8", Warn, &[], |w| without(w, "SMTPUTF8")),
    case("smtp.enhanced_codes", Warn, &[], |w| without(w, "ENHANCEDSTATUSCODES")),
    case("smtp.size", Warn, &[], |w| without(w, "SIZE")),
    case("smtp.size", Warn, &[], |w| {
        without(w, "SIZE");
        w.mx.extensions.push("SIZE 1048576");
    }),
    // TLS
    case("tls.starttls", Fail, &[], |w| w.mx.starttls = false),
    case("tls.chain", Fail, &["mta_sts.mx_certificates", "dane.exists"], |w| {
        w.strangers.push("mx");
        w.tlsa.clear();
    }),
    // DANE pins the key: the issuer does not count then, but to MTA-STS it does.
    case("mta_sts.mx_certificates", Fail, &[], |w| w.strangers.push("mx")),
    case("tls.name", Fail, &["mta_sts.mx_certificates", "dane.exists"], |w| {
        w.names = vec!["else.example.test"];
        w.tlsa.clear();
    }),
    case("tls.expiry", Fail, &["mta_sts.mx_certificates"], |w| w.until = (2026, 5, 30)),
    case("tls.expiry", Warn, &[], |w| w.until = (2026, 6, 8)),
    case("tls.tls13", Warn, &[], |w| w.newest = &version::TLS12),
    case("tls.tls10", Fail, &[], |w| w.mx.old = Some((0x0301, 0xc014))),
    case("tls.tls11", Fail, &[], |w| w.mx.old = Some((0x0302, 0xc014))),
    case("tls.ciphers", Fail, &[], |w| w.mx.old = Some((0x0303, 0x0005))),
    case("tls.forward_secrecy", Warn, &[], |w| w.mx.old = Some((0x0303, 0x009d))),
    // SPF
    case("spf.exists", Fail, &[], |w| spf(w, "another=record")),
    case("spf.single", Fail, &[], |w| w.zone.set(DOMAIN, "TXT", &["v=spf1 mx -all", "v=spf1 a -all"])),
    case("spf.syntax", Fail, &[], |w| spf(w, "v=spf1 mx ipv4:5.45.100.1 -all")),
    case("spf.lookups", Fail, &[], |w| chain_of_includes(w, 11)),
    case("spf.void_lookups", Fail, &[], |w| {
        spf(w, "v=spf1 mx a:no1.example.test a:no2.example.test exists:no3.example.test -all")
    }),
    case("spf.includes", Fail, &[], |w| spf(w, "v=spf1 mx include:none.example.test -all")),
    case("spf.loops", Fail, &[], |w| w.zone.set("_spf.example.test", "TXT", &["v=spf1 include:example.test ~all"])),
    case("spf.mx_terms", Fail, &[], |w| {
        spf(w, "v=spf1 mx:many.example.test -all");
        let hosts: Vec<String> = (0..11).map(|at| format!("{at} mx1.example.test")).collect();
        w.zone.set("many.example.test", "MX", &hosts.iter().map(String::as_str).collect::<Vec<_>>());
    }),
    case("spf.ptr", Warn, &[], |w| spf(w, "v=spf1 mx ptr -all")),
    case("spf.all", Fail, &[], |w| spf(w, "v=spf1 mx +all")),
    case("spf.all", Warn, &[], |w| spf(w, "v=spf1 mx ?all")),
    case("spf.all", Warn, &[], |w| spf(w, "v=spf1 mx")),
    case("spf.unreachable", Warn, &[], |w| spf(w, "v=spf1 -all mx")),
    case("spf.length", Warn, &[], |w| {
        let terms: String = (0..40).map(|at| format!("ip4:5.45.100.{at} ")).collect();
        spf(w, &format!("v=spf1 {terms}-all"));
    }),
    case("spf.type99", Warn, &[], |w| w.zone.set(DOMAIN, "TYPE99", &["\x06v=spf1"])),
    // DKIM
    case("dkim.exists", Fail, &[], |w| w.options.selectors.push("gone".to_owned())),
    case("dkim.exists", Warn, &[], |w| {
        w.options.selectors.clear();
        w.zone.set(RSA, "TXT", &[]);
        w.zone.set("own._domainkey.example.test", "TXT", &[RSA_2048]);
    }),
    case("dkim.single", Fail, &[], |w| w.zone.set(RSA, "TXT", &[RSA_2048, RSA_1024])),
    case("dkim.syntax", Fail, &["dkim.algorithms"], |w| w.zone.set(RSA, "TXT", &["v=DKIM1; k=rsa; p=AAAA"])),
    case("dkim.key_size", Fail, &[], |w| w.zone.set(RSA, "TXT", &[RSA_768])),
    case("dkim.key_size", Warn, &[], |w| w.zone.set(RSA, "TXT", &[RSA_1024])),
    case("dkim.revoked", Warn, &["dkim.algorithms"], |w| w.zone.set(RSA, "TXT", &["v=DKIM1; p="])),
    case("dkim.test_mode", Warn, &[], |w| dkim(w, "k=rsa; t=y:s;")),
    case("dkim.hash", Fail, &[], |w| dkim(w, "k=rsa; h=sha1;")),
    case("dkim.service", Fail, &[], |w| dkim(w, "k=rsa; s=tlsrpt;")),
    case("dkim.algorithms", Warn, &[], |w| w.options.selectors = vec!["ed".to_owned()]),
    // DMARC
    case("dmarc.exists", Fail, &["bimi.dmarc"], |w| w.zone.set(DMARC, "TXT", &[])),
    case("dmarc.exists", Skipped, &["bimi.dmarc"], |w| {
        w.zone.failing.insert(DMARC.to_owned());
    }),
    case("dmarc.single", Fail, &[], |w| w.zone.set(DMARC, "TXT", &["v=DMARC1; p=reject", "v=DMARC1; p=reject"])),
    case("dmarc.syntax", Fail, &[], |w| dmarc(w, "p=reject; bogus")),
    case("dmarc.policy", Warn, &["bimi.dmarc"], |w| dmarc(w, "p=none")),
    case("dmarc.subdomain_policy", Warn, &[], |w| dmarc(w, "p=reject; sp=none")),
    case("dmarc.pct", Warn, &["bimi.dmarc"], |w| dmarc(w, "p=reject; pct=50")),
    case("dmarc.pct", Fail, &["bimi.dmarc"], |w| dmarc(w, "p=reject; pct=all")),
    case("dmarc.rua", Warn, &[], |w| w.zone.set(DMARC, "TXT", &["v=DMARC1; p=reject"])),
    case("dmarc.rua_syntax", Fail, &[], |w| w.zone.set(DMARC, "TXT", &["v=DMARC1; p=reject; rua=d@example.test"])),
    case("dmarc.ruf_syntax", Fail, &[], |w| dmarc(w, "p=reject; ruf=f@example.test")),
    case("dmarc.external", Fail, &[], |w| w.zone.set("example.test._report._dmarc.reports.test", "TXT", &[])),
    case("dmarc.alignment", Fail, &[], |w| dmarc(w, "p=reject; adkim=x")),
    case("dmarc.failure_options", Warn, &[], |w| dmarc(w, "p=reject; fo=2")),
    case("dmarc.interval", Warn, &[], |w| dmarc(w, "p=reject; ri=daily")),
    // MTA-STS
    case("mta_sts.exists", Warn, &[], |w| w.zone.set("_mta-sts.example.test", "TXT", &[])),
    case("mta_sts.single", Fail, &[], |w| {
        w.zone.set("_mta-sts.example.test", "TXT", &["v=STSv1; id=1", "v=STSv1; id=2"])
    }),
    case("mta_sts.id", Fail, &[], |w| w.zone.set("_mta-sts.example.test", "TXT", &["v=STSv1; id=2026-06"])),
    case("mta_sts.certificate", Fail, &["autoconfig.mozilla"], |w| w.strangers.push("web")),
    case("mta_sts.policy", Fail, &[], |w| w.pages[0].1 = 404),
    case("mta_sts.policy", Fail, &[], |w| w.pages[0].1 = 302),
    case("mta_sts.policy", Fail, &[], |w| sts(w, "mx: a.test\n".repeat(10_000))),
    case("mta_sts.content_type", Warn, &[], |w| w.pages[0].2 = "text/html"),
    case("mta_sts.syntax", Fail, &[], |w| {
        sts(w, policy("enforce", 604_800).replace("version: STSv1", "version STSv1"))
    }),
    case("mta_sts.mode", Warn, &[], |w| sts(w, policy("testing", 604_800))),
    case("mta_sts.mx", Fail, &[], |w| sts(w, policy("enforce", 604_800).replace("*.example", "*.mx.example"))),
    case("mta_sts.max_age", Warn, &[], |w| sts(w, policy("enforce", 86_400))),
    case("mta_sts.max_age", Fail, &[], |w| sts(w, policy("enforce", 60))),
    // TLS reporting
    case("tls_rpt.exists", Warn, &[], |w| w.zone.set("_smtp._tls.example.test", "TXT", &[])),
    case("tls_rpt.single", Fail, &[], |w| {
        w.zone.set(
            "_smtp._tls.example.test",
            "TXT",
            &["v=TLSRPTv1; rua=mailto:a@b.test", "v=TLSRPTv1; rua=mailto:c@b.test"],
        )
    }),
    case("tls_rpt.syntax", Fail, &[], |w| w.zone.set("_smtp._tls.example.test", "TXT", &["v=TLSRPTv1"])),
    case("tls_rpt.rua", Fail, &[], |w| {
        w.zone.set("_smtp._tls.example.test", "TXT", &["v=TLSRPTv1; rua=http://example.test/"])
    }),
    // DANE
    case("dane.exists", Warn, &[], |w| w.tlsa.clear()),
    case("dane.all_hosts", Warn, &[], |w| w.tlsa.retain(|record| record.0 == "mx1.example.test")),
    case("dane.secure", Fail, &[], |w| {
        w.zone.insecure.insert("tlsa".to_owned());
    }),
    case("dane.answers", Fail, &["dane.exists"], |w| {
        w.zone.failing.insert("tlsa".to_owned());
    }),
    case("dane.usage", Warn, &[], |w| w.tlsa.push(("mx1.example.test", 1, 1, 1, None))),
    case("dane.parameters", Fail, &[], |w| w.tlsa.push(("mx1.example.test", 3, 1, 1, Some(vec![7; 31])))),
    case("dane.match", Fail, &["dane.rollover"], |w| {
        w.tlsa.retain(|record| record.0 != "mx2.example.test" || record.4.is_some())
    }),
    case("dane.rollover", Warn, &[], |w| w.tlsa.retain(|record| record.4.is_none())),
    // DNSSEC
    case("dnssec.signed", Warn, &[], |w| {
        w.zone.set(DOMAIN, "DS", &[]);
        w.zone.set(DOMAIN, "DNSKEY", &[]);
    }),
    case("dnssec.valid", Fail, &["mx.exists"], |w| {
        w.zone.bogus.insert(DOMAIN.to_owned());
    }),
    case("dnssec.ds", Fail, &[], |w| {
        let mut other = w.zone.clone();
        other.sign(DOMAIN, (2026, 5, 20), 30, DigestType::SHA256);
        w.zone.take_delegation(&other, DOMAIN);
    }),
    case("dnssec.signature", Fail, &[], |w| w.zone.unsign(DOMAIN)),
    case("dnssec.expiry", Fail, &[], |w| w.zone.sign(DOMAIN, (2026, 5, 1), 30, DigestType::SHA256)),
    case("dnssec.expiry", Warn, &[], |w| w.zone.sign(DOMAIN, (2026, 5, 4), 30, DigestType::SHA256)),
    case("dnssec.algorithm", Warn, &[], |w| w.zone.sign(DOMAIN, (2026, 5, 20), 30, DigestType::SHA1)),
    case("dnssec.mx_hosts", Warn, &[], |w| {
        w.zone.insecure.insert("mx2.example.test".to_owned());
    }),
    // Zone
    case("zone.servers", Fail, &["zone.networks"], |w| w.zone.set(DOMAIN, "NS", &["ns1.example.test"])),
    case("zone.resolves", Fail, &["zone.networks"], |w| w.zone.set("ns2.example.test", "A", &[])),
    case("zone.networks", Warn, &[], |w| w.zone.set("ns2.example.test", "A", &["5.45.100.54"])),
    case("zone.not_cname", Fail, &[], |w| {
        w.zone.set("ns2.example.test", "A", &[]);
        w.zone.set("ns2.example.test", "CNAME", &["mx2.example.test"]);
    }),
    // BIMI
    case("bimi.syntax", Fail, &[], |w| {
        w.zone.set("default._bimi.example.test", "TXT", &["v=BIMI1; a=https://example.test/vmc.pem"])
    }),
    case("bimi.logo", Fail, &[], |w| {
        w.zone.set(
            "default._bimi.example.test",
            "TXT",
            &["v=BIMI1; l=http://example.test/l.svg; a=https://example.test/vmc.pem"],
        )
    }),
    case("bimi.evidence", Warn, &[], |w| {
        w.zone.set("default._bimi.example.test", "TXT", &["v=BIMI1; l=https://example.test/l.svg"])
    }),
    case("bimi.dmarc", Fail, &["dmarc.policy"], |w| dmarc(w, "p=none")),
    // Submission
    case("submission.reachable", Fail, &[], |w| {
        w.zone.set("_submission._tcp.example.test", "SRV", &["0 1 1 mail.example.test"])
    }),
    case("submission.tls", Fail, &[], |w| w.submission.starttls = false),
    case("submission.certificate", Fail, &[], |w| w.strangers.push("submission")),
    case("submission.auth_needs_tls", Fail, &[], |w| {
        w.submission.answers = vec![("AUTH PLAIN", "334 "), ("RCPT TO", "530 5.7.0 log in first")]
    }),
    case("submission.auth_offered", Fail, &[], |w| w.submission.extensions.retain(|line| !line.starts_with("AUTH"))),
    case("submission.auth_required", Fail, &[], |w| {
        w.submission.answers = vec![("AUTH PLAIN", "530 5.7.0 no"), ("RCPT TO", "250 2.1.5 ok")]
    }),
    // Client configuration
    case("autoconfig.submission", Warn, &[], |w| w.zone.set("_submissions._tcp.example.test", "SRV", &[])),
    case("autoconfig.access", Warn, &[], |w| {
        w.zone.set("_imaps._tcp.example.test", "SRV", &[]);
        w.zone.set("_imap._tcp.example.test", "SRV", &[]);
    }),
    case("autoconfig.cleartext", Warn, &["autoconfig.access"], |w| w.zone.set("_imaps._tcp.example.test", "SRV", &[])),
    case("autoconfig.targets", Fail, &[], |w| {
        w.zone.set("_imaps._tcp.example.test", "SRV", &["0 1 993 gone.example.test"])
    }),
    case("autoconfig.targets", Fail, &[], |w| {
        w.zone.set("_imaps._tcp.example.test", "SRV", &["0 1 993 autodiscover.example.test"])
    }),
    case("autoconfig.mozilla", Warn, &[], |w| w.pages[1].1 = 404),
    case("autoconfig.autodiscover", Warn, &[], |w| w.zone.set("autodiscover.example.test", "CNAME", &[])),
    // Blocklists
    case("blocklist.address", Fail, &[], |w| w.zone.set("1.100.45.5.bl.test", "A", &["127.0.0.2"])),
    case("blocklist.address", Skipped, &[], |w| w.options.address_lists = Vec::new()),
    case("blocklist.domain", Fail, &[], |w| w.zone.set("example.test.dbl.test", "A", &["127.0.1.2"])),
    case("blocklist.domain", Skipped, &[], |w| w.zone.set("example.test.dbl.test", "A", &["127.255.255.254"])),
];
