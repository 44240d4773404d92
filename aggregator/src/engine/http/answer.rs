//! The answer: headers, a body in pieces, and how a failure is told before and in the middle of it.

use std::io;
use std::time::Duration;

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use tokio::sync::mpsc;

use crate::engine::answer_format::content_type;
use crate::engine::exception::{Exception, code};
use crate::engine::pool::{Reply, Watch};

/// What the tagged block of an exception has to reach the socket before the connection is broken off.
const FLUSH: Duration = Duration::from_millis(100);

/// A refusal before the first byte of an answer.
pub struct Refusal(Exception);

impl From<Exception> for Refusal {
    fn from(exception: Exception) -> Self {
        Self(exception)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut body = self.0.message;
        if !body.ends_with('\n') {
            body.push('\n');
        }
        let mut response = (status(self.0.code), body).into_response();
        put(response.headers_mut(), "x-clickhouse-exception-code", &self.0.code.to_string());
        response
    }
}

/// `Ok.`, what a server says to a ping.
pub fn ok() -> Response {
    "Ok.\n".into_response()
}

/// The HTTP status of an exception, as ClickHouse's `exceptionCodeToHTTPStatus` gives it.
fn status(exception: i32) -> StatusCode {
    match exception {
        code::AUTHENTICATION_FAILED | code::READONLY | 497 => StatusCode::FORBIDDEN,
        // Unknown function, format, table, database, and their kin.
        16 | 46 | 47 | 60 | 63 | 73 | 81 | code::UNKNOWN_SETTING => StatusCode::NOT_FOUND,
        // What cannot be parsed or does not fit.
        6
        | 26
        | 27
        | code::BAD_ARGUMENTS
        | 38
        | 41
        | 42
        | 43
        | 53
        | code::SYNTAX_ERROR
        | 69
        | 70
        | 72
        | 117
        | 456
        | code::CANNOT_DECOMPRESS => StatusCode::BAD_REQUEST,
        code::LIMIT_EXCEEDED => StatusCode::PAYLOAD_TOO_LARGE,
        code::TOO_MANY_SIMULTANEOUS_QUERIES | code::ABORTED => StatusCode::SERVICE_UNAVAILABLE,
        159 => StatusCode::REQUEST_TIMEOUT,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// Waits for the first piece, so that a query that fails at once fails with a status; then streams the rest.
///
/// # Errors
/// The query failed before the first piece.
pub async fn stream(
    mut replies: mpsc::Receiver<Reply>,
    watch: Option<Watch>,
    query_id: &str,
    format: &str,
) -> Result<Response, Refusal> {
    let first = match replies.recv().await {
        Some(Reply::Failed(exception)) => return Err(Refusal(exception)),
        None => return Err(Refusal(Exception::new(code::ABORTED, "ABORTED", "the engine is stopping"))),
        Some(Reply::End) => None,
        Some(Reply::Piece(piece)) => Some(piece),
    };
    let tag = tag();
    let body = match first {
        None => Body::empty(),
        Some(first) => Body::from_stream(stream::unfold(
            Pieces { first: Some(first), replies, tag: tag.clone(), state: State::Open, _watch: watch },
            |mut body| async move { body.next().await.map(|piece| (piece, body)) },
        )),
    };
    let mut response = body.into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type(format)));
    put(headers, "x-clickhouse-query-id", query_id);
    put(headers, "x-clickhouse-format", format);
    put(headers, "x-clickhouse-exception-tag", &tag);
    put(headers, "x-clickhouse-server-display-name", "varde");
    Ok(response)
}

/// A header, left out when the value cannot stand in one.
fn put(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(HeaderName::from_static(name), value);
    }
}

/// Sixteen letters that no data can foresee: they mark an exception in the middle of an answer.
fn tag() -> String {
    let mut bytes = [0; 16];
    // Without randomness the marker is still a marker, only one that data could imitate.
    let _ = SystemRandom::new().fill(&mut bytes);
    bytes.iter().map(|byte| char::from(b'a' + byte % 26)).collect()
}

enum State {
    Open,
    /// The exception has been sent; the connection is broken off next, so that no client takes the answer
    /// for whole.
    Failed,
    Ended,
}

struct Pieces {
    first: Option<Bytes>,
    replies: mpsc::Receiver<Reply>,
    tag: String,
    state: State,
    _watch: Option<Watch>,
}

impl Pieces {
    async fn next(&mut self) -> Option<io::Result<Bytes>> {
        match self.state {
            State::Open => {}
            State::Failed => {
                self.state = State::Ended;
                // The server throws away what it has not yet written when a body fails.
                tokio::time::sleep(FLUSH).await;
                return Some(Err(io::Error::other("the query failed in the middle of its answer")));
            }
            State::Ended => return None,
        }
        if let Some(first) = self.first.take() {
            return Some(Ok(first));
        }
        match self.replies.recv().await {
            Some(Reply::Piece(piece)) => Some(Ok(piece)),
            Some(Reply::End) => {
                self.state = State::Ended;
                None
            }
            Some(Reply::Failed(exception)) => {
                self.state = State::Failed;
                Some(Ok(tagged(&exception.message, &self.tag)))
            }
            None => {
                self.state = State::Failed;
                Some(Ok(tagged("Code: 236. DB::Exception: the engine is stopping (ABORTED)", &self.tag)))
            }
        }
    }
}

/// The block in which ClickHouse (25.11 and newer) tells of an exception in the middle of an answer.
fn tagged(message: &str, tag: &str) -> Bytes {
    let length = (message.len() + 1).to_string();
    ["\r\n__exception__\r\n", tag, "\r\n", message, "\n", &length, " ", tag, "\r\n__exception__\r\n"].concat().into()
}
