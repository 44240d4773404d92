//! One event of Stalwart, from a line of text or from JSON.

use std::borrow::Cow;

use serde_json::Value as Json;

use crate::event::Time;

/// Keys of one event that are looked at: it has a dozen, and a hostile line no end of them.
const KEYS: usize = 64;

/// An event: when, what, and its keys in their order. The keys of its session come first; one may come twice.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Record {
    pub time: Time,
    /// `delivery.delivered`
    pub kind: String,
    /// `Message delivered`; empty when the JSON leaves it out.
    pub description: String,
    keys: Vec<(String, Vec<String>)>,
}

/// The events of a line; none when it has no event's form.
pub(super) fn read(line: &str) -> Vec<Record> {
    if line.starts_with('{') {
        return from_json(line);
    }
    let plain = without_colour(line);
    from_text(&plain).into_iter().collect()
}

impl Record {
    /// The value of a key when it has one; the first of a list.
    pub(super) fn text(&self, key: &str) -> &str {
        self.list(key).first().map_or("", String::as_str)
    }

    /// The values of a key.
    pub(super) fn list(&self, key: &str) -> &[String] {
        self.keys.iter().find(|(name, _)| name == key).map_or(&[], |(_, values)| values)
    }

    /// The values of a key where it comes last.
    pub(super) fn last(&self, key: &str) -> &[String] {
        self.keys.iter().rev().find(|(name, _)| name == key).map_or(&[], |(_, values)| values)
    }

    /// What tells one session from another.
    pub(super) fn session(&self) -> String {
        format!("{} {}", self.text("remoteIp"), self.text("remotePort"))
    }

    /// The protocol of the port that a client came to (RFC 6335's registry), else of the listener's usual name.
    pub(super) fn protocol(&self) -> &'static str {
        match self.text("localPort") {
            "25" => "smtp",
            "465" | "587" => "submission",
            "143" | "993" => "imap",
            "110" | "995" => "pop3",
            "4190" => "sieve",
            "80" | "443" | "8080" => "web",
            _ => match self.text("listenerId") {
                "smtp" => "smtp",
                "submission" | "submissions" => "submission",
                "imap" | "imaptls" | "imaps" => "imap",
                "pop3" | "pop3s" => "pop3",
                "sieve" => "sieve",
                "http" | "https" => "web",
                _ => "",
            },
        }
    }

    /// The result of `spf-from-pass`, `dkim-fail` and their like in the words of RFC 8601.
    pub(super) fn check(&self, kind: &str) -> &'static str {
        if kind.ends_with("-pass") {
            return "pass";
        }
        if !kind.ends_with("-fail") {
            return "";
        }
        let Some(result) = self.list("result").first() else {
            // An empty list: no signature.
            return if self.keys.iter().any(|(key, _)| key == "result") { "none" } else { "fail" };
        };
        let word = |name: &str| result.contains(&format!(".{name}"));
        match () {
            () if word("soft-fail") => "softfail",
            () if word("neutral") => "neutral",
            () if word("temp-error") => "temperror",
            () if word("perm-error") => "permerror",
            () if word("none") => "none",
            () => "fail",
        }
    }
}

/// A terminal's colours, which some versions write into files.
fn without_colour(line: &str) -> Cow<'_, str> {
    if !line.contains('\u{1b}') {
        return Cow::Borrowed(line);
    }
    let mut plain = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((before, after)) = rest.split_once("\u{1b}[") {
        plain.push_str(before);
        rest = after.split_once('m').map_or("", |(_, rest)| rest);
    }
    plain.push_str(rest);
    Cow::Owned(plain)
}

/// `TIME LEVEL Description (family.kind) key = value, key = value`
fn from_text(line: &str) -> Option<Record> {
    let (time, rest) = line.split_once(' ')?;
    let time = time.parse().ok()?;
    let (level, rest) = rest.split_once(' ')?;
    if !matches!(level, "ERROR" | "WARN" | "INFO" | "DEBUG" | "TRACE") {
        return None;
    }
    let (description, rest) = rest.split_once(" (")?;
    let (kind, rest) = rest.split_once(')')?;
    if !kind.contains('.') || kind.contains(' ') {
        return None;
    }
    let mut keys = Vec::new();
    let mut rest = rest.trim_start_matches(' ');
    while keys.len() < KEYS
        && let Some((key, after)) = rest.split_once(" = ")
    {
        let (values, after) = value(after);
        keys.push((key.to_owned(), values));
        rest = after.trim_start_matches([',', ' ']);
    }
    Some(Record { time, kind: kind.to_owned(), description: description.to_owned(), keys })
}

/// A value and what is behind it.
fn value(text: &str) -> (Vec<String>, &str) {
    let Some(mut rest) = text.strip_prefix('[') else {
        let (value, rest) = single(text, key_follows);
        return (value.into_iter().collect(), rest);
    };
    let mut values = Vec::new();
    loop {
        rest = rest.trim_start_matches([',', ' ']);
        if rest.is_empty() || values.len() >= KEYS {
            return (values, rest);
        }
        if let Some(after) = rest.strip_prefix(']') {
            return (values, after);
        }
        let (value, after) = single(rest, |_| true);
        // A word that ends a list takes its bracket along.
        let (value, after) = match value {
            Some(value) if !rest.starts_with('"') && value.ends_with(']') => {
                (Some(value.trim_end_matches(']').to_owned()), "")
            }
            value => (value, after),
        };
        values.extend(value);
        if after.len() >= rest.len() {
            return (values, "");
        }
        rest = after;
    }
}

/// Whether the next key begins here.
fn key_follows(text: &str) -> bool {
    let end = text.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(text.len());
    end > 0 && text.get(end..).is_some_and(|after| after.starts_with(" = "))
}

/// A string in quotes, which are not escaped inside: its end is the quote before a sign that can follow, and before a
/// comma only if `next` can follow that. Or a word, or an event, `Description (family.kind) { … }`.
fn single(text: &str, next: impl Fn(&str) -> bool) -> (Option<String>, &str) {
    if let Some(inner) = text.strip_prefix('"') {
        let ends = |at: usize| {
            inner.get(at + 1..).is_some_and(|after| {
                after.is_empty()
                    || after.starts_with(']')
                    || after.starts_with(" }")
                    || after.strip_prefix(", ").is_some_and(&next)
            })
        };
        let end = inner.match_indices('"').map(|(at, _)| at).find(|at| ends(*at)).unwrap_or(inner.len());
        let value = inner.get(..end).unwrap_or_default();
        return (Some(unescaped(value)), inner.get(end + 1..).unwrap_or_default());
    }
    let comma = text.find(", ").unwrap_or(text.len());
    let bracket = text.find(']').filter(|at| *at < comma && !text.starts_with('<'));
    let end = bracket.unwrap_or(comma);
    let end = match text.find(" { ").filter(|at| *at < end) {
        Some(open) => text.get(open..).and_then(|inner| inner.find(" }")).map_or(text.len(), |close| open + close + 2),
        None => end,
    };
    let (value, rest) = text.split_at(end);
    let known = !matches!(value, "<>" | "(null)" | "");
    (known.then(|| value.to_owned()), rest)
}

/// `\r`, `\n`, `\t` and `\\` as they were.
fn unescaped(text: &str) -> String {
    if !text.contains('\\') {
        return text.to_owned();
    }
    text.replace("\\r", "").replace("\\n", "\n").replace("\\t", "\t").replace("\\\\", "\\")
}

fn from_json(line: &str) -> Vec<Record> {
    let Ok(Json::Object(mut object)) = serde_json::from_str(line) else { return Vec::new() };
    // Docker's log wraps lines of text, a webhook sends a list.
    if let (Some(Json::String(log)), None) = (object.get("log"), object.get("type")) {
        let plain = without_colour(log.trim_end_matches(['\n', '\r']));
        return from_text(&plain).into_iter().collect();
    }
    match object.remove("events") {
        Some(Json::Array(events)) => {
            let records: Option<Vec<_>> = events.iter().map(from_object).collect();
            records.unwrap_or_default()
        }
        _ => from_object(&Json::Object(object)).into_iter().collect(),
    }
}

fn from_object(object: &Json) -> Option<Record> {
    let string = |key: &str| object.get(key).and_then(Json::as_str);
    let time = string("createdAt")?.parse().ok()?;
    let kind = string("type").filter(|kind| kind.contains('.'))?;
    let data = object.get("data").and_then(Json::as_object);
    let keys = data.into_iter().flatten().take(KEYS).map(|(key, value)| (key.clone(), values(value))).collect();
    let description = string("text").unwrap_or_default().to_owned();
    Some(Record { time, kind: kind.to_owned(), description, keys })
}

fn values(value: &Json) -> Vec<String> {
    match value {
        Json::Array(values) => values.iter().take(KEYS).flat_map(scalar).collect(),
        value => scalar(value).into_iter().collect(),
    }
}

fn scalar(value: &Json) -> Option<String> {
    match value {
        Json::String(text) => Some(text.clone()).filter(|text| text != "<>"),
        Json::Number(number) => Some(number.to_string()),
        Json::Bool(is) => Some(is.to_string()),
        // An event inside: what it is.
        Json::Object(event) => event.get("type").and_then(Json::as_str).map(|kind| format!("({kind})")),
        Json::Null | Json::Array(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_keeps_every_value_whatever_it_holds() {
        let records = read(
            r#"2026-11-22T10:16:48Z INFO DKIM verification failed (smtp.dkim-fail) remoteIp = 192.0.2.7, from = <>, to = ["a@b.ex", "c@d.ex"], strict = false, result = [No signature (dkim.none), Bad (dkim.fail) { details = "x, y" }], details = "say "a, b", twice", total = 64"#,
        );
        let [record] = records.as_slice() else { panic!("{records:?}") };
        assert_eq!((&*record.kind, &*record.description), ("smtp.dkim-fail", "DKIM verification failed"));
        assert_eq!(record.list("to"), ["a@b.ex", "c@d.ex"]);
        assert_eq!(record.text("from"), "");
        assert_eq!(record.text("result"), "No signature (dkim.none)");
        assert_eq!(record.text("total"), "64");
        assert_eq!(record.check("dkim-fail"), "none");
    }

    #[test]
    fn colours_are_taken_out() {
        let records = read(
            "\u{1b}[37m2026-11-22T10:16:48Z\u{1b}[0m \u{1b}[32;1mINFO\u{1b}[0m \u{1b}[37;1mSMTP EHLO command\u{1b}[0m (smtp.ehlo) \u{1b}[36mdomain\u{1b}[0m = \"c.ex\"",
        );
        assert_eq!(records.first().map(|record| record.text("domain")), Some("c.ex"));
    }

    proptest::proptest! {
        #[test]
        fn no_line_panics(text in "((a|to|result) = |[\\[\\]\",]|, | \\{ | \\}|\\\\n|<>|.){0,40}") {
            let _ = read(&format!("2026-11-22T10:16:48Z INFO x (a.b) {text}"));
            let _ = read(&text);
            let _ = read(&format!("{{{text}"));
        }
    }
}
