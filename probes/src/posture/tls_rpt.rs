//! SMTP TLS reporting, RFC 8460.

use super::dmarc::mailto_host;
use super::finding::{Findings, publish, spec};
use super::tags::{Tags, versioned};
use super::{Audit, Family};

pub(super) const FAMILY: Family = Family {
    name: "tls_rpt",
    title: "TLS reporting",
    checks: &[
        spec(
            "tls_rpt.exists",
            3,
            "TLS reports are asked for",
            "Without them nobody tells the domain that mail to it fails for its TLS.",
        ),
        spec(
            "tls_rpt.single",
            2,
            "There is only one record",
            "With two, senders act as if there were none (RFC 8460 section 3).",
        ),
        spec("tls_rpt.syntax", 2, "The record follows the grammar", "A record that cannot be read is ignored."),
        spec("tls_rpt.rua", 2, "The report addresses can be used", "Reports go to mailto: or https: addresses only."),
    ],
    run: |audit| Box::pin(run(audit)),
};

async fn run(audit: &Audit) -> Findings {
    let mut findings = Findings::default();
    if let Some(why) = audit.mx.why_no_hosts() {
        findings.rest(why);
        return findings;
    }
    let name = format!("_smtp._tls.{}", audit.domain);
    let remedy = publish(&name, "TXT", &format!("v=TLSRPTv1; rua=mailto:tls-reports@{}", audit.domain));
    let records = match versioned(&audit.dns, &name, "v=TLSRPTv1").await {
        Ok(records) => records,
        Err(why) => {
            findings.rest(why);
            return findings;
        }
    };
    let Some(text) = records.first() else {
        findings.warn(
            "tls_rpt.exists",
            format!("there is no TXT record at {name}. that begins with v=TLSRPTv1"),
            remedy,
        );
        findings.rest("there is no record");
        return findings;
    };
    findings.pass("tls_rpt.exists", text.clone());
    if records.len() > 1 {
        findings.fail("tls_rpt.single", records.join(" | "), format!("keep one of the TXT records at {name}."));
        findings.rest("there are several records, so that none counts");
        return findings;
    }
    findings.pass("tls_rpt.single", "one record");
    let tags = Tags::parse(text);
    let mut faults = tags.faults.clone();
    if tags.first() != Some(("v", "TLSRPTv1")) {
        faults.push("it does not begin with v=TLSRPTv1".to_owned());
    }
    if tags.get("rua").is_none() {
        faults.push("there is no rua=".to_owned());
    }
    findings.faults("tls_rpt.syntax", &faults, "read", remedy.clone());
    if let Some(value) = tags.get("rua") {
        let usable = |uri: &&str| {
            mailto_host(uri).is_some() || reqwest::Url::parse(uri).is_ok_and(|url| url.scheme() == "https")
        };
        let unusable = value.split(',').map(str::trim).filter(|uri| !usable(uri));
        let unusable: Vec<String> =
            unusable.map(|uri| format!("{uri} is neither a mailto: nor an https: address")).collect();
        findings.faults("tls_rpt.rua", &unusable, value, remedy);
    }
    findings
}
