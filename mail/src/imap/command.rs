//! The commands of IMAP as values (RFC 9051 section 6, RFC 3501, and the extensions that are advertised).

use aggregator::event::Time;

use super::sequence::SequenceSet;
use crate::store::{FlagChange, Flags};

/// A tagged command.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Tagged {
    pub(crate) tag: String,
    pub(crate) command: Command,
}

/// A mailbox name as the client wrote it: modified UTF-7 or UTF-8.
pub(crate) type Name = Vec<u8>;

/// Whether numbers are sequence numbers or UIDs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    Sequence,
    Uid,
}

/// How a mailbox is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    ReadWrite,
    ReadOnly,
}

/// What COPY leaves behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transfer {
    Copy,
    Move,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Capability,
    Noop,
    Logout,
    Id,
    StartTls,
    Authenticate { mechanism: String, initial: Option<Vec<u8>> },
    Login { user: Vec<u8>, password: Vec<u8> },
    Enable(Vec<String>),
    Select { name: Name, access: Access, condstore: bool },
    Create { name: Name, special: Option<String> },
    Delete(Name),
    Rename { from: Name, to: Name },
    Subscribe { name: Name, wanted: bool },
    List(List),
    Lsub { reference: Name, pattern: Name },
    Namespace,
    Status { name: Name, items: Vec<StatusItem> },
    Append { name: Name, messages: Vec<AppendMessage> },
    Idle,
    Check,
    Close,
    Unselect,
    Expunge(Option<SequenceSet>),
    Search { by: By, options: Option<Vec<ReturnOption>>, charset: Option<String>, key: Key },
    Fetch { by: By, set: SequenceSet, items: Vec<FetchItem>, changed_since: Option<u64> },
    Store { by: By, set: SequenceSet, store: StoreCommand },
    Transfer { by: By, set: SequenceSet, name: Name, transfer: Transfer },
    GetQuota(Vec<u8>),
    GetQuotaRoot(Name),
}

/// LIST with the options of RFC 5258, RFC 5819 and RFC 6154.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct List {
    pub(crate) reference: Name,
    pub(crate) patterns: Vec<Name>,
    pub(crate) only_subscribed: bool,
    pub(crate) recursive_match: bool,
    pub(crate) only_special: bool,
    pub(crate) return_subscribed: bool,
    pub(crate) return_status: Vec<StatusItem>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StatusItem {
    Messages,
    Recent,
    UidNext,
    UidValidity,
    Unseen,
    Deleted,
    Size,
    HighestModSeq,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct AppendMessage {
    pub(crate) flags: Flags,
    pub(crate) keywords: Vec<String>,
    pub(crate) at: Option<Time>,
    pub(crate) body: Vec<u8>,
}

/// STORE's arguments.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct StoreCommand {
    pub(crate) change: FlagChange,
    pub(crate) silent: bool,
    pub(crate) flags: Flags,
    pub(crate) keywords: Vec<String>,
    pub(crate) unchanged_since: Option<u64>,
}

/// What SEARCH is to return (RFC 9051 section 6.4.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReturnOption {
    Min,
    Max,
    All,
    Count,
    Save,
}

/// When a message came or was sent, against a day (the number of days since 1970-01-01).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    Before,
    On,
    Since,
}

/// A search key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Key {
    All,
    Nothing,
    Flag(Flags),
    Keyword(String),
    Header { field: String, text: String },
    Body(String),
    Text(String),
    Arrived(When, i64),
    Sent(When, i64),
    Larger(u64),
    Smaller(u64),
    Older(u64),
    Younger(u64),
    ModSeq(u64),
    Sequence(SequenceSet),
    Uid(SequenceSet),
    Not(Box<Key>),
    Or(Box<(Key, Key)>),
    And(Vec<Key>),
}

/// What FETCH is to return of each message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FetchItem {
    Envelope,
    Flags,
    InternalDate,
    Uid,
    ModSeq,
    Size,
    Body,
    BodyStructure,
    Rfc822,
    Rfc822Header,
    Rfc822Text,
    Section { peek: bool, section: Section, partial: Option<(u32, u32)> },
    Binary { peek: bool, part: Vec<u32>, partial: Option<(u32, u32)> },
    BinarySize(Vec<u32>),
}

/// A piece of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Section {
    pub(crate) part: Vec<u32>,
    pub(crate) text: SectionText,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SectionText {
    Whole,
    Header,
    Fields(Vec<Vec<u8>>),
    FieldsNot(Vec<Vec<u8>>),
    Text,
    Mime,
}
