//! Commands as clients write them, and what they are read as.

use proptest::prelude::*;

use super::*;
use crate::imap::command::{By, Command, FetchItem, Key, Section, SectionText, StoreCommand, When};
use crate::imap::sequence::{Bound, SequenceSet};
use crate::store::{FlagChange, Flags};

fn one(number: u32) -> SequenceSet {
    SequenceSet::Ranges(vec![(Bound::Number(number), Bound::Number(number))])
}

#[track_caller]
fn check(input: &str, expected: Command) {
    assert_eq!(parse(input.as_bytes()), Ok(Tagged { tag: "a".to_owned(), command: expected }), "{input}");
}

#[track_caller]
fn refuse(input: &str, text: &'static str) {
    assert_eq!(parse(input.as_bytes()), Err(Complaint { tag: Some("a".to_owned()), text }), "{input}");
}

#[test]
fn strings_are_atoms_quoted_or_literals() {
    let login = || Command::Login { user: b"a]b".to_vec(), password: b"p\"\\ \r\n".to_vec() };
    check("a login a]b {6}\r\np\"\\ \r\n", login());
    check("a LOGIN \"a]b\" {6+}\r\np\"\\ \r\n", login());
    refuse("a LOGIN \"a\\b\" c", "only \" and \\ can be quoted with a backslash");
    refuse("a LOGIN a", "a space is missing");
    refuse("a LOGIN a b c", "there is more than the command takes");
}

#[test]
fn fetch_sections_have_parts_fields_and_ranges() {
    let fields = SectionText::Fields(vec![b"From".to_vec(), b"To".to_vec()]);
    let section = Section { part: vec![1, 2], text: fields };
    check(
        "a UID FETCH 1 (FLAGS BODY.PEEK[1.2.HEADER.FIELDS (From To)]<0.10>)",
        Command::Fetch {
            by: By::Uid,
            set: one(1),
            items: vec![FetchItem::Flags, FetchItem::Section { peek: true, section, partial: Some((0, 10)) }],
            changed_since: None,
        },
    );
    refuse("a FETCH 1 BODY[MIME]", "there is no such section");
    refuse("a FETCH 1 BODY[1.]", "a section does not end with a dot");
    refuse("a FETCH 1 BODY[1TEXT]", "a part number is parted by dots");
    refuse("a FETCH 0 FLAGS", "a message number is missing or wrong");
    refuse("a FETCH 1 (FLAGS", "a space is missing");
    refuse("a FETCH 1 ALLX", "there is more than the command takes");
}

#[test]
fn search_keys_nest_and_have_dates() {
    check(
        "a SEARCH CHARSET UTF-8 OR UNSEEN (FROM x SINCE 1-Feb-1970) NOT 1:*",
        Command::Search {
            by: By::Sequence,
            options: None,
            charset: Some("UTF-8".to_owned()),
            key: Key::And(vec![
                Key::Or(Box::new((
                    Key::Not(Box::new(Key::Flag(Flags::SEEN))),
                    Key::And(vec![
                        Key::Header { field: "FROM".to_owned(), text: "x".to_owned() },
                        Key::Arrived(When::Since, 31),
                    ]),
                ))),
                Key::Not(Box::new(Key::Sequence(SequenceSet::Ranges(vec![(Bound::Number(1), Bound::Largest)])))),
            ]),
        },
    );
    refuse(&["a SEARCH ", &"(".repeat(5000)].concat(), "the search keys are nested too deeply");
    refuse(&["a SEARCH ", &"NOT ".repeat(5000), "ALL"].concat(), "the search keys are nested too deeply");
    refuse("a SEARCH", "its arguments are missing");
    refuse("a SEARCH BOGUS", "there is no such search key");
}

#[test]
fn a_fetch_names_a_hundred_header_fields_at_most() {
    let fetch = |count: usize| ["a FETCH 1 BODY[HEADER.FIELDS (From", &" x".repeat(count - 1), ")]"].concat();
    assert!(matches!(parse(fetch(100).as_bytes()), Ok(Tagged { command: Command::Fetch { .. }, .. })));
    refuse(&fetch(101), "HEADER.FIELDS takes at most 100 names");
}

#[test]
fn store_takes_flags_with_and_without_parentheses() {
    let store = |silent| Command::Store {
        by: By::Sequence,
        set: one(2),
        store: StoreCommand {
            change: FlagChange::Add,
            silent,
            flags: Flags::SEEN | Flags::DELETED,
            keywords: vec!["$Junk".to_owned()],
            unchanged_since: None,
        },
    };
    check("a STORE 2 +FLAGS (\\Seen \\deleted $Junk)", store(false));
    check("a store 2 +flags.silent \\Seen \\Deleted $Junk", store(true));
    refuse("a STORE 2 FLAGS (\\Bogus)", "there is no such system flag");
}

#[test]
fn what_has_no_tag_is_told_so() {
    for input in ["", "a", "+ NOOP", "\"a\" NOOP", "\r"] {
        assert_eq!(parse(input.as_bytes()).unwrap_err().tag, None, "{input:?}");
    }
    refuse("a ", "a command is missing");
    refuse("a XYZZY", "there is no such command");
    refuse("a NOOP x", "there is more than the command takes");
}

proptest! {
    #[test]
    fn arbitrary_octets_never_panic(octets in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = parse(&octets);
    }

    #[test]
    fn words_of_the_grammar_in_any_order_never_panic(words in proptest::collection::vec(prop_oneof![
        Just("a "), Just("UID "), Just("FETCH "), Just("SEARCH "), Just("STORE "), Just("LIST "), Just("APPEND "),
        Just("("), Just(")"), Just("\""), Just("{3}\r\n"), Just("{99999999999999999999}\r\n"), Just("1:*"), Just("4294967296"),
        Just("BODY["), Just("]"), Just("<0.1>"), Just("NOT "), Just("OR "), Just("RETURN "), Just("\\Seen "), Just(" "), Just("FLAGS "),
    ], 0..40)) {
        let _ = parse(words.concat().as_bytes());
    }
}
