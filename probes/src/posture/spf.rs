//! SPF, RFC 7208: the record, and what a receiver meets who evaluates it.

mod record;
mod walk;

use hickory_resolver::proto::rr::RecordType;

use super::finding::{Findings, publish, spec};
use super::tags::versioned;
use super::{Audit, Family};
use record::{Mechanism, Qualifier, Record};
use walk::Walk;

/// RFC 7208 section 4.6.4.
const LOOKUPS_MAX: usize = 10;
/// The same section: what a receiver should allow.
const VOIDS_MAX: usize = 2;
/// RFC 7208 section 3.4: with this the answer still fits in 512 octets.
const LENGTH_MAX: usize = 450;

pub(super) const FAMILY: Family = Family {
    name: "spf",
    title: "SPF",
    checks: &[
        spec(
            "spf.exists",
            8,
            "There is an SPF record",
            "Without it anyone may send as the domain, and large receivers demand one.",
        ),
        spec(
            "spf.single",
            7,
            "There is only one SPF record",
            "Two records are a permanent error: receivers then ignore both (RFC 7208 section 4.5).",
        ),
        spec("spf.syntax", 7, "The record follows the grammar", "A syntax error makes the whole record void."),
        spec(
            "spf.lookups",
            7,
            "It takes at most 10 look-ups",
            "Beyond 10 receivers stop with a permanent error (RFC 7208 section 4.6.4).",
        ),
        spec(
            "spf.void_lookups",
            4,
            "At most 2 look-ups find nothing",
            "Beyond 2 receivers may stop with a permanent error.",
        ),
        spec(
            "spf.includes",
            6,
            "Every included domain has a valid SPF record",
            "An include without a record is a permanent error (RFC 7208 section 5.2).",
        ),
        spec(
            "spf.loops",
            6,
            "Includes and redirects do not go in circles",
            "A circle ends at the look-up limit, with a permanent error.",
        ),
        spec(
            "spf.mx_terms",
            3,
            "No mx mechanism has more than 10 hosts",
            "More than 10 is a permanent error (RFC 7208 section 4.6.4).",
        ),
        spec(
            "spf.ptr",
            3,
            "It does not use ptr",
            "The mechanism is slow, unreliable and must not be used (RFC 7208 section 5.5).",
        ),
        spec(
            "spf.all",
            7,
            "It ends with -all or ~all",
            "Without it, or with +all or ?all, the record forbids nobody to send as the domain.",
        ),
        spec("spf.unreachable", 3, "Nothing stands after all", "What stands behind all is never evaluated."),
        spec(
            "spf.length",
            2,
            "The record is short enough for one UDP answer",
            "A long answer needs TCP, which some receivers cannot do (RFC 7208 section 3.4).",
        ),
        spec(
            "spf.type99",
            1,
            "There is no record of the old type SPF",
            "RFC 7208 section 3.1 has withdrawn the type; it is forgotten at the next change and contradicts then.",
        ),
    ],
    run: |audit| Box::pin(run(audit)),
};

async fn run(audit: &Audit) -> Findings {
    let mut findings = Findings::default();
    let domain = &audit.domain;
    let null = audit.mx.why_no_hosts().is_some();
    let simple = if null { "v=spf1 -all" } else { "v=spf1 mx -all" };
    let old = audit.dns.ask(domain, RecordType::Unknown(99)).await;
    match old.records.is_empty() {
        true => findings.pass("spf.type99", "there is none"),
        false => {
            findings.warn("spf.type99", "there is one", format!("remove the record of type SPF (99) of {domain}."))
        }
    }
    let records = match versioned(&audit.dns, domain, "v=spf1").await {
        Ok(records) => records,
        Err(why) => {
            findings.rest(why);
            return findings;
        }
    };
    let Some(text) = records.first() else {
        findings.fail("spf.exists", "there is no TXT record that begins with v=spf1", publish(domain, "TXT", simple));
        findings.rest("there is no SPF record");
        return findings;
    };
    findings.pass("spf.exists", text.clone());
    if records.len() > 1 {
        findings.fail(
            "spf.single",
            records.join(" | "),
            format!("join them into one record and remove the others: {}", publish(domain, "TXT", simple)),
        );
        findings.rest("there are several records, so that none counts");
        return findings;
    }
    findings.pass("spf.single", "one record");
    let record = Record::parse(text);
    findings.faults(
        "spf.syntax",
        &record.faults,
        text.clone(),
        format!("mend the terms that are named: {}", publish(domain, "TXT", simple)),
    );
    match text.len() > LENGTH_MAX {
        true => findings.warn(
            "spf.length",
            format!("{} octets", text.len()),
            "drop terms that are not needed, or move some into an include",
        ),
        false => findings.pass("spf.length", format!("{} octets", text.len())),
    }
    let walk = Walk::of(&audit.dns, domain, &record).await;
    judge_walk(&mut findings, &walk);
    judge_terms(&mut findings, domain, &record, &walk);
    findings
}

fn judge_walk(findings: &mut Findings, walk: &Walk) {
    let shorten = "replace include, a and mx of senders that are not used any more, or of fixed addresses, by nothing or by ip4: and ip6:";
    let count =
        if walk.cut { format!("more than {} look-ups", walk.lookups) } else { format!("{} look-ups", walk.lookups) };
    match walk.lookups > LOOKUPS_MAX {
        true => findings.fail("spf.lookups", format!("{count}: {}", walk.order.join(", ")), shorten),
        false => findings.pass("spf.lookups", count),
    }
    let voids = format!("{} found nothing: {}", walk.voids.len(), walk.voids.join(", "));
    match walk.voids.len() {
        0 => findings.pass("spf.void_lookups", "every look-up finds something"),
        count if count > VOIDS_MAX => {
            findings.fail("spf.void_lookups", voids, "remove the terms whose names do not exist")
        }
        _ => findings.pass("spf.void_lookups", voids),
    }
    findings.faults(
        "spf.includes",
        &walk.broken,
        "all have one",
        "remove the include, or ask its owner to publish a record",
    );
    findings.faults("spf.loops", &walk.loops, "there is no circle", "remove the include or redirect that leads back");
    findings.faults("spf.mx_terms", &walk.crowded, "none has", "name the hosts by ip4: and ip6: instead");
    findings.doubts("spf.ptr", &walk.ptr, "not used", "name the hosts by a:, ip4: or ip6: instead of ptr");
}

fn judge_terms(findings: &mut Findings, domain: &str, record: &Record, walk: &Walk) {
    let remedy =
        format!("end it with -all, or with ~all while you are not sure: {}", publish(domain, "TXT", "v=spf1 … -all"));
    match walk.all {
        Some(Qualifier::Fail) => findings.pass("spf.all", "-all"),
        Some(Qualifier::SoftFail) => findings.pass("spf.all", "~all"),
        Some(Qualifier::Neutral) => findings.warn("spf.all", "?all", remedy),
        Some(Qualifier::Pass) => findings.fail("spf.all", "+all: everyone may send as the domain", remedy),
        None if walk.open => findings.skip("spf.all", "the record that it redirects to was not read"),
        None => findings.warn("spf.all", "there is no all", remedy),
    }
    let all = record.terms.iter().position(|term| term.mechanism == Mechanism::All);
    let mut behind: Vec<String> = match all {
        Some(at) => record.terms[at + 1..].iter().map(|term| format!("{} stands after all", term.text)).collect(),
        None => Vec::new(),
    };
    if let (Some(target), Some(_)) = (&record.redirect, all) {
        behind.push(format!("redirect={target} is ignored beside all"));
    }
    findings.doubts("spf.unreachable", &behind, "nothing does", "move the terms before all, or remove them");
}
