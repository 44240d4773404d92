//! A ClickHouse that answers as the real one is documented to, and fails on demand.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

use axum::body::{Body, Bytes};
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use tokio::net::TcpListener;

use crate::clickhouse::Client;

/// What it does with the next insert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Insert {
    /// It is overloaded: nothing is stored.
    Fails,
    /// The rows are stored, and the connection ends before the answer does.
    StoresAndFallsSilent,
    /// The data is not what the table takes.
    RefusesData,
}

/// One insert, as the real one would see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) statement: String,
    pub(crate) settings: BTreeMap<String, String>,
    pub(crate) body: Bytes,
}

#[derive(Debug, Default)]
pub(crate) struct Fake {
    pub(crate) next: Mutex<VecDeque<Insert>>,
    pub(crate) seen: Mutex<Vec<Seen>>,
    /// What is stored, by token: a token that comes again is dropped.
    pub(crate) stored: Mutex<BTreeMap<String, Bytes>>,
}

impl Fake {
    /// Starts one.
    pub(crate) async fn start() -> (Arc<Self>, Client) {
        let fake = Arc::new(Self::default());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = ["http://", &listener.local_addr().unwrap().to_string()].concat();
        let routes = axum::Router::new()
            .fallback(answer)
            .layer(axum::extract::DefaultBodyLimit::disable())
            .with_state(fake.clone());
        tokio::spawn(async move { axum::serve(listener, routes).await });
        (fake, Client::new(&url, "varde", "secret").unwrap())
    }

    pub(crate) fn then(&self, inserts: &[Insert]) {
        self.next.lock().unwrap().extend(inserts);
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

async fn answer(
    State(fake): State<Arc<Fake>>,
    Query(settings): Query<BTreeMap<String, String>>,
    body: Bytes,
) -> Response {
    let Some(statement) = settings.get("query").cloned() else { return StatusCode::OK.into_response() };
    let next = fake.next.lock().unwrap().pop_front();
    fake.seen.lock().unwrap().push(Seen { statement, settings: settings.clone(), body: body.clone() });
    let exception = |code: &'static str, said: &'static str| {
        (StatusCode::INTERNAL_SERVER_ERROR, [("X-ClickHouse-Exception-Code", code)], said).into_response()
    };
    match next {
        Some(Insert::Fails) => return exception("252", "Code: 252. DB::Exception: Too many parts"),
        Some(Insert::RefusesData) => return exception("117", "Code: 117. DB::Exception: Incorrect data"),
        Some(Insert::StoresAndFallsSilent) | None => {}
    }
    let token = settings.get("insert_deduplication_token").cloned().unwrap_or_default();
    let before = fake.stored.lock().unwrap().entry(token).or_insert_with(|| body.clone()).clone();
    assert_eq!(before, body, "a token came again with other rows");
    match next {
        None => StatusCode::OK.into_response(),
        Some(_) => {
            let broken = futures_util::stream::once(async { Err::<Bytes, _>(std::io::Error::other("gone")) });
            Body::from_stream(broken).into_response()
        }
    }
}
