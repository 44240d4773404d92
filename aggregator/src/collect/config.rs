//! `[[aggregate.reports]]`: a mailbox that reports come to.

use std::path::{Path, PathBuf};

use serde::Deserialize;

/// The least time between two looks.
const POLL_MIN_S: u64 = 1;
/// The longest.
const POLL_MAX_S: u64 = 86_400;

/// A mailbox that is searched for reports: a maildir, or a folder over IMAP.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceConfig {
    /// Its name in messages, and a part of its spool's. Letters, digits, `.`, `_`, `-`.
    pub name: String,
    /// A maildir on this machine.
    #[serde(default)]
    pub maildir: Option<PathBuf>,
    /// A folder over IMAP.
    #[serde(default)]
    pub imap: Option<ImapConfig>,
    /// What is done with a report once ClickHouse has its rows.
    #[serde(default)]
    pub done: Done,
    /// The folder that `done = "move"` moves to.
    #[serde(default)]
    pub done_folder: Option<String>,
    /// Seconds between two looks.
    #[serde(default = "five_minutes")]
    pub poll_s: u64,
}

/// What is done with a report once ClickHouse has its rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Done {
    /// It is marked as seen.
    #[default]
    Seen,
    /// It is moved to another folder.
    Move,
    /// It is deleted.
    Delete,
    /// Nothing. What was read is remembered here.
    Keep,
}

/// An account on an IMAP server.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImapConfig {
    /// The server.
    pub host: String,
    /// Its port.
    #[serde(default = "imaps")]
    pub port: u16,
    /// The name in its certificate; `host` without it.
    #[serde(default)]
    pub server_name: Option<String>,
    /// How the connection is encrypted.
    #[serde(default)]
    pub tls: Tls,
    /// Roots for its certificate; without it the system's.
    #[serde(default)]
    pub trust: Option<PathBuf>,
    /// Who logs in.
    pub user: String,
    /// The file that holds the password.
    pub password_file: PathBuf,
    /// The folder.
    #[serde(default = "inbox")]
    pub folder: String,
}

/// How a connection is encrypted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tls {
    /// From the first octet (RFC 8314).
    #[default]
    Tls,
    /// After STARTTLS.
    Starttls,
    /// Not at all; on this machine only.
    None,
}

fn five_minutes() -> u64 {
    300
}

fn imaps() -> u16 {
    993
}

fn inbox() -> String {
    "INBOX".to_owned()
}

impl SourceConfig {
    /// What is wrong with it: the key, and what to do.
    pub fn check(&self) -> Vec<(String, String)> {
        let mut faults = Vec::new();
        let mut fault = |key: &str, message: &str| faults.push((key.to_owned(), message.to_owned()));
        let nameable = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if self.name.is_empty() || !self.name.chars().all(nameable) {
            fault("name", "must be letters, digits, '.', '_' and '-': it names a spool");
        }
        match (&self.maildir, &self.imap) {
            (None, None) => fault("maildir", "names no mailbox: set maildir, or imap"),
            (Some(_), Some(_)) => fault("imap", "a source has one mailbox: leave out maildir or imap"),
            _ => {}
        }
        match (self.done, self.done_folder.as_deref()) {
            (Done::Move, None | Some("")) => fault("done", "\"move\" needs done_folder"),
            (Done::Seen | Done::Delete | Done::Keep, Some(_)) => {
                fault("done_folder", "is used only with done = \"move\"");
            }
            _ => {}
        }
        if !(POLL_MIN_S..=POLL_MAX_S).contains(&self.poll_s) {
            fault("poll_s", "must be from 1 to 86400 seconds");
        }
        if let Some(imap) = &self.imap {
            let local = matches!(imap.host.as_str(), "127.0.0.1" | "::1" | "localhost");
            if imap.tls == Tls::None && !local {
                fault("imap.tls", "\"none\" would send the password in the clear: use \"tls\" or \"starttls\"");
            }
            let broken = |text: &str| text.is_empty() || text.contains(|c: char| c.is_control());
            for (key, text) in [("imap.host", &imap.host), ("imap.user", &imap.user), ("imap.folder", &imap.folder)] {
                if broken(text) {
                    fault(key, "is empty, or holds a control character");
                }
            }
        }
        faults
    }

    /// Makes its paths absolute.
    pub fn resolve(&mut self, dir: &Path) {
        if let Some(maildir) = &mut self.maildir {
            *maildir = dir.join(&*maildir);
        }
        if let Some(imap) = &mut self.imap {
            imap.password_file = dir.join(&imap.password_file);
            imap.trust = imap.trust.take().map(|trust| dir.join(trust));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(text: &str) -> Vec<String> {
        toml::from_str::<SourceConfig>(text).unwrap().check().into_iter().map(|(key, _)| key).collect()
    }

    #[test]
    fn a_source_is_one_mailbox_and_what_becomes_of_its_reports() {
        let imap = "name = \"r\"\nimap = { host = \"mail.example.org\", user = \"u\", password_file = \"p\" }\n";
        assert_eq!(keys(imap), Vec::<String>::new());
        assert_eq!(keys("name = \"r\"\nmaildir = \"/var/mail/reports\"\n"), Vec::<String>::new());
        assert_eq!(keys("name = \"a b\"\npoll_s = 0\n"), ["name", "maildir", "poll_s"]);
        assert_eq!(keys(&[imap, "done = \"move\"\nmaildir = \"x\"\n"].concat()), ["imap", "done"]);
        assert_eq!(keys(&[imap, "done_folder = \"x\"\n"].concat()), ["done_folder"]);
        let clear = imap.replace("user", "tls = \"none\", user");
        assert_eq!(keys(&clear), ["imap.tls"]);
    }
}
