//! What a ManageSieve server answers, taken apart: RFC 5804 section 4.

use super::Script;
use crate::conversation::{Class, Fault, printable};

/// Parentheses within parentheses that are followed.
const DEPTH_MAX: usize = 4;
/// Tokens of one response.
const TOKENS_MAX: usize = 1_000;

/// A part of a response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    /// `OK`, `ACTIVE`, a number.
    Atom(String),
    /// Quoted or as a literal.
    String(Vec<u8>),
    /// `(`
    Open,
    /// `)`
    Close,
}

/// Adds the tokens of a line. `None`: it is no line of the protocol. `Some(Some(n))`: it ends in the announcement of a
/// literal of `n` octets, after which the response goes on.
pub(super) fn tokens(line: &str, into: &mut Vec<Token>) -> Option<Option<usize>> {
    let mut rest = line.trim_start_matches(' ');
    while let Some(first) = rest.chars().next() {
        if into.len() >= TOKENS_MAX {
            return None;
        }
        match first {
            '"' => {
                let (text, after) = quoted(rest)?;
                into.push(Token::String(text.into_bytes()));
                rest = after;
            }
            '{' => {
                let inner = rest.strip_prefix('{')?.strip_suffix('}')?;
                return Some(Some(inner.trim_end_matches('+').parse().ok()?));
            }
            '(' | ')' => {
                into.push(if first == '(' { Token::Open } else { Token::Close });
                rest = &rest[1..];
            }
            _ => {
                let end = rest.find([' ', '(', ')', '"', '{']).unwrap_or(rest.len());
                if end == 0 || rest[..end].chars().any(|c| c.is_control() || !c.is_ascii()) {
                    return None;
                }
                into.push(Token::Atom(rest[..end].to_owned()));
                rest = &rest[end..];
            }
        }
        rest = rest.trim_start_matches(' ');
    }
    Some(None)
}

/// A quoted string at the start of `text`, and what follows it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.strip_prefix('"')?.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &text[at + 2..])),
            '\\' => value.push(chars.next()?.1),
            c => value.push(c),
        }
    }
    None
}

/// The end of a command: RFC 5804 section 1.3.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ending {
    word: Word,
    /// `QUOTA/MAXSIZE`, `SASL`, `TRYLATER` …, in upper case.
    code: String,
    /// The string that belongs to the code.
    argument: Option<String>,
    text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Word {
    Ok,
    No,
    Bye,
}

impl Ending {
    /// The ending that a response is, when it is one.
    pub fn of(response: &[Token]) -> Option<Self> {
        let Some((Token::Atom(word), mut rest)) = response.split_first() else { return None };
        let word = match word.to_ascii_uppercase().as_str() {
            "OK" => Word::Ok,
            "NO" => Word::No,
            "BYE" => Word::Bye,
            _ => return None,
        };
        let (mut code, mut argument, mut depth) = (String::new(), None, 0_usize);
        while let Some((token, after)) = rest.split_first() {
            match token {
                Token::Open if depth < DEPTH_MAX => depth += 1,
                Token::Close if depth > 0 => depth -= 1,
                Token::Atom(name) if depth == 1 && code.is_empty() => code = name.to_ascii_uppercase(),
                Token::String(value) if depth == 1 && argument.is_none() => {
                    argument = Some(String::from_utf8_lossy(value).into_owned());
                }
                _ if depth == 0 => break,
                _ => {}
            }
            rest = after;
        }
        let text = shown(rest);
        Some(Self { word, code, argument, text })
    }

    /// What the code carries, when the command succeeded.
    ///
    /// # Errors
    /// Otherwise what kind of refusal it is.
    pub fn result(self, after: &str) -> Result<Option<String>, Fault> {
        let class = match (self.word, self.code.as_str()) {
            (Word::Ok, "SASL") => return Ok(self.argument),
            (Word::Ok, _) => return Ok(None),
            (_, code) if code.starts_with("QUOTA") => Class::Quota,
            (_, "TRYLATER") => Class::Deferred,
            (Word::Bye, _) => Class::Closed,
            (Word::No, _) => Class::Rejected,
        };
        let word = if self.word == Word::Bye { "BYE" } else { "NO" };
        let code = if self.code.is_empty() { String::new() } else { format!(" ({})", printable(&self.code)) };
        Err(Fault::new(class, format!("after {after}, the server replied {word}{code} {}", printable(&self.text))))
    }
}

/// A response as words, for a quotation.
pub(super) fn shown(tokens: &[Token]) -> String {
    let words = tokens.iter().map(|token| match token {
        Token::Atom(text) => text.clone(),
        Token::String(text) => String::from_utf8_lossy(text).into_owned(),
        Token::Open => "(".to_owned(),
        Token::Close => ")".to_owned(),
    });
    words.collect::<Vec<_>>().join(" ")
}

/// A capability and its value: `"SASL" "PLAIN SCRAM-SHA-256"`.
pub(super) fn capability(response: &[Token]) -> Option<(String, String)> {
    let text = |token: &Token| match token {
        Token::String(text) => Some(String::from_utf8_lossy(text).into_owned()),
        Token::Atom(_) | Token::Open | Token::Close => None,
    };
    let name = text(response.first()?)?.to_ascii_uppercase();
    Some((name, response.get(1).and_then(text).unwrap_or_default()))
}

/// A line of LISTSCRIPTS.
///
/// # Errors
/// When it is none.
pub(super) fn script(response: &[Token]) -> Result<Script, Fault> {
    let active = match response {
        [Token::String(_)] => false,
        [Token::String(_), Token::Atom(word)] if word.eq_ignore_ascii_case("ACTIVE") => true,
        _ => return Err(Fault::said(Class::Protocol, "this is no script of a list", &shown(response))),
    };
    let name = match &response[0] {
        Token::String(name) => String::from_utf8_lossy(name).into_owned(),
        _ => String::new(),
    };
    Ok(Script { name, active })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(line: &str) -> Option<Vec<Token>> {
        let mut found = Vec::new();
        tokens(line, &mut found)?.is_none().then_some(found)
    }

    #[test]
    fn strings_are_read_quoted_and_as_literals() {
        let mut found = Vec::new();
        assert_eq!(tokens(r#""a \"b\" \\c" {12}"#, &mut found), Some(Some(12)));
        assert_eq!(found, [Token::String(b"a \"b\" \\c".to_vec())]);
        assert_eq!(tokens("{7+}", &mut found), Some(Some(7)));
        for none in ["\"open", "{x}", "{3} more", "caf\u{e9}", "\u{1}"] {
            assert_eq!(tokens(none, &mut Vec::new()), None, "{none}");
        }
    }

    #[test]
    fn an_ending_is_classed_by_its_code() {
        let class = |line: &str| Ending::of(&parsed(line).unwrap()).unwrap().result("X").map_err(|fault| fault.class);
        assert_eq!(class("OK"), Ok(None));
        assert_eq!(class("ok (SASL \"dj0x\") \"in\""), Ok(Some("dj0x".to_owned())));
        assert_eq!(class("NO (QUOTA/MAXSIZE) \"full\""), Err(Class::Quota));
        assert_eq!(class("NO (TRYLATER) \"busy\""), Err(Class::Deferred));
        assert_eq!(class("BYE \"gone\""), Err(Class::Closed));
        let text = |line: &str| Ending::of(&parsed(line).unwrap()).unwrap().result("X").map_err(|fault| fault.detail);
        let expected = "after X, the server replied NO (WARNINGS) line 1: no";
        assert_eq!(text("NO (WARNINGS) \"line 1: no\""), Err(expected.to_owned()));
        assert_eq!(Ending::of(&parsed("\"OK\" \"x\"").unwrap()), None);
    }

    #[test]
    fn scripts_and_capabilities_are_read() {
        let of = |line: &str| script(&parsed(line).unwrap()).map(|script| (script.name, script.active)).ok();
        assert_eq!(of("\"vacation\" ACTIVE"), Some(("vacation".to_owned(), true)));
        assert_eq!(of("\"old\""), Some(("old".to_owned(), false)));
        assert_eq!(of("ACTIVE"), None);
        let sasl = capability(&parsed("\"sasl\" \"PLAIN LOGIN\"").unwrap());
        assert_eq!(sasl, Some(("SASL".to_owned(), "PLAIN LOGIN".to_owned())));
    }

    proptest! {
        #[test]
        fn no_line_makes_it_panic(line in "[OKNBYE(){}\"\\\\ 0-9a-zé+]{0,60}") {
            let mut found = Vec::new();
            if tokens(&line, &mut found).is_some() {
                let _ = Ending::of(&found).map(|ending| ending.result("X"));
                let _ = (script(&found), capability(&found), shown(&found));
            }
        }
    }
}
