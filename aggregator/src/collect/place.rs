//! A mailbox, of whichever kind: list, fetch, and mark what is done.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::config::SourceConfig;
use super::imap::Folder;
use super::maildir::Maildir;
use crate::source::mailbox::Message;
use crate::source::origin::Digest;

/// One message in a mailbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Item {
    /// By which it is remembered: the mailbox and its name there.
    pub(super) key: Digest,
    /// Where it is.
    pub(super) at: At,
}

/// Where a message is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum At {
    File(PathBuf),
    Uid(u32),
}

/// Why a mailbox cannot be used just now.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// A file or folder.
    #[error("{path}: {source}; is it there, and may this process read and write it?")]
    Disk {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The server cannot be reached.
    #[error("{server}: {source}; is it up, and are host, port and tls right?")]
    Network {
        /// Host and port.
        server: String,
        /// What the system said.
        source: io::Error,
    },
    /// The server does not answer.
    #[error("{server}: no answer to {command} within {} s", .after.as_secs())]
    Silent {
        /// Host and port.
        server: String,
        /// The command.
        command: String,
        /// How long it was waited for.
        after: Duration,
    },
    /// The server said no.
    #[error("{server}: {command} was answered \"{said}\"; look at user, password_file and folder")]
    Refused {
        /// Host and port.
        server: String,
        /// The command.
        command: String,
        /// Its words.
        said: String,
    },
    /// The server said what no IMAP server says.
    #[error("{server}: this is no IMAP: \"{said}\"; is the port right?")]
    Protocol {
        /// Host and port.
        server: String,
        /// Its words.
        said: String,
    },
    /// Roots or names for TLS.
    #[error("TLS cannot be set up: {0}")]
    Tls(String),
}

/// An open mailbox.
pub(super) enum Place {
    Maildir(Maildir),
    Imap(Box<Folder>),
}

impl Place {
    pub(super) async fn open(source: &SourceConfig, password: &str) -> Result<Self, Fault> {
        match &source.imap {
            Some(imap) => Ok(Place::Imap(Box::new(Folder::open(source, imap, password).await?))),
            None => Ok(Place::Maildir(Maildir::new(source))),
        }
    }

    /// The messages, oldest first.
    pub(super) async fn list(&mut self) -> Result<Vec<Item>, Fault> {
        match self {
            Place::Maildir(maildir) => maildir.list().await,
            Place::Imap(folder) => folder.list().await,
        }
    }

    /// One message; `None` when it is gone.
    pub(super) async fn fetch(&mut self, item: &Item) -> Result<Option<Message>, Fault> {
        match (self, &item.at) {
            (Place::Maildir(maildir), At::File(path)) => maildir.fetch(path).await,
            (Place::Imap(folder), At::Uid(uid)) => folder.fetch(*uid).await,
            _ => Ok(None),
        }
    }

    /// Does with reports what the configuration says.
    pub(super) async fn done(&mut self, items: &[Item]) -> Result<(), Fault> {
        match self {
            Place::Maildir(maildir) => maildir.done(items).await,
            Place::Imap(folder) => folder.done(items).await,
        }
    }

    /// Says good-bye.
    pub(super) async fn close(&mut self) {
        if let Place::Imap(folder) = self {
            folder.close().await;
        }
    }
}
