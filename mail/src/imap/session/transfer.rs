//! APPEND, COPY, MOVE.

use aggregator::event::Time;

use super::{Done, Session, bad, no, ok};
use crate::imap::command::{AppendMessage, By, Transfer};
use crate::imap::sequence::{SequenceSet, compress};
use crate::store::{AccountId, Appended, BlobStore, NewMessage, StoreError};

impl Session {
    pub(super) fn append(
        &mut self,
        account: AccountId,
        name: &[u8],
        messages: &[AppendMessage],
        now: Time,
    ) -> Result<Done, Done> {
        let name = self.decode(name)?;
        self.stores.mailboxes.open_mailbox(account, &name).map_err(try_create)?;
        let mut size = 0_u64;
        for message in messages {
            if message.body.is_empty() {
                // RFC 3502 section 6.3.11: an empty literal cancels.
                return Err(no("APPEND cancelled: a message is empty"));
            }
            if message.body.contains(&0) {
                // RFC 9051 section 9: a literal has no NUL. We could not give it back to anybody.
                return Err(bad("A message cannot contain NUL"));
            }
            if message.body.len() as u64 > self.facts.max_message_bytes {
                return Err(no("[TOOBIG] The message is larger than is taken"));
            }
            size = size.saturating_add(message.body.len() as u64);
        }
        // Before a body is stored: what is refused takes no room. The store counts again when it adds them.
        if !self.stores.mailboxes.quota(account)?.has_room_for(size) {
            return Err(StoreError::OverQuota.into());
        }
        let mut new = Vec::with_capacity(messages.len());
        for message in messages {
            new.push(NewMessage {
                blob: self.stores.blobs.put(&message.body)?,
                prefix: b"",
                flags: message.flags,
                keywords: &message.keywords,
                at: message.at.unwrap_or(now),
            });
        }
        let appended = self.stores.mailboxes.append(account, &name, &new).map_err(try_create)?;
        let uids = compress(appended.uids.iter().map(|(_, uid)| *uid));
        Ok(ok(["[APPENDUID ", &appended.uid_validity.to_string(), " ", &uids, "] APPEND done"].concat()))
    }

    pub(super) fn transfer(
        &mut self,
        account: AccountId,
        by: By,
        set: &SequenceSet,
        name: &[u8],
        transfer: Transfer,
    ) -> Result<Done, Done> {
        let name = self.decode(name)?;
        let selected = self.selected()?;
        if transfer == Transfer::Move {
            selected.writable()?;
        }
        let uids = selected.resolve(by, set)?;
        let source = selected.mailbox.id;
        let mailboxes = &self.stores.mailboxes;
        match transfer {
            Transfer::Copy => {
                let copied = mailboxes.copy(account, source, &uids, &name).map_err(try_create)?;
                Ok(ok([&copy_uid(&copied), "COPY done"].concat()))
            }
            Transfer::Move => {
                let moved = mailboxes.relocate(account, source, &uids, &name).map_err(try_create)?;
                // RFC 6851 section 4.3: COPYUID comes before the EXPUNGEs.
                let copy_uid = copy_uid(&moved);
                if !copy_uid.is_empty() {
                    self.untagged(&["OK ", &copy_uid, "Moved"].concat());
                }
                Ok(ok("MOVE done"))
            }
        }
    }
}

/// A mailbox that is not there could be made first (RFC 9051 section 7.1, TRYCREATE).
fn try_create(error: StoreError) -> Done {
    match error {
        StoreError::NotFound(_) => no("[TRYCREATE] There is no such mailbox"),
        error => error.into(),
    }
}

/// `[COPYUID validity from to] `, or nothing when nothing was copied.
fn copy_uid(appended: &Appended) -> String {
    if appended.uids.is_empty() {
        return String::new();
    }
    let from = compress(appended.uids.iter().map(|(from, _)| *from));
    let to = compress(appended.uids.iter().map(|(_, to)| *to));
    ["[COPYUID ", &appended.uid_validity.to_string(), " ", &from, " ", &to, "] "].concat()
}
