//! What a list of messages shows of each, taken from its header once, when it is stored.

use aggregator::event::Time;
use mail_parser::MessageParser;

/// Characters of a header field that are kept.
const FIELD_CHARS: usize = 300;

/// What is kept of a header.
pub(super) struct Summary {
    pub(super) subject: String,
    pub(super) author: String,
    pub(super) date: Time,
    pub(super) message_id: String,
}

impl Summary {
    /// Reads the header at the beginning of `body`; `at` stands in for a Date that cannot be read.
    pub(super) fn of(body: &[u8], at: Time) -> Self {
        let parsed = MessageParser::default().parse_headers(body);
        let Some(message) = parsed else {
            return Self { subject: String::new(), author: String::new(), date: at, message_id: String::new() };
        };
        let from = message.from().and_then(|from| from.first());
        let author = from.and_then(|from| from.name().filter(|name| !name.is_empty()).or(from.address()));
        Self {
            subject: cut(message.subject()),
            author: cut(author),
            date: message.date().map_or(at, |date| Time::from_seconds(date.to_timestamp())),
            message_id: cut(message.message_id()),
        }
    }
}

fn cut(text: Option<&str>) -> String {
    text.unwrap_or_default().chars().filter(|c| !c.is_control()).take(FIELD_CHARS).collect()
}
