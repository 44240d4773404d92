//! How mail clients find their servers: SRV records (RFC 6186, RFC 8314), autoconfig, autodiscover.

use hickory_resolver::proto::rr::{RData, RecordType};

use super::finding::{Findings, publish, spec};
use super::https;
use super::{Audit, Family};
use crate::dns::text;

/// A client configuration is a page of XML.
const DOCUMENT_MAX: usize = 256 * 1024;
/// Targets of one service that are looked at.
const TARGETS_MAX: usize = 8;

pub(super) const FAMILY: Family = Family {
    name: "autoconfig",
    title: "Client configuration",
    checks: &[
        spec(
            "autoconfig.submission",
            2,
            "An SRV record names the submission server over TLS",
            "Mail clients then find it by themselves (RFC 8314 section 5.1).",
        ),
        spec(
            "autoconfig.access",
            2,
            "An SRV record names the IMAP or POP3 server over TLS",
            "Mail clients then find it by themselves (RFC 6186 section 3).",
        ),
        spec(
            "autoconfig.cleartext",
            2,
            "No SRV record leads to IMAP or POP3 without TLS alone",
            "Clients that follow it may send passwords in clear (RFC 8314 section 4).",
        ),
        spec(
            "autoconfig.targets",
            3,
            "Every target of an SRV record has an address and is no alias",
            "RFC 2782 forbids aliases there, and a target without an address leads nowhere.",
        ),
        spec(
            "autoconfig.mozilla",
            1,
            "There is a configuration for Thunderbird and its kin",
            "Without it users type server names and ports by hand.",
        ),
        spec(
            "autoconfig.autodiscover",
            1,
            "There is a name for Outlook's autodiscover",
            "Without it Outlook users type server names and ports by hand.",
        ),
    ],
    run: |audit| Box::pin(run(audit)),
};

/// A target of an SRV record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Service {
    /// Its host.
    pub host: String,
    /// Its port.
    pub port: u16,
}

/// The targets of a service, most preferred first; a single "." says that there is none (RFC 2782).
pub(super) async fn services(audit: &Audit, service: &str) -> Vec<Service> {
    let answer = audit.dns.ask(&format!("{service}.{}", audit.domain), RecordType::SRV).await;
    let mut targets: Vec<_> = answer
        .records
        .iter()
        .filter_map(|record| match &record.data {
            RData::SRV(srv) => Some((srv.priority, Service { host: text(&srv.target), port: srv.port })),
            _ => None,
        })
        .filter(|(_, service)| !service.host.is_empty())
        .collect();
    targets.sort_by_key(|(priority, _)| *priority);
    targets.into_iter().map(|(_, service)| service).take(TARGETS_MAX).collect()
}

async fn run(audit: &Audit) -> Findings {
    let mut findings = Findings::default();
    if let Some(why) = audit.mx.why_no_hosts() {
        findings.rest(why);
        return findings;
    }
    let domain = &audit.domain;
    let (submissions, submission, imaps, imap, pop3s, pop3) = tokio::join!(
        services(audit, "_submissions._tcp"),
        services(audit, "_submission._tcp"),
        services(audit, "_imaps._tcp"),
        services(audit, "_imap._tcp"),
        services(audit, "_pop3s._tcp"),
        services(audit, "_pop3._tcp"),
    );
    let list = |services: &[Service]| {
        services.iter().map(|service| format!("{}:{}", service.host, service.port)).collect::<Vec<_>>().join(", ")
    };
    let record = |service: &str, port: u16| {
        publish(&format!("{service}._tcp.{domain}"), "SRV", &format!("0 1 {port} mail.{domain}."))
    };
    match (submissions.is_empty(), submission.is_empty()) {
        (false, _) => findings.pass("autoconfig.submission", list(&submissions)),
        (true, false) => findings.warn(
            "autoconfig.submission",
            format!("with STARTTLS only: {}", list(&submission)),
            record("_submissions", 465),
        ),
        (true, true) => findings.warn("autoconfig.submission", "there is none", record("_submissions", 465)),
    }
    let secure = [&imaps[..], &pop3s[..]].concat();
    match secure.is_empty() {
        false => findings.pass("autoconfig.access", list(&secure)),
        true => findings.warn("autoconfig.access", "there is none", record("_imaps", 993)),
    }
    let mut cleartext = Vec::new();
    for (name, plain, secure) in [("_imap", &imap, &imaps), ("_pop3", &pop3, &pop3s)] {
        if !plain.is_empty() && secure.is_empty() {
            cleartext.push(format!("{name}._tcp leads to {}, and there is no {name}s._tcp", list(plain)));
        }
    }
    findings.doubts("autoconfig.cleartext", &cleartext, "there is none", record("_imaps", 993));
    let all = [submissions, submission, imaps, imap, pop3s, pop3].concat();
    targets(audit, &mut findings, all).await;
    mozilla(audit, &mut findings).await;
    autodiscover(audit, &mut findings).await;
    findings
}

async fn targets(audit: &Audit, findings: &mut Findings, mut all: Vec<Service>) {
    all.sort_by(|a, b| a.host.cmp(&b.host));
    all.dedup_by(|a, b| a.host == b.host);
    if all.is_empty() {
        findings.skip("autoconfig.targets", "there are no SRV records");
        return;
    }
    let mut faults = Vec::new();
    for service in &all {
        if let Some(target) = audit.dns.ask(&service.host, RecordType::A).await.aliases.first() {
            faults.push(format!("{} is an alias of {target}", service.host));
        } else if let Err(status) = audit.dns.addresses(&service.host).await {
            faults.push(format!("{}: {}", service.host, status.describe()));
        }
    }
    let names = all.into_iter().map(|service| service.host).collect::<Vec<_>>().join(", ");
    findings.faults(
        "autoconfig.targets",
        &faults,
        names,
        "name the host itself in the SRV record, and publish its address",
    );
}

async fn mozilla(audit: &Audit, findings: &mut Findings) {
    let domain = &audit.domain;
    let host = format!("autoconfig.{domain}");
    let (own, path) = ("/mail/config-v1.1.xml", "/.well-known/autoconfig/mail/config-v1.1.xml");
    let mut tried = Vec::new();
    for (host, path) in [(host.as_str(), own), (domain.as_str(), path)] {
        // The override of addresses stands for the mail host, not for names that do not exist.
        if let Err(status) = audit.dns.addresses(host).await {
            tried.push(format!("{host}: {}", status.describe()));
            continue;
        }
        match https::get(audit, host, path, DOCUMENT_MAX).await {
            Ok(document) if document.status == 200 && document.body.contains("<clientConfig") => {
                findings.pass("autoconfig.mozilla", format!("https://{host}{path}"));
                return;
            }
            Ok(document) => tried.push(format!("https://{host}{path}: HTTP {}, no <clientConfig>", document.status)),
            Err(fault) => tried.push(format!("https://{host}{path}: {}", fault.detail)),
        }
    }
    findings.warn(
        "autoconfig.mozilla",
        tried.join("; "),
        format!("serve a client configuration at https://{host}{own}"),
    );
}

async fn autodiscover(audit: &Audit, findings: &mut Findings) {
    let domain = &audit.domain;
    let named = services(audit, "_autodiscover._tcp").await;
    if let Some(service) = named.first() {
        findings
            .pass("autoconfig.autodiscover", format!("_autodiscover._tcp leads to {}:{}", service.host, service.port));
        return;
    }
    let host = format!("autodiscover.{domain}");
    match audit.dns.addresses(&host).await {
        Ok(_) => findings.pass("autoconfig.autodiscover", host),
        Err(status) => findings.warn(
            "autoconfig.autodiscover",
            format!("{host}: {}; no _autodiscover._tcp", status.describe()),
            publish(&format!("_autodiscover._tcp.{domain}"), "SRV", &format!("0 1 443 autodiscover.{domain}.")),
        ),
    }
}
