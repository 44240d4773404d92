//! Making, deleting, renaming, subscribing, STATUS, quota; and how names are written on the wire.

use super::{Done, Session, State, no, ok};
use crate::imap::command::StatusItem;
use crate::imap::{utf7, write};
use crate::store::{Account, AccountId, Mailbox, SpecialUse};

/// Octets of a mailbox name.
const NAME_BYTES: usize = 512;
/// Levels of a mailbox name.
const LEVELS: usize = 32;

impl Session {
    /// The name that the client means.
    pub(super) fn decode(&self, name: &[u8]) -> Result<String, Done> {
        const WRONG: &str = "[CANNOT] The name is neither modified UTF-7 nor UTF-8";
        let text = std::str::from_utf8(name).map_err(|_| no(WRONG))?;
        match self.rev2 || !text.is_ascii() {
            true => Ok(text.to_owned()),
            false => utf7::decode(text).ok_or_else(|| no(WRONG)),
        }
    }

    /// Appends a name as the client reads names.
    pub(super) fn put_name(&mut self, name: &str) {
        match self.rev2 {
            true => write::astring(&mut self.out, name),
            false => write::astring(&mut self.out, &utf7::encode(name)),
        }
    }

    pub(super) fn create(&mut self, account: AccountId, name: &[u8], special: Option<&str>) -> Result<Done, Done> {
        let name = self.decode(name)?;
        let name = checked(&name)?;
        let special = match special {
            None => None,
            Some(special) => {
                let special = SpecialUse::from_name(special).ok_or_else(|| no("[USEATTR] There is no such use"))?;
                if self.stores.mailboxes.list(account)?.iter().any(|mailbox| mailbox.special == Some(special)) {
                    return Err(no("[USEATTR] Another mailbox has this use"));
                }
                Some(special)
            }
        };
        self.stores.mailboxes.create(account, name, special)?;
        Ok(ok("CREATE done"))
    }

    pub(super) fn delete(&mut self, account: &Account, name: &[u8]) -> Result<Done, Done> {
        let name = self.decode(name)?;
        if name.eq_ignore_ascii_case("INBOX") {
            return Err(no("[CANNOT] INBOX stays"));
        }
        let mailbox = self.stores.mailboxes.open_mailbox(account.id, &name)?;
        self.stores.mailboxes.delete(account.id, &name)?;
        if matches!(&self.state, State::Selected(_, selected) if selected.mailbox.id == mailbox.id) {
            self.state = State::Authenticated(account.clone());
            self.untagged("OK [CLOSED] The mailbox that was open is deleted");
        }
        Ok(ok("DELETE done"))
    }

    pub(super) fn rename(&mut self, account: AccountId, from: &[u8], to: &[u8]) -> Result<Done, Done> {
        let (from, to) = (self.decode(from)?, self.decode(to)?);
        self.stores.mailboxes.rename(account, from.trim_end_matches('/'), checked(&to)?)?;
        Ok(ok("RENAME done"))
    }

    pub(super) fn subscribe(&mut self, account: AccountId, name: &[u8], wanted: bool) -> Result<Done, Done> {
        let name = self.decode(name)?;
        let name = name.trim_end_matches('/');
        if wanted {
            checked(name)?;
        }
        self.stores.mailboxes.subscribe(account, name, wanted)?;
        Ok(ok(if wanted { "SUBSCRIBE done" } else { "UNSUBSCRIBE done" }))
    }

    pub(super) fn status(&mut self, account: AccountId, name: &[u8], items: &[StatusItem]) -> Result<Done, Done> {
        let name = self.decode(name)?;
        let mailbox = self.stores.mailboxes.open_mailbox(account, &name)?;
        self.put_status(&mailbox, items)?;
        Ok(ok("STATUS done"))
    }

    pub(super) fn put_status(&mut self, mailbox: &Mailbox, items: &[StatusItem]) -> Result<(), Done> {
        let status = self.stores.mailboxes.status(mailbox.id)?;
        self.out.extend_from_slice(b"* STATUS ");
        self.put_name(&mailbox.name);
        for (n, item) in items.iter().enumerate() {
            let (name, value) = match item {
                StatusItem::Messages => ("MESSAGES", u64::from(status.messages)),
                StatusItem::Recent => ("RECENT", 0),
                StatusItem::UidNext => ("UIDNEXT", u64::from(mailbox.uid_next)),
                StatusItem::UidValidity => ("UIDVALIDITY", u64::from(mailbox.uid_validity)),
                StatusItem::Unseen => ("UNSEEN", u64::from(status.unseen)),
                StatusItem::Deleted => ("DELETED", u64::from(status.deleted)),
                StatusItem::Size => ("SIZE", status.size_bytes),
                StatusItem::HighestModSeq => {
                    self.condstore = true;
                    ("HIGHESTMODSEQ", mailbox.mod_seq)
                }
            };
            self.out.extend_from_slice(if n == 0 { b" (" } else { b" " });
            self.out.extend_from_slice(name.as_bytes());
            self.out.push(b' ');
            write::number(&mut self.out, value);
        }
        self.out.extend_from_slice(b")\r\n");
        Ok(())
    }

    pub(super) fn get_quota(&mut self, account: AccountId, root: &[u8]) -> Result<Done, Done> {
        if !root.is_empty() {
            return Err(no("[NONEXISTENT] The only quota root is \"\""));
        }
        self.put_quota(account)?;
        Ok(ok("GETQUOTA done"))
    }

    pub(super) fn get_quota_root(&mut self, account: AccountId, name: &[u8]) -> Result<Done, Done> {
        let name = self.decode(name)?;
        self.stores.mailboxes.open_mailbox(account, &name)?;
        self.out.extend_from_slice(b"* QUOTAROOT ");
        self.put_name(&name);
        self.out.extend_from_slice(b" \"\"\r\n");
        self.put_quota(account)?;
        Ok(ok("GETQUOTAROOT done"))
    }

    /// RFC 9208: STORAGE counts units of 1024 octets.
    fn put_quota(&mut self, account: AccountId) -> Result<(), Done> {
        let quota = self.stores.mailboxes.quota(account)?;
        self.out.extend_from_slice(b"* QUOTA \"\" (STORAGE ");
        write::number(&mut self.out, quota.used_bytes.div_ceil(1024));
        self.out.push(b' ');
        write::number(&mut self.out, quota.limit_bytes / 1024);
        self.out.extend_from_slice(b")\r\n");
        Ok(())
    }
}

/// A name that a mailbox may have; the separator at its end says nothing here.
fn checked(name: &str) -> Result<&str, Done> {
    let name = name.strip_suffix('/').unwrap_or(name);
    let whole = !name.is_empty() && name.len() <= NAME_BYTES && name.split('/').count() <= LEVELS;
    let plain = !name.chars().any(|c| c.is_control() || matches!(c, '%' | '*'));
    match whole && plain && name.split('/').all(|level| !level.is_empty()) {
        true => Ok(name),
        false => Err(no("[CANNOT] A mailbox cannot have this name")),
    }
}
