//! LIST and LSUB (RFC 9051 section 6.3.9, RFC 3501 section 6.3.9).

use std::collections::{BTreeMap, BTreeSet};

use super::{Done, Session, ok};
use crate::imap::command::List;
use crate::store::{AccountId, Mailbox, SpecialUse};

/// A name that LIST may show.
#[derive(Default)]
struct Known {
    /// The mailbox, unless there is only something below the name, or a subscription.
    mailbox: Option<Mailbox>,
    subscribed: bool,
    has_children: bool,
    /// Something below is subscribed.
    subscribed_below: bool,
}

impl Session {
    pub(super) fn list(&mut self, account: AccountId, list: &List) -> Result<Done, Done> {
        let patterns: Vec<String> =
            list.patterns.iter().map(|pattern| self.pattern(&list.reference, pattern)).collect::<Result<_, _>>()?;
        if let [pattern] = list.patterns.as_slice()
            && pattern.is_empty()
        {
            // The client asks for the separator.
            self.out.extend_from_slice(b"* LIST (\\Noselect) \"/\" \"\"\r\n");
            return Ok(ok("LIST done"));
        }
        for (name, known) in self.known(account)? {
            if !patterns.iter().any(|pattern| matches(pattern, &name)) || !chosen(list, &known) {
                continue;
            }
            let mut attributes = Vec::new();
            if known.mailbox.is_none() {
                attributes.push(if self.rev2 { "\\NonExistent" } else { "\\Noselect" });
            }
            attributes.push(if known.has_children { "\\HasChildren" } else { "\\HasNoChildren" });
            if known.subscribed && (list.return_subscribed || list.only_subscribed) {
                attributes.push("\\Subscribed");
            }
            let special = known.mailbox.as_ref().and_then(|mailbox| mailbox.special).map(attribute);
            attributes.extend(special);
            self.put_list("LIST", &attributes, &name);
            if list.recursive_match && known.subscribed_below && !known.subscribed {
                self.out.truncate(self.out.len() - 2);
                self.out.extend_from_slice(b" (\"CHILDINFO\" (\"SUBSCRIBED\"))\r\n");
            }
            if let (Some(mailbox), false) = (&known.mailbox, list.return_status.is_empty()) {
                self.put_status(mailbox, &list.return_status)?;
            }
        }
        Ok(ok("LIST done"))
    }

    pub(super) fn lsub(&mut self, account: AccountId, reference: &[u8], pattern: &[u8]) -> Result<Done, Done> {
        let pattern = self.pattern(reference, pattern)?;
        for (name, known) in self.known(account)? {
            if !matches(&pattern, &name) {
                continue;
            }
            if known.subscribed {
                self.put_list("LSUB", &[], &name);
            } else if known.subscribed_below && pattern.contains('%') {
                self.put_list("LSUB", &["\\Noselect"], &name);
            }
        }
        Ok(ok("LSUB done"))
    }

    /// What SELECT tells of the name under IMAP4rev2.
    pub(super) fn put_list(&mut self, response: &str, attributes: &[&str], name: &str) {
        self.out.extend_from_slice(["* ", response, " (", &attributes.join(" "), ") \"/\" "].concat().as_bytes());
        self.put_name(name);
        self.out.extend_from_slice(b"\r\n");
    }

    fn pattern(&self, reference: &[u8], pattern: &[u8]) -> Result<String, Done> {
        let pattern = [self.decode(reference)?, self.decode(pattern)?].concat();
        let (first, rest) = pattern.split_at(pattern.find('/').unwrap_or(pattern.len()));
        Ok(if first.eq_ignore_ascii_case("INBOX") { ["INBOX", rest].concat() } else { pattern })
    }

    /// All names: mailboxes, those above them, subscriptions; INBOX first.
    fn known(&self, account: AccountId) -> Result<Vec<(String, Known)>, Done> {
        let subscriptions: BTreeSet<String> = self.stores.mailboxes.subscriptions(account)?.into_iter().collect();
        let mut names: BTreeMap<String, Known> = BTreeMap::new();
        for mailbox in self.stores.mailboxes.list(account)? {
            for (end, _) in mailbox.name.match_indices('/') {
                names.entry(mailbox.name[..end].to_owned()).or_default().has_children = true;
            }
            let name = mailbox.name.clone();
            names.entry(name).or_default().mailbox = Some(mailbox);
        }
        for name in subscriptions {
            for (end, _) in name.match_indices('/') {
                names.entry(name[..end].to_owned()).or_default().subscribed_below = true;
            }
            names.entry(name).or_default().subscribed = true;
        }
        let (mut first, rest): (Vec<_>, Vec<_>) = names.into_iter().partition(|(name, _)| name == "INBOX");
        first.extend(rest);
        Ok(first)
    }
}

fn attribute(special: SpecialUse) -> &'static str {
    match special {
        SpecialUse::Archive => "\\Archive",
        SpecialUse::Drafts => "\\Drafts",
        SpecialUse::Junk => "\\Junk",
        SpecialUse::Sent => "\\Sent",
        SpecialUse::Trash => "\\Trash",
    }
}

/// Whether the selection options let a name through.
fn chosen(list: &List, known: &Known) -> bool {
    let special = known.mailbox.as_ref().is_some_and(|mailbox| mailbox.special.is_some());
    if list.only_special && !special {
        return false;
    }
    match list.only_subscribed {
        true => known.subscribed || (list.recursive_match && known.subscribed_below),
        false => known.mailbox.is_some() || known.has_children,
    }
}

/// `*` stands for anything, `%` for anything within a level. Linear in the product of the lengths.
fn matches(pattern: &str, name: &str) -> bool {
    let name = name.as_bytes();
    // reached[n]: the pattern so far matches the first n octets of the name.
    let mut reached = vec![false; name.len() + 1];
    reached[0] = true;
    for wanted in pattern.bytes() {
        match wanted {
            b'*' | b'%' => {
                for at in 1..=name.len() {
                    reached[at] |= reached[at - 1] && (wanted == b'*' || name[at - 1] != b'/');
                }
            }
            octet => {
                for at in (1..=name.len()).rev() {
                    reached[at] = reached[at - 1] && name[at - 1] == octet;
                }
                reached[0] = false;
            }
        }
    }
    reached[name.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_respect_levels() {
        let check = |pattern: &str, expected: &[&str]| {
            let names = ["INBOX", "a", "a/b", "a/b/c", "ab"];
            let found: Vec<&str> = names.into_iter().filter(|name| matches(pattern, name)).collect();
            assert_eq!(found, expected, "{pattern}");
        };
        check("*", &["INBOX", "a", "a/b", "a/b/c", "ab"]);
        check("%", &["INBOX", "a", "ab"]);
        check("a/%", &["a/b"]);
        check("a%", &["a", "ab"]);
        check("*/c", &["a/b/c"]);
        check("%/%", &["a/b"]);
        check("a", &["a"]);
        check("", &[]);
    }
}
