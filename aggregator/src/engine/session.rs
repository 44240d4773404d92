//! One request's session: a fresh connection, its database, settings, and for an operator his limits.

use std::sync::Arc;
use std::time::Duration;

use super::exception::{Exception, code};
use super::ffi::{Class, Connection, Library, Parameter};

/// What a user may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Everything.
    Full,
    /// One read-only statement at a time, of database `varde`, within [`Limits`].
    ReadOnly,
}

/// The bounds of a read-only user's query. A request may lower them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How long it may run.
    pub time: Duration,
    /// How much memory it may use.
    pub memory_bytes: u64,
    /// How many rows it may answer with.
    pub rows: u64,
    /// How many bytes it may answer with.
    pub bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { time: Duration::from_secs(60), memory_bytes: 1 << 30, rows: 1_000_000, bytes: 256 << 20 }
    }
}

/// Settings that a read-only user may give: they shape the answer, or do nothing here but are sent by
/// clients of their own accord.
const FREE: &[&str] = &[
    "max_block_size",
    "max_threads",
    "join_use_nulls",
    "enable_http_compression",
    "http_zlib_compression_level",
    "http_headers_progress_interval_ms",
    "send_progress_in_http_headers",
    "cancel_http_readonly_queries_on_client_close",
    "date_time_input_format",
    "session_timezone",
    "add_http_cors_header",
];
/// The same by the families of the formats in [`READABLE_FORMATS`]. No setting that names a file, a schema or a template
/// is among them: those make the engine read and write files of its own (`output_format_schema`, `format_schema`,
/// `format_template_resultset`).
const FREE_FAMILIES: &[&str] = &[
    "date_time_output_",
    "format_csv_",
    "format_tsv_",
    "output_format_arrow_",
    "output_format_binary_",
    "output_format_bson_",
    "output_format_compression_",
    "output_format_csv_",
    "output_format_decimal_",
    "output_format_json_",
    "output_format_markdown_",
    "output_format_msgpack_",
    "output_format_native_",
    "output_format_orc_",
    "output_format_parquet_",
    "output_format_pretty_",
    "output_format_tsv_",
    "output_format_values_",
    "output_format_write_",
];
/// The formats that a read-only user may be answered in, and families of them, in small letters. Those that need a schema
/// or a template are not among them.
const READABLE_FORMATS: &[&str] = &[
    "arrow",
    "arrowstream",
    "bsoneachrow",
    "lineasstring",
    "markdown",
    "msgpack",
    "native",
    "ndjson",
    "null",
    "orc",
    "parquet",
    "rawblob",
    "values",
    "vertical",
    "xml",
];
const READABLE_FAMILIES: &[&str] = &["csv", "json", "pretty", "rowbinary", "tabseparated", "tsv"];

/// What a session is made from.
#[derive(Debug, Clone)]
pub struct SessionRequest {
    /// Whose.
    pub role: Role,
    /// Of a read-only user.
    pub limits: Limits,
    /// The default database; empty for the engine's own.
    pub database: String,
    /// Settings in the order in which they were given.
    pub settings: Vec<(String, String)>,
    /// What names the query, so that it can be killed.
    pub query_id: String,
}

/// Opens a connection and makes it ready. `path` is the `--path=…` argument that every connection repeats.
///
/// # Errors
/// The engine refuses the connection, the database or a setting.
pub fn open(library: &Arc<Library>, path: &str, request: &SessionRequest) -> Result<Connection, Exception> {
    let mut connection = library
        .connect(&[path])
        .ok_or_else(|| Exception::new(code::ABORTED, "ABORTED", "the engine opens no more connections"))?;
    let mut run = |statement: &str| connection.query(statement, "Null", &[]).map(drop);
    if !request.database.is_empty() {
        run(&["USE ", &identifier(&request.database)].concat())?;
    }
    // `log_comment` is ours: it is what KILL QUERY finds the query by.
    let mut settings = vec![("log_comment".to_owned(), request.query_id.clone())];
    match request.role {
        Role::Full => {
            settings.extend(request.settings.iter().filter(|(name, _)| name != "log_comment").cloned());
            run(&set(&settings)?)?;
        }
        Role::ReadOnly => {
            settings.extend(bounded(&request.settings, request.limits)?);
            run(&set(&settings)?)?;
            run("SET ROLE report")?;
            // Last: from here on nothing can be set.
            run("SET readonly = 1")?;
        }
    }
    Ok(connection)
}

/// Refuses what a read-only user may not run. The engine's own parser decides.
///
/// # Errors
/// The text is not exactly one read-only statement.
pub fn check_read_only(connection: &mut Connection, sql: &str) -> Result<(), Exception> {
    match connection.classify(sql) {
        Some(found) if found.statements == 1 && found.class == Class::Read => Ok(()),
        Some(found) if found.class == Class::Unknown => Err(Exception::new(
            code::SYNTAX_ERROR,
            "SYNTAX_ERROR",
            "this is not one statement that can be parsed; a read-only user may run one SELECT, SHOW, DESCRIBE or \
             EXPLAIN at a time",
        )),
        _ => Err(Exception::new(
            code::READONLY,
            "READONLY",
            "a read-only user may run one SELECT, SHOW, DESCRIBE or EXPLAIN at a time, and nothing else",
        )),
    }
}

/// Refuses an answer in a format that a read-only user may not have.
///
/// # Errors
/// It is none of those that need neither schema nor template.
pub fn check_format(format: &str) -> Result<(), Exception> {
    let small = format.to_ascii_lowercase();
    let known =
        READABLE_FORMATS.contains(&small.as_str()) || READABLE_FAMILIES.iter().any(|family| small.starts_with(family));
    if known {
        return Ok(());
    }
    let message = ["a read-only user is not answered in the format '", format, "': ask for CSV, JSON or TSV"].concat();
    Err(Exception::new(code::READONLY, "READONLY", &message))
}

/// Refuses a text of several statements, as a ClickHouse server does over HTTP.
///
/// # Errors
/// There are several.
pub fn check_single(connection: &mut Connection, sql: &str) -> Result<(), Exception> {
    match connection.classify(sql) {
        Some(found) if found.statements > 1 => Err(Exception::new(
            code::SYNTAX_ERROR,
            "SYNTAX_ERROR",
            "Multi-statements are not allowed: send them one by one",
        )),
        _ => Ok(()),
    }
}

/// The limits, lowered where the request asks for less, and the free settings among the others.
fn bounded(asked: &[(String, String)], limits: Limits) -> Result<Vec<(String, String)>, Exception> {
    let mut bounds = [
        ("max_execution_time", limits.time.as_secs().max(1)),
        ("max_memory_usage", limits.memory_bytes),
        ("max_result_rows", limits.rows),
        ("max_result_bytes", limits.bytes),
    ];
    let mut settings = Vec::new();
    for (name, value) in asked {
        if let Some((_, bound)) = bounds.iter_mut().find(|(bounded, _)| bounded == name) {
            if let Ok(lower @ 1..) = value.parse::<u64>() {
                *bound = lower.min(*bound);
            }
        } else if FREE.contains(&name.as_str()) || FREE_FAMILIES.iter().any(|family| name.starts_with(family)) {
            settings.push((name.clone(), value.clone()));
        } else if !(name == "readonly" && matches!(value.as_str(), "1" | "2")) && name != "log_comment" {
            let message = ["Cannot modify '", name.as_str(), "' setting in readonly mode."].concat();
            return Err(Exception::new(code::READONLY, "READONLY", &message));
        }
    }
    settings.extend(bounds.map(|(name, bound)| (name.to_owned(), bound.to_string())));
    settings.push(("timeout_overflow_mode".to_owned(), "throw".to_owned()));
    settings.push(("result_overflow_mode".to_owned(), "throw".to_owned()));
    Ok(settings)
}

/// `SET a = 'x', b = 'y'`: ClickHouse reads every type of setting from text.
fn set(settings: &[(String, String)]) -> Result<String, Exception> {
    let mut statement = String::from("SET ");
    for (n, (name, value)) in settings.iter().enumerate() {
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            let message = ["Unknown setting '", name.as_str(), "'"].concat();
            return Err(Exception::new(code::UNKNOWN_SETTING, "UNKNOWN_SETTING", &message));
        }
        if n > 0 {
            statement.push_str(", ");
        }
        statement.push_str(name);
        statement.push_str(" = ");
        statement.push_str(&literal(value));
    }
    Ok(statement)
}

/// A text in quotes.
pub fn literal(value: &str) -> String {
    quoted(value, '\'')
}

fn identifier(name: &str) -> String {
    quoted(name, '`')
}

fn quoted(text: &str, quote: char) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push(quote);
    for c in text.chars() {
        if c == quote || c == '\\' {
            out.push('\\');
        }
        out.push(c);
    }
    out.push(quote);
    out
}

/// The parameters of a request: `param_NAME` without its prefix.
pub fn parameter(name: &str, value: &str) -> Option<Parameter> {
    name.strip_prefix("param_").map(|name| (name.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(settings: &[(&str, &str)]) -> Vec<(String, String)> {
        settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_read_only_user_lowers_limits_but_does_not_raise_them() {
        let limits = Limits { time: Duration::from_secs(60), memory_bytes: 1000, rows: 100, bytes: 5 };
        let asked = pairs(&[
            ("max_execution_time", "5"),
            ("max_result_rows", "1000000"),
            ("max_memory_usage", "0"),
            ("readonly", "2"),
            ("output_format_json_quote_64bit_integers", "0"),
        ]);
        let expected = pairs(&[
            ("output_format_json_quote_64bit_integers", "0"),
            ("max_execution_time", "5"),
            ("max_memory_usage", "1000"),
            ("max_result_rows", "100"),
            ("max_result_bytes", "5"),
            ("timeout_overflow_mode", "throw"),
            ("result_overflow_mode", "throw"),
        ]);
        assert_eq!(bounded(&asked, limits), Ok(expected));
        for refused in [
            ("readonly", "0"),
            ("allow_ddl", "1"),
            ("role", "full"),
            ("timeout_overflow_mode", "break"),
            ("output_format_schema", "store/data.bin"),
            ("format_schema", "x:y"),
            ("format_template_resultset", "users.xml"),
        ] {
            assert_eq!(bounded(&pairs(&[refused]), limits).unwrap_err().code, code::READONLY, "{refused:?}");
        }
    }

    #[test]
    fn a_read_only_user_is_answered_in_formats_without_schema_and_template() {
        for good in ["JSONCompactEachRow", "CSVWithNames", "TSV", "PrettyCompact", "Native", "ArrowStream", "parquet"] {
            assert_eq!(check_format(good), Ok(()), "{good}");
        }
        for bad in ["Template", "Protobuf", "ProtobufSingle", "CapnProto", "Avro", "Npy", "MySQLWire", "Prot", ""] {
            assert_eq!(check_format(bad).unwrap_err().code, code::READONLY, "{bad}");
        }
    }

    #[test]
    fn values_cannot_leave_their_quotes() {
        assert_eq!(set(&pairs(&[("a", "x'\\, b = 1")])).unwrap(), r"SET a = 'x\'\\, b = 1'");
        assert_eq!(identifier("a`b"), "`a\\`b`");
        assert_eq!(set(&pairs(&[("a = 1, b", "x")])).unwrap_err().code, code::UNKNOWN_SETTING);
    }
}
