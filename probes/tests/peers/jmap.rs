//! JMAP against a server made here: the session, the methods, and a round trip that comes to it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use aggregator::event::ProbeOutcome;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};

use super::bench::{Bench, Seen};
use super::web::serve;

/// Base64 of `audit@example.test:secret-7`.
const BASIC: &str = "Basic YXVkaXRAZXhhbXBsZS50ZXN0OnNlY3JldC03";

/// A header of what the index knows of.
const OLD: &str = "X-Age: old\r\n";

/// A mailbox: messages by their identity, with the mailbox that each is in.
#[derive(Clone, Default)]
pub struct Store {
    messages: Arc<Mutex<BTreeMap<String, (String, String)>>>,
    /// Whether subjects cannot be searched for.
    no_index: bool,
}

impl Store {
    /// A message comes into a mailbox.
    pub fn deliver(&self, mailbox: &str, message: &str) {
        let mut store = self.messages.lock().unwrap();
        let id = format!("M{}", store.len() + 1);
        store.insert(id, (mailbox.to_owned(), message.to_owned()));
    }

    pub fn count(&self) -> usize {
        self.messages.lock().unwrap().len()
    }
}

fn session() -> Value {
    json!({
        "capabilities": {"urn:ietf:params:jmap:core": {}, "urn:ietf:params:jmap:mail": {}},
        "accounts": {"A1": {"name": "audit@example.test"}},
        "primaryAccounts": {"urn:ietf:params:jmap:mail": "A1"},
        "username": "audit@example.test",
        "apiUrl": "/jmap/api/",
        "downloadUrl": "/jmap/download/{accountId}/{blobId}/{name}?accept={type}",
        "uploadUrl": "/jmap/upload/{accountId}/",
        "eventSourceUrl": "/jmap/events/",
        "state": "s1",
    })
}

fn is_known(headers: &HeaderMap) -> bool {
    headers.get("authorization").is_some_and(|value| value == BASIC || value == "Bearer secret-7")
}

fn subject(message: &str) -> String {
    message.lines().find_map(|line| line.strip_prefix("Subject: ")).unwrap_or_default().to_owned()
}

async fn api(State(store): State<Store>, headers: HeaderMap, Json(request): Json<Value>) -> Response {
    if !is_known(&headers) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let call = &request["methodCalls"][0];
    let (method, args) = (call[0].as_str().unwrap(), &call[1]);
    let no_index = store.no_index;
    let mut store = store.messages.lock().unwrap();
    let answer = match method {
        "Core/echo" => args.clone(),
        "Mailbox/get" => json!({"list": [
            {"id": "in", "name": "Inbox", "role": "inbox"}, {"id": "spam", "name": "Junk", "role": "junk"},
        ]}),
        "Email/query" if no_index && !args["filter"]["subject"].is_null() => {
            return Json(json!({"methodResponses": [["error", {"type": "serverFail"}, call[2]]]})).into_response();
        }
        "Email/query" => {
            let filter = &args["filter"];
            let one_of = filter["conditions"].as_array().cloned().unwrap_or_else(|| vec![filter.clone()]);
            let matches = |place: &str, message: &str| {
                one_of.iter().any(|condition| match (&condition["inMailbox"], &condition["subject"]) {
                    (Value::String(mailbox), _) => mailbox == place,
                    // The index has heard of nothing of the last minutes.
                    (_, Value::String(words)) => subject(message).contains(words.as_str()) && message.contains(OLD),
                    _ => true,
                })
            };
            let found = store.iter().filter(|(_, (place, message))| matches(place, message));
            json!({"ids": found.map(|(id, _)| id.clone()).collect::<Vec<_>>()})
        }
        "Email/get" => {
            let ids: Vec<&str> = args["ids"].as_array().unwrap().iter().map(|id| id.as_str().unwrap()).collect();
            let list = store.iter().filter(|(id, _)| ids.contains(&id.as_str())).map(|(id, (mailbox, message))| {
                json!({"id": id, "blobId": id, "subject": subject(message), "mailboxIds": {mailbox: true},
                       "receivedAt": "2026-11-22T10:00:00Z"})
            });
            json!({"list": list.collect::<Vec<_>>()})
        }
        "Email/set" => {
            for id in args["destroy"].as_array().unwrap() {
                store.remove(id.as_str().unwrap());
            }
            json!({"destroyed": args["destroy"]})
        }
        _ => return Json(json!({"methodResponses": [["error", {"type": "unknownMethod"}, "0"]]})).into_response(),
    };
    Json(json!({"methodResponses": [[method, answer, call[2]]], "sessionState": "s1"})).into_response()
}

pub fn server(store: Store) -> Router {
    let session_of = |headers: HeaderMap| async move {
        if is_known(&headers) { Json(session()).into_response() } else { StatusCode::UNAUTHORIZED.into_response() }
    };
    let download = |State(store): State<Store>, Path((_, blob, _)): Path<(String, String, String)>| async move {
        store.messages.lock().unwrap().get(&blob).map(|(_, message)| message.clone()).ok_or(StatusCode::NOT_FOUND)
    };
    Router::new()
        .route("/.well-known/jmap", get(|| async { Redirect::temporary("/jmap/session") }))
        .route("/jmap/session", get(session_of))
        .route("/jmap/api/", post(api))
        .route("/jmap/download/{account}/{blob}/{name}", get(download))
        .with_state(store)
}

pub fn check(port: u16, more: &str) -> String {
    format!(
        "[[check]]\nname = \"jmap\"\nkind = \"jmap\"\nservice = \"jmap\"\ncadence = \"light\"\n\
         url = \"http://127.0.0.1:{port}/\"\naccount = \"audit@example.test\"\n{more}\n"
    )
}

async fn run(router: Router, more: &str) -> Seen {
    Bench::new().run(&check(serve(router).await, more)).await
}

#[tokio::test]
async fn the_session_is_found_and_mail_by_it() {
    let seen = run(server(Store::default()), "").await;
    seen.is_ok("tcp session echo mailboxes query");
    assert_eq!(seen.note("session"), "audit@example.test, 2 capabilities");
    run(server(Store::default()), "http_auth = \"bearer\"").await.is_ok("tcp session echo mailboxes query");
}

#[tokio::test]
async fn what_is_wrong_with_a_session_is_named() {
    let with = |change: fn(&mut Value)| {
        let mut session = session();
        change(&mut session);
        Router::new().route("/.well-known/jmap", get(move || async move { Json(session) }))
    };
    let status = |status: StatusCode| Router::new().route("/.well-known/jmap", get(move || async move { status }));
    let cases = [
        (with(|session| *session = json!([])), "session protocol", "this is no JMAP session"),
        (with(|session| session["capabilities"] = json!({})), "session protocol", "has no urn:ietf:params:jmap:core"),
        (with(|session| session["primaryAccounts"] = json!({})), "session protocol", "primary account for mail"),
        (with(|session| session["accounts"] = json!({})), "session protocol", "account of the identity"),
        (
            with(|session| session["apiUrl"] = json!("https://elsewhere.test/")),
            "session content",
            "away from this host",
        ),
        (status(StatusCode::UNAUTHORIZED), "session auth_failed", "HTTP 401"),
        (status(StatusCode::SERVICE_UNAVAILABLE), "session deferred", "HTTP 503"),
        (status(StatusCode::NOT_FOUND), "session status", "HTTP 404"),
    ];
    for (router, failure, word) in cases {
        let seen = run(router, "").await;
        seen.failed(failure);
        assert!(seen.detail().contains(word), "{}", seen.detail());
    }
    let circle = Router::new().route("/.well-known/jmap", get(|| async { Redirect::temporary("/.well-known/jmap") }));
    run(circle, "").await.failed("session content");
}

#[tokio::test]
async fn answers_that_are_none_are_named_by_their_method() {
    let session = || Router::new().route("/.well-known/jmap", get(|| async { Json(session()) }));
    let answers = |answer: Value| session().route("/jmap/api/", post(move || async move { Json(answer) }));
    let cases = [
        (json!({"methodResponses": []}), "echo protocol"),
        (json!({"methodResponses": [["Core/echo", {"token": "run-2"}, "0"]]}), "echo mismatch"),
        (json!({"methodResponses": [["Core/echo", {}, "7"]]}), "echo protocol"),
        (json!({"methodResponses": [["error", {"type": "serverUnavailable"}, "0"]]}), "echo deferred"),
        (json!({"methodResponses": [["error", {"type": "forbidden"}, "0"]]}), "echo rejected"),
        (json!("x"), "echo protocol"),
    ];
    for (answer, failure) in cases {
        run(answers(answer), "").await.failed(failure);
    }
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let router = session().route("/jmap/api/", post(move || async move { deep }));
    run(router, "").await.failed("echo protocol");
}

/// A submission server that delivers into the store.
async fn delivering(store: Store, mailbox: &'static str, copies: usize) -> super::scripted::Peer {
    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
    super::scripted::Peer::new(move |socket| {
        let store = store.clone();
        async move {
            let mut socket = BufReader::new(socket);
            socket.write_all(b"220 mx\r\n").await.unwrap();
            let (mut line, mut message, mut in_data) = (String::new(), String::new(), false);
            loop {
                line.clear();
                if socket.read_line(&mut line).await.unwrap_or(0) == 0 {
                    return;
                }
                let answer = match line.trim_end() {
                    "." if in_data => {
                        in_data = false;
                        (0..copies).for_each(|_| store.deliver(mailbox, &message));
                        "250 2.0.0 queued\r\n"
                    }
                    _ if in_data => {
                        message.push_str(&line);
                        continue;
                    }
                    "DATA" => {
                        in_data = true;
                        "354 go\r\n"
                    }
                    "QUIT" => "221 bye\r\n",
                    other if other.starts_with("EHLO") => "250-mx\r\n250 AUTH PLAIN\r\n",
                    other if other.starts_with("AUTH") => "235 in\r\n",
                    _ => "250 ok\r\n",
                };
                socket.write_all(answer.as_bytes()).await.unwrap();
            }
        }
    })
    .await
}

#[tokio::test]
async fn a_round_trip_may_come_to_a_mailbox_by_jmap() {
    for (mailbox, copies, outcome, no_index) in [
        ("in", 1, ProbeOutcome::Ok, false),
        ("in", 1, ProbeOutcome::Ok, true),
        ("spam", 1, ProbeOutcome::Spam, false),
        ("in", 2, ProbeOutcome::Duplicate, false),
    ] {
        let store = Store { no_index, ..Store::default() };
        // A copy of it lies where no mail comes to: only a search finds that.
        let copy = "Subject: Varde probe run-1 submission\r\nX-Varde-Probe: run-1 sent=1\r\n\r\nx\r\n";
        store.deliver("sent", &[OLD, copy].concat());
        let peer = delivering(store.clone(), mailbox, copies).await;
        let jmap = check(serve(server(store.clone())).await, "");
        let submission = super::bench::check("submission", peer.port, "");
        let trip = "[[check]]\nname = \"trip\"\nkind = \"round_trip\"\nservice = \"trip\"\ncadence = \"audit\"\n\
                    account = \"audit@example.test\"\nsubmission = \"submission\"\njmap = \"jmap\"\n";
        let mut bench = Bench::new();
        bench.receive_objective = std::time::Duration::from_secs(60);
        let seen = bench.run(&format!("{jmap}{submission}{trip}")).await;
        assert_eq!((seen.outcome(), seen.failure().as_str()), (outcome, ""), "{:#?}", seen.0);
        assert_eq!(seen.steps(), "jmap send receive fetch cleanup");
        assert_eq!(store.count(), usize::from(no_index));
    }
}
