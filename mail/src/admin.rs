//! What the commands of an administrator do to the store.

use std::path::Path;

use crate::store::{StoreError, Stores};

/// Makes an account with its mailboxes, or gives the existing one this password. Its domain becomes local.
///
/// # Errors
/// `NotFound` when the address has no domain; `Transient` when the disk refuses.
pub fn create_account(data_dir: &Path, address: &str, password: &str) -> Result<(), StoreError> {
    let stores = Stores::open(data_dir)?;
    let account = stores.directory.put_account(address, password)?;
    stores.mailboxes.ensure_account(account.id)
}

/// Makes mail for a domain end here. A second time changes nothing.
///
/// # Errors
/// `Transient` when the disk refuses.
pub fn add_domain(data_dir: &Path, domain: &str) -> Result<(), StoreError> {
    Stores::open(data_dir)?.directory.add_domain(domain)
}
