//! ClickHouse's HTTP interface in front of the embedded engine: what the official clients, curl and
//! Grafana speak.

mod answer;
mod auth;
mod request;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::Method;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::exception::{Exception, code};
use super::pool::{Job, Pool, Task};
use super::session::{self, Limits, Role, SessionRequest};
use super::statement::{self, Statement};
use crate::metrics;
use answer::Refusal;
pub use auth::EngineUser;
use request::{Asked, Room, Text};

/// The longest body, in plain form.
pub const MAX_BODY_BYTES: usize = 256 << 20;
/// The same of a read-only user, who sends only statements and parameters.
const MAX_READ_BYTES: usize = 1 << 20;
/// All bodies that are in memory at once. Past it: code 202, and the client tries again.
const MAX_BODIES_KIB: usize = 512 << 10;
/// The longest answer that is made whole before it is sent: formats that cannot come in pieces.
const MAX_WHOLE_ANSWER: &str = "268435456";
/// The database that read-only users are granted, see `server_config`.
const READABLE: &str = "varde";
/// Pieces of an answer that wait for the client.
const MAX_WAITING_PIECES: usize = 4;

/// What the handlers share.
pub struct Face {
    pool: Pool,
    users: Vec<EngineUser>,
    limits: Limits,
    /// Whether the kernel bounds the engine's files; without it nobody gets in as a read-only user.
    bounded: bool,
    bodies: Room,
    queries: AtomicU64,
}

impl Face {
    /// The face of `pool` for `users`.
    pub fn new(pool: Pool, users: Vec<EngineUser>, limits: Limits, bounded: bool) -> Self {
        let bodies = Room::new(MAX_BODIES_KIB);
        Self { pool, users, limits, bounded, bodies, queries: AtomicU64::new(0) }
    }

    async fn answer(&self, request: Request) -> Result<Response, Refusal> {
        let (head, body) = request.into_parts();
        let mut asked = Asked::read(&head)?;
        let safe_method = head.method == Method::GET || head.method == Method::HEAD;
        if safe_method && asked.query.is_empty() {
            return Ok(answer::ok());
        }
        let role = auth::check(&self.users, &asked.credentials)?;
        if role == Role::ReadOnly && !self.bounded {
            return Err(Refusal::from(Exception::new(
                code::READONLY,
                "READONLY",
                "this kernel has no Landlock, so read-only users are not let in: use a kernel with it (5.19 or \
                 newer), or a ClickHouse server by [clickhouse] url",
            )));
        }
        let most = if role == Role::ReadOnly { MAX_READ_BYTES } else { MAX_BODY_BYTES };
        let (body, permit) = asked.read_body(&head, body, most, &self.bodies).await?;
        let (mut task, format) = task(Text::new(std::mem::take(&mut asked.query), body), &asked.default_format)?;
        if role == Role::ReadOnly && matches!(task, Task::Insert { .. }) {
            return Err(Refusal::from(Exception::new(
                code::READONLY,
                "READONLY",
                "Cannot insert into a table in readonly mode: this user may only read",
            )));
        }
        if role == Role::ReadOnly {
            session::check_format(&format)?;
            // What does not begin as a read may be one (`FROM t SELECT a`); if it is none, the engine refuses it. It
            // never takes the threads of the inserts.
            if let Task::Change { sql, format } = task {
                statement::named_format(&sql).map_or(Ok(()), |format| session::check_format(&format))?;
                task = Task::Read { sql, format, stream: false };
            }
        }
        let mut session = self.session(role, &mut asked, &task, safe_method);
        let query_id = asked.query_id.unwrap_or_else(|| session.query_id.clone());
        if role == Role::ReadOnly && session.database.is_empty() {
            // The only one that it may read.
            session.database = READABLE.to_owned();
        }
        let (reply, replies) = mpsc::channel(MAX_WAITING_PIECES);
        let done = Arc::new(AtomicBool::new(false));
        let job = Job { session, task, parameters: asked.parameters, reply, done, _body: permit };
        let watch = self.pool.submit(job)?;
        answer::stream(replies, watch, &query_id, &format).await
    }

    fn session(&self, role: Role, asked: &mut Asked, task: &Task, safe_method: bool) -> SessionRequest {
        let mut settings = std::mem::take(&mut asked.settings);
        let has = |name: &str, settings: &[(String, String)]| settings.iter().any(|(given, _)| given == name);
        if role == Role::Full {
            let streamed =
                matches!(task, Task::Read { stream: true, format, .. } if super::answer_format::has_pieces(format));
            if matches!(task, Task::Read { .. }) && !streamed && !has("max_result_bytes", &settings) {
                settings.push(("max_result_bytes".to_owned(), MAX_WHOLE_ANSWER.to_owned()));
                settings.push(("result_overflow_mode".to_owned(), "throw".to_owned()));
            }
            // A link must not change anything, as with a server.
            if safe_method && !has("readonly", &settings) {
                settings.push(("readonly".to_owned(), "2".to_owned()));
            }
        }
        let number = self.queries.fetch_add(1, Ordering::Relaxed);
        SessionRequest {
            role,
            limits: self.limits,
            database: std::mem::take(&mut asked.database),
            settings,
            query_id: ["http-", &number.to_string()].concat(),
        }
    }
}

/// What the text asks for, and the format of the answer.
fn task(text: Text, default_format: &str) -> Result<(Task, String), Exception> {
    let given = |format: Option<String>| format.unwrap_or_else(|| default_format.to_owned());
    match text.statement()? {
        Statement::Insert { head, format, data_at } => {
            Ok((Task::Insert { head, format, data: text.data(data_at) }, default_format.to_owned()))
        }
        Statement::Select { format } => {
            let format = given(format);
            Ok((Task::Read { sql: text.into_sql()?, format: format.clone(), stream: true }, format))
        }
        Statement::Ask { format } => {
            let format = given(format);
            Ok((Task::Read { sql: text.into_sql()?, format: format.clone(), stream: false }, format))
        }
        Statement::Change => {
            let format = default_format.to_owned();
            Ok((Task::Change { sql: text.into_sql()?, format: format.clone() }, format))
        }
    }
}

/// The routes of ClickHouse's HTTP interface.
pub fn router(face: Arc<Face>) -> Router {
    Router::new()
        .route("/ping", get(ping))
        .route("/replicas_status", get(ping))
        .route("/", get(query).post(query))
        .fallback(query)
        .with_state(face)
}

async fn ping() -> Response {
    answer::ok()
}

async fn query(State(face): State<Arc<Face>>, request: Request<Body>) -> Response {
    let (begun, running) = (Instant::now(), metrics::engine::QUERIES_RUNNING.with(&[]));
    running.inc();
    let response = face.answer(request).await.unwrap_or_else(IntoResponse::into_response);
    running.dec();
    metrics::engine::QUERIES.with(&[metrics::class(response.status())]).inc();
    metrics::engine::QUERY_DURATION.with(&[]).observe(begun.elapsed().as_secs_f64());
    response
}
