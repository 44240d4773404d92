//! Operators and their passwords.

use std::path::Path;

use argon2::password_hash::rand_core::OsRng;
use argon2::password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use argon2::{Argon2, password_hash};
use serde::{Deserialize, Serialize};

use crate::serve::ServeError;

/// What an operator may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// See and acknowledge.
    Admin,
    /// See.
    Viewer,
}

/// One entry of the operators file, which is a JSON array of them.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OperatorEntry {
    /// What the operator types: `operator@varde.test`. Capital letters make no difference.
    pub name: String,
    /// What the operator may do.
    pub role: Role,
    /// The password's Argon2id hash in PHC format: `$argon2id$v=19$…`.
    pub password_hash: String,
}

impl std::fmt::Debug for OperatorEntry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OperatorEntry").field("name", &self.name).field("role", &self.role).finish_non_exhaustive()
    }
}

/// Why an entry could not be made.
#[derive(Debug, thiserror::Error)]
#[error("the password of {name} cannot be hashed: {source}")]
pub struct EntryError {
    name: String,
    source: password_hash::Error,
}

/// Makes an entry for the operators file. Takes about a tenth of a second of one processor.
///
/// # Errors
/// The password is longer than Argon2 takes.
pub fn operator_entry(name: &str, role: Role, password: &str) -> Result<OperatorEntry, EntryError> {
    let salt = SaltString::generate(&mut OsRng);
    let hash = Argon2::default()
        .hash_password(password.as_bytes(), &salt)
        .map_err(|source| EntryError { name: name.to_owned(), source })?;
    Ok(OperatorEntry { name: name.to_owned(), role, password_hash: hash.to_string() })
}

/// All operators.
pub struct Operators {
    entries: Vec<OperatorEntry>,
    /// Nobody's password: what an unknown name is checked against, so that it takes as long as a known one.
    nobody: OperatorEntry,
}

impl Operators {
    /// Reads the operators file.
    ///
    /// # Errors
    /// It is missing, is not a JSON array of entries, or a hash in it is none.
    pub fn load(file: &Path) -> Result<Self, ServeError> {
        let wrong = |reason: String| ServeError::Operators { file: file.to_owned(), reason };
        let text = std::fs::read(file).map_err(|error| wrong(error.to_string()))?;
        let entries: Vec<OperatorEntry> = serde_json::from_slice(&text).map_err(|error| wrong(error.to_string()))?;
        for entry in &entries {
            let name = &entry.name;
            PasswordHash::new(&entry.password_hash).map_err(|error| {
                wrong(["password_hash of ", name, " is no Argon2 hash: ", &error.to_string()].concat())
            })?;
        }
        let nobody = operator_entry("", Role::Viewer, "nobody").map_err(|error| wrong(error.to_string()))?;
        Ok(Self { entries, nobody })
    }

    /// The entry of that name.
    pub fn find(&self, name: &str) -> Option<&OperatorEntry> {
        self.entries.iter().find(|entry| entry.name.eq_ignore_ascii_case(name))
    }

    /// The entry whose name and password these are. Blocks for the time of one hash, whatever the name.
    pub fn verify(&self, name: &str, password: &str) -> Option<&OperatorEntry> {
        let found = self.find(name);
        let hash = PasswordHash::new(&found.unwrap_or(&self.nobody).password_hash).ok()?;
        let right = Argon2::default().verify_password(password.as_bytes(), &hash).is_ok();
        found.filter(|_| right)
    }
}
