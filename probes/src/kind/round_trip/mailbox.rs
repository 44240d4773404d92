//! What a round trip does in the mailbox: waits, searches, files, fetches, and cleans up.

use std::time::Duration;

use aggregator::event::{ProbeOutcome, Time};
use tokio::time::Instant;

use super::message::{Letter, SUBJECT_PREFIX, header};
use super::within;
use crate::conversation::imap::{Command, Folder, Imap};
use crate::conversation::{Class, Fault};

/// How often the mailbox is looked at when the server does not speak up: what a receipt's time is exact to.
const POLL: Duration = Duration::from_millis(50);
/// How often the spam folder is looked at.
const SPAM_POLL: Duration = Duration::from_secs(2);
/// What an earlier run left behind is removed after this time; before, the run may still be under way.
const LEFTOVER_AGE_MS: u64 = 3_600_000;
/// Leftovers that one run removes from a folder; the next ones remove more.
const LEFTOVERS_MAX: usize = 500;

const INBOX: &str = "INBOX";

/// Where a message was found, and when.
pub(super) struct Arrival {
    /// The folder.
    pub folder: String,
    /// Its UIDs there; more than one: it came more than once.
    pub uids: Vec<u32>,
    /// How long it took from when it was sent.
    pub after: Duration,
}

impl Arrival {
    /// Whether it was put into the spam folder.
    pub fn is_spam(&self) -> bool {
        self.folder != INBOX
    }

    /// What that says of the mail system.
    pub fn outcome(&self, objective: Duration) -> ProbeOutcome {
        match self {
            Self { uids, .. } if uids.len() > 1 => ProbeOutcome::Duplicate,
            arrival if arrival.is_spam() => ProbeOutcome::Spam,
            Self { after, .. } if *after > objective => ProbeOutcome::Late,
            _ => ProbeOutcome::Ok,
        }
    }
}

/// Waits until a message with this subject is in INBOX or the spam folder. Each single answer of the server must come
/// within `timeout`.
pub(super) async fn await_message(
    imap: &mut Imap,
    subject: &str,
    limit: Duration,
    timeout: Duration,
) -> Result<Arrival, Fault> {
    let begun = Instant::now();
    let mut spam_due = begun + SPAM_POLL;
    within(timeout, imap.select(INBOX)).await?;
    loop {
        let mut folder = INBOX.to_owned();
        let mut uids = within(timeout, imap.search("SUBJECT", subject)).await?;
        if uids.is_empty() && (Instant::now() >= spam_due || begun.elapsed() >= limit) {
            spam_due += SPAM_POLL;
            if let Some(spam) =
                within(timeout, imap.folders()).await?.into_iter().find(|folder| is(folder, "\\junk", SPAM_NAMES))
            {
                within(timeout, imap.select(&spam.name)).await?;
                uids = within(timeout, imap.search("SUBJECT", subject)).await?;
                within(timeout, imap.select(INBOX)).await?;
                folder = spam.name;
            }
        }
        if !uids.is_empty() {
            return Ok(Arrival { folder, uids, after: begun.elapsed() });
        }
        if begun.elapsed() >= limit {
            return Err(Fault::new(
                Class::Missing,
                format!("it did not come within {} s, neither to INBOX nor to the spam folder", limit.as_secs()),
            ));
        }
        within(timeout + POLL, imap.wait(POLL)).await?;
    }
}

/// Finds the message by its subject and by its text.
pub(super) async fn search(imap: &mut Imap, letter: &Letter, arrival: &Arrival) -> Result<(), Fault> {
    let by_subject = find(imap, letter, arrival).await?;
    let by_text = imap.search("TEXT", &letter.token).await?;
    for (how, found) in [("subject", &by_subject), ("text", &by_text)] {
        if !arrival.uids.iter().all(|uid| found.contains(uid)) {
            return Err(Fault::new(
                Class::Mismatch,
                format!("the message is there, but SEARCH by {how} does not find it"),
            ));
        }
    }
    Ok(())
}

/// Every copy of the message in the folder that it came to.
pub(super) async fn find(imap: &mut Imap, letter: &Letter, arrival: &Arrival) -> Result<Vec<u32>, Fault> {
    imap.select(&arrival.folder).await?;
    imap.search("SUBJECT", &letter.subject).await
}

/// Creates a folder, copies the message there, finds it, deletes the folder.
pub(super) async fn file(
    imap: &mut Imap,
    letter: &Letter,
    arrival: &Arrival,
    run_id: &str,
    begun: Time,
) -> Result<(), Fault> {
    let folder = folder_name(run_id, begun);
    imap.select(&arrival.folder).await?;
    imap.run(Command::new("CREATE").string(&folder)).await?;
    let uid = arrival.uids.first().copied().unwrap_or_default();
    imap.run(Command::new(format!("UID COPY {uid}")).string(&folder)).await?;
    imap.select(&folder).await?;
    let found = imap.search("SUBJECT", &letter.subject).await?;
    imap.select(INBOX).await?;
    imap.run(Command::new("DELETE").string(&folder)).await?;
    match found.len() {
        1 => Ok(()),
        count => {
            Err(Fault::new(Class::Mismatch, format!("one message was copied into the new folder, {count} are there")))
        }
    }
}

/// The whole message.
pub(super) async fn fetch(imap: &mut Imap, arrival: &Arrival) -> Result<Vec<u8>, Fault> {
    imap.select(&arrival.folder).await?;
    let first = &arrival.uids[..arrival.uids.len().min(1)];
    let messages = imap.fetch(first, "(UID RFC822.SIZE BODY.PEEK[])").await?;
    let message = messages.into_iter().find(|message| first.contains(&message.uid));
    let message = message.ok_or_else(|| Fault::new(Class::Mismatch, "FETCH does not give the message"))?;
    match message.size {
        Some(size) if size != message.part.len() => {
            let came = message.part.len();
            Err(Fault::new(Class::Mismatch, format!("the server says {size} octets, and {came} came")))
        }
        _ => Ok(message.part),
    }
}

/// Removes every probe message and folder of this run, and those that earlier runs left behind.
pub(super) async fn clean(imap: &mut Imap, run_id: &str, now: Time) -> Result<(), Fault> {
    let folders = imap.folders().await?;
    let ours = |folder: &&Folder| {
        folder.name.eq_ignore_ascii_case(INBOX)
            || is(folder, "\\sent", SENT_NAMES)
            || is(folder, "\\junk", SPAM_NAMES)
            || is(folder, "\\trash", TRASH_NAMES)
    };
    for folder in folders.iter().filter(ours) {
        clean_folder(imap, &folder.name, run_id, now).await?;
    }
    imap.select(INBOX).await?;
    for folder in folders.iter().filter(|folder| is_leftover_folder(&folder.name, run_id, now)) {
        imap.run(Command::new("DELETE").string(&folder.name)).await?;
    }
    Ok(())
}

async fn clean_folder(imap: &mut Imap, folder: &str, run_id: &str, now: Time) -> Result<(), Fault> {
    imap.select(folder).await?;
    let mut uids = imap.search("SUBJECT", SUBJECT_PREFIX).await?;
    // This run's messages are the newest: they have the highest UIDs.
    uids.sort_unstable_by(|a, b| b.cmp(a));
    uids.truncate(LEFTOVERS_MAX);
    if uids.is_empty() {
        return Ok(());
    }
    let messages = imap.fetch(&uids, "(UID INTERNALDATE BODY.PEEK[HEADER.FIELDS (SUBJECT)])").await?;
    let of_a_probe = messages.into_iter().filter_map(|message| {
        let subject = header(&message.part, "subject")?;
        let old = message.received.is_some_and(|at| now.millis_since(at) > LEFTOVER_AGE_MS);
        let rest = subject.strip_prefix(SUBJECT_PREFIX)?;
        (old || rest.split(' ').next() == Some(run_id)).then_some(message.uid)
    });
    let uids: Vec<u32> = of_a_probe.collect();
    if uids.is_empty() { Ok(()) } else { imap.delete(&uids).await }
}

const SENT_NAMES: &[&str] = &["sent", "sent items", "sent messages"];
const SPAM_NAMES: &[&str] = &["junk", "spam", "junk e-mail", "bulk mail"];
const TRASH_NAMES: &[&str] = &["trash", "deleted items", "deleted messages"];

/// Whether a folder is for that use: by its attribute (RFC 6154), or by its name where servers give none.
fn is(folder: &Folder, attribute: &str, names: &[&str]) -> bool {
    let name = folder.name.to_ascii_lowercase();
    let name = name.strip_prefix("inbox.").or(name.strip_prefix("inbox/")).unwrap_or(&name);
    let open = !folder.attributes.iter().any(|known| known == "\\noselect" || known == "\\nonexistent");
    open && (folder.attributes.iter().any(|known| known == attribute) || names.contains(&name))
}

/// A folder of a run carries the time, so that what a crash left behind is known as such.
fn folder_name(run_id: &str, begun: Time) -> String {
    format!("{SUBJECT_PREFIX}{} {run_id}", begun.seconds())
}

fn is_leftover_folder(name: &str, run_id: &str, now: Time) -> bool {
    let Some((seconds, of)) = name.strip_prefix(SUBJECT_PREFIX).and_then(|rest| rest.split_once(' ')) else {
        return false;
    };
    let begun = seconds.parse().map(Time::from_seconds);
    begun.is_ok_and(|begun| of == run_id || now.millis_since(begun) > LEFTOVER_AGE_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_left_over_when_it_is_ours_or_an_hour_old() {
        let begun = Time::from_seconds(1_795_000_000);
        let name = folder_name("r1", begun);
        assert_eq!(name, "Varde probe 1795000000 r1");
        assert!(is_leftover_folder(&name, "r1", begun));
        assert!(!is_leftover_folder(&name, "r2", begun.plus_millis(3_600_000)));
        assert!(is_leftover_folder(&name, "r2", begun.plus_millis(3_600_001)));
        assert!(!is_leftover_folder("Varde probe of my own", "r1", begun));
    }

    #[test]
    fn an_arrival_is_judged_by_its_worst_side() {
        let outcome = |folder: &str, uids: &[u32], ms| {
            let arrival = Arrival { folder: folder.to_owned(), uids: uids.to_vec(), after: Duration::from_millis(ms) };
            arrival.outcome(Duration::from_secs(5))
        };
        assert_eq!(outcome(INBOX, &[1], 5_000), ProbeOutcome::Ok);
        assert_eq!(outcome(INBOX, &[1], 5_001), ProbeOutcome::Late);
        assert_eq!(outcome("Junk", &[1], 9_000), ProbeOutcome::Spam);
        assert_eq!(outcome("Junk", &[1, 2], 9_000), ProbeOutcome::Duplicate);
    }

    #[test]
    fn the_spam_folder_is_known_by_attribute_or_name() {
        let folder = |name: &str, attributes: &[&str]| Folder {
            name: name.to_owned(),
            attributes: attributes.iter().map(|attribute| (*attribute).to_owned()).collect(),
        };
        assert!(is(&folder("Unerwünscht", &["\\junk"]), "\\junk", SPAM_NAMES));
        assert!(is(&folder("INBOX.Spam", &[]), "\\junk", SPAM_NAMES));
        assert!(!is(&folder("Spam", &["\\noselect"]), "\\junk", SPAM_NAMES));
        assert!(!is(&folder("Spam recipes", &[]), "\\junk", SPAM_NAMES));
    }
}
