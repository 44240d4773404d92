//! A certificate authority of the folder's own, and the mail system's certificate signed by it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::Context;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, SanType,
};

use super::secrets::write_atomically;
use crate::config::Config;

/// Where the authority's certificate lies, relative to the folder: what a client of the suite must trust.
const AUTHORITY: &str = "tls/ca.pem";

/// Makes the certificates that the configuration names, unless they are there. The authority's key is not kept: it
/// signs once, so nobody can ever sign with it again.
pub fn complete(config: &Config) -> anyhow::Result<()> {
    let (certificate, key) = (config.path(&config.mail.certificate), config.path(&config.mail.key));
    if certificate.exists() && key.exists() {
        return Ok(());
    }
    let now = chrono::Utc::now();
    let year = chrono::Datelike::year(&now);
    let mut authority = CertificateParams::default();
    authority.distinguished_name.push(DnType::CommonName, format!("Varde authority of {}", config.mail.hostname));
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    authority.not_before = rcgen::date_time_ymd(year - 1, 1, 1);
    authority.not_after = rcgen::date_time_ymd(year + 10, 1, 1);
    let authority =
        CertifiedIssuer::self_signed(authority, KeyPair::generate()?).context("the authority cannot sign itself")?;

    let names = vec![config.mail.hostname.clone(), "localhost".to_owned()];
    let mut server = CertificateParams::new(names)
        .with_context(|| format!("mail.hostname \"{}\" is no host name", config.mail.hostname))?;
    server.distinguished_name.push(DnType::CommonName, config.mail.hostname.clone());
    server.subject_alt_names.push(SanType::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST)));
    server.subject_alt_names.push(SanType::IpAddress(IpAddr::V6(Ipv6Addr::LOCALHOST)));
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    server.use_authority_key_identifier_extension = true;
    server.not_before = rcgen::date_time_ymd(year - 1, 1, 1);
    server.not_after = rcgen::date_time_ymd(year + 2, 1, 1);
    let server_key = KeyPair::generate()?;
    let signed = server.signed_by(&server_key, &authority).context("the server's certificate cannot be signed")?;

    write_atomically(&key, server_key.serialize_pem().as_bytes(), 0o600)?;
    write_atomically(&config.path(AUTHORITY), authority.pem().as_bytes(), 0o644)?;
    write_atomically(&certificate, format!("{}{}", signed.pem(), authority.pem()).as_bytes(), 0o644)
}
