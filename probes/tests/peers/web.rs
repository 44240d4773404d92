//! Kinds that speak HTTP and DNS, against servers made here.

use aggregator::event::ProbeOutcome;
use axum::Router;
use axum::extract::Form;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{Html, IntoResponse, Redirect};
use axum::routing::get;
use hickory_resolver::proto::op::{Message, MessageType, OpCode, ResponseCode};
use hickory_resolver::proto::rr::rdata::MX;
use hickory_resolver::proto::rr::{Name, RData, Record};
use serde::Deserialize;
use tokio::net::{TcpListener, UdpSocket};

use super::bench::{Bench, Seen};

pub async fn serve(router: Router) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move { axum::serve(listener, router).await });
    port
}

async fn check(kind: &str, url: &str, more: &str) -> Seen {
    let check = format!(
        "[[check]]\nname = \"{kind}\"\nkind = \"{kind}\"\nservice = \"{kind}\"\ncadence = \"light\"\nurl = \"{url}\"\n{more}"
    );
    Bench::new().run(&check).await
}

#[derive(Deserialize)]
struct Entry {
    csrf: String,
    address: String,
    password: String,
}

fn has_cookie(headers: &HeaderMap, cookie: &str) -> bool {
    headers.get(header::COOKIE).is_some_and(|value| value.to_str().unwrap().split("; ").any(|known| known == cookie))
}

async fn login_page() -> impl IntoResponse {
    let form = r#"<form method="post" action="/login"><input type="hidden" name="csrf" value="a&amp;b">
        <input name="address"><input name="password" type="password"></form>"#;
    ([(header::SET_COOKIE, "pre=1; HttpOnly; Path=/")], Html(form))
}

async fn log_in(headers: HeaderMap, Form(entry): Form<Entry>) -> impl IntoResponse {
    if entry.csrf != "a&b" || !has_cookie(&headers, "pre=1") {
        return StatusCode::BAD_REQUEST.into_response();
    }
    if (entry.address.as_str(), entry.password.as_str()) != ("audit@example.test", "secret-7") {
        return (StatusCode::UNAUTHORIZED, Html("no")).into_response();
    }
    ([(header::SET_COOKIE, "session=s1; Secure; HttpOnly")], Redirect::to("/folders/INBOX")).into_response()
}

async fn inbox(headers: HeaderMap) -> impl IntoResponse {
    if !has_cookie(&headers, "session=s1") {
        return Redirect::to("/login").into_response();
    }
    Html(r#"<h1>INBOX</h1><form method="post" action="/logout"><input type=hidden name=csrf value=c2></form>"#)
        .into_response()
}

async fn log_out(headers: HeaderMap, body: String) -> impl IntoResponse {
    match has_cookie(&headers, "session=s1") && body == "csrf=c2" {
        true => Redirect::to("/login").into_response(),
        false => StatusCode::FORBIDDEN.into_response(),
    }
}

pub fn webmail() -> Router {
    Router::new()
        .route("/login", get(login_page).post(log_in))
        .route("/folders/INBOX", get(inbox))
        .route("/logout", axum::routing::post(log_out))
}

pub const WEBMAIL: &str = "account = \"audit@example.test\"\nrecipe = \"varde\"";

#[tokio::test]
async fn a_webmail_is_walked_through_with_its_cookies_and_forms() {
    let port = serve(webmail()).await;
    check("webmail", &format!("http://127.0.0.1:{port}/"), WEBMAIL).await.is_ok("tcp load login list logout");
}

#[tokio::test]
async fn what_fails_in_a_webmail_is_named_by_its_step() {
    let page = |status: StatusCode, text: &'static str| move || async move { (status, Html(text)) };
    let cases: [(Router, &str); 5] = [
        (Router::new().route("/login", get(page(StatusCode::BAD_GATEWAY, "no"))), "load content"),
        (Router::new().route("/login", get(|| async { Redirect::to("http://elsewhere.test/") })), "load content"),
        (Router::new().route("/login", get(|| async { Redirect::to("/login") })), "load content"),
        (Router::new().route("/login", get(login_page).post(page(StatusCode::UNAUTHORIZED, ""))), "login auth_failed"),
        (
            Router::new()
                .route("/login", get(login_page).post(log_in))
                .route("/folders/INBOX", get(page(StatusCode::INTERNAL_SERVER_ERROR, "database is locked"))),
            "list status",
        ),
    ];
    for (router, failure) in cases {
        let port = serve(router).await;
        check("webmail", &format!("http://127.0.0.1:{port}/"), WEBMAIL).await.failed(failure);
    }
}

/// SnappyMail's answers as its source has them: JSON, a token that changes with the login, 200 for a refusal.
fn snappymail() -> Router {
    let app_data = || async { r#"{"Auth":false,"System":{"version":"2.38.2","token":"0-guest"}}"# };
    let act = |headers: HeaderMap, axum::Json(asked): axum::Json<serde_json::Value>| async move {
        let token = headers.get("x-sm-token").map(|token| token.to_str().unwrap().to_owned()).unwrap_or_default();
        let action = asked["Action"].as_str().unwrap().to_owned();
        let expected = if action == "Login" { "0-guest" } else { "1-user" };
        let refused = |code: u16| format!(r#"{{"Result":false,"code":{code},"Action":"{action}","epoch":1}}"#);
        let taken = |result: &str| format!(r#"{{"Result":{result},"Action":"{action}","epoch":1}}"#);
        if token != expected && action != "Logout" {
            return refused(101);
        }
        match action.as_str() {
            "Login" if (&asked["Email"], &asked["Password"]) == (&"audit@example.test".into(), &"secret-7".into()) => {
                taken(r#"{"Auth":true,"System":{"token":"1-user"}}"#)
            }
            "Login" => refused(102),
            "MessageList" if asked["folder"] == "INBOX" => taken(r#"{"@Collection":[]}"#),
            "Logout" => taken("true"),
            _ => refused(999),
        }
    };
    Router::new().route("/", get(app_data).post(act))
}

#[tokio::test]
async fn snappymail_is_walked_through_by_its_recipe() {
    let at = format!("http://127.0.0.1:{}/", serve(snappymail()).await);
    let recipe = "account = \"audit@example.test\"\nrecipe = \"snappymail\"";
    check("webmail", &at, recipe).await.is_ok("tcp load login list logout");
    let bench = Bench::new();
    std::fs::write(bench.path().join("password"), "wrong\"\n").unwrap();
    let wrong = format!(
        "[[check]]\nname = \"w\"\nkind = \"webmail\"\nservice = \"w\"\ncadence = \"light\"\nurl = \"{at}\"\n{recipe}"
    );
    bench.run(&wrong).await.failed("login auth_failed");
}

#[tokio::test]
async fn a_recipe_of_ones_own_is_a_file() {
    let router = Router::new()
        .route("/", get(|| async { Html("<a href=\"/in?x=1&amp;y=2\">Enter</a>") }))
        .route("/in", get(|| async { Html("<form action=/go method=post><input name=pin></form>") }))
        .route("/go", axum::routing::post(|body: String| async move { body }));
    let bench = Bench::new();
    let recipe = "load = [{ open = \"\" }, { follow = \"/in\", form = \"pin\" }]\n\
                  login = [{ submit = \"pin\", fill = { pin = \"{password}\" }, expect = [\"pin=secret-7\"] }]\n\
                  list = [{ arrive = true, expect = [\"pin\"] }]\nlogout = [{ open = \"\", expect = [\"Enter\"] }]\n";
    std::fs::write(bench.path().join("own.toml"), recipe).unwrap();
    let at = format!("http://127.0.0.1:{}/", serve(router).await);
    let with = |recipe: &str| {
        format!(
            "[[check]]\nname = \"w\"\nkind = \"webmail\"\nservice = \"w\"\ncadence = \"light\"\nurl = \"{at}\"\n\
             account = \"audit@example.test\"\nrecipe = \"{recipe}\""
        )
    };
    bench.run(&with("own.toml")).await.is_ok("tcp load login list logout");
    let seen = bench.run(&with("gone.toml")).await;
    seen.failed("config config");
    assert!(seen.detail().starts_with("recipe \"gone.toml\": "), "{}", seen.detail());
}

#[tokio::test]
async fn http_wants_its_status_and_its_text() {
    let router = Router::new()
        .route("/", get(|| async { "all is well" }))
        .route("/gone", get(|| async { StatusCode::GONE }))
        .route("/large", get(|| async { "x".repeat(11 * 1024 * 1024) }));
    let at = format!("http://127.0.0.1:{}", serve(router).await);
    check("http", &format!("{at}/"), "expect = \"is well\"").await.is_ok("tcp get");
    check("http", &format!("{at}/"), "expect = \"is ill\"").await.failed("get content");
    check("http", &format!("{at}/gone"), "").await.failed("get status");
    check("http", &format!("{at}/gone"), "status = 410").await.is_ok("tcp get");
    check("http", &format!("{at}/large"), "").await.failed("get protocol");
    let hanging = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = format!("http://{}/", hanging.local_addr().unwrap());
    check("http", &at, "timeout_ms = 400").await.failed("get timeout");
}

#[tokio::test]
async fn a_queue_that_nobody_works_on_is_stale() {
    let health = |status: StatusCode, json: &'static str| {
        Router::new().route("/health", get(move || async move { (status, json) }))
    };
    let ask = async |router| check("queue", &format!("http://127.0.0.1:{}/health", serve(router).await), "").await;
    let ok = health(StatusCode::OK, r#"{"status":"ok","last_pass_age_ms":1500,"oldest_age_s":40,"more":1}"#);
    let seen = ask(ok).await;
    seen.is_ok("tcp health queue");
    assert_eq!(seen.note("queue"), "the oldest message has waited 40 s");
    let seen = ask(health(StatusCode::OK, r#"{"status":"ok","last_pass_age_ms":75900}"#)).await;
    seen.failed("queue stale");
    assert_eq!(seen.detail(), "the queue: nobody has looked through it for 75 s");
    let seen = ask(health(StatusCode::SERVICE_UNAVAILABLE, r#"{"status":"stalled"}"#)).await;
    seen.failed("queue stale");
    assert_eq!(seen.detail(), "the queue: it says \"stalled\" of itself");
    let old = health(StatusCode::OK, r#"{"status":"ok","oldest_age_s":4000}"#);
    let url = format!("http://127.0.0.1:{}/health", serve(old).await);
    check("queue", &url, "").await.is_ok("tcp health queue");
    let seen = check("queue", &url, "max_age_s = 3600").await;
    seen.failed("queue stale");
    assert_eq!(seen.detail(), "the queue: the oldest message has waited 4000 s, more than 3600 s");
    ask(health(StatusCode::SERVICE_UNAVAILABLE, "<html>")).await.failed("health status");
    ask(health(StatusCode::OK, "<html>")).await.failed("health protocol");
}

/// A name server that knows the MX of example.test.
async fn name_server() -> u16 {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let port = socket.local_addr().unwrap().port();
    tokio::spawn(async move {
        let mut buffer = [0; 1500];
        while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
            let asked = Message::from_vec(&buffer[..length]).unwrap();
            let query = asked.queries[0].clone();
            let mut answer = Message::new(asked.id, MessageType::Response, OpCode::Query);
            if *query.name() == Name::from_ascii("example.test.").unwrap() {
                let mx = RData::MX(MX::new(10, Name::from_ascii("mx.example.test.").unwrap()));
                answer.add_answer(Record::from_rdata(query.name().clone(), 60, mx));
            } else {
                answer.metadata.response_code = ResponseCode::NXDomain;
            }
            answer.add_query(query);
            socket.send_to(&answer.to_vec().unwrap(), from).await.unwrap();
        }
    });
    port
}

#[tokio::test]
async fn dns_asks_the_name_server_and_names_what_is_missing() {
    let port = name_server().await;
    let ask = async |name: &str, more: &str| {
        let check = format!(
            "[[check]]\nname = \"d\"\nkind = \"dns\"\nservice = \"dns\"\ncadence = \"light\"\nhost = \"{name}\"\n\
             server = \"127.0.0.1\"\nport = {port}\nrecord = \"mx\"\n{more}"
        );
        Bench::new().run(&check).await
    };
    let seen = ask("example.test", "expect = \"mx.example.test\"").await;
    assert_eq!((seen.outcome(), seen.note("dns")), (ProbeOutcome::Ok, "10 mx.example.test."));
    ask("example.test", "expect = \"other\"").await.failed("dns content");
    ask("gone.example.test", "").await.failed("dns nxdomain");
}
