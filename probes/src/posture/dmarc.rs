//! DMARC, RFC 7489.

use super::finding::{Findings, publish, spec};
use super::tags::{Tags, versioned};
use super::{Audit, Family, organisation};

/// Report addresses that are looked at; receivers need not send to more than two.
const ADDRESSES_MAX: usize = 10;

pub(super) const FAMILY: Family = Family {
    name: "dmarc",
    title: "DMARC",
    checks: &[
        spec(
            "dmarc.exists",
            8,
            "There is a DMARC record",
            "Without it receivers do not know what to do with forged mail, and large ones demand it.",
        ),
        spec(
            "dmarc.single",
            6,
            "There is only one DMARC record",
            "With two, receivers act as if there were none (RFC 7489 section 6.6.3).",
        ),
        spec("dmarc.syntax", 6, "The record follows the grammar", "A record that cannot be read is ignored."),
        spec(
            "dmarc.policy",
            7,
            "The policy is quarantine or reject",
            "With p=none forged mail is delivered as before.",
        ),
        spec(
            "dmarc.subdomain_policy",
            4,
            "Subdomains are not protected less",
            "Forgers then use a subdomain, which need not even exist.",
        ),
        spec(
            "dmarc.pct",
            3,
            "The policy holds for all mail",
            "What pct leaves out is delivered although it is forged.",
        ),
        spec(
            "dmarc.rua",
            4,
            "Aggregate reports are asked for",
            "Without them nobody sees who sends as the domain, nor which own mail fails.",
        ),
        spec(
            "dmarc.rua_syntax",
            4,
            "The addresses for aggregate reports can be used",
            "Reports to an address that cannot be read are not sent.",
        ),
        spec(
            "dmarc.ruf_syntax",
            2,
            "The addresses for failure reports can be used",
            "Reports to an address that cannot be read are not sent.",
        ),
        spec(
            "dmarc.external",
            4,
            "Other domains have agreed to take the reports",
            "Without their record under _report._dmarc receivers send nothing there (RFC 7489 section 7.1).",
        ),
        spec(
            "dmarc.alignment",
            3,
            "The alignment modes are valid",
            "A mode that cannot be read makes the record ambiguous.",
        ),
        spec(
            "dmarc.failure_options",
            1,
            "The options for failure reports are valid",
            "Receivers ignore what they cannot read, and reports differ from what was meant.",
        ),
        spec(
            "dmarc.interval",
            1,
            "The report interval is valid",
            "Receivers ignore what they cannot read; most send daily in any case.",
        ),
    ],
    run: |audit| Box::pin(run(audit)),
};

async fn run(audit: &Audit) -> Findings {
    let mut findings = Findings::default();
    let domain = &audit.domain;
    let simple = format!("v=DMARC1; p=quarantine; rua=mailto:dmarc@{domain}");
    let mut at = domain.as_str();
    let mut records = versioned(&audit.dns, &format!("_dmarc.{domain}"), "v=DMARC1").await;
    // RFC 7489 section 6.6.3: the organisational domain speaks for those below it.
    if records.as_ref().is_ok_and(Vec::is_empty) && audit.organisation() != domain {
        at = audit.organisation();
        records = versioned(&audit.dns, &format!("_dmarc.{at}"), "v=DMARC1").await;
    }
    let records = match records {
        Ok(records) => records,
        Err(why) => {
            findings.rest(why);
            return findings;
        }
    };
    let name = format!("_dmarc.{at}");
    let Some(text) = records.first() else {
        let evidence = format!("there is no TXT record at _dmarc.{domain}. that begins with v=DMARC1");
        findings.fail("dmarc.exists", evidence, publish(&format!("_dmarc.{domain}"), "TXT", &simple));
        findings.rest("there is no DMARC record");
        return findings;
    };
    findings.pass("dmarc.exists", format!("{name}.: {text}"));
    if records.len() > 1 {
        findings.fail("dmarc.single", records.join(" | "), format!("keep one of the TXT records at {name}."));
        findings.rest("there are several records, so that none counts");
        return findings;
    }
    findings.pass("dmarc.single", "one record");
    let tags = Tags::parse(text);
    syntax(&mut findings, &tags, &publish(&name, "TXT", &simple));
    policy(&mut findings, &tags, at != domain, &name, &simple);
    details(&mut findings, &tags, &name);
    addresses(audit, &mut findings, &tags, at).await;
    findings
}

fn syntax(findings: &mut Findings, tags: &Tags, remedy: &str) {
    let mut faults = tags.faults.clone();
    if tags.first() != Some(("v", "DMARC1")) {
        faults.push("it does not begin with v=DMARC1".to_owned());
    }
    match tags.get("p") {
        None => faults.push("there is no p=".to_owned()),
        Some(policy) if strength(policy).is_none() => faults.push(format!("p={policy} is no policy")),
        Some(_) => {}
    }
    if let Some(policy) = tags.get("sp").filter(|policy| strength(policy).is_none()) {
        faults.push(format!("sp={policy} is no policy"));
    }
    findings.faults("dmarc.syntax", &faults, "read", remedy);
}

fn strength(policy: &str) -> Option<u8> {
    match policy.to_ascii_lowercase().as_str() {
        "none" => Some(0),
        "quarantine" => Some(1),
        "reject" => Some(2),
        _ => None,
    }
}

fn policy(findings: &mut Findings, tags: &Tags, inherited: bool, name: &str, simple: &str) {
    let own = tags.get("p").unwrap_or_default();
    let below = tags.get("sp").unwrap_or(own);
    // The record of the organisational domain speaks for this one by its sp.
    let (key, value) = if inherited && tags.get("sp").is_some() { ("sp", below) } else { ("p", own) };
    match strength(value) {
        Some(0) => findings.warn(
            "dmarc.policy",
            format!("{key}=none"),
            format!("once the reports show that own mail passes: {}", publish(name, "TXT", simple)),
        ),
        Some(_) => findings.pass("dmarc.policy", format!("{key}={value}")),
        None => findings.skip("dmarc.policy", "the policy cannot be read"),
    }
    match (strength(own), strength(below)) {
        (Some(own_strength), Some(weaker)) if weaker < own_strength => findings.warn(
            "dmarc.subdomain_policy",
            format!("p={own}, but sp={below}"),
            format!("remove sp= at {name}., or set it to {own}"),
        ),
        (Some(_), Some(_)) => findings.pass("dmarc.subdomain_policy", format!("subdomains: {below}")),
        _ => findings.skip("dmarc.subdomain_policy", "the policy cannot be read"),
    }
    let remedy = format!("remove pct= at {name}.");
    match tags.get("pct").map(|text| (text, text.parse::<u8>().ok().filter(|pct| *pct <= 100))) {
        None | Some((_, Some(100))) => findings.pass("dmarc.pct", "100 %"),
        Some((_, Some(pct))) => findings.warn("dmarc.pct", format!("{pct} %"), remedy),
        Some((text, None)) => findings.fail("dmarc.pct", format!("pct={text} is no number from 0 to 100"), remedy),
    }
}

fn details(findings: &mut Findings, tags: &Tags, name: &str) {
    let mut faults = Vec::new();
    let mut modes = Vec::new();
    for key in ["adkim", "aspf"] {
        let mode = tags.get(key).unwrap_or("r");
        modes.push(format!("{key}={mode}"));
        if !matches!(mode, "r" | "s" | "R" | "S") {
            faults.push(format!("{key}={mode} is neither r nor s"));
        }
    }
    findings.faults(
        "dmarc.alignment",
        &faults,
        modes.join(", "),
        format!("write adkim=r and aspf=r at {name}., or leave both out"),
    );
    let options = tags.get("fo").unwrap_or("0");
    let unknown: Vec<String> = options
        .split(':')
        .map(str::trim)
        .filter(|option| !matches!(*option, "0" | "1" | "d" | "s"))
        .map(|option| format!("fo={option} is unknown"))
        .collect();
    findings.doubts(
        "dmarc.failure_options",
        &unknown,
        format!("fo={options}"),
        format!("write fo=1 at {name}., or leave it out"),
    );
    match tags.get("ri").map(|text| (text, text.parse::<u32>())) {
        None => findings.pass("dmarc.interval", "daily"),
        Some((_, Ok(seconds))) => findings.pass("dmarc.interval", format!("{seconds} s")),
        Some((text, Err(_))) => findings.warn(
            "dmarc.interval",
            format!("ri={text} is no number of seconds"),
            format!("remove ri= at {name}."),
        ),
    }
}

async fn addresses(audit: &Audit, findings: &mut Findings, tags: &Tags, at: &str) {
    let name = format!("_dmarc.{at}");
    let mut hosts = Vec::new();
    for (key, id) in [("rua", "dmarc.rua_syntax"), ("ruf", "dmarc.ruf_syntax")] {
        let Some(value) = tags.get(key) else {
            findings.skip(id, format!("there is no {key}="));
            continue;
        };
        let mut faults = Vec::new();
        for uri in value.split(',').map(str::trim).take(ADDRESSES_MAX) {
            match mailto_host(uri) {
                Some(host) => hosts.push(host),
                None => faults.push(format!("{uri} is no mailto: address")),
            }
        }
        findings.faults(id, &faults, value, format!("write {key}=mailto:dmarc@{at} at {name}."));
    }
    match tags.get("rua") {
        Some(value) => findings.pass("dmarc.rua", value),
        None => findings.warn("dmarc.rua", "there is no rua=", format!("add rua=mailto:dmarc@{at} at {name}.")),
    }
    hosts.retain(|host| organisation(host) != organisation(at));
    hosts.sort();
    hosts.dedup();
    if hosts.is_empty() {
        findings.skip("dmarc.external", "no reports go to another domain");
        return;
    }
    let (mut missing, mut remedies) = (Vec::new(), Vec::new());
    for host in &hosts {
        let consent = format!("{at}._report._dmarc.{host}");
        match versioned(&audit.dns, &consent, "v=DMARC1").await {
            Ok(records) if records.is_empty() => {
                missing.push(format!("{host} has no record at {consent}."));
                remedies.push(publish(&consent, "TXT", "v=DMARC1"));
            }
            Ok(_) => {}
            Err(why) => {
                findings.skip("dmarc.external", why);
                return;
            }
        }
    }
    findings.faults(
        "dmarc.external",
        &missing,
        format!("{} agreed", hosts.join(", ")),
        format!("ask the owner of the other domain to {}", remedies.join("; ")),
    );
}

/// The host of a `mailto:` URI of RFC 7489 section 6.2, which may end with a size limit.
pub(super) fn mailto_host(uri: &str) -> Option<String> {
    let scheme = uri.get(..7).filter(|scheme| scheme.eq_ignore_ascii_case("mailto:"))?;
    let address = uri[scheme.len()..].split('!').next()?;
    let (local, host) = address.rsplit_once('@')?;
    if local.is_empty() || address.contains(char::is_whitespace) {
        return None;
    }
    if let Some((_, size)) = uri.split_once('!') {
        let digits = size.trim_end_matches(['k', 'm', 'g', 't', 'K', 'M', 'G', 'T']);
        if digits.is_empty() || size.len() - digits.len() > 1 || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
    }
    crate::dns::canonical(host).filter(|host| host.contains('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn report_addresses_are_read() {
        assert_eq!(mailto_host("mailto:a@B.test").as_deref(), Some("b.test"));
        assert_eq!(mailto_host("MAILTO:a@b.test!10m").as_deref(), Some("b.test"));
        for none in [
            "a@b.test",
            "mailto:b.test",
            "mailto:@b.test",
            "mailto:a@b.test!x",
            "mailto:a@b.test!10mm",
            "https://b.test",
            "mailto:a@b",
            "é",
        ] {
            assert_eq!(mailto_host(none), None, "{none}");
        }
    }
}
