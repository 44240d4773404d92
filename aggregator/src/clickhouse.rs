//! The one client of ClickHouse's HTTP interface: embedded engine, server and cluster alike.
//!
//! Bodies go in and come out in ClickHouse's own formats, so plain HTTP is all that it takes.

use std::time::Duration;

use serde::de::DeserializeOwned;

/// How to reach a ClickHouse, and as whom.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    url: String,
    user: String,
    password: String,
    database: String,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("url", &self.url).field("user", &self.user).finish_non_exhaustive()
    }
}

/// Why ClickHouse did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody answered: try again later.
    #[error("ClickHouse at {url} cannot be reached: {source}; is `varde aggregate` or the server running?")]
    Unreachable {
        /// The URL that was tried.
        url: String,
        /// Why.
        source: reqwest::Error,
    },
    /// It answered with an exception.
    #[error("ClickHouse refused the query (code {code}): {message}")]
    Refused {
        /// `X-ClickHouse-Exception-Code`, 0 when there was none.
        code: i32,
        /// Its own words.
        message: String,
    },
    /// It answered something else than was asked for.
    #[error("ClickHouse's answer cannot be read: {0}")]
    Answer(#[from] serde_json::Error),
}

impl Client {
    /// A client for `url` (`http://127.0.0.1:8123`), database `varde`.
    ///
    /// # Errors
    /// The TLS library could not be set up.
    pub fn new(url: &str, user: &str, password: &str) -> Result<Self, Error> {
        let http = reqwest::Client::builder()
            .connect_timeout(Duration::from_secs(5))
            .timeout(Duration::from_secs(300))
            .build()
            .map_err(|source| Error::Unreachable { url: url.to_owned(), source })?;
        Ok(Self {
            http,
            url: url.trim_end_matches('/').to_owned(),
            user: user.to_owned(),
            password: password.to_owned(),
            database: "varde".to_owned(),
        })
    }

    /// The same client with another default database.
    #[must_use]
    pub fn with_database(mut self, database: &str) -> Self {
        self.database = database.to_owned();
        self
    }

    /// Sends one statement and gives the raw body back.
    ///
    /// `settings` go into the URL: ClickHouse settings, and `param_NAME` for `{NAME:Type}` in the statement.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn execute(&self, sql: &str, settings: &[(&str, &str)]) -> Result<bytes::Bytes, Error> {
        self.send(&[], settings, sql.to_owned().into()).await
    }

    /// Sends `body` as the data of the statement `sql`, which goes into the URL.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn insert(&self, sql: &str, settings: &[(&str, &str)], body: bytes::Bytes) -> Result<(), Error> {
        self.send(&[("query", sql)], settings, body.into()).await.map(drop)
    }

    /// The rows of a read-only statement; `params` bind `{NAME:Type}` placeholders.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn rows<T: DeserializeOwned>(&self, sql: &str, params: &[(&str, &str)]) -> Result<Vec<T>, Error> {
        self.rows_with(sql, params, &[]).await
    }

    /// The same with settings of the engine.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn rows_with<T: DeserializeOwned>(
        &self,
        sql: &str,
        params: &[(&str, &str)],
        more: &[(&str, &str)],
    ) -> Result<Vec<T>, Error> {
        let named: Vec<(String, &str)> = params.iter().map(|(name, value)| (format!("param_{name}"), *value)).collect();
        let mut settings: Vec<(&str, &str)> = vec![
            ("default_format", "JSONEachRow"),
            ("output_format_json_quote_64bit_integers", "0"),
            ("readonly", "2"),
        ];
        settings.extend(more);
        settings.extend(named.iter().map(|(name, value)| (name.as_str(), *value)));
        let body = self.execute(sql, &settings).await?;
        body.split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(|line| serde_json::from_slice(line).map_err(Error::from))
            .collect()
    }

    async fn send(
        &self,
        first: &[(&str, &str)],
        settings: &[(&str, &str)],
        body: reqwest::Body,
    ) -> Result<bytes::Bytes, Error> {
        // The address with its parameters would say the ids and texts that were asked for.
        let unreachable =
            |source: reqwest::Error| Error::Unreachable { url: self.url.clone(), source: source.without_url() };
        let answer = self
            .http
            .post(&self.url)
            .query(&[("database", self.database.as_str())])
            .query(first)
            .query(settings)
            .header("X-ClickHouse-User", &self.user)
            .header("X-ClickHouse-Key", &self.password)
            .body(body)
            .send()
            .await
            .map_err(unreachable)?;
        let ok = answer.status().is_success();
        let code =
            answer.headers().get("X-ClickHouse-Exception-Code").and_then(|value| value.to_str().ok()?.parse().ok());
        let tag = answer.headers().get("X-ClickHouse-Exception-Tag").map(|tag| tag.as_bytes().to_vec());
        let bytes = answer.bytes().await.map_err(unreachable)?;
        match (ok, code) {
            (true, None) => match tag.and_then(|tag| late_exception(&bytes, &tag)) {
                None => Ok(bytes),
                Some((code, message)) => Err(Error::Refused { code, message }),
            },
            (_, code) => Err(Error::Refused {
                code: code.unwrap_or(0),
                message: String::from_utf8_lossy(&bytes).trim().to_owned(),
            }),
        }
    }
}

/// The exception that ended an answer after its head had said 200: without this, half of the rows would pass for all.
/// It stands at the end, between marks that carry the tag of the head.
fn late_exception(body: &[u8], tag: &[u8]) -> Option<(i32, String)> {
    let mark = [b"\r\n__exception__\r\n", tag, b"\r\n"].concat();
    let begin = memchr::memmem::rfind(body, &mark)? + mark.len();
    let message = String::from_utf8_lossy(&body[begin..]);
    let message = message.rsplit_once(" ").map_or(&*message, |(message, _)| message);
    // The message's length stands on the line after it.
    let message = message.rsplit_once('\n').map_or(message, |(message, _)| message);
    let digits = message.strip_prefix("Code: ").and_then(|rest| rest.split(|c: char| !c.is_ascii_digit()).next());
    Some((digits.and_then(|digits| digits.parse().ok()).unwrap_or(0), message.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exception_after_the_first_rows_is_not_taken_for_the_end_of_the_rows() {
        let body = b"1\n2\n\r\n__exception__\r\nabcd\r\nCode: 159. DB::Exception: Timeout exceeded\n42 abcd\r\n__exception__\r\n";
        let found = late_exception(body, b"abcd");
        assert_eq!(found, Some((159, "Code: 159. DB::Exception: Timeout exceeded".to_owned())));
        assert_eq!(late_exception(body, b"dcba"), None);
        assert_eq!(late_exception(b"1\n2\n", b"abcd"), None);
    }
}
