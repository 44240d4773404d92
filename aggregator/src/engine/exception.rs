//! What the engine says when it refuses: a number and its own words.

/// An exception of ClickHouse.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Exception {
    /// ClickHouse's error code, which clients find in `X-ClickHouse-Exception-Code`.
    pub code: i32,
    /// The whole text, `Code: 60. DB::Exception: …`.
    pub message: String,
}

/// The codes of ClickHouse's `ErrorCodes.cpp` that this face itself gives, or reacts to.
pub mod code {
    /// A statement cannot be run in the way that was asked for.
    pub const BAD_ARGUMENTS: i32 = 36;
    /// The body is no valid text or the statement cannot be parsed.
    pub const SYNTAX_ERROR: i32 = 62;
    /// The data directory is in use by another engine.
    pub const CANNOT_OPEN_FILE: i32 = 76;
    /// A setting's name is not one.
    pub const UNKNOWN_SETTING: i32 = 115;
    /// The statement or a setting is not for a read-only user.
    pub const READONLY: i32 = 164;
    /// Every worker is busy and the queue is full: try again.
    pub const TOO_MANY_SIMULTANEOUS_QUERIES: i32 = 202;
    /// The body is longer than the limit.
    pub const LIMIT_EXCEEDED: i32 = 290;
    /// The compressed body is damaged.
    pub const CANNOT_DECOMPRESS: i32 = 271;
    /// The engine has been told to stop.
    pub const ABORTED: i32 = 236;
    /// The name or the password is wrong.
    pub const AUTHENTICATION_FAILED: i32 = 516;
}

impl Exception {
    /// An exception of this face, in the engine's form.
    pub fn new(code: i32, name: &str, message: &str) -> Self {
        Self { code, message: ["Code: ", &code.to_string(), ". DB::Exception: ", message, " (", name, ")"].concat() }
    }

    /// Reads the engine's own text; the code is 0 when it names none.
    pub fn from_engine(message: String) -> Self {
        let code = message
            .strip_prefix("Code: ")
            .and_then(|rest| rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok())
            .unwrap_or(0);
        Self { code, message }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_is_read_from_the_engines_text() {
        let refused = Exception::from_engine("Code: 60. DB::Exception: Table x does not exist. (UNKNOWN_TABLE)".into());
        assert_eq!(refused.code, 60);
        assert_eq!(Exception::from_engine("out of memory".into()).code, 0);
        assert_eq!(Exception::from_engine(Exception::new(164, "READONLY", "no").message).code, 164);
    }
}
