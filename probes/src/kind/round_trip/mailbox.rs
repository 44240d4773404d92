//! What a round trip does in the mailbox: waits, searches, files, fetches, and cleans up.

use std::time::Duration;

use aggregator::event::Time;
use tokio::time::Instant;

use super::letter::{Letter, PROBE_HEADER, SUBJECT_PREFIX, header};
use super::sweep::{self, Candidate, LEFTOVER_AGE_MS};
use super::{Arrival, INBOX, POLL, missing, within};
use crate::conversation::imap::{Command, Folder, Imap};
use crate::conversation::{Class, Fault};
use crate::kind::{Awaited, Finding};

/// How long the server is left to speak up in one IDLE.
const IDLE: Duration = Duration::from_secs(1);
/// How often the spam folder is looked at.
const SPAM_POLL: Duration = Duration::from_secs(2);
/// Leftovers that one run removes from a folder; the next ones remove more.
const LEFTOVERS_MAX: usize = 500;
/// Messages without a probe header that are looked into, and how far.
const UNPROVEN_MAX: usize = 20;
const PROOF_OCTETS: usize = 32 * 1024;

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
            return Ok(Arrival { folder, copies: uids.len(), uids, after: begun.elapsed(), ..Arrival::default() });
        }
        if begun.elapsed() >= limit {
            return Err(missing(limit, "neither to INBOX nor to the spam folder"));
        }
        let pause = if imap.can("IDLE") { IDLE } else { POLL };
        within(timeout + pause, imap.wait(pause)).await?;
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

/// Removes the probe messages that are due and the probe folders, and says which of them came late.
pub(super) async fn clean(
    imap: &mut Imap,
    run_id: &str,
    awaited: &[Awaited],
    now: Time,
) -> Result<Vec<Finding>, Fault> {
    let folders = imap.folders().await?;
    let mut findings = Vec::new();
    for folder in &folders {
        let arrives = folder.name.eq_ignore_ascii_case(INBOX) || is(folder, "\\junk", SPAM_NAMES);
        if arrives || is(folder, "\\sent", SENT_NAMES) || is(folder, "\\trash", TRASH_NAMES) {
            let arrived_in = arrives.then(|| folder.name.clone());
            findings.extend(clean_folder(imap, &folder.name, arrived_in, run_id, awaited, now).await?);
        }
    }
    imap.select(INBOX).await?;
    for folder in folders.iter().filter(|folder| is_leftover_folder(&folder.name, run_id, now)) {
        imap.run(Command::new("DELETE").string(&folder.name)).await?;
    }
    Ok(findings)
}

async fn clean_folder(
    imap: &mut Imap,
    folder: &str,
    arrived_in: Option<String>,
    run_id: &str,
    awaited: &[Awaited],
    now: Time,
) -> Result<Vec<Finding>, Fault> {
    imap.select(folder).await?;
    let mut uids = imap.search("SUBJECT", SUBJECT_PREFIX).await?;
    // This run's messages are the newest: they have the highest UIDs.
    uids.sort_unstable_by(|a, b| b.cmp(a));
    uids.truncate(LEFTOVERS_MAX);
    if uids.is_empty() {
        return Ok(Vec::new());
    }
    let items = format!("(UID INTERNALDATE BODY.PEEK[HEADER.FIELDS (SUBJECT {PROBE_HEADER})])");
    let messages = imap.fetch(&uids, &items).await?;
    let candidates = messages.into_iter().filter_map(|message| {
        let subject = header(&message.part, "subject")?;
        let probe = header(&message.part, PROBE_HEADER);
        Candidate::new(message.uid, &subject, probe, message.received, arrived_in.clone())
    });
    let mut candidates: Vec<Candidate<u32>> = candidates.collect();
    let unproven = candidates.iter_mut().filter(|one| one.is_unproven() && one.is_due(run_id, awaited, now));
    for candidate in unproven.take(UNPROVEN_MAX) {
        let messages = imap.fetch(&[candidate.id], &format!("(UID BODY.PEEK[]<0.{PROOF_OCTETS}>)")).await?;
        messages.iter().for_each(|message| candidate.prove(&message.part));
    }
    let (due, findings) = sweep::sort(&candidates, run_id, awaited, now);
    if !due.is_empty() {
        imap.delete(&due).await?;
    }
    Ok(findings)
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
    fn a_folder_is_left_over_when_it_is_ours_or_old() {
        let begun = Time::from_seconds(1_795_000_000);
        let name = folder_name("r1", begun);
        assert_eq!(name, "Varde probe 1795000000 r1");
        assert!(is_leftover_folder(&name, "r1", begun));
        assert!(!is_leftover_folder(&name, "r2", begun.plus_millis(LEFTOVER_AGE_MS as i64)));
        assert!(is_leftover_folder(&name, "r2", begun.plus_millis(LEFTOVER_AGE_MS as i64 + 1)));
        assert!(!is_leftover_folder("Varde probe of my own", "r1", begun));
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
