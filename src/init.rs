//! `varde init`: a folder with everything a suite needs: the commented configuration, certificates, secrets, keys and
//! accounts. What is there already is left as it is, so that running it again mends a half-made folder.

mod certificates;
pub mod secrets;

use std::path::Path;

use aggregator::event::Time;
use anyhow::Context;
use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::pki;

/// The configuration that a newcomer gets.
pub const TEMPLATE: &str = include_str!("init/varde.toml");

/// An account that was generated, as `ready.json` lists it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// What to log in with.
    pub address: String,
    /// The password.
    pub password: String,
    /// `admin` (dashboard), `user` (a mailbox), `audit` (the watchers' mailbox), `sql` (ClickHouse, read-only).
    pub role: String,
}

/// Where the generated accounts are kept, relative to the folder.
const ACCOUNTS: &str = "secrets/accounts.json";

/// Makes the folder complete and gives its configuration back.
///
/// # Errors
/// Names the file that could not be written, or every fault of a configuration that was there before.
pub fn complete(dir: &Path, port_offset: u16) -> anyhow::Result<(Config, Vec<Account>)> {
    for folder in ["", "secrets", "keys", "tls", "run", "log"] {
        let path = dir.join(folder);
        std::fs::create_dir_all(&path).with_context(|| format!("the folder {} cannot be made", path.display()))?;
    }
    secrets::restrict_folder(&dir.join("secrets"))?;
    let file = dir.join("varde.toml");
    if !file.exists() {
        secrets::write_atomically(&file, TEMPLATE.as_bytes(), 0o644)?;
    }
    let config = Config::load_incomplete(&file, port_offset)?;
    certificates::complete(&config)?;
    pki::complete(&config, Time::now())?;
    for relative in [
        &config.events.aggregate.key_file,
        &config.events.clickhouse.password_file,
        &config.events.clickhouse.sql_password_file,
    ] {
        secrets::ensure(&config.path(relative), secrets::password)?;
    }
    secrets::ensure(&config.path(&config.alerts.operator_key_file), secrets::password)?;
    secrets::ensure(&config.path(&config.web.session_key_file), secrets::key_base64)?;
    secrets::ensure(&config.path(&config.site.mask_key_file), secrets::key_base64)?;
    for engineer in &config.alerts.engineer {
        if let Some(file) = &engineer.webhook_secret_file {
            secrets::ensure(&config.path(file), || Ok(format!("whsec_{}", secrets::key_base64()?)))?;
        }
    }
    let watchers = config.probes.watch.watcher.iter();
    let pairs = watchers.filter_map(|watcher| Some((watcher.key_file.as_ref()?, &watcher.public_key_file)));
    for (secret, public) in pairs.chain([(&config.node.key_file, &config.node.public_key_file)]) {
        if !secret.exists() || !public.exists() {
            probes::keys::SigningKey::write_pair(secret, public)
                .with_context(|| format!("the key pair {} cannot be written", secret.display()))?;
        }
    }
    let accounts = accounts(&config)?;
    Ok((Config::load(&file, port_offset)?, accounts))
}

/// The generated accounts; made once, then kept.
fn accounts(config: &Config) -> anyhow::Result<Vec<Account>> {
    let path = config.path(ACCOUNTS);
    let kept: Vec<Account> = match std::fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes).with_context(|| {
            format!("{} is not what `varde init` wrote; remove it to make new accounts", path.display())
        })?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => generate_accounts(config)?,
        Err(error) => return Err(error).with_context(|| format!("{} cannot be read", path.display())),
    };
    let mail = config.path("mail");
    std::fs::create_dir_all(&mail)?;
    for domain in &config.mail.domains {
        mail::admin::add_domain(&mail, domain)?;
    }
    if !path.exists() {
        for account in kept.iter().filter(|account| matches!(account.role.as_str(), "user" | "audit")) {
            mail::admin::create_account(&mail, &account.address, &account.password)?;
        }
        let operators: Vec<_> = kept
            .iter()
            .filter(|account| account.role == "admin")
            .map(|account| web::operator_entry(&account.address, web::Role::Admin, &account.password))
            .collect::<Result<_, _>>()?;
        let file = config.path(&config.web.operators_file);
        secrets::write_atomically(&file, &serde_json::to_vec_pretty(&operators)?, 0o600)?;
        // Written last: a folder without it is half made, and is made again.
        secrets::write_atomically(&path, &serde_json::to_vec_pretty(&kept)?, 0o600)?;
    }
    Ok(kept)
}

fn generate_accounts(config: &Config) -> anyhow::Result<Vec<Account>> {
    let domain = config.mail.domains.first().context("mail.domains names no domain")?;
    let mut accounts = vec![
        Account { address: format!("operator@{domain}"), password: secrets::password()?, role: "admin".to_owned() },
        Account { address: format!("alice@{domain}"), password: secrets::password()?, role: "user".to_owned() },
        Account { address: format!("bob@{domain}"), password: secrets::password()?, role: "user".to_owned() },
    ];
    for account in config.probes.target.iter().flat_map(|target| &target.account) {
        let ours =
            account.address.rsplit_once('@').is_some_and(|(_, of)| config.mail.domains.iter().any(|local| local == of));
        if ours {
            let file = config.path(&account.password_file);
            secrets::ensure(&file, secrets::password)?;
            let password = config.secret(&account.password_file)?;
            accounts.push(Account { address: account.address.clone(), password, role: "audit".to_owned() });
        }
    }
    let clickhouse = &config.events.clickhouse;
    accounts.push(Account {
        address: clickhouse.sql_user.clone(),
        password: config.secret(&clickhouse.sql_password_file)?,
        role: "sql".to_owned(),
    });
    Ok(accounts)
}
