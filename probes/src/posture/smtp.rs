//! What the mail servers say: names, extensions, whom they take mail for. RFC 5321.

use super::finding::{Findings, Seen, spec};
use super::survey::{FOREIGN, Host, Question, Survey, extension};
use super::{Audit, Family};
use crate::conversation::Fault;
use crate::conversation::smtp::Reply;

/// A smaller limit than this turns ordinary attachments away.
const SIZE_MIN: u64 = 10_000_000;

pub(super) const FAMILY: Family = Family {
    name: "smtp",
    title: "SMTP",
    checks: &[
        spec(
            "smtp.reachable",
            10,
            "Every MX answers",
            "Mail waits at the senders, or bounces, when a server does not answer.",
        ),
        spec(
            "smtp.banner",
            3,
            "The greeting begins with the host's name",
            "RFC 5321 section 4.2 wants a full name there; monitoring and some senders look at it.",
        ),
        spec(
            "smtp.version",
            1,
            "The greeting keeps the version to itself",
            "A version number tells an attacker which holes to try.",
        ),
        spec(
            "smtp.helo",
            3,
            "The answer to EHLO names a full host name",
            "A server that does not know its own name is misconfigured, and its own mail will be scored for it.",
        ),
        spec(
            "smtp.helo_resolves",
            3,
            "The name said in EHLO has the server's address",
            "Receivers compare the HELO name with the address when this host sends.",
        ),
        spec(
            "smtp.open_relay",
            10,
            "A stranger's mail to a stranger is refused",
            "An open relay is found by spammers within hours and lands on every blocklist.",
        ),
        spec(
            "smtp.relay_from_domain",
            9,
            "A forged sender of the domain does not open the relay",
            "A server that trusts the sender's address relays for everyone who knows it.",
        ),
        spec(
            "smtp.postmaster",
            5,
            "Mail to postmaster is taken",
            "RFC 5321 section 4.5.1 demands it; it is where others report that mail is broken.",
        ),
        spec("smtp.abuse", 3, "Mail to abuse is taken", "RFC 2142: complaints that bounce become blocklist entries."),
        spec("smtp.vrfy", 2, "VRFY does not confirm addresses", "It lets spammers collect addresses that exist."),
        spec("smtp.expn", 2, "EXPN does not list members", "It gives away who is on a mailing list."),
        spec("smtp.plain_auth", 6, "AUTH is not offered before TLS", "Passwords would cross the network in clear."),
        spec(
            "smtp.pipelining",
            1,
            "PIPELINING is offered",
            "RFC 2920: without it each message costs several round trips more.",
        ),
        spec(
            "smtp.eightbitmime",
            2,
            "8BITMIME is offered",
            "RFC 6152: without it senders must convert messages, which breaks DKIM signatures.",
        ),
        spec(
            "smtp.smtputf8",
            1,
            "SMTPUTF8 is offered",
            "RFC 6531: without it addresses with other than ASCII letters cannot write to the domain.",
        ),
        spec(
            "smtp.size",
            2,
            "SIZE is offered and not too small",
            "RFC 1870: a sender learns before the transfer that a message is too large.",
        ),
        spec(
            "smtp.enhanced_codes",
            1,
            "ENHANCEDSTATUSCODES is offered",
            "RFC 2034: without them senders must guess why mail was refused.",
        ),
    ],
    run: |audit| Box::pin(run(audit)),
};

async fn run(audit: &Audit) -> Findings {
    let mut findings = Findings::default();
    if let Some(why) = audit.mx.why_no_hosts() {
        findings.rest(why);
        return findings;
    }
    findings.worst("smtp.reachable", audit.hosts.iter().map(|host| {
        let seen = match &host.survey {
            Ok(survey) => Seen::Pass(format!("{} answers", survey.address)),
            Err(fault) => Seen::Fail(
                fault.detail.clone(),
                format!("start the mail server, and open TCP port {} of {} to the Internet (if outbound port 25 is blocked here, audit from elsewhere)", audit.options.smtp_port, host.name),
            ),
        };
        (host.name.clone(), seen)
    }));
    let servers = match audit.servers() {
        Ok(servers) => servers,
        Err(why) => {
            findings.rest(why);
            return findings;
        }
    };
    let mut each = |id, judge: &dyn Fn(&Host, &Survey) -> Seen| {
        findings.worst(id, servers.iter().map(|(host, survey)| (host.name.clone(), judge(host, survey))));
    };
    each("smtp.banner", &banner);
    each("smtp.version", &version);
    each("smtp.helo", &|host, survey| match is_full_name(&survey.helo) {
        true => Seen::Pass(survey.helo.clone()),
        false => Seen::Fail(
            format!("it calls itself \"{}\"", survey.helo),
            format!("set the server's own name to {} (Postfix: myhostname)", host.name),
        ),
    });
    each("smtp.open_relay", &|_, survey| relay(survey.reply(Question::Relay)));
    each("smtp.relay_from_domain", &|_, survey| relay(survey.reply(Question::RelayFromDomain)));
    each("smtp.postmaster", &|_, survey| mailbox(survey.reply(Question::Postmaster), "postmaster", &audit.domain));
    each("smtp.abuse", &|_, survey| match mailbox(survey.reply(Question::Abuse), "abuse", &audit.domain) {
        Seen::Fail(evidence, remedy) => Seen::Warn(evidence, remedy),
        seen => seen,
    });
    each("smtp.vrfy", &|_, survey| {
        discloses(survey.reply(Question::Verify), "VRFY", "Postfix: disable_vrfy_command = yes")
    });
    each("smtp.expn", &|_, survey| discloses(survey.reply(Question::Expand), "EXPN", "answer EXPN with 502"));
    each("smtp.plain_auth", &|_, survey| match extension(&survey.plain, "AUTH") {
        Some(mechanisms) => Seen::Fail(
            format!("AUTH {mechanisms} before TLS"),
            "offer AUTH on the submission ports only, or after TLS only (Postfix: smtpd_tls_auth_only = yes)"
                .to_owned(),
        ),
        None => Seen::Pass("not offered".to_owned()),
    });
    for (id, name) in [
        ("smtp.pipelining", "PIPELINING"),
        ("smtp.eightbitmime", "8BITMIME"),
        ("smtp.smtputf8", "SMTPUTF8"),
        ("smtp.enhanced_codes", "ENHANCEDSTATUSCODES"),
    ] {
        each(id, &|_, survey| match extension(&survey.offered, name) {
            Some(_) => Seen::Pass("offered".to_owned()),
            None => Seen::Warn(
                format!("{name} is not offered"),
                format!("turn {name} on in the server; take it off the list of extensions that are hidden"),
            ),
        });
    }
    each("smtp.size", &|_, survey| size(survey));
    let mut resolved = Vec::new();
    for (host, survey) in &servers {
        resolved.push((host.name.clone(), helo_resolves(audit, host, survey).await));
    }
    findings.worst("smtp.helo_resolves", resolved);
    findings
}

fn is_full_name(name: &str) -> bool {
    name.contains('.')
        && name
            .split('.')
            .all(|label| !label.is_empty() && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-'))
        && !name.chars().all(|c| c.is_ascii_digit() || c == '.')
        && !name.to_ascii_lowercase().ends_with("localdomain")
}

fn banner(host: &Host, survey: &Survey) -> Seen {
    let line = survey.banner.lines.first().map(String::as_str).unwrap_or_default();
    let name = line.split_ascii_whitespace().next().unwrap_or_default();
    match is_full_name(name) {
        true => Seen::Pass(survey.banner.quote()),
        false => Seen::Warn(
            format!("it greets with {}", survey.banner.quote()),
            format!("greet with \"220 {} ESMTP\" (Postfix: smtpd_banner = $myhostname ESMTP)", host.name),
        ),
    }
}

/// A version is a word after the host's name that has a digit, a dot and a digit in a row.
fn version(host: &Host, survey: &Survey) -> Seen {
    let words = survey.banner.lines.iter().flat_map(|line| line.split_ascii_whitespace().skip(1));
    let telling = |word: &&str| {
        let inner: Vec<char> = word.chars().collect();
        !word.contains(':')
            && !word.eq_ignore_ascii_case(&host.name)
            && inner.windows(3).any(|three| three[0].is_ascii_digit() && three[1] == '.' && three[2].is_ascii_digit())
    };
    match words.into_iter().find(telling) {
        Some(word) => {
            Seen::Warn(format!("the greeting names {word}"), format!("greet with \"220 {} ESMTP\" alone", host.name))
        }
        None => Seen::Pass(survey.banner.quote()),
    }
}

fn not_asked(reply: Option<&Result<Reply, Fault>>) -> Result<&Reply, Seen> {
    match reply {
        Some(Ok(reply)) => Ok(reply),
        Some(Err(fault)) => Err(Seen::Skip(fault.detail.clone())),
        None => Err(Seen::Skip("the conversation ended before".to_owned())),
    }
}

fn relay(reply: Option<&Result<Reply, Fault>>) -> Seen {
    match not_asked(reply) {
        Err(seen) => seen,
        Ok(reply) => match reply.code {
            200..300 => Seen::Fail(
                format!("RCPT TO:<{FOREIGN}> was answered with {}", reply.quote()),
                "refuse recipients of other domains unless the client has logged in (Postfix: smtpd_relay_restrictions = permit_mynetworks permit_sasl_authenticated reject_unauth_destination)".to_owned(),
            ),
            500..600 => Seen::Pass(format!("refused with {}", reply.quote())),
            _ => Seen::Skip(format!("it cannot tell yet: {}", reply.quote())),
        },
    }
}

fn mailbox(reply: Option<&Result<Reply, Fault>>, who: &str, domain: &str) -> Seen {
    match not_asked(reply) {
        Err(seen) => seen,
        Ok(reply) => match reply.code {
            200..300 => Seen::Pass(format!("taken with {}", reply.quote())),
            400..500 => Seen::Skip(format!("it cannot tell yet: {}", reply.quote())),
            _ => Seen::Fail(
                format!("mail to {who}@{domain} was answered with {}", reply.quote()),
                format!("make {who}@{domain} a mailbox or an alias of one that is read"),
            ),
        },
    }
}

fn discloses(reply: Option<&Result<Reply, Fault>>, command: &str, remedy: &str) -> Seen {
    match not_asked(reply) {
        Err(seen) => seen,
        Ok(reply) => match reply.code {
            250 | 251 => {
                Seen::Warn(format!("{command} postmaster was answered with {}", reply.quote()), remedy.to_owned())
            }
            _ => Seen::Pass(reply.quote()),
        },
    }
}

fn size(survey: &Survey) -> Seen {
    let remedy = "announce the limit that holds, 25 MB or more (Postfix: message_size_limit = 26214400)";
    match extension(&survey.offered, "SIZE").map(|limit| limit.trim().parse::<u64>().unwrap_or(0)) {
        None => Seen::Warn("SIZE is not offered".to_owned(), remedy.to_owned()),
        Some(0) => Seen::Pass("no limit is named".to_owned()),
        Some(limit) if limit < SIZE_MIN => Seen::Warn(format!("the limit is {limit} octets"), remedy.to_owned()),
        Some(limit) => Seen::Pass(format!("{limit} octets")),
    }
}

async fn helo_resolves(audit: &Audit, host: &Host, survey: &Survey) -> Seen {
    let name = survey.helo.to_ascii_lowercase();
    let remedy = format!("let the server call itself {}", host.name);
    if name == host.name {
        return Seen::Pass(format!("{name} is the MX itself"));
    }
    match audit.dns.addresses(&name).await {
        Err(status) => Seen::Warn(format!("{name}: {}", status.describe()), remedy),
        Ok(found) if host.addresses.iter().flatten().any(|ip| found.contains(ip)) => {
            Seen::Pass(format!("{name} has the same address"))
        }
        Ok(_) => Seen::Warn(format!("{name} has another address than {}", host.name), remedy),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_name_is_told_from_what_servers_say_instead() {
        for full in ["mx.example.test", "a-1.test"] {
            assert!(is_full_name(full), "{full}");
        }
        for none in ["mx", "localhost.localdomain", "[192.0.2.1]", "192.0.2.1", "mx..test", "*****.test", ""] {
            assert!(!is_full_name(none), "{none}");
        }
    }
}
