//! Accounts, aliases and local domains in SQLite.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use argon2::password_hash::{PasswordHasher, PasswordVerifier, SaltString};
use argon2::{Algorithm, Argon2, Params, PasswordHash, Version};
use rusqlite::{OptionalExtension, Transaction, params};

use super::database::{Database, Failure, lock};
use super::{Account, AccountId, Directory, StoreError};

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS domain (name TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS account (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    address TEXT NOT NULL UNIQUE,
    password_hash TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS alias (
    address TEXT PRIMARY KEY,
    target TEXT NOT NULL
) WITHOUT ROWID;
";

/// Argon2id (RFC 9106) as OWASP's minimum asks: 19 MiB, two passes, one lane.
const MEMORY_KIB: u32 = 19_456;
const PASSES: u32 = 2;
/// An alias may name an alias; a longer chain is a loop.
const ALIAS_DEPTH: usize = 8;
/// Passwords that were right a moment ago. Watchers log in every few seconds; a hash costs tens of milliseconds.
const REMEMBERED: usize = 4096;
const REMEMBERED_FOR: Duration = Duration::from_secs(300);
/// A longer password is wrong without being hashed.
const PASSWORD_BYTES: usize = 1024;

/// The directory in an SQLite file.
pub struct SqliteDirectory {
    database: Database,
    /// Hashed for names that are unknown, so that they take as long.
    decoy: String,
    /// Keys the digests below: they are worth nothing outside this process.
    key: [u8; 32],
    remembered: Mutex<HashMap<[u8; 32], Instant>>,
}

impl SqliteDirectory {
    /// Opens the file, and makes it when it is not there.
    ///
    /// # Errors
    /// `Transient` when the disk refuses or the system gives no random octets.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let database = Database::open(path, SCHEMA)?;
        let mut key = [0; 32];
        fill_random(&mut key)?;
        Ok(Self { database, decoy: hash_password("")?, key, remembered: Mutex::default() })
    }

    /// Makes mail for `domain` end here. A second time changes nothing.
    ///
    /// # Errors
    /// `Transient` when the database refuses.
    pub fn add_domain(&self, domain: &str) -> Result<(), StoreError> {
        self.database.write("adding a domain", |transaction| {
            transaction.execute("INSERT OR IGNORE INTO domain (name) VALUES (?1)", [domain.to_lowercase()])?;
            Ok(())
        })
    }

    /// Makes an account, or gives the existing one this password. Its domain becomes local.
    ///
    /// # Errors
    /// `Transient` when the database refuses; `NotFound` when the address has no domain.
    pub fn put_account(&self, address: &str, password: &str) -> Result<Account, StoreError> {
        let address = address.to_lowercase();
        let (_, domain) =
            split(&address).ok_or_else(|| StoreError::NotFound(format!("domain in the address {address}")))?;
        let hash = hash_password(password)?;
        let id = self.database.write("adding an account", |transaction| {
            transaction.execute("INSERT OR IGNORE INTO domain (name) VALUES (?1)", [domain])?;
            let statement = "INSERT INTO account (address, password_hash) VALUES (?1, ?2)
                ON CONFLICT (address) DO UPDATE SET password_hash = excluded.password_hash RETURNING id";
            Ok(transaction.query_row(statement, params![address, hash], |row| row.get(0))?)
        })?;
        Ok(Account { id: AccountId(id), address })
    }

    /// Makes mail for `address` go to `target`, an account or another alias.
    ///
    /// # Errors
    /// `Transient` when the database refuses.
    pub fn put_alias(&self, address: &str, target: &str) -> Result<(), StoreError> {
        self.database.write("adding an alias", |transaction| {
            let statement = "INSERT OR REPLACE INTO alias (address, target) VALUES (?1, ?2)";
            transaction.execute(statement, params![address.to_lowercase(), target.to_lowercase()])?;
            Ok(())
        })
    }

    fn digest(&self, address: &str, password: &str, hash: &str) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        for part in [address, password, hash] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
        *hasher.finalize().as_bytes()
    }

    fn remembers(&self, digest: &[u8; 32], now: Instant) -> bool {
        lock(&self.remembered).get(digest).is_some_and(|at| now.saturating_duration_since(*at) < REMEMBERED_FOR)
    }

    fn remember(&self, digest: [u8; 32], now: Instant) {
        let mut remembered = lock(&self.remembered);
        if remembered.len() >= REMEMBERED {
            remembered.retain(|_, at| now.saturating_duration_since(*at) < REMEMBERED_FOR);
        }
        if remembered.len() < REMEMBERED {
            remembered.insert(digest, now);
        }
    }
}

impl Directory for SqliteDirectory {
    fn authenticate(&self, address: &str, password: &str) -> Result<Option<Account>, StoreError> {
        let address = address.to_lowercase();
        let found = self.database.read("looking up an account", |transaction| {
            let statement = "SELECT id, password_hash FROM account WHERE address = ?1";
            let row = |row: &rusqlite::Row<'_>| Ok((AccountId(row.get(0)?), row.get::<_, String>(1)?));
            Ok(transaction.query_row(statement, [&address], row).optional()?)
        })?;
        let hash = found.as_ref().map_or(&self.decoy, |(_, hash)| hash);
        let digest = self.digest(&address, password, hash);
        let now = Instant::now();
        let right = self.remembers(&digest, now) || verify(password, hash);
        let Some((id, _)) = found.filter(|_| right) else { return Ok(None) };
        self.remember(digest, now);
        Ok(Some(Account { id, address }))
    }

    fn resolve(&self, address: &str) -> Result<Option<Account>, StoreError> {
        self.database.read("resolving an address", |transaction| resolve(transaction, &address.to_lowercase()))
    }

    fn is_local_domain(&self, domain: &str) -> Result<bool, StoreError> {
        self.database.read("looking up a domain", |transaction| is_local(transaction, &domain.to_lowercase()))
    }

    fn may_send_as(&self, account: AccountId, address: &str) -> Result<bool, StoreError> {
        Ok(self.resolve(address)?.is_some_and(|owner| owner.id == account))
    }
}

/// The account behind an address, which is in lower case.
fn resolve(transaction: &Transaction<'_>, address: &str) -> Result<Option<Account>, Failure> {
    // RFC 5321 section 4.5.1: `<Postmaster>` without a domain is taken.
    if address == "postmaster" {
        return oldest_account(transaction, None);
    }
    let Some((local, domain)) = split(address) else { return Ok(None) };
    if !is_local(transaction, domain)? {
        return Ok(None);
    }
    if let Some(found) = follow(transaction, address)? {
        return Ok(Some(found));
    }
    match local.split_once('+') {
        Some((user, _)) if !user.is_empty() => follow(transaction, &[user, "@", domain].concat()),
        _ if local == "postmaster" => oldest_account(transaction, Some(domain)),
        _ => Ok(None),
    }
}

/// The account of this very address, through aliases.
fn follow(transaction: &Transaction<'_>, address: &str) -> Result<Option<Account>, Failure> {
    let mut address = address.to_owned();
    for _ in 0..ALIAS_DEPTH {
        let account = transaction
            .prepare_cached("SELECT id FROM account WHERE address = ?1")?
            .query_row([&address], |row| row.get(0))
            .optional()?;
        if let Some(id) = account {
            return Ok(Some(Account { id: AccountId(id), address }));
        }
        let target = transaction
            .prepare_cached("SELECT target FROM alias WHERE address = ?1")?
            .query_row([&address], |row| row.get(0))
            .optional()?;
        let Some(target) = target else { return Ok(None) };
        address = target;
    }
    Ok(None)
}

/// Who reads a postmaster's mail when nobody is named: the first account of the domain, or of all.
fn oldest_account(transaction: &Transaction<'_>, domain: Option<&str>) -> Result<Option<Account>, Failure> {
    let statement = "SELECT id, address FROM account
        WHERE ?1 IS NULL OR substr(address, -length(?1) - 1) = '@' || ?1 ORDER BY id LIMIT 1";
    let row = |row: &rusqlite::Row<'_>| Ok(Account { id: AccountId(row.get(0)?), address: row.get(1)? });
    Ok(transaction.prepare_cached(statement)?.query_row([domain], row).optional()?)
}

fn is_local(transaction: &Transaction<'_>, domain: &str) -> Result<bool, Failure> {
    Ok(transaction.prepare_cached("SELECT 1 FROM domain WHERE name = ?1")?.exists([domain])?)
}

fn split(address: &str) -> Option<(&str, &str)> {
    address.rsplit_once('@').filter(|(local, domain)| !local.is_empty() && !domain.is_empty())
}

fn argon2() -> Result<Argon2<'static>, argon2::Error> {
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::new(MEMORY_KIB, PASSES, 1, None)?))
}

fn hash_password(password: &str) -> Result<String, StoreError> {
    let mut salt = [0; 16];
    fill_random(&mut salt)?;
    let hashed = (|| {
        let salt = SaltString::encode_b64(&salt)?;
        Ok(argon2()?.hash_password(password.as_bytes(), &salt)?.to_string())
    })();
    hashed.map_err(|error: argon2::password_hash::Error| StoreError::transient("hashing a password")(error.to_string()))
}

/// Argon2's own comparison takes the same time wherever the difference is.
fn verify(password: &str, hash: &str) -> bool {
    let Ok(hash) = PasswordHash::new(hash) else { return false };
    password.len() <= PASSWORD_BYTES
        && argon2().is_ok_and(|argon2| argon2.verify_password(password.as_bytes(), &hash).is_ok())
}

fn fill_random(out: &mut [u8]) -> Result<(), StoreError> {
    aws_lc_rs::rand::fill(out).map_err(|error| StoreError::transient("asking for random octets")(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory() -> (tempfile::TempDir, SqliteDirectory) {
        let dir = tempfile::tempdir().unwrap();
        let directory = SqliteDirectory::open(&dir.path().join("directory.db")).unwrap();
        (dir, directory)
    }

    #[test]
    fn a_new_password_replaces_the_old_one_even_if_that_is_remembered() {
        let (_dir, directory) = directory();
        let made = directory.put_account("Ada@Varde.test", "one").unwrap();
        assert_eq!(made.address, "ada@varde.test");
        assert_eq!(directory.authenticate("ADA@varde.test", "one").unwrap(), Some(made.clone()));
        assert_eq!(directory.authenticate("ada@varde.test", "one").unwrap(), Some(made.clone()));
        assert_eq!(directory.put_account("ada@varde.test", "two").unwrap(), made);
        assert_eq!(directory.authenticate("ada@varde.test", "one").unwrap(), None);
        assert_eq!(directory.authenticate("ada@varde.test", "two").unwrap(), Some(made));
        assert_eq!(directory.authenticate("nobody@varde.test", "two").unwrap(), None);
        assert_eq!(directory.authenticate("nobody@varde.test", "").unwrap(), None);
    }

    #[test]
    fn addresses_resolve_through_aliases_detail_and_postmaster() {
        let (_dir, directory) = directory();
        let ada = directory.put_account("ada@varde.test", "x").unwrap();
        let bob = directory.put_account("bob@varde.test", "x").unwrap();
        directory.put_alias("sales@varde.test", "Bob@varde.test").unwrap();
        directory.put_alias("a@varde.test", "b@varde.test").unwrap();
        directory.put_alias("b@varde.test", "a@varde.test").unwrap();
        let check = |address: &str, expected: Option<&Account>| {
            assert_eq!(directory.resolve(address).unwrap().as_ref(), expected, "{address}");
        };
        check("ADA@VARDE.TEST", Some(&ada));
        check("ada+lists@varde.test", Some(&ada));
        check("sales+eu@varde.test", Some(&bob));
        check("postmaster@varde.test", Some(&ada));
        check("Postmaster", Some(&ada));
        check("a@varde.test", None);
        check("+x@varde.test", None);
        check("nobody@varde.test", None);
        check("ada@elsewhere.test", None);
        check("ada", None);
        assert!(directory.may_send_as(bob.id, "sales@varde.test").unwrap());
        assert!(!directory.may_send_as(bob.id, "ada@varde.test").unwrap());
        assert!(directory.is_local_domain("VARDE.test").unwrap());
        assert!(!directory.is_local_domain("oncall.test").unwrap());
    }

    #[test]
    fn another_opening_of_the_file_sees_new_accounts_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("directory.db");
        let (one, two) = (SqliteDirectory::open(&path).unwrap(), SqliteDirectory::open(&path).unwrap());
        let ada = one.put_account("ada@varde.test", "x").unwrap();
        assert_eq!(two.authenticate("ada@varde.test", "x").unwrap(), Some(ada));
    }
}
