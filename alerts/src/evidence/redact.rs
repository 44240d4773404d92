//! Takes out of a log what evidence must not carry: passwords, SASL blobs, local parts of addresses.

/// What stands in the place of a secret.
const GONE: &str = "[redacted]";

/// Words after which a secret follows, in `key=value`, `key: value` and `"key":"value"`.
const KEYS: &[&str] = &["password", "passwd", "pass", "secret", "token", "authorization", "cookie", "api_key", "key"];

/// Keys whose value is the rest of the line.
const LINE_KEYS: &[&str] = &["authorization", "cookie"];

/// Commands as protocols write them, and how many words on the rest of the line is secret. In lower case they are
/// words of a sentence.
const COMMANDS: &[(&str, usize)] =
    &[("AUTH", 2), ("AUTHENTICATE", 2), ("LOGIN", 2), ("PASS", 1), ("Bearer", 1), ("Basic", 1)];

/// The same line without secrets. Addresses keep their domain: `a***@example.net`.
pub fn redact(line: &str) -> String {
    let mut out: Vec<String> = Vec::new();
    // How many words of a command are still to be kept, and then nothing of the line is.
    let mut keep: Option<usize> = None;
    let mut after_key = false;
    for word in line.split(' ') {
        if keep == Some(0) {
            out.push(GONE.to_owned());
            break;
        }
        keep = keep.map(|left| left - 1);
        if after_key && !word.is_empty() {
            out.push(GONE.to_owned());
            after_key = false;
            continue;
        }
        let bare = word.trim_matches(|c: char| !c.is_ascii_alphanumeric());
        if let Some((_, words)) = COMMANDS.iter().find(|(command, _)| *command == bare) {
            keep = Some(words - 1);
        }
        let bare = bare.to_ascii_lowercase();
        if word.ends_with(':') && LINE_KEYS.contains(&bare.as_str()) {
            keep = Some(0);
        }
        after_key = keep.is_none() && word.ends_with([':', '=']) && KEYS.contains(&bare.as_str());
        out.push(if after_key { word.to_owned() } else { masked(&without_value(word)) });
    }
    out.join(" ")
}

/// `password=abc` and `"password":"abc"` lose their value.
fn without_value(word: &str) -> String {
    let mut out = String::new();
    let mut rest = word;
    while let Some(at) = rest.find(['=', ':']) {
        let (key, value) = rest.split_at(at + 1);
        let name = key[..at].rsplit(['{', ',', '&', '?', ';', '(']).next().unwrap_or("");
        let name = name.trim_matches(|c: char| !c.is_ascii_alphanumeric()).to_ascii_lowercase();
        out.push_str(key);
        if KEYS.contains(&name.as_str()) && !value.is_empty() {
            out.push_str(GONE);
            rest = value.find([',', '&', ';', '}', ')']).map_or("", |end| &value[end..]);
        } else {
            rest = value;
        }
    }
    out + rest
}

/// Masks the local part of every address in a word.
fn masked(word: &str) -> String {
    let is_local = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-/?^_`{|}~.".contains(c) || !c.is_ascii();
    let mut out = String::new();
    let mut rest = word;
    while let Some(at) = rest.find('@') {
        let (before, after) = rest.split_at(at);
        let start = before.char_indices().rev().find(|(_, c)| !is_local(*c)).map_or(0, |(i, c)| i + c.len_utf8());
        out.push_str(&before[..start]);
        if start < before.len() {
            out.extend(before[start..].chars().take(1));
            out.push_str("***");
        }
        out.push('@');
        rest = &after[1..];
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_taken_out_and_the_rest_stays() {
        let check = |line: &str, expected: &str| assert_eq!(redact(line), expected);
        check("connect from [192.0.2.1]:4711", "connect from [192.0.2.1]:4711");
        check("to=<ada.lovelace@example.net>, relay=mx", "to=<a***@example.net>, relay=mx");
        check("C: AUTH PLAIN AGFkYQBzZWNyZXQ=", "C: AUTH PLAIN [redacted]");
        check("a1 LOGIN ada secret rest of it", "a1 LOGIN ada [redacted]");
        check("C: PASS secret", "C: PASS [redacted]");
        check("password=hunter2 user=ada", "password=[redacted] user=ada");
        check(r#"{"user":"ada","password":"x"}"#, r#"{"user":"ada","password":[redacted]}"#);
        check("Authorization: Bearer abc.def", "Authorization: [redacted]");
        check("login failed for ada: unknown user", "login failed for ada: unknown user");
        check("GET /?token=abc&page=2", "GET /?token=[redacted]&page=2");
        check("key file secrets/x.key cannot be read", "key file secrets/x.key cannot be read");
        check("ø@example.net b@c", "ø***@example.net b***@c");
    }
}
