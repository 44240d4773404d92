//! BIMI (draft-brand-indicators-for-message-identification): the logo that mailboxes show. It is optional.

use reqwest::Url;

use super::finding::{Findings, publish, spec};
use super::tags::{Tags, versioned};
use super::{Audit, Family};

pub(super) const FAMILY: Family = Family {
    name: "bimi",
    title: "BIMI",
    checks: &[
        spec("bimi.syntax", 1, "The record follows the grammar", "A record that cannot be read shows no logo."),
        spec("bimi.logo", 1, "The logo is an SVG file at an https address", "Mailboxes fetch nothing else."),
        spec(
            "bimi.evidence",
            1,
            "There is a certificate for the logo",
            "Large mailboxes show a logo only with a mark certificate.",
        ),
        spec(
            "bimi.dmarc",
            2,
            "The DMARC policy is enforced",
            "Mailboxes show a logo only for domains whose DMARC policy is quarantine or reject for all mail.",
        ),
    ],
    run: |audit| Box::pin(run(audit)),
};

async fn run(audit: &Audit) -> Findings {
    let mut findings = Findings::default();
    let name = format!("default._bimi.{}", audit.domain);
    let records = match versioned(&audit.dns, &name, "v=BIMI1").await {
        Ok(records) => records,
        Err(why) => {
            findings.rest(why);
            return findings;
        }
    };
    let Some(text) = records.first() else {
        findings.rest(format!("BIMI is optional, and there is no record at {name}."));
        return findings;
    };
    let tags = Tags::parse(text);
    let simple = publish(
        &name,
        "TXT",
        &format!("v=BIMI1; l=https://{}/logo.svg; a=https://{}/logo.pem", audit.domain, audit.domain),
    );
    let mut faults = tags.faults.clone();
    if tags.first() != Some(("v", "BIMI1")) {
        faults.push("it does not begin with v=BIMI1".to_owned());
    }
    if records.len() > 1 {
        faults.push(format!("there are {} records", records.len()));
    }
    if tags.get("l").is_none() {
        faults.push("there is no l=".to_owned());
    }
    findings.faults("bimi.syntax", &faults, text.clone(), simple.clone());
    match tags.get("l") {
        None => {}
        Some("") => findings.pass("bimi.logo", "l= is empty: the domain declines"),
        Some(logo) if is_https(logo, ".svg") => findings.pass("bimi.logo", logo),
        Some(logo) => findings.fail("bimi.logo", format!("l={logo}"), simple.clone()),
    }
    match tags.get("a").filter(|evidence| !evidence.is_empty()) {
        Some(evidence) if is_https(evidence, "") => findings.pass("bimi.evidence", evidence),
        Some(evidence) => findings.fail("bimi.evidence", format!("a={evidence} is no https address"), simple),
        None => findings.warn(
            "bimi.evidence",
            "there is no a=",
            "get a mark certificate (VMC or CMC) and name its address in a=",
        ),
    }
    let dmarc = versioned(&audit.dns, &format!("_dmarc.{}", audit.organisation()), "v=DMARC1").await;
    let dmarc = dmarc.unwrap_or_default().first().map(|text| Tags::parse(text)).unwrap_or_default();
    let policy = dmarc.get("p").unwrap_or("none").to_ascii_lowercase();
    let whole = dmarc.get("pct").is_none_or(|pct| pct == "100");
    let evidence = format!("p={policy}{}", if whole { "" } else { ", pct below 100" });
    match matches!(policy.as_str(), "quarantine" | "reject") && whole {
        true => findings.pass("bimi.dmarc", evidence),
        false => findings.fail(
            "bimi.dmarc",
            evidence,
            publish(
                &format!("_dmarc.{}", audit.organisation()),
                "TXT",
                &format!("v=DMARC1; p=quarantine; rua=mailto:dmarc@{}", audit.domain),
            ),
        ),
    }
    findings
}

fn is_https(address: &str, ending: &str) -> bool {
    Url::parse(address).is_ok_and(|url| url.scheme() == "https" && url.path().to_ascii_lowercase().ends_with(ending))
}
