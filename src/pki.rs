//! The site's own small certificate authority, and the certificates by which its watchers know each other.
//!
//! `watch.authority` (public, on every host) and `watch.authority_key` (on the host where certificates are made) are the
//! authority; a watcher's certificate carries its name and lasts a year. All writing is atomic, keys are mode 0600.

use std::path::{Path, PathBuf};

use aggregator::event::Time;
use anyhow::{Context, bail};
use probes::config::Watcher;
use probes::exchange::tls::{Identity, Shown};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use serde::Serialize;

use crate::config::Config;
use crate::init::secrets::write_atomically;

/// How long a watcher's certificate lasts.
const CERTIFICATE_DAYS: i64 = 365;
/// How long the authority does.
const AUTHORITY_DAYS: i64 = 3_650;

/// How a certificate stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// It is good for more than a month.
    Good,
    /// It is to be renewed.
    Due,
    /// It is over.
    Ended,
    /// There is no such file, or it holds no certificate for its watcher.
    Missing,
}

/// A certificate as `varde pki show` lists it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Listed {
    /// The watcher, or `authority`.
    pub name: String,
    /// Its file.
    pub file: PathBuf,
    /// How it stands.
    pub standing: Standing,
    /// When it ends.
    pub not_after: Option<Time>,
    /// Whole days until then.
    pub days_left: Option<i64>,
}

/// Every certificate of the site, the authority first. Empty: the watchers speak plain HTTP.
pub fn list(config: &Config, now: Time) -> Vec<Listed> {
    let watch = &config.probes.watch;
    let authority = watch.authority.iter().map(|file| listed("authority", file, None, now));
    let watchers = watch.watcher.iter().filter_map(|watcher| {
        let file = watcher.certificate.as_ref()?;
        Some(listed(&watcher.name, file, Some(&watcher.name), now))
    });
    authority.chain(watchers).collect()
}

fn listed(name: &str, file: &Path, holder: Option<&str>, now: Time) -> Listed {
    let shown = Shown::read(file).ok();
    let shown = shown.filter(|shown| holder.is_none_or(|holder| shown.names.iter().any(|name| name == holder)));
    let standing = match &shown {
        None => Standing::Missing,
        Some(shown) if shown.not_after <= now => Standing::Ended,
        Some(shown) if shown.is_due(now) => Standing::Due,
        Some(_) => Standing::Good,
    };
    Listed {
        name: name.to_owned(),
        file: file.to_owned(),
        standing,
        not_after: shown.as_ref().map(|shown| shown.not_after),
        days_left: shown.as_ref().map(|shown| shown.days_left(now)),
    }
}

/// Makes what is missing and renews what is due: the authority, unless it is there, and the certificates of all
/// watchers that name a file for one. Gives the watchers whose certificates are new. Without `watch.authority` there is
/// nothing to do.
///
/// # Errors
/// Names the file, and what to do.
pub fn complete(config: &Config, now: Time) -> anyhow::Result<Vec<String>> {
    let Some(authority) = &config.probes.watch.authority else { return Ok(Vec::new()) };
    if !authority.exists() {
        new_authority(config, authority, "")?;
    }
    let due: Vec<&Watcher> = config.probes.watch.watcher.iter().filter(|watcher| is_due(watcher, now)).collect();
    for watcher in &due {
        issue(config, watcher)?;
    }
    Ok(due.into_iter().map(|watcher| watcher.name.clone()).collect())
}

fn is_due(watcher: &Watcher, now: Time) -> bool {
    let (Some(certificate), Some(key)) = (&watcher.certificate, &watcher.certificate_key) else { return false };
    listed(&watcher.name, certificate, Some(&watcher.name), now).standing != Standing::Good || !key.exists()
}

/// Makes a new authority beside the one there is, which stays trusted until it ends, and new certificates for all.
///
/// # Errors
/// Names the file, and what to do.
pub fn replace_authority(config: &Config) -> anyhow::Result<()> {
    let authority = configured(config)?;
    let before = std::fs::read_to_string(authority).unwrap_or_default();
    new_authority(config, authority, &before)?;
    issue_all(config)
}

/// Makes new certificates for all watchers.
///
/// # Errors
/// Names the file, and what to do.
pub fn issue_all(config: &Config) -> anyhow::Result<()> {
    config.probes.watch.watcher.iter().try_for_each(|watcher| issue(config, watcher))
}

/// Makes a watcher's certificate and its key.
///
/// # Errors
/// Names the file, and what to do.
pub fn issue(config: &Config, watcher: &Watcher) -> anyhow::Result<()> {
    configured(config)?;
    let (Some(certificate), Some(key)) = (&watcher.certificate, &watcher.certificate_key) else {
        bail!(
            "watcher \"{}\" names no certificate and certificate_key; add both to its [[watch.watcher]]",
            watcher.name
        );
    };
    let mut params = CertificateParams::new(vec![watcher.name.clone()])
        .with_context(|| format!("\"{}\" cannot stand in a certificate", watcher.name))?;
    params.distinguished_name.push(DnType::CommonName, watcher.name.clone());
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    valid(&mut params, CERTIFICATE_DAYS);
    let own = KeyPair::generate()?;
    let signed = params.signed_by(&own, &issuer(config)?).context("the certificate cannot be signed")?;
    // The key first: between the two a watcher that starts is told that they do not fit, and not something worse.
    write_atomically(key, own.serialize_pem().as_bytes(), 0o600)?;
    write_atomically(certificate, signed.pem().as_bytes(), 0o644)
}

fn configured(config: &Config) -> anyhow::Result<&Path> {
    let authority = config.probes.watch.authority.as_deref();
    authority
        .context("watch.authority names no file; add it, and certificate and certificate_key to each [[watch.watcher]]")
}

fn key_file(config: &Config) -> anyhow::Result<&Path> {
    let key = config.probes.watch.authority_key.as_deref();
    key.context("watch.authority_key names no file; add it on the host where certificates are made")
}

/// The same for every authority, so that an issuer follows from its key alone.
fn authority_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "Varde watchers");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    valid(&mut params, AUTHORITY_DAYS);
    params
}

fn new_authority(config: &Config, file: &Path, trusted_before: &str) -> anyhow::Result<()> {
    let (key_file, key) = (key_file(config)?, KeyPair::generate()?);
    let own = authority_params().self_signed(&key).context("the authority cannot sign itself")?;
    write_atomically(key_file, key.serialize_pem().as_bytes(), 0o600)?;
    write_atomically(file, [&own.pem(), trusted_before].concat().as_bytes(), 0o644)
}

fn issuer(config: &Config) -> anyhow::Result<Issuer<'static, KeyPair>> {
    let file = key_file(config)?;
    let text = std::fs::read_to_string(file).with_context(|| {
        format!("the authority's key {} cannot be read; make certificates on the host that holds it", file.display())
    })?;
    let key = KeyPair::from_pem(&text).with_context(|| format!("{} holds no private key (PEM)", file.display()))?;
    Ok(Issuer::new(authority_params(), key))
}

/// From yesterday on, for clocks that are behind.
fn valid(params: &mut CertificateParams, days: i64) {
    let today = chrono::Utc::now().date_naive();
    let day = |offset: i64| {
        let date = today + chrono::Duration::days(offset);
        let (month, day) = (chrono::Datelike::month(&date), chrono::Datelike::day(&date));
        rcgen::date_time_ymd(chrono::Datelike::year(&date), month as u8, day as u8)
    };
    (params.not_before, params.not_after) = (day(-1), day(days));
}

/// What a watcher shows to the others. `None`: the site has no authority.
///
/// # Errors
/// A file is missing, or not this watcher's.
pub fn identity(config: &Config, watcher: &Watcher, now: Time) -> anyhow::Result<Option<Identity>> {
    let Some(authority) = &config.probes.watch.authority else { return Ok(None) };
    let (Some(certificate), Some(key)) = (&watcher.certificate, &watcher.certificate_key) else {
        bail!(
            "watch.authority is set, but watcher \"{}\" has no certificate and certificate_key; add both, then `varde pki issue {}`",
            watcher.name,
            watcher.name
        );
    };
    Ok(Some(Identity::read(authority, certificate, key, &watcher.name, now)?))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn site(folder: &Path) -> Config {
        crate::init::complete(folder, 0).unwrap().0
    }

    #[test]
    fn the_first_run_makes_everything_and_the_next_leaves_it_until_it_is_due() {
        let folder = tempfile::tempdir().unwrap();
        let (config, now) = (site(folder.path()), Time::now());
        let standings = |now| list(&config, now).into_iter().map(|listed| listed.standing).collect::<Vec<_>>();
        assert_eq!(standings(now), [Standing::Good; 4]);
        for secret in ["watchers-ca.key", "us-east.tls.key"] {
            let mode = std::fs::metadata(folder.path().join("secrets").join(secret)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{secret}");
        }
        assert_eq!(complete(&config, now).unwrap(), Vec::<String>::new());
        let late = now.plus_millis(340 * 86_400_000);
        assert_eq!(standings(late), [Standing::Good, Standing::Due, Standing::Due, Standing::Due]);
        assert_eq!(standings(now.plus_millis(366 * 86_400_000))[1..], [Standing::Ended; 3]);
        std::fs::remove_file(folder.path().join("tls/no-oslo.pem")).unwrap();
        assert_eq!(standings(now)[2], Standing::Missing);
        assert_eq!(complete(&config, now).unwrap(), ["no-oslo"]);
        assert_eq!(complete(&config, late).unwrap().len(), 3, "what is due is renewed");
    }

    #[test]
    fn another_watchers_certificate_and_one_that_has_ended_are_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let (config, now) = (site(folder.path()), Time::now());
        let [first, second, _] = &config.probes.watch.watcher[..] else { panic!() };
        assert!(identity(&config, first, now).unwrap().is_some());
        let borrowed = Watcher { name: second.name.clone(), ..first.clone() };
        let said = identity(&config, &borrowed, now).unwrap_err().to_string();
        assert!(
            said.ends_with(
                "is a certificate for us-east, not for watcher \"no-oslo\"; `varde pki issue no-oslo` makes one"
            ),
            "{said}"
        );
        let said = identity(&config, first, now.plus_millis(400 * 86_400_000)).unwrap_err().to_string();
        assert!(said.contains("`varde pki rotate` renews it"), "{said}");
        std::fs::remove_file(folder.path().join("secrets/watchers-ca.key")).unwrap();
        let said = format!("{:#}", issue(&config, first).unwrap_err());
        assert!(said.contains("make certificates on the host that holds it"), "{said}");
    }

    #[test]
    fn a_new_authority_is_trusted_beside_the_old_one() {
        let folder = tempfile::tempdir().unwrap();
        let (config, now) = (site(folder.path()), Time::now());
        replace_authority(&config).unwrap();
        let authority = std::fs::read_to_string(folder.path().join("tls/watchers-ca.pem")).unwrap();
        assert_eq!(authority.matches("BEGIN CERTIFICATE").count(), 2);
        assert!(config.probes.watch.watcher.iter().all(|watcher| identity(&config, watcher, now).unwrap().is_some()));
    }
}
