//! STARTTLS of the mail servers: certificates, versions, cipher suites. RFC 3207, RFC 8996, RFC 9325.

use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use std::time::Duration;
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::public_key::PublicKey;

use super::dane;
use super::finding::{Findings, Seen, spec};
use super::hello::{Answer, Offer};
use super::survey::{Host, StartTls, Survey};
use super::{Audit, Family};
use crate::conversation::{Certificate, Fault};

/// Days before the end from which on a certificate should have been renewed.
const RENEW_DAYS: i64 = 14;
/// Bits of an RSA key.
const RSA_BITS_MIN: usize = 2_048;

pub(super) const FAMILY: Family = Family {
    name: "tls",
    title: "TLS of the mail servers",
    checks: &[
        spec(
            "tls.starttls",
            8,
            "STARTTLS is offered and works",
            "Without it every message crosses the Internet in clear.",
        ),
        spec(
            "tls.chain",
            5,
            "The certificate leads to a trusted root",
            "Senders with MTA-STS, and strict ones, refuse a certificate of an unknown issuer.",
        ),
        spec(
            "tls.name",
            5,
            "The certificate is for the MX's name",
            "Senders with MTA-STS refuse a certificate for another name.",
        ),
        spec(
            "tls.expiry",
            6,
            "The certificate is valid, and will be in two weeks",
            "Strict senders hold mail back from the minute a certificate expires.",
        ),
        spec(
            "tls.key",
            4,
            "The certificate's key is strong enough",
            "RSA below 2048 bits can be broken, and libraries refuse it.",
        ),
        spec(
            "tls.signature",
            3,
            "The certificate is not signed with SHA-1 or MD5",
            "Such signatures can be forged, and libraries refuse them.",
        ),
        spec("tls.tls13", 2, "TLS 1.3 is spoken", "It is faster and has no weak options left (RFC 9325)."),
        spec("tls.tls10", 4, "TLS 1.0 is refused", "RFC 8996 deprecates it: it cannot be made safe."),
        spec("tls.tls11", 4, "TLS 1.1 is refused", "RFC 8996 deprecates it: it cannot be made safe."),
        spec(
            "tls.ciphers",
            5,
            "Broken cipher suites are refused",
            "RC4, 3DES, export, anonymous and NULL suites protect nothing.",
        ),
        spec(
            "tls.forward_secrecy",
            2,
            "Cipher suites without forward secrecy are refused",
            "Who steals the key later reads all mail recorded today.",
        ),
    ],
    run: |audit| Box::pin(run(audit)),
};

async fn run(audit: &Audit) -> Findings {
    let mut findings = Findings::default();
    let servers = match audit.servers() {
        Ok(servers) => servers,
        Err(why) => {
            findings.rest(why);
            return findings;
        }
    };
    findings.worst("tls.starttls", servers.iter().map(|(host, survey)| {
        let seen = match &survey.tls {
            StartTls::Done(certificate) => Seen::Pass(format!("{} {}", certificate.protocol, certificate.cipher)),
            StartTls::NotOffered => Seen::Fail("STARTTLS is not offered".to_owned(), format!("give the server a certificate for {} and turn STARTTLS on (Postfix: smtpd_tls_security_level = may)", host.name)),
            StartTls::Failed(fault) => Seen::Fail(fault.detail.clone(), "mend the certificate and key that the server loads; its log says what is wrong".to_owned()),
        };
        (host.name.clone(), seen)
    }));
    let shown: Vec<_> =
        servers.iter().filter_map(|(host, survey)| Some((*host, *survey, survey.certificate()?))).collect();
    findings.rest("no server speaks TLS");
    let mut pinned = Vec::new();
    for (host, _, certificate) in &shown {
        // RFC 7672 section 3.1.1: where DANE-EE matches, name, dates and issuer do not count.
        pinned.push(dane::pins(audit, &host.name, certificate).await);
    }
    let mut each = |id, judge: &dyn Fn(&Host, &Certificate) -> Seen| {
        let seen = shown.iter().zip(&pinned).map(|((host, _, certificate), pinned)| {
            let seen = match judge(host, certificate) {
                Seen::Fail(evidence, _) if *pinned && matches!(id, "tls.chain" | "tls.name") => {
                    Seen::Pass(format!("{evidence}; DANE pins the key, which is what counts"))
                }
                seen => seen,
            };
            (host.name.clone(), seen)
        });
        findings.worst(id, seen.collect::<Vec<_>>());
    };
    each("tls.chain", &|_, certificate| {
        judge(
            chain(audit, certificate),
            format!("issued by {}", certificate.issuer),
            "install the issuer's whole chain, leaf first, or get a certificate of a public authority",
        )
    });
    each("tls.name", &|host, certificate| {
        judge(
            name(host, certificate),
            format!("for {}", host.name),
            &format!("get a certificate that names {}", host.name),
        )
    });
    each("tls.expiry", &|_, certificate| expiry(audit, certificate));
    each("tls.key", &|_, certificate| key(certificate));
    each("tls.signature", &|_, certificate| signature(certificate));
    each("tls.tls13", &|_, certificate| match certificate.protocol.as_str() {
        "TLSv1_3" => Seen::Pass(certificate.cipher.clone()),
        other => Seen::Warn(
            format!("the best that is spoken is {other}"),
            "update the TLS library, and do not exclude TLSv1.3".to_owned(),
        ),
    });
    for (id, offer) in [
        ("tls.tls10", Offer::Tls10),
        ("tls.tls11", Offer::Tls11),
        ("tls.ciphers", Offer::Broken),
        ("tls.forward_secrecy", Offer::StaticRsa),
    ] {
        findings.worst(
            id,
            shown.iter().map(|(host, survey, _)| (host.name.clone(), old(survey, offer))).collect::<Vec<_>>(),
        );
    }
    findings
}

fn judge(result: Result<(), Fault>, good: String, remedy: &str) -> Seen {
    match result {
        Ok(()) => Seen::Pass(good),
        Err(fault) => Seen::Fail(fault.detail, remedy.to_owned()),
    }
}

fn parsed(certificate: &Certificate) -> Result<(ParsedCertificate<'_>, &[CertificateDer<'static>]), Fault> {
    let unreadable = || Fault::new(crate::conversation::Class::TlsProtocol, "the certificate cannot be read");
    let (leaf, rest) = certificate.der.split_first().ok_or_else(unreadable)?;
    Ok((ParsedCertificate::try_from(leaf).map_err(|_| unreadable())?, rest))
}

/// Whether the chain leads to a root. The dates of the leaf are another check's: it is asked at an instant within them.
pub(super) fn chain(audit: &Audit, certificate: &Certificate) -> Result<(), Fault> {
    let (leaf, rest) = parsed(certificate)?;
    let at = audit.now.seconds().min(certificate.not_after.seconds() - 1).max(0);
    let at = UnixTime::since_unix_epoch(Duration::from_secs(at.unsigned_abs()));
    let algorithms = rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms.all;
    verify_server_cert_signed_by_trust_anchor(&leaf, &audit.roots, rest, at, algorithms)
        .map_err(|error| Fault::from_error(&error))
}

/// Whether the certificate is for the host's name.
fn name(host: &Host, certificate: &Certificate) -> Result<(), Fault> {
    is_for(&host.name, certificate)
}

/// Whether the certificate is for a name.
pub(super) fn is_for(name: &str, certificate: &Certificate) -> Result<(), Fault> {
    let (leaf, _) = parsed(certificate)?;
    let name = ServerName::try_from(name).map_err(|error| Fault::from_error(&error))?;
    verify_server_name(&leaf, &name).map_err(|error| Fault::from_error(&error))
}

fn expiry(audit: &Audit, certificate: &Certificate) -> Seen {
    let days = certificate.days_left(audit.now);
    let remedy = "renew it and reload the server; let a timer do both (certbot renew --deploy-hook)".to_owned();
    let evidence = format!("{days} days left, until {}", certificate.not_after);
    if certificate.not_after <= audit.now {
        Seen::Fail(format!("it expired at {}", certificate.not_after), remedy)
    } else if days < RENEW_DAYS {
        Seen::Warn(evidence, remedy)
    } else {
        Seen::Pass(evidence)
    }
}

fn key(certificate: &Certificate) -> Seen {
    let Some(Ok((_, leaf))) = certificate.der.first().map(|der| X509Certificate::from_der(der)) else {
        return Seen::Skip("the certificate cannot be read".to_owned());
    };
    match leaf.public_key().parsed() {
        Ok(PublicKey::RSA(key)) if key.key_size() < RSA_BITS_MIN => Seen::Fail(
            format!("RSA of {} bits", key.key_size()),
            "get a certificate for an ECDSA P-256 key, or for RSA of 2048 bits or more".to_owned(),
        ),
        Ok(PublicKey::RSA(key)) => Seen::Pass(format!("RSA of {} bits", key.key_size())),
        Ok(PublicKey::EC(point)) => Seen::Pass(format!("ECDSA of {} bits", point.key_size())),
        _ => Seen::Pass(format!("key of algorithm {}", leaf.public_key().algorithm.algorithm)),
    }
}

fn signature(certificate: &Certificate) -> Seen {
    /// RFC 3279 section 2.2: md5, sha1 with RSA, DSA, ECDSA.
    const BROKEN: &[&str] = &["1.2.840.113549.1.1.4", "1.2.840.113549.1.1.5", "1.2.840.10040.4.3", "1.2.840.10045.4.1"];
    let Some(Ok((_, leaf))) = certificate.der.first().map(|der| X509Certificate::from_der(der)) else {
        return Seen::Skip("the certificate cannot be read".to_owned());
    };
    let algorithm = leaf.signature_algorithm.algorithm.to_id_string();
    if BROKEN.contains(&algorithm.as_str()) {
        Seen::Fail(
            format!("signed with {algorithm}"),
            "get a certificate that is signed with SHA-256 or better".to_owned(),
        )
    } else {
        Seen::Pass(format!("signature algorithm {algorithm}"))
    }
}

fn old(survey: &Survey, offer: Offer) -> Seen {
    let remedy = match offer {
        Offer::Tls10 | Offer::Tls11 => "allow TLS 1.2 and newer only (Postfix: smtpd_tls_protocols = >=TLSv1.2)",
        Offer::Broken => {
            "exclude them (Postfix: smtpd_tls_exclude_ciphers = aNULL, eNULL, EXPORT, DES, 3DES, RC4, MD5)"
        }
        Offer::StaticRsa => "exclude RSA key exchange (Postfix: smtpd_tls_exclude_ciphers = kRSA)",
    };
    match survey.old.iter().find(|(this, _)| *this == offer).map(|(_, answer)| answer) {
        Some(Ok(Answer::Refused)) => Seen::Pass(format!("{} refused", offer.name())),
        Some(Ok(Answer::Accepted(version, suite))) => {
            let evidence = format!("{} accepted: version {version:#06x}, cipher suite {suite:#06x}", offer.name());
            match offer {
                Offer::StaticRsa => Seen::Warn(evidence, remedy.to_owned()),
                _ => Seen::Fail(evidence, remedy.to_owned()),
            }
        }
        Some(Err(fault)) => Seen::Skip(fault.detail.clone()),
        None => Seen::Skip("not asked".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use aggregator::event::Time;
    use rustls::pki_types::pem::PemObject;

    use super::*;

    /// RSA of 1024 bits, signed with SHA-1: no TLS library of today would serve it.
    const OLD: &str = "\
-----BEGIN CERTIFICATE-----\n\
MIICFDCCAX2gAwIBAgIUYXhBYJQCqrrDtQjrLYlChLwlS/YwDQYJKoZIhvcNAQEF\n\
BQAwGzEZMBcGA1UEAwwQb2xkLmV4YW1wbGUudGVzdDAgFw0yNjExMjIxMjA2MjVa\n\
GA8yMTI2MTAyOTEyMDYyNVowGzEZMBcGA1UEAwwQb2xkLmV4YW1wbGUudGVzdDCB\n\
nzANBgkqhkiG9w0BAQEFAAOBjQAwgYkCgYEAyET0+0I86Q/z+Fz3/nilOJtjOOSN\n\
PiLi3SA9C9fn6YLkm3gtZ8Pi6cWsX8hwl8FbQdrkHwEPLDmbobwCS2yZu1p/KvJ1\n\
4QERCeDDVxFEDOgwMLdCy4CfhlIqcj7gGRLOBY99wHuZn14FmyigWbE1ccEO3wsY\n\
GdPyH3G9xXr//XMCAwEAAaNTMFEwHQYDVR0OBBYEFLRyzFvdpAaL8DspWnUu3e0K\n\
1u7pMB8GA1UdIwQYMBaAFLRyzFvdpAaL8DspWnUu3e0K1u7pMA8GA1UdEwEB/wQF\n\
MAMBAf8wDQYJKoZIhvcNAQEFBQADgYEArMxL6qRsIsMzcyRqpXBN28A/FpNuS8OS\n\
AZQiAb/LC4if2Z8BY9UWJjaeU0bAZsPJriEoDzP5IT5eu8n1cS9FdvVs0ArGZfge\n\
pm/G1rA4eCW7WDLuF5zCp+53FHp4S+JJQ8Qze2EJhLHN9POIL+JVvLYOgdW2Rfur\n\
4rC4mj/M+Dg=\n\
-----END CERTIFICATE-----\n";

    #[test]
    fn a_short_key_and_a_broken_signature_are_noticed() {
        let certificate = Certificate {
            subject: String::new(),
            issuer: String::new(),
            not_after: Time(0),
            chain: 1,
            protocol: "TLSv1_2".to_owned(),
            cipher: String::new(),
            der: vec![CertificateDer::from_pem_slice(OLD.as_bytes()).unwrap()],
        };
        assert!(matches!(key(&certificate), Seen::Fail(evidence, _) if evidence == "RSA of 1024 bits"));
        assert!(matches!(signature(&certificate), Seen::Fail(..)));
    }
}
