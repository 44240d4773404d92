//! Who is logged in to the webmail, kept where every web process sees it and a restart does not forget it.

use std::path::Path;

use aggregator::event::Time;
use rusqlite::{OptionalExtension, params};

use super::database::Database;
use super::{Account, AccountId, StoreError};

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS session (
    digest BLOB PRIMARY KEY,
    account INTEGER NOT NULL,
    address TEXT NOT NULL,
    began INTEGER NOT NULL,
    expires INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS session_account ON session (account, began);
";

/// How long a login lasts.
const LIFETIME_MS: i64 = 12 * 3_600_000;
/// Logins that one account may have at a time; past it the oldest ends.
const PER_ACCOUNT: u32 = 1_000;

/// A login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebSession {
    /// Who.
    pub account: Account,
    /// Since when.
    pub began: Time,
}

/// The logins of the webmail, in an SQLite file. Only digests of their tokens are kept.
pub struct WebSessions {
    database: Database,
}

impl WebSessions {
    /// Opens the file, and makes it when it is not there.
    ///
    /// # Errors
    /// `Transient` when the disk refuses.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Ok(Self { database: Database::open(path, SCHEMA)? })
    }

    /// Begins a login under a token that nobody can guess.
    ///
    /// # Errors
    /// `Transient` when the database refuses.
    pub fn begin(&self, token: &str, account: &Account, now: Time) -> Result<(), StoreError> {
        self.database.write("beginning a web session", |transaction| {
            transaction.execute("DELETE FROM session WHERE expires <= ?1", [now.0])?;
            transaction.execute(
                "DELETE FROM session WHERE digest IN (SELECT digest FROM session WHERE account = ?1
                    ORDER BY began DESC LIMIT -1 OFFSET ?2)",
                params![account.id.0, PER_ACCOUNT - 1],
            )?;
            transaction.execute(
                "INSERT INTO session (digest, account, address, began, expires) VALUES (?1, ?2, ?3, ?4, ?5)",
                params![digest(token), account.id.0, account.address, now.0, now.plus_millis(LIFETIME_MS).0],
            )?;
            Ok(())
        })
    }

    /// The login of this token, unless it has ended.
    ///
    /// # Errors
    /// `Transient` when the database refuses.
    pub fn find(&self, token: &str, now: Time) -> Result<Option<WebSession>, StoreError> {
        self.database.read("looking up a web session", |transaction| {
            let statement = "SELECT account, address, began FROM session WHERE digest = ?1 AND expires > ?2";
            let row = |row: &rusqlite::Row<'_>| {
                let account = Account { id: AccountId(row.get(0)?), address: row.get(1)? };
                Ok(WebSession { account, began: Time(row.get(2)?) })
            };
            Ok(transaction.prepare_cached(statement)?.query_row(params![digest(token), now.0], row).optional()?)
        })
    }

    /// Ends a login.
    ///
    /// # Errors
    /// `Transient` when the database refuses.
    pub fn end(&self, token: &str) -> Result<(), StoreError> {
        self.database.write("ending a web session", |transaction| {
            transaction.execute("DELETE FROM session WHERE digest = ?1", [digest(token)])?;
            Ok(())
        })
    }
}

fn digest(token: &str) -> [u8; 32] {
    *blake3::hash(token.as_bytes()).as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_lasts_over_a_restart_until_it_ends_or_expires() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("web.db");
        let account = Account { id: AccountId(1), address: "ada@varde.test".to_owned() };
        WebSessions::open(&path).unwrap().begin("t", &account, Time(0)).unwrap();
        let sessions = WebSessions::open(&path).unwrap();
        assert_eq!(sessions.find("t", Time(1)).unwrap().unwrap().account, account);
        assert_eq!(sessions.find("u", Time(1)).unwrap(), None);
        assert_eq!(sessions.find("t", Time(0).plus_millis(LIFETIME_MS)).unwrap(), None);
        sessions.end("t").unwrap();
        assert_eq!(sessions.find("t", Time(1)).unwrap(), None);
    }
}
