//! Just enough of ClickHouse's lexical structure to find the FORMAT clause and where an INSERT's data begins.
//!
//! Nothing here guards anything: what a text may do is decided by the engine's own parser and by roles.

use super::exception::{Exception, code};

/// A statement, as far as the HTTP face must know it.
#[derive(Debug, PartialEq, Eq)]
pub enum Statement {
    /// SELECT, WITH and FROM, whose answer may be streamed in `format`, the FORMAT clause if there is one.
    Select {
        /// The format that the text names.
        format: Option<String>,
    },
    /// SHOW, DESCRIBE, EXPLAIN, EXISTS, CHECK, KILL and what else answers quickly.
    Ask {
        /// The format that the text names.
        format: Option<String>,
    },
    /// INSERT with its data.
    Insert {
        /// The statement without FORMAT and data.
        head: String,
        /// The format of the data.
        format: String,
        /// Where in the text the data begins.
        data_at: usize,
    },
    /// Everything else: DDL, INSERT … SELECT, SET …
    Change,
}

/// A token and where it ends. Only what matters here is told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token<'a> {
    Word(&'a str),
    Open,
    Close,
    Dot,
    Other,
}

struct Lexer<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Lexer<'a> {
    fn new(text: &'a [u8]) -> Self {
        Self { text, at: 0 }
    }

    /// The next token; `None` at the end. `at` then stands behind it.
    fn next(&mut self) -> Option<Token<'a>> {
        self.skip_blank();
        let start = self.at;
        let first = *self.text.get(start)?;
        self.at += 1;
        Some(match first {
            b'(' | b'[' | b'{' => Token::Open,
            b')' | b']' | b'}' => Token::Close,
            b'.' => Token::Dot,
            b'\'' | b'"' | b'`' => {
                self.skip_quoted(first);
                Token::Other
            }
            b'$' => {
                self.skip_heredoc();
                Token::Other
            }
            b'a'..=b'z' | b'A'..=b'Z' | b'_' => {
                while self.text.get(self.at).is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_') {
                    self.at += 1;
                }
                std::str::from_utf8(&self.text[start..self.at]).map_or(Token::Other, Token::Word)
            }
            _ => Token::Other,
        })
    }

    fn skip_blank(&mut self) {
        loop {
            let rest = &self.text[self.at..];
            let comment = match rest {
                [b'-', b'-', ..] | [b'#', b' ' | b'!', ..] => memchr::memchr(b'\n', rest).map_or(rest.len(), |n| n + 1),
                [b'/', b'*', ..] => memchr::memmem::find(&rest[2..], b"*/").map_or(rest.len(), |n| n + 4),
                [b' ' | b'\t' | b'\r' | b'\n' | 0x0b | 0x0c, ..] => 1,
                _ => return,
            };
            self.at += comment;
        }
    }

    /// Behind the closing quote; a backslash or a second quote escapes.
    fn skip_quoted(&mut self, quote: u8) {
        while let Some(byte) = self.text.get(self.at) {
            self.at += 1;
            if *byte == b'\\' {
                self.at = (self.at + 1).min(self.text.len());
            } else if *byte == quote {
                if self.text.get(self.at) != Some(&quote) {
                    return;
                }
                self.at += 1;
            }
        }
    }

    /// Behind `$tag$ … $tag$`, if it is one.
    fn skip_heredoc(&mut self) {
        let start = self.at - 1;
        let Some(length) = self.text[self.at..].iter().position(|b| !b.is_ascii_alphanumeric() && *b != b'_') else {
            return;
        };
        if self.text[self.at + length] != b'$' {
            return;
        }
        let tag = &self.text[start..=self.at + length];
        let body = start + tag.len();
        self.at = memchr::memmem::find(&self.text[body..], tag).map_or(self.text.len(), |n| body + n + tag.len());
    }
}

fn is(word: &str, keyword: &str) -> bool {
    word.eq_ignore_ascii_case(keyword)
}

/// Reads the beginning of `text`, which may be followed by binary data if it is an INSERT.
///
/// # Errors
/// The statement itself is not UTF-8.
pub fn read(text: &[u8]) -> Result<Statement, Exception> {
    let mut lexer = Lexer::new(text);
    let first = loop {
        match lexer.next() {
            Some(Token::Open) => {}
            other => break other,
        }
    };
    match first {
        Some(Token::Word(word)) if is(word, "insert") => read_insert(lexer),
        Some(Token::Word(word)) if ["select", "with", "from"].iter().any(|k| is(word, k)) => {
            Ok(Statement::Select { format: last_format(lexer) })
        }
        Some(Token::Word(word))
            if ["show", "describe", "desc", "explain", "exists", "check", "kill"].iter().any(|k| is(word, k)) =>
        {
            Ok(Statement::Ask { format: last_format(lexer) })
        }
        _ => Ok(Statement::Change),
    }
}

/// The format that a statement of any kind names.
pub fn named_format(text: &str) -> Option<String> {
    last_format(Lexer::new(text.as_bytes()))
}

/// The name behind the last FORMAT outside of parentheses.
fn last_format(mut lexer: Lexer<'_>) -> Option<String> {
    let (mut depth, mut after_format, mut found) = (0_i32, false, None);
    while let Some(token) = lexer.next() {
        match token {
            Token::Open => depth += 1,
            Token::Close => depth -= 1,
            Token::Word(word) if after_format => found = Some(word.to_owned()),
            Token::Word(_) | Token::Dot | Token::Other => {}
        }
        after_format = depth <= 0 && matches!(token, Token::Word(word) if is(word, "format"));
    }
    found
}

/// Behind the keyword INSERT: the data begins behind FORMAT and its name, or behind VALUES.
fn read_insert(mut lexer: Lexer<'_>) -> Result<Statement, Exception> {
    let (mut depth, mut named) = (0_i32, false);
    loop {
        let before = lexer.at;
        let Some(token) = lexer.next() else {
            // No data in the text and no format: ClickHouse's default for inserts.
            return insert(&lexer, lexer.text.len(), "Values", lexer.text.len());
        };
        match token {
            Token::Open => depth += 1,
            Token::Close => depth -= 1,
            Token::Word(word) if depth == 0 => {
                if is(word, "into") || is(word, "table") || is(word, "function") {
                    named = false;
                } else if !named {
                    // The table's own name, which may be any word.
                    named = true;
                } else if is(word, "values") {
                    return insert(&lexer, before, "Values", lexer.at);
                } else if is(word, "format") {
                    let Some(Token::Word(format)) = lexer.next() else { return Ok(Statement::Change) };
                    if is(format, "values") {
                        return insert(&lexer, before, "Values", lexer.at);
                    }
                    let data_at = skip_line_end(lexer.text, lexer.at);
                    return insert(&lexer, before, format, data_at);
                } else if ["select", "with", "watch", "from"].iter().any(|k| is(word, k)) {
                    return Ok(Statement::Change);
                }
            }
            // The table's name goes on behind the dot.
            Token::Dot => named = false,
            Token::Other => named = true,
            Token::Word(_) => {}
        }
    }
}

fn insert(lexer: &Lexer<'_>, head_end: usize, format: &str, data_at: usize) -> Result<Statement, Exception> {
    let head = std::str::from_utf8(&lexer.text[..head_end])
        .map_err(|_| Exception::new(code::SYNTAX_ERROR, "SYNTAX_ERROR", "the INSERT statement is not UTF-8"))?;
    Ok(Statement::Insert { head: head.trim_end().to_owned(), format: format.to_owned(), data_at })
}

/// The blanks and the one line end that ClickHouse allows between a format's name and the data.
fn skip_line_end(text: &[u8], at: usize) -> usize {
    let blanks = text[at..].iter().take_while(|b| matches!(b, b' ' | b'\t' | 0x0c)).count();
    let rest = &text[at + blanks..];
    at + blanks
        + match rest {
            [b'\r', b'\n', ..] => 2,
            [b'\n', ..] => 1,
            _ => 0,
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inserted(text: &[u8]) -> (String, String, Vec<u8>) {
        match read(text).unwrap() {
            Statement::Insert { head, format, data_at } => (head, format, text[data_at..].to_vec()),
            other => panic!("{other:?} is no insert with data"),
        }
    }

    #[test]
    fn an_inserts_data_begins_behind_its_format() {
        let check = |text: &[u8], head: &str, format: &str, data: &[u8]| {
            assert_eq!(inserted(text), (head.to_owned(), format.to_owned(), data.to_vec()));
        };
        check(b"INSERT INTO t FORMAT Native\n\x01\xff\n", "INSERT INTO t", "Native", b"\x01\xff\n");
        check(b"insert into t (a, b) values (1, 'x')", "insert into t (a, b)", "Values", b" (1, 'x')");
        check(b"INSERT INTO t", "INSERT INTO t", "Values", b"");
        check(b"INSERT INTO format FORMAT CSV \r\n1", "INSERT INTO format", "CSV", b"1");
        check(
            b"INSERT INTO `a format CSV`.values(format) FORMAT TSV\n\n",
            "INSERT INTO `a format CSV`.values(format)",
            "TSV",
            b"\n",
        );
        check(
            b"/* x */ INSERT INTO t SETTINGS insert_deduplication_token='a FORMAT b' FORMAT JSONEachRow {}",
            "/* x */ INSERT INTO t SETTINGS insert_deduplication_token='a FORMAT b'",
            "JSONEachRow",
            b"{}",
        );
        check(
            b"INSERT INTO TABLE FUNCTION null('a Int8') FORMAT CSV\n1",
            "INSERT INTO TABLE FUNCTION null('a Int8')",
            "CSV",
            b"1",
        );
        assert_eq!(read(b"INSERT INTO t (a) SELECT 1 FORMAT x").unwrap(), Statement::Change);
        assert_eq!(read(b"INSERT INTO t\xff FORMAT CSV\n1").unwrap_err().code, code::SYNTAX_ERROR);
    }

    #[test]
    fn a_selects_format_is_the_last_one_outside_of_text_and_parentheses() {
        let check = |text: &str, format: Option<&str>| {
            assert_eq!(read(text.as_bytes()).unwrap(), Statement::Select { format: format.map(str::to_owned) });
        };
        check("SELECT 1", None);
        check("(select 1) format JSON;", Some("JSON"));
        check("from t select a format XML", Some("XML"));
        check("select 'format CSV', (1 as format) -- format XML\n", None);
        check("with $x$ format CSV $x$ as a select a format Native settings max_threads=1", Some("Native"));
        assert_eq!(read(b"show tables format JSON").unwrap(), Statement::Ask { format: Some("JSON".to_owned()) });
        assert_eq!(read(b"DROP TABLE t").unwrap(), Statement::Change);
        assert_eq!(read(b"").unwrap(), Statement::Change);
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200), head in "(insert into|select)[ $'`/*-]{0,9}") {
            let mut whole = head.into_bytes();
            whole.extend(text);
            let _ = read(&whole);
        }
    }
}
