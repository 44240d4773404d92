//! The open mailbox: SELECT, what others did to it, STORE, EXPUNGE, CLOSE.

use std::collections::BTreeMap;
use std::ops::Range;

use super::{Done, EndReason, Session, State, bad, no, ok};
use crate::imap::command::{Access, By, Command, StoreCommand};
use crate::imap::sequence::{SequenceSet, compress};
use crate::imap::write;
use crate::store::{Account, Flags, Mailbox, MessageState, StoreError, StoreFlags};

/// The client's view of a mailbox. Sequence numbers are positions in `messages`, from 1.
pub(super) struct Selected {
    pub(super) mailbox: Mailbox,
    pub(super) access: Access,
    /// By UID.
    pub(super) messages: Vec<MessageState>,
    /// Gone, but the client could not be told yet.
    pending: Vec<u32>,
    /// The view is that of this modification sequence.
    mod_seq: u64,
    keywords: Keywords,
    /// UIDs that the last SEARCH saved (`$`).
    pub(super) saved: Vec<u32>,
}

/// Whether a client may be told of expunged messages now (RFC 9051 section 7.5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expunges {
    Told,
    Held,
}

impl Expunges {
    /// The rule for a command: not where the client counts on sequence numbers.
    pub(super) fn after(command: &Command) -> Self {
        match command {
            Command::Fetch { by: By::Sequence, .. }
            | Command::Store { by: By::Sequence, .. }
            | Command::Search { by: By::Sequence, .. } => Self::Held,
            _ => Self::Told,
        }
    }
}

impl Selected {
    pub(super) fn position(&self, uid: u32) -> Option<usize> {
        self.messages.binary_search_by_key(&uid, |state| state.uid).ok()
    }

    /// Takes out the messages at these positions, which ascend.
    fn forget(&mut self, gone: &[usize]) {
        let mut at = 0;
        self.messages.retain(|_| {
            at += 1;
            gone.binary_search(&(at - 1)).is_err()
        });
    }

    pub(super) fn writable(&self) -> Result<(), Done> {
        match self.access {
            Access::ReadWrite => Ok(()),
            Access::ReadOnly => Err(no("[READ-ONLY] The mailbox was opened to be read only")),
        }
    }

    /// The messages of a set: their UIDs, ascending.
    pub(super) fn resolve(&self, by: By, set: &SequenceSet) -> Result<Vec<u32>, Done> {
        let count = u32::try_from(self.messages.len()).unwrap_or(u32::MAX);
        if *set == SequenceSet::Saved {
            return Ok(self.saved.iter().copied().filter(|uid| self.position(*uid).is_some()).collect());
        }
        if by == By::Sequence && set.exceeds(count) {
            return Err(bad("[CLIENTBUG] There is no message of this number"));
        }
        Ok(self.within(by, set))
    }

    /// The messages of a set that are there, by UID.
    fn within(&self, by: By, set: &SequenceSet) -> Vec<u32> {
        self.spans(by, set).into_iter().flat_map(|span| &self.messages[span]).map(|state| state.uid).collect()
    }

    /// The messages of a set that are there, as ranges of positions: ascending, apart, none of them empty.
    pub(super) fn spans(&self, by: By, set: &SequenceSet) -> Vec<Range<usize>> {
        let count = u32::try_from(self.messages.len()).unwrap_or(u32::MAX);
        let largest = match by {
            By::Sequence => count,
            By::Uid => self.messages.last().map_or(0, |state| state.uid),
        };
        let mut ranges = set.ranges(largest);
        ranges.sort_unstable();
        let mut spans: Vec<Range<usize>> = Vec::new();
        for (first, last) in ranges {
            let (start, end) = match by {
                By::Sequence => (first.saturating_sub(1) as usize, last as usize),
                By::Uid => (
                    self.messages.partition_point(|state| state.uid < first),
                    self.messages.partition_point(|state| state.uid <= last),
                ),
            };
            let end = end.min(self.messages.len());
            match spans.last_mut() {
                _ if start >= end => {}
                Some(span) if start <= span.end => span.end = span.end.max(end),
                _ => spans.push(start..end),
            }
        }
        spans
    }
}

impl Session {
    pub(super) fn select(
        &mut self,
        account: &Account,
        name: &[u8],
        access: Access,
        condstore: bool,
    ) -> Result<Done, Done> {
        self.condstore |= condstore;
        if matches!(self.state, State::Selected(..)) {
            // A SELECT that fails leaves no mailbox open either.
            self.state = State::Authenticated(account.clone());
            if self.rev2 || self.condstore {
                self.untagged("OK [CLOSED] The previous mailbox is closed");
            }
        }
        let name = self.decode(name)?;
        let mailbox = self.stores.mailboxes.open_mailbox(account.id, &name)?;
        let view = self.stores.mailboxes.changes(mailbox.id, 0)?;
        let mut keywords = Keywords::default();
        keywords.learn(&view.changed);
        let unseen = view.changed.iter().position(|state| !state.flags.has(Flags::SEEN));
        let (exists, mailbox) = (view.changed.len(), view.mailbox);
        self.put_keywords(&keywords.list());
        self.out.extend_from_slice(b"* OK [PERMANENTFLAGS ");
        match access {
            Access::ReadOnly => self.out.extend_from_slice(b"()"),
            Access::ReadWrite => {
                let new = self.stores.mailboxes.takes_new_keywords(mailbox.id)?.then(|| "\\*".to_owned());
                let known: Vec<String> = keywords.list().into_iter().chain(new).collect();
                write::flags(&mut self.out, Flags(31), &known);
            }
        }
        self.out.extend_from_slice(b"] Flags that stay\r\n");
        self.untagged(&[&exists.to_string(), " EXISTS"].concat());
        if !self.rev2 {
            self.untagged("0 RECENT");
            if let Some(at) = unseen {
                self.untagged(&["OK [UNSEEN ", &(at + 1).to_string(), "] The first unseen message"].concat());
            }
        }
        self.untagged(&["OK [UIDVALIDITY ", &mailbox.uid_validity.to_string(), "] UIDs are valid"].concat());
        self.untagged(&["OK [UIDNEXT ", &mailbox.uid_next.to_string(), "] The next UID"].concat());
        self.untagged(&["OK [HIGHESTMODSEQ ", &mailbox.mod_seq.to_string(), "] The last change"].concat());
        if self.rev2 {
            self.put_list("LIST", &[], &mailbox.name);
        }
        let mod_seq = mailbox.mod_seq;
        let selected = Selected {
            mailbox,
            access,
            messages: view.changed,
            pending: Vec::new(),
            mod_seq,
            keywords,
            saved: Vec::new(),
        };
        self.state = State::Selected(account.clone(), Box::new(selected));
        Ok(match access {
            Access::ReadWrite => ok("[READ-WRITE] SELECT done"),
            Access::ReadOnly => ok("[READ-ONLY] EXAMINE done"),
        })
    }

    /// Tells the client what has happened in the open mailbox since it was last told.
    pub(super) fn sync(&mut self, expunges: Expunges) {
        if let Err(error) = self.try_sync(expunges, &[]) {
            match error {
                StoreError::NotFound(_) => {
                    self.untagged("BYE The mailbox that was open has been deleted");
                    self.state = State::Ended(EndReason::MailboxDeleted);
                }
                // The next command looks again.
                error => tracing::warn!(%error, "a client could not be told of changes"),
            }
        }
    }

    /// `silent`: UIDs whose flags the client knows already, ascending.
    pub(super) fn try_sync(&mut self, expunges: Expunges, silent: &[u32]) -> Result<(), StoreError> {
        let State::Selected(_, selected) = &mut self.state else { return Ok(()) };
        let changes = self.stores.mailboxes.changes(selected.mailbox.id, selected.mod_seq)?;
        selected.mod_seq = changes.mailbox.mod_seq;
        selected.mailbox = changes.mailbox;
        if changes.changed.is_empty() && changes.expunged.is_empty() && selected.pending.is_empty() {
            return Ok(());
        }
        selected.pending.extend(changes.expunged);
        let fresh = selected.keywords.learn(&changes.changed);
        let mut told = Vec::new();
        let count = selected.messages.len();
        for state in changes.changed {
            match selected.position(state.uid) {
                Some(at) => {
                    if silent.binary_search(&state.uid).is_err() {
                        told.push(at);
                    }
                    selected.messages[at] = state;
                }
                None => selected.messages.push(state),
            }
        }
        let grew = selected.messages.len() > count;
        let mut gone = Vec::new();
        if expunges == Expunges::Told {
            let pending = std::mem::take(&mut selected.pending);
            gone = pending.iter().filter_map(|uid| selected.position(*uid)).collect();
            gone.sort_unstable();
            gone.dedup();
        }
        if fresh {
            let keywords = selected.keywords.list();
            self.put_keywords(&keywords);
        }
        for at in told {
            self.put_flags(at, By::Uid);
        }
        // New messages come after those that go: EXPUNGE first, so that EXISTS is the count that stays.
        for at in gone.iter().rev() {
            self.untagged(&[&(at + 1).to_string(), " EXPUNGE"].concat());
        }
        if let State::Selected(_, selected) = &mut self.state {
            selected.forget(&gone);
            if grew {
                let exists = [&selected.messages.len().to_string(), " EXISTS"].concat();
                self.untagged(&exists);
            }
        }
        Ok(())
    }

    /// `* n FETCH (FLAGS …)`
    fn put_flags(&mut self, at: usize, by: By) {
        let condstore = self.condstore;
        let State::Selected(_, selected) = &self.state else { return };
        let Some(state) = selected.messages.get(at) else { return };
        self.out.extend_from_slice(b"* ");
        write::number(&mut self.out, at as u64 + 1);
        self.out.extend_from_slice(b" FETCH (");
        if by == By::Uid {
            self.out.extend_from_slice(b"UID ");
            write::number(&mut self.out, state.uid);
            self.out.push(b' ');
        }
        if condstore {
            self.out.extend_from_slice(b"MODSEQ (");
            write::number(&mut self.out, state.mod_seq);
            self.out.extend_from_slice(b") ");
        }
        write::message_flags(&mut self.out, state);
        self.out.extend_from_slice(b")\r\n");
    }

    fn put_keywords(&mut self, keywords: &[String]) {
        self.out.extend_from_slice(b"* FLAGS ");
        write::flags(&mut self.out, Flags(31), keywords);
        self.out.extend_from_slice(b"\r\n");
    }

    pub(super) fn store(&mut self, by: By, set: &SequenceSet, store: &StoreCommand) -> Result<Done, Done> {
        self.condstore |= store.unchanged_since.is_some();
        let selected = self.selected()?;
        selected.writable()?;
        let uids = selected.resolve(by, set)?;
        let id = selected.mailbox.id;
        let change = StoreFlags {
            change: store.change,
            flags: store.flags,
            keywords: &store.keywords,
            unchanged_since: store.unchanged_since,
        };
        let refused = self.stores.mailboxes.store(id, &uids, change)?;
        self.try_sync(Expunges::Held, &uids)?;
        let condstore = self.condstore;
        for uid in uids.iter().filter(|uid| refused.binary_search(uid).is_err()) {
            let Some(at) = self.selected()?.position(*uid) else { continue };
            match (store.silent, condstore) {
                (false, _) => self.put_flags(at, by),
                // RFC 7162 section 3.1.3: even a silent STORE tells the new modification sequence.
                (true, true) => self.put_mod_seq(at, by)?,
                (true, false) => {}
            }
        }
        if refused.is_empty() {
            return Ok(ok("STORE done"));
        }
        let selected = self.selected()?;
        let numbers = refused.iter().filter_map(|uid| match by {
            By::Uid => Some(*uid),
            By::Sequence => selected.position(*uid).and_then(|at| u32::try_from(at + 1).ok()),
        });
        Ok(ok(["[MODIFIED ", &compress(numbers), "] Some had been changed meanwhile"].concat()))
    }

    fn put_mod_seq(&mut self, at: usize, by: By) -> Result<(), Done> {
        let state = self.selected()?.messages.get(at).map(|state| (state.uid, state.mod_seq));
        let Some((uid, mod_seq)) = state else { return Ok(()) };
        let uid = if by == By::Uid { ["UID ", &uid.to_string(), " "].concat() } else { String::new() };
        self.untagged(&[&(at + 1).to_string(), " FETCH (", &uid, "MODSEQ (", &mod_seq.to_string(), "))"].concat());
        Ok(())
    }

    pub(super) fn expunge(&mut self, set: Option<&SequenceSet>) -> Result<Done, Done> {
        let selected = self.selected()?;
        selected.writable()?;
        let uids = set.map(|set| selected.resolve(By::Uid, set)).transpose()?;
        let id = selected.mailbox.id;
        self.stores.mailboxes.expunge(id, uids.as_deref())?;
        Ok(ok("EXPUNGE done"))
    }

    pub(super) fn close(&mut self, account: &Account) -> Result<Done, Done> {
        let selected = self.selected()?;
        let (id, access) = (selected.mailbox.id, selected.access);
        if access == Access::ReadWrite {
            self.stores.mailboxes.expunge(id, None)?;
        }
        self.state = State::Authenticated(account.clone());
        Ok(ok("CLOSE done"))
    }
}

/// Keywords that a client has been told of. They are the same in any case (RFC 9051 section 2.3.2), and as many at
/// most as the mailbox may have.
#[derive(Default)]
struct Keywords {
    /// By the name in lower case.
    names: BTreeMap<String, String>,
}

impl Keywords {
    /// Adds those of `messages`; whether one of them is new.
    fn learn(&mut self, messages: &[MessageState]) -> bool {
        let known = self.names.len();
        for keyword in messages.iter().flat_map(|state| &state.keywords) {
            self.names.entry(keyword.to_ascii_lowercase()).or_insert_with(|| keyword.clone());
        }
        self.names.len() > known
    }

    fn list(&self) -> Vec<String> {
        self.names.values().cloned().collect()
    }
}
