//! Submission, RFC 6409, RFC 8314: the servers that the SRV records name, or port 587 of the first MX host.

use std::net::SocketAddr;

use super::autoconfig::{Service, services};
use super::finding::{Findings, Seen, spec};
use super::survey::{FOREIGN, dial, extension, step};
use super::{Audit, Family, tls};
use crate::conversation::smtp::{Reply, Smtp};
use crate::conversation::{Certificate, Fault, Tls};

/// Servers that are looked at.
const SERVERS_MAX: usize = 4;
/// RFC 6409 section 3.1.
const PORT: u16 = 587;

pub(super) const FAMILY: Family = Family {
    name: "submission",
    title: "Submission",
    checks: &[
        spec("submission.reachable", 4, "The submission server answers", "Users cannot send while it does not."),
        spec(
            "submission.tls",
            7,
            "Submission speaks TLS",
            "Passwords and mail would cross the network in clear (RFC 8314).",
        ),
        spec(
            "submission.certificate",
            6,
            "Its certificate is valid",
            "Mail clients warn their users, or refuse, and users learn to click warnings away.",
        ),
        spec(
            "submission.auth_needs_tls",
            8,
            "Without TLS, AUTH is refused",
            "A client that was led around TLS gives its password away.",
        ),
        spec("submission.auth_offered", 4, "With TLS, AUTH is offered", "Users could not log in."),
        spec(
            "submission.auth_required",
            9,
            "Without AUTH, nothing is relayed",
            "An open submission port is an open relay.",
        ),
    ],
    run: |audit| Box::pin(run(audit)),
};

/// What a submission server said.
struct Seance {
    /// What AUTH before TLS was answered with; none for implicit TLS.
    plain_auth: Option<Result<Reply, Fault>>,
    /// The certificate, or why there is no TLS.
    tls: Result<Certificate, Fault>,
    /// Whether AUTH is offered in the end.
    offered: bool,
    /// What a recipient elsewhere was answered with, without AUTH.
    relay: Result<Reply, Fault>,
}

async fn run(audit: &Audit) -> Findings {
    let mut findings = Findings::default();
    let mut servers =
        services(audit, "_submissions._tcp").await.into_iter().map(|service| (service, true)).collect::<Vec<_>>();
    servers.extend(services(audit, "_submission._tcp").await.into_iter().map(|service| (service, false)));
    let published = !servers.is_empty();
    if let (false, Some(host)) = (published, audit.hosts.first()) {
        servers.push((Service { host: host.name.clone(), port: PORT }, false));
    }
    servers.truncate(SERVERS_MAX);
    let mut seen = Vec::new();
    for (service, implicit) in servers {
        let place = format!("{}:{}", service.host, service.port);
        seen.push((place, service.clone(), look(audit, &service, implicit).await));
    }
    if !published && seen.iter().all(|(.., seance)| seance.is_err()) {
        findings.rest("no SRV record names a submission server, and the first MX host answers at none");
        return findings;
    }
    findings.worst(
        "submission.reachable",
        seen.iter().map(|(place, _, seance)| {
            (
                place.clone(),
                match seance {
                    Ok(_) => Seen::Pass("it answers".to_owned()),
                    Err(fault) => Seen::Fail(
                        fault.detail.clone(),
                        "start the server, open its port, or correct the SRV record".to_owned(),
                    ),
                },
            )
        }),
    );
    findings.rest("no submission server could be reached");
    let reached: Vec<_> =
        seen.iter().filter_map(|(place, service, seance)| Some((place, service, seance.as_ref().ok()?))).collect();
    let mut each = |id, judge: &dyn Fn(&Service, &Seance) -> Option<Seen>| {
        findings.worst(
            id,
            reached
                .iter()
                .filter_map(|(place, service, seance)| Some(((*place).clone(), judge(service, seance)?)))
                .collect::<Vec<_>>(),
        );
    };
    each("submission.tls", &|_, seance| {
        Some(match &seance.tls {
            Ok(certificate) => Seen::Pass(certificate.protocol.clone()),
            Err(fault) => {
                Seen::Fail(fault.detail.clone(), "turn TLS on (Postfix: smtpd_tls_security_level = encrypt)".to_owned())
            }
        })
    });
    each("submission.certificate", &|service, seance| {
        seance.tls.as_ref().ok().map(|certificate| valid(audit, &service.host, certificate))
    });
    each("submission.auth_needs_tls", &|_, seance| {
        Some(match seance.plain_auth.as_ref()? {
            Ok(reply) if (200..400).contains(&reply.code) => Seen::Fail(
                format!("AUTH PLAIN before TLS was answered with {}", reply.quote()),
                "allow AUTH after TLS only (Postfix: smtpd_tls_auth_only = yes)".to_owned(),
            ),
            Ok(reply) => Seen::Pass(format!("refused with {}", reply.quote())),
            Err(fault) => Seen::Skip(fault.detail.clone()),
        })
    });
    each("submission.auth_offered", &|_, seance| {
        seance.tls.is_ok().then(|| match seance.offered {
            true => Seen::Pass("offered".to_owned()),
            false => Seen::Fail(
                "AUTH is not offered".to_owned(),
                "connect the server to the password back end (Postfix: smtpd_sasl_auth_enable = yes)".to_owned(),
            ),
        })
    });
    each("submission.auth_required", &|_, seance| {
        Some(match &seance.relay {
            Ok(reply) if (200..300).contains(&reply.code) => Seen::Fail(
                format!("RCPT TO:<{FOREIGN}> without AUTH was answered with {}", reply.quote()),
                "demand AUTH (Postfix: smtpd_recipient_restrictions = permit_sasl_authenticated, reject)".to_owned(),
            ),
            Ok(reply) => Seen::Pass(format!("refused with {}", reply.quote())),
            Err(fault) => Seen::Skip(fault.detail.clone()),
        })
    });
    findings
}

fn valid(audit: &Audit, host: &str, certificate: &Certificate) -> Seen {
    match tls::chain(audit, certificate).and_then(|()| tls::is_for(host, certificate)) {
        Ok(()) if certificate.not_after > audit.now => Seen::Pass(format!("valid for {host}")),
        Ok(()) => {
            Seen::Fail(format!("it expired at {}", certificate.not_after), "renew it and reload the server".to_owned())
        }
        Err(fault) => {
            Seen::Fail(fault.detail, format!("give the server a certificate of a public authority for {host}"))
        }
    }
}

async fn look(audit: &Audit, service: &Service, implicit: bool) -> Result<Seance, Fault> {
    let ip = match audit.options.connect {
        Some(ip) => ip,
        None => {
            let found = audit.dns.addresses(&service.host).await.unwrap_or_default();
            let no_address = || Fault::new(crate::conversation::Class::NoRecords, "the host has no address");
            *found.iter().find(|ip| ip.is_ipv4()).or(found.first()).ok_or_else(no_address)?
        }
    };
    let mut conversation = dial(audit, SocketAddr::new(ip, service.port)).await?;
    let tls = Tls::looking(&service.host)?;
    let mut shown = None;
    if implicit {
        let (secured, certificate) = step(audit, conversation.start_tls(&tls)).await?;
        conversation = secured;
        shown = Some(certificate);
    }
    let mut smtp = Smtp::new(conversation);
    step(audit, smtp.greeting()).await?;
    step(audit, smtp.ehlo()).await?;
    let mut seance = Seance {
        plain_auth: None,
        tls: Err(Fault::new(crate::conversation::Class::TlsProtocol, "the server does not offer STARTTLS")),
        offered: false,
        relay: Err(Fault::new(crate::conversation::Class::Closed, "the conversation ended before")),
    };
    match shown {
        Some(certificate) => seance.tls = Ok(certificate),
        None => {
            // Without an initial response no password is sent, nor one guessed.
            let reply = step(audit, smtp.command("AUTH PLAIN")).await;
            if reply.as_ref().is_ok_and(|reply| reply.code == 334) {
                step(audit, smtp.command("*")).await?;
            }
            seance.plain_auth = Some(reply);
            if smtp.extension("STARTTLS").is_some() {
                let work = async {
                    smtp.ask_tls().await?;
                    let (mut smtp, certificate) = smtp.start_tls(&tls).await?;
                    smtp.ehlo().await?;
                    Ok((smtp, certificate))
                };
                match step(audit, work).await {
                    Ok((secured, certificate)) => {
                        smtp = secured;
                        seance.tls = Ok(certificate);
                    }
                    Err(fault) => {
                        seance.tls = Err(fault);
                        return Ok(seance);
                    }
                }
            }
        }
    }
    seance.offered = extension(smtp.extensions(), "AUTH").is_some();
    seance.relay = step(audit, async {
        let sender = smtp.command(&format!("MAIL FROM:<postmaster@{}>", audit.domain)).await?;
        if sender.code != 250 { Ok(sender) } else { smtp.command(&format!("RCPT TO:<{FOREIGN}>")).await }
    })
    .await;
    let _ = step(audit, smtp.command("RSET")).await;
    let _ = step(audit, smtp.quit()).await;
    Ok(seance)
}
