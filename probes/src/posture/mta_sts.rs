//! MTA-STS, RFC 8461: the record, the policy behind it, and whether the MX hosts keep it.

use super::finding::{Findings, Seen, publish, spec};
use super::https;
use super::survey::Mx;
use super::tags::{Tags, versioned};
use super::{Audit, Family, tls};
use crate::conversation::Class;

/// RFC 8461 section 3.3: senders may stop there.
const POLICY_MAX: usize = 64 * 1024;
/// Less than a day protects hardly; RFC 8461 section 3.2 allows a year.
const MAX_AGE_SHORT: u64 = 86_400;
const MAX_AGE_GOOD: u64 = 604_800;
const MAX_AGE_MAX: u64 = 31_557_600;
/// Lines of a policy that are read.
const LINES_MAX: usize = 1_000;

const PATH: &str = "/.well-known/mta-sts.txt";

pub(super) const FAMILY: Family = Family {
    name: "mta_sts",
    title: "MTA-STS",
    checks: &[
        spec(
            "mta_sts.exists",
            4,
            "There is an MTA-STS record",
            "Without it, or DANE, an attacker on the way can turn TLS off.",
        ),
        spec(
            "mta_sts.single",
            3,
            "There is only one record",
            "With two, senders act as if there were none (RFC 8461 section 3.1).",
        ),
        spec(
            "mta_sts.id",
            4,
            "The record has a valid id",
            "Senders fetch the policy when the id changes, and ignore a record without one.",
        ),
        spec(
            "mta_sts.certificate",
            4,
            "The policy host's certificate is valid",
            "Senders take a policy from a host with a valid certificate only.",
        ),
        spec(
            "mta_sts.policy",
            5,
            "The policy can be fetched",
            "A record without a policy protects nothing; redirects must not be followed (RFC 8461 section 3.3).",
        ),
        spec(
            "mta_sts.content_type",
            1,
            "The policy is text/plain",
            "RFC 8461 section 3.2 asks senders to check it, so that no uploaded file becomes a policy.",
        ),
        spec("mta_sts.syntax", 4, "The policy follows the grammar", "A policy that cannot be read is ignored."),
        spec("mta_sts.mode", 4, "The mode is enforce", "In testing mode senders deliver without TLS as before."),
        spec(
            "mta_sts.mx",
            7,
            "Every MX host is in the policy",
            "Senders that keep the policy do not deliver to an MX that is not in it.",
        ),
        spec(
            "mta_sts.max_age",
            3,
            "The policy holds for a week or more",
            "Whoever can block the policy for longer than max_age can turn it off.",
        ),
        spec(
            "mta_sts.mx_certificates",
            6,
            "Every MX in the policy has a valid certificate",
            "Senders that keep the policy do not deliver to an MX whose certificate is not valid for its name.",
        ),
    ],
    run: |audit| Box::pin(run(audit)),
};

/// A policy, RFC 8461 section 3.2.
#[derive(Debug, Default, PartialEq, Eq)]
struct Policy {
    mode: Option<String>,
    max_age: Option<u64>,
    mx: Vec<String>,
    faults: Vec<String>,
}

async fn run(audit: &Audit) -> Findings {
    let mut findings = Findings::default();
    if let Some(why) = audit.mx.why_no_hosts() {
        findings.rest(why);
        return findings;
    }
    let name = format!("_mta-sts.{}", audit.domain);
    let id = audit.now.to_string().chars().filter(char::is_ascii_digit).take(14).collect::<String>();
    let remedy = publish(&name, "TXT", &format!("v=STSv1; id={id}"));
    let records = match versioned(&audit.dns, &name, "v=STSv1").await {
        Ok(records) => records,
        Err(why) => {
            findings.rest(why);
            return findings;
        }
    };
    let Some(text) = records.first() else {
        findings.warn(
            "mta_sts.exists",
            format!("there is no TXT record at {name}. that begins with v=STSv1"),
            format!("serve a policy at https://mta-sts.{}{PATH}, then {remedy}", audit.domain),
        );
        findings.rest("there is no record");
        return findings;
    };
    findings.pass("mta_sts.exists", text.clone());
    if records.len() > 1 {
        findings.fail("mta_sts.single", records.join(" | "), format!("keep one of the TXT records at {name}."));
        findings.rest("there are several records, so that none counts");
        return findings;
    }
    findings.pass("mta_sts.single", "one record");
    let tags = Tags::parse(text);
    match tags.get("id") {
        Some(id)
            if (1..=32).contains(&id.len())
                && id.chars().all(|c| c.is_ascii_alphanumeric())
                && tags.faults.is_empty() =>
        {
            findings.pass("mta_sts.id", id)
        }
        Some(id) => findings.fail(
            "mta_sts.id",
            format!(
                "id={id} is not 1 to 32 letters and digits{}",
                tags.faults.iter().map(|fault| format!("; {fault}")).collect::<String>()
            ),
            remedy,
        ),
        None => findings.fail("mta_sts.id", "there is no id=", remedy),
    }
    if let Some(policy) = fetch(audit, &mut findings).await {
        judge(audit, &mut findings, &policy);
    }
    findings
}

async fn fetch(audit: &Audit, findings: &mut Findings) -> Option<Policy> {
    let host = format!("mta-sts.{}", audit.domain);
    findings.rest("the policy could not be fetched");
    let serve = format!("serve the policy at https://{host}{PATH} with status 200, without a redirect");
    let document = match https::get(audit, &host, PATH, POLICY_MAX).await {
        Ok(document) => document,
        Err(fault) => {
            let certificate =
                matches!(fault.class, Class::CertificateExpired | Class::CertificateName | Class::CertificateUntrusted);
            match certificate {
                true => findings.fail(
                    "mta_sts.certificate",
                    fault.detail,
                    format!("give {host} a certificate of a public authority for its name"),
                ),
                false => findings.fail("mta_sts.policy", format!("https://{host}{PATH}: {}", fault.detail), serve),
            }
            return None;
        }
    };
    findings.pass("mta_sts.certificate", format!("valid for {host}"));
    if document.status != 200 || document.cut {
        let evidence = match document.status {
            200 => format!("it is longer than {POLICY_MAX} octets"),
            300..400 => format!("HTTP {}: a redirect, which senders must not follow", document.status),
            status => format!("HTTP {status}"),
        };
        findings.fail("mta_sts.policy", evidence, serve);
        return None;
    }
    findings.pass("mta_sts.policy", format!("{} octets", document.body.len()));
    match document.kind.as_str() {
        "text/plain" => findings.pass("mta_sts.content_type", "text/plain"),
        other => findings.warn(
            "mta_sts.content_type",
            format!("Content-Type: {other}"),
            "let the web server send it as text/plain",
        ),
    }
    Some(Policy::parse(&document.body))
}

impl Policy {
    fn parse(text: &str) -> Self {
        let mut policy = Self::default();
        let mut version = None;
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()).take(LINES_MAX) {
            let Some((key, value)) = line.split_once(':') else {
                policy.faults.push(format!("\"{line}\" is no key: value"));
                continue;
            };
            let value = value.trim();
            match key.trim() {
                "version" => version = version.or(Some(value.to_owned())),
                "mode" => policy.mode = policy.mode.or(Some(value.to_owned())),
                "max_age" => {
                    let parsed = value.parse().ok().filter(|age| *age <= MAX_AGE_MAX);
                    if parsed.is_none() {
                        policy.faults.push(format!("max_age: {value} is no number of seconds up to a year"));
                    }
                    policy.max_age = policy.max_age.or(parsed);
                }
                "mx" => policy.mx.push(value.trim_end_matches('.').to_ascii_lowercase()),
                // Other keys are for extensions.
                _ => {}
            }
        }
        if version.as_deref() != Some("STSv1") {
            policy.faults.push("there is no version: STSv1".to_owned());
        }
        match policy.mode.as_deref() {
            Some("enforce" | "testing" | "none") => {}
            Some(mode) => policy.faults.push(format!("mode: {mode} is none of enforce, testing, none")),
            None => policy.faults.push("there is no mode".to_owned()),
        }
        if policy.max_age.is_none() && !text.contains("max_age") {
            policy.faults.push("there is no max_age".to_owned());
        }
        if policy.mx.is_empty() && policy.mode.as_deref() != Some("none") {
            policy.faults.push("there is no mx".to_owned());
        }
        policy
    }

    /// RFC 8461 section 4.1: a wildcard stands for exactly one label.
    fn allows(&self, host: &str) -> bool {
        self.mx.iter().any(|pattern| match pattern.strip_prefix("*.") {
            Some(parent) => host.split_once('.').is_some_and(|(_, rest)| rest == parent),
            None => pattern == host,
        })
    }
}

fn judge(audit: &Audit, findings: &mut Findings, policy: &Policy) {
    let names: Vec<&String> = match &audit.mx {
        Mx::Records(records) => records.iter().map(|(_, name)| name).collect(),
        Mx::Implicit => vec![&audit.domain],
        Mx::Null | Mx::None(_) => Vec::new(),
    };
    let lines = names.iter().map(|name| format!("mx: {name}")).collect::<Vec<_>>().join(", ");
    findings.faults(
        "mta_sts.syntax",
        &policy.faults,
        "read",
        format!("lines: version: STSv1, mode: enforce, {lines}, max_age: {MAX_AGE_GOOD}"),
    );
    let change = format!("and change the id of _mta-sts.{}.", audit.domain);
    match policy.mode.as_deref() {
        Some("enforce") => findings.pass("mta_sts.mode", "enforce"),
        Some(mode @ ("testing" | "none")) => findings.warn(
            "mta_sts.mode",
            mode,
            format!("once TLS reports show no failures, write mode: enforce {change}"),
        ),
        _ => findings.skip("mta_sts.mode", "it cannot be read"),
    }
    let missing: Vec<String> =
        names.iter().filter(|name| !policy.allows(name)).map(|name| format!("{name} is not in the policy")).collect();
    findings.faults("mta_sts.mx", &missing, policy.mx.join(", "), format!("add {lines} to the policy {change}"));
    match policy.max_age {
        Some(age) if age < MAX_AGE_SHORT => {
            findings.fail("mta_sts.max_age", format!("{age} s"), format!("write max_age: {MAX_AGE_GOOD} {change}"))
        }
        Some(age) if age < MAX_AGE_GOOD => {
            findings.warn("mta_sts.max_age", format!("{age} s"), format!("write max_age: {MAX_AGE_GOOD} {change}"))
        }
        Some(age) => findings.pass("mta_sts.max_age", format!("{age} s")),
        None => findings.skip("mta_sts.max_age", "it cannot be read"),
    }
    let Ok(servers) = audit.servers() else {
        findings.skip("mta_sts.mx_certificates", "no mail server could be reached");
        return;
    };
    let shown = servers.iter().filter_map(|(host, survey)| Some((host, survey.certificate()?)));
    findings.worst("mta_sts.mx_certificates", shown.map(|(host, certificate)| {
        let valid = tls::chain(audit, certificate).and_then(|()| tls::is_for(&host.name, certificate));
        let seen = match valid {
            Ok(()) if certificate.not_after > audit.now => Seen::Pass("valid".to_owned()),
            Ok(()) => Seen::Fail("it has expired".to_owned(), "renew it".to_owned()),
            Err(fault) => Seen::Fail(fault.detail, format!("give {} a certificate of a public authority for its name, or write mode: none until it has one", host.name)),
        };
        (host.name.clone(), seen)
    }).collect::<Vec<_>>());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_is_read_and_its_faults_are_named() {
        let policy =
            Policy::parse("version: STSv1\r\nmode: enforce\r\nmx: mx.a.test\r\nmx: *.b.test\r\nmax_age: 604800\r\n");
        assert_eq!((policy.faults.len(), policy.max_age), (0, Some(604_800)));
        assert!(policy.allows("mx.a.test") && policy.allows("x.b.test"));
        assert!(!policy.allows("b.test") && !policy.allows("x.y.b.test") && !policy.allows("a.test"));
        let faults = Policy::parse("mode: on\nmax_age: -1\nhello").faults;
        assert_eq!(
            faults,
            [
                "max_age: -1 is no number of seconds up to a year",
                "\"hello\" is no key: value",
                "there is no version: STSv1",
                "mode: on is none of enforce, testing, none",
                "there is no mx",
            ]
        );
    }
}
