//! Masking of local parts: who wrote to whom stays out of the events, and what can be counted stays in.
//!
//! **In**: events, before anything is written to a disk. **Out**: the same events with the local part of every address
//! and every user name replaced: by a keyed hash, so that equal users stay equal within a site, or by nothing.
//!
//! Masking twice is masking once: a hash carries a tag that only the site's key can make, so that what is masked
//! already is known and stays. That lets the spool mask whatever comes, although a log's lines were masked before.

#[cfg(test)]
mod tests;
mod text;

use serde::{Deserialize, Serialize};

use crate::event::Event;

/// What becomes of local parts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Masking {
    /// They stay.
    #[default]
    Off,
    /// A keyed hash stands in their place.
    Hash,
    /// They go; `*` stands for them in free text.
    Drop,
}

impl std::str::FromStr for Masking {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(Self::Off),
            "hash" => Ok(Self::Hash),
            "drop" => Ok(Self::Drop),
            _ => Err("it is one of off, hash, drop".to_owned()),
        }
    }
}

/// Octets of the hash, and of its tag, as they are written: five bits each.
const HASH_CHARS: usize = 12;
/// See [`HASH_CHARS`].
const TAG_CHARS: usize = 6;
/// Begins every hash. It may stand in a local part (RFC 5322 section 3.2.3), so masked addresses are addresses still.
const MARK: char = '~';
/// What stands for a local part that was dropped, in free text.
const DROPPED: &str = "*";

/// How the events of a site are masked. `Debug` does not show the key.
#[derive(Clone, Default)]
pub struct Mask(Kind);

#[derive(Clone, Default)]
enum Kind {
    #[default]
    Off,
    Drop,
    Hash(Box<Keys>),
}

#[derive(Clone)]
struct Keys {
    hash: [u8; 32],
    tag: [u8; 32],
}

impl std::fmt::Debug for Mask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.0 {
            Kind::Off => "Mask::Off",
            Kind::Drop => "Mask::Drop",
            Kind::Hash(_) => "Mask::Hash",
        })
    }
}

impl Mask {
    /// The mask of a site; `secret` is the content of its key's file, and matters for [`Masking::Hash`] only.
    pub fn new(masking: Masking, secret: &str) -> Self {
        Self(match masking {
            Masking::Off => Kind::Off,
            Masking::Drop => Kind::Drop,
            Masking::Hash => Kind::Hash(Box::new(Keys {
                hash: blake3::derive_key("varde: local parts of mail addresses", secret.as_bytes()),
                tag: blake3::derive_key("varde: tags of hashed local parts", secret.as_bytes()),
            })),
        })
    }

    /// Whether there is nothing to do.
    pub fn is_off(&self) -> bool {
        matches!(self.0, Kind::Off)
    }

    /// Masks one event.
    pub fn event(&self, event: &mut Event) {
        self.line(std::slice::from_mut(event));
    }

    /// Masks the events of one log line, the line itself among them: the users whom some of them name are masked in
    /// the texts of all.
    pub fn line(&self, events: &mut [Event]) {
        if self.is_off() {
            return;
        }
        let (mut users, mut keep) = (Vec::new(), Vec::new());
        for event in events.iter() {
            people(event, &mut users, &mut keep);
        }
        users.retain(|user| !user.is_empty() && !self.is_masked(user));
        users.sort_unstable_by_key(|user| std::cmp::Reverse(user.len()));
        users.dedup();
        for event in events {
            self.columns(event, &users, &keep);
        }
    }

    /// A free text with every address, and every user that the text or `users` names, masked. `keep` are Message-IDs:
    /// they look like addresses.
    pub fn text(&self, text: &str, users: &[String], keep: &[String]) -> String {
        let mut out = String::with_capacity(text.len() + 32);
        let mut done = 0;
        for span in text::spans(text, users, keep) {
            out.push_str(text.get(done..span.start).unwrap_or_default());
            match self.local(text.get(span.clone()).unwrap_or_default()).as_str() {
                "" => out.push_str(DROPPED),
                masked => out.push_str(masked),
            }
            done = span.end;
        }
        out.push_str(text.get(done..).unwrap_or_default());
        out
    }

    fn columns(&self, event: &mut Event, users: &[String], keep: &[String]) {
        let free = |text: &mut String| {
            if !text.is_empty() {
                *text = self.text(text, users, keep);
            }
        };
        match event {
            Event::Reception(row) => {
                self.user(&mut row.auth_user);
                self.local_part(&mut row.sender_user);
                [&mut row.response, &mut row.helo].into_iter().for_each(free);
            }
            Event::Delivery(row) => {
                self.local_part(&mut row.sender_user);
                self.local_part(&mut row.rcpt_user);
                [&mut row.response, &mut row.response_template].into_iter().for_each(free);
            }
            Event::Session(row) => self.user(&mut row.user),
            Event::AuthEvent(row) => {
                self.user(&mut row.user);
                free(&mut row.reason);
            }
            Event::Complaint(row) => self.local_part(&mut row.sender_user),
            Event::Bounce(row) => {
                self.local_part(&mut row.sender_user);
                self.local_part(&mut row.rcpt_user);
                self.user(&mut row.original_rcpt);
                [&mut row.envelope_id, &mut row.response, &mut row.response_template].into_iter().for_each(free);
            }
            Event::AutoReply(row) => {
                self.local_part(&mut row.from_user);
                self.local_part(&mut row.to_user);
                free(&mut row.subject);
            }
            Event::DmarcFailure(row) => free(&mut row.auth_results),
            Event::DmarcRow(row) => free(&mut row.override_reason),
            Event::TlsRptRow(row) => free(&mut row.reason),
            Event::RawLine(row) => free(&mut row.line),
            Event::ProbeRun(row) => free(&mut row.error),
            Event::ProbeStep(row) => free(&mut row.detail),
            // Evidence is chained by its hashes, and a page's receipt is about our own engineers: they stay.
            Event::EvidenceRow(_) | Event::PageRow(_) => {}
            Event::IncidentRow(_) | Event::RemedyRow(_) | Event::VerdictRow(_) => {}
            Event::QueueSample(_) | Event::ResourceSample(_) => {}
            Event::BlocklistHit(_) | Event::PostureCheck(_) | Event::PostureChange(_) => {}
        }
    }

    /// A column that holds a user, with or without a domain.
    fn user(&self, user: &mut String) {
        match user.rfind('@') {
            Some(at) => *user = [&self.local(&user[..at]), &user[at..]].concat(),
            None => self.local_part(user),
        }
    }

    fn local_part(&self, local: &mut String) {
        *local = self.local(local);
    }

    /// What stands for a local part.
    fn local(&self, local: &str) -> String {
        match &self.0 {
            Kind::Off => local.to_owned(),
            Kind::Drop => String::new(),
            Kind::Hash(_) if local.is_empty() || local == DROPPED || self.is_masked(local) => local.to_owned(),
            Kind::Hash(keys) => {
                let mut masked = String::with_capacity(1 + HASH_CHARS + TAG_CHARS);
                masked.push(MARK);
                letters(&keys.hash, local, HASH_CHARS, &mut masked);
                let tag = letters_of(&keys.tag, masked.get(1..).unwrap_or_default());
                masked.push_str(&tag);
                masked
            }
        }
    }

    /// Whether it is a hash that this site's key has made.
    fn is_masked(&self, local: &str) -> bool {
        let Kind::Hash(keys) = &self.0 else { return local == DROPPED };
        let Some(rest) = local.strip_prefix(MARK) else { return false };
        rest.len() == HASH_CHARS + TAG_CHARS
            && rest.split_at_checked(HASH_CHARS).is_some_and(|(hash, tag)| tag == letters_of(&keys.tag, hash))
    }
}

fn letters_of(key: &[u8; 32], text: &str) -> String {
    let mut out = String::with_capacity(TAG_CHARS);
    letters(key, text, TAG_CHARS, &mut out);
    out
}

/// So many letters of a keyed hash, five bits each, without those that people confuse.
fn letters(key: &[u8; 32], text: &str, count: usize, out: &mut String) {
    const ALPHABET: &[u8; 32] = b"abcdefghjkmnpqrstuvwxyz123456789";
    let hash = blake3::keyed_hash(key, text.as_bytes());
    out.extend(hash.as_bytes().iter().take(count).map(|byte| char::from(ALPHABET[usize::from(byte & 31)])));
}

/// The users whom an event names, and the Message-IDs that are none.
fn people(event: &Event, users: &mut Vec<String>, keep: &mut Vec<String>) {
    let local = |user: &str| user.rfind('@').map_or(user, |at| &user[..at]).to_owned();
    match event {
        Event::Reception(row) => {
            users.extend([local(&row.auth_user), row.sender_user.clone()]);
            keep.push(row.message_id.clone());
        }
        Event::Delivery(row) => {
            users.extend([row.sender_user.clone(), row.rcpt_user.clone()]);
            keep.push(row.message_id.clone());
        }
        Event::Session(row) => users.push(local(&row.user)),
        Event::AuthEvent(row) => users.push(local(&row.user)),
        Event::Complaint(row) => users.push(row.sender_user.clone()),
        Event::Bounce(row) => {
            users.extend([row.sender_user.clone(), row.rcpt_user.clone(), local(&row.original_rcpt)]);
            keep.push(row.message_id.clone());
        }
        Event::AutoReply(row) => {
            users.extend([row.from_user.clone(), row.to_user.clone()]);
            keep.push(row.message_id.clone());
        }
        Event::DmarcFailure(row) => keep.push(row.message_id.clone()),
        _ => {}
    }
}
