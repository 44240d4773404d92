//! What a row is stored as where that is less than what it says.
//!
//! The text of a reply is its template, which thousands of rows share, and its variable parts; most of those stand in
//! other columns of the row too, and are stored as one octet that says in which. A trace id that follows from the
//! Message-ID is not stored at all. The tables (`schema/0001_mail.sql`) compute both columns when they are asked for.

use std::borrow::Cow;
use std::net::IpAddr;

use super::{Address, Delivery, Reception, Values};
use crate::classify::{template, template_and_values};

/// The variable parts that stand in another column: the octets that the table knows.
const NEXT_QUEUE_ID: &str = "\u{1}";
const MESSAGE_ID: &str = "\u{2}";
const MX_HOST: &str = "\u{3}";
const MX_IP: &str = "\u{4}";
const RECIPIENT: &str = "\u{5}";
const SENDER: &str = "\u{6}";
const QUEUE_ID: &str = "\u{7}";
const RECIPIENT_DOMAIN: &str = "\u{8}";

/// The trace id, where the Message-ID does not tell it.
pub(super) fn trace_of_delivery(row: &Delivery) -> Cow<'_, str> {
    Cow::Borrowed(&row.trace_id)
}

/// The trace id, where the Message-ID does not tell it.
pub(super) fn trace_of_reception(row: &Reception) -> Cow<'_, str> {
    Cow::Borrowed(&row.trace_id)
}

/// The template, also of a row that came without one.
pub(super) fn response_template(row: &Delivery) -> Cow<'_, str> {
    if !row.response_template.is_empty() {
        return Cow::Borrowed(&row.response_template);
    }
    let mut text = String::new();
    template(&row.response, &mut text);
    Cow::Owned(text)
}

/// What stands in the places of the template's asterisks, and after its end. One part more than the template has
/// places for says that the first is the whole text: the template is another's, or a part could be mistaken.
pub(super) fn response_values(row: &Delivery) -> Values<'_> {
    let (mut text, mut values) = (String::new(), Vec::new());
    template_and_values(&row.response, &mut text, &mut |value| values.push(value));
    let template = if row.response_template.is_empty() { &text } else { &row.response_template };
    let mistakable = |value: &&str| matches!(value.as_bytes(), [octet] if *octet < b' ');
    if text == *template && !values.iter().any(mistakable) {
        for value in &mut values {
            *value = known(row, value).unwrap_or(*value);
        }
        return Values(values);
    }
    let places = memchr::memchr_iter(b'*', template.as_bytes()).count() + 1;
    Values(std::iter::once(row.response.as_str()).chain(std::iter::repeat_n("", places)).collect())
}

/// The octet of the column that holds a value.
fn known(row: &Delivery, value: &str) -> Option<&'static str> {
    // An IPv6 address has more than one way to be written.
    let is_ipv4 = |value: &str| match row.mx_ip {
        Some(Address(IpAddr::V4(ip))) => value.len() >= 7 && value.parse() == Ok(ip),
        _ => false,
    };
    let is_address = |user: &str, domain: &str| {
        let rest = value.strip_prefix(user).and_then(|rest| rest.strip_prefix('@'));
        !user.is_empty() && !domain.is_empty() && rest == Some(domain)
    };
    Some(match value {
        _ if value == row.next_queue_id => NEXT_QUEUE_ID,
        _ if value == row.mx_host => MX_HOST,
        _ if is_address(&row.rcpt_user, &row.rcpt_domain) => RECIPIENT,
        _ if is_ipv4(value) => MX_IP,
        _ if value == row.message_id => MESSAGE_ID,
        _ if is_address(&row.sender_user, &row.sender_domain) => SENDER,
        _ if value == row.queue_id => QUEUE_ID,
        _ if value == row.rcpt_domain => RECIPIENT_DOMAIN,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(row: &Delivery) -> Vec<&str> {
        response_values(row).0
    }

    fn row(response: &str) -> Delivery {
        Delivery {
            response: response.into(),
            next_queue_id: "4F0A".into(),
            message_id: "1@example.org".into(),
            mx_host: "mx.example.net".into(),
            mx_ip: "192.0.2.1".parse().ok(),
            rcpt_user: "bob".into(),
            rcpt_domain: "example.net".into(),
            ..Delivery::default()
        }
    }

    #[test]
    fn what_stands_in_another_column_is_one_octet() {
        let row = row("host mx.example.net[192.0.2.1] said: 450 <bob@example.net> later 17 4F0A");
        assert_eq!(response_template(&row), "host *[*] said: 450 <*> later * *");
        assert_eq!(values(&row), [MX_HOST, MX_IP, RECIPIENT, "17", NEXT_QUEUE_ID]);
    }

    #[test]
    fn a_template_of_somebody_else_leaves_the_text_whole() {
        let row = Delivery { response_template: "a * b *".into(), ..row("250 x1 ok") };
        assert_eq!(values(&row), ["250 x1 ok", "", "", ""]);
        assert_eq!(values(&Delivery { response: "\u{1}[x]".into(), ..Delivery::default() }), ["\u{1}[x]", "", ""]);
    }

    #[test]
    fn an_asterisk_of_the_reply_is_a_variable_part_and_a_long_end_is_the_last() {
        assert_eq!((response_template(&row("a ** b")).as_ref(), values(&row("a ** b"))), ("a * b", vec!["**"]));
        let long = ["x1 ", &"word ".repeat(200)].concat();
        let row = row(&long);
        let found = values(&row);
        assert_eq!((found[0], found.len()), ("x1", 2));
        assert!(long.ends_with(found[1]));
    }
}
