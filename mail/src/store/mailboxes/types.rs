//! What the mailboxes hold, and what is asked of them.

use std::ops::{BitOr, BitOrAssign};

use aggregator::event::Time;

use crate::store::BlobId;

/// The identity of a mailbox; a mailbox that is made again has another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MailboxId(pub i64);

/// What a mailbox is for (RFC 6154).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpecialUse {
    /// `\Archive`
    Archive,
    /// `\Drafts`
    Drafts,
    /// `\Junk`
    Junk,
    /// `\Sent`
    Sent,
    /// `\Trash`
    Trash,
}

impl SpecialUse {
    /// Every use, in the order in which an account gets its mailboxes.
    pub const ALL: [Self; 5] = [Self::Sent, Self::Drafts, Self::Junk, Self::Trash, Self::Archive];

    /// The attribute's name without its backslash; also the name of the mailbox that an account gets for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Archive => "Archive",
            Self::Drafts => "Drafts",
            Self::Junk => "Junk",
            Self::Sent => "Sent",
            Self::Trash => "Trash",
        }
    }

    /// The use of this name, in any case.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|special| special.name().eq_ignore_ascii_case(name))
    }
}

/// A mailbox of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mailbox {
    /// Its identity.
    pub id: MailboxId,
    /// Its full name in UTF-8; `/` parts the levels, and the first is `INBOX` in whatever case it was asked for.
    pub name: String,
    /// What it is for.
    pub special: Option<SpecialUse>,
    /// UIDVALIDITY (RFC 9051 section 2.3.1.1).
    pub uid_validity: u32,
    /// The UID that the next message gets.
    pub uid_next: u32,
    /// The highest modification sequence (RFC 7162).
    pub mod_seq: u64,
}

/// The system flags of a message (RFC 9051 section 2.3.2), a bit each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Flags(pub u8);

impl Flags {
    /// `\Seen`
    pub const SEEN: Self = Self(1);
    /// `\Answered`
    pub const ANSWERED: Self = Self(2);
    /// `\Flagged`
    pub const FLAGGED: Self = Self(4);
    /// `\Deleted`
    pub const DELETED: Self = Self(8);
    /// `\Draft`
    pub const DRAFT: Self = Self(16);
    /// Each with its name, in the order in which they are listed.
    pub const NAMED: [(Self, &'static str); 5] = [
        (Self::ANSWERED, "\\Answered"),
        (Self::FLAGGED, "\\Flagged"),
        (Self::DELETED, "\\Deleted"),
        (Self::SEEN, "\\Seen"),
        (Self::DRAFT, "\\Draft"),
    ];

    /// Whether all of `other` are set.
    pub fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// These without `other`.
    #[must_use]
    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

impl BitOr for Flags {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for Flags {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

/// The state of a message: what a session keeps of each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageState {
    /// Its UID.
    pub uid: u32,
    /// Its system flags.
    pub flags: Flags,
    /// Its keywords.
    pub keywords: Vec<String>,
    /// The modification sequence of its last change.
    pub mod_seq: u64,
    /// Its size in octets, prefix and body.
    pub size: u64,
    /// INTERNALDATE.
    pub at: Time,
}

/// A message as a list shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its state.
    pub state: MessageState,
    /// Its body.
    pub blob: BlobId,
    /// The Subject, decoded and cut.
    pub subject: String,
    /// The first author: the name, or the address when there is none.
    pub from: String,
    /// The Date; `at` when it is missing or cannot be read.
    pub date: Time,
    /// The Message-ID without angle brackets.
    pub message_id: String,
}

/// Which messages of a mailbox a page shows, the newest first.
#[derive(Debug, Clone, Copy)]
pub struct Page<'a> {
    /// How many newer messages are on the pages before.
    pub offset: u32,
    /// How many at most.
    pub limit: u32,
    /// Only messages with this in subject, author or Message-ID; empty: all.
    pub containing: &'a str,
}

/// What [`SqliteMailboxes::find`](super::SqliteMailboxes::find) found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sought {
    /// The messages of the page.
    pub messages: Vec<Message>,
    /// How many there are on all pages.
    pub total: u32,
}

/// What happened in a mailbox since a modification sequence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changes {
    /// The mailbox as it is now.
    pub mailbox: Mailbox,
    /// New and changed messages, by UID.
    pub changed: Vec<MessageState>,
    /// UIDs of messages that are gone, ascending.
    pub expunged: Vec<u32>,
}

/// Counts of a mailbox (RFC 9051 section 6.3.11).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    /// MESSAGES
    pub messages: u32,
    /// UNSEEN
    pub unseen: u32,
    /// DELETED
    pub deleted: u32,
    /// SIZE, in octets.
    pub size_bytes: u64,
}

/// A message that is added.
#[derive(Debug, Clone, Copy)]
pub struct NewMessage<'a> {
    /// Its stored body.
    pub blob: BlobId,
    /// Lines before the body, CRLF-ended; usually none.
    pub prefix: &'a [u8],
    /// Its system flags.
    pub flags: Flags,
    /// Its keywords.
    pub keywords: &'a [String],
    /// INTERNALDATE.
    pub at: Time,
}

/// What APPENDUID and COPYUID tell (RFC 4315).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appended {
    /// UIDVALIDITY of the target.
    pub uid_validity: u32,
    /// UIDs in the source and in the target, pair by pair; for new messages both are the new one.
    pub uids: Vec<(u32, u32)>,
}

/// How flags are changed (RFC 9051 section 6.4.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlagChange {
    /// `+FLAGS`
    Add,
    /// `-FLAGS`
    Remove,
    /// `FLAGS`
    Replace,
}

/// A change of flags.
#[derive(Debug, Clone, Copy)]
pub struct StoreFlags<'a> {
    /// How.
    pub change: FlagChange,
    /// Which system flags.
    pub flags: Flags,
    /// Which keywords.
    pub keywords: &'a [String],
    /// Messages changed after this modification sequence are left alone (RFC 7162).
    pub unchanged_since: Option<u64>,
}

/// The use that an account makes of its quota.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// Octets of all its messages.
    pub used_bytes: u64,
    /// How many octets it may use.
    pub limit_bytes: u64,
}

impl Quota {
    /// Whether messages of so many octets can be added.
    #[must_use]
    pub fn has_room_for(&self, bytes: u64) -> bool {
        self.used_bytes.saturating_add(bytes) <= self.limit_bytes
    }
}
