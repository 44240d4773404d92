//! What a request asks: its parameters, and its body with a bound.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequest, Multipart, Query};
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use axum::http::request::Parts;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::auth::{self, Credentials};
use crate::engine::compression::{self, Encoding};
use crate::engine::exception::{Exception, code};
use crate::engine::ffi::Parameter;
use crate::engine::session;
use crate::engine::statement::{self, Statement};

/// A client that sends nothing of a body it began for this long is given up: it holds room.
const STALLED: Duration = Duration::from_secs(60);

/// Bodies that are unpacked at the same time: how long one gets is known only then.
const UNPACKING: usize = 2;

/// The memory that bodies may take.
pub struct Room {
    kib: Arc<Semaphore>,
    unpacking: Semaphore,
}

impl Room {
    /// So many KiB for all bodies together.
    pub fn new(kib: usize) -> Self {
        Self { kib: Arc::new(Semaphore::new(kib)), unpacking: Semaphore::new(UNPACKING) }
    }
}

/// What parameters and headers ask.
pub struct Asked {
    /// Who asks.
    pub credentials: Credentials,
    /// `query`; the text goes on in the body.
    pub query: String,
    /// The default database; empty when none was named.
    pub database: String,
    /// The format of an answer whose text names none.
    pub default_format: String,
    /// The query's name, if the client gave one.
    pub query_id: Option<String>,
    /// `{name:Type}` placeholders.
    pub parameters: Vec<Parameter>,
    /// Everything that is no parameter of the interface is a setting.
    pub settings: Vec<(String, String)>,
    native: bool,
}

/// A refusal of what the request itself is like.
fn bad(message: &str) -> Exception {
    Exception::new(code::BAD_ARGUMENTS, "BAD_ARGUMENTS", message)
}

impl Asked {
    /// Reads the URL and the headers.
    ///
    /// # Errors
    /// The URL's query is not in the form of `application/x-www-form-urlencoded`.
    pub fn read(head: &Parts) -> Result<Self, Exception> {
        let header = |name: &str| head.headers.get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
        let mut asked = Self {
            credentials: Credentials::default(),
            query: String::new(),
            database: header("X-ClickHouse-Database").unwrap_or_default(),
            default_format: header("X-ClickHouse-Format").unwrap_or_else(|| "TabSeparated".to_owned()),
            query_id: None,
            parameters: Vec::new(),
            settings: Vec::new(),
            native: false,
        };
        let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(&head.uri)
            .map_err(|_| bad("the parameters in the URL cannot be read"))?;
        for (name, value) in pairs {
            asked.take(name, value);
        }
        if let Some(credentials) = auth::from_headers(&head.headers) {
            asked.credentials = credentials;
        }
        Ok(asked)
    }

    fn take(&mut self, name: String, value: String) {
        match name.as_str() {
            "query" => self.query = value,
            "user" => self.credentials.name = value,
            "password" => self.credentials.password = value,
            "database" => self.database = value,
            "default_format" => self.default_format = value,
            "query_id" => self.query_id = Some(value).filter(|id| !id.is_empty()),
            "decompress" => self.native = value == "1",
            // Of the interface, and without effect here: answers are sent plain, sessions are not kept.
            "compress"
            | "wait_end_of_query"
            | "buffer_size"
            | "session_id"
            | "session_timeout"
            | "session_check"
            | "close_session"
            | "quota_key"
            | "stacktrace"
            | "role"
            | "client_protocol_version" => {}
            _ => match session::parameter(&name, &value) {
                Some(parameter) => self.parameters.push(parameter),
                None => self.settings.push((name, value)),
            },
        }
    }

    /// Reads the body, of `most` octets in plain form: parameters if it is a form, otherwise text or data.
    ///
    /// # Errors
    /// It is too long or damaged, or there is no room for it now.
    pub async fn read_body(
        &mut self,
        head: &Parts,
        body: Body,
        most: usize,
        room: &Room,
    ) -> Result<(Bytes, Option<OwnedSemaphorePermit>), Exception> {
        let header = |name| head.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if header(CONTENT_TYPE).starts_with("multipart/form-data") {
            let permit = self.read_form(head, body, most, room).await?;
            return Ok((Bytes::new(), permit));
        }
        let encoding = match header(CONTENT_ENCODING) {
            "" | "identity" => self.native.then_some(Encoding::Native),
            "gzip" => Some(Encoding::Gzip),
            "deflate" => Some(Encoding::Deflate),
            "zstd" => Some(Encoding::Zstd),
            "lz4" => Some(Encoding::Lz4),
            _ => return Err(bad("the body's Content-Encoding is none of gzip, deflate, zstd and lz4")),
        };
        let (sent, permit) = collect(body, most, room).await?;
        let Some(encoding) = encoding.filter(|_| !sent.is_empty()) else { return Ok((sent, permit)) };
        let _turn = room.unpacking.acquire().await.map_err(|_| bad("the engine is stopping"))?;
        let plain = tokio::task::spawn_blocking(move || compression::decode(encoding, &sent, most))
            .await
            .map_err(|_| bad("the body cannot be unpacked"))??;
        let mut permit = None;
        reserve(&mut permit, plain.len(), room)?;
        Ok((plain.into(), permit))
    }

    /// `multipart/form-data`: every field is a parameter, and stays in memory as long as the query.
    async fn read_form(
        &mut self,
        head: &Parts,
        body: Body,
        most: usize,
        room: &Room,
    ) -> Result<Option<OwnedSemaphorePermit>, Exception> {
        let (sent, permit) = collect(body, most, room).await?;
        let mut request = axum::extract::Request::new(Body::from(sent));
        if let Some(kind) = head.headers.get(CONTENT_TYPE) {
            request.headers_mut().insert(CONTENT_TYPE, kind.clone());
        }
        request.extensions_mut().insert(axum::extract::DefaultBodyLimit::disable());
        let unreadable = |_| bad("the form in the body cannot be read");
        let mut form = Multipart::from_request(request, &()).await.map_err(|_| bad("the body is no form"))?;
        while let Some(field) = form.next_field().await.map_err(unreadable)? {
            let Some(name) = field.name().map(str::to_owned) else { continue };
            let value = field.text().await.map_err(unreadable)?;
            // Who asks was settled by the URL and the headers.
            if name != "user" && name != "password" {
                self.take(name, value);
            }
        }
        Ok(permit)
    }
}

/// The whole body.
async fn collect(body: Body, most: usize, room: &Room) -> Result<(Bytes, Option<OwnedSemaphorePermit>), Exception> {
    let mut stream = body.into_data_stream();
    let (mut whole, mut permit) = (BytesMut::new(), None);
    while let Some(piece) =
        tokio::time::timeout(STALLED, stream.next()).await.map_err(|_| bad("the body does not go on"))?
    {
        let piece = piece.map_err(|_| bad("the body ended before its end"))?;
        if whole.len() + piece.len() > most {
            return Err(compression::too_long(most));
        }
        reserve(&mut permit, whole.len() + piece.len(), room)?;
        whole.extend_from_slice(&piece);
    }
    Ok((whole.freeze(), permit))
}

/// Makes `permit` one for `bytes`, never waiting: bodies that wait for each other would wait for ever.
fn reserve(permit: &mut Option<OwnedSemaphorePermit>, bytes: usize, room: &Room) -> Result<(), Exception> {
    let held = permit.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
    let more = bytes.div_ceil(1024).saturating_sub(held);
    if more == 0 {
        return Ok(());
    }
    let more = u32::try_from(more)
        .ok()
        .and_then(|more| Arc::clone(&room.kib).try_acquire_many_owned(more).ok())
        .ok_or_else(|| {
            Exception::new(
                code::TOO_MANY_SIMULTANEOUS_QUERIES,
                "TOO_MANY_SIMULTANEOUS_QUERIES",
                "too many large bodies are in memory: try again in a moment",
            )
        })?;
    match permit {
        Some(held) => held.merge(more),
        None => *permit = Some(more),
    }
    Ok(())
}

/// The text of a request: `query`, then the body.
pub struct Text {
    query: String,
    body: Bytes,
}

impl Text {
    /// Joins the two, unless `query` is an INSERT whose data is the body as it is.
    pub fn new(query: String, body: Bytes) -> Self {
        if query.is_empty() || body.is_empty() || ends_before_data(&query) {
            return Self { query, body };
        }
        let mut joined = BytesMut::with_capacity(query.len() + 1 + body.len());
        joined.extend_from_slice(query.as_bytes());
        joined.extend_from_slice(b"\n");
        joined.extend_from_slice(&body);
        Self { query: String::new(), body: joined.freeze() }
    }

    fn first(&self) -> &[u8] {
        if self.query.is_empty() { &self.body } else { self.query.as_bytes() }
    }

    /// What it is.
    ///
    /// # Errors
    /// The statement is not UTF-8.
    pub fn statement(&self) -> Result<Statement, Exception> {
        statement::read(self.first())
    }

    /// The data of an INSERT that begins at `data_at`.
    pub fn data(&self, data_at: usize) -> Bytes {
        if self.query.is_empty() {
            return self.body.slice(data_at..);
        }
        match &self.query.as_bytes()[data_at..] {
            [] => self.body.clone(),
            inline => [inline, &self.body].concat().into(),
        }
    }

    /// The whole as text.
    ///
    /// # Errors
    /// It is not UTF-8.
    pub fn into_sql(self) -> Result<String, Exception> {
        if !self.query.is_empty() {
            return Ok(self.query);
        }
        String::from_utf8(self.body.into())
            .map_err(|_| Exception::new(code::SYNTAX_ERROR, "SYNTAX_ERROR", "the statement is not UTF-8"))
    }
}

/// Whether the text is an INSERT up to its FORMAT or VALUES.
fn ends_before_data(query: &str) -> bool {
    matches!(statement::read(query.as_bytes()), Ok(Statement::Insert { head, .. }) if head.len() < query.trim_end().len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_inserts_data_comes_from_the_url_the_body_or_both() {
        let check = |query: &str, body: &[u8], expected: &[u8]| {
            let text = Text::new(query.to_owned(), Bytes::copy_from_slice(body));
            let Ok(Statement::Insert { data_at, .. }) = text.statement() else { panic!("{query} is no insert") };
            assert_eq!(text.data(data_at), expected, "{query}");
        };
        check("INSERT INTO t FORMAT Native", b"\n\x00", b"\n\x00");
        check("INSERT INTO t FORMAT CSV\n1,2\n", b"3,4\n", b"1,2\n3,4\n");
        check("INSERT INTO t VALUES", b"(1)", b"(1)");
        check("INSERT INTO t", b"FORMAT CSV\n1", b"1");
        check("", b"INSERT INTO t FORMAT JSONEachRow\n{}\n", b"{}\n");
        assert_eq!(Text::new("SELECT".into(), "1".into()).into_sql(), Ok("SELECT\n1".to_owned()));
    }

    #[test]
    fn bodies_share_one_room() {
        let room = Room::new(10);
        let (mut first, mut second) = (None, None);
        reserve(&mut first, 1, &room).unwrap();
        reserve(&mut first, 9 * 1024, &room).unwrap();
        assert_eq!(room.kib.available_permits(), 1);
        assert_eq!(reserve(&mut second, 2048, &room).unwrap_err().code, code::TOO_MANY_SIMULTANEOUS_QUERIES);
        drop(first);
        reserve(&mut second, 2048, &room).unwrap();
        assert_eq!(room.kib.available_permits(), 8);
    }
}
