//! A folder over IMAP (RFC 9051): only what collecting needs.
//!
//! Messages are fetched without being marked (BODY.PEEK). They are moved with MOVE where the server has it, else copied
//! and deleted; EXPUNGE names its messages (UIDPLUS) or is left out, because it would take what others deleted, too.

mod session;
#[cfg(test)]
mod tests;

use super::config::{Done, ImapConfig, SourceConfig};
use super::place::{At, Fault, Item};
use crate::event::Time;
use crate::mailed::Bound;
use crate::source::mailbox::Message;
use crate::source::origin::Digest;
use session::{Answer, Session, quoted};

/// UIDs in one command: a line stays short.
const UIDS: usize = 200;

/// A selected folder, and what becomes of its reports.
pub(super) struct Folder {
    session: Session,
    name: String,
    uid_validity: u32,
    identity: String,
    done: Done,
    done_folder: String,
}

impl Folder {
    pub(super) async fn open(source: &SourceConfig, config: &ImapConfig, password: &str) -> Result<Self, Fault> {
        let mut session = Session::connect(config).await?;
        session.login(&config.user, password).await?;
        let select = ["SELECT ", &quoted(&config.folder)].concat();
        let selected = session.command(&select, "SELECT").await?;
        let uid_validity = selected.iter().find_map(|answer| code(&answer.text, "UIDVALIDITY")).unwrap_or(0);
        let identity =
            [&config.host, "\n", &config.user, "\n", &config.folder, "\n", &uid_validity.to_string()].concat();
        Ok(Self {
            session,
            name: [&config.user, " on ", &config.host, ", ", &config.folder].concat(),
            uid_validity,
            identity,
            done: source.done,
            done_folder: source.done_folder.clone().unwrap_or_default(),
        })
    }

    pub(super) async fn list(&mut self) -> Result<Vec<Item>, Fault> {
        let search = match self.done {
            Done::Seen => "UID SEARCH UNDELETED UNSEEN",
            Done::Move | Done::Delete | Done::Keep => "UID SEARCH UNDELETED",
        };
        let answers = self.session.command(search, "SEARCH").await?;
        let found = answers.iter().filter_map(|answer| answer.text.strip_prefix("* SEARCH"));
        let mut uids: Vec<u32> =
            found.flat_map(|text| text.split_whitespace()).filter_map(|uid| uid.parse().ok()).collect();
        uids.sort_unstable();
        let item =
            |uid: u32| Item { key: Digest::of_both(self.identity.as_bytes(), &uid.to_le_bytes()), at: At::Uid(uid) };
        Ok(uids.into_iter().map(item).collect())
    }

    pub(super) async fn fetch(&mut self, uid: u32) -> Result<Option<Message>, Fault> {
        let number = uid.to_string();
        let about = ["UID FETCH ", &number, " (RFC822.SIZE INTERNALDATE)"].concat();
        let answers = self.session.command(&about, "FETCH").await?;
        let Some(about) = answers.iter().find(|answer| answer.text.contains(" FETCH ")) else { return Ok(None) };
        let size = after(&about.text, "RFC822.SIZE ").and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
        let received =
            about.text.split_once("INTERNALDATE \"").and_then(|(_, rest)| internal_date(rest)).unwrap_or(Time(0));
        let name = [&self.name, ", UID ", &number, " of ", &self.uid_validity.to_string()].concat();
        // A begin that is one octet too long is refused by its length when it is read.
        let most = Bound::MessageBytes.limit() + 1;
        let range = if size >= most { ["<0.", &most.to_string(), ">"].concat() } else { String::new() };
        let body = ["UID FETCH ", &number, " BODY.PEEK[]", &range].concat();
        let answers = self.session.command(&body, "FETCH").await?;
        let octets = answers.into_iter().find_map(Answer::into_literal);
        Ok(octets.map(|octets| Message { name, octets, received }))
    }

    pub(super) async fn done(&mut self, items: &[Item]) -> Result<(), Fault> {
        let uids: Vec<String> = items
            .iter()
            .filter_map(|item| if let At::Uid(uid) = item.at { Some(uid.to_string()) } else { None })
            .collect();
        for some in uids.chunks(UIDS) {
            let set = some.join(",");
            match self.done {
                Done::Seen => {
                    let store = ["UID STORE ", &set, " +FLAGS.SILENT (\\Seen)"].concat();
                    self.session.command(&store, "STORE").await?;
                }
                Done::Move => self.move_away(&set).await?,
                Done::Delete => self.delete(&set).await?,
                Done::Keep => {}
            }
        }
        Ok(())
    }

    async fn move_away(&mut self, set: &str) -> Result<(), Fault> {
        let has_move = self.session.has("MOVE");
        let verb = if has_move { "MOVE" } else { "COPY" };
        let command = ["UID ", verb, " ", set, " ", &quoted(&self.done_folder)].concat();
        if let Err(why) = self.session.command(&command, verb).await {
            if !matches!(&why, Fault::Refused { said, .. } if said.contains("TRYCREATE")) {
                return Err(why);
            }
            let create = ["CREATE ", &quoted(&self.done_folder)].concat();
            self.session.command(&create, "CREATE").await?;
            self.session.command(&command, verb).await?;
        }
        if has_move { Ok(()) } else { self.delete(set).await }
    }

    async fn delete(&mut self, set: &str) -> Result<(), Fault> {
        let store = ["UID STORE ", set, " +FLAGS.SILENT (\\Deleted)"].concat();
        self.session.command(&store, "STORE").await?;
        if self.session.has("UIDPLUS") {
            self.session.command(&["UID EXPUNGE ", set].concat(), "EXPUNGE").await?;
        }
        Ok(())
    }

    pub(super) async fn close(&mut self) {
        // What it says to that is of no interest.
        let _ = self.session.command("LOGOUT", "LOGOUT").await;
    }
}

/// The number in a response code: `* OK [UIDVALIDITY 7] …`.
fn code(text: &str, name: &str) -> Option<u32> {
    let (_, rest) = text.split_once(&["[", name, " "].concat())?;
    rest.split(']').next()?.trim().parse().ok()
}

/// The word after a name.
fn after<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.split_once(name)?.1.split([' ', ')']).next()
}

/// `24-Nov-2026 12:00:00 +0100`, with a blank for a first zero.
fn internal_date(text: &str) -> Option<Time> {
    let text = text.split('"').next()?.trim();
    chrono::DateTime::parse_from_str(text, "%d-%b-%Y %H:%M:%S %z").ok().map(|at| at.to_utc().into())
}
