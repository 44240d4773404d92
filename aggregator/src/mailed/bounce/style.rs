//! The styles of free-form bounces: one line each.

use super::super::mime::Head;
use super::layout::{self, Failed};

/// A program's way to word a bounce.
struct Style {
    /// What the column `style` says.
    name: &'static str,
    /// Phrases by which it is known, in lower case, in the text for people.
    phrases: &'static [&'static str],
    /// How it sets out recipients and reasons.
    layout: fn(&Head, &str) -> Vec<Failed>,
}

/// Every style, the specific before the general.
const STYLES: &[Style] = &[
    Style {
        name: "qmail",
        phrases: &["this is the qmail-send program", "this is the machine generated message from mail service"],
        layout: layout::paragraphs,
    },
    Style {
        name: "exim",
        phrases: &[
            "this message was created automatically by mail delivery software",
            "a message that you sent could not be delivered to one or more of its",
            "a message that you sent has not yet been delivered to one or more of its",
        ],
        layout: layout::indented,
    },
    Style {
        name: "sendmail",
        phrases: &[
            "the following addresses had permanent fatal errors",
            "the following addresses had transient non-fatal errors",
            "transcript of session follows",
        ],
        layout: layout::transcript,
    },
    Style {
        name: "postfix",
        phrases: &["this is the mail system at host", "this is the postfix program at host"],
        layout: layout::said,
    },
    Style {
        name: "exchange",
        phrases: &[
            "did not reach the following recipient",
            "your message did not reach some or all of the intended recipients",
            "delivery has failed to these recipients",
            "couldn't be delivered",
        ],
        layout: layout::listed,
    },
    Style {
        name: "google",
        phrases: &[
            "delivery to the following recipient failed",
            "your message wasn't delivered to",
            "address not found",
        ],
        layout: layout::listed,
    },
    Style {
        name: "yahoo",
        phrases: &[
            "unable to deliver message to the following address",
            "sorry, we were unable to deliver your message",
        ],
        layout: layout::paragraphs,
    },
    Style {
        name: "courier",
        phrases: &["undeliverable mail", "this is a delivery status notification from"],
        layout: layout::said,
    },
    Style { name: "domino", phrases: &["your document:", "failure reasons"], layout: layout::listed },
];

/// Subjects of what no style knows, in lower case.
const SUBJECTS: [&str; 16] = [
    "undeliver",
    "returned mail",
    "failure notice",
    "delivery status notification",
    "delivery failure",
    "mail delivery",
    "delivery notification",
    "could not be delivered",
    "not delivered",
    "unzustellbar",
    "non remis",
    "no se pudo entregar",
    "mancata consegna",
    "onbestelbaar",
    "kan ikke leveres",
    "returned to sender",
];

/// The style of a bounce and its recipients; `None` when it is none, or names nobody.
pub(super) fn find(head: &Head, words: &str) -> Option<(&'static str, Vec<Failed>)> {
    let lower = layout::begin(words).to_lowercase();
    for style in STYLES.iter().filter(|style| style.phrases.iter().any(|phrase| lower.contains(phrase))) {
        let failed = (style.layout)(head, words);
        if !failed.is_empty() {
            return Some((style.name, failed));
        }
    }
    let subject = head.text("subject").to_lowercase();
    let told = head.get("x-failed-recipients").is_some() || SUBJECTS.iter().any(|word| subject.contains(word));
    if !told {
        return None;
    }
    let layouts = [layout::paragraphs, layout::said, layout::indented, layout::listed];
    let failed = layouts.into_iter().map(|layout| layout(head, words)).find(|failed| !failed.is_empty())?;
    Some(("other", failed))
}
